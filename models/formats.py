"""Weight files as they come: read safely, renamed to our own keys, checked tensor by tensor.

Three ways to name the same tensors are known:

* our own: ``conv1.weight``,
* torchvision's: ``features.0.weight``, ``classifier.6.bias``,
* pytorchcv's: ``features.stage1.unit1.conv.weight``, ``output.fc1.fc.weight``.
"""

from __future__ import annotations

import hashlib
import json
import re
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from .errors import WeightsInvalid
from .network import (
    Architecture,
    Dense,
    Filters,
    Network,
    Normalization,
    Pooling,
    Provenance,
    build,
)
from .preprocessing import Preprocessing

T = TypeVar("T")
Naming = Literal["own", "torchvision", "pytorchcv"]


@dataclass(frozen=True)
class WeightsFile:
    """A file's tensors by our own keys, and what the file says of itself."""

    path: Path
    sha256: str
    tensors: Mapping[str, Tensor]
    naming: Naming
    metadata: Mapping[str, Any]


def read(path: Path, architecture: Architecture) -> WeightsFile:
    """Read a ``.safetensors`` or ``.pth`` file for an architecture; run nothing that is in it.

    Raises WeightsInvalid with a sentence for a file that is damaged, unsafe or another network's.
    """
    load = _read_safetensors if path.suffix == ".safetensors" else _read_pth
    try:
        tensors, metadata = load(path)
    except WeightsInvalid:
        raise
    except OSError as error:
        raise WeightsInvalid(f"{path.name} cannot be read: {error.strerror or error}") from error
    for key, tensor in tensors.items():
        _check(path, key, tensor)
    naming, named = _rename(path, tensors, architecture)
    floats = {key: tensor.to(torch.float32) for key, tensor in named.items()}
    return WeightsFile(path, sha256_of(path), floats, naming, metadata)


def sha256_of(path: Path) -> str:
    """Hash a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def assemble(file: WeightsFile, architecture: Architecture, source: str) -> Network:
    """Build the network that a file describes and fill it with the file's tensors."""
    metadata = file.metadata
    classes = _classes(file)
    provenance = Provenance(
        source=source,
        sha256=file.sha256,
        trained=bool(metadata.get("trained", True)),
        classes=len(classes) if classes else None,
        licence=metadata.get("licence"),
        description=metadata.get("source"),
    )
    shapes = {key: tuple(tensor.shape) for key, tensor in file.tensors.items()}
    with torch.device("meta"):
        network = build(
            architecture,
            shapes,
            norm=_norm(file, architecture),
            preprocessing=_preprocessing(file, architecture),
            classes=classes,
            provenance=provenance,
        )
    fill(network, file.tensors, file.path.name)
    head = network.layers[-1]
    if classes and (head.kind != "fc" or network.describe()[-1].shape.channels != len(classes)):
        raise WeightsInvalid(f"{file.path.name} names {len(classes)} classes for another head")
    return network


def fill(network: Network, tensors: Mapping[str, Tensor], name: str) -> None:
    """Give a network its tensors; raise WeightsInvalid unless keys and shapes match exactly."""
    expected = network.tensors()
    missing, surplus = expected.keys() - tensors.keys(), tensors.keys() - expected.keys()
    if missing:
        raise WeightsInvalid(f"{name} lacks {_few(missing)}, which {network.name} needs")
    if surplus:
        raise WeightsInvalid(f"{name} holds {_few(surplus)}, which {network.name} has no place for")
    for key, tensor in expected.items():
        if tensors[key].shape != tensor.shape:
            found, wanted = tuple(tensors[key].shape), tuple(tensor.shape)
            raise WeightsInvalid(f"{name}: {key} is {found}; {network.name} needs {wanted}")
    network.adopt(tensors)


def _few(keys: set[str]) -> str:
    first = sorted(keys)[:4]
    return ", ".join(first) + (f" and {len(keys) - 4} more" if len(keys) > 4 else "")


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}
            text = (file.metadata() or {}).get("deconvnet")
    except SafetensorError as error:
        raise WeightsInvalid(f"{path.name} is no whole safetensors file: {error}") from error
    return tensors, _metadata(path, text)


def _metadata(path: Path, text: str | None) -> dict[str, Any]:
    try:
        metadata = json.loads(text or "{}")
    except (ValueError, RecursionError) as error:
        raise WeightsInvalid(f"{path.name}: its metadata is not JSON: {error}") from error
    if not isinstance(metadata, dict):
        raise WeightsInvalid(f"{path.name}: its metadata is not a JSON object")
    return metadata


def _read_pth(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    _check_archive(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises whatever the pickle trips over
        raise WeightsInvalid(
            f"{path.name} is damaged or holds more than tensors; nothing in it was run"
        ) from error
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not isinstance(content, Mapping) or not content:
        raise WeightsInvalid(f"{path.name} holds no state dict")
    wrapped = all(str(key).startswith("module.") for key in content)  # saved from DataParallel
    prefix = "module." if wrapped else ""
    return {str(key).removeprefix(prefix): value for key, value in content.items()}, {}


def _check_archive(path: Path) -> None:
    """Refuse an archive that would grow in memory beyond what it takes on disk."""
    if not zipfile.is_zipfile(path):
        return  # torch's old format: one plain stream, no larger than the file
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, ValueError) as error:
        raise WeightsInvalid(f"{path.name} is a damaged archive: {error}") from error
    deflated = any(entry.compress_type != zipfile.ZIP_STORED for entry in entries)
    if deflated or sum(entry.file_size for entry in entries) > path.stat().st_size:
        raise WeightsInvalid(f"{path.name} is compressed, which torch.save never does")


def _check(path: Path, key: str, tensor: object) -> None:
    """Refuse whatever is not a dense, finite tensor of floats that fills its own storage."""
    if not isinstance(tensor, Tensor):
        raise WeightsInvalid(f"{path.name}: {key} is no tensor")
    if key.endswith("num_batches_tracked"):
        return
    if tensor.layout != torch.strided or tensor.device.type == "meta" or tensor.is_quantized:
        raise WeightsInvalid(f"{path.name}: {key} is not a dense tensor")
    if not tensor.dtype.is_floating_point:
        raise WeightsInvalid(f"{path.name}: {key} is {tensor.dtype}, not floating point")
    if tensor.nbytes > tensor.untyped_storage().nbytes():
        raise WeightsInvalid(f"{path.name}: {key} claims more numbers than the file holds")
    if not bool(torch.isfinite(tensor.to(torch.float32)).all()):
        raise WeightsInvalid(f"{path.name}: {key} holds NaN or infinity")


def _rename(
    path: Path, tensors: Mapping[str, Tensor], architecture: Architecture
) -> tuple[Naming, dict[str, Tensor]]:
    """Give every tensor our own key; a name nobody knows stays, to be reported as surplus."""
    kept = {k: t for k, t in tensors.items() if not k.endswith("num_batches_tracked")}
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
    place = 0
    for row in architecture.rows:
        if isinstance(row, Filters):
            yield from _pairs(f"features.{place}", row.name)
            if architecture.batch_norm:
                place += 1
                yield from _pairs(f"features.{place}", f"{row.name}.bn")
            place += 2
        elif isinstance(row, Pooling):
            place += 1
    dense = [row.name for row in architecture.rows if isinstance(row, Dense)]
    # torchvision's AlexNet begins its classifier with a dropout, its VGGs do not
    places = (1, 4, 6) if architecture.name == "alexnet" else (0, 3, 6)
    for at, name in zip(places, dense, strict=True):
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


def _norm(file: WeightsFile, architecture: Architecture) -> Normalization | None:
    """Return the normalisation that the weights were trained with."""
    if architecture.norm is None:
        return None
    if "norm" in file.metadata:
        return _dataclass(file, Normalization, "norm")
    if file.naming == "pytorchcv":
        return Normalization(order="norm-pool", alpha=1e-4)
    return architecture.norm


def _preprocessing(file: WeightsFile, architecture: Architecture) -> Preprocessing:
    """Return how photos were shown in training."""
    if "preprocessing" not in file.metadata:
        return architecture.preprocessing
    found = _dataclass(file, Preprocessing, "preprocessing")
    channels = 1 if found.channel_order == "L" else 3
    fits = len(found.mean) == len(found.std) == channels == architecture.preprocessing.channels
    numbers = (*found.mean, *found.std, found.scale)
    sane = all(-1e6 < number < 1e6 for number in numbers) and min(found.std) > 0 < found.scale
    if not (fits and sane and 8 <= found.size <= 1024 and 8 <= found.resize <= 2048):
        raise WeightsInvalid(f"{file.path.name}: its preprocessing makes no sense: {found}")
    return found


def _dataclass(file: WeightsFile, kind: type[T], entry: str) -> T:
    """Build a frozen dataclass from a metadata entry, each field of the default's type."""
    given, default = file.metadata[entry], kind()
    if not isinstance(given, dict):
        raise WeightsInvalid(f"{file.path.name}: metadata {entry!r} is not an object")
    values = {}
    for field in fields(kind):  # type: ignore[arg-type]
        like = getattr(default, field.name)
        values[field.name] = _as(file, entry, field.name, given.get(field.name, like), like)
    return kind(**values)


CHOICES = {"order": ("pool-norm", "norm-pool"), "channel_order": ("RGB", "BGR", "L")}


def _as(file: WeightsFile, entry: str, name: str, value: object, like: object) -> object:
    """Check one value of the metadata against the type of its default."""
    match like, value:
        case str(), str() if value in CHOICES[name]:
            return value
        case int(), int() if not isinstance(value, bool):
            return value
        case float(), int() | float() if not isinstance(value, bool):
            return float(value)
        case tuple(), list() | tuple() if all(isinstance(v, int | float) for v in value):
            return tuple(float(v) for v in value)
    raise WeightsInvalid(f"{file.path.name}: metadata {entry}.{name} cannot be {value!r}")


def _classes(file: WeightsFile) -> tuple[str, ...] | None:
    """Return the class labels that the file carries."""
    classes = file.metadata.get("classes")
    if classes is None:
        return None
    if not isinstance(classes, list) or not all(isinstance(label, str) for label in classes):
        raise WeightsInvalid(f"{file.path.name}: metadata 'classes' is not a list of names")
    return tuple(classes) or None
