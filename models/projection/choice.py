"""What to project: every option that a person or a program can choose, declared once."""

from __future__ import annotations

from dataclasses import dataclass

from models.errors import InvalidChoice
from models.networks.preprocessing import FITS
from models.networks.rules import RULES

METHODS = tuple(RULES)
SEEDS = ("unit", "map")

TOP = 9
"""How many maps are shown where nothing is said: the paper's nine."""


@dataclass(frozen=True)
class Choice:
    """What to project: ``features``, or else the ``top`` strongest maps, of one layer.

    ``unit`` is a place (y, x), the same in every map; without it each map's strongest is taken.
    """

    layer: str | None = None
    method: str = "deconvnet"
    seed: str = "unit"
    top: int | None = None
    features: tuple[int, ...] | None = None
    unit: tuple[int, int] | None = None
    fit: str = "crop"


def check(choice: Choice) -> None:
    """Raise InvalidChoice for what no network and photo could satisfy."""
    for name, value, known in (
        ("method", choice.method, METHODS),
        ("seed", choice.seed, SEEDS),
        ("fit", choice.fit, FITS),
    ):
        if value not in known:
            raise InvalidChoice("unknown_word", name=name, known=known, value=value)
    if choice.features is not None and choice.top is not None:
        raise InvalidChoice("features_and_top")
    if choice.unit is not None and choice.seed == "map":
        raise InvalidChoice("unit_and_map")
