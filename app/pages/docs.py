"""The API described for people, from its own OpenAPI document; needs no JavaScript."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

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


class Answer(NamedTuple):
    """One way in which an operation may answer."""

    status: str
    media_types: str
    meaning: str


@dataclass(frozen=True)
class Operation:
    """One method of one path."""

    method: str
    path: str
    description: str
    fields: tuple[Field, ...]
    answers: tuple[Answer, ...]


@dataclass(frozen=True)
class Docs:
    """The API's page: what it is, where this server is, what it answers, and every operation.

    ``common`` are the answers that every operation may give; they stand once, here.
    """

    title: str
    description: str
    server: str
    answer: tuple[Field, ...]
    common: tuple[Answer, ...]
    operations: tuple[Operation, ...]


@router.get("/docs", response_class=HTMLResponse, include_in_schema=False)
def show_docs(request: Request) -> Response:
    """Show every operation of the API, its parameters and its answers."""
    schema = request.app.openapi()
    found = tuple(operations(schema))
    common = common_answers(found)
    page = Docs(
        schema["info"]["title"],
        schema["info"]["description"],
        str(request.base_url).rstrip("/"),
        tuple(answer_fields(schema, "VisualizationDocument")),
        common,
        tuple(_without(operation, common) for operation in found),
    )
    return show(request, "docs/docs.html", page)


def common_answers(found: Sequence[Operation]) -> tuple[Answer, ...]:
    """Return the answers that all operations may give, as the first lists them."""
    shared = set[Answer].intersection(*(set(operation.answers) for operation in found))
    return tuple(answer for answer in found[0].answers if answer in shared)


def _without(operation: Operation, common: Sequence[Answer]) -> Operation:
    own = tuple(answer for answer in operation.answers if answer not in common)
    return replace(operation, answers=own)


def answer_fields(schema: Mapping[str, Any], document: str, prefix: str = "") -> Iterator[Field]:
    """Yield the fields of a document and of those inside it: `projections[].feature`."""
    for name, each in schema["components"]["schemas"][document]["properties"].items():
        yield _field(prefix + name, each)
        inner = each
        for one in each.get("anyOf", ()):
            inner = one if one.get("type") != "null" else inner
        many = "[]" if inner.get("type") == "array" else ""
        link = inner.get("items", inner).get("$ref")
        if link:
            yield from answer_fields(schema, link.rpartition("/")[2], f"{prefix}{name}{many}.")


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
    value_type = ", ".join(value_types[0].get("enum", [value_types[0].get("type", "object")]))
    if value_types[0].get("contentMediaType") or value_types[0].get("format") == "binary":
        value_type = "file"
    default = each.get("default")
    return Field(
        name, value_type, "" if default is None else str(default), each.get("description", "")
    )


def _answers(operation: Mapping[str, Any]) -> Iterator[Answer]:
    for status, answer in operation["responses"].items():
        yield Answer(status, ", ".join(answer.get("content", {})), answer["description"])
