"""The engine on a GPU: ``python -m benchmarks.gpu``; needs torch alone, and Captum if it is there.

Warm, timed by events on the device, median of the rounds; float32 without TF32. Without a GPU the
same runs on the CPU, so that a test can hold it to work.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
import torch

from benchmarks.engine import LAYERS, dense_flop, open_network, pixels_of, strongest_units
from benchmarks.peers import Captum
from benchmarks.stopwatch import compare, peak
from models.workbench import Network, project, record

UNITS = (1, 16, 144)


@dataclass(frozen=True)
class Row:
    """Some units of one layer: seconds of a click, and of Captum for 16 units where it is there."""

    network: str
    layer: str
    units: int
    click: float
    first: float
    captum: float | None
    fraction: float
    same_bytes: bool


def main() -> None:
    """Measure and print, one JSON document a line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--networks", nargs="+", choices=LAYERS, default=list(LAYERS))
    chosen = parser.parse_args()
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    fastest = peak(chosen.device)
    print(json.dumps({"device": _name(chosen.device), "peak_flop_per_second": fastest}))
    for name in chosen.networks:
        for layer in LAYERS[name]:
            for units in UNITS:
                row = measure(name, layer, units, chosen.device, chosen.rounds, fastest)
                print(json.dumps(asdict(row)), flush=True)


def _name(device: str) -> str:
    return torch.cuda.get_device_name(device) if device.startswith("cuda") else device


def measure(name: str, layer: str, count: int, device: str, rounds: int, fastest: float) -> Row:
    """Time a click and a first answer of some units, and ask twice whether the bytes agree."""
    network = open_network(name, device)
    pixels = pixels_of(network)
    seen = record(network, pixels)
    units = strongest_units(seen, layer, count)
    ways: dict[str, Callable[[], object]] = {
        "click": lambda: project(seen, layer, units),
        "first": lambda: project(record(network, pixels, until=layer), layer, units),
    }
    if count == 16 and (captum := _captum(layer, network)):
        ways["captum"] = lambda: captum.project(pixels, units)
    times = {way: time.median for way, time in compare(ways, rounds, device).items()}
    window = next(info for info in network.describe() if info.name == layer).receptive_field
    rate = dense_flop(network, layer, window) * count / times["click"]
    once, again = (project(seen, layer, units) for _ in range(2))
    same = all(np.array_equal(a.values, b.values) for a, b in zip(once, again, strict=True))
    return Row(
        name,
        layer,
        count,
        times["click"],
        times["first"],
        times.get("captum"),
        rate / fastest,
        same,
    )


def _captum(layer: str, network: Network) -> Captum | None:
    try:
        return Captum(network, layer)
    except ImportError:
        return None


if __name__ == "__main__":
    main()
