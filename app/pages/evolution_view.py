"""What a page shows of an evolution: its maps' projections at one epoch, and the way to others."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class MapThen:
    """A map at an epoch: its strongest activation, where, and whether it fired at all."""

    activation: float
    photo: str
    unit: tuple[int, int]
    silent: bool


@dataclass(frozen=True)
class FollowedMap:
    """A feature map at every epoch."""

    feature: int
    epochs: tuple[MapThen, ...]


@dataclass(frozen=True)
class EvolutionView:
    """An evolution at one of its epochs: ``at`` is the epoch's place in ``epochs``."""

    job: str
    network: str
    layer: str
    epochs: tuple[int, ...]
    at: int
    maps: tuple[FollowedMap, ...]

    @property
    def epoch(self) -> int:
        """Return the epoch that is shown."""
        return self.epochs[self.at]


def view_evolution(job: str, found: Mapping[str, Any], query: Mapping[str, str]) -> EvolutionView:
    """Look at an evolution's document, at the epoch that the page's address names, or the last."""
    epochs = tuple(found["epochs"])
    wanted = query.get("epoch", "")
    known = [str(epoch) for epoch in epochs]
    at = known.index(wanted) if wanted in known else len(epochs) - 1
    maps = tuple(
        FollowedMap(feature, _each(found, row)) for row, feature in enumerate(found["features"])
    )
    return EvolutionView(job, found["network"], found["layer"], epochs, at, maps)


def _each(found: Mapping[str, Any], row: int) -> tuple[MapThen, ...]:
    columns = ("activation", "photo_name", "unit", "silent")
    return tuple(
        MapThen(activation, photo, tuple(unit), silent)
        for activation, photo, unit, silent in zip(
            *(found[name][row] for name in columns), strict=True
        )
    )
