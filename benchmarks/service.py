"""The server from outside: what a request costs beyond its parts, and how it bears a load."""

from __future__ import annotations

import io
import itertools
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx2 as httpx
import numpy as np
from PIL import Image, ImageOps
from skimage import data

from benchmarks.peers import Captum
from benchmarks.stopwatch import compare
from models import (
    Choice,
    Network,
    Sources,
    frame_photo,
    load,
    record_photo,
    to_png_sheet,
    visualize,
)
from models.workbench import framed, peaks, record, strongest, to_pixels

PAUSE = 0.2
"""Seconds after which OpenMP's threads, which wait busily for more work, have gone to sleep."""
AT_ONCE = 4
"""How many requests are under way at any time of the load."""


def measure(rounds: int) -> dict[str, float]:
    """Compare a PNG of zfnet's conv5, top 9, over HTTP with its parts alone; then load it."""
    pictures = _photos(32 * rounds + 8)
    folder = Path("nowhere")
    network = load("zfnet", Sources(folder, folder, offline=True))

    def alone() -> None:
        picture = ImageOps.exif_transpose(Image.open(io.BytesIO(next(pictures)))).convert("RGB")
        to_png_sheet(visualize(network, picture, Choice(layer="conv5")))

    with _server() as port, httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as http:
        ask(http, next(pictures))
        ways = {"parts": alone, "pause": pause, "request": lambda: ask(http, next(pictures))}
        times = compare(ways, 8 * rounds)
        fragment = _fragment(http, next(pictures), network, 8 * rounds)
        large = _fragment(http, _large_jpeg(), network, 4 * rounds)
        beside = _beside_captum(http, pictures, 2 * rounds)
        loaded = _load(http, pictures, 12 * rounds)
    return {
        "POST /visualize (png, zfnet conv5, top 9), ms": 1000 * times["request"].median,
        "decode + forward + project + render alone, ms": 1000 * times["parts"].median,
        "request / parts": times["request"].median / times["parts"].median,
        **beside,
        "explorer fragment beyond its projection, record held, ms": fragment,
        "the same for a photo of 12 megapixels, ms": large,
        **loaded,
        "throughput / engine's own rate": loaded[f"requests a second, {AT_ONCE} at a time"]
        * times["parts"].median,
    }


def _beside_captum(http: httpx.Client, photos: Iterator[bytes], rounds: int) -> dict[str, float]:
    """Time a PNG of alexnet's conv5, top 16, over HTTP beside Captum's sixteen bare calls."""
    folder = Path("nowhere")
    network = load("alexnet", Sources(folder, folder, offline=True))
    picture = Image.open(io.BytesIO(next(photos))).convert("RGB")
    pixels = to_pixels(framed(picture, network.preprocessing), network.preprocessing)
    seen = record(network, pixels)
    units = peaks(seen, "conv5", strongest(seen, "conv5", 16))
    captum = Captum(network, "conv5")
    asked = {"network": "alexnet", "layer": "conv5", "top": "16"}
    ways: dict[str, Callable[[], object]] = {
        "captum": lambda: captum.project(pixels, units),
        "pause": pause,
        "request": lambda: ask(http, next(photos), asked),
    }
    times = compare(ways, rounds)
    return {
        "POST /visualize (png, alexnet conv5, top 16), ms": 1000 * times["request"].median,
        "Captum's sixteen bare calls / that request": times["captum"].median
        / times["request"].median,
    }


def pause() -> None:
    """Let this process's threads fall asleep, which would take the server's cores from it."""
    time.sleep(PAUSE)


def _fragment(http: httpx.Client, jpeg: bytes, network: Network, rounds: int) -> float:
    """Ask for other layers and units of a photo that is known; return what that adds, in ms."""
    page = http.post("/images", files={"image": ("photo.jpg", jpeg)}).headers["location"]
    picture = Image.open(io.BytesIO(jpeg)).convert("RGB")
    held = record_photo(network, frame_photo(picture, network.preprocessing))
    layers = itertools.cycle(
        (layer, feature) for feature in range(60) for layer in ("conv5", "conv4", "conv3")
    )
    beside = itertools.tee(layers)

    def project() -> None:
        layer, feature = next(beside[0])
        visualize(network, picture, Choice(layer=layer, features=(feature,)), held)

    def ask_for_fragment() -> None:
        layer, feature = next(beside[1])
        asked = http.get(
            f"{page}/zfnet/{layer}?feature={feature}", headers={"HX-Request-Type": "partial"}
        )
        asked.raise_for_status()

    ways = {"fragment": ask_for_fragment, "projection": project, "pause": pause}
    times = compare(ways, rounds)
    return 1000 * (times["fragment"].median - times["projection"].median)


def _photos(count: int) -> Iterator[bytes]:
    """Return JPEGs that differ, so that no answer is known before; made before they are sent."""
    return iter([_jpeg(number) for number in range(count)])


def _jpeg(number: int) -> bytes:
    pixels = data.astronaut()  # type: ignore[no-untyped-call]
    pixels[:8, :8] = np.frombuffer(number.to_bytes(4, "big") * 48, np.uint8).reshape(8, 8, 3)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=90)
    return file.getvalue()


def _large_jpeg() -> bytes:
    """Return a JPEG of 4000 x 3000 pixels, as phones make them."""
    file = io.BytesIO()
    photo = Image.fromarray(data.astronaut())  # type: ignore[no-untyped-call]
    photo.resize((4000, 3000)).save(file, "JPEG", quality=90)
    return file.getvalue()


ZFNET = {"network": "zfnet", "layer": "conv5", "top": "9"}


def ask(http: httpx.Client, jpeg: bytes, asked: Mapping[str, str] = ZFNET) -> float:
    """Post a photo for a PNG sheet and return the seconds; raise HTTPStatusError if refused."""
    start = time.perf_counter()
    answer = http.post(
        "/visualize",
        data=asked,
        files={"image": ("photo.jpg", jpeg, "image/jpeg")},
        headers={"Accept": "image/png"},
    )
    answer.raise_for_status()
    return time.perf_counter() - start


def _load(http: httpx.Client, photos: Iterator[bytes], count: int) -> dict[str, float]:
    """Ask four at a time, always, and meanwhile how fast the event loop answers."""
    jpegs = [next(photos) for _ in range(count)]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        start = time.perf_counter()
        asked = [pool.submit(ask, http, jpeg) for jpeg in jpegs]
        lags = []
        while not all(each.done() for each in asked):
            lags.append(_lag(http))
            time.sleep(0.05)
        seconds = sorted(each.result() for each in asked)
        rate = len(asked) / (time.perf_counter() - start)
    return {
        f"requests a second, {AT_ONCE} at a time": rate,
        "p50 under that load, ms": 1000 * statistics.median(seconds),
        "p99 under that load, ms": 1000 * seconds[int(0.99 * (len(seconds) - 1))],
        "GET /healthz meanwhile, p99, ms": 1000 * sorted(lags)[int(0.99 * (len(lags) - 1))],
    }


def _lag(http: httpx.Client) -> float:
    """Time the simplest request there is: mostly the event loop's lag."""
    start = time.perf_counter()
    http.get("/healthz")
    return time.perf_counter() - start


@contextmanager
def _server() -> Iterator[int]:
    """Serve from another process, with an empty data folder."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    with TemporaryDirectory() as folder:
        environment = os.environ | {"DECONVNET_DATA_DIR": folder, "DECONVNET_OFFLINE": "1"}
        command = [str(Path(sys.executable).with_name("deconvnet")), "serve", "--port", str(port)]
        process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
        try:
            _wait(port, process)
            yield port
        finally:
            process.terminate()
            process.wait(30)


def _wait(port: int, process: subprocess.Popen[bytes]) -> None:
    for _ in range(600):
        if process.poll() is not None:
            raise RuntimeError(f"the server ended with status {process.returncode}")
        try:
            httpx.get(f"http://127.0.0.1:{port}/readyz").raise_for_status()
            return
        except httpx.TransportError:
            time.sleep(0.1)
    raise RuntimeError("the server did not answer within a minute")
