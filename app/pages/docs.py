"""The API described for people, from its own OpenAPI document; needs no JavaScript."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse
from starlette.responses import Response

from app.web.templates import show

router = APIRouter()


@dataclass(frozen=True)
class Field:
    """A parameter of an operation."""

    name: str
    value_type: str
    default: str
    description: str


@dataclass(frozen=True)
class Operation:
    """One method of one path."""

    method: str
    path: str
    description: str
    fields: tuple[Field, ...]
    answers: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True)
class Docs:
    """The API's page: what it is, where this server is, and every operation."""

    title: str
    description: str
    server: str
    operations: tuple[Operation, ...]


@router.get("/docs", response_class=HTMLResponse, include_in_schema=False)
def show_docs(request: Request) -> Response:
    """Show every operation of the API, its parameters and its answers."""
    schema = request.app.openapi()
    page = Docs(
        schema["info"]["title"],
        schema["info"]["description"],
        str(request.base_url).rstrip("/"),
        tuple(operations(schema)),
    )
    return show(request, "docs/docs.html", page)


def operations(schema: Mapping[str, Any]) -> Iterator[Operation]:
    """Yield the operations that an OpenAPI document describes."""
    for path, methods in schema["paths"].items():
        for method, operation in methods.items():
            yield Operation(
                method.upper(),
                path,
                operation.get("description", ""),
                tuple(_fields(schema, operation)),
                tuple(_answers(operation)),
            )


def _fields(schema: Mapping[str, Any], operation: Mapping[str, Any]) -> Iterator[Field]:
    for parameter in operation.get("parameters", ()):
        yield _field(parameter["name"], parameter["schema"] | parameter)
    for body in operation.get("requestBody", {}).get("content", {}).values():
        form = schema["components"]["schemas"][body["schema"]["$ref"].rpartition("/")[2]]
        for name, each in form["properties"].items():
            yield _field(name, each)


def _field(name: str, each: Mapping[str, Any]) -> Field:
    value_types = [
        value_type for value_type in each.get("anyOf", [each]) if value_type.get("type") != "null"
    ]
    value_type = ", ".join(value_types[0].get("enum", [value_types[0].get("type", "")]))
    if value_types[0].get("contentMediaType") or value_types[0].get("format") == "binary":
        value_type = "file"
    default = each.get("default")
    return Field(
        name, value_type, "" if default is None else str(default), each.get("description", "")
    )


def _answers(operation: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    for status, answer in operation["responses"].items():
        yield status, ", ".join(answer.get("content", {})), answer["description"]
