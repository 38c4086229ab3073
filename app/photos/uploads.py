"""Uploaded photos: decoded once, kept on disk and in memory, found again by a keyed hash."""

import asyncio
import contextlib
import hashlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread
from PIL import Image
from prometheus_client import Histogram

import models
from app.engine.cache import ByteLRU
from app.engine.single_flight import SingleFlight
from app.engine.stages import stage_times
from app.photos.decoders import Decoders, limits_of
from app.photos.decoding import decode
from app.photos.samples import SAMPLES, Sample, read_sample
from app.photos.store import Photo, PhotoStore
from app.settings import Settings
from app.storage import ID, derive_id, read_secret


class NoSuchPhoto(models.DeconvnetError):
    """No photo goes by that id."""


class PhotoExpired(models.DeconvnetError):
    """The photo of that id was kept for as long as promised, and is gone."""


class Uploads:
    """The photos of one server, under `data_dir/photos`.

    Whatever several requests ask of one photo is done once: one decoding, one reading, one copy.
    """

    def __init__(self, settings: Settings, stages: Histogram | None = None) -> None:
        self._stages = stages or stage_times()
        self._store = PhotoStore(
            settings.data_dir / "photos", settings.upload_ttl, settings.upload_bytes
        )
        self._secret = read_secret(settings.data_dir / "secret")
        self._samples = {self.identify(read_sample(each)): each for each in SAMPLES}
        self._decoders = Decoders(settings, self._stages)
        self._readers = anyio.CapacityLimiter(settings.decoders)
        self._single_flight = SingleFlight()
        self.cache: ByteLRU[str, Photo] = ByteLRU(settings.picture_bytes)

    def identify(self, data: bytes) -> str:
        """Derive the link's id from the content: the same photo, the same id, not guessable."""
        return derive_id(self._secret, data)

    async def receive(self, data: bytes) -> Photo:
        """Decode and keep an uploaded photo, or take it from where it was kept before.

        Raises UnreadablePhoto, PhotoTooLarge, DecoderLost, StorageFull, StorageRefused.
        """
        name, sha256 = await anyio.to_thread.run_sync(self._names, data)
        return await self._single_flight.join(
            ("receive", name), lambda: self._receive(name, sha256, data)
        )

    async def find(self, name: str) -> Photo:
        """Return the photo of that id; raises NoSuchPhoto or PhotoExpired.

        A sample is always here: it comes with the project.
        """
        if photo := await self._recall(name):
            return photo
        if sample := self.sample(name):
            return await self.receive(read_sample(sample))
        if ID.fullmatch(name) and self._store.is_expired(name):
            raise PhotoExpired
        raise NoSuchPhoto(id=name[:64])

    def holds(self, name: str) -> bool:
        """Tell whether the photo of that id is kept, without counting that as a use."""
        return bool(ID.fullmatch(name)) and self._store.holds(name)

    async def is_here(self, name: str) -> bool:
        """Tell whether the photo of that id is kept, which counts as a use of it."""
        return bool(ID.fullmatch(name)) and await anyio.to_thread.run_sync(self._store.touch, name)

    def sample(self, name: str) -> Sample | None:
        """Return the sample that goes by that id, if one does."""
        return self._samples.get(name)

    def forget(self, name: str) -> None:
        """Delete the photo of that id and every trace of it; raises NoSuchPhoto, StorageRefused.

        A sample stays: nobody else's links to it shall end.
        """
        if self.sample(name):
            return
        self.cache.forget(name)
        if not (ID.fullmatch(name) and self._store.remove(name)):
            raise NoSuchPhoto("forgotten", id=name[:64])

    async def warm(self) -> None:
        """Start a decoding process before the first photo comes."""
        await self._decoders.warm()

    def sweep(self) -> None:
        """Expire what was unused for too long or is beyond the disk budget, oldest first."""
        self._store.sweep()

    def holdings(self) -> dict[str, tuple[str, float]]:
        """Count what is waiting: name to meaning and value."""
        counts = self._readers.statistics()
        return {
            **self._decoders.holdings(),
            "readers_busy": ("Photos being read from disk.", counts.borrowed_tokens),
            "readers_waiting": ("Photos waiting to be read.", counts.tasks_waiting),
        }

    def _names(self, data: bytes) -> tuple[str, str]:
        return self.identify(data), hashlib.sha256(data).hexdigest()

    async def _receive(self, name: str, sha256: str, data: bytes) -> Photo:
        if known := await self._recall(name):
            return known
        draft = self._store.draft(name)
        try:
            await self._decoders.decode(draft, data, sha256)
            return self._hold(await anyio.to_thread.run_sync(self._store.keep, draft, name))
        except BaseException:
            await self._remove(draft)
            raise

    async def _remove(self, draft: Path) -> None:
        """Remove what a decoder left that died or was killed, whoever waits or left."""
        with anyio.CancelScope(shield=True), contextlib.suppress(OSError):
            await anyio.to_thread.run_sync(partial(draft.unlink, missing_ok=True))

    async def _recall(self, name: str) -> Photo | None:
        """Return a photo from memory or disk, where it is there and its time is not over."""
        if not ID.fullmatch(name):
            return None
        if not await anyio.to_thread.run_sync(self._store.touch, name):
            self.cache.forget(name)
            return None
        if photo := self.cache.get(name):
            return photo
        return await self._single_flight.join(("read", name), lambda: self._read(name))

    async def _read(self, name: str) -> Photo | None:
        with self._stages.labels("read").time():
            photo = await anyio.to_thread.run_sync(self._store.read, name, limiter=self._readers)
        return self._hold(photo) if photo else None

    def _hold(self, photo: Photo) -> Photo:
        self.cache.put(photo.id, photo, photo.nbytes)
        return photo


def read_photo_file(path: Path, settings: Settings) -> Photo:
    """Decode a photo of the user's own disk, within the same limits, in this process.

    Raises OSError, UnreadablePhoto, PhotoTooLarge.
    """
    data = path.read_bytes()
    pixels = decode(data, limits_of(settings))
    picture = Image.frombytes("RGB", (pixels.width, pixels.height), pixels.data)
    return Photo("", hashlib.sha256(data).hexdigest(), pixels.format, picture)


async def sweep_forever(*sweeps: Callable[[], None], seconds: float = 600) -> None:
    """Sweep what is kept on disk now and then, in this order, until cancelled."""
    while True:
        for sweep in sweeps:
            with contextlib.suppress(OSError):  # another process may sweep the same folder
                await anyio.to_thread.run_sync(sweep)
        await asyncio.sleep(seconds)
