"""Which units are chosen: the strongest, those at a place, those over a pixel."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from models.errors import InvalidChoice, UnknownLayer
from models.networks.network import Network
from models.projection.record import Maxima, Record, activations, record
from models.projection.selection import at, peaks, seeing, strongest
from tests.oracles import noise, slim
from tests.refusals import refused

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def seen(toy: Network) -> Record:
    return record(toy, noise(toy, 32, 32, images=2))


def with_maxima(seen: Record, layer: str, values: list[float]) -> Record:
    """Return a record whose maps of one layer are as strong as said."""
    size = (len(seen.pixels), len(values))
    strengths = torch.tensor([values] * size[0])
    zeros = torch.zeros(size, dtype=torch.int64)
    return replace(seen, maxima={**seen.maxima, layer: Maxima(strengths, zeros, zeros)})


def test_the_strongest_maps_come_first_and_ties_by_lower_number(seen: Record) -> None:
    tied = with_maxima(seen, "conv1", [3.0, 7.0, 1.0, 7.0, 7.0, 0.0])
    assert strongest(tied, "conv1", 6) == [1, 3, 4, 0, 2, 5]
    assert strongest(tied, "conv1", 2) == [1, 3]


def test_strongest_means_largest_not_largest_in_absolute_value(seen: Record) -> None:
    assert strongest(with_maxima(seen, "fc4", [-9.0, 1.0, -2.0, 0.5]), "fc4", 4) == [1, 3, 2, 0]


def test_a_thousand_ties_stay_in_order(seen: Record) -> None:
    many = with_maxima(seen, "fc3", [0.0] * 1000)
    assert strongest(many, "fc3", 1000) == list(range(1000))


@pytest.mark.parametrize("image", [0, 1])
@pytest.mark.parametrize("layer", ["conv1", "pool2", "fc4"])
def test_a_peak_is_the_first_largest_activation_of_its_map(
    seen: Record, layer: str, image: int
) -> None:
    maps = activations(seen, layer)[image]
    for unit in peaks(seen, layer, [3, 0, 2], image):
        flat = int(maps[unit.feature].argmax())
        assert (unit.y, unit.x) == divmod(flat, maps.shape[2])
        assert unit.activation == maps[unit.feature].max() and unit.image == image
    assert [unit.feature for unit in peaks(seen, layer, [3, 0, 2], image)] == [3, 0, 2]


def test_a_tie_inside_a_map_goes_to_the_first_place(toy: Network) -> None:
    flat = record(toy, torch.zeros(1, 3, 32, 32))  # away from the borders all is alike
    for layer in ("conv1", "pool1"):
        maps = activations(flat, layer)[0]
        for unit in peaks(flat, layer, range(len(maps))):
            y, x = divmod(int(maps[unit.feature].flatten().argmax()), maps.shape[2])
            assert (unit.y, unit.x) == (y, x)


def test_a_place_is_read_from_every_chosen_map(seen: Record) -> None:
    maps = activations(seen, "conv2")[1]
    units = at(seen, "conv2", [5, 1], (6, 2), image=1)
    assert units == [(5, 6, 2, float(maps[5, 6, 2]), 1), (1, 6, 2, float(maps[1, 6, 2]), 1)]


@pytest.mark.parametrize("place", [(7, 0), (0, 7), (-1, 0), (0, -1), (10**9, 0)])
def test_a_place_outside_the_map_is_refused(seen: Record, place: tuple[int, int]) -> None:
    with refused(InvalidChoice, match="outside conv2, whose maps have rows 0 to 6 and"):
        at(seen, "conv2", [0], place)


def test_a_layer_that_is_not_there_is_refused(seen: Record) -> None:
    with refused(UnknownLayer, match="toy has no layer 'conv9'"):
        at(seen, "conv9", [0], (0, 0))


# Units over a pixel


def test_units_over_a_pixel_are_the_strongest_of_one_place(seen: Record) -> None:
    units = seeing(seen, "conv2", (16, 12), top=5)
    (place,) = {(unit.y, unit.x) for unit in units}
    values: Tensor = activations(seen, "conv2")[0, :, place[0], place[1]]
    expected = torch.sort(values, descending=True, stable=True).values[:5]
    assert [unit.activation for unit in units] == expected[expected > 0].tolist()


def test_only_units_that_fire_are_over_a_pixel(seen: Record) -> None:
    units = seeing(seen, "conv1", (16, 16), top=100)
    values = activations(seen, "conv1")[0, :, units[0].y, units[0].x]
    assert len(units) == int((values > 0).sum()) < len(values)


@pytest.mark.parametrize("name", ["alexnet", "zfnet", "vgg16"])
def test_a_unit_is_over_its_own_place_in_the_photo_from_border_to_border(name: str) -> None:
    """Deep fields are clipped on all sides: their clipped centres would say little."""
    network = slim(name)
    seen = record(network, noise(network, 224, 224).abs())
    for info in network.describe():
        if info.kind not in ("conv", "pool"):
            continue
        step = info.stride
        middle = info.shape.height // 2
        top, _, bottom, _ = network.receptive_field(info.name, (middle, middle), seen.size)
        if top > 0 and bottom < 224:  # the middle one is whole: count from it
            centre = (top + bottom - 1) / 2
            for place in {0, 1, middle, info.shape.height - 1}:
                pixel = round(centre + (place - middle) * step)
                if 0 <= pixel < 224:
                    units = seeing(seen, info.name, (pixel, pixel), top=1)
                    assert {(unit.y, unit.x) for unit in units} <= {(place, place)}, info.name


def test_a_pixel_in_a_corner_is_under_a_corner_unit(seen: Record) -> None:
    bright = replace(seen, pixels=seen.pixels.abs())
    for pixel, corner in (((0, 0), (0, 0)), ((31, 0), (6, 0)), ((31, 31), (6, 6))):
        assert {(u.y, u.x) for u in seeing(bright, "pool1", pixel, top=3)} == {corner}


def test_a_class_score_is_over_every_pixel(seen: Record) -> None:
    assert {(u.y, u.x) for u in seeing(seen, "fc3", (31, 5), top=10)} == {(0, 0)}
