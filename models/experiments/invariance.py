"""Invariance (Zeiler & Fergus 2013, 4.1, Fig. 5): how far features move when a photo does.

Each photo, as the network sees it, is shifted vertically, enlarged and turned; what comes in from
beyond its border is the preprocessing's mean. Measured are the Euclidean distances of two layers'
feature vectors from those of the photo as it was, and the probability of its class.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from models.errors import InvalidChoice
from models.experiments.classes import score_layer
from models.experiments.features import high_layer, maps_of
from models.experiments.plots import COLOURS
from models.experiments.requests import InvarianceRequest
from models.experiments.shape import Progress, Table
from models.networks.classes import find_class, label_of
from models.networks.network import Network, Provenance
from models.networks.preprocessing import FramedPhoto, mean_colour, to_pixels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BATCH = 16
"""So many copies go forward together."""
MOST_STEPS = 1000
SHOWN = 5
"""So many copies of the first photo are shown in the figure."""
Numbers = NDArray[np.floating]
Colour = int | tuple[int, ...]


def shift(picture: Image.Image, pixels: float, colour: Colour) -> Image.Image:
    """Move a picture down by so many pixels."""
    return _transform(picture, (1, 0, 0, 0, 1, -pixels), colour)


def enlarge(picture: Image.Image, factor: float, colour: Colour) -> Image.Image:
    """Enlarge a picture around its middle."""
    middle, step = picture.width / 2, 1 / factor
    return _transform(picture, (step, 0, middle * (1 - step), 0, step, middle * (1 - step)), colour)


def turn(picture: Image.Image, degrees: float, colour: Colour) -> Image.Image:
    """Turn a picture around its middle, counterclockwise."""
    return picture.rotate(degrees, Image.Resampling.BILINEAR, fillcolor=colour)


def _transform(picture: Image.Image, affine: Sequence[float], colour: Colour) -> Image.Image:
    return picture.transform(
        picture.size,
        Image.Transform.AFFINE,
        tuple(affine),
        Image.Resampling.BILINEAR,
        fillcolor=colour,
    )


class Transformation(NamedTuple):
    """One way to change a picture, from the least amount to the largest, as the paper has it."""

    name: str
    apply: Callable[[Image.Image, float, Colour], Image.Image]
    least: float
    most: float
    axis: str


TRANSFORMATIONS = (
    Transformation("translation", shift, -60, 60, "vertical translation (pixels)"),
    Transformation("scale", enlarge, 1, 1.8, "scale"),
    Transformation("rotation", turn, 0, 350, "rotation (degrees)"),
)


@dataclass(frozen=True)
class Curves:
    """What one transformation does to P photos at S amounts."""

    amounts: Numbers  # (S,)
    first: Numbers  # (P, S)
    second: Numbers  # (P, S)
    probability: Numbers | None  # (P, S)


@dataclass(frozen=True)
class Invariance:
    """How far two layers' features and a class's probability move with P photos."""

    network: str
    request: InvarianceRequest
    first: str
    second: str
    photos: tuple[FramedPhoto, ...] = field(repr=False)
    curves: Mapping[str, Curves] = field(repr=False)
    targets: tuple[tuple[int, str], ...] | None
    colour: Colour
    provenance: Provenance

    @property
    def numbers(self) -> Mapping[str, NDArray[np.generic]]:
        """Return of each transformation its amounts, both distances and the probability."""
        numbers: dict[str, NDArray[np.generic]] = {}
        for name, each in self.curves.items():
            numbers |= {name: each.amounts.astype(np.float32), f"{name}_first": each.first}
            numbers[f"{name}_second"] = each.second
            if each.probability is not None:
                numbers[f"{name}_probability"] = each.probability
        return numbers

    @property
    def facts(self) -> Mapping[str, Any]:
        """Return what was asked, and the classes that are followed."""
        facts: dict[str, Any] = {
            "experiment": "invariance",
            "network": self.network,
            "first": self.first,
            "second": self.second,
            "fit": self.request.fit,
            "photos": len(self.photos),
        }
        if self.targets is not None:
            facts["targets"] = [{"class": n, "label": label} for n, label in self.targets]
        return facts

    @property
    def table(self) -> Table:
        """Return a row for each transformation, photo, numbered from 1, and amount."""
        columns = ["transformation", "photo", "amount", self.first, self.second, "probability"]
        return Table(columns, list(self._rows()))

    def _rows(self) -> Iterator[Sequence[object]]:
        for name, each in self.curves.items():
            places = product(range(len(self.photos)), range(len(each.amounts)))
            for photo, at in places:
                chance = "" if each.probability is None else float(each.probability[photo, at])
                distances = float(each.first[photo, at]), float(each.second[photo, at])
                yield name, photo + 1, float(each.amounts[at]), *distances, chance

    def draw(self, figure: Figure) -> None:
        """Draw the paper's panel: transformations down, copies and three curves across."""
        columns = 3 if self.targets is None else 4
        figure.set_size_inches(2.5 * columns + 1.5, 5.6)
        widths = (1.7, *[1] * (columns - 1))
        rows = figure.subplots(len(TRANSFORMATIONS), columns, width_ratios=widths)
        for way, row in zip(TRANSFORMATIONS, rows, strict=True):
            _draw_copies(self, way, row[0])
            curves = self.curves[way.name]
            _draw_curves(curves.amounts, curves.first, way, row[1])
            _draw_curves(curves.amounts, curves.second, way, row[2])
            if curves.probability is not None:
                _draw_curves(curves.amounts, curves.probability, way, row[3])
                row[3].set_ylim(0, 1)
        rows[0][1].set_title(f"{self.first}: distance", loc="left")
        rows[0][2].set_title(f"{self.second}: distance", loc="left")
        if self.targets is not None:
            rows[0][3].set_title("probability of the class", loc="left")
            rows[0][3].legend(_names(self), fontsize=6)


def _names(found: Invariance) -> list[str]:
    assert found.targets is not None
    return [f"{n}: {label.split(',')[0]}" for n, (_, label) in enumerate(found.targets, 1)]


def _draw_copies(found: Invariance, way: Transformation, axes: Axes) -> None:
    """Show copies of the first photo side by side."""
    picture = found.photos[0].picture
    amounts = np.linspace(way.least, way.most, SHOWN)
    copies = [np.asarray(way.apply(picture, float(each), found.colour)) for each in amounts]
    axes.imshow(np.concatenate(copies, 1), cmap="gray", vmin=0, vmax=255)
    axes.set(yticks=())
    axes.set_xticks([picture.width * (n + 0.5) for n in range(SHOWN)], [f"{a:g}" for a in amounts])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_title(way.name, loc="left")


def _draw_curves(amounts: Numbers, values: Numbers, way: Transformation, axes: Axes) -> None:
    """Draw a curve for each photo."""
    for number, curve in enumerate(values):
        axes.plot(amounts, curve, color=COLOURS[number % len(COLOURS)], linewidth=1.2)
    axes.set(xlabel=way.axis, xlim=(way.least, way.most))
    axes.set_ylim(bottom=0)


def measure_invariance(
    network: Network, photos: Sequence[FramedPhoto], request: InvarianceRequest
) -> Iterator[Progress | Invariance]:
    """Measure how far features move when photos are shifted, enlarged and turned.

    Raises UnknownLayer and InvalidChoice at once, before anything is computed.
    """
    check_invariance(network, request)
    if not photos:
        raise InvalidChoice("too_few_photos", least=1, sent=0)
    named = _named(network, request)
    if len(named) not in (0, 1, len(photos)):
        raise InvalidChoice("other_number_of_targets", targets=len(named), photos=len(photos))
    return _measure(network, photos, request, named)


def check_invariance(network: Network, request: InvarianceRequest) -> None:
    """Raise UnknownLayer or InvalidChoice for what this network cannot answer."""
    if not 2 <= request.steps <= MOST_STEPS:
        raise InvalidChoice("steps_out_of_range", most=MOST_STEPS, steps=request.steps)
    for layer in _layers(network, request):
        network.path(layer, network.input_size)
    _named(network, request)


def _layers(network: Network, request: InvarianceRequest) -> tuple[str, str]:
    return request.first or network.layers[0].name, request.second or high_layer(network)


def _named(network: Network, request: InvarianceRequest) -> list[int]:
    """Return the classes that were named."""
    if request.target is None:
        return []
    if score_layer(network, network.input_size) is None:
        raise InvalidChoice("no_classes", network=network.name)
    count = network.sizes(network.input_size)[-1][1][-1].channels
    return [find_class(network, each, count) for each in request.target.split(";")]


def _measure(
    network: Network, photos: Sequence[FramedPhoto], request: InvarianceRequest, named: list[int]
) -> Iterator[Progress | Invariance]:
    low, high = _layers(network, request)
    colour = mean_colour(network.preprocessing)
    originals = [_Original(network, photo, low, high) for photo in photos]
    targets = named * len(photos) if len(named) == 1 else named
    targets = targets or [each.best for each in originals if each.best is not None]
    done, total = 0, len(photos) * len(TRANSFORMATIONS) * -(-request.steps // BATCH)
    curves: dict[str, Curves] = {}
    for way in TRANSFORMATIONS:
        amounts = np.linspace(way.least, way.most, request.steps)
        found: list[list[Tensor]] = []
        for number, each in enumerate(originals):
            found.append([])
            for some in np.split(amounts, range(BATCH, len(amounts), BATCH)):
                yield Progress(done, total, way.name)
                copies = [way.apply(each.photo.picture, float(a), colour) for a in some]
                found[-1].append(each.measure(copies, targets[number] if targets else None))
                done += 1
        values = torch.stack([torch.cat(rows, 1) for rows in found]).numpy()  # (P, 2 or 3, S)
        chance = values[:, 2] if targets else None
        curves[way.name] = Curves(amounts, values[:, 0], values[:, 1], chance)
    yield Invariance(
        network.name,
        request,
        low,
        high,
        tuple(photos),
        curves,
        tuple((n, label_of(network, n)) for n in targets) if targets else None,
        colour,
        network.provenance,
    )


class _Original:
    """A photo as it was: its features at two layers, from which its copies' are measured."""

    def __init__(self, network: Network, photo: FramedPhoto, low: str, high: str) -> None:
        self.network, self.photo, self.layers = network, photo, (low, high)
        self.scores = score_layer(network, network.input_size)
        self.features, scores = self._run([photo.picture])
        self.best = None if scores is None else int(scores[0].argmax())

    def _run(self, pictures: Sequence[Image.Image]) -> tuple[list[Tensor], Tensor | None]:
        """Return both layers' features (N, D) and, where there are classes, the scores."""
        preprocessing = self.network.preprocessing
        pixels = torch.cat([to_pixels(picture, preprocessing) for picture in pictures])
        wanted = {*self.layers, *filter(None, [self.scores])}
        maps = maps_of(self.network, pixels, wanted)
        scores = maps[self.scores].flatten(1) if self.scores else None
        return [maps[layer].flatten(1) for layer in self.layers], scores

    def measure(self, copies: Sequence[Image.Image], target: int | None) -> Tensor:
        """Return distances at both layers and the target's probability, (2 or 3, N)."""
        features, scores = self._run(copies)
        pairs = zip(features, self.features, strict=True)
        rows = [torch.linalg.vector_norm(copy - own, dim=1) for copy, own in pairs]
        if scores is not None and target is not None:
            rows.append(torch.softmax(scores, 1)[:, target])
        return torch.stack(rows).float().cpu()
