"""A server that speaks as much of S3 as reading needs: listings in pages, HEAD and GET."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice
from pathlib import Path
from threading import Thread
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

PAGE = 7
"""So many names are in one answer, however many are asked for."""


class Bucket(BaseHTTPRequestHandler):
    """Answers for a bucket whose objects are the files below ``folder``."""

    folder: Path
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        address = urlsplit(self.path)
        asked = {name: values[0] for name, values in parse_qs(address.query).items()}
        if "list-type" in asked:
            self._send(200, self._list(asked).encode(), "application/xml")
            return
        _, _, key = unquote(address.path).lstrip("/").partition("/")
        file = self.folder / key
        if not key or not file.is_file():
            self._send(404 if key else 200, b"")
            return
        first, last = self.headers.get("Range", "bytes=0-").removeprefix("bytes=").split("-")
        content = file.read_bytes()[int(first) : int(last) + 1 if last else None]
        self._send(206 if "Range" in self.headers else 200, content)

    do_HEAD = do_GET

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def _send(self, status: int, content: bytes, kind: str = "application/octet-stream") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Last-Modified", formatdate(0, usegmt=True))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def _list(self, asked: dict[str, str]) -> str:
        prefix, after = asked.get("prefix", ""), asked.get("continuation-token", "")
        files = [f for f in self.folder.rglob("*") if f.is_file()]
        keys = {file.relative_to(self.folder).as_posix(): file.stat().st_size for file in files}
        found = {}
        for key, size in keys.items():
            if key.startswith(prefix):
                name, folder, _ = key[len(prefix) :].partition(asked.get("delimiter") or "\0")
                found[prefix + name + folder] = None if folder else size
        page = list(islice((name for name in sorted(found) if name > after), PAGE))
        more = bool(page) and page[-1] < max(found)
        rows = "".join(_row(name, found[name]) for name in page)
        token = f"<NextContinuationToken>{escape(page[-1])}</NextContinuationToken>" if more else ""
        return (
            f"<ListBucketResult><KeyCount>{len(page)}</KeyCount>"
            f"<IsTruncated>{str(more).lower()}</IsTruncated>{token}{rows}</ListBucketResult>"
        )


def _row(name: str, size: int | None) -> str:
    if size is None:
        return f"<CommonPrefixes><Prefix>{escape(name)}</Prefix></CommonPrefixes>"
    return (
        f"<Contents><Key>{escape(name)}</Key><Size>{size}</Size>"
        "<LastModified>1970-01-01T00:00:00.000Z</LastModified></Contents>"
    )


@contextmanager
def serve_bucket(folder: Path) -> Iterator[str]:
    """Serve the files below a folder as a bucket, and give what follows ``?`` in its addresses."""
    handler = type("Handler", (Bucket,), {"folder": folder})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"scheme=http&endpoint_override=127.0.0.1:{server.server_port}&region=here"
    finally:
        server.shutdown()
        server.server_close()
