"""A folder of photos in a store that pyarrow knows: an object store, HDFS, or one of fsspec's.

Only the address travels to other processes and machines; each opens the store for itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from models.errors import InvalidChoice

SCHEME = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
MOST_SAID = 200
"""So much of what a store's library complains of is repeated, of its first line."""


@dataclass(frozen=True)
class Store:
    """A folder in a store, by its address, such as ``s3://bucket/photos``."""

    address: str

    def __str__(self) -> str:
        """Write the address without its query and whatever may be a password."""
        return re.sub("//[^/]*@", "//", self.address.partition("?")[0])

    def walk(self, wanted: Callable[[bytes], bool]) -> Iterator[tuple[bytes, int, int]]:
        """Yield path, size and time (ns) of the wanted files, by the bytes of their paths.

        One folder after another is asked for, so that only one branch is in memory at a time.
        Raises InvalidChoice where the store does not answer.
        """
        try:
            yield from _walk(*_open(self.address), b"", wanted)
        except Exception as error:  # each store's library has errors of its own
            raise self._no_answer(error) from error

    def read(self, name: bytes) -> bytes:
        """Read a file; raises OSError."""
        try:
            files, root = _open(self.address)
            with files.open_input_stream(_join(root, name), compression=None) as opened:
                data: bytes = opened.read()
        except OSError:
            raise
        except Exception as error:  # each store's library has errors of its own
            raise OSError(_first_line(error)[:MOST_SAID]) from error
        return data

    def check(self) -> None:
        """Raise InvalidChoice where the address names no folder, or the store does not answer."""
        import pyarrow.fs as fs

        try:
            files, root = _open(self.address)
            is_folder = files.get_file_info(root).type == fs.FileType.Directory
        except Exception as error:  # each store's library has errors of its own
            raise self._no_answer(error) from error
        if not is_folder:
            raise InvalidChoice("no_folder", folder=str(self))

    def _no_answer(self, error: Exception) -> InvalidChoice:
        cause = _first_line(error).replace(self.address, str(self))
        return InvalidChoice("no_store", address=str(self), cause=cause[:MOST_SAID])


def open_folder(folder: Path | str) -> Path | Store:
    """Tell a folder of this machine from one in a store, by whether a scheme comes first.

    Addresses of this machine's files are its folders. Raises InvalidChoice, also for no folder.
    """
    if isinstance(folder, Path) or not SCHEME.match(folder):
        return Path(folder)
    import pyarrow.fs as fs

    store = Store(folder)
    store.check()
    files, root = _open(folder)
    return Path(root) if isinstance(files, fs.LocalFileSystem) else store


@lru_cache(maxsize=4)
def _open(address: str) -> tuple[Any, str]:
    """Return pyarrow's file system of an address, and the path that it names there."""
    import pyarrow.fs as fs

    files, root = fs.FileSystem.from_uri(address)
    return files, root


def _walk(
    files: Any, root: str, below: bytes, wanted: Callable[[bytes], bool]
) -> Iterator[tuple[bytes, int, int]]:
    import pyarrow.fs as fs

    found = {}
    for each in files.get_file_info(fs.FileSelector(_join(root, below).rstrip("/"))):
        if name := each.base_name.encode():
            is_folder = each.type == fs.FileType.Directory
            found[name + b"/" if is_folder else name] = each
    for name in sorted(found):
        path, each = below + name, found[name]
        if name.endswith(b"/"):
            yield from _walk(files, root, path, wanted)
        elif wanted(name):
            yield path, each.size or 0, each.mtime_ns or 0


def _join(root: str, name: bytes) -> str:
    return f"{root.rstrip('/')}/{name.decode()}"


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
