"""What the OpenAPI document says beyond what FastAPI finds by itself."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from app.web import documents
from app.web.errors import MEDIA_TYPE

PROBLEMS: dict[int, str] = {
    400: "The request cannot be read, or names a host that this server does not answer as.",
    401: "The server asks for its token.",
    403: "A page of another site asked.",
    404: "Unknown network, layer, photo or job; the sentence names the known ones.",
    405: "The path does not take this method.",
    406: "None of the accepted media types can be given.",
    409: "The job has no result: it is under way, failed, or was cancelled.",
    410: "The time of the photo or result is over.",
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


def links(id: str, *operations: str) -> dict[str, Any]:
    """Describe where an answer leads: to operations that take the id at this place of it."""
    parameters = {"id": f"$response.body#{id}"}
    return {name: {"operationId": name, "parameters": parameters} for name in operations}


def describe(app: FastAPI) -> dict[str, Any]:
    """Describe the API once, with the problem document that FastAPI does not know of."""
    if app.openapi_schema is None:
        schema = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes
        )
        problem = documents.ProblemDocument.model_json_schema()
        schema["components"]["schemas"]["ProblemDocument"] = problem
        app.openapi_schema = schema
    return app.openapi_schema
