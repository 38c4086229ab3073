"""Failures as RFC 9457 problems: one table from error to status, one shape for every answer."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.routing import Match

import models
from app import storage
from app.engine import device, engine, experiments, jobs, places
from app.photos import decoders, decoding, uploads
from app.web.addresses import url
from app.web.language import gettext, noted, written
from app.web.logs import note, request_id
from app.web.sentences import sentence

MEDIA_TYPE = "application/problem+json"
CLIENT_LEFT = 499
SOON_SECONDS = 5


class NotAcceptable(models.DeconvnetError):
    """None of the media types that the client accepts can be given."""


class WrongMediaType(models.DeconvnetError):
    """The request's body is not of the kind that is read here."""


class RequestMalformed(models.DeconvnetError):
    """What arrived is no HTTP request."""


class HeadersTooLong(models.DeconvnetError):
    """The head of a request, or of a chunk, has no end within the limit."""


class ChunksTooSmall(models.DeconvnetError):
    """A body comes in so many small chunks that reading them would hold up others."""


STATUS: Mapping[type[Exception], int] = {
    models.UnknownNetwork: 404,
    models.UnknownLayer: 404,
    models.InvalidChoice: 422,
    models.UnknownWeights: 404,
    models.WeightsArriving: 503,
    models.WeightsInvalid: 503,
    models.WeightsMissing: 503,
    models.NoExamples: 404,
    models.ExamplesInvalid: 503,
    decoding.UnreadablePhoto: 415,
    decoding.PhotoTooLarge: 413,
    uploads.NoSuchPhoto: 404,
    uploads.PhotoExpired: 410,
    storage.StorageFull: 503,
    storage.StorageRefused: 503,
    storage.StorageClosed: 503,
    storage.SecretInvalid: 503,
    decoders.DecoderLost: 503,
    engine.Stopping: 503,
    places.QueueFull: 503,
    engine.Overdue: 503,
    models.OutOfMemory: 503,
    models.DeviceLost: 503,
    device.DeviceHung: 503,
    engine.ClientLeft: CLIENT_LEFT,
    experiments.UnknownExperiment: 404,
    jobs.NoSuchJob: 404,
    jobs.JobExpired: 410,
    jobs.JobsFull: 503,
    jobs.JobUnfinished: 409,
    jobs.JobFailed: 503,
    NotAcceptable: 406,
    WrongMediaType: 415,
    RequestMalformed: 400,
    HeadersTooLong: 431,
    ChunksTooSmall: 400,
}
"""Every error that a client can cause or meet, and the status that it gets."""

WORTH_RETRYING = (
    models.WeightsArriving,
    places.QueueFull,
    engine.Overdue,
    engine.Stopping,
    decoders.DecoderLost,
    models.OutOfMemory,
    models.DeviceLost,
    device.DeviceHung,
    jobs.JobsFull,
    jobs.JobLost,
)


HEADINGS: Mapping[int, str] = {
    404: noted("Not found"),
    405: noted("Not possible"),
    409: noted("Not done yet"),
    410: noted("No longer here"),
    413: noted("Too large"),
    415: noted("Not readable"),
    422: noted("Not possible"),
    503: noted("Not now"),
}
"""What a page is called that says what went wrong, by its status."""


@dataclass(frozen=True)
class Problem:
    """One failure as its reader sees it; `detail` is a sentence with the way out.

    ``reason`` is the word by which it is counted and logged; there are few of them.
    """

    status: int
    detail: str
    headers: Mapping[str, str] = field(default_factory=dict)
    reason: str = ""

    @property
    def title(self) -> str:
        """Name the status."""
        return gettext(self.phrase)

    @property
    def heading(self) -> str:
        """Say in a word or two for people what the title says for programs."""
        return gettext(HEADINGS.get(self.status, self.phrase))

    @property
    def phrase(self) -> str:
        """Name the status as HTTP does, in English."""
        return phrase_of(self.status)

    @property
    def request(self) -> str:
        """Return the id of the request that is being handled, as the log has it."""
        return request_id()

    @property
    def document(self) -> dict[str, str | int]:
        """Write it as RFC 9457 does, with the id of the request that is being handled."""
        occurrence = {"instance": f"urn:uuid:{self.request}"} if self.request else {}
        return {
            "type": "about:blank",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            **occurrence,
        }


def phrase_of(status: int) -> str:
    """Name a status as HTTP does, in English."""
    return "Client Left" if status == CLIENT_LEFT else HTTPStatus(status).phrase


WHOLE = noted("'{name}' should be a whole number, not {value}.")
NO_NUMBER = noted("'{name}' should be a number, not {value}.")
WRONG: Mapping[str, str] = {
    "missing": noted("'{name}' is missing."),
    "int_parsing": WHOLE,
    "int_parsing_size": WHOLE,
    "int_type": WHOLE,
    "int_from_float": WHOLE,
    "float_parsing": NO_NUMBER,
    "float_type": NO_NUMBER,
    "string_type": noted("'{name}' should be text, not {value}."),
    "literal_error": noted("'{name}' should be one of {expected}, not {value}."),
    "enum": noted("'{name}' should be one of {expected}, not {value}."),
    "greater_than_equal": noted("'{name}' should be greater than or equal to {ge}, not {value}."),
    "less_than_equal": noted("'{name}' should be less than or equal to {le}, not {value}."),
    "greater_than": noted("'{name}' should be greater than {gt}, not {value}."),
    "less_than": noted("'{name}' should be less than {lt}, not {value}."),
}
"""What is said of a parameter that has not the form that is declared, by pydantic's name for it."""

PageOfProblem = Callable[[Request, Problem], Response]
"""How pages show a problem; `app.state.page_of_problem` once there are pages."""


def respond(request: Request, problem: Problem) -> Response:
    """Answer with the problem: as a page or fragment to a browser, else as problem+json."""
    note(request, reason=problem.reason or str(problem.status))
    page: PageOfProblem | None = getattr(request.app.state, "page_of_problem", None)
    if page and wants_page(request):
        response = page(request, problem)
        response.headers.update(problem.headers)
        return response
    return JSONResponse(problem.document, problem.status, problem.headers, MEDIA_TYPE)


def wants_page(request: Request) -> bool:
    """Tell whether a browser asks, rather than a program."""
    return "text/html" in request.headers.get("accept", "") or "hx-request" in request.headers


def problem_of(error: models.DeconvnetError) -> Problem:
    """Find an error's status and sentence."""
    status = next(STATUS[error_type] for error_type in type(error).__mro__ if error_type in STATUS)
    headers = {}
    if isinstance(error, WORTH_RETRYING):
        headers["Retry-After"] = str(error.fields.get("retry_after", SOON_SECONDS))
    return Problem(status, sentence(error), headers, reason_of(error))


def reason_of(error: models.DeconvnetError) -> str:
    """Name an error for who counts them: its class, and which of its cases."""
    name = re.sub(r"(?<!^)(?=[A-Z])", "_", type(error).__name__).lower()
    return f"{name}.{error.reason}" if error.reason else name


def install(app: FastAPI) -> None:
    """Make every failure of the application a problem."""
    for error_type in STATUS:
        app.add_exception_handler(error_type, _of_ours)
    app.add_exception_handler(HTTPException, _of_framework)
    app.add_exception_handler(RequestValidationError, _of_parameters)


def _of_ours(request: Request, error: Exception) -> Response:
    assert isinstance(error, models.DeconvnetError)
    return respond(request, problem_of(error))


def _of_framework(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    headers = dict(error.headers or {})
    if error.status_code == 405:
        headers["Allow"] = _allowed(request)
    return respond(request, Problem(error.status_code, _sentence(request, error), headers))


def _allowed(request: Request) -> str:
    """List the methods that a path takes, whichever of its routes takes them."""
    known = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
    scopes = (dict(request.scope, method=method) for method in known)
    taken = (
        scope["method"]
        for scope in scopes
        if any(route.matches(scope)[0] is Match.FULL for route in request.app.routes)
    )
    return ", ".join(taken)


def _sentence(request: Request, error: HTTPException) -> str:
    path = request.url.path[:80]
    match error.status_code:
        case 404:
            nothing = gettext("There is nothing at '{path}'; the API is described at {docs}.")
            return nothing.format(path=path, docs=url("/docs"))
        case 405:
            allowed = _allowed(request) or gettext("another method")
            wrong = gettext("{method} is not possible at '{path}'; it takes {allowed}.")
            return wrong.format(method=request.method, path=path, allowed=allowed)
        case 413:
            return too_long(request.app.state.settings.max_upload_bytes)
        case 400:
            return gettext("The request cannot be read: {cause}").format(cause=error.detail)
    return gettext(str(error.detail))


def too_long(limit: int) -> str:
    """Say that a request's body is over the limit."""
    large = gettext("The request is larger than {limit} bytes: send a smaller photo.")
    return large.format(limit=written(f"{limit:,}"))


def _of_parameters(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    sentences = dict.fromkeys(_describe(one) for one in error.errors())
    return respond(request, Problem(422, " ".join(sentences), reason="parameter"))


def _describe(error: Mapping[str, object]) -> str:
    where = error.get("loc")
    name = str(where[-1]) if isinstance(where, tuple) and where else "request"
    if said := WRONG.get(str(error.get("type"))):
        fields = {"name": name, "value": _shorten(error.get("input"))}
        return gettext(said).format(**fields, **_context(error))
    message = str(error.get("msg", "is not valid")).removeprefix("Value error, ")
    return gettext("'{name}' is not valid: {message}.").format(name=name, message=message)


def _context(error: Mapping[str, object]) -> dict[str, str]:
    """Read what pydantic says of the form; words to choose from come as `'a', 'b' or 'c'`."""
    context = error.get("ctx")
    known = context.items() if isinstance(context, dict) else ()
    return {name: str(value).replace(" or ", ", ") for name, value in known}


def _shorten(value: object) -> str:
    text = value if isinstance(value, str) else type(value).__name__
    return f"'{text[:40]}…'" if len(text) > 40 else f"'{text}'"
