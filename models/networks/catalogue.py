"""Every network there is, by name, in the order of history."""

from collections.abc import Mapping
from types import MappingProxyType

import torch

from models.errors import UnknownNetwork
from models.networks import alexnet, lenet, vgg, zfnet
from models.networks.architecture import Architecture
from models.networks.build import build
from models.networks.network import LayerInfo, Network

ARCHITECTURES: Mapping[str, Architecture] = MappingProxyType(
    {
        architecture.name: architecture
        for paper in (lenet, alexnet, zfnet, vgg)
        for architecture in paper.ARCHITECTURES
    }
)


def architectures() -> Mapping[str, Architecture]:
    """Return every network's description by name, in the order of history."""
    return ARCHITECTURES


def architecture(name: str) -> Architecture:
    """Find an architecture; raise UnknownNetwork with the names that there are."""
    try:
        return ARCHITECTURES[name]
    except KeyError:
        raise UnknownNetwork(name, list(ARCHITECTURES)) from None


def build_on_meta(name: str) -> Network:
    """Build a network on torch's meta device: layers and shapes, no memory for weights."""
    with torch.device("meta"):
        return build(architecture(name))


def describe_layers(name: str) -> list[LayerInfo]:
    """Describe a network's layers, whether or not its weights are on this machine."""
    return build_on_meta(name).describe()
