"""Timing: several ways of doing one thing, side by side in one run."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Time:
    """Seconds that one way took: the median of the rounds, the fastest and the slowest."""

    median: float
    fastest: float
    slowest: float


def compare(
    ways: Mapping[str, Callable[[], object]], rounds: int, device: str = "cpu"
) -> dict[str, Time]:
    """Time every way once a round, in turn, after one round that does not count."""
    for way in ways.values():
        way()
    clock = _cuda_seconds if device.startswith("cuda") else _seconds
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            seconds[name].append(clock(way))
    return {
        name: Time(statistics.median(all_), min(all_), max(all_)) for name, all_ in seconds.items()
    }


def _seconds(way: Callable[[], object]) -> float:
    start = time.perf_counter()
    way()
    return time.perf_counter() - start


def _cuda_seconds(way: Callable[[], object]) -> float:
    """Time on the device, from an event before to an event after."""
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    way()
    end.record()
    end.synchronize()
    return start.elapsed_time(end) / 1000  # type: ignore[no-any-return]


def peak(device: str = "cpu", rounds: int = 5) -> float:
    """Measure the machine's float32 matrix rate, flop/s: the best of products and convolutions.

    Both count, because the library behind the one may know the processor better than the other.
    """
    sides = (1024, 2048) if device == "cpu" else (4096, 8192)
    rates = [_product_rate(side, device, rounds) for side in sides]
    rates += [_filter_rate(maps, device, rounds) for maps in (128, 256)]
    return max(rates)


def _product_rate(side: int, device: str, rounds: int) -> float:
    a, b = (torch.randn(side, side, device=device) for _ in range(2))
    return 2 * side**3 / compare({"product": lambda: a @ b}, rounds, device)["product"].fastest


def _filter_rate(maps: int, device: str, rounds: int) -> float:
    form = torch.channels_last if device == "cpu" else torch.contiguous_format
    x = torch.randn(8, maps, 64, 64, device=device).contiguous(memory_format=form)
    filters = torch.randn(maps, maps, 3, 3, device=device).contiguous(memory_format=form)
    work = 2 * x.numel() * maps * 9

    def convolve() -> torch.Tensor:
        return torch.nn.functional.conv2d(x, filters, padding=1)

    return work / compare({"filter": convolve}, rounds, device)["filter"].fastest
