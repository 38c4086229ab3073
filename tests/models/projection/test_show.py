"""Exact, smooth, lit, difference: each equals its formula, written out a second time in float64."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from models import (
    Choice,
    InvalidChoice,
    Network,
    Visualization,
    architectures,
    complete,
    describe_layers,
    entry_names,
    to_npz,
    to_png_sheet,
    visualize,
)
from models.networks.build import build
from models.projection.choice import Show
from models.projection.show import Arrived, draw
from tests.refusals import refused

pytestmark = pytest.mark.usefixtures("one_thread")

Numbers = NDArray[np.float64]


def gauss(values: Numbers, sigma: float) -> Numbers:
    """Weigh neighbours by exp(-x^2 / 2 sigma^2) up to four sigma, axis by axis; outside is zero."""
    reach = round(4 * sigma)
    weights = np.exp(-(np.arange(-reach, reach + 1) ** 2) / (2 * sigma**2))
    weights /= weights.sum()
    for axis in (0, 1):
        wide = np.pad(values, [(reach, reach) if each == axis else (0, 0) for each in (0, 1)])
        values = np.lib.stride_tricks.sliding_window_view(wide, 2 * reach + 1, axis) @ weights
    return values


def grey(values: Numbers) -> tuple[Numbers, float]:
    """Return 128 + 127.5 clip(g / P99.5 |g|), and the divisor."""
    scale = float(np.percentile(np.abs(values), 99.5))
    return 128 + 127.5 * np.clip(values / scale, -1, 1), scale


def shown(network: Network, cat: Image.Image, **chosen: Any) -> Visualization:
    return visualize(network, cat, Choice(**chosen))


def numbers(view: Visualization) -> list[Numbers]:
    return [each.values.astype(np.float64) for each in view.reconstructions]


def assert_drawn(picture: Image.Image | None, levels: Numbers) -> None:
    """Expect a picture within one level, for rounding."""
    assert picture is not None
    drawn = np.asarray(picture, np.float64)
    assert np.abs(drawn - np.broadcast_to(np.atleast_3d(levels), drawn.shape)).max() <= 1


@pytest.mark.parametrize("layer", ["conv1", "conv2", "fc4"])
def test_smooth_is_the_mean_of_the_channels_under_a_gaussian(
    toy: Network, cat: Image.Image, layer: str
) -> None:
    view = shown(toy, cat, layer=layer, top=3, show="smooth")
    for each, values in zip(view.projections, numbers(view), strict=True):
        levels, scale = grey(gauss(values.mean(0), 2.0))
        assert each.scale == pytest.approx(scale, rel=1e-6)
        assert_drawn(each.picture, levels)


def test_lit_lets_the_photo_stand_out_where_the_projection_is_long(
    toy: Network, cat: Image.Image
) -> None:
    view = shown(toy, cat, top=3, show="lit")
    for each, values in zip(view.projections, numbers(view), strict=True):
        length = gauss(np.sqrt((values**2).sum(0)), 2.5)
        scale = float(np.percentile(length, 99))
        share = np.clip(length / scale, 0, 1)[:, :, None]
        assert each.scale == pytest.approx(scale, rel=1e-6)
        assert_drawn(each.picture, 128 + share * (np.asarray(each.patch, np.float64) - 128))


PLACES: list[dict[str, Any]] = [
    {"unit": (3, 3), "features": (1, 2, 3, 5)},
    {"seed": "map", "top": 4},
    {"layer": "fc4", "top": 4},
]


@pytest.mark.parametrize("chosen", PLACES)
def test_a_difference_is_what_each_has_beside_the_mean_of_all(
    toy: Network, cat: Image.Image, chosen: dict[str, Any]
) -> None:
    view = shown(toy, cat, show="difference", **chosen)
    alive = [values for values in numbers(view) if values.any()]
    vectors = np.stack([values.ravel() / np.sqrt((values**2).sum()) for values in alive])
    direction = vectors.mean(0) / np.sqrt((vectors.mean(0) ** 2).sum())
    along = vectors @ direction
    rest = vectors - np.outer(along, direction)
    drawn = [each for each in view.projections if each.picture]
    assert len(drawn) == len(alive) >= 2
    for each, values, share in zip(drawn, rest, 1 - along**2, strict=True):
        levels, scale = grey(gauss(values.reshape(alive[0].shape).mean(0), 2.0))
        assert each.remaining == pytest.approx(share, rel=1e-6)
        assert each.scale == pytest.approx(scale, rel=1e-6)
        assert_drawn(each.picture, levels)


def noise(times: float) -> Arrived:
    values = np.random.default_rng(0).normal(size=(3, 9, 9)).astype(np.float32)
    return Arrived(np.float32(times) * values, Image.new("RGB", (9, 9)))


def test_projections_that_are_alike_have_no_difference() -> None:
    for each in draw("difference", [noise(1), noise(2)], "RGB"):
        assert each.remaining == 0 and each.picture is not None
        assert each.picture.getcolors() == [(81, (128, 128, 128))]


def test_opposite_projections_differ_in_everything() -> None:
    for each in draw("difference", [noise(1), noise(-1)], "RGB"):
        assert each.remaining == pytest.approx(1)


@pytest.mark.parametrize("way", ["exact", "smooth", "lit"])
def test_only_a_difference_says_what_remains(toy: Network, cat: Image.Image, way: Show) -> None:
    view = shown(toy, cat, show=way, top=2)
    assert view.show == way and all(each.remaining is None for each in view.projections)


@pytest.mark.parametrize("way", ["exact", "smooth", "lit"])
def test_a_dead_unit_has_no_picture_in_any_way(dead: Network, cat: Image.Image, way: Show) -> None:
    silent = shown(dead, cat, layer="conv2", features=(3, 5), show=way).projections[-1]
    assert (silent.feature, silent.scale, silent.picture) == (3, None, None)


def test_a_dead_unit_takes_no_part_in_a_difference(dead: Network, cat: Image.Image) -> None:
    view = shown(dead, cat, seed="map", features=(1, 2, 3, 5), show="difference")
    without = shown(dead, cat, seed="map", features=(1, 2, 5), show="difference")
    *living, silent = view.projections
    assert (silent.feature, silent.picture, silent.remaining) == (3, None, None)
    for one, other in zip(living, without.projections, strict=True):
        assert (one.feature, one.remaining) == (other.feature, other.remaining)


# Which way, where nobody says


def test_vgg_is_smooth_from_conv3_1_on_and_all_else_exact() -> None:
    for name, paper in architectures().items():
        layers = [each.name for each in describe_layers(name)]
        if name.startswith("vgg"):
            assert paper.smooth_from == "conv3_1" and "conv3_1" in layers
        else:
            assert paper.smooth_from is None


@pytest.mark.parametrize(
    ("layer", "way"),
    [("conv1", "exact"), ("norm1", "exact"), ("conv2", "smooth"), ("pool2", "smooth")],
)
def test_a_layer_has_a_way_of_its_own(toy: Network, layer: str, way: Show) -> None:
    network = build(replace(toy.architecture, smooth_from="conv2"))
    assert complete(network, Choice(layer=layer)).show == way
    assert complete(network, Choice(layer=layer, show="lit")).show == "lit"


def test_what_is_complete_stays_as_it_is(toy: Network) -> None:
    whole = complete(toy, Choice())
    assert (whole.network, whole.layer, whole.show) == ("toy", "conv2", "exact")
    assert complete(toy, whole) == whole


# Differences that cannot be had


@pytest.mark.parametrize(
    ("chosen", "sentence"),
    [
        ({}, "compares projections of one place: choose one unit of conv2"),
        ({"features": (1, 2)}, "compares projections of one place"),
        ({"unit": (3, 3), "features": (1,)}, "two projections or more: choose more maps"),
        ({"seed": "map", "top": 1}, "two projections or more: choose more maps"),
        ({"layer": "fc4", "top": 1}, "two projections or more: choose more maps"),
    ],
)
def test_a_difference_needs_several_projections_of_one_field(
    toy: Network, cat: Image.Image, chosen: dict[str, Any], sentence: str
) -> None:
    with refused(InvalidChoice, match=sentence):
        shown(toy, cat, show="difference", **chosen)


def test_a_difference_needs_two_maps_that_fire(dead: Network, cat: Image.Image) -> None:
    with refused(InvalidChoice, match="and 1 of the chosen maps have one here"):
        shown(dead, cat, seed="map", features=(3, 5), show="difference")


def test_an_unknown_way_is_refused_with_the_known_ones(toy: Network, cat: Image.Image) -> None:
    with refused(InvalidChoice, match="show is one of exact, smooth, lit, difference, not 'hd'"):
        shown(toy, cat, show="hd")


# What files say of it


def test_arrays_are_exact_however_they_are_shown(toy: Network, cat: Image.Image) -> None:
    ways = ("exact", "smooth", "lit", "difference")
    assert len({to_npz(shown(toy, cat, seed="map", show=way)) for way in ways}) == 1


def test_a_sheet_says_how_it_was_drawn(toy: Network, cat: Image.Image) -> None:
    sheet = Image.open(io.BytesIO(to_png_sheet(shown(toy, cat, show="lit"))))
    assert json.loads(sheet.info["deconvnet"])["show"] == "lit"


def test_a_file_s_name_says_how_it_was_drawn(toy: Network, cat: Image.Image) -> None:
    (each,) = shown(toy, cat, features=(5,), show="smooth").projections
    assert entry_names(each, "smooth") == ("00005-projection-smooth.png", "00005-patch.png")
