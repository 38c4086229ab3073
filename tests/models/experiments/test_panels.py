"""The panels of an occlusion, pixel by pixel against what its numbers say."""

import json
from io import BytesIO

import numpy as np
import pytest
from matplotlib import colormaps
from PIL import Image

import models
from models.experiments.heatmaps import colour_classes
from models.experiments.panels import ZOOM, heat, occlusion_files, occlusion_panels
from models.networks.network import Network

ASKED = models.OcclusionRequest(square=8, stride=4)


@pytest.fixture(scope="module")
def found(toy: Network, cat: Image.Image) -> models.Occlusion:
    framed = models.frame_photo(cat, toy.preprocessing)
    return models.finish(models.occlude(toy, framed, ASKED))


def test_the_least_is_darkest_and_the_largest_lightest() -> None:
    ends = [[round(255 * level) for level in colormaps["viridis"](at)[:3]] for at in (0.0, 1.0)]
    coloured = heat(np.array([[-3.0, 5.0]]))
    np.testing.assert_allclose(coloured[0], ends, atol=1)


def test_a_map_without_differences_is_one_colour() -> None:
    assert len(np.unique(heat(np.full((2, 3), 7.0)).reshape(-1, 3), axis=0)) == 1


def test_each_place_is_coloured_around_the_middle_of_its_square(found: models.Occlusion) -> None:
    panel = np.asarray(occlusion_panels(found)["activation"])
    colours = heat(found.activation)
    for row, top in enumerate(found.tops):
        for column, left in enumerate(found.lefts):
            y, x = ZOOM * (top + 4), ZOOM * (left + 4)
            assert panel[y, x].tolist() == colours[row, column].tolist()


def test_classes_have_the_colours_of_the_key(found: models.Occlusion) -> None:
    assert found.classes
    files = occlusion_files(found)
    panel = np.asarray(Image.open(BytesIO(files["best_class.png"])))
    key = {label: colour for colour, label in json.loads(files["key.json"])}
    label = found.classes.labels[int(found.classes.best[0, 0])]
    assert "#" + bytes(panel[8, 8].tolist()).hex() == key[label]


def test_the_most_frequent_classes_have_colours_of_their_own() -> None:
    best = np.array([[5, 5, 5, 2], [7, 7, 2, 9]])
    assert list(colour_classes(best)) == [5, 2, 7, 9]
    assert len(colour_classes(np.arange(40).reshape(5, 8))) == 8


def test_the_photo_and_the_projection_fill_the_input(found: models.Occlusion) -> None:
    side = ZOOM * found.photo.frame.size
    assert {panel.size for panel in occlusion_panels(found).values()} == {(side, side)}
