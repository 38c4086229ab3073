"""Weights files in the formats that others write, small enough for a test."""

import io
import zipfile
from pathlib import Path

import torch
import torchvision
from safetensors.torch import load_file
from torch import Tensor

from models.networks.architecture import Dense, Filters
from models.networks.catalogue import architecture

MAPS, UNITS = 4, 6

PYTORCHCV = {
    "conv1": "features.stage1.unit1.conv",
    "conv2": "features.stage2.unit1.conv",
    "conv3": "features.stage3.unit1.conv",
    "conv4": "features.stage3.unit2.conv",
    "conv5": "features.stage3.unit3.conv",
    "fc6": "output.fc1.fc",
    "fc7": "output.fc2.fc",
    "fc8": "output.fc3",
}
"""pytorchcv's names for ZFNet, as its files have them."""


def own(name: str, *, classes: int = UNITS, head: bool = True, seed: int = 0) -> dict[str, Tensor]:
    """Make narrow weights of a network by our own keys."""
    chance = torch.Generator().manual_seed(seed)
    kind = architecture(name)
    dense = [row for row in kind.rows if isinstance(row, Dense)]
    side, below, tensors = _last_side(name), kind.preprocessing.channels, {}
    for row in kind.rows:
        if isinstance(row, Filters):
            shape: tuple[int, ...] = (MAPS, below, row.kernel, row.kernel)
            below = MAPS
        elif isinstance(row, Dense) and head:
            units = classes if row is dense[-1] else UNITS
            shape = (units, below * side * side if row is dense[0] else below)
            below = units
        else:
            continue
        tensors[f"{row.name}.weight"] = torch.randn(shape, generator=chance) * 0.1
        tensors[f"{row.name}.bias"] = torch.randn(shape[0], generator=chance) * 0.1
        if kind.batch_norm and isinstance(row, Filters):
            for key in ("weight", "bias", "running_mean", "running_var"):
                tensors[f"{row.name}.bn.{key}"] = torch.rand(MAPS, generator=chance)
    return tensors


def _last_side(name: str) -> int:
    return 5 if name == "lenet5" else 7 if name.startswith("vgg") else 6


def pytorchcv(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Name ZFNet's tensors as pytorchcv does."""
    pairs = ((key.rpartition("."), tensor) for key, tensor in tensors.items())
    return {f"{PYTORCHCV[layer]}.{part}": tensor for (layer, _, part), tensor in pairs}


def torchvision_shapes(name: str) -> dict[str, tuple[int, ...]]:
    """Return the keys and shapes of torchvision's own model."""
    with torch.device("meta"):
        model = torchvision.models.get_model(name, weights=None)
    return {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()}


def save(tensors: object, path: Path, *, legacy: bool = False) -> Path:
    """Write as torch.save does, today or (torchvision's and pytorchcv's files) years ago."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(tensors, path, _use_new_zipfile_serialization=not legacy)
    return path


def packed(path: Path) -> Path:
    """Put a .pth into the .pth.zip that pytorchcv publishes."""
    archive = path.with_name(f"{path.name}.zip")
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as entries:
        entries.write(path, path.name)
    return archive


def deflated(path: Path) -> Path:
    """Write torch's own archive again, compressed."""
    content = io.BytesIO(path.read_bytes())
    with zipfile.ZipFile(content) as source, zipfile.ZipFile(path, "w") as target:
        for entry in source.infolist():
            target.writestr(entry.filename, source.read(entry), zipfile.ZIP_DEFLATED)
    return path


def load(path: Path) -> dict[str, Tensor]:
    """Read a .safetensors file's tensors."""
    return load_file(path)
