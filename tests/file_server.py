"""A server of one file on loopback that can misbehave in every way a real one has."""

from __future__ import annotations

import contextlib
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class FileServer:
    """What is served and how; `asked` collects each request's Range."""

    content: bytes
    path: str = "/weights.pth"
    cuts: list[float] = field(default_factory=list)
    """Share of the file after which each of the first answers ends."""
    always_cut: float | None = None
    ranges: bool = True
    claim: int | None = None
    """Content-Length to claim instead of the true one; -1 for none."""
    status: int = 200
    kind: str = "application/octet-stream"
    etag: str | None = '"one"'
    seconds: float = 0.0
    """Time that each piece takes."""
    piece: int = 65536
    silent: bool = False
    asked: list[str | None] = field(default_factory=list)
    sent: int = 0
    address: str = ""

    @property
    def url(self) -> str:
        return self.address + self.path

    @contextlib.contextmanager
    def running(self) -> Iterator[FileServer]:
        server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        server.daemon_threads = True
        self.address = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


def _handler(told: FileServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args: object) -> None:
            pass

        def do_GET(self) -> None:
            self.close_connection = True
            asked = self.headers.get("Range")
            told.asked.append(asked)
            if told.silent:
                time.sleep(told.seconds)
                return
            whole = len(told.content)
            start = self._start(asked)
            if start is not None and start >= whole:
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{whole}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self._head(start, whole)
            stop = told.always_cut if told.always_cut is not None else 1.0
            if told.cuts:
                stop = told.cuts.pop(0)
            with contextlib.suppress(ConnectionError):
                self._body(start or 0, int(whole * stop))

        def _start(self, asked: str | None) -> int | None:
            condition = self.headers.get("If-Range")
            if not told.ranges or asked is None or condition not in (None, told.etag):
                return None
            found = re.fullmatch(r"bytes=(\d+)-", asked)
            return int(found[1]) if found else None

        def _head(self, start: int | None, whole: int) -> None:
            self.send_response(206 if start is not None else told.status)
            self.send_header("Content-Type", told.kind)
            if told.etag:
                self.send_header("ETag", told.etag)
            if start is not None:
                self.send_header("Content-Range", f"bytes {start}-{whole - 1}/{whole}")
            length = whole - (start or 0) if told.claim is None else told.claim
            if length >= 0:
                self.send_header("Content-Length", str(length))
            self.send_header("Connection", "close")
            self.end_headers()

        def _body(self, start: int, stop: int) -> None:
            for at in range(start, stop, told.piece):
                time.sleep(told.seconds)
                piece = told.content[at : min(at + told.piece, stop)]
                self.wfile.write(piece)
                told.sent += len(piece)

    return Handler
