"""The start page: a photo is chosen here, and this is where problems are shown."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, File, Request, Response, UploadFile
from fastapi.responses import HTMLResponse, RedirectResponse

import models
from app.pages.links import Link
from app.photos.samples import SAMPLES, Sample, find_sample, read_sample
from app.settings import Settings
from app.web.addresses import WrittenAddress
from app.web.dependencies import EngineHere, UploadsHere, admit, check_fields, forget_photo
from app.web.errors import Problem
from app.web.fragments import Refusal
from app.web.templates import is_partial, show

ENVELOPE = 1024
"""Bytes that a form takes around its photo."""

ACCEPT = "image/jpeg,image/png,image/webp,image/gif,image/bmp,image/tiff,image/avif"


router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)


@dataclass(frozen=True)
class Stage:
    """A layer on a photo's way up: what its strongest map sees, and where to look at it.

    A unit of it sees ``field`` x ``field`` pixels.
    """

    layer: str
    field: int
    picture: WrittenAddress
    link: Link


@dataclass(frozen=True)
class Start:
    """The page where a photo is chosen; `problem` says why the last request was refused.

    ``stages`` are what layers of ``network`` see in the first sample; none where it has no weights.
    """

    limit: int
    """Most bytes that a photo may have."""
    accept: str = ACCEPT
    samples: tuple[Sample, ...] = SAMPLES
    problem: Problem | None = None
    network: str = ""
    stages: tuple[Stage, ...] = ()


def show_problem(request: Request, problem: Problem) -> Response:
    """Show a failure: in the page that asked, or as a page where the next photo can be chosen."""
    if not is_partial(request):
        refused = Start(_limit(request), problem=problem)
        return show(request, "start/start.html", refused, problem.status)
    response = show(request, "_problem.html", Refusal(problem), problem.status)
    swap = {"HX-Retarget": "#problem", "HX-Reswap": "outerMorph", "HX-Push-Url": "false"}
    response.headers.update(swap)
    return response


@router.get("/")
def start(request: Request, engine: EngineHere, uploads: UploadsHere) -> Response:
    """Ask for a photo."""
    registry = engine.registry
    network = registry.default()
    stages: tuple[Stage, ...] = ()
    if registry.weights(network).state == "ready":
        stages = tuple(find_stages(network, uploads.identify(read_sample(SAMPLES[0]))))
    for stage in stages:
        engine.places.promise(*stage.link.views)
    title = registry.architectures[network].title
    page = Start(_limit(request), network=title, stages=stages)
    return show(request, "start/start.html", page)


def find_stages(network: str, photo: str) -> Iterator[Stage]:
    """Yield the first, the middle and the last convolutional layer as a photo goes up."""
    layers = [layer for layer in models.describe_layers(network) if layer.kind == "conv"]
    for layer in dict.fromkeys((layers[0], layers[len(layers) // 2], layers[-1])):
        link = Link(image=photo, network=network, layer=layer.name)
        picture = WrittenAddress(f"{link.path}/strongest.png")
        yield Stage(layer.name, layer.receptive_field, picture, link.to(seed="map"))


def _limit(request: Request) -> int:
    settings: Settings = request.app.state.settings
    return settings.max_upload_bytes - ENVELOPE


@router.get("/images")
def begin_anew() -> RedirectResponse:
    """Lead to the start page who reloads the answer to a photo that was refused."""
    return RedirectResponse("/", 303)


@router.post("/images")
async def receive(
    request: Request,
    engine: EngineHere,
    uploads: UploadsHere,
    image: Annotated[list[UploadFile] | None, File()] = None,
) -> RedirectResponse:
    """Take a photo, and go where it is explored."""
    await check_fields(request)
    files = [each for each in image or () if each.filename or each.size]
    file = next((each for each in files if each.size), files[0] if files else None)
    if file is None:
        raise models.InvalidChoice("no_photo")
    data = await file.read()
    photo = await admit(request, engine, lambda: uploads.receive(data))
    return RedirectResponse(f"/images/{photo.id}", 303)


@router.post("/samples/{name}")
async def receive_sample(
    request: Request, name: str, engine: EngineHere, uploads: UploadsHere
) -> RedirectResponse:
    """Take a sample photo as if it had been uploaded."""
    sample = find_sample(name)
    if sample is None:
        raise models.InvalidChoice("no_sample", name=name[:40])
    data = await asyncio.to_thread(read_sample, sample)
    photo = await admit(request, engine, lambda: uploads.receive(data))
    return RedirectResponse(f"/images/{photo.id}", 303)


@router.post("/images/{id}/forget")
async def forget(request: Request, id: str) -> RedirectResponse:
    """Forget a photo, and go back to the start."""
    await forget_photo(request, id)
    return RedirectResponse("/", 303)
