"""Looking at groups of photos, and what was found of them so far."""

from __future__ import annotations

import hashlib
import platform
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from models.examples.folder import Entry
from models.examples.index import RefusedPhoto
from models.examples.reading import Read
from models.examples.strongest import Found, merge, see
from models.networks.network import Network
from models.networks.preprocessing import batch_pixels

BATCH = {"cpu": 16, "cuda": 128}
"""How many photos go forward together, always: the last batch is filled up with zeros."""


@dataclass
class State:
    """What was found so far of a build, which is all that it keeps in memory.

    ``trail`` is a hash of the list of photos up to here: it tells whether the folder is the same.
    ``began`` is when the build did, on the clock of files.
    """

    found: Found
    names: dict[int, str] = field(default_factory=dict)
    done: int = 0
    refused: list[RefusedPhoto] = field(default_factory=list)
    fingerprint: int = 0
    trail: str = ""
    began: float = field(default_factory=time.time)

    def follow(self, entry: Entry) -> None:
        """Note that a photo is dealt with."""
        self.done += 1
        self.trail = _step(self.trail, entry)

    def note(self, read: Read) -> None:
        """Note what was read, or why it was not."""
        name = read.entry.name.decode(errors="backslashreplace")
        self.fingerprint = add_prints(self.fingerprint, print_of(read))
        if read.picture is None:
            self.refused.append(RefusedPhoto(name, read.reason))
        else:
            self.names[read.entry.number] = name
        self.follow(read.entry)

    def join(self, other: State) -> None:
        """Add what was found in other photos, in any order; the trail is left as it is."""
        self.found = merge([self.found, other.found])
        self.names |= other.names
        self.done += other.done
        self.refused += other.refused
        self.fingerprint = add_prints(self.fingerprint, other.fingerprint)
        self.prune()

    def prune(self) -> None:
        """Forget the names of photos that are no longer among the strongest."""
        used = {n for each in self.found.values() for n in each.image[each.found].tolist()}
        self.names = {number: self.names[number] for number in sorted(used)}


def trail_of(trail: str, entries: Iterable[Entry]) -> str:
    """Follow a trail past some more photos."""
    for entry in entries:
        trail = _step(trail, entry)
    return trail


def _step(trail: str, entry: Entry) -> str:
    return hashlib.sha256(trail.encode() + entry.line).hexdigest()


def print_of(read: Read) -> int:
    """Turn a photo's path and content into a number; their sum is a data set's fingerprint."""
    return int.from_bytes(hashlib.sha256(read.entry.name + b"\0" + read.digest).digest(), "big")


def add_prints(one: int, other: int) -> int:
    """Add fingerprints: the same in any order and grouping."""
    return (one + other) % 2**256


def batch_of(network: Network) -> int:
    """Say how many photos go forward together on a network's device."""
    return BATCH[network.device.type]


def look(network: Network, reads: Iterable[Read], state: State) -> None:
    """Run a group of photos forward, and note what was found and what was refused.

    Each photo has its own row of the batch, and always the same neighbours: sums may be rounded
    otherwise in another row. The row of a photo that was refused is blank.
    """
    size, group = batch_of(network), list(reads)
    seen = {r.entry.number % size: r.picture for r in group if r.picture is not None}
    if seen:
        blank = np.zeros_like(next(iter(seen.values())))
        pictures = [seen.get(row, blank) for row in range(size)]
        pixels = batch_pixels(pictures, network.preprocessing, network.device)
        first = group[0].entry.number // size * size
        see(network, pixels, {row: first + row for row in seen}, state.found)
    for each in group:
        state.note(each)


def computed_by(network: Network) -> dict[str, str | int]:
    """Name what the last bits of the numbers may hang on."""
    device = network.device
    on_gpu = device.type == "cuda"
    return {
        "device": device.type,
        "processor": torch.cuda.get_device_name(device) if on_gpu else _processor(),
        "threads": torch.get_num_threads(),
        "batch": batch_of(network),
        "torch": torch.__version__,
    }


def _processor() -> str:
    """Name the kind of processor, as Linux does."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if "model name" in line)
    except (OSError, StopIteration):
        return platform.machine()
