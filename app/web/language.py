"""Which language a reader is answered in, and what is said in it.

English is what the program is written in; every other language is a gettext catalogue in
``app/locale``. The language is that of the request that is being answered; where there is none, as
on the command line, it is English.
"""

import io
from collections.abc import Iterator
from contextvars import ContextVar
from functools import cache
from gettext import NullTranslations
from pathlib import Path

from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.numbers import get_decimal_symbol, get_group_symbol
from babel.support import Translations
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.types import ASGIApp, Message, Receive, Scope, Send

ENGLISH = "en"
LANGUAGES = {ENGLISH: "English", "vi": "Tiếng Việt"}
"""The languages there are, each by its own name."""
COOKIE = "language"
LOCALE = Path(__file__).parents[1] / "locale"
SAID_IN = ("text/html", "text/event-stream", "application/problem+json", "application/json")
"""The kinds of answers that hold sentences."""

LANGUAGE: ContextVar[str] = ContextVar("language", default=ENGLISH)
"""The language of the request that is being answered."""


def gettext(message: str) -> str:
    """Say a message in the reader's language; a message without a translation as it is."""
    return catalogue(LANGUAGE.get()).gettext(message) if message else ""


def ngettext(one: str, many: str, count: int) -> str:
    """Say the message that fits a count."""
    return catalogue(LANGUAGE.get()).ngettext(one, many, count)


def noted(message: str) -> str:
    """Mark a message as one that is said later: it is written into the catalogues as it stands."""
    return message


@cache
def catalogue(language: str) -> NullTranslations:
    """Read a language's catalogue as translators write it, and compile it in memory."""
    if language == ENGLISH:
        return NullTranslations()
    compiled = io.BytesIO()
    with (LOCALE / language / "LC_MESSAGES" / "messages.po").open("rb") as file:
        write_mo(compiled, read_po(file, locale=language))
    compiled.seek(0)
    return Translations(compiled)


def written(number: str) -> str:
    """Write a number, such as 1,234.5, as the reader's language does: 1.234,5."""
    return number.translate(_symbols(LANGUAGE.get()))


@cache
def _symbols(language: str) -> dict[int, str]:
    return str.maketrans({",": get_group_symbol(language), ".": get_decimal_symbol(language)})


def choose(headers: Headers) -> str:
    """Choose a reader's language: what its cookie says, else what its browser prefers."""
    said = cookie_parser(headers.get("cookie", "")).get(COOKIE)
    return said if said in LANGUAGES else _preferred(headers.get("accept-language", ""))


def _preferred(accept: str) -> str:
    """Return the language that an Accept-Language header wants most, of those there are."""
    wanted = sorted(_ranges(accept), key=lambda one: one[1], reverse=True)
    return next((language for language, quality in wanted if quality > 0), ENGLISH)


def _ranges(accept: str) -> Iterator[tuple[str, float]]:
    for part in accept.lower().split(","):
        name, _, quality = part.strip().partition(";q=")
        language = ENGLISH if name == "*" else name.partition("-")[0].strip()
        if language in LANGUAGES:
            try:
                yield language, float(quality or "1")
            except ValueError:
                continue


class Language:
    """Answer in the language that the request asks for, and say that the answer hangs on it."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        LANGUAGE.set(choose(Headers(scope=scope)))
        await self.app(scope, receive, _varying(send))


def _varying(send: Send) -> Send:
    async def send_with_vary(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            if headers.get("content-type", "").startswith(SAID_IN):
                headers.add_vary_header("Accept-Language")
                headers.add_vary_header("Cookie")
        await send(message)

    return send_with_vary
