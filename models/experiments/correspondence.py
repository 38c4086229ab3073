"""Correspondence (Zeiler & Fergus 2013, 4.3, Table 1): is the same part the same to the network?

The same part is masked on several photos. What a mask takes away from a layer's features,
eps_i = x_i - x~_i, is compared between photos by its signs: the mean over all pairs of the share
of features whose signs differ (Hamming). The control are masks of the same sizes at random places
of the object, or of the photo where no object is marked. A larger mask takes more away, and Delta
grows with it: each part is to be held against the random masks of its own size.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from torch import Tensor

from models.errors import InvalidChoice
from models.experiments.features import high_layer, maps_of
from models.experiments.plots import COLOURS, REST
from models.experiments.requests import CorrespondenceRequest
from models.experiments.shape import Progress, Table
from models.networks.network import Network, Provenance
from models.networks.preprocessing import FramedPhoto, to_pixels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PAPER = {"right eye": 0.067, "left eye": 0.069, "nose": 0.079, "random": 0.107}
"""Table 1's Delta at layer 5, of five dogs."""
RANDOM, OBJECT = "random", "object"
"""The control's name, and that of the boxes which say where on each photo the control may lie."""
SEED = 0
MOST_PARTS = 8
MOST_DRAWS = 1000
NUMBERS = re.compile(r"\s*\d{1,5}\s*(,\s*\d{1,5}\s*){3}")
Mask = tuple[int, int, int, int]
"""Top, left, bottom, right in input pixels; bottom and right are exclusive."""


class Part(NamedTuple):
    """A part that is marked on every photo."""

    name: str
    masks: tuple[Mask, ...]


class Delta(NamedTuple):
    """The mean share of signs that differ, its standard error, and over how many pairs.

    Pairs share photos, so that they vary less than the photos do: the error is the jackknife's,
    from what each photo's absence changes, and 0 of two photos.
    """

    mean: float
    error: float
    pairs: int


@dataclass(frozen=True)
class Correspondence:
    """Delta of each part, and of random masks, at two layers.

    ``control`` has for each part the Delta of random masks as large as its own; that of ``random``
    is over all of these.
    """

    network: str
    request: CorrespondenceRequest
    layers: tuple[str, str]
    photos: tuple[FramedPhoto, ...] = field(repr=False)
    parts: tuple[Part, ...]
    region: Part | None
    deltas: Mapping[str, tuple[Delta, Delta]]
    control: Mapping[str, tuple[Delta, Delta]]
    provenance: Provenance

    @property
    def numbers(self) -> Mapping[str, NDArray[np.generic]]:
        """Return masks (parts, photos, 4), and Delta and its error (parts + 1, 2), random last.

        ``control`` (parts, 2) and its error are of random masks as large as each part's.
        """
        rows, control = list(self.deltas.values()), list(self.control.values())
        return {
            "parts": np.array(list(self.deltas)),
            "masks": np.array([part.masks for part in self.parts], np.int64),
            "delta": np.array([[each.mean for each in row] for row in rows], np.float32),
            "error": np.array([[each.error for each in row] for row in rows], np.float32),
            "control": np.array([[each.mean for each in row] for row in control], np.float32),
            "control_error": np.array(
                [[each.error for each in row] for row in control], np.float32
            ),
        }

    @property
    def facts(self) -> Mapping[str, Any]:
        """Return what was asked, and what the paper found."""
        return {
            "experiment": "correspondence",
            "network": self.network,
            "layers": self.layers,
            "fit": self.request.fit,
            "photos": len(self.photos),
            "object": self.region.masks if self.region else None,
            "draws": self.request.draws,
            "paper": PAPER,
        }

    @property
    def table(self) -> Table:
        """Return a row for each part, the paper's Delta beside ours."""
        each_layer = [(name, f"{name} error", f"{name} random") for name in self.layers]
        columns = ("part", *each_layer[0], *each_layer[1], "paper, layer 5")
        return Table(columns, [self._row(name) for name in self.deltas])

    def _row(self, name: str) -> tuple[object, ...]:
        cells: list[object] = []
        for at, delta in enumerate(self.deltas[name]):
            control = self.control[name][at].mean if name in self.control else ""
            cells += [delta.mean, delta.error, control]
        return name, *cells, PAPER.get(name, "")

    def draw(self, figure: Figure) -> None:
        """Draw the photos with their masks, and below them a bar for each part."""
        count = len(self.photos)
        figure.set_size_inches(max(6, 1.5 * count), 4.4)
        grid = figure.add_gridspec(2, 1, height_ratios=(1, 1.4))
        above, below = grid[0].subgridspec(1, count), grid[1].subgridspec(1, 2)
        for number in range(count):
            _draw_photo(self, number, figure.add_subplot(above[number]))
        for at in range(2):
            _draw_bars(self, at, figure.add_subplot(below[at]))


def _draw_photo(found: Correspondence, number: int, axes: Axes) -> None:
    axes.imshow(found.photos[number].picture, cmap="gray", vmin=0, vmax=255)
    axes.set_axis_off()
    marked = [*zip(found.parts, COLOURS, strict=False), (found.region, "white")]
    for part, colour in marked:
        if part is None:
            continue
        top, left, bottom, right = part.masks[number]
        size = (right - left, bottom - top)
        axes.add_patch(Rectangle((left, top), *size, fill=False, edgecolor=colour, linewidth=1.5))


def _draw_bars(found: Correspondence, at: int, axes: Axes) -> None:
    names = list(found.deltas)
    chosen = [found.deltas[name][at] for name in names]
    colours = [*COLOURS[: len(found.parts)], REST]
    errors = [each.error for each in chosen]
    axes.barh(names, [each.mean for each in chosen], xerr=errors, color=colours, height=0.6)
    control = [each[at].mean for each in found.control.values()]
    axes.plot(control, range(len(control)), "|", color="0.15", markersize=16, markeredgewidth=2)
    axes.invert_yaxis()
    axes.set_xlabel("Delta: share of signs that differ; | random masks as large")
    axes.set_title(found.layers[at], loc="left")


def parse_parts(text: str) -> tuple[Part, ...]:
    """Read parts such as `nose: 90,100,130,140; 80,96,120,136 | eye: ...`; raise InvalidChoice."""
    parts = [_part(each) for each in text.split("|") if each.strip()]
    scored = [part for part in parts if part.name != OBJECT]
    if not 1 <= len(scored) <= MOST_PARTS:
        raise InvalidChoice("parts_out_of_range", most=MOST_PARTS, parts=len(scored))
    names = [part.name for part in parts]
    for name in names:
        if names.count(name) > 1 or name == RANDOM:
            raise InvalidChoice("part_twice", part=name)
    return tuple(parts)


def _part(text: str) -> Part:
    name, _, boxes = text.rpartition(":")
    if not name.strip():
        raise InvalidChoice("part_without_name", text=text.strip()[:60])
    return Part(name.strip()[:40], tuple(_mask(each) for each in boxes.split(";") if each.strip()))


def _mask(text: str) -> Mask:
    if not NUMBERS.fullmatch(text):
        raise InvalidChoice("box_is_no_box", text=text.strip()[:40])
    top, left, bottom, right = (int(number) for number in text.split(","))
    return top, left, bottom, right


def write_parts(parts: Sequence[Part]) -> str:
    """Write parts as ``parse_parts`` reads them."""
    written = ((p.name, "; ".join(",".join(map(str, m)) for m in p.masks)) for p in parts)
    return " | ".join(f"{name}: {masks}" for name, masks in written)


def correspond(
    network: Network, photos: Sequence[FramedPhoto], request: CorrespondenceRequest
) -> Iterator[Progress | Correspondence]:
    """Compare between photos what masking the same part takes away.

    Raises UnknownLayer and InvalidChoice at once, before anything is computed.
    """
    marked = check_correspondence(network, request)
    if len(photos) < 2:
        raise InvalidChoice("too_few_photos", least=2, sent=len(photos))
    for part in marked:
        if len(part.masks) != len(photos):
            boxes, wanted = len(part.masks), len(photos)
            raise InvalidChoice("other_number_of_boxes", part=part.name, boxes=boxes, wanted=wanted)
    parts = tuple(part for part in marked if part.name != OBJECT)
    region = next((part for part in marked if part.name == OBJECT), None)
    return _correspond(network, photos, request, parts, region)


def check_correspondence(network: Network, request: CorrespondenceRequest) -> tuple[Part, ...]:
    """Return the parts; raise UnknownLayer or InvalidChoice for what cannot be answered."""
    for layer in _layers(network, request):
        network.path(layer, network.input_size)
    if not 1 <= request.draws <= MOST_DRAWS:
        raise InvalidChoice("draws_out_of_range", most=MOST_DRAWS, draws=request.draws)
    parts, side = parse_parts(request.parts), network.preprocessing.size
    for part in parts:
        for top, left, bottom, right in part.masks:
            if not (top < bottom <= side and left < right <= side):
                box = f"{top},{left},{bottom},{right}"
                raise InvalidChoice("box_outside", part=part.name, box=box, most=side)
    return parts


def _layers(network: Network, request: CorrespondenceRequest) -> tuple[str, str]:
    return request.first or network.last_conv, request.second or high_layer(network)


def _correspond(
    network: Network,
    photos: Sequence[FramedPhoto],
    request: CorrespondenceRequest,
    parts: tuple[Part, ...],
    region: Part | None,
) -> Iterator[Progress | Correspondence]:
    layers = _layers(network, request)
    total, done = len(parts) * (1 + request.draws), 0
    pixels = torch.cat([to_pixels(each.picture, network.preprocessing) for each in photos])
    yield Progress(done, total, "photos")
    whole = maps_of(network, pixels, layers)
    deltas: dict[str, tuple[Delta, Delta]] = {}
    control: dict[str, tuple[Delta, Delta]] = {}
    for part in parts:
        yield Progress(done, total, part.name)
        deltas[part.name] = _deltas([_shares(network, pixels, whole, part.masks, layers)])
        done += 1
    chance, side = np.random.default_rng(SEED), pixels.shape[2]
    regions = region.masks if region else ((0, 0, side, side),) * len(photos)
    every: list[list[list[float]]] = []
    for part in parts:
        shares = []
        for _ in range(request.draws):
            yield Progress(done, total, RANDOM)
            pairs = zip(part.masks, regions, strict=True)
            masks = [_anywhere(mask, inside, side, chance) for mask, inside in pairs]
            shares.append(_shares(network, pixels, whole, masks, layers))
            done += 1
        control[part.name] = _deltas(shares)
        every += shares
    deltas[RANDOM] = _deltas(every)
    yield Correspondence(
        network.name,
        request,
        layers,
        tuple(photos),
        parts,
        region,
        deltas,
        control,
        network.provenance,
    )


def _anywhere(mask: Mask, region: Mask, side: int, chance: np.random.Generator) -> Mask:
    """Draw a place in a region for a mask of the same size; a larger one begins at its corner.

    Whatever it is, it lies on the photo of ``side`` x ``side`` pixels.
    """
    top, left = (
        min(
            int(chance.integers(region[at], max(region[at], region[at + 2] - long) + 1)),
            side - long,
        )
        for at, long in ((0, mask[2] - mask[0]), (1, mask[3] - mask[1]))
    )
    return top, left, top + mask[2] - mask[0], left + mask[3] - mask[1]


def _shares(
    network: Network,
    pixels: Tensor,
    whole: Mapping[str, Tensor],
    masks: Sequence[Mask],
    layers: tuple[str, str],
) -> list[list[float]]:
    """Return at both layers, for all pairs of photos, the share of signs that differ."""
    masked = pixels.clone()
    for photo, (top, left, bottom, right) in zip(masked, masks, strict=True):
        photo[:, top:bottom, left:right] = 0
    maps = maps_of(network, masked, layers)
    return [hamming_shares((whole[layer] - maps[layer]).flatten(1).sign()) for layer in layers]


def hamming_shares(signs: Tensor) -> list[float]:
    """Return for all pairs of rows (N, D) the share of places where they differ."""
    pairs = combinations(range(len(signs)), 2)
    return [float((signs[i] != signs[j]).double().mean()) for i, j in pairs]


def _deltas(draws: Sequence[Sequence[Sequence[float]]]) -> tuple[Delta, Delta]:
    """Return both layers' Delta from the pairs' shares in each draw of masks."""
    low, high = (delta_of([shares[at] for shares in draws]) for at in (0, 1))
    return low, high


def delta_of(draws: Sequence[Sequence[float]]) -> Delta:
    """Return mean and standard error of the shares of all pairs of photos, in one draw or more."""
    shares = np.mean(draws, 0)  # of each pair
    photos = round((1 + (1 + 8 * len(shares)) ** 0.5) / 2)
    pairs = np.array(list(combinations(range(photos), 2)))
    error = 0.0
    if photos > 2:
        without = [shares[(pairs != photo).all(1)].mean() for photo in range(photos)]
        error = float(np.std(without)) * (photos - 1) ** 0.5
    return Delta(float(shares.mean()), error, len(shares))
