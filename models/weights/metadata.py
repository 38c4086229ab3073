"""What a weights file says of itself: preprocessing, normalisation, classes, provenance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, fields, replace
from typing import Any, TypeVar

from models.errors import WeightsInvalid
from models.networks.architecture import Architecture, Normalization
from models.networks.network import Provenance
from models.networks.preprocessing import Preprocessing
from models.weights.files import WeightsFile

D = TypeVar("D", Preprocessing, Normalization)


def provenance_of(file: WeightsFile, architecture: Architecture, source: str) -> Provenance:
    """Collect where a file's weights come from and how photos must be shown to them."""
    classes = read_classes(file)
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


def describe(provenance: Provenance, classes: Sequence[str] | None) -> dict[str, Any]:
    """Return the ``deconvnet`` entry that says all that is known of a network's weights."""
    assert provenance.preprocessing is not None, "weights that were read have one"
    metadata = {
        "preprocessing": asdict(provenance.preprocessing),
        "norm": asdict(provenance.norm) if provenance.norm else None,
        "classes": classes,
        "source": provenance.description,
        "licence": provenance.licence,
    }
    kept = {key: value for key, value in metadata.items() if value is not None}
    return kept if provenance.trained else {**kept, "trained": False}


def _norm(file: WeightsFile, architecture: Architecture) -> Normalization | None:
    """Return the normalisation that the weights were trained with."""
    if architecture.norm is None:
        return None
    if "norm" in file.metadata:
        found = _dataclass(file, architecture.norm, "norm")
        if found.size % 2 == 0:
            raise WeightsInvalid("even_size", file=file.path.name, size=found.size)
        return found
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
    if not fits:
        raise WeightsInvalid("senseless_preprocessing", file=file.path.name, found=found)
    return found


def _dataclass(file: WeightsFile, default: D, entry: str) -> D:
    """Take from a metadata entry what it says, each field of the default's type."""
    given = file.metadata[entry]
    if not isinstance(given, dict):
        raise WeightsInvalid("entry_is_no_object", file=file.path.name, entry=entry)
    values: dict[str, Any] = {}
    for field in fields(default):
        like = getattr(default, field.name)
        values[field.name] = _as(file, entry, field.name, given.get(field.name, like), like)
    return replace(default, **values)


LONGEST = 1000
"""Characters that are kept of a text in the metadata."""

LONGEST_LABEL = 200
"""Characters that are kept of a class label."""

CHOICES = {"order": ("pool-norm", "norm-pool"), "channel_order": ("RGB", "BGR", "L")}

RANGES = {
    "preprocessing.size": (8, 1024),
    "preprocessing.resize": (8, 2048),
    "preprocessing.scale": (1e-6, 1e3),
    "preprocessing.mean": (-1e4, 1e4),
    "preprocessing.std": (1e-4, 1e4),
    "norm.size": (1, 255),
    "norm.alpha": (0, 100),
    "norm.beta": (0, 4),
    "norm.k": (1e-3, 1e3),
}
"""The least and the most that a number of the metadata may be."""


def _as(file: WeightsFile, entry: str, name: str, value: object, like: object) -> object:
    """Check one value of the metadata against the type of its default."""
    match like, value:
        case str(), str() if value in CHOICES[name]:
            return value
        case int(), int() if not isinstance(value, bool):
            return _within(file, entry, name, value)
        case float(), int() | float() if not isinstance(value, bool):
            return float(_within(file, entry, name, value))
        case tuple(), list() | tuple() if all(type(v) in {int, float} for v in value):
            return tuple(float(_within(file, entry, name, v)) for v in value)
    where = f"{entry}.{name}"
    raise WeightsInvalid("impossible_value", file=file.path.name, entry=where, value=value)


N = TypeVar("N", int, float)


def _within(file: WeightsFile, entry: str, name: str, value: N) -> N:
    """Return a number if it is within its range, which neither NaN nor infinity is."""
    least, most = RANGES[f"{entry}.{name}"]
    if not least <= value <= most:
        raise WeightsInvalid(
            "out_of_range",
            file=file.path.name,
            entry=entry,
            name=name,
            value=value,
            least=least,
            most=most,
        )
    return value


def _text(file: WeightsFile, entry: str) -> str | None:
    """Return an entry of the metadata that is a sentence."""
    found = file.metadata.get(entry)
    if found is None:
        return None
    if not _is_text(found):
        raise WeightsInvalid("entry_is_no_text", file=file.path.name, entry=entry)
    return str(found)[:LONGEST]


def _is_text(value: object) -> bool:
    """Tell a text from half a character, which JSON can name and nothing can write."""
    return isinstance(value, str) and not any("\ud800" <= sign <= "\udfff" for sign in value)


def read_classes(file: WeightsFile) -> tuple[str, ...] | None:
    """Return the class labels that the file carries."""
    classes = file.metadata.get("classes")
    if classes is None:
        return None
    if not isinstance(classes, list) or not all(_is_text(label) for label in classes):
        raise WeightsInvalid("classes_are_no_names", file=file.path.name)
    return tuple(label[:LONGEST_LABEL] for label in classes) or None
