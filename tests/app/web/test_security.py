import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.serving import client_in, photo, sent


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with client_in(tmp_path_factory.mktemp("local")) as client:
        yield client


def is_problem(answer: Any, status: int) -> bool:
    document = answer.json()
    return (
        answer.status_code == status == document["status"]
        and answer.headers["content-type"] == "application/problem+json"
        and set(document) == {"type", "title", "status", "detail", "instance"}
        and document["instance"] == f"urn:uuid:{answer.headers['X-Request-ID']}"
        and len(document["detail"]) > 10
    )


@pytest.mark.parametrize(
    "host", ["127.0.0.1:8000", "localhost", "LOCALHOST:8000", "[::1]:8000", "127.0.0.1"]
)
def test_loopback_names_are_answered(client: TestClient, host: str) -> None:
    assert client.get("/healthz", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "localhost:x", "", "a@localhost", "[::1"]
)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_other_hosts_are_refused(client: TestClient, method: str, host: str) -> None:
    assert is_problem(client.request(method, "/healthz", headers={"host": host}), 400)


def test_any_host_is_answered_where_the_operator_says_so(tmp_path: Path) -> None:
    with client_in(tmp_path, allowed_hosts="*") as client:
        assert client.get("/healthz", headers={"host": "gpu.example"}).status_code == 200


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example",
        "null",
        "http://127.0.0.1",
        "http://127.0.0.1:8001",
        "http://127.0.0.1:8000.evil.example",
        "file://127.0.0.1:8000",
        "127.0.0.1:8000",
    ],
)
@pytest.mark.parametrize("allowed", ["127.0.0.1", "*"])
def test_pages_of_other_origins_are_refused(
    tmp_path: Path, method: str, origin: str, allowed: str
) -> None:
    with client_in(tmp_path, allowed_hosts=allowed) as client:
        answer = client.request(method, "/images/0", headers={"origin": origin})
    assert is_problem(answer, 403)


def test_our_own_pages_are_answered(client: TestClient) -> None:
    headers = {"origin": "http://127.0.0.1:8000", "sec-fetch-site": "same-origin"}
    assert client.get("/healthz", headers=headers).status_code == 200


def test_a_cross_site_request_without_an_origin_may_only_read(client: TestClient) -> None:
    headers = {"sec-fetch-site": "cross-site"}
    assert client.get("/healthz", headers=headers).status_code == 200
    assert is_problem(client.delete("/images/0", headers=headers), 403)


def basic(password: str) -> str:
    return "Basic " + base64.b64encode(f"me:{password}".encode()).decode()


@pytest.mark.parametrize("authorization", ["Bearer hush", "bearer hush", basic("hush")])
def test_the_token_opens_the_door(tmp_path: Path, authorization: str) -> None:
    with client_in(tmp_path, api_token="hush") as client:
        answer = client.get("/networks", headers={"authorization": authorization})
    assert answer.status_code == 200


@pytest.mark.parametrize(
    "authorization", ["", "Bearer", "Bearer hus", "hush", basic("no"), "Basic ?", "Bearer hüsh"]
)
def test_without_the_token_only_the_health_checks_answer(
    tmp_path: Path, authorization: str
) -> None:
    with client_in(tmp_path, api_token="hush") as client:
        headers = {b"authorization": authorization.encode()} if authorization else {}
        for path in ("/networks", "/metrics", "/openapi.json", "/nowhere", "/networks?token=hush"):
            answer = client.get(path, headers=headers)
            assert is_problem(answer, 401)
            assert answer.headers["www-authenticate"].startswith("Bearer")
        assert client.get("/healthz", headers=headers).status_code == 200
        assert client.get("/readyz", headers=headers).status_code == 200


@pytest.mark.parametrize(
    "authorization", [b"Basic \xe9", b"Basic \xc3\xa9", b"Bearer \xe9", b"\xe9", b"Basic /////w=="]
)
def test_a_token_in_no_encoding_is_refused_and_not_a_failure(
    tmp_path: Path, authorization: bytes
) -> None:
    with client_in(tmp_path, api_token="hush") as client:
        answer = client.get("/networks", headers={b"authorization": authorization})
        assert is_problem(answer, 401)


def test_every_answer_carries_the_security_headers(client: TestClient) -> None:
    answers = [
        client.get("/healthz"),
        client.get("/nowhere"),
        client.put("/healthz"),
        client.get("/healthz", headers={"host": "evil.example"}),
        client.post("/visualize"),
        client.post("/visualize", content=b"", headers={"content-length": "99999999"}),
    ]
    for answer in answers:
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert "server" not in answer.headers


def test_a_declared_length_over_the_limit_is_refused_at_once(tmp_path: Path) -> None:
    with client_in(tmp_path, max_upload_bytes=1000) as client:
        for length in ("1001", "9" * 30):
            headers = {"content-length": length}
            assert is_problem(client.post("/visualize", content=b"x", headers=headers), 413)
        headers = {"content-length": "-1"}
        assert is_problem(client.post("/visualize", content=b"x", headers=headers), 400)


def test_a_body_in_chunks_is_refused_as_soon_as_it_is_over_the_limit(tmp_path: Path) -> None:
    sent_chunks = 0

    def chunks() -> Iterator[bytes]:
        nonlocal sent_chunks
        yield b'--b\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
        for sent_chunks in range(1000):  # noqa: B007
            yield b"x" * 1000

    with client_in(tmp_path, max_upload_bytes=10_000) as client:
        headers = {"content-type": "multipart/form-data; boundary=b"}
        assert is_problem(client.post("/visualize", content=chunks(), headers=headers), 413)


@pytest.mark.parametrize(
    "name",
    ["../../etc/passwd", "NUL", "x" * 2_000, "‮gpj.exe", '"><img src=x onerror=1>', "a\nb"],
)
def test_the_name_of_a_file_touches_nothing(tmp_path: Path, name: str) -> None:
    with client_in(tmp_path) as client:
        answer = client.post("/visualize", **sent(photo(), name), data={"top": "1"})
        assert answer.status_code == 200
    files = [file.name for file in (tmp_path / "data").rglob("*") if file.is_file()]
    assert sorted(files) == sorted([f"{answer.json()['image']['id']}.ppm", "secret"])
    assert name not in answer.text


def test_no_cross_origin_header_is_ever_sent(client: TestClient) -> None:
    answer = client.options("/visualize", headers={"access-control-request-method": "POST"})
    assert not [name for name in answer.headers if name.startswith("access-control")]
