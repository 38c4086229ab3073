"""HTTP itself: what is no request is answered like any failure, and no body comes in crumbs."""

import asyncio
import json
from dataclasses import replace
from typing import Any

import h11
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from app.web.errors import (
    MEDIA_TYPE,
    ChunksTooSmall,
    HeadersTooLong,
    Problem,
    RequestMalformed,
    problem_of,
)
from app.web.logs import REQUEST_ID, begin_request
from app.web.metrics import RequestLog
from app.web.security import HEADERS

HEADER_BYTES = 64 * 1024
FREE_CHUNKS = 256
LEAST_CHUNK = 128
"""Bytes of a body's chunks on average, once there are more than FREE_CHUNKS of them."""
LINGER_SECONDS = 2.0
"""How long a refused client may go on sending, so that it comes to read why."""


class Connection(h11.Connection):
    """An HTTP connection that bounds how many events a body costs."""

    def __init__(self) -> None:
        super().__init__(h11.SERVER, HEADER_BYTES)
        self.problem = Problem(400, "")
        self._chunks = self._received = 0

    def next_event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        """Return the next event; raises RemoteProtocolError, and notes the problem with it."""
        try:
            event = super().next_event()
        except h11.RemoteProtocolError as error:
            self.problem = _problem_of(error)
            raise
        if isinstance(event, h11.Request):
            self._chunks = self._received = 0
        if isinstance(event, h11.Data):
            self._count(event)
        return event

    def _count(self, data: h11.Data) -> None:
        whole = self._chunks  # the last one may still be arriving
        self._chunks += data.chunk_start
        if data.chunk_start and whole > FREE_CHUNKS and self._received < LEAST_CHUNK * whole:
            self.problem = problem_of(ChunksTooSmall(least=LEAST_CHUNK))
            raise h11.RemoteProtocolError("chunks too small")
        self._received += len(data.data)


def _problem_of(error: h11.RemoteProtocolError) -> Problem:
    status = error.error_status_hint
    if status == 431:
        return problem_of(HeadersTooLong(limit=HEADER_BYTES))
    return replace(problem_of(RequestMalformed(cause=str(error))), status=status)


class Protocol(H11Protocol):
    """uvicorn's protocol, whose own answers have the shape and the headers of all others."""

    conn: Connection

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.conn = Connection()
        self._refused = False

    def data_received(self, data: bytes) -> None:
        """Read on, unless the client was refused."""
        if not self._refused:
            super().data_received(data)

    def send_400_response(self, msg: str) -> None:
        """Answer with the problem, where no answer has begun, and leave."""
        self._refused = True
        if self.cycle is not None:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if self.conn.our_state not in {h11.IDLE, h11.SEND_RESPONSE}:
            self.transport.close()
            return
        self._answer(self.conn.problem)
        self.flow.resume_reading()
        self.transport.write_eof()
        self.loop.call_later(LINGER_SECONDS, self.transport.close)

    def _answer(self, problem: Problem) -> None:
        id = begin_request()
        body = json.dumps(problem.document).encode()
        log: RequestLog = self.config.app.state.log  # type: ignore[union-attr]
        log.note("", "none", problem.status, len(body), 0.0, reason=problem.reason)
        usual = {"Content-Type": MEDIA_TYPE, "Content-Length": str(len(body))}
        own = {REQUEST_ID: id, "Connection": "close"}
        headers = [*HEADERS.items(), *usual.items(), *own.items()]
        start = h11.Response(
            status_code=problem.status, headers=headers, reason=problem.phrase.encode()
        )
        for event in (start, h11.Data(data=body), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event) or b"")
