"""The pages, a file a page."""

from app.pages import (
    compare,
    docs,
    examples,
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
    examples,
    experiments,
    jobs,
    language,
)
ROUTERS = (*(page.router for page in PAGES), jobs.for_people)
