"""`POST /visualize`: a photo in, projections out."""

import time
from typing import Annotated

from fastapi import APIRouter, Depends, Form, Request, Response

import models
from app.api.openapi import links, problems
from app.engine.engine import Answer, Engine, identity
from app.photos.uploads import Uploads
from app.web import answers, documents
from app.web.choice import form_reader
from app.web.dependencies import (
    EngineHere,
    PhotoInput,
    PhotoInputHere,
    UploadsHere,
    admit,
)
from app.web.logs import note

router = APIRouter(tags=["api"])


ChoiceHere = Annotated[models.Choice, Depends(form_reader(models.Choice, Form))]


@router.post(
    "/visualize",
    response_model=documents.VisualizationDocument,
    response_description="The projections, in the kind that Accept prefers.",
    responses={
        200: {
            "content": {
                answers.PNG: {"schema": {"type": "string", "format": "binary"}},
                answers.ZIP: {"schema": {"type": "string", "format": "binary"}},
                answers.NPZ: {"schema": {"type": "string", "format": "binary"}},
            },
            "headers": {
                "Server-Timing": {
                    "description": "What each part took, in milliseconds.",
                    "schema": {"type": "string"},
                }
            },
            "links": links("/image/id", "forget_image_images__id__delete"),
        },
        **problems(404, 406, 410, 413, 415, 422, 503),
    },
)
async def visualize(
    request: Request,
    engine: EngineHere,
    uploads: UploadsHere,
    sent: PhotoInputHere,
    choice: ChoiceHere,
) -> Response:
    """Project what the strongest feature maps of a layer saw in a photo.

    The answer is JSON, one contact sheet (PNG), a ZIP of pictures, or numpy arrays (NPZ).
    """
    media_type = answers.negotiate(request.headers.get("accept", ""))
    answer = await admit(
        request,
        engine,
        lambda: make_answer(engine, uploads, sent, choice, media_type, request),
    )
    return Response(
        answer.content,
        media_type=media_type,
        headers={
            "Cache-Control": "no-store",
            "Content-Disposition": f'inline; filename="{answer.name}"',
            "Server-Timing": ", ".join(f"{k};dur={v}" for k, v in answer.timings.items()),
            "Vary": "Accept",
        },
    )


async def make_answer(
    engine: Engine,
    uploads: Uploads,
    sent: PhotoInput,
    choice: models.Choice,
    media_type: str,
    request: Request,
) -> Answer:
    """Find the photo and the network, and answer from what is held or by computing."""
    network = await engine.network(choice.network, choice.weights)
    start = time.perf_counter()
    photo = await sent.find(uploads)
    decode_ms = (time.perf_counter() - start) * 1000
    size = f"{photo.picture.width}x{photo.picture.height}"
    note(request, format=photo.format, size=size, image=photo.sha256[:8])

    async def make() -> Answer:
        view = await engine.see(photo, network, choice)
        zipped = media_type == answers.ZIP
        maps = await engine.activation_maps(photo, network, view) if zipped else ()
        content = await engine.beside(
            lambda: answers.encode(view, photo, media_type, decode_ms, maps)
        )
        name = answers.file_name(view, answers.SUFFIXES[media_type])
        return Answer(content, name, answers.timings(view, decode_ms))

    choice = models.complete(network, choice)
    return await engine.answer(("answer", photo.id, identity(network), choice, media_type), make)
