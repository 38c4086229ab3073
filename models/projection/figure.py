"""A visualization as a figure for a report: projections beside patches, as in the paper's Fig. 2.

Text stays text and pictures keep their pixels; the same view gives the same bytes, always.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from models.projection.caption import (
    caption,
    comparison_caption,
    digits,
    legend,
    title_of,
    weights_of,
)
from models.projection.choice import DPI, FigureFile, check_file
from models.projection.visualize import Projection, Visualization

WIDTH = 7.0
"""Inches: the text of a two-column page."""
MARGIN, GAP, BETWEEN = 0.06, 0.07, 0.28
"""Inches around everything, between tiles, and between panels."""
ROOMY = 3
"""Up to so many tiles a row each has room for all that is said of it."""
MOST_COLUMNS = 8
LONGEST = 16
"""Letters of a class's name that fit above a tile; the caption has all of it."""

INK, SOFT, ZERO, EMPTY = "black", "0.35", "0.502", "0.93"
"""Of text, of lesser text, behind projections (the grey of zero), and behind patches."""

SETTINGS: Any = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Arial", "Helvetica"],
    "pdf.fonttype": 42,  # whole letters, which publishers ask for
    "svg.fonttype": "none",
    "svg.hashsalt": "deconvnet",
    "text.parse_math": False,
}
METADATA: dict[str, dict[str, str | None]] = {
    "svg": {"Date": None, "Creator": "deconvnet explorer"},
    "pdf": {"CreationDate": None, "Creator": "deconvnet explorer", "Producer": None},
    "png": {"Software": "deconvnet explorer"},
}
CAPTION = {"svg": "Description", "pdf": "Subject", "png": "Description"}
"""What each format calls the text that says what a file shows."""

SVG = FigureFile()

ONE_AT_A_TIME = Lock()
"""matplotlib's settings and fonts are the process's, and not made for several threads."""


@dataclass(frozen=True)
class Tile:
    """A picture, or None where there is nothing to see, and the words above its two corners."""

    picture: Image.Image | None
    left: str
    right: str
    background: str


@dataclass(frozen=True)
class Panel:
    """A grid of tiles under a heading."""

    heading: str
    tiles: Sequence[Tile]
    columns: int

    @property
    def rows(self) -> int:
        """Return how many rows of tiles there are."""
        return math.ceil(len(self.tiles) / self.columns)


@dataclass(frozen=True)
class Layout:
    """Rows of panels, and what is said beneath them; a heading is a name and a lesser line."""

    headings: Sequence[tuple[str, str]]
    rows: Sequence[Sequence[Panel]]
    notes: Sequence[str]
    caption: str


def to_figure(view: Visualization, file: FigureFile = SVG) -> bytes:
    """Draw the projections of a view beside the patches that caused them; raises InvalidChoice."""
    panels = [_projections(view, "a"), _patches(view, "b")]
    notes = [*legend([view]), weights_of(view.provenance)]
    heading = f"{title_of(view)}, {view.layer}", ""
    return encode_layout(Layout([heading], [panels], notes, caption(view)), file)


def to_comparison(views: Sequence[tuple[str, Visualization]], file: FigureFile = SVG) -> bytes:
    """Draw views beside each other, each with what tells it apart: projections above patches."""
    seen = [view for _, view in views]
    letters = "abcdef"
    rows = [
        [_projections(view, letters[number]) for number, view in enumerate(seen)],
        [_patches(view, letters[len(seen) + number]) for number, view in enumerate(seen)],
    ]
    weights = " · ".join(dict.fromkeys(f"{title_of(v)}: {weights_of(v.provenance)}" for v in seen))
    headings = [(f"{title_of(view)}, {view.layer}", apart) for apart, view in views]
    said = comparison_caption(views)
    return encode_layout(Layout(headings, rows, [*legend(seen), weights], said), file)


def _projections(view: Visualization, letter: str) -> Panel:
    columns = _columns(len(view.projections))
    shared = _share_a_field(view)
    tiles = [_projection(each, columns <= ROOMY, shared) for each in view.projections]
    way = "" if view.show == "exact" else f", {view.show}"
    return Panel(f"({letter}) Projections: {view.method}{way}", tiles, columns)


def _projection(each: Projection, roomy: bool, with_activation: bool) -> Tile:
    name = _short(each.label) if each.label else f"map {each.feature}"
    name = name if roomy else str(each.feature)
    if with_activation:
        name = f"{name}: {digits(each.activation)}"
    scale = f"s = {digits(each.scale)}" if each.scale is not None and roomy else ""
    return Tile(each.picture, name, scale, ZERO if each.picture else EMPTY)


def _short(label: str) -> str:
    return label if len(label) <= LONGEST else f"{label[: LONGEST - 1]}…"


def _share_a_field(view: Visualization) -> bool:
    """Did all the maps see the same pixels, as one patch can show?"""
    return len({each.receptive_field for each in view.projections}) == 1


def _patches(view: Visualization, letter: str) -> Panel:
    if _share_a_field(view):
        patch = view.projections[0].patch
        size = f"{patch.width} × {patch.height} pixels"  # noqa: RUF001
        return Panel(f"({letter}) What they saw", [Tile(patch, size, "", EMPTY)], 1)
    columns = _columns(len(view.projections))
    tiles = [_patch(each, columns <= ROOMY) for each in view.projections]
    place = " (row, column)" if columns <= ROOMY else ""
    return Panel(f"({letter}) Patches: activation{place}", tiles, columns)


def _patch(each: Projection, roomy: bool) -> Tile:
    place = f"({each.unit[0]}, {each.unit[1]})" if each.unit and roomy else ""
    return Tile(each.patch, digits(each.activation), place, EMPTY)


def _columns(count: int) -> int:
    return min(MOST_COLUMNS, math.ceil(math.sqrt(count)))


WIDE_LETTER = 0.6
"""The width of a letter, in sizes of its font: what would run into its neighbour is left out."""


class Sheet:
    """A figure measured in inches from its top left corner."""

    def __init__(self, width: float, height: float, interpolation: str) -> None:
        self.figure = Figure(figsize=(width, height), facecolor="white")
        self.width, self.height = width, height
        self.interpolation = interpolation

    def write(self, x: float, y: float, words: str, size: float, **style: Any) -> None:
        """Write words whose baseline is at ``y``."""
        self.figure.text(x / self.width, 1 - y / self.height, words, fontsize=size, **style)

    def place(self, x: float, y: float, size: tuple[float, float], background: str) -> Any:
        """Make room for a picture, without ticks or a frame."""
        width, height = size
        corner = (x / self.width, 1 - (y + height) / self.height)
        axes = self.figure.add_axes((*corner, width / self.width, height / self.height))
        axes.set(xticks=(), yticks=(), facecolor=background)
        axes.spines[:].set_visible(False)
        return axes

    def show(self, x: float, y: float, side: float, tile: Tile) -> None:
        """Show a tile's picture in the middle of a square."""
        axes = self.place(x, y, (side, side), tile.background)
        if tile.picture is None:
            words = {"fontsize": max(5.0, min(7.0, 6 * side)), "color": SOFT}
            axes.text(0.5, 0.5, "silent here", ha="center", va="center", **words)
            return
        axes.imshow(tile.picture, interpolation=self.interpolation)
        (width, height), half = tile.picture.size, max(tile.picture.size) / 2
        axes.set(xlim=(width / 2 - half - 0.5, width / 2 + half - 0.5))
        axes.set(ylim=(height / 2 + half - 0.5, height / 2 - half - 0.5))


HEADING, HEADING_LINE, PANEL_HEADING, LABEL, NOTE = 0.26, 0.14, 0.22, 0.13, 0.14
"""Inches that headings, their lesser lines, a panel's, a tile's words and a note take."""


def encode_layout(layout: Layout, file: FigureFile) -> bytes:
    """Draw a layout, and write it as a file that says what it shows."""
    check_file(file)
    form = file.format
    metadata = METADATA[form] | {CAPTION[form]: layout.caption}
    written = io.BytesIO()
    with ONE_AT_A_TIME, matplotlib.rc_context(SETTINGS):
        figure = _draw(layout, "auto" if form == "png" else "none")
        figure.savefig(written, format=form, dpi=file.dpi or DPI, metadata=metadata)
    return written.getvalue()


def _draw(layout: Layout, interpolation: str) -> Figure:
    """Lay out headings, rows of panels and legend, from top to bottom."""
    across = len(layout.headings)
    panels = len(layout.rows[0])
    block = (WIDTH - 2 * MARGIN - (panels - 1) * BETWEEN) / panels
    heights = [max(_height(panel, block) for panel in row) for row in layout.rows]
    lesser = HEADING_LINE if any(line for _, line in layout.headings) else 0.0
    y = MARGIN + HEADING + lesser
    sheet = Sheet(
        WIDTH, y + sum(heights) + NOTE * max(2, len(layout.notes)) + MARGIN, interpolation
    )
    for number, (heading, line) in enumerate(layout.headings):
        x = MARGIN + number * (WIDTH - 2 * MARGIN + BETWEEN) / across
        sheet.write(x, MARGIN + 0.14, heading, 9, weight="bold", color=INK)
        sheet.write(x, MARGIN + 0.14 + HEADING_LINE, line, 7.5, color=SOFT)
    for row, height in zip(layout.rows, heights, strict=True):
        for number, panel in enumerate(row):
            _lay(sheet, panel, MARGIN + number * (block + BETWEEN), y, block)
        y += height
    _explain(sheet, layout.notes, y)
    return sheet.figure


def _side(panel: Panel, block: float) -> float:
    return (block - (panel.columns - 1) * GAP) / panel.columns


def _height(panel: Panel, block: float) -> float:
    return PANEL_HEADING + panel.rows * (_side(panel, block) + LABEL + GAP) + GAP


def _lay(sheet: Sheet, panel: Panel, x: float, y: float, block: float) -> None:
    """Lay a panel's tiles out below its heading."""
    sheet.write(x, y + 0.1, panel.heading, 7.5, color=INK)
    side = _side(panel, block)
    size = max(4.5, min(6.5, 6 * side))
    for number, tile in enumerate(panel.tiles):
        row, column = divmod(number, panel.columns)
        left = x + column * (side + GAP)
        top = y + PANEL_HEADING + row * (side + LABEL + GAP) + LABEL
        sheet.write(left, top - 0.03, tile.left, size, color=INK)
        if (len(tile.left) + len(tile.right) + 1) * size * WIDE_LETTER / 72 < side:
            sheet.write(left + side, top - 0.03, tile.right, size, color=SOFT, ha="right")
        sheet.show(left, top, side, tile)


def _explain(sheet: Sheet, notes: Sequence[str], y: float) -> None:
    """Say what the pictures mean, beside the scale from black over grey to white."""
    for number, words in enumerate(notes):
        sheet.write(MARGIN + 1.25, y + NOTE * (number + 1), words, 6.5, color=SOFT)
    axes = sheet.place(MARGIN, y + 0.06, (1.1, 0.1), EMPTY)
    axes.imshow(np.linspace(0, 1, 256)[None], cmap="gray", aspect="auto", interpolation="none")
    for share, mark in ((0.0, "−s"), (0.5, "0"), (1.0, "+s")):  # noqa: RUF001
        anchor = {0.0: "left", 0.5: "center", 1.0: "right"}[share]
        sheet.write(MARGIN + 1.1 * share, y + 0.28, mark, 6.5, color=SOFT, ha=anchor)
