"""A whole layer at a glance: all its activation maps, small, in some order, a page at a time."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import models
from app.pages.links import Link
from app.pages.options import Option, Options
from app.web.addresses import WrittenAddress
from app.web.language import gettext
from app.web.templates import number

PER_PAGE = 128
"""How many maps are shown at once."""


@dataclass(frozen=True)
class Cell:
    """One small map: its strongest activation, and where its picture is on the sheet, in pixels."""

    feature: int
    activation: float
    left: int
    top: int
    link: Link
    chosen: bool

    @property
    def title(self) -> str:
        """Say which map it is, and how strongly it fires."""
        said = gettext("Map %(feature)s: activation %(activation)s")
        return said % {"feature": self.feature, "activation": number(self.activation)}


@dataclass(frozen=True)
class Glance:
    """All maps of a layer, on one sheet of ``width`` x ``height`` pixels, each ``side`` wide.

    ``first`` counts the maps before this page's. ``target`` is the class that they are sorted for,
    where they are sorted by what they add to it. ``before`` and ``after`` lead from the map looked
    at closely to its neighbours in the same order.
    """

    sheet: WrittenAddress
    width: int
    height: int
    side: int
    count: int
    first: int
    cells: tuple[Cell, ...]
    target: models.Target | None
    orders: Options
    pages: tuple[Option, ...]
    before: Link | None
    after: Link | None


def glance(
    link: Link,
    shape: tuple[int, int, int],
    ranked: models.RankedMaps,
    close: int | None,
    orders: Sequence[str],
    sheet: WrittenAddress,
) -> Glance:
    """Lay out all maps in a link's order; ``close`` is the map looked at closely.

    ``sheet`` is the address of the picture of all maps.
    """
    units = sorted(ranked.units) if link.order == "number" else ranked.units
    columns, rows, side = models.sheet_grid(*shape[:2])
    count = -(-len(units) // PER_PAGE)
    first = PER_PAGE * (min(link.page, count) - 1)
    order = [unit.feature for unit in units]
    return Glance(
        sheet,
        columns * side,
        rows * side,
        side,
        len(units),
        first,
        tuple(_cells(link, units[first : first + PER_PAGE], close, (columns, side))),
        ranked.target,
        _offer_orders(link, orders),
        tuple(_pages(link, count, first // PER_PAGE + 1)) if count > 1 else (),
        *_neighbours(link, order, close),
    )


def _cells(
    link: Link, units: Sequence[models.Unit], close: int | None, grid: tuple[int, int]
) -> Iterator[Cell]:
    columns, side = grid
    for unit in units:
        row, column = divmod(unit.feature, columns)
        to_map = link.to(feature=unit.feature, unit=None)
        chosen = unit.feature == close
        yield Cell(unit.feature, unit.activation, side * column, side * row, to_map, chosen)


def _offer_orders(link: Link, orders: Sequence[str]) -> Options:
    chosen = link.order if link.order in orders else orders[0]
    options = (Option(each, link.to(order=each, page=1), each == chosen) for each in orders)
    return Options("order", tuple(options))


def _pages(link: Link, count: int, here: int) -> Iterator[Option]:
    for page in range(1, count + 1):
        yield Option(str(page), link.to(page=page), page == here)


def _neighbours(
    link: Link, order: Sequence[int], close: int | None
) -> tuple[Link | None, Link | None]:
    """Find the maps before and after the one looked at, each on the page that shows it."""
    if close is None:
        return None, None
    here = order.index(close)
    found = [at if 0 <= at < len(order) else None for at in (here - 1, here + 1)]
    before, after = (
        None if at is None else link.to(feature=order[at], unit=None, page=at // PER_PAGE + 1)
        for at in found
    )
    return before, after
