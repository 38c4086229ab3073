"""The processes that decode photos: few, bounded, and replaced when one dies or is killed."""

import contextlib
import logging

import anyio
import anyio.to_process
from prometheus_client import Histogram

import models
from app.engine.stages import stage_times
from app.photos.decoding import Limits, PhotoTooLarge, Pixels, UnreadablePhoto, decode_within
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

    async def decode(self, data: bytes) -> Pixels:
        """Decode a photo; where its decoder dies, once more in a fresh one.

        Raises UnreadablePhoto, PhotoTooLarge, DecoderLost.
        """
        try:
            return await self._decode(data)
        except DEATHS as error:
            self.deaths += 1
            log.warning("a decoder died: %r", error)
        try:
            return await self._decode(data)
        except DEATHS as error:
            self.deaths += 1
            log.warning("a decoder died again: %r", error)
            raise DecoderLost from None

    async def warm(self) -> None:
        """Start a decoding process before the first photo comes."""
        with contextlib.suppress(UnreadablePhoto, PhotoTooLarge, DecoderLost):
            await self.decode(b"")

    def holdings(self) -> dict[str, tuple[str, float]]:
        """Count what is waiting: name to meaning and value."""
        counts = self._at_work.statistics()
        return {
            "decoders_busy": ("Photos being decoded.", counts.borrowed_tokens),
            "decoders_waiting": ("Photos waiting to be decoded.", counts.tasks_waiting),
            "decoder_deaths_total": ("Decoding processes that died.", self.deaths),
        }

    async def _decode(self, data: bytes) -> Pixels:
        async with self._at_work:
            try:
                with self._stages.labels("decode").time(), anyio.fail_after(self.limits.seconds):
                    return await anyio.to_process.run_sync(
                        decode_within, data, self.limits, cancellable=True, limiter=_one()
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
