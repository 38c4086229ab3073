"""The engine against formulas that are not its own: autograd with the rules, and Captum."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from captum.attr import NeuronDeconvolution, NeuronGradient, NeuronGuidedBackprop
from torch import Tensor, nn

from models.errors import InvalidChoice, UnknownLayer
from models.networks.architecture import Normalization
from models.networks.network import Network
from models.projection import walk
from models.projection.record import Record, activations, record
from models.projection.selection import Unit
from models.projection.walk import project, project_maps
from tests.oracles import (
    DEVICES,
    METHODS,
    Autograd,
    furthest,
    no_gpu,
    noise,
    passing,
    plain,
    probes,
    seed_of,
    slim,
)
from tests.refusals import refused

FAMILIES: dict[str, dict[str, Any]] = {
    "lenet5": {},
    "alexnet": {},
    "alexnet2012": {},
    "alexnet2012 grouped, norm then pool": {
        "groups": 2,
        "norm": Normalization("norm-pool", alpha=0.5, k=1.0),
    },
    "zfnet": {},
    "vgg11": {},
    "vgg11_bn": {},
    "vgg16c": {},
}
"""Every family; where constants matter, also with a normalisation that is felt."""

ODD = {"lenet5": (37, 30), "alexnet": (201, 233), "alexnet2012": (231, 215), "zfnet": (201, 234)}
ODD_VGG = (67, 78)
CASES = [
    *((family, "odd") for family in FAMILIES),
    *((family, "native") for family in FAMILIES if family not in ("alexnet2012", "vgg16c")),
]
EXACT = 1e-12

pytestmark = pytest.mark.usefixtures("one_thread")

CAPTUM = {
    "deconvnet": NeuronDeconvolution,
    "guided": NeuronGuidedBackprop,
    "gradient": NeuronGradient,
}


def made(family: str) -> Network:
    return slim(family.split()[0], **FAMILIES[family])


def size_of(network: Network, size: str) -> tuple[int, int]:
    if size == "native":
        # a VGG's weights fit every size; 96 has all its layers and costs a fifth of 224
        return (96, 96) if network.name.startswith("vgg") else network.input_size[1:]
    return ODD.get(network.name, ODD_VGG)


@pytest.fixture(scope="module", params=CASES, ids=lambda case: f"{case[0]}, {case[1]}")
def seen(request: pytest.FixtureRequest) -> Record:
    """Return the record of a random picture, for every family at its native and an odd size."""
    network = made(request.param[0])
    names = [layer.name for layer in network.layers]
    return record(network, noise(network, *size_of(network, request.param[1])), keep=names)


def layers_of(seen: Record) -> Iterator[tuple[str, Any]]:
    for layer, sizes in seen.network.sizes(seen.size):
        yield layer.name, sizes[-1]


def canvases(seen: Record, layer: str, units: list[Unit], method: str, **how: Any) -> list[Tensor]:
    arrived = project(seen, layer, units, method, **how)
    return [torch.from_numpy(each.canvas(seen.size)) for each in arrived]


@pytest.mark.parametrize("method", METHODS)
def test_units_of_every_layer_project_as_autograd_with_the_rule(seen: Record, method: str) -> None:
    oracle = Autograd(seen.network, seen.pixels, method, len(seen.maxima))
    for layer, size in layers_of(seen):
        units = probes(seen, layer)
        expected = [oracle.project(layer, seed_of(unit, size)) for unit in units]
        assert furthest(canvases(seen, layer, units, method), expected) < EXACT, layer


@pytest.mark.parametrize("method", METHODS)
def test_whole_maps_of_every_layer_project_as_autograd_with_the_rule(
    seen: Record, method: str
) -> None:
    oracle = Autograd(seen.network, seen.pixels, method, len(seen.maxima))
    for layer, size in layers_of(seen):
        features = [0, size.channels - 1]
        expected = []
        for feature in features:
            seed = torch.zeros(1, *size, dtype=torch.float64)
            seed[0, feature] = oracle.maps[layer].reshape(1, *size)[0, feature].detach()
            expected.append(oracle.project(layer, seed))
        arrived = project_maps(seen, layer, features, method)
        assert furthest([each.canvas(seen.size) for each in arrived], expected) < EXACT, layer


@pytest.mark.parametrize("method", METHODS)
def test_units_of_every_layer_project_as_captum_times_the_activation(
    seen: Record, method: str
) -> None:
    for layer, size in layers_of(seen):
        units = [unit for unit in probes(seen, layer)[::4] if unit.activation > 0]
        expected = [unit.activation * attributed(seen, layer, unit, size, method) for unit in units]
        if units:
            assert furthest(canvases(seen, layer, units, method), expected) < EXACT, layer


def attributed(seen: Record, layer: str, unit: Unit, size: Any, method: str) -> Tensor:
    """Ask Captum; it knows no rule for normalisation and sigmoids, so the identity is put in."""
    model = plain(seen.network, until=layer)
    if method == "deconvnet":
        model = passing(model)
    flat = seen.network.layer(layer).kind == "fc"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Captum warns of its own hooks
        result: Tensor = CAPTUM[method](model, model[-1]).attribute(
            seen.pixels.clone().requires_grad_(),
            neuron_selector=(unit.feature,) if flat else tuple(unit[:3]),
        )
    return result[0].detach()


@pytest.mark.parametrize("method", METHODS)
def test_windows_equal_the_full_frame_which_is_exactly_zero_around_them(
    seen: Record, method: str
) -> None:
    for layer, _ in layers_of(seen):
        units = probes(seen, layer)
        frames = canvases(seen, layer, units, method, windows=False)
        assert furthest(canvases(seen, layer, units, method), frames) < EXACT, layer
        for unit, frame in zip(units, frames, strict=True):
            top, left, bottom, right = map(int, field_of(seen, layer, unit))
            frame[:, top:bottom, left:right] = 0
            assert not frame.any(), (layer, unit)


def field_of(seen: Record, layer: str, unit: Unit) -> tuple[float, ...]:
    return seen.network.receptive_field(layer, (unit.y, unit.x), seen.size)


def test_a_reconstruction_covers_the_receptive_field(seen: Record) -> None:
    for layer, _ in layers_of(seen):
        units = probes(seen, layer)
        for unit, each in zip(units, project(seen, layer, units), strict=True):
            assert tuple(each.box) == tuple(field_of(seen, layer, unit)), (layer, unit)
            height, width = each.values.shape[1:]
            assert (height, width) == (
                each.box.bottom - each.box.top,
                each.box.right - each.box.left,
            )


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("family", ["alexnet", "zfnet", "vgg11_bn"])
def test_a_batch_of_several_images_projects_as_each_alone(family: str, method: str) -> None:
    network = made(family)
    pixels = noise(network, 97, 120, images=3)
    together, alone = record(network, pixels), [record(network, each[None]) for each in pixels]
    for layer, _ in layers_of(together):
        units = [unit for image in (2, 0, 1) for unit in probes(together, layer, image)[::2]]
        expected = [
            canvases(alone[unit.image], layer, [unit._replace(image=0)], method)[0]
            for unit in units
        ]
        for windows in (True, False):
            found = canvases(together, layer, units, method, windows=windows)
            assert furthest(found, expected) < EXACT, layer


@pytest.mark.parametrize("method", METHODS)
def test_a_map_of_a_later_image_projects_as_it_does_alone(method: str) -> None:
    network = made("zfnet")
    pixels = noise(network, 96, 120, images=2)
    together, alone = record(network, pixels), record(network, pixels[1:])
    for layer in ("conv2", "norm2", "conv5"):
        found = project_maps(together, layer, [0, 3], method, image=1)
        expected = project_maps(alone, layer, [0, 3], method)
        assert furthest([p.values for p in found], [p.values for p in expected]) < EXACT


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("family", ["alexnet", "lenet5"])
def test_a_negative_class_score_keeps_its_sign(family: str, method: str) -> None:
    network = made(family)
    seen = record(network, noise(network, *size_of(network, "native")))
    scores, last = seen.scores, network.last_fc
    assert scores is not None and last is not None
    worst = int(scores[0].argmin())
    unit = Unit(worst, 0, 0, float(scores[0, worst]))
    assert unit.activation < 0
    oracle = Autograd(network, seen.pixels, method, len(seen.maxima))
    expected = oracle.project(last, seed_of(unit, network.describe()[-1].shape))
    assert expected.any()
    assert furthest(canvases(seen, last, [unit], method), [expected]) < EXACT


@pytest.mark.parametrize("method", METHODS)
def test_a_signal_that_starts_below_zero_meets_the_rule_of_its_own_relu(method: str) -> None:
    network = made("zfnet")
    seen = record(network, noise(network, 96, 96))
    peak = max(probes(seen, "conv3"), key=lambda unit: unit.activation)
    found = canvases(seen, "conv3", [peak._replace(activation=-1.0)], method)[0]
    assert bool(found.any()) is (method == "gradient")


@pytest.mark.parametrize("method", METHODS)
def test_a_dead_unit_projects_to_nothing(method: str) -> None:
    network = made("vgg11")
    seen = record(network, noise(network, 64, 64))
    maps = activations(seen, "conv3_1")[0]
    feature, y, x = (int(at[0]) for at in torch.nonzero(maps == 0, as_tuple=True))
    assert not canvases(seen, "conv3_1", [Unit(feature, y, x, 0.0)], method)[0].any()


def test_a_projection_is_signed() -> None:
    network = made("zfnet")
    seen = record(network, noise(network, 96, 96))
    canvas = canvases(seen, "conv5", probes(seen, "conv5")[:1], "deconvnet")[0]
    assert canvas.min() < 0 < canvas.max()


def test_a_projection_grows_with_its_activation() -> None:
    network = made("alexnet")
    seen = record(network, noise(network, 128, 128))
    unit = max(probes(seen, "conv4"), key=lambda unit: unit.activation)
    once, twice = canvases(
        seen, "conv4", [unit, unit._replace(activation=2 * unit.activation)], "deconvnet"
    )
    assert furthest([2 * once], [twice]) < EXACT


@pytest.mark.parametrize("windows", [True, False])
def test_many_units_project_as_each_alone(windows: bool) -> None:
    network = made("zfnet")
    seen = record(network, noise(network, 100, 90))
    maps = activations(seen, "conv3")[0]
    places = [(f, y, x) for f in (0, 3) for y in range(maps.shape[1]) for x in (0, 2)]
    units = [Unit(f, y, x, float(maps[f, y, x])) for f, y, x in places]
    together = canvases(seen, "conv3", units, "gradient", windows=windows)
    alone = [canvases(seen, "conv3", [unit], "gradient", windows=windows)[0] for unit in units]
    assert furthest(together, alone) < EXACT


@pytest.mark.parametrize("method", METHODS)
def test_however_a_batch_is_parted_it_projects_the_same(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = made("alexnet2012 grouped, norm then pool")
    pixels = noise(network, 130, 150, images=2)
    seen = record(network, pixels)
    units = [unit for image in (0, 1) for unit in probes(seen, "conv5", image)]
    found = []
    for tile in (1, 2**15, 2**40):
        monkeypatch.setitem(walk.TILE_BYTES, "cpu", tile)
        maps = project_maps(seen, "conv5", [0, 2, 4], method)
        found.append(
            canvases(seen, "conv5", units, method)
            + [torch.from_numpy(each.canvas(seen.size)) for each in maps]
        )
    assert max(furthest(found[0], each) for each in found[1:]) < EXACT


def test_no_units_project_to_nothing() -> None:
    network = made("lenet5")
    seen = record(network, noise(network, 32, 32))
    assert project(seen, "c2", []) == []
    assert project_maps(seen, "c2", []) == []


@pytest.mark.parametrize("method", METHODS)
def test_float32_stays_close_to_float64(method: str) -> None:
    network = made("alexnet2012")
    pixels = noise(network, 227, 227)
    fine = record(network, pixels)
    coarse = record(made("alexnet2012").float(), pixels.float())
    units = probes(fine, "conv5")
    found = [canvas.double() for canvas in canvases(coarse, "conv5", units, method)]
    assert furthest(found, canvases(fine, "conv5", units, method)) < 1e-4


def test_the_record_keeps_the_maxima_of_every_layer() -> None:
    network = made("zfnet")
    seen = record(network, noise(network, 224, 224, images=2))
    for layer, size in layers_of(seen):
        maps, maxima = activations(seen, layer), seen.maxima[layer]
        flat = maps.flatten(2).argmax(2)
        assert torch.equal(maxima.values, maps.amax((2, 3)))
        assert torch.equal(maxima.rows * size.width + maxima.columns, flat), layer


def test_kept_activations_are_those_computed_again() -> None:
    network = made("vgg11")
    pixels = noise(network, 64, 64)
    kept = record(network, pixels, keep=("conv2_1", "pool3"))
    assert set(kept.kept) == {"conv2_1", "pool3"}
    for layer, maps in kept.kept.items():
        assert torch.equal(maps, activations(record(network, pixels), layer))


def test_an_odd_input_stops_before_layers_that_were_made_for_another() -> None:
    network = made("zfnet")
    seen = record(network, noise(network, 150, 170))
    assert "pool5" in seen.maxima and "fc6" not in seen.maxima
    assert seen.scores is None
    with refused(UnknownLayer, match="zfnet has fc6 only for inputs of 224 x 224 pixels"):
        project(seen, "fc6", [Unit(0, 0, 0, 1.0)])


def test_an_unknown_layer_is_answered_with_those_that_there_are() -> None:
    network = made("lenet5")
    seen = record(network, noise(network, 32, 32))
    with refused(UnknownLayer, match="lenet5 has no layer 'c9'; it has c1, p1, c2, p2, fc1"):
        project(seen, "c9", [])


@pytest.mark.parametrize("place", [(16, 0, 0), (0, 10, 0), (0, 0, 10), (-1, 0, 0), (0, -1, 0)])
def test_a_unit_outside_its_layer_is_refused(place: tuple[int, int, int]) -> None:
    network = made("lenet5")
    seen = record(network, noise(network, 32, 32))
    feature, y, x = place
    size = network.describe()[2].shape
    with refused(InvalidChoice, match=f"{size.channels} maps of 10 x 10"):
        project(seen, "c2", [Unit(feature if feature != 16 else size.channels, y, x, 1.0)])


def everything(network: Network, pixels: Tensor) -> list[bytes]:
    """Record and project units and maps of a few layers, as bytes."""
    seen = record(network, pixels)
    result = []
    for layer in ("pool1", "conv2", "conv5", "fc8"):
        for method in METHODS:
            arrived = project(seen, layer, probes(seen, layer), method)
            arrived += project_maps(seen, layer, [0, 5], method)
            result += [each.canvas(seen.size).tobytes() for each in arrived]
    return result


@pytest.mark.parametrize("device", DEVICES)
def test_two_runs_and_eight_threads_give_identical_bytes(device: str) -> None:
    network = made("zfnet").float().to(device)
    pixels = noise(network, 224, 224)
    first = everything(network, pixels)
    assert everything(network, pixels) == first
    with ThreadPoolExecutor(8) as pool:
        again = list(pool.map(lambda _: everything(network, pixels), range(16)))
    assert all(each == first for each in again)


@pytest.mark.gpu
@no_gpu
@pytest.mark.parametrize("family", FAMILIES)
def test_a_gpu_projects_as_the_cpu_does(family: str) -> None:
    here, there = made(family), made(family).to("cuda")
    pixels = noise(here, *size_of(here, "native"))
    ours, theirs = record(here, pixels), record(there, pixels)
    for layer, _ in layers_of(ours):
        units = probes(ours, layer)
        for method in METHODS:
            found = [canvas.cpu() for canvas in canvases(theirs, layer, units, method)]
            assert furthest(found, canvases(ours, layer, units, method)) < 1e-9, layer


def trace_of(network: nn.Module) -> list[Any]:
    """List every attribute of every module, each by identity, and every hook."""
    return [
        (name, key, sorted(value or ()) if "hook" in key else id(value))
        for name, module in network.named_modules()
        for key, value in sorted(vars(module).items())
    ]


def test_nothing_is_left_on_any_module() -> None:
    network = made("vgg11_bn")
    pixels = noise(network, 64, 64)
    before, tensors = trace_of(network), {k: v.clone() for k, v in network.state_dict().items()}
    seen = record(network, pixels)
    for method in METHODS:
        project(seen, "conv5_1", probes(seen, "conv5_1"), method)
        project(seen, "fc8", probes(seen, "fc8"), method, windows=False)
        project_maps(seen, "conv4_2", [0, 1], method)
    assert trace_of(network) == before
    assert not any("hook" in key and value for _, key, value in before)
    assert all(torch.equal(tensors[k], v) for k, v in network.state_dict().items())


def test_nothing_that_is_projected_needs_a_gradient() -> None:
    network = made("alexnet").requires_grad_(requires_grad=True)
    seen = record(network, noise(network, 128, 128), keep=("conv3",))
    (arrived,) = project(seen, "conv3", probes(seen, "conv3")[:1], "gradient")
    assert isinstance(arrived.values, np.ndarray)
    assert not seen.kept["conv3"].requires_grad


def test_projecting_changes_no_record() -> None:
    network = made("zfnet")
    seen = record(network, noise(network, 96, 96), keep=("conv2",))
    pixels, kept, size = seen.pixels.clone(), seen.kept["conv2"].clone(), seen.nbytes
    first = canvases(seen, "conv5", probes(seen, "conv5"), "guided")
    project_maps(seen, "conv2", [0], "guided")
    assert torch.equal(seen.pixels, pixels) and torch.equal(seen.kept["conv2"], kept)
    assert seen.nbytes == size
    assert all(map(torch.equal, first, canvases(seen, "conv5", probes(seen, "conv5"), "guided")))
