"""Weight files as they come: read safely, renamed to our own keys, checked tensor by tensor.

Three ways to name the same tensors are known:

* our own: ``conv1.weight``,
* torchvision's: ``features.0.weight``, ``classifier.6.bias``,
* pytorchcv's: ``features.stage1.unit1.conv.weight``, ``output.fc1.fc.weight``.
"""

from __future__ import annotations

import json
import os
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Literal, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from .errors import WeightsInvalid
from .fetch import hash_of
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

D = TypeVar("D", Preprocessing, Normalization)
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
        path.open("rb").close()
        tensors, metadata = load(path)
    except WeightsInvalid:
        raise
    except OSError as error:
        raise WeightsInvalid(f"{path.name} cannot be read: {error.strerror or error}") from error
    _check(path, tensors)
    naming, named = _rename(path, tensors, architecture)
    floats = {key: tensor.to(torch.float32) for key, tensor in named.items()}
    return WeightsFile(path, hash_of(path), floats, naming, metadata)


def glance(path: Path) -> WeightsFile:
    """Read what a ``.safetensors`` file says of itself, without its tensors."""
    with _opened(path) as file:
        own = not any(key.startswith(("features.", "classifier.")) for key in file.keys())
        metadata = _metadata(path, (file.metadata() or {}).get("deconvnet"))
    return WeightsFile(path, hash_of(path), {}, "own" if own else "torchvision", metadata)


def provenance_of(file: WeightsFile, architecture: Architecture, source: str) -> Provenance:
    """Say where a file's weights come from and what they want to see; raises WeightsInvalid."""
    classes = _classes(file)
    return Provenance(
        source=source,
        sha256=file.sha256,
        trained=bool(file.metadata.get("trained", True)),
        classes=len(classes) if classes else None,
        licence=_text(file, "licence"),
        description=_text(file, "source"),
        preprocessing=_preprocessing(file, architecture),
        norm=_norm(file, architecture),
    )


def assemble(file: WeightsFile, architecture: Architecture, source: str) -> Network:
    """Build the network that a file describes and fill it with the file's tensors."""
    classes = _classes(file)
    provenance = provenance_of(file, architecture, source)
    shapes = {key: tuple(tensor.shape) for key, tensor in file.tensors.items()}
    try:
        with torch.device("meta"):
            network = build(
                architecture,
                shapes,
                norm=provenance.norm,
                preprocessing=provenance.preprocessing,
                classes=classes,
                provenance=provenance,
            )
    except WeightsInvalid as error:
        raise WeightsInvalid(f"{file.path.name}: {error}") from error
    fill(network, file.tensors, file.path.name)
    if classes:
        _agree(file, network, len(classes))
    return network


def _agree(file: WeightsFile, network: Network, classes: int) -> None:
    if network.last_fc is None:
        raise WeightsInvalid(f"{file.path.name} has no classifier for the {classes} classes named")
    scores = network.describe()[-1].shape.channels
    if scores != classes:
        raise WeightsInvalid(
            f"{classes} classes are named, but {network.last_fc} of {file.path.name} tells "
            f"{scores} apart"
        )


def write(path: Path, tensors: Mapping[str, Tensor], said: Mapping[str, Any]) -> None:
    """Write tensors of our own keys with the ``deconvnet`` entry that describes them."""
    metadata = {"deconvnet": json.dumps(said)}
    replace_file(path, lambda part: save_file(dict(tensors), part, metadata))


def describe(file: WeightsFile, provenance: Provenance) -> dict[str, Any]:
    """Return the ``deconvnet`` entry that says all that is known of a file's weights."""
    assert provenance.preprocessing is not None, "weights that were read have one"
    said = {
        "preprocessing": asdict(provenance.preprocessing),
        "norm": asdict(provenance.norm) if provenance.norm else None,
        "classes": _classes(file),
        "source": provenance.description,
        "licence": provenance.licence,
    }
    kept = {key: value for key, value in said.items() if value is not None}
    return kept if provenance.trained else {**kept, "trained": False}


def replace_file(file: Path, write: Callable[[Path], object]) -> None:
    """Write a file so that an interruption leaves the old one or the new one, whole."""
    unfinished = file.with_name(f"{file.name}.part")
    try:
        write(unfinished)
        unfinished.chmod(0o644)  # safetensors lets nobody else read its files
        with unfinished.open("rb") as written:
            os.fsync(written.fileno())
        unfinished.replace(file)
    finally:
        unfinished.unlink(missing_ok=True)


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
        raise WeightsInvalid(f"{path.name} is no whole safetensors file: {error}") from error


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
        raise WeightsInvalid(f"{path.name} {_trouble(error)}") from error
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not isinstance(content, Mapping) or not content:
        raise WeightsInvalid(f"{path.name} holds no state dict")
    wrapped = all(str(key).startswith("module.") for key in content)  # saved from DataParallel
    prefix = "module." if wrapped else ""
    return {str(key).removeprefix(prefix): value for key, value in content.items()}, {}


def _trouble(error: Exception) -> str:
    """Say what torch found: code, or a file that is not whole."""
    if not isinstance(error, UnpicklingError):
        return "is damaged or cut short; nothing in it was run"
    if code := re.search(r"GLOBAL ([\w.]+)", str(error)):
        return f"holds code, {code[1]}, and nothing in it was run; save its state_dict() instead"
    return "is damaged or holds more than tensors; nothing in it was run"


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


def _check(path: Path, tensors: Mapping[str, object]) -> None:
    """Refuse whatever is not dense, finite tensors of floats, each filling its own storage."""
    dense = {key: _dense(path, key, tensor) for key, tensor in tensors.items() if _counts(key)}
    if sum(tensor.nbytes for tensor in dense.values()) > path.stat().st_size:
        raise WeightsInvalid(f"{path.name}: its tensors share what they hold")
    for key, tensor in dense.items():
        if not bool(torch.isfinite(tensor.to(torch.float32)).all()):
            raise WeightsInvalid(f"{path.name}: {key} holds NaN or infinity")


def _counts(key: str) -> bool:
    """Batch norm's batch counter is of no use here."""
    return not key.endswith("num_batches_tracked")


def _dense(path: Path, key: str, tensor: object) -> Tensor:
    if not isinstance(tensor, Tensor):
        raise WeightsInvalid(f"{path.name}: {key} is no tensor")
    if tensor.device.type == "meta":
        raise WeightsInvalid(f"{path.name}: {key} is a meta tensor, a shape without numbers")
    if tensor.layout != torch.strided:
        raise WeightsInvalid(f"{path.name}: {key} is sparse; only dense tensors are read")
    if not tensor.dtype.is_floating_point:
        raise WeightsInvalid(f"{path.name}: {key} is {tensor.dtype}, not floating point")
    if tensor.nbytes > tensor.untyped_storage().nbytes():
        raise WeightsInvalid(f"{path.name}: {key} claims more numbers than the file holds")
    return tensor


def _rename(
    path: Path, tensors: Mapping[str, Tensor], architecture: Architecture
) -> tuple[Naming, dict[str, Tensor]]:
    """Give every tensor our own key; a name nobody knows stays, to be reported as surplus."""
    kept = {key: tensor for key, tensor in tensors.items() if _counts(key)}
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
        return _dataclass(file, architecture.norm, "norm")
    if file.naming == "pytorchcv":
        return Normalization(order="norm-pool", alpha=1e-4)
    return architecture.norm


def _preprocessing(file: WeightsFile, architecture: Architecture) -> Preprocessing:
    """Return how photos were shown in training."""
    if "preprocessing" not in file.metadata:
        return architecture.preprocessing
    found = _dataclass(file, architecture.preprocessing, "preprocessing")
    channels = 1 if found.channel_order == "L" else 3
    fits = len(found.mean) == len(found.std) == channels == architecture.preprocessing.channels
    numbers = (*found.mean, *found.std, found.scale)
    sane = all(-1e6 < number < 1e6 for number in numbers) and min(found.std) > 0 < found.scale
    if not (fits and sane and 8 <= found.size <= 1024 and 8 <= found.resize <= 2048):
        raise WeightsInvalid(f"{file.path.name}: its preprocessing makes no sense: {found}")
    return found


def _dataclass(file: WeightsFile, default: D, entry: str) -> D:
    """Take from a metadata entry what it says, each field of the default's type."""
    given = file.metadata[entry]
    if not isinstance(given, dict):
        raise WeightsInvalid(f"{file.path.name}: metadata {entry!r} is not an object")
    values: dict[str, Any] = {}
    for field in fields(default):
        like = getattr(default, field.name)
        values[field.name] = _as(file, entry, field.name, given.get(field.name, like), like)
    return replace(default, **values)


LONGEST = 1000
"""Characters that are kept of a text in the metadata."""
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


def _text(file: WeightsFile, entry: str) -> str | None:
    """Return an entry of the metadata that is a sentence."""
    found = file.metadata.get(entry)
    if found is not None and not isinstance(found, str):
        raise WeightsInvalid(f"{file.path.name}: metadata {entry!r} is no text")
    return found and found[:LONGEST]


def _classes(file: WeightsFile) -> tuple[str, ...] | None:
    """Return the class labels that the file carries."""
    classes = file.metadata.get("classes")
    if classes is None:
        return None
    if not isinstance(classes, list) or not all(isinstance(label, str) for label in classes):
        raise WeightsInvalid(f"{file.path.name}: metadata 'classes' is not a list of names")
    return tuple(classes) or None
