"""From a weights file to the network that it fills."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from models.errors import WeightsInvalid
from models.networks.architecture import Architecture
from models.networks.build import build
from models.networks.network import Network
from models.weights.files import WeightsFile
from models.weights.metadata import provenance_of, read_classes


def assemble(file: WeightsFile, architecture: Architecture, source: str) -> Network:
    """Build the network that a file describes and fill it with the file's tensors."""
    classes = read_classes(file)
    provenance = provenance_of(file, architecture, source)
    shapes = {key: tuple(tensor.shape) for key, tensor in file.tensors.items()}
    try:
        with torch.device("meta"):
            network = build(
                architecture,
                shapes,
                norm=provenance.norm,
                preprocessing=provenance.preprocessing,
                classes=classes,
                provenance=provenance,
            )
    except WeightsInvalid as error:
        raise WeightsInvalid("makes_no_network", file=file.path.name, cause=error) from error
    fill(network, file.tensors, file.path.name)
    _reach_the_end(file, network)
    if classes:
        _agree(file, network, len(classes))
    return network


def _reach_the_end(file: WeightsFile, network: Network) -> None:
    """Refuse an input so small that nothing of it is left before the last layer."""
    reached = network.sizes(network.input_size)
    if len(reached) < len(network.layers):
        missing, side = network.layers[len(reached)].name, network.preprocessing.size
        raise WeightsInvalid("too_small", file=file.path.name, layer=missing, size=side)


def _agree(file: WeightsFile, network: Network, classes: int) -> None:
    if network.last_fc is None:
        raise WeightsInvalid("no_classifier", file=file.path.name, classes=classes)
    scores = network.describe()[-1].shape.channels
    if scores != classes:
        raise WeightsInvalid(
            "other_classes",
            file=file.path.name,
            classes=classes,
            layer=network.last_fc,
            scores=scores,
        )


def fill(network: Network, tensors: Mapping[str, Tensor], name: str) -> None:
    """Give a network its tensors; raise WeightsInvalid unless keys and shapes match exactly."""
    expected = network.tensors()
    missing, surplus = expected.keys() - tensors.keys(), tensors.keys() - expected.keys()
    if missing:
        raise WeightsInvalid("lacks", file=name, keys=sorted(missing), network=network.name)
    if surplus:
        raise WeightsInvalid("surplus", file=name, keys=sorted(surplus), network=network.name)
    for key, tensor in expected.items():
        if tensors[key].shape != tensor.shape:
            raise WeightsInvalid(
                "other_shape",
                file=name,
                key=key,
                found=str(tuple(tensors[key].shape)),
                network=network.name,
                wanted=str(tuple(tensor.shape)),
            )
    network.assign_tensors(tensors)
