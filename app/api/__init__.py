"""The REST interface, a file a resource."""

from app.api import (
    downloads,
    examples,
    experiments,
    figures,
    health,
    images,
    jobs,
    networks,
    visualize,
)

RESOURCES = (
    visualize,
    figures,
    images,
    networks,
    examples,
    downloads,
    experiments,
    jobs,
    health,
)
ROUTERS = tuple(resource.router for resource in RESOURCES)
