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
from app.pages.links import Link, archive_address, picture_address
from app.photos.store import Photo
from app.web.errors import Problem
from app.web.fragments import WeightsOffer, weights_offer
from app.web.sentences import sentence

TOP = 9
TOPS = (9, 16, 25, 64)
"""How many maps a page offers to list."""
PHOTO_SIDE = 342
"""Longest side in which a page shows the photo where there is no JavaScript, in CSS pixels."""
BAR = (64, 52)
"""Largest width and height of a layer's bar, in CSS pixels."""
SMALL = 80
"""Pictures of fewer pixels than that are shown with their pixels."""
USUAL: Mapping[str, Mapping[str, Any]] = {
    "difference": {"show": None},
    "contribution": {"rank": "activation", "target": None},
    "no_such_class": {"rank": "activation", "target": None},
}
"""What a page asks for instead of what cannot be had, by what the error's reason begins with."""


@dataclass(frozen=True)
class Option:
    """One choice in a row of links; `text` is a value's own word, or a name to show."""

    text: str
    link: Link
    chosen: bool


@dataclass(frozen=True)
class Options:
    """A row of options under the name of what they choose."""

    name: str
    options: tuple[Option, ...]


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

    address: str
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
    network's input, ``outline`` in those of the photo. A silent unit has no ``projection``; a map
    of a single unit has no ``overlay``. ``show`` says how the projection is drawn, ``scale`` at
    which value it is full, ``remaining`` which share of its energy a difference shows;
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
    overlay: Picture | None
    show: models.Show
    scale: float | None
    remaining: float | None
    contribution: float | None
    png: str
    link: Link
    chosen: bool


@dataclass(frozen=True)
class LayerView:
    """What a layer saw: the listed maps, the unit looked at closely, the class scores.

    ``firing`` counts all maps that fire at the place asked for, where one was. ``kept`` is the part
    of the photo that the network sees; ``outside`` tells that the place is not in it. ``archive``
    is the address of the list as a ZIP. ``show`` says how projections are drawn, ``target`` for
    which class the maps listed speak, if they are ranked so; ``refusal`` is why either is not as
    asked for. ``ranked`` tells that maps can be ranked for a class. ``replaced`` tells that the
    link's weights are not here, and that those that win stand for them.
    """

    cards: tuple[Card, ...]
    close: Card | None
    firing: int | None
    predictions: tuple[models.Prediction, ...] | None
    provenance: models.Provenance
    side: int
    kept: models.Box
    outside: bool
    shape: tuple[int, int, int]
    archive: str | None
    show: models.Show
    target: models.Target | None
    ranked: bool
    refusal: str | None
    options: tuple[Options, ...]
    replaced: bool

    @property
    def named(self) -> str:
        """Return the name by which a link asks for the weights that were used."""
        return self.provenance.sha256[:8] or self.provenance.source


@dataclass(frozen=True)
class Explorer:
    """A photo in a network; `view` is None while that has no weights, and `why` says so.

    ``weights`` are the links to all the weights that are here.
    """

    link: Link
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
        listed, firing, outside = await self._list()
        view, choice, refusal = await self._view(listed or self._choice(top=1))
        listed = listed and choice
        projections = view.projections if listed else ()
        close = await self._close(view, listed)
        return LayerView(
            tuple(self._card(each, listed, view, close) for each in projections if listed),
            close,
            firing,
            view.predictions,
            view.provenance,
            view.frame.size,
            view.frame.kept,
            outside,
            self.layer.shape,
            archive_address(self.link, listed) if listed else None,
            view.show,
            view.target,
            self.network.classifier not in (None, self.layer.name),
            refusal if listed else None,
            (self._ways(view.show, close), *offer_options(self.link, self.layer)),
            self.weights != self.link.weights,
        )

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
        pixel = self._pixel(*link.at)
        if pixel is None:
            return None, 0, True
        units = await self.engine.units_at(
            self.photo, self.network, self.layer.name, pixel, link.fit, self.layer.shape.channels
        )
        if not units:
            return None, 0, False
        place = None if link.seed == "map" else (units[0].y, units[0].x)
        features = tuple(unit.feature for unit in units[:top])
        return self._choice(features=features, unit=place), len(units), False

    def _pixel(self, y: int, x: int) -> tuple[int, int] | None:
        """Find the input pixel (y, x) at a place of the photo; None where it was cropped away."""
        width, height = self.photo.picture.size
        if not (y < height and x < width):
            raise models.InvalidChoice(
                "place_outside", y=y, x=x, rows=height - 1, columns=width - 1
            )
        frame = models.frame((width, height), self.network.preprocessing, self.link.fit)
        return frame.to_input(x + 0.5, y + 0.5)

    def _choice(self, **maps: Any) -> models.Choice:
        usual = USUAL["contribution"] if "features" in maps else {}
        return self.link.choice(layer=self.layer.name, weights=self.weights, **{**maps, **usual})

    async def _view(
        self, choice: models.Choice
    ) -> tuple[models.Visualization, models.Choice, str | None]:
        """See a choice; what cannot be had of it as usual, and say why."""
        try:
            return await self.engine.see(self.photo, self.network, choice), choice, None
        except models.InvalidChoice as error:
            usual = next(
                (way for reason, way in USUAL.items() if error.reason.startswith(reason)), None
            )
            if usual is None:
                raise
            view, seen, _ = await self._view(replace(choice, **usual))
            return view, seen, sentence(error)

    async def _close(self, view: models.Visualization, listed: models.Choice | None) -> Card | None:
        """Find the unit to look at closely among the listed, or see it alone."""
        link = self.link
        for each in view.projections:
            if listed and link.feature in (None, each.feature) and link.unit in (None, each.unit):
                return self._card(each, listed, view)
        if link.feature is None:
            return None
        asked = self._choice(features=(link.feature,), unit=link.unit)
        view, alone, _ = await self._view(asked)
        return self._card(view.projections[0], alone, view)

    def _card(
        self,
        each: models.Projection,
        choice: models.Choice,
        view: models.Visualization,
        close: Card | None = None,
    ) -> Card:
        frame = models.frame(self.photo.picture.size, self.network.preprocessing, self.link.fit)

        def address(part: str) -> str:
            return picture_address(
                self.link, choice, each.feature, part, cache_version(self.network)
            )

        return Card(
            each.feature,
            self._label(each.feature),
            each.unit,
            each.activation,
            each.receptive_field,
            frame.to_photo(each.receptive_field),
            Picture(address("projection"), *each.picture.size) if each.picture else None,
            Picture(address("patch"), *each.patch.size),
            Picture(address("map"), frame.size, frame.size) if self.layer.shape[1] > 1 else None,
            view.show,
            each.scale,
            each.remaining,
            each.contribution,
            address("card"),
            self.link.to(feature=each.feature, unit=each.unit if choice.unit else None),
            close is not None and close.feature == each.feature,
        )

    def _ways(self, shown: models.Show, close: Card | None) -> Options:
        """Offer the ways to draw; a difference is that of the maps at the unit looked at."""
        (option,) = (each for each in models.options_of() if each.name == "show")
        usual = models.complete(self.network, models.Choice(layer=self.layer.name)).show
        links = {way: self.link.to(show=None if way == usual else way) for way in option.words}
        if self.link.at is None and self.link.unit is None and self.link.seed == "unit":
            links["difference"] = links["difference"].to(unit=close and close.unit)
        options = tuple(Option(way, link, way == shown) for way, link in links.items())
        return Options("show", options)

    def _label(self, feature: int) -> str | None:
        classes = self.network.classes
        named = classes and self.layer.name == self.network.last_fc
        return classes[feature] if classes and named else None


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


def offer_options(link: Link, layer: models.LayerInfo) -> Iterator[Options]:
    """Yield the rows of links that show the same layer in other ways."""
    words = {option.name: option.words for option in models.options_of()}
    for name in ("seed", "method", "fit"):
        values = words[name]
        links = [link.to(**{name: value}) for value in values]
        chosen = getattr(link, name)
        if name != "method":
            links = [each.to(unit=None) for each in links]
        pairs = zip(values, links, strict=True)
        yield Options(name, tuple(Option(v, each, v == chosen) for v, each in pairs))
    most = layer.shape.channels
    tops = [top for top in TOPS if top < most] + [most] * (most < TOPS[-1])
    current = min(link.top or TOP, most)
    yield Options(
        "top",
        tuple(Option(str(top), link.to(top=top), top == current) for top in tops),
    )


def cache_version(network: models.Network) -> str:
    """Name what besides the address decides a picture: the weights, and the program."""
    return _cache_version(f"{network.provenance.source} {network.provenance.sha256}")


@cache
def _cache_version(weights: str) -> str:
    return sha256(f"{weights} {VERSION}".encode()).hexdigest()[:12]
