"""docs/extending.md does what it says: its recipes are applied to a copy and checked there."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
GUIDE = (ROOT / "docs" / "extending.md").read_text()
BLOCK = re.compile(
    r"^\*\*`(?P<file>[^`]+)`\*\* (?P<what>new file|append|replace):\n\n```\w+\n(?P<text>.*?)```\n"
    r"(?:\nwith:\n\n```\w+\n(?P<new>.*?)```\n)?"
    r"|^\*\*check\*\*:\n\n```python\n(?P<check>.*?)```\n",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Recipe:
    """One section of the guide: what it changes, in order, and what must hold then."""

    title: str
    changes: tuple[tuple[str, str, str, str], ...]
    check: str


def recipes() -> Iterator[Recipe]:
    for section in re.split(r"^## ", GUIDE, flags=re.MULTILINE)[1:]:
        found = list(BLOCK.finditer(section))
        changes = [(m["file"], m["what"], m["text"], m["new"] or "") for m in found if m["file"]]
        (check,) = (m["check"] for m in found if m["check"])
        yield Recipe(section.splitlines()[0], tuple(changes), check)


RECIPES = list(recipes())


def apply(tree: Path, recipe: Recipe) -> None:
    for name, what, text, new in recipe.changes:
        file = tree / name
        match what:
            case "new file":
                assert not file.exists(), f"{name} exists"
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text)
            case "append":
                file.write_text(f"{file.read_text()}\n\n{text}")
            case "replace":
                before = file.read_text()
                assert before.count(text) == 1, f"{name} does not hold once:\n{text}"
                file.write_text(before.replace(text, new))


def run(tree: Path, *command: str) -> None:
    done = subprocess.run(
        [sys.executable, *command],
        cwd=tree,
        env={"PYTHONPATH": str(tree), "PATH": "/usr/bin:/bin", "HOME": str(tree)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the project, to which the recipes are applied one after another."""
    copy = tmp_path_factory.mktemp("copy")
    for name in ("app", "models", "templates", "static", "benchmarks", "recipes", "tests"):
        ignored = shutil.ignore_patterns("__pycache__", "*.safetensors", "golden")
        shutil.copytree(ROOT / name, copy / name, ignore=ignored)
    starter = Path("models/weights/starter/lenet5.safetensors")
    shutil.copy(ROOT / starter, copy / starter)
    shutil.copy(ROOT / "pyproject.toml", copy)
    return copy


def test_the_guide_covers_what_people_add() -> None:
    assert [recipe.title for recipe in RECIPES] == [
        "A network",
        "A step",
        "A method",
        "A format of weights files",
        "An experiment with its page",
    ]
    assert all(recipe.changes for recipe in RECIPES)


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.title)
def test_a_recipe_does_what_it_says(tree: Path, recipe: Recipe) -> None:
    apply(tree, recipe)
    run(tree, "-W", "error", "-c", recipe.check)


def test_what_was_added_keeps_the_floors_and_the_style(tree: Path) -> None:
    helps = "tests/app/cli/test_visualize.py::test_help_comes_without_waiting_for_torch"
    tests = ("tests/test_architecture.py", "tests/models/projection/test_caption.py", helps)
    run(tree, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests)
    run(tree, "-m", "ruff", "check", "--no-cache", "app", "models")
