"""From a photo to a network's pixels: fit, scale, order of channels, mean and deviation.

What the preprocessing is belongs to the weights. Torchvision's preset (shorter side to 256,
centre crop of 224, mean and deviation) comes out equal to torchvision's own, bit for bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

if TYPE_CHECKING:
    import torch
    from torch import Tensor

EXTREME = 4.0
"""Aspect beyond which a photo is cropped before it is resized, so that memory stays bounded."""


class Box(NamedTuple):
    """A rectangle of cells; bottom and right are exclusive."""

    top: float
    left: float
    bottom: float
    right: float


@dataclass(frozen=True)
class Preprocessing:
    """How photos were shown to the network in training.

    ``resize`` is the shorter side before the centre crop of ``size``; a ``size`` beyond it is
    reached by a black margin. A value v of 0-255 becomes (v x scale - mean) / std.
    """

    size: int = 224
    resize: int = 256
    channel_order: Literal["RGB", "BGR", "L"] = "RGB"
    scale: float = 1 / 255
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)

    @property
    def channels(self) -> int:
        """Return how many channels the network takes."""
        return 1 if self.channel_order == "L" else 3


@dataclass(frozen=True)
class Frame:
    """Where a photo lies in the square that the network sees.

    A point (x, y) of the photo is at (x * scale_x + left, y * scale_y + top) of the input.
    """

    width: int
    height: int
    size: int
    scale_x: float
    scale_y: float
    left: float
    top: float

    def to_photo(self, box: Box) -> Box:
        """Map a box of input pixels to the photo, clipped to it."""
        return Box(
            _clip((box.top - self.top) / self.scale_y, self.height),
            _clip((box.left - self.left) / self.scale_x, self.width),
            _clip((box.bottom - self.top) / self.scale_y, self.height),
            _clip((box.right - self.left) / self.scale_x, self.width),
        )

    def to_input(self, x: float, y: float) -> tuple[int, int] | None:
        """Find the input pixel (y, x) that shows a point of the photo; None if cropped away."""
        across, down = x * self.scale_x + self.left, y * self.scale_y + self.top
        inside = 0 <= across < self.size and 0 <= down < self.size
        return (int(down), int(across)) if inside else None

    @property
    def kept(self) -> Box:
        """Return the part of the photo that the network sees."""
        return self.to_photo(Box(0, 0, self.size, self.size))


@dataclass(frozen=True)
class FramedPhoto:
    """A photo as a network sees it: the size x size picture, RGB or grey, and where it was cut."""

    picture: Image.Image
    frame: Frame

    @property
    def nbytes(self) -> int:
        """Count the bytes that Pillow holds the pixels in: four a pixel, one in grey."""
        return (1 if self.picture.mode == "L" else 4) * self.frame.size**2


def _clip(value: float, limit: int) -> float:
    return min(max(value, 0.0), float(limit))


def frame(photo: tuple[int, int], preprocessing: Preprocessing, fit: str = "crop") -> Frame:
    """Compute where a photo of (width, height) lies in the square that the network sees."""
    (width, height), size = photo, preprocessing.size
    across, down = _resized(photo, preprocessing, fit)
    left, top = round((size - across) / 2), round((size - down) / 2)
    if fit == "crop":
        left, top = -_margin(across, size), -_margin(down, size)
    return Frame(width, height, size, across / width, down / height, left, top)


def _resized(photo: tuple[int, int], preprocessing: Preprocessing, fit: str) -> tuple[int, int]:
    """Return (width, height) after the resize that comes before any crop or padding."""
    (width, height), size = photo, preprocessing.size
    if fit == "stretch":
        return size, size
    if fit == "pad":
        longer = max(width, height)
        return max(1, round(width * size / longer)), max(1, round(height * size / longer))
    short = preprocessing.resize
    if width <= height:  # the longer side is cut down to whole pixels, as torchvision does
        return short, int(short * height / width)
    return int(short * width / height), short


def _margin(length: int, size: int) -> int:
    """Return how much torchvision's centre crop cuts off before its first pixel."""
    if length >= size:
        return round((length - size) / 2)
    return -((size - length) // 2)


def frame_photo(photo: Image.Image, preprocessing: Preprocessing, fit: str = "crop") -> FramedPhoto:
    """Resize and cut a photo to what the network sees; the only time that its pixels are read."""
    return FramedPhoto(framed(photo, preprocessing, fit), frame(photo.size, preprocessing, fit))


def framed(photo: Image.Image, preprocessing: Preprocessing, fit: str = "crop") -> Image.Image:
    """Return the size x size picture that the network sees, in RGB or grey."""
    mode = "L" if preprocessing.channel_order == "L" else "RGB"
    photo = photo if photo.mode == mode else photo.convert(mode)  # which copies in any case
    size = preprocessing.size
    across, down = _resized(photo.size, preprocessing, fit)
    where = frame(photo.size, preprocessing, fit)
    left, top = int(where.left), int(where.top)
    if fit == "crop" and max(across, down) > EXTREME * size:
        return _crop_then_resize(photo, preprocessing, where)
    photo = photo.resize((across, down), Image.Resampling.BILINEAR)
    if fit == "crop" and min(across, down) >= size:
        return photo.crop((-left, -top, size - left, size - top))
    canvas = Image.new(photo.mode, (size, size), _margin_colour(preprocessing, fit))
    canvas.paste(photo, (left, top))
    return canvas


def _crop_then_resize(
    photo: Image.Image, preprocessing: Preprocessing, where: Frame
) -> Image.Image:
    """Resize only the part of an extremely long photo that the crop keeps."""
    size = preprocessing.size
    width = min(size, round(where.width * where.scale_x))
    height = min(size, round(where.height * where.scale_y))
    left, top = max(0.0, -where.left), max(0.0, -where.top)
    box = (
        left / where.scale_x,
        top / where.scale_y,
        min(where.width, (left + width) / where.scale_x),
        min(where.height, (top + height) / where.scale_y),
    )
    part = photo.resize((width, height), Image.Resampling.BILINEAR, box=box)
    canvas = Image.new(photo.mode, (size, size), _margin_colour(preprocessing, "crop"))
    canvas.paste(part, (max(0, int(where.left)), max(0, int(where.top))))
    return canvas


def _margin_colour(preprocessing: Preprocessing, fit: str) -> int | tuple[int, ...]:
    """Return black as torchvision's crop pads, or for ``pad`` the mean, which networks see as 0."""
    if fit == "crop":
        return 0 if preprocessing.channels == 1 else (0, 0, 0)
    return mean_colour(preprocessing)


def mean_colour(preprocessing: Preprocessing) -> int | tuple[int, ...]:
    """Return the colour of 0 to 255, RGB or grey, that is nearest to what networks see as 0."""
    mean = [round(value / preprocessing.scale) for value in preprocessing.mean]
    ordered = mean[::-1] if preprocessing.channel_order == "BGR" else mean
    return ordered[0] if preprocessing.channels == 1 else tuple(ordered)


def to_pixels(picture: Image.Image, preprocessing: Preprocessing) -> Tensor:
    """Turn a framed picture into float32 pixels (1, C, size, size) in the network's units."""
    return batch_pixels([np.array(picture)], preprocessing)


def batch_pixels(
    pictures: Sequence[NDArray[np.uint8]],
    preprocessing: Preprocessing,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Turn framed pictures, (size, size, 3) or (size, size), into float32 pixels (N, C, H, W).

    Each comes out as it would alone, bit for bit.
    """
    import torch  # here, so that processes which only decode and frame start in no time

    values = torch.from_numpy(np.stack(pictures)).to(device)
    values = values[:, None] if values.ndim == 3 else values.permute(0, 3, 1, 2)
    if preprocessing.channel_order == "BGR":
        values = values.flip(1)
    pixels = values.to(torch.float32).contiguous() / (1 / preprocessing.scale)
    mean = torch.tensor(preprocessing.mean, dtype=torch.float32, device=pixels.device)
    std = torch.tensor(preprocessing.std, dtype=torch.float32, device=pixels.device)
    normal: Tensor = (pixels - mean.view(-1, 1, 1)) / std.view(-1, 1, 1)
    return normal
