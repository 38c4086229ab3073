"""The index of a data set: photos a second, beside those of the bare forward pass.

``python -m benchmarks.examples --network zfnet`` prints one line of JSON. The photos are small BMP
files, whose decoding is no limit; how fast JPEGs of usual size are decoded stands beside it.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import torch
from PIL import Image
from skimage import data

from benchmarks.pictures import decode
from benchmarks.stopwatch import compare
from models import Network, Progress, Sources, build_examples, load
from models.workbench import Reader, batch_of, framed, list_photos, to_pixels

BAR = 0.85
"""The share of the bare forward pass's photos a second that the build is to reach."""
USUAL = (500, 375)
"""The size of a usual photo of ImageNet."""


def fill(folder: Path, count: int, size: tuple[int, int], suffix: str) -> None:
    """Write so many crops of a free photo."""
    cat = Image.fromarray(data.chelsea())  # type: ignore[no-untyped-call]
    for number in range(count):
        left, top = 7 * number % 150, 5 * number % 100
        part = cat.crop((left, top, left + 300, top + 200)).resize(size)
        part.save(folder / f"{number:06}.{suffix}", quality=90)


def measure(network: Network, count: int, rounds: int, processes: int) -> dict[str, object]:
    """Time bare forward passes and builds in turn, and the decoding of usual photos alone."""
    with TemporaryDirectory() as name:
        small, usual, out = (Path(name) / each for each in ("small", "usual", "out"))
        for folder in (small, usual):
            folder.mkdir()
        side = network.preprocessing.resize
        fill(small, count, (side, side), "bmp")
        fill(usual, count, USUAL, "jpg")
        photos = [decode(file.read_bytes()) for file in sorted(small.iterdir())]
        batches = list(in_batches(network, photos))
        seconds: list[float] = []
        ways: dict[str, Callable[[], object]] = {
            "forward": lambda: forward(network, batches),
            "build": lambda: seconds.append(build(network, small, out, processes)),
        }
        times = compare(ways, rounds)
        whole = sorted(seconds[1:])[len(seconds[1:]) // 2]
        reader = Reader(usual, network.preprocessing, decode)
        left = reader.read_all(list_photos(usual), processes)
        next(left)  # the processes have begun
        start = perf_counter()
        decoded = sum(1 for _ in left)
        rates = {
            "forward": count / times["forward"].median,
            "build": count / whole,
            "decode": decoded / (perf_counter() - start),
        }
    return {
        "network": network.name,
        "device": network.device.type,
        "threads": torch.get_num_threads(),
        "decoders": processes,
        "photos": count,
        "photos_a_second": {way: round(rate, 1) for way, rate in rates.items()},
        "share_of_forward": round(rates["build"] / rates["forward"], 3),
    }


def in_batches(network: Network, photos: Sequence[Image.Image]) -> Iterator[torch.Tensor]:
    """Yield the photos as pixels, in batches as large as a build's."""
    size = batch_of(network)
    pixels = [
        to_pixels(framed(each, network.preprocessing), network.preprocessing) for each in photos
    ]
    for start in range(0, len(pixels), size):
        yield torch.cat(pixels[start : start + size]).to(network.device)


@torch.no_grad()
def forward(network: Network, batches: Sequence[torch.Tensor]) -> None:
    """Run every batch forward, and wait for the last."""
    for batch in batches:
        last = network(batch)
    last.cpu()


def build(network: Network, folder: Path, out: Path, processes: int) -> float:
    """Build the index; return the seconds from the first photos to the last, as long builds take.

    What a build takes to begin its processes and to keep its photos is paid once.
    """
    begun, first, last, seen = 0.0, 0, 0.0, 0
    for step in build_examples(network, folder, out, decode, processes=processes):
        if isinstance(step, Progress) and step.detail != "photos kept" and step.done > seen:
            seen, last = step.done, perf_counter()
            if not begun:
                begun, first = last, step.done
    for file in out.rglob("*.*"):
        file.unlink()
    return (last - begun) * seen / (seen - first)


def main() -> None:
    """Print what was measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--network", default="zfnet")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--photos", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--decoders", type=int, default=os.cpu_count() or 1)
    asked = parser.parse_args()
    nowhere = Path("nowhere")
    network = load(asked.network, Sources(nowhere, nowhere, offline=True), asked.device)
    print(json.dumps(measure(network, asked.photos, asked.rounds, asked.decoders)))


if __name__ == "__main__":
    main()
