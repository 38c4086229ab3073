"""Files that we wrote ourselves: whole or not at all, for as long as promised, within a budget."""

import contextlib
import errno
import hashlib
import hmac
import os
import re
import secrets
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import models

ID = re.compile(r"[0-9a-f]{32}")
STALE_SECONDS = 3600
SECRET_BYTES = 32
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class SecretInvalid(models.DeconvnetError):
    """The file of the secret behind the links does not hold one."""


class StorageFull(models.DeconvnetError):
    """A file could not be kept because the disk is full."""


class StorageRefused(models.DeconvnetError):
    """A file could not be read or kept because its folder is not, or no longer, open to us."""


class StorageClosed(models.DeconvnetError):
    """The folder of all that is kept cannot be made or written to, so that no server can start."""


@contextlib.contextmanager
def disk_errors() -> Iterator[None]:
    """Raise StorageFull or StorageRefused where the disk refuses."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise StorageFull from None
        raise StorageRefused(cause=error) from None


class FileStore:
    """The files of one folder, each named by an id; several servers may share the folder.

    An empty file remembers that there was one, and that its time is over.
    """

    def __init__(self, folder: Path, suffix: str, ttl: float, budget: int) -> None:
        """Keep files for ``ttl`` seconds after their last use, in ``budget`` bytes altogether."""
        self.folder, self.suffix, self.ttl, self.budget = folder, suffix, ttl, budget

    def path(self, name: str) -> Path:
        """Name the file of an id."""
        return self.folder / f"{name}{self.suffix}"

    def names(self) -> Iterator[str]:
        """Yield the ids of the files that are held."""
        for file, status in _files(self.folder):
            if file.suffix == self.suffix and not self._is_over(status):
                yield file.stem

    def holds(self, name: str) -> bool:
        """Tell whether a file is there and its time is not over."""
        status = self._status(name)
        return status is not None and not self._is_over(status)

    def touch(self, name: str) -> bool:
        """Note that a file is used; False where it is not there or its time is over."""
        if not self.holds(name):
            return False
        with contextlib.suppress(OSError):  # a folder that became read-only still serves
            os.utime(self.path(name))
        return True

    def is_expired(self, name: str) -> bool:
        """Tell whether a file was here, and its time is over."""
        status = self._status(name)
        return status is not None and self._is_over(status)

    def write(self, name: str, parts: Iterable[bytes]) -> None:
        """Keep a file; raises StorageFull or StorageRefused."""
        with disk_errors():
            self.folder.mkdir(parents=True, exist_ok=True)
            write_atomically(self.path(name), parts)

    def remove(self, name: str) -> bool:
        """Remove a file as if it had never been; False where there is none.

        Raises StorageRefused.
        """
        if self._status(name) is None:  # a read-only disk refuses even to remove nothing
            return False
        with disk_errors():
            self.path(name).unlink(missing_ok=True)
        return True

    def sweep(self) -> None:
        """Expire what was unused for too long or is beyond the budget, oldest first."""
        remove_stale(self.folder, ".part")
        now, total = time.time(), 0
        for file, status in sorted(_files(self.folder), key=lambda f: -f[1].st_mtime):
            if file.suffix != self.suffix:
                continue
            age, total = now - status.st_mtime, total + status.st_size
            if status.st_size and (age > self.ttl or total > self.budget):
                os.truncate(file, 0)  # the empty file remembers that there was one
            elif not status.st_size and age > self.ttl:
                file.unlink(missing_ok=True)

    def _status(self, name: str) -> os.stat_result | None:
        with disk_errors(), contextlib.suppress(FileNotFoundError):
            return self.path(name).stat()
        return None

    def _is_over(self, status: os.stat_result) -> bool:
        return not status.st_size or time.time() - status.st_mtime > self.ttl


def read_secret(path: Path) -> bytes:
    """Read the secret behind the links, made on first use and readable by its owner alone.

    Raises SecretInvalid for a file too short to hold one, since its links could be guessed, and
    StorageClosed where none can be made or read.
    """
    try:
        return _checked(path, _read_secret(path))
    except OSError as error:
        reason = error.strerror or str(error)
        raise StorageClosed(folder=str(path.parent), cause=reason) from None


def _read_secret(path: Path) -> bytes:
    with contextlib.suppress(FileNotFoundError):
        return path.read_bytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = write_beside(path, (secrets.token_bytes(SECRET_BYTES),))
    try:
        os.link(fresh, path)  # of several processes starting at once, one wins
    except FileExistsError:
        pass
    finally:
        os.unlink(fresh)
    return path.read_bytes()


def _checked(path: Path, secret: bytes) -> bytes:
    if len(secret) < SECRET_BYTES:
        raise SecretInvalid(file=str(path), nbytes=len(secret))
    return secret


def derive_id(secret: bytes, content: bytes) -> str:
    """Derive an id from content: the same content, the same id, and nobody can guess it."""
    return hmac.new(secret, content, hashlib.sha256).hexdigest()[:32]


def write_atomically(path: Path, parts: Iterable[bytes]) -> None:
    """Write a file that is there whole or not at all, readable by its owner alone."""
    os.replace(write_beside(path, parts), path)


def write_beside(path: Path, parts: Iterable[bytes]) -> str:
    """Write data to a new private file in the folder of `path`, and return its name."""
    handle, name = tempfile.mkstemp(dir=path.parent, suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            for part in parts:
                file.write(part)
    except BaseException:
        os.unlink(name)
        raise
    return name


def _files(folder: Path) -> Iterator[tuple[Path, os.stat_result]]:
    with contextlib.suppress(FileNotFoundError):  # nothing was kept there yet
        for entry in list(os.scandir(folder)):
            with contextlib.suppress(FileNotFoundError):  # another server removed it meanwhile
                if entry.is_file():
                    yield Path(entry.path), entry.stat()


def remove_stale(
    folder: Path, suffix: str, unless: Callable[[Path], bool] = lambda file: False
) -> None:
    """Remove the files of a suffix that somebody left lying for an hour."""
    for file, status in _files(folder):
        stale = file.suffix == suffix and time.time() - status.st_mtime > STALE_SECONDS
        if stale and not unless(file):
            file.unlink(missing_ok=True)
