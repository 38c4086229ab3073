"""CI fails when a browser test did not run."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MARKED = "import pytest\npytestmark = pytest.mark.browser\n"
RUNS = "def test_page(): pass\n"
SKIPPED = "def test_other(): pytest.skip('no Chromium')\n"


def run(code: str, folder: Path, *arguments: str) -> int:
    (folder / "pytest.ini").write_text("[pytest]\nmarkers = browser\n")
    (folder / "test_pages.py").write_text(code)
    environment = {**os.environ, "PYTHONPATH": str(ROOT / ".ci"), "PYTEST_ADDOPTS": ""}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "every_browser_test", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True).returncode


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (MARKED + RUNS, pytest.ExitCode.OK),
        (MARKED + RUNS + SKIPPED, pytest.ExitCode.TESTS_FAILED),
        (MARKED + SKIPPED, pytest.ExitCode.TESTS_FAILED),
        (RUNS, pytest.ExitCode.TESTS_FAILED),
    ],
    ids=["all ran", "one skipped", "all skipped", "no browser test"],
)
def test_a_skipped_browser_test_fails_ci(code: str, status: int, tmp_path: Path) -> None:
    assert run(code, tmp_path) == status
    assert run(code, tmp_path, "-n", "2") == status
