"""What an explorer's address says, and the addresses that lead on from there."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Self, TypeVar
from urllib.parse import quote, urlencode

import models
from app.web.addresses import Address, WrittenAddress
from app.web.choice import parse_number, parse_unit, read_query, write_option, write_query

FIELDS = {"row", "column", "y", "x"}
"""What forms call the parts of ``unit`` and ``at``."""
IN_PATH = ("network", "layer")
"""The options that an address names before its query."""
PRESSED = re.compile(r"(?:at|map-(\d{1,9}))-(\d{1,4})x(\d{1,4})\.([xy])")
ORDERS = ("activation", "number", "contribution")
"""What the maps of a layer may be sorted by."""
COORDINATE = re.compile(r"-?\d{1,5}(\.\d{1,6})?")
LAST = 0.999999


@dataclass(frozen=True, kw_only=True)
class Link(models.Choice, Address):
    """One state of the explorer: a choice, and what is looked at; ``str`` gives its address.

    ``at`` is a place (y, x) in pixels of the photo: the maps listed are those that fire there.
    ``feature`` and ``unit`` are the unit looked at closely; the strongest where they say nothing.
    ``order`` and ``page`` say how all maps of the layer are laid out at a glance.
    A hash in ``weights`` is of those that whoever sent the link saw.
    """

    image: str
    network: str
    layer: str = ""
    at: tuple[int, int] | None = None
    feature: int | None = None
    order: str = ORDERS[0]
    page: int = 1

    def to(self, **changes: Any) -> Self:
        """Return the link to a neighbouring state."""
        return replace(self, **changes)

    def into(self, layer: str) -> Self:
        """Return the link to another layer; what was chosen in this one stays behind.

        So does a difference of the maps at a chosen unit; that of whole maps, or at a place of the
        photo, is there in other layers too.
        """
        at_a_unit = self.show == "difference" and self.seed == "unit" and self.at is None
        show = None if at_a_unit else self.show
        return self.to(layer=layer, features=None, feature=None, unit=None, page=1, show=show)

    def choice(self, **changes: Any) -> models.Choice:
        """Return what is to be projected; the maps are only those that ``changes`` name."""
        said = {option.name: getattr(self, option.name) for option in models.options_of()}
        return models.Choice(**said | {"top": None, "features": None, "unit": None} | changes)

    @property
    def path(self) -> WrittenAddress:
        """Return the address without its query."""
        return _path(self.image, self.network, self.layer)

    @property
    def views(self) -> tuple[tuple[str, ...], ...]:
        """Name the views whose pictures its page shows: the layer's, and the photo's own."""
        return (self.image, self.network, self.layer), (self.image,)

    @property
    def query(self) -> dict[str, str]:
        """Return the parameters that differ from their defaults."""
        looked_at = {"at": self.at, "feature": self.feature, "unit": self.unit}
        laid_out = {"order": self.order, "page": self.page}
        usual = {"order": ORDERS[0], "page": 1}
        own = looked_at | {n: v for n, v in laid_out.items() if v != usual[n]}
        own |= {"weights": self.weights}
        written = {name: write_option(value) for name, value in own.items() if value is not None}
        return write_query(self, without={*IN_PATH, "unit", "weights"}) | written

    def page_of(self, feature: int) -> WrittenAddress:
        """Return the address of a map's own page; what is chosen in the layer stays behind."""
        alone = self.to(at=None, seed="unit", top=None).into(self.layer)
        kept = alone.to(rank="activation", target=None)
        return _address(f"{self.path}/{feature}", kept.query)

    @property
    def figure(self) -> WrittenAddress:
        """Return the address of the page of the view's figure."""
        return _address(f"{self.path}/figure", self.query)

    @property
    def compare(self) -> WrittenAddress:
        """Return the address of the page that compares the view."""
        return _address("/compare", {"left": str(self)})

    def __str__(self) -> str:
        return _address(self.path, self.query)


L = TypeVar("L", bound=Link)


def read_link(image: str, network: str, layer: str, query: Mapping[str, str]) -> Link:
    """Read what an explorer's address says; raises InvalidChoice."""
    return read_state(Link, query, image=image, network=network, layer=layer)


def read_state(link_type: type[L], query: Mapping[str, str], **path: str) -> L:
    """Read a link of any kind from its query and the names in its path; raises InvalidChoice."""
    at = query.get("at") or _two(query, "y", "x")
    feature = query.get("feature", "").strip()
    return read_query(
        link_type,
        {**query, "unit": query.get("unit") or _two(query, "row", "column") or ""},
        **path,
        at=parse_unit(at) if at else None,
        feature=parse_number("feature", feature) if feature else None,
        order=_order(query.get("order") or ORDERS[0]),
        page=max(1, parse_number("page", query.get("page") or "1")),
    )


@dataclass(frozen=True)
class Click:
    """Where a picture was pressed, as shares of its height and width.

    ``feature`` is the map whose picture it was; None for the photo.
    """

    feature: int | None
    y: float
    x: float


def read_click(query: Mapping[str, str]) -> Click | None:
    """Say which picture was pressed, if one was.

    A browser sends a pressed picture's name and the pixel; the name holds the picture's size.
    """
    shares: dict[str, float] = {}
    feature = None
    for name, value in query.items():
        match = PRESSED.fullmatch(name)
        if match and COORDINATE.fullmatch(value):
            feature = int(match[1]) if match[1] else None
            side = int(match[3] if match[4] == "y" else match[2])
            shares[match[4]] = min(max(float(value) / max(side, 1), 0.0), LAST)
    return Click(feature, shares["y"], shares["x"]) if len(shares) == 2 else None


def picture_address(
    link: Link, choice: models.Choice, feature: int, part: str, cache_version: str, **size: str
) -> WrittenAddress:
    """Return the address of one of a projection's pictures; what it names never changes.

    With ``size="close"`` it is the same picture to look at, as WebP where a browser takes it, and
    with ``size="card"`` as small as a card shows it.
    """
    alone = ("features",) if choice.features == (feature,) else ()
    query = write_query(choice, without=(*IN_PATH, *alone)) | size | {"v": cache_version}
    return _address(f"{link.path}/{feature}/{part}.png", query)


def legend_address(link: Link, choice: models.Choice, feature: int) -> WrittenAddress:
    """Return the address of the scale that a projection is drawn in."""
    query = write_query(choice, without=IN_PATH)
    return _address(f"{link.path}/{feature}/legend", query)


def sheet_address(link: Link, cache_version: str) -> WrittenAddress:
    """Return the address of the sheet of all maps of a layer."""
    shared = {"fit": link.fit, "weights": link.weights}
    query = {name: value for name, value in shared.items() if value not in (None, "crop")}
    return _address(f"{link.path}/maps.png", query | {"v": cache_version})


def archive_address(link: Link, choice: models.Choice) -> WrittenAddress:
    """Return the address of the ZIP of a view."""
    return _address(f"{link.path}/view.zip", write_query(choice, without=IN_PATH))


def read_choice(
    network: str, layer: str, query: Mapping[str, str], feature: int | None = None
) -> models.Choice:
    """Read from a picture's address which view it belongs to; raises InvalidChoice.

    A ``feature`` whose address names no list of maps is seen alone.
    """
    choice = read_query(models.Choice, query, network=network, layer=layer)
    if feature is None or choice.features is not None or choice.top is not None:
        return choice
    return replace(choice, features=(feature,))


def _order(text: str) -> str:
    if text not in ORDERS:
        raise models.InvalidChoice("unknown_word", name="order", known=ORDERS, value=text[:40])
    return text


def _two(query: Mapping[str, str], first: str, second: str) -> str | None:
    """Read a pair that a form asked for in two fields; raises InvalidChoice for half of one."""
    pair = {name: query.get(name, "").strip() for name in (first, second)}
    given = [name for name, value in pair.items() if value]
    if len(given) == 1:
        missing = second if first in given else first
        raise models.InvalidChoice("half_a_place", given=given[0], missing=missing)
    return ",".join(pair.values()) if given else None


# A page writes hundreds of addresses, which differ in a single number.


@lru_cache(maxsize=1024)
def _path(*names: str) -> WrittenAddress:
    written = [quote(name, safe="") for name in names if name]
    return WrittenAddress("/".join(("/images", *written)))


@lru_cache(maxsize=4096)
def _written(name: str, value: str) -> str:
    return urlencode({name: value}, safe=",")


def _address(path: str, query: Mapping[str, str]) -> WrittenAddress:
    written = "&".join(_written(*each) for each in query.items())
    return WrittenAddress(f"{path}?{written}" if query else path)
