"""The wall (Zeiler & Fergus 2013, Fig. 2): each map's strongest photos, as patches and projections.

Nothing of it is kept: an index has the photos as the network saw them, so that the projections of
a map, one forward pass and one walk for all of its photos, are drawn when somebody looks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from PIL import Image

from models.examples.index import Example, Index
from models.networks.network import Network
from models.networks.preprocessing import Box, to_pixels
from models.projection import show as ways
from models.projection.caption import title_of_network, weights_of
from models.projection.choice import FigureFile, Show
from models.projection.figure import EMPTY, SVG, ZERO, Layout, Panel, Tile, encode_layout
from models.projection.record import record
from models.projection.selection import Unit
from models.projection.walk import project

NINE = 9
"""So many examples of a map are shown, in three rows, as in the paper."""
SIDE, GAP, GREY = 96, 2, (128, 128, 128)
"""The side of a cell, what is between two, in pixels, and what is where nothing is."""
ACROSS = 2
"""How many maps stand beside each other in a figure."""


@dataclass(frozen=True)
class DrawnExamples:
    """A map's examples as pictures: each photo's patch, and its projection where one arrives."""

    feature: int
    examples: tuple[Example, ...]
    patches: tuple[Image.Image, ...]
    projections: tuple[Image.Image | None, ...]

    @property
    def nbytes(self) -> int:
        """Count the bytes of the pictures."""
        pictures = [each for each in (*self.patches, *self.projections) if each]
        return sum(4 * each.width * each.height for each in pictures)


def example_boxes(network: Network, examples: Sequence[Example]) -> list[Box]:
    """Return each example's receptive field, in input pixels."""
    size = network.input_size
    return [network.receptive_field(each.layer, (each.y, each.x), size) for each in examples]


def cut_patches(network: Network, index: Index, examples: Sequence[Example]) -> list[Image.Image]:
    """Cut out of each photo what the example's unit saw; raises ExamplesInvalid."""
    return [
        index.photo(each.image).crop((int(b.left), int(b.top), int(b.right), int(b.bottom)))
        for each, b in zip(examples, example_boxes(network, examples), strict=True)
    ]


@torch.no_grad()
def draw_examples(
    network: Network, index: Index, layer: str, feature: int, way: Show | None = None
) -> DrawnExamples:
    """Project a map's strongest activations, each in its own photo, all at once.

    Raises NoExamples, InvalidChoice, and ExamplesInvalid where a photo of the index lacks.
    """
    examples = tuple(index.examples(layer, feature)[:NINE])
    if not examples:
        return DrawnExamples(feature, (), (), ())
    photos = [index.photo(each.image) for each in examples]
    pixels = torch.cat([to_pixels(photo, network.preprocessing) for photo in photos])
    seen = record(network, pixels, until=layer)
    units = [Unit(feature, e.y, e.x, e.activation, n) for n, e in enumerate(examples)]
    arrived = project(seen, layer, units)
    patches = cut_patches(network, index, examples)
    drawn = ways.draw(
        way or ways.default_show(network, layer),
        [
            ways.Arrived(each.values, patch.convert("RGB"))
            for each, patch in zip(arrived, patches, strict=True)
        ],
        network.preprocessing.channel_order,
    )
    return DrawnExamples(feature, examples, tuple(patches), tuple(each.picture for each in drawn))


def lay_out(pictures: Sequence[Image.Image | None]) -> Image.Image:
    """Lay up to nine pictures in three rows, each as large as fits in its cell."""
    side = 3 * SIDE + 2 * GAP
    canvas = Image.new("RGB", (side, side), GREY)
    for number, picture in enumerate(pictures):
        if picture is not None:
            row, column = divmod(number, 3)
            fitted = _fit(picture)
            left = column * (SIDE + GAP) + (SIDE - fitted.width) // 2
            canvas.paste(fitted, (left, row * (SIDE + GAP) + (SIDE - fitted.height) // 2))
    return canvas


def _fit(picture: Image.Image) -> Image.Image:
    """Enlarge by whole pixels, or shrink, into a cell, keeping the shape."""
    largest = max(picture.size)
    if largest <= SIDE:
        factor, how = float(SIDE // largest), Image.Resampling.NEAREST
    else:
        factor, how = SIDE / largest, Image.Resampling.LANCZOS
    width, height = (max(1, round(factor * each)) for each in picture.size)
    return picture.convert("RGB").resize((width, height), how)


def to_wall(
    network: Network,
    index: Index,
    layer: str,
    drawn: Sequence[DrawnExamples],
    file: FigureFile = SVG,
) -> bytes:
    """Draw maps beside each other as a figure: of each its projections, then its patches."""
    panels = [panel for each in drawn for panel in _panels(each)]
    rows = [panels[start : start + 2 * ACROSS] for start in range(0, len(panels), 2 * ACROSS)]
    seen = f"{index.meta.seen:,} photos"
    title = f"{title_of_network(network.name)}, {layer}: strongest of {seen}"
    way = ways.default_show(network, layer)
    notes = [
        f"Left of each pair: projections by the deconvnet, shown {way}, each in its own scale s; "
        "grey is zero.",
        "Right: the patches that caused them. Strongest first, row by row. "
        f"{weights_of(network.provenance)}.",
    ]
    features = ", ".join(str(each.feature) for each in drawn)
    caption = (
        f"{title}. Of the maps {features} the {min(NINE, index.meta.k)} strongest activations, "
        "at most one a photo: projections by the deconvnet (Zeiler and Fergus, 2014) beside the "
        f"patches of the photos that caused them. Shown {way}. {weights_of(network.provenance)}. "
        f"Photos: fingerprint {index.meta.fingerprint[:12]}."
    )
    return encode_layout(Layout([(title, "")], rows, notes, caption), file)


def _panels(drawn: DrawnExamples) -> tuple[Panel, Panel]:
    values = [each.activation for each in drawn.examples]
    said = f": {values[0]:.3g} to {values[-1]:.3g}" if values else ": silent"
    tiles = [
        Tile(lay_out(pictures) if values else None, "", "", background)
        for pictures, background in ((drawn.projections, ZERO), (drawn.patches, EMPTY))
    ]
    return (
        Panel(f"map {drawn.feature}", tiles[:1], 1),
        Panel(said.removeprefix(": ").capitalize(), tiles[1:], 1),
    )
