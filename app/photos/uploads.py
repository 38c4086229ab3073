"""Photos: read within limits, kept as pixels we wrote ourselves, found again by a keyed hash."""

import asyncio
import contextlib
import hashlib
import hmac
import os
import re
import secrets
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import anyio
import anyio.to_process
import anyio.to_thread
from PIL import Image

import models
from app.engine.cache import ByteLRU
from app.photos.decoding import (
    Limits,
    PhotoTooLarge,
    Pixels,
    UnreadablePhoto,
    decode,
    decode_within,
)
from app.settings import Settings

ID = re.compile(r"[0-9a-f]{32}")
HEADER = re.compile(rb"P6\n# ([0-9a-f]{64}) (\w+)\n(\d+) (\d+)\n255\n")
STALE_SECONDS = 3600


class NoSuchPhoto(models.DeconvnetError):
    """No photo goes by that id."""


class PhotoExpired(models.DeconvnetError):
    """The photo of that id was kept for as long as promised, and is gone."""


class StorageFull(models.DeconvnetError):
    """The photo could not be kept because the disk is full."""


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


class Uploads:
    """The photos of one server, under `data_dir/photos`."""

    def __init__(self, settings: Settings) -> None:
        self._folder = settings.data_dir / "photos"
        self._folder.mkdir(parents=True, exist_ok=True)
        self._secret = read_secret(settings.data_dir / "secret")
        self._ttl = settings.upload_ttl
        self._budget = settings.upload_bytes
        self._limits = limits_of(settings)
        self._decoders = anyio.CapacityLimiter(settings.decoders)
        self.cache: ByteLRU[str, Photo] = ByteLRU(settings.picture_bytes)

    def identify(self, data: bytes) -> str:
        """Derive the link's id from the content: the same photo, the same id, not guessable."""
        return hmac.new(self._secret, data, hashlib.sha256).hexdigest()[:32]

    async def receive(self, data: bytes) -> Photo:
        """Decode and keep an uploaded photo, or take it from where it was kept before.

        Raises UnreadablePhoto, PhotoTooLarge, StorageFull.
        """
        name, sha256 = await anyio.to_thread.run_sync(self._names, data)
        if known := await self._recall(name):
            return known
        pixels = await self._decode(data)
        await anyio.to_thread.run_sync(self._write, name, sha256, pixels)
        return self._hold(name, sha256, pixels)

    async def find(self, name: str) -> Photo:
        """Return the photo of that id; raises NoSuchPhoto or PhotoExpired."""
        if photo := await self._recall(name):
            return photo
        if ID.fullmatch(name) and self._path(name).exists():
            raise PhotoExpired
        raise NoSuchPhoto(id=name[:64])

    def forget(self, name: str) -> None:
        """Delete the photo of that id and every trace of it; raises NoSuchPhoto."""
        self.cache.forget(name)
        try:
            if not ID.fullmatch(name):
                raise FileNotFoundError
            self._path(name).unlink()
        except FileNotFoundError:
            raise NoSuchPhoto("forgotten", id=name[:64]) from None

    async def warm(self) -> None:
        """Start a decoding process before the first photo comes."""
        with contextlib.suppress(UnreadablePhoto, PhotoTooLarge):
            await self._decode(b"")

    def sweep(self) -> None:
        """Expire what was unused for too long or is beyond the disk budget, oldest first."""
        now, total = time.time(), 0
        for file, status in sorted(_files(self._folder), key=lambda f: -f[1].st_mtime):
            age, total = now - status.st_mtime, total + status.st_size
            if file.suffix == ".part":
                _remove(file, age > STALE_SECONDS)
            elif not status.st_size:
                _remove(file, age > self._ttl)
            elif age > self._ttl or total > self._budget:
                os.truncate(file, 0)  # the empty file remembers that the photo was here

    def _names(self, data: bytes) -> tuple[str, str]:
        return self.identify(data), hashlib.sha256(data).hexdigest()

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.ppm"

    async def _recall(self, name: str) -> Photo | None:
        if not ID.fullmatch(name):
            return None
        return await anyio.to_thread.run_sync(self._read, name)

    def _read(self, name: str) -> Photo | None:
        path = self._path(name)
        try:
            if self._is_expired(path):
                return None
            os.utime(path)
            return self.cache.get(name) or self._parse(name, path.read_bytes())
        except FileNotFoundError:
            self.cache.forget(name)
            return None

    def _is_expired(self, path: Path) -> bool:
        status = path.stat()
        return not status.st_size or time.time() - status.st_mtime > self._ttl

    def _parse(self, name: str, data: bytes) -> Photo | None:
        header = HEADER.match(data)
        if not header:
            return None
        width, height = int(header[3]), int(header[4])
        body = memoryview(data)[header.end() :]
        if len(body) != 3 * width * height:
            return None
        pixels = Pixels(width, height, bytes(body), header[2].decode())
        return self._hold(name, header[1].decode(), pixels)

    def _hold(self, name: str, sha256: str, pixels: Pixels) -> Photo:
        picture = Image.frombytes("RGB", (pixels.width, pixels.height), pixels.data)
        photo = Photo(name, sha256, pixels.format, picture)
        self.cache.put(name, photo, photo.nbytes)
        return photo

    def _write(self, name: str, sha256: str, pixels: Pixels) -> None:
        head = f"P6\n# {sha256} {pixels.format}\n{pixels.width} {pixels.height}\n255\n"
        try:
            write_atomically(self._path(name), head.encode() + pixels.data)
        except OSError:
            raise StorageFull from None

    async def _decode(self, data: bytes) -> Pixels:
        """Decode in a child; one that dies of something else than the photo is forgiven once."""
        with contextlib.suppress(anyio.BrokenWorkerProcess):
            return await self._decode_once(data)
        try:
            return await self._decode_once(data)
        except anyio.BrokenWorkerProcess:
            raise UnreadablePhoto("decoder_died") from None

    async def _decode_once(self, data: bytes) -> Pixels:
        limits = self._limits
        async with self._decoders:
            try:
                with anyio.fail_after(limits.seconds):
                    return await anyio.to_process.run_sync(
                        decode_within, data, limits, cancellable=True, limiter=_one()
                    )
            except TimeoutError:
                raise PhotoTooLarge("too_slow", seconds=limits.seconds) from None


def read_photo_file(path: Path, settings: Settings) -> Photo:
    """Decode a photo of the user's own disk, within the same limits, in this process.

    Raises OSError, UnreadablePhoto, PhotoTooLarge.
    """
    data = path.read_bytes()
    pixels = decode(data, limits_of(settings))
    picture = Image.frombytes("RGB", (pixels.width, pixels.height), pixels.data)
    return Photo("", hashlib.sha256(data).hexdigest(), pixels.format, picture)


def limits_of(settings: Settings) -> Limits:
    """Collect what the settings allow one photo to ask for."""
    return Limits(
        settings.max_pixels,
        settings.max_side,
        settings.max_aspect,
        settings.max_scans,
        settings.decode_seconds,
        settings.decode_bytes,
    )


def read_secret(path: Path) -> bytes:
    """Read the secret behind the links, made on first use and readable by its owner alone."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = write_beside(path, secrets.token_bytes(32))
        try:
            os.link(fresh, path)  # of several processes starting at once, one wins
        except FileExistsError:
            pass
        finally:
            os.unlink(fresh)
        return path.read_bytes()


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file that is there whole or not at all, readable by its owner alone."""
    os.replace(write_beside(path, data), path)


def write_beside(path: Path, data: bytes) -> str:
    """Write data to a new private file in the folder of `path`, and return its name."""
    handle, name = tempfile.mkstemp(dir=path.parent, suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
    except BaseException:
        os.unlink(name)
        raise
    return name


async def sweep_forever(uploads: Uploads, seconds: float = 600) -> None:
    """Sweep the photos now and then, until cancelled."""
    while True:
        with contextlib.suppress(OSError):  # another process may sweep the same folder
            await anyio.to_thread.run_sync(uploads.sweep)
        await asyncio.sleep(seconds)


def _one() -> anyio.CapacityLimiter:
    return anyio.CapacityLimiter(1)  # Uploads counts the children; anyio's own limit must not wait


def _files(folder: Path) -> list[tuple[Path, os.stat_result]]:
    return [(Path(entry.path), entry.stat()) for entry in os.scandir(folder) if entry.is_file()]


def _remove(file: Path, is_due: bool) -> None:
    if is_due:
        file.unlink(missing_ok=True)
