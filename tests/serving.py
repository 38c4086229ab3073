"""What the tests of the web share: an application on temporary folders, and photos to send."""

import io
import struct
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw
from starlette.applications import Starlette
from starlette.datastructures import State
from starlette.testclient import TestClient

from app.main import create_app
from app.settings import Settings

LOCAL = "http://127.0.0.1:8000"


def settings_in(folder: Path, **chosen: Any) -> Settings:
    places = {"weights_dir": "weights", "cache_dir": "cache", "data_dir": "data"}
    folders = {name: folder / place for name, place in places.items()}
    usual: dict[str, Any] = {"device": "cpu", "offline": True}
    return Settings(**(usual | folders | chosen))


def client_in(folder: Path, *, raises: bool = True, **chosen: Any) -> TestClient:
    app = create_app(settings_in(folder, **chosen))
    return TestClient(app, base_url=LOCAL, raise_server_exceptions=raises)


def state_of(client: TestClient) -> State:
    assert isinstance(client.app, Starlette)
    return client.app.state


def photo(width: int = 320, height: int = 240, colour: str = "orange", kind: str = "JPEG") -> bytes:
    picture = Image.new("RGB", (width, height), "navy")
    draw = ImageDraw.Draw(picture)
    draw.ellipse((width // 4, height // 4, width // 2, height // 2), fill=colour)
    for x in range(0, width, 16):
        draw.line((x, 0, width - x, height), fill="white")
    file = io.BytesIO()
    picture.save(file, kind)
    return file.getvalue()


def sent(data: bytes, name: str = "photo.jpg") -> dict[str, Any]:
    return {"files": {"image": (name, data)}}


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims this size and has almost no data."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


Run = Callable[..., tuple[int, str, str]]
"""Calls the command line: exit code, output, complaints."""


def wait_for(is_so: Callable[[], bool], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, "this never came"
        time.sleep(0.02)
