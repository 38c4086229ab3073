"""A tiny walk whose result is known: whether a device computes, and rightly."""

import torch

from models.errors import DeviceLost
from models.networks.architecture import Architecture, Filters, Pooling
from models.networks.build import build
from models.networks.preprocessing import Preprocessing
from models.projection.record import record
from models.projection.selection import Unit
from models.projection.walk import project

SIDE, ONES = 8, 3 * 3 * 3
"""The input's side in pixels; how many ones a filter of ones over three channels adds up."""
TINY = Architecture(
    name="tiny",
    title="A network for trials",
    paper="none",
    rows=(Filters("conv1", 1, 3), Pooling("pool1", 2, 2)),
    preprocessing=Preprocessing(size=SIDE, resize=SIDE),
)


def try_device(device: str) -> None:
    """Record ones and walk a unit down on a device; raises DeviceLost where that comes out wrong.

    Filters of ones make 27 of every place. The unit's switch is the first of its four places, so
    that 27 arrives at the 3 x 3 pixels of its corner, in each channel, and nothing beside them.
    """
    network = build(TINY)
    tensors = {
        name: torch.ones_like(each, device=device) * name.endswith("weight")
        for name, each in network.tensors().items()
    }
    network.assign_tensors(tensors)
    seen = record(network, torch.ones(1, 3, SIDE, SIDE))
    (arrived,) = project(seen, "pool1", [Unit(0, 0, 0, float(seen.maxima["pool1"].values[0, 0]))])
    found = torch.from_numpy(arrived.canvas(seen.size))
    expected = torch.zeros(3, SIDE, SIDE)
    expected[:, :3, :3] = ONES
    if not torch.equal(found, expected):
        raise DeviceLost("wrong", cause="a walk with a known result came out otherwise")
