"""Exact windows upwards: what a change of some pixels changes in every map above.

A square laid on the photo changes only what its cone reaches. So of each map only the changed
window is computed anew, from the window below and, around it, from the map without the square.
The windows of many squares go up together: their cells lie one after another in one matrix,
behind those of the untouched map, and what a step needs is gathered from it by row.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.errors import OutOfMemory
from models.networks.network import Network
from models.networks.signal import Size, Span, layout
from models.networks.steps import Sliding, Step

TILE_BYTES = {"cpu": 2**23, "cuda": 2**28}
"""So much is gathered for a sliding step at a time: a CPU's cache, a GPU's share."""
WHOLE_BYTES = 2**25
"""So much of whole maps goes at a time through steps that need them, as fully connected ones."""
SLAB_BYTES = 2**28
"""So much may the windows of squares that go up together take where they take most."""

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Stage:
    """A step that mixes cells, the cellwise ones after it, and the untouched map below them.

    ``cells`` is that map as a matrix (H x W + 1, C), whose last row stands for what lies beyond
    the border; ``output`` is the untouched map above, (H' x W', C'). ``layer`` is the one whose
    top this is, or empty.
    """

    steps: tuple[Step, ...]
    cells: Tensor
    output: Tensor
    input_size: Size
    output_size: Size
    layer: str


@dataclass(frozen=True)
class Windows:
    """Where the windows of N squares lie in one map, and which of its cells they hold."""

    rows: Span
    columns: Span

    @cached_property
    def tops(self) -> Integers:
        """Return each window's first row."""
        return np.array(self.rows.starts)

    @cached_property
    def lefts(self) -> Integers:
        """Return each window's first column."""
        return np.array(self.columns.starts)

    @cached_property
    def heights(self) -> Integers:
        """Count each window's rows."""
        return np.array(self.rows.stops) - self.tops

    @cached_property
    def widths(self) -> Integers:
        """Count each window's columns."""
        return np.array(self.columns.stops) - self.lefts

    @cached_property
    def offsets(self) -> Integers:
        """Say at which cell each window begins, and where the last one ends: (N + 1,)."""
        return np.concatenate([[0], (self.heights * self.widths).cumsum()])

    def split(
        self, cells: NDArray[np.floating]
    ) -> Iterator[tuple[tuple[slice, slice], NDArray[np.floating]]]:
        """Yield of each window its slices of the map, and its values (h, w) among the cells."""
        corners = zip(self.tops, self.lefts, self.heights, self.widths, strict=True)
        for number, (top, left, height, width) in enumerate(corners):
            values = cells[self.offsets[number] : self.offsets[number + 1]]
            window = slice(top, top + height), slice(left, left + width)
            yield window, values.reshape(height, width)

    def places(self, some: Integers, rows: Integers, columns: Integers, size: Size) -> Integers:
        """Find, for some windows, where cells of their squares' maps lie: (n, rows, columns).

        ``rows`` and ``columns`` (n, length) are the cells' own. They lie in the untouched map,
        in its last cell beyond the border, or behind it in their window.
        """
        down = rows - self.tops[some, None]
        across = columns - self.lefts[some, None]
        beside = _within(rows, size.height)[:, :, None] & _within(columns, size.width)[:, None]
        untouched = (rows * size.width)[:, :, None] + columns[:, None]
        inside = (
            _within(down, self.heights[some, None])[:, :, None]
            & _within(across, self.widths[some, None])[:, None]
        )
        begin = size.height * size.width + 1 + self.offsets[some]
        changed = (begin[:, None] + down * self.widths[some, None])[:, :, None] + across[:, None]
        beyond = size.height * size.width
        return np.where(inside, changed, np.where(beside, untouched, beyond))


def _within(places: Integers, length: int | Integers) -> NDArray[np.bool_]:
    return (places >= 0) & (places < length)


@dataclass(frozen=True)
class Changed:
    """What N squares change in one map: ``values`` (cells, C), a window after the other."""

    values: Tensor
    windows: Windows


@torch.no_grad()
def stages(network: Network, pixels: Tensor, until: str | None = None) -> list[Stage]:
    """Run pixels (1, C, H, W) forward, up to a layer, and keep what every stage needs."""
    x = pixels.to(network.device, network.dtype)
    x = x.contiguous(memory_format=layout(network.device))
    found = []
    for layer, _ in network.sizes(Size(*x.shape[1:])):
        parts = _parts(layer.steps)
        for number, steps in enumerate(parts, 1):
            below = x
            for step in steps:
                x = step(x)
            top = layer.name if number == len(parts) else ""
            sizes = Size(*below.shape[1:]), Size(*x.shape[1:])
            found.append(Stage(steps, _bordered(steps[0], below), _cells(x), *sizes, top))
        if layer.name == until:
            break
    return found


def _parts(steps: Sequence[Step]) -> list[tuple[Step, ...]]:
    """Part steps before each that slides, and before the first that needs whole maps."""
    parts: list[list[Step]] = []
    for step in steps:
        if parts and (step.cellwise or not (_slides(parts[-1][0]) or parts[-1][0].cellwise)):
            parts[-1].append(step)
        else:
            parts.append([step])
    return [tuple(part) for part in parts]


def _slides(step: Step) -> bool:
    return isinstance(step, Sliding) and step.margin is not None


def _cells(x: Tensor) -> Tensor:
    """Lay maps (N, C, H, W) out as a matrix of cells (N x H x W, C)."""
    return x.permute(0, 2, 3, 1).reshape(-1, x.shape[1])


def _bordered(step: Step, x: Tensor) -> Tensor:
    """Lay a map out as cells, with one more for all that lies beyond its border."""
    margin = step.margin if isinstance(step, Sliding) and step.margin is not None else 0.0
    return torch.cat([_cells(x), x.new_full((1, x.shape[1]), margin)])


Place = tuple[int, int]


def squares(places: Sequence[Place], side: int, fill: Tensor, size: Size) -> Changed:
    """Lay squares of the pixel ``fill`` (C,) with their corners (top, left) at some places."""
    tops, lefts = zip(*places, strict=True)
    rows = Span(tops, tuple(top + side for top in tops), size.height)
    columns = Span(lefts, tuple(left + side for left in lefts), size.width)
    return Changed(fill.expand(len(places) * side**2, -1), Windows(rows, columns))


def slabs(stages: Sequence[Stage], places: Sequence[Place], side: int) -> list[list[Place]]:
    """Part the places into as many at a time as memory holds, in their order."""
    each = max(1, SLAB_BYTES // _largest(stages, places, side))
    return [list(places[start : start + each]) for start in range(0, len(places), each)]


def _largest(stages: Sequence[Stage], places: Sequence[Place], side: int) -> int:
    """Count the bytes of one square's windows below and above the stage where they take most."""
    fill = stages[0].cells[0]
    windows, most = squares(places, side, fill, stages[0].input_size).windows, 1
    for stage in stages:
        below, windows = windows, _above(stage, windows)
        cells = _longest(below) * stage.input_size.channels
        cells += _longest(windows) * stage.output_size.channels
        most = max(most, cells * fill.element_size())
    return most


def _longest(windows: Windows) -> int:
    return int(windows.heights.max() * windows.widths.max())


def _above(stage: Stage, below: Windows) -> Windows:
    """Say which windows of the map above a stage depend on those below it."""
    first, size = stage.steps[0], stage.output_size
    if first.cellwise:
        return below
    if isinstance(first, Sliding) and _slides(first):
        return Windows(*first.output_span(below.rows, below.columns, size))
    count = len(below.tops)
    return Windows(Span.whole(count, size.height), Span.whole(count, size.width))


def climb(stages: Sequence[Stage], changed: Changed) -> Iterator[tuple[Stage, Changed | None]]:
    """Take what has changed up through all stages.

    Yields the stage after each batch of it, the last time with what has changed in its output.
    """
    for stage in stages:
        for above in _rise(stage, changed):
            yield stage, above
            changed = above or changed


@torch.no_grad()
def _rise(stage: Stage, changed: Changed) -> Iterator[Changed | None]:
    first = stage.steps[0]
    if first.cellwise:
        yield Changed(_cellwise(stage.steps, changed.values), changed.windows)
    elif isinstance(first, Sliding) and _slides(first):
        yield from _slide(stage, first, changed)
    else:
        yield from _run_whole(stage, changed)


def _cellwise(steps: Sequence[Step], cells: Tensor) -> Tensor:
    """Run steps that do not mix cells on a matrix of them."""
    return _cells(_run(steps, cells[:, :, None, None]))


def _run(steps: Sequence[Step], x: Tensor) -> Tensor:
    for step in steps:
        try:
            x = step(x)
        except (torch.OutOfMemoryError, MemoryError) as error:
            raise OutOfMemory(str(step)) from error
    return x


def _slide(stage: Stage, first: Sliding, changed: Changed) -> Iterator[Changed | None]:
    """Compute the windows above, those of one size together, a tile at a time."""
    below, above, size = changed.windows, _above(stage, changed.windows), stage.output_size
    source = torch.cat([stage.cells, changed.values])
    values = source.new_empty(int(above.offsets[-1]), size.channels)
    for some in _alike(above, size.channels * source.element_size(), source.device):
        rows = _seen(first, 0, above.tops[some], above.heights[some[0]])
        columns = _seen(first, 1, above.lefts[some], above.widths[some[0]])
        places = below.places(some, rows, columns, stage.input_size)
        x = first.slide(_gather(source, places))
        x = _cells(_run(stage.steps[1:], x)).view(len(some), -1, size.channels)
        for each, number in zip(x, some, strict=True):
            values[above.offsets[number] : above.offsets[number + 1]] = each
        yield None
    yield Changed(values, above)


def _seen(step: Sliding, axis: int, starts: Integers, length: int) -> Integers:
    """List the cells below that windows of ``length`` cells, each from its start, are made of."""
    stride, padding = step.stride[axis], step.padding[axis]
    reach = (length - 1) * stride + step.kernel_size[axis]
    return (starts * stride - padding)[:, None] + np.arange(reach)


def _gather(source: Tensor, places: Integers) -> Tensor:
    """Collect cells into windows (n, C, h, w)."""
    cells = source.index_select(0, torch.from_numpy(places.ravel()).to(source.device))
    return cells.view(*places.shape, -1).permute(0, 3, 1, 2)


def _alike(windows: Windows, cell_bytes: int, device: torch.device) -> Iterator[Integers]:
    """Yield the numbers of windows of one size, as many at a time as fit a tile."""
    sizes = np.stack([windows.heights, windows.widths], 1)
    for size in np.unique(sizes[sizes.all(1)], axis=0):
        found = np.flatnonzero((sizes == size).all(1))
        count = max(1, TILE_BYTES[device.type] // int(size.prod() * cell_bytes))
        yield from np.array_split(found, -(-len(found) // count))


def _run_whole(stage: Stage, changed: Changed) -> Iterator[Changed | None]:
    """Run a stage on whole maps, as many at a time as fit."""
    below, size = changed.windows, stage.input_size
    count = len(below.tops)
    source = torch.cat([stage.cells, changed.values])
    rows, columns = np.arange(size.height), np.arange(size.width)
    each = max(1, WHOLE_BYTES // (source.element_size() * math.prod(size)))
    made = []
    for some in np.array_split(np.arange(count), -(-count // each)):
        n = len(some)
        places = below.places(some, np.tile(rows, (n, 1)), np.tile(columns, (n, 1)), size)
        made.append(_cells(_run(stage.steps, _gather(source, places))))
        yield None
    yield Changed(torch.cat(made), _above(stage, below))
