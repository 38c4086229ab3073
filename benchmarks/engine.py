"""The engine against its peers: projecting the strongest units of a layer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.peers import Captum, Port
from benchmarks.stopwatch import Time, compare
from models import Sources, load
from models.workbench import (
    Convolution,
    Network,
    Record,
    Size,
    Span,
    Unit,
    architecture,
    peaks,
    project,
    project_maps,
    record,
    strongest,
)

UNITS = 16
LAYERS = {
    "vgg16": ("conv3_3", "conv4_3", "conv5_3"),
    "alexnet": ("conv2", "conv3", "conv5"),
    "zfnet": ("conv2", "conv3", "conv5"),
}
BARS = {
    ("vgg16", "conv3_3"): (200, 35),
    ("vgg16", "conv4_3"): (20, 12),
    ("vgg16", "conv5_3"): (3, 2.5),
    ("alexnet", "conv2"): (100, 45),
    ("alexnet", "conv3"): (30, None),
    ("alexnet", "conv5"): (10, 8),
    ("zfnet", "conv2"): (250, None),
    ("zfnet", "conv5"): (8, None),
}
"""What Captum / ours is to reach, at least: for a click, and for a first answer."""


@dataclass(frozen=True)
class Case:
    """Sixteen units of one layer: each way's times, the dense work, and the rate reached."""

    network: str
    layer: str
    window: int
    times: dict[str, Time]
    dense_flop: int
    peak: float

    @property
    def click(self) -> float:
        """Captum's time over ours, the record held."""
        return self.times["captum"].median / self.times["click"].median

    @property
    def first(self) -> float:
        """Captum's time over ours, the recording forward pass counted in."""
        return self.times["captum"].median / self.times["first"].median

    @property
    def fraction(self) -> float:
        """How much of the machine's matrix rate the windows' dense work took place at."""
        return self.dense_flop / self.times["click"].median / self.peak

    def document(self) -> dict[str, Any]:
        """Return all numbers as JSON has them."""
        ratios = {"click": self.click, "first": self.first, "fraction": self.fraction}
        return asdict(self) | {"ratios": ratios}


def open_network(name: str, device: str = "cpu") -> Network:
    """Build a network at its published size; its weights are random, which costs the same."""
    nowhere = Path("nowhere")
    return load(name, Sources(nowhere, nowhere, offline=True, random=True), device)


def pixels_of(network: Network, side: int | None = None, images: int = 1) -> Tensor:
    """Return pixels (images, 3, side, side) of smooth noise, as rough as a photo."""
    side = side or network.preprocessing.size
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        rough = sum(_noise(images, cells, side) for cells in (4, 16, 64, side))
    return torch.as_tensor(rough).to(network.device)


def _noise(images: int, cells: int, side: int) -> Tensor:
    grain = torch.randn(images, 3, cells, cells)
    return nn.functional.interpolate(grain, size=(side, side), mode="bilinear")


def strongest_units(seen: Record, layer: str, count: int) -> list[Unit]:
    """Return the peaks of the strongest maps; beyond the last map they begin again."""
    maps = seen.maxima[layer].values.shape[1]
    chosen = strongest(seen, layer, min(count, maps))
    units = peaks(seen, layer, chosen)
    return (units * -(-count // maps))[:count]


def against_peers(peak: float, rounds: int) -> Iterator[Case]:
    """Time a click and a first answer of each network and layer beside the peers."""
    for name, layers in LAYERS.items():
        network = open_network(name)
        pixels = pixels_of(network)
        seen = record(network, pixels)
        for layer in layers:
            units = strongest_units(seen, layer, UNITS)
            times = compare(_ways(network, pixels, seen, layer, units), rounds)
            window = _window(network, layer)
            work = dense_flop(network, layer, window) * UNITS
            yield Case(name, layer, window, times, work, peak)


def _ways(
    network: Network, pixels: Tensor, seen: Record, layer: str, units: Sequence[Unit]
) -> dict[str, Callable[[], object]]:
    captum, port = Captum(network, layer), Port(network, layer, pixels)
    return {
        "captum": lambda: captum.project(pixels, units),
        "port": lambda: port.project(units),
        "full": lambda: project(seen, layer, units, windows=False),
        "click": lambda: project(seen, layer, units),
        "first": lambda: project(record(network, pixels, until=layer), layer, units),
    }


def _window(network: Network, layer: str) -> int:
    """Return the side of the pixels that a unit sees."""
    infos = {info.name: info for info in network.describe()}
    return infos[layer].receptive_field


def dense_flop(network: Network, layer: str, window: int) -> int:
    """Count the multiply-adds, times two, of carrying one unit's uncut window down densely.

    On a canvas so large that no border cuts the window of the unit in its middle.
    """
    side = 4 * window + 64
    path = network.path(layer, Size(network.input_size.channels, side, side))
    top = path[-1][1][-1]
    rows = Span.cells([top.height // 2], top.height)
    columns = Span.cells([top.width // 2], top.width)
    flop = 0
    for each, sizes in reversed(path):
        for step, input_size in reversed(list(zip(each.steps, sizes, strict=False))):
            if isinstance(step, Convolution):
                alone = each is path[-1][0]
                maps = 1 if alone else step.out_channels
                fan = step.in_channels // step.groups * step.kernel_size[0] ** 2
                flop += 2 * rows.length * columns.length * maps * fan
            rows, columns = step.input_span(rows, columns, input_size)
    return flop


def forward_overhead(rounds: int) -> dict[str, float]:
    """Measure what recording adds to a bare forward pass through the same network."""
    return {name: _overhead(open_network(name), rounds) for name in LAYERS}


@torch.no_grad()
def _overhead(network: Network, rounds: int) -> float:
    pixels = pixels_of(network).contiguous(memory_format=torch.channels_last)
    ways = {"bare": lambda: network(pixels), "record": lambda: record(network, pixels)}
    times = compare(ways, rounds)
    return times["record"].median / times["bare"].median


@dataclass(frozen=True)
class Scale:
    """Ours alone, at another batch or size: projections a second."""

    network: str
    layer: str
    side: int
    units: int
    seed: str
    seconds: float


def at_scale(rounds: int, device: str = "cpu") -> Iterator[Scale]:
    """Time batches of 1, 16 and 144 units, inputs of 224 and 448 pixels, and whole maps."""
    for name, layers in LAYERS.items():
        network = open_network(name, device)
        for side in (224, 448):
            seen = record(network, pixels_of(network, side))
            for layer in layers:
                yield from _sizes(seen, layer, side, rounds, device)


def _sizes(seen: Record, layer: str, side: int, rounds: int, device: str) -> Iterator[Scale]:
    ways: dict[str, Callable[[], object]] = {
        f"{count} unit": _clicks(seen, layer, count) for count in (1, 16, 144)
    }
    maps = [unit.feature for unit in strongest_units(seen, layer, 4)]
    ways["4 map"] = lambda: project_maps(seen, layer, maps)
    for way, time in compare(ways, rounds, device).items():
        count, _, seed = way.partition(" ")
        name = seen.network.name
        yield Scale(name, layer, side, int(count), seed, time.median)


def _clicks(seen: Record, layer: str, count: int) -> Callable[[], object]:
    units = strongest_units(seen, layer, count)
    return lambda: project(seen, layer, units)


def titles() -> dict[str, str]:
    """Return each network's name as its paper has it."""
    return {name: architecture(name).title for name in LAYERS}
