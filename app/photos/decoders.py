"""The processes that decode photos: few, bounded, and replaced when one dies or is killed."""

import contextlib
import logging
from pathlib import Path

import anyio
import anyio.to_process
from prometheus_client import Histogram

import models
from app.engine.stages import stage_times
from app.photos.decoding import Limits, PhotoTooLarge, UnreadablePhoto
from app.photos.store import decode_into
from app.settings import Settings

log = logging.getLogger(__name__)

DEATHS = (
    anyio.BrokenWorkerProcess,
    anyio.BrokenResourceError,
    anyio.EndOfStream,
    OSError,
)
"""How the death of a decoder shows itself, whoever killed it and whenever, or that none starts."""


class DecoderLost(models.DeconvnetError):
    """The process that decoded the photo died twice; the photo may be read at another try."""


class Decoders:
    """Decodes photos in child processes, so many at a time."""

    def __init__(self, settings: Settings, stages: Histogram | None = None) -> None:
        self.limits = limits_of(settings)
        self.deaths = 0
        self._stages = stages or stage_times()
        self._at_work = anyio.CapacityLimiter(settings.decoders)

    async def decode(self, draft: Path, data: bytes, sha256: str) -> None:
        """Decode a photo into a new file; where its decoder dies, once more by a fresh one.

        Whatever is raised, a part of the file may be left. Raises UnreadablePhoto, PhotoTooLarge,
        DecoderLost, StorageFull, StorageRefused.
        """
        try:
            return await self._decode(draft, data, sha256)
        except DEATHS as error:
            self.deaths += 1
            log.warning("a decoder died: %r", error)
        try:
            return await self._decode(draft, data, sha256)
        except DEATHS as error:
            self.deaths += 1
            log.warning("a decoder died again: %r", error)
            raise DecoderLost from None

    async def warm(self) -> None:
        """Start a decoding process before the first photo comes."""
        with contextlib.suppress(UnreadablePhoto, PhotoTooLarge, DecoderLost):
            await self.decode(Path(), b"", "")

    def holdings(self) -> dict[str, tuple[str, float]]:
        """Count what is waiting: name to meaning and value."""
        counts = self._at_work.statistics()
        return {
            "decoders_busy": ("Photos being decoded.", counts.borrowed_tokens),
            "decoders_waiting": ("Photos waiting to be decoded.", counts.tasks_waiting),
            "decoder_deaths_total": ("Decoding processes that died.", self.deaths),
        }

    async def _decode(self, draft: Path, data: bytes, sha256: str) -> None:
        async with self._at_work:
            try:
                with self._stages.labels("decode").time(), anyio.fail_after(self.limits.seconds):
                    await anyio.to_process.run_sync(
                        decode_into,
                        draft,
                        data,
                        sha256,
                        self.limits,
                        cancellable=True,
                        limiter=_one(),
                    )
            except TimeoutError:
                raise PhotoTooLarge("too_slow", seconds=self.limits.seconds) from None


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


def _one() -> anyio.CapacityLimiter:
    return anyio.CapacityLimiter(1)  # Decoders counts the children; anyio's own limit must not wait
