"""What an occlusion finds: the maps of Fig. 7 as numbers, as a table and as a figure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from models import render
from models.experiments.plots import COLOURS, REST
from models.experiments.requests import MEAN, OcclusionRequest
from models.experiments.shape import Table
from models.networks.network import Provenance
from models.networks.preprocessing import FramedPhoto, Preprocessing
from models.projection.walk import Reconstruction

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


MAP = "viridis"


@dataclass(frozen=True)
class Classes:
    """What squares at R x C places do to the ``target``'s probability and the best class.

    The ``whole_`` ones are those of the photo without a square.
    """

    target: int
    probability: NDArray[np.float32] = field(repr=False)  # (R, C)
    best: NDArray[np.int64] = field(repr=False)  # (R, C)
    whole_probability: float
    whole_best: int
    labels: Mapping[int, str]


@dataclass(frozen=True)
class Occlusion:
    """What a square does at R x C places, whose corners are ``tops`` (R,) and ``lefts`` (C,).

    ``activation`` is the sum of the feature map, or the value of the request's unit;
    ``whole_activation`` that of the photo without a square. ``classes`` is None without a
    classifier.
    """

    network: str
    request: OcclusionRequest
    photo: FramedPhoto = field(repr=False)
    layer: str
    feature: int
    tops: tuple[int, ...]
    lefts: tuple[int, ...]
    activation: NDArray[np.float32] = field(repr=False)  # (R, C)
    whole_activation: float
    projection: Reconstruction = field(repr=False)
    preprocessing: Preprocessing
    provenance: Provenance
    classes: Classes | None

    @property
    def numbers(self) -> Mapping[str, NDArray[np.generic]]:
        """Return corners, activations and, where there are classes, probabilities and classes."""
        numbers: dict[str, NDArray[np.generic]] = {
            "tops": np.array(self.tops, np.int64),
            "lefts": np.array(self.lefts, np.int64),
            "activation": self.activation,
        }
        if self.classes:
            numbers["probability"] = self.classes.probability
            numbers["best_class"] = self.classes.best
        return numbers

    @property
    def facts(self) -> Mapping[str, Any]:
        """Return what was asked, what the photo gives without a square, and the labels."""
        asked = {name: getattr(self.request, name) for name in ("square", "stride", "fill", "fit")}
        facts = {
            "experiment": "occlusion",
            "network": self.network,
            "layer": self.layer,
            "feature": self.feature,
            "unit": self.request.unit,
            **asked,
            "unoccluded": {"activation": self.whole_activation},
        }
        return {**facts, **_class_facts(self)} if self.classes else facts

    @property
    def table(self) -> Table:
        """Return a row for each place of the square."""
        columns = ["top", "left", "activation"]
        found: list[list[Any]] = [self.activation.ravel().tolist()]
        if self.classes:
            best = self.classes.best.ravel().tolist()
            columns += ["probability", "best_class", "best_label"]
            labels = [self.classes.labels[number] for number in best]
            found += [self.classes.probability.ravel().tolist(), best, labels]
        places = product(self.tops, self.lefts)
        rows = ((*place, *values) for place, *values in zip(places, *found, strict=True))
        return Table(columns, rows)

    def draw(self, figure: Figure) -> None:
        """Draw the panels of Fig. 7: photo, map, projection, probability, class."""
        _draw(self, figure)


def _class_facts(found: Occlusion) -> dict[str, Any]:
    """Name the classes, and say what they are without a square."""
    assert found.classes is not None
    classes, labels = found.classes, found.classes.labels
    whole = {
        "activation": found.whole_activation,
        "probability": classes.whole_probability,
        "best_class": classes.whole_best,
        "best_label": labels[classes.whole_best],
    }
    return {
        "target": {"class": classes.target, "label": labels[classes.target]},
        "unoccluded": whole,
        "best_label": [[labels[number] for number in row] for row in classes.best.tolist()],
    }


def _draw(found: Occlusion, figure: Figure) -> None:
    """Draw photo, feature map, projection and, where there are classes, both their maps."""
    count = 5 if found.classes else 3
    figure.set_size_inches(2.5 * count, 3.3)
    panels, keys = figure.subplots(2, count, height_ratios=(1, 0.16))
    for axes, letter in zip(panels, "abcde", strict=False):
        axes.set(xticks=(), yticks=(), aspect="equal")
        axes.spines[:].set_visible(False)
        axes.set_title(f"({letter}) ", loc="left")
    for key in keys:
        key.set_axis_off()
    _draw_photo(found, panels[0])
    _draw_activation(found, panels[1], keys[1])
    _draw_projection(found, panels[2])
    if found.classes:
        _draw_probability(found, found.classes, panels[3], keys[3])
        _draw_best(found, found.classes, panels[4], keys[4])


def _title(axes: Axes, words: str) -> None:
    axes.set_title(f"{axes.get_title(loc='left')}{words}", loc="left")


def _draw_photo(found: Occlusion, axes: Axes) -> None:
    """Show the photo with the square in its middle place."""
    side, square = found.photo.frame.size, found.request.square
    axes.imshow(found.photo.picture, extent=(0, side, side, 0), cmap="gray", vmin=0, vmax=255)
    top, left = found.tops[len(found.tops) // 2], found.lefts[len(found.lefts) // 2]
    colour = _colour(found)
    axes.add_patch(Rectangle((left, top), square, square, facecolor=colour, edgecolor="white"))
    _title(axes, f"Photo; square {square}, stride {found.request.stride}")


def _colour(found: Occlusion) -> Any:
    """Return the square's colour as it looks on the photo."""
    if found.request.fill != MEAN:
        return found.request.fill
    preprocessing = found.preprocessing
    levels = np.array(preprocessing.mean) / preprocessing.scale / 255
    ordered = levels[::-1] if preprocessing.channel_order == "BGR" else levels
    return tuple(np.broadcast_to(ordered.clip(0, 1), 3))


def _draw_activation(found: Occlusion, axes: Axes, key: Axes) -> None:
    unit = found.request.unit
    what = f"unit {unit[0]}, {unit[1]}" if unit else "sum"
    image = _heat(found, found.activation, axes)
    _scale(key, image, found.whole_activation)
    _title(axes, f"{found.layer}, map {found.feature}: {what}")


def _draw_projection(found: Occlusion, axes: Axes) -> None:
    """Show the map's projection of the whole photo."""
    box, values = found.projection
    scale = render.scale_of(values)
    axes.set_facecolor("0.502")
    axes.patch.set_visible(True)
    if scale:
        picture = render.picture(values, scale, found.preprocessing.channel_order)
        axes.imshow(picture, extent=(box.left, box.right, box.bottom, box.top))
    side = found.photo.frame.size
    axes.set(xlim=(0, side), ylim=(side, 0))
    _title(axes, f"Projection of map {found.feature}")


def _draw_probability(found: Occlusion, classes: Classes, axes: Axes, key: Axes) -> None:
    image = _heat(found, classes.probability, axes)
    _scale(key, image, classes.whole_probability)
    _title(axes, f"Probability: {_shorten(classes.labels[classes.target])}")


def _draw_best(found: Occlusion, classes: Classes, axes: Axes, key: Axes) -> None:
    """Colour each place by its most probable class."""
    coloured = colour_classes(classes.best)
    named, colours = list(coloured), [*coloured.values(), REST]
    levels = np.full(classes.best.shape, len(named))
    for level, number in enumerate(named):
        levels[classes.best == number] = level
    _heat(found, levels, axes, cmap=ListedColormap(colours), vmin=0, vmax=len(named))
    words = [_shorten(classes.labels[number]) for number in named]
    if others := len(np.unique(classes.best)) - len(named):
        words.append(f"{others} others")
    marks = [Patch(color=colour, label=word) for colour, word in zip(colours, words, strict=False)]
    key.legend(handles=marks, loc="upper left", borderpad=0, borderaxespad=0, fontsize=6, ncols=2)
    _title(axes, "Most probable class")


def colour_classes(best: NDArray[np.int64]) -> dict[int, str]:
    """Give the classes that are most often best (R, C) a colour each, the most frequent first."""
    counted = Counter(best.ravel().tolist())
    named = sorted(counted, key=lambda number: (-counted[number], number))
    return dict(zip(named, COLOURS, strict=False))


def _heat(found: Occlusion, values: NDArray[Any], axes: Axes, **style: Any) -> Any:
    """Show a value for each place of the square, around the square's middle."""
    half, middle = found.request.stride / 2, found.request.square / 2
    left, right = (found.lefts[at] + middle for at in (0, -1))
    top, bottom = (found.tops[at] + middle for at in (0, -1))
    extent = (left - half, right + half, bottom + half, top - half)
    axes.imshow(found.photo.picture.convert("L"), extent=_whole(found), cmap="gray", alpha=0.35)
    image = axes.imshow(values, extent=extent, interpolation="nearest", **{"cmap": MAP, **style})
    side = found.photo.frame.size
    axes.set(xlim=(0, side), ylim=(side, 0))
    return image


def _whole(found: Occlusion) -> tuple[int, int, int, int]:
    side = found.photo.frame.size
    return (0, side, side, 0)


def _scale(key: Axes, image: Any, whole: float) -> None:
    """Draw the scale beneath, and say what the photo gives without a square."""
    inner = key.inset_axes((0.05, 0.72, 0.9, 0.22))
    bar = key.figure.colorbar(image, cax=inner, orientation="horizontal", ticks=MaxNLocator(4))
    bar.set_label(f"without a square: {_digits(whole)}", fontsize=6)
    bar.ax.tick_params(labelsize=6)
    bar.outline.set_visible(False)


def _digits(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _shorten(label: str) -> str:
    first = label.split(",")[0]
    return first if len(first) <= 22 else f"{first[:21]}…"
