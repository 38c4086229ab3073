"""What a stranger installs is what was tested."""

import base64
import hashlib
import json
import os
import re
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.test_architecture import ROOT, modules, roots

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCKS = ["requirements.lock", "requirements-dev.lock"]
# Names to import by, where they differ from the name to install by.
INSTALLED_AS = {
    "lazy_loader": "lazy-loader",
    "PIL": "pillow",
    "fpng_py": "fpng-py",
    "google": "protobuf",
    "multipart": "python-multipart",
    "prometheus_client": "prometheus-client",
    "pydantic_settings": "pydantic-settings",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
}
OUTSIDE_ALLOWED = {"starlette", "anyio"}  # fastapi is made of them
FPNG = "requirements-fpng.lock"


def names(requirements: list[str]) -> set[str]:
    return {re.split(r"[^A-Za-z0-9_.-]", requirement)[0].lower() for requirement in requirements}


def locked(lock: str) -> dict[str, str]:
    """Return the block of a lock that belongs to each package."""
    blocks = re.split(r"^(?=\S)", (ROOT / lock).read_text(), flags=re.MULTILINE)
    return {block.split("==")[0].lower(): block for block in blocks if "==" in block}


@pytest.mark.parametrize("lock", [*LOCKS, FPNG])
def test_every_line_of_a_lock_is_hashed(lock: str) -> None:
    assert locked(lock)
    assert not [name for name, block in locked(lock).items() if "--hash=sha256:" not in block]


@pytest.mark.parametrize("lock", [*LOCKS, FPNG, "package-lock.json"])
def test_a_lock_names_no_registry(lock: str) -> None:
    assert not re.search(r"://|\bresolved\b|index-url|find-links", (ROOT / lock).read_text())


def test_the_lock_holds_what_the_project_and_its_build_ask_for() -> None:
    asked = names(PROJECT["project"]["dependencies"]) | names(PROJECT["build-system"]["requires"])
    assert asked <= locked("requirements.lock").keys()


def test_what_developers_run_is_what_users_run() -> None:
    users, developers = (locked(lock) for lock in LOCKS)
    for name, block in users.items():
        assert block.splitlines()[0] == developers[name].splitlines()[0]


def test_every_import_is_declared() -> None:
    extras = [names(asked) for asked in PROJECT["project"]["optional-dependencies"].values()]
    declared = names(PROJECT["project"]["dependencies"]).union(OUTSIDE_ALLOWED, *extras)
    known = sys.stdlib_module_names | {"app", "models"}
    for name, file in modules("app", "models").items():
        third_party = {INSTALLED_AS.get(root, root) for root in roots(name, file) - known}
        assert third_party <= declared, f"{name} imports {sorted(third_party - declared)}"


def test_the_javascript_is_pinned_by_hash() -> None:
    packages = json.loads((ROOT / "package-lock.json").read_text())["packages"]
    pinned = [package for path, package in packages.items() if path]
    assert pinned
    for package in pinned:
        algorithm, _, digest = package["integrity"].partition("-")
        assert len(base64.b64decode(digest)) == hashlib.new(algorithm).digest_size


def test_the_javascript_of_others_is_not_committed() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    command = ["git", "ls-files", "static/vendor", "*.min.js", "node_modules"]
    assert subprocess.check_output(command, cwd=ROOT, text=True) == ""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder)]
    pip(sys.executable, "wheel", *options, str(ROOT))
    return next(folder.glob("*.whl"))


def pip(python: str | Path, *arguments: str) -> None:
    command = [str(python), "-m", "pip", "--disable-pip-version-check", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr


def contents(folder: str) -> Iterator[str]:
    command = ["git", "ls-files", folder]
    yield from subprocess.check_output(command, cwd=ROOT, text=True).splitlines()


def test_the_wheel_holds_code_pages_and_weights(wheel: Path) -> None:
    inside = set(zipfile.ZipFile(wheel).namelist())
    vendor = {"static/vendor/htmx.js", "static/vendor/LICENSE"}
    pages = {f"app/{name}" for name in {*contents("static"), *contents("templates"), *vendor}}
    assert pages | {*contents("app"), *contents("models")} <= inside
    assert {"app/py.typed", "models/py.typed"} <= inside
    tops = {name.partition("/")[0] for name in inside}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"app", "models"}


ASK = """
import app.main, pathlib, re, sys, warnings
from app.settings import Settings
from fastapi.testclient import TestClient

assert pathlib.Path(app.main.__file__).is_relative_to(sys.prefix), app.main.__file__
settings = Settings(data_dir=pathlib.Path(sys.argv[1]), allowed_hosts="testserver", offline=True)
with TestClient(app.main.create_app(settings)) as client:
    page = client.get("/", headers={"accept": "text/html"})
    assert page.status_code == 200, page.text
    links = {link for link in re.findall(r'(?:href|src)="(/static/[^"]+)"', page.text)}
    assert any("vendor/htmx" in link for link in links), links
    for link in links:
        assert client.get(link).status_code == 200, link
    networks = client.get("/networks", headers={"accept": "application/json"}).json()
    assert "zfnet" in str(networks)
"""


def test_the_wheel_alone_serves_pages(wheel: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "venv", with_pip=False)
    python = tmp_path / "venv" / "bin" / "python"
    site = Path(sysconfig.get_path("purelib", vars={"base": str(tmp_path / "venv")}))
    pip(sys.executable, "install", "--quiet", "--no-deps", "--target", str(site), str(wheel))
    dependencies(site)
    ours = ("DECONVNET_", "PYTHON")
    environment = {key: value for key, value in os.environ.items() if not key.startswith(ours)}
    command = [str(python), "-c", ASK, str(tmp_path / "data")]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr


def dependencies(site: Path) -> None:
    """Link this environment's packages into another's, all but the project itself."""
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        if "deconvnet" not in entry.name and not (site / entry.name).exists():
            (site / entry.name).symlink_to(entry)
