"""An occlusion's panels as plain pictures, for pages that move a square over them."""

from __future__ import annotations

import json

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models import render
from models.experiments.export import result_files
from models.experiments.heatmaps import MAP, Classes, Occlusion, colour_classes
from models.experiments.plots import REST
from models.networks.signal import Size
from models.projection.export import encode_png

ZOOM = 2
"""A panel has so many pixels for one of the network's input, so that places have sharp edges."""

Levels = NDArray[np.uint8]


def occlusion_files(found: Occlusion) -> dict[str, bytes]:
    """Write an occlusion in every format, and its panels: PNGs, and the key to the classes."""
    panels = {f"{name}.png": encode_png(panel) for name, panel in occlusion_panels(found).items()}
    key = json.dumps(_key(found.classes) if found.classes else []).encode()
    return result_files(found) | panels | {"key.json": key}


def occlusion_panels(found: Occlusion) -> dict[str, Image.Image]:
    """Draw the photo, the map's projection and a colour for each place of the square."""
    panels = {
        "photo": _enlarge(found.photo.picture.convert("RGB")),
        "activation": _lay(found, heat(found.activation)),
        "projection": _enlarge(_project(found)),
    }
    if found.classes:
        panels["probability"] = _lay(found, heat(found.classes.probability))
        panels["best_class"] = _lay(found, _colour(found.classes))
    return panels


def heat(values: NDArray[np.floating]) -> Levels:
    """Colour numbers (R, C) from the least, dark, to the largest, light: (R, C, 3)."""
    least, span = float(values.min()), float(values.max() - values.min())
    shares = (values.astype(np.float64) - least) / (span or 1.0)
    coloured: Levels = matplotlib.colormaps[MAP](shares, bytes=True)[..., :3]
    return coloured


def _colour(classes: Classes) -> Levels:
    colours = colour_classes(classes.best)
    levels = [_levels(colours.get(int(number), REST)) for number in classes.best.ravel()]
    return np.array(levels, np.uint8).reshape(*classes.best.shape, 3)


def _levels(colour: str) -> tuple[int, ...]:
    return tuple(bytes.fromhex(colour.removeprefix("#")))


def _key(classes: Classes) -> list[tuple[str, str]]:
    """Return the colours of the classes with their labels; one for all others."""
    colours = colour_classes(classes.best)
    key = [(colour, classes.labels[number]) for number, colour in colours.items()]
    others = len(set(classes.best.ravel().tolist())) - len(colours)
    return [*key, (REST, f"{others} others")] if others else key


def _lay(found: Occlusion, coloured: Levels) -> Image.Image:
    """Lay a colour for each place around the middle of the square there, over a faint photo."""
    faint = _enlarge(found.photo.picture.convert("L").convert("RGB"))
    panel = Image.blend(faint, Image.new("RGB", faint.size, "white"), 0.6)
    square, stride = found.request.square, found.request.stride
    middle = (square - stride) / 2
    rows, columns = coloured.shape[:2]
    size = (ZOOM * stride * columns, ZOOM * stride * rows)
    cells = Image.fromarray(coloured).resize(size, Image.Resampling.NEAREST)
    panel.paste(cells, (round(ZOOM * middle), round(ZOOM * middle)))
    return panel


def _project(found: Occlusion) -> Image.Image:
    values, order = found.projection.values, found.preprocessing.channel_order
    side = found.photo.frame.size
    canvas = found.projection.canvas(Size(len(values), side, side))
    return render.picture(canvas, render.scale_of(values), order)


def _enlarge(picture: Image.Image) -> Image.Image:
    width, height = picture.size
    return picture.resize((ZOOM * width, ZOOM * height), Image.Resampling.BILINEAR)
