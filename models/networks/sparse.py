"""Filtering down what unpooling leaves: maps of which all but a few values are zero.

A max pool hands each of its values to one cell of many, and rectifying drops about half of those:
of a hundred values three to ten are left. On a CPU it pays to add up the filters of these alone.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

Places = NDArray[np.int32]
"""Where maps are not zero, in the order of memory: row by row, all maps of a cell together."""

MOST = 1 / 12
"""The share of values other than zero up to which adding pays."""
LEAST = 256
"""The numbers of a filter to add at a time; with fewer, finding the places takes longer."""


def places_to_add(values: Tensor, filters: Tensor, stride: int) -> Places | None:
    """Say where maps (N, C, h, w) are not zero; None where the filters need not be added singly.

    They need not where values are many, where the filters (C, D, k, k) are small, and on a GPU.
    """
    if values.device.type != "cpu" or _reach(filters, stride) * stride**2 * len(filters[0]) < LEAST:
        return None
    there = (_flat(values) != 0).numpy()
    if np.count_nonzero(there) > MOST * there.size or there.size > np.iinfo(np.int32).max:
        return None
    return np.flatnonzero(there).astype(np.int32)


def add_filters(values: Tensor, places: Places, filters: Tensor, stride: int) -> Tensor:
    """Filter (N, C, h, w) with the transposed filters (C, D, k, k), looking at ``places`` alone.

    It is ``conv_transpose2d`` but for the order of its sums: (N, D, H, W), channels last.
    """
    (n, maps, height, width), (_, channels, kernel, _) = values.shape, filters.shape
    reach = _reach(filters, stride)
    # The pixels below lie in blocks of stride x stride. A row of cells writes to `across` columns
    # of blocks; what arrives in one comes from `reach` cells, neighbours in the row, whose places
    # follow one another. So each (row, column) is a run of places, whose filters' columns add up.
    across = width + reach - 1
    cells = places // np.int32(maps)
    begin, counts = _runs(cells, n * height, width, reach)
    stops = counts.cumsum(dtype=np.int32)
    chosen = np.repeat(begin + counts - stops, counts)
    chosen += np.arange(len(chosen), dtype=np.int32)
    columns = np.tile(np.arange(across, dtype=np.int32), n * height)
    # of the filter of map m, which stands at x, column b of blocks needs column b - x
    rows = places % np.int32(maps) * np.int32(reach) - cells % np.int32(width)
    added = F.embedding_bag(
        torch.from_numpy(rows[chosen] + np.repeat(columns, counts)),
        _by_column(filters, reach, stride),
        torch.from_numpy(stops - counts),
        mode="sum",
        per_sample_weights=torch.from_numpy(_flat(values).numpy()[places][chosen]),
    ).view(n, height, across, reach, -1)
    blocks = added.new_zeros(n, height + reach - 1, across, added.shape[-1])
    for down in range(reach):
        blocks[:, down : down + height] += added[:, :, :, down]
    pixels = blocks.unflatten(3, (stride, stride, channels)).transpose(2, 3)
    pixels = pixels.reshape(n, blocks.shape[1] * stride, across * stride, channels)
    down, right = ((length - 1) * stride + kernel for length in (height, width))
    below: Tensor = pixels[:, :down, :right].permute(0, 3, 1, 2)
    return below


def _runs(cells: Places, rows: int, width: int, reach: int) -> tuple[Places, Places]:
    """Say for each row and column of blocks which places write there: the first, and how many."""
    stops = np.zeros(rows * width + 1, np.int32)
    np.cumsum(np.bincount(cells, minlength=rows * width), out=stops[1:])
    column = np.arange(width + reach - 1)
    first = np.arange(rows)[:, None] * width
    begin = stops[first + np.maximum(column - reach + 1, 0)].ravel()
    return begin, stops[first + np.minimum(column + 1, width)].ravel() - begin


def _by_column(filters: Tensor, reach: int, stride: int) -> Tensor:
    """Lay out each map's filter by its columns of blocks: (C x reach, reach x stride^2 x D)."""
    beyond = reach * stride - filters.shape[-1]
    padded = F.pad(filters, (0, beyond, 0, beyond))
    blocks = padded.unflatten(3, (reach, stride)).unflatten(2, (reach, stride))
    rows: Tensor = blocks.permute(0, 4, 2, 3, 5, 1).reshape(len(filters) * reach, -1)
    return rows


def _reach(filters: Tensor, stride: int) -> int:
    """Say how many blocks a filter covers along an axis."""
    return -(-filters.shape[-1] // stride)


def _flat(values: Tensor) -> Tensor:
    """Line up maps (N, C, h, w) in the order of memory, channels last."""
    return values.permute(0, 2, 3, 1).reshape(-1)
