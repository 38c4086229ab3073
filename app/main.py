"""The wiring: settings in, an application out."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from fastapi import FastAPI
from prometheus_client import CollectorRegistry
from starlette.middleware.body_limit import RequestBodyLimitMiddleware
from starlette.middleware.gzip import DEFAULT_EXCLUDED_CONTENT_TYPES, GZipMiddleware
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

import models
from app import VERSION, api, pages
from app.api.openapi import describe
from app.engine.engine import Engine
from app.engine.jobs import Jobs
from app.engine.stages import stage_times
from app.pages.start import show_problem
from app.photos.uploads import Uploads, sweep_forever
from app.settings import Settings
from app.web import errors
from app.web.folders import folder
from app.web.language import Language
from app.web.metrics import Holdings, Observer, RequestLog
from app.web.prefix import Prefix
from app.web.security import Gate, SecureHeaders
from app.web.static import Static

DESCRIPTION = "A photo in, what each layer of a convolutional network saw in it out: a deconvnet."

PACKED = (*DEFAULT_EXCLUDED_CONTENT_TYPES, "application/x-npz", "application/pdf")
"""What is sent as it is: compressed already, or events that must not wait."""


def create_app(settings: Settings | None = None) -> FastAPI:
    """Build the application that these settings describe."""
    settings = settings or Settings()
    app = FastAPI(
        title="deconvnet explorer",
        description=DESCRIPTION,
        version=VERSION,
        lifespan=_live,
        form_limits={"max_fields": 32, "max_files": 32, "max_part_size": 64 * 1024},
        docs_url=None,
        redoc_url=None,
    )
    app.state.settings = settings
    app.state.collectors = CollectorRegistry()
    stages = stage_times(app.state.collectors)
    app.state.engine = Engine(settings, stages)
    app.state.uploads = Uploads(settings, stages)
    app.state.jobs = Jobs(settings, app.state.engine, app.state.uploads.holds)
    app.state.warm = False
    app.state.log = RequestLog(app.state.collectors)
    app.state.collectors.register(Holdings(app.state.engine, app.state.uploads, app.state.jobs))
    for router in (*pages.ROUTERS, *api.ROUTERS):
        app.include_router(router)
    app.mount("/static", Static(directory=folder("static")))
    app.state.page_of_problem = show_problem
    errors.install(app)
    # The last one added meets a request first.
    app.add_middleware(RequestBodyLimitMiddleware, max_body_size=settings.max_upload_bytes)
    app.add_middleware(
        Gate,
        allowed_hosts=settings.allowed_hosts,
        token=settings.api_token,
        max_bytes=settings.max_upload_bytes,
    )
    proxies = [str(network) for network in settings.trusted_proxies]
    app.add_middleware(ProxyHeadersMiddleware, trusted_hosts=proxies)
    app.add_middleware(Prefix, root_path=settings.root_path, trusted=settings.trusted_proxies)
    app.add_middleware(GZipMiddleware, compresslevel=6, exclude_content_types=PACKED)
    app.add_middleware(Observer, log=app.state.log)
    app.add_middleware(Language)
    app.add_middleware(SecureHeaders)
    app.openapi = lambda: describe(app)  # type: ignore[method-assign]
    return app


@contextlib.asynccontextmanager
async def _live(app: FastAPI) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(sweep_forever(app.state.uploads.sweep, app.state.jobs.sweep))]
    if app.state.warm:
        tasks.append(asyncio.create_task(_warm(app)))
    yield
    for task in tasks:
        task.cancel()
    app.state.engine.stopping = True
    await app.state.jobs.close()
    await asyncio.to_thread(app.state.engine.close)


async def _warm(app: FastAPI) -> None:
    """Load what the first request will want, while nobody waits."""
    await app.state.uploads.warm()
    with contextlib.suppress(models.DeconvnetError):
        await app.state.engine.network()
