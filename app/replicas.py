"""The same application under Ray Serve: replicas on a cluster that share one data folder.

Photos, results and indexes lie in ``DATA_DIR``, so that any replica answers any link; what a
replica keeps in memory is its own. Ray is an extra, imported when it is asked for.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import models
from app.main import create_app
from app.settings import Settings
from app.web.logs import configure_logging

if TYPE_CHECKING:
    from fastapi import FastAPI

REPLICAS = re.compile(r"([1-9]\d{0,3})(?:-([1-9]\d{0,3}))?")
BUSY = 4
"""So many requests at a replica on average call for another one, where there may be more."""
HEALTH_SECONDS, SICK_SECONDS = 5, 30
"""How often a replica is asked how it is, and how long it may take to answer."""


class Explorer:
    """A replica: one application, on one device."""

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings or Settings()

    def __serve_build_asgi_app__(self) -> FastAPI:
        """Build the application in the process that serves it."""
        models.forget_main()
        application = create_app(self.settings)
        application.state.warm = True
        configure_logging()
        self.engine = application.state.engine
        return application

    async def check_health(self) -> None:
        """Raise where the replica no longer answers for itself, so that another one takes over."""
        if self.engine.stopping:
            raise RuntimeError("the engine has stopped")
        await self.engine.check()


def parse_replicas(text: str) -> tuple[int, int]:
    """Read how many replicas there are at least and at most: ``2``, ``1-8``."""
    match = REPLICAS.fullmatch(text)
    least, most = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
    if most < least:
        raise models.InvalidChoice("no_replicas", text=text[:40])
    return least, most


def deploy(
    settings: Settings | None = None, replicas: str = "1", cpus: float = 1, gpus: float = 0
) -> Any:
    """Describe the deployment: so many replicas, each with so many cores and GPUs.

    A Serve config names ``app.replicas:application``, which passes it ``args``.
    """
    from ray import serve

    settings = settings or Settings()
    least, most = parse_replicas(replicas)
    deployment = serve.deployment(
        name="explorer",
        max_ongoing_requests=settings.queue_limit,
        autoscaling_config={
            "min_replicas": least,
            "max_replicas": most,
            "target_ongoing_requests": BUSY,
        },
        health_check_period_s=HEALTH_SECONDS,
        health_check_timeout_s=SICK_SECONDS,
        graceful_shutdown_timeout_s=settings.drain_seconds,
        ray_actor_options={"num_cpus": cpus, "num_gpus": gpus},
    )
    return deployment(serve.ingress()(Explorer)).bind(settings)


def application(args: dict[str, Any]) -> Any:
    """Build the application of a Serve config; ``args`` are those of ``deploy`` but the settings.

    The settings are those of the environment that the config gives the replicas.
    """
    return deploy(None, **args)


def serve_on_ray(settings: Settings, address: str, replicas: str) -> None:
    """Serve on a cluster until a signal comes; a replica has a GPU where the cluster has some."""
    parse_replicas(replicas)
    ray = models.connect_to_ray(address)
    from ray import serve

    gpus = int(settings.device != "cpu" and ray.cluster_resources().get("GPU", 0) > 0)
    serve.start(http_options={"host": settings.host, "port": settings.port})
    described = deploy(settings, replicas, gpus=gpus)
    serve.run(described, name="deconvnet", route_prefix="/", blocking=True)
