"""The page that shows two or three views beside each other, locked to one place of the photo."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

import models
from app.engine.engine import Engine
from app.engine.registry import NetworkRegistry
from app.pages.layer_view import Picture, cache_version
from app.pages.links import Click, Link, picture_address, read_click, read_link
from app.photos.uploads import Uploads
from app.web.addresses import Address, WrittenAddress
from app.web.choice import read_query
from app.web.comparison import (
    SIDES,
    Column,
    Fact,
    Seen,
    differences,
    read_column,
    read_columns,
    way_of,
)
from app.web.comparison import see_columns as see
from app.web.dependencies import EngineHere, UploadsHere, admit
from app.web.templates import is_partial, show

PHOTO_SIDE = 300
"""Longest side in which a column shows the photo where there is no JavaScript, in CSS pixels."""

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)


@dataclass(frozen=True)
class Comparison(Address):
    """Views beside each other; ``str`` gives the address of their page."""

    links: tuple[Link, ...]

    @property
    def query(self) -> dict[str, str]:
        """Return the parameters of the address: each column's own address."""
        return {side: str(link) for side, link in zip(SIDES, self.links, strict=False)}

    def __str__(self) -> str:
        return f"/compare?{urlencode(self.query)}"

    @property
    def figure(self) -> WrittenAddress:
        """Return the address of the page of the views' figure."""
        return WrittenAddress(f"/compare/figure?{urlencode(self.query)}")

    def at(self, places: Sequence[tuple[int, int] | None]) -> "Comparison":
        """Look at a place (y, x) of each column's photo; at the strongest maps for None."""
        pairs = zip(self.links, places, strict=True)
        return Comparison(tuple(link.to(at=at, feature=None, unit=None) for link, at in pairs))

    def replaced(self, number: int, link: Link) -> "Comparison":
        """Put another view into a column."""
        return Comparison((*self.links[:number], link, *self.links[number + 1 :]))


@dataclass(frozen=True)
class Tile:
    """A projection in a column: its numbers and pictures; ``link`` looks at it closely.

    ``label`` is the class that a last layer's unit stands for.
    """

    feature: int
    label: str | None
    activation: float
    unit: tuple[int, int] | None
    projection: Picture | None
    patch: Picture
    link: Link


@dataclass(frozen=True)
class Field:
    """One thing of a column that can be changed: its values, and the chosen one."""

    name: str
    values: tuple[str, ...]
    chosen: str


@dataclass(frozen=True)
class Side:
    """One column: a view, with what tells it from the others.

    ``firing`` counts all maps that fire at the place asked for, where one was; ``outside`` tells
    that it is cropped away. ``width`` and ``height`` are the photo's, ``shown`` is its size without
    JavaScript. ``patch`` is what all the tiles saw, where that is the same. ``without`` is the page
    without this column.
    """

    side: str
    link: Link
    title: str
    layer: str
    apart: tuple[Fact, ...]
    provenance: models.Provenance
    width: int
    height: int
    shown: tuple[int, int]
    kept: models.Box
    firing: int | None
    outside: bool
    patch: Picture | None
    tiles: tuple[Tile, ...]
    fields: tuple[Field, ...]
    without: Comparison | None


@dataclass(frozen=True)
class Preset:
    """A comparison worth making, by the key of its name."""

    key: str
    link: Comparison


@dataclass(frozen=True)
class Compare:
    """Views beside each other: ``free`` is the same page without a place chosen.

    ``notes`` are the keys of what must be said of such a comparison, ``more`` has a third column.
    """

    here: Comparison
    free: Comparison
    sides: tuple[Side, ...]
    presets: tuple[Preset, ...]
    notes: tuple[str, ...]
    more: Comparison | None


@router.get("/compare")
async def show_comparison(request: Request, engine: EngineHere, uploads: UploadsHere) -> Response:
    """Show two or three views beside each other."""
    query, host = request.query_params, request.headers["host"]
    if query.get("left") and not query.get("right"):
        link = link_of(read_column("left", query["left"], host))
        return RedirectResponse(str(of_methods(link)), 303)
    columns = read_columns(query, host)
    here = Comparison(tuple(link_of(column) for column in columns))
    there = await follow(uploads, here, query)
    if there is not None:
        return RedirectResponse(str(there), 303)
    seen = await admit(request, engine, lambda: see(engine, uploads, columns))
    page = await asyncio.to_thread(collect, engine, here, seen)
    for link in here.links:
        engine.places.promise(*link.views)
    name = "compare/_compare.html" if is_partial(request) else "compare/compare.html"
    return show(request, name, page)


def link_of(column: Column) -> Link:
    """Return the link to a column's view; raises InvalidChoice."""
    network, layer = column.choice.network or "", column.choice.layer or ""
    return read_link(column.image, network, layer, column.query)


async def follow(uploads: Uploads, here: Comparison, query: Mapping[str, str]) -> Comparison | None:
    """Say where a press on a photo, or a form, leads from here; None where nothing was pressed."""
    if side := query.get("change"):
        return change(here, side, query)
    click = read_click(query)
    if click is None and query.get("x") and query.get("y"):
        click = await _named(uploads, here, query)
    if click is None:
        return None
    photos = [await uploads.find(link.image) for link in here.links]
    sizes = [photo.picture.size for photo in photos]
    return here.at([(int(click.y * height), int(click.x * width)) for width, height in sizes])


async def _named(uploads: Uploads, here: Comparison, query: Mapping[str, str]) -> Click:
    """Read a place that was named in pixels of the left photo; raises InvalidChoice."""
    width, height = (await uploads.find(here.links[0].image)).picture.size
    at = read_link("", "", "", {"y": query["y"], "x": query["x"]}).at or (0, 0)
    if at[0] >= height or at[1] >= width:
        raise models.InvalidChoice(
            "place_outside", y=at[0], x=at[1], rows=height - 1, columns=width - 1
        )
    return Click(None, (at[0] + 0.5) / height, (at[1] + 0.5) / width)


def change(here: Comparison, side: str, query: Mapping[str, str]) -> Comparison:
    """Change what one column shows, as its form says; raises InvalidChoice."""
    if side not in SIDES[: len(here.links)]:
        raise models.InvalidChoice("no_column", side=side[:40])
    number = SIDES.index(side)
    link = here.links[number]
    names = {option.name for option in models.options_of()} & query.keys()
    asked = read_query(models.Choice, query)
    changed = link.to(**{name: getattr(asked, name) for name in names})
    layer = _nearest_layer(changed.network or link.network, changed.layer)
    if (changed.network, layer) != (link.network, link.layer):
        changed = changed.into(layer)
    return here.replaced(number, changed)


def _nearest_layer(network: str, layer: str) -> str:
    """Return a network's layer of that name, else its last convolutional one."""
    layers = models.describe_layers(network)
    if layer in {each.name for each in layers}:
        return layer
    return [each.name for each in layers if each.kind == "conv"][-1]


def collect(engine: Engine, here: Comparison, seen: Sequence[Seen]) -> Compare:
    """Collect what the page shows of the columns seen."""
    registry = engine.registry
    last = here.links[-1]
    return Compare(
        here,
        here.at([None] * len(here.links)),
        tuple(_sides(registry, here, seen)),
        tuple(presets(registry, here.links[0])),
        tuple(notes(seen)),
        Comparison((*here.links, last)) if len(here.links) < len(SIDES) else None,
    )


def _sides(registry: NetworkRegistry, here: Comparison, seen: Sequence[Seen]) -> Iterator[Side]:
    for number, (each, apart) in enumerate(
        zip(seen, differences(seen, weights=False), strict=True)
    ):
        link = here.links[number]
        width, height = each.photo.picture.size
        frame = models.frame((width, height), each.network.preprocessing, link.fit)
        rest = (*here.links[:number], *here.links[number + 1 :])
        yield Side(
            SIDES[number],
            link,
            each.title,
            each.layer,
            apart,
            each.network.provenance,
            width,
            height,
            _shown(width, height),
            frame.kept,
            each.firing,
            each.outside,
            _shared_patch(link, each),
            tuple(_tiles(link, each)),
            tuple(_fields(registry, link, each)),
            Comparison(rest) if len(rest) > 1 else None,
        )


def _shown(width: int, height: int) -> tuple[int, int]:
    scale = PHOTO_SIDE / max(width, height)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _shared_patch(link: Link, seen: Seen) -> Picture | None:
    """Return the patch that several maps saw, where it is the same for all."""
    if seen.selected is None or len(seen.selected.units) < 2 or len(set(seen.selected.boxes)) > 1:
        return None
    return next(_tiles(link, seen)).patch


def _tiles(link: Link, seen: Seen) -> Iterator[Tile]:
    if seen.selected is None or seen.listed is None:
        return
    version = cache_version(seen.network)
    for unit, box in zip(seen.selected.units, seen.selected.boxes, strict=True):
        size = int(box.right - box.left), int(box.bottom - box.top)
        projection, patch = (
            Picture(picture_address(link, seen.listed, unit.feature, part, version), *size)
            for part in ("projection", "patch")
        )
        place = None if seen.listed.seed == "map" else (unit.y, unit.x)
        yield Tile(
            unit.feature,
            models.class_of(seen.network, seen.layer, unit.feature),
            unit.activation,
            place,
            projection if unit.activation else None,
            patch,
            link.to(feature=unit.feature, unit=place if seen.listed.unit else None),
        )


def _fields(registry: NetworkRegistry, link: Link, seen: Seen) -> Iterator[Field]:
    """Yield what can be changed of a column: network, layer, weights, and the options in words."""
    ready = [name for name in registry.architectures if registry.weights(name).state == "ready"]
    here = registry.weights_here(link.network)
    weights = dict.fromkeys([*(each.source for each in here), *(e.sha256[:8] for e in here)])
    used = link.weights or seen.network.provenance.source
    yield Field("network", tuple(dict.fromkeys([*ready, link.network])), link.network)
    yield Field("layer", tuple(each.name for each in seen.network.describe()), seen.layer)
    yield Field("weights", tuple(filter(None, weights)), used)
    for option in models.options_of():
        if option.words:
            yield Field(option.name, option.words, str(way_of(seen, option.name)))


def presets(registry: NetworkRegistry, left: Link) -> Iterator[Preset]:
    """Yield the comparisons worth making of the left photo, with the networks that are here."""
    ready = {name for name in registry.architectures if registry.weights(name).state == "ready"}
    plain = Link(image=left.image, network=left.network, method=left.method, fit=left.fit)

    def of(*places: tuple[str, str]) -> Comparison:
        return Comparison(tuple(plain.to(network=name, layer=layer) for name, layer in places))

    yield Preset("methods", of_methods(left))
    yield Preset("random", Comparison((left.to(weights=None), left.to(weights="random"))))
    if {"alexnet", "zfnet"} <= ready:
        for layer in ("conv1", "conv2"):
            yield Preset(layer, of(("alexnet", layer), ("zfnet", layer)))
    if {"vgg16", "zfnet"} <= ready:
        yield Preset("vgg16", of(("vgg16", "conv5_3"), ("zfnet", "conv5")))


def of_methods(link: Link) -> Comparison:
    """Return the same view by each method."""
    (option,) = (each for each in models.options_of() if each.name == "method")
    return Comparison(tuple(link.to(method=method) for method in option.words))


def notes(seen: Sequence[Seen]) -> Iterator[str]:
    """Yield the keys of what must be said, so that nobody reads more out of it than is there."""
    starters = {s.network.name for s in seen if s.network.provenance.source == "starter"}
    networks = {each.network.name for each in seen}
    if {"alexnet", "zfnet"} <= starters:
        yield "one_teacher"
    if "vgg16" in starters:
        yield "half_as_wide"
    if "alexnet" in networks and len(networks) > 1:
        yield "one_column"
    if any(not each.network.provenance.trained for each in seen):
        yield "random"
    if len({each.column.choice.method for each in seen}) > 1:
        yield "methods"
    if len({each.column.image for each in seen}) > 1:
        yield "photos"
