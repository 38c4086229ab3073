"""ONNX files: tensors, and the chain of operations that they belong to; nothing is run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from models.errors import WeightsInvalid
from models.networks.architecture import Architecture
from models.networks.network import Network
from models.networks.preprocessing import framed, to_pixels
from models.weights.chain import Chain, Operation, describe_match, match
from models.weights.presets import implied
from models.weights.wire import fields

MOST_BYTES = 2**30
MOST_STRUCTURE = 2**22
"""Bytes that may be something else than tensors' numbers: a byte of it takes many in memory."""
TO_CHANNELS_FIRST = (0, 3, 1, 2)
FORMS = {
    "kernel_shape": ("INTS", 2),
    "strides": ("INTS", 2),
    "dilations": ("INTS", 2),
    "pads": ("INTS", 4),
    "perm": ("INTS", 4),
    "group": ("INT", 1),
    "ceil_mode": ("INT", 1),
    "size": ("INT", 1),
    "transA": ("INT", 1),
    "transB": ("INT", 1),
    "alpha": ("FLOAT", 1),
    "beta": ("FLOAT", 1),
    "bias": ("FLOAT", 1),
    "epsilon": ("FLOAT", 1),
    "auto_pad": ("STRING", 1),
}
"""The attributes that are read: their type, and how many numbers they have."""
FLOATS = ("FLOAT", "FLOAT16", "DOUBLE")
PRODUCERS = {"tf2onnx": "keras", "keras2onnx": "keras", "onnx-caffe2": "caffe", "caffe2": "caffe"}
"""Whose preprocessing was that of networks that came through these programs."""


@dataclass(frozen=True)
class Agreement:
    """How far a network's ``layer`` is from what onnxruntime computes of the file it came from.

    ``difference`` is the largest one, in shares of the layer's largest value.
    """

    layer: str
    difference: float


def read_onnx(path: Path, architecture: Architecture) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Match a file's graph with an architecture's rows; return tensors by our keys and metadata.

    Raises WeightsInvalid.
    """
    model = _parsed(path)
    found = match(_chain(path, model), architecture)
    shown = implied(PRODUCERS.get(model.producer_name, ""), architecture)
    return found.tensors, describe_match(path.name, found, shown)


def read_initializers(path: Path) -> dict[str, Tensor]:
    """Return the tensors of floats that a file holds, by name; its graph is not looked at."""
    return {
        each.name: _tensor(path, each)
        for each in _parsed(path).graph.initializer
        if _is_float(each)
    }


def compare_onnx(path: Path, network: Network, photo: Image.Image) -> Agreement | None:
    """Compare a network with the file that it was read from, on a photo.

    None where onnxruntime is not installed, or cannot run the file. Raises WeightsInvalid.
    """
    try:
        import onnxruntime
    except ImportError:
        return None
    model = _parsed(path)
    found = match(_chain(path, model), network.architecture)
    pixels = to_pixels(framed(photo, network.preprocessing), network.preprocessing)
    with torch.inference_mode():
        ours = network(pixels.to(network.device)).cpu().numpy()
    theirs = _run(onnxruntime, model, found.output, pixels.numpy())
    if theirs is None:
        return None
    apart = np.abs(ours.reshape(theirs.shape) - theirs).max() / np.abs(theirs).max()
    return Agreement(found.layer, float(apart))


def _run(runtime: Any, model: Any, output: str, pixels: NDArray[Any]) -> NDArray[Any] | None:
    """Run the part of a graph that was matched, on the CPU; None where that cannot be."""
    import onnx

    graph = model.graph
    (fed,) = _inputs(graph)
    last = _channels_last(graph, fed.name)
    fed.type.tensor_type.ClearField("shape")
    del graph.output[:]
    graph.output.append(onnx.helper.make_tensor_value_info(output, onnx.TensorProto.FLOAT, None))
    options = runtime.SessionOptions()
    options.log_severity_level = 4
    try:
        session = runtime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        ordered = pixels.transpose(0, 2, 3, 1) if last else pixels
        found: NDArray[Any] = session.run([output], {fed.name: ordered})[0]
    except Exception:  # whatever it does not know of this version of the format
        return None
    return found


def _parsed(path: Path) -> Any:
    """Read a file's structure and numbers; raises WeightsInvalid before it takes much memory."""
    try:
        import onnx
        from google.protobuf.message import DecodeError
    except ImportError:
        raise WeightsInvalid("needs_library", file=path.name, library="onnx") from None
    if path.stat().st_size > MOST_BYTES:
        raise WeightsInvalid("too_large", file=path.name, limit=MOST_BYTES)
    content = path.read_bytes()
    try:
        structure = _count_structure(content)
        if structure > MOST_STRUCTURE:
            raise WeightsInvalid("too_much_structure", file=path.name, nbytes=structure)
        model = onnx.ModelProto.FromString(content)
    except (DecodeError, IndexError, ValueError) as error:
        raise WeightsInvalid("no_onnx", file=path.name) from error
    if not model.graph.initializer or any(not node.output for node in model.graph.node):
        raise WeightsInvalid("no_onnx", file=path.name)
    return model


MODEL_GRAPH, GRAPH_INITIALIZER, TENSOR_NUMBERS = 7, 5, (4, 9, 10)
"""Numbers of the fields in onnx.proto: a model's graph, its initialisers, their numbers."""


def _count_structure(content: bytes) -> int:
    """Count the bytes that are no numbers of tensors; raises ValueError, IndexError."""
    counted = len(content)
    for number, start, end in fields(content, 0, len(content)):
        if number == MODEL_GRAPH:
            for each, first, last in fields(content, start, end):
                if each == GRAPH_INITIALIZER:
                    counted -= _count_numbers(content, first, last)
    return counted


def _count_numbers(content: bytes, start: int, end: int) -> int:
    found = fields(content, start, end)
    return sum(last - first for number, first, last in found if number in TENSOR_NUMBERS)


def _chain(path: Path, model: Any) -> Chain:
    """Follow a graph from its input to its end, one operation after another."""
    graph = model.graph
    constants = _constants(path, graph)
    inputs = _inputs(graph)
    if len(inputs) != 1:
        raise WeightsInvalid("no_chain", file=path.name, operation="its inputs")
    about_shapes = _about_shapes(graph, constants)
    nodes = [node for node in graph.node if node.op_type != "Constant"]
    readers: dict[str, list[Any]] = {}
    for node in nodes:
        if node.output[0] not in about_shapes:
            for name in node.input:
                readers.setdefault(name, []).append(node)
    operations, value = [], inputs[0].name
    while following := readers.pop(value, []):
        if len(following) > 1:
            kind = following[0].op_type
            raise WeightsInvalid("no_chain", file=path.name, operation=kind)
        operations.append(_operation(path, following[0], value, constants, about_shapes))
        value = following[0].output[0]
    used = about_shapes | {each.output for each in operations}
    if beside := [node.op_type for node in nodes if node.output[0] not in used]:
        raise WeightsInvalid("beside_the_chain", file=path.name, keys=beside)
    _expect_no_more(path, graph)
    last = bool(operations) and operations[0].kind == "Transpose"
    channels, height, width = _size(inputs[0])
    if last:
        if tuple(operations[0].attributes.get("perm", ())) != TO_CHANNELS_FIRST:
            raise WeightsInvalid("impossible_attribute", file=path.name, name="perm")
        operations, (height, width, channels) = operations[1:], (channels, height, width)
    return Chain(path.name, tuple(operations), (channels, height, width))


def _constants(path: Path, graph: Any) -> dict[str, Any]:
    """Collect what the graph knows by name before it sees a photo."""
    values = {each.name: each for each in graph.initializer}
    for node in graph.node:
        for each in node.attribute:
            if node.op_type == "Constant" and each.name == "value":
                values[node.output[0]] = each.t
    for each in values.values():
        if each.data_location or each.external_data:
            raise WeightsInvalid("external_data", file=path.name, key=each.name)
    return values


def _inputs(graph: Any) -> list[Any]:
    known = {each.name for each in graph.initializer}
    return [each for each in graph.input if each.name not in known]


def _size(value: Any) -> tuple[int | None, int | None, int | None]:
    """Return the last three of an input's four sizes, None for those that are left open."""
    sizes = [each.dim_value or None for each in value.type.tensor_type.shape.dim]
    return (sizes[1], sizes[2], sizes[3]) if len(sizes) == 4 else (None, None, None)


def _channels_last(graph: Any, name: str) -> bool:
    first = next(node for node in graph.node if name in node.input)
    return bool(first.op_type == "Transpose")


def _about_shapes(graph: Any, constants: Mapping[str, Any]) -> set[str]:
    """Find the values that are computed of shapes alone, as exported reshapes do."""
    found: set[str] = set()
    for node in graph.node:
        inputs = {name for name in node.input if name and name not in constants}
        if node.op_type == "Shape" or (inputs and inputs <= found):
            found |= {node.output[0]}
    return found


def _operation(
    path: Path, node: Any, value: str, constants: Mapping[str, Any], about_shapes: set[str]
) -> Operation:
    """Read one operation, whose only input that depends on the photo is ``value``."""
    others = [name for name in node.input if name and name != value and name not in about_shapes]
    placed = node.input[0] == value or node.op_type == "Add"
    if not placed or any(name not in constants for name in others):
        raise WeightsInvalid("no_chain", file=path.name, operation=node.op_type)
    tensors = tuple(_tensor(path, constants[name]) for name in others if _is_float(constants[name]))
    kind = node.op_type if node.domain in {"", "ai.onnx"} else f"{node.domain}.{node.op_type}"
    return Operation(kind, node.output[0], _attributes(path, node), tensors)


def _attributes(path: Path, node: Any) -> dict[str, Any]:
    """Return a node's attributes, those that are read; raises WeightsInvalid for another type."""
    import onnx

    found = {}
    for each in node.attribute:
        if each.name not in FORMS:
            continue
        form, count = FORMS[each.name]
        if each.type != onnx.AttributeProto.AttributeType.Value(form):
            raise WeightsInvalid("impossible_attribute", file=path.name, name=each.name)
        value = onnx.helper.get_attribute_value(each)
        if form == "INTS" and len(value) != count:
            raise WeightsInvalid("impossible_attribute", file=path.name, name=each.name)
        found[each.name] = value.decode("utf-8", "replace") if form == "STRING" else value
    return found


def _expect_no_more(path: Path, graph: Any) -> None:
    """Refuse tensors that no operation uses."""
    used = {name for node in graph.node for name in node.input}
    unused = sorted(each.name for each in graph.initializer if each.name not in used)
    if unused:
        raise WeightsInvalid("unused", file=path.name, keys=unused)


def _is_float(tensor: Any) -> bool:
    import onnx

    return tensor.data_type in {onnx.TensorProto.DataType.Value(name) for name in FLOATS}


def _tensor(path: Path, tensor: Any) -> Tensor:
    """Turn a tensor of the file's into torch's; raises WeightsInvalid."""
    import onnx

    if tensor.data_location or tensor.external_data:
        raise WeightsInvalid("external_data", file=path.name, key=tensor.name)
    try:
        return torch.from_numpy(onnx.numpy_helper.to_array(tensor).copy())
    except (ValueError, TypeError) as error:
        raise WeightsInvalid("claims_too_much", file=path.name, key=tensor.name) from error
