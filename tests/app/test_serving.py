"""A real server in a process of its own, met through real sockets."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.message import Message
from pathlib import Path
from typing import Any

import pytest

from app.web.protocol import FREE_CHUNKS
from app.web.security import HEADERS
from tests.serving import photo, wait_for

START = "import sys; sys.argv = ['deconvnet', *sys.argv[1:]]; from app.cli.main import main; main()"


class Server:
    """A running `deconvnet serve`."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
        self.process, self.port, self.log = process, port, log
        self.url = f"http://127.0.0.1:{port}"

    def get(self, path: str) -> tuple[int, bytes]:
        return fetch(self.url + path)

    def visualize(self, data: bytes, layer: str = "conv5", top: int = 9) -> tuple[int, bytes]:
        body = multipart(data, layer=layer, top=str(top))
        headers = {"content-type": "multipart/form-data; boundary=edge"}
        return fetch(urllib.request.Request(f"{self.url}/visualize", body, headers))

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=10)

    def lines(self) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self.log.read_text().splitlines() if line[0] == "{"]
        return [line["request"] for line in lines if "request" in line]


def fetch(request: Any) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def multipart(data: bytes, **fields: str) -> bytes:
    parts = [
        f'--edge\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields.items()
    ]
    head = b'--edge\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
    return b"".join([*parts, head, data, b"\r\n--edge--\r\n"])


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def serving(folder: Path, **settings: str) -> Iterator[Server]:
    port, log = free_port(), folder / "log"
    places = {f"{name}_DIR": str(folder / name.lower()) for name in ("DATA", "CACHE", "WEIGHTS")}
    chosen = {"OFFLINE": "1", "DEVICE": "cpu", "PORT": str(port), **places, **settings}
    environment = os.environ | {f"DECONVNET_{name}": value for name, value in chosen.items()}
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-c", START, "serve"], env=environment, stderr=file
        )
    server = Server(process, port, log)
    try:
        wait_for(lambda: is_up(server), 60)
        yield server
    finally:
        process.kill()
        process.wait()


def is_up(server: Server) -> bool:
    assert server.process.poll() is None, server.log.read_text()
    try:
        return server.get("/readyz")[0] == 200
    except OSError:
        return False


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("server")) as server:
        yield server


def together(count: int, work: Callable[[int], Any]) -> list[Any]:
    results: list[Any] = [None] * count

    def run(place: int) -> None:
        results[place] = work(place)

    threads = [threading.Thread(target=run, args=(place,)) for place in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def test_one_line_is_logged_a_request_without_names_or_bytes(server: Server) -> None:
    assert server.visualize(photo(90, 90))[0] == 200
    wait_for(lambda: any(line["route"] == "/visualize" for line in server.lines()), 5)
    (line,) = [line for line in server.lines() if line["route"] == "/visualize"]
    assert line["status"] == 200 and line["format"] == "JPEG" and line["size"] == "90x90"
    assert line["ms"] > 0 and len(line["image"]) == 8


def test_every_answer_names_its_line_in_the_log(server: Server) -> None:
    ids = {}
    for path in ("/healthz", "/networks/nope"):
        with server.connect() as line:
            line.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
            answer = http.client.HTTPResponse(line)
            answer.begin()
            ids[answer.headers["X-Request-ID"]] = answer.status, json.loads(answer.read())
    status, headers, body = exchange(server, NO_REQUESTS["two hosts"][1])
    ids[headers["X-Request-ID"]] = status, json.loads(body)
    assert len(ids) == 3 and [status for status, _ in ids.values()] == [200, 404, 400]
    wait_for(lambda: ids.keys() <= {each["id"] for each in server.lines()}, 5)
    logged = {each["id"]: each for each in server.lines()}
    for id, (status, document) in ids.items():
        assert logged[id]["status"] == status
        assert status == 200 or document["instance"] == f"urn:uuid:{id}"
    reasons = [logged[id].get("reason") for id in ids]
    assert reasons == [None, "unknown_network", "request_malformed"]
    counted = server.get("/metrics")[1].decode()
    for reason in reasons[1:]:
        assert f'deconvnet_refusals_total{{reason="{reason}"}} ' in counted


def test_silent_and_half_sent_connections_delay_nobody(server: Server) -> None:
    held = [server.connect() for _ in range(300)]
    for each in held[::2]:
        each.sendall(
            b"POST /visualize HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n\r\nx"
        )
    server.get("/healthz")
    start = time.perf_counter()
    for _ in range(10):
        assert server.get("/healthz")[0] == 200
    assert (time.perf_counter() - start) / 10 < 0.1
    for each in held:
        each.close()
    assert server.get("/healthz")[0] == 200


HEAD = b"POST /images HTTP/1.1\r\nHost: 127.0.0.1\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n"
NO_REQUESTS = {
    "two hosts": (400, b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),
    "no host": (400, b"GET / HTTP/1.1\r\n\r\n"),
    "two lengths": (400, HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n"),
    "a length that is no number": (400, HEAD + b"Content-Length: x\r\n\r\n"),
    "an unknown encoding": (501, HEAD + b"Transfer-Encoding: gzip\r\n\r\n"),
    "a chunk of no size": (400, CHUNKED + b"\r\nx\r\n\r\n"),
    "no HTTP": (400, b"\x16\x03\x01\r\n\r\n"),
    "50 MB of headers": (431, HEAD + b"X: " + b"x" * 50_000_000),
    "a body in crumbs": (400, CHUNKED + b"\r\n" + b"1\r\nx\r\n" * 300_000),
}


def exchange(server: Server, data: bytes) -> tuple[int, Message, bytes]:
    """Send bytes as they are, and read the answer."""
    with server.connect() as line:
        line.sendall(data)
        answer = http.client.HTTPResponse(line)
        answer.begin()
        return answer.status, answer.headers, answer.read()


@pytest.mark.parametrize(("status", "data"), NO_REQUESTS.values(), ids=NO_REQUESTS)
def test_what_is_no_request_is_answered_like_any_failure(
    server: Server, status: int, data: bytes
) -> None:
    found, headers, body = exchange(server, data)
    assert found == status and headers["Content-Type"] == "application/problem+json"
    assert HEADERS.items() <= dict(headers).items()
    assert json.loads(body)["status"] == status and json.loads(body)["detail"].endswith(".")
    assert server.get("/healthz")[0] == 200


def test_a_body_in_small_chunks_is_read(server: Server) -> None:
    body = multipart(photo(900, 700))
    parts = [body[at : at + 128] for at in range(0, len(body), 128)]
    assert len(parts) > 2 * FREE_CHUNKS
    framed = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts[:-1])
    framed += b"%x\r\n%s\r\n0\r\n\r\n" % (len(parts[-1]), parts[-1])
    kind = b"Content-Type: multipart/form-data; boundary=edge\r\n\r\n"
    assert exchange(server, CHUNKED + kind + framed)[0] == 303


def test_a_client_that_leaves_gives_its_place_free(tmp_path: Path) -> None:
    with serving(tmp_path, QUEUE_LIMIT="3") as server:
        body = [multipart(photo(200 + place, 200), layer="conv2", top="256") for place in range(3)]
        held = []
        for each in body:
            line = server.connect()
            head = (
                "POST /visualize HTTP/1.1\r\nHost: 127.0.0.1\r\n"
                f"Content-Type: multipart/form-data; boundary=edge\r\nContent-Length: {len(each)}"
            )
            line.sendall(head.encode() + b"\r\n\r\n" + each)
            held.append(line)
        for line in held:
            line.close()
        wait_for(lambda: b"queue_places_taken 0.0" in server.get("/metrics")[1], 20)
        assert server.visualize(photo(), top=1)[0] == 200


def test_above_the_queue_the_answer_is_503_at_once(tmp_path: Path) -> None:
    with serving(tmp_path, QUEUE_LIMIT="2") as server:
        server.visualize(photo())
        answers = together(
            12, lambda place: server.visualize(photo(100 + place, 99), layer="conv2", top=256)[0]
        )
        assert set(answers) == {200, 503}
        assert server.visualize(photo(), top=1)[0] == 200


def test_stopping_loses_no_accepted_request_and_leaves_no_orphan(tmp_path: Path) -> None:
    with serving(tmp_path, STOP_NOTICE="2") as server:
        server.visualize(photo())
        children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children")
        started = threading.Barrier(21)

        def ask(place: int) -> int:
            started.wait()
            return server.visualize(photo(100 + place, 99))[0]

        def stop() -> None:
            started.wait()
            time.sleep(0.3)
            assert children.read_text().split()
            server.process.send_signal(signal.SIGTERM)
            wait_for(lambda: server.get("/readyz")[0] == 503, 2)
            assert server.get("/healthz")[0] == 200

        stopping = threading.Thread(target=stop)
        stopping.start()
        assert together(20, ask) == [200] * 20
        stopping.join()
        server.process.wait(30)
    assert "Traceback" not in server.log.read_text()


def test_what_the_drain_limit_cuts_gets_an_honest_answer(tmp_path: Path) -> None:
    with serving(tmp_path, STOP_NOTICE="0", DRAIN_SECONDS="2") as server:
        server.visualize(photo())
        answered = threading.Event()

        def ask(number: int) -> int:
            status = server.visualize(photo(300 + number, 200), top=64)[0]
            if status == 200:
                answered.set()
            return status

        def stop() -> None:
            answered.wait()
            server.process.send_signal(signal.SIGTERM)

        stopping = threading.Thread(target=stop)
        stopping.start()
        statuses = together(24, ask)
        assert set(statuses) == {200, 503}
        stopping.join()
        assert server.process.wait(30) == -signal.SIGTERM
    assert "Traceback" not in server.log.read_text()


def test_ctrl_c_ends_without_a_traceback(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(20) == 0
        assert "Traceback" not in server.log.read_text()


def test_a_port_that_is_taken_is_a_sentence(server: Server, tmp_path: Path) -> None:
    environment = os.environ | {"DECONVNET_DATA_DIR": str(tmp_path)}
    command = [sys.executable, "-c", START, "serve", "--port", str(server.port)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode != 0
    assert "address already in use" in done.stderr and "Traceback" not in done.stderr
