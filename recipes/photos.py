"""Photos to learn from: decoded once, cut at random, labelled by their folder."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from models.workbench import Preprocessing

BATCH = 32
NO_CLASS = "BACKGROUND_Google"


@dataclass(frozen=True)
class CropAlignment:
    """Where student and teacher look within one crop so that their units' centres coincide.

    The teacher's first units sit at pixels 5 (conv1) and 17 (into conv3), alexnet's at 3 and 15,
    zfnet's at 2 and 20; ``low`` picks the student's units below conv2 that have a counterpart.
    """

    student: int
    teacher: int
    low: slice

    def crop(self, student: int, teacher: int) -> int:
        """Return the side of a crop that holds a student's and a teacher's square."""
        return max(self.student + student, self.teacher + teacher)


ALIGNMENTS = {
    "alexnet": CropAlignment(student=2, teacher=0, low=slice(None)),
    "zfnet": CropAlignment(student=0, teacher=3, low=slice(2, None, 2)),
}

SMALL, NATIVE = (176, 179), (224, 227)
"""Sides, student's and teacher's, that give both 10 x 10 and 13 x 13 maps at conv5."""


def read_photos(folder: Path) -> dict[str, Tensor]:
    """Decode every JPEG below a folder: path from there -> (3, H, W) uint8."""
    return {str(p.relative_to(folder)): read_photo(p) for p in sorted(folder.rglob("*.jpg"))}


def read_photo(path: Path) -> Tensor:
    """Decode one photo: (3, H, W) uint8."""
    with Image.open(path) as photo:
        return torch.from_numpy(np.array(photo.convert("RGB"))).permute(2, 0, 1)


def is_held_out(name: str) -> bool:
    """Tell whether ``caltech101/<class>/<file>`` belongs to the fifth that is never learned."""
    return int(hashlib.sha256(name.encode()).hexdigest(), 16) % 5 == 0


def label_photos(names: Sequence[str]) -> dict[str, str]:
    """Return the class of every Caltech-101 photo; other photos have none."""
    parts = {name: Path(name).parts for name in names}
    return {n: p[1] for n, p in parts.items() if p[0] == "caltech101" and p[1] != NO_CLASS}


def cut(photo: Tensor, side: int, least: float, most: float) -> Tensor:
    """Cut a random square of that share of the shorter side, flip it or not: (3, side, side)."""
    height, width = photo.shape[1:]
    share, down, across, mirror = torch.rand(4).tolist()
    size = int(min(height, width) * (least + (most - least) * share))
    top, left = int((height - size + 1) * down), int((width - size + 1) * across)
    square = photo[None, :, top : top + size, left : left + size]
    resized = F.interpolate(square, size=(side, side), mode="bilinear", antialias=True)[0]
    return resized.flip(2) if mirror < 0.5 else resized


def choose(photos: Sequence[Tensor], side: int, least: float = 0.62) -> tuple[Tensor, Tensor]:
    """Draw a batch: which photos (N,), and a crop of each (N, 3, side, side) uint8."""
    chosen = torch.randint(len(photos), (BATCH,))
    crops = [cut(photos[i], side, least, 0.97) for i in chosen.tolist()]
    return chosen, torch.stack(crops)


def to_network_pixels(
    crops: Tensor, corner: int, side: int, preprocessing: Preprocessing
) -> Tensor:
    """Turn a square of uint8 crops into a network's pixels."""
    seen = crops[:, :, corner : corner + side, corner : corner + side].float()
    seen = seen.flip(1) if preprocessing.channel_order == "BGR" else seen
    mean, std = (
        torch.tensor(v, device=crops.device)[:, None, None]
        for v in (preprocessing.mean, preprocessing.std)
    )
    return ((seen * preprocessing.scale - mean) / std).contiguous(memory_format=torch.channels_last)
