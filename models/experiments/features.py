"""What chosen layers make of photos, without a record to walk down from; photos out of files."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from models.errors import InvalidChoice, OutOfMemory
from models.experiments.classes import score_layer
from models.networks.network import Network
from models.networks.preprocessing import Preprocessing, framed, to_pixels
from models.networks.signal import Size, layout
from models.training.photos import read_photo


def high_layer(network: Network) -> str:
    """Name the layer below the class scores, the paper's layer 7, or the last if there are none."""
    reached = [layer.name for layer, _ in network.sizes(network.input_size)]
    return reached[-2] if score_layer(network, network.input_size) else reached[-1]


def read_pixels(files: Sequence[Path], preprocessing: Preprocessing, fit: str = "crop") -> Tensor:
    """Read photos as a network sees them, (N, C, H, W); raise InvalidChoice for what is none."""
    return torch.cat([_read(file, preprocessing, fit) for file in files])


def stamp_of(photo: Path) -> str:
    """Return what changes with a photo's file; raise InvalidChoice where it is not there."""
    try:
        status = photo.stat()
        return f"{status.st_size} {status.st_mtime_ns}"
    except OSError as error:
        raise _no_photo(photo) from error


def _no_photo(file: Path) -> InvalidChoice:
    return InvalidChoice("no_photo_in", file=f"{file.parent.name}/{file.name}")


def _read(file: Path, preprocessing: Preprocessing, fit: str) -> Tensor:
    try:
        return to_pixels(framed(read_photo(file), preprocessing, fit), preprocessing)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise _no_photo(file) from error


@torch.no_grad()
def maps_of(network: Network, pixels: Tensor, layers: Collection[str]) -> Mapping[str, Tensor]:
    """Run pixels (N, C, H, W) forward and return the maps of some layers, (N, C', H', W')."""
    x = pixels.to(network.device, network.dtype)
    x = x.contiguous(memory_format=layout(network.device))
    found: dict[str, Tensor] = {}
    for layer, _ in network.sizes(Size(*x.shape[1:])):
        try:
            x = layer(x)
        except (torch.OutOfMemoryError, MemoryError) as error:
            raise OutOfMemory(layer.name) from error
        if layer.name in layers:
            found[layer.name] = x
        if len(found) == len(set(layers)):
            break
    return found
