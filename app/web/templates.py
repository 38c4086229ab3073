"""How pages are drawn: each template from one frozen dataclass, which it knows as `page`."""

import re
from collections.abc import Sequence
from functools import cache
from hashlib import sha256

from fastapi import Request, Response
from fastapi.templating import Jinja2Templates
from jinja2 import StrictUndefined
from markupsafe import Markup, escape

from app import VERSION
from app.web.addresses import Address, WrittenAddress, url
from app.web.folders import folder


@cache
def static(name: str) -> WrittenAddress:
    """Link a static file by its content, so that it can be cached for ever."""
    digest = sha256((folder("static") / name).read_bytes()).hexdigest()
    return WrittenAddress(f"/static/{name}?v={digest[:12]}")


def number(value: float) -> str:
    """Write a number in few digits."""
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2 if abs(value) >= 0.1 else 4
    return f"{value:,.{digits}f}".replace("-", "\N{MINUS SIGN}") if value else "0"


def code(text: str) -> Markup:
    """Mark up text between backticks as code."""
    return Markup(re.sub(r"`([^`]*)`", r"<code>\1</code>", str(escape(text))))


def with_prefix(value: object) -> object:
    """Write the proxy's prefix before an address, and leave everything else as it is."""
    return url(value) if isinstance(value, Address) else value


templates = Jinja2Templates(folder("templates"))
templates.env.undefined = StrictUndefined
templates.env.finalize = with_prefix
templates.env.globals["url"] = url
templates.env.globals["static"] = static
templates.env.globals["version"] = VERSION
templates.env.filters["number"] = number
templates.env.filters["code"] = code

NOT_KEPT = {"Cache-Control": "no-store", "Vary": "HX-Request-Type"}


def show(
    request: Request, name: str, page: object, status: int = 200, *, vary: str | None = None
) -> Response:
    """Answer with a template drawn from its context; ``vary`` names one more header it hangs on."""
    context = {"page": page, "partial": is_partial(request)}
    response = templates.TemplateResponse(request, name, context, status, NOT_KEPT)
    if vary:
        response.headers.add_vary_header(vary)
    return response


def show_first(request: Request, names: Sequence[str], page: object) -> Response:
    """Answer with the first of the templates that exists."""
    name = templates.env.select_template(list(names)).name
    assert name is not None
    return show(request, name, page)


def draw(name: str, page: object) -> str:
    """Draw a fragment that needs nothing of a request."""
    return templates.env.get_template(name).render(page=page).strip()


def is_partial(request: Request) -> bool:
    """Tell whether htmx asks for a fragment rather than a browser for a page."""
    return request.headers.get("hx-request-type") == "partial"
