"""Work under way, shared by all who ask for the same."""

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, TypeVar, cast

T = TypeVar("T")


class SingleFlight:
    """Work under way, joined by all who ask for the same; dropped when the last one leaves."""

    def __init__(self) -> None:
        self._tasks: dict[Hashable, asyncio.Task[Any]] = {}
        self._waiting: dict[Hashable, int] = {}

    def __len__(self) -> int:
        return len(self._tasks)

    def __contains__(self, key: Hashable) -> bool:
        return key in self._tasks

    async def join(self, key: Hashable, begin: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Await the work under this key, beginning it where nobody has."""
        if key not in self._tasks:
            self._tasks[key], self._waiting[key] = asyncio.create_task(begin()), 0
        task = self._tasks[key]
        self._waiting[key] += 1
        try:
            return cast(T, await asyncio.shield(task))
        finally:
            self._leave(key, task)

    def _leave(self, key: Hashable, task: asyncio.Task[Any]) -> None:
        if self._tasks.get(key) is not task:
            return
        self._waiting[key] -= 1
        if task.done() or not self._waiting[key]:
            del self._tasks[key], self._waiting[key]
            task.cancel()
