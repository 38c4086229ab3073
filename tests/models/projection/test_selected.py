"""What is said before a walk is what the walk then finds."""

from __future__ import annotations

import pytest
from PIL import Image

from models import Choice, InvalidChoice, Network, frame_photo, record_photo, select
from models.projection.choice import Seed
from models.projection.record import Record
from models.projection.selected import cut_patch
from models.projection.visualize import draw, reconstruct
from tests.refusals import refused

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def seen(dead: Network, cat: Image.Image) -> Record:
    return record_photo(dead, frame_photo(cat, dead.preprocessing))


@pytest.mark.parametrize("seed", ["unit", "map"])
@pytest.mark.parametrize("layer", ["conv1", "pool1", "norm1", "conv2", "pool2", "fc3", "fc4"])
def test_units_fields_and_patches_are_those_of_the_projections(
    seen: Record, layer: str, seed: Seed
) -> None:
    choice = Choice(layer=layer, seed=seed, top=4)
    selected = select(seen, choice)
    view = draw(seen, choice, reconstruct(seen, choice))
    assert [unit.feature for unit in selected.units] == [p.feature for p in view.projections]
    assert list(selected.boxes) == [each.receptive_field for each in view.projections]
    assert (selected.show, selected.classes) == (view.show, view.predictions)
    for box, each in zip(selected.boxes, view.projections, strict=True):
        assert cut_patch(seen, box).tobytes() == each.patch.tobytes()


def test_a_unit_without_activation_is_one_without_a_picture(seen: Record) -> None:
    choice = Choice(layer="conv2", features=(3, 5))
    view = draw(seen, choice, reconstruct(seen, choice))
    for unit, each in zip(select(seen, choice).units, view.projections, strict=True):
        assert (unit.activation == 0) == (each.picture is None)


def test_a_difference_of_silent_maps_is_refused_before_the_walk(seen: Record) -> None:
    choice = Choice(layer="conv2", seed="map", features=(3, 5), show="difference")
    with refused(InvalidChoice, match="difference"):
        select(seen, choice)


def test_a_class_says_which_unit_of_the_last_layer_it_is(seen: Record) -> None:
    classes = select(seen, Choice(layer="fc4", top=4)).classes
    units = select(seen, Choice(layer="fc4", top=4)).units
    assert classes and [each.feature for each in classes] == [unit.feature for unit in units]
    assert [each.label for each in classes] == [
        ("cat", "dog", "car", "cup")[unit.feature] for unit in units
    ]
