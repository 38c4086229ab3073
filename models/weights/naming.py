"""Four ways to name the same tensors: ours, torchvision's, timm's and pytorchcv's.

* our own: ``conv1.weight``, as plain modules are often named, also ``conv_1_1.weight``,
* torchvision's: ``features.0.weight``, ``classifier.6.bias``,
* timm's: torchvision's ``features``, then ``pre_logits.fc1.weight`` (a 7 x 7 convolution in place
  of a matrix), ``head.fc.weight``,
* pytorchcv's: ``features.stage1.unit1.conv.weight``, ``output.fc1.fc.weight``.

A wrapper's name before every key (``module.``, ``model.``, ``backbone.``) is dropped.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

from torch import Tensor

from models.errors import WeightsInvalid
from models.networks.architecture import Architecture, Dense, Filters, Pooling

Naming = Literal["own", "torchvision", "timm", "pytorchcv"]

TIMM_HEAD = ("pre_logits.fc1", "pre_logits.fc2", "head.fc")


def rename(
    path: Path, tensors: Mapping[str, Tensor], architecture: Architecture
) -> tuple[Naming, dict[str, Tensor]]:
    """Give every tensor our own key; a name nobody knows stays, to be reported as surplus.

    Raises WeightsInvalid where two tensors come to have one name.
    """
    kept = {key: tensor for key, tensor in tensors.items() if is_learned(key)}
    bare = dict(zip(_unwrapped(list(kept)), kept.values(), strict=True))
    naming, names = _known_names(list(bare), architecture)
    named = {names.get(key, key): tensor for key, tensor in bare.items()}
    if len(named) < len(kept):
        raise WeightsInvalid("named_twice", file=path.name, network=architecture.name)
    if naming == "timm":
        named = {key: _as_matrix(key, tensor) for key, tensor in named.items()}
    return naming, named


def _known_names(keys: list[str], architecture: Architecture) -> tuple[Naming, dict[str, str]]:
    """Recognise a naming by its keys, and say how each of them is called here."""
    if _begin(keys, "features.stage"):
        names = dict(_pytorchcv_names(architecture))
        return "pytorchcv", {key: names.get(_plain(key), key) for key in keys}
    if _begin(keys, "pre_logits.", "head.fc."):
        return "timm", dict(_timm_names(architecture))
    if _begin(keys, "features.", "classifier."):
        return "torchvision", dict(_torchvision_names(architecture))
    return "own", {key: _spelt(key) for key in keys}


def _begin(keys: list[str], *beginnings: str) -> bool:
    return any(key.startswith(beginnings) for key in keys)


def _plain(key: str) -> str:
    """Drop pytorchcv's wrapper in ``output.fc1.fc.weight``."""
    return re.sub(r"^(output\.fc\d)\.fc\.", r"\1.", key)


def _unwrapped(keys: list[str]) -> list[str]:
    """Drop the wrappers' names before every key, and DataParallel's behind ``features``."""
    while all(key.count(".") > 1 for key in keys):
        first = {key.partition(".")[0] for key in keys}
        if len(first) != 1 or first == {"features"}:
            break
        keys = [key.partition(".")[2] for key in keys]
    return [re.sub(r"^features\.module\.", "features.", key) for key in keys]


def _spelt(key: str) -> str:
    """Spell a plain module's key as we do: ``conv_1_1.weight``, ``bn1_1.weight``."""
    key = re.sub(r"^conv_(\d)", r"conv\1", key)
    return re.sub(r"^bn_?(\d(_\d)?)\.", r"conv\1.bn.", key)


def _as_matrix(key: str, tensor: Tensor) -> Tensor:
    """Flatten a convolution that covers its whole map to the matrix that it is."""
    return tensor.flatten(1) if re.fullmatch(r"fc\d\.weight", key) and tensor.dim() > 2 else tensor


def _timm_names(architecture: Architecture) -> Iterator[tuple[str, str]]:
    """Yield (timm's key, ours): torchvision's below, its own above."""
    for theirs, ours in _torchvision_names(architecture):
        if theirs.startswith("features."):
            yield theirs, ours
    for theirs, row in zip(TIMM_HEAD, _dense(architecture), strict=True):
        yield from _pairs(theirs, row)


def _dense(architecture: Architecture) -> list[str]:
    return [row.name for row in architecture.rows if isinstance(row, Dense)]


def _torchvision_names(architecture: Architecture) -> Iterator[tuple[str, str]]:
    """Yield (torchvision's key, ours), counting modules as its ``nn.Sequential`` does."""
    module = 0
    for row in architecture.rows:
        if isinstance(row, Filters):
            yield from _pairs(f"features.{module}", row.name)
            if architecture.batch_norm:
                module += 1
                yield from _pairs(f"features.{module}", f"{row.name}.bn")
            module += 2
        elif isinstance(row, Pooling):
            module += 1
    # torchvision's AlexNet begins its classifier with a dropout, its VGGs do not
    modules = (1, 4, 6) if architecture.name == "alexnet" else (0, 3, 6)
    for at, name in zip(modules, _dense(architecture), strict=True):
        yield from _pairs(f"classifier.{at}", name)


def _pytorchcv_names(architecture: Architecture) -> Iterator[tuple[str, str]]:
    """Yield (pytorchcv's key, ours): a stage ends with its pool."""
    stage, unit, dense = 1, 0, 0
    for row in architecture.rows:
        if isinstance(row, Filters):
            unit += 1
            yield from _pairs(f"features.stage{stage}.unit{unit}.conv", row.name)
        elif isinstance(row, Pooling):
            stage, unit = stage + 1, 0
        elif isinstance(row, Dense):
            dense += 1
            yield from _pairs(f"output.fc{dense}", row.name)


def _pairs(theirs: str, ours: str) -> Iterator[tuple[str, str]]:
    for key in ("weight", "bias", "running_mean", "running_var"):
        yield f"{theirs}.{key}", f"{ours}.{key}"


def is_learned(key: str) -> bool:
    """Tell whether a key names something learned; batch norm's batch counter is not."""
    return not key.endswith("num_batches_tracked")
