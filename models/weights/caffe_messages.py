"""The messages of Caffe's binary models, as far as they are read: made when they are first used."""

from __future__ import annotations

from functools import cache
from typing import Any

from models.weights.wire import fields

KINDS = ("convolution", "pooling", "lrn", "inner_product", "relu", "transform")
"""What a layer may say of itself, by the names of the messages below."""
SIDES = {"pad_h": (9, "int64"), "pad_w": (10, "int64")}

MESSAGES: dict[str, dict[str, tuple[int, str]]] = {
    "layer": {
        "name": (1, "bytes"),
        "type": (2, "bytes"),
        "bottom": (3, "bytes*"),
        "top": (4, "bytes*"),
        "blobs": (7, "bytes*"),
        **dict(zip(KINDS, zip((106, 121, 118, 117, 123, 100), KINDS, strict=True), strict=True)),
    },
    "first_layer": {
        "older": (1, "bytes"),
        "bottom": (2, "bytes*"),
        "top": (3, "bytes*"),
        "name": (4, "bytes"),
        "type": (5, "int64"),
        "blobs": (6, "bytes*"),
        **dict(zip(KINDS, zip((10, 19, 18, 17, 30, 36), KINDS, strict=True), strict=True)),
    },
    "blob": {
        "num": (1, "int64"),
        "channels": (2, "int64"),
        "height": (3, "int64"),
        "width": (4, "int64"),
        "data": (5, "bytes*"),
        "shape": (7, "shape"),
        "double_data": (8, "bytes*"),
    },
    "shape": {"dim": (1, "int64*")},
    "convolution": {
        "pad": (3, "int64*"),
        "group": (5, "int64"),
        "stride": (6, "int64*"),
        "stride_h": (13, "int64"),
        "stride_w": (14, "int64"),
        "dilation": (18, "int64*"),
        **SIDES,
    },
    "pooling": {
        "pool": (1, "int64"),
        "kernel_size": (2, "int64*"),
        "stride": (3, "int64*"),
        "pad": (4, "int64*"),
        "kernel_size_h": (5, "int64"),
        "kernel_size_w": (6, "int64"),
        "stride_h": (7, "int64"),
        "stride_w": (8, "int64"),
        "global_pooling": (12, "bool"),
        **SIDES,
    },
    "lrn": {
        "local_size": (1, "int64"),
        "alpha": (2, "float"),
        "beta": (3, "float"),
        "norm_region": (4, "int64"),
        "k": (5, "float"),
    },
    "inner_product": {"axis": (5, "int64"), "transpose": (6, "bool")},
    "relu": {"negative_slope": (1, "float")},
    "transform": {
        "scale": (1, "float"),
        "crop_size": (3, "int64"),
        "mean_value": (5, "float*"),
    },
}
"""Each message's fields: number and type, with a ``*`` where it repeats.

Blobs and their numbers are bytes here, which are written alike, so that they are read one at a
time and never one object a number.
"""

FORMS = {100: "layer", 2: "first_layer"}
"""The fields of a net that hold its layers, and the message that each is."""
BLOBS = {form: MESSAGES[form]["blobs"][0] for form in FORMS.values()}
NUMBERS = {5, 6, 8, 9}
"""The fields of a blob that hold numbers: its data and their differences, single and double."""


def parse(message: str, content: bytes) -> Any:
    """Parse one message; raises ValueError."""
    from google.protobuf.message import DecodeError

    try:
        return _classes()[message].FromString(content)
    except DecodeError as error:
        raise ValueError(str(error)) from error


def parse_layers(content: bytes) -> list[Any]:
    """Parse the layers of a net; raises ValueError, IndexError."""
    found = (field for field in fields(content, 0, len(content)) if field[0] in FORMS)
    return [parse(FORMS[number], content[start:end]) for number, start, end in found]


def count_structure(content: bytes) -> int:
    """Count the bytes of a net that are no numbers of blobs; raises ValueError, IndexError."""
    counted = len(content)
    for number, start, end in fields(content, 0, len(content)):
        if number in FORMS:
            for each, first, last in fields(content, start, end):
                if each == BLOBS[FORMS[number]]:
                    counted -= _count_numbers(content, first, last)
    return counted


def _count_numbers(content: bytes, start: int, end: int) -> int:
    return sum(b - a for number, a, b in fields(content, start, end) if number in NUMBERS)


@cache
def _classes() -> dict[str, Any]:
    """Make protobuf's classes of ``MESSAGES``."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    file = descriptor_pb2.FileDescriptorProto(name="models/caffe.proto", package="models.caffe")
    for name, known in MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, (number, kind) in known.items():
            _declare(message.field.add(name=field, number=number), kind)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    found = {name: pool.FindMessageTypeByName(f"{file.package}.{name}") for name in MESSAGES}
    return {name: message_factory.GetMessageClass(each) for name, each in found.items()}


def _declare(field: Any, kind: str) -> None:
    """Give a field its type, and say whether it repeats."""
    name = kind.rstrip("*")
    field.label = field.LABEL_REPEATED if kind != name else field.LABEL_OPTIONAL
    if name in MESSAGES:
        field.type, field.type_name = field.TYPE_MESSAGE, f".models.caffe.{name}"
    else:
        field.type = getattr(field, f"TYPE_{name.upper()}")
