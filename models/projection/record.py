"""One forward pass, recorded: all that the way down will need of it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from models.errors import OutOfMemory
from models.networks.network import Network
from models.networks.preprocessing import FramedPhoto, to_pixels
from models.networks.signal import Size, layout
from models.networks.steps import Saved


@dataclass(frozen=True)
class Maxima:
    """Each feature map's largest activation (M, C) and the row and column where it is first."""

    values: Tensor
    rows: Tensor
    columns: Tensor


@dataclass(frozen=True)
class Record:
    """What a forward pass of M images leaves: enough to project any unit of any layer.

    ``photo`` is what the pixels were made of, where they were made of one photo.
    """

    network: Network
    pixels: Tensor
    saved: Mapping[str, tuple[Saved, ...]]
    maxima: Mapping[str, Maxima]
    kept: Mapping[str, Tensor]
    photo: FramedPhoto | None = None

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
    def class_scores(self) -> Tensor | None:
        """Return the scores of the classes, (M, classes); None without a classifier."""
        return self.scores if self.network.classifier else None

    @property
    def nbytes(self) -> int:
        """Count the bytes that the record holds."""
        saved = [t for steps in self.saved.values() for t in steps if t is not None]
        maxima = [t for m in self.maxima.values() for t in (m.values, m.rows, m.columns)]
        tensors = [self.pixels, *saved, *maxima, *self.kept.values()]
        return sum(t.nbytes for t in tensors) + (self.photo.nbytes if self.photo else 0)


def record_photo(network: Network, photo: FramedPhoto) -> Record:
    """Run a framed photo forward once; every layer can then be projected from the record."""
    return replace(record(network, to_pixels(photo.picture, network.preprocessing)), photo=photo)


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
    saved: dict[str, tuple[Saved, ...]] = {}
    maxima, kept, x = {}, {}, pixels
    for layer, _ in network.sizes(Size(*pixels.shape[1:])):
        kept_by_steps: list[Saved] = []
        for step in layer.steps:
            try:
                x, for_the_way_down = step.record(x)
            except (torch.OutOfMemoryError, MemoryError) as error:
                raise OutOfMemory(str(step)) from error
            kept_by_steps.append(for_the_way_down)
        saved[layer.name] = tuple(kept_by_steps)
        maxima[layer.name] = _maxima(x)
        if layer.name in keep:
            kept[layer.name] = x
        if layer.name == until:
            break
    return Record(network, pixels, saved, maxima, kept)


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
