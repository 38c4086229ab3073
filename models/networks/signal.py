"""What travels down from chosen units to pixels: of each map the window that they can reach.

A signal is never the whole map when less will do: it travels as the *window* that its seed can
reach. The windows of a batch have one size and lie wholly inside the map, each where its own unit
needs it (``Span``), so a full frame is just the window that covers everything.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F


def layout(device: torch.device) -> torch.memory_format:
    """Return the one memory layout that maps and filters have on a device."""
    return torch.channels_last if device.type == "cpu" else torch.contiguous_format


def zeros(like: Tensor, *size: int) -> Tensor:
    """Make a map (N, C, H, W) of zeros in its device's layout."""
    form = layout(like.device)
    return torch.empty(size, dtype=like.dtype, device=like.device, memory_format=form).zero_()


class Size(NamedTuple):
    """Channels, rows and columns of a map."""

    channels: int
    height: int
    width: int


@dataclass(frozen=True)
class Span:
    """One axis of a map: the cells that each signal of a batch can reach, and its window there.

    ``starts`` and ``stops`` are the true reach, clipped to the map. The windows share
    ``length``, the longest reach or ``least``, and begin at ``origins``, so that none leaves the
    map.
    """

    starts: tuple[int, ...]
    stops: tuple[int, ...]
    size: int
    least: int = 0

    @classmethod
    def whole(cls, count: int, size: int) -> Span:
        """Cover the axis from end to end for ``count`` signals."""
        return cls((0,) * count, (size,) * count, size)

    @classmethod
    def cells(cls, places: Sequence[int], size: int) -> Span:
        """Cover one cell for each signal."""
        return cls(tuple(places), tuple(place + 1 for place in places), size)

    def part(self, some: slice) -> Span:
        """Return the same for some of the signals, in windows as long as before."""
        return Span(self.starts[some], self.stops[some], self.size, self.length)

    @property
    def length(self) -> int:
        """How many cells each window is long."""
        return max(self.least, *(b - a for a, b in zip(self.starts, self.stops, strict=True)))

    @property
    def origins(self) -> tuple[int, ...]:
        """Where each window begins."""
        last = self.size - self.length
        return tuple(min(start, last) for start in self.starts)

    def offsets(self, lower: Span, stride: int, padding: int) -> list[int]:
        """Say where each window of ``lower``, a map below, begins in what this one spreads to."""
        pairs = zip(self.origins, lower.origins, strict=True)
        return [origin - (start * stride - padding) for start, origin in pairs]

    def input_span(self, kernel: int, stride: int, padding: int, size: int) -> Span:
        """Say which cells of the map below, ``size`` long, these cells are computed from."""
        starts = tuple(max(0, start * stride - padding) for start in self.starts)
        stops = tuple(min(size, (s - 1) * stride - padding + kernel) for s in self.stops)
        return Span(starts, stops, size)

    def output_span(self, kernel: int, stride: int, padding: int, size: int) -> Span:
        """Say which cells of the map above, ``size`` long, are computed from these cells."""
        starts = (max(0, -(-(start + padding - kernel + 1) // stride)) for start in self.starts)
        stops = (min(size, (stop - 1 + padding) // stride + 1) for stop in self.stops)
        reached = [(start, max(start, stop)) for start, stop in zip(starts, stops, strict=True)]
        return Span(tuple(a for a, _ in reached), tuple(b for _, b in reached), size)


@dataclass(frozen=True)
class Signal:
    """What travels down: one window for each of N seeds.

    ``values`` is (N, C, h, w). While only one map of each seed is not zero, as from the seed to
    the first filter below it, C is 1 and ``features`` says which map that is.
    """

    values: Tensor
    rows: Span
    columns: Span
    images: tuple[int, ...]
    features: tuple[int, ...] | None = None

    def window(self, saved: Tensor, maps_per_entry: int = 1) -> Tensor:
        """Cut what was saved of whole maps (M, C, H, W) to this signal's windows.

        ``maps_per_entry`` maps share one entry of the second axis. The result is (N, C, h, w),
        (N, 1, h, w) for a signal in one map, or (1, C, H, W) where one answer serves all.
        """
        if self.covers and self.features is None and len(saved) == 1:
            return saved
        height, width = self.rows.length, self.columns.length
        features = self.features or (None,) * len(self.images)
        entries = [_entry(feature, maps_per_entry) for feature in features]
        windows = zip(self.images, entries, self.rows.origins, self.columns.origins, strict=True)
        return torch.cat(
            [saved[i : i + 1, e, y : y + height, x : x + width] for i, e, y, x in windows]
        )

    @property
    def covers(self) -> bool:
        """Is every window the whole map?"""
        rows, columns = self.rows, self.columns
        return rows.length == rows.size and columns.length == columns.size

    def dense(self, channels: int) -> Signal:
        """Return the same with all ``channels`` maps; those that were left out are zero."""
        if self.features is None:
            return self
        n, _, h, w = self.values.shape
        values = zeros(self.values, n, channels, h, w)
        values[range(n), self.features] = self.values[:, 0]
        return replace(self, values=values, features=None)

    def parts(self, count: int) -> Iterator[Signal]:
        """Split the batch into batches of at most ``count`` signals."""
        for start in range(0, len(self.images), count):
            some = slice(start, start + count)
            yield Signal(
                self.values[some],
                self.rows.part(some),
                self.columns.part(some),
                self.images[some],
                self.features and self.features[some],
            )

    def with_values(self, values: Tensor) -> Signal:
        """Keep the windows, change what is in them."""
        return replace(self, values=values)


def _entry(feature: int | None, maps_per_entry: int) -> slice:
    """Select the entry of one map, or all."""
    if feature is None:
        return slice(None)
    return slice(feature // maps_per_entry, feature // maps_per_entry + 1)


def cut(values: Tensor, tops: list[int], height: int, lefts: list[int], width: int) -> Tensor:
    """Cut (N, C, h, w) to ``height`` by ``width``, each at its own offset, zero outside."""
    h, w = values.shape[2:]
    above, left = max(0, -min(tops)), max(0, -min(lefts))
    under, right = max(0, max(tops) + height - h), max(0, max(lefts) + width - w)
    if above or left or under or right:
        values = F.pad(values, (left, right, above, under))
    tops, lefts = [t + above for t in tops], [x + left for x in lefts]
    if len({*zip(tops, lefts, strict=True)}) == 1:
        return values[:, :, tops[0] : tops[0] + height, lefts[0] : lefts[0] + width]
    corners = zip(values.split(1), tops, lefts, strict=True)
    return torch.cat([each[:, :, t : t + height, x : x + width] for each, t, x in corners])
