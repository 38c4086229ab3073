"""One arrow, app -> models, through its door; inside each, floors on which no arrow runs up."""

import ast
import importlib
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import models

ROOT = Path(__file__).parents[1]
WEB = {"app", "fastapi", "jinja2", "pydantic", "pydantic_settings", "starlette", "typer", "uvicorn"}
SCIENCE = {"numpy", "torch", "torchvision"}


def name_of(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def modules(*packages: str) -> dict[str, Path]:
    files = (file for package in packages for file in sorted(ROOT.glob(f"{package}/**/*.py")))
    return {name_of(file): file for file in files}


def imports(name: str, file: Path) -> Iterator[tuple[str, str]]:
    """Yield (module, imported name or "") for every import in the file, wherever it stands."""
    package = name if file.stem == "__init__" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: 1 - node.level or None] if node.level else []
            module = ".".join([*above, node.module or ""]).strip(".")
            yield from ((module, alias.name) for alias in node.names)


def roots(name: str, file: Path) -> set[str]:
    return {module.partition(".")[0] for module, _ in imports(name, file)}


def needs(name: str, file: Path, known: set[str]) -> set[str]:
    """Return the modules of ours that the file names: `from app import api` names app.api."""
    targets = {(module, f"{module}.{part}") for module, part in imports(name, file)}
    return {longer if longer in known else module for module, longer in targets} & known


def parametrize(*packages: str) -> pytest.MarkDecorator:
    found = modules(*packages)
    return pytest.mark.parametrize(("name", "file"), found.items(), ids=found.keys())


FLOORS = (
    {"models.errors"},
    {"models.device", "models.disk", "models.render"},
    {"models.networks"},
    {"models.weights"},
    {"models.projection", "models.training"},
    {"models.experiments"},
    {"models.examples"},
    {"models.workbench", "models"},
    {"app", "app.settings", "app.storage"},
    {"app.engine", "app.photos"},
    {"app.web"},
    {"app.api", "app.pages"},
    {"app.main"},
    {"app.server", "app.replicas"},
    {"app.cli"},
)
"""Rooms from the ground up. What stands on a floor uses its own room and the floors below."""
NEIGHBOURS = {frozenset({"app.engine", "app.photos"})}
"""Rooms of one floor that may use each other."""
DOORS = {"models", "models.workbench"}


def room_of(module: str) -> str:
    """Return the room that a module stands in: the longest name that a floor lists."""
    rooms = [r for floor in FLOORS for r in floor if f"{module}.".startswith(f"{r}.")]
    return max(rooms, key=len, default="")


def floor_of(room: str) -> int:
    return next(number for number, floor in enumerate(FLOORS) if room in floor)


@parametrize("app", "models")
def test_every_module_stands_in_a_room(name: str, file: Path) -> None:
    assert room_of(name), f"{name} stands on no floor"
    assert room_of(name) not in {"app", "models"} or name in {"app", "models"}


@parametrize("app", "models")
def test_no_arrow_runs_up_or_across(name: str, file: Path) -> None:
    here = room_of(name)
    for target in needs(name, file, set(modules("app", "models"))) - {name}:
        there = room_of(target)
        beside = frozenset({here, there}) in NEIGHBOURS
        assert there == here or beside or floor_of(there) < floor_of(here), f"{name} -> {target}"


@parametrize("models")
def test_no_paper_imports_another(name: str, file: Path) -> None:
    found = modules("models/networks").items()
    papers = {each for each, where in found if "\nARCHITECTURES = (" in where.read_text()}
    assert len(papers) >= 4
    if name in papers:
        assert not needs(name, file, papers) - {name}


@parametrize("models", "benchmarks", "recipes")
def test_the_science_knows_no_web(name: str, file: Path) -> None:
    assert not roots(name, file) & WEB


@parametrize("app")
def test_the_web_touches_no_tensor(name: str, file: Path) -> None:
    assert not roots(name, file) & SCIENCE


@parametrize("app", "benchmarks", "recipes")
def test_models_is_entered_through_a_door(name: str, file: Path) -> None:
    inner = set(modules("models"))
    doors = {"models"} if name.startswith("app") else DOORS
    for module, part in imports(name, file):
        if module.partition(".")[0] == "models":
            assert module in doors, f"{name} goes past the door into {module}"
            assert f"{module}.{part}" not in inner - doors, f"{name} imports {module}.{part}"


@pytest.mark.parametrize("door", sorted(DOORS))
def test_a_door_is_what_it_says(door: str) -> None:
    module = importlib.import_module(door)
    assert len(module.__all__) == len(set(module.__all__))
    assert not [name for name in module.__all__ if not hasattr(module, name)]


def test_the_door_for_people_is_what_type_checkers_read() -> None:
    tree = ast.parse((ROOT / "models" / "__init__.pyi").read_text())
    imported = {a.name for n in tree.body if isinstance(n, ast.ImportFrom) for a in n.names}
    (listed,) = (n.value for n in tree.body if isinstance(n, ast.Assign))
    assert imported == set(ast.literal_eval(listed)) == set(models.__all__)


def test_the_door_opens_without_torch() -> None:
    code = "import sys, models; models.Choice; assert not {'torch', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=60)


def test_no_module_needs_itself() -> None:
    known = modules("app", "models")
    graph = {name: needs(name, file, set(known)) - {name} for name, file in known.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"a circle of imports: {' <- '.join(error.args[1])}")


def test_the_science_imports_where_there_is_no_web() -> None:
    absent = "".join(f"sys.modules[{name!r}] = None\n" for name in sorted(WEB))
    named = "".join(f"import {name}\n" for name in modules("models"))
    command = [sys.executable, "-W", "error", "-c", f"import sys\n{absent}{named}"]
    subprocess.run(command, cwd=ROOT, check=True, timeout=120)
