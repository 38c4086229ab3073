"""The wall's pictures are those of each photo alone."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from models.examples.build import build_examples
from models.examples.index import Index, read_index
from models.examples.wall import GREY, SIDE, cut_patches, draw_examples, lay_out, to_wall
from models.networks.network import Network
from models.networks.preprocessing import framed, to_pixels
from models.projection.choice import FigureFile
from models.projection.record import record
from models.projection.selection import Unit
from models.projection.show import Arrived, draw
from models.projection.walk import project
from tests.photo_folders import decode, fill_folder

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fill_folder(tmp_path_factory.mktemp("photos"), 16)


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory, toy: Network, photos: Path) -> Index:
    out = tmp_path_factory.mktemp("index")
    list(build_examples(toy, photos, out, decode, processes=0))
    return read_index(out)


@pytest.mark.parametrize(("layer", "feature"), [("conv1", 1), ("conv2", 4), ("fc4", 2)])
def test_all_nine_together_are_what_each_photo_gives_alone(
    toy: Network, index: Index, photos: Path, layer: str, feature: int
) -> None:
    drawn = draw_examples(toy, index, layer, feature, "exact")
    assert len(drawn.examples) == 9
    for example, patch, picture in zip(
        drawn.examples, drawn.patches, drawn.projections, strict=True
    ):
        photo = framed(Image.open(photos / example.image), toy.preprocessing)
        seen = record(toy, to_pixels(photo, toy.preprocessing))
        there = seen.maxima[layer]
        place = int(there.rows[0, feature]), int(there.columns[0, feature])
        assert place == (example.y, example.x)
        assert float(there.values[0, feature]) == pytest.approx(example.activation, rel=1e-4)
        unit = Unit(feature, example.y, example.x, example.activation)
        (alone,) = project(seen, layer, [unit])
        top, left, bottom, right = map(int, alone.box)
        assert np.array_equal(np.asarray(patch), np.asarray(photo)[top:bottom, left:right])
        (wanted,) = draw("exact", [Arrived(alone.values, patch)], "RGB")
        assert picture is not None and wanted.picture is not None
        apart = np.abs(np.asarray(picture, int) - np.asarray(wanted.picture, int))
        assert apart.max() <= 1


def test_patches_can_be_had_without_a_forward_pass(toy: Network, index: Index) -> None:
    drawn = draw_examples(toy, index, "conv2", 0)
    alone = cut_patches(toy, index, drawn.examples)
    assert [each.tobytes() for each in alone] == [each.tobytes() for each in drawn.patches]


def test_a_silent_map_has_nothing_to_draw(dead: Network, photos: Path, tmp_path: Path) -> None:
    list(build_examples(dead, photos, tmp_path, decode, processes=0))
    index = read_index(tmp_path)
    drawn = draw_examples(dead, index, "conv2", 3)
    assert drawn.examples == () and drawn.projections == ()
    assert index.examples("conv2", 3) == [] and index.strongest("conv2")[0] != 3
    assert to_wall(dead, index, "conv2", [drawn]).startswith(b"<?xml")


def test_nine_pictures_lie_in_three_rows() -> None:
    colours = [(20 * n, 0, 255 - 20 * n) for n in range(8)]
    small = [Image.new("RGB", (8, 4), colour) for colour in colours]
    sheet = lay_out([*small[:4], None, *small[4:]])
    cells = [(row, column) for row in range(3) for column in range(3)]
    centres = [
        sheet.getpixel((column * (SIDE + 2) + SIDE // 2, row * (SIDE + 2) + SIDE // 2))
        for row, column in cells
    ]
    assert centres == [*colours[:4], GREY, *colours[4:]]
    assert sheet.getpixel((SIDE // 2, 1)) == GREY  # a wide picture leaves room above


@pytest.mark.parametrize("form", ["svg", "pdf", "png"])
def test_the_same_figure_has_the_same_bytes(toy: Network, index: Index, form: str) -> None:
    drawn = [draw_examples(toy, index, "conv2", feature) for feature in (0, 4, 5)]
    file = FigureFile(form)  # type: ignore[arg-type]
    once, again = (to_wall(toy, index, "conv2", drawn, file) for _ in range(2))
    assert once == again
    if form == "svg":
        text = once.decode()
        assert "map 4" in text and "strongest of 16 photos" in text
        assert text.count("<image") == 6 + 1  # a sheet of each kind for each map; the scale
    if form == "png":
        assert Image.open(io.BytesIO(once)).width == 2100


def test_a_batch_of_photos_keeps_its_places_apart(toy: Network, index: Index) -> None:
    """Several units in several photos go down together: none sees another's photo."""
    names = index.names[:4]
    pixels = torch.cat([to_pixels(index.photo(name), toy.preprocessing) for name in names])
    together = record(toy, pixels)
    units = [Unit(n, 1, 2, 1.0, n) for n in range(4)]
    for unit, found in zip(units, project(together, "conv2", units), strict=True):
        alone = record(toy, pixels[unit.image : unit.image + 1])
        (wanted,) = project(alone, "conv2", [unit._replace(image=0)])
        assert found.box == wanted.box
        np.testing.assert_allclose(found.values, wanted.values, atol=1e-6)
