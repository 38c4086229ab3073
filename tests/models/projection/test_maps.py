"""All maps of a layer: each on its own scale, in its place on the sheet."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from models import Choice, Network, frame_photo, record_photo
from models.projection.contribution import contributions
from models.projection.maps import COLUMNS, SIDE, draw_sheet, layer_maps, rank_maps, sheet_grid
from models.projection.record import Record, activations
from models.render import ACTIVE, mosaic

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def seen(dead: Network, cat: Image.Image) -> Record:
    return record_photo(dead, frame_photo(cat, dead.preprocessing))


def test_each_map_is_a_share_of_its_own_largest_activation(seen: Record) -> None:
    maps = activations(seen, "conv2")[0].double().numpy()
    levels = layer_maps(seen, "conv2").levels.astype(float)
    for feature, values in enumerate(maps):
        wanted = 255 * values / (values.max() or 1)
        assert np.abs(levels[feature] - wanted).max() <= 0.51
    assert not levels[3].any()


def test_single_units_are_shares_of_the_layers_largest(seen: Record) -> None:
    values = activations(seen, "fc3")[0, :, 0, 0].double().clamp(min=0).numpy()
    levels = layer_maps(seen, "fc3").levels[:, 0, 0]
    assert np.abs(levels - 255 * values / values.max()).max() <= 0.51


def test_a_sheet_has_each_map_in_its_place(seen: Record) -> None:
    maps = layer_maps(seen, "conv1")
    columns, rows, side = sheet_grid(*maps.levels.shape[:2])
    sheet = draw_sheet(maps)
    assert sheet.size == (columns * side, rows * side)
    for feature, levels in enumerate(maps.levels):
        left, top = feature % COLUMNS * side, feature // COLUMNS * side
        cell = np.asarray(sheet)[top : top + side, left : left + side]
        assert (cell == levels).all()


def test_a_large_map_is_averaged_down() -> None:
    levels = np.zeros((1, 2 * SIDE, 2 * SIDE), np.uint8)
    levels[0, :2, :2] = [[255, 0], [0, 255]]
    small = np.asarray(mosaic(levels, 1, SIDE))
    assert abs(int(small[0, 0]) - 127.5) <= 1 and small.sum() == small[0, 0]


def test_the_largest_activation_is_amber() -> None:
    drawn = mosaic(np.full((1, 1, 1), 255, np.uint8), 1, 1).convert("RGB")
    assert drawn.getpixel((0, 0)) == ACTIVE


def test_all_maps_are_ranked_by_their_strongest_unit(seen: Record) -> None:
    units = rank_maps(seen, Choice(layer="conv2")).units
    peaks = activations(seen, "conv2")[0].amax((1, 2)).tolist()
    assert [unit.feature for unit in units] == sorted(range(12), key=lambda f: (-peaks[f], f))
    assert [unit.activation for unit in units] == sorted(peaks, reverse=True)


def test_all_maps_are_ranked_by_what_they_add_to_a_class(seen: Record) -> None:
    units = rank_maps(seen, Choice(layer="conv2", rank="contribution", target="dog")).units
    values = contributions(seen, "conv2", "dog").values
    assert [u.feature for u in units] == sorted(range(12), key=lambda f: (-values[f], f))
