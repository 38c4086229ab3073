"""The pages, a file a page."""

from app.pages import docs, explorer, pictures, start

PAGES = (docs, pictures, start, explorer)
ROUTERS = tuple(page.router for page in PAGES)
