"""One feature map in one photo: where it fires, how strong it is among others, what feeds it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from models import render
from models.networks.network import Layer, Network
from models.networks.preprocessing import Box
from models.networks.steps import Convolution, Linear, ReLU, Sigmoid
from models.projection.record import Record, activations
from models.projection.selection import Unit
from models.projection.visualize import check_features

TOP = 9


@dataclass(frozen=True)
class Place:
    """A unit of the map, and the input pixels that it sees."""

    unit: Unit
    receptive_field: Box


@dataclass(frozen=True)
class Input:
    """A feature map of the layer below, and what it adds to the map's strongest unit."""

    feature: int
    contribution: float


@dataclass(frozen=True)
class Inspection:
    """What one feature map does in one photo.

    ``places`` are its strongest units: peaks, which no neighbour exceeds, before others; ``firing``
    of its units are above zero. ``rank`` counts from 1 among all maps of the layer, by their
    largest activation; ``stronger`` and ``weaker`` are the maps next to it there. ``inputs`` are
    the maps of the layer ``below`` that add most to its strongest unit before its nonlinearity:
    with the others and the ``bias`` they sum to it. They are empty where the layer below is the
    photo itself, or where the layer has no weights.
    """

    places: tuple[Place, ...]
    firing: int
    rank: int
    stronger: int | None
    weaker: int | None
    below: str | None
    inputs: tuple[Input, ...]
    bias: float | None


@torch.no_grad()
def inspect_feature(record: Record, layer: str, feature: int, top: int = TOP) -> Inspection:
    """Inspect a feature map; raise UnknownLayer, or InvalidChoice for a map that there is not."""
    path = record.network.path(layer, record.size)
    check_features(layer, (feature,), path[-1][1][-1].channels)
    values = activations(record, layer)[0, feature]  # (H, W)
    units = [Unit(feature, y, x, values[y, x].item()) for y, x in _strongest(values, top)]
    below = path[-2][0].name if len(path) > 1 else None
    inputs, bias = _inputs(record, path[-1][0], below, units[0], top) if units else ((), None)
    return Inspection(
        tuple(Place(unit, _field(record, layer, unit)) for unit in units),
        int((values > 0).sum()),
        *_rank(record, layer, feature),
        below,
        tuple(inputs),
        bias,
    )


def _strongest(values: Tensor, top: int) -> list[tuple[int, int]]:
    """Return the strongest places above zero, peaks first; ties to the first in row-major order.

    A map of a single unit, such as a class score, has that one wherever it is not zero.
    """
    if values.numel() == 1:
        return [(0, 0)] if values.any() else []
    peaks = F.max_pool2d(values[None], 3, 1, 1)[0] == values
    order = torch.sort(values.flatten(), descending=True, stable=True).indices.tolist()
    fires, is_peak = (values.flatten() > 0).tolist(), peaks.flatten().tolist()
    alive = [at for at in order if fires[at]]
    chosen = sorted(alive, key=lambda at: not is_peak[at])[:top]  # stable: by strength in each
    return [divmod(at, values.shape[1]) for at in chosen]


def _field(record: Record, layer: str, unit: Unit) -> Box:
    box = record.network.receptive_field(layer, (unit.y, unit.x), record.size)
    return Box(*map(int, box))


def _rank(record: Record, layer: str, feature: int) -> tuple[int, int | None, int | None]:
    """Say which place a map takes by its largest activation, and who stands next to it there."""
    values = record.maxima[layer].values[0]
    order: list[int] = torch.sort(values, descending=True, stable=True).indices.tolist()
    at = order.index(feature)
    stronger = order[at - 1] if at else None
    return at + 1, stronger, order[at + 1] if at + 1 < len(order) else None


def _inputs(
    record: Record, layer: Layer, below: str | None, unit: Unit, top: int
) -> tuple[Sequence[Input], float | None]:
    """Share a unit's value before its nonlinearity out among the maps below and the bias."""
    steps = list(takewhile(lambda step: not isinstance(step, ReLU | Sigmoid), layer.steps))
    if below is None or not any(isinstance(step, Convolution | Linear) for step in steps):
        return (), None
    x = activations(record, below)[:1].detach().requires_grad_()
    with torch.enable_grad():
        y = x
        for step in steps:
            y = step(y)
        value = y[0, unit.feature, unit.y, unit.x]
        (slope,) = torch.autograd.grad(value, x)
    shares = (slope * x).detach().sum((2, 3))[0]
    ranked = torch.sort(shares, descending=True, stable=True)
    pairs = zip(ranked.indices[:top].tolist(), ranked.values[:top].tolist(), strict=True)
    return [Input(*pair) for pair in pairs if pair[1] > 0], (value - shares.sum()).item()


def draw_filter(network: Network, layer: str, feature: int) -> Image.Image | None:
    """Draw the filter of a map of the first layer, a pixel a weight; None for other layers."""
    first = network.layers[0]
    if first.name != layer:
        return None
    (filters,) = (step.weight for step in first.steps if isinstance(step, Convolution))
    check_features(layer, (feature,), len(filters))
    values = filters[feature].detach().float().cpu().contiguous().numpy()
    return render.picture(values, render.scale_of(values), network.preprocessing.channel_order)
