"""The REST interface, a file a resource."""

from app.api import downloads, figures, health, images, networks, visualize

RESOURCES = (visualize, figures, images, networks, downloads, health)
ROUTERS = tuple(resource.router for resource in RESOURCES)
