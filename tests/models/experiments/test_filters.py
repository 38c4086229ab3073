"""First layers as frequencies, against waves of known length and formulas of another kind."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.errors import InvalidChoice
from models.experiments.export import encode_result
from models.experiments.filters import measure_filters
from models.experiments.frequencies import FirstLayer
from models.experiments.shape import finish
from models.networks.architecture import Architecture, Filters
from models.networks.build import build
from models.networks.network import Network
from models.networks.preprocessing import Preprocessing
from tests.refusals import refused

ChannelOrder = Literal["RGB", "BGR", "L"]


def network_of(
    *filters: Tensor, stride: int = 4, order: ChannelOrder = "RGB", groups: int = 1
) -> Network:
    """Build a network of one layer with these filters, or of two."""
    names = ("conv1", "conv2")[: len(filters)]
    strides = (stride, 1)
    rows = tuple(
        Filters(name, len(each), each.shape[-1], stride=strides[number])
        for number, (name, each) in enumerate(zip(names, filters, strict=True))
    )
    channels = filters[0].shape[1]
    preprocessing = Preprocessing(
        size=64,
        resize=64,
        channel_order=order if channels == 3 else "L",
        mean=(0.0,) * channels,
        std=(1.0,) * channels,
    )
    shapes = {f"{name}.weight": tuple(f.shape) for name, f in zip(names, filters, strict=True)}
    network = build(Architecture("waves", "Waves", "none", rows, preprocessing), shapes)
    biases = {f"{n}.bias": torch.zeros(len(f)) for n, f in zip(names, filters, strict=True)}
    weights = {f"{n}.weight": f for n, f in zip(names, filters, strict=True)}
    network.assign_tensors(weights | biases)
    return network


def wave(frequency: float, across: float = 0.0, side: int = 15) -> Tensor:
    """Return a filter (1, 3, k, k) that is a wave of so many cycles a pixel, faded at its rim."""
    at = torch.arange(side, dtype=torch.float64) - side // 2
    rim = torch.hann_window(side + 2, periodic=False, dtype=torch.float64)[1:-1]
    phase = 2 * np.pi * (frequency * at[None, :] + across * at[:, None])
    return (torch.cos(phase) * rim[:, None] * rim[None, :]).float().expand(1, 3, side, side)


def noise(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(4))


def measure(*filters: Tensor, **how: object) -> FirstLayer:
    found = finish(measure_filters(network_of(*filters, **how)))  # type: ignore[arg-type]
    assert isinstance(found, FirstLayer)
    return found


@pytest.mark.parametrize(
    ("frequency", "across", "band"),
    [(0.05, 0, 0), (0.1875, 0, 1), (0, 0.1875, 1), (0.05, 0.1875, 1), (0.375, 0, 2), (0.2, 0.4, 2)],
)
def test_a_wave_has_its_energy_in_the_band_of_its_faster_frequency(
    frequency: float, across: float, band: int
) -> None:
    found = measure(wave(frequency, across))
    assert found.bands[0, band] > 0.9 and found.mostly[band] == 1
    assert found.bands.sum() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(("frequency", "kept_by"), [(0.05, 4), (0.1875, 2), (0.375, 1)])
def test_a_wave_is_aliased_by_the_strides_that_are_too_long_for_it(
    frequency: float, kept_by: int
) -> None:
    found = measure(wave(frequency))
    for stride, shares in found.aliased.items():
        assert shares[0] == pytest.approx(float(stride > kept_by), abs=0.2), stride
    row = torch.cos(2 * np.pi * frequency * torch.arange(64, dtype=torch.float64))
    for stride in (2, 4):  # an aliased wave is, every so many pixels, another and slower one
        slower = abs(frequency - round(frequency * stride) / stride)
        pretended = torch.cos(2 * np.pi * slower * torch.arange(64, dtype=torch.float64))
        torch.testing.assert_close(row[::stride], pretended[::stride])
        assert (slower < frequency) is (stride > kept_by)


def shares_beyond(filters: NDArray[np.float64], limit: float) -> NDArray[np.float64]:
    """Count with numpy's transform, of the filter turned by half a step of the grid."""
    side, count = filters.shape[-1], 64
    turn = np.exp(-2j * np.pi * (0.5 / count - 0.5) * np.arange(side))
    waves = np.fft.fft2(filters * turn[:, None] * turn, (count, count))
    at = (np.arange(count) + 0.5) / count - 0.5
    energy = (np.abs(waves) ** 2).sum(1) / (at[:, None] ** 2 + at**2)
    beyond = np.maximum(np.abs(at)[:, None], np.abs(at)) > limit
    shares: NDArray[np.float64] = (energy * beyond).sum((1, 2)) / energy.sum((1, 2))
    return shares


@pytest.mark.parametrize("stride", [2, 4])
def test_shares_are_those_of_the_fast_fourier_transform(stride: int) -> None:
    filters = noise(6, 3, 7, 7)
    found = measure(filters)
    expected = shares_beyond(filters.double().numpy(), 1 / (2 * stride))
    np.testing.assert_allclose(found.aliased[stride], expected, rtol=1e-5)


def waves_in(filters: Tensor, spacing: int = 1) -> NDArray[np.complex128]:
    """Sum each wave of the grid over filters (M, N, k, k) whose taps are so far apart, in numpy."""
    at = (np.arange(64) + 0.5) / 64 - 0.5
    turns = np.exp(-2j * np.pi * at[:, None] * spacing * np.arange(filters.shape[-1]))
    waves: NDArray[np.complex128] = np.einsum(
        "mnyx,fy,gx->mnfg", filters.double().numpy(), turns, turns, optimize=True
    )
    return waves


@pytest.mark.parametrize(("stride", "groups"), [(2, 1), (4, 1), (4, 2)])
def test_the_second_layer_reads_each_wave_times_what_the_first_made_of_it(
    stride: int, groups: int
) -> None:
    first, second = noise(8, 3, 7, 7), noise(36, 8 // groups, 5, 5)
    found = measure(first, second, stride=stride)
    dense = torch.zeros(36, 8, 5, 5)
    for number, each in enumerate(second):
        begin = number * groups // 36 * (8 // groups)
        dense[number, begin : begin + 8 // groups] = each
    both = np.einsum("mnfg,ncfg->mcfg", waves_in(dense, stride), waves_in(first), optimize=True)
    at = (np.arange(64) + 0.5) / 64 - 0.5
    seen = (np.abs(both) ** 2).sum(1) / (at[:, None] ** 2 + at**2)
    beyond = np.maximum(np.abs(at)[:, None], np.abs(at)) > 1 / (2 * stride)
    assert found.second is not None
    expected = (seen * beyond).sum((1, 2)) / seen.sum((1, 2))
    np.testing.assert_allclose(found.second.aliased, expected, rtol=1e-5)


def test_no_pixel_skipped_is_nothing_aliased() -> None:
    found = measure(noise(4, 3, 3, 3), noise(4, 4, 3, 3), stride=1)
    assert found.second is None and not found.aliased[1].any()


def test_a_filter_under_a_tenth_of_the_median_is_dead_and_counts_in_no_mean() -> None:
    filters = torch.cat([wave(0.05), wave(0.05), 0.05 * wave(0.375)])
    found = measure(filters)
    assert found.dead.tolist() == [False, False, True]
    assert found.share(0) > 0.9 and found.mostly == (2, 0, 0) and found.order[-1] == 2


def test_filters_are_shown_red_first_whatever_order_they_were_trained_in() -> None:
    filters = noise(4, 3, 5, 5)
    found = measure(filters, order="BGR")
    np.testing.assert_array_equal(found.filters, filters.flip(1).numpy())


def test_filters_on_grey_are_refused() -> None:
    with refused(InvalidChoice, "see grey"):
        finish(measure_filters(network_of(noise(4, 1, 5, 5))))


def test_grids_are_drawn_in_order_with_a_dead_filter_grey() -> None:
    found = measure(torch.cat([wave(0.375), wave(0.05), 0.001 * wave(0.2)]))
    picture = found.picture()
    side = (picture.width + 2) // 8 - 2
    squares = [(place, 0, place + side, side) for place in range(0, 3 * (side + 2), side + 2)]
    coarse, fine, dead = (np.asarray(picture.crop(square)).std() for square in squares)
    assert min(coarse, fine) > 20 and dead < 3


@pytest.mark.parametrize("form", ["json", "npz", "csv", "svg", "png"])
def test_the_same_filters_give_the_same_file(form: str) -> None:
    found = measure(wave(0.1), stride=2)
    files = [encode_result(found, form) for _ in range(2)]  # type: ignore[arg-type]
    assert files[0] == files[1] and len(files[0]) > 100


def test_filters_of_nothing_are_dead_and_count_in_no_mean_however_many_they_are() -> None:
    found = measure(torch.cat([wave(0.05), wave(0.05), *[0 * wave(0.05)] * 5]))
    assert found.dead.tolist() == [False] * 2 + [True] * 5
    assert sum(found.share(band) for band in range(3)) == pytest.approx(1, abs=1e-4)
    nothing = measure(torch.zeros(3, 3, 5, 5))
    assert nothing.dead.all() and nothing.share(0) == 0 and nothing.aliased_by(2) == 0
