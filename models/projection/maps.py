"""All feature maps of a layer at once: each over the photo, and all on one sheet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from models import render
from models.projection import selection
from models.projection.choice import Choice
from models.projection.contribution import Target, contributions
from models.projection.record import Record, activations
from models.projection.selection import Unit
from models.projection.visualize import check_features

COLUMNS = 16
"""How many maps stand beside each other on a sheet."""
SIDE = 40
"""Longest side of a map on a sheet, in pixels; larger ones are averaged."""


@dataclass(frozen=True)
class LayerMaps:
    """A layer's feature maps for one photo, (C, H, W), as levels of 0 to 255.

    255 is a map's own largest activation; where maps are single units, the layer's.
    """

    layer: str
    levels: NDArray[np.uint8]

    @property
    def nbytes(self) -> int:
        """Count the bytes of the levels."""
        return self.levels.nbytes


@dataclass(frozen=True)
class RankedMaps:
    """The strongest unit of every map of a layer, in order; ``target`` is the class it is for."""

    units: tuple[Unit, ...]
    target: Target | None


def activation_maps(
    record: Record, layer: str, features: Sequence[int]
) -> list[NDArray[np.floating]]:
    """Compute feature maps (H, W) of a layer, as numbers; raise InvalidChoice for unknown ones."""
    maps = activations(record, layer)[0]
    check_features(layer, features, len(maps))
    return list(maps[list(features)].cpu().contiguous().numpy())


@torch.no_grad()
def layer_maps(record: Record, layer: str) -> LayerMaps:
    """Compute all of a layer's maps on the device; raises UnknownLayer."""
    strength = activations(record, layer)[0].clamp(min=0)  # (C, H, W)
    single = strength.shape[1:] == (1, 1)
    largest = strength.amax() if single else strength.amax((1, 2), keepdim=True)
    shares = strength / torch.where(largest > 0, largest, 1)
    levels = (255 * shares).round().to(torch.uint8)
    return LayerMaps(layer, levels.cpu().contiguous().numpy())


def draw_map(record: Record, maps: LayerMaps, feature: int) -> Image.Image:
    """Draw one map over the photo as the network saw it; raises InvalidChoice; needs no device."""
    assert record.photo is not None, "only a photo's record can be drawn"
    check_features(maps.layer, [feature], len(maps.levels))
    return render.overlay(record.photo.picture, maps.levels[feature])


def draw_sheet(maps: LayerMaps) -> Image.Image:
    """Draw all maps in rows of ``COLUMNS``, by number, without a gap; needs no device."""
    columns, _, side = sheet_grid(*maps.levels.shape[:2])
    return render.mosaic(maps.levels, columns, side)


def sheet_grid(count: int, height: int) -> tuple[int, int, int]:
    """Return the columns and rows of a sheet, and the side of a map on it in pixels."""
    return COLUMNS, -(-count // COLUMNS), min(height, SIDE)


def rank_maps(record: Record, choice: Choice) -> RankedMaps:
    """Order all maps of a layer by a choice's rank; raises InvalidChoice where that cannot be."""
    assert choice.layer is not None
    strengths, target = record.maxima[choice.layer].values[0], None
    if choice.rank == "contribution":
        found = contributions(record, choice.layer, choice.target)
        strengths, target = torch.tensor(found.values), found.target
    order = selection.largest(strengths, len(strengths))
    return RankedMaps(tuple(selection.peaks(record, choice.layer, order)), target)
