"""Being shown below a path prefix by a proxy: which prefix, and whom to believe."""

from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address
from urllib.parse import unquote

from fastapi import Request
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.settings import PATH_PREFIX
from app.web.addresses import PREFIX, url
from app.web.errors import Problem, respond
from app.web.language import gettext

Networks = Sequence[IPv4Network | IPv6Network]

LEADING_ON = ("location", "content-location", "hx-redirect", "hx-push-url", "hx-replace-url")
"""Headers that hold an address."""


class Prefix:
    """Answer below a prefix: the operator's, or what a trusted proxy says in X-Forwarded-Prefix.

    A proxy may cut the prefix off or leave it on. Redirects get it here, pages by `url`.
    """

    def __init__(self, app: ASGIApp, root_path: str, trusted: Networks) -> None:
        self.app = app
        self.root_path = root_path
        self.trusted = trusted

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        prefix = self._find(scope)
        if not PATH_PREFIX.fullmatch(prefix):
            return await _refuse(scope, receive, send)
        PREFIX.set(prefix)
        _place_below(prefix, scope)
        await self.app(scope, receive, _redirecting(send))

    def _find(self, scope: Scope) -> str:
        said = Headers(scope=scope).getlist("x-forwarded-prefix")
        if not said or not self._is_trusted(scope):
            return self.root_path
        return ", ".join(said).strip().rstrip("/")

    def _is_trusted(self, scope: Scope) -> bool:
        try:
            sender = ip_address((scope.get("client") or ("",))[0])
        except ValueError:  # a socket without an address
            return False
        return any(sender in network for network in self.trusted)


def _place_below(prefix: str, scope: Scope) -> None:
    path: str = scope["path"]
    read = unquote(prefix)
    if path == read or path.startswith(f"{read}/"):
        path = path.removeprefix(read)
    scope.update(root_path=prefix, path=prefix + (path or "/"))


def _redirecting(send: Send) -> Send:
    async def send_with_prefix(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name in LEADING_ON:
                if headers.get(name, "").startswith("/"):
                    headers[name] = url(headers[name])
        await send(message)

    return send_with_prefix


async def _refuse(scope: Scope, receive: Receive, send: Send) -> None:
    sentence = gettext("The proxy's X-Forwarded-Prefix is not a path, such as '/proxy/8000'.")
    problem = Problem(400, sentence, reason="prefix")
    await respond(Request(scope, receive), problem)(scope, receive, send)
