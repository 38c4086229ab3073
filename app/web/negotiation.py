"""Pages and documents at one path: who gets which."""

from fastapi.routing import APIRoute
from starlette.datastructures import Headers
from starlette.routing import Match
from starlette.types import Scope

from app.web.answers import JSON, negotiate
from app.web.errors import NotAcceptable

HTML = "text/html"


class PageRoute(APIRoute):
    """A page at a path where programs get a document: it is there for who prefers text/html."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Match as other routes do, for who prefers a page."""
        if not prefers_page(Headers(scope=scope).get("accept", "")):
            return Match.NONE, {}
        return super().matches(scope)


def prefers_page(accept: str) -> bool:
    """Tell whether an Accept header wants text/html more than JSON."""
    try:
        return negotiate(accept, (JSON, HTML)) == HTML
    except NotAcceptable:
        return False
