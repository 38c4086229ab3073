"""Photos decoded and framed in processes of their own, some ahead of who uses them.

A process that dies costs the photo that it died of, and no other. None of them imports torch.
"""

from __future__ import annotations

import contextlib
import hashlib
import multiprocessing
import os
import select
import signal
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from threading import Thread
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models.disk import replace_file
from models.errors import DeconvnetError
from models.examples.folder import Entry, read_photo
from models.examples.store import Store
from models.networks.preprocessing import Preprocessing, framed

TOGETHER = 4
"""So many photos go to a process at a time: sending each alone would take longer."""
AHEAD = 3
"""So many parcels a process may be ahead."""

Decode = Callable[[bytes], Image.Image]
"""Makes an upright picture of a file's bytes; raises a DeconvnetError. It must be picklable."""

DIED = "ProcessDied"


class Read(NamedTuple):
    """A photo that was read: (size, size, 3) or (size, size), or None and why it was refused.

    ``digest`` is the SHA-256 of the file's bytes, that of nothing where there are none.
    """

    entry: Entry
    digest: bytes
    picture: NDArray[np.uint8] | None
    reason: str = ""


@dataclass(frozen=True)
class Reader:
    """Reads the photos of one folder as one network sees them."""

    folder: Path | Store
    preprocessing: Preprocessing
    decode: Decode

    def read(self, entry: Entry) -> Read:
        """Read one photo, here; whatever is wrong with it is a reason."""
        digest = hashlib.sha256().digest()
        try:
            entry.name.decode()
            data = read_photo(self.folder, entry.name)
            digest = hashlib.sha256(data).digest()
            picture = framed(self.decode(data), self.preprocessing, "crop")
        except UnicodeDecodeError:
            return Read(entry, digest, None, "NameIsNoText")
        except OSError as error:
            return Read(entry, digest, None, f"OSError.{error.strerror or error}")
        except DeconvnetError as error:
            name = ".".join(filter(None, (type(error).__name__, error.reason)))
            return Read(entry, digest, None, name)
        return Read(entry, digest, np.asarray(picture))

    def read_all(self, entries: Iterable[Entry], processes: int) -> Iterator[Read]:
        """Read photos in their order, in so many processes; 0 reads them here."""
        if not processes:
            yield from map(self.read, entries)
            return
        left = iter(entries)
        while lost := (yield from self._read_until_one_dies(left, processes)):
            for entry in lost:
                yield self._read_alone(entry)

    def _read_until_one_dies(
        self, left: Iterator[Entry], processes: int
    ) -> Generator[Read, None, list[Entry]]:
        """Read photos until a process dies; return those whose parcels it took with it."""
        sent: deque[list[Entry]] = deque()
        waiting: deque[Future[list[Read]]] = deque()
        with _pool(processes) as pool:
            try:
                while True:
                    while len(waiting) < AHEAD * processes:
                        if not (some := list(islice(left, TOGETHER))):
                            break
                        sent.append(some)
                        waiting.append(pool.submit(self._read_some, some))
                    if not waiting:
                        return []
                    yield from waiting[0].result()
                    waiting.popleft()
                    sent.popleft()
            except BrokenProcessPool:
                return [entry for some in sent for entry in some]
            finally:
                pool.shutdown(wait=False, cancel_futures=True)

    def _read_some(self, entries: list[Entry]) -> list[Read]:
        return [self.read(entry) for entry in entries]

    def _read_alone(self, entry: Entry) -> Read:
        """Read a photo in a process of its own, which it may take with it."""
        with _pool(1) as pool:
            try:
                return pool.submit(self.read, entry).result()
            except BrokenProcessPool:
                return Read(entry, hashlib.sha256().digest(), None, DIED)


@dataclass(frozen=True)
class Keeper(Reader):
    """Reads photos and keeps them, as the network sees them, in an index's folder."""

    out: Path

    def read(self, entry: Entry) -> Read:
        """Read one photo, and keep it."""
        read = super().read(entry)
        if read.picture is not None:
            keep_photo(self.out, entry.name.decode(), read.picture)
        return read._replace(picture=None)


PHOTOS = "photos"
LOSSLESS: dict[str, Any] = {"lossless": True, "quality": 20, "method": 2}


def photo_file(index: Path, name: str) -> Path:
    """Return where an index keeps a photo as the network saw it, without loss."""
    digest = hashlib.sha256(name.encode()).hexdigest()
    return index / PHOTOS / digest[:2] / f"{digest}.webp"


def keep_photo(index: Path, name: str, picture: NDArray[np.uint8]) -> None:
    """Keep a photo as the network saw it."""
    file = photo_file(index, name)
    file.parent.mkdir(parents=True, exist_ok=True)
    replace_file(file, lambda part: Image.fromarray(picture).save(part, "WEBP", **LOSSLESS))


def open_photo(index: Path, name: str, preprocessing: Preprocessing) -> Image.Image:
    """Return a photo as the network saw it; raises OSError or ValueError."""
    with Image.open(photo_file(index, name), formats=("WEBP",)) as picture:
        return picture.convert("L" if preprocessing.channels == 1 else "RGB")


def _pool(processes: int) -> ProcessPoolExecutor:
    """Make processes that share nothing with this one, whose threads may hold any lock."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return ProcessPoolExecutor(processes, context, _begin, (os.getpid(),))


def _begin(parent: int) -> None:
    """Leave Ctrl-C to the process that asked, and end when that ends, however it does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        select.select([os.pidfd_open(parent)], [], [])
    os._exit(0)
