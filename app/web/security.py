"""Who may call, how much they may send, and the headers that every answer carries."""

import base64
import hmac
from collections.abc import Iterable
from urllib.parse import urlsplit

from fastapi import Request
from pydantic import SecretStr
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.web.addresses import path_of
from app.web.errors import Problem, respond, too_long
from app.web.language import gettext

SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}
OPEN_PATHS = {"/healthz", "/readyz"}
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data: blob:",
        "connect-src 'self'",
        "font-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class SecureHeaders:
    """Put the security headers on every answer, errors included."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self.app(scope, receive, send_with_headers)


class Gate:
    """Turn away strangers and bodies over the limit before anything is read."""

    def __init__(
        self,
        app: ASGIApp,
        allowed_hosts: Iterable[str],
        token: SecretStr | None,
        max_bytes: int,
    ) -> None:
        self.app = app
        self.allowed_hosts = {host.lower().strip("[]") for host in allowed_hosts}
        self.token = token
        self.max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        request = Request(scope, receive)
        if problem := self.judge(request):
            return await respond(request, problem)(scope, receive, send)
        return await self.app(scope, receive, send)

    def judge(self, request: Request) -> Problem | None:
        """Find what forbids the request, if anything does."""
        return (
            self._judge_host(request)
            or _judge_origin(request)
            or self._judge_token(request)
            or self._judge_length(request)
        )

    def _judge_host(self, request: Request) -> Problem | None:
        if len(request.headers.getlist("host")) != 1:
            return Problem(400, gettext("The request must name its Host once."), reason="host")
        host = _host_name(request.headers["host"])
        if host is None:
            sentence = gettext("The request's Host header is not a host name.")
            return Problem(400, sentence, reason="host")
        if "*" in self.allowed_hosts or host in self.allowed_hosts:
            return None
        return Problem(
            400,
            gettext(
                "This server does not answer as '{host}'; DECONVNET_ALLOWED_HOSTS names "
                "the hosts that it answers as."
            ).format(host=host[:80]),
            reason="host",
        )

    def _judge_token(self, request: Request) -> Problem | None:
        if self.token is None or path_of(request.scope) in OPEN_PATHS:
            return None
        sent = _token_of(request.headers)
        if sent is not None and hmac.compare_digest(
            sent.encode(), self.token.get_secret_value().encode()
        ):
            return None
        return Problem(
            401,
            gettext("This server asks for its token: send 'Authorization: Bearer <token>'."),
            {"WWW-Authenticate": 'Bearer realm="deconvnet", Basic realm="deconvnet"'},
            reason="token",
        )

    def _judge_length(self, request: Request) -> Problem | None:
        declared = request.headers.get("content-length", "0")
        if not (declared.isascii() and declared.isdigit()):
            sentence = gettext("The request's Content-Length is not a number.")
            return Problem(400, sentence, reason="length")
        # Compared by digits first: int() of a huge number is slow, and refused by Python.
        if len(declared) > 18 or int(declared) > self.max_bytes:
            return Problem(413, too_long(self.max_bytes), {"Connection": "close"}, "length")
        return None


def _judge_origin(request: Request) -> Problem | None:
    headers = request.headers
    origins = headers.getlist("origin")
    if origins:
        if len(origins) == 1 and _authority(origins[0]) == headers["host"].lower():
            return None
        stranger = gettext("A page of '{origin}' may not use this server.")
        return Problem(403, stranger.format(origin=origins[0][:80]), reason="origin")
    if request.method not in SAFE_METHODS and headers.get("sec-fetch-site") == "cross-site":
        sentence = gettext("A page of another site may not use this server.")
        return Problem(403, sentence, reason="origin")
    return None


def _authority(origin: str) -> str | None:
    scheme, separator, authority = origin.lower().partition("://")
    return authority if separator and scheme in {"http", "https"} else None


def _host_name(host: str) -> str | None:
    try:
        parts = urlsplit(f"//{host}")
        _ = parts.port  # raises on what is no port
    except ValueError:
        return None
    return parts.hostname if parts.netloc == host and not parts.username else None


def _token_of(headers: Headers) -> str | None:
    """Read the token from a Bearer header, or from the password of HTTP Basic."""
    scheme, _, value = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    if scheme.lower() != "basic":
        return None
    try:
        return base64.b64decode(value).decode().partition(":")[2]
    except ValueError:  # not ASCII, not Base64, or not UTF-8
        return None
