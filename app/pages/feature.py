"""The page of one feature map: where it fires in a photo, by each method, and what feeds it."""

import asyncio
import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse

import models
from app.engine.engine import Engine
from app.pages.examples import ExampleMap, example_map
from app.pages.explorer import REFUSALS, refuse
from app.pages.layer_view import Picture, cache_version, load_network
from app.pages.links import Link, picture_address, read_link
from app.photos.store import Photo
from app.web.addresses import WrittenAddress
from app.web.answers import data_uri
from app.web.choice import parse_number
from app.web.dependencies import EngineHere, UploadsHere, admit
from app.web.examples import Wall
from app.web.templates import show

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)


@dataclass(frozen=True)
class PlaceTile:
    """A place where the map fires; ``link`` looks at the unit closely in the explorer."""

    unit: tuple[int, int]
    activation: float
    projection: Picture
    patch: Picture
    link: Link


@dataclass(frozen=True)
class MethodTile:
    """The projection of the strongest unit by one method, and the explorer's link to it."""

    method: str
    projection: Picture
    link: Link


@dataclass(frozen=True)
class InputTile:
    """A map of the layer below: what it adds, as a share of the largest too, and its page."""

    feature: int
    contribution: float
    share: float
    overlay: Picture | None
    page: WrittenAddress


@dataclass(frozen=True)
class Neighbour:
    """Another map of the layer, by what it is to this one."""

    key: str
    feature: int
    page: WrittenAddress


@dataclass(frozen=True)
class Feature:
    """One feature map in one photo.

    ``shape`` is the layer's (maps, rows, columns) and ``field`` the side of its receptive field.
    ``whole`` is the map over the photo and its projection as a whole, where it has more than one
    unit; ``patch`` is what the strongest unit saw. ``filter_picture`` is the filter itself, of maps
    of the first layer. ``below`` names the layer below; of a layer without weights ``same_below``
    is the page of the same map there. ``examples`` are the map's strongest of the
    ``seen`` photos of a data set, where one was indexed; ``wall`` shows those of all maps.
    """

    link: Link
    title: str
    feature: int
    label: str | None
    kind: str
    shape: tuple[int, int, int]
    field: int
    side: int
    provenance: models.Provenance
    found: models.Inspection
    places: tuple[PlaceTile, ...]
    methods: tuple[MethodTile, ...]
    patch: Picture | None
    whole: tuple[Picture, Picture] | None
    filter_picture: str | None
    below: str | None
    same_below: WrittenAddress | None
    inputs: tuple[InputTile, ...]
    neighbours: tuple[Neighbour, ...]
    wall: WrittenAddress
    seen: int
    examples: ExampleMap | None

    @property
    def closely(self) -> Link:
        """Return the explorer's link to the map's strongest unit."""
        return self.link.to(feature=self.feature)


@dataclass(frozen=True)
class Visit:
    """One visit: which map of which network, in which photo, and what was found of it."""

    photo: Photo
    network: models.Network
    layer: models.LayerInfo
    link: Link
    feature: int
    found: models.Inspection
    index: models.Index | None

    def collect(self) -> Feature:
        """Collect what the page shows; a projection is computed when its picture is asked for."""
        architecture = models.architectures()[self.network.name]
        several = self.layer.shape.height * self.layer.shape.width > 1
        drawn = models.draw_filter(self.network, self.layer.name, self.feature)
        strongest = self.found.places[0] if self.found.places else None
        return Feature(
            self.link,
            architecture.title,
            self.feature,
            models.class_of(self.network, self.layer.name, self.feature),
            self.layer.kind,
            self.layer.shape,
            self.layer.receptive_field,
            self.network.preprocessing.size,
            self.network.provenance,
            self.found,
            tuple(self._place(place) for place in self.found.places),
            tuple(self._methods(strongest)) if strongest else (),
            self._picture(strongest, "patch") if strongest else None,
            self._whole() if several and strongest else None,
            data_uri(drawn),
            self.found.below,
            self._page(self.feature, self._below) if self._passes_on else None,
            tuple(self._inputs()),
            tuple(self._neighbours()),
            self._wall.address(),
            self.index.meta.seen if self.index else 0,
            self._examples(),
        )

    @property
    def _wall(self) -> Wall:
        return Wall(self.network.name, self.layer.name, self.link.weights)

    def _examples(self) -> ExampleMap | None:
        if self.index is None or self.layer.name not in self.index.found:
            return None
        return example_map(self.network, self.index, self._wall, self.feature)

    @property
    def _below(self) -> Link:
        return self.link.into(self.found.below or "")

    @property
    def _passes_on(self) -> bool:
        """Does each map of this layer come from the one map of its number below?"""
        return self.found.below is not None and self.layer.kind in ("pool", "norm")

    def _page(self, feature: int, link: Link | None = None) -> WrittenAddress:
        return (link or self.link).page_of(feature)

    def _picture(self, place: models.Place, part: str, method: str | None = None) -> Picture:
        """Locate a picture of one unit of the map."""
        link = self.link.to(method=method or self.link.method)
        unit = place.unit.y, place.unit.x
        choice = link.choice(layer=self.layer.name, features=(self.feature,), unit=unit)
        box = place.receptive_field
        size = int(box.right - box.left), int(box.bottom - box.top)
        return Picture(self._address(link, choice, self.feature, part), *size)

    def _address(
        self, link: Link, choice: models.Choice, feature: int, part: str
    ) -> WrittenAddress:
        return picture_address(link, choice, feature, part, cache_version(self.network))

    def _place(self, place: models.Place) -> PlaceTile:
        unit = place.unit.y, place.unit.x
        return PlaceTile(
            unit,
            place.unit.activation,
            self._picture(place, "projection"),
            self._picture(place, "patch"),
            self.link.to(feature=self.feature, unit=unit),
        )

    def _methods(self, strongest: models.Place) -> Iterator[MethodTile]:
        (option,) = (each for each in models.options_of() if each.name == "method")
        for method in option.words:
            picture = self._picture(strongest, "projection", method)
            unit = strongest.unit.y, strongest.unit.x
            link = self.link.to(method=method, feature=self.feature, unit=unit)
            yield MethodTile(method, picture, link)

    def _whole(self) -> tuple[Picture, Picture]:
        link = self.link.to(seed="map")
        choice = link.choice(layer=self.layer.name, features=(self.feature,))
        side = self.network.preprocessing.size
        parts = [self._address(link, choice, self.feature, part) for part in ("map", "projection")]
        return Picture(parts[0], side, side), Picture(parts[1], side, side)

    def _inputs(self) -> Iterator[InputTile]:
        inputs, side = self.found.inputs, self.network.preprocessing.size
        if not inputs:
            return
        below = self._below
        (info,) = (each for each in self.network.describe() if each.name == below.layer)
        several = info.shape.height * info.shape.width > 1
        choice = below.choice(layer=below.layer, features=tuple(each.feature for each in inputs))
        for each in inputs:
            address = self._address(below, choice, each.feature, "map")
            yield InputTile(
                each.feature,
                each.contribution,
                each.contribution / inputs[0].contribution,
                Picture(address, side, side) if several else None,
                self._page(each.feature, below),
            )

    def _neighbours(self) -> Iterator[Neighbour]:
        last = self.layer.shape.channels - 1
        others = {
            "previous": self.feature - 1 if self.feature else None,
            "next": self.feature + 1 if self.feature < last else None,
            "stronger": self.found.stronger,
            "weaker": self.found.weaker,
        }
        for key, feature in others.items():
            if feature is not None:
                yield Neighbour(key, feature, self._page(feature))


@router.get("/images/{id}/{network}/{layer}/{feature}")
async def show_feature(
    request: Request,
    id: str,
    network: str,
    layer: str,
    feature: str,
    engine: EngineHere,
    uploads: UploadsHere,
) -> Response:
    """Show what one feature map does in a photo."""
    photo = await uploads.find(id)
    try:
        link = plain_link(read_link(id, network, layer, request.query_params))
        number = parse_number("feature", feature)
        page = await admit(request, engine, lambda: visit(engine, photo, link, number))
    except REFUSALS as error:
        return await refuse(request, engine, photo, error, network)
    below = page.link.into(page.below or "")
    engine.places.promise(*page.link.views, *below.views)
    return show(request, "feature/feature.html", page)


def plain_link(link: Link) -> Link:
    """Keep of a link what a map's page knows of; one map alone has no difference to show."""
    alone = {"at": None, "feature": None, "features": None, "unit": None, "top": None}
    seen = link.to(seed="unit", rank="activation", target=None, **alone)
    return seen.to(show=None) if link.show == "difference" else seen


async def visit(engine: Engine, photo: Photo, link: Link, feature: int) -> Feature:
    """Inspect a map in a photo; raises UnknownLayer, InvalidChoice or a WeightsError."""
    network, weights = await load_network(engine, link)
    link = link.to(weights=weights)
    models.complete(network, link.choice(layer=link.layer))  # raises what it cannot satisfy
    (layer,) = (each for each in network.describe() if each.name == link.layer)
    found = await engine.inspect(photo, network, layer.name, feature, link.fit)
    index = None
    with contextlib.suppress(models.ExamplesError, models.InvalidChoice):
        index = await engine.examples(network)
    seen = Visit(photo, network, layer, link, feature, found, index)
    return await asyncio.to_thread(seen.collect)
