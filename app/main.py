"""The wiring: settings in, an application out."""

import asyncio
import contextlib
import signal
import socket
from collections.abc import AsyncIterator
from functools import partial
from types import FrameType
from typing import Any

import uvicorn
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from prometheus_client import CollectorRegistry
from starlette.middleware.body_limit import RequestBodyLimitMiddleware

import models
from app.api import downloads, health, images, networks, visualize
from app.engine.engine import Engine
from app.pages import docs, explorer, pictures, start
from app.photos.uploads import Uploads, sweep_forever
from app.settings import Settings
from app.web import documents, errors
from app.web.folders import folder
from app.web.metrics import Holdings, Observer, configure_logging
from app.web.security import Gate, SecureHeaders
from app.web.static import Static

DESCRIPTION = "A photo in, what each layer of AlexNet, ZFNet or a VGG saw in it out: a deconvnet."


def create_app(settings: Settings | None = None) -> FastAPI:
    """Build the application that these settings describe."""
    settings = settings or Settings()
    app = FastAPI(
        title="deconvnet explorer",
        description=DESCRIPTION,
        version="1",
        lifespan=_live,
        form_limits={"max_fields": 32, "max_files": 2, "max_part_size": 64 * 1024},
        docs_url=None,
        redoc_url=None,
    )
    app.state.settings = settings
    app.state.engine = Engine(settings)
    app.state.uploads = Uploads(settings)
    app.state.warm = False
    app.state.collectors = CollectorRegistry()
    app.state.collectors.register(Holdings(app.state.engine, app.state.uploads))
    for resource in (visualize, images, networks, downloads, health):
        app.include_router(resource.router)
    for page in (docs, pictures, start, explorer):
        app.include_router(page.router)
    app.mount("/static", Static(directory=folder("static")))
    app.state.page_of_problem = start.show_problem
    errors.install(app)
    # The last one added meets a request first.
    app.add_middleware(RequestBodyLimitMiddleware, max_body_size=settings.max_upload_bytes)
    app.add_middleware(
        Gate,
        allowed_hosts=settings.allowed_hosts,
        token=settings.api_token,
        max_bytes=settings.max_upload_bytes,
    )
    app.add_middleware(Observer, registry=app.state.collectors)
    app.add_middleware(SecureHeaders)
    app.openapi = lambda: _describe(app)  # type: ignore[method-assign]
    return app


@contextlib.asynccontextmanager
async def _live(app: FastAPI) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(sweep_forever(app.state.uploads))]
    if app.state.warm:
        tasks.append(asyncio.create_task(_warm(app)))
    yield
    for task in tasks:
        task.cancel()
    app.state.engine.stopping = True
    await asyncio.to_thread(app.state.engine.close)


async def _warm(app: FastAPI) -> None:
    """Load what the first request will want, while nobody waits."""
    await app.state.uploads.warm()
    with contextlib.suppress(models.DeconvnetError):
        await app.state.engine.network()


def _describe(app: FastAPI) -> dict[str, Any]:
    """Describe the API once, with the problem document that FastAPI does not know of."""
    if app.openapi_schema is None:
        schema = get_openapi(
            title=app.title, version=app.version, description=DESCRIPTION, routes=app.routes
        )
        problem = documents.ProblemDocument.model_json_schema()
        schema["components"]["schemas"]["ProblemDocument"] = problem
        app.openapi_schema = schema
    return app.openapi_schema


class Server(uvicorn.Server):
    """A server that says it is stopping before it stops: /readyz first, then the port."""

    def __init__(self, config: uvicorn.Config, engine: Engine) -> None:
        super().__init__(config)
        self.engine = engine

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start listening."""
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop on a signal: after a notice on SIGTERM, at once on Ctrl-C or a second signal."""
        at_once = self.engine.stopping or sig == signal.SIGINT
        self.engine.stopping = True
        notice = 0.0 if at_once else self.engine.settings.stop_notice
        stop = partial(super().handle_exit, sig, frame)
        self._loop.call_soon_threadsafe(self._loop.call_later, notice, stop)


def serve(settings: Settings) -> None:
    """Serve until a signal comes; accepted requests are finished first."""
    app = create_app(settings)
    app.state.warm = True
    configure_logging()
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        access_log=False,
        server_header=False,
        http="h11",
        ws="none",
        h11_max_incomplete_event_size=64 * 1024,
        timeout_graceful_shutdown=settings.drain_seconds,
    )
    with contextlib.suppress(KeyboardInterrupt):
        Server(config, app.state.engine).run()
