"""The thread that computes: one piece of work after another, and given up where one hangs.

A thread cannot be killed. One whose piece takes too long is left to itself, what it computes is
dropped, and a fresh one goes on with the queue.
"""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any, TypeVar, cast

from prometheus_client import Histogram

import models

T = TypeVar("T")

MOST_HUNG = 2
"""How many threads may hang before nothing more is begun."""
CLOSING_SECONDS = 30.0
"""How long a closing server waits for the piece that runs."""


class DeviceHung(models.DeconvnetError):
    """A piece of work took longer than the ``seconds`` that one may take, and was given up."""


@dataclass
class _Piece:
    """A piece of work, and who waits for it since when."""

    work: Callable[[], Any]
    stage: str
    future: Future[Any] = field(default_factory=Future)
    asked: float = field(default_factory=time.monotonic)
    began: float = 0.0


class _Lane(threading.Thread):
    """A thread that takes one piece after another from the queue, until it is given up."""

    def __init__(self, device: "Device") -> None:
        super().__init__(name="device", daemon=True)
        self.device = device
        self.piece: _Piece | None = None
        self.given_up = False

    def run(self) -> None:
        """Compute what waits, on every core."""
        models.use_all_cores()
        while not self.given_up and (piece := self.device.waiting.get()) is not None:
            if piece.future.set_running_or_notify_cancel():
                piece.began = time.monotonic()
                self.piece = piece
                self._do(piece)
                self.piece = None

    def _do(self, piece: _Piece) -> None:
        stages = self.device.stages
        stages.labels("wait").observe(piece.began - piece.asked)
        with contextlib.suppress(InvalidStateError):  # it was given up, and nobody waits
            try:
                with stages.labels(piece.stage).time():
                    result = models.guard(piece.work)
            except BaseException as error:
                piece.future.set_exception(error)
            else:
                self.device.proven = time.monotonic()
                piece.future.set_result(result)


class Device:
    """The one thread that computes on the device, and the queue before it."""

    def __init__(self, seconds: float, stages: Histogram) -> None:
        """Give a piece of work up after so many seconds."""
        self.seconds, self.stages = seconds, stages
        self.waiting: SimpleQueue[_Piece | None] = SimpleQueue()
        self.proven = 0.0
        """When a piece of work last succeeded, on the monotonic clock."""
        self.given_up: list[_Lane] = []
        self._lane: _Lane | None = None
        self._watched: asyncio.AbstractEventLoop | None = None

    async def run(self, work: Callable[[], T], stage: str) -> T:
        """Run work when its turn comes; cancelled in the queue, it never runs.

        Raises DeviceHung where it hangs, or where too much hung before it and still does.
        """
        if self.hung >= MOST_HUNG:
            raise DeviceHung(seconds=self.seconds)
        if self._lane is None or self._lane.given_up:
            self._lane = self._start()
        piece = _Piece(work, stage)
        self.waiting.put(piece)
        self._watch(asyncio.get_running_loop())
        return cast(T, await asyncio.wrap_future(piece.future))

    @property
    def hung(self) -> int:
        """Count the threads that were given up and still hang."""
        return sum(lane.is_alive() for lane in self.given_up)

    @property
    def busy_seconds(self) -> float:
        """Return for how long the piece that runs has been running; 0 where none does."""
        piece = self._running()
        return time.monotonic() - piece.began if piece else 0.0

    def close(self) -> None:
        """Finish what runs, drop what waits, and end the thread."""
        self._drop_waiting()
        self.waiting.put(None)
        if self._lane and not self._lane.given_up:
            self._lane.join(CLOSING_SECONDS)

    def _start(self) -> _Lane:
        lane = _Lane(self)
        lane.start()
        return lane

    def _watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Look now and then, for as long as there is work, whether it hangs."""
        if self._watched is not loop:
            self._watched = loop
            loop.call_later(min(1.0, self.seconds / 4), self._look, loop)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        self._watched = None
        piece = self._running()
        if self._lane and piece and time.monotonic() - piece.began > self.seconds:
            self._give_up(self._lane, piece)
        if self._running() or not self.waiting.empty():
            self._watch(loop)

    def _running(self) -> _Piece | None:
        return self._lane.piece if self._lane else None

    def _give_up(self, lane: _Lane, piece: _Piece) -> None:
        lane.given_up = True
        self.given_up.append(lane)
        with contextlib.suppress(InvalidStateError):  # it has just ended
            piece.future.set_exception(DeviceHung(seconds=self.seconds))
        if self.hung < MOST_HUNG:
            self._lane = self._start()
        else:
            self._drop_waiting(DeviceHung(seconds=self.seconds))

    def _drop_waiting(self, error: models.DeconvnetError | None = None) -> None:
        with contextlib.suppress(Empty):
            while piece := self.waiting.get_nowait():
                if error is None:
                    piece.future.cancel()
                elif piece.future.set_running_or_notify_cancel():
                    piece.future.set_exception(error)
