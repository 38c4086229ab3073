"""The pictures on the explorer's page, each at an address of its own, and what can be kept."""

import io
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Literal

from fastapi import APIRouter, Request, Response
from PIL import Image

import models
from app.engine.engine import Answer, Engine
from app.pages.layer_view import cache_version
from app.pages.links import read_choice
from app.photos.samples import find_sample, thumbnail
from app.photos.store import Photo
from app.photos.uploads import Uploads
from app.web import answers
from app.web.dependencies import EngineHere, UploadsHere, admit

PHOTO_SIDE = 1200
FOR_EVER = "private, max-age=31536000, immutable"

Part = Literal["projection", "patch", "map", "card"]

router = APIRouter(include_in_schema=False)


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


@router.get("/images/{id}/photo.jpg")
async def show_photo(
    request: Request, id: str, engine: EngineHere, uploads: UploadsHere
) -> Response:
    """Show an uploaded photo, from pixels that we wrote."""

    async def work() -> Answer:
        photo = await uploads.find(id)

        async def make() -> Answer:
            return Answer(await engine.beside(lambda: _jpeg(photo.picture)))

        return await engine.answer(("photo", photo.id), make)

    answer = await admit(request, engine, work)
    return Response(answer.content, media_type="image/jpeg", headers=_cached(FOR_EVER))


@router.get("/images/{id}/{network}/{layer}/view.zip")
async def show_archive(
    request: Request, id: str, network: str, layer: str, engine: EngineHere, uploads: UploadsHere
) -> Response:
    """Give all pictures of a view with a document of where they come from."""
    headers: dict[str, str] = {}

    async def make(photo: Photo, view: models.Visualization) -> bytes:
        headers.update(_saved(answers.file_name(view, "zip")))
        loaded = await engine.network(network, request.query_params.get("weights") or None)
        maps = await engine.activation_maps(photo, loaded, view)
        return await engine.beside(lambda: answers.encode(view, photo, answers.ZIP, maps=maps))

    content = await _visit(request, engine, uploads, (id, network, layer), make)
    return Response(content, media_type=answers.ZIP, headers=headers)


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
) -> Response:
    """Show a projection, the patch that caused it, its activation map, or all as one card."""

    async def make(photo: Photo, view: models.Visualization) -> bytes:
        loaded = await engine.network(network, request.query_params.get("weights") or None)
        if part == "card":
            headers.update(_saved(f"{network}-{layer}-{feature}{models.way_suffix(view.show)}.png"))
        if request.query_params.get("v") == cache_version(loaded):
            headers["Cache-Control"] = FOR_EVER
        if part == "card":
            return await engine.beside(lambda: models.to_png_sheet(_only(view, feature)))
        picture = await _picture(engine, photo, loaded, view, feature, part)
        return await engine.beside(lambda: models.encode_png(picture))

    headers = _cached("no-cache")
    content = await _visit(request, engine, uploads, (id, network, layer), make)
    return Response(content, media_type="image/png", headers=headers)


async def _visit(
    request: Request,
    engine: Engine,
    uploads: Uploads,
    names: tuple[str, str, str],
    make: Callable[[Photo, models.Visualization], Awaitable[bytes]],
) -> bytes:
    """Find the view that a picture belongs to, and make something of it."""
    id, network, layer = names
    choice = read_choice(network, layer, request.query_params)

    async def work() -> bytes:
        photo = await uploads.find(id)
        view = await engine.see(photo, await engine.network(network, choice.weights), choice)
        return await make(photo, view)

    return await admit(request, engine, work)


async def _picture(
    engine: Engine,
    photo: Photo,
    network: models.Network,
    view: models.Visualization,
    feature: int,
    part: Part,
) -> Image.Image:
    each = _only(view, feature).projections[0]
    if part == "map":
        return await engine.overlay(photo, network, view, feature)
    picture = each.patch if part == "patch" else each.picture
    if picture is None:
        raise models.InvalidChoice("silent", feature=feature, layer=view.layer)
    return picture


def _only(view: models.Visualization, feature: int) -> models.Visualization:
    """Reduce a view to one of its maps; raises InvalidChoice."""
    for each, reconstruction in zip(view.projections, view.reconstructions, strict=True):
        if each.feature == feature:
            return replace(view, projections=(each,), reconstructions=(reconstruction,))
    raise models.InvalidChoice("not_listed", feature=feature, layer=view.layer)


def _jpeg(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    if max(picture.size) > PHOTO_SIDE:  # without a copy of the full photo
        scale = PHOTO_SIDE / max(picture.size)
        width, height = (max(1, round(edge * scale)) for edge in picture.size)
        picture = picture.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=2.0)
    picture.save(file, "JPEG", quality=88)
    return file.getvalue()


def _cached(how: str) -> dict[str, str]:
    return {"Cache-Control": how}


def _saved(name: str) -> dict[str, str]:
    return {"Cache-Control": "no-cache", "Content-Disposition": f'attachment; filename="{name}"'}
