"""Where a network's weights come from, and the network filled with them.

In order: your own file, published weights that have been fetched, the starter weights that ship
with the project. Random weights come only when asked for, and say so.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import torch
from torch import nn
from torchvision.models import WeightsEnum, get_model_weights, list_models

from .catalogue import architecture
from .errors import WeightsInvalid, WeightsMissing
from .formats import WeightsFile, assemble, read
from .network import Network, Provenance, build

STARTER = Path(__file__).parent / "starter"
SEED = 0

Source = Literal["yours", "published", "starter", "random"]
State = Literal["ready", "available", "missing"]


@dataclass(frozen=True)
class Sources:
    """Where to look for weights."""

    weights_dir: Path
    cache_dir: Path
    offline: bool = False
    random: bool = False


@dataclass(frozen=True)
class Published:
    """Weights that somebody has published."""

    url: str
    filename: str
    nbytes: int
    digest: str
    """The first hex digits of the SHA-256, or with ``sha1:`` before it a whole SHA-1."""
    licence: str
    description: str


@dataclass(frozen=True)
class WeightsInfo:
    """What weights a network would have, without loading them."""

    state: State
    source: Source | None
    path: Path | None
    nbytes: int | None
    how: str
    """One sentence: what these weights are, or how to get some."""


def find_weights(name: str, sources: Sources) -> WeightsInfo:
    """Say which weights a network would load; raise UnknownNetwork."""
    architecture(name)
    if sources.random:
        return WeightsInfo("ready", "random", None, None, "Random weights: nothing was learned.")
    for source, path in _places(name, sources):
        if path.is_file():
            return WeightsInfo("ready", source, path, path.stat().st_size, _about(source, path))
    offer = published(name)
    if offer is None:
        how = f"No published weights of {name} are known; put your own into {_own(name, sources)}."
        return WeightsInfo("missing", None, None, None, how)
    size = f"{offer.nbytes / 1e6:.0f} MB"
    own = _own(name, sources)
    how = f"Run 'deconvnet weights fetch {name}' ({size}), or put your own into {own}."
    return WeightsInfo("missing" if sources.offline else "available", None, None, offer.nbytes, how)


def load(name: str, sources: Sources, device: str = "cpu") -> Network:
    """Load a network with its weights onto a device, ready to record and project.

    Raises UnknownNetwork, WeightsMissing (its sentence says how to get them), WeightsInvalid.
    """
    info = find_weights(name, sources)
    if info.source == "random":
        network = randomized(name)
    elif info.path is None:
        raise WeightsMissing(f"{name} has no weights here. {info.how}")
    else:
        network = _assemble(name, info)
    return network.to(device).requires_grad_(requires_grad=False)


def _assemble(name: str, info: WeightsInfo) -> Network:
    assert info.path is not None and info.source is not None
    file = read(info.path, architecture(name))
    if info.source == "published":
        file = _with_labels(file, name)
    return assemble(file, architecture(name), info.source)


def _with_labels(file: WeightsFile, name: str) -> WeightsFile:
    """Add what torchvision knows of its weights and the file does not say."""
    known, offer = torchvision_weights(name), published(name)
    described = {"licence": offer.licence, "source": offer.description} if offer else {}
    # pytorchcv trained on the same thousand ImageNet classes, in the same order
    classes = (known or torchvision_weights("alexnet")).meta["categories"]  # type: ignore[union-attr]
    metadata = {"classes": list(classes), **described, **file.metadata}
    return WeightsFile(file.path, file.sha256, file.tensors, file.naming, metadata)


def randomized(name: str) -> Network:
    """Build a network with random weights, the same each time: He et al.'s, biases zero."""
    provenance = Provenance("random", "", trained=False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        network = build(architecture(name), provenance=provenance)
        for key, tensor in network.tensors().items():
            if tensor.dim() > 1:
                nn.init.kaiming_normal_(tensor)
            elif key.endswith("bias"):
                nn.init.zeros_(tensor)
    return network


def _places(name: str, sources: Sources) -> Iterator[tuple[Source, Path]]:
    """Yield every file that may hold the weights, best first."""
    yield "yours", sources.weights_dir / f"{name}.safetensors"
    yield "yours", sources.weights_dir / f"{name}.pth"
    offer = published(name)
    if offer is not None:
        yield "published", sources.cache_dir / offer.filename
    yield "starter", STARTER / f"{name}.safetensors"


def _own(name: str, sources: Sources) -> Path:
    return sources.weights_dir / f"{name}.safetensors"


def _about(source: Source, path: Path) -> str:
    match source:
        case "yours":
            return f"Your own weights, {path.name}."
        case "published":
            return f"Published weights, {path.name}."
    return "Starter weights that ship with the project: small, learned on few photos."


@cache
def torchvision_weights(name: str) -> WeightsEnum | None:
    """Return torchvision's ImageNet weights of a network, if it publishes any."""
    if name not in list_models():
        return None
    return get_model_weights(name)["IMAGENET1K_V1"]


PYTORCHCV = {
    "zfnet": ("v0.0.395", "zfnet-1727-d010ddca.pth", "d010ddca1eb32a50a8cceb475c792f53e769b631"),
    "zfnet_b": ("v0.0.400", "zfnetb-1490-f6bec24e.pth", "f6bec24eba037c8e4956704ed5bafaed29966601"),
}
PYTORCHCV_BYTES = {"zfnet": 62_357_608 * 4, "zfnet_b": 107_627_624 * 4}


@cache
def published(name: str) -> Published | None:
    """Return the published weights of a network, if there are any."""
    if name in PYTORCHCV:
        release, filename, sha1 = PYTORCHCV[name]
        url = f"https://github.com/osmr/imgclsmob/releases/download/{release}/{filename}.zip"
        return Published(
            url, filename, PYTORCHCV_BYTES[name], f"sha1:{sha1}", "MIT", "pytorchcv, ImageNet-1k"
        )
    weights = torchvision_weights(name)
    if weights is None:
        return None
    filename = weights.url.rsplit("/", 1)[-1]
    digest = filename.removesuffix(".pth").rsplit("-", 1)[-1]
    nbytes = round(weights.meta["_file_size"] * 2**20)
    return Published(
        weights.url, filename, nbytes, digest, "BSD-3-Clause", "torchvision IMAGENET1K_V1"
    )


__all__ = [
    "Published",
    "Sources",
    "WeightsInfo",
    "WeightsInvalid",
    "find_weights",
    "load",
    "published",
    "randomized",
]
