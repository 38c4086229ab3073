"""All networks side by side: what they are made of, what they cost, how well they do."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse

import models
from app.engine.registry import NetworkRegistry
from app.pages.article import BYTES, ArticleNumbers, article_numbers, layers_of
from app.web.dependencies import EngineHere
from app.web.negotiation import PageRoute
from app.web.templates import show

TALLEST = 60
"""Height of a bar for the largest map, in CSS pixels."""

router = APIRouter(
    include_in_schema=False, default_response_class=HTMLResponse, route_class=PageRoute
)


@dataclass(frozen=True)
class Row:
    """A layer: ``bar`` is as wide as it has channels and as high as its maps, by square roots."""

    layer: models.LayerInfo
    bar: tuple[float, float]


@dataclass(frozen=True)
class Column:
    """A network as its paper prints it; bytes are those of float32.

    ``state`` and ``source`` say which weights of it are here, which may be of other widths.
    """

    name: str
    title: str
    paper: str
    side: int
    rows: tuple[Row, ...]
    parameters: int
    multiply_adds: int
    weights_nbytes: int
    maps_nbytes: int
    filters: int
    errors: tuple[models.ErrorRate, ...]
    state: models.State
    source: str | None


@dataclass(frozen=True)
class Networks:
    """The page: every network on offer, in the order of history."""

    columns: tuple[Column, ...]
    article: ArticleNumbers


@router.get("/networks")
async def show_networks(request: Request, engine: EngineHere) -> Response:
    """Show all networks side by side."""
    page = await asyncio.to_thread(_page, engine.registry)
    return show(request, "networks/networks.html", page, vary="Accept")


def _page(registry: NetworkRegistry) -> Networks:
    columns = tuple(_column(registry, name) for name in registry.architectures)
    return Networks(columns, article_numbers())


def _column(registry: NetworkRegistry, name: str) -> Column:
    architecture, layers = registry.architectures[name], layers_of(name)
    info = registry.weights(name)
    parameters = sum(layer.parameters for layer in layers)
    return Column(
        name,
        architecture.title,
        architecture.paper,
        architecture.preprocessing.size,
        tuple(_rows(layers)),
        parameters,
        sum(layer.multiply_adds for layer in layers),
        BYTES * parameters,
        BYTES * sum(_cells(layer) for layer in layers),
        sum(layer.kind in {"conv", "fc"} for layer in layers),
        models.error_rates(name),
        info.state,
        info.source,
    )


def _cells(layer: models.LayerInfo) -> int:
    channels, height, width = layer.shape
    return channels * height * width


def _rows(layers: tuple[models.LayerInfo, ...]) -> Iterator[Row]:
    for layer in layers:
        channels, height, _ = layer.shape
        width, tall = (channels / 4096) ** 0.5, (height / 224) ** 0.5
        yield Row(layer, (round(max(2, TALLEST * width), 1), round(max(2, TALLEST * tall), 1)))
