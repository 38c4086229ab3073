"""Keras' files: HDF5 of Keras 1, 2 and 3; names and plain arrays are all that is read of it.

Three ways to name the kernel of one layer are known:

* Keras 1: ``block1_conv1/block1_conv1_W_1:0``,
* Keras 2: ``block1_conv1/block1_conv1/kernel:0``, in a whole model below ``model_weights``,
* Keras 3: ``layers/conv2d/vars/0``, ``layers/conv2d_1/vars/0``: layers of a kind, in order.

No attribute and no configuration is read, so whatever code these hold is never met.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from models.errors import WeightsInvalid
from models.networks.architecture import Architecture, Dense, Filters
from models.weights.presets import implied

BLOCK = re.compile(r"block(\d)_conv(\d)")
NUMBERED = re.compile(r"(conv2d|dense)(?:_(\d{1,6}))?")
HEAD = {"fc1": "fc6", "fc2": "fc7", "predictions": "fc8"}
KERNEL = re.compile(r"0|(.*_)?(kernel|W)(_\d+)?(:0)?")
BIAS = re.compile(r"1|(.*_)?(bias|b)(_\d+)?(:0)?")
"""How the last part of an array's path ends."""
TRAINING = ("optimizer", "optimizer_weights")
"""What stands at the top of a file beside the layers, left by training."""


def read_keras(path: Path, architecture: Architecture) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read the layers of a VGG, as ``keras.applications`` names them; raises WeightsInvalid."""
    tensors = _named_here(path, _arrays(path), architecture)
    first = next((row.name for row in architecture.rows if isinstance(row, Dense)), "")
    if (rows := tensors.get(f"{first}.weight")) is not None:
        tensors[f"{first}.weight"] = _channels_first(rows, _last_maps(tensors, architecture))
    return tensors, {"preprocessing": asdict(implied("keras", architecture))}


def _arrays(path: Path) -> dict[str, Tensor]:
    """Read every array of a file by its path within it."""
    try:
        import h5py
    except ImportError:
        raise WeightsInvalid("needs_library", file=path.name, library="h5py") from None
    try:
        with h5py.File(path, "r", locking=False) as file:
            return {key: _read(path, key, found) for key, found in _datasets(path, file)}
    except WeightsInvalid:
        raise
    except Exception as error:  # h5py raises whatever the library trips over
        raise WeightsInvalid("damaged", file=path.name) from error


def _datasets(path: Path, file: Any) -> Iterator[tuple[str, Any]]:
    """Walk the groups of a file; what leads out of it, or twice to one place, is refused."""
    import h5py

    pending, seen = [("", file)], set()
    while pending:
        above, group = pending.pop()
        for name in group:
            key = f"{above}/{name}".removeprefix("/")
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise WeightsInvalid("leads_elsewhere", file=path.name, key=key)
            if key in TRAINING:
                continue
            found = group[name]
            address = h5py.h5o.get_info(found.id).addr
            if address in seen:
                raise WeightsInvalid("shared_storage", file=path.name)
            seen.add(address)
            if isinstance(found, h5py.Group):
                pending.append((key, found))
            else:
                yield key, found


def _read(path: Path, key: str, found: Any) -> Tensor:
    """Read one array, unless it is anything but plain numbers that the file itself holds."""
    import h5py

    if not isinstance(found, h5py.Dataset):
        raise WeightsInvalid("no_tensor", file=path.name, key=key)
    made = found.id.get_create_plist()
    if made.get_layout() != h5py.h5d.CONTIGUOUS or made.get_external_count():
        raise WeightsInvalid("no_plain_array", file=path.name, key=key)
    if found.dtype.kind != "f":
        raise WeightsInvalid("no_floats", file=path.name, key=key, dtype=str(found.dtype))
    nbytes = math.prod(found.shape) * found.dtype.itemsize
    if not nbytes == found.id.get_storage_size() <= path.stat().st_size:
        raise WeightsInvalid("claims_too_much", file=path.name, key=key)
    values = np.asarray(found[()])
    return torch.from_numpy(values.astype(values.dtype.newbyteorder("=")))


def _named_here(
    path: Path, arrays: dict[str, Tensor], architecture: Architecture
) -> dict[str, Tensor]:
    """Give every array our own key and its axes our order; a name nobody knows stays."""
    layers = {key: _layer_of(key) for key in arrays}
    ours = _names(path, {layer for layer in layers.values() if layer}, architecture)
    named: dict[str, Tensor] = {}
    for key, tensor in arrays.items():
        layer, part = ours.get(layers[key]), _part(key.rpartition("/")[2])
        known = f"{layer}.{part}" if layer and part else key
        if known in named:
            raise WeightsInvalid("named_twice", file=path.name, network=architecture.name)
        named[known] = _outputs_first(tensor)
    return named


def _part(name: str) -> str:
    return "weight" if KERNEL.fullmatch(name) else "bias" if BIAS.fullmatch(name) else ""


def _layer_of(key: str) -> str:
    """Find Keras' name of a layer in an array's path; empty where there is none."""
    for part in key.split("/")[:-1]:
        if part in HEAD or BLOCK.fullmatch(part) or NUMBERED.fullmatch(part):
            return part
    return ""


def _names(path: Path, layers: set[str], architecture: Architecture) -> dict[str, str]:
    """Say which of our layers each of Keras' is: by its name, or by its place among its kind."""
    names = {layer: f"conv{m[1]}_{m[2]}" for layer in layers if (m := BLOCK.fullmatch(layer))}
    names |= {layer: HEAD[layer] for layer in layers & HEAD.keys()}
    for kind, row_type in (("conv2d", Filters), ("dense", Dense)):
        found = sorted((layer for layer in layers if _is_numbered(layer, kind)), key=_number)
        rows = [row.name for row in architecture.rows if isinstance(row, row_type)]
        if len(found) not in {0, len(rows)}:
            raise WeightsInvalid(
                "other_count",
                file=path.name,
                kind=kind,
                found=len(found),
                network=architecture.name,
                wanted=len(rows),
            )
        names |= dict(zip(found, rows, strict=False))
    return names


def _is_numbered(layer: str, kind: str) -> bool:
    found = NUMBERED.fullmatch(layer)
    return found is not None and found[1] == kind


def _number(layer: str) -> int:
    found = NUMBERED.fullmatch(layer)
    return int(found[2] or 0) if found else 0


def _outputs_first(tensor: Tensor) -> Tensor:
    """Turn (height, width, in, out) to (out, in, height, width), and (in, out) to (out, in)."""
    if tensor.dim() == 4:
        return tensor.permute(3, 2, 0, 1).contiguous()
    return tensor.T.contiguous() if tensor.dim() == 2 else tensor


def _last_maps(tensors: dict[str, Tensor], architecture: Architecture) -> int:
    """Count the maps below the classifier; 0 where the file has no convolution."""
    rows = [row.name for row in architecture.rows if isinstance(row, Filters)]
    weights = (tensors.get(f"{row}.weight") for row in reversed(rows))
    return next((weight.shape[0] for weight in weights if weight is not None), 0)


def _channels_first(rows: Tensor, maps: int) -> Tensor:
    """Reorder the inputs of a matrix, which Keras flattens by row, column and channel."""
    if rows.dim() != 2 or not maps or rows.shape[1] % maps:
        return rows  # it fits no network, which is said later
    side = math.isqrt(rows.shape[1] // maps)
    if side * side * maps != rows.shape[1]:
        return rows
    cells = rows.reshape(len(rows), side, side, maps)
    return cells.permute(0, 3, 1, 2).reshape(len(rows), -1).contiguous()
