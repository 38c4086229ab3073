"""The REST interface, a file a resource."""

from app.api import downloads, experiments, figures, health, images, jobs, networks, visualize

RESOURCES = (visualize, figures, images, networks, downloads, experiments, jobs, health)
ROUTERS = tuple(resource.router for resource in RESOURCES)
