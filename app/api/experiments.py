"""`POST /experiments/{name}`: the paper's experiments, each a job."""

import re
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from inspect import Parameter
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Form, Header, Request, Response
from fastapi.responses import JSONResponse, RedirectResponse

from app.api.jobs import RESULT_TYPES, negotiate_result, result_answer
from app.api.openapi import links, problems
from app.engine.engine import Engine, Overdue
from app.engine.experiments import EXPERIMENTS, Experiment, check_photos
from app.engine.folders import (
    FOLDER_EXPERIMENTS,
    FolderExperiment,
    find_folders,
    fingerprint,
)
from app.engine.folders import begin as begin_on_folders
from app.engine.job_files import Job, Question
from app.engine.jobs import Jobs, JobUnfinished, Run
from app.photos.uploads import Uploads
from app.web import documents
from app.web.choice import form_reader, takes, write_query
from app.web.dependencies import (
    EngineHere,
    JobsHere,
    PhotoInput,
    PhotosHere,
    UploadsHere,
    admit,
    check_form,
    engine_of,
    until_disconnect,
)
from app.web.negotiation import prefers_page

WAIT = re.compile(r"(?:^|[,;\s])wait\s*=\s*\"?(\d{1,6})", re.IGNORECASE)

router = APIRouter(tags=["api"])

Prefer = Annotated[
    str | None,
    Header(
        description="`wait=N`: answer with the result, if it is there within so many seconds.",
        examples=["wait=10"],
    ),
]


ON_JOBS = (
    "show_job_jobs__id__get",
    "show_result_jobs__id__result_get",
    "watch_job_jobs__id__events_get",
    "cancel_job_jobs__id__delete",
)
"""What can be asked of a job, by the names of the operations."""


def offer(experiment: Experiment) -> None:
    """Declare the route of an experiment; its fields are those of its request."""
    asked_here = Depends(form_reader(experiment.request, Form))

    async def post(
        request: Request,
        engine: EngineHere,
        uploads: UploadsHere,
        jobs: JobsHere,
        sent: PhotosHere,
        prefer: Prefer = None,
        asked: Any = asked_here,
    ) -> Response:
        return await _answer(
            request, jobs, prefer, lambda: ask(experiment, asked, sent, engine, uploads, jobs)
        )

    _declare(experiment, post)


def offer_on_folders(experiment: FolderExperiment) -> None:
    """Declare the route of an experiment on folders: their names, and the request's fields."""
    asked_here = Depends(form_reader(experiment.request, Form))
    names_here = Depends(_names_reader(experiment))

    async def post(
        request: Request,
        engine: EngineHere,
        jobs: JobsHere,
        names: Any = names_here,
        prefer: Prefer = None,
        asked: Any = asked_here,
    ) -> Response:
        await check_form(request)
        return await _answer(
            request, jobs, prefer, lambda: ask_on_folders(experiment, asked, names, engine, jobs)
        )

    _declare(experiment, post)


def _names_reader(experiment: FolderExperiment) -> Callable[..., Mapping[str, str]]:
    """Make a dependency that reads from a form which folders are meant, by field."""
    annotated: Any = Annotated
    fields = [
        Parameter(
            each.name,
            Parameter.KEYWORD_ONLY,
            annotation=annotated[str, Form(description=each.meaning)],
        )
        for each in experiment.folders
    ]

    @takes(fields)
    def read_names(**names: str) -> Mapping[str, str]:
        """Read the names of folders."""
        return names

    return read_names


def _declare(
    experiment: Experiment | FolderExperiment, post: Callable[..., Awaitable[Response]]
) -> None:
    router.post(
        f"/experiments/{experiment.name}",
        name=experiment.name,
        summary=f"Run {experiment.name}",
        description=experiment.does,
        status_code=202,
        response_model=documents.JobDocument,
        response_description="The job that runs it; `Location` says where it is watched.",
        responses={
            202: {
                "headers": {"Location": {"schema": {"type": "string"}}},
                "links": links("/id", *ON_JOBS),
            },
            200: {
                "description": "With `Prefer: wait=N`, the result in the kind that Accept prefers.",
                "content": RESULT_TYPES,
            },
            303: {"description": "To the job's page, for who prefers text/html."},
            **problems(404, 406, 409, 410, 413, 415, 422, 503),
        },
    )(post)


async def _answer(
    request: Request,
    jobs: Jobs,
    prefer: str | None,
    work: Callable[[], Coroutine[Any, Any, Job]],
) -> Response:
    """Answer with the job that runs an experiment, or its result where the client waits for it."""
    engine = engine_of(request)
    page = prefers_page(request.headers.get("accept", ""))
    media_type = "" if page else negotiate_result(request)
    job = await admit(request, engine, work)
    if page and "hx-request" in request.headers:
        return Response(headers={"HX-Redirect": f"/jobs/{job.id}"})
    if page:
        return RedirectResponse(f"/jobs/{job.id}", 303)
    seconds = _seconds(prefer, engine)
    if seconds is not None:
        job = await _wait(request, engine, jobs, job, seconds)
    if seconds is not None and job.ended:
        answer = await result_answer(jobs, job, media_type)
        answer.headers["Preference-Applied"] = f"wait={seconds}"
        return answer
    headers = {"Location": f"/jobs/{job.id}", "Vary": "Accept, Prefer"}
    return JSONResponse(documents.describe_job(job).model_dump(), 202, headers)


async def ask(
    experiment: Experiment,
    asked: Any,
    sent: Sequence[PhotoInput],
    engine: Engine,
    uploads: Uploads,
    jobs: Jobs,
) -> Job:
    """Return the job that runs an experiment, begun where there is none yet."""
    network = await engine.network(asked.network, asked.weights)
    ids = [(await each.find(uploads)).id for each in sent]
    check_photos(experiment, ids)
    complete = replace(experiment.complete(network, asked), network=None, weights=None)
    weights = network.provenance.sha256 or network.provenance.source
    question = Question(experiment.name, tuple(ids), network.name, weights, write_query(complete))

    async def begin() -> Run:
        """Begin with what is there when the job's turn comes, so that waiting holds no memory."""
        again = await engine.network(question.network, weights[:8])
        photos = [await uploads.find(id) for id in ids]
        framed = [await engine.framed(photo, again, complete.fit) for photo in photos]
        return experiment.begin(again, framed, complete)

    await begin()  # raises at once for what cannot be answered
    return await jobs.ask(question, begin, experiment.encode)


async def ask_on_folders(
    experiment: FolderExperiment,
    asked: Any,
    names: Mapping[str, str],
    engine: Engine,
    jobs: Jobs,
) -> Job:
    """Return the job that runs an experiment on registered folders, begun where there is none."""
    places = find_folders(experiment, names, engine.settings)
    network, about = None, ("", "")
    if experiment.has_network:
        network = await engine.network(asked.network, asked.weights)
        about = network.name, network.provenance.sha256 or network.provenance.source
        asked = replace(asked, network=None, weights=None)
    content = await engine.beside(lambda: fingerprint(experiment, places))
    options = {**names, **write_query(asked)}
    question = Question(experiment.name, (), *about, options, content)

    async def begin() -> Run:
        again = await engine.network(about[0], about[1][:8]) if network else None
        return await engine.beside(
            lambda: begin_on_folders(experiment, places, names, again, asked, engine.settings)
        )

    await begin()  # raises at once for what cannot be answered
    return await jobs.ask(question, begin, experiment.encode)


def _seconds(prefer: str | None, engine: Engine) -> int | None:
    """Read for how long a client would wait, at most as long as a request may take."""
    match = WAIT.search(prefer or "")
    return min(int(match[1]), int(engine.settings.request_seconds)) if match else None


async def _wait(request: Request, engine: Engine, jobs: Jobs, job: Job, seconds: int) -> Job:
    with suppress(Overdue):
        waited = engine.with_deadline(jobs.wait(job.id, seconds))
        job = await until_disconnect(request, waited)
    if job.failure:
        raise job.failure
    if job.state == "cancelled":
        raise JobUnfinished("cancelled")
    return job


for each in EXPERIMENTS.values():
    offer(each)
for on_folders in FOLDER_EXPERIMENTS.values():
    offer_on_folders(on_folders)
