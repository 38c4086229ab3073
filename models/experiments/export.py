"""A result as bytes: JSON, npz, CSV, SVG, PNG. The same result gives the same bytes, always."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import asdict
from threading import Lock
from types import MappingProxyType
from typing import Any, Literal, get_args

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from models.experiments.shape import Result
from models.networks.network import Provenance

ResultFormat = Literal["json", "npz", "csv", "svg", "png"]

DPI = 150
STYLE: Mapping[Any, Any] = MappingProxyType(
    {
        "font.family": "sans-serif",
        "font.sans-serif": ["DejaVu Sans", "Arial", "Helvetica"],
        "font.size": 8,
        "axes.titlesize": 8,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "legend.frameon": False,
        "svg.fonttype": "none",
        "svg.hashsalt": "deconvnet",
        "text.parse_math": False,
    }
)
METADATA: dict[str, dict[str, str | None]] = {
    "svg": {"Date": None, "Creator": "deconvnet explorer"},
    "png": {"Software": "deconvnet explorer"},
}

_ONE_AT_A_TIME = Lock()
"""matplotlib's settings are the process's, and not made for several threads."""


def encode_result(result: Result, form: ResultFormat) -> bytes:
    """Write a result as the file of a format."""
    match form:
        case "json":
            return to_json(result).encode()
        case "npz":
            return _to_npz(result)
        case "csv":
            return to_csv(result).encode()
        case "svg" | "png":
            return _draw(result, form)


def result_files(result: Result) -> dict[str, bytes]:
    """Write a result in every format there is, by the ending of its file's name."""
    return {form: encode_result(result, form) for form in get_args(ResultFormat)}


def to_json(result: Result) -> str:
    """Write what was asked, whose weights it was asked of, and the numbers as lists."""
    numbers = {name: _plain(values) for name, values in result.numbers.items()}
    weights = _describe(result.provenance)
    return json.dumps({**result.facts, "weights": weights, **numbers}, allow_nan=False)


def _describe(provenance: Provenance) -> dict[str, Any]:
    return {"state": "ready", **asdict(provenance)}


def _plain(values: NDArray[np.generic]) -> Any:
    """Turn an array into lists; what is not a number is null."""
    if values.dtype.kind != "f":
        return values.tolist()
    plain = values.astype(object)
    plain[~np.isfinite(values)] = None
    return plain.tolist()


def _to_npz(result: Result) -> bytes:
    """Write the numbers as arrays; the comment of the ZIP that an npz is says the rest."""
    file = io.BytesIO()
    np.savez(file, allow_pickle=False, **result.numbers)
    said = json.dumps({**result.facts, "weights": _describe(result.provenance)})
    with zipfile.ZipFile(file, "a") as archive:
        archive.comment = said.encode()[:65535]
    return file.getvalue()


def to_csv(result: Result) -> str:
    """Write the table with commas, its columns' names first."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(result.table.columns)
    writer.writerows(result.table.rows)
    return text.getvalue()


def _draw(result: Result, form: Literal["svg", "png"]) -> bytes:
    file = io.BytesIO()
    with _ONE_AT_A_TIME, matplotlib.rc_context(dict(STYLE)):
        figure = Figure(layout="constrained", facecolor="white")
        result.draw(figure)
        figure.savefig(file, format=form, dpi=DPI, metadata=METADATA[form])
    return file.getvalue()
