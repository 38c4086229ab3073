"""Three ways to name the same tensors: ours, torchvision's and pytorchcv's.

* our own: ``conv1.weight``,
* torchvision's: ``features.0.weight``, ``classifier.6.bias``,
* pytorchcv's: ``features.stage1.unit1.conv.weight``, ``output.fc1.fc.weight``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

from torch import Tensor

from models.networks.architecture import Architecture, Dense, Filters, Pooling

Naming = Literal["own", "torchvision", "pytorchcv"]


def rename(
    path: Path, tensors: Mapping[str, Tensor], architecture: Architecture
) -> tuple[Naming, dict[str, Tensor]]:
    """Give every tensor our own key; a name nobody knows stays, to be reported as surplus."""
    kept = {key: tensor for key, tensor in tensors.items() if is_learned(key)}
    if any(key.startswith("features.stage") for key in kept):
        naming: Naming = "pytorchcv"
        names = dict(_pytorchcv_names(architecture))
    elif any(key.startswith(("features.", "classifier.")) for key in kept):
        naming, names = "torchvision", dict(_torchvision_names(architecture))
    else:
        return "own", kept
    return naming, {names.get(_plain(key), key): tensor for key, tensor in kept.items()}


def _plain(key: str) -> str:
    """Drop pytorchcv's wrapper in ``output.fc1.fc.weight``."""
    return re.sub(r"^(output\.fc\d)\.fc\.", r"\1.", key)


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
    dense = [row.name for row in architecture.rows if isinstance(row, Dense)]
    # torchvision's AlexNet begins its classifier with a dropout, its VGGs do not
    modules = (1, 4, 6) if architecture.name == "alexnet" else (0, 3, 6)
    for at, name in zip(modules, dense, strict=True):
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
