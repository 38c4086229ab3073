"""What a page can say before anything is walked down: the chosen units and what they see."""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image

from models.errors import InvalidChoice
from models.networks.preprocessing import Box
from models.projection.choice import Choice, Show
from models.projection.contribution import Contributions, contributions
from models.projection.record import Record
from models.projection.selection import Unit
from models.projection.visualize import LIMIT, Prediction, choose, complete, predict


@dataclass(frozen=True)
class Selected:
    """The units that a choice picks out, in its order, and the receptive field of each.

    ``show`` says how their projections will be drawn, ``classes`` are the most probable ones,
    ``ranking`` is what the units were ranked by instead of their strength, if by anything.
    """

    layer: str
    show: Show
    units: tuple[Unit, ...]
    boxes: tuple[Box, ...]
    classes: tuple[Prediction, ...] | None
    ranking: Contributions | None = None


def select(record: Record, choice: Choice, *, limit: int = LIMIT) -> Selected:
    """Choose units as ``reconstruct`` does, without walking down.

    Raises UnknownLayer, and InvalidChoice also for a difference of fewer than two units that fire.
    """
    choice = complete(record.network, choice)
    assert choice.layer is not None and choice.show is not None
    ranked = choice.rank == "contribution"
    ranking = contributions(record, choice.layer, choice.target) if ranked else None
    units = tuple(choose(record, choice.layer, choice, limit, ranking))
    alive = sum(unit.activation != 0 for unit in units)
    if choice.show == "difference" and alive < 2:
        raise InvalidChoice("difference_of_silent", count=alive)
    boxes = tuple(_field(record, choice, unit) for unit in units)
    return Selected(choice.layer, choice.show, units, boxes, predict(record), ranking)


def _field(record: Record, choice: Choice, unit: Unit) -> Box:
    """Return the pixels that a unit, or for ``map`` any of its map, is computed from."""
    if choice.seed == "map":
        return Box(0, 0, record.size.height, record.size.width)
    assert choice.layer is not None
    return record.network.receptive_field(choice.layer, (unit.y, unit.x), record.size)


def cut_patch(record: Record, box: Box) -> Image.Image:
    """Cut a receptive field out of the photo as the network saw it; needs no device."""
    assert record.photo is not None, "only a photo's record has patches"
    return record.photo.picture.crop((box.left, box.top, box.right, box.bottom)).convert("RGB")
