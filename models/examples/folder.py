"""The photos of a folder, here or in a store, in an order that only their names decide."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from models.errors import InvalidChoice
from models.examples.store import Store

SUFFIXES = (".jpg", ".jpeg", ".jpe", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif")
REFUSED = (".heic", ".heif")
"""Photos too, though ones that are not read: better listed as refused than passed over."""


class Entry(NamedTuple):
    """A photo of a folder: its number in the order, and what its folder says of it.

    ``name`` is its path below the folder with ``/`` between, as bytes.
    """

    number: int
    name: bytes
    size: int
    changed: int

    @property
    def line(self) -> bytes:
        """Write down what shows whether the file is still the one that was listed."""
        return b"%b\0%d\0%d\n" % (self.name, self.size, self.changed)


@dataclass(frozen=True)
class FolderPart:
    """One of ``of`` parts that a data folder is cut into: every so many groups of photos, one."""

    number: int = 0
    of: int = 1

    def __post_init__(self) -> None:
        """Raise InvalidChoice for a part that there is not."""
        if not 0 <= self.number < self.of:
            raise InvalidChoice("no_such_part", number=self.number + 1, of=self.of)

    def holds(self, group: int) -> bool:
        """Tell whether a group of photos is in this part."""
        return group % self.of == self.number


WHOLE = FolderPart()


def list_part(folder: Path | Store, part: FolderPart, group: int) -> Iterator[Entry]:
    """Yield the photos of a part of a folder, whose groups are of ``group`` photos each."""
    return (each for each in list_photos(folder) if part.holds(each.number // group))


def list_photos(folder: Path | Store) -> Iterator[Entry]:
    """Yield the photos of a folder and of those within it, by the bytes of their paths.

    Only one branch of folders is in memory at a time. Links to folders are not followed. A folder
    that cannot be read is yielded itself, so that whoever reads it finds out why. Raises
    InvalidChoice where there is no folder, or a store does not answer.
    """
    for number, found in enumerate(_find(folder)):
        yield Entry(number, *found)


def _find(folder: Path | Store) -> Iterator[tuple[bytes, int, int]]:
    if isinstance(folder, Store):
        return folder.walk(_is_photo)
    if not folder.is_dir():
        raise InvalidChoice("no_folder", folder=str(folder))
    return _walk(os.fsencode(folder), b"")


def _is_photo(name: bytes) -> bool:
    """Tell by the end of its name whether a file counts as a photo."""
    return os.path.splitext(name)[1].lower().decode("latin-1") in SUFFIXES + REFUSED


def _walk(root: bytes, below: bytes) -> Iterator[tuple[bytes, int, int]]:
    try:
        with os.scandir(os.path.join(root, below)) as found:
            entries = [
                (e.name + b"/" if e.is_dir(follow_symlinks=False) else e.name) for e in found
            ]
    except OSError:
        yield below.rstrip(b"/"), 0, 0
        return
    for name in sorted(entries):
        path = below + name
        if name.endswith(b"/"):
            yield from _walk(root, path)
        elif _is_photo(name):
            yield path, *_status(os.path.join(root, path))


def _status(path: bytes) -> tuple[int, int]:
    try:
        status = os.stat(path)
    except OSError:  # a dangling link, or a file that has just gone
        return 0, 0
    return status.st_size, status.st_mtime_ns


def read_photo(folder: Path | Store, name: bytes) -> bytes:
    """Read a photo's file; raises OSError."""
    if isinstance(folder, Store):
        return folder.read(name)
    return (folder / os.fsdecode(name)).read_bytes()
