"""The switch between languages: it sets a cookie, and goes back to the page that it stood on."""

from typing import Annotated
from urllib.parse import urlsplit

from fastapi import APIRouter, Form, Request
from fastapi.responses import RedirectResponse

import models
from app.web.addresses import PREFIX, without_prefix
from app.web.dependencies import check_fields
from app.web.language import COOKIE, LANGUAGES

A_YEAR = 365 * 24 * 3600

router = APIRouter(include_in_schema=False)


@router.post("/language")
async def choose_language(
    request: Request, language: Annotated[str, Form()], back: Annotated[str, Form()] = "/"
) -> RedirectResponse:
    """Remember a language, and go back."""
    await check_fields(request)
    if language not in LANGUAGES:
        raise models.InvalidChoice(
            "unknown_word", name="language", known=tuple(LANGUAGES), value=language[:40]
        )
    response = RedirectResponse(page_behind(back), 303)
    response.set_cookie(
        COOKIE, language, A_YEAR, path=PREFIX.get() or "/", httponly=True, samesite="lax"
    )
    return response


def page_behind(back: str) -> str:
    """Return the page of this server that an address names; the start for any other address."""
    try:
        parts = urlsplit(back)
    except ValueError:
        return "/"
    path = without_prefix(parts.path) or "/"
    if parts.scheme or parts.netloc or path[1:2] in ("/", "\\") or "\\" in path:
        return "/"
    return parts._replace(path=path).geturl()
