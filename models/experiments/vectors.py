"""The feature vectors of many photos, computed once, in batches, and kept in a folder.

A later call goes on where an earlier one stopped. Maps larger than a grid are averaged to it, so
that low layers have vectors that a classifier can learn from; they are kept as float16.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from models.disk import replace_file
from models.experiments.features import maps_of, read_pixels, stamp_of
from models.networks.network import Network

BATCH = 8
"""So many photos go forward together: few, since nobody else has the device meanwhile."""

RECENT_SECONDS = 3600

Vectors = NDArray[np.float16]


@dataclass(frozen=True)
class VectorFolder:
    """A folder that keeps, for each layer, one vector of every photo, and how many it has."""

    folder: Path
    layers: tuple[str, ...]

    @property
    def done(self) -> int:
        """Return of how many photos there are vectors."""
        return int(self._noted("done", 0))

    def accuracies(self) -> dict[str, tuple[float, float]]:
        """Return what classifiers on these vectors reached, by what they were taught."""
        return dict(self._noted("accuracies", {}))

    def note_accuracies(self, found: Mapping[str, tuple[float, float]]) -> None:
        """Write down what classifiers reached."""
        self._note("accuracies", found)

    def open(self, layer: str, mode: str = "r") -> Vectors:
        """Open the vectors (N, D) of a layer without reading them."""
        return np.load(self._file(layer), mmap_mode=mode)  # type: ignore[arg-type, no-any-return]

    def make(self, layer: str, photos: int, length: int) -> None:
        """Make room for a layer's vectors."""
        shape = (photos, length)
        room = np.lib.format.open_memmap(self._file(layer), "w+", np.float16, shape)
        room.flush()

    def note(self, done: int) -> None:
        """Write down of how many photos there are vectors now."""
        self._note("done", done)

    def _noted(self, name: str, otherwise: Any) -> Any:
        try:
            return json.loads((self.folder / f"{name}.json").read_text())
        except (OSError, ValueError):
            return otherwise

    def _note(self, name: str, value: object) -> None:
        text = json.dumps(value)
        replace_file(self.folder / f"{name}.json", lambda part: part.write_text(text))

    def _file(self, layer: str) -> Path:
        return self.folder / f"{layer}.npy"


def open_vectors(
    folder: Path,
    network: Network,
    photos: Sequence[Path],
    layers: tuple[str, ...],
    fit: str,
    grid: int,
) -> VectorFolder:
    """Open the part of a folder that is for these weights, layers and photos.

    Raises InvalidChoice for a photo that is not there.
    """
    asked = [network.name, network.provenance.sha256, fit, grid, *layers]
    asked += [f"{photo} {stamp_of(photo)}" for photo in photos]
    key = hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:32]
    inside = folder / key
    inside.mkdir(parents=True, exist_ok=True)
    return VectorFolder(inside, layers)


def trim_vectors(folder: Path, budget: int) -> None:
    """Remove vectors beyond a budget of bytes, least recently used first.

    What was used within the hour stays, since somebody may be at work on it.
    """
    total, now = 0, time.time()
    for inside in sorted(folder.glob("*/"), key=_used, reverse=True):
        total += sum(file.stat().st_size for file in inside.iterdir())
        if total > budget and now - _used(inside) > RECENT_SECONDS:
            shutil.rmtree(inside, ignore_errors=True)


def _used(inside: Path) -> float:
    return max((file.stat().st_mtime for file in inside.iterdir()), default=0.0)


def fill_vectors(
    kept: VectorFolder, network: Network, photos: Sequence[Path], fit: str, grid: int
) -> Iterator[int]:
    """Compute the vectors that are missing; yield after each batch of how many there are."""
    done = kept.done
    while done < len(photos):
        some = photos[done : done + BATCH]
        found = _vectors(network, some, kept.layers, fit, grid)
        for layer, vectors in found.items():
            if done == 0:
                kept.make(layer, len(photos), vectors.shape[1])
            room = kept.open(layer, "r+")
            room[done : done + len(some)] = vectors
            del room  # which writes it
        done += len(some)
        kept.note(done)
        yield done


def _vectors(
    network: Network, photos: Sequence[Path], layers: Sequence[str], fit: str, grid: int
) -> Mapping[str, Vectors]:
    """Return each layer's vectors (N, D) of some photos."""
    maps = maps_of(network, read_pixels(photos, network.preprocessing, fit), layers)
    return {layer: _shrunk(maps[layer], grid).half().cpu().numpy() for layer in layers}


@torch.no_grad()
def _shrunk(maps: Tensor, grid: int) -> Tensor:
    """Average maps (N, C, H, W) to the grid where they are larger: (N, C x h x w)."""
    height, width = (min(length, grid) for length in maps.shape[2:])
    return F.adaptive_avg_pool2d(maps, (height, width)).flatten(1).clamp(-65504, 65504)
