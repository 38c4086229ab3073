"""The deconvnet (Zeiler & Fergus 2013, 2.1): record a forward pass, project activations back.

``record`` runs pixels forward and keeps what the way down needs: each pool's switches, each
ReLU's signs, each map's maximum. ``project`` puts chosen activations alone into their layer and
takes them down, step by step, to pixels. Neither stores anything on the network, so any number
of threads may share one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from .errors import InvalidChoice, OutOfMemory
from .layers import RULES, Kind, Rule, Signal, Size, Span, layout
from .network import Network
from .preprocessing import Box

TILE_BYTES = {"cpu": 2**21, "cuda": 2**28}
"""Signals part into smaller batches when their maps outgrow this: a CPU's cache, a GPU's share."""

EXHAUSTED = "The device's memory did not suffice for {step}: close what else uses it, or ask later."


class Unit(NamedTuple):
    """One activation: its feature map, its place there, its value, and which image's it is."""

    feature: int
    y: int
    x: int
    activation: float
    image: int = 0


@dataclass(frozen=True)
class Maxima:
    """Each feature map's largest activation (M, C) and the row and column where it is first."""

    values: Tensor
    rows: Tensor
    columns: Tensor


@dataclass(frozen=True)
class Record:
    """What a forward pass of M images leaves: enough to project any unit of any layer."""

    network: Network
    pixels: Tensor
    memories: Mapping[str, tuple[Tensor | None, ...]]
    maxima: Mapping[str, Maxima]
    kept: Mapping[str, Tensor]

    @property
    def size(self) -> Size:
        """Return the size of the pixels, (C, H, W)."""
        return Size(*self.pixels.shape[1:])

    @property
    def scores(self) -> Tensor | None:
        """Return the class scores before softmax, (M, classes), where there is a classifier."""
        last = self.network.last_fc
        return self.maxima[last].values if last and last in self.maxima else None

    @property
    def nbytes(self) -> int:
        """Count the bytes that the record holds."""
        memories = [m for each in self.memories.values() for m in each if m is not None]
        maxima = [t for m in self.maxima.values() for t in (m.values, m.rows, m.columns)]
        return sum(t.nbytes for t in [self.pixels, *memories, *maxima, *self.kept.values()])


class Patch(NamedTuple):
    """A projection: the pixels that the unit can see; outside that box it is exactly zero."""

    box: Box
    values: Tensor  # (C, box height, box width)

    def canvas(self, size: Size) -> Tensor:
        """Spread the patch on a canvas (C, H, W) of the whole input."""
        top, left, bottom, right = (int(edge) for edge in self.box)
        canvas = self.values.new_zeros(size)
        canvas[:, top:bottom, left:right] = self.values
        return canvas


@torch.no_grad()
def record(
    network: Network, pixels: Tensor, keep: Collection[str] = (), until: str | None = None
) -> Record:
    """Run pixels (M, C, H, W) forward; also keep the activations of the layers named in ``keep``.

    Layers that the input's size does not reach (fully connected ones, mostly) are left out, and
    those above the layer ``until``, where one is named.
    """
    form = layout(network.device)
    pixels = pixels.to(network.device, network.dtype).contiguous(memory_format=form)
    memories: dict[str, tuple[Tensor | None, ...]] = {}
    maxima, kept, x = {}, {}, pixels
    for layer, _ in network.sizes(Size(*pixels.shape[1:])):
        remembered = []
        for step in layer.steps:
            try:
                x, memory = step.record(x)
            except (torch.OutOfMemoryError, MemoryError) as error:
                raise OutOfMemory(EXHAUSTED.format(step=step)) from error
            remembered.append(memory)
        memories[layer.name] = tuple(remembered)
        maxima[layer.name] = _maxima(x)
        if layer.name in keep:
            kept[layer.name] = x
        if layer.name == until:
            break
    return Record(network, pixels, memories, maxima, kept)


def _maxima(x: Tensor) -> Maxima:
    """Find each map's largest value, ties to the first in row-major order."""
    width = x.shape[3]
    # pooling by whole rows is many times faster than torch's own maximum over them
    peaks, places = F.max_pool2d(x, (1, width), return_indices=True)
    values, rows = peaks[..., 0].max(2)
    columns = places[..., 0].gather(2, rows[..., None])[..., 0] % width
    return Maxima(values, rows, columns)


@torch.no_grad()
def activations(record: Record, layer: str) -> Tensor:
    """Return a layer's activations (M, C, H, W), computed again unless they were kept."""
    if layer in record.kept:
        return record.kept[layer]
    x = record.pixels
    for each, _ in record.network.path(layer, record.size):
        x = each(x)
    return x


@torch.no_grad()
def project(
    record: Record,
    layer: str,
    units: Sequence[Unit],
    method: str = "deconvnet",
    *,
    windows: bool = True,
) -> list[Patch]:
    """Project single activations of a layer to pixels; signed, in the network's own units.

    Each starts from its own value, all else in its layer zero. ``windows=False`` carries whole
    frames instead of receptive fields: the same numbers, later.
    """
    size = record.network.path(layer, record.size)[-1][1][-1]
    if not units:
        return []
    signal = _seeds(units, size, record.pixels)
    return _descend(record, layer, signal if windows else _whole(signal), RULES[method])


@torch.no_grad()
def project_maps(
    record: Record, layer: str, features: Sequence[int], method: str = "deconvnet", image: int = 0
) -> list[Patch]:
    """Project whole feature maps of a layer to pixels; each is (C, H, W) of the input's size."""
    if not features:
        return []
    values = activations(record, layer)[image, list(features)][:, None]  # (N, 1, H, W)
    n, _, h, w = values.shape
    rows, columns = Span.whole(n, h), Span.whole(n, w)
    signal = Signal(values, rows, columns, (image,) * n, tuple(features))
    whole = Box(0, 0, record.size.height, record.size.width)
    reached = _descend(record, layer, signal, RULES[method])
    return [Patch(whole, patch.canvas(record.size)) for patch in reached]


def _seeds(units: Sequence[Unit], size: Size, like: Tensor) -> Signal:
    """Place each unit's own value alone at its place."""
    for unit in units:
        if not all(0 <= at < end for at, end in zip(unit[:3], size, strict=True)):
            maps = f"{size.channels} maps of {size.height} x {size.width}"
            raise InvalidChoice(f"unit {unit[:3]} lies outside {maps}")
    values = like.new_tensor([unit.activation for unit in units]).view(-1, 1, 1, 1)
    rows = Span.cells([unit.y for unit in units], size.height)
    columns = Span.cells([unit.x for unit in units], size.width)
    images = tuple(unit.image for unit in units)
    return Signal(values, rows, columns, images, tuple(unit.feature for unit in units))


def _whole(signal: Signal) -> Signal:
    """Widen the windows of single units to the whole map."""
    n, height, width = len(signal.values), signal.rows.size, signal.columns.size
    values = signal.values.new_zeros(n, 1, height, width)
    values[range(n), 0, signal.rows.starts, signal.columns.starts] = signal.values[:, 0, 0, 0]
    rows, columns = Span.whole(n, height), Span.whole(n, width)
    return Signal(values, rows, columns, signal.images, signal.features)


def _descend(record: Record, layer: str, signal: Signal, rule: Rule) -> list[Patch]:
    """Walk down: undo every step from the top of ``layer`` to the pixels."""
    steps = list(_backwards(record, layer, rule))
    return [patch for part in _walk(steps, signal, rule) for patch in _patches(part)]


Downwards = tuple[Kind, Tensor | None, Size]
"""A step to undo, its memory, and the size of the maps below it."""


def _walk(steps: Sequence[Downwards], signal: Signal, rule: Rule) -> Iterator[Signal]:
    """Undo the steps one after another; where the maps outgrow a tile, part by part."""
    for place, (step, memory, below) in enumerate(steps):
        count = len(signal.images)
        share = _share(step, signal, below)
        if count <= share:
            try:
                signal = step.undo(signal, memory, rule, below)
                continue
            except (torch.OutOfMemoryError, MemoryError) as error:
                share = count // 2
                if share == 0:
                    raise OutOfMemory(EXHAUSTED.format(step=step)) from error
            torch.cuda.empty_cache()
        for part in signal.parts(share):
            yield from _walk(steps[place:], part, rule)
        return
    yield signal


def _share(step: Kind, signal: Signal, below: Size) -> int:
    """Say how many signals go through a step together; the same for the same question, always."""
    rows, columns = step.grow(signal.rows, signal.columns, below)
    each = below.channels * rows.length * columns.length * signal.values.element_size()
    count, tile = len(signal.images), TILE_BYTES[signal.values.device.type]
    parts = max(1, round(count * each / tile))  # alike in size, and a little too large is fine
    return -(-count // parts)


def _backwards(record: Record, layer: str, rule: Rule) -> Iterator[Downwards]:
    """Yield the steps below the top of ``layer``, last first, with memory and input size."""
    path = record.network.path(layer, record.size)
    inputs = _inputs(record, layer) if rule.derive else {}
    for each, sizes in reversed(path):
        steps = zip(each.steps, record.memories[each.name], sizes, strict=False)
        for step, memory, below in reversed(list(steps)):
            yield step, inputs.get(step, memory), below


def _inputs(record: Record, layer: str) -> dict[Kind, Tensor]:
    """Run forward again for the inputs of the steps that are undone by their derivative."""
    steps = [s for each, _ in record.network.path(layer, record.size) for s in each.steps]
    inputs: dict[Kind, Tensor] = {}
    last = max((place for place, step in enumerate(steps) if step.derives), default=-1)
    x = record.pixels
    for place, step in enumerate(steps[: last + 1]):
        if step.derives:
            inputs[step] = x
        if place < last:
            x = step(x)
    return inputs


def _patches(signal: Signal) -> Iterator[Patch]:
    """Cut each arrived window to the unit's own receptive field."""
    rows, columns = signal.rows, signal.columns
    for n, values in enumerate(signal.values):
        box = Box(rows.starts[n], columns.starts[n], rows.stops[n], columns.stops[n])
        top, left = rows.origins[n], columns.origins[n]
        yield Patch(
            box,
            values[
                :,
                rows.starts[n] - top : rows.stops[n] - top,
                columns.starts[n] - left : columns.stops[n] - left,
            ],
        )
