"""A report as a PDF: headings, sentences, pictures and tables, one page or more a section."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field

import matplotlib
from matplotlib.backends.backend_pdf import PdfPages
from matplotlib.figure import Figure
from PIL import Image

from models.experiments.plots import STYLE
from models.projection.figure import ONE_AT_A_TIME

A4 = (8.27, 11.69)
"""Width and height of a page, in inches."""
LEFT, TOP, BOTTOM = 0.08, 0.94, 0.06
"""Where the text begins and ends, as shares of the page."""
COLUMNS = 96
"""Characters in a line."""
LINE = 0.0155
"""Height of a line, as a share of the page."""


@dataclass(frozen=True)
class Page:
    """A section: its heading, paragraphs, a table, and pictures as PNG."""

    title: str
    paragraphs: Sequence[str]
    columns: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    pictures: Sequence[bytes] = field(default=(), repr=False)


def to_booklet(pages: Sequence[Page]) -> bytes:
    """Write sections as a PDF; the same sections give the same bytes."""
    file = io.BytesIO()
    with ONE_AT_A_TIME, matplotlib.rc_context(STYLE):
        with PdfPages(file, metadata={"CreationDate": None, "Creator": "deconvnet"}) as pdf:
            for page in pages:
                for figure in _figures(page):
                    pdf.savefig(figure)
    return file.getvalue()


def _figures(page: Page) -> list[Figure]:
    """Draw a section: its words first, then its pictures, on as many pages as they take."""
    figure, height = _begun(page)
    figures = [figure]
    for picture in page.pictures:
        with Image.open(io.BytesIO(picture)) as opened:
            shown = opened.convert("RGB")
        wide = 1 - 2 * LEFT
        tall = wide * A4[0] / A4[1] * shown.height / shown.width
        if tall > TOP - BOTTOM:
            wide, tall = wide * (TOP - BOTTOM) / tall, TOP - BOTTOM
        if height - tall < BOTTOM:
            figure, height = Figure(A4, facecolor="white"), TOP
            figures.append(figure)
        axes = figure.add_axes((LEFT, height - tall, wide, tall))
        axes.imshow(shown)
        axes.set_axis_off()
        height -= tall + LINE
    return figures


def _begun(page: Page) -> tuple[Figure, float]:
    """Write heading, paragraphs and table; return where the pictures may begin."""
    figure, height = Figure(A4, facecolor="white"), TOP
    figure.text(LEFT, height, page.title, fontsize=13, weight="bold")
    height -= 2 * LINE
    for paragraph in page.paragraphs:
        for line in [*textwrap.wrap(paragraph, COLUMNS), ""]:
            figure.text(LEFT, height, line, fontsize=9)
            height -= LINE
    for line in _lines(page):
        figure.text(LEFT, height, line, fontsize=7.5, family="monospace")
        height -= LINE
    return figure, height


def _lines(page: Page) -> list[str]:
    """Write a table in columns of one width each."""
    if not page.rows:
        return []
    cells = [list(page.columns), *map(list, page.rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) for row in cells]
