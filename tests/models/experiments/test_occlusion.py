"""Occlusion against cases worked by hand, the plain way, and Captum."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from captum.attr import Occlusion as CaptumOcclusion
from PIL import Image
from torch import Tensor

from models.errors import InvalidChoice, UnknownLayer
from models.experiments.heatmaps import Occlusion
from models.experiments.occlusion import occlude, pixel_of
from models.experiments.requests import OcclusionRequest
from models.experiments.shape import Progress, finish
from models.networks.architecture import Architecture, Dense, Filters, Pooling
from models.networks.build import build
from models.networks.network import Network
from models.networks.preprocessing import FramedPhoto, Preprocessing, frame_photo, to_pixels
from models.networks.steps import Dropout
from models.weights.sources import Sources, load
from tests.oracles import plain
from tests.refusals import refused

pytestmark = pytest.mark.usefixtures("one_thread")

GREY = Preprocessing(size=24, resize=24, channel_order="L", mean=(0.5,), std=(0.25,))


def ask(network: Network, photo: FramedPhoto, **asked: Any) -> Occlusion:
    run = occlude(network, photo, OcclusionRequest(**asked))
    found = finish(run)
    assert isinstance(found, Occlusion)
    return found


def framed(picture: Image.Image, network: Network) -> FramedPhoto:
    return frame_photo(picture, network.preprocessing)


@pytest.fixture
def linear() -> Network:
    """Return a network that adds: one filter of weight 2, a bias of 1, and two class scores."""
    rows = (Filters("conv1", 1, 1), Dense("fc2", 2))
    paper = Architecture("linear", "Linear", "none", rows, GREY, activation=lambda: Dropout(0.0))
    network = build(paper, classes=("bright", "dark"))
    tensors = network.tensors()
    with torch.no_grad():
        tensors["conv1.weight"].fill_(2)
        tensors["conv1.bias"].fill_(1)
        tensors["fc2.weight"][0], tensors["fc2.weight"][1] = 0.001, 0
        tensors["fc2.bias"].zero_()
    return network.requires_grad_(requires_grad=False)


@pytest.fixture
def noisy() -> Image.Image:
    levels = np.random.default_rng(0).integers(0, 256, (24, 24), dtype=np.uint8)
    return Image.fromarray(levels)


def sums_under(pixels: Tensor, side: int, stride: int) -> Tensor:
    """Sum the pixels under each whole square."""
    return torch.nn.functional.avg_pool2d(pixels.double(), side, stride)[0, 0] * side**2


def test_a_linear_map_falls_by_what_the_square_covers(linear: Network, noisy: Image.Image) -> None:
    found = ask(linear, framed(noisy, linear), square=6, stride=3)
    pixels = to_pixels(noisy, GREY)
    whole = float((2 * pixels.double() + 1).sum())
    expected = whole - 2 * sums_under(pixels, 6, 3)
    np.testing.assert_allclose(found.activation, expected, rtol=1e-5)
    assert found.whole_activation == pytest.approx(whole, rel=1e-6)
    assert found.tops == found.lefts == (0, 3, 6, 9, 12, 15, 18)


def test_a_linear_score_gives_a_logistic_probability(linear: Network, noisy: Image.Image) -> None:
    found = ask(linear, framed(noisy, linear), square=6, stride=3, target="bright")
    score = 0.001 * found.activation.astype(np.float64)
    assert found.classes is not None
    np.testing.assert_allclose(found.classes.probability, 1 / (1 + np.exp(-score)), rtol=1e-5)
    assert (found.classes.best == (score < 0)).all()


def test_a_coloured_square_is_normalised_as_a_photo_is(linear: Network, noisy: Image.Image) -> None:
    found = ask(linear, framed(noisy, linear), square=6, stride=3, fill="#ffffff")
    pixels = to_pixels(noisy, GREY)
    white = (1 - 0.5) / 0.25
    whole = (2 * pixels.double() + 1).sum()
    expected = whole - 2 * sums_under(pixels, 6, 3) + 2 * 36 * white
    np.testing.assert_allclose(found.activation, expected, rtol=1e-5)


def test_colours_come_in_the_order_of_the_network() -> None:
    caffe = Preprocessing(channel_order="BGR", scale=1.0, mean=(104, 117, 123), std=(1, 1, 1))
    assert pixel_of("#ff0010", caffe).tolist() == [16 - 104, 0 - 117, 255 - 123]
    assert pixel_of("mean", caffe).tolist() == [0, 0, 0]


def test_only_whole_squares_are_laid(linear: Network, noisy: Image.Image) -> None:
    found = ask(linear, framed(noisy, linear), square=10, stride=4)
    assert found.tops == (0, 4, 8, 12)  # 16 would end at 26, beyond 24
    assert found.activation.shape == (4, 4)
    assert ask(linear, framed(noisy, linear), square=24, stride=1).tops == (0,)


@pytest.fixture
def filters() -> Network:
    """Return a network without biases, whose every cell moves by one for four pixels."""
    rows = (
        Filters("conv1", 4, 3, padding=1),
        Pooling("pool1", 2, 2),
        Filters("conv2", 3, 3, padding=1),
        Pooling("pool2", 2, 2),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        network = build(Architecture("filters", "Filters", "none", rows, GREY))
    for key, tensor in network.tensors().items():
        if key.endswith("bias"):
            torch.nn.init.zeros_(tensor)
    return network.requires_grad_(requires_grad=False)


def test_a_shift_by_one_stride_shifts_the_map_by_one(filters: Network) -> None:
    def blob(left: int) -> FramedPhoto:
        levels = np.full((24, 24), 127.5)
        levels[8:14, left : left + 5] = np.random.default_rng(2).integers(0, 256, (6, 5))
        pixels = Image.fromarray(levels.astype(np.uint8))
        return framed(pixels, filters)

    flat = Preprocessing(size=24, resize=24, channel_order="L", mean=(127 / 255,), std=(0.25,))
    filters.preprocessing = flat
    asked: dict[str, Any] = {"square": 4, "stride": 4, "layer": "pool2", "feature": 1}
    here, there = (ask(filters, blob(left), **asked).activation for left in (6, 10))
    assert np.ptp(here) > 0
    np.testing.assert_allclose(there[:, 1:], here[:, :-1], rtol=1e-5)


def test_captum_finds_the_same_fall_of_probability(toy: Network, cat: Image.Image) -> None:
    photo = framed(cat, toy)
    found = ask(toy, photo, square=8, stride=4, target="dog")
    assert found.classes is not None
    pixels, model = to_pixels(photo.picture, toy.preprocessing), plain(toy)
    captum = CaptumOcclusion(lambda x: torch.softmax(model(x).flatten(1), 1)[:, 1])
    theirs = captum.attribute(pixels, (3, 8, 8), strides=(3, 4, 4), perturbations_per_eval=7)
    fall = found.classes.whole_probability - found.classes.probability.astype(np.float64)
    total, count = np.zeros((32, 32)), np.zeros((32, 32))
    for row, top in enumerate(found.tops):
        for column, left in enumerate(found.lefts):
            total[top : top + 8, left : left + 8] += fall[row, column]
            count[top : top + 8, left : left + 8] += 1
    np.testing.assert_allclose(theirs[0, 0].numpy(), total / count, atol=1e-6)


@pytest.mark.parametrize("name", ["alexnet", "zfnet", "vgg16"])
def test_the_starters_probabilities_are_those_of_photos_run_whole(
    name: str, cat: Image.Image, tmp_path: Path
) -> None:
    network = load(name, Sources(tmp_path, tmp_path, offline=True))
    photo = framed(cat, network)
    classes = ask(network, photo, square=64, stride=80, target="3").classes
    pixels = occluded(network, photo, 64, 80)
    expected = torch.softmax(plain(network)(pixels).flatten(1), 1)
    assert classes is not None and len(expected) == 9
    np.testing.assert_allclose(classes.probability.ravel(), expected[:, 3], atol=1e-5)
    assert classes.best.ravel().tolist() == expected.argmax(1).tolist()


def occluded(network: Network, photo: FramedPhoto, side: int, stride: int) -> Tensor:
    """Lay a square on copies of a photo's pixels, one for each place."""
    pixels = to_pixels(photo.picture, network.preprocessing)
    photos = []
    for top in range(0, pixels.shape[2] - side + 1, stride):
        for left in range(0, pixels.shape[3] - side + 1, stride):
            photos.append(pixels.clone())
            photos[-1][..., top : top + side, left : left + side] = 0
    return torch.cat(photos)


def occluded_maps(network: Network, photo: FramedPhoto, layer: str, side: int) -> Tensor:
    """Run a photo whole for each place of a square, at a stride of its side."""
    maps: Tensor = plain(network, until=layer)(occluded(network, photo, side, side))
    return maps.reshape(*maps.shape[:2], *(maps.shape[2:] or (1, 1)))


@pytest.mark.parametrize("layer", ["conv1", "norm1", "conv2", "pool2", "fc3", "fc4"])
def test_any_layer_is_watched(toy: Network, cat: Image.Image, layer: str) -> None:
    photo = framed(cat, toy)
    found = ask(toy, photo, square=7, stride=7, layer=layer, feature=2)
    expected = occluded_maps(toy, photo, layer, 7)[:, 2].double().flatten(1).sum(1)
    np.testing.assert_allclose(found.activation.ravel(), expected, rtol=1e-4, atol=1e-5)


def test_a_unit_takes_the_place_of_the_sum(toy: Network, cat: Image.Image) -> None:
    photo = framed(cat, toy)
    found = ask(toy, photo, square=7, stride=7, layer="conv2", feature=4, unit=(3, 2))
    expected = occluded_maps(toy, photo, "conv2", 7)[:, 4, 3, 2]
    np.testing.assert_allclose(found.activation.ravel(), expected, rtol=1e-4, atol=1e-6)


def test_the_strongest_map_has_the_largest_single_activation(
    toy: Network, cat: Image.Image
) -> None:
    photo = framed(cat, toy)
    found = ask(toy, photo, square=16, stride=16)
    maps = plain(toy, until="conv2")(to_pixels(photo.picture, toy.preprocessing))
    assert (found.layer, found.feature) == ("conv2", int(maps[0].amax((1, 2)).argmax()))


def test_the_most_probable_class_is_watched_unless_one_is_named(
    toy: Network, cat: Image.Image
) -> None:
    photo = framed(cat, toy)
    best = int(plain(toy)(to_pixels(photo.picture, toy.preprocessing)).argmax())
    unnamed = ask(toy, photo, square=16, stride=16).classes
    named = ask(toy, photo, square=16, stride=16, target="2").classes
    assert unnamed is not None and unnamed.target == unnamed.whole_best == best
    assert named is not None and named.labels[named.target] == "car"


def test_without_a_classifier_only_the_map_is_watched(filters: Network, noisy: Image.Image) -> None:
    found = ask(filters, framed(noisy, filters), square=8, stride=8)
    assert set(found.numbers) == {"tops", "lefts", "activation"}
    with refused(InvalidChoice, match="no classifier, so that there is no class to watch"):
        ask(filters, framed(noisy, filters), square=8, target="0")


def test_numbers_are_named_and_typed_as_promised(toy: Network, cat: Image.Image) -> None:
    numbers = ask(toy, framed(cat, toy), square=8, stride=8).numbers
    assert {name: (each.shape, str(each.dtype)) for name, each in numbers.items()} == {
        "tops": ((4,), "int64"),
        "lefts": ((4,), "int64"),
        "probability": ((4, 4), "float32"),
        "best_class": ((4, 4), "int64"),
        "activation": ((4, 4), "float32"),
    }


def test_progress_runs_from_nothing_to_all(toy: Network, cat: Image.Image) -> None:
    *progress, _ = occlude(toy, framed(cat, toy), OcclusionRequest(square=8, stride=4))
    steps = [each for each in progress if isinstance(each, Progress)]
    assert len(steps) == len(progress) and steps[0].done == 0
    assert steps[-1].done == steps[-1].total
    assert [each.done for each in steps] == sorted(each.done for each in steps)


@pytest.mark.parametrize(
    ("asked", "match"),
    [
        ({"square": 33}, "square is 1 to 32, the side of the network's input, not 33"),
        ({"square": 0}, "square is 1 to 32"),
        ({"stride": 0}, "stride is 1 or more, not 0"),
        ({"fill": "grey"}, "fill is 'mean' or a colour in hex digits such as #808080, not 'grey'"),
        ({"target": "zebra"}, "has no class 'zebra': name one of its labels, or a number from 0"),
        ({"target": "4"}, "a number from 0 to 3"),
        ({"feature": 12}, "has the feature maps 0 to 11, not 12"),
        ({"unit": (99, 0)}, "unit 99,0 lies outside conv2"),
    ],
)
def test_what_cannot_be_had_is_refused_at_once(
    toy: Network, cat: Image.Image, asked: dict[str, Any], match: str
) -> None:
    with refused(InvalidChoice, match):
        occlude(toy, framed(cat, toy), OcclusionRequest(**asked))


def test_an_unknown_layer_is_refused_at_once(toy: Network, cat: Image.Image) -> None:
    with pytest.raises(UnknownLayer):
        occlude(toy, framed(cat, toy), OcclusionRequest(layer="conv9"))
