"""How the experiments' figures look, and how they are written: alike, and alike every time."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any, Literal

import matplotlib
from matplotlib.figure import Figure

from models.projection.figure import METADATA, ONE_AT_A_TIME, SETTINGS

COLOURS = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#ee8866", "#44bb99")
"""Of curves, parts and classes; told apart by colour-blind readers too."""
REST = "#aaaaaa"
"""Of all that has no colour of its own."""
DPI = 150

STYLE: Any = SETTINGS | {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
}


def encode_figure(draw: Callable[[Figure], None], form: Literal["svg", "png"]) -> bytes:
    """Let a figure be drawn, and write it as a file."""
    file = io.BytesIO()
    with ONE_AT_A_TIME, matplotlib.rc_context(STYLE):
        figure = Figure(layout="constrained", facecolor="white")
        draw(figure)
        figure.savefig(file, format=form, dpi=DPI, metadata=METADATA[form])
    return file.getvalue()
