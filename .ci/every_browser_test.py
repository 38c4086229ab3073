"""A pytest plugin that fails a run in which a browser test was skipped, or none was run."""

from collections import Counter

import pytest

outcomes: Counter[str] = Counter()


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Count the outcomes of the tests marked `browser`."""
    if "browser" in report.keywords and (report.when == "call" or not report.passed):
        outcomes[report.outcome] += 1


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Turn a good exit status into a failure when a browser test did not run."""
    is_worker = hasattr(session.config, "workerinput")  # pytest-xdist's, which sees some tests only
    if session.exitstatus == pytest.ExitCode.OK and failing() and not is_worker:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say it."""
    if failing():
        terminalreporter.write_line(f"browser tests must all run: {dict(outcomes)}", red=True)


def failing() -> bool:
    """Say whether a browser test was skipped, or none passed."""
    return bool(outcomes["skipped"]) or not outcomes["passed"]
