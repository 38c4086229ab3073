"""What the server did and holds: one log line a request, and /metrics for Prometheus."""

import json
import logging
import sys
import time
from collections.abc import Iterator
from typing import Any

from fastapi import Request
from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.engine.engine import Engine
from app.engine.jobs import Jobs
from app.photos.uploads import Uploads
from app.web.errors import CLIENT_LEFT, Problem, respond
from app.web.language import gettext

log = logging.getLogger("deconvnet.requests")
errors = logging.getLogger("deconvnet.errors")


class Observer:
    """Log and count every request; what fails unforeseen is logged and answered with a bare 500."""

    def __init__(self, app: ASGIApp, registry: CollectorRegistry) -> None:
        self.app = app
        self.requests = Counter(
            "deconvnet_requests", "Requests answered.", ("route", "status"), registry=registry
        )
        self.seconds = Histogram(
            "deconvnet_request_seconds", "Time to answer.", ("route",), registry=registry
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        start, status, size = time.perf_counter(), 0, 0

        async def count(message: Message) -> None:
            nonlocal status, size
            status = message.get("status", status)
            size += len(message.get("body", b""))
            await send(message)

        try:
            await self.app(scope, receive, count)
        except Exception:
            errors.exception("unforeseen failure")
            if status:
                raise
            await _fail(scope, receive, count)
        finally:
            self._note(scope, status or CLIENT_LEFT, size, time.perf_counter() - start)

    def _note(self, scope: Scope, status: int, size: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "none")
        self.requests.labels(route, status).inc()
        self.seconds.labels(route).observe(seconds)
        line = {"method": scope["method"][:16], "route": route, "status": status}
        line |= {"ms": round(seconds * 1000, 1), "bytes": size}
        log.info(json.dumps(line | scope.get("state", {}).get("noted", {})))


def note(request: Request, **facts: Any) -> None:
    """Add facts to the request's log line: never names, tokens or bytes that a client sent."""
    request.scope.setdefault("state", {}).setdefault("noted", {}).update(facts)


async def _fail(scope: Scope, receive: Receive, send: Send) -> None:
    request = Request(scope, receive)
    problem = Problem(500, gettext("The server failed here; its log says why."))
    await respond(request, problem)(scope, receive, send)


class Holdings(Collector):
    """Report what the server holds at the moment of asking."""

    def __init__(self, engine: Engine, uploads: Uploads, jobs: Jobs) -> None:
        self.engine = engine
        self.uploads = uploads
        self.jobs = jobs

    def collect(self) -> Iterator[Metric]:
        """Yield one gauge for each thing held."""
        for name, (meaning, value) in {**self.engine.holdings(), **self.jobs.holdings()}.items():
            yield GaugeMetricFamily(f"deconvnet_{name}", meaning, value)
        for name, cache in {**self.engine.caches(), "photos": self.uploads.cache}.items():
            prefix = f"deconvnet_{name}_held"
            yield GaugeMetricFamily(prefix, f"How many {name} are held in memory.", len(cache))
            yield GaugeMetricFamily(f"{prefix}_bytes", f"Memory of the {name} held.", cache.nbytes)
            yield GaugeMetricFamily(
                f"{prefix}_budget_bytes", f"Memory that {name} may take.", cache.budget
            )


def configure_logging() -> None:
    """Write the request log and failures to standard error, a line each."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter('{"time": "%(asctime)s", "request": %(message)s}'))
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False
