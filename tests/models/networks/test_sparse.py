"""Adding the filters of the few values that are not zero: the same as filtering all of them."""

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from models.networks import sparse
from models.networks.rules import RULES
from models.networks.signal import Signal, Size, Span
from models.networks.steps import Convolution


def maps(*size: int, share: float, seed: int = 0) -> Tensor:
    """Make maps (N, C, h, w) of which about a ``share`` is not zero, channels last in memory."""
    random = torch.Generator().manual_seed(seed)
    values = torch.randn(size, generator=random, dtype=torch.float64)
    values *= torch.rand(size, generator=random) < share
    return values.contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    "kernel, stride", [(1, 1), (2, 2), (3, 1), (5, 1), (5, 2), (7, 3), (11, 4)]
)
@pytest.mark.parametrize("height, width", [(1, 1), (1, 6), (6, 1), (7, 5)])
def test_adding_filters_is_a_transposed_convolution(
    kernel: int, stride: int, height: int, width: int
) -> None:
    values = maps(3, 4, height, width, share=0.2, seed=kernel)
    filters = maps(4, 5, kernel, kernel, share=1)
    places = np.flatnonzero(values.permute(0, 2, 3, 1).numpy()).astype(np.int32)
    added = sparse.add_filters(values, places, filters, stride)
    torch.testing.assert_close(added, F.conv_transpose2d(values, filters, stride=stride))


def test_maps_of_zeros_alone_add_nothing() -> None:
    nothing = np.zeros(0, np.int32)
    added = sparse.add_filters(maps(2, 3, 4, 4, share=0), nothing, maps(3, 5, 3, 3, share=1), 1)
    assert added.shape == (2, 5, 6, 6)
    assert not added.any()


def test_a_single_value_lays_down_its_filter_alone() -> None:
    values = torch.zeros(1, 2, 3, 3).contiguous(memory_format=torch.channels_last)
    values[0, 1, 2, 0] = 2.0  # the sixth cell of three rows of three; its second map
    filters = torch.arange(2 * 1 * 2 * 2, dtype=torch.float32).view(2, 1, 2, 2)
    added = sparse.add_filters(values, np.array([13], np.int32), filters, 1)
    expected = torch.zeros(1, 1, 4, 4)
    expected[0, 0, 2:, :2] = torch.tensor([[8.0, 10.0], [12.0, 14.0]])
    assert torch.equal(added, expected)


@pytest.mark.parametrize(
    "share, wide, found", [(0.03, 96, True), (0.3, 96, False), (0.03, 3, False)]
)
def test_filters_are_added_singly_where_values_are_few_and_filters_large(
    share: float, wide: int, found: bool
) -> None:
    values, filters = maps(1, 8, 20, 20, share=share), maps(8, wide, 3, 3, share=1)
    places = sparse.places_to_add(values, filters, 1)
    assert (places is not None) == found
    if places is not None:
        assert np.array_equal(places, np.flatnonzero(values.permute(0, 2, 3, 1).numpy()))


def test_a_layer_goes_down_the_same_way_for_few_values_as_for_many() -> None:
    step = Convolution(64, 24, 5, 1, 2, 1).double()
    few = maps(2, 24, 9, 7, share=0.05)
    assert sparse.places_to_add(few, step.weight, 1) is not None
    rows, columns = Span.whole(2, 9), Span.whole(2, 7)
    with torch.no_grad():
        arrived = step.backward(
            Signal(few, rows, columns, (0, 1)), None, RULES["deconvnet"], Size(64, 9, 7)
        )
        expected = F.conv_transpose2d(few, step.weight, padding=2)
    torch.testing.assert_close(arrived.values, expected, rtol=1e-12, atol=1e-12)
