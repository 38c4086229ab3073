"""Which maps speak for a class: its score's gradient at a layer, times the activation, map by map.

Below a linear classifier the contributions, with its bias, add up to the score.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from models.errors import InvalidChoice
from models.networks.classes import find_class, label_of
from models.networks.network import Network
from models.projection.record import Record, activations
from models.projection.walk import score_gradient


@dataclass(frozen=True)
class Target:
    """The class that maps speak for, by its number and its label."""

    number: int
    label: str


@dataclass(frozen=True)
class Contributions:
    """What each map of a layer, by its number, adds to the score of a class; signed."""

    target: Target
    values: tuple[float, ...]


def contributions(record: Record, layer: str, target: str | None = None) -> Contributions:
    """Compute what every map of a layer adds to a class, the most probable where none is named.

    ``target`` is the number of a class or its label. Raises InvalidChoice where there is no such
    class, no classifier, or the layer holds the scores themselves.
    """
    network = record.network
    check_target(network, layer, target)
    scores = record.class_scores
    assert scores is not None, "the network has a classifier"
    number = int(scores[0].argmax()) if target is None else _find(network, target)
    values = _sums(record, layer, number).tolist()
    return Contributions(Target(number, label_of(network, number)), tuple(values))


@torch.no_grad()
def _sums(record: Record, layer: str, score: int) -> Tensor:
    """Sum the gradient times the activation over each map of the layer: (C,)."""
    gradient = score_gradient(record, layer, score).double()
    return (gradient * activations(record, layer)[0].double()).sum((1, 2))


def check_target(network: Network, layer: str, target: str | None) -> None:
    """Raise InvalidChoice where no map of the layer can speak for such a class."""
    if network.classifier is None:
        raise InvalidChoice("contribution_without_classifier", network=network.name)
    if layer == network.classifier:
        raise InvalidChoice("contribution_of_scores", layer=layer)
    if target is not None:
        _find(network, target)


def _find(network: Network, target: str) -> int:
    return find_class(network, target, network.sizes(network.input_size)[-1][1][-1].channels)
