"""Whether the server lives, takes requests, and what it holds."""

import asyncio
from typing import Any

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from app.api.openapi import problems
from app.web import documents
from app.web.dependencies import EngineHere
from app.web.errors import SOON_SECONDS, Problem, respond
from app.web.language import gettext

router = APIRouter(tags=["api"])


@router.get("/healthz", response_description="It is.", responses=problems())
async def healthz() -> documents.HealthDocument:
    """Say that the server is alive."""
    return documents.HealthDocument(status="ok")


@router.get(
    "/readyz",
    response_model=documents.HealthDocument,
    response_description="It does.",
    responses=problems(503),
)
async def readyz(request: Request, engine: EngineHere) -> Any:
    """Say that the server takes requests and that its device computes.

    It no longer does when it is about to stop, or where a tiny walk fails.
    """
    if engine.stopping:
        sentence = gettext("The server is stopping.")
        headers = {"Retry-After": str(SOON_SECONDS)}
        return respond(request, Problem(503, sentence, headers, reason="stopping"))
    await engine.check()
    return documents.HealthDocument(status="ready")


@router.get(
    "/metrics",
    response_class=Response,
    response_description="Prometheus's text format.",
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, **problems()},
)
async def metrics(request: Request) -> Response:
    """Report counts and holdings for Prometheus."""
    page = await asyncio.to_thread(generate_latest, request.app.state.collectors)
    return Response(page, media_type=CONTENT_TYPE_LATEST)
