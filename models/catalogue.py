"""Every network there is, by name, in the order of history."""

from collections.abc import Mapping
from types import MappingProxyType

import torch

from . import alexnet, lenet, vgg, zfnet
from .errors import UnknownNetwork
from .network import Architecture, LayerInfo, Network, build

ARCHITECTURES: Mapping[str, Architecture] = MappingProxyType(
    {
        architecture.name: architecture
        for paper in (lenet, alexnet, zfnet, vgg)
        for architecture in paper.ARCHITECTURES
    }
)


def architecture(name: str) -> Architecture:
    """Find an architecture; raise UnknownNetwork with the names that there are."""
    try:
        return ARCHITECTURES[name]
    except KeyError:
        names = ", ".join(ARCHITECTURES)
        raise UnknownNetwork(f"there is no network {name!r}; there are {names}") from None


def hollow(name: str) -> Network:
    """Build a network without memory for its weights, to ask it about its layers."""
    with torch.device("meta"):
        return build(architecture(name))


def outline(name: str) -> list[LayerInfo]:
    """Describe the layers of a network whose weights need not be there."""
    return hollow(name).describe()
