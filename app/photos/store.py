"""Photos on disk: pixels that we wrote ourselves, each with a checksum, for as long as promised."""

import contextlib
import hashlib
import os
import re
import secrets
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

import models
from app.photos.decoding import Pixels

ID = re.compile(r"[0-9a-f]{32}")
HEADER = re.compile(rb"P6\n# ([0-9a-f]{64}) (\w+)(?: ([0-9a-f]{64}))?\n(\d+) (\d+)\n255\n")
HEADER_BYTES = 256
"""No header is longer."""
STRIP_BYTES = 2**20
STALE_SECONDS = 3600
SECRET_BYTES = 32


class SecretInvalid(models.DeconvnetError):
    """The file of the secret behind the links does not hold one."""


@dataclass(frozen=True)
class Photo:
    """An uploaded photo: `id` for links, `sha256` of the uploaded bytes, upright RGB pixels."""

    id: str
    sha256: str
    format: str
    picture: Image.Image

    @property
    def nbytes(self) -> int:
        """Count the bytes Pillow holds the pixels in (four a pixel)."""
        return 4 * self.picture.width * self.picture.height


class PhotoStore:
    """The photos of a folder, each a PPM file named by its id.

    The comment in a file's header holds the SHA-256 of the uploaded bytes, their format, and the
    SHA-256 of the pixels (which files of version 0.1 lack).
    """

    def __init__(self, folder: Path, ttl: float, budget: int) -> None:
        self.folder, self.ttl, self.budget = folder, ttl, budget
        folder.mkdir(parents=True, exist_ok=True)

    def path(self, name: str) -> Path:
        """Name the file of an id."""
        return self.folder / f"{name}.ppm"

    def touch(self, name: str) -> bool:
        """Note that a photo is used; False where it is not there or its time is over."""
        path = self.path(name)
        try:
            status = path.stat()
        except FileNotFoundError:
            return False
        if self._is_over(status):
            return False
        with contextlib.suppress(OSError):  # a folder that became read-only still serves
            os.utime(path)
        return True

    def is_expired(self, name: str) -> bool:
        """Tell whether a photo was here, and its time is over."""
        try:
            return self._is_over(self.path(name).stat())
        except FileNotFoundError:
            return False

    def _is_over(self, status: os.stat_result) -> bool:
        return not status.st_size or time.time() - status.st_mtime > self.ttl

    def read(self, name: str) -> Photo | None:
        """Read a photo strip by strip; None where it is not there, or damaged."""
        try:
            with self.path(name).open("rb") as file:
                header = HEADER.match(file.read(HEADER_BYTES))
                if header is None:
                    return None
                width, height = int(header[4]), int(header[5])
                if os.fstat(file.fileno()).st_size != header.end() + 3 * width * height:
                    return None
                file.seek(header.end())
                picture, digest = Image.new("RGB", (width, height)), hashlib.sha256()
                rows = max(1, STRIP_BYTES // (3 * width))
                for top in range(0, height, rows):
                    strip = file.read(3 * width * min(rows, height - top))
                    digest.update(strip)
                    part = Image.frombytes("RGB", (width, len(strip) // (3 * width)), strip)
                    picture.paste(part, (0, top))
        except FileNotFoundError:
            return None
        if header[3] is not None and header[3].decode() != digest.hexdigest():
            return None
        return Photo(name, header[1].decode(), header[2].decode(), picture)

    def write(self, name: str, sha256: str, pixels: Pixels) -> None:
        """Keep a photo; raises OSError."""
        checksum = hashlib.sha256(pixels.data).hexdigest()
        comment = f"# {sha256} {pixels.format} {checksum}"
        head = f"P6\n{comment}\n{pixels.width} {pixels.height}\n255\n"
        write_atomically(self.path(name), (head.encode(), pixels.data))

    def sweep(self) -> None:
        """Expire what was unused for too long or is beyond the disk budget, oldest first."""
        now, total = time.time(), 0
        for file, status in sorted(_files(self.folder), key=lambda f: -f[1].st_mtime):
            age, total = now - status.st_mtime, total + status.st_size
            if file.suffix == ".part":
                _remove(file, age > STALE_SECONDS)
            elif not status.st_size:
                _remove(file, age > self.ttl)
            elif age > self.ttl or total > self.budget:
                os.truncate(file, 0)  # the empty file remembers that the photo was here


def read_secret(path: Path) -> bytes:
    """Read the secret behind the links, made on first use and readable by its owner alone.

    Raises SecretInvalid for a file too short to hold one: its links could be guessed.
    """
    with contextlib.suppress(FileNotFoundError):
        return _checked(path, path.read_bytes())
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = write_beside(path, (secrets.token_bytes(SECRET_BYTES),))
    try:
        os.link(fresh, path)  # of several processes starting at once, one wins
    except FileExistsError:
        pass
    finally:
        os.unlink(fresh)
    return _checked(path, path.read_bytes())


def _checked(path: Path, secret: bytes) -> bytes:
    if len(secret) < SECRET_BYTES:
        raise SecretInvalid(file=str(path), nbytes=len(secret))
    return secret


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


def _files(folder: Path) -> list[tuple[Path, os.stat_result]]:
    return [(Path(entry.path), entry.stat()) for entry in os.scandir(folder) if entry.is_file()]


def _remove(file: Path, is_due: bool) -> None:
    if is_due:
        file.unlink(missing_ok=True)
