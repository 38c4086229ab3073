"""Caffe's models of AlexNet, CaffeNet, ZFNet and the VGGs, and files that are something else."""

import random
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import models
from models.networks.architecture import Normalization
from models.networks.catalogue import architecture
from models.weights.assembly import assemble
from models.weights.files import read
from models.weights.imports import import_weights
from models.weights.sources import Sources, load
from tests.caffe_files import Layer, Net, long, net_of, real, whole
from tests.refusals import refused
from tests.weight_files import own

BVLC = Normalization("norm-pool", 5, 1e-4, 0.75, 1.0)
CAFFENET = Normalization("pool-norm", 5, 1e-4, 0.75, 1.0)
CASES = {
    "AlexNet": ("alexnet2012", BVLC, 2),
    "CaffeNet": ("alexnet2012", CAFFENET, 2),
    "ZFNet": ("zfnet", Normalization("norm-pool", 3, 5e-5, 0.75, 1.0), 1),
    "VGG-16": ("vgg16", None, 1),
    "VGG-19": ("vgg19", None, 1),
}
FORMS = pytest.mark.parametrize("first", [False, True], ids=["current", "first"])


@pytest.fixture
def sources(tmp_path: Path) -> Sources:
    return Sources(tmp_path / "weights", tmp_path / "cache", offline=True)


def made(name: str, groups: int = 1, *, head: bool = True) -> dict[str, Tensor]:
    """Make narrow weights, some layers of which read half of the maps below."""
    tensors = own(name, head=head)
    for layer in ("conv2", "conv4", "conv5"):
        if groups > 1:
            tensors[f"{layer}.weight"] = tensors[f"{layer}.weight"][:, : 4 // groups].contiguous()
    return tensors


STEPS = {
    "AlexNet": "1 norm pool 2 norm pool 3 4 5 pool",
    "CaffeNet": "1 pool norm 2 pool norm 3 4 5 pool",
    "ZFNet": "1 norm pool 2 norm pool 3 4 5 pool",
    "VGG-16": "1_1 1_2 pool 2_1 2_2 pool 3_1 3_2 3_3 pool 4_1 4_2 4_3 pool 5_1 5_2 5_3 pool",
    "VGG-19": "1_1 1_2 pool 2_1 2_2 pool 3_1 3_2 3_3 3_4 pool 4_1 4_2 4_3 4_4 pool "
    "5_1 5_2 5_3 5_4 pool",
}
ALEXNET, ZFNET = ({"1": (4, 0), "2": (1, 2)}, {"1": (2, 1), "2": (2, 0)})
WINDOWS = {"AlexNet": ALEXNET, "CaffeNet": ALEXNET, "ZFNet": ZFNET}
"""Strides and margins that are not 1."""


def computed(case: str, tensors: dict[str, Tensor], x: Tensor) -> Tensor:
    """Compute what Caffe does with these weights, step by step as its prototxt has them."""
    _, norm, groups = CASES[case]
    kernel, stride = (2, 2) if case.startswith("VGG") else (3, 2)
    for step in STEPS[case].split():
        if step == "norm":
            assert norm is not None
            x = F.local_response_norm(x, norm.size, norm.alpha, norm.beta, norm.k)
        elif step == "pool":
            x = F.max_pool2d(x, kernel, stride, ceil_mode=True)
        else:
            stride_, margin = WINDOWS.get(case, {}).get(step, (1, 1))
            weight, bias = (tensors[f"conv{step}.{part}"] for part in ("weight", "bias"))
            grouped = groups if step in {"2", "4", "5"} else 1
            x = F.conv2d(x, weight, bias, stride_, margin, groups=grouped).relu()
    x = x.flatten(1)
    for layer in ("fc6", "fc7", "fc8"):
        x = F.linear(x, tensors[f"{layer}.weight"], tensors[f"{layer}.bias"])
        x = x if layer == "fc8" else x.relu()
    return x


def opened(file: Path, name: str) -> models.Network:
    kind = architecture(name)
    return assemble(read(file, kind), kind, "yours")


@FORMS
@pytest.mark.parametrize("case", CASES)
def test_a_model_of_caffes_computes_what_caffe_computes(
    tmp_path: Path, case: str, first: bool
) -> None:
    name, norm, groups = CASES[case]
    tensors = made(name, groups)
    network = opened(
        net_of(name, tensors, norm, groups).save(tmp_path / "net.caffemodel", first=first), name
    )
    assert network.provenance.norm == norm
    size = network.preprocessing.size
    pixels = torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(1)) * 50
    with torch.inference_mode():
        found, expected = network(pixels).flatten(1), computed(case, tensors, pixels)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_photos_are_shown_as_caffe_shows_them(tmp_path: Path) -> None:
    for name, means in (("alexnet2012", (104, 117, 123)), ("vgg16", (103.939, 116.779, 123.68))):
        file = net_of(name, made(name)).save(tmp_path / "net.caffemodel")
        found = opened(file, name).preprocessing
        assert (found.channel_order, found.scale, found.mean) == ("BGR", 1.0, means)
        assert found.std == (1, 1, 1)


@FORMS
def test_what_the_data_layer_says_wins(tmp_path: Path, first: bool) -> None:
    net = net_of("vgg16", made("vgg16", head=False))
    means = b"".join(real(5, value) for value in (10.0, 20.0, 30.0))
    net.at("data").settings = real(1, 0.5) + whole(3, 192) + means
    found = opened(net.save(tmp_path / "net.caffemodel", first=first), "vgg16").preprocessing
    assert (found.size, found.scale, found.mean) == (192, 0.5, (5, 10, 15))
    net.at("data").settings = real(5, 40.0)
    found = opened(net.save(tmp_path / "net.caffemodel", first=first), "vgg16").preprocessing
    assert (found.size, found.mean) == (224, (40, 40, 40))


@FORMS
def test_what_training_leaves_beside_the_layers_is_passed_over(tmp_path: Path, first: bool) -> None:
    tensors = made("vgg16")
    net = net_of("vgg16", tensors)
    at = net.layers.index(net.at("fc8")) + 1
    net.layers[at:at] = [
        Layer("Split", "split", top="fc8_split_0"),
        Layer("Accuracy", "accuracy"),
        Layer("SoftmaxWithLoss", "loss"),
    ]
    held = opened(net.save(tmp_path / "net.caffemodel", first=first), "vgg16").tensors()
    assert all(torch.equal(held[key], tensors[key]) for key in tensors)


def test_a_matrix_that_lies_on_its_side_is_turned(tmp_path: Path) -> None:
    tensors = made("vgg16")
    net = net_of("vgg16", tensors)
    kernel, bias = net.at("fc8").arrays
    net.at("fc8").arrays, net.at("fc8").settings = (kernel.T, bias), whole(6, 1)
    held = opened(net.save(tmp_path / "net.caffemodel"), "vgg16").tensors()
    assert torch.equal(held["fc8.weight"], tensors["fc8.weight"])


def test_a_classifier_of_another_kind_is_left_out_and_said(tmp_path: Path) -> None:
    net = net_of("vgg16", made("vgg16"))
    net.at("fc7").settings = whole(5, 2)
    network = opened(net.save(tmp_path / "net.caffemodel"), "vgg16")
    assert network.layers[-1].name == "pool5"
    said = network.provenance.description
    assert said == "imported from net.caffemodel, without its classifier"


def test_double_numbers_and_a_missing_bias_are_read(tmp_path: Path) -> None:
    tensors = made("vgg16", head=False)
    net = net_of("vgg16", tensors)
    net.at("conv1_1").arrays = net.at("conv1_1").arrays[:1]
    content = net.content(first=False)
    kernel = tensors["conv1_1.weight"].numpy()
    single, double = (long(n, kernel.astype(t).tobytes()) for n, t in ((5, "<f4"), (8, "<f8")))
    assert content.count(single) == 1
    # a blob's own length goes before it: the layer is written anew
    shape = long(7, long(1, bytes(kernel.shape)))
    layer = long(1, b"conv1_1") + long(2, b"Convolution") + long(106, whole(3, 1) + whole(4, 3))
    net.layers = [each for each in net.layers if each.name not in {"data", "conv1_1"}]
    file = tmp_path / "net.caffemodel"
    file.write_bytes(long(100, layer + long(7, shape + double)) + net.content(first=False))
    held = opened(file, "vgg16").tensors()
    assert torch.equal(held["conv1_1.weight"], tensors["conv1_1.weight"])
    assert not held["conv1_1.bias"].any()


def test_a_model_is_imported_with_all_that_it_says(sources: Sources, tmp_path: Path) -> None:
    net = net_of("alexnet2012", made("alexnet2012", 2), BVLC, 2)
    import_weights(net.save(tmp_path / "bvlc.caffemodel"), "alexnet2012", sources)
    network = load("alexnet2012", sources)
    assert network.provenance.description == "imported from bvlc.caffemodel"
    assert network.provenance.norm == BVLC
    assert [layer.name for layer in network.layers][:3] == ["conv1", "norm1", "pool1"]


def test_without_its_library_the_one_command_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = net_of("vgg16", made("vgg16", head=False)).save(tmp_path / "net.caffemodel")
    monkeypatch.setitem(sys.modules, "google.protobuf.message", None)
    with refused(models.WeightsInvalid, match="install it with: pip install protobuf"):
        read(file, architecture("vgg16"))


# what is refused


def with_settings(name: str, more: bytes) -> Callable[[Net], None]:
    """Say one more thing of a layer; of fields that are said twice the last one counts."""

    def spoil(net: Net) -> None:
        net.at(name).settings += more

    return spoil


def with_kernel(values: object) -> Callable[[Net], None]:
    def spoil(net: Net) -> None:
        net.at("conv1").arrays = (np.asarray(values, np.float32), net.at("conv1").arrays[1])

    return spoil


def between(name: str, layer: Layer) -> Callable[[Net], None]:
    return lambda net: net.layers.insert(net.layers.index(net.at(name)) + 1, layer)


REFUSED: dict[str, tuple[Callable[[Net], object], str]] = {
    "another stride": (
        with_settings("conv1", whole(13, 2) + whole(14, 2)),
        r"at conv1, alexnet2012 has stride \(4, 4\), not \(2, 2\)",
    ),
    "another margin": (with_settings("conv3", whole(9, 2) + whole(10, 2)), "at conv3, .* padding"),
    "another group": (with_settings("conv2", whole(5, 2)), "at conv2, .* channels 4, not 8"),
    "a dilation": (with_settings("conv3", whole(18, 2)), "at conv3, .* dilation"),
    "an average": (with_settings("pool1", whole(1, 1)), "has MaxPool, not AveragePool"),
    "a pool by chance": (with_settings("pool1", whole(1, 2)), "not stochastic Pooling"),
    "a whole pool": (with_settings("pool5", whole(12, 1)), "has MaxPool, not GlobalMaxPool"),
    "another window": (with_settings("pool2", whole(2, 2)), "kernel|maps of side"),
    "other constants": (with_settings("norm2", real(2, 0.5)), "at norm2, .* constants"),
    "constants without end": (
        lambda net: [with_settings(name, real(2, 1e30))(net) for name in ("norm1", "norm2")],
        "its norm makes no sense: alpha is 1e.30, not 0 to 100",
    ),
    "a norm within maps": (with_settings("norm1", whole(4, 1)), "LRN|norm"),
    "a slope": (with_settings("relu3", real(1, 0.1)), "at conv3, .* has Relu, not LeakyRelu"),
    "another layer": (between("conv3", Layer("TanH", "tanh")), "at conv3, .* has Relu, not TanH"),
    "code": (between("conv3", Layer("Python", "evil")), "has Relu, not Python"),
    "two ways": (
        lambda net: setattr(net.at("conv4"), "bottom", "pool1"),
        "is no plain chain of layers: it parts at conv4",
    ),
    "another shape": (
        with_kernel(np.ones((4, 3, 5, 5))),
        r"at conv1, alexnet2012 has kernel \(11, 11\), not \(5, 5\)",
    ),
    "no dimension": (with_kernel(np.ones(4)), r"at conv1, .* (dimensions|not \(1, 4\))"),
    "NaN": (with_kernel(np.full((4, 3, 11, 11), np.nan)), r"conv1\.weight holds NaN"),
    "another bias": (
        lambda net: setattr(net.at("fc8"), "arrays", (net.at("fc8").arrays[0], np.ones(5))),
        r"fc8\.bias is \(5,\); alexnet2012 needs \(6,\)",
    ),
    "a third array": (
        lambda net: setattr(net.at("conv1"), "arrays", (*net.at("conv1").arrays, np.ones(4))),
        "at conv1, .* dimensions",
    ),
    "no arrays": (lambda net: setattr(net.at("conv1"), "arrays", ()), "at conv1, .* dimensions"),
    "a missing layer": (lambda net: net.layers.remove(net.at("conv4")), "at conv4"),
    "one layer more": (between("relu5", Layer("Pooling", "pool")), "at pool5|at conv"),
    "nothing": (lambda net: net.layers.clear(), "is no whole Caffe model"),
}


@FORMS
@pytest.mark.parametrize("trouble", REFUSED)
def test_a_model_is_refused_in_a_sentence_for(
    sources: Sources, tmp_path: Path, trouble: str, first: bool
) -> None:
    net = net_of("alexnet2012", made("alexnet2012"), BVLC)
    spoil, sentence = REFUSED[trouble]
    spoil(net)
    if first and trouble == "code":
        sentence = "has Relu, not type 0"
    with refused(models.WeightsInvalid, match=sentence):
        import_weights(net.save(tmp_path / "odd.caffemodel", first=first), "alexnet2012", sources)
    assert not sources.weights_dir.exists()


def test_one_vgg_is_not_taken_for_the_other(tmp_path: Path) -> None:
    for theirs, ours in (("vgg16", "vgg19"), ("vgg19", "vgg16")):
        file = net_of(theirs, made(theirs)).save(tmp_path / "odd.caffemodel")
        with refused(models.WeightsInvalid, match=r"at (conv3_4|pool3), "):
            opened(file, ours)


def claimed(*sizes: int) -> bytes:
    return b"".join(whole(number, size) for number, size in enumerate(sizes, 1))


ODD: dict[str, tuple[bytes, str]] = {
    "a terabyte": (
        long(2, whole(5, 4) + long(4, b"conv1") + long(6, claimed(10**6, 10**6, 1, 1))),
        "conv1 claims more numbers than the file holds",
    ),
    "a size below zero": (
        long(2, whole(5, 4) + long(4, b"conv1") + long(6, claimed(2**64 - 1) + long(5, bytes(4)))),
        "conv1 claims more numbers than the file holds",
    ),
    "a part of a number": (
        long(2, whole(5, 4) + long(4, b"conv1") + long(6, claimed(1, 1, 1, 1) + long(5, b"abc"))),
        "conv1 claims more numbers than the file holds",
    ),
    "layers without end": (long(2, b"") * 3 * 10**6, "6 MB of structure beside its tensors"),
    "blobs without end": (
        long(100, long(7, b"") * 3 * 10**6),
        "6 MB of structure beside its tensors",
    ),
    "the oldest form": (long(2, long(1, long(1, b"conv1"))), "upgrade_net_proto_binary"),
    "a web page": (b"<html><body>404</body></html>", "is no whole Caffe model"),
    "a pickle": (b"\x80\x04cposix\nsystem\n(S'touch was-run'\ntR.", "is no whole Caffe model"),
    "nothing": (b"", "is no whole Caffe model"),
    "no end": (b"\xff" * 99, "is no whole Caffe model"),
}


@pytest.mark.parametrize("trouble", ODD)
def test_what_is_no_model_is_a_sentence(tmp_path: Path, trouble: str) -> None:
    content, sentence = ODD[trouble]
    file = tmp_path / "odd.caffemodel"
    file.write_bytes(content)
    with refused(models.WeightsInvalid, match=sentence):
        opened(file, "alexnet2012")


@pytest.mark.parametrize("share", [0.001, 0.3, 0.9, 0.999])
@FORMS
def test_a_truncated_model_says_that_it_is_not_whole(
    tmp_path: Path, share: float, first: bool
) -> None:
    content = net_of("vgg16", made("vgg16")).content(first=first)
    file = tmp_path / "odd.caffemodel"
    file.write_bytes(content[: int(len(content) * share)])
    with refused(models.WeightsInvalid, match="is no whole Caffe model"):
        opened(file, "vgg16")


@given(first=st.booleans(), seed=st.integers(0, 2**32), count=st.sampled_from([1, 2, 8]))
@settings(max_examples=100, deadline=None, derandomize=True)
def test_a_model_with_other_bytes_is_a_network_or_a_sentence(
    tmp_path_factory: pytest.TempPathFactory, first: bool, seed: int, count: int
) -> None:
    content = bytearray(FUZZED[first])
    chance = random.Random(seed)
    for _ in range(count):
        content[chance.randrange(len(content))] = chance.randrange(256)
    file = tmp_path_factory.mktemp("odd") / "odd.caffemodel"
    file.write_bytes(content)
    try:
        assert opened(file, "zfnet").layers
    except models.WeightsInvalid as error:
        assert "odd.caffemodel" in str(error)


def tiny() -> Net:
    """Lay out a ZFNet of one map a layer, nearly all of whose bytes say what it is."""
    tensors = {
        key: tensor[:1, :1] if tensor.dim() == 4 else tensor[:1]
        for key, tensor in own("zfnet", head=False).items()
    }
    tensors["conv1.weight"] = own("zfnet")["conv1.weight"][:1]
    return net_of("zfnet", tensors)


FUZZED = {first: tiny().content(first=first) for first in (False, True)}
