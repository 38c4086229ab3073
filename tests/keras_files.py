"""Files of the VGGs as Keras 1, 2 and 3 lay them out, written from arrays in Keras' order."""

import io
import json
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from models.networks.architecture import Filters
from models.networks.catalogue import architecture

Arrays = Mapping[str, tuple[NDArray[np.floating], NDArray[np.floating]]]
"""Kernel and bias of each layer, by the names of ``keras.applications``, in the model's order."""
DENSE = ("fc1", "fc2", "predictions")
LAYOUTS = ("Keras 1", "Keras 2", "Keras 2, whole", "Keras 3", "Keras 3, whole")


def names(name: str, *, top: bool = True) -> list[str]:
    """List the layers of a VGG by their names in ``keras.applications``."""
    rows = [row.name for row in architecture(name).rows if isinstance(row, Filters)]
    blocks = [re.sub(r"conv(\d)_(\d)", r"block\1_conv\2", row) for row in rows]
    return [*blocks, *(DENSE if top else ())]


def narrow(name: str, *, top: bool = True, maps: int = 4, seed: int = 0) -> Arrays:
    """Make random arrays of a narrow VGG, kernels (height, width, in, out)."""
    chance, below, arrays = np.random.default_rng(seed), 3, {}
    units = dict(zip(DENSE, (6, 5, 3), strict=True))
    for layer in names(name, top=top):
        if layer == DENSE[0]:
            below *= 49
        width = units.get(layer, maps)
        shape = (below, width) if layer in DENSE else (3, 3, below, width)
        arrays[layer] = (chance.normal(size=shape), chance.normal(size=width))
        below = width
    return {key: (k.astype(np.float32), b.astype(np.float32)) for key, (k, b) in arrays.items()}


def write(arrays: Arrays, path: Path, layout: str) -> Path:
    """Write arrays in one of the ``LAYOUTS``; a whole model of Keras 3 is an archive."""
    match layout:
        case "Keras 1":
            with h5py.File(path, "w") as file:
                _write_named(file, arrays, "{0}_W_1:0", "{0}_b_1:0")
        case "Keras 2":
            with h5py.File(path, "w") as file:
                _write_named(file, arrays, "{0}/kernel:0", "{0}/bias:0")
        case "Keras 2, whole":
            with h5py.File(path, "w") as file:
                file.attrs["model_config"] = json.dumps({"class_name": "Functional"})
                _write_named(
                    file.create_group("model_weights"), arrays, "{0}/kernel:0", "{0}/bias:0"
                )
                file["optimizer_weights/iterations:0"] = np.int64(3)
        case "Keras 3":
            with h5py.File(path, "w") as file:
                _write_numbered(file, arrays)
        case _:
            _write_archive(arrays, path)
    return path


def _write_named(top: h5py.Group, arrays: Arrays, kernel: str, bias: str) -> None:
    layers = ["input_1", *arrays, "flatten"]
    top.attrs["layer_names"] = [layer.encode() for layer in layers]
    for layer in layers:
        group = top.create_group(layer)
        pairs = zip((kernel, bias), arrays.get(layer, ()), strict=False)
        known = {name.format(layer): array for name, array in pairs}
        group.attrs["weight_names"] = [name.encode() for name in known]
        for name, array in known.items():
            group[name] = array


def _write_numbered(file: h5py.File, arrays: Arrays) -> None:
    """Name layers by their kind and their place in it, as Keras 3 does."""
    counts: dict[str, int] = {}
    for layer in ("input", *arrays, "flatten"):
        kind = {"input": "input_layer", "flatten": "flatten"}.get(layer)
        kind = kind or ("dense" if layer in DENSE else "conv2d")
        number = counts[kind] = counts.get(kind, -1) + 1
        group = file.create_group(f"layers/{kind}{f'_{number}' if number else ''}/vars")
        for part, array in enumerate(arrays.get(layer, ())):
            group[str(part)] = array
    file["optimizer/vars/0"] = np.int64(3)


def _write_archive(arrays: Arrays, path: Path) -> None:
    weights = io.BytesIO()
    with h5py.File(weights, "w") as file:
        _write_numbered(file, arrays)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": "3.11.0"}))
        archive.writestr("config.json", json.dumps({"class_name": "Functional"}))
        archive.writestr("model.weights.h5", weights.getvalue())
