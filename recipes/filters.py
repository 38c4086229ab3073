"""What came out: the first layer's filters, drawn and measured."""

from PIL import Image
from torch import Tensor
from torchvision.utils import make_grid


def count_weak(filters: Tensor) -> int:
    """Count the filters whose root mean square is below a tenth of the largest."""
    strength = filters.flatten(1).square().mean(1).sqrt()
    return int((strength < strength.max() / 10).sum())


def correlate_neighbours(filters: Tensor) -> float:
    """Correlate weights one pixel apart, over all filters, so that strong ones count more."""
    centred = filters - filters.mean((2, 3), keepdim=True)
    across = (centred[..., :-1] * centred[..., 1:]).sum()
    down = (centred[..., :-1, :] * centred[..., 1:, :]).sum()
    return float((across + down) / 2 / centred.square().sum())


def draw_filters(filters: Tensor, columns: int = 16, tile: int = 55) -> Image.Image:
    """Draw filters (N, C, k, k) side by side, strongest first, each on its own scale."""
    order = filters.flatten(1).norm(dim=1).argsort(descending=True)
    scaled = filters[order] / filters[order].abs().amax((1, 2, 3), keepdim=True)
    tiles = (scaled * 127 + 128).round().byte().expand(-1, 3, -1, -1)
    zoom = max(1, tile // tiles.shape[3])
    tiles = tiles.repeat_interleave(zoom, 2).repeat_interleave(zoom, 3)
    sheet = make_grid(tiles, columns, padding=3, pad_value=255)
    return Image.fromarray(sheet.permute(1, 2, 0).numpy())
