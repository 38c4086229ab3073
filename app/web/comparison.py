"""Views beside each other: read from addresses of the explorer, and chosen."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from urllib.parse import parse_qsl, unquote, urlsplit

import models
from app.engine.engine import Engine
from app.photos.store import Photo
from app.photos.uploads import Uploads
from app.web.addresses import without_prefix
from app.web.choice import parse_number, parse_unit, read_query

SIDES = ("left", "right", "third")
"""What the columns are called in an address; the third may be absent."""
VIEW = re.compile(r"/images/([^/]{1,64})/([^/]{1,80})/([^/]{1,80})")
LONGEST = 2000
TOP = 9


@dataclass(frozen=True)
class Column:
    """One column's view, as the address of an explorer's page names it.

    ``at`` is a place (y, x) in pixels of the photo whose units are listed, ``feature`` the one map
    that is looked at closely.
    """

    image: str
    choice: models.Choice
    at: tuple[int, int] | None
    feature: int | None
    query: Mapping[str, str]


@dataclass(frozen=True)
class Seen:
    """A column with its chosen maps; `listed` and `selected` are None where none can be listed.

    ``firing`` counts all maps that fire at the place asked for, where one was; ``outside`` tells
    that it was cropped away.
    """

    column: Column
    photo: Photo
    network: models.Network
    layer: str
    listed: models.Choice | None
    selected: models.Selected | None
    firing: int | None = None
    outside: bool = False

    @property
    def title(self) -> str:
        """Name the network as its paper does."""
        known = models.architectures().get(self.network.name)
        return known.title if known else self.network.name


def read_columns(query: Mapping[str, str], host: str) -> tuple[Column, ...]:
    """Read two or three columns from an address; raises InvalidChoice."""
    named = {side: query.get(side, "").strip() for side in SIDES}
    for side in SIDES[:2]:
        if not named[side]:
            raise models.InvalidChoice("no_column", side=side)
    return tuple(read_column(side, text, host) for side, text in named.items() if text)


def read_column(side: str, text: str, host: str) -> Column:
    """Read one column from a view's path and query, or its whole address on this host."""
    path, query = _split(side, text, host)
    match = VIEW.fullmatch(path)
    if match is None:
        raise models.InvalidChoice("no_view", side=side, text=text[:80])
    image, network, layer = (unquote(part) for part in match.groups())
    at, feature = query.get("at"), query.get("feature", "").strip()
    return Column(
        image,
        read_query(models.Choice, query, network=network, layer=layer),
        parse_unit(at) if at else None,
        parse_number("feature", feature) if feature else None,
        query,
    )


def _split(side: str, text: str, host: str) -> tuple[str, dict[str, str]]:
    """Split an address into path and query; raises InvalidChoice where it is not ours."""
    try:
        parts = urlsplit(text[:LONGEST])
        query = dict(parse_qsl(parts.query, max_num_fields=32))
    except ValueError:
        raise models.InvalidChoice("no_view", side=side, text=text[:80]) from None
    if parts.scheme or parts.netloc:
        if parts.scheme not in ("http", "https") or parts.netloc.lower() != host.lower():
            raise models.InvalidChoice("view_elsewhere", side=side, text=text[:80])
        return without_prefix(parts.path) or "", query
    return parts.path, query


async def see_columns(
    engine: Engine, uploads: Uploads, columns: Sequence[Column]
) -> tuple[Seen, ...]:
    """Choose what the columns ask for, one after another; nothing is projected yet."""
    return tuple([await see_column(engine, uploads, column) for column in columns])


async def see_column(engine: Engine, uploads: Uploads, column: Column) -> Seen:
    """Choose what a column asks for: close up, at a place, or its layer's strongest maps."""
    photo = await uploads.find(column.image)
    network = await engine.network(column.choice.network, column.choice.weights)
    layer = column.choice.layer or network.last_conv
    network.layer(layer)  # raises UnknownLayer
    listed, firing, outside = await _list(engine, photo, network, layer, column)
    selected = await engine.select(photo, network, listed) if listed else None
    return Seen(column, photo, network, layer, listed, selected, firing, outside)


async def _list(
    engine: Engine, photo: Photo, network: models.Network, layer: str, column: Column
) -> tuple[models.Choice | None, int | None, bool]:
    """Choose a column's maps; count those that fire at the place asked for.

    The last tells whether that place was cropped away.
    """
    (maps,) = (each.shape[0] for each in network.describe() if each.name == layer)
    top = min(max(column.choice.top or TOP, 1), maps, engine.settings.max_projections)
    choice = replace(column.choice, top=top)
    if column.feature is None and column.at is None and choice.features is None:
        return choice, None, False
    choice = replace(choice, top=None, rank="activation", target=None)
    if column.feature is not None:
        return replace(choice, features=(column.feature,)), None, False
    if column.at is None:
        return choice, None, False
    units = await engine.units_at(photo, network, layer, column.at, choice.fit, maps)
    if not units:
        return None, 0, units is None
    place = None if choice.seed == "map" else (units[0].y, units[0].x)
    features = tuple(unit.feature for unit in units[:top])
    return replace(choice, features=features, unit=place), len(units), False


def way_of(seen: Seen, option: str) -> object:
    """Return what a column has of an option; how it is drawn is known once maps are chosen."""
    if option == "show" and seen.selected:
        return seen.selected.show
    return getattr(seen.listed or seen.column.choice, option)


Fact = tuple[str, str]
"""An option's name and its value, or `image` and which of the columns' photos it is, from 1."""


def differences(columns: Sequence[Seen], *, weights: bool = True) -> list[tuple[Fact, ...]]:
    """Find of each column what tells it from the others, beside its network and layer.

    Without ``weights``, those are not spoken of.
    """
    photos = list(dict.fromkeys(each.column.image for each in columns))
    rows = [
        dict(_facts(each, weights=weights)) | {"image": str(1 + photos.index(each.column.image))}
        for each in columns
    ]
    told = [name for name in rows[0] if len({row[name] for row in rows}) > 1]
    return [tuple((name, row[name]) for name in told if row[name]) for row in rows]


def _facts(seen: Seen, *, weights: bool) -> Iterator[tuple[str, str]]:
    for option in models.options_of():
        if option.words:
            yield option.name, str(way_of(seen, option.name) or "")
    if weights:
        provenance = seen.network.provenance
        yield "weights", f"{provenance.source} weights {provenance.sha256[:8]}".strip()
