"""Addresses on this server, and the prefix below which a proxy shows them to the world.

Within the program an address is a path of this server: ``/docs``. The prefix is written before it
where it leaves: by templates, and in the headers of redirects.
"""

from contextvars import ContextVar

from starlette.types import Scope

PREFIX: ContextVar[str] = ContextVar("prefix", default="")
"""The prefix of the request that is being answered: ``/proxy/8000``, or nothing."""


class Address:
    """A path of this server with its query, which ``str`` gives; templates prefix it."""


class WrittenAddress(str, Address):
    """An address that is already written."""

    __slots__ = ()


def url(address: object) -> str:
    """Write an address as whoever asked has to ask for it."""
    return f"{PREFIX.get()}{address}"


def without_prefix(path: str) -> str | None:
    """Return the address behind a path that somebody asked for; None where it is not ours."""
    prefix = PREFIX.get()
    if path == prefix:
        return "/"
    return path.removeprefix(prefix) if path.startswith(f"{prefix}/") else None


def path_of(scope: Scope) -> str:
    """Return the path that a request asks for, without the prefix."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))
