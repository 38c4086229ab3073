"""What an explorer's address says, and the addresses that lead on from there."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote, urlencode

import models
from app.web.choice import parse_features, parse_unit

FIELDS = {"row", "column", "y", "x"}
"""What forms call the parts of ``unit`` and ``at``."""
NUMBER = re.compile(r"\d{1,9}")
PRESSED = re.compile(r"(?:at|map-(\d{1,9}))-(\d{1,4})x(\d{1,4})\.([xy])")
HASH = re.compile(r"[0-9a-f]{8}")
COORDINATE = re.compile(r"-?\d{1,5}(\.\d{1,6})?")
LAST = 0.999999


@dataclass(frozen=True)
class Link:
    """One state of the explorer; printed, its address.

    ``at`` is a place (y, x) in pixels of the photo: the maps listed are those that fire there.
    ``feature`` and ``unit`` are the unit looked at closely; the strongest where they say nothing.
    ``weights`` begins the hash of the weights that whoever sent the link saw.
    """

    image: str
    network: str
    layer: str = ""
    method: str = "deconvnet"
    seed: str = "unit"
    fit: str = "crop"
    top: int | None = None
    at: tuple[int, int] | None = None
    feature: int | None = None
    unit: tuple[int, int] | None = None
    weights: str | None = None

    def to(self, **changes: Any) -> "Link":
        """Return the link to a neighbouring state."""
        return replace(self, **changes)

    def into(self, layer: str) -> "Link":
        """Return the link to another layer; what was chosen in this one stays behind."""
        return self.to(layer=layer, feature=None, unit=None)

    @property
    def path(self) -> str:
        """Return the address without its query."""
        names = [part for part in (self.image, self.network, self.layer) if part]
        return "/images/" + "/".join(quote(part, safe="") for part in names)

    @property
    def query(self) -> dict[str, str]:
        """Return the parameters that differ from what goes without saying."""
        query = {name: getattr(self, name) for name in ("method", "seed", "fit", "top")}
        query |= {"at": _joined(self.at), "feature": self.feature, "unit": _joined(self.unit)}
        query |= {"weights": self.weights}
        plain = {"method": "deconvnet", "seed": "unit", "fit": "crop"}
        return {k: str(v) for k, v in query.items() if v is not None and v != plain.get(k)}

    def __str__(self) -> str:
        return _address(self.path, self.query)


def read_link(image: str, network: str, layer: str, query: Mapping[str, str]) -> Link:
    """Read what an address says; raises InvalidChoice."""
    weights = query.get("weights") or None
    if weights and not HASH.fullmatch(weights):
        raise models.InvalidChoice("weights_are_no_hash", text=weights[:40])
    return Link(
        image,
        network,
        layer,
        query.get("method") or "deconvnet",
        query.get("seed") or "unit",
        query.get("fit") or "crop",
        _number(query, "top"),
        parse_unit(query.get("at") or _two(query, "y", "x")),
        _number(query, "feature"),
        parse_unit(query.get("unit") or _two(query, "row", "column")),
        weights,
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
    link: Link, choice: models.Choice, feature: int, kind: str, cache_version: str
) -> str:
    """Return the address of one of a projection's pictures; what it names never changes."""
    query = _choice_query(choice) | {"v": cache_version}
    return _address(f"{link.path}/{feature}/{kind}.png", query)


def archive_address(link: Link, choice: models.Choice) -> str:
    """Return the address of the ZIP of a view."""
    return _address(f"{link.path}/view.zip", _choice_query(choice))


def read_choice(layer: str, query: Mapping[str, str]) -> models.Choice:
    """Read from a picture's address which view it belongs to; raises InvalidChoice."""
    return models.Choice(
        layer,
        query.get("method", "deconvnet"),
        query.get("seed", "unit"),
        _number(query, "top"),
        parse_features(query.get("features")),
        parse_unit(query.get("unit")),
        query.get("fit", "crop"),
    )


def _choice_query(choice: models.Choice) -> dict[str, str]:
    plain = models.Choice()
    query = {name: getattr(choice, name) for name in ("method", "seed", "fit", "top")}
    query |= {"features": _joined(choice.features), "unit": _joined(choice.unit)}
    return {k: str(v) for k, v in query.items() if v is not None and v != getattr(plain, k)}


def _number(query: Mapping[str, str], name: str) -> int | None:
    text = query.get(name, "").strip()
    if not text:
        return None
    if not NUMBER.fullmatch(text):
        raise models.InvalidChoice("no_whole_number", name=name, text=text[:40])
    return int(text)


def _two(query: Mapping[str, str], first: str, second: str) -> str | None:
    """Read a pair that a form asked for in two fields."""
    pair = query.get(first, "").strip(), query.get(second, "").strip()
    return ",".join(pair) if all(pair) else None


def _joined(numbers: tuple[int, ...] | None) -> str | None:
    return None if numbers is None else ",".join(map(str, numbers))


def _address(path: str, query: Mapping[str, str]) -> str:
    return f"{path}?{urlencode(query, safe=',')}" if query else path
