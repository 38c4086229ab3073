"""The page of a figure: what it looks like, its files, its caption, and whom to cite."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse

import models
from app.pages.compare import Comparison, link_of
from app.pages.links import IN_PATH, Link, read_link
from app.web.addresses import Address, WrittenAddress
from app.web.choice import write_query
from app.web.citation import bibtex
from app.web.comparison import Column, Seen, read_columns, see_column, see_columns
from app.web.dependencies import EngineHere, UploadsHere, admit
from app.web.figures import MEDIA_TYPES, draw_views
from app.web.language import gettext
from app.web.templates import show

Views = list[tuple[str, models.Visualization]]

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)


@dataclass(frozen=True)
class FigurePage:
    """A figure: ``back`` is the page that it was made of, ``files`` the formats and addresses."""

    title: str
    back: Address
    picture: WrittenAddress
    files: tuple[tuple[str, WrittenAddress], ...]
    caption: str
    bibtex: str


@router.get("/images/{id}/{network}/{layer}/figure")
async def show_figure(
    request: Request,
    id: str,
    network: str,
    layer: str,
    engine: EngineHere,
    uploads: UploadsHere,
) -> Response:
    """Show the figure of a view of the explorer."""
    link = read_link(id, network, layer, request.query_params)
    column = column_of(link, request.query_params)

    async def work() -> tuple[Seen, Views]:
        seen = await see_column(engine, uploads, column)
        return seen, await draw_views(engine, [seen])

    seen, ((_, view),) = await admit(request, engine, work)
    said = write_query(seen.listed, without=IN_PATH)
    address = link.path.replace("/images/", "/figures/", 1)
    page = _page(_name(layer, seen.title), link, address, said, [view], models.caption(view))
    return show(request, "figure/figure.html", page)


def column_of(link: Link, query: Mapping[str, str]) -> Column:
    """Return the one column that a view of the explorer is."""
    choice = link.choice(top=link.top, features=link.features, unit=link.unit)
    return Column(link.image, choice, link.at, link.feature, query)


@router.get("/compare/figure")
async def show_comparison(request: Request, engine: EngineHere, uploads: UploadsHere) -> Response:
    """Show the figure of views beside each other."""
    columns = read_columns(request.query_params, request.headers["host"])
    here = Comparison(tuple(link_of(column) for column in columns))

    async def work() -> tuple[tuple[Seen, ...], Views]:
        seen = await see_columns(engine, uploads, columns)
        return seen, await draw_views(engine, seen)

    seen, views = await admit(request, engine, work)
    page = _page(
        _title(seen),
        here,
        "/figures/compare",
        here.query,
        [view for _, view in views],
        models.comparison_caption(views),
    )
    return show(request, "figure/figure.html", page)


def _title(seen: Sequence[Seen]) -> str:
    return " | ".join(_name(each.layer, each.title) for each in seen)


def _name(layer: str, title: str) -> str:
    return gettext("%(layer)s of %(title)s") % {"layer": layer, "title": gettext(title)}


def _page(
    title: str,
    back: Address,
    path: str,
    query: Mapping[str, str],
    views: Sequence[models.Visualization],
    caption: str,
) -> FigurePage:
    def address(**more: str) -> WrittenAddress:
        return WrittenAddress(f"{path}?{urlencode({**query, **more}, safe=',')}")

    files = tuple((form, address(format=form)) for form in MEDIA_TYPES)
    return FigurePage(title, back, address(), files, caption, bibtex(views))
