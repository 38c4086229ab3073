"""The bounded queue before all work: who may wait, and which requests wait as one."""

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field

import models

AT_ONCE = 2
"""Pictures of one view that are worked on at a time: one computed, one drawn or encoded."""
PROMISES = 4096
"""Views whose pictures are promised a place; the oldest promise is forgotten first."""


class QueueFull(models.DeconvnetError):
    """Too many requests are waiting; `retry_after` says in how many seconds to ask again."""


@dataclass
class _View:
    """The one place of a view's pictures: how many wait for it, and whose turn it is."""

    waiting: int = 0
    turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))


class Places:
    """Places for requests that wait or run, so many at a time.

    A page asks for many pictures at once. Those of one view share a place and have their turns one
    after another. A page that was answered has promised its pictures: their view finds a place even
    where all others are taken.
    """

    def __init__(self, limit: int, most_pictures: int, retry_after: Callable[[], int]) -> None:
        self.limit, self.most_pictures, self.retry_after = limit, most_pictures, retry_after
        self.taken = 0
        self.idle = asyncio.Event()
        self.idle.set()
        self._views: dict[Hashable, _View] = {}
        self._promised: OrderedDict[Hashable, None] = OrderedDict()

    @contextlib.contextmanager
    def one(self) -> Iterator[None]:
        """Hold a place of one's own; raises QueueFull where there is none."""
        if self.taken >= self.limit:
            raise self._full()
        self._take()
        try:
            yield
        finally:
            self._give_back()

    @contextlib.contextmanager
    def of_view(self, view: Hashable) -> Iterator[asyncio.Semaphore]:
        """Share the place of a view's pictures, and give what hands out their turns.

        Raises QueueFull where there is none and none is promised, or too many pictures wait for it.
        """
        if view not in self._views and self.taken >= self.limit and view not in self._promised:
            raise self._full()
        here = self._views.setdefault(view, _View())
        if here.waiting >= self.most_pictures:
            raise self._full()
        if not here.waiting:
            self._take()
        here.waiting += 1
        try:
            yield here.turns
        finally:
            here.waiting -= 1
            if not here.waiting:
                del self._views[view]
                self._give_back()

    def promise(self, *views: Hashable) -> None:
        """Promise the pictures of these views a place."""
        for view in views:
            self._promised[view] = None
            self._promised.move_to_end(view)
        while len(self._promised) > PROMISES:
            self._promised.popitem(last=False)

    def _full(self) -> QueueFull:
        return QueueFull(retry_after=self.retry_after())

    def _take(self) -> None:
        self.taken += 1
        self.idle.clear()

    def _give_back(self) -> None:
        self.taken -= 1
        if not self.taken:
            self.idle.set()
