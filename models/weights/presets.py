"""How photos are shown to weights, by the name of the framework that trained them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, fields, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from models.errors import InvalidChoice, WeightsInvalid
from models.networks.architecture import Architecture
from models.networks.preprocessing import Preprocessing

IMAGENET_MEAN = (104.0, 117.0, 123.0)
"""ImageNet's mean colour, as Caffe's own models subtract it: blue, green, red, of 0 to 255."""
VGG_MEAN = (103.939, 116.779, 123.68)
"""The same as the VGG networks were trained with, in Caffe and after it in Keras."""
LONGEST_FILE = 2**20
"""Bytes that a file of preprocessing may have."""


def _torchvision(paper: Architecture) -> Preprocessing:
    return replace(Preprocessing(), size=paper.preprocessing.size)


def _caffe(paper: Architecture) -> Preprocessing:
    return _less_mean(paper, VGG_MEAN if paper.name.startswith("vgg") else IMAGENET_MEAN)


def _keras(paper: Architecture) -> Preprocessing:
    return _less_mean(paper, VGG_MEAN)


def _less_mean(paper: Architecture, mean: tuple[float, ...]) -> Preprocessing:
    size, resize = paper.preprocessing.size, paper.preprocessing.resize
    return Preprocessing(size, resize, "BGR", scale=1.0, mean=mean, std=(1.0, 1.0, 1.0))


PRESETS: Mapping[str, Callable[[Architecture], Preprocessing]] = MappingProxyType(
    {"torchvision": _torchvision, "caffe": _caffe, "keras": _keras}
)
"""What each framework's weights were shown, at the size that the network has."""


def implied(name: str, paper: Architecture) -> Preprocessing:
    """Return a preset where there is one and the network takes colours, else the paper's own."""
    grey = paper.preprocessing.channels == 1
    return PRESETS[name](paper) if name in PRESETS and not grey else paper.preprocessing


def choose_preprocessing(chosen: str, paper: Architecture) -> dict[str, Any]:
    """Return a preset by name, or what a JSON file says, as the metadata of a weights file has it.

    Raises InvalidChoice where there is neither, WeightsInvalid for a file that says something else.
    """
    if chosen in PRESETS:
        return asdict(PRESETS[chosen](paper))
    file = Path(chosen)
    try:
        content = file.read_bytes() if file.stat().st_size <= LONGEST_FILE else b""
        found = json.loads(content)
    except OSError as error:
        raise InvalidChoice("no_preprocessing", known=tuple(PRESETS), text=chosen[:80]) from error
    except (ValueError, RecursionError):
        found = None
    return _of_known_fields(file, found)


def _of_known_fields(file: Path, found: object) -> dict[str, Any]:
    known = [field.name for field in fields(Preprocessing)]
    if not isinstance(found, dict):
        raise WeightsInvalid("no_json_object", file=file.name)
    if unknown := sorted(found.keys() - set(known)):
        raise WeightsInvalid("no_such_fields", file=file.name, keys=unknown, known=known)
    return found
