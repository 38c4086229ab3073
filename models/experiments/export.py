"""A result as bytes: JSON, npz, CSV, SVG, PNG. The same result gives the same bytes, always."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from dataclasses import asdict
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from models.experiments.plots import encode_figure
from models.experiments.shape import Result
from models.networks.network import Provenance

ResultFormat = Literal["json", "npz", "csv", "svg", "png"]


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
            return encode_figure(result.draw, form)


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
