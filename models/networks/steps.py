"""The kinds of step that layers are made of: how each runs forward, and backward to pixels.

Each is a torch module that adds three abilities to its ``forward``:

* ``record(x)`` runs forward and returns the output with what the way back will need,
* ``backward(signal, saved, rule, input_size)`` takes a signal one step down (Zeiler & Fergus
  2013, 2.1); it may overwrite the signal's values,
* its ``kernel_size``, ``stride`` and ``padding`` say which cells below a cell can reach.

A step that is ``cellwise`` or has a ``margin`` can also run forward on a part of its input.

All maps are (N, C, H, W); a fully connected layer's are (N, C, 1, 1). On the CPU they lie
channels last in memory (``layout``), where convolution, pooling and unpooling are all fastest.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.networks import sparse
from models.networks.rules import Rule
from models.networks.signal import Signal, Size, Span, cut, layout, zeros

Saved: TypeAlias = Tensor | None
"""What a step keeps of a forward pass for the way down; most keep nothing."""

# On a GPU torch would round float32 to ten bits in a convolution, and choose ways to compute it
# whose sums come in another order each time.
torch.backends.cudnn.allow_tf32 = False
torch.backends.cudnn.deterministic = True

LANES = 64
"""Up to so many output maps one convolution makes at about the price of a few."""


class Step(nn.Module):
    """One operation of a layer; by default it keeps the shape and saves nothing."""

    derives = False
    """Does its derivative, where a rule asks for it, need the forward input?"""
    cellwise = False
    """Is each cell computed from the one cell below it alone, whatever the map's size?"""

    def record(self, x: Tensor) -> tuple[Tensor, Saved]:
        """Run forward; return the output and what ``backward`` will need of this pass."""
        return self(x), None

    def backward(self, signal: Signal, saved: Saved, rule: Rule, input_size: Size) -> Signal:
        """Take the signal through this step, downwards, into maps of size ``input_size``."""
        raise NotImplementedError

    def input_span(self, rows: Span, columns: Span, input_size: Size) -> tuple[Span, Span]:
        """Say which cells below the given cells are computed from."""
        return rows, columns

    def shape(self, input_size: Size) -> Size:
        """Derive the output's size from the input's."""
        return input_size

    def multiply_adds(self, input_size: Size) -> int:
        """Count what filters multiply and add on an input of this size; other steps count as 0."""
        return 0


class Sliding(Step):
    """A step that slides a small window over its input."""

    kernel_size: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    ceil_mode = False

    @property
    def margin(self) -> float | None:
        """Return what ``slide`` takes for cells beyond the border; None if it cannot slide."""
        return None

    def slide(self, windows: Tensor) -> Tensor:
        """Run forward on windows of the input (N, C, h, w) that hold their own padding."""
        raise NotImplementedError

    def input_span(self, rows: Span, columns: Span, input_size: Size) -> tuple[Span, Span]:
        """Say which cells below the given cells are computed from."""
        (ky, kx), (sy, sx), (py, px) = self.kernel_size, self.stride, self.padding
        return rows.input_span(ky, sy, py, input_size.height), columns.input_span(
            kx, sx, px, input_size.width
        )

    def output_span(self, rows: Span, columns: Span, output_size: Size) -> tuple[Span, Span]:
        """Say which cells above are computed from the given cells."""
        (ky, kx), (sy, sx), (py, px) = self.kernel_size, self.stride, self.padding
        return rows.output_span(ky, sy, py, output_size.height), columns.output_span(
            kx, sx, px, output_size.width
        )

    def place_below(self, signal: Signal, values: Tensor, input_size: Size) -> Signal:
        """Cut what was spread downwards, padding included, to windows of the map below."""
        rows, columns = self.input_span(signal.rows, signal.columns, input_size)
        tops = signal.rows.offsets(rows, self.stride[0], self.padding[0])
        lefts = signal.columns.offsets(columns, self.stride[1], self.padding[1])
        values = cut(values, tops, rows.length, lefts, columns.length)
        return replace(signal, values=values, rows=rows, columns=columns)

    def fits(self, input_size: Size) -> bool:
        """Is the input large enough for one window, which in ceil mode the border may cut?"""
        return min(self.shape(input_size)[1:]) > 0

    def shape(self, input_size: Size) -> Size:
        """Derive the output's size from the input's."""
        return Size(
            input_size.channels, self._along(0, input_size.height), self._along(1, input_size.width)
        )

    def _along(self, axis: int, length: int) -> int:
        kernel, stride, padding = self.kernel_size[axis], self.stride[axis], self.padding[axis]
        room = length + 2 * padding - kernel
        count = (-(-room // stride) if self.ceil_mode else room // stride) + 1
        # torch lets no window begin beyond the input and its first padding
        beyond = self.ceil_mode and (count - 1) * stride >= length + padding
        return count - beyond


class Convolution(nn.Conv2d, Sliding):  # type: ignore[misc]  # torch: tuple[int, ...]
    """Filters; backward by the same filters transposed, without the bias (2.1, Filtering)."""

    def __init__(
        self, channels: int, filters: int, kernel: int, stride: int, padding: int, groups: int
    ) -> None:
        super().__init__(channels, filters, kernel, stride, padding, groups=groups)

    @property
    def margin(self) -> float:
        """Return the zero that filters see beyond the border."""
        return 0.0

    def slide(self, windows: Tensor) -> Tensor:
        """Filter windows that hold their own padding."""
        return F.conv2d(windows, self.weight, self.bias, self.stride, groups=self.groups)

    def shape(self, input_size: Size) -> Size:
        """Derive the output's size from the input's."""
        return Size(self.out_channels, *super().shape(input_size)[1:])

    def multiply_adds(self, input_size: Size) -> int:
        """Count each weight once at every place that its filter goes to."""
        _, rows, columns = self.shape(input_size)
        return rows * columns * self.weight.numel()

    def backward(self, signal: Signal, saved: Saved, rule: Rule, input_size: Size) -> Signal:
        """Filter with the transposed weights."""
        if signal.features is not None:
            values = self._spread_one(signal.values, signal.features)
        elif (places := self._places_to_add(signal.values)) is not None:
            values = sparse.add_filters(signal.values, places, self.weight, self.stride[0])
        elif self._has_few_outputs():
            values = self._spread_in_blocks(signal.values)
        else:
            values = F.conv_transpose2d(
                signal.values, self.weight, stride=self.stride, groups=self.groups
            )
        return self.place_below(replace(signal, features=None), values, input_size)

    def _places_to_add(self, values: Tensor) -> sparse.Places | None:
        """Say where values are not zero, if they are so few that adding their filters pays."""
        if self.groups > 1:
            return None
        return sparse.places_to_add(values, self.weight, self.stride[0])

    @property
    def _block(self) -> int:
        """Return the side of the block of pixels that a plain convolution can make at a time."""
        return max(2, self.stride[0])

    def _has_few_outputs(self) -> bool:
        """Would a transposed convolution leave most lanes idle, having so few maps to make?"""
        return self.groups == 1 and self.in_channels * self._block**2 <= LANES

    def _spread_in_blocks(self, values: Tensor) -> Tensor:
        """Filter down as one plain convolution whose every step makes a block of pixels."""
        kernel, stride, block = self.kernel_size[0], self.stride[0], self._block
        step, before = block // stride, (kernel - 1) // stride
        # pixel r of a block takes from cell d the tap r - stride * (d - before), or none
        r = torch.arange(block, device=values.device)[:, None]
        taps = r - stride * (torch.arange(before + step, device=values.device) - before)
        taps = torch.where((taps >= 0) & (taps < kernel), taps, kernel)  # (block, reach)
        filters = F.pad(self.weight, (0, 1, 0, 1))[:, :, taps[:, :, None, None], taps]
        filters = filters.permute(1, 2, 4, 0, 3, 5).flatten(0, 2)
        height, width = ((n - 1) * stride + kernel for n in values.shape[2:])
        # what the last block reaches beyond the cells and the margin that conv2d gives them
        under, right = (
            max(0, -(-length // block) * step - before - n)
            for length, n in zip((height, width), values.shape[2:], strict=True)
        )
        if right or under:
            values = F.pad(values, (0, right, 0, under))
        filters = filters.contiguous(memory_format=layout(values.device))
        blocks = F.conv2d(values, filters, stride=step, padding=before)
        return F.pixel_shuffle(blocks, block)[:, :, :height, :width]

    def _spread_one(self, values: Tensor, features: tuple[int, ...]) -> Tensor:
        """Filter one map of each signal (N, 1, h, w) down to all maps below."""
        filters = self.weight[list(features)]  # (N, C / groups, k, k)
        n, group, *_ = filters.shape
        if values.shape[2:] == (1, 1):
            spread = filters * values
        else:
            alone = values.transpose(0, 1)  # (1, N, h, w): each its own group
            spread = F.conv_transpose2d(alone, filters, stride=self.stride, groups=n)
            spread = spread.unflatten(1, (n, group))[0]
        if self.groups == 1:
            return spread
        placed = spread.new_zeros(n, self.groups, *spread.shape[1:])
        owners = [feature * self.groups // self.out_channels for feature in features]
        placed[range(n), owners] = spread
        return placed.flatten(1, 2)


class ReLU(nn.ReLU, Step):
    """ReLU; the signal is rectified, not gated by the activation (2.1, Rectification)."""

    cellwise = True

    def record(self, x: Tensor) -> tuple[Tensor, Saved]:
        """Run forward; remember the signs, eight maps to a byte."""
        y = F.relu(x)
        return y, _pack(y)

    def backward(self, signal: Signal, saved: Saved, rule: Rule, input_size: Size) -> Signal:
        """Cut what is negative, stop what was not active, as the rule says."""
        values = signal.values.relu_() if rule.rectify else signal.values
        if rule.gate:
            assert saved is not None
            values = values * _unpack(saved, signal, input_size.channels)
        return signal.with_values(values)


def _pack(x: Tensor) -> Tensor:
    """Pack the signs of (N, C, H, W), eight maps to a byte, into (N, C / 8, H, W)."""
    signs = F.pad((x > 0).permute(0, 2, 3, 1), (0, -x.shape[1] % 8))
    eights = signs.flatten().view(torch.int64)
    # eight booleans are one integer; times this, their bits meet in its highest byte
    octets = (eights * 0x0102040810204080 >> 56).to(torch.uint8)
    return octets.view(*signs.shape[:3], -1).permute(0, 3, 1, 2)


def _unpack(packed: Tensor, signal: Signal, channels: int) -> Tensor:
    """Unpack the signs in the signal's windows: (N, C, h, w), or (N, 1, h, w) of one map each."""
    octets = signal.window(packed, maps_per_entry=8).unsqueeze(2)
    bits = torch.arange(8, dtype=torch.uint8, device=packed.device)
    if signal.features is None:
        return (octets >> bits.view(1, 1, 8, 1, 1) & 1).flatten(1, 2)[:, :channels]
    chosen = bits[[feature % 8 for feature in signal.features]]
    return (octets >> chosen.view(-1, 1, 1, 1, 1) & 1).flatten(1, 2)


class Sigmoid(nn.Sigmoid, Step):
    """Sigmoid, LeNet-5's nonlinearity; the signal passes unchanged, or times its derivative."""

    derives = True
    cellwise = True

    def backward(self, signal: Signal, saved: Saved, rule: Rule, input_size: Size) -> Signal:
        """Pass the signal, or multiply it by s (1 - s)."""
        if not rule.derive:
            return signal
        assert saved is not None
        y = torch.sigmoid(signal.window(saved))
        return signal.with_values(signal.values * y * (1 - y))


class LocalResponseNorm(nn.LocalResponseNorm, Step):
    """Local response normalisation across maps; not inverted (as in the paper), or derived."""

    derives = True
    cellwise = True

    def forward(self, x: Tensor) -> Tensor:
        """Divide each activation by a power of the squares around it, as torch does, but faster."""
        return x * self._scale(x) ** -self.beta

    def _scale(self, x: Tensor) -> Tensor:
        before, after = self.size // 2, (self.size - 1) // 2
        return self.k + self.alpha / self.size * _neighbours(x * x, before, after)

    def backward(self, signal: Signal, saved: Saved, rule: Rule, input_size: Size) -> Signal:
        """Pass the signal, or apply the transposed Jacobian."""
        if not rule.derive:
            return signal
        assert saved is not None
        signal = signal.dense(input_size.channels)
        x = signal.window(saved)
        before, after = self.size // 2, (self.size - 1) // 2
        scale = self._scale(x)
        inner = signal.values * x * scale ** (-self.beta - 1)
        share = 2 * self.alpha / self.size * self.beta
        inner = share * x * _neighbours(inner, after, before)
        return signal.with_values(signal.values * scale**-self.beta - inner)


def _neighbours(x: Tensor, before: int, after: int) -> Tensor:
    """Sum each map with the ``before`` maps before it and the ``after`` maps after it."""
    count = x.shape[1]
    padded = F.pad(x, (0, 0, 0, 0, before, after))
    total = padded[:, :count]
    for offset in range(1, before + after + 1):
        total = total + padded[:, offset : offset + count]
    return total


class BatchNorm(nn.BatchNorm2d, Step):
    """Batch normalisation as in evaluation; backward by its scale alone, without the shift."""

    cellwise = True

    def backward(self, signal: Signal, saved: Saved, rule: Rule, input_size: Size) -> Signal:
        """Multiply by gamma / sqrt(var + eps), as if it were folded into the filters."""
        assert self.running_var is not None
        scale = self.weight / torch.sqrt(self.running_var + self.eps)
        if signal.features is None:
            return signal.with_values(signal.values * scale.view(1, -1, 1, 1))
        return signal.with_values(signal.values * scale[list(signal.features)].view(-1, 1, 1, 1))


class Pool(Sliding):
    """A step that makes one value of each window, map by map."""

    def __init__(
        self, kernel: int, stride: int, padding: int = 0, *, ceil_mode: bool = False
    ) -> None:
        super().__init__()
        self.kernel_size = (kernel, kernel)
        self.stride = (stride, stride)
        self.padding = (padding, padding)
        self.ceil_mode = ceil_mode

    def extra_repr(self) -> str:
        """Show the window."""
        return f"{self.kernel_size}, stride={self.stride}, padding={self.padding}"

    def _spread(self, values: Tensor, share: Callable[[int], Tensor | float]) -> Tensor:
        """Add the values (N, C, h, w) times ``share(place)`` at that place of every window.

        Places count in row-major order; one after the other, so that windows that overlap add
        up in the same order on every device, which ``scatter_add_`` does not promise.
        """
        n, c, h, w = values.shape
        (ky, kx), (sy, sx) = self.kernel_size, self.stride
        spread = zeros(values, n, c, (h - 1) * sy + ky, (w - 1) * sx + kx)
        for place in range(ky * kx):
            seen, part = _seen(spread, place, self.kernel_size, self.stride, (h, w)), share(place)
            if self.kernel_size == self.stride:
                torch.mul(values, part, out=seen)
            elif isinstance(part, Tensor):
                seen.addcmul_(values, part)
            else:
                seen += values * part
        return spread


def _seen(
    x: Tensor, place: int, kernel: tuple[int, int], stride: tuple[int, int], size: tuple[int, int]
) -> Tensor:
    """View the cells that stand at one place of each of ``size`` windows."""
    (y, left), (h, w), (sy, sx) = divmod(place, kernel[1]), size, stride
    return x[..., y : y + (h - 1) * sy + 1 : sy, left : left + (w - 1) * sx + 1 : sx]


class MaxPool(Pool):
    """Max pool; backward by sending each value to its switch, where values add (2.1, Unpooling)."""

    def forward(self, x: Tensor) -> Tensor:
        """Keep the largest value of each window."""
        return F.max_pool2d(
            x, self.kernel_size, self.stride, self.padding, ceil_mode=self.ceil_mode
        )

    @property
    def margin(self) -> float:
        """Return what is never the largest."""
        return -math.inf

    def slide(self, windows: Tensor) -> Tensor:
        """Keep the largest value of each window inside windows that hold their own padding."""
        return F.max_pool2d(windows, self.kernel_size, self.stride)

    def record(self, x: Tensor) -> tuple[Tensor, Saved]:
        """Run forward; remember each window's switch, its place in row-major order, in a byte.

        Ties go to the first place: torch's pooling scans so on every device, in every layout.
        """
        y, indices = F.max_pool2d(
            x,
            self.kernel_size,
            self.stride,
            self.padding,
            ceil_mode=self.ceil_mode,
            return_indices=True,
        )
        return y, self._switches(indices, *x.shape[2:])

    def _switches(self, indices: Tensor, height: int, width: int) -> Tensor:
        """Turn places in a map, row-major, into places in each window."""
        (_, kx), (sy, sx), (py, px) = self.kernel_size, self.stride, self.padding
        # floats divide many times faster than integers, and hold these exactly
        dtype = torch.float32 if height * width < 2**24 else torch.float64
        rows, columns = (
            torch.arange(length, dtype=dtype, device=indices.device) for length in indices.shape[2:]
        )
        corner = ((rows * sy - py) * kx)[:, None] + (columns * sx - px)
        places = indices.to(dtype)
        row = (places / width).floor_()
        # (row - top) * kx + (column - left), where column = place - row * width
        return places.add_(row, alpha=kx - width).sub_(corner).to(torch.uint8)

    def backward(self, signal: Signal, saved: Saved, rule: Rule, input_size: Size) -> Signal:
        """Send each value to its switch."""
        assert saved is not None
        # floats compare and multiply with floats in a quarter of the time that bytes take
        switches = signal.window(saved).to(signal.values.dtype)
        chosen = torch.empty_like(switches)
        spread = self._spread(signal.values, lambda place: torch.eq(switches, place, out=chosen))
        return self.place_below(signal, spread, input_size)


class AveragePool(Pool):
    """Average pool; backward by spreading each value evenly over its window."""

    def forward(self, x: Tensor) -> Tensor:
        """Average each window, padding counted in; a window cut off by the border, what it has."""
        return F.avg_pool2d(x, self.kernel_size, self.stride, self.padding, self.ceil_mode)

    @property
    def margin(self) -> float | None:
        """Return the zero that padding adds; in ceil mode the border divides by fewer cells."""
        return None if self.ceil_mode else 0.0

    def slide(self, windows: Tensor) -> Tensor:
        """Average inside windows that hold their own padding."""
        return F.avg_pool2d(windows, self.kernel_size, self.stride)

    def backward(self, signal: Signal, saved: Saved, rule: Rule, input_size: Size) -> Signal:
        """Spread each value evenly."""
        if self.ceil_mode:
            values = signal.values / self._cells(signal, input_size)
            return self.place_below(signal, self._spread(values, lambda place: 1.0), input_size)
        share = 1 / (self.kernel_size[0] * self.kernel_size[1])
        spread = self._spread(signal.values, lambda place: share)
        return self.place_below(signal, spread, input_size)

    def _cells(self, signal: Signal, input_size: Size) -> Tensor:
        """Count the cells of each unit's window, which the border may cut: (N, 1, h, w)."""
        counts = []
        for axis, span in enumerate((signal.rows, signal.columns)):
            kernel, stride, padding = self.kernel_size[axis], self.stride[axis], self.padding[axis]
            starts = torch.arange(span.size) * stride - padding
            cells = (starts + kernel).clamp(max=input_size[1 + axis] + padding) - starts
            counts.append(torch.stack([cells[at : at + span.length] for at in span.origins]))
        rows, columns = counts
        return (rows[:, None, :, None] * columns[:, None, None, :]).to(signal.values)


class AdaptiveAveragePool(Step):
    """Average pool to a fixed size; the identity where the map has it already."""

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = side

    def forward(self, x: Tensor) -> Tensor:
        """Average (N, C, H, W) to (N, C, side, side)."""
        return F.adaptive_avg_pool2d(x, self.side)

    def shape(self, input_size: Size) -> Size:
        """Derive the output's size from the input's."""
        return Size(input_size.channels, self.side, self.side)

    def input_span(self, rows: Span, columns: Span, input_size: Size) -> tuple[Span, Span]:
        """Cover the map: its windows differ in size, and only whole maps come here."""
        count = len(rows.starts)
        return Span.whole(count, input_size.height), Span.whole(count, input_size.width)

    def backward(self, signal: Signal, saved: Saved, rule: Rule, input_size: Size) -> Signal:
        """Spread each value evenly over the cells it was averaged from."""
        signal = signal.dense(input_size.channels)
        down = _shares(input_size.height, self.side, signal.values).T @ signal.values
        rows, columns = self.input_span(signal.rows, signal.columns, input_size)
        values = down @ _shares(input_size.width, self.side, signal.values)
        return replace(signal, values=values, rows=rows, columns=columns)


def _shares(size: int, side: int, like: Tensor) -> Tensor:
    """Say how much each of ``size`` cells adds to each of ``side`` averages: (side, size)."""
    shares = like.new_zeros(side, size)
    for i in range(side):
        start, stop = i * size // side, -(-(i + 1) * size // side)
        shares[i, start:stop] = 1 / (stop - start)
    return shares


class Flatten(Step):
    """All maps as one long vector, (N, C x H x W, 1, 1)."""

    def forward(self, x: Tensor) -> Tensor:
        """Flatten (N, C, H, W) in row-major order."""
        return x.flatten(1)[:, :, None, None]

    def shape(self, input_size: Size) -> Size:
        """Derive the output's size from the input's."""
        return Size(input_size.channels * input_size.height * input_size.width, 1, 1)

    def input_span(self, rows: Span, columns: Span, input_size: Size) -> tuple[Span, Span]:
        """Cover the map."""
        count = len(rows.starts)
        return Span.whole(count, input_size.height), Span.whole(count, input_size.width)

    def backward(self, signal: Signal, saved: Saved, rule: Rule, input_size: Size) -> Signal:
        """Fold the vector back into maps."""
        signal = signal.dense(input_size.channels * input_size.height * input_size.width)
        rows, columns = self.input_span(signal.rows, signal.columns, input_size)
        values = signal.values.reshape(-1, *input_size)
        return replace(signal, values=values, rows=rows, columns=columns)


class Linear(nn.Linear, Step):
    """A fully connected layer over (N, C, 1, 1); backward by its transposed weights, no bias."""

    cellwise = True

    def forward(self, x: Tensor) -> Tensor:
        """Multiply (N, C, 1, 1) by the weights and add the bias."""
        return super().forward(x.flatten(1))[:, :, None, None]

    def shape(self, input_size: Size) -> Size:
        """Derive the output's size from the input's."""
        return Size(self.out_features, 1, 1)

    def multiply_adds(self, input_size: Size) -> int:
        """Count each weight once."""
        return self.weight.numel()

    def backward(self, signal: Signal, saved: Saved, rule: Rule, input_size: Size) -> Signal:
        """Multiply by the transposed weights."""
        if signal.features is None:
            values = signal.values.flatten(1) @ self.weight
        else:
            values = signal.values.flatten(1) * self.weight[list(signal.features)]
        return replace(signal, values=values[:, :, None, None], features=None)


class Dropout(nn.Dropout, Step):
    """Dropout: active in training only; otherwise the identity, up and down."""

    cellwise = True

    def backward(self, signal: Signal, saved: Saved, rule: Rule, input_size: Size) -> Signal:
        """Pass the signal."""
        return signal
