"""The pages, a file a page."""

from app.pages import docs, explorer, networks, pictures, start

PAGES = (docs, pictures, start, explorer, networks)
ROUTERS = tuple(page.router for page in PAGES)
