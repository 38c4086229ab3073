"""Each feature map's k strongest activations, at most one an image: found, added to, merged.

The order is total: by activation, falling, then by the image's number. So it does not matter in
which order images come, nor how they are grouped.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.networks.network import Layer, Network
from models.networks.signal import layout
from models.networks.steps import (
    AdaptiveAveragePool,
    AveragePool,
    LocalResponseNorm,
    MaxPool,
    ReLU,
)

SILENT_AT_ZERO = ReLU | MaxPool | AveragePool | AdaptiveAveragePool | LocalResponseNorm
"""Steps that end a layer whose maps are never below zero."""
NOBODY = np.iinfo(np.int64).max
"""The number of an image that is not there; it comes after all others."""


@dataclass(frozen=True)
class Strongest:
    """Of each of C maps the k strongest activations, strongest first, and where they are.

    All are (C, k): the activation, float32, minus infinity where there are fewer than k; the
    image's number, int64; and the place in the map, int32.
    """

    activation: NDArray[np.float32]
    image: NDArray[np.int64]
    y: NDArray[np.int32]
    x: NDArray[np.int32]

    @classmethod
    def nothing(cls, maps: int, k: int) -> Strongest:
        """Return what is known before any image was seen."""
        return cls(
            np.full((maps, k), -np.inf, np.float32),
            np.full((maps, k), NOBODY, np.int64),
            np.zeros((maps, k), np.int32),
            np.zeros((maps, k), np.int32),
        )

    def emptied(self) -> Strongest:
        """Return what is known of as many maps before any image was seen."""
        return Strongest.nothing(len(self.image), self.k)

    @property
    def k(self) -> int:
        """Return how many activations of each map are kept."""
        return int(self.activation.shape[1])

    @property
    def found(self) -> NDArray[np.bool_]:
        """Tell which of the (C, k) places hold an activation."""
        there: NDArray[np.bool_] = self.image != NOBODY
        return there

    def merge(self, other: Strongest) -> Strongest:
        """Return the strongest of two; images of one must not be in the other."""
        activation, image, y, x = (
            np.concatenate(pair, axis=1) for pair in zip(self.columns, other.columns, strict=True)
        )
        order = np.lexsort((image, -activation), axis=1)[:, : self.k]
        return Strongest(*(np.take_along_axis(c, order, 1) for c in (activation, image, y, x)))

    def of(self, maps: NDArray[np.int64]) -> Strongest:
        """Return what is known of some maps."""
        return Strongest(*(column[maps] for column in self.columns))

    def put(self, maps: NDArray[np.int64], better: Strongest) -> None:
        """Note what has become of some maps."""
        for mine, new in zip(self.columns, better.columns, strict=True):
            mine[maps] = new

    def renumber(self, numbers: Mapping[int, int]) -> Strongest:
        """Return the same under other numbers of the images."""
        known = np.array(sorted(numbers), np.int64)
        new = np.array([numbers[number] for number in known.tolist()], np.int64)
        image = np.full_like(self.image, NOBODY)
        if known.size:
            image[self.found] = new[np.searchsorted(known, self.image[self.found])]
        return Strongest(self.activation, image, self.y, self.x)

    @property
    def columns(self) -> tuple[NDArray[Any], ...]:
        """Return all that is kept, column by column."""
        return self.activation, self.image, self.y, self.x


Found = dict[str, Strongest]
"""What is known of each layer, in the network's order."""


def nothing_found(network: Network, layers: Sequence[str], k: int) -> Found:
    """Return what is known of some layers before any image was seen; raises UnknownLayer."""
    sizes = {each: network.path(each, network.input_size)[-1][1][-1] for each in layers}
    order = [layer.name for layer in network.layers if layer.name in sizes]
    return {each: Strongest.nothing(sizes[each].channels, k) for each in order}


def merge(several: Sequence[Found]) -> Found:
    """Merge what was found in several groups of images, none of which is in two."""
    return reduce(lambda a, b: {layer: a[layer].merge(b[layer]) for layer in a}, several)


@torch.no_grad()
def see(network: Network, pixels: Tensor, images: Mapping[int, int], found: Found) -> None:
    """Run pixels (B, C, H, W) forward, and note what is stronger than what was found so far.

    ``images`` are the rows that hold an image, and its number; the others only fill up the batch.
    """
    rows, numbers = list(images), np.array(list(images.values()), np.int64)
    x = pixels.to(network.device, network.dtype).contiguous(memory_format=layout(network.device))
    left = set(found)
    for layer, _ in network.sizes(network.input_size):
        x = layer(x)
        if layer.name in left:
            _note(layer, x if len(rows) == len(x) else x[rows], numbers, found[layer.name])
            left.remove(layer.name)
        if not left:
            return


def _note(layer: Layer, x: Tensor, numbers: NDArray[np.int64], so_far: Strongest) -> None:
    """Note which of a layer's activations (N, C, H, W) are among the strongest of their maps."""
    peaks = x.amax((2, 3)) + 0.0  # (N, C); adding zero makes one zero of the two that there are
    least = torch.from_numpy(so_far.activation[:, -1]).to(peaks.device, peaks.dtype)
    wanted = peaks >= least
    if only_positive(layer):
        wanted &= peaks > 0
    rows, maps = wanted.nonzero(as_tuple=True)
    if not len(rows):
        return
    values, width = peaks[rows, maps], x.shape[3]
    places = torch.cat(list(_first_places(x, rows, maps)))
    here, there = rows.cpu().numpy(), maps.cpu().numpy()
    touched, at = np.unique(there, return_inverse=True)
    fresh = Strongest.nothing(len(touched), len(numbers))
    fresh.activation[at, here] = values.float().cpu().numpy()
    fresh.image[at, here] = numbers[here]
    fresh.y[at, here], fresh.x[at, here] = np.divmod(places.cpu().numpy(), width)
    so_far.put(touched, so_far.of(touched).merge(fresh))


AT_ONCE = 2**24
"""So many numbers are looked through together, so that the first batches take no more memory."""


def _first_places(x: Tensor, rows: Tensor, maps: Tensor) -> Iterator[Tensor]:
    """Find where each chosen map is largest, the first in row-major order, without a loop."""
    share = max(1, AT_ONCE // (x.shape[2] * x.shape[3]))
    for some, there in zip(rows.split(share), maps.split(share), strict=True):
        yield x[some, there].flatten(1).argmax(1)  # of several equal ones, the first


def only_positive(layer: Layer) -> bool:
    """Tell whether only what is above zero counts: after a ReLU, pool or norm, zero is silence."""
    return isinstance(layer.steps[-1], SILENT_AT_ZERO)
