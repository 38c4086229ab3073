"""Jobs: how far long work is, its result, and how it is cancelled."""

from collections.abc import AsyncIterable
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Request, Response
from fastapi.sse import EventSourceResponse, ServerSentEvent

from app.api.openapi import problems
from app.engine.job_files import Job
from app.engine.jobs import Jobs
from app.web import documents
from app.web.answers import CSV, JSON, NPZ, PNG, SVG, negotiate
from app.web.dependencies import EngineHere, JobsHere
from app.web.fragments import job_progress
from app.web.templates import draw

RESULTS = {JSON: "json", NPZ: "npz", CSV: "csv", SVG: "svg", PNG: "png"}
"""Media type to the file of a result, in the order of preference where the client has none."""
BINARY = {"schema": {"type": "string", "format": "binary"}}
TEXT = {"schema": {"type": "string"}}
RESULT_TYPES: dict[str, Any] = {
    JSON: {"schema": {"type": "object", "additionalProperties": True}},
    NPZ: BINARY,
    CSV: TEXT,
    SVG: TEXT,
    PNG: BINARY,
}

router = APIRouter(tags=["api"])

IdHere = Annotated[str, Path(description="`id` of a job.")]


async def known(id: IdHere, jobs: JobsHere) -> str:
    """Return the job's id; raises NoSuchJob or JobExpired."""
    return (await jobs.find(id)).id


Known = Annotated[str, Depends(known)]


@router.get("/jobs/{id}", response_description="How far it is.", responses=problems(404, 410, 422))
async def show_job(id: IdHere, response: Response, jobs: JobsHere) -> documents.JobDocument:
    """Show how far a job is; a browser gets a page that refreshes itself."""
    response.headers.update({"Cache-Control": "no-store", "Vary": "Accept"})
    return documents.describe_job(await jobs.find(id))


@router.get(
    "/jobs/{id}/events",
    response_class=EventSourceResponse,
    response_description="Server-sent events, each with JSON.",
    responses=problems(404, 410, 422),
)
async def watch_job(
    request: Request, id: Known, engine: EngineHere, jobs: JobsHere
) -> AsyncIterable[ServerSentEvent]:
    """Report a job as `progress` events whenever it changes; `end` comes with its last state."""
    report = _draw if "hx-request" in request.headers else _document
    async for job in jobs.watch(id):
        if engine.stopping:
            return
        for event in report(job):
            yield event


def _document(job: Job) -> list[ServerSentEvent]:
    document = documents.describe_job(job).model_dump()
    return [ServerSentEvent(data=document, event="end" if job.ended else "progress")]


def _draw(job: Job) -> list[ServerSentEvent]:
    """Draw the inside of the fragment; htmx puts in what has no name, and closes on `end`."""
    shown = ServerSentEvent(raw_data=draw("_job.html", job_progress(job, inside=True)))
    return [shown, ServerSentEvent(raw_data="end", event="end")] if job.ended else [shown]


@router.get(
    "/jobs/{id}/result",
    response_class=Response,
    response_description="The result, in the kind that Accept prefers.",
    responses={200: {"content": RESULT_TYPES}, **problems(404, 406, 409, 410, 422)},
)
async def show_result(request: Request, id: IdHere, jobs: JobsHere) -> Response:
    """Give a job's result: JSON, numpy arrays (NPZ), a table (CSV), or its figure (SVG, PNG)."""
    media_type = negotiate_result(request)
    return await result_answer(jobs, await jobs.find(id), media_type)


@router.delete(
    "/jobs/{id}",
    status_code=204,
    response_description="It is cancelled, or had ended before.",
    responses=problems(404, 410, 422),
)
async def cancel_job(id: IdHere, jobs: JobsHere) -> None:
    """Cancel a job, for all who asked for it."""
    await jobs.cancel(id)


def negotiate_result(request: Request) -> str:
    """Choose the kind of result that a client prefers; raises NotAcceptable."""
    return negotiate(request.headers.get("accept", ""), RESULTS)


async def result_answer(jobs: Jobs, job: Job, media_type: str) -> Response:
    """Answer with a job's result; raises JobUnfinished where it has none."""
    suffix = RESULTS[media_type]
    content = await jobs.result(job.id, suffix)
    name = f"{job.question.experiment}.{suffix}"
    headers = {
        "Cache-Control": "no-cache",
        "Content-Disposition": f'inline; filename="{name}"',
        "Vary": "Accept",
    }
    return Response(content, media_type=media_type, headers=headers)
