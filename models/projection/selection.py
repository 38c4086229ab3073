"""Which units to project: the strongest maps, chosen maps, one place, all that see a pixel."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from models.errors import InvalidChoice
from models.networks.signal import Size
from models.networks.steps import Sliding
from models.projection.record import Record, activations


class Unit(NamedTuple):
    """One activation: its feature map, its place there, its value, and which image's it is."""

    feature: int
    y: int
    x: int
    activation: float
    image: int = 0


def strongest(record: Record, layer: str, top: int, image: int = 0) -> list[int]:
    """Return the ``top`` feature maps with the largest activation, ties by lower number."""
    return largest(record.maxima[layer].values[image], top)


def largest(values: Tensor, top: int) -> list[int]:
    """Return the places of the ``top`` largest values, ties by lower number."""
    return torch.sort(values, descending=True, stable=True).indices[:top].tolist()


def peaks(record: Record, layer: str, features: Sequence[int], image: int = 0) -> list[Unit]:
    """Return each chosen map's strongest unit."""
    maxima = record.maxima[layer]
    chosen = list(features)
    columns = (maxima.rows, maxima.columns, maxima.values)
    places = zip(chosen, *(each[image, chosen].tolist() for each in columns), strict=True)
    return [Unit(feature, y, x, value, image) for feature, y, x, value in places]


def at(
    record: Record, layer: str, features: Sequence[int], place: tuple[int, int], image: int = 0
) -> list[Unit]:
    """Return the unit at one place (y, x) of each chosen map; raise InvalidChoice outside it."""
    check_place(layer, place, record.network.path(layer, record.size)[-1][1][-1])
    values = activations(record, layer)[image, list(features), place[0], place[1]].tolist()
    return [Unit(f, *place, v, image) for f, v in zip(features, values, strict=True)]


def check_place(layer: str, place: tuple[int, int], size: Size) -> None:
    """Raise InvalidChoice for a place (y, x) outside the layer's maps."""
    y, x = place
    if not (0 <= y < size.height and 0 <= x < size.width):
        raise InvalidChoice(
            "unit_outside", y=y, x=x, layer=layer, rows=size.height - 1, columns=size.width - 1
        )


def seeing(
    record: Record, layer: str, pixel: tuple[int, int], top: int, image: int = 0
) -> list[Unit]:
    """Return the strongest active units whose receptive field is centred nearest to a pixel.

    Of the layer's places, the one whose field's centre lies nearest to the pixel (y, x) counts;
    there, the ``top`` maps with the largest positive activation.
    """
    size = record.network.path(layer, record.size)[-1][1][-1]
    place = (
        _nearest(record, layer, pixel[0], 0, size.height),
        _nearest(record, layer, pixel[1], 1, size.width),
    )
    values = activations(record, layer)[image, :, place[0], place[1]]
    ranked = torch.sort(values, descending=True, stable=True)
    pairs = zip(ranked.indices[:top].tolist(), ranked.values[:top].tolist(), strict=True)
    return [Unit(feature, *place, value, image) for feature, value in pairs if value > 0]


def _nearest(record: Record, layer: str, pixel: int, axis: int, count: int) -> int:
    """Find the row (axis 0) or column (axis 1) whose receptive field is centred nearest.

    Before the field is clipped to the input, that is: the clipped one's centre drifts inwards.
    """
    first, jump = 0.0, 1
    for each, _ in record.network.path(layer, record.size):
        for step in each.steps:
            if isinstance(step, Sliding):
                first += ((step.kernel_size[axis] - 1) / 2 - step.padding[axis]) * jump
                jump *= step.stride[axis]
    return min(max(0, math.ceil((pixel - first) / jump - 0.5)), count - 1)
