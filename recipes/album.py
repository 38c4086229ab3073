"""Photos on a GPU, and random crops of them cut there, a whole batch at once."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F


class Album:
    """Photos in one tensor on one device; what is longer than ``side`` pixels loses its ends."""

    def __init__(self, photos: Sequence[Tensor], device: torch.device, side: int = 320) -> None:
        self.pages = torch.zeros(len(photos), 3, side, side, dtype=torch.uint8, device=device)
        self.sizes = torch.zeros(len(photos), 2, device=device)
        for number, photo in enumerate(photos):
            height, width = (min(length, side) for length in photo.shape[1:])
            top, left = (photo.shape[1] - height) // 2, (photo.shape[2] - width) // 2
            kept = photo[:, top : top + height, left : left + width]
            self.pages[number, :, :height, :width] = kept.to(device)
            self.sizes[number] = torch.tensor([height, width])

    def draw(self, count: int, side: int, least: float = 0.6) -> tuple[Tensor, Tensor]:
        """Draw random crops: which photos (count,), and the crops (count, 3, side, side) 0 to 255.

        A crop takes from ``least`` to all of the shorter side, up to 15 % longer or shorter one
        way than the other, mirrored or not.
        """
        device = self.pages.device
        chosen = torch.randint(len(self.pages), (count,), device=device)
        share, stretch, down, across, mirror = torch.rand(5, count, 1, device=device)
        lengths = self.sizes[chosen]
        size = lengths.amin(1, keepdim=True) * (least + (1 - least) * share)
        ratio = (0.85 + 0.3 * stretch).sqrt()
        rows = _places(size * ratio, lengths[:, :1], down, side)
        columns = _places(size / ratio, lengths[:, 1:], across, side)
        columns = torch.where(mirror < 0.5, columns.flip(1), columns)
        grid = torch.stack(
            [columns[:, None, :].expand(-1, side, -1), rows[:, :, None].expand(-1, -1, side)], 3
        )
        grid = (2 * grid + 1) / self.pages.shape[2] - 1
        return chosen, F.grid_sample(self.pages[chosen].float(), grid, align_corners=False)


def _places(size: Tensor, length: Tensor, where: Tensor, side: int) -> Tensor:
    """Return the (N, side) places, in pixels, at which a stretch of a photo's side is read."""
    size = torch.minimum(size, length)
    start = (length - size) * where
    steps = (torch.arange(side, device=size.device) + 0.5) / side
    return torch.minimum((start + size * steps - 0.5).clamp(min=0), length - 1)


def tint(crops: Tensor, most: float = 0.3) -> Tensor:
    """Change the brightness and contrast of each crop, by up to a share of ``most``."""
    brightness, contrast = 1 + most * (2 * torch.rand(2, len(crops), 1, 1, 1).to(crops.device) - 1)
    mean = crops.mean((1, 2, 3), keepdim=True)
    tinted: Tensor = (crops - mean) * contrast + mean * brightness
    return tinted.clamp(0, 255)


def mix(crops: Tensor) -> Tensor:
    """Lay another crop of the batch over each, at a random strength up to a half."""
    strength = torch.rand(len(crops), 1, 1, 1).to(crops.device) / 2
    return crops + (crops.flip(0) - crops) * strength
