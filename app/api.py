"""The REST interface: a photo in, projections out, and what there is to ask for."""

import asyncio
import re
import time
from collections.abc import Coroutine
from typing import Annotated, Any, TypeVar, cast

from fastapi import APIRouter, Depends, File, Form, Path, Request, Response, UploadFile
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

import models
from app import answers, schemas
from app.engine import Answer, ClientLeft, Engine, identity
from app.errors import MEDIA_TYPE, Problem, WrongMediaType, respond
from app.metrics import note
from app.offer import Offer
from app.uploads import Photo, Uploads

T = TypeVar("T")

PROBLEMS: dict[int, str] = {
    400: "The request cannot be read, or names a host that this server does not answer as.",
    401: "The server asks for its token.",
    403: "A page of another site asked.",
    404: "Unknown network, layer or photo; the sentence names the known ones.",
    405: "The path does not take this method.",
    406: "None of the accepted media types can be given.",
    410: "The photo's time is over.",
    413: "The photo is too large.",
    415: "The file is not a picture that can be read.",
    422: "A parameter that cannot be had.",
    500: "The server failed.",
    503: "Busy (with Retry-After), weights arriving (with it) or missing (without it).",
}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Describe, for the OpenAPI document, the problems that an operation may answer with."""
    schema = {"$ref": "#/components/schemas/ProblemDocument"}
    return {
        status: {"description": PROBLEMS[status], "content": {MEDIA_TYPE: {"schema": schema}}}
        for status in (400, 401, 403, 405, *statuses, 500)
    }


def engine_of(request: Request) -> Engine:
    """Return the application's engine."""
    return cast(Engine, request.app.state.engine)


def uploads_of(request: Request) -> Uploads:
    """Return the application's photos."""
    return cast(Uploads, request.app.state.uploads)


EngineHere = Annotated[Engine, Depends(engine_of)]
UploadsHere = Annotated[Uploads, Depends(uploads_of)]

router = APIRouter()

NUMBERS = re.compile(r"\s*\d{1,9}\s*(,\s*\d{1,9}\s*)*")


def parse_features(text: str | None) -> tuple[int, ...] | None:
    """Read feature map numbers such as `3,17,200`; raises InvalidChoice."""
    if text is None:
        return None
    if not NUMBERS.fullmatch(text):
        raise models.InvalidChoice(
            f"features are numbers separated by commas, such as 3,17,200, not '{text[:40]}'"
        )
    return tuple(int(number) for number in text.split(","))


def parse_unit(text: str | None) -> tuple[int, int] | None:
    """Read a unit's row and column such as `6,7`; raises InvalidChoice."""
    if text is None:
        return None
    if not NUMBERS.fullmatch(text) or text.count(",") != 1:
        raise models.InvalidChoice(f"unit is a row and a column, such as 6,7, not '{text[:40]}'")
    y, x = (int(number) for number in text.split(","))
    return y, x


def read_choice(
    request: Request,
    layer: Annotated[
        str | None, Form(description="A name from `GET /networks/{network}`; the last conv layer.")
    ] = None,
    method: Annotated[schemas.Method, Form(description="How ReLUs are undone.")] = "deconvnet",
    seed: Annotated[
        schemas.Seed, Form(description="One activation, or the whole feature map.")
    ] = "unit",
    top: Annotated[
        int | None,
        Form(ge=1, description="How many of the strongest feature maps; 9 where nothing is said."),
    ] = None,
    features: Annotated[
        str | None,
        Form(description="Instead of `top`: feature map numbers.", examples=["3,17,200"]),
    ] = None,
    unit: Annotated[
        str | None,
        Form(
            description="`y,x`: one position for every chosen feature map; else the strongest.",
            examples=["6,7"],
        ),
    ] = None,
    fit: Annotated[schemas.Fit, Form(description="How the photo meets the square.")] = "crop",
) -> models.Choice:
    """Read from a form which projections are wanted; raises InvalidChoice."""
    return models.Choice(
        layer=layer,
        method=method,
        seed=seed,
        top=top,
        features=parse_features(features),
        unit=parse_unit(unit),
        fit=fit,
        limit=engine_of(request).settings.max_projections,
    )


async def read_photo(
    request: Request,
    image: Annotated[
        UploadFile | None,
        File(description="JPEG, PNG, WebP, GIF (first frame), BMP, TIFF or AVIF."),
    ] = None,
    image_id: Annotated[str | None, Form(description="`image.id` of an earlier answer.")] = None,
) -> "Sent":
    """Read from a form which photo is meant; raises InvalidChoice or WrongMediaType."""
    kind = request.headers.get("content-type", "")
    if kind and not kind.startswith(("multipart/form-data", "application/x-www-form-urlencoded")):
        raise WrongMediaType(f"Send the request as multipart/form-data, not as '{kind[:60]}'.")
    file = image if image is not None and (image.filename or image.size) else None
    if (file is None) == (image_id is None):
        raise models.InvalidChoice("send a photo as 'image', or the 'image_id' of an earlier one")
    return Sent(await file.read() if file else None, image_id)


class Sent:
    """A photo as a request names it: its bytes, or the id of an earlier one."""

    def __init__(self, data: bytes | None, image_id: str | None) -> None:
        self.data = data
        self.image_id = image_id

    async def find(self, uploads: Uploads) -> Photo:
        """Decode the bytes, or recall the photo."""
        if self.data is not None:
            return await uploads.receive(self.data)
        return await uploads.find(self.image_id or "")


NameHere = Annotated[str, Path(description="A name from `GET /networks`.")]
ChoiceHere = Annotated[models.Choice, Depends(read_choice)]
SentHere = Annotated[Sent, Depends(read_photo)]


@router.post(
    "/visualize",
    response_model=schemas.VisualizationDocument,
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
        },
        **problems(404, 406, 410, 413, 415, 422, 503),
    },
)
async def visualize(
    request: Request,
    engine: EngineHere,
    uploads: UploadsHere,
    sent: SentHere,
    choice: ChoiceHere,
    network: Annotated[
        str | None, Form(description="A name from `GET /networks`; the first ready one.")
    ] = None,
) -> Response:
    """Project what the strongest feature maps of a layer saw in a photo.

    The answer is JSON, one contact sheet (PNG), a ZIP of pictures, or numpy arrays (NPZ).
    """
    kind = answers.negotiate(request.headers.get("accept", ""))
    with engine.place():
        work = engine.within(make_answer(engine, uploads, sent, choice, network, kind, request))
        answer = await while_here(request, work)
    name = f"{network or 'visualization'}.{answers.KINDS[kind]}"
    return Response(
        answer.content,
        media_type=kind,
        headers={
            "Cache-Control": "no-store",
            "Content-Disposition": f'inline; filename="{name}"',
            "Server-Timing": ", ".join(f"{k};dur={v}" for k, v in answer.timings.items()),
            "Vary": "Accept",
        },
    )


async def make_answer(
    engine: Engine,
    uploads: Uploads,
    sent: Sent,
    choice: models.Choice,
    network_name: str | None,
    kind: str,
    request: Request,
) -> Answer:
    """Find the photo and the network, and answer from what is held or by computing."""
    network = await engine.network(network_name)
    start = time.perf_counter()
    photo = await sent.find(uploads)
    decode_ms = (time.perf_counter() - start) * 1000
    size = f"{photo.picture.width}x{photo.picture.height}"
    note(request, format=photo.format, size=size, image=photo.sha256[:8])

    async def make() -> Answer:
        view = await engine.see(photo, network, choice)
        content = await engine.encode(lambda: answers.encode(view, photo, kind, decode_ms))
        return Answer(content, answers.timings(view, decode_ms))

    return await engine.answer(("answer", photo.id, identity(network), choice, kind), make)


async def while_here(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Await work for as long as the client waits for it; raises ClientLeft when it does not."""
    job, left = asyncio.ensure_future(work), asyncio.ensure_future(_left(request))
    try:
        await asyncio.wait({job, left}, return_when=asyncio.FIRST_COMPLETED)
        if not job.done():
            raise ClientLeft("The client left before its answer was ready.")
        return job.result()
    finally:
        job.cancel()
        left.cancel()


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


@router.delete(
    "/images/{id}",
    status_code=204,
    response_description="It is forgotten.",
    responses=problems(404, 422),
)
async def forget_image(
    id: Annotated[str, Path(description="`image.id` of an earlier answer.")],
    engine: EngineHere,
    uploads: UploadsHere,
) -> None:
    """Forget a photo and all that was computed from it."""
    await asyncio.to_thread(uploads.forget, id)
    engine.forget(id)


@router.get("/networks", response_description="The networks.", responses=problems(406))
async def list_networks(engine: EngineHere) -> schemas.NetworksDocument:
    """List the networks on offer, in the order of history."""
    return await asyncio.to_thread(_networks, engine.offer)


def _networks(offer: Offer) -> schemas.NetworksDocument:
    summaries = tuple(summarize(offer, name) for name in offer.architectures)
    return schemas.NetworksDocument(default=offer.default(), networks=summaries)


def summarize(offer: Offer, name: str) -> schemas.NetworkSummary:
    """Document a network in short; raises UnknownNetwork."""
    weights = schemas.describe_offer(offer.weights(name))
    architecture, known = offer.architectures[name], offer.provenance(name)
    return schemas.NetworkSummary(
        name=name,
        title=architecture.title,
        paper=architecture.paper,
        weights=weights,
        provenance=schemas.describe_provenance(known) if known else None,
    )


@router.get(
    "/networks/{network}",
    response_description="The network.",
    responses=problems(404, 422, 503),
)
async def show_network(network: NameHere, engine: EngineHere) -> schemas.NetworkDocument:
    """Show a network's layers in order, and its weights with their provenance."""
    summary = await asyncio.to_thread(summarize, engine.offer, network)
    if summary.weights.state == "ready":
        loaded = await engine.network(network)
        layers = loaded.describe()
    else:
        layers = await asyncio.to_thread(models.outline, network)
    return schemas.NetworkDocument(
        **dict(summary),
        layers=tuple(schemas.describe_layer(layer) for layer in layers),
    )


@router.get("/healthz", response_description="It is.", responses=problems())
async def healthz() -> schemas.HealthDocument:
    """Say that the server is alive."""
    return schemas.HealthDocument(status="ok")


@router.get(
    "/readyz",
    response_model=schemas.HealthDocument,
    response_description="It does.",
    responses=problems(503),
)
async def readyz(request: Request, engine: EngineHere) -> Any:
    """Say that the server takes requests; it no longer does when it is about to stop."""
    if engine.stopping:
        return respond(request, Problem(503, "The server is stopping."))
    return schemas.HealthDocument(status="ready")


@router.get(
    "/metrics",
    response_class=Response,
    response_description="Prometheus's text format.",
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, **problems()},
)
async def metrics(request: Request) -> Response:
    """Report counts and holdings for Prometheus."""
    page = await asyncio.to_thread(generate_latest, request.app.state.registry)
    return Response(page, media_type=CONTENT_TYPE_LATEST)
