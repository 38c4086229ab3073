"""Occlusion (Zeiler & Fergus 2013, 4.2, Fig. 7): what the network misses when a square hides it.

A square slides over the photo. For each of its places: how much the strongest feature map of a
layer still fires (b), how probable the class still is (d), and which class is the most probable
(e). Beside them that map's projection of the whole photo (c).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageColor
from torch import Tensor

from models.errors import InvalidChoice
from models.experiments import changes
from models.experiments.classes import labels_of, score_layer
from models.experiments.heatmaps import Classes, Occlusion
from models.experiments.requests import MEAN, OcclusionRequest
from models.experiments.shape import Progress
from models.networks.classes import find_class
from models.networks.network import Network
from models.networks.preprocessing import FramedPhoto, Preprocessing, to_pixels
from models.projection import selection
from models.projection.record import Record, record_photo
from models.projection.selection import Unit, check_place
from models.projection.visualize import check_features
from models.projection.walk import project

COLOUR = re.compile(r"#[0-9a-fA-F]{6}")


def occlude(
    network: Network, photo: FramedPhoto, request: OcclusionRequest
) -> Iterator[Progress | Occlusion]:
    """Slide a square over a photo and watch a class and a feature map.

    Raises UnknownLayer and InvalidChoice at once, before anything is computed.
    """
    check_occlusion(network, request)
    return _occlude(network, photo, request)


def check_occlusion(network: Network, request: OcclusionRequest) -> None:
    """Raise UnknownLayer or InvalidChoice for what this network cannot answer."""
    side = network.preprocessing.size
    if not 1 <= request.square <= side:
        raise InvalidChoice("square_out_of_range", most=side, square=request.square)
    if request.stride < 1:
        raise InvalidChoice("stride_too_small", stride=request.stride)
    if request.fill != MEAN and not COLOUR.fullmatch(request.fill):
        raise InvalidChoice("no_such_fill", fill=request.fill[:40])
    layer = request.layer or network.last_conv
    size = network.path(layer, network.input_size)[-1][1][-1]
    if request.feature is not None:
        check_features(layer, [request.feature], size.channels)
    if request.unit is not None:
        check_place(layer, request.unit, size)
    if request.target is not None:
        _find_target(network, request.target)


def _find_target(network: Network, target: str) -> int:
    if score_layer(network, network.input_size) is None:
        raise InvalidChoice("no_classes", network=network.name)
    count = network.sizes(network.input_size)[-1][1][-1].channels
    return find_class(network, target, count)


@torch.no_grad()
def _occlude(
    network: Network, photo: FramedPhoto, request: OcclusionRequest
) -> Iterator[Progress | Occlusion]:
    yield Progress(0, 1, "the photo")
    record = record_photo(network, photo)
    watch = _Watch(record, request)
    yield Progress(0, 1, watch.layer)
    projection = project(record, watch.layer, [watch.unit])[0]
    tops, lefts = (
        range(0, length - request.square + 1, request.stride) for length in record.size[1:]
    )
    yield from _slide(record, watch, list(product(tops, lefts)))
    yield Occlusion(
        network.name,
        request,
        photo,
        watch.layer,
        watch.unit.feature,
        tuple(tops),
        tuple(lefts),
        np.array(watch.activations, np.float32).reshape(len(tops), len(lefts)),
        watch.whole,
        projection,
        network.preprocessing,
        network.provenance,
        watch.classes(len(tops), len(lefts)),
    )


def _slide(record: Record, watch: _Watch, places: Sequence[changes.Place]) -> Iterator[Progress]:
    """Take the squares up through the network, and let each map they reach be watched."""
    request, fill = watch.request, pixel_of(watch.request.fill, record.network.preprocessing)
    stages = changes.stages(record.network, record.pixels, watch.scores or watch.layer)
    slabs = changes.slabs(stages, places, request.square)
    done, total = 0, len(slabs) * len(stages)
    for slab in slabs:
        changed = changes.squares(slab, request.square, fill.to(record.pixels), record.size)
        for stage, above in changes.climb(stages, changed):
            if above:
                done += 1
                watch.see(stage, above)
            yield Progress(done, total, stage.layer)


class _Watch:
    """What is looked at while squares go up: a map's activation, and the classes."""

    def __init__(self, record: Record, request: OcclusionRequest) -> None:
        self.record, self.request = record, request
        self.layer = request.layer or record.network.last_conv
        self.unit = self._choose()
        self.scores = score_layer(record.network, record.size)
        self.whole = 0.0
        self.activations: list[float] = []
        self.chances: list[Tensor] = []

    def _choose(self) -> Unit:
        """Choose the strongest map, or the one that was named, and its unit."""
        (strongest,) = selection.strongest(self.record, self.layer, 1)
        feature = strongest if self.request.feature is None else self.request.feature
        if self.request.unit is not None:
            return selection.at(self.record, self.layer, [feature], self.request.unit)[0]
        return selection.peaks(self.record, self.layer, [feature])[0]

    def see(self, stage: changes.Stage, changed: changes.Changed) -> None:
        """Take note of a map in which squares have changed something."""
        if stage.layer == self.layer:
            self._read(stage, changed)
        if stage.layer == self.scores:
            self.chances.append(torch.softmax(changed.values.double(), 1).cpu())

    def _read(self, stage: changes.Stage, changed: changes.Changed) -> None:
        """Read the map's activation under each square: its sum, or its unit's value."""
        feature, (height, width) = self.unit.feature, stage.output_size[1:]
        untouched = stage.output[:, feature].double().cpu().numpy().reshape(height, width)
        cells = changed.values[:, feature].double().cpu().numpy()
        self.whole = _value(untouched, self.request.unit)
        for window, values in changed.windows.split(cells):
            map_ = untouched.copy()
            map_[window] = values
            self.activations.append(_value(map_, self.request.unit))

    def classes(self, rows: int, columns: int) -> Classes | None:
        """Return what became of the classes, None where there are none."""
        if not self.chances or self.record.scores is None:
            return None
        network, chances = self.record.network, torch.cat(self.chances).numpy()
        whole = torch.softmax(self.record.scores[0].double(), 0).cpu().numpy()
        target = self.request.target
        watched = int(whole.argmax()) if target is None else _find_target(network, target)
        best = chances.argmax(1)
        return Classes(
            watched,
            chances[:, watched].astype(np.float32).reshape(rows, columns),
            best.reshape(rows, columns),
            float(whole[watched]),
            int(whole.argmax()),
            labels_of(network, [watched, int(whole.argmax()), *best.tolist()]),
        )


def _value(values: NDArray[np.float64], unit: tuple[int, int] | None) -> float:
    return float(values.sum() if unit is None else values[unit])


def pixel_of(fill: str, preprocessing: Preprocessing) -> Tensor:
    """Return a square's colour as the network's pixels (C,)."""
    if fill == MEAN:
        return torch.zeros(preprocessing.channels)
    mode = "L" if preprocessing.channel_order == "L" else "RGB"
    picture = Image.new("RGB", (1, 1), ImageColor.getrgb(fill)).convert(mode)
    return to_pixels(picture, preprocessing).flatten()
