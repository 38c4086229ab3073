"""The use case: a photo and a choice in; projections, as pictures and numbers, out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from time import perf_counter

import torch
from PIL import Image

from models import render
from models.errors import InvalidChoice
from models.networks.network import Network, Provenance
from models.networks.preprocessing import Box, Frame, frame, framed, to_pixels
from models.networks.signal import Size
from models.projection import record as recording
from models.projection import selection, walk
from models.projection.choice import TOP, Choice, check
from models.projection.record import Record
from models.projection.selection import Unit
from models.projection.walk import Reconstruction

PREDICTIONS = 5


@dataclass(frozen=True)
class Prediction:
    """A class and its probability."""

    label: str
    probability: float


@dataclass(frozen=True)
class Projection:
    """One feature map's projection, cropped to its receptive field (input pixels).

    ``unit`` is (y, x), None for a whole map, whose ``activation`` is its largest. ``scale`` is the
    value drawn black or white; it and ``picture`` are None where nothing arrives (a dead unit).
    """

    feature: int
    unit: tuple[int, int] | None
    activation: float
    receptive_field: Box
    scale: float | None
    picture: Image.Image | None
    patch: Image.Image


@dataclass(frozen=True)
class Visualization:
    """What chosen feature maps of one layer saw in one photo, strongest first."""

    network: str
    layer: str
    method: str
    seed: str
    fit: str
    provenance: Provenance
    photo: tuple[int, int]
    input: tuple[int, int]
    frame: Frame
    predictions: tuple[Prediction, ...] | None
    projections: tuple[Projection, ...]
    timings_ms: dict[str, float]
    patches: tuple[Reconstruction, ...] = field(repr=False)
    channels: int = 3

    @property
    def nbytes(self) -> int:
        """Estimate the bytes that the view holds."""
        numbers = sum(patch.values.nbytes for patch in self.patches)
        return numbers + sum(
            4 * picture.width * picture.height
            for each in self.projections
            for picture in (each.picture, each.patch)
            if picture is not None
        )


def record(network: Network, picture: Image.Image, fit: str = "crop") -> Record:
    """Run a photo forward once; every layer can then be projected from the record."""
    seen = framed(picture, network.preprocessing, fit)
    return recording.record(network, to_pixels(seen, network.preprocessing))


_record = record


def visualize(
    network: Network, picture: Image.Image, choice: Choice, record: Record | None = None
) -> Visualization:
    """Project what the chosen maps of a layer saw in a photo.

    A ``record`` of the same photo and fit spares the forward pass. Raises UnknownLayer and
    InvalidChoice.
    """
    check(choice)
    layer = choice.layer or network.last_conv
    network.layer(layer)
    times = [perf_counter()]
    record = record or _record(network, picture, choice.fit)
    times.append(perf_counter())
    units = choose(record, layer, choice)
    patches = tuple(_project(record, layer, units, choice))
    times.append(perf_counter())
    seen = framed(picture, network.preprocessing, choice.fit)
    order = network.preprocessing.channel_order
    projections = tuple(
        _draw(unit, patch, seen, choice.seed, order)
        for unit, patch in zip(units, patches, strict=True)
    )
    times.append(perf_counter())
    return Visualization(
        network.name,
        layer,
        choice.method,
        choice.seed,
        choice.fit,
        network.provenance,
        picture.size,
        (record.size.width, record.size.height),
        frame(picture.size, network.preprocessing, choice.fit),
        predict(record),
        projections,
        _timings(times),
        patches,
        record.size.channels,
    )


def _timings(times: list[float]) -> dict[str, float]:
    names = ("forward", "project", "render")
    return {
        name: 1000 * (end - start)
        for name, (start, end) in zip(names, pairwise(times), strict=True)
    }


def choose(record: Record, layer: str, choice: Choice) -> list[Unit]:
    """Return the chosen units, strongest first, ties by lower number; raise InvalidChoice."""
    size = record.network.path(layer, record.size)[-1][1][-1]
    features = _features(record, layer, size, choice)
    if choice.unit is None:
        units = selection.peaks(record, layer, features)
    else:
        units = selection.at(record, layer, features, choice.unit)
    return sorted(units, key=lambda unit: (-unit.activation, unit.feature))


def _features(record: Record, layer: str, size: Size, choice: Choice) -> list[int]:
    most = min(size.channels, choice.limit)
    if choice.features is None:
        top = min(TOP, most) if choice.top is None else choice.top
        if not 1 <= top <= most:
            raise InvalidChoice(f"top is 1 to {most} for {layer}, not {top}")
        return selection.strongest(record, layer, top)
    if not 1 <= len(choice.features) <= most:
        raise InvalidChoice(f"name 1 to {most} features of {layer}, not {len(choice.features)}")
    for feature in choice.features:
        if not 0 <= feature < size.channels:
            last = size.channels - 1
            raise InvalidChoice(f"{layer} has the feature maps 0 to {last}, not {feature}")
    if len(set(choice.features)) < len(choice.features):
        raise InvalidChoice("each feature can be named once")
    return list(choice.features)


def _project(
    record: Record, layer: str, units: list[Unit], choice: Choice
) -> Iterator[Reconstruction]:
    """Project the units, or their whole maps; what starts from zero stays zero."""
    if choice.seed == "map":
        features = [unit.feature for unit in units]
        yield from walk.project_maps(record, layer, features, choice.method)
    else:
        yield from walk.project(record, layer, units, choice.method)


def _draw(
    unit: Unit, patch: Reconstruction, seen: Image.Image, seed: str, order: str
) -> Projection:
    top, left, bottom, right = (int(edge) for edge in patch.box)
    scale = render.scale_of(patch.values)
    return Projection(
        unit.feature,
        None if seed == "map" else (unit.y, unit.x),
        unit.activation,
        Box(top, left, bottom, right),
        scale or None,
        render.picture(patch.values, scale, order) if scale else None,
        seen.crop((left, top, right, bottom)).convert("RGB"),
    )


def predict(record: Record) -> tuple[Prediction, ...] | None:
    """Return the most probable classes, None where the weights have no classifier."""
    network, scores = record.network, record.scores
    if scores is None or network.last_fc != network.architecture.rows[-1].name:
        return None
    chances = torch.softmax(scores[0].double(), 0).sort(descending=True, stable=True)
    names = network.classes or [f"class {number}" for number in range(len(scores[0]))]
    pairs = zip(chances.indices.tolist(), chances.values.tolist(), strict=True)
    return tuple(Prediction(names[at], chance) for at, chance in list(pairs)[:PREDICTIONS])


def activation_pictures(
    picture: Image.Image, record: Record, layer: str, features: Sequence[int], fit: str = "crop"
) -> list[Image.Image]:
    """Draw feature maps over the photo as the network saw it; raise InvalidChoice."""
    maps = recording.activations(record, layer)[0]
    seen = framed(picture, record.network.preprocessing, fit)
    for feature in features:
        if not 0 <= feature < len(maps):
            last = len(maps) - 1
            raise InvalidChoice(f"{layer} has the feature maps 0 to {last}, not {feature}")
    return [render.overlay(seen, maps[feature]) for feature in features]


def units_seeing(record: Record, layer: str, pixel: tuple[int, int], top: int = TOP) -> list[Unit]:
    """Return the strongest units whose field is centred nearest to an input pixel (y, x)."""
    return selection.seeing(record, layer, pixel, top)
