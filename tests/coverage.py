"""``make coverage``: does every line and branch of the gates for photos and for weights run?"""

from __future__ import annotations

import sys

import pytest

GATES = {
    "app.photos": "tests/app/photos",
    "models.weights.files": "tests/models/weights",
    "models.weights.metadata": "tests/models/weights",
}
"""The modules that let in what strangers made, and the folders of their tests."""


def main() -> None:
    """Run the tests of the gates, and fail where a line or a branch is left out."""
    measured = [f"--cov={module}" for module in GATES]
    chosen = ["--cov-branch", "--cov-report=term-missing", "--cov-fail-under=100", "-q"]
    sys.exit(pytest.main([*measured, *chosen, *dict.fromkeys(GATES.values())]))


if __name__ == "__main__":
    main()
