"""The weights that others have published: torchvision's, and pytorchcv's of ZFNet."""

from __future__ import annotations

from collections.abc import Iterator

from torchvision.models import WeightsEnum, get_model_weights, list_models

from models.networks.architecture import ErrorRate
from models.networks.catalogue import ARCHITECTURES
from models.weights.download import Published


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
"""What can be fetched, by network."""


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
