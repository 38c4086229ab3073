"""What a square changes, computed in windows, is what running every photo whole would give."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from models.experiments import changes
from models.experiments.changes import Changed, Place, Stage, climb, slabs, squares, stages
from models.networks.architecture import Normalization
from models.networks.network import Network
from models.networks.signal import Size, Span
from models.networks.steps import AveragePool, Convolution, MaxPool, Sliding
from tests.oracles import noise, slim

pytestmark = pytest.mark.usefixtures("one_thread")

FAMILIES: dict[str, tuple[str, int, int, int, dict[str, Any]]] = {
    "lenet5": ("lenet5", 32, 32, 5, {}),
    "lenet5, odd": ("lenet5", 37, 30, 7, {}),
    "alexnet": ("alexnet", 224, 224, 32, {}),
    "alexnet, odd": ("alexnet", 201, 233, 31, {}),
    "alexnet2012, ceil pools": ("alexnet2012", 227, 227, 32, {}),
    "alexnet2012, odd": ("alexnet2012", 231, 215, 17, {}),
    "grouped, norm then pool": (
        "alexnet2012",
        227,
        227,
        25,
        {"groups": 2, "norm": Normalization("norm-pool", alpha=0.5, k=1.0)},
    ),
    "zfnet": ("zfnet", 224, 224, 32, {}),
    "zfnet, odd": ("zfnet", 201, 234, 16, {}),
    "vgg11 with batch norm, adaptive pool": ("vgg11_bn", 96, 78, 12, {}),
    "vgg16c": ("vgg16c", 96, 96, 50, {}),
}
EXACT = 1e-12


def some_places(height: int, width: int, side: int, count: int = 24) -> list[Place]:
    """Return corners and borders of an input, and places all over it."""
    last = (height - side, width - side)
    chance = torch.Generator().manual_seed(3)
    rows, columns = (torch.randint(0, end + 1, (count,), generator=chance) for end in last)
    corners = [(0, 0), (0, last[1]), (last[0], 0), last]
    return [*corners, *zip(rows.tolist(), columns.tolist(), strict=True)]


def covered(pixels: Tensor, places: list[Place], side: int, fill: Tensor) -> Tensor:
    """Lay the squares on copies of the pixels, one each."""
    photos = pixels.repeat(len(places), 1, 1, 1)
    for photo, (top, left) in zip(photos, places, strict=True):
        photo[:, top : top + side, left : left + side] = fill[:, None, None]
    return photos


def whole_maps(stage: Stage, changed: Changed) -> Tensor:
    """Put each square's window into a copy of the untouched map: (N, C, H, W)."""
    channels, height, width = stage.output_size
    windows, offsets = changed.windows, changed.windows.offsets.tolist()
    maps = stage.output.repeat(len(offsets) - 1, 1).view(-1, height, width, channels)
    for number, map_ in enumerate(maps):
        rows = slice(windows.rows.starts[number], windows.rows.stops[number])
        columns = slice(windows.columns.starts[number], windows.columns.stops[number])
        cells = changed.values[offsets[number] : offsets[number + 1]]
        map_[rows, columns] = cells.view(map_[rows, columns].shape)
    return maps.permute(0, 3, 1, 2)


def furthest(network: Network, pixels: Tensor, places: list[Place], side: int) -> float:
    """Return the largest difference from running all photos whole, over all maps."""
    fill = torch.linspace(-1, 1, pixels.shape[1], dtype=pixels.dtype)
    x, worst = covered(pixels, places, side, fill), 0.0
    changed = squares(places, side, fill, Size(*pixels.shape[1:]))
    for stage, above in climb(stages(network, pixels), changed):
        if above:
            for step in stage.steps:
                x = step(x)
            worst = max(worst, float((whole_maps(stage, above) - x).abs().max() / x.abs().max()))
    assert x.shape[2:] == stage.output_size[1:]
    return worst


@pytest.mark.parametrize("family", FAMILIES)
def test_windows_give_what_whole_photos_give(family: str) -> None:
    name, height, width, side, options = FAMILIES[family]
    network = slim(name, **options)
    places = some_places(height, width, side, 6 if name.startswith("vgg") else 12)
    assert furthest(network, noise(network, height, width), places, side) < EXACT


@pytest.mark.parametrize("tile", [1, 4096])
def test_the_size_of_a_tile_changes_nothing(tile: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes, "TILE_BYTES", {"cpu": tile})
    monkeypatch.setattr(changes, "WHOLE_BYTES", tile)
    network = slim("zfnet")
    assert furthest(network, noise(network, 224, 224), some_places(224, 224, 32, 4), 32) < EXACT


def test_a_square_that_covers_everything_leaves_nothing_untouched() -> None:
    network = slim("lenet5")
    assert furthest(network, noise(network, 32, 32), [(0, 0)], 32) < EXACT


class Unsliding(Convolution):
    """A step of somebody's own that cannot slide."""

    @property
    def margin(self) -> None:  # type: ignore[override]
        """Say that it cannot."""
        return None


def test_a_step_that_cannot_slide_runs_on_whole_maps() -> None:
    network = slim("zfnet")
    first = network.layers[3].steps[0]
    assert isinstance(first, Convolution)
    first.__class__ = Unsliding
    assert furthest(network, noise(network, 224, 224), some_places(224, 224, 32, 4), 32) < EXACT


geometry = {
    "kernel": st.integers(1, 5),
    "stride": st.integers(1, 4),
    "padding": st.integers(0, 2),
    "size": st.integers(1, 13),
    "start": st.integers(0, 12),
    "length": st.integers(1, 13),
}


@settings(max_examples=100, deadline=None, derandomize=True)
@given(**geometry)
def test_the_cells_above_are_those_whose_cells_below_are_among_the_given(
    kernel: int, stride: int, padding: int, size: int, start: int, length: int
) -> None:
    above = (size + 2 * padding - kernel) // stride + 1
    assume(above >= 1 and start + length <= size)
    reached = Span((start,), (start + length,), size).output_span(kernel, stride, padding, above)
    given_cells = set(range(start, start + length))
    expected = [
        cell
        for cell in range(above)
        if given_cells & set(range(cell * stride - padding, cell * stride - padding + kernel))
    ]
    assert list(range(reached.starts[0], reached.stops[0])) == expected


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    kernel=st.integers(1, 4),
    stride=st.integers(1, 3),
    padding=st.integers(0, 2),
    side=st.integers(1, 6),
    ceil_mode=st.booleans(),
    average=st.booleans(),
)
def test_a_padded_or_ceil_pool_slides_as_it_runs(
    kernel: int, stride: int, padding: int, side: int, ceil_mode: bool, average: bool
) -> None:
    assume(2 * padding <= kernel)
    pool = (AveragePool if average else MaxPool)(kernel, stride, padding, ceil_mode=ceil_mode)
    network = slim("lenet5")
    layer = network.layers[1]
    layer[0] = pool
    assert isinstance(pool, Sliding)
    network.chain = torch.nn.ModuleList(network.layers[:2])
    pixels = noise(network, 15, 13)
    places = [(0, 0), (15 - side, 13 - side), (3, 5), (9, 2)]
    assert furthest(network, pixels, places, side) < EXACT


def test_places_go_up_in_slabs_that_memory_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    found = stages(slim("lenet5"), noise(slim("lenet5"), 32, 32))
    places = [(top, 10) for top in range(10)]
    assert slabs(found, places, 5) == [places]
    # the largest: 9 x 9 cells of 6 maps and the 5 x 5 that are pooled of them, in float64
    monkeypatch.setattr(changes, "SLAB_BYTES", 3 * 8 * (9 * 9 + 5 * 5) * 6)
    sizes = [len(slab) for slab in slabs(found, places, 5)]
    assert sizes == [3, 3, 3, 1]
