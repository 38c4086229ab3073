"""Each kind of layer on its own: forward as torch, down as the adjoint, by hand where ties meet."""

from __future__ import annotations

import itertools
from typing import TypedDict

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from models.networks.rules import RULES, Rule
from models.networks.signal import Signal, Size, Span
from models.networks.steps import (
    AdaptiveAveragePool,
    AveragePool,
    BatchNorm,
    Convolution,
    Dropout,
    Flatten,
    Linear,
    LocalResponseNorm,
    MaxPool,
    ReLU,
    Sigmoid,
    Sliding,
    Step,
)
from tests.oracles import DEVICES

pytestmark = pytest.mark.usefixtures("one_thread")


class Tolerances(TypedDict):
    rtol: float
    atol: float


DECONVNET, GUIDED, GRADIENT = RULES["deconvnet"], RULES["guided"], RULES["gradient"]
EXACT: Tolerances = {"rtol": 1e-12, "atol": 1e-12}
some_geometries = settings(max_examples=120, deadline=None, derandomize=True)


def draw(*size: int, seed: int = 0) -> Tensor:
    chance = torch.Generator().manual_seed(seed)
    return torch.randn(size, generator=chance, dtype=torch.float64)


def size_of(x: Tensor) -> Size:
    return Size(*x.shape[1:])


def whole(values: Tensor) -> Signal:
    """Return maps (N, C, H, W) of N images as a signal of full frames."""
    n, _, h, w = values.shape
    return Signal(values, Span.whole(n, h), Span.whole(n, w), tuple(range(n)))


@torch.no_grad()
def backward(kind: Step, x: Tensor, signal: Signal | Tensor, rule: Rule = DECONVNET) -> Tensor:
    """Take a signal down through a kind that has just seen x; return maps of x's size."""
    signal = whole(signal) if isinstance(signal, Tensor) else signal
    _, saved = kind.record(x)
    saved = x if rule.derive and kind.derives else saved
    down = kind.backward(signal, saved, rule, size_of(x))
    assert down.features is None or x.shape[1] == 1
    return placed(down, x.shape[1:])


def placed(signal: Signal, size: torch.Size) -> Tensor:
    """Put the windows of a signal into whole maps."""
    maps = signal.values.new_zeros(len(signal.values), *size)
    height, width = signal.values.shape[2:]
    for n, (y, x) in enumerate(zip(signal.rows.origins, signal.columns.origins, strict=True)):
        maps[n, :, y : y + height, x : x + width] = signal.values[n]
    return maps


@torch.no_grad()
def assert_adjoint(kind: Step, x: Tensor, linear: Tensor) -> None:
    """Hold <Ax, y> = <x, A'y>, where ``linear`` is Ax."""
    y = draw(*linear.shape, seed=9)
    torch.testing.assert_close((linear * y).sum(), (x * backward(kind, x, y)).sum(), **EXACT)


geometry = {
    "kernel": st.integers(1, 5),
    "stride": st.integers(1, 4),
    "padding": st.integers(0, 2),
    "height": st.integers(1, 13),
    "width": st.integers(1, 13),
}


@some_geometries
@given(**geometry, maps=st.sampled_from([(3, 8, 1), (1, 2, 1), (30, 4, 1), (6, 4, 2), (6, 9, 3)]))
def test_a_convolution_goes_down_as_its_adjoint(
    kernel: int, stride: int, padding: int, height: int, width: int, maps: tuple[int, int, int]
) -> None:
    assume(min(height, width) + 2 * padding >= kernel)
    channels, filters, groups = maps
    kind = Convolution(channels, filters, kernel, stride, padding, groups).double()
    x = draw(2, channels, height, width)
    linear = F.conv2d(x, kind.weight, None, stride, padding, groups=groups)
    assert size_of(linear) == kind.shape(size_of(x))
    assert kind.bias is not None
    torch.testing.assert_close(kind.record(x)[0] - kind.bias.view(1, -1, 1, 1), linear, **EXACT)
    assert_adjoint(kind, x, linear)


@some_geometries
@given(**geometry, ceil_mode=st.booleans())
def test_a_max_pool_goes_down_to_the_switches_that_torch_finds(
    kernel: int, stride: int, padding: int, height: int, width: int, ceil_mode: bool
) -> None:
    assume(2 * padding <= kernel)
    kind = MaxPool(kernel, stride, padding, ceil_mode=ceil_mode)
    x = draw(2, 3, height, width).relu()  # with many ties at zero
    assume(kind.fits(size_of(x)))
    expected, indices = F.max_pool2d(
        x, kernel, stride, padding, ceil_mode=ceil_mode, return_indices=True
    )
    assert size_of(expected) == kind.shape(size_of(x))
    assert torch.equal(kind.record(x)[0], expected) and torch.equal(kind(x), expected)
    other = draw(2, 3, height, width, seed=4)  # the switches of x stay
    through = other.flatten(2).gather(2, indices.flatten(2)).view_as(expected)
    y = draw(*expected.shape, seed=9)
    torch.testing.assert_close((through * y).sum(), (other * backward(kind, x, y)).sum(), **EXACT)


@some_geometries
@given(**geometry, ceil_mode=st.booleans())
def test_an_average_pool_goes_down_as_its_adjoint(
    kernel: int, stride: int, padding: int, height: int, width: int, ceil_mode: bool
) -> None:
    assume(2 * padding <= kernel)
    kind = AveragePool(kernel, stride, padding, ceil_mode=ceil_mode)
    x = draw(2, 3, height, width)
    assume(kind.fits(size_of(x)))
    linear = F.avg_pool2d(x, kernel, stride, padding, ceil_mode)
    assert size_of(linear) == kind.shape(size_of(x))
    assert torch.equal(kind.record(x)[0], linear)
    assert_adjoint(kind, x, linear)


@pytest.mark.parametrize("size", [(7, 7), (1, 1), (2, 9), (6, 13), (14, 8)])
def test_an_adaptive_pool_goes_down_as_its_adjoint(size: tuple[int, int]) -> None:
    kind, x = AdaptiveAveragePool(7), draw(2, 3, *size)
    linear = F.adaptive_avg_pool2d(x, 7)
    assert torch.equal(kind.record(x)[0], linear)
    assert_adjoint(kind, x, linear)


def test_an_adaptive_pool_is_the_identity_at_the_native_size() -> None:
    kind, x = AdaptiveAveragePool(6), draw(2, 3, 6, 6)
    assert torch.equal(kind(x), x)
    torch.testing.assert_close(backward(kind, x, x), x, **EXACT)


def test_a_linear_layer_goes_down_as_its_adjoint() -> None:
    kind, x = Linear(10, 4).double(), draw(2, 10, 1, 1)
    linear = F.linear(x.flatten(1), kind.weight)[:, :, None, None]
    torch.testing.assert_close(kind(x) - kind.bias.view(1, -1, 1, 1), linear, **EXACT)
    assert_adjoint(kind, x, linear)


def test_batch_norm_goes_down_as_the_adjoint_of_its_linear_part() -> None:
    kind, x = BatchNorm(5).double().eval(), draw(2, 5, 4, 3)
    with torch.no_grad():
        kind.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]
        kind.running_mean.normal_()  # type: ignore[union-attr]
        kind.weight.normal_(), kind.bias.normal_()
        linear = kind(x) - kind(torch.zeros_like(x))
    assert_adjoint(kind, x, linear)


def test_flatten_goes_down_by_folding_back() -> None:
    kind, x = Flatten(), draw(2, 3, 4, 5)
    assert torch.equal(kind(x), x.reshape(2, 60, 1, 1))
    assert torch.equal(backward(kind, x, kind(x)), x)
    assert kind.shape(Size(3, 4, 5)) == (60, 1, 1)


def test_flatten_spells_maps_out_in_row_major_order_whatever_the_memory_layout() -> None:
    x = draw(2, 3, 4, 5).contiguous(memory_format=torch.channels_last)
    assert torch.equal(Flatten()(x).flatten(), torch.stack(list(x)).contiguous().flatten())


def test_dropout_is_the_identity_both_ways() -> None:
    kind, x = Dropout(0.5).eval(), draw(1, 3, 4, 5)
    assert torch.equal(kind.record(x)[0], x) and torch.equal(backward(kind, x, x), x)


# ReLU, normalisation, sigmoid: what the methods differ in


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("deconvnet", [1.0, 0.0, 1.0, 0.0, 1.0]),
        ("guided", [1.0, 0.0, 0.0, 0.0, 0.0]),
        ("gradient", [1.0, -1.0, 0.0, 0.0, 0.0]),
    ],
)
def test_a_relu_rectifies_or_gates_as_the_method_says(method: str, expected: list[float]) -> None:
    x = torch.tensor([3.0, 3.0, -3.0, -3.0, 0.0]).view(1, 1, 1, 5)
    signal = torch.tensor([1.0, -1.0, 1.0, -1.0, 1.0]).view(1, 1, 1, 5)
    assert backward(ReLU(), x, signal, RULES[method]).flatten().tolist() == expected


@pytest.mark.parametrize("channels", [1, 7, 8, 9, 20])
def test_every_sign_is_remembered(channels: int) -> None:
    x = draw(2, channels, 3, 4)
    down = backward(ReLU(), x, torch.ones_like(x), GRADIENT)
    assert torch.equal(down, (x > 0).double())


@pytest.mark.parametrize(("size", "alpha", "k"), [(5, 5e-4, 2.0), (5, 2.0, 1.0), (4, 1.0, 0.5)])
@pytest.mark.parametrize("kind", ["norm", "sigmoid"])
def test_a_derivative_is_autograd_s(kind: str, size: int, alpha: float, k: float) -> None:
    step = LocalResponseNorm(size, alpha, 0.75, k) if kind == "norm" else Sigmoid()
    theirs = torch.nn.LocalResponseNorm(size, alpha, 0.75, k) if kind == "norm" else torch.sigmoid
    x = draw(2, 9, 3, 4).requires_grad_()
    y = theirs(x)
    torch.testing.assert_close(step.record(x.detach())[0], y.detach(), **EXACT)
    signal = draw(*y.shape, seed=5)
    (expected,) = torch.autograd.grad(y, x, signal)
    for rule in (GUIDED, GRADIENT):
        torch.testing.assert_close(backward(step, x.detach(), signal, rule), expected, **EXACT)
    assert torch.equal(backward(step, x.detach(), signal, DECONVNET), signal)


def test_normalisation_takes_alpha_as_torch_does() -> None:
    """Torch divides alpha by the size: the paper's 1e-4 an element is 5e-4 here."""
    x = torch.ones(1, 5, 1, 1, dtype=torch.float64)
    middle = LocalResponseNorm(5, 5e-4, 0.75, 2.0)(x)[0, 2, 0, 0]
    torch.testing.assert_close(middle.item(), (2 + 1e-4 * 5) ** -0.75)


# Switches by hand


def test_two_windows_that_share_a_switch_add_up() -> None:
    x = torch.tensor([[0, 1, 0, 2, 0], [0, 0, 9, 0, 0], [3, 0, 0, 0, 4.0]])[None, None]
    signal = torch.tensor([2.0, 3.0]).view(1, 1, 1, 2)
    expected = torch.zeros(1, 1, 3, 5)
    expected[0, 0, 1, 2] = 5
    assert torch.equal(backward(MaxPool(3, 2), x, signal), expected)


def test_four_windows_that_share_a_switch_add_up() -> None:
    x = torch.zeros(1, 1, 5, 5)
    x[0, 0, 2, 2] = 1
    signal = torch.tensor([1.0, 10.0, 100.0, 1000.0]).view(1, 1, 2, 2)
    down = backward(MaxPool(3, 2), x, signal)
    assert down[0, 0, 2, 2] == 1111 and down.sum() == 1111


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("form", [torch.contiguous_format, torch.channels_last])
def test_ties_go_to_the_first_place_in_row_major_order(
    form: torch.memory_format, device: str
) -> None:
    x = torch.zeros(1, 8, 5, 5)
    x[0, 0, 1, 2] = x[0, 0, 2, 1] = 7  # (1, 2) comes first
    x[0, 1, 0, 2] = x[0, 1, 2, 0] = 7  # (0, 2) comes first
    x[0, 2] = -1  # all alike
    signal = torch.zeros(1, 8, 2, 2)
    signal[0, :, 0, 0] = 1
    x, signal = (each.to(device).contiguous(memory_format=form) for each in (x, signal))
    down = backward(MaxPool(3, 2), x, signal)
    places = [tuple(torch.nonzero(each)[0].tolist()) for each in down[0]]
    assert places == [(1, 2), (0, 2), (0, 0), *[(0, 0)] * 5]
    assert down.sum() == 8


def test_ties_in_windows_of_zeros_go_to_each_window_s_first_place() -> None:
    """17 to 44 % of windows are all zero after a ReLU; another rule changes what is seen."""
    down = backward(MaxPool(3, 2), torch.zeros(1, 1, 5, 5), torch.ones(1, 1, 2, 2))
    assert torch.nonzero(down[0, 0]).tolist() == [[0, 0], [0, 2], [2, 0], [2, 2]]


def test_a_window_over_the_edge_sends_its_value_inside() -> None:
    pool = MaxPool(3, 2, ceil_mode=True)
    x = torch.zeros(1, 1, 4, 4)
    x[0, 0, 3, 3] = 1
    assert pool.shape(Size(1, 4, 4)) == (1, 2, 2)
    down = backward(pool, x, torch.full((1, 1, 2, 2), 5.0))
    assert down[0, 0, 3, 3] == 5 and down.sum() == 20


@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize("pool", [MaxPool, AveragePool])
def test_a_pool_fits_where_torch_pools(pool: type[MaxPool | AveragePool], ceil_mode: bool) -> None:
    fitting = 0
    for kernel, stride, padding, width in itertools.product(
        (1, 2, 3, 5), (1, 2, 5), (0, 1), (1, 2, 4)
    ):
        step = pool(kernel, stride, padding, ceil_mode=ceil_mode)
        if 2 * padding <= kernel:
            x = torch.zeros(1, 1, 7, width)
            assert step.fits(size_of(x)) == pools(step, x), step
            fitting += step.fits(size_of(x))
    assert fitting > 30


def pools(step: nn.Module, x: torch.Tensor) -> bool:
    try:
        return bool(step(x).numel() > 0)
    except RuntimeError:
        return False


@pytest.mark.parametrize(("height", "out"), [(2, 1), (3, 1), (4, 2), (5, 2), (6, 3), (110, 55)])
def test_ceil_mode_counts_windows_as_torch_does(height: int, out: int) -> None:
    assert MaxPool(3, 2, ceil_mode=True).shape(Size(1, height, height)) == (1, out, out)


def test_a_negative_map_has_switches_too() -> None:
    x = -torch.arange(1.0, 10.0).view(1, 1, 3, 3)
    assert backward(MaxPool(3, 2), x, torch.ones(1, 1, 1, 1))[0, 0, 0, 0] == 1


def test_a_padded_pool_never_points_at_its_padding() -> None:
    x = torch.full((1, 1, 3, 3), -5.0)
    down = backward(MaxPool(3, 2, 1), x, torch.ones(1, 1, 2, 2))
    assert torch.nonzero(down[0, 0]).tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]


def test_an_average_pool_spreads_evenly() -> None:
    down = backward(AveragePool(2, 2), torch.zeros(1, 1, 5, 4), torch.full((1, 1, 2, 2), 8.0))
    assert torch.equal(down[0, 0, :4], torch.full((4, 4), 2.0)) and not down[0, 0, 4].any()


# What is remembered


def test_a_switch_takes_a_byte_and_a_sign_a_bit() -> None:
    x = draw(1, 16, 20, 20)
    switches = MaxPool(2, 2).record(x)[1]
    signs = ReLU().record(x)[1]
    assert switches is not None and switches.nbytes == 16 * 10 * 10
    assert signs is not None and signs.nbytes == 16 * 20 * 20 / 8


def test_what_needs_no_memory_keeps_none() -> None:
    x = draw(1, 4, 6, 6)
    kinds: list[Step] = [
        Convolution(4, 2, 3, 1, 1, 1).double(),
        AveragePool(2, 2),
        AdaptiveAveragePool(3),
        BatchNorm(4).double().eval(),
        LocalResponseNorm(5),
        Sigmoid(),
        Flatten(),
        Dropout(),
    ]
    assert all(kind.record(x)[1] is None for kind in kinds)


# Windows: a signal cut to what it can reach goes down as the full frame does


STEPS: dict[str, Step] = {
    "conv 3/1": Convolution(6, 8, 3, 1, 1, 1),
    "conv 7/2, pad 1": Convolution(6, 8, 7, 2, 1, 1),
    "conv 11/4, pad 2": Convolution(3, 8, 11, 4, 2, 1),
    "conv 5/1, grouped": Convolution(6, 8, 5, 1, 2, 2),
    "conv 1/1": Convolution(6, 8, 1, 1, 0, 1),
    "max 3/2": MaxPool(3, 2),
    "max 3/2, ceil": MaxPool(3, 2, ceil_mode=True),
    "max 3/2, pad 1": MaxPool(3, 2, 1),
    "max 2/2": MaxPool(2, 2),
    "average 2/2": AveragePool(2, 2),
    "average 3/2, ceil": AveragePool(3, 2, ceil_mode=True),
    "relu": ReLU(),
    "batch norm": BatchNorm(6),
    "norm": LocalResponseNorm(5, 1.0),
    "sigmoid": Sigmoid(),
}


@pytest.mark.parametrize("method", RULES)
@pytest.mark.parametrize("name", STEPS)
def test_a_window_goes_down_as_the_full_frame_does(name: str, method: str) -> None:
    kind = STEPS[name].double().eval().requires_grad_(requires_grad=False)
    x = draw(2, {"conv 11/4, pad 2": 3, "relu": 20}.get(name, 6), 25, 22)
    y, _ = kind.record(x)
    _, channels, h, w = y.shape
    rows, columns = [0, h - 1, h // 2, 1, h - 1], [0, w - 1, 2, w // 2, 0]
    images, features = (0, 1, 1, 0, 1), (0, 1, channels - 1, 2, 3)
    values = draw(5, 1, 1, 1, seed=8).abs()
    frames = torch.zeros(5, channels, h, w, dtype=torch.float64)
    for n, (f, row, column) in enumerate(zip(features, rows, columns, strict=True)):
        frames[n, f, row, column] = values[n, 0, 0, 0]
    spans = Span.cells(rows, h), Span.cells(columns, w)
    saved = x if RULES[method].derive and kind.derives else kind.record(x)[1]

    def taken(signal: Signal) -> Tensor:
        down = kind.backward(signal, saved, RULES[method], size_of(x))
        return placed(down.dense(x.shape[1]), x.shape[1:])

    window = taken(Signal(values, *spans, images, features))
    frame = taken(Signal(frames, Span.whole(5, h), Span.whole(5, w), images))
    torch.testing.assert_close(window, frame, **EXACT)
    assert window.any()


@some_geometries
@given(**geometry, ceil_mode=st.booleans(), place=st.floats(0, 0.999))
def test_the_cells_below_are_those_that_a_gradient_reaches(
    kernel: int, stride: int, padding: int, height: int, width: int, ceil_mode: bool, place: float
) -> None:
    assume(min(height, width) + 2 * padding >= kernel and 2 * padding <= kernel)
    kind = MaxPool(kernel, stride, padding, ceil_mode=ceil_mode)
    _, h, w = kind.shape(Size(1, height, width))
    row, column = int(place * h), int(place * w)
    x = torch.zeros(1, 1, height, width, requires_grad=True)
    unit = F.avg_pool2d(x, kernel, stride, padding, ceil_mode)[0, 0, row, column]
    (gradient,) = torch.autograd.grad(unit, x)
    rows, columns = kind.input_span(
        Span.cells([row], h), Span.cells([column], w), Size(1, height, width)
    )
    reached = torch.zeros(1, 1, height, width, dtype=torch.bool)
    reached[..., rows.starts[0] : rows.stops[0], columns.starts[0] : columns.stops[0]] = True
    assert torch.equal(gradient > 0, reached)


def test_every_sliding_kind_says_whether_it_fits() -> None:
    pool: Sliding = MaxPool(3, 2)
    assert pool.fits(Size(1, 3, 3)) and not pool.fits(Size(1, 2, 9))
    assert MaxPool(3, 2, 1).fits(Size(1, 1, 1))


def test_a_gpu_is_asked_for_whole_float32_and_the_same_sums_each_time() -> None:
    assert torch.backends.cudnn.deterministic
    assert not torch.backends.cudnn.allow_tf32
    assert not torch.backends.cuda.matmul.allow_tf32
