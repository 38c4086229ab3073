"""The pictures on the explorer's page, each at an address of its own, and what can be kept."""

import io
from dataclasses import dataclass, replace
from typing import Literal

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse
from PIL import Image

import models
from app.engine.engine import Answer, Engine
from app.pages.layer_view import SMALL, cache_version, card_share
from app.pages.links import read_choice
from app.photos.samples import find_sample, thumbnail
from app.photos.store import Photo
from app.photos.uploads import Uploads
from app.web import answers
from app.web.dependencies import EngineHere, UploadsHere, admit, admit_picture
from app.web.templates import is_partial, show

PHOTO_SIDES = {"photo": 960, "small": 288}
"""Longest side of a photo as pages show it, in pixels."""
FOR_EVER = "private, max-age=31536000, immutable"

Part = Literal["projection", "patch", "map", "card"]

router = APIRouter(include_in_schema=False)


@dataclass(frozen=True)
class Legend:
    """At which value a projection is full; ``remaining`` is what a difference leaves of it."""

    feature: int
    layer: str
    show: models.Show
    scale: float | None
    remaining: float | None


@router.get("/samples/{name}.jpg")
def show_sample(request: Request, name: str) -> Response:
    """Show a sample photo, small: as WebP to a browser that says it takes that."""
    sample = find_sample(name)
    if sample is None:
        raise models.InvalidChoice("no_sample", name=name[:40])
    kind: Literal["JPEG", "WEBP"] = "WEBP" if takes_webp(request) else "JPEG"
    headers = _cached("max-age=86400") | {"Vary": "Accept"}
    picture = thumbnail(sample, kind)
    return Response(picture, media_type=f"image/{kind.lower()}", headers=headers)


def takes_webp(request: Request) -> bool:
    """Tell whether a browser names WebP among what it accepts; answers that ask vary by Accept."""
    return "image/webp" in request.headers.get("accept", "")


@router.get("/images/{id}/{size}.jpg")
async def show_photo(
    request: Request,
    id: str,
    size: Literal["photo", "small"],
    engine: EngineHere,
    uploads: UploadsHere,
) -> Response:
    """Show an uploaded photo, from pixels that we wrote: as WebP to a browser that takes that."""
    kind: Literal["JPEG", "WEBP"] = "WEBP" if takes_webp(request) else "JPEG"

    async def work() -> Answer:
        photo = await uploads.find(id)

        async def make() -> Answer:
            content = await engine.beside(lambda: _shrunk(photo.picture, PHOTO_SIDES[size], kind))
            return Answer(content)

        return await engine.answer((size, kind, photo.id), make)

    answer = await admit_picture(request, engine, (id,), work)
    headers = _cached(FOR_EVER) | {"Vary": "Accept"}
    return Response(answer.content, media_type=f"image/{kind.lower()}", headers=headers)


@router.get("/images/{id}/{network}/{layer}/view.zip")
async def show_archive(
    request: Request, id: str, network: str, layer: str, engine: EngineHere, uploads: UploadsHere
) -> Response:
    """Give all pictures of a view with a document of where they come from."""
    choice = read_choice(network, layer, request.query_params)

    async def work() -> Answer:
        photo, loaded = await _find(engine, uploads, id, choice)
        view = await engine.see(photo, loaded, choice)
        maps = await engine.activation_maps(photo, loaded, view)
        content = await engine.beside(lambda: answers.encode(view, photo, answers.ZIP, maps=maps))
        return Answer(content, answers.file_name(view, "zip"))

    answer = await admit(request, engine, work)
    return Response(answer.content, media_type=answers.ZIP, headers=_saved(answer.name))


@router.get("/images/{id}/{network}/{layer}/maps.png")
async def show_maps(
    request: Request, id: str, network: str, layer: str, engine: EngineHere, uploads: UploadsHere
) -> Response:
    """Show all activation maps of a layer on one sheet, by number."""
    choice = read_choice(network, layer, request.query_params)

    async def work() -> tuple[bytes, models.Network]:
        photo, loaded = await _find(engine, uploads, id, choice)
        maps = await engine.maps(photo, loaded, layer, choice.fit)
        return await engine.beside(lambda: models.encode_png(models.draw_sheet(maps))), loaded

    content, loaded = await admit_picture(request, engine, (id, network, layer), work)
    return Response(content, media_type="image/png", headers=_kept(request, loaded))


@router.get("/images/{id}/{network}/{layer}/strongest.png")
async def show_strongest(
    request: Request, id: str, network: str, layer: str, engine: EngineHere, uploads: UploadsHere
) -> Response:
    """Show what all of a layer's strongest map saw, over the whole frame."""
    choice = models.Choice(network=network, layer=layer, seed="map", top=1)

    async def work() -> tuple[bytes, models.Network]:
        photo, loaded = await _find(engine, uploads, id, choice)
        (each,) = (await engine.see(photo, loaded, choice)).projections
        if each.picture is None:
            raise models.InvalidChoice("silent", feature=each.feature, layer=layer)
        picture = each.picture
        return await engine.beside(lambda: models.encode_png(picture)), loaded

    content, loaded = await admit_picture(request, engine, (id, network, layer), work)
    return Response(content, media_type="image/png", headers=_kept(request, loaded))


@router.get("/images/{id}/{network}/{layer}/{feature}/{part}.png")
async def show_picture(
    request: Request,
    id: str,
    network: str,
    layer: str,
    feature: int,
    part: Part,
    engine: EngineHere,
    uploads: UploadsHere,
    size: Literal["full", "close", "card"] = "full",
) -> Response:
    """Show a projection, the patch that caused it, its activation map, or all as one card."""
    choice = read_choice(network, layer, request.query_params, feature)

    webp = size != "full" and takes_webp(request)
    key = ("picture", id, choice, feature, part, size, webp)

    async def make(photo: Photo, loaded: models.Network) -> Answer:
        if part == "card":
            view = await engine.see(photo, loaded, choice)
            name = f"{network}-{layer}-{feature}{models.way_suffix(view.show)}.png"
            one = _only(view, feature)
            return Answer(await engine.beside(lambda: models.to_png_sheet(one)), name)
        picture = await PARTS[part](engine, photo, loaded, choice, feature)
        if size != "full":
            share = card_share(min(picture.size)) if size == "card" else 1
            return Answer(await engine.beside(lambda: _to_look_at(picture, share, webp)))
        return Answer(await engine.beside(lambda: models.encode_png(picture)))

    async def work() -> tuple[Answer, models.Network]:
        photo, loaded = await _find(engine, uploads, id, choice)
        return await engine.answer_of(key, loaded, lambda: make(photo, loaded)), loaded

    found = await engine.held_answer(key, choice) if await uploads.is_here(id) else None
    if found is None:
        found = await admit_picture(request, engine, (id, network, layer), work)
    answer, loaded = found
    headers = _saved(answer.name) if answer.name else _kept(request, loaded)
    if size != "full":
        headers["Vary"] = "Accept"
    kind = "image/webp" if webp and not answer.name else "image/png"
    return Response(answer.content, media_type=kind, headers=headers)


@router.get("/images/{id}/{network}/{layer}/{feature}/legend", response_class=HTMLResponse)
async def show_legend(
    request: Request,
    id: str,
    network: str,
    layer: str,
    feature: int,
    engine: EngineHere,
    uploads: UploadsHere,
) -> Response:
    """Say at which value a projection is drawn black, white or whole."""
    choice = read_choice(network, layer, request.query_params, feature)

    async def work() -> Legend:
        photo, loaded = await _find(engine, uploads, id, choice)
        view = await engine.see(photo, loaded, choice)
        (each,) = _only(view, feature).projections
        return Legend(feature, layer, view.show, each.scale, each.remaining)

    legend = await admit_picture(request, engine, (id, network, layer), work)
    name = "explorer/_legend.html" if is_partial(request) else "explorer/legend.html"
    return show(request, name, legend)


async def _find(
    engine: Engine, uploads: Uploads, id: str, choice: models.Choice
) -> tuple[Photo, models.Network]:
    """Find what an address names: the photo, and the network with its weights."""
    return await uploads.find(id), await engine.network(choice.network, choice.weights)


async def _projection(
    engine: Engine, photo: Photo, network: models.Network, choice: models.Choice, feature: int
) -> Image.Image:
    view = await engine.see(photo, network, choice)
    picture = _only(view, feature).projections[0].picture
    if picture is None:
        raise models.InvalidChoice("silent", feature=feature, layer=view.layer)
    return picture


async def _patch(
    engine: Engine, photo: Photo, network: models.Network, choice: models.Choice, feature: int
) -> Image.Image:
    selected = await engine.select(photo, network, choice)
    for unit, box in zip(selected.units, selected.boxes, strict=True):
        if unit.feature == feature:
            return await engine.patch(photo, network, choice.fit, box)
    raise models.InvalidChoice("not_listed", feature=feature, layer=selected.layer)


async def _map(
    engine: Engine, photo: Photo, network: models.Network, choice: models.Choice, feature: int
) -> Image.Image:
    layer = models.complete(network, choice).layer
    assert layer is not None
    return await engine.overlay(photo, network, layer, choice.fit, feature)


PARTS = {"projection": _projection, "patch": _patch, "map": _map}


def _only(view: models.Visualization, feature: int) -> models.Visualization:
    """Reduce a view to one of its maps; raises InvalidChoice."""
    for each, reconstruction in zip(view.projections, view.reconstructions, strict=True):
        if each.feature == feature:
            return replace(view, projections=(each,), reconstructions=(reconstruction,))
    raise models.InvalidChoice("not_listed", feature=feature, layer=view.layer)


def _to_look_at(picture: Image.Image, share: int, webp: bool) -> bytes:
    """Write a picture with one pixel for ``share`` of its side; a small one loses nothing."""
    lossless = max(picture.size) < SMALL
    picture = picture.reduce(share)
    if not webp:
        return models.encode_png(picture)
    file = io.BytesIO()
    picture.save(file, "WEBP", quality=85, lossless=lossless)
    return file.getvalue()


def _shrunk(picture: Image.Image, longest: int, kind: Literal["JPEG", "WEBP"]) -> bytes:
    file = io.BytesIO()
    if max(picture.size) > longest:  # without a copy of the full photo
        scale = longest / max(picture.size)
        width, height = (max(1, round(edge * scale)) for edge in picture.size)
        picture = picture.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=2.0)
    quality = 85 if kind == "WEBP" else 88
    picture.save(file, kind, quality=quality, method=2)  # WebP's: a quarter of the usual time
    return file.getvalue()


def _kept(request: Request, network: models.Network) -> dict[str, str]:
    """Let a picture be kept for ever where its address names the weights that drew it."""
    named = request.query_params.get("v") == cache_version(network)
    return _cached(FOR_EVER if named else "no-cache")


def _cached(how: str) -> dict[str, str]:
    return {"Cache-Control": how}


def _saved(name: str) -> dict[str, str]:
    return {"Cache-Control": "no-cache", "Content-Disposition": f'attachment; filename="{name}"'}
