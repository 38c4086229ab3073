"""The walk down (Zeiler & Fergus 2013, 2.1): from chosen activations of a layer back to pixels.

``project`` puts activations alone into their layer and takes them down, step by step. It stores
nothing on the network, so any number of threads may share one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.errors import InvalidChoice, OutOfMemory
from models.networks.preprocessing import Box
from models.networks.rules import RULES, Rule
from models.networks.signal import Signal, Size, Span
from models.networks.steps import Step
from models.projection.record import Record, activations
from models.projection.selection import Unit

TILE_BYTES = {"cpu": 2**22, "cuda": 2**28}
"""Signals part into smaller batches when their maps outgrow this: a CPU's cache, a GPU's share."""


class Reconstruction(NamedTuple):
    """What arrived at the pixels, in the network's units; outside its box it is exactly zero."""

    box: Box
    values: NDArray[np.floating]  # (C, box height, box width)

    def canvas(self, size: Size) -> NDArray[np.floating]:
        """Spread it on a canvas (C, H, W) of the whole input."""
        top, left, bottom, right = (int(edge) for edge in self.box)
        canvas = np.zeros(size, self.values.dtype)
        canvas[:, top:bottom, left:right] = self.values
        return canvas


@torch.no_grad()
def project(
    record: Record,
    layer: str,
    units: Sequence[Unit],
    method: str = "deconvnet",
    *,
    windows: bool = True,
) -> list[Reconstruction]:
    """Project single activations of a layer to pixels; signed, in the network's own units.

    Each starts from its own value, all else in its layer zero. ``windows=False`` carries whole
    frames instead of receptive fields: the same numbers, later.
    """
    size = _size(record, layer)
    if not units:
        return []
    signal = _seeds(units, size, record.pixels)
    return _walk_down(record, layer, signal if windows else _whole(signal), RULES[method])


@torch.no_grad()
def project_maps(
    record: Record, layer: str, features: Sequence[int], method: str = "deconvnet", image: int = 0
) -> list[Reconstruction]:
    """Project whole feature maps of a layer to pixels; each is (C, H, W) of the input's size."""
    if not features:
        return []
    values = activations(record, layer)[image, list(features)][:, None]  # (N, 1, H, W)
    n, _, h, w = values.shape
    rows, columns = Span.whole(n, h), Span.whole(n, w)
    signal = Signal(values, rows, columns, (image,) * n, tuple(features))
    whole = Box(0, 0, record.size.height, record.size.width)
    reached = _walk_down(record, layer, signal, RULES[method])
    return [Reconstruction(whole, each.canvas(record.size)) for each in reached]


@torch.no_grad()
def score_gradient(record: Record, layer: str, score: int, image: int = 0) -> Tensor:
    """Take the gradient of a class score, before the softmax, down to a layer: (C, H, W)."""
    top, rule = record.network.classifier, RULES["gradient"]
    assert top is not None, "only a classifier has scores"
    seeds = _seeds([Unit(score, 0, 0, 1.0, image)], _size(record, top), record.pixels)
    (arrived,) = _walk(list(_backwards(record, top, rule, until=layer)), seeds, rule)
    size, (y, x) = _size(record, layer), (arrived.rows.origins[0], arrived.columns.origins[0])
    gradient = arrived.values.new_zeros(size)
    values = arrived.dense(size.channels).values[0]
    gradient[:, y : y + values.shape[1], x : x + values.shape[2]] = values
    return gradient


def _size(record: Record, layer: str) -> Size:
    """Return the size of a layer's maps."""
    return record.network.path(layer, record.size)[-1][1][-1]


def _seeds(units: Sequence[Unit], size: Size, like: Tensor) -> Signal:
    """Place each unit's own value alone at its place."""
    for unit in units:
        if not all(0 <= at < end for at, end in zip(unit[:3], size, strict=True)):
            raise InvalidChoice("unit_beyond", unit=unit[:3], **size._asdict())
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


def _walk_down(record: Record, layer: str, signal: Signal, rule: Rule) -> list[Reconstruction]:
    """Walk down, through every step from the top of ``layer`` to the pixels."""
    steps = list(_backwards(record, layer, rule))
    return [each for part in _walk(steps, signal, rule) for each in _reconstructions(part)]


Downwards = tuple[Step, Tensor | None, Size]
"""A step to go back through, what it saved, and the size of its input."""


def _walk(steps: Sequence[Downwards], signal: Signal, rule: Rule) -> Iterator[Signal]:
    """Undo the steps one after another; where the maps outgrow a tile, part by part."""
    for number, (step, saved, input_size) in enumerate(steps):
        count = len(signal.images)
        share = _share(step, signal, input_size)
        if count <= share:
            try:
                signal = step.backward(signal, saved, rule, input_size)
                continue
            except (torch.OutOfMemoryError, MemoryError) as error:
                share = count // 2
                if share == 0:
                    raise OutOfMemory(str(step)) from error
            torch.cuda.empty_cache()
        for part in signal.parts(share):
            yield from _walk(steps[number:], part, rule)
        return
    yield signal


def _share(step: Step, signal: Signal, input_size: Size) -> int:
    """Say how many signals go through a step together; the same for the same question, always."""
    rows, columns = step.input_span(signal.rows, signal.columns, input_size)
    each = input_size.channels * rows.length * columns.length * signal.values.element_size()
    count, tile = len(signal.images), TILE_BYTES[signal.values.device.type]
    parts = max(1, round(count * each / tile))  # alike in size, and a little too large is fine
    return -(-count // parts)


def _backwards(
    record: Record, layer: str, rule: Rule, until: str | None = None
) -> Iterator[Downwards]:
    """Yield the steps below the top of ``layer``, last first, with memory and input size.

    They end above the layer ``until``, where one is named.
    """
    path = record.network.path(layer, record.size)
    inputs = _inputs(record, layer) if rule.derive else {}
    for each, sizes in reversed(path):
        if each.name == until:
            return
        steps = zip(each.steps, record.saved[each.name], sizes, strict=False)
        for step, saved, input_size in reversed(list(steps)):
            yield step, inputs.get(step, saved), input_size


def _inputs(record: Record, layer: str) -> dict[Step, Tensor]:
    """Run forward again for the inputs of the steps whose derivative is asked for."""
    steps = [s for each, _ in record.network.path(layer, record.size) for s in each.steps]
    inputs: dict[Step, Tensor] = {}
    last = max((number for number, step in enumerate(steps) if step.derives), default=-1)
    x = record.pixels
    for number, step in enumerate(steps[: last + 1]):
        if step.derives:
            inputs[step] = x
        if number < last:
            x = step(x)
    return inputs


def _reconstructions(signal: Signal) -> Iterator[Reconstruction]:
    """Bring the arrived windows to the host, each cut to its unit's own receptive field."""
    rows, columns = signal.rows, signal.columns
    for n, values in enumerate(signal.values.cpu().contiguous().numpy()):
        box = Box(rows.starts[n], columns.starts[n], rows.stops[n], columns.stops[n])
        top, left = rows.origins[n], columns.origins[n]
        yield Reconstruction(
            box,
            np.ascontiguousarray(
                values[
                    :,
                    rows.starts[n] - top : rows.stops[n] - top,
                    columns.starts[n] - left : columns.stops[n] - left,
                ]
            ),
        )
