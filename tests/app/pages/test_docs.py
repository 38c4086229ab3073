"""The API's page: its examples run, and it names what is answered."""

import html
import io
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from starlette.testclient import TestClient

from tests.serving import client_in, photo, sent


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with client_in(tmp_path_factory.mktemp("docs")) as client:
        yield client


def rows(page: str, section: str) -> list[str]:
    part = page.split(f'id="{section}"')[1].split("</section>")[0]
    return re.findall(r'<th scope="row">(?:<code>)?([^<]+)', part)


def test_the_python_example_runs(
    client: TestClient,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """requests sends what the example says; the test's own client takes its place."""
    code = client.get("/docs").text.split('<code id="python">')[1].split("</code>")[0]
    (tmp_path / "dog.jpg").write_bytes(photo())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "requests", client)
    exec(html.unescape(code), {})  # our own text
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 10 and lines[-1].endswith("(4, 3, 224, 224)")


def test_the_answer_s_fields_are_those_that_come(client: TestClient) -> None:
    page = client.get("/docs").text
    named = set(rows(page, "fields"))
    answer = client.post("/visualize", **sent(photo()), data={"top": "1"}).json()
    assert set(answer) <= named
    for name in answer["projections"][0]:
        assert f"projections[].{name}" in named
    assert {"image.id", "weights.sha256", "predictions[].label"} <= named


def test_the_arrays_are_those_that_come(client: TestClient) -> None:
    headers = {"accept": "application/x-npz"}
    answer = client.post("/visualize", **sent(photo()), data={"top": "1"}, headers=headers)
    arrays = np.load(io.BytesIO(answer.content))
    assert rows(client.get("/docs").text, "arrays") == list(arrays)


def test_errors_that_all_share_stand_once(client: TestClient) -> None:
    page = client.get("/docs").text
    assert rows(page, "errors") == ["400", "401", "403", "405", "500"]
    assert page.count("A page of another site asked.") == 1


def test_every_field_of_the_answer_is_described(client: TestClient) -> None:
    part = client.get("/docs").text.split('id="fields"')[1].split("</section>")[0]
    described = re.findall(r"<tr><th scope=\"row\">(.*?)</th><td>.*?</td><td>(.*?)</td></tr>", part)
    assert len(described) > 50
    assert [name for name, meaning in described if not meaning.strip()] == []
