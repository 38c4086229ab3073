"""A result in every format: the same numbers, the same bytes, and whose weights they are of."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from models.experiments.export import encode_result, result_files
from models.experiments.heatmaps import Occlusion
from models.experiments.occlusion import occlude
from models.experiments.requests import OcclusionRequest
from models.experiments.shape import finish
from models.networks.network import Network
from models.networks.preprocessing import frame_photo


@pytest.fixture(scope="module")
def found(toy: Network, cat: Image.Image) -> Occlusion:
    photo = frame_photo(cat, toy.preprocessing)
    result = finish(occlude(toy, photo, OcclusionRequest(square=8, stride=8, target="dog")))
    assert isinstance(result, Occlusion)
    return result


def test_json_holds_the_numbers_as_lists_with_labels(found: Occlusion) -> None:
    document = json.loads(encode_result(found, "json"))
    assert document["tops"] == [0, 8, 16, 24]
    np.testing.assert_array_equal(document["probability"], found.numbers["probability"])
    assert document["target"] == {"class": 1, "label": "dog"}
    labels = ("cat", "dog", "car", "cup")
    assert document["best_label"] == [[labels[n] for n in row] for row in document["best_class"]]
    assert document["weights"]["sha256"] == "0" * 64


def test_npz_holds_the_same_arrays(found: Occlusion) -> None:
    data = encode_result(found, "npz")
    arrays = np.load(io.BytesIO(data))
    assert set(arrays) == set(found.numbers)
    for name, values in found.numbers.items():
        np.testing.assert_array_equal(arrays[name], values)
    said = json.loads(zipfile.ZipFile(io.BytesIO(data)).comment)
    assert said["experiment"] == "occlusion" and said["weights"]["sha256"] == "0" * 64


def test_csv_has_a_row_for_each_place(found: Occlusion) -> None:
    head, *rows = csv.reader(io.StringIO(encode_result(found, "csv").decode()))
    assert head == ["top", "left", "activation", "probability", "best_class", "best_label"]
    assert len(rows) == 16 and rows[5][:2] == ["8", "8"]
    assert float(rows[5][3]) == found.numbers["probability"][1, 1]


def test_a_figure_is_a_drawing_with_its_words(found: Occlusion) -> None:
    svg = ElementTree.fromstring(encode_result(found, "svg"))
    words = {text.text for text in svg.iter("{http://www.w3.org/2000/svg}text")}
    assert "(d) Probability: dog" in words
    assert Image.open(io.BytesIO(encode_result(found, "png"))).width > 1000


def test_the_same_result_gives_the_same_bytes(found: Occlusion) -> None:
    assert result_files(found) == result_files(found)
