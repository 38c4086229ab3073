"""First layers as filters and frequencies, and what their strides alias."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse
from PIL import Image

import models
from app.engine.engine import Answer, Engine, identity
from app.pages.layer_view import Picture, cache_version
from app.web.addresses import WrittenAddress
from app.web.dependencies import EngineHere, admit
from app.web.sentences import say_weights, sentence
from app.web.templates import show

USUAL = ("alexnet2012", "alexnet", "zfnet", "vgg16")
"""The networks that are compared where nobody names others: those of the article."""
MOST = 8
"""Most networks on one page."""
FOR_EVER = "private, max-age=31536000, immutable"
MEDIA_TYPES = {
    "json": "application/json",
    "npz": "application/x-npz",
    "csv": "text/csv",
    "svg": "image/svg+xml",
    "png": "image/png",
}

Part = Literal["filters", "spectra"]

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)


@dataclass(frozen=True)
class FilterBank:
    """A network's first layer: its pictures, and what was measured of them."""

    network: str
    title: str
    provenance: models.Provenance
    found: models.FirstLayer
    filters: Picture
    spectra: Picture
    files: tuple[tuple[str, WrittenAddress], ...]

    @property
    def count(self) -> int:
        """Count the filters."""
        return len(self.found.rms)

    @property
    def side(self) -> int:
        """Return the side of a filter, in pixels."""
        return int(self.found.filters.shape[-1])

    @property
    def dead(self) -> int:
        """Count the filters that hardly respond."""
        return int(self.found.dead.sum())

    @property
    def second(self) -> float | None:
        """Return the mean aliased share of what the second layer reads."""
        return float(self.found.second.aliased.mean()) if self.found.second else None

    @property
    def is_starter(self) -> bool:
        """Tell whether the weights are the project's own, which copied another network."""
        return self.provenance.source == "starter"


@dataclass(frozen=True)
class Absent:
    """A network that is not shown, and why."""

    title: str
    why: str


@dataclass(frozen=True)
class FiltersPage:
    """The first layers side by side; `absent` are those that could not be."""

    banks: tuple[FilterBank, ...]
    absent: tuple[Absent, ...]

    @property
    def strided(self) -> tuple[FilterBank, ...]:
        """Return the first layers that skip pixels."""
        return tuple(bank for bank in self.banks if bank.found.stride > 1)

    @property
    def trained_elsewhere(self) -> tuple[FilterBank, ...]:
        """Return those whose weights are neither the project's own nor random."""
        return tuple(b for b in self.banks if not b.is_starter and b.provenance.trained)


@router.get("/filters")
async def show_filters(request: Request, engine: EngineHere, networks: str = "") -> Response:
    """Show the first layers of several networks side by side."""
    names = _names(engine, networks)
    shown = await admit(request, engine, lambda: _all(engine, names))
    banks = tuple(each for each in shown if isinstance(each, FilterBank))
    absent = tuple(each for each in shown if isinstance(each, Absent))
    return show(request, "filters/filters.html", FiltersPage(banks, absent))


def _names(engine: Engine, asked: str) -> list[str]:
    """Read which networks are asked for; raises UnknownNetwork or InvalidChoice."""
    if not asked:
        return [name for name in USUAL if name in engine.registry.architectures]
    names = list(dict.fromkeys(name.strip() for name in asked.split(",")))
    if len(names) > MOST:
        raise models.InvalidChoice("too_many_networks", most=MOST, count=len(names))
    for name in names:
        engine.registry.weights(name)  # raises UnknownNetwork
    return names


async def _all(engine: Engine, names: Sequence[str]) -> list[FilterBank | Absent]:
    return [await _bank_or_why(engine, name) for name in names]


async def _bank_or_why(engine: Engine, name: str) -> FilterBank | Absent:
    """Measure a network, or say why it cannot be; nothing is fetched for it."""
    info = await asyncio.to_thread(engine.registry.weights, name)
    title = engine.registry.architectures[name].title
    if info.state != "ready":
        return Absent(title, say_weights(info))
    try:
        return await _bank(engine, name)
    except models.WeightsError as error:
        return Absent(title, sentence(error))


async def _bank(engine: Engine, name: str) -> FilterBank:
    network = await engine.network(name)
    found = await engine.first_layer(network)
    version = cache_version(network)
    sizes = {part: _draw(found, part).size for part in get_args(Part)}

    def picture(part: Part) -> Picture:
        return Picture(WrittenAddress(f"/filters/{name}/{part}.png?v={version}"), *sizes[part])

    return FilterBank(
        name,
        engine.registry.architectures[name].title,
        network.provenance,
        found,
        picture("filters"),
        picture("spectra"),
        tuple((form, WrittenAddress(f"/filters/{name}.{form}")) for form in MEDIA_TYPES),
    )


def _draw(found: models.FirstLayer, part: Part) -> Image.Image:
    return found.picture() if part == "filters" else found.picture_of_spectra()


@router.get("/filters/{network}/{part}.png")
async def show_grid(request: Request, network: str, part: Part, engine: EngineHere) -> Response:
    """Show a first layer's filters or spectra as a grid."""

    async def work() -> tuple[models.Network, Answer]:
        loaded = await engine.network(network)

        async def make() -> Answer:
            found = await engine.first_layer(loaded)
            return Answer(await engine.beside(lambda: models.encode_png(_draw(found, part))))

        return loaded, await engine.answer(("grid", identity(loaded), part), make)

    loaded, answer = await admit(request, engine, work)
    is_named = request.query_params.get("v") == cache_version(loaded)
    headers = {"Cache-Control": FOR_EVER if is_named else "no-cache"}
    return Response(answer.content, media_type="image/png", headers=headers)


@router.get("/filters/{network}.{form}")
async def give_numbers(
    request: Request, network: str, form: models.ResultFormat, engine: EngineHere
) -> Response:
    """Give what was measured of a first layer as a file."""

    async def work() -> bytes:
        found = await engine.first_layer(await engine.network(network))
        return await engine.beside(lambda: models.encode_result(found, form))

    content = await admit(request, engine, work)
    saved = f'attachment; filename="{network}-filters.{form}"'
    headers = {"Cache-Control": "no-cache", "Content-Disposition": saved}
    return Response(content, media_type=MEDIA_TYPES[form], headers=headers)
