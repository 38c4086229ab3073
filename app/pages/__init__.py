"""The pages, a file a page."""

from app.pages import (
    compare,
    docs,
    explorer,
    feature,
    figure,
    filters,
    networks,
    paper,
    pictures,
    start,
    story,
)

PAGES = (
    docs,
    compare,
    figure,
    pictures,
    feature,
    start,
    explorer,
    networks,
    filters,
    story,
    paper,
)
ROUTERS = tuple(page.router for page in PAGES)
