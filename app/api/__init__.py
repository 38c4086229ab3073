"""The REST interface, a file a resource."""

from app.api import downloads, health, images, networks, visualize

RESOURCES = (visualize, images, networks, downloads, health)
ROUTERS = tuple(resource.router for resource in RESOURCES)
