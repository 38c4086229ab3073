"""The pages, a file a page."""

from app.pages import (
    compare,
    docs,
    experiments,
    explorer,
    feature,
    figure,
    filters,
    jobs,
    language,
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
    experiments,
    jobs,
    language,
)
ROUTERS = (*(page.router for page in PAGES), jobs.for_people)
