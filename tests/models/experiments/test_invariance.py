"""Invariance: pictures moved as they should be, and distances worked out a second way."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from models.errors import InvalidChoice, UnknownLayer
from models.experiments.export import result_files
from models.experiments.invariance import (
    Invariance,
    enlarge,
    measure_invariance,
    shift,
    turn,
)
from models.experiments.requests import InvarianceRequest
from models.experiments.shape import finish
from models.networks.network import Network
from models.networks.preprocessing import frame_photo, mean_colour, to_pixels
from tests.oracles import plain
from tests.refusals import refused

pytestmark = pytest.mark.usefixtures("one_thread")


def ask(network: Network, *photos: Image.Image, **asked: Any) -> Invariance:
    framed = [frame_photo(photo, network.preprocessing) for photo in photos]
    found = finish(measure_invariance(network, framed, InvarianceRequest(**asked)))
    assert isinstance(found, Invariance)
    return found


@pytest.fixture
def square() -> Image.Image:
    """Return a white square of 4 x 4 in the middle of 16 x 16."""
    picture = Image.new("L", (16, 16))
    picture.paste(255, (6, 6, 10, 10))
    return picture


def box(picture: Image.Image) -> tuple[int, int, int, int] | None:
    return picture.point(lambda value: 255 * (value > 127)).getbbox()


def test_a_shift_moves_down_and_fills_with_the_colour(square: Image.Image) -> None:
    moved = shift(square, 3, 77)
    assert box(moved) == (6, 9, 10, 13)
    assert np.asarray(moved)[:3].tolist() == [[77] * 16] * 3
    assert box(shift(square, -3, 0)) == (6, 3, 10, 7)


def test_what_is_enlarged_grows_around_the_middle(square: Image.Image) -> None:
    assert box(enlarge(square, 2, 0)) == (4, 4, 12, 12)


def test_a_turn_by_a_right_angle_is_counterclockwise() -> None:
    picture = Image.new("L", (16, 16))
    picture.putpixel((8, 2), 255)  # near the top
    turned = np.asarray(turn(picture, 90, 0))
    row, column = np.unravel_index(turned.argmax(), turned.shape)
    assert column < 4 and 6 <= row <= 9  # near the left


def test_nothing_moves_where_nothing_is_done(toy: Network, cat: Image.Image) -> None:
    found = ask(toy, cat, steps=3)
    for name, at in (("translation", 1), ("scale", 0), ("rotation", 0)):
        assert float(found.curves[name].first[0, at]) < 1e-4
        assert float(found.curves[name].second[0, at]) < 1e-6
    assert found.curves["translation"].amounts.tolist() == [-60, 0, 60]


def test_distances_are_euclidean(toy: Network, cat: Image.Image) -> None:
    found = ask(toy, cat, steps=3, first="conv1", second="fc3", target="dog")
    photo = frame_photo(cat, toy.preprocessing).picture
    copy = enlarge(photo, 1.8, mean_colour(toy.preprocessing))
    pixels = torch.cat([to_pixels(each, toy.preprocessing) for each in (photo, copy)])
    for layer, measured in (("conv1", "first"), ("fc3", "second")):
        own, moved = plain(toy, until=layer)(pixels).flatten(1).double()
        expected = float((moved - own).square().sum().sqrt())
        assert found.numbers[f"scale_{measured}"][0, 2] == pytest.approx(expected, rel=1e-4)
    chance = torch.softmax(plain(toy)(pixels).flatten(1), 1)[1, 1]
    assert found.numbers["scale_probability"][0, 2] == pytest.approx(float(chance), rel=1e-4)


def test_each_photo_s_own_most_probable_class_is_followed(toy: Network, cat: Image.Image) -> None:
    photos = cat, cat.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    found = ask(toy, *photos, steps=2)
    for number, photo in enumerate(photos):
        pixels = to_pixels(frame_photo(photo, toy.preprocessing).picture, toy.preprocessing)
        assert found.targets is not None
        assert found.targets[number][0] == int(plain(toy)(pixels).argmax())


def test_numbers_have_a_row_for_each_photo(toy: Network, cat: Image.Image) -> None:
    found = ask(toy, cat, cat, steps=4, target="cat; cup")
    assert found.targets == ((0, "cat"), (3, "cup"))
    shapes = {name: each.shape for name, each in found.numbers.items() if "rotation" in name}
    assert shapes == {
        "rotation": (4,),
        "rotation_first": (2, 4),
        "rotation_second": (2, 4),
        "rotation_probability": (2, 4),
    }
    assert len(list(found.table.rows)) == 3 * 2 * 4


def test_it_is_written_in_every_format(toy: Network, cat: Image.Image) -> None:
    files = result_files(ask(toy, cat, steps=3))
    assert all(files.values()) and set(files) == {"json", "npz", "csv", "svg", "png"}


@pytest.mark.parametrize(
    ("asked", "match"),
    [
        ({"steps": 1}, "steps is 2 to 1000, not 1"),
        ({"steps": 10**9}, "steps is 2 to 1000, not 1000000000"),
        ({"target": "zebra"}, "no class 'zebra'"),
        ({"target": "cat;dog"}, "2 classes are named for 1 photos: name one for all"),
    ],
)
def test_what_cannot_be_had_is_refused(
    toy: Network, cat: Image.Image, asked: dict[str, Any], match: str
) -> None:
    with refused(InvalidChoice, match):
        ask(toy, cat, **asked)


def test_no_photo_and_an_unknown_layer_are_refused(toy: Network, cat: Image.Image) -> None:
    with refused(InvalidChoice, "give at least 1 photos, not 0"):
        ask(toy)
    with pytest.raises(UnknownLayer):
        ask(toy, cat, second="fc9")
