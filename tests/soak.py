"""``make soak``: 10,000 mixed requests of 16 clients: what does the server grow by meanwhile?"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from tests.app.test_serving import Server, serving
from tests.stress import Crowd, Size, Tally, report, samples

MB = 1_000_000
GROWTH = 20 * MB
"""By how much a server may grow after its caches are full."""
WARM = 0.3
"""The share of the requests after which they are."""
BUDGETS = {"ANSWER": 24, "RECORD": 48, "PICTURE": 8}
"""Budgets of the caches in MiB: so small that the first requests fill them."""


@dataclass(frozen=True)
class Soak:
    """What a long run came to: sizes when the caches were full, and in the end, as medians."""

    tally: Tally
    seconds: float
    full: Size
    end: Size

    @property
    def growth(self) -> int:
        """Return by how many bytes the server grew."""
        return self.end.memory - self.full.memory


def soak(server: Server, requests: int, clients: int) -> Soak:
    """Ask for much, and measure the server meanwhile."""
    crowd, stop, begun = Crowd(server), threading.Event(), time.monotonic()
    sizes: list[tuple[int, Size]] = []

    def watch() -> None:
        every = 0.25 if requests < 2000 else 1.0
        sizes.extend((crowd.asked, size) for size in samples(server, every, stop))

    watcher = threading.Thread(target=watch)
    watcher.start()
    crowd.ask(clients, lambda asked: asked <= requests)
    stop.set()
    watcher.join()
    full = [size for asked, size in sizes if WARM <= asked / requests < WARM + 0.2]
    end = [size for asked, size in sizes if asked / requests >= 0.8]
    seconds = time.monotonic() - begun
    return Soak(crowd.tally, seconds, _median(full), _median(end))


def _median(sizes: list[Size]) -> Size:
    columns = zip(*((s.memory, s.descriptors, s.threads, s.children) for s in sizes), strict=True)
    return Size(*(int(statistics.median(column)) for column in columns))


def settings() -> dict[str, str]:
    """Return the settings of a server whose caches are soon full."""
    budgets = {f"{name}_BYTES": str(mib * 2**20) for name, mib in BUDGETS.items()}
    return {"NETWORKS": "alexnet,lenet5", **budgets}


def main() -> None:
    """Run it, print what came of it, and fail where a promise is broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--clients", type=int, default=16)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder), **settings()) as server:
        found = soak(server, chosen.requests, chosen.clients)
    facts = {
        "requests": found.tally,
        "time": f"{found.seconds:.0f} s",
        "when the caches were full": found.full,
        "in the end": found.end,
        "growth": f"{found.growth / MB:.1f} MB",
    }
    report("soak", facts)
    for line in (*found.tally.wrong[:10], *found.tally.broken[:10]):
        report("", {"not as it should be": line})
    flat = found.end.descriptors <= found.full.descriptors + 8
    flat &= found.end.threads <= found.full.threads + 4
    if found.tally.wrong or found.tally.broken or found.growth >= GROWTH or not flat:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
