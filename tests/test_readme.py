"""What the README and the settings' table promise is what the code has."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from pydantic.fields import FieldInfo

from app import VERSION
from app.settings import Settings

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
SETTINGS = (ROOT / "docs" / "settings.md").read_text()
DOCUMENTS = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]
UNITS = {"GiB": 2**30, "MiB": 2**20}


def shown(name: str, value: Any) -> str:
    """Return a default as the table has it: in code where it can be typed so."""
    if value in (None, (), "", {}):
        return ""
    if name.endswith("_bytes"):
        unit, size = next(pair for pair in UNITS.items() if value % pair[1] == 0)
        return f"{value // size} {unit}"
    if isinstance(value, tuple):
        return f"`{','.join(value)}`"
    return f"`{int(value) if isinstance(value, bool | float) else value}`"


def row(name: str, field: FieldInfo) -> str:
    default = "in your home" if field.default_factory else shown(name, field.default)
    return f"| `DECONVNET_{name.upper()}` | {default} | {field.description} |"


def test_every_setting_is_in_the_table_with_its_default() -> None:
    rows = [line for line in SETTINGS.splitlines() if line.startswith("| `DECONVNET_")]
    expected = [row(name, field) for name, field in Settings.model_fields.items()]
    assert rows == expected, "docs/settings.md should say:\n" + "\n".join(expected)


def targets() -> set[str]:
    return set(re.findall(r"^([a-z]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE))


def test_every_make_target_named_exists() -> None:
    assert set(re.findall(r"(?:`|^)make ([a-z]+)", README, re.MULTILINE)) <= targets()


@pytest.mark.parametrize("target", ["serve", "test", "install", "check", "bench", "accept", "help"])
def test_the_promised_targets_exist(target: str) -> None:
    assert target in targets()


LINKS = [
    pytest.param(document, link, id=f"{document.name}-{link}")
    for document in DOCUMENTS
    for link in re.findall(r"\]\(([^)#:]+)\)", document.read_text())
]


@pytest.mark.parametrize(("document", "link"), LINKS)
def test_links_into_the_project_lead_somewhere(document: Path, link: str) -> None:
    assert (document.parent / link).exists()


def test_one_version_everywhere() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    changes = (ROOT / "CHANGELOG.md").read_text()
    (cited,) = re.findall(r"^version: (\S+)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)
    dated = re.findall(r"^## (\S+), (\d{4}-\d{2}-\d{2})$", changes, re.MULTILINE)
    assert project == VERSION == cited == dated[0][0]
    assert dated == sorted(dated, key=lambda each: each[1], reverse=True)
