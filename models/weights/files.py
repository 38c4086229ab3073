"""Weight files read safely: every tensor checked, nothing that is in a file run."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from models.disk import replace_file
from models.errors import WeightsInvalid
from models.networks.architecture import Architecture
from models.weights.caffe import read_caffe
from models.weights.download import hash_of
from models.weights.keras import read_keras
from models.weights.naming import Naming, is_learned, rename
from models.weights.onnx import read_onnx


@dataclass(frozen=True)
class WeightsFile:
    """A file's tensors by our own keys, and what the file says of itself."""

    path: Path
    sha256: str
    tensors: Mapping[str, Tensor]
    naming: Naming
    metadata: Mapping[str, Any]


def read(path: Path, architecture: Architecture) -> WeightsFile:
    """Read a file of any format in ``READERS`` for an architecture; run nothing that is in it.

    Raises WeightsInvalid for a file that is damaged, unsafe or another network's.
    """
    load = READERS.get(path.suffix, _read_pth)
    try:
        path.open("rb").close()
        tensors, metadata = load(path, architecture)
    except WeightsInvalid:
        raise
    except OSError as error:
        raise WeightsInvalid("cannot_be_read", file=path.name, cause=error) from error
    _check(path, tensors)
    naming, named = rename(path, tensors, architecture)
    floats = {key: tensor.to(torch.float32) for key, tensor in named.items()}
    floats |= dict(_zero_biases(floats, metadata.get("unbiased")))
    return WeightsFile(path, hash_of(path), floats, naming, metadata)


def _zero_biases(floats: Mapping[str, Tensor], layers: object) -> Iterator[tuple[str, Tensor]]:
    """Yield biases of zero for the layers that have none in a file that says so."""
    for layer in layers if isinstance(layers, list | tuple) else ():
        weight = floats.get(f"{layer}.weight")
        if weight is not None and f"{layer}.bias" not in floats:
            yield f"{layer}.bias", torch.zeros(weight.shape[:1])


def glance(path: Path) -> WeightsFile:
    """Read what a ``.safetensors`` file says of itself, without its tensors."""
    with _opened(path) as file:
        own = not any(key.startswith(("features.", "classifier.")) for key in file.keys())
        metadata = _metadata(path, (file.metadata() or {}).get("deconvnet"))
    return WeightsFile(path, hash_of(path), {}, "own" if own else "torchvision", metadata)


def write(
    path: Path,
    tensors: Mapping[str, Tensor],
    described: Mapping[str, Any],
    before_named: Callable[[Path], object] = lambda part: None,
) -> None:
    """Write tensors of our own keys with the ``deconvnet`` entry that describes them.

    ``before_named`` is told the whole file before it gets its name.
    """
    metadata = {"deconvnet": json.dumps(described)}

    def save(part: Path) -> None:
        save_file(dict(tensors), part, metadata)
        before_named(part)

    replace_file(path, save)


def _read_safetensors(path: Path, _: Architecture) -> tuple[dict[str, Tensor], dict[str, Any]]:
    with _opened(path) as file:
        # copied, for what is mapped dies with a file that somebody overwrites in place
        tensors = {key: file.get_tensor(key).clone() for key in file.keys()}
        text = (file.metadata() or {}).get("deconvnet")
    return tensors, _metadata(path, text)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except SafetensorError as error:
        raise WeightsInvalid("no_safetensors", file=path.name, cause=error) from error


def _metadata(path: Path, text: str | None) -> dict[str, Any]:
    try:
        metadata = json.loads(text or "{}")
    except (ValueError, RecursionError) as error:
        raise WeightsInvalid("metadata_is_no_json", file=path.name, cause=error) from error
    if not isinstance(metadata, dict):
        raise WeightsInvalid("metadata_is_no_object", file=path.name)
    return metadata


def _read_pth(path: Path, _: Architecture) -> tuple[dict[str, Tensor], dict[str, Any]]:
    _check_archive(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises whatever the pickle trips over
        raise _trouble(path, error) from error
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not isinstance(content, Mapping) or not content:
        raise WeightsInvalid("no_state_dict", file=path.name)
    return {str(key): value for key, value in content.items()}, {}


def _trouble(path: Path, error: Exception) -> WeightsInvalid:
    """Tell what torch found: code, or a file that is not whole."""
    if not isinstance(error, UnpicklingError):
        return WeightsInvalid("damaged", file=path.name)
    if code := re.search(r"GLOBAL ([\w.]+)", str(error)):
        return WeightsInvalid("holds_code", file=path.name, code=code[1])
    return WeightsInvalid("more_than_tensors", file=path.name)


def _check_archive(path: Path) -> None:
    """Refuse an archive that would grow in memory beyond what it takes on disk."""
    if not zipfile.is_zipfile(path):
        return  # torch's old format: one plain stream, no larger than the file
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, ValueError) as error:
        raise WeightsInvalid("damaged_archive", file=path.name, cause=error) from error
    deflated = any(entry.compress_type != zipfile.ZIP_STORED for entry in entries)
    if deflated or sum(entry.file_size for entry in entries) > path.stat().st_size:
        raise WeightsInvalid("compressed", file=path.name)


def _check(path: Path, tensors: Mapping[str, object]) -> None:
    """Refuse whatever is not dense, finite tensors of floats, each filling its own storage."""
    dense = {key: _dense(path, key, tensor) for key, tensor in tensors.items() if is_learned(key)}
    if sum(tensor.nbytes for tensor in dense.values()) > path.stat().st_size:
        raise WeightsInvalid("shared_storage", file=path.name)
    for key, tensor in dense.items():
        if not bool(torch.isfinite(tensor.to(torch.float32)).all()):
            raise WeightsInvalid("not_finite", file=path.name, key=key)


def _dense(path: Path, key: str, tensor: object) -> Tensor:
    if not isinstance(tensor, Tensor):
        raise WeightsInvalid("no_tensor", file=path.name, key=key)
    if tensor.device.type == "meta":
        raise WeightsInvalid("meta_tensor", file=path.name, key=key)
    if tensor.layout != torch.strided:
        raise WeightsInvalid("sparse_tensor", file=path.name, key=key)
    if not tensor.dtype.is_floating_point:
        raise WeightsInvalid("no_floats", file=path.name, key=key, dtype=str(tensor.dtype))
    if tensor.nbytes > tensor.untyped_storage().nbytes():
        raise WeightsInvalid("claims_too_much", file=path.name, key=key)
    return tensor


Reader = Callable[[Path, Architecture], tuple[dict[str, Tensor], dict[str, Any]]]
"""Reads what a file holds for an architecture: its tensors, by the file's own keys or by ours, and
its metadata; raises WeightsInvalid."""

READERS: dict[str, Reader] = {
    ".safetensors": _read_safetensors,
    ".pth": _read_pth,
    ".onnx": read_onnx,
    ".h5": read_keras,
    ".hdf5": read_keras,
    ".keras": read_keras,
    ".caffemodel": read_caffe,
}
"""The format that an ending stands for; ``torch.save``'s, where it is none of these."""
