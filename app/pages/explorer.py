"""The explorer's page: a photo in a network, walked layer by layer."""

import asyncio
from functools import partial

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

import models
from app.engine.engine import Engine
from app.pages.layer_view import (
    Explorer,
    LayerView,
    explore,
    load_network,
    page_context,
    ways_on,
)
from app.pages.links import FIELDS, Click, Link, read_click, read_link
from app.photos.store import Photo
from app.photos.uploads import Uploads
from app.web.dependencies import EngineHere, UploadsHere, admit
from app.web.errors import Problem, problem_of
from app.web.templates import is_partial, show

REFUSALS = (models.UnknownNetwork, models.UnknownLayer, models.InvalidChoice)
"""What an address may get wrong about a photo that is there."""

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)


@router.get("/images/{id}")
@router.get("/images/{id}/{network}")
async def enter(
    request: Request,
    id: str,
    engine: EngineHere,
    uploads: UploadsHere,
    network: str | None = None,
    near: str = "",
) -> Response:
    """Go to a network's last convolutional layer, or to the one ``near`` where it has that."""
    photo = await uploads.find(id)
    try:
        return RedirectResponse(str(await find_entry(request, engine, id, network, near)), 303)
    except REFUSALS as error:
        return await refuse(request, engine, photo, error, network)


async def find_entry(
    request: Request, engine: Engine, id: str, network: str | None, near: str
) -> Link:
    """Say where a photo's way through a network begins; raises UnknownNetwork, InvalidChoice."""
    if network is None:
        network = await asyncio.to_thread(engine.registry.default)
    link = read_link(id, network, "", request.query_params)
    layers = await admit(request, engine, lambda: layers_of(engine, link))
    if near in {layer.name for layer in layers}:
        return link.to(layer=near)
    return link.to(layer=[layer.name for layer in layers if layer.kind == "conv"][-1])


async def layers_of(engine: Engine, link: Link) -> list[models.LayerInfo]:
    """Describe a network's layers, from its weights where there are any."""
    try:
        return (await load_network(engine, link))[0].describe()
    except models.WeightsError:
        return list(await asyncio.to_thread(models.describe_layers, link.network))


@router.get("/images/{id}/{network}/{layer}")
async def show_layer(
    request: Request,
    id: str,
    network: str,
    layer: str,
    engine: EngineHere,
    uploads: UploadsHere,
) -> Response:
    """Show what a layer saw in a photo."""
    photo = await uploads.find(id)
    try:
        link = read_link(id, network, layer, request.query_params)
        click = read_click(request.query_params)
        if click:
            link = await follow(engine, photo, link, click)
        if click or FIELDS & request.query_params.keys():
            return RedirectResponse(str(link), 303)
        return await visit(request, engine, uploads, photo, link)
    except REFUSALS as error:
        return await refuse(request, engine, photo, error, network)


async def refuse(
    request: Request,
    engine: Engine,
    photo: Photo,
    error: models.DeconvnetError,
    network: str | None,
) -> Response:
    """Say why a photo cannot be shown so, and where it can; a part of a page stays as it is."""
    if is_partial(request):
        raise error
    problem = problem_of(error)
    known = network if network in engine.registry.architectures else None
    layers = await layers_of(engine, Link(image=photo.id, network=known)) if known else []
    context = await asyncio.to_thread(ways_on, engine.registry, photo, problem, known, layers)
    return show(request, "explorer/refused.html", context, problem.status)


async def follow(engine: Engine, photo: Photo, link: Link, click: Click) -> Link:
    """Say where pressing a picture leads: to the units that fire there, or to that unit."""
    if click.feature is None:
        place = int(click.y * photo.picture.height), int(click.x * photo.picture.width)
        return link.to(at=place, feature=None, unit=None)
    layers = {layer.name: layer.shape for layer in await layers_of(engine, link)}
    _, rows, columns = layers.get(link.layer, (0, 1, 1))
    unit = int(click.y * rows), int(click.x * columns)
    return link.to(seed="unit", feature=click.feature, unit=unit)


async def visit(
    request: Request, engine: Engine, uploads: Uploads, photo: Photo, link: Link
) -> Response:
    """Show what a link asks for, or how to get the weights that it takes."""
    surround = partial(page_context, engine.registry, photo, uploads.sample(photo.id), link)
    try:
        seen, layers = await admit(request, engine, lambda: _explore(engine, photo, link))
    except models.WeightsError as error:
        problem = problem_of(error)
        layers = await layers_of(engine, link)
        if link.layer not in {layer.name for layer in layers}:
            known = [layer.name for layer in layers]
            raise models.UnknownLayer(link.network, link.layer[:40], known) from None
        context = await asyncio.to_thread(surround, layers, None, problem.detail)
        return _show(request, context, problem)
    engine.places.promise(*link.views)
    return _show(request, await asyncio.to_thread(surround, layers, seen))


async def _explore(
    engine: Engine, photo: Photo, link: Link
) -> tuple[LayerView, list[models.LayerInfo]]:
    """See what a link asks for; weights that arrived while that was being said are taken."""
    try:
        return await explore(engine, photo, link)
    except models.WeightsArriving:
        info = await asyncio.to_thread(engine.registry.weights, link.network)
        if info.state != "ready":
            raise
    return await explore(engine, photo, link)


def _show(request: Request, context: Explorer, problem: Problem | None = None) -> Response:
    name = "explorer/_explorer.html" if is_partial(request) else "explorer/explorer.html"
    response = show(request, name, context, problem.status if problem else 200)
    response.headers.update(problem.headers if problem else {})
    return response
