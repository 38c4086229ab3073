"""Which class an experiment is about: by number, by label, or the most probable one."""

from __future__ import annotations

from collections.abc import Iterable

from models.networks.classes import label_of
from models.networks.network import Network
from models.networks.signal import Size


def score_layer(network: Network, size: Size) -> str | None:
    """Name the layer of class scores that an input of this size reaches, if there is one."""
    last = network.sizes(size)[-1][0]
    complete = last.kind == "fc" and last.name == network.architecture.rows[-1].name
    return last.name if complete else None


def labels_of(network: Network, numbers: Iterable[int]) -> dict[int, str]:
    """Name each of some classes once, in the order of their numbers."""
    return {number: label_of(network, number) for number in sorted(set(numbers))}
