"""Photos on disk: pixels that we wrote ourselves, each with a checksum, for as long as promised."""

import contextlib
import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from app.photos.decoding import Pixels
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
        """Read a photo strip by strip; None where it is not there, or damaged.

        Raises StorageRefused.
        """
        with disk_errors(), contextlib.suppress(FileNotFoundError):
            return self._read(name)
        return None

    def _read(self, name: str) -> Photo | None:
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
        if header[3] is not None and header[3].decode() != digest.hexdigest():
            return None
        return Photo(name, header[1].decode(), header[2].decode(), picture)

    def keep(self, name: str, sha256: str, pixels: Pixels) -> None:
        """Keep a photo; raises StorageFull or StorageRefused."""
        checksum = hashlib.sha256(pixels.data).hexdigest()
        comment = f"# {sha256} {pixels.format} {checksum}"
        head = f"P6\n{comment}\n{pixels.width} {pixels.height}\n255\n"
        self.write(name, (head.encode(), pixels.data))
