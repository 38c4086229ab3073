"""The page of a job: how far it is, and what it found."""

import asyncio
import csv
import io
import json
from dataclasses import dataclass, replace
from itertools import islice
from typing import Literal
from urllib.parse import urlencode

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from app.engine.job_files import Job
from app.engine.jobs import Jobs
from app.pages.evolution_view import EvolutionView, view_evolution
from app.pages.occlusion_view import OcclusionView, view_occlusion
from app.web.addresses import WrittenAddress
from app.web.answers import CSV, JSON, NPZ, PNG, SVG
from app.web.dependencies import EngineHere, JobsHere
from app.web.examples import EXPERIMENT
from app.web.fragments import JobProgress, job_progress
from app.web.language import gettext, written
from app.web.negotiation import PageRoute
from app.web.templates import show

ROWS = 400
"""Most rows of a result's table on its page; its CSV has them all."""
REFRESH_SECONDS = 2
MEDIA_TYPES = {"json": JSON, "npz": NPZ, "csv": CSV, "svg": SVG, "png": PNG}
FOR_EVER = "private, max-age=31536000, immutable"

Suffix = Literal["json", "npz", "csv", "svg", "png"]
Panel = Literal["photo", "activation", "projection", "probability", "best_class"]

for_people = APIRouter(
    include_in_schema=False, default_response_class=HTMLResponse, route_class=PageRoute
)
router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)


@dataclass(frozen=True)
class Table:
    """The first rows of a result's table; ``more`` counts those left out."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    more: int


@dataclass(frozen=True)
class JobPage:
    """A job's page: what was asked, how far it is, and what was found.

    ``hidden`` are the fields that ask the same again, ``change`` leads to where it was asked for.
    """

    job: Job
    progress: JobProgress
    hidden: tuple[tuple[str, str], ...]
    change: WrittenAddress
    refresh: int
    table: Table | None = None
    occlusion: OcclusionView | None = None
    evolution: EvolutionView | None = None


@for_people.get("/jobs/{id}")
async def show_job(request: Request, id: str, engine: EngineHere, jobs: JobsHere) -> Response:
    """Show how far a job is, or what it found."""
    job = await jobs.find(id)
    if job.question.experiment == EXPERIMENT:  # it is watched where its index will stand
        weights = job.question.weights[:8]
        wall = f"/examples/{job.question.network}?{urlencode({'weights': weights})}"
        return RedirectResponse(wall, 303)
    page = _page(job)
    if job.state == "done" and job.question.experiment == "occlusion":
        page = await _with_occlusion(request, page, jobs)
    elif job.state == "done" and job.question.experiment == "evolution":
        document = json.loads(await jobs.result(job.id, "json"))
        view = view_evolution(job.id, document, request.query_params)
        page = replace(page, table=await _table(jobs, job), evolution=view)
    elif job.state == "done":
        page = replace(page, table=await _table(jobs, job))
    return show(request, "jobs/job.html", page, vary="Accept")


def _page(job: Job) -> JobPage:
    asked = job.question
    weights = asked.weights[:8] if len(asked.weights) == 64 else asked.weights
    of_network = [("network", asked.network), ("weights", weights)] if asked.network else []
    options = [*of_network, *asked.options.items()]
    images = [*(("image", id) for id in asked.images)]
    return JobPage(
        job,
        job_progress(job),
        (*(("image_id", id) for id in asked.images), *options),
        WrittenAddress(f"/experiments/{asked.experiment}?{urlencode([*images, *options])}"),
        REFRESH_SECONDS,
    )


async def _with_occlusion(request: Request, page: JobPage, jobs: Jobs) -> JobPage:
    id = page.job.id
    found = json.loads(await jobs.result(id, "json"))
    key = json.loads(await jobs.result(id, "key.json"))
    side = found["weights"]["preprocessing"]["size"]
    view = view_occlusion(id, found, key, request.query_params, side)
    return replace(page, occlusion=view)


async def _table(jobs: Jobs, job: Job) -> Table:
    text = (await jobs.result(job.id, "csv")).decode()
    return await asyncio.to_thread(read_table, text)


def read_table(text: str) -> Table:
    """Read the first rows of a table in CSV."""
    reader = csv.reader(io.StringIO(text))
    columns = tuple(_say(name) for name in next(reader))
    rows = tuple(tuple(_short(cell) for cell in row) for row in islice(reader, ROWS))
    return Table(columns, rows, sum(1 for _ in reader))


def _short(cell: str) -> str:
    """Write a number in few digits; say other text in the reader's language."""
    try:
        return cell if cell.lstrip("-").isdecimal() else written(f"{float(cell):.4g}")
    except ValueError:
        return _say(cell)


def _say(word: str) -> str:
    """Say a word of a result's table in the reader's language; the names of layers stay."""
    if (layer := word.removesuffix(" error")) != word:
        return gettext("{layer} error").format(layer=layer)
    if (layer := word.removesuffix(" random")) != word:
        return gettext("{layer} random").format(layer=layer)
    return gettext(word)


@router.post("/jobs/{id}/cancel")
async def cancel(id: str, jobs: JobsHere) -> RedirectResponse:
    """Cancel a job, and go back to its page."""
    await jobs.cancel(id)
    return RedirectResponse(f"/jobs/{id}", 303)


@router.get("/jobs/{id}/result.{suffix}")
async def show_file(id: str, suffix: Suffix, jobs: JobsHere) -> Response:
    """Give a result as a file of one kind."""
    job = await jobs.find(id)
    parts = (job.question.experiment, job.question.network)
    name = f"{'-'.join(filter(None, parts))}.{suffix}"
    return await _file(jobs, id, suffix, name)


@router.get("/jobs/{id}/maps/{feature}-{epoch}.png")
async def show_map(id: str, feature: int, epoch: int, jobs: JobsHere) -> Response:
    """Show what a followed map saw at an epoch."""
    name = f"{feature}-{epoch}.png"
    return await _file(jobs, id, name, name)


@router.get("/jobs/{id}/panels/{panel}.png")
async def show_panel(id: str, panel: Panel, jobs: JobsHere) -> Response:
    """Show one panel of an occlusion."""
    return await _file(jobs, id, f"{panel}.png", f"{panel}.png")


async def _file(jobs: Jobs, id: str, entry: str, name: str) -> Response:
    content = await jobs.result(id, entry)
    headers = {"Cache-Control": FOR_EVER, "Content-Disposition": f'inline; filename="{name}"'}
    media_type = MEDIA_TYPES[name.rpartition(".")[2]]
    return Response(content, media_type=media_type, headers=headers)
