"""The pages: a photo is dropped on one, and the network is walked on another."""

import asyncio
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, File, Request, Response, UploadFile
from fastapi.responses import HTMLResponse, RedirectResponse
from fastapi.staticfiles import StaticFiles

import models
from app.api import EngineHere, UploadsHere, while_here
from app.engine import Engine
from app.errors import Problem, problem_of
from app.explorer import Explorer, draw, look
from app.links import FIELDS, Link, Press, read_link, read_press
from app.samples import SAMPLES, Sample, find_sample, read_sample
from app.settings import Settings
from app.templates import templates
from app.uploads import Photo

ENVELOPE = 1024
"""Bytes that a form takes around its photo."""
FOR_EVER = "public, max-age=31536000, immutable"
ACCEPT = "image/jpeg,image/png,image/webp,image/gif,image/bmp,image/tiff,image/avif"
NOT_KEPT = {"Cache-Control": "no-store", "Vary": "HX-Request-Type"}

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)


class Static(StaticFiles):
    """Static files, cached for ever where the link names their content."""

    def file_response(self, *args: Any, **options: Any) -> Response:
        """Answer with a file."""
        response = super().file_response(*args, **options)
        names_content = args[2]["query_string"].startswith(b"v=")
        response.headers["Cache-Control"] = FOR_EVER if names_content else "no-cache"
        return response


@dataclass(frozen=True)
class Start:
    """The page where a photo is chosen; `problem` says why the last request was refused."""

    limit: int
    """Most bytes that a photo may have."""
    accept: str = ACCEPT
    samples: tuple[Sample, ...] = SAMPLES
    problem: Problem | None = None


@dataclass(frozen=True)
class Refusal:
    """Why the page that asked gets no answer, as a fragment of it."""

    problem: Problem


def page(
    request: Request, name: str, context: Start | Explorer | Refusal, status: int = 200
) -> Response:
    """Draw a page from its context, a frozen dataclass that the template knows as `page`."""
    known = {"page": context, "partial": is_partial(request)}
    return templates.TemplateResponse(request, name, known, status, NOT_KEPT)


def show_problem(request: Request, problem: Problem) -> Response:
    """Show a failure: in the page that asked, or as a page where the next photo can be chosen."""
    if not is_partial(request):
        return page(request, "start.html", Start(_limit(request), problem=problem), problem.status)
    response = page(request, "_problem.html", Refusal(problem), problem.status)
    swap = {"HX-Retarget": "#problem", "HX-Reswap": "outerMorph", "HX-Push-Url": "false"}
    response.headers.update(swap)
    return response


def is_partial(request: Request) -> bool:
    """Tell whether htmx asks for a fragment rather than a browser for a page."""
    return request.headers.get("hx-request-type") == "partial"


@router.get("/")
def start(request: Request) -> Response:
    """Ask for a photo."""
    return page(request, "start.html", Start(_limit(request)))


def _limit(request: Request) -> int:
    settings: Settings = request.app.state.settings
    return settings.max_upload_bytes - ENVELOPE


@router.post("/images")
async def receive(
    uploads: UploadsHere, image: Annotated[list[UploadFile] | None, File()] = None
) -> RedirectResponse:
    """Take a photo, and go where it is explored."""
    file = next((each for each in image or () if each.size), None)
    if file is None:
        raise models.InvalidChoice("Choose a photo first.")
    photo = await uploads.receive(await file.read())
    return RedirectResponse(f"/images/{photo.id}", 303)


@router.post("/samples/{name}")
async def receive_sample(name: str, uploads: UploadsHere) -> RedirectResponse:
    """Take a sample photo as if it had been uploaded."""
    sample = find_sample(name)
    if sample is None:
        raise models.InvalidChoice(f"there is no sample photo '{name[:40]}'")
    photo = await uploads.receive(await asyncio.to_thread(read_sample, sample))
    return RedirectResponse(f"/images/{photo.id}", 303)


@router.post("/images/{id}/forget")
async def forget(id: str, engine: EngineHere, uploads: UploadsHere) -> RedirectResponse:
    """Forget a photo, and go back to the start."""
    await asyncio.to_thread(uploads.forget, id)
    engine.forget(id)
    return RedirectResponse("/", 303)


@router.get("/images/{id}")
@router.get("/images/{id}/{network}")
async def enter(
    request: Request, id: str, engine: EngineHere, network: str | None = None
) -> RedirectResponse:
    """Go to a network's last convolutional layer."""
    if network is None:
        network = await asyncio.to_thread(engine.offer.default)
    layers = await layers_of(engine, network)
    last = [layer.name for layer in layers if layer.kind == "conv"][-1]
    link = read_link(id, network, last, request.query_params)
    return RedirectResponse(str(link), 303)


async def layers_of(engine: Engine, network: str) -> list[models.LayerInfo]:
    """Describe a network's layers, from its weights where there are any."""
    try:
        return (await engine.network(network)).describe()
    except models.WeightsError:
        return list(await asyncio.to_thread(models.outline, network))


@router.get("/images/{id}/{network}/{layer}")
async def explore(
    request: Request,
    id: str,
    network: str,
    layer: str,
    engine: EngineHere,
    uploads: UploadsHere,
) -> Response:
    """Show what a layer saw in a photo."""
    link = read_link(id, network, layer, request.query_params)
    photo = await uploads.find(id)
    press = read_press(request.query_params)
    if press:
        link = await follow(engine, photo, link, press)
    if press or FIELDS & request.query_params.keys():
        return RedirectResponse(str(link), 303)
    return await visit(request, engine, photo, link)


async def follow(engine: Engine, photo: Photo, link: Link, press: Press) -> Link:
    """Say where pressing a picture leads: to the units that fire there, or to that unit."""
    if press.feature is None:
        place = int(press.y * photo.picture.height), int(press.x * photo.picture.width)
        return link.to(at=place, feature=None, unit=None)
    layers = {layer.name: layer.shape for layer in await layers_of(engine, link.network)}
    _, rows, columns = layers.get(link.layer, (0, 1, 1))
    unit = int(press.y * rows), int(press.x * columns)
    return link.to(seed="unit", feature=press.feature, unit=unit)


async def visit(request: Request, engine: Engine, photo: Photo, link: Link) -> Response:
    """Show what a link asks for, or how to get the weights that it takes."""
    try:
        with engine.place():
            seen, layers = await while_here(request, engine.within(look(engine, photo, link)))
    except models.WeightsError as error:
        problem = problem_of(error)
        layers = await layers_of(engine, link.network)
        if link.layer not in {layer.name for layer in layers}:
            names = ", ".join(layer.name for layer in layers)
            raise models.UnknownLayer(
                f"{link.network} has no layer {link.layer[:40]!r}; it has {names}"
            ) from None
        why = problem.detail
        context = await asyncio.to_thread(draw, engine.offer, photo, link, layers, None, why)
        return _show(request, context, problem)
    return _show(request, await asyncio.to_thread(draw, engine.offer, photo, link, layers, seen))


def _show(request: Request, context: Explorer, problem: Problem | None = None) -> Response:
    name = "_explorer.html" if is_partial(request) else "explorer.html"
    response = page(request, name, context, problem.status if problem else 200)
    response.headers.update(problem.headers if problem else {})
    return response
