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
        raise WeightsInvalid(f"{file.path.name}: {error}") from error
    fill(network, file.tensors, file.path.name)
    if classes:
        _agree(file, network, len(classes))
    return network


def _agree(file: WeightsFile, network: Network, classes: int) -> None:
    if network.last_fc is None:
        raise WeightsInvalid(f"{file.path.name} has no classifier for the {classes} classes named")
    scores = network.describe()[-1].shape.channels
    if scores != classes:
        raise WeightsInvalid(
            f"{classes} classes are named, but {network.last_fc} of {file.path.name} tells "
            f"{scores} apart"
        )


def fill(network: Network, tensors: Mapping[str, Tensor], name: str) -> None:
    """Give a network its tensors; raise WeightsInvalid unless keys and shapes match exactly."""
    expected = network.tensors()
    missing, surplus = expected.keys() - tensors.keys(), tensors.keys() - expected.keys()
    if missing:
        raise WeightsInvalid(f"{name} lacks {_few(missing)}, which {network.name} needs")
    if surplus:
        raise WeightsInvalid(f"{name} holds {_few(surplus)}, which {network.name} has no place for")
    for key, tensor in expected.items():
        if tensors[key].shape != tensor.shape:
            found, wanted = tuple(tensors[key].shape), tuple(tensor.shape)
            raise WeightsInvalid(f"{name}: {key} is {found}; {network.name} needs {wanted}")
    network.assign_tensors(tensors)


def _few(keys: set[str]) -> str:
    first = sorted(keys)[:4]
    return ", ".join(first) + (f" and {len(keys) - 4} more" if len(keys) > 4 else "")
