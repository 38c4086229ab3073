"""Which class an experiment is about: by number, by label, or the most probable one."""

from __future__ import annotations

from collections.abc import Iterable

from models.errors import InvalidChoice
from models.networks.network import Network
from models.networks.signal import Size


def score_layer(network: Network, size: Size) -> str | None:
    """Name the layer of class scores that an input of this size reaches, if there is one."""
    last = network.sizes(size)[-1][0]
    complete = last.kind == "fc" and last.name == network.architecture.rows[-1].name
    return last.name if complete else None


def find_class(network: Network, target: str, count: int) -> int:
    """Find a class of ``count`` by its number or its label; raise InvalidChoice."""
    wanted = target.strip()
    labels = list(network.classes or ())
    if wanted in labels:
        return labels.index(wanted)
    if wanted.isdecimal() and len(wanted) < 10 and int(wanted) < count:
        return int(wanted)
    folded = [label.casefold() for label in labels]
    if wanted.casefold() in folded:
        return folded.index(wanted.casefold())
    raise InvalidChoice("no_such_class", network=network.name, last=count - 1, target=target[:80])


def label_of(network: Network, number: int) -> str:
    """Name a class, by its number where the weights name none."""
    return network.classes[number] if network.classes else f"class {number}"


def labels_of(network: Network, numbers: Iterable[int]) -> dict[int, str]:
    """Name each of some classes once, in the order of their numbers."""
    return {number: label_of(network, number) for number in sorted(set(numbers))}
