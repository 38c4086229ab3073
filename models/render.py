"""From numbers to pictures: zero is mid-grey, one symmetric scale for all channels."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

PERCENTILE = 99.5
"""The share of values that the scale must hold; the few beyond are clipped."""

SMOOTH, LIT = 2.0, 2.5
"""How far `smooth` and `lit` spread each pixel: the sigma of a Gaussian, in pixels."""

SAMPLE = 2048
"""How many values tell about where the largest of many begin."""

BACKGROUND = (255, 255, 255)
ACTIVE = (255, 176, 0)
RAMP = tuple(zip((44, 44, 44), ACTIVE, strict=True))
"""The colours of no activation and of the largest, by channel."""


Numbers = NDArray[np.floating]


def scale_of(values: Numbers, percentile: float = PERCENTILE) -> float:
    """Return the scale of a projection: the 99.5th percentile of |value|, 0 for an empty one.

    Where nearly all is zero the percentile is, too; then the largest |value| is the scale.
    """
    size = np.abs(values).ravel()
    if size.size == 0:
        return 0.0
    return _percentile(size, percentile) or float(size.max())


def _percentile(values: Numbers, percentile: float) -> float:
    """Interpolate between the two nearest values, as numpy does in many times the time."""
    place = percentile / 100 * (values.size - 1)
    below = int(place)
    above = min(below + 1, values.size - 1)
    largest, smaller = _largest(values, values.size - below)
    ordered = np.partition(largest, (below - smaller, above - smaller))
    low, high = float(ordered[below - smaller]), float(ordered[above - smaller])
    return low + (high - low) * (place - below)


def _largest(values: Numbers, count: int) -> tuple[Numbers, int]:
    """Return the largest values, at least so many of them, and how many smaller ones are left out.

    A sample says from where on: comparing all values takes a tenth of the time of ordering them.
    """
    sample = values[:: max(1, values.size // SAMPLE)]
    share = 2 * count / values.size + 0.01  # enough, but where the sample is an odd one
    place = int((1 - share) * sample.size)
    if place <= 0:
        return values, 0
    largest = values[values >= np.partition(sample, place)[place]]
    return (largest, values.size - largest.size) if largest.size >= count else (values, 0)


def picture(values: Numbers, scale: float, channel_order: str = "RGB") -> Image.Image:
    """Draw a signed projection (C, H, W): -scale is black, 0 mid-grey, +scale white."""
    values = values[::-1] if channel_order == "BGR" else values
    numbers = np.divide(values, scale or 1.0, dtype=np.float64)
    np.clip(numbers, -1, 1, out=numbers)
    numbers *= 127.5
    numbers += 128
    levels = numbers.astype(np.uint8)  # rounds down: all are within 0.5 and 255.5
    bands = [Image.fromarray(each) for each in levels]
    return bands[0].convert("RGB") if len(bands) == 1 else Image.merge("RGB", bands)


def smooth(values: Numbers, sigma: float = SMOOTH) -> Numbers:
    """Average the channels of (C, H, W) and smooth the result: (1, H, W)."""
    return _blur(values.astype(np.float64).mean(0), sigma)[None]


def strength(values: Numbers, sigma: float = LIT) -> Numbers:
    """Take the length of each pixel of (C, H, W) over its channels, and smooth it: (H, W)."""
    return _blur(np.sqrt(np.square(values.astype(np.float64)).sum(0)), sigma)


def _blur(values: Numbers, sigma: float) -> Numbers:
    """Smooth (H, W) by a Gaussian cut off at four sigma; beyond the border all is zero."""
    from skimage.filters import gaussian  # takes long to import

    blurred: Numbers = gaussian(  # type: ignore[no-untyped-call]
        values, sigma, mode="constant", truncate=4.0, preserve_range=True
    )
    return blurred


def lit(photo: Image.Image, values: Numbers, scale: float) -> Image.Image:
    """Let a photo stand out of mid-grey where (H, W) is strong: whole from ``scale`` on."""
    share = np.clip(values / (scale or 1.0), 0, 1)[:, :, None]
    levels = np.rint(128 + share * (np.asarray(photo.convert("RGB"), np.float64) - 128))
    return Image.fromarray(levels.astype(np.uint8))


def overlay(photo: Image.Image, values: Numbers) -> Image.Image:
    """Lay a feature map (H, W) over the framed photo: bright where active, dark where not."""
    strength = values.astype(np.float64).clip(min=0)
    top = float(strength.max())
    levels = np.rint(255 * strength / (top or 1.0)).astype(np.uint8)
    mask = Image.fromarray(levels).resize(photo.size, Image.Resampling.NEAREST)
    dim = Image.eval(photo.convert("L").convert("RGB"), lambda value: 20 + value * 2 // 5)
    lit = Image.blend(photo.convert("RGB"), Image.new("RGB", photo.size, ACTIVE), 0.35)
    return Image.composite(lit, dim, mask)


def mosaic(levels: NDArray[np.uint8], columns: int, side: int) -> Image.Image:
    """Lay levels (N, H, W) in rows side by side, each ``side`` x ``side``: dark to amber."""
    rows = -(-len(levels) // columns)
    canvas = Image.new("P", (columns * side, rows * side))
    canvas.putpalette([round(d + (a - d) * n / 255) for n in range(256) for d, a in RAMP])
    for number, each in enumerate(levels):
        row, column = divmod(number, columns)
        small = Image.fromarray(each).resize((side, side), Image.Resampling.BOX)
        canvas.paste(small, (column * side, row * side))
    return canvas


def sheet(cells: Sequence[tuple[Image.Image | None, Image.Image | None, str]]) -> Image.Image:
    """Draw a contact sheet: in each cell a projection, the patch that caused it, and a caption."""
    side = max((max(p.size) for pair in cells for p in pair[:2] if p), default=64)
    side = min(max(side, 64), 224)
    columns = math.ceil(math.sqrt(len(cells))) or 1
    rows = math.ceil(len(cells) / columns) or 1
    width, height, gap = 2 * side + 2, side + 16, 8
    canvas = Image.new(
        "RGB", (columns * (width + gap) + gap, rows * (height + gap) + gap), BACKGROUND
    )
    draw = ImageDraw.Draw(canvas)
    for number, (projection, patch, caption) in enumerate(cells):
        row, column = divmod(number, columns)
        x, y = gap + column * (width + gap), gap + row * (height + gap)
        for offset, each in ((0, projection), (side + 2, patch)):
            if each is not None:
                canvas.paste(_fit(each, side), (x + offset, y))
        draw.text((x, y + side + 2), caption, fill=(60, 60, 60))
    return canvas


def _fit(each: Image.Image, side: int) -> Image.Image:
    """Enlarge a picture by whole pixels, or shrink it, into a square, keeping its shape."""
    factor = side / max(each.size)
    size = tuple(max(1, round(edge * factor)) for edge in each.size)
    how = Image.Resampling.NEAREST if factor >= 1 else Image.Resampling.LANCZOS
    return each.resize((size[0], size[1]), how)
