"""The server: it listens, and stops without losing a request that it has accepted."""

import asyncio
import contextlib
import signal
import socket
from functools import partial
from types import FrameType

import uvicorn

from app.engine.engine import Engine
from app.main import create_app
from app.settings import Settings
from app.web.logs import configure_logging
from app.web.protocol import Protocol


class Server(uvicorn.Server):
    """A server that says it is stopping before it stops: /readyz first, then the port."""

    def __init__(self, config: uvicorn.Config, engine: Engine) -> None:
        super().__init__(config)
        self.engine = engine

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start listening."""
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop on a signal: after a notice on SIGTERM, at once on Ctrl-C or a second signal."""
        at_once = self.engine.stopping or sig == signal.SIGINT
        self.engine.stopping = True
        notice = 0.0 if at_once else self.engine.settings.stop_notice
        stop = partial(super().handle_exit, sig, frame)
        drain = self.engine.settings.drain_seconds
        # a little before uvicorn cuts what is left, so that it still gets an honest answer
        end = notice + max(0.5 * drain, drain - 1.0)
        self._loop.call_soon_threadsafe(self.engine.stop_within, end)
        self._loop.call_soon_threadsafe(self._loop.call_later, notice, stop)


def serve(settings: Settings) -> None:
    """Serve until a signal comes; accepted requests are finished first."""
    app = create_app(settings)
    app.state.warm = True
    configure_logging()
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        access_log=False,
        server_header=False,
        http=Protocol,
        loop="asyncio",
        ws="none",
        proxy_headers=False,  # create_app reads them, and says whom it believes
        timeout_graceful_shutdown=settings.drain_seconds,
    )
    with contextlib.suppress(KeyboardInterrupt):
        Server(config, app.state.engine).run()
