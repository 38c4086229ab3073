"""What a map contributes to a class: autograd's gradient times the activation, summed."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from models import (
    Choice,
    InvalidChoice,
    Network,
    Visualization,
    contributions,
    to_png_sheet,
    visualize,
)
from models.networks.architecture import Architecture, Dense, Filters, Pooling
from models.networks.build import build
from models.networks.network import Provenance
from models.networks.preprocessing import Preprocessing
from models.projection.record import Record, record
from tests.oracles import noise, plain, slim
from tests.refusals import refused

pytestmark = pytest.mark.usefixtures("one_thread")


def of_autograd(network: Network, pixels: Tensor, score: int) -> dict[str, Tensor]:
    """Return gradient times activation, summed over each map, of torch's own modules."""
    x = pixels.clone().requires_grad_()
    maps = {}
    for layer, part in zip(network.layers, plain(network), strict=True):
        x = maps[layer.name] = part(x)
    found = torch.autograd.grad(x.flatten()[score], list(maps.values()))
    pairs = zip(maps.items(), found, strict=True)
    return {
        name: (gradient * each).reshape(each.shape[1], -1).sum(1).detach()
        for (name, each), gradient in pairs
    }


@pytest.mark.parametrize("name", ["lenet5", "alexnet2012", "zfnet", "vgg11_bn"])
def test_a_contribution_is_autograd_s(name: str) -> None:
    network = slim(name)
    side = network.preprocessing.size
    pixels = noise(network, side, side)
    seen, expected = record(network, pixels), of_autograd(network, pixels, 2)
    for layer in [each.name for each in network.layers if each.name != network.classifier]:
        found = torch.tensor(contributions(seen, layer, "2").values, dtype=torch.float64)
        assert float((found - expected[layer]).abs().max() / expected[layer].abs().max()) < 1e-10


def test_below_a_linear_classifier_contributions_and_bias_add_up_to_the_score(toy: Network) -> None:
    seen = seen_by(toy)
    assert seen.scores is not None
    for number in range(4):
        total = sum(contributions(seen, "fc3", str(number)).values)
        bias = toy.tensors()["fc4.bias"][number].item()
        assert total + bias == pytest.approx(float(seen.scores[0, number]), abs=1e-6)


def test_a_linear_network_s_contributions_are_those_counted_by_hand() -> None:
    rows = (Filters("conv1", 2, 1), Pooling("pool1", 2, 2), Dense("fc2", 2))
    paper = Architecture("tiny", "Tiny", "none", rows, Preprocessing(2, 2, "L", 1.0, (0,), (1,)))
    network = build(paper).requires_grad_(requires_grad=False)
    network.assign_tensors(
        {
            "conv1.weight": torch.tensor([1.0, 2.0]).view(2, 1, 1, 1),
            "conv1.bias": torch.zeros(2),
            "fc2.weight": torch.tensor([[5.0, -7.0], [1.0, 1.0]]),
            "fc2.bias": torch.zeros(2),
        }
    )
    seen = record(network, torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]]))
    assert contributions(seen, "conv1", "0").values == (5 * 4, -7 * 8)
    assert contributions(seen, "pool1", "1").values == (4, 8)
    assert contributions(seen, "conv1").target.number == 1  # 20 - 56 is less than 4 + 8


def seen_by(network: Network) -> Record:
    return record(network, noise(network, 32, 32))


def shown(network: Network, cat: Image.Image, **chosen: Any) -> Visualization:
    return visualize(network, cat, Choice(rank="contribution", **chosen))


def test_the_maps_that_speak_most_for_a_class_come_first(toy: Network, cat: Image.Image) -> None:
    view = shown(toy, cat, target="dog", top=12)
    assert view.target is not None and (view.target.number, view.target.label) == (1, "dog")
    order = [(-(each.contribution or 0), each.feature) for each in view.projections]
    assert order == sorted(order) and len({each for each, _ in order}) > 2
    fewer = shown(toy, cat, target="1", top=3)
    assert [each.feature for each in fewer.projections] == [feature for _, feature in order[:3]]


def test_the_class_is_the_most_probable_where_none_is_named(toy: Network, cat: Image.Image) -> None:
    view = shown(toy, cat, seed="map")
    assert view.predictions is not None and view.target is not None
    assert view.target.label == view.predictions[0].label


def test_maps_ranked_by_activation_say_no_contribution(toy: Network, cat: Image.Image) -> None:
    view = visualize(toy, cat, Choice())
    assert view.target is None and all(each.contribution is None for each in view.projections)


def test_a_sheet_says_which_class_its_maps_speak_for(toy: Network, cat: Image.Image) -> None:
    sheet = Image.open(io.BytesIO(to_png_sheet(shown(toy, cat, target="2"))))
    said = json.loads(sheet.info["deconvnet"])
    assert (said["rank"], said["target"]) == ("contribution", {"number": 2, "label": "car"})


def test_a_class_is_found_by_its_label_first_then_by_its_number() -> None:
    labels = ("7", "1_A")
    network = build(
        Architecture(
            "pair", "Pair", "none", (Filters("conv1", 2, 2), Dense("fc2", 2)), Preprocessing(2, 2)
        ),
        classes=labels,
        provenance=Provenance("toy", "", trained=False, classes=2),
    ).requires_grad_(requires_grad=False)
    seen = record(network, noise(network, 2, 2))
    assert contributions(seen, "conv1", "7").target.number == 0
    assert contributions(seen, "conv1", "1").target.number == 1
    for shown in ("1_A", "1 a", "1_a"):  # as a page shows it, and as it is written
        assert contributions(seen, "conv1", shown).target.number == 1


@pytest.mark.parametrize(
    ("chosen", "sentence"),
    [
        ({"features": (1, 2)}, "which maps are the strongest, features names them"),
        ({"layer": "fc4"}, "fc4 holds the class scores themselves"),
        (
            {"target": "wolf"},
            "toy has no class 'wolf': name one of its labels, or a number from 0 to 3",
        ),
        ({"target": "4"}, "toy has no class '4'"),
        ({"target": "-1"}, "toy has no class '-1'"),
        ({"target": "\u00b2"}, "toy has no class"),
        ({"target": "1" * 5000}, "toy has no class"),
        ({"target": "0" * 9 + "1"}, "toy has no class"),
        ({"target": ""}, "toy has no class"),
    ],
)
def test_a_contribution_that_cannot_be_had_is_refused_with_the_way_out(
    toy: Network, cat: Image.Image, chosen: dict[str, Any], sentence: str
) -> None:
    with refused(InvalidChoice, match=sentence):
        shown(toy, cat, **chosen)


@pytest.mark.parametrize("until", ["conv2", "fc3"])
def test_weights_without_a_classifier_have_no_contributions(
    toy: Network, cat: Image.Image, until: str
) -> None:
    names = [layer.name for layer in toy.layers]
    held = names[: names.index(until) + 1]
    shapes = {key: tuple(each.shape) for key, each in toy.tensors().items()}
    shapes = {key: shape for key, shape in shapes.items() if key.split(".")[0] in held}
    with refused(InvalidChoice, match="these weights of toy have none"):
        shown(build(toy.architecture, shapes), cat, layer="conv1")


def test_a_target_without_its_rank_is_refused(toy: Network, cat: Image.Image) -> None:
    with refused(InvalidChoice, match="target names the class of rank=contribution"):
        visualize(toy, cat, Choice(target="dog"))
