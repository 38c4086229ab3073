"""The classes that a network tells apart, by number and by label."""

from __future__ import annotations

from models.errors import InvalidChoice
from models.networks.network import Network


def find_class(network: Network, target: str, count: int) -> int:
    """Find a class of ``count`` by its number or its label; raise InvalidChoice.

    Capitals count for nothing, nor does a space for a ``_``, which people are shown as one.
    """
    wanted = target.strip()
    labels = list(network.classes or ())
    if wanted in labels:
        return labels.index(wanted)
    if wanted.isdecimal() and len(wanted) < 10 and int(wanted) < count:
        return int(wanted)
    folded = [_folded(label) for label in labels]
    if _folded(wanted) in folded:
        return folded.index(_folded(wanted))
    raise InvalidChoice("no_such_class", network=network.name, last=count - 1, target=target[:80])


def _folded(label: str) -> str:
    return label.casefold().replace("_", " ")


def label_of(network: Network, number: int) -> str:
    """Name a class, by its number where the weights name none."""
    return network.classes[number] if network.classes else f"class {number}"


def class_of(network: Network, layer: str, feature: int) -> str | None:
    """Name the class that a unit stands for; None below the last layer, and without labels."""
    return network.classes[feature] if network.classes and layer == network.last_fc else None
