"""From numbers to pictures: mid-grey is zero, one scale for all channels, red stays red."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from models import (
    Choice,
    Network,
    Sources,
    frame_photo,
    load,
    record_photo,
    visualize,
)
from models.projection.choice import Method, Seed
from models.projection.maps import draw_map, layer_maps
from models.render import overlay, picture, scale_of, sheet

pytestmark = pytest.mark.usefixtures("one_thread")


def levels(drawn: Image.Image) -> list[list[list[int]]]:
    found: list[list[list[int]]] = np.asarray(drawn).tolist()
    return found


def test_zero_is_mid_grey() -> None:
    assert levels(picture(np.zeros((3, 2, 2)), 1.0)) == [[[128] * 3] * 2] * 2
    assert levels(picture(np.zeros((3, 1, 1)), 0.0)) == [[[128] * 3]]


def test_one_symmetric_scale_serves_all_channels() -> None:
    values = np.array([2.0, -2.0, 1.0]).reshape(3, 1, 1)
    assert levels(picture(values, 2.0)) == [[[255, 0, 191]]]


def test_opposite_values_are_as_far_from_grey() -> None:
    values = np.linspace(-1, 1, 101).reshape(1, 1, 101)
    there = np.asarray(picture(values, 1.0), int)
    back = np.asarray(picture(-values, 1.0), int)
    assert np.abs((there - 127.5) + (back - 127.5)).max() <= 1


def test_what_lies_beyond_the_scale_is_clipped() -> None:
    values = np.array([9.0, -9.0, 0.0]).reshape(3, 1, 1)
    assert levels(picture(values, 1.0)) == [[[255, 0, 128]]]


def test_a_grey_projection_is_drawn_in_grey() -> None:
    drawn = picture(np.array([[[1.0, -1.0]]]), 1.0)
    assert drawn.mode == "RGB" and levels(drawn) == [[[255] * 3, [0] * 3]]


def test_blue_first_values_are_drawn_red_first() -> None:
    values = np.array([1.0, 0.0, -1.0]).reshape(3, 1, 1)
    assert levels(picture(values, 1.0, "BGR")) == [[[0, 128, 255]]]
    assert levels(picture(values, 1.0, "RGB")) == [[[255, 128, 0]]]


def test_the_scale_holds_all_but_half_a_percent() -> None:
    values = np.random.default_rng(0).permutation(np.arange(1.0, 1001.0)).reshape(1, 20, 50)
    signs = np.where(np.arange(1000) % 2 == 0, 1, -1).reshape(1, 20, 50)
    assert scale_of(values * signs) == pytest.approx(np.percentile(np.arange(1, 1001), 99.5))


@pytest.mark.parametrize("shape", [(3, 1, 1), (1, 1, 1), (3, 7, 5), (3, 163, 163)])
def test_a_scale_is_numpy_s_percentile(shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    for share in (99.0, 99.5):
        expected = np.percentile(np.abs(values.astype(np.float64)), share)
        assert scale_of(values, share) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("spacing", [1, 2, 37, 97])
@pytest.mark.parametrize("count", [2, 300, 2000, 79_707])
def test_a_scale_is_numpy_s_percentile_wherever_the_large_values_are(
    spacing: int, count: int
) -> None:
    size = 79_707
    values = np.random.default_rng(2).random(size).astype(np.float32)
    values[np.arange(0, size, spacing)[:count]] += 5
    for ordered in (values, np.sort(values), -np.sort(-values), np.round(values)):
        for share in (50.0, 99.0, 99.5, 100.0):
            expected = np.percentile(ordered.astype(np.float64), share)
            assert scale_of(ordered, share) == pytest.approx(expected, rel=1e-12)


def test_an_outlier_does_not_darken_the_rest() -> None:
    values = np.ones((3, 20, 20))
    values[0, 0, 0] = 1e6
    assert scale_of(values) == 1.0


def test_a_few_values_among_zeros_still_have_a_scale() -> None:
    values = np.zeros((3, 100, 100))
    values[0, 5, 5] = -4.0
    assert scale_of(values) == 4.0


def test_nothing_has_no_scale() -> None:
    assert scale_of(np.zeros((3, 4, 4))) == 0.0
    assert scale_of(np.zeros((3, 0, 0))) == 0.0


def test_an_activation_map_brightens_the_photo_where_it_fires() -> None:
    grey = Image.new("RGB", (64, 64), (128, 128, 128))
    values = np.zeros((4, 4))
    values[1, 2], values[3, 3] = 5.0, -5.0
    lit = np.asarray(overlay(grey, values), int).sum(2)
    assert lit[16:32, 32:48].min() > lit[0, 0] == lit[63, 63] == lit.min()


def test_a_silent_map_dims_the_whole_photo() -> None:
    drawn = overlay(Image.new("RGB", (64, 64), "white"), np.zeros((4, 4)))
    assert len(drawn.getcolors() or ()) == 1


@pytest.mark.parametrize("count", [1, 2, 5, 9, 256])
def test_a_sheet_has_room_for_every_cell(count: int) -> None:
    red, blue = Image.new("RGB", (10, 10), "red"), Image.new("RGB", (10, 10), "blue")
    cells = np.asarray(sheet([(red, blue, "map 0: 1.0")] * count))
    assert (cells == (255, 0, 0)).all(2).sum() == count * 64 * 64
    assert (cells == (0, 0, 255)).all(2).sum() == count * 64 * 64


def test_a_sheet_leaves_the_place_of_a_dead_unit_blank() -> None:
    patch = Image.new("RGB", (10, 10), "blue")
    cells = np.asarray(sheet([(None, patch, "map 3: 0 (silent)")]))
    assert (cells[8:72, 8:72] == 255).all()


def test_a_long_patch_keeps_its_shape_on_a_sheet() -> None:
    cells = np.asarray(sheet([(Image.new("RGB", (40, 10), "red"), None, "")]))
    red = (cells == (255, 0, 0)).all(2)
    assert (red.any(1).sum(), red.any(0).sum()) == (16, 64)


# Golden pictures: a real photo through the shipped ZFNet


@pytest.fixture(scope="module")
def zfnet(tmp_path_factory: pytest.TempPathFactory) -> Network:
    nowhere = tmp_path_factory.mktemp("weights")
    return load("zfnet", Sources(nowhere, nowhere, offline=True))


Golden = Callable[[str, Image.Image], None]
CASES: list[tuple[str, Method, Seed]] = [
    ("conv2", "deconvnet", "unit"),
    ("pool2", "gradient", "unit"),
    ("conv3", "guided", "unit"),
    ("conv5", "deconvnet", "unit"),
    ("conv4", "deconvnet", "map"),
]


@pytest.mark.parametrize(("layer", "method", "seed"), CASES)
def test_projections_of_a_cat_look_as_golden_ones(
    golden: Golden, zfnet: Network, cat: Image.Image, layer: str, method: Method, seed: Seed
) -> None:
    view = visualize(zfnet, cat, Choice(layer=layer, method=method, seed=seed, top=1))
    (projection,) = view.projections
    assert projection.picture is not None
    golden(f"cat-{layer}-{method}-{seed}", projection.picture)


def test_the_patch_and_the_activation_of_a_cat_look_as_golden_ones(
    golden: Golden, zfnet: Network, cat: Image.Image
) -> None:
    view = visualize(zfnet, cat, Choice(layer="conv3", top=1))
    feature = view.projections[0].feature
    golden("cat-conv3-patch", view.projections[0].patch)
    seen = record_photo(zfnet, frame_photo(cat, zfnet.preprocessing))
    golden("cat-conv3-activation", draw_map(seen, layer_maps(seen, "conv3"), feature))
