"""Photos on disk: pixels that we wrote ourselves, each with a checksum, for as long as promised.

The process that decodes a photo writes its file, so that the pixels never pass through a pipe,
which takes longer than decoding does. It imports this module, which therefore imports little.
"""

import contextlib
import errno
import hashlib
import os
import re
import secrets
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from app.photos.decoding import Limits, decode_within
from app.storage import FileStore, disk_errors

HEADER = re.compile(rb"P6\n# ([0-9a-f]{64}) (\w+)(?: ([0-9a-f]{64}))?\n(\d+) (\d+)\n255\n")
HEADER_BYTES = 256
"""No header is longer."""
STRIP_BYTES = 2**20


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


class PhotoStore(FileStore):
    """The photos of a folder, each a PPM file named by its id.

    The comment in a file's header holds the SHA-256 of the uploaded bytes, their format, and the
    SHA-256 of the pixels (which files of version 0.1 lack).
    """

    def __init__(self, folder: Path, ttl: float, budget: int) -> None:
        super().__init__(folder, ".ppm", ttl, budget)

    def read(self, name: str) -> Photo | None:
        """Read a photo; None where it is not there, or damaged. Raises StorageRefused."""
        with disk_errors(), contextlib.suppress(FileNotFoundError):
            return _read(self.path(name), name)
        return None

    def draft(self, name: str) -> Path:
        """Name a file of this folder, as nobody else names one, to decode a photo into."""
        return self.folder / f"{name}-{secrets.token_hex(8)}.part"

    def keep(self, draft: Path, name: str) -> Photo:
        """Keep what was decoded into a draft, and read it; raises StorageFull or StorageRefused."""
        with disk_errors():
            photo = _read(draft, name)
            if photo is None:
                raise OSError(errno.EIO, "what was written is not what is read")
            draft.replace(self.path(name))
        return photo


def decode_into(draft: Path, data: bytes, sha256: str, limits: Limits) -> None:
    """Decode a photo within limits into a private file (call it in a child).

    Raises UnreadablePhoto, PhotoTooLarge, StorageFull, StorageRefused; then no file is left.
    """
    pixels = decode_within(data, limits)
    comment = f"# {sha256} {pixels.format} {hashlib.sha256(pixels.data).hexdigest()}"
    head = f"P6\n{comment}\n{pixels.width} {pixels.height}\n255\n"
    with disk_errors():
        draft.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(draft, "wb", opener=_private) as file:
                file.write(head.encode())
                file.write(pixels.data)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _read(path: Path, name: str) -> Photo | None:
    """Read a photo's file strip by strip; None where it is damaged."""
    with path.open("rb") as file:
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
    if header[3] is not None and header[3].decode() != digest.hexdigest():
        return None
    return Photo(name, header[1].decode(), header[2].decode(), picture)
