"""What the server did and holds: one log line a request, and /metrics for Prometheus."""

import logging
import time
from collections.abc import Iterator
from typing import Any

from fastapi import Request
from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.engine.engine import Engine
from app.engine.jobs import Jobs
from app.photos.uploads import Uploads
from app.web.errors import CLIENT_LEFT, Problem, respond
from app.web.language import gettext
from app.web.logs import REQUEST_ID, begin_request, notes

log = logging.getLogger("deconvnet.requests")
errors = logging.getLogger("deconvnet.errors")


class RequestLog:
    """Writes down and counts what was asked, and for which reason what was refused was."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.requests = Counter(
            "deconvnet_requests", "Requests answered.", ("route", "status"), registry=registry
        )
        self.seconds = Histogram(
            "deconvnet_request_seconds", "Time to answer.", ("route",), registry=registry
        )
        self.refusals = Counter(
            "deconvnet_refusals", "Requests refused or failed.", ("reason",), registry=registry
        )

    def note(
        self, method: str, route: str, status: int, nbytes: int, seconds: float, **facts: Any
    ) -> None:
        """Log and count one request; ``facts`` may hold the reason why it was refused."""
        self.requests.labels(route, status).inc()
        self.seconds.labels(route).observe(seconds)
        if status >= 400:
            facts.setdefault("reason", str(status))
            self.refusals.labels(facts["reason"]).inc()
        line = {"method": method[:16], "route": route, "status": status}
        log.info(line | {"ms": round(seconds * 1000, 1), "bytes": nbytes} | facts)


class Observer:
    """Give every request an id, log and count it; what fails unforeseen is answered with 500."""

    def __init__(self, app: ASGIApp, log: RequestLog) -> None:
        self.app = app
        self.log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        start, status, size, id = time.perf_counter(), 0, 0, begin_request()

        async def count(message: Message) -> None:
            nonlocal status, size
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[REQUEST_ID] = id
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
            route = getattr(scope.get("route"), "path", "none")
            seconds = time.perf_counter() - start
            left = {"reason": "client_left"} if not status else {}
            facts = left | notes(scope)
            self.log.note(scope["method"], route, status or CLIENT_LEFT, size, seconds, **facts)


async def _fail(scope: Scope, receive: Receive, send: Send) -> None:
    request = Request(scope, receive)
    sentence = gettext("The server failed here; its log says why.")
    problem = Problem(500, sentence, reason="unforeseen")
    await respond(request, problem)(scope, receive, send)


class Holdings(Collector):
    """Report what the server holds at the moment of asking."""

    def __init__(self, engine: Engine, uploads: Uploads, jobs: Jobs) -> None:
        self.engine = engine
        self.uploads = uploads
        self.jobs = jobs

    def collect(self) -> Iterator[Metric]:
        """Yield one number for each thing held, waiting or, where its name says so, counted."""
        for holder in (self.engine, self.uploads, self.jobs):
            for name, (meaning, value) in holder.holdings().items():
                family = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
                yield family(f"deconvnet_{name}", meaning, value)
        for name, cache in {**self.engine.caches(), "photos": self.uploads.cache}.items():
            prefix = f"deconvnet_{name}_held"
            yield GaugeMetricFamily(prefix, f"How many {name} are held in memory.", len(cache))
            yield GaugeMetricFamily(f"{prefix}_bytes", f"Memory of the {name} held.", cache.nbytes)
            yield GaugeMetricFamily(
                f"{prefix}_budget_bytes", f"Memory that {name} may take.", cache.budget
            )
            for found, count in (("hits", cache.hits), ("misses", cache.misses)):
                name_found = f"deconvnet_{name}_{found}"
                yield CounterMetricFamily(name_found, f"Looks for {name} held: {found}.", count)
