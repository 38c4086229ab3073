"""What the explorer's page shows: its context, made from a link and what the engine saw."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from hashlib import sha256
from typing import Any, get_args

import models
from app import VERSION
from app.engine.engine import Engine
from app.engine.registry import NetworkRegistry
from app.pages.glance import Glance, glance
from app.pages.links import (
    ORDERS,
    Link,
    archive_address,
    legend_address,
    picture_address,
    sheet_address,
)
from app.pages.options import TOP, Option, Options, offer_tops, offer_words
from app.photos.samples import Sample
from app.photos.store import Photo
from app.web.addresses import WrittenAddress
from app.web.errors import Problem
from app.web.fragments import WeightsOffer, weights_offer
from app.web.sentences import sentence

PHOTO_SIDE = 342
"""Longest side in which a page shows the photo where there is no JavaScript, in CSS pixels."""
BAR = (64, 52)
"""Largest width and height of a layer's bar, in CSS pixels."""
MUCH_PADDING = 1 / 3
"""From which share of zeros in its field on a unit at the border is flagged."""
CARD_TILE = 104
"""Side of an activation map on a card, in CSS pixels."""
SMALL = 80
"""Pictures of fewer pixels than that are shown with their pixels."""
USUAL: Mapping[str, Mapping[str, Any]] = {
    "difference": {"show": None},
    "contribution": {"rank": "activation", "target": None},
    "no_such_class": {"rank": "activation", "target": None},
}
"""What a page asks for instead of what cannot be had, by what the error's reason begins with."""


@dataclass(frozen=True)
class LayerTab:
    """A layer in the strip of the network: `shape` is (channels, height, width).

    ``bar`` is as wide as it has channels and as high as its maps, (width, height), by square roots.
    """

    name: str
    kind: str
    shape: tuple[int, int, int]
    bar: tuple[float, float]
    link: Link
    chosen: bool


@dataclass(frozen=True)
class Picture:
    """A picture on the page: where it is, and its size in pixels."""

    address: WrittenAddress
    width: int
    height: int

    @property
    def small(self) -> bool:
        """Tell whether it is so small that its pixels are shown as squares."""
        return max(self.width, self.height) < SMALL


@dataclass(frozen=True)
class Card:
    """A projection: its numbers and pictures, and its receptive field.

    ``label`` is the class that a last layer's unit stands for. ``field`` is in pixels of the
    network's input, ``outline`` in those of the photo. A silent unit has no ``projection`` and no
    ``legend``, the address of its scale; a map of a single unit has no ``overlay``, whole or as
    small as a card shows it. ``padded`` is, for a unit at its map's border that could see much
    beyond the photo, where there are zeros, which share of its field that is; 0 for all others.
    ``contribution`` is what the map adds to the score of the class that maps are ranked for.
    """

    feature: int
    label: str | None
    unit: tuple[int, int] | None
    activation: float
    field: models.Box
    outline: models.Box
    projection: Picture | None
    patch: Picture
    patch_on_card: Picture
    overlay: Picture | None
    overlay_on_card: Picture | None
    legend: WrittenAddress | None
    padded: float
    contribution: float | None
    png: WrittenAddress
    link: Link
    chosen: bool


@dataclass(frozen=True)
class LayerView:
    """What a layer saw: the listed maps, the unit looked at closely, the class scores.

    ``firing`` counts all maps that fire at the place asked for, where one was. ``kept`` is the part
    of the photo that the network sees; ``outside`` tells that the place is not in it. ``archive``
    is the address of the list as a ZIP. ``show`` says how projections are drawn, ``target`` for
    which class the maps listed speak, if they are ranked so; ``refusal`` is why either is not as
    asked for. ``ranked`` tells that maps can be ranked for a class. ``shown`` and ``projected``
    choose what pictures show, ``more`` are all other options. ``scores`` is the layer of class
    scores. ``replaced`` tells that the link's weights are not here, and that those that win stand
    for them.
    """

    cards: tuple[Card, ...]
    close: Card | None
    firing: int | None
    predictions: tuple[models.Prediction, ...] | None
    provenance: models.Provenance
    side: int
    kept: models.Box
    outside: bool
    layer: models.LayerInfo
    archive: WrittenAddress | None
    show: models.Show
    target: models.Target | None
    ranked: bool
    refusal: str | None
    shown: Options
    projected: Options
    more: tuple[Options, ...]
    scores: Link | None
    glance: Glance
    replaced: bool

    @property
    def shape(self) -> tuple[int, int, int]:
        """Return the layer's shape, (maps, rows, columns)."""
        return self.layer.shape

    def named_weights(self, link: Link) -> bool:
        """Tell whether a link asks for weights by name, and they are here."""
        return link.weights is not None and not self.replaced

    @property
    def named(self) -> str:
        """Return the name by which a link asks for the weights that were used."""
        return self.provenance.sha256[:8] or self.provenance.source


@dataclass(frozen=True)
class Explorer:
    """A photo in a network; `view` is None while that has no weights, and `why` says so.

    ``weights`` are the links to all the weights that are here. ``sample`` is what the photo is, if
    it comes with the project: then nobody can make the server forget it.
    """

    link: Link
    sample: Sample | None
    width: int
    height: int
    title: str
    paper: str
    networks: tuple[Option, ...]
    absent: tuple[Option, ...]
    tabs: tuple[LayerTab, ...]
    offer: WeightsOffer
    weights: Options
    view: LayerView | None
    why: str | None

    @property
    def shown(self) -> tuple[int, int]:
        """Return the width and height that the photo is shown in without JavaScript."""
        return shown_size(self.width, self.height)


@dataclass(frozen=True)
class Detour:
    """A photo whose address asks for what cannot be: why, and where the photo can be seen.

    ``title`` names the network that was asked for and ``layers`` leads into it, where it is known.
    """

    problem: Problem
    image: str
    shown: tuple[int, int]
    networks: tuple[Option, ...]
    title: str | None
    layers: tuple[Option, ...]


def shown_size(width: int, height: int) -> tuple[int, int]:
    """Return the width and height that a photo is shown in without JavaScript."""
    scale = PHOTO_SIDE / max(width, height)
    return max(1, round(width * scale)), max(1, round(height * scale))


@dataclass(frozen=True)
class Listed:
    """What a choice picks out; ``refusal`` says why not all of what was asked for."""

    choice: models.Choice
    selected: models.Selected
    refusal: str | None = None


@dataclass(frozen=True)
class Visit:
    """One visit of a page: what is asked, of which photo, network and layer.

    ``weights`` are the link's, or None where those are not here.
    """

    engine: Engine
    photo: Photo
    network: models.Network
    weights: str | None
    layer: models.LayerInfo
    link: Link

    async def see(self) -> LayerView:
        """See what the link asks for; raises InvalidChoice."""
        link, network = self.link, self.network
        choice, firing, outside = await self._list()
        listed = await self._select(choice or self._choice(top=1))
        close = await self._close(listed if choice else None)
        chosen = close.feature if close else None
        show = listed.selected.show
        return LayerView(
            tuple(self._cards(listed, chosen)) if choice else (),
            close,
            firing,
            listed.selected.classes,
            network.provenance,
            self.frame.size,
            self.frame.kept,
            outside,
            self.layer,
            archive_address(link, listed.choice) if choice else None,
            show,
            listed.selected.ranking.target if listed.selected.ranking else None,
            self.speaks,
            listed.refusal if choice else None,
            self._ways(show, close),
            offer_words(link, "seed"),
            (offer_words(link, "method"), offer_words(link, "fit"), offer_tops(link, self.layer)),
            link.into(network.classifier) if network.classifier else None,
            await self._glance(chosen),
            self.weights != link.weights,
        )

    @property
    def frame(self) -> models.Frame:
        """Return where the photo lies in the square that the network sees."""
        size = self.photo.picture.size
        return models.frame(size, self.network.preprocessing, self.link.fit)

    @property
    def version(self) -> str:
        """Name what besides the address decides a picture."""
        return cache_version(self.network)

    @property
    def speaks(self) -> bool:
        """Tell whether the layer's maps can be ranked by what they add to a class."""
        return self.network.classifier not in (None, self.layer.name)

    async def _glance(self, close: int | None) -> Glance:
        orders = [each for each in ORDERS if each != "contribution" or self.speaks]
        ranks = self.link.order == "contribution" and self.speaks
        choice = self._choice(rank="contribution" if ranks else "activation")
        if not ranks or self.link.rank != "contribution":
            choice = replace(choice, target=None)
        ranked = await self.engine.rank_maps(self.photo, self.network, choice)
        sheet = sheet_address(self.link.to(weights=self.weights), self.version)
        return glance(self.link, self.layer.shape, ranked, close, orders, sheet)

    async def _list(self) -> tuple[models.Choice | None, int | None, bool]:
        """Choose the maps to list; count those that fire at the place asked for.

        The last tells whether that place was cropped away. Raises InvalidChoice for one outside
        the photo.
        """
        link, most = self.link, self.engine.settings.max_projections
        top = min(max(link.top or TOP, 1), self.layer.shape.channels, most)
        of_all = link.feature is None or link.show == "difference"
        unit = link.unit if of_all else None
        if link.at is None and link.features is not None:
            return self._choice(features=link.features, unit=unit), None, False
        if link.at is None:
            return self._choice(top=top, unit=unit), None, False
        units = await self.engine.units_at(
            self.photo, self.network, self.layer.name, link.at, link.fit, self.layer.shape.channels
        )
        if not units:
            return None, 0, units is None
        place = None if link.seed == "map" else (units[0].y, units[0].x)
        features = tuple(unit.feature for unit in units[:top])
        return self._choice(features=features, unit=place), len(units), False

    def _choice(self, **maps: Any) -> models.Choice:
        usual = USUAL["contribution"] if "features" in maps else {}
        return self.link.choice(layer=self.layer.name, weights=self.weights, **{**maps, **usual})

    async def _select(self, choice: models.Choice) -> Listed:
        """Choose units; what cannot be had of a choice is as usual, and it is said why."""
        try:
            return Listed(choice, await self.engine.select(self.photo, self.network, choice))
        except models.InvalidChoice as error:
            usual = next(
                (way for reason, way in USUAL.items() if error.reason.startswith(reason)), None
            )
            if usual is None:
                raise
            listed = await self._select(replace(choice, **usual))
            return replace(listed, refusal=sentence(error))

    async def _close(self, listed: Listed | None) -> Card | None:
        """Find the unit to look at closely among the listed, or see it alone."""
        link = self.link
        for card in self._cards(listed, None) if listed else ():
            if link.feature in (None, card.feature) and link.unit in (None, card.unit):
                return card
        if link.feature is None:
            return None
        asked = self._choice(features=(link.feature,), unit=link.unit)
        return next(self._cards(await self._select(asked), None))

    def _cards(self, listed: Listed, chosen: int | None) -> Iterator[Card]:
        """Describe what is listed; ``chosen`` is the map looked at closely."""
        for unit, box in zip(listed.selected.units, listed.selected.boxes, strict=True):
            yield self._card(listed, unit, box, chosen)

    def _card(self, listed: Listed, unit: models.Unit, box: models.Box, chosen: int | None) -> Card:
        place = None if self.link.seed == "map" else (unit.y, unit.x)
        choice = listed.choice
        if listed.selected.show != "difference":  # of itself, whatever else is listed
            alone = USUAL["contribution"]  # which is what it ranks, not what it is
            choice = replace(choice, top=None, features=(unit.feature,), **alone)

        def picture(part: str, width: int, height: int, **size: str) -> Picture:
            address = picture_address(self.link, choice, unit.feature, part, self.version, **size)
            return Picture(address, width, height)

        size = int(box.right - box.left), int(box.bottom - box.top)
        fires, side, mapped = unit.activation != 0, self.frame.size, self.layer.shape[1] > 1
        small, share = -(-side // card_share(side)), card_share(min(size))
        ranking = listed.selected.ranking
        return Card(
            unit.feature,
            models.class_of(self.network, self.layer.name, unit.feature),
            place,
            unit.activation,
            box,
            self.frame.to_photo(box),
            picture("projection", *size) if fires else None,
            picture("patch", *size),
            picture("patch", *(-(-length // share) for length in size), size="card"),
            picture("map", side, side, size="close") if mapped else None,
            picture("map", small, small, size="card") if mapped else None,
            legend_address(self.link, choice, unit.feature) if fires else None,
            self._padded(place, size) if place else 0.0,
            ranking.values[unit.feature] if ranking else None,
            picture_address(self.link, choice, unit.feature, "card", self.version),
            self.link.to(feature=unit.feature, unit=place if listed.choice.unit else None),
            unit.feature == chosen,
        )

    def _padded(self, place: tuple[int, int], size: tuple[int, int]) -> float:
        """Say which share of a border unit's field lies in zeros; 0 where that is little."""
        _, height, width = self.layer.shape
        inside = 0 < place[0] < height - 1 and 0 < place[1] < width - 1
        share = 1 - size[0] * size[1] / self.layer.receptive_field**2
        return 0.0 if inside or share < MUCH_PADDING else share

    def _ways(self, shown: models.Show, close: Card | None) -> Options:
        """Offer the ways to draw; a difference is that of the maps at the unit looked at."""
        (option,) = (each for each in models.options_of() if each.name == "show")
        usual = models.complete(self.network, models.Choice(layer=self.layer.name)).show
        links = {way: self.link.to(show=None if way == usual else way) for way in option.words}
        if self.link.at is None and self.link.unit is None and self.link.seed == "unit":
            links["difference"] = links["difference"].to(unit=close and close.unit)
        options = tuple(Option(way, link, way == shown) for way, link in links.items())
        return Options("show", options)


async def explore(
    engine: Engine, photo: Photo, link: Link
) -> tuple[LayerView, list[models.LayerInfo]]:
    """See what a link asks for; raises UnknownLayer, InvalidChoice or a WeightsError."""
    network, weights = await load_network(engine, link)
    layers = network.describe()
    network.layer(link.layer)  # raises UnknownLayer
    layer = next(each for each in layers if each.name == link.layer)
    return await Visit(engine, photo, network, weights, layer, link).see(), layers


async def load_network(engine: Engine, link: Link) -> tuple[models.Network, str | None]:
    """Load a link's network, and say by which name its weights are asked for.

    Links are sent from one machine to another: where a hash is of weights that are not here, those
    that win stand for them.
    """
    try:
        return await engine.network(link.network, link.weights), link.weights
    except models.UnknownWeights:
        if link.weights in get_args(models.Source):
            raise
    return await engine.network(link.network), None


def page_context(
    registry: NetworkRegistry,
    photo: Photo,
    sample: Sample | None,
    link: Link,
    layers: Sequence[models.LayerInfo],
    view: LayerView | None,
    why: str | None = None,
) -> Explorer:
    """Collect what the page shows around what was seen."""
    architecture = registry.architectures[link.network]
    known = {name: registry.weights(name) for name in registry.architectures}
    entries = {name: _network(registry, name, link) for name in known}
    return Explorer(
        link,
        sample,
        photo.picture.width,
        photo.picture.height,
        architecture.title,
        architecture.paper,
        tuple(entries[name] for name, info in known.items() if info.state == "ready"),
        tuple(entries[name] for name, info in known.items() if info.state != "ready"),
        tuple(_tabs(link, layers)),
        weights_offer(known[link.network]),
        _weights(link, registry.weights_here(link.network), view),
        view,
        why,
    )


def ways_on(
    registry: NetworkRegistry,
    photo: Photo,
    problem: Problem,
    network: str | None,
    layers: Sequence[models.LayerInfo],
) -> Detour:
    """Collect where a photo can be seen when its address leads nowhere; ``network`` if known."""
    link = Link(image=photo.id, network=network or "")
    ready = [name for name in registry.architectures if registry.weights(name).state == "ready"]
    return Detour(
        problem,
        photo.id,
        shown_size(*photo.picture.size),
        tuple(_network(registry, name, link) for name in ready),
        registry.architectures[network].title if network else None,
        tuple(Option(layer.name, link.into(layer.name), chosen=False) for layer in layers),
    )


def _network(registry: NetworkRegistry, name: str, link: Link) -> Option:
    layer = link.layer if link.layer in _layer_names(name) else ""
    return Option(
        registry.architectures[name].title,
        link.into(layer).to(network=name, weights=None),
        name == link.network,
    )


def _weights(link: Link, here: Sequence[models.Provenance], view: LayerView | None) -> Options:
    """Collect the links to the same view by other weights; a second file goes by its hash."""
    options: dict[str, Option] = {}
    for each in here:
        second = each.source in options
        name = each.sha256[:8] if second else each.source
        chosen = view is not None and view.provenance == each
        options[name] = Option(name, link.to(weights=name), chosen)
    return Options("weights", tuple(options.values()))


@cache
def _layer_names(network: str) -> frozenset[str]:
    return frozenset(layer.name for layer in models.describe_layers(network))


def _tabs(link: Link, layers: Sequence[models.LayerInfo]) -> Iterator[LayerTab]:
    widest = max(layer.shape.channels for layer in layers)
    highest = max(layer.shape.height for layer in layers)
    for name, kind, shape, *_ in layers:
        width = max(2, BAR[0] * (shape.channels / widest) ** 0.5)
        height = max(2, BAR[1] * (shape.height / highest) ** 0.5)
        bar = round(width, 1), round(height, 1)
        yield LayerTab(name, kind, shape, bar, link.into(name), name == link.layer)


def card_share(side: int) -> int:
    """Say how many pixels of a picture's side are one where a card shows it; 1 for small ones."""
    return max(1, side // CARD_TILE)


def cache_version(network: models.Network) -> str:
    """Name what besides the address decides a picture: the weights, and the program."""
    return _cache_version(f"{network.provenance.source} {network.provenance.sha256}")


@cache
def _cache_version(weights: str) -> str:
    return sha256(f"{weights} {VERSION}".encode()).hexdigest()[:12]
