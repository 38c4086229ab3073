"""The networks and the methods a second time, in torch's own modules: what the engine must equal.

Nothing here asks the engine how it walks back: a network is rebuilt from ``torch.nn`` with the
same tensors, and a method is what autograd makes of it once a few derivatives are replaced.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, TypeVar

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.networks.architecture import Architecture, Dense, Filters, Normalization
from models.networks.build import build
from models.networks.catalogue import architecture, build_on_meta
from models.networks.network import Network
from models.networks.signal import Size
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
)
from models.projection.record import Maxima, Record, activations
from models.projection.selection import Unit

Model = TypeVar("Model", bound=nn.Module)

METHODS = ("deconvnet", "guided", "gradient")

no_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
DEVICES = ["cpu", pytest.param("cuda", marks=[pytest.mark.gpu, no_gpu])]


def slim(
    name: str, *, groups: int = 1, norm: Normalization | None = None, seed: int = 0
) -> Network:
    """Build a network of few maps with random weights, in float64; every layer is alive."""
    shapes = dict(_slim_shapes(architecture(name), groups))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = build(architecture(name), shapes, norm=norm).double()
        for key, tensor in network.tensors().items():
            _fill(key, tensor.data)
    return network.requires_grad_(requires_grad=False)


def _slim_shapes(paper: Architecture, groups: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yield the shapes of a network of 6 to 12 maps a layer."""
    channels, dense = paper.preprocessing.channels, False
    last = [row for row in paper.rows if not isinstance(row, Dense)][-1].name
    side = (
        paper.adaptive
        or {i.name: i.shape for i in build_on_meta(paper.name).describe()}[last].height
    )
    for row in paper.rows:
        if isinstance(row, Filters):
            shared = groups if channels % groups == 0 and row.name in GROUPED else 1
            maps = min(12, max(6, row.maps // 32))
            yield f"{row.name}.weight", (maps, channels // shared, row.kernel, row.kernel)
            channels = maps
        elif isinstance(row, Dense):
            units = min(row.units, 12)
            yield f"{row.name}.weight", (units, channels if dense else channels * side**2)
            channels, dense = units, True


GROUPED = ("conv2", "conv4", "conv5")
"""The layers that the 2012 network splits between two GPUs."""


def _fill(key: str, tensor: Tensor) -> None:
    """Draw a tensor so that activations neither fade nor grow."""
    if tensor.dim() > 1:
        nn.init.kaiming_normal_(tensor)
    elif key.endswith("running_var"):
        tensor.uniform_(0.5, 2)
    elif key.endswith("bn.weight"):
        tensor.uniform_(0.5, 1.5).mul_(torch.where(torch.rand_like(tensor) < 0.3, -1, 1))
    else:
        tensor.uniform_(-0.2, 0.2)


def noise(network: Network, height: int, width: int, images: int = 1, seed: int = 1) -> Tensor:
    """Return random pixels (images, C, height, width) for a network, in its type."""
    chance = torch.Generator().manual_seed(seed)
    size = (images, network.input_size.channels, height, width)
    return torch.randn(size, generator=chance, dtype=torch.float64).to(network.dtype)


class _Rectified(torch.autograd.Function):
    """ReLU forward; backward the rule of a method."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, method: str) -> Tensor:
        ctx.method = method
        ctx.save_for_backward(x)
        return x.clamp(min=0)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (gradient,), (x,) = gradients, ctx.saved_tensors
        if ctx.method != "gradient":
            gradient = gradient.clamp(min=0)
        if ctx.method != "deconvnet":
            gradient = torch.where(x > 0, gradient, 0.0)
        return gradient, None


class _Passed(torch.autograd.Function):
    """A module forward, the identity backward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, module: nn.Module) -> Tensor:
        result: Tensor = module(x)
        return result

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0], None


class RuledReLU(nn.Module):
    """A ReLU whose derivative is a method's rule."""

    def __init__(self, method: str) -> None:
        super().__init__()
        self.method = method

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = _Rectified.apply(x, self.method)
        return result


class Passed(nn.Module):
    """A module whose derivative is taken for the identity."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = _Passed.apply(x, self.module)
        return result


def plain(network: Network, until: str | None = None) -> nn.Sequential:
    """Rebuild a network, up to a layer, of torch's own modules with the same tensors."""
    parts: list[nn.Module] = []
    for layer in network.layers:
        parts.append(nn.Sequential(*map(_plain, layer.steps)))
        if layer.name == until:
            break
    return nn.Sequential(*parts).eval()


def _plain(step: nn.Module) -> nn.Module:
    twin = _twin(step)
    if state := step.state_dict():
        twin.load_state_dict(state, assign=True)
    return twin.eval().requires_grad_(requires_grad=False)


def _twin(step: nn.Module) -> nn.Module:
    """Say which of torch's modules a step stands for."""
    match step:
        case Convolution():
            return nn.Conv2d(
                step.in_channels,
                step.out_channels,
                step.kernel_size[0],
                step.stride[0],
                step.padding[0],
                groups=step.groups,
            )
        case MaxPool():
            window = (step.kernel_size[0], step.stride[0], step.padding[0])
            return nn.MaxPool2d(*window, ceil_mode=step.ceil_mode)
        case AveragePool():
            window = (step.kernel_size[0], step.stride[0], step.padding[0])
            return nn.AvgPool2d(*window, ceil_mode=step.ceil_mode)
        case AdaptiveAveragePool():
            return nn.AdaptiveAvgPool2d(step.side)
        case LocalResponseNorm():
            return nn.LocalResponseNorm(step.size, step.alpha, step.beta, step.k)
        case BatchNorm():
            return nn.BatchNorm2d(step.num_features, step.eps)
        case Linear():
            return nn.Linear(step.in_features, step.out_features)
    simple: dict[type[nn.Module], type[nn.Module]] = {
        ReLU: nn.ReLU,
        Sigmoid: nn.Sigmoid,
        Flatten: nn.Flatten,
        Dropout: nn.Identity,
    }
    return simple[type(step)]()


def ruled(model: Model, method: str) -> Model:
    """Replace the derivatives that a method replaces, for autograd."""
    for name, child in list(model.named_children()):
        if isinstance(child, nn.ReLU):
            setattr(model, name, RuledReLU(method))
        else:
            ruled(child, method)
    return passing(model) if method == "deconvnet" else model


def passing(model: Model) -> Model:
    """Let the backward signal through normalisation and sigmoids as if they were not there."""
    for name, child in list(model.named_children()):
        if isinstance(child, nn.LocalResponseNorm | nn.Sigmoid):
            setattr(model, name, Passed(child))
        elif not isinstance(child, Passed):
            passing(child)
    return model


class Autograd:
    """Every layer of one image's forward pass, and what autograd carries back to the pixels."""

    def __init__(self, network: Network, pixels: Tensor, method: str, reached: int) -> None:
        self.pixels = pixels.clone().requires_grad_()
        self.maps: dict[str, Tensor] = {}
        x = self.pixels
        model = ruled(plain(network), method)
        for layer, part in islice(zip(network.layers, model, strict=True), reached):
            x = self.maps[layer.name] = part(x)

    def project(self, layer: str, seed: Tensor) -> Tensor:
        """Carry a seed, of the shape of the layer's maps, back to pixels (C, H, W)."""
        maps = self.maps[layer]
        (down,) = torch.autograd.grad(
            maps, self.pixels, seed.reshape(maps.shape), retain_graph=True
        )
        return down[0]


def seed_of(unit: Unit, size: Size) -> Tensor:
    """Return a layer's maps (1, C, H, W), zero but for one unit's value."""
    seed = torch.zeros(1, *size, dtype=torch.float64)
    seed[0, unit.feature, unit.y, unit.x] = unit.activation
    return seed


def probes(record: Record, layer: str, image: int = 0) -> list[Unit]:
    """Choose units of a layer: the strongest of a few maps, the corners, and border to border."""
    maxima: Maxima = record.maxima[layer]
    maps = activations(record, layer)[image]
    c, h, w = maps.shape
    chosen = [0, c // 2, c - 1]
    peaks = [(f, int(maxima.rows[image, f]), int(maxima.columns[image, f])) for f in chosen]
    places = [(0, 0), (0, w - 1), (h - 1, 0), (h - 1, w - 1), (h // 2, 0)]
    borders = [(int(maps[:, y, x].argmax()), y, x) for y, x in places]
    found = dict.fromkeys([*peaks, *borders])
    return [Unit(f, y, x, float(maps[f, y, x]), image) for f, y, x in found]


Pixels = Tensor | NDArray[np.floating]


def furthest(one: Sequence[Pixels], other: Sequence[Pixels]) -> float:
    """Return the largest difference of two lists of pixels, relative to each largest value."""
    assert len(one) == len(other) > 0
    pairs = [(torch.as_tensor(a), torch.as_tensor(b)) for a, b in zip(one, other, strict=True)]
    return max(float((a - b).abs().max() / b.abs().max().clamp(min=1e-30)) for a, b in pairs)
