"""Correspondence: Hamming by hand, and Table 1's measure on a network that only copies."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from models.errors import InvalidChoice
from models.experiments.correspondence import (
    Correspondence,
    Part,
    correspond,
    delta_of,
    hamming_shares,
    parse_parts,
    write_parts,
)
from models.experiments.export import result_files
from models.experiments.requests import CorrespondenceRequest
from models.experiments.shape import finish
from models.networks.architecture import Architecture, Filters
from models.networks.build import build
from models.networks.network import Network
from models.networks.preprocessing import Preprocessing, frame_photo
from models.networks.steps import Dropout
from tests.refusals import refused

pytestmark = pytest.mark.usefixtures("one_thread")

NOSE = "nose: 4,4,12,12; 10,8,18,16; 0,0,8,8"


def ask(network: Network, photos: list[Image.Image], **asked: Any) -> Correspondence:
    framed = [frame_photo(photo, network.preprocessing) for photo in photos]
    found = finish(correspond(network, framed, CorrespondenceRequest(**asked)))
    assert isinstance(found, Correspondence)
    return found


@pytest.fixture
def copying() -> Network:
    """Return a network of 4 x 4 grey pixels whose two layers are the pixels themselves."""
    grey = Preprocessing(size=4, resize=4, channel_order="L", mean=(128 / 255,), std=(1 / 255,))
    rows = (Filters("conv1", 1, 1), Filters("conv2", 1, 1))
    paper = Architecture("copying", "Copying", "none", rows, grey, activation=lambda: Dropout(0.0))
    network = build(paper)
    for key, tensor in network.tensors().items():
        torch.nn.init.constant_(tensor, float(key.endswith("weight")))
    return network.requires_grad_(requires_grad=False)


def test_hamming_by_hand() -> None:
    signs = torch.tensor([[1, -1, 0, 1], [1, 1, 0, -1], [-1, -1, 1, 1]])
    assert hamming_shares(signs) == [2 / 4, 2 / 4, 4 / 4]


def test_what_a_mask_takes_away_is_compared_by_sign(copying: Network) -> None:
    bright, dark = Image.new("L", (4, 4), 200), Image.new("L", (4, 4), 50)
    half = Image.new("L", (4, 4), 200)
    half.paste(50, (0, 0, 4, 1))  # its first row is dark
    found = ask(copying, [bright, dark, half], parts="all: 0,0,4,4; 0,0,4,4; 0,0,4,4")
    # bright + everywhere, dark - everywhere, half - in 4 of 16 places
    shares = np.array([16 / 16, 4 / 16, 12 / 16])
    delta = found.deltas["all"][0]
    assert delta.mean == pytest.approx(shares.mean())
    without = np.array([0.75, 0.25, 1.0])  # the one pair that is left without each photo
    assert delta.error == pytest.approx(np.sqrt(2 / 3 * ((without - without.mean()) ** 2).sum()))
    assert delta.pairs == 3


def test_outside_the_masks_nothing_is_taken_away(copying: Network) -> None:
    bright = Image.new("L", (4, 4), 200)
    found = ask(copying, [bright, bright], parts="a: 0,0,2,2; 0,0,2,2 | b: 0,0,2,2; 2,2,4,4")
    assert found.deltas["a"][0].mean == 0
    assert found.deltas["b"][0].mean == 8 / 16  # four cells of each, in other places


def test_random_masks_are_of_the_same_sizes_and_drawn_again_alike(
    toy: Network, cat: Image.Image
) -> None:
    photos = [cat, cat.rotate(90), cat.rotate(180)]
    one, other = (ask(toy, photos, parts=NOSE, draws=4) for _ in range(2))
    assert (one.deltas, one.control) == (other.deltas, other.control)
    assert one.deltas["random"][0].pairs == 3 and one.deltas["random"] == one.control["nose"]


def test_each_part_is_held_against_random_masks_of_its_own_size(copying: Network) -> None:
    bright, dark = Image.new("L", (4, 4), 200), Image.new("L", (4, 4), 50)
    marked = "large: 0,0,4,4; 0,0,4,4 | wide: 0,0,2,4; 0,0,2,4 | object: 0,0,2,4; 0,0,2,4"
    found = ask(copying, [bright, dark], parts=marked, draws=3)
    # each fits in one place only, where all signs differ; the large one lies beyond its object
    assert [found.control[name][0].mean for name in ("large", "wide")] == [16 / 16, 8 / 16]
    assert found.deltas["random"][0].mean == (16 + 8) / 32
    _, row, _ = found.table.rows
    assert row[0] == "wide" and row[3] == 8 / 16


def test_a_random_mask_larger_than_its_object_stays_on_the_photo(copying: Network) -> None:
    bright = Image.new("L", (4, 4), 200)
    marked = "a: 0,0,3,3; 0,0,3,3 | object: 3,3,4,4; 3,3,4,4"
    found = ask(copying, [bright, bright.rotate(90)], parts=marked, draws=2)
    assert found.control["a"][0].mean == 0  # the same nine cells of both


def test_errors_are_those_of_photos_not_of_pairs() -> None:
    """In a thousand simulated sets of photos the jackknife's error is the spread of Delta."""
    chance = np.random.default_rng(0)
    found = []
    for _ in range(1000):
        photos = chance.standard_normal(6)
        found.append(delta_of([[a + b for a, b in combinations(photos, 2)]]))
    spread = np.std([each.mean for each in found])
    assert np.mean([each.error for each in found]) == pytest.approx(spread, rel=0.1)


def test_the_layers_are_the_papers_unless_others_are_named(toy: Network, cat: Image.Image) -> None:
    photos = [cat, cat.rotate(90), cat.rotate(180)]
    assert ask(toy, photos, parts=NOSE).layers == ("conv2", "fc3")
    assert ask(toy, photos, parts=NOSE, first="pool1", second="fc4").layers == ("pool1", "fc4")


def test_numbers_and_table_name_each_part_and_the_control(toy: Network, cat: Image.Image) -> None:
    found = ask(toy, [cat, cat.rotate(90), cat.rotate(180)], parts=NOSE, draws=2)
    assert found.numbers["parts"].tolist() == ["nose", "random"]
    assert found.numbers["masks"].tolist() == [[[4, 4, 12, 12], [10, 8, 18, 16], [0, 0, 8, 8]]]
    assert found.numbers["delta"].shape == (2, 2)
    first, last = found.table.rows
    assert (first[0], first[-1], last[0], last[-1]) == ("nose", 0.079, "random", 0.107)
    assert all(result_files(found).values())


def test_parts_are_read_as_they_are_written() -> None:
    parts = (Part("left eye", ((1, 2, 3, 4), (5, 6, 7, 8))), Part("nose", ((0, 0, 9, 9),)))
    assert parse_parts(write_parts(parts)) == parts


@pytest.mark.parametrize(
    ("asked", "match"),
    [
        ({"parts": ""}, "mark 1 to 8 parts, not 0"),
        ({"parts": "4,4,12,12; 1,1,2,2"}, "names no part: write 'nose: ' before its boxes"),
        ({"parts": "nose: 4,4,12; 1,1,2,2"}, "a box is top,left,bottom,right in pixels"),
        ({"parts": "nose: 4,4,12,12"}, "nose has 1 boxes for 2 photos: mark it once on each"),
        ({"parts": "nose: 4,4,33,12; 1,1,2,2"}, "leaves the input of 32 x 32 pixels"),
        ({"parts": "nose: 4,4,4,12; 1,1,2,2"}, "has no area"),
        ({"parts": "a: 1,1,2,2;1,1,2,2|a: 1,1,2,2;1,1,2,2"}, "a name of its own"),
        ({"parts": "a: 1,1,2,2;1,1,2,2", "draws": 0}, "draws is 1 to 1000, not 0"),
        ({"parts": "a: 1,1,2,2;1,1,2,2", "draws": 10**9}, "draws is 1 to 1000"),
    ],
)
def test_what_cannot_be_had_is_refused(
    toy: Network, cat: Image.Image, asked: dict[str, Any], match: str
) -> None:
    with refused(InvalidChoice, match):
        ask(toy, [cat, cat], **asked)


def test_one_photo_is_too_few(toy: Network, cat: Image.Image) -> None:
    with refused(InvalidChoice, "give at least 2 photos, not 1"):
        ask(toy, [cat], parts="nose: 4,4,12,12")


def test_the_control_stays_on_the_object_where_one_is_marked(copying: Network) -> None:
    bright = Image.new("L", (4, 4), 200)
    marked = "a: 0,0,2,2; 0,0,2,2 | object: 1,1,3,3; 2,2,4,4"
    found = ask(copying, [bright, bright], parts=marked, draws=3)
    # a mask of 2 x 2 fits each object in one place only; the two share one cell
    assert found.deltas["random"][0].mean == 6 / 16
    assert list(found.deltas) == ["a", "random"]
