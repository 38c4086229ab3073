"""Who publishes a network's weights: asked in order, and what is known of what they gave."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

from models.errors import InvalidChoice, WeightsError, WeightsInvalid, WeightsMissing
from models.networks.catalogue import architecture
from models.weights.download import OnProgress, Published, fetch, is_whole, recorded_sha256
from models.weights.files import WeightsFile, glance, read
from models.weights.packages import Packaged, fetch_package, is_kept

HEADS = Path(__file__).parent / "heads"
"""Classifiers of our own that belong to what others publish without one."""

Publisher: TypeAlias = Published | Packaged


def publishers(name: str) -> tuple[Publisher, ...]:
    """List who publishes weights of a network, the best first."""
    from models.weights.published import PACKAGED, PUBLISHED

    found = PUBLISHED.get(name), PACKAGED.get(name)
    return tuple(each for each in found if each is not None)


def choose_publishers(
    offers: tuple[Publisher, ...], folder: Path, chosen: str | None
) -> tuple[Publisher, ...]:
    """Choose whom to ask, in order: the one named, or all that give more than what is here.

    Raises InvalidChoice where nobody goes by that name.
    """
    if chosen is not None:
        named = tuple(each for each in offers if each.publisher == chosen)
        if not named:
            known = tuple(each.publisher for each in offers)
            raise InvalidChoice("unknown_word", name="publisher", known=known, value=chosen[:40])
        return named
    for count, each in enumerate(offers):
        if is_here(each, folder):
            return offers[:count] or (each,)
    return offers


def is_here(offer: Publisher, folder: Path) -> bool:
    """Tell whether what somebody publishes is in the folder, whole."""
    file = folder / offer.filename
    return is_kept(file) if isinstance(offer, Packaged) else is_whole(file, offer)


def fetch_in_order(offers: Iterable[Publisher], folder: Path, on_progress: OnProgress) -> Path:
    """Fetch from the first who can give; raises what went wrong with each where none can."""
    failures: list[WeightsError] = []
    for offer in offers:
        try:
            if isinstance(offer, Packaged):
                return fetch_package(offer, folder, on_progress)
            return fetch(offer, folder, on_progress)
        except WeightsError as failure:
            failures.append(failure)
    if len(failures) == 1:
        raise failures[0]
    raise WeightsMissing("no_publisher", causes=tuple(failures))


def publisher_of(name: str, file: Path) -> Publisher | None:
    """Find who published a file, by its name."""
    return next((each for each in publishers(name) if each.filename == file.name), None)


def expect(file: WeightsFile, offer: Publisher, name: str) -> None:
    """Refuse a fetched file that is no longer what was fetched; raises WeightsInvalid."""
    known = recorded_sha256(file.path)
    if known != file.sha256 if known else not is_here(offer, file.path.parent):
        raise WeightsInvalid("not_as_published", file=file.path.name, network=name)


def complete_file(file: WeightsFile, offer: Publisher, name: str) -> WeightsFile:
    """Add what is known of published weights and their file does not say."""
    if isinstance(offer, Packaged):
        return _with_head(file, offer, name)
    from models.weights.published import imagenet_classes

    known = {
        "classes": imagenet_classes(),
        "licence": offer.licence,
        "source": offer.description,
    }
    return replace(file, metadata=known | dict(file.metadata))


def _with_head(file: WeightsFile, offer: Packaged, name: str) -> WeightsFile:
    """Put our own classifier on top, where one ships; its tensors where the file has its own."""
    path = HEADS / f"{offer.head}.safetensors"
    if not path.is_file():
        return file
    head = read(path, architecture(name)) if file.tensors else glance(path)
    metadata = {
        **file.metadata,
        "classes": head.metadata.get("classes"),
        "source": f"{offer.description}; on top: {head.metadata.get('source')}",
        "licence": f"{offer.licence}; on top: {head.metadata.get('licence')}",
    }
    return replace(file, tensors={**file.tensors, **head.tensors}, metadata=metadata)
