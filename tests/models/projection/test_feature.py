"""One feature map in one photo: where it fires, and what feeds it, against the plain sums."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.nn import functional as F

from models import (
    Choice,
    InvalidChoice,
    Network,
    Record,
    draw_filter,
    frame_photo,
    inspect_feature,
    record_photo,
)
from models import visualize as see
from models.networks.steps import Convolution
from models.workbench import activations
from tests.refusals import refused

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def record(toy: Network, cat: Image.Image) -> Record:
    return record_photo(toy, frame_photo(cat, toy.preprocessing))


def strongest_map(record: Record, layer: str) -> int:
    return int(record.maxima[layer].values[0].argmax())


def grid(record: Record, layer: str, feature: int) -> NDArray[np.float32]:
    values: NDArray[np.float32]
    values = activations(record, layer)[0, feature].numpy()
    return values


def is_peak(values: NDArray[np.float32], y: int, x: int) -> bool:
    around = values[max(0, y - 1) : y + 2, max(0, x - 1) : x + 2]
    return bool(values[y, x] == around.max())


@pytest.mark.parametrize("layer", ["conv1", "pool1", "conv2"])
def test_the_strongest_places_are_peaks_and_then_the_strongest_others(
    record: Record, layer: str
) -> None:
    feature = strongest_map(record, layer)
    values = grid(record, layer, feature)
    places = [
        (place.unit.y, place.unit.x) for place in inspect_feature(record, layer, feature).places
    ]
    fires = [(y, x) for y, x in np.ndindex(values.shape) if values[y, x] > 0]
    expected = sorted(fires, key=lambda at: (not is_peak(values, *at), -values[at], at))
    assert places == expected[:9]
    assert values[places[0]] == values.max()


def test_what_fires_is_counted_and_ranked(record: Record) -> None:
    order = record.maxima["conv2"].values[0].sort(descending=True, stable=True).indices.tolist()
    found = inspect_feature(record, "conv2", order[1])
    assert found.firing == int((grid(record, "conv2", order[1]) > 0).sum())
    assert (found.rank, found.stronger, found.weaker) == (2, order[0], order[2])
    assert inspect_feature(record, "conv2", order[0]).stronger is None
    assert inspect_feature(record, "conv2", order[-1]).weaker is None


def test_a_place_sees_what_its_projection_covers(
    record: Record, toy: Network, cat: Image.Image
) -> None:
    feature = strongest_map(record, "conv2")
    for place in inspect_feature(record, "conv2", feature).places[:3]:
        choice = Choice(layer="conv2", features=(feature,), unit=(place.unit.y, place.unit.x))
        (projection,) = see(toy, cat, choice).projections
        assert projection.receptive_field == place.receptive_field
        assert projection.activation == pytest.approx(place.unit.activation, rel=1e-5)


def test_the_maps_below_a_convolution_add_what_its_filter_makes_of_each(record: Record) -> None:
    feature = strongest_map(record, "conv2")
    found = inspect_feature(record, "conv2", feature)
    unit = found.places[0].unit
    convolution = record.network.layer("conv2").steps[0]
    assert isinstance(convolution, Convolution) and convolution.bias is not None
    padded = F.pad(activations(record, "norm1")[0], (1, 1, 1, 1))
    window = padded[:, unit.y : unit.y + 3, unit.x : unit.x + 3]
    shares = (window * convolution.weight[feature]).sum((1, 2))
    assert found.below == "norm1"
    for each in found.inputs:
        assert each.contribution == pytest.approx(shares[each.feature].item(), rel=1e-4)
    positive = sorted((s for s in shares.tolist() if s > 0), reverse=True)
    assert [each.contribution for each in found.inputs] == pytest.approx(positive[:9], rel=1e-4)
    assert found.bias is not None
    assert found.bias == pytest.approx(convolution.bias[feature].item(), abs=1e-4)
    assert shares.sum().item() + found.bias == pytest.approx(unit.activation, rel=1e-4)


def test_the_maps_below_a_fully_connected_unit_add_their_weighted_sums(record: Record) -> None:
    feature = strongest_map(record, "fc3")
    found = inspect_feature(record, "fc3", feature)
    weight = record.network.tensors()["fc3.weight"][feature].view(12, 3, 3)
    shares = (activations(record, "pool2")[0] * weight).sum((1, 2))
    assert found.below == "pool2"
    for each in found.inputs:
        assert each.contribution == pytest.approx(shares[each.feature].item(), rel=1e-4)


@pytest.mark.parametrize(
    ("layer", "below"), [("conv1", None), ("pool1", "conv1"), ("norm1", "pool1")]
)
def test_a_layer_without_weights_or_maps_below_has_no_inputs(
    record: Record, layer: str, below: str | None
) -> None:
    found = inspect_feature(record, layer, strongest_map(record, layer))
    assert found.below == below and found.inputs == () and found.bias is None


def test_a_silent_map_has_no_place(dead: Network, cat: Image.Image) -> None:
    record = record_photo(dead, frame_photo(cat, dead.preprocessing))
    found = inspect_feature(record, "conv2", 3)
    assert found.places == () and found.firing == 0 and found.inputs == ()


def test_a_negative_class_score_has_its_one_place(record: Record) -> None:
    scores = activations(record, "fc4")[0, :, 0, 0]
    (place,) = inspect_feature(record, "fc4", int(scores.argmin())).places
    assert scores.min() < 0 and place.unit.activation == pytest.approx(scores.min().item())


def test_a_map_that_there_is_not_is_refused(record: Record) -> None:
    with refused(InvalidChoice, match="conv2 has the feature maps 0 to 11, not 12"):
        inspect_feature(record, "conv2", 12)


def test_a_filter_is_drawn_as_its_weights_around_mid_grey(toy: Network) -> None:
    drawn = draw_filter(toy, "conv1", 2)
    weight = toy.tensors()["conv1.weight"][2]
    scale = torch.quantile(weight.double().abs(), 0.995)
    levels = (128 + 127.5 * (weight.double() / scale).clamp(-1, 1)).floor().clamp(0, 255)
    assert drawn is not None
    assert np.array_equal(np.asarray(drawn), levels.permute(1, 2, 0).byte().numpy())


def test_only_the_first_layer_has_filters_to_look_at(toy: Network) -> None:
    assert draw_filter(toy, "conv2", 0) is None
