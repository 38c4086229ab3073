"""The others: what one would run instead, on the same weights, image and units."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.workbench import (
    AdaptiveAveragePool,
    AveragePool,
    Convolution,
    Flatten,
    Linear,
    LocalResponseNorm,
    MaxPool,
    Network,
    ReLU,
    Unit,
)


def plain(network: Network) -> tuple[nn.Sequential, dict[str, nn.Module]]:
    """Rebuild a network from torch's own modules; also return each layer's last module."""
    modules: list[nn.Module] = []
    ends: dict[str, nn.Module] = {}
    for layer in network.layers:
        modules += [_plain(step) for step in layer.steps]
        ends[layer.name] = modules[-1]
    return nn.Sequential(*modules).eval().to(network.device), ends


def _plain(step: nn.Module) -> nn.Module:
    match step:
        case Convolution():
            size, stride, padding = step.kernel_size[0], step.stride[0], step.padding[0]
            sizes = (step.in_channels, step.out_channels, size, stride, padding)
            return _filled(nn.Conv2d(*sizes, groups=step.groups), step)
        case Linear():
            return _filled(nn.Linear(step.in_features, step.out_features), step)
        case ReLU():
            return nn.ReLU()
        case MaxPool():
            return nn.MaxPool2d(
                step.kernel_size, step.stride, step.padding, ceil_mode=step.ceil_mode
            )
        case AveragePool():
            return nn.AvgPool2d(step.kernel_size, step.stride, step.padding)
        case LocalResponseNorm():
            return nn.LocalResponseNorm(step.size, step.alpha, step.beta, step.k)
        case AdaptiveAveragePool():
            return nn.AdaptiveAvgPool2d(step.side)
        case Flatten():
            return nn.Flatten()
    return nn.Identity()


def _filled(module: nn.Module, like: nn.Module) -> nn.Module:
    state = {key: tensor.contiguous() for key, tensor in like.state_dict().items()}
    module.load_state_dict(state)
    return module.requires_grad_(requires_grad=False)


class Captum:
    """Captum's NeuronDeconvolution: a forward and a backward pass for every unit."""

    def __init__(self, network: Network, layer: str) -> None:
        from captum.attr import NeuronDeconvolution

        model, ends = plain(network)
        self.deconvolution = NeuronDeconvolution(model, ends[layer])

    def project(self, pixels: Tensor, units: Sequence[Unit]) -> list[Tensor]:
        """Project the units one after another."""
        pixels = pixels.contiguous().requires_grad_()
        return [self.deconvolution.attribute(pixels, unit[:3]).detach() for unit in units]


class Port:
    """The usual port: whole frames, one unit at a time, ``max_unpool2d`` and its int64 switches.

    It stands for the ports that walk the modules by hand. It loses values where switches of
    overlapping windows meet, so only its time is compared, and it knows no normalisation.
    """

    def __init__(self, network: Network, layer: str, pixels: Tensor) -> None:
        self.steps: list[tuple[nn.Module, Tensor | None, torch.Size]] = []
        x = pixels.contiguous()
        for each in network.layers:
            for step in map(_plain, each.steps):
                size, switches = x.shape, None
                if isinstance(step, nn.MaxPool2d):
                    step.return_indices = True
                    x, switches = step(x)
                else:
                    x = step(x)
                self.steps.append((step, switches, size))
            if each.name == layer:
                break
        self.activations = x

    def project(self, units: Sequence[Unit]) -> list[Tensor]:
        """Project the units one after another."""
        return [self._project(unit) for unit in units]

    def _project(self, unit: Unit) -> Tensor:
        x = torch.zeros_like(self.activations)
        x[0, unit.feature, unit.y, unit.x] = unit.activation
        for step, switches, size in reversed(self.steps):
            if isinstance(step, nn.Conv2d):
                x = _transposed(step, x, size)
            elif isinstance(step, nn.MaxPool2d):
                assert switches is not None
                kernel, stride = (step.kernel_size, step.stride)
                x = F.max_unpool2d(x, switches, kernel, stride, 0, list(size))  # type: ignore[arg-type]
            elif isinstance(step, nn.ReLU):
                x = F.relu(x)
        return x


def _transposed(step: nn.Conv2d, x: Tensor, size: torch.Size) -> Tensor:
    """Filter down to maps of the recorded size, which the stride may leave open."""
    kernel, stride, padding = step.kernel_size[0], step.stride[0], int(step.padding[0])
    reached = [(length - 1) * stride - 2 * padding + kernel for length in x.shape[2:]]
    missing = [full - length for full, length in zip(size[2:], reached, strict=True)]
    return F.conv_transpose2d(x, step.weight, None, stride, padding, missing, step.groups)
