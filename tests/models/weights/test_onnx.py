"""ONNX graphs, as exporters write them, matched with the papers' rows; nothing in them is run."""

import contextlib
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from torch import Tensor

import models
from models.networks.architecture import Normalization
from models.networks.catalogue import architecture
from models.networks.network import Network
from models.weights.assembly import assemble
from models.weights.files import read
from models.weights.onnx import compare_onnx, read_initializers
from tests.onnx_files import ZOO, Form, graph_of
from tests.refusals import refused
from tests.weight_files import own

pytestmark = pytest.mark.usefixtures("one_thread")
ZF = Normalization("norm-pool", 3, 5e-5, 0.75, 1.0)
CAFFENET = Normalization("pool-norm", 5, 1e-4, 0.75, 1.0)


def opened(file: Path, name: str) -> Network:
    return assemble(read(file, architecture(name)), architecture(name), "yours")


def in_groups(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Halve what the maps of Caffe's AlexNets read, as their two columns do."""
    halved = {"conv2.weight", "conv4.weight", "conv5.weight"}
    return {k: t[:, : t.shape[1] // 2] if k in halved else t for k, t in tensors.items()}


FILES: dict[str, tuple[str, Form, Normalization | None, int]] = {
    "the zoo's vgg16": ("vgg16", "caffe2", None, 224),
    "the zoo's vgg19": ("vgg19", "caffe2", None, 224),
    "the zoo's bvlcalexnet": ("alexnet2012", "caffe2", ZOO, 224),
    "the zoo's caffenet": ("alexnet2012", "caffe2", CAFFENET, 224),
    "the zoo's zfnet512": ("zfnet_b", "caffe2", ZF, 224),
    "Keras' VGG16": ("vgg16", "keras", None, 224),
    "PyTorch's vgg11_bn": ("vgg11_bn", "pytorch", None, 224),
    "PyTorch's zfnet": ("zfnet", "pytorch", Normalization(), 224),
    "LeNet-5 with sigmoids": ("lenet5", "pytorch", None, 32),
}


@pytest.mark.parametrize("form", FILES)
def test_a_graph_gives_tensors_constants_and_scores(
    tmp_path: Path, cat: Image.Image, form: str
) -> None:
    name, written_by, norm, side = FILES[form]
    tensors = own(name)
    if name == "alexnet2012":
        tensors = in_groups(tensors)
    graph = graph_of(name, tensors, written_by, norm=norm, side=side)
    network = opened(graph.save(tmp_path / "net.onnx"), name)
    held = network.tensors()
    assert held.keys() == tensors.keys()
    for key, tensor in tensors.items():
        torch.testing.assert_close(held[key], tensor, rtol=1e-6, atol=1e-6)
    assert network.provenance.norm == norm and network.preprocessing.size == side
    found = compare_onnx(tmp_path / "net.onnx", network, cat)
    assert found is not None and found.layer == network.last_fc and found.difference < 1e-5


def test_who_wrote_the_file_says_how_photos_are_shown(tmp_path: Path) -> None:
    written: list[tuple[str, Form, Normalization | None, float]] = [
        ("vgg11", "caffe2", None, 103.939),
        ("alexnet2012", "caffe2", ZOO, 104.0),
        ("vgg11", "keras", None, 103.939),
        ("vgg11", "pytorch", None, 0.485),
    ]
    for name, form, norm, mean in written:
        file = graph_of(name, own(name), form, norm=norm).save(tmp_path / f"{form}.onnx")
        preprocessing = opened(file, name).preprocessing
        assert preprocessing.mean[0] == mean
        assert preprocessing.channel_order == ("RGB" if mean < 1 else "BGR")


def test_keras_rows_columns_and_channels_become_channels_rows_and_columns(tmp_path: Path) -> None:
    tensors = own("vgg11")
    # a kernel whose every weight is its own place in Keras' order: (row * 7 + column) * 4 + channel
    places = torch.arange(7 * 7 * 4, dtype=torch.float32)
    graph = graph_of("vgg11", tensors, "keras")
    (kernel,) = (key for key, each in graph.tensors.items() if each.shape == (196, 6))
    graph.tensors[kernel] = np.repeat(places.numpy()[:, None], 6, axis=1)
    held = opened(graph.save(tmp_path / "net.onnx"), "vgg11").tensors()["fc6.weight"]
    channel, row, column = 3, 5, 2
    assert held[0, channel * 49 + row * 7 + column] == (row * 7 + column) * 4 + channel


def test_a_trunk_without_a_classifier_is_welcome(tmp_path: Path, cat: Image.Image) -> None:
    graph = graph_of("vgg11", own("vgg11", head=False), "keras", side=64)
    graph.add("Transpose", perm=[0, 2, 3, 1])
    file = graph.save(tmp_path / "net.onnx")
    network = opened(file, "vgg11")
    assert network.layers[-1].name == "pool5" and network.preprocessing.size == 64
    found = compare_onnx(file, network, cat)
    assert found is not None and found.layer == "pool5" and found.difference < 1e-5


def test_a_classifier_of_another_kind_is_left_out_and_that_is_said(
    tmp_path: Path, cat: Image.Image
) -> None:
    graph = graph_of("vgg11", own("vgg11", head=False), side=64)
    graph.add("Reshape", np.array([1, 16]))
    graph.add("Gemm", np.ones((5, 16), np.float32), transB=1)
    graph.add("Mul", np.ones(5, np.float32))
    graph.add("Gemm", np.ones((2, 5), np.float32), transB=1)
    file = graph.save(tmp_path / "net.onnx")
    network = opened(file, "vgg11")
    assert network.layers[-1].name == "pool5"
    assert network.provenance.description == "imported from net.onnx, without its classifier"
    found = compare_onnx(file, network, cat)
    assert found is not None and found.difference < 1e-5


def test_a_classifier_on_averaged_maps_is_read(tmp_path: Path, cat: Image.Image) -> None:
    graph = graph_of("vgg11", own("vgg11", head=False))
    graph.add("GlobalAveragePool")
    graph.add("Flatten")
    graph.add("Gemm", np.arange(12, dtype=np.float32).reshape(3, 4), transB=1)
    file = graph.save(tmp_path / "net.onnx")
    network = opened(file, "vgg11")
    assert [layer.name for layer in network.layers][-2:] == ["pool5", "fc8"]
    assert torch.equal(network.tensors()["fc8.bias"], torch.zeros(3))
    found = compare_onnx(file, network, cat)
    assert found is not None and found.layer == "fc8" and found.difference < 1e-5


def test_a_bias_may_stand_in_an_addition_of_its_own(tmp_path: Path) -> None:
    graph = graph_of("vgg11", own("vgg11", head=False))
    for at in range(2):  # the first with the bias apart, the second without any
        conv = next(node for node in graph.nodes if node.op_type == "Conv" and len(node.input) == 3)
        bias = conv.input.pop()
        if at == 0:
            where = graph.nodes.index(conv)
            graph.nodes.insert(where + 1, helper.make_node("Add", ["apart", bias], conv.output))
            graph.tensors[bias] = graph.tensors[bias].reshape(1, -1, 1, 1)
            conv.output[0] = "apart"
        else:
            del graph.tensors[bias]
    held = opened(graph.save(tmp_path / "net.onnx"), "vgg11").tensors()
    assert torch.equal(held["conv1_1.bias"], own("vgg11")["conv1_1.bias"])
    assert torch.equal(held["conv2_1.bias"], torch.zeros(4))


def test_a_reshape_to_what_the_graph_computes_of_shapes_is_read(tmp_path: Path) -> None:
    graph = graph_of("vgg11", own("vgg11", head=False))
    graph.nodes.append(helper.make_node("Shape", [graph.value], ["shape"]))
    graph.tensors |= {"zero": np.array([0]), "rest": np.array([-1])}
    graph.nodes.append(helper.make_node("Gather", ["shape", "zero"], ["count"]))
    graph.nodes.append(helper.make_node("Concat", ["count", "rest"], ["target"], axis=0))
    graph.nodes.append(helper.make_node("Reshape", [graph.value, "target"], ["flat"]))
    graph.value = "flat"
    graph.add("Gemm", np.ones((3, 196), np.float32), transB=1)
    assert opened(graph.save(tmp_path / "net.onnx"), "vgg11").last_fc == "fc8"


def test_initialisers_are_read_by_their_names(tmp_path: Path) -> None:
    graph = graph_of("vgg11", own("vgg11"), "keras")
    found = read_initializers(graph.save(tmp_path / "net.onnx"))
    floats = {name for name, each in graph.tensors.items() if each.dtype == np.float32}
    assert found.keys() == floats
    assert np.array_equal(found["t1_0"].numpy(), graph.tensors["t1_0"])


# what is refused


def attribute(kind: str, name: str, value: Any, at: int = 0) -> Any:
    def change(model: Any) -> None:
        node = [node for node in model.graph.node if node.op_type == kind][at]
        for each in [each for each in node.attribute if each.name == name]:
            node.attribute.remove(each)
        node.attribute.append(helper.make_attribute(name, value))

    return change


def initializer(change: Any) -> Any:
    return lambda model: change(model.graph.initializer[0])


def replaced(**arrays: Any) -> Any:
    def change(model: Any) -> None:
        for each in model.graph.initializer:
            if each.name in arrays:
                each.CopyFrom(numpy_helper.from_array(arrays[each.name], each.name))

    return change


def outside(tensor: Any) -> None:
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")


def surplus(model: Any) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.ones(3, np.float32), "more"))


def branch(model: Any) -> None:
    model.graph.node.append(helper.make_node("Relu", ["v2"], ["elsewhere"]))


def unreached(model: Any) -> None:
    model.graph.node.append(helper.make_node("RandomNormal", [], ["noise"], shape=[1]))


def third_convolution(model: Any) -> None:
    weight = numpy_helper.from_array(np.ones((4, 4, 3, 3), np.float32), "w")
    model.graph.initializer.append(weight)
    model.graph.node.insert(2, helper.make_node("Conv", ["v1", "w"], ["more"], pads=[1] * 4))
    model.graph.node[3].input[0] = "more"


def cut(model: Any) -> None:
    del model.graph.node[1:]
    del model.graph.initializer[2:]


def two_inputs(model: Any) -> None:
    model.graph.input.append(helper.make_tensor_value_info("more", TensorProto.FLOAT, [1]))


def many_nodes(model: Any) -> None:
    model.doc_string = "x" * 2**23


NAN = np.full((4, 3, 3, 3), np.nan, np.float32)
REFUSED: dict[str, tuple[Any, str]] = {
    "another stride": (attribute("Conv", "strides", [2, 2]), r"conv1_1, vgg11 has stride \(1, 1\)"),
    "another margin": (attribute("Conv", "pads", [0, 0, 0, 0]), "padding"),
    "a dilation": (attribute("Conv", "dilations", [2, 2]), "dilation"),
    "groups that do not fit": (attribute("Conv", "group", 2), "channels 3, not 6"),
    "another pool": (attribute("MaxPool", "kernel_shape", [3, 3]), r"pool1, vgg11 has kernel"),
    "a pool with a margin": (attribute("MaxPool", "pads", [1, 1, 1, 1]), "padding"),
    "an attribute of another type": (attribute("Conv", "strides", "two"), "'strides' is not"),
    "three strides": (attribute("Conv", "strides", [1, 1, 1]), "'strides' is not"),
    "data in another file": (initializer(outside), "lies in another file"),
    "NaN": (replaced(t0_0=NAN), "conv1_1.weight holds NaN"),
    "another shape": (replaced(t0_0=np.ones((4, 3, 3), np.float32)), "dimensions"),
    "another kernel": (replaced(t0_0=np.ones((4, 3, 5, 5), np.float32)), "kernel"),
    "a bias of another length": (replaced(t0_1=np.ones(9, np.float32)), r"conv1_1.bias is \(9,\)"),
    "numbers that are missing": (initializer(lambda t: t.dims.append(7)), "claims more numbers"),
    "a tensor that nothing uses": (surplus, "holds more, which none"),
    "a branch": (branch, "parts at"),
    "an operation beside the chain": (unreached, "RandomNormal"),
    "one convolution more": (third_convolution, "vgg11 has MaxPool, not Conv"),
    "an end before the nonlinearity": (cut, "ends at conv1_1, before the Relu"),
    "two inputs": (two_inputs, "parts at its inputs"),
    "structure beyond measure": (many_nodes, "8 MB of structure"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_no_whole_network_is_refused(tmp_path: Path, what: str) -> None:
    change, said = REFUSED[what]
    model = graph_of("vgg11", own("vgg11")).model()
    change(model)
    (tmp_path / "net.onnx").write_bytes(model.SerializeToString())
    with refused(models.WeightsInvalid, match=said):
        opened(tmp_path / "net.onnx", "vgg11")


def test_another_network_is_refused_where_it_differs(tmp_path: Path) -> None:
    file = graph_of("vgg13", own("vgg13")).save(tmp_path / "net.onnx")
    with refused(models.WeightsInvalid, match="at pool1, vgg11 has MaxPool, not Conv"):
        opened(file, "vgg11")
    with refused(models.WeightsInvalid, match="at conv1, zfnet has kernel"):
        opened(file, "zfnet")


@pytest.mark.parametrize("what", [b"", b"no model", b"\x08\x08", b"\xff" * 64])
def test_a_file_that_is_no_onnx_is_refused(tmp_path: Path, what: bytes) -> None:
    (tmp_path / "net.onnx").write_bytes(what)
    with refused(models.WeightsInvalid, match="is no whole ONNX file"):
        opened(tmp_path / "net.onnx", "vgg11")


def test_a_file_larger_than_any_network_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "net.onnx").open("wb") as file:
        file.truncate(2**30 + 1)
    with refused(models.WeightsInvalid, match="the most that is read"):
        opened(tmp_path / "net.onnx", "vgg11")


SMALL = graph_of("lenet5", own("lenet5"), "pytorch", side=32).model().SerializeToString()


@settings(max_examples=150, deadline=None)
@given(at=st.integers(0, len(SMALL) - 1), byte=st.integers(0, 255), end=st.booleans())
def test_a_changed_or_cut_file_is_a_network_or_a_refusal(at: int, byte: int, end: bool) -> None:
    content = SMALL[:at] if end else SMALL[:at] + bytes([byte]) + SMALL[at + 1 :]
    with TemporaryDirectory() as folder:
        file = Path(folder) / "net.onnx"
        file.write_bytes(content)
        with contextlib.suppress(models.WeightsInvalid):
            assert opened(file, "lenet5").last_conv in {"c1", "c2"}


def test_a_missing_library_is_said_with_the_command_that_brings_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = graph_of("lenet5", own("lenet5"), "pytorch", side=32).save(tmp_path / "net.onnx")
    monkeypatch.setitem(sys.modules, "onnx", None)
    with refused(models.WeightsInvalid, match="pip install onnx"):
        opened(file, "lenet5")
