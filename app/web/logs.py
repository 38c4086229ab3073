"""What is written to standard error: lines of JSON, each with the id of its request."""

import json
import logging
import sys
import time
import uuid
from contextvars import ContextVar
from typing import Any

from fastapi import Request
from starlette.types import Scope

REQUEST_ID = "X-Request-ID"
"""The header of every answer that names its request."""
_request_id: ContextVar[str] = ContextVar("request_id", default="")


def begin_request() -> str:
    """Give the request that is handled from here on an id, which nobody else chose."""
    id = str(uuid.uuid4())
    _request_id.set(id)
    return id


def request_id() -> str:
    """Return the id of the request that is being handled; empty outside of one."""
    return _request_id.get()


def note(request: Request, **facts: Any) -> None:
    """Add facts to the request's log line: never names, tokens or bytes that a client sent."""
    notes(request.scope).update(facts)


def notes(scope: Scope) -> dict[str, Any]:
    """Return what was noted of a request for its log line."""
    facts: dict[str, Any] = scope.setdefault("state", {}).setdefault("noted", {})
    return facts


class OneLine(logging.Formatter):
    """Writes a record as one line of JSON, its traceback too."""

    def format(self, record: logging.LogRecord) -> str:
        """Write a record; what was logged as a mapping is the document of a request."""
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record.created))
        line: dict[str, object] = {"time": f"{when},{record.msecs:03.0f}"}
        if isinstance(record.msg, dict):
            return json.dumps(line | {"request": {"id": request_id()} | record.msg})
        line |= {"level": record.levelname, "logger": record.name, "id": request_id()}
        line["message"] = record.getMessage()
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line)


def configure_logging() -> None:
    """Write requests, warnings and failures to standard error, a line each."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(OneLine())
    logging.getLogger().addHandler(handler)
    logging.getLogger("deconvnet.requests").setLevel(logging.INFO)
    logging.getLogger("python_multipart").setLevel(logging.ERROR)  # it warns of every odd form
