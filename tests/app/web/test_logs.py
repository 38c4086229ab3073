import json
import logging
import sys
from pathlib import Path

import pytest

from app.web import logs
from tests.serving import client_in


def written(*arguments: object, **how: object) -> str:
    record = logging.getLogger("app.somewhere").makeRecord(
        "app.somewhere",
        logging.ERROR,
        "file.py",
        1,
        arguments[0],
        arguments[1:],
        how.get("failure"),  # type: ignore[arg-type]
    )
    return logs.OneLine().format(record)


def test_a_failure_is_one_line_with_its_traceback_and_the_id_of_its_request() -> None:
    id = logs.begin_request()
    try:
        raise RuntimeError("first\nsecond")
    except RuntimeError:
        line = written("%s failed", "it", failure=sys.exc_info())
    assert "\n" not in line
    document = json.loads(line)
    assert document["id"] == id and document["message"] == "it failed"
    assert document["traceback"].endswith("RuntimeError: first\nsecond")
    assert (document["level"], document["logger"]) == ("ERROR", "app.somewhere")


def test_no_client_can_choose_an_id_or_end_a_line() -> None:
    ids = {logs.begin_request() for _ in range(100)}
    assert len(ids) == 100
    line = written({"method": 'GET"}\n{"time": 0, "request": {}}'})
    assert "\n" not in line and json.loads(line)["request"]["id"] == logs.request_id()


@pytest.mark.parametrize("asked", [{"X-Request-ID": "chosen"}, {}])
def test_an_answer_has_an_id_of_our_own(tmp_path: Path, asked: dict[str, str]) -> None:

    with client_in(tmp_path) as client:
        answers = [client.get("/healthz", headers=asked) for _ in range(2)]
    first, second = (answer.headers["X-Request-ID"] for answer in answers)
    assert first != second and len(first) == 36
