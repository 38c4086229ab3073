"""The pages, a file a page."""

from app.pages import (
    compare,
    docs,
    explorer,
    feature,
    figure,
    filters,
    networks,
    pictures,
    start,
)

PAGES = (docs, compare, figure, pictures, feature, start, explorer, networks, filters)
ROUTERS = tuple(page.router for page in PAGES)
