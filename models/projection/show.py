"""Four ways to show projections: each a function of the same numbers, which never change."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from models import render
from models.errors import InvalidChoice
from models.networks.network import Network
from models.projection.choice import Show
from models.render import Numbers

LIT_PERCENTILE = 99.0
"""The share of strengths below the one from which on the photo is shown whole."""
NOTHING = 1e-12
"""A share of energy that rounding alone leaves behind."""


class Drawn(NamedTuple):
    """A projection as a picture; ``scale`` is the value that the numbers were divided by.

    Both are None where nothing arrived. ``remaining`` is the share of its energy that a difference
    shows, None for every other way.
    """

    scale: float | None
    picture: Image.Image | None
    remaining: float | None = None


SILENT = Drawn(None, None)


class Arrived(NamedTuple):
    """What arrived at a receptive field, (C, H, W), and the photo's patch there."""

    values: Numbers
    patch: Image.Image


def default_show(network: Network, layer: str) -> Show:
    """Say how a layer's projections are shown where nobody asks for a way."""
    names = [each.name for each in network.layers]
    first = network.architecture.smooth_from
    late = first in names and names.index(layer) >= names.index(first)
    return "smooth" if late else "exact"


def draw(show: Show, arrived: Sequence[Arrived], channel_order: str) -> list[Drawn]:
    """Draw what arrived in one of the ways; raise InvalidChoice for a difference of too few."""
    if show == "difference":
        return list(_draw_differences(arrived))
    way = WAYS[show]
    return [way(each, channel_order) if each.values.any() else SILENT for each in arrived]


def _draw_exact(arrived: Arrived, channel_order: str) -> Drawn:
    scale = render.scale_of(arrived.values)
    return Drawn(scale, render.picture(arrived.values, scale, channel_order))


def _draw_smooth(arrived: Arrived, channel_order: str) -> Drawn:
    smoothed = render.smooth(arrived.values)
    scale = render.scale_of(smoothed)
    return Drawn(scale, render.picture(smoothed, scale))


def _draw_lit(arrived: Arrived, channel_order: str) -> Drawn:
    strength = render.strength(arrived.values)
    scale = render.scale_of(strength, LIT_PERCENTILE)
    return Drawn(scale, render.lit(arrived.patch, strength, scale))


WAYS: dict[Show, Callable[[Arrived, str], Drawn]] = {
    "exact": _draw_exact,
    "smooth": _draw_smooth,
    "lit": _draw_lit,
}
"""The ways that look at one projection alone."""


def _draw_differences(arrived: Sequence[Arrived]) -> Iterator[Drawn]:
    """Draw what each has beside the mean of all, once all have length one."""
    alive = [each.values for each in arrived if each.values.any()]
    if len(alive) < 2:
        raise InvalidChoice("difference_of_silent", count=len(alive))
    mean = sum(map(_unit, alive[1:]), start=_unit(alive[0])) / len(alive)
    for each in arrived:
        yield _draw_difference(each.values, mean) if each.values.any() else SILENT


def _draw_difference(values: Numbers, mean: Numbers) -> Drawn:
    rest = _beside(_unit(values), mean)
    remaining = float(np.square(rest).sum())
    if remaining < NOTHING:
        rest, remaining = np.zeros_like(rest), 0.0
    smoothed = render.smooth(rest)
    scale = render.scale_of(smoothed)
    return Drawn(scale, render.picture(smoothed, scale), remaining)


def _unit(values: Numbers) -> Numbers:
    """Scale to length one, in float64."""
    precise: Numbers = values.astype(np.float64)
    return precise / np.linalg.norm(precise)


def _beside(values: Numbers, direction: Numbers) -> Numbers:
    """Subtract the component along a direction."""
    length = np.vdot(direction, direction)
    return values - (np.vdot(direction, values) / length if length else 0.0) * direction
