"""The loaded networks, the records held, and the queue in front of the device.

One thread computes on the device: it records and walks, and nothing else. Photos are framed and
pictures drawn and encoded in threads beside it. Whatever several requests ask for at once is
computed once, and nothing here blocks the event loop.
"""

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import Awaitable, Callable, Coroutine, Hashable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast

from PIL import Image
from prometheus_client import Histogram

import models
from app.engine.cache import ByteLRU
from app.engine.device import MOST_HUNG, Device, DeviceHung
from app.engine.places import Places
from app.engine.registry import Edition, NetworkRegistry
from app.engine.single_flight import SingleFlight
from app.engine.stages import stage_times
from app.photos.store import Photo
from app.settings import Settings

log = logging.getLogger(__name__)

T = TypeVar("T")

SMOOTHING = 0.2
PATIENCE = 2.0
"""Seconds for which long work lets requests go first, between two of its steps."""
PROVEN_SECONDS = 10.0
"""For how long a piece of work that succeeded proves that the device computes."""
PARTS_OF_A_CARD = 4
"""How many pictures a page shows of one projection, at most."""
TRIAL_SECONDS = 5.0
"""How long a trial of the device is waited for; after that it is busy, or hangs."""


class Overdue(models.DeconvnetError):
    """The request took longer than the `seconds` that a request may."""


class Stopping(models.DeconvnetError):
    """The server stopped before the request could be finished."""


class ClientLeft(models.DeconvnetError):
    """The client closed the connection before its answer was ready."""


@dataclass(frozen=True)
class Answer:
    """A finished answer's bytes, its file's name, and what each part took, in milliseconds."""

    content: bytes
    name: str = ""
    timings: dict[str, float] = field(default_factory=dict)

    @property
    def nbytes(self) -> int:
        """Count the bytes of the answer."""
        return len(self.content)


class Finished(Protocol):
    """What is kept within the budget for answers: it knows its size."""

    @property
    def nbytes(self) -> int:
        """Count the bytes that it holds."""


S = TypeVar("S", bound=Finished)


class Engine:
    """Everything that is computed from networks: queued, shared between requests, and kept."""

    def __init__(self, settings: Settings, stages: Histogram | None = None) -> None:
        self.settings = settings
        self.stages = stages or stage_times()
        self.stopping = False
        self.registry = NetworkRegistry(settings)
        self.networks: ByteLRU[Hashable, models.Network] = ByteLRU(
            settings.network_bytes, always_last=True
        )
        self.records: ByteLRU[Hashable, models.Record] = ByteLRU(settings.record_bytes)
        self.answers: ByteLRU[Hashable, Finished] = ByteLRU(settings.answer_bytes)
        self.device = Device(settings.step_seconds, self.stages)
        self.devices_lost = 0
        self._loader = ThreadPoolExecutor(1, "loader", models.use_one_core)
        self._encoders = ThreadPoolExecutor(2, "encoder", models.use_one_core)
        self._beside = 0
        self._single_flight = SingleFlight()
        self.places = Places(
            settings.queue_limit, PARTS_OF_A_CARD * settings.max_projections, self.retry_after
        )
        self._deadlines: set[asyncio.Timeout] = set()
        self._end = math.inf
        self._service_seconds = 0.5

    # The queue

    async def quiet(self) -> None:
        """Wait until no request waits or runs, or for as long as long work is patient."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                await self.places.idle.wait()

    def retry_after(self) -> int:
        """Estimate the seconds until the queue has moved on, from measured service time."""
        return max(1, math.ceil(self.places.taken * self._service_seconds))

    async def with_deadline(self, work: Awaitable[T], seconds: float | None = None) -> T:
        """Await work for as long as a request may take; raises Overdue or Stopping after that."""
        seconds = seconds or self.settings.request_seconds
        end = min(asyncio.get_running_loop().time() + seconds, self._end)
        deadline = asyncio.timeout_at(end if math.isfinite(end) else None)
        try:
            async with deadline:
                self._deadlines.add(deadline)
                return await work
        except TimeoutError:
            raise (Stopping() if self.stopping else Overdue(seconds=seconds)) from None
        finally:
            self._deadlines.discard(deadline)

    async def in_turn(
        self, turns: asyncio.Semaphore, work: Callable[[], Coroutine[Any, Any, T]]
    ) -> T:
        """Do work when its turn comes; its time begins with its turn."""

        async def wait() -> T:
            async with turns:
                return await self.with_deadline(work())

        return await self.with_deadline(wait(), math.inf)

    def stop_within(self, seconds: float) -> None:
        """Let every request, running or new, end within so many seconds (call it on the loop)."""
        self.stopping = True
        self._end = asyncio.get_running_loop().time() + seconds
        for deadline in self._deadlines:
            deadline.reschedule(min(deadline.when() or math.inf, self._end))

    async def on_device(self, work: Callable[[], T], stage: str = "other") -> T:
        """Run work on the device when its turn comes; cancelled in the queue, it never runs.

        Where the device's memory is full, records are let go of and the work is done once more.
        Raises OutOfMemory, DeviceLost, DeviceHung.
        """
        try:
            return await self._turn(work, stage)
        except models.OutOfMemory:
            self.records.clear()
            await self._turn(models.free_memory, "other")
            return await self._turn(work, stage)

    async def _turn(self, work: Callable[[], T], stage: str) -> T:
        with self._on_guard():
            return await self.device.run(partial(self._timed, work), stage)

    @contextlib.contextmanager
    def _on_guard(self) -> Iterator[None]:
        """Go on without a device that failed, where the settings leave it open which one it is."""
        try:
            yield
        except models.DeviceLost as error:
            self.devices_lost += 1
            log.error("device %s: %s", self.registry.device, error)
            if self.settings.device != "auto":
                raise
            self._leave_device()
            raise models.DeviceLost("left", cause=error.fields["cause"]) from error

    def _leave_device(self) -> None:
        self.registry.device = "cpu"
        for cache in self.caches().values():
            cache.clear()

    async def check(self) -> None:
        """Raise DeviceLost or DeviceHung where nothing can be computed.

        What has just been computed proves that it can; else a tiny walk does. A device that is busy
        for longer than that is waited for is taken to be well.
        """
        if self.device.hung >= MOST_HUNG:
            raise DeviceHung(seconds=self.device.seconds)
        if time.monotonic() - self.device.proven > PROVEN_SECONDS:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TRIAL_SECONDS):
                    await self._single_flight.join(("trial",), self._try_device)

    async def _try_device(self) -> None:
        await self._turn(lambda: models.try_device(self.registry.device), "trial")

    async def in_turns(
        self, run: Iterator[T], between: Callable[[T], Awaitable[None]] | None = None
    ) -> T:
        """Advance a generator on the device, one step a turn, and return the last it yields.

        Others have their turn between two steps, so that long work delays no click by more. What
        says that it needs no device goes on beside it. ``between`` is awaited with what each step
        yielded, before the next.
        """
        done = object()
        last: T | object = done
        where: Callable[[Callable[[], T | object], str], Awaitable[T | object]] = self._turn
        while (step := await where(lambda: next(run, done), "turn")) is not done:
            last = step
            is_beside = isinstance(step, models.Progress) and step.beside
            where = self.beside if is_beside else self._turn
            if between:
                await between(cast(T, step))
        assert last is not done, "a run yields at least its result"
        return cast(T, last)

    def _timed(self, work: Callable[[], T]) -> T:
        start = time.perf_counter()
        try:
            return work()
        finally:
            taken = time.perf_counter() - start
            self._service_seconds += SMOOTHING * (taken - self._service_seconds)

    # Networks

    async def network(self, name: str | None = None, weights: str | None = None) -> models.Network:
        """Return a network with the weights asked for, or those that win, loaded.

        Another weights file in the same place is another network. Raises UnknownNetwork,
        InvalidChoice, or a WeightsError.
        """
        key = await asyncio.to_thread(self.registry.file, name, weights)
        if network := self.networks.get(key):
            return network
        return await self._single_flight.join(("network", key), lambda: self._load(key, weights))

    async def _load(self, key: Edition, weights: str | None) -> models.Network:
        use = partial(self.registry.use, key.network, weights)

        def load() -> models.Network:
            with self.stages.labels("load").time():
                return models.guard(use)

        with self._on_guard():
            network = await asyncio.get_running_loop().run_in_executor(self._loader, load)
        self.networks.put(key, network, network.nbytes)
        return network

    # Views

    async def see(
        self, photo: Photo, network: models.Network, choice: models.Choice
    ) -> models.Visualization:
        """Visualize what a network saw in a photo."""
        choice = replace(models.complete(network, choice), weights=None)
        key = ("view", photo.id, identity(network), choice)
        return await self._answered(key, lambda: self._see(photo, network, choice))

    async def _see(
        self, photo: Photo, network: models.Network, choice: models.Choice
    ) -> models.Visualization:
        times = [time.perf_counter()]
        record = await self.record(photo, network, choice.fit)
        times.append(time.perf_counter())
        found = await self._reconstruct(photo, network, choice, record)
        times.append(time.perf_counter())
        return await self.beside(lambda: models.draw(record, choice, found, times), "draw")

    async def _reconstruct(
        self, photo: Photo, network: models.Network, choice: models.Choice, record: models.Record
    ) -> models.Reconstructed:
        """Return the numbers of a choice, held or computed; the same however they are shown."""
        shared, limit = replace(choice, show=None), self.settings.max_projections

        async def walk() -> models.Reconstructed:
            return await self.on_device(
                lambda: models.reconstruct(record, shared, limit=limit), "walk"
            )

        return await self._answered(("walk", photo.id, identity(network), shared), walk)

    async def record(self, photo: Photo, network: models.Network, fit: str) -> models.Record:
        """Return the record of a photo, held or made; the photo is framed beside the device."""
        key = ("record", photo.id, identity(network), fit)
        if record := self.records.get(key):
            return record
        return await self._single_flight.join(key, lambda: self._record(key, photo, network, fit))

    async def _record(
        self, key: Hashable, photo: Photo, network: models.Network, fit: str
    ) -> models.Record:
        framed = await self.framed(photo, network, fit)
        record = await self.on_device(lambda: models.record_photo(network, framed), "forward")
        self.records.put(key, record, record.nbytes)
        return record

    async def framed(self, photo: Photo, network: models.Network, fit: str) -> models.FramedPhoto:
        """Frame a photo as a network sees it, beside the device."""
        preprocessing = network.preprocessing
        picture = photo.picture
        return await self.beside(lambda: models.frame_photo(picture, preprocessing, fit), "frame")

    async def units_at(
        self,
        photo: Photo,
        network: models.Network,
        layer: str,
        place: tuple[int, int],
        fit: str,
        top: int,
    ) -> list[models.Unit] | None:
        """Find the units that fire at a place (y, x) of the photo, strongest first.

        None where the place was cropped away; raises InvalidChoice for one outside the photo.
        """
        y, x = place
        width, height = photo.picture.size
        if not (y < height and x < width):
            raise models.InvalidChoice(
                "place_outside", y=y, x=x, rows=height - 1, columns=width - 1
            )
        frame = models.frame((width, height), network.preprocessing, fit)
        pixel = frame.to_input(x + 0.5, y + 0.5)
        if pixel is None:
            return None
        record = await self.record(photo, network, fit)
        return await self.on_device(
            lambda: models.units_seeing(record, layer, pixel, top), "select"
        )

    async def inspect(
        self, photo: Photo, network: models.Network, layer: str, feature: int, fit: str
    ) -> models.Inspection:
        """Say where one feature map fires in a photo, and what feeds it; raises InvalidChoice."""
        record = await self.record(photo, network, fit)
        return await self.on_device(
            lambda: models.inspect_feature(record, layer, feature), "select"
        )

    async def select(
        self, photo: Photo, network: models.Network, choice: models.Choice
    ) -> models.Selected:
        """Say which units a choice picks out, without walking any of them down."""
        limit = self.settings.max_projections
        record = await self.record(photo, network, choice.fit)
        return await self.on_device(lambda: models.select(record, choice, limit=limit), "select")

    async def rank_maps(
        self, photo: Photo, network: models.Network, choice: models.Choice
    ) -> models.RankedMaps:
        """Order all maps of a layer by the choice's rank."""
        record = await self.record(photo, network, choice.fit)
        return await self.on_device(lambda: models.rank_maps(record, choice), "select")

    async def patch(
        self, photo: Photo, network: models.Network, fit: str, box: models.Box
    ) -> Image.Image:
        """Cut a receptive field out of the photo as the network saw it."""
        record = await self.record(photo, network, fit)
        return await self.beside(lambda: models.cut_patch(record, box), "draw")

    async def maps(
        self, photo: Photo, network: models.Network, layer: str, fit: str
    ) -> models.LayerMaps:
        """Return all activation maps of a layer, held or computed."""
        record = await self.record(photo, network, fit)

        async def compute() -> models.LayerMaps:
            return await self.on_device(lambda: models.layer_maps(record, layer), "maps")

        return await self._answered(("maps", photo.id, identity(network), layer, fit), compute)

    async def overlay(
        self, photo: Photo, network: models.Network, layer: str, fit: str, feature: int
    ) -> Image.Image:
        """Draw one activation map over the photo."""
        maps = await self.maps(photo, network, layer, fit)
        record = await self.record(photo, network, fit)
        return await self.beside(lambda: models.draw_map(record, maps, feature), "draw")

    async def activation_maps(
        self, photo: Photo, network: models.Network, view: models.Visualization
    ) -> list[Any]:
        """Return the activation maps of a view's features, as arrays."""
        record = await self.record(photo, network, view.fit)
        features = [each.feature for each in view.projections]
        return await self.on_device(
            lambda: models.activation_maps(record, view.layer, features), "maps"
        )

    async def first_layer(self, network: models.Network) -> models.FirstLayer:
        """Measure a network's first filters; held like an answer."""

        async def measure() -> models.FirstLayer:
            found = await self.in_turns(models.measure_filters(network))
            assert isinstance(found, models.FirstLayer), "a run ends in its result"
            return found

        return await self._answered(("filters", identity(network)), measure)

    async def held_answer(
        self, key: tuple[Hashable, ...], choice: models.Choice
    ) -> tuple[Answer, models.Network] | None:
        """Return what ``answer_of`` holds under the key; None where that would have to be made."""
        edition = await asyncio.to_thread(self.registry.file, choice.network, choice.weights)
        network = self.networks.get(edition)
        known = self.answers.get((*key, identity(network))) if network else None
        return (cast(Answer, known), network) if known and network else None

    async def answer_of(
        self,
        key: tuple[Hashable, ...],
        network: models.Network,
        make: Callable[[], Coroutine[Any, Any, Answer]],
    ) -> Answer:
        """Return the answer of a network held under the key, or make it once for all who ask."""
        return await self._answered((*key, identity(network)), make)

    async def examples(self, network: models.Network) -> models.Index:
        """Return the index of a data set for a network with its weights, held or read.

        Raises NoExamples, ExamplesInvalid, and InvalidChoice where pyarrow is not installed.
        """
        folder = models.index_folder(self.settings.data_dir / "examples", network)
        stamp = await asyncio.to_thread(_stamp, folder, network.name)

        async def read() -> models.Index:
            return await self.beside(lambda: models.read_index(folder))

        return await self._answered(("examples", *stamp), read)

    async def draw_examples(
        self, network: models.Network, index: models.Index, layer: str, feature: int
    ) -> models.DrawnExamples:
        """Project a map's strongest activations over a data set, all at once; held like a view."""

        async def compute() -> models.DrawnExamples:
            return await self.on_device(
                lambda: models.draw_examples(network, index, layer, feature)
            )

        key = ("drawn examples", identity(network), index.meta.table, layer, feature)
        return await self._answered(key, compute)

    async def answer(
        self, key: Hashable, make: Callable[[], Coroutine[Any, Any, Answer]]
    ) -> Answer:
        """Return the finished answer held under the key, or make it once for all who ask."""
        return await self._answered(key, make)

    async def _answered(self, key: Hashable, make: Callable[[], Coroutine[Any, Any, S]]) -> S:
        """Return what is held under the key, or make it once for all who ask, and keep it."""
        if known := self.answers.get(key):
            return cast(S, known)

        async def make_and_keep() -> S:
            made = await make()
            self.answers.put(key, made, made.nbytes)
            return made

        return await self._single_flight.join(key, make_and_keep)

    async def beside(self, work: Callable[[], T], stage: str = "encode") -> T:
        """Run work that needs no device, framing, drawing or encoding, beside it."""

        def timed() -> T:
            with self.stages.labels(stage).time():
                return work()

        self._beside += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._encoders, timed)
        finally:
            self._beside -= 1

    # Life

    def forget(self, photo: str) -> None:
        """Let go of all that was computed from a photo."""
        for cache in (self.records, self.answers):
            cache.forget_where(lambda key: photo in cast(tuple[Hashable, ...], key))

    def caches(self) -> dict[str, ByteLRU[Any, Any]]:
        """Return every cache by what it holds."""
        return {"networks": self.networks, "records": self.records, "answers": self.answers}

    def holdings(self) -> dict[str, tuple[str, float]]:
        """Count what is waiting: name to meaning and value."""
        return {
            "queue_places_taken": ("Requests waiting or running.", self.places.taken),
            "queue_places": ("Most requests waiting or running.", self.settings.queue_limit),
            "service_seconds": ("Smoothed time of one piece of work.", self._service_seconds),
            "device_waiting": ("Pieces of work before the device.", self.device.waiting.qsize()),
            "device_busy_seconds": (
                "For how long the piece on the device has been running.",
                self.device.busy_seconds,
            ),
            "device_hung": ("Threads that were given up and still hang.", self.device.hung),
            "device_given_up_total": (
                "Threads that were ever given up.",
                len(self.device.given_up),
            ),
            "device_failures_total": ("How often the device failed.", self.devices_lost),
            "beside_waiting": ("Pictures and files being drawn, or waiting.", self._beside),
            "shared_work": ("Pieces of work that several may wait for.", len(self._single_flight)),
            "downloads": ("Weights on their way.", self.registry.downloads.count()),
        }

    def close(self) -> None:
        """Finish what runs, drop what waits, and end the threads."""
        self.registry.downloads.close()
        self.device.close()
        for pool in (self._loader, self._encoders):
            pool.shutdown(wait=True, cancel_futures=True)


def _stamp(folder: Path, network: str) -> tuple[str, int, int]:
    try:
        return models.stamp_of(folder)
    except models.NoExamples:
        raise models.NoExamples("nobody", network=network) from None


def identity(network: models.Network) -> tuple[str, str, str]:
    """Name a network and its weights."""
    return network.name, network.provenance.source, network.provenance.sha256
