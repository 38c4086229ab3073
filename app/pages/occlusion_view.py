"""What a page shows of an occlusion: its panels, and the numbers where the square is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

SHOWN = 224
"""Side in which a panel is shown where there is no JavaScript, in CSS pixels."""


@dataclass(frozen=True)
class Scale:
    """What the colours of a map mean: its least and its largest number."""

    least: float
    most: float


@dataclass(frozen=True)
class Numbers:
    """What the network answers: with the square at a place, or without it."""

    activation: float
    probability: float | None
    best: str | None


@dataclass(frozen=True)
class OcclusionView:
    """An occlusion with its square at one place, in pixels of the network's input.

    ``key`` lists the colours of the classes. ``matrices`` are all numbers as tables, by name, where
    they were asked for.
    """

    job: str
    network: str
    layer: str
    feature: int
    unit: tuple[int, int] | None
    target: str | None
    side: int
    square: int
    stride: int
    tops: tuple[int, ...]
    lefts: tuple[int, ...]
    row: int
    column: int
    here: Numbers
    whole: Numbers
    activation: Scale
    probability: Scale | None
    key: tuple[tuple[str, str], ...]
    matrices: tuple[tuple[str, tuple[tuple[Any, ...], ...]], ...]
    shown: int = SHOWN

    @property
    def top(self) -> int:
        """Return the upper edge of the square."""
        return self.tops[self.row]

    @property
    def left(self) -> int:
        """Return the left edge of the square."""
        return self.lefts[self.column]


def view_occlusion(
    job: str,
    found: Mapping[str, Any],
    key: Sequence[Sequence[str]],
    query: Mapping[str, str],
    side: int,
) -> OcclusionView:
    """Look at an occlusion's document, with the square where the page's address puts it."""
    tops, lefts = tuple(found["tops"]), tuple(found["lefts"])
    row, column = _place(found, tops, lefts, query, side)
    activation, probability = found["activation"], found.get("probability")
    labels = found.get("best_label")
    whole = found["unoccluded"]
    return OcclusionView(
        job,
        found["network"],
        found["layer"],
        found["feature"],
        tuple(found["unit"]) if found["unit"] else None,
        found["target"]["label"] if probability else None,
        side,
        found["square"],
        found["stride"],
        tops,
        lefts,
        row,
        column,
        Numbers(
            activation[row][column],
            probability[row][column] if probability else None,
            labels[row][column] if labels else None,
        ),
        Numbers(whole["activation"], whole.get("probability"), whole.get("best_label")),
        _scale(activation),
        _scale(probability) if probability else None,
        tuple((colour, label) for colour, label in key),
        _matrices(found) if "table" in query else (),
    )


def _scale(values: Sequence[Sequence[float]]) -> Scale:
    return Scale(min(map(min, values)), max(map(max, values)))


def _matrices(
    found: Mapping[str, Any],
) -> tuple[tuple[str, tuple[tuple[Any, ...], ...]], ...]:
    named = ("activation", "probability", "best_label")
    return tuple((name, tuple(map(tuple, found[name]))) for name in named if name in found)


def _place(
    found: Mapping[str, Any],
    tops: Sequence[int],
    lefts: Sequence[int],
    query: Mapping[str, str],
    side: int,
) -> tuple[int, int]:
    """Find the row and column that an address names; else where the network misses most."""
    if (pressed := _pressed(query, side)) is not None:
        middle = found["square"] / 2
        return _nearest(tops, pressed[0] - middle), _nearest(lefts, pressed[1] - middle)
    if (named := _named(query)) is not None:
        return _nearest(tops, named[0]), _nearest(lefts, named[1])
    watched = found.get("probability") or found["activation"]
    least = min(range(len(tops)), key=lambda row: min(watched[row]))
    return least, min(range(len(lefts)), key=lambda column: watched[least][column])


def _pressed(query: Mapping[str, str], side: int) -> tuple[float, float] | None:
    """Read where a panel was pressed, as a browser says it, in pixels of the input."""
    place = _pair(query, "at.y", "at.x")
    return (place[0] * side / SHOWN, place[1] * side / SHOWN) if place else None


def _named(query: Mapping[str, str]) -> tuple[float, float] | None:
    return _pair(query, "top", "left")


def _pair(query: Mapping[str, str], first: str, second: str) -> tuple[float, float] | None:
    texts = query.get(first, "")[:9], query.get(second, "")[:9]
    if not all(text.replace(".", "", 1).isdecimal() and text.isascii() for text in texts):
        return None
    return float(texts[0]), float(texts[1])


def _nearest(edges: Sequence[int], wanted: float) -> int:
    return min(range(len(edges)), key=lambda at: abs(edges[at] - wanted))
