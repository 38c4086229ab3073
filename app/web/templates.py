"""How pages are drawn: each template from one frozen dataclass, which it knows as `page`."""

import re
from collections.abc import Sequence
from functools import cache
from hashlib import sha256

from fastapi import Request, Response
from fastapi.templating import Jinja2Templates
from jinja2 import StrictUndefined
from markupsafe import Markup, escape

import models
from app import VERSION
from app.web.addresses import Address, WrittenAddress, url
from app.web.folders import folder
from app.web.language import LANGUAGE, LANGUAGES, gettext, ngettext, noted, written


@cache
def static(name: str) -> WrittenAddress:
    """Link a static file by its content, so that it can be cached for ever."""
    digest = sha256((folder("static") / name).read_bytes()).hexdigest()
    return WrittenAddress(f"/static/{name}?v={digest[:12]}")


def number(value: float) -> str:
    """Write a number in few digits."""
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2 if abs(value) >= 0.1 else 4
    return fixed(value, digits) if value else "0"


def fixed(value: float, digits: int = 0) -> str:
    """Write a number with so many digits behind its decimal mark."""
    return written(f"{value:,.{digits}f}").replace("-", "\N{MINUS SIGN}")


def signed(value: float) -> str:
    """Write a number that adds or takes away: with its sign, in few digits."""
    return ("+" if value > 0 else "") + number(value)


def titled(network: str) -> str:
    """Name a network as its paper does; one that is not known here, as it is called."""
    known = models.architectures().get(network)
    return gettext(known.title) if known else network


def rough(value: float) -> str:
    """Write a number in two significant digits."""
    return written(f"{float(f'{value:.2g}'):g}")


def percent(share: float, digits: int = 1) -> str:
    """Write a share as a percentage."""
    return f"{fixed(100 * share, digits)} %"


def as_written(value: float | str) -> str:
    """Write a number as it is, with the reader's decimal mark."""
    return written(str(value))


def said(text: str) -> str:
    """Say in the reader's language what is data elsewhere: a name, or what an option means."""
    return gettext(text)


def tied(text: str) -> str:
    """Keep both sides of a size on one line: 13 x 13, with the sign of multiplication."""
    return text.replace(f" {TIMES} ", f"{NO_BREAK}{TIMES}{NO_BREAK}")


def ended(text: str) -> str:
    """End what an error says as a sentence ends."""
    return text if text.endswith((".", "!", "?")) else f"{text}."


def code(text: str) -> Markup:
    """Mark up text between backticks as code."""
    return Markup(re.sub(r"`([^`]*)`", r"<code>\1</code>", str(escape(text))))


def with_prefix(value: object) -> object:
    """Write the proxy's prefix before an address, and leave everything else as it is."""
    return url(value) if isinstance(value, Address) else value


def origin(provenance: models.Provenance) -> str:
    """Say where weights come from, without the source that is named beside it."""
    text = (provenance.description or "").removeprefix(f"{provenance.source}: ")
    trunk, _, head = text.partition(ON_TOP)
    if not head:
        return gettext(trunk)
    said = gettext("{trunk}; on top: {head}")
    return said.format(trunk=gettext(trunk), head=gettext(head))


TIMES, NO_BREAK = "\N{MULTIPLICATION SIGN}", "\N{NO-BREAK SPACE}"
ON_TOP = "; on top: "
"""What stands in a description between that of the layers and that of a classifier of our own."""
HEAD = noted(
    "the project's own classifier for the published VGG-16's pool5, "
    "learned on Caltech-101 (101 classes)"
)
"""What the file of that classifier says of itself."""

templates = Jinja2Templates(folder("templates"))
templates.env.add_extension("jinja2.ext.i18n")
templates.env.policies["ext.i18n.trimmed"] = True
templates.env.install_gettext_callables(  # type: ignore[attr-defined]
    lambda text: tied(gettext(text)),
    lambda one, many, count: tied(ngettext(one, many, count)),
    newstyle=True,
)
templates.env.undefined = StrictUndefined
templates.env.finalize = with_prefix
templates.env.globals["url"] = url
templates.env.globals["static"] = static
templates.env.globals["version"] = VERSION
templates.env.globals["language"] = LANGUAGE.get
templates.env.globals["languages"] = LANGUAGES
templates.env.filters["number"] = number
templates.env.filters["fixed"] = fixed
templates.env.filters["signed"] = signed
templates.env.filters["titled"] = titled
templates.env.filters["rough"] = rough
templates.env.filters["percent"] = percent
templates.env.filters["said"] = said
templates.env.filters["origin"] = origin
templates.env.filters["written"] = as_written
templates.env.filters["code"] = code
templates.env.filters["ended"] = ended

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
