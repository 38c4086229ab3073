"""Values kept within a byte budget; the least recently used leave first."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import Lock
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class ByteLRU(Generic[K, V]):
    """A cache bounded in bytes, safe to use from several threads."""

    def __init__(self, budget: int, *, always_last: bool = False) -> None:
        """Hold at most ``budget`` bytes; with ``always_last`` the newest value in any case."""
        self.budget = budget
        self.always_last = always_last
        self.nbytes = 0
        self.hits = self.misses = 0
        self._lock = Lock()
        self._items: OrderedDict[K, tuple[V, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._items)

    def get(self, key: K) -> V | None:
        """Return the value and make it the most recently used."""
        with self._lock:
            if key not in self._items:
                self.misses += 1
                return None
            self.hits += 1
            self._items.move_to_end(key)
            return self._items[key][0]

    def put(self, key: K, value: V, nbytes: int) -> None:
        """Keep the value; what it pushes over the budget leaves, oldest first."""
        with self._lock:
            self._drop(key)
            self._items[key] = value, nbytes
            self.nbytes += nbytes
            while self.nbytes > self.budget and len(self._items) > self.always_last:
                self._drop(next(iter(self._items)))

    def forget(self, key: K) -> None:
        """Let the value go, where it is held."""
        with self._lock:
            self._drop(key)

    def forget_where(self, matches: Callable[[K], bool]) -> None:
        """Let go of every value whose key matches."""
        with self._lock:
            for key in [key for key in self._items if matches(key)]:
                self._drop(key)

    def clear(self) -> None:
        """Let go of everything."""
        self.forget_where(lambda key: True)

    def keys(self) -> tuple[K, ...]:
        """List what is held, least recently used first."""
        with self._lock:
            return tuple(self._items)

    def _drop(self, key: K) -> None:
        if key in self._items:
            self.nbytes -= self._items.pop(key)[1]
