"""The first layer's filters as frequencies, and what its stride aliases (Fig. 6).

A grid that keeps every s-th pixel can hold waves of up to 1 / (2 s) cycles a pixel along each axis;
faster ones come out as slower ones. So a wave's frequency here is the larger of its two, and the
bands end where strides of 4, 2 and 1 stop: 1/8, 1/4 and 1/2 cycles a pixel.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from models.errors import InvalidChoice
from models.experiments.frequencies import BANDS, FirstLayer, Reading, middle_of
from models.experiments.shape import Progress
from models.networks.network import Network
from models.networks.steps import Convolution

GRID = 64
"""Frequencies along each axis, from -1/2 to 1/2 cycles a pixel, none of them on a band's edge."""
STRIDES = (1, 2, 4)
DEAD = 0.1
"""A filter is dead when its root mean square is under this share of the layer's median."""


@torch.no_grad()
def measure_filters(network: Network) -> Iterator[Progress | FirstLayer]:
    """Measure a network's first filters, and what its second ones read through them.

    Raises InvalidChoice where the network sees grey.
    """
    if network.preprocessing.channels != 3:
        raise InvalidChoice("filters_are_grey", network=network.name)
    first, *later = convolutions(network)
    filters = in_rgb(network, first.weight)
    yield Progress(0, 1, network.layers[0].name)
    stride = first.stride[0]
    reading = _read(filters, later[0], stride) if later and stride > 1 else None
    yield _found(network, first, filters, transform(filters), reading)


def convolutions(network: Network) -> list[Convolution]:
    """List a network's convolutions, from the pixels up."""
    return [
        step for layer in network.layers for step in layer.steps if isinstance(step, Convolution)
    ]


def in_rgb(network: Network, filters: Tensor) -> Tensor:
    """Return filters on the pixels (N, 3, k, k) with red first, as float64 on the host."""
    filters = filters.detach().double().cpu()
    return filters.flip(1) if network.preprocessing.channel_order == "BGR" else filters


def frequencies(count: int = GRID) -> Tensor:
    """Return the frequencies of the grid along one axis, in cycles a pixel: (F,)."""
    return (torch.arange(count, dtype=torch.float64) + 0.5) / count - 0.5


def transform(filters: Tensor, rows: int = GRID) -> Tensor:
    """Return the waves (..., F, F) in filters (..., k, k).

    Of the frequencies from top to bottom only the first ``rows``.
    """
    taps = torch.arange(filters.shape[-1], dtype=torch.float64)
    angles = -2 * np.pi * torch.outer(frequencies(), taps)  # (F, k)
    turns = torch.polar(torch.ones_like(angles), angles)
    turns = turns.to(torch.promote_types(filters.dtype, torch.complex32))
    across = filters.to(turns.dtype) @ turns.T
    return turns[:rows] @ across


def larger_frequency() -> Tensor:
    """Return the larger of each wave's two frequencies, in cycles a pixel: (F, F)."""
    size = frequencies().abs()
    return torch.maximum(size[:, None], size[None, :])


def natural() -> Tensor:
    """Return each wave's mean energy in natural photos: one over its frequency squared."""
    squares = frequencies().square()
    return 1 / (squares[:, None] + squares[None, :])


def share_beyond(energy: Tensor, limit: float) -> Tensor:
    """Return the share of energy (..., F, F) in waves faster than the limit; 0 of none."""
    beyond = larger_frequency()[: energy.shape[-2]] > limit
    total = energy.sum((-2, -1))
    return torch.where(total > 0, (energy * beyond).sum((-2, -1)) / total.clamp(min=1e-300), 0.0)


def share_in_bands(energy: Tensor) -> Tensor:
    """Return the share of energy (..., F, F) in each band (..., B)."""
    over = [share_beyond(energy, edge) for edge in BANDS]
    return torch.stack([low - high for low, high in pairwise(over)], -1)


def _read(first: Tensor, second: Convolution, stride: int) -> Reading:
    """Say what share each filter of the second layer reads of waves that the first one aliased."""
    energy = transform(_through(first, second, stride), rows=GRID // 2).abs().square().sum(1)
    # half of the waves do: the others are the same ones running the other way
    seen = energy * natural()[: GRID // 2]
    return Reading(_plain(share_beyond(seen, 1 / (2 * stride))))


def _through(first: Tensor, second: Convolution, stride: int) -> Tensor:
    """Return the second layer's filters as filters on the pixels (M, 3, k, k), through the first.

    ``first`` (N, 3, k, k) is applied at every ``stride``-th pixel; what lies between the layers,
    ReLU, pool and norm, is left out.
    """
    filters = second.weight.detach().double().cpu()
    groups = zip(filters.chunk(second.groups), first.chunk(second.groups), strict=True)
    return torch.cat([F.conv_transpose2d(each, below, stride=stride) for each, below in groups])


def _found(
    network: Network, first: Convolution, filters: Tensor, waves: Tensor, reading: Reading | None
) -> FirstLayer:
    energy = waves.abs().square().sum(1)  # (N, F, F)
    rms = filters.square().mean((1, 2, 3)).sqrt()
    seen = energy * natural()
    return FirstLayer(
        network=network.name,
        layer=network.layers[0].name,
        stride=first.stride[0],
        filters=_plain(filters),
        rms=_plain(rms),
        dead=(rms <= DEAD * middle_of(_plain(rms))).numpy(),
        spectra=_plain(energy),
        bands=_plain(share_in_bands(energy)),
        bands_on_photos=_plain(share_in_bands(seen)),
        aliased={s: _plain(share_beyond(seen, 1 / (2 * s))) for s in STRIDES},
        second=reading,
        provenance=network.provenance,
    )


def _plain(values: Tensor) -> NDArray[np.float32]:
    return values.float().numpy()
