"""Occlusion beside Captum's: a square of 32 at a stride of 8 on one photo, the same weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from benchmarks.engine import open_network, pixels_of
from benchmarks.peers import plain
from benchmarks.stopwatch import Time, compare
from models import FramedPhoto, Network, OcclusionRequest, finish, frame_photo, occlude
from models.workbench import to_pixels

SQUARE, STRIDE = 32, 8
BARS = {"vgg16": 5.5, "zfnet": 3.0, "alexnet": 2.0}
"""What Captum's time over ours is to reach, at least."""
BATCHES = (1, 4, 8, 16, 32, 64)
"""The ``perturbations_per_eval`` of which Captum's best is taken."""


@dataclass(frozen=True)
class Case:
    """One network's occlusion: Captum's best batch, each way's times, and how far they differ."""

    network: str
    batch: int
    times: dict[str, Time]
    difference: float

    @property
    def ratio(self) -> float:
        """Captum's time over ours."""
        return self.times["captum"].median / self.times["ours"].median

    def document(self) -> dict[str, Any]:
        """Return all numbers as JSON has them."""
        return asdict(self) | {"ratio": self.ratio}


class Captum:
    """Captum's Occlusion of the most probable class, which runs every photo whole."""

    def __init__(self, network: Network, pixels: Tensor) -> None:
        from captum.attr import Occlusion

        self.model, _ = plain(network)
        self.pixels = pixels.contiguous()
        with torch.no_grad():
            self.target = int(self.model(self.pixels).flatten(1).argmax())
        self.seen: list[Tensor] = []
        self.occlusion = Occlusion(self._probability)

    def _probability(self, pixels: Tensor) -> Tensor:
        chance = torch.softmax(self.model(pixels).flatten(1), 1)[:, self.target]
        self.seen.append(chance)
        return chance

    @torch.no_grad()
    def run(self, batch: int, stride: int) -> Tensor:
        """Return the probability under each square, (rows, columns)."""
        self.seen.clear()
        self.occlusion.attribute(
            self.pixels,
            (self.pixels.shape[1], SQUARE, SQUARE),
            strides=(self.pixels.shape[1], stride, stride),
            perturbations_per_eval=batch,
        )
        found = torch.cat(self.seen[1:])  # the first is the photo without a square
        return found.view(-1, math.isqrt(len(found))).T  # it goes down before it goes right

    def best_batch(self) -> int:
        """Try the batches on a coarse grid, and return the fastest."""
        ways: dict[str, Callable[[], object]] = {
            str(batch): partial(self.run, batch, SQUARE) for batch in BATCHES
        }
        times = compare(ways, rounds=2)
        return int(min(times, key=lambda name: times[name].fastest))


def measure(rounds: int, names: tuple[str, ...] = tuple(BARS)) -> Iterator[Case]:
    """Time both ways of each network in turn."""
    for name in names:
        network = open_network(name)
        yield compare_with_captum(network, photo_of(network), rounds)


def photo_of(network: Network) -> FramedPhoto:
    """Return smooth noise, as rough as a photo, framed for a network."""
    noise = pixels_of(network)[0]
    levels = ((noise - noise.min()) / (noise.max() - noise.min()) * 255).byte()
    picture = Image.fromarray(levels.permute(1, 2, 0).numpy())
    return frame_photo(picture, network.preprocessing)


def compare_with_captum(network: Network, photo: FramedPhoto, rounds: int) -> Case:
    """Time our occlusion and Captum's on one photo."""
    captum = Captum(network, to_pixels(photo.picture, network.preprocessing))
    batch = captum.best_batch()
    found: dict[str, Any] = {}

    def ours() -> None:
        found["ours"] = finish(
            occlude(network, photo, OcclusionRequest(square=SQUARE, stride=STRIDE))
        )

    def theirs() -> None:
        found["captum"] = captum.run(batch, STRIDE)

    times = compare({"captum": theirs, "ours": ours}, rounds)
    probability = torch.from_numpy(found["ours"].numbers["probability"])
    difference = float((probability - found["captum"]).abs().max())
    return Case(network.name, batch, times, difference)
