"""Caffe's binary models, ``.caffemodel``: a chain of layers in its first or its current form."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from models.errors import WeightsInvalid
from models.networks.architecture import Architecture
from models.networks.preprocessing import Preprocessing
from models.weights.caffe_messages import count_structure, parse, parse_layers
from models.weights.chain import Chain, Operation, describe_match, match
from models.weights.presets import implied

MOST_BYTES = 2**31 - 1
"""As much as protobuf reads."""
MOST_STRUCTURE = 2**22
"""Bytes that may be something else than tensors' numbers: a byte of it takes many in memory."""

TYPES = {
    1: "Accuracy",
    3: "Concat",
    4: "Convolution",
    5: "Data",
    6: "Dropout",
    8: "Flatten",
    9: "HDF5Data",
    12: "ImageData",
    14: "InnerProduct",
    15: "LRN",
    17: "Pooling",
    18: "ReLU",
    19: "Sigmoid",
    20: "Softmax",
    21: "SoftmaxWithLoss",
    22: "Split",
    23: "TanH",
    24: "WindowData",
    25: "Eltwise",
    29: "MemoryData",
    32: "DummyData",
    36: "Silence",
}
"""The types that the first form has numbers for, as far as they are told apart."""
INPUTS = {"Data", "DummyData", "HDF5Data", "ImageData", "Input", "MemoryData", "WindowData"}
BESIDE = INPUTS | {"Accuracy", "Silence"}
"""Layers that do not lie between a photo and its scores."""
POOLS = {0: "MaxPool", 1: "AveragePool"}


def read_caffe(path: Path, architecture: Architecture) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Match a model's layers with an architecture's rows; return tensors by our keys and metadata.

    Raises WeightsInvalid.
    """
    layers = _layers(path)
    shown, side = _shown(layers, architecture)
    operations = tuple(_operations(path, layers))
    found = match(Chain(path.name, operations, (None, side, side)), architecture)
    return found.tensors, describe_match(path.name, found, shown)


def _layers(path: Path) -> list[Any]:
    """Parse a file's layers, their blobs left as bytes; raises WeightsInvalid."""
    if path.stat().st_size > MOST_BYTES:
        raise WeightsInvalid("too_large", file=path.name, limit=MOST_BYTES)
    content = path.read_bytes()
    try:
        structure = count_structure(content)
        if structure > MOST_STRUCTURE:
            raise WeightsInvalid("too_much_structure", file=path.name, nbytes=structure)
        layers = parse_layers(content)
    except ImportError:
        raise WeightsInvalid("needs_library", file=path.name, library="protobuf") from None
    except (IndexError, ValueError) as error:
        raise WeightsInvalid("no_caffe", file=path.name) from error
    if not layers:
        raise WeightsInvalid("no_caffe", file=path.name)
    if any(getattr(layer, "older", b"") for layer in layers):
        raise WeightsInvalid("oldest_caffe", file=path.name)
    return layers


def _type(layer: Any) -> str:
    """Name a layer's type, which the first form has as a number."""
    if isinstance(layer.type, bytes):
        return _text(layer.type)
    return TYPES.get(layer.type, f"type {layer.type}")


def _text(name: bytes) -> str:
    return name[:80].decode("utf-8", "replace")


def _shown(layers: list[Any], architecture: Architecture) -> tuple[Preprocessing, int | None]:
    """Say how photos are shown to a model, as far as its data layer tells, and their side."""
    usual = implied("caffe", architecture)
    said = next((layer.transform for layer in layers if _type(layer) in INPUTS), None)
    if said is None:
        return usual, None
    scale = said.scale if said.HasField("scale") else 1.0
    mean = tuple(said.mean_value) or usual.mean
    mean = mean * 3 if len(mean) == 1 else mean
    # Caffe scales after it has subtracted the mean
    mean = tuple(float(f"{value * scale:.7g}") for value in mean)
    return replace(usual, scale=scale, mean=mean), said.crop_size or None


def _operations(path: Path, layers: list[Any]) -> Iterator[Operation]:
    """Yield the operations of a chain of layers; raises WeightsInvalid where it parts."""
    value, copies = b"", dict[bytes, bytes]()
    for layer in layers:
        kind, bottom = _type(layer), layer.bottom[0] if layer.bottom else b""
        bottom = copies.get(bottom, bottom)
        if kind == "Split":
            copies |= dict.fromkeys(layer.top, bottom)
        elif kind not in BESIDE:
            if value and bottom and bottom != value:
                raise WeightsInvalid("no_chain", file=path.name, operation=_text(layer.name))
            value = layer.top[0] if layer.top else b""
            yield _operation(path, layer, kind)


def _operation(path: Path, layer: Any, kind: str) -> Operation:
    """Say in ONNX's words, which are a chain's, what a layer does."""
    name = _text(layer.name)
    match kind:
        case "Convolution":
            return Operation("Conv", name, _convolution(layer.convolution), _blobs(path, layer))
        case "InnerProduct":
            return _product(path, layer, name)
        case "Pooling":
            return _pooling(layer.pooling, name)
        case "LRN":
            return _normalization(layer.lrn, name)
        case "ReLU":
            leaks = layer.relu.negative_slope != 0
            return Operation("LeakyRelu" if leaks else "Relu", name)
        case "SoftmaxWithLoss":
            return Operation("Softmax", name)
    return Operation(kind, name)


def _convolution(said: Any) -> dict[str, Any]:
    group = said.group if said.HasField("group") else 1
    return {**_places(said), "dilations": _two(said.dilation, 1), "group": group}


def _places(said: Any) -> dict[str, Any]:
    """Return a window's strides, and its margins at the top, left, bottom and right."""
    return {"strides": _sides(said, "stride", 1), "pads": _sides(said, "pad", 0) * 2}


def _sides(said: Any, name: str, usual: int) -> tuple[int, int]:
    """Return a length in height and width, said once, twice, or by two fields."""
    if said.HasField(f"{name}_h") or said.HasField(f"{name}_w"):
        return getattr(said, f"{name}_h"), getattr(said, f"{name}_w")
    return _two(getattr(said, name), usual)


def _two(values: Any, usual: int) -> tuple[int, int]:
    return (values[0], values[-1]) if values else (usual, usual)


def _pooling(said: Any, name: str) -> Operation:
    kind = POOLS.get(said.pool, "stochastic Pooling")
    if said.global_pooling:
        return Operation(f"Global{kind}", name)
    window = {"kernel_shape": _sides(said, "kernel_size", 0), "ceil_mode": 1}
    return Operation(kind, name, {**_places(said), **window})


def _normalization(said: Any, name: str) -> Operation:
    """Return local response normalisation; Caffe, torch and ONNX all divide alpha by its size."""
    if said.norm_region:
        return Operation("LRN within a map", name)
    usual = {"local_size": 5, "alpha": 1.0, "beta": 0.75, "k": 1.0}
    size, alpha, beta, k = (
        getattr(said, each) if said.HasField(each) else value for each, value in usual.items()
    )
    return Operation("LRN", name, {"size": size, "alpha": alpha, "beta": beta, "bias": k})


def _product(path: Path, layer: Any, name: str) -> Operation:
    said = layer.inner_product
    if said.HasField("axis") and said.axis != 1:
        return Operation("InnerProduct of another axis", name)
    matrix = tuple(_without_ones(each) for each in _blobs(path, layer))
    return Operation("Gemm", name, {"transB": int(not said.transpose)}, matrix)


def _without_ones(tensor: Tensor) -> Tensor:
    """Drop the two sizes of 1 before a matrix that the first form has."""
    return tensor.flatten(0, 2) if tensor.dim() == 4 and tensor.shape[:2] == (1, 1) else tensor


def _blobs(path: Path, layer: Any) -> tuple[Tensor, ...]:
    """Return a layer's kernel, and its bias as a list of numbers."""
    blobs = [_tensor(path, layer, content) for content in layer.blobs]
    return *blobs[:1], *(each.flatten() for each in blobs[1:])


def _tensor(path: Path, layer: Any, content: bytes) -> Tensor:
    """Read a blob's numbers in the shape that it claims; raises WeightsInvalid."""
    try:
        blob = parse("blob", content)
        double = b"".join(blob.double_data)
        values = np.frombuffer(double or b"".join(blob.data), "<f8" if double else "<f4")
        old = (blob.num, blob.channels, blob.height, blob.width)
        shape = tuple(blob.shape.dim) if blob.HasField("shape") else old
        if min(shape, default=0) < 1:
            raise ValueError("a side of nothing")
        return torch.from_numpy(values.astype(np.float32).reshape(shape))
    except ValueError as error:
        key = _text(layer.name)
        raise WeightsInvalid("claims_too_much", file=path.name, key=key) from error
