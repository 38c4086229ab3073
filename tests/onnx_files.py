"""ONNX files as exporters write them, small enough for a test."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor

from models.networks.architecture import Architecture, Dense, Filters, Norm, Normalization, Pooling
from models.networks.build import in_order
from models.networks.catalogue import architecture

Form = Literal["caffe2", "keras", "pytorch"]
ZOO = Normalization("norm-pool", 5, 1e-4, 0.75, 1.0)
"""Local response normalisation as Caffe's AlexNet has it; its CaffeNet pools first."""


class Graph:
    """A chain of nodes, to which tests add and from which they take."""

    def __init__(self, size: tuple[int | str, ...], producer: str) -> None:
        self.value, self.producer, self.size = "data", producer, size
        self.nodes: list[Any] = []
        self.tensors: dict[str, NDArray[Any]] = {}

    def add(self, kind: str, *tensors: NDArray[Any], **attributes: Any) -> None:
        """Add an operation with its own tensors on what the last one gives."""
        number = len(self.nodes)
        names = [f"t{number}_{place}" for place in range(len(tensors))]
        self.tensors |= dict(zip(names, tensors, strict=True))
        output = f"v{number}"
        self.nodes.append(helper.make_node(kind, [self.value, *names], [output], **attributes))
        self.value = output

    def model(self) -> Any:
        """Make the model of all that was added."""
        data = helper.make_tensor_value_info("data", TensorProto.FLOAT, list(self.size))
        last = helper.make_tensor_value_info(self.value, TensorProto.FLOAT, None)
        held = [numpy_helper.from_array(each, name) for name, each in self.tensors.items()]
        graph = helper.make_graph(self.nodes, "net", [data], [last], held)
        opset = [helper.make_opsetid("", 13)]
        return helper.make_model(
            graph, producer_name=self.producer, opset_imports=opset, ir_version=8
        )

    def save(self, path: Path) -> Path:
        """Write the model into a file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        onnx.save(self.model(), path)
        return path


def graph_of(
    name: str,
    tensors: Mapping[str, Tensor],
    form: Form = "caffe2",
    *,
    norm: Normalization | None = None,
    side: int = 224,
) -> Graph:
    """Write an architecture as Caffe2 wrote the model zoo's, or as tf2onnx or PyTorch do."""
    paper = architecture(name)
    channels = paper.preprocessing.channels
    keras = form == "keras"
    size = ("N", side, side, channels) if keras else (1, channels, side, side)
    graph = Graph(size, {"caffe2": "onnx-caffe2", "keras": "tf2onnx"}.get(form, form))
    if keras:
        graph.add("Transpose", perm=[0, 3, 1, 2])
    arrays = {key: tensor.numpy() for key, tensor in tensors.items()}
    flat = False
    for row in in_order(paper.rows, norm):
        if isinstance(row, Dense):
            if f"{row.name}.weight" in arrays:
                _add_dense(graph, row, paper, arrays, form, flat=flat)
                flat = True
        elif isinstance(row, Filters):
            channels, side = _add_filters(graph, row, paper, arrays, channels, side)
        elif isinstance(row, Pooling):
            side = _add_pool(graph, row, form, side)
        elif isinstance(row, Norm):
            assert norm is not None
            said = {"size": norm.size, "alpha": norm.alpha, "beta": norm.beta, "bias": norm.k}
            graph.add("LRN", **said)
    return graph


def _add_filters(
    graph: Graph,
    row: Filters,
    paper: Architecture,
    arrays: Mapping[str, NDArray[Any]],
    channels: int,
    side: int,
) -> tuple[int, int]:
    weight, bias = arrays[f"{row.name}.weight"], arrays[f"{row.name}.bias"]
    graph.add(
        "Conv",
        weight,
        bias,
        kernel_shape=[row.kernel] * 2,
        strides=[row.stride] * 2,
        pads=[row.padding] * 4,
        group=channels // weight.shape[1],
    )
    if paper.batch_norm:
        keys = ("weight", "bias", "running_mean", "running_var")
        graph.add("BatchNormalization", *(arrays[f"{row.name}.bn.{key}"] for key in keys))
    graph.add("Sigmoid" if paper.name == "lenet5" else "Relu")
    return len(weight), (side + 2 * row.padding - row.kernel) // row.stride + 1


def _add_pool(graph: Graph, row: Pooling, form: Form, side: int) -> int:
    """Add a pool; Caffe2 wrote ceil mode as a margin that the last window needs."""
    short = -(side - row.kernel) % row.stride if row.ceil_mode else 0
    told: dict[str, Any] = {"kernel_shape": [row.kernel] * 2, "strides": [row.stride] * 2}
    if form == "caffe2":
        told["pads"] = [0, 0, short, short]
    elif row.ceil_mode:
        told["ceil_mode"] = 1
    graph.add("AveragePool" if row.average else "MaxPool", **told)
    return (side + short - row.kernel) // row.stride + 1


def _add_dense(
    graph: Graph,
    row: Dense,
    paper: Architecture,
    arrays: Mapping[str, NDArray[Any]],
    form: Form,
    *,
    flat: bool,
) -> None:
    weight, bias = arrays[f"{row.name}.weight"], arrays[f"{row.name}.bias"]
    if flat:
        graph.add("Sigmoid" if paper.name == "lenet5" else "Relu")
        if form != "keras":
            graph.add("Dropout")
    elif form == "keras":
        side = 5 if paper.name == "lenet5" else 7 if paper.name.startswith("vgg") else 6
        cells = weight.reshape(len(weight), -1, side, side)
        weight = cells.transpose(0, 2, 3, 1).reshape(len(weight), -1)
        graph.add("Transpose", perm=[0, 2, 3, 1])
        graph.add("Reshape", np.array([-1, weight.shape[1]]))
    elif form == "caffe2":
        graph.add("Reshape", np.array([1, weight.shape[1]]))
    else:
        graph.add("Flatten", axis=1)
    if form == "keras":
        graph.add("MatMul", np.ascontiguousarray(weight.T))
        graph.add("Add", bias)
    else:
        graph.add("Gemm", weight, bias, transB=1)
    if row is paper.rows[-1]:
        graph.add("Softmax", axis=1)
