"""Requests generated from the OpenAPI document, some as its links lead on: schemathesis."""

import subprocess
import sys
from pathlib import Path
from typing import Any

from app.main import create_app
from tests.app.test_serving import serving
from tests.serving import settings_in

SEED, EXAMPLES = 20, 5
CONFIGURATION = """
[checks]
not_a_server_error.expected-statuses = ["2xx", "3xx", "4xx", 503]
"""
NOT_CHECKED = (
    "unsupported_method",  # pages answer GET where the API does not ...
    "allow_header_conformance",  # ... and Allow says so
    "positive_data_acceptance",  # what a schema cannot say: one of two fields, maps that exist
)
HONEST = {"weights_missing.offline", "weights_missing.not_fetched"}
"""Why an offline server that is not busy may answer 503."""


def test_nothing_that_the_document_allows_or_forbids_fails(tmp_path: Path) -> None:
    (tmp_path / "schemathesis.toml").write_text(CONFIGURATION)
    with serving(tmp_path, NETWORKS="lenet5,alexnet") as server:
        program = str(Path(sys.executable).with_name("schemathesis"))
        command = [program, "run", f"{server.url}/openapi.json"]
        chosen = ["--seed", str(SEED), "--max-examples", str(EXAMPLES), "--no-shrink"]
        chosen += ["--exclude-checks", ",".join(NOT_CHECKED), "--warnings", "off"]
        done = subprocess.run(
            [*command, *chosen], cwd=tmp_path, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
        lines = server.lines()
    failed = {(line["status"], line["reason"]) for line in lines if line["status"] >= 500}
    assert len(lines) > 300 and failed <= {(503, reason) for reason in HONEST}
    assert "Traceback" not in server.log.read_text() and "traceback" not in server.log.read_text()


def test_links_of_the_document_lead_to_operations_that_there_are(tmp_path: Path) -> None:
    document: dict[str, Any] = create_app(settings_in(tmp_path)).openapi()
    operations = [each for path in document["paths"].values() for each in path.values()]
    known = {each["operationId"] for each in operations}
    answers = [answer for each in operations for answer in each["responses"].values()]
    led = {link["operationId"] for a in answers for link in a.get("links", {}).values()}
    assert len(led) == 5 and led <= known
