"""``make coverage``: does every line and branch of the gates for photos and for weights run?"""

from __future__ import annotations

import sys

import pytest

GATES = {
    "app.photos.decoding": "tests/app/photos",
    "app.photos.decoders": "tests/app/photos",
    "app.photos.store": "tests/app/photos",
    "app.photos.uploads": "tests/app/photos",
    "models.weights.files": "tests/models/weights/test_files.py",
    "models.weights.metadata": "tests/models/weights/test_imports.py",
}
"""The modules that let in what strangers made, and where their tests are."""


def main() -> None:
    """Run the tests of the gates, and fail where a line or a branch is left out."""
    measured = [f"--cov={module}" for module in GATES]
    chosen = ["--cov-branch", "--cov-report=term-missing", "--cov-fail-under=100", "-q"]
    sys.exit(pytest.main([*measured, *chosen, *dict.fromkeys(GATES.values())]))


if __name__ == "__main__":
    main()
