"""``make chaos``: two minutes in which everything breaks, and how many answers are as promised."""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.app.test_serving import Server, multipart, serving
from tests.serving import photo, wait_for
from tests.soak import settings
from tests.stress import FORM, Crowd, Tally, children_of, flood, report

DISK_MB, FLOOD = 24, 40
HONEST = 0.995
"""The share of answers that must be as promised: what was asked for, or an honest 503."""


@dataclass
class Chaos:
    """What two minutes of chaos came to; ``after`` is how a request fared once all was over."""

    tally: Tally
    faults: Counter[str]
    after: int
    orphans: list[int]
    stopped: int | None
    traceback: bool

    @property
    def honest(self) -> float:
        """Return the share of the requests that were answered as promised."""
        asked = self.tally.count + len(self.tally.broken)
        return 1 - (len(self.tally.wrong) + len(self.tally.broken)) / max(1, asked)


class Faults:
    """What can be done to a running server, by name."""

    def __init__(self, server: Server, disk: Path | None) -> None:
        self.server, self.disk, self.rng = server, disk, random.Random(0)
        self.done: Counter[str] = Counter()

    def cause(self, seconds: float) -> None:
        """Break one thing after another, for so long."""
        faults: list[Callable[[], None]] = [self.kill_a_decoder, self.leave, self.hang]
        if self.disk:
            faults += [self.fill_the_disk, self.close_the_disk]
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for fault in self.rng.sample(faults, len(faults)):
                fault()
                self.done[fault.__name__.replace("_", " ")] += 1
                time.sleep(0.3)

    def kill_a_decoder(self) -> None:
        """Kill every decoding process."""
        for child in children_of(self.server):
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)

    def leave(self) -> None:
        """Ask for much, and leave before the answer."""
        for number in range(8):
            body = multipart(photo(150 + number, 90), layer="conv2", network="alexnet", top="64")
            self._begin(body, len(body))

    def hang(self) -> None:
        """Send half of a request, and leave."""
        for _ in range(8):
            self._begin(b"x" * 500, 1000)

    def fill_the_disk(self) -> None:
        """Leave no byte free for a while."""
        assert self.disk
        filler = self.disk / "filler"
        with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(64 * 1024))
        time.sleep(0.5)
        filler.unlink(missing_ok=True)

    def close_the_disk(self) -> None:
        """Let nothing be written for a while."""
        assert self.disk
        if subprocess.run(["mount", "-o", "remount,ro", self.disk], capture_output=True).returncode:
            return  # a file is being written just now
        time.sleep(0.5)
        subprocess.run(["mount", "-o", "remount,rw", self.disk], check=True)

    def _begin(self, body: bytes, length: int) -> None:
        head = f"POST /visualize HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {length}\r\n"
        with contextlib.suppress(OSError), self.server.connect() as line:
            line.sendall(f"{head}Content-Type: {FORM['Content-Type']}\r\n\r\n".encode() + body)


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[Path | None]:
    """Give a disk of its own that fills soon; None where nobody may mount one."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode:
        yield None
        return
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def chaos(folder: Path, seconds: float, clients: int, photos_of_ff: int) -> Chaos:
    """Run a server, break everything that can break, and stop it while it works.

    It begins with 40 clients who send photos of nothing but FF, so many bytes each, and leave.
    """
    with small_disk(folder / "disk") as disk:
        place = {"DATA_DIR": str(folder / "disk"), "UPLOAD_BYTES": str(8 * 2**20)}
        with serving(folder, **settings(), **place, STOP_NOTICE="1") as server:
            return _chaos(Crowd(server), Faults(server, disk), seconds, clients, photos_of_ff)


def _chaos(crowd: Crowd, faults: Faults, seconds: float, clients: int, ff: int) -> Chaos:
    server, over = crowd.server, threading.Event()
    asking = threading.Thread(target=crowd.ask, args=(clients, lambda asked: not over.is_set()))
    asking.start()
    flood(server, FLOOD, ff)
    faults.done["photos of FF"] += FLOOD
    faults.cause(seconds)
    after = server.visualize(photo(), top=1)[0]
    children = children_of(server)
    server.process.send_signal(signal.SIGTERM)
    time.sleep(0.8)  # within the notice: the port is still open
    over.set()
    asking.join()
    stopped = server.process.wait(40)
    wait_for(lambda: not _alive(children), 10)
    traceback = "Traceback" in server.log.read_text()
    return Chaos(crowd.tally, faults.done, after, _alive(children), stopped, traceback)


def _alive(processes: list[int]) -> list[int]:
    return [each for each in processes if Path(f"/proc/{each}").exists()]


def main() -> None:
    """Run it, print what came of it, and fail where a promise is broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--clients", type=int, default=8)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = chaos(Path(folder), chosen.seconds, chosen.clients, 15_000_000)
    facts = {
        "requests": found.tally,
        "as promised": f"{found.honest:.2%}",
        "faults": dict(found.faults),
        "a request afterwards": found.after,
        "stopped with": found.stopped,
        "orphans": found.orphans,
        "tracebacks": found.traceback,
    }
    report("chaos", facts)
    for line in (*found.tally.wrong[:10], *found.tally.broken[:10]):
        report("", {"not as it should be": line})
    broken = found.honest < HONEST or found.orphans or found.traceback or found.after != 200
    if broken:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
