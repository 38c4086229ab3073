"""Caffe's binary models, written byte by byte by the numbers of caffe.proto."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from models.networks.architecture import Dense, Filters, Norm, Normalization, Pooling
from models.networks.build import in_order
from models.networks.catalogue import architecture

Array = NDArray[np.floating]
CURRENT = {"name": 1, "type": 2, "bottom": 3, "top": 4, "blobs": 7}
FIRST = {"name": 4, "type": 5, "bottom": 2, "top": 3, "blobs": 6}
SETTINGS = {
    "Convolution": (106, 10),
    "Pooling": (121, 19),
    "LRN": (118, 18),
    "InnerProduct": (117, 17),
    "ReLU": (123, 30),
    "Data": (100, 36),
}
"""The field of a layer's settings, in the current and in the first form."""
NUMBERS = {
    "Accuracy": 1,
    "Concat": 3,
    "Convolution": 4,
    "Data": 5,
    "Dropout": 6,
    "InnerProduct": 14,
    "LRN": 15,
    "Pooling": 17,
    "ReLU": 18,
    "Softmax": 20,
    "SoftmaxWithLoss": 21,
    "Split": 22,
    "TanH": 23,
}
"""The types of the first form."""


def varint(value: int) -> bytes:
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    return bytes([*found, value])


def whole(number: int, value: int) -> bytes:
    """Write a field that is a whole number."""
    return varint(number << 3) + varint(value)


def real(number: int, value: float) -> bytes:
    """Write a field that is a single float."""
    return varint(number << 3 | 5) + struct.pack("<f", value)


def long(number: int, content: bytes) -> bytes:
    """Write a field that has a length."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def blob(values: Array, *, first: bool) -> bytes:
    """Write an array: in the first form with four sizes, in the current with as many as it has."""
    content = long(5, values.astype("<f4").tobytes())
    if not first:
        return long(7, long(1, b"".join(map(varint, values.shape)))) + content
    sizes = (1,) * (4 - values.ndim) + values.shape
    return b"".join(whole(number, size) for number, size in enumerate(sizes, 1)) + content


@dataclass
class Layer:
    """One layer: its type, its settings as they are written, its arrays."""

    type: str
    name: str
    settings: bytes = b""
    arrays: Sequence[Array] = ()
    bottom: str | None = None
    top: str | None = None


@dataclass
class Net:
    """A chain of layers, which tests change before it is written."""

    layers: list[Layer] = field(default_factory=list)

    def at(self, name: str) -> Layer:
        """Find a layer by its name."""
        return next(layer for layer in self.layers if layer.name == name)

    def content(self, *, first: bool) -> bytes:
        """Write all layers, each on top of the one before."""
        below, written = "data", []
        for layer in self.layers:
            top = layer.top or layer.name
            written.append(_layer(layer, layer.bottom or below, top, first=first))
            below = below if layer.type in {"Accuracy", "Data"} else top
        return b"".join(long(2 if first else 100, each) for each in written)

    def save(self, path: Path, *, first: bool = False) -> Path:
        """Write the net into a file."""
        path.write_bytes(long(1, b"a net") + self.content(first=first))
        return path


def _layer(layer: Layer, bottom: str, top: str, *, first: bool) -> bytes:
    at = FIRST if first else CURRENT
    kind = NUMBERS.get(layer.type, 0)
    said = whole(at["type"], kind) if first else long(at["type"], layer.type.encode())
    said += long(at["name"], layer.name.encode()) + long(at["top"], top.encode())
    if layer.type != "Data":
        said += long(at["bottom"], bottom.encode())
    if layer.settings:
        said += long(SETTINGS[layer.type][first], layer.settings)
    return said + b"".join(long(at["blobs"], blob(each, first=first)) for each in layer.arrays)


def net_of(
    name: str, tensors: Mapping[str, Tensor], norm: Normalization | None = None, groups: int = 1
) -> Net:
    """Lay a network's tensors out as Caffe does; layers of an even number, and conv5, in groups."""
    kind = architecture(name)
    norm = norm or kind.norm
    net = Net([Layer("Data", "data")])
    last = [row.name for row in kind.rows if isinstance(row, Dense)][-1]
    for row in in_order(kind.rows, norm):
        arrays = [tensors[key].numpy() for key in _keys(row.name) if key in tensors]
        match row:
            case Filters() if arrays:
                grouped = groups if row.name in {"conv2", "conv4", "conv5"} else 1
                window = whole(3, row.padding) + whole(4, row.kernel) + whole(6, row.stride)
                settings = whole(1, len(arrays[0])) + window + whole(5, grouped)
                net.layers.append(Layer("Convolution", row.name, settings, arrays))
            case Pooling():
                settings = whole(1, 0) + whole(2, row.kernel) + whole(3, row.stride)
                net.layers.append(Layer("Pooling", row.name, settings))
            case Norm():
                assert norm is not None
                net.layers.append(Layer("LRN", row.name, _lrn(norm)))
            case Dense() if arrays:
                net.layers.append(Layer("InnerProduct", row.name, b"", arrays))
        if arrays and row.name != last:
            number = row.name.removeprefix("conv").removeprefix("fc")
            net.layers.append(Layer("ReLU", f"relu{number}", top=row.name))
            if isinstance(row, Dense):
                net.layers.append(Layer("Dropout", f"drop{number}", top=row.name))
    return net


def _keys(name: str) -> Iterable[str]:
    return f"{name}.weight", f"{name}.bias"


def _lrn(norm: Normalization) -> bytes:
    """Write the constants; Caffe leaves away those that are its own: size 5, beta 0.75, k 1."""
    size = whole(1, norm.size) if norm.size != 5 else b""
    beta = real(3, norm.beta) if norm.beta != 0.75 else b""
    return size + real(2, norm.alpha) + beta + (real(5, norm.k) if norm.k != 1 else b"")
