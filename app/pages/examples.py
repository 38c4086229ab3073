"""The wall: each feature map's strongest photos of a data set, as in the paper's Fig. 2."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from PIL import Image

import models
from app.engine.engine import Answer, Engine, identity
from app.engine.jobs import Jobs
from app.pages.layer_view import Picture, cache_version
from app.pages.links import Link
from app.web.addresses import WrittenAddress
from app.web.choice import parse_features, parse_number
from app.web.dependencies import EngineHere, JobsHere, UploadsHere, admit
from app.web.examples import Wall, begin_build, find_build, open_photo
from app.web.figures import MEDIA_TYPES, answer_figure
from app.web.fragments import JobProgress, job_progress
from app.web.sentences import sentence
from app.web.templates import show

ON_A_PAGE = 24
"""So many maps stand on one page of the wall."""
IN_A_FIGURE = 12
"""So many maps are in a figure where none are named: the first of the layer's strongest."""
MOST_IN_A_FIGURE = 64
SIDE = 292
FOR_EVER = "private, max-age=31536000, immutable"
REFRESH_SECONDS = 2

Part = Literal["projections", "patches"]

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)


@dataclass(frozen=True)
class ExampleLink:
    """An example: its rank from 0, its activation, and the way to its photo's explorer."""

    rank: int
    activation: float
    page: WrittenAddress


@dataclass(frozen=True)
class ExampleMap:
    """A feature map's strongest photos: their projections, their patches, and where each leads.

    ``label`` is its class, of the layer of class scores. No ``examples``: silent in all photos.
    """

    feature: int
    label: str | None
    examples: tuple[ExampleLink, ...]
    projections: Picture
    patches: Picture


@dataclass(frozen=True)
class ExamplesPage:
    """The wall of one layer, or what stands in its way.

    ``layers`` are those of the index with their addresses; ``why`` says why there is nothing to
    show, ``job`` how far the building of an index is, and ``offered`` that one may be begun.
    """

    network: str
    title: str
    layer: str
    provenance: models.Provenance
    wall: Wall
    layers: tuple[tuple[str, WrittenAddress], ...] = ()
    meta: models.IndexMeta | None = None
    count: int = 0
    maps: tuple[ExampleMap, ...] = ()
    previous: WrittenAddress | None = None
    next: WrittenAddress | None = None
    figures: tuple[tuple[str, WrittenAddress], ...] = ()
    why: str | None = None
    job: JobProgress | None = None
    offered: bool = False
    refresh: int | None = None


@router.get("/examples")
async def show_default(engine: EngineHere) -> RedirectResponse:
    """Lead to the wall of the network that is shown where nobody names one."""
    return RedirectResponse(f"/examples/{await asyncio.to_thread(engine.registry.default)}", 303)


@router.get("/examples/{network}")
async def show_last_layer(
    request: Request, network: str, engine: EngineHere, weights: str | None = None
) -> RedirectResponse:
    """Lead to the wall of a network's last convolutional layer."""
    loaded = await admit(request, engine, lambda: engine.network(network, weights))
    return RedirectResponse(str(Wall(network, loaded.last_conv, weights).address()), 303)


@router.get("/examples/{network}/{layer}")
async def show_wall(
    request: Request,
    network: str,
    layer: str,
    engine: EngineHere,
    jobs: JobsHere,
    weights: str | None = None,
    page: str = "1",
) -> Response:
    """Show the strongest photos of a layer's maps, or say what the page would show."""
    wall, number = Wall(network, layer, weights or None), max(1, parse_number("page", page or "1"))
    shown = await admit(request, engine, lambda: _page(engine, jobs, wall, number))
    return show(request, "examples/examples.html", shown)


async def _page(engine: Engine, jobs: Jobs, wall: Wall, number: int) -> ExamplesPage:
    network = await engine.network(wall.network, wall.weights)
    network.layer(wall.layer)  # raises UnknownLayer
    title = engine.registry.architectures[wall.network].title
    empty = ExamplesPage(network.name, title, wall.layer, network.provenance, wall)
    try:
        index = await engine.examples(network)
    except models.NoExamples:
        return await _absent(engine, jobs, network, empty)
    except (models.ExamplesInvalid, models.InvalidChoice) as error:
        return replace(empty, why=sentence(error), offered=_is_offered(engine))
    return await asyncio.to_thread(_walled, network, index, empty, number)


async def _absent(
    engine: Engine, jobs: Jobs, network: models.Network, empty: ExamplesPage
) -> ExamplesPage:
    job = await find_build(jobs, network)
    watched = job is not None and not job.ended
    return replace(
        empty,
        job=job_progress(job) if job else None,
        offered=_is_offered(engine) and not watched,
        refresh=REFRESH_SECONDS if watched else None,
    )


def _is_offered(engine: Engine) -> bool:
    return engine.settings.examples_folder is not None


def _walled(
    network: models.Network, index: models.Index, empty: ExamplesPage, number: int
) -> ExamplesPage:
    """Lay out one page of a layer's maps, by number."""
    wall, layers = empty.wall, index.meta.layers
    named = tuple((each, Wall(wall.network, each, wall.weights).address()) for each in layers)
    if wall.layer not in layers:
        why = sentence(models.NoExamples("layer", layer=wall.layer, known=tuple(layers)))
        return replace(empty, layers=named, meta=index.meta, why=why)
    count = layers[wall.layer]
    pages = -(-count // ON_A_PAGE)
    number = min(number, pages)
    start = (number - 1) * ON_A_PAGE
    features = range(start, min(start + ON_A_PAGE, count))
    return replace(
        empty,
        layers=named,
        meta=index.meta,
        count=count,
        maps=tuple(example_map(network, index, wall, feature) for feature in features),
        figures=tuple((form, wall.address("figure", format=form)) for form in MEDIA_TYPES),
        previous=wall.address(page=number - 1) if number > 1 else None,
        next=wall.address(page=number + 1) if number < pages else None,
    )


def example_map(
    network: models.Network, index: models.Index, wall: Wall, feature: int
) -> ExampleMap:
    """Collect what a page shows of one map; raises NoExamples and InvalidChoice."""
    found = index.examples(wall.layer, feature)[: models.NINE]
    classes = network.classes if wall.layer == network.last_fc else None
    version = _version(network, index)
    return ExampleMap(
        feature,
        classes[feature] if classes else None,
        tuple(
            ExampleLink(each.rank, each.activation, wall.address(feature, each.rank))
            for each in found
        ),
        Picture(wall.address(feature, "projections.png", v=version), SIDE, SIDE),
        Picture(wall.address(feature, "patches.png", v=version), SIDE, SIDE),
    )


def _version(network: models.Network, index: models.Index) -> str:
    return f"{cache_version(network)}-{index.meta.table[:8]}"


@router.post("/examples/{network}/build")
async def build(
    request: Request, network: str, engine: EngineHere, jobs: JobsHere, weights: str | None = None
) -> Response:
    """Begin to index the owner's folder, and go back to the wall."""

    async def work() -> str:
        loaded = await engine.network(network, weights)
        await begin_build(engine, jobs, loaded)
        return loaded.last_conv

    layer = await admit(request, engine, work)
    return RedirectResponse(str(Wall(network, layer, weights).address()), 303)


@router.get("/examples/{network}/{layer}/figure")
async def show_figure(
    request: Request,
    network: str,
    layer: str,
    engine: EngineHere,
    features: str = "",
    format: Literal["svg", "pdf", "png"] = "svg",
    weights: str | None = None,
) -> Response:
    """Draw some of a layer's maps as a figure: those named, or the strongest."""
    file = models.FigureFile(format)

    async def work() -> bytes:
        loaded = await engine.network(network, weights)
        index = await engine.examples(loaded)
        named = parse_features(features) if features else index.strongest(layer)[:IN_A_FIGURE]
        if len(named) > MOST_IN_A_FIGURE:
            most, count = MOST_IN_A_FIGURE, len(named)
            raise models.InvalidChoice("features_out_of_range", most=most, layer=layer, count=count)
        drawn = [await engine.draw_examples(loaded, index, layer, each) for each in named]
        return await engine.beside(lambda: models.to_wall(loaded, index, layer, drawn, file))

    content = await admit(request, engine, work)
    return answer_figure(content, file, f"{network}-{layer}-examples")


@router.get("/examples/{network}/{layer}/{feature}/{part}.png")
async def show_picture(
    request: Request,
    network: str,
    layer: str,
    feature: int,
    part: Part,
    engine: EngineHere,
    weights: str | None = None,
) -> Response:
    """Show a map's nine patches, or its nine projections, in three rows."""

    async def work() -> tuple[bytes, str]:
        loaded = await engine.network(network, weights)
        index = await engine.examples(loaded)

        async def make() -> Answer:
            if part == "projections":
                drawn = await engine.draw_examples(loaded, index, layer, feature)
                return Answer(await engine.beside(lambda: _png(drawn.projections)))
            return Answer(await engine.beside(lambda: _patches(loaded, index, layer, feature)))

        key = ("examples", identity(loaded), index.meta.table, layer, feature, part)
        return (await engine.answer(key, make)).content, _version(loaded, index)

    content, version = await admit(request, engine, work)
    kept = FOR_EVER if request.query_params.get("v") == version else "no-cache"
    return Response(content, media_type="image/png", headers={"Cache-Control": kept})


def _patches(network: models.Network, index: models.Index, layer: str, feature: int) -> bytes:
    found = index.examples(layer, feature)[: models.NINE]
    return _png(models.cut_patches(network, index, found))


def _png(pictures: Sequence[Image.Image | None]) -> bytes:
    return models.encode_png(models.lay_out(pictures))


@router.get("/examples/{network}/{layer}/{feature}/{rank}")
async def open_example(
    request: Request,
    network: str,
    layer: str,
    feature: int,
    rank: int,
    engine: EngineHere,
    uploads: UploadsHere,
    weights: str | None = None,
) -> RedirectResponse:
    """Lead to an example's photo in the explorer, with the unit that fired looked at closely."""

    async def work() -> Link:
        loaded = await engine.network(network, weights)
        index = await engine.examples(loaded)
        found = index.examples(layer, feature)
        if not 0 <= rank < len(found):
            raise models.NoExamples(
                "rank", feature=feature, layer=layer, rank=rank, count=len(found)
            )
        example = found[rank]
        photo, fit = await open_photo(engine, uploads, index, example)
        unit = example.y, example.x
        return Link(
            image=photo.id,
            network=network,
            layer=layer,
            fit=fit,
            weights=weights,
            feature=feature,
            unit=unit,
        )

    return RedirectResponse(f"{await admit(request, engine, work)}#close", 303)
