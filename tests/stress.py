"""A crowd that asks a real server for everything at once, and checks every answer."""

from __future__ import annotations

import hashlib
import http.client
import random
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.app.test_serving import Server, multipart
from tests.serving import photo

FORM = {"Content-Type": "multipart/form-data; boundary=edge"}
KINDS = ("image/png", "application/x-npz")
"""Answers whose bytes are the same whenever the same is asked."""
LAYERS = {"lenet5": ("c2",), "alexnet": ("conv1", "conv3", "conv5")}
PHOTOS = 24


@dataclass
class Tally:
    """What came of many requests."""

    statuses: Counter[int] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    """Answers that no request of that kind may get, and pictures that came out otherwise."""
    broken: list[str] = field(default_factory=list)
    """Connections that ended without an answer."""

    @property
    def count(self) -> int:
        """Count the answers."""
        return self.statuses.total()

    def __str__(self) -> str:
        listed = ", ".join(f"{n} x {status}" for status, n in sorted(self.statuses.items()))
        return (
            f"{self.count} answers ({listed}), {len(self.wrong)} wrong, {len(self.broken)} broken"
        )


class Crowd:
    """Clients that ask for random things, each thing checked; the same seed asks the same."""

    def __init__(self, server: Server, seed: int = 0) -> None:
        self.server, self.seed = server, seed
        self.photos = [photo(200 + 5 * n, 180, kind=("JPEG", "PNG")[n % 2]) for n in range(PHOTOS)]
        self.seen: dict[str, str] = {}
        self.tally = Tally()
        self.asked = 0
        self._lock = threading.Lock()

    def ask(self, clients: int, goes_on: Callable[[int], bool]) -> None:
        """Let so many clients ask for as long as ``goes_on`` says so of the number asked."""
        threads = [
            threading.Thread(target=self._client, args=(number, goes_on), daemon=True)
            for number in range(clients)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _client(self, number: int, goes_on: Callable[[int], bool]) -> None:
        client = Client(self, random.Random(f"{self.seed} {number}"))
        while self._next(goes_on):
            client.do_something()
        client.close()

    def _next(self, goes_on: Callable[[int], bool]) -> bool:
        with self._lock:
            self.asked += 1
            return goes_on(self.asked)

    def note(self, what: str, status: int, fine: bool, same: str = "") -> None:
        """Count an answer; one that is not fine, or not the ``same`` as before, is wrong."""
        with self._lock:
            self.tally.statuses[status] += 1
            if not fine or self.seen.setdefault(what, same) != same:
                self.tally.wrong.append(f"{status} {what}")

    def note_broken(self, what: str, error: Exception) -> None:
        """Count a connection that ended without an answer."""
        with self._lock:
            self.tally.broken.append(f"{what}: {error!r}")


class Client:
    """One client of a crowd."""

    def __init__(self, crowd: Crowd, rng: random.Random) -> None:
        self.crowd, self.rng = crowd, rng
        self.line: http.client.HTTPConnection | None = None
        self.ids: dict[int, str] = {}

    def do_something(self) -> None:
        """Ask for one thing, or for two that belong together."""
        acts = (self.visualize, self.explore, self.look, self.come_and_go, self.err, self.watch)
        (act,) = self.rng.choices(acts, (35, 15, 30, 5, 10, 5))
        act()

    def visualize(self) -> None:
        """Have a photo visualized; the same question has the same bytes."""
        number, kind = self.rng.randrange(PHOTOS), self.rng.choice(KINDS)
        network, layer = self._layer()
        fields = {"network": network, "layer": layer, "top": str(self.rng.choice((1, 4, 9)))}
        body = multipart(self.crowd.photos[number], **fields)
        what = f"visualize {number} {fields} {kind}"
        self._ask("POST", "/visualize", {200}, body, FORM | {"Accept": kind}, what)

    def explore(self) -> None:
        """Open a page."""
        if id := self._id():
            network, layer = self._layer()
            self._ask("GET", f"{id}/{network}/{layer}", {200})

    def look(self) -> None:
        """Fetch a picture of a page; the same address has the same bytes."""
        if id := self._id():
            network, layer = self._layer()
            part = self.rng.choice(("projection", "patch", "map"))
            pictures = (
                f"{id}/photo.jpg",
                f"{id}/{network}/{layer}/maps.png",
                f"{id}/{network}/{layer}/{self.rng.randrange(6)}/{part}.png",
            )
            address = self.rng.choices(pictures, (1, 1, 6))[0]
            self._ask("GET", address, {200, 422}, what=address)  # a silent map has no projection

    def come_and_go(self) -> None:
        """Send a photo that nobody has sent before, and have it forgotten."""
        fresh = self.crowd.photos[0] + self.rng.randbytes(16)
        taken = self._ask("POST", "/images", {303}, multipart(fresh), FORM)
        if taken:
            self._ask("DELETE", taken, {204})

    def err(self) -> None:
        """Ask for what nobody can have."""
        data = self.crowd.photos[0]
        bodies: list[tuple[int, bytes]] = [
            (415, multipart(self.rng.randbytes(3000))),
            (415, multipart(data[: len(data) // 3])),
            (404, multipart(data, network="nope")),
            (422, multipart(data, network="lenet5", top="99")),
            (422, multipart(data, colour="red")),
        ]
        status, body = self.rng.choice(bodies)
        self._ask("POST", "/visualize", {status}, body, FORM)

    def watch(self) -> None:
        """Look how the server is."""
        self._ask("GET", self.rng.choice(("/healthz", "/readyz", "/metrics", "/networks")), {200})

    def close(self) -> None:
        """Hang up."""
        if self.line:
            self.line.close()
        self.line = None

    def _layer(self) -> tuple[str, str]:
        network = self.rng.choice(tuple(LAYERS))
        return network, self.rng.choice(LAYERS[network])

    def _id(self) -> str | None:
        """Return the address of a photo, sent when it is first needed."""
        number = self.rng.randrange(PHOTOS)
        if number not in self.ids:
            body = multipart(self.crowd.photos[number])
            if taken := self._ask("POST", "/images", {303}, body, FORM):
                self.ids[number] = taken
        return self.ids.get(number)

    def _ask(
        self,
        method: str,
        path: str,
        expected: set[int],
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
        what: str = "",
    ) -> str | None:
        """Ask, and note the answer; return its Location where it is as expected.

        503 is fine where it says when to ask again, or that the disk refuses.
        """
        name = what or f"{method} {path}"
        try:
            self.line = self.line or http.client.HTTPConnection(
                "127.0.0.1", self.crowd.server.port, timeout=90
            )
            self.line.request(method, path, body, headers or {})
            answer = self.line.getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException) as error:
            self.close()
            self.crowd.note_broken(name, error)
            return None
        busy = answer.status == 503 and (
            "Retry-After" in answer.headers or b"disk space" in content or b"folder" in content
        )
        same = hashlib.sha256(content).hexdigest() if what and answer.status == 200 else ""
        fine = answer.status in expected or busy
        self.crowd.note(f"{name}" if same else f"{name} {answer.status}", answer.status, fine, same)
        if answer.headers.get("Connection") == "close":
            self.close()
        return answer.headers.get("Location", "-") if answer.status in expected else None


@dataclass(frozen=True)
class Size:
    """How large a server is: resident memory in bytes, descriptors, threads, children."""

    memory: int
    descriptors: int
    threads: int
    children: int

    @classmethod
    def of(cls, server: Server) -> Size:
        """Measure a running server."""
        process = Path(f"/proc/{server.process.pid}")
        status = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
        return cls(
            int(status["VmRSS"].split()[0]) * 1024,
            sum(1 for _ in (process / "fd").iterdir()),
            int(status["Threads"]),
            len(children_of(server)),
        )


def children_of(server: Server) -> list[int]:
    """List a server's child processes: its decoders."""
    pid = server.process.pid
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def flood(server: Server, clients: int, size: int) -> None:
    """Send photos of nothing but FF, so many bytes each, and leave without reading on."""
    body = multipart(b"\xff\xd8" + b"\xff" * size)
    head = (
        f"POST /images HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n"
        f"Content-Type: {FORM['Content-Type']}\r\n\r\n"
    ).encode()

    def send() -> None:
        try:
            with server.connect() as line:
                line.sendall(head + body)
                line.shutdown(socket.SHUT_WR)
        except OSError:  # refused before it was read
            pass

    threads = [threading.Thread(target=send, daemon=True) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)


def samples(server: Server, seconds: float, stop: threading.Event) -> Iterator[Size]:
    """Measure a server now and then, until told to stop."""
    while not stop.wait(seconds):
        yield Size.of(server)


def report(title: str, facts: dict[str, object]) -> None:
    """Print what came of a run, a line each."""
    lines = [title, *(f"  {name}: {value}" for name, value in facts.items())]
    print("\n".join(lines), flush=True)  # noqa: T201
