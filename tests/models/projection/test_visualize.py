"""The use case: a photo and a choice in, projections out, or a sentence that says why not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from models import (
    Choice,
    InvalidChoice,
    Network,
    UnknownLayer,
    Visualization,
    frame,
    frame_photo,
    record_photo,
    visualize,
)
from models.networks.build import build
from models.networks.preprocessing import Box, Preprocessing, framed
from models.projection.maps import draw_map, layer_maps
from models.projection.record import Record, activations
from models.projection.selection import Unit
from models.projection.walk import project, project_maps
from models.render import picture, scale_of
from tests.oracles import furthest
from tests.refusals import refused

pytestmark = pytest.mark.usefixtures("one_thread")


def shown(toy: Network, cat: Image.Image, *, limit: int = 256, **chosen: Any) -> Visualization:
    return visualize(toy, cat, Choice(**chosen), limit=limit)


def record(network: Network, photo: Image.Image) -> Record:
    return record_photo(network, frame_photo(photo, network.preprocessing))


def features_of(view: Visualization) -> list[int]:
    return [each.feature for each in view.projections]


def test_nothing_said_means_nine_maps_of_the_last_convolution(
    toy: Network, cat: Image.Image
) -> None:
    view = shown(toy, cat)
    assert (view.layer, view.method, view.seed, view.fit) == ("conv2", "deconvnet", "unit", "crop")
    assert len(view.projections) == 9


def test_a_layer_of_fewer_maps_shows_them_all(toy: Network, cat: Image.Image) -> None:
    assert len(shown(toy, cat, layer="conv1").projections) == 6


@pytest.mark.parametrize("chosen", [{}, {"top": 12}, {"features": (7, 2, 11)}, {"seed": "map"}])
def test_the_strongest_comes_first(toy: Network, cat: Image.Image, chosen: dict[str, Any]) -> None:
    view = shown(toy, cat, **chosen)
    order = [(-each.activation, each.feature) for each in view.projections]
    assert order == sorted(order)


def test_top_maps_are_those_of_the_largest_activations(toy: Network, cat: Image.Image) -> None:
    maps = activations(record(toy, cat), "conv2")[0]
    expected = torch.sort(maps.amax((1, 2)), descending=True, stable=True).indices[:4]
    assert features_of(shown(toy, cat, top=4)) == expected.tolist()


def test_chosen_features_are_those_shown(toy: Network, cat: Image.Image) -> None:
    assert set(features_of(shown(toy, cat, features=(7, 2, 11)))) == {2, 7, 11}


@pytest.mark.parametrize("method", ["deconvnet", "guided", "gradient"])
def test_a_projection_is_the_engine_s(toy: Network, cat: Image.Image, method: str) -> None:
    view = shown(toy, cat, method=method, top=3)
    seen = record(toy, cat)
    for each, arrived in zip(view.projections, view.reconstructions, strict=True):
        assert each.unit is not None
        unit = Unit(each.feature, *each.unit, each.activation)
        (expected,) = project(seen, "conv2", [unit], method, windows=False)
        assert furthest([arrived.canvas(seen.size)], [expected.canvas(seen.size)]) < 1e-5
        assert each.scale == pytest.approx(scale_of(arrived.values))
        drawn = picture(arrived.values, scale_of(arrived.values))
        assert each.picture is not None and np.array_equal(
            np.asarray(each.picture), np.asarray(drawn)
        )


def test_a_patch_is_the_same_piece_of_the_photo(toy: Network, cat: Image.Image) -> None:
    seen = framed(cat, toy.preprocessing)
    for each in shown(toy, cat, layer="conv1").projections:
        top, left, bottom, right = map(int, each.receptive_field)
        assert each.picture is not None and each.patch.size == each.picture.size
        assert np.array_equal(
            np.asarray(each.patch), np.asarray(seen.crop((left, top, right, bottom)))
        )
        assert each.receptive_field == toy.receptive_field(
            "conv1", each.unit or (0, 0), toy.input_size
        )


def test_a_whole_map_has_no_unit_and_sees_the_whole_input(toy: Network, cat: Image.Image) -> None:
    view, seen = shown(toy, cat, seed="map", top=2), record(toy, cat)
    for each, arrived in zip(view.projections, view.reconstructions, strict=True):
        assert each.unit is None
        assert each.activation == float(activations(seen, "conv2")[0, each.feature].max())
        assert tuple(each.receptive_field) == (0, 0, 32, 32)
        (expected,) = project_maps(seen, "conv2", [each.feature])
        assert furthest([arrived.values], [expected.values]) < 1e-5


def test_one_place_is_read_from_every_chosen_map(toy: Network, cat: Image.Image) -> None:
    view = shown(toy, cat, unit=(3, 6), features=(0, 5, 9))
    maps = activations(record(toy, cat), "conv2")[0]
    assert all(each.unit == (3, 6) for each in view.projections)
    assert {e.feature: e.activation for e in view.projections} == {
        feature: float(maps[feature, 3, 6]) for feature in (0, 5, 9)
    }


@pytest.mark.parametrize("unit", [None, (0, 0)])
def test_a_class_score_is_a_map_of_one_unit(
    toy: Network, cat: Image.Image, unit: tuple[int, int] | None
) -> None:
    view = shown(toy, cat, layer="fc4", top=4, unit=unit)
    assert [each.unit for each in view.projections] == [(0, 0)] * 4
    values = [each.activation for each in view.projections]
    assert min(values) < 0 and values == sorted(values, reverse=True)
    assert all(tuple(each.receptive_field) == (0, 0, 32, 32) for each in view.projections)


def test_a_record_that_is_there_already_gives_the_same(toy: Network, cat: Image.Image) -> None:
    seen = record(toy, cat)
    fresh, again = shown(toy, cat), visualize(toy, cat, Choice(), seen)
    assert features_of(fresh) == features_of(again)
    assert all(
        np.array_equal(a.values, b.values)
        for a, b in zip(fresh.reconstructions, again.reconstructions, strict=True)
    )


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
def test_a_fit_says_where_the_photo_lies(toy: Network, cat: Image.Image, fit: str) -> None:
    view = shown(toy, cat, fit=fit)
    assert (view.fit, view.photo, view.input) == (fit, cat.size, (32, 32))
    assert view.frame == frame(cat.size, toy.preprocessing, fit)


def test_every_part_is_timed(toy: Network, cat: Image.Image) -> None:
    times = shown(toy, cat).timings_ms
    assert {"forward", "project", "render"} <= set(times)
    assert all(value >= 0 for value in times.values())


# Choices that cannot be had


@pytest.mark.parametrize(
    ("chosen", "sentence"),
    [
        ({"top": 0}, "top is 1 to 12 for conv2, not 0"),
        ({"top": -3}, "top is 1 to 12 for conv2, not -3"),
        ({"top": 100_000}, "top is 1 to 12 for conv2, not 100000"),
        ({"top": 13}, "top is 1 to 12 for conv2, not 13"),
        ({"top": 5, "limit": 4}, "top is 1 to 4 for conv2, not 5"),
        ({"features": (12,)}, "conv2 has the feature maps 0 to 11, not 12"),
        ({"features": (999_999,)}, "not 999999"),
        ({"features": (-1,)}, "not -1"),
        ({"features": ()}, "name 1 to 12 features of conv2, not 0"),
        ({"features": (1, 2, 3), "limit": 2}, "name 1 to 2 features of conv2, not 3"),
        ({"features": (4, 4)}, "each feature can be named once"),
        ({"features": (4,), "top": 3}, "either features or top, not both"),
        ({"unit": (7, 0)}, "unit 7,0 lies outside conv2"),
        ({"unit": (0, -1)}, "unit 0,-1 lies outside conv2"),
        ({"unit": (0, 1), "layer": "fc3"}, "unit 0,1 lies outside fc3"),
        ({"unit": (0, 0), "seed": "map"}, "a unit is one place, seed=map the whole map"),
        ({"method": "lrp"}, "method is one of deconvnet, guided, gradient, not 'lrp'"),
        ({"seed": "all"}, "seed is one of unit, map, not 'all'"),
        ({"fit": "zoom"}, "fit is one of crop, pad, stretch, not 'zoom'"),
    ],
)
def test_a_choice_that_cannot_be_had_is_refused_with_the_way_out(
    toy: Network, cat: Image.Image, chosen: dict[str, Any], sentence: str
) -> None:
    with refused(InvalidChoice, match=sentence):
        shown(toy, cat, **chosen)


def test_an_unknown_layer_is_refused_with_those_that_there_are(
    toy: Network, cat: Image.Image
) -> None:
    with refused(UnknownLayer, match="toy has no layer 'conv9'; it has conv1, pool1, norm1"):
        shown(toy, cat, layer="conv9")


def test_activation_pictures_are_of_maps_that_there_are(toy: Network, cat: Image.Image) -> None:
    seen = record(toy, cat)
    maps = layer_maps(seen, "conv1")
    assert draw_map(seen, maps, 5).size == (32, 32)
    for feature in (6, -1):
        with refused(InvalidChoice, match=f"conv1 has the feature maps 0 to 5, not {feature}"):
            draw_map(seen, maps, feature)


# Dead units


@pytest.mark.parametrize("method", ["deconvnet", "guided", "gradient"])
@pytest.mark.parametrize("seed", ["unit", "map"])
def test_a_dead_map_has_a_patch_but_no_projection(
    dead: Network, cat: Image.Image, seed: str, method: str
) -> None:
    view = shown(dead, cat, layer="conv2", features=(3, 5), seed=seed, method=method)
    alive, silent = view.projections
    assert (alive.feature, silent.feature) == (5, 3)
    assert alive.picture is not None and alive.scale is not None
    assert (silent.activation, silent.scale, silent.picture) == (0, None, None)
    assert silent.patch.width > 0


def test_dead_maps_come_last_by_number(dead: Network, cat: Image.Image) -> None:
    view = shown(dead, cat, layer="conv2", top=12)
    silent = [each.feature for each in view.projections if each.activation == 0]
    assert features_of(view)[-len(silent) :] == sorted(silent) and 3 in silent


# Class scores


def test_predictions_are_the_most_probable_classes(toy: Network, cat: Image.Image) -> None:
    scores = record(toy, cat).scores
    assert scores is not None and toy.classes is not None
    chances = torch.softmax(scores[0].double(), 0)
    found = shown(toy, cat).predictions
    assert found is not None
    assert [each.label for each in found] == [
        toy.classes[i] for i in chances.argsort(descending=True)
    ]
    assert [each.probability for each in found] == pytest.approx(
        chances.sort(descending=True).values.tolist()
    )


def test_classes_without_names_are_numbered(toy: Network, cat: Image.Image) -> None:
    nameless = build(toy.architecture)
    found = shown(nameless, cat).predictions
    assert found is not None and all(each.label.startswith("class ") for each in found)


@pytest.mark.parametrize("until", ["conv2", "fc3"])
def test_a_file_that_ends_before_the_scores_predicts_nothing(
    toy: Network, cat: Image.Image, until: str
) -> None:
    shapes = {key: tuple(tensor.shape) for key, tensor in toy.tensors().items()}
    names = [layer.name for layer in toy.layers]
    held = names[: names.index(until) + 1]
    shapes = {key: shape for key, shape in shapes.items() if key.split(".")[0] in held}
    assert shown(build(toy.architecture, shapes), cat).predictions is None


# Order of channels


def test_a_blue_first_network_draws_its_projections_red_first(
    toy: Network, cat: Image.Image
) -> None:
    straight = replace(toy.preprocessing, mean=(0.5,) * 3, std=(0.2,) * 3)
    turned = replace(straight, channel_order="BGR")
    red_first, blue_first = (build(toy.architecture, preprocessing=p) for p in (straight, turned))
    tensors = dict(toy.tensors())
    red_first.assign_tensors(tensors)
    blue_first.assign_tensors(tensors | {"conv1.weight": tensors["conv1.weight"].flip(1)})
    one, other = shown(red_first, cat, top=2), shown(blue_first, cat, top=2)
    assert features_of(one) == features_of(other)
    for a, b, there, back in zip(
        one.projections, other.projections, one.reconstructions, other.reconstructions, strict=True
    ):
        assert furthest([there.values], [back.values[::-1].copy()]) < 1e-5
        assert np.abs(np.asarray(a.picture, int) - np.asarray(b.picture, int)).max() <= 1
        assert np.array_equal(np.asarray(a.patch), np.asarray(b.patch))


def test_a_grey_network_draws_in_grey(cat: Image.Image, toy: Network) -> None:
    grey = Preprocessing(size=32, resize=36, channel_order="L", mean=(0.1,), std=(0.3,))
    view = shown(build(toy.architecture, preprocessing=grey), cat, layer="conv1", top=1)
    (each,) = view.projections
    assert each.picture is not None and each.patch.mode == "RGB"
    assert view.reconstructions[0].values.shape[0] == view.channels == 1
    assert np.ptp(np.asarray(each.picture, int), axis=2).max() == 0


def test_a_box_of_the_input_is_found_on_the_photo(toy: Network, cat: Image.Image) -> None:
    view = shown(toy, cat, layer="conv1", top=1)
    place, field = view.frame, view.projections[0].receptive_field
    on_photo = place.to_photo(field)
    assert Box(0, 0, 0, 0) <= on_photo and on_photo.right <= cat.width
    wide = (on_photo.right - on_photo.left) * place.scale_x
    assert wide == pytest.approx(field.right - field.left)
