"""The use case: a photo and a choice in; projections, as pictures and numbers, out.

Three stages, so that a server can give each its own place: ``frame_photo`` reads the photo,
``record_photo`` and ``reconstruct`` compute on the device, ``draw`` makes pictures of what arrived.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from time import perf_counter

import torch
from PIL import Image
from torch import Tensor

from models.errors import InvalidChoice
from models.networks.classes import class_of, label_of
from models.networks.network import Network, Provenance
from models.networks.preprocessing import Box, Frame, frame_photo
from models.networks.signal import Size
from models.projection import selection, show, walk
from models.projection.choice import TOP, Choice, Rank, Show, check
from models.projection.contribution import Contributions, Target, check_target, contributions
from models.projection.record import Record, record_photo
from models.projection.selection import Unit
from models.projection.walk import Reconstruction

PREDICTIONS = 5
LIMIT = 256
"""Most projections in one answer, where nobody sets another bound."""


@dataclass(frozen=True)
class Prediction:
    """A class, the number of its unit in the last layer, and its probability."""

    feature: int
    label: str
    probability: float


@dataclass(frozen=True)
class Reconstructed:
    """What was computed for a choice: its units, strongest first, and a reconstruction of each.

    All of it is on the host; ``classes`` are the most probable ones, None without a classifier.
    ``ranking`` is what the units were ranked by instead of their strength, if by anything.
    """

    layer: str
    units: tuple[Unit, ...]
    reconstructions: tuple[Reconstruction, ...]
    classes: tuple[Prediction, ...] | None
    ranking: Contributions | None = None

    @property
    def nbytes(self) -> int:
        """Count the bytes of the numbers."""
        return sum(each.values.nbytes for each in self.reconstructions)


@dataclass(frozen=True)
class Projection:
    """One feature map's projection, cropped to its receptive field (input pixels).

    ``unit`` is (y, x), None for a whole map, whose ``activation`` is its largest. ``scale`` is the
    value drawn black or white, or for ``lit`` from which on the photo is whole; it and ``picture``
    are None where nothing arrives (a dead unit). ``remaining`` is the share of the energy that a
    difference shows, None in other views; ``contribution`` is what the whole map adds to the
    score of the view's ``target``, None where maps are ranked by their activation. ``label`` is the
    class that a last layer's unit stands for.
    """

    feature: int
    unit: tuple[int, int] | None
    activation: float
    receptive_field: Box
    scale: float | None
    picture: Image.Image | None
    patch: Image.Image
    remaining: float | None = None
    contribution: float | None = None
    label: str | None = None


@dataclass(frozen=True)
class Visualization:
    """What chosen feature maps of one layer saw in one photo, strongest first.

    ``photo`` is the photo's (width, height), ``input`` that of the network's pixels. ``target`` is
    the class that the maps speak for, where they are ranked by their contribution to it.
    """

    network: str
    layer: str
    method: str
    seed: str
    fit: str
    show: Show
    provenance: Provenance
    photo: tuple[int, int]
    input: tuple[int, int]
    frame: Frame
    predictions: tuple[Prediction, ...] | None
    projections: tuple[Projection, ...]
    timings_ms: dict[str, float]
    reconstructions: tuple[Reconstruction, ...] = field(repr=False)
    channels: int = 3
    target: Target | None = None

    @property
    def rank(self) -> Rank:
        """Say what makes a map stronger than another."""
        return "contribution" if self.target else "activation"

    @property
    def nbytes(self) -> int:
        """Estimate the bytes that the view holds."""
        numbers = sum(each.values.nbytes for each in self.reconstructions)
        return numbers + sum(
            4 * picture.width * picture.height
            for each in self.projections
            for picture in (each.picture, each.patch)
            if picture is not None
        )


def visualize(
    network: Network,
    photo: Image.Image,
    choice: Choice,
    record: Record | None = None,
    *,
    limit: int = LIMIT,
) -> Visualization:
    """Project what the chosen maps of a layer saw in a photo.

    A ``record`` of the same photo and fit spares the forward pass. Raises UnknownLayer and
    InvalidChoice, also for more than ``limit`` projections.
    """
    check(choice)
    times = [perf_counter()]
    if record is None:
        record = record_photo(network, frame_photo(photo, network.preprocessing, choice.fit))
    times.append(perf_counter())
    choice = complete(record.network, choice)
    reconstructed = reconstruct(record, choice, limit=limit)
    times.append(perf_counter())
    return draw(record, choice, reconstructed, times)


def complete(network: Network, choice: Choice) -> Choice:
    """Say what a choice leaves to the network: its name, a layer, and how pictures are drawn.

    Raises UnknownLayer, and InvalidChoice for what no photo could satisfy.
    """
    check(choice)
    layer = choice.layer or network.last_conv
    network.layer(layer)
    way = choice.show or show.default_show(network, layer)
    choice = replace(choice, network=network.name, layer=layer, show=way)
    if way == "difference":
        _check_difference(network, layer, choice)
    if choice.rank == "contribution":
        check_target(network, layer, choice.target)
    return choice


def _check_difference(network: Network, layer: str, choice: Choice) -> None:
    """Raise InvalidChoice unless several projections of one receptive field are asked for."""
    _, height, width = network.path(layer, network.input_size)[-1][1][-1]
    if choice.unit is None and choice.seed != "map" and (height, width) != (1, 1):
        raise InvalidChoice("difference_of_places", layer=layer)
    if 1 in (choice.top, len(choice.features or ())):
        raise InvalidChoice("difference_of_one")


def reconstruct(record: Record, choice: Choice, *, limit: int = LIMIT) -> Reconstructed:
    """Choose units and walk them down to pixels; raises UnknownLayer and InvalidChoice."""
    check(choice)
    layer = choice.layer or record.network.last_conv
    record.network.layer(layer)
    ranked = choice.rank == "contribution"
    ranking = contributions(record, layer, choice.target) if ranked else None
    units = choose(record, layer, choice, limit, ranking)
    if choice.seed == "map":
        features = [unit.feature for unit in units]
        arrived = walk.project_maps(record, layer, features, choice.method)
    else:
        arrived = walk.project(record, layer, units, choice.method)
    return Reconstructed(layer, tuple(units), tuple(arrived), predict(record), ranking)


def draw(
    record: Record, choice: Choice, found: Reconstructed, times: Sequence[float] = ()
) -> Visualization:
    """Draw what was reconstructed beside the patches of the photo; needs no device.

    ``times`` are the seconds on ``perf_counter`` at which forward pass and walk began and ended.
    Raises InvalidChoice for a difference of fewer than two projections.
    """
    photo, network = record.photo, record.network
    assert photo is not None, "only a photo's record can be drawn"
    begin = perf_counter()
    choice = complete(network, choice)
    assert choice.show is not None
    projections = tuple(_draw(found, photo.picture, choice, network))
    timings = {
        name: 1000 * (end - start)
        for name, (start, end) in zip(("forward", "project"), pairwise(times), strict=False)
    }
    return Visualization(
        network.name,
        found.layer,
        choice.method,
        choice.seed,
        choice.fit,
        choice.show,
        network.provenance,
        (photo.frame.width, photo.frame.height),
        (record.size.width, record.size.height),
        photo.frame,
        found.classes,
        projections,
        timings | {"render": 1000 * (perf_counter() - begin)},
        found.reconstructions,
        record.size.channels,
        found.ranking.target if found.ranking else None,
    )


def choose(
    record: Record,
    layer: str,
    choice: Choice,
    limit: int = LIMIT,
    ranking: Contributions | None = None,
) -> list[Unit]:
    """Return the chosen units, strongest first, ties by lower number; raise InvalidChoice."""
    size = record.network.path(layer, record.size)[-1][1][-1]
    strengths = torch.tensor(ranking.values) if ranking else record.maxima[layer].values[0]
    features = _features(layer, size, choice, limit, strengths)
    if choice.unit is None:
        units = selection.peaks(record, layer, features)
    else:
        units = selection.at(record, layer, features, choice.unit)
    if ranking:
        return units
    return sorted(units, key=lambda unit: (-unit.activation, unit.feature))


def _features(layer: str, size: Size, choice: Choice, limit: int, strengths: Tensor) -> list[int]:
    most = min(size.channels, limit)
    if choice.features is None:
        top = min(TOP, most) if choice.top is None else choice.top
        if not 1 <= top <= most:
            raise InvalidChoice("top_out_of_range", most=most, layer=layer, top=top)
        return selection.largest(strengths, top)
    if not 1 <= len(choice.features) <= most:
        count = len(choice.features)
        raise InvalidChoice("features_out_of_range", most=most, layer=layer, count=count)
    check_features(layer, choice.features, size.channels)
    if len(set(choice.features)) < len(choice.features):
        raise InvalidChoice("feature_twice")
    return list(choice.features)


def check_features(layer: str, features: Sequence[int], count: int) -> None:
    """Raise InvalidChoice for a feature map that a layer of ``count`` maps has not."""
    for feature in features:
        if not 0 <= feature < count:
            raise InvalidChoice("no_such_feature", layer=layer, last=count - 1, feature=feature)


def _draw(
    found: Reconstructed, seen: Image.Image, choice: Choice, network: Network
) -> Iterator[Projection]:
    assert choice.show is not None
    boxes = [Box(*map(int, each.box)) for each in found.reconstructions]
    patches = [
        seen.crop((box.left, box.top, box.right, box.bottom)).convert("RGB") for box in boxes
    ]
    arrived = [
        show.Arrived(each.values, patch)
        for each, patch in zip(found.reconstructions, patches, strict=True)
    ]
    drawn = show.draw(choice.show, arrived, network.preprocessing.channel_order)
    for unit, box, patch, each in zip(found.units, boxes, patches, drawn, strict=True):
        yield Projection(
            unit.feature,
            None if choice.seed == "map" else (unit.y, unit.x),
            unit.activation,
            box,
            each.scale,
            each.picture,
            patch,
            each.remaining,
            found.ranking.values[unit.feature] if found.ranking else None,
            class_of(network, found.layer, unit.feature),
        )


def predict(record: Record) -> tuple[Prediction, ...] | None:
    """Return the most probable classes, None where the weights have no classifier."""
    scores = record.class_scores
    if scores is None:
        return None
    chances = torch.softmax(scores[0].double(), 0).sort(descending=True, stable=True)
    pairs = zip(chances.indices.tolist(), chances.values.tolist(), strict=True)
    return tuple(
        Prediction(at, label_of(record.network, at), chance)
        for at, chance in list(pairs)[:PREDICTIONS]
    )


def units_seeing(record: Record, layer: str, pixel: tuple[int, int], top: int = TOP) -> list[Unit]:
    """Return the strongest units whose field is centred nearest to an input pixel (y, x)."""
    return selection.seeing(record, layer, pixel, top)
