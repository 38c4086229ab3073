"""One arrow: app -> models, through its door."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

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


@parametrize("models", "benchmarks")
def test_the_science_knows_no_web(name: str, file: Path) -> None:
    assert not roots(name, file) & WEB


@parametrize("app")
def test_the_web_touches_no_tensor(name: str, file: Path) -> None:
    assert not roots(name, file) & SCIENCE


@parametrize("app")
def test_the_web_uses_the_door_of_models(name: str, file: Path) -> None:
    inner = set(modules("models"))
    for module, part in imports(name, file):
        assert not module.startswith("models."), f"{name} goes past the door into {module}"
        assert module != "models" or f"models.{part}" not in inner, f"{name} imports models.{part}"


def test_the_door_is_what_it_says() -> None:
    import models

    assert len(models.__all__) == len(set(models.__all__))
    assert not [name for name in models.__all__ if not hasattr(models, name)]


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
