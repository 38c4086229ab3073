"""A network: named layers in order, with all that belongs to its weights.

Shapes, strides and receptive fields are derived from the layers, never written down.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from models.errors import UnknownLayer, UnreachedLayer
from models.networks.architecture import Architecture, LayerKind, Normalization
from models.networks.preprocessing import Box, Preprocessing
from models.networks.signal import Size, Span
from models.networks.steps import AdaptiveAveragePool, BatchNorm, Flatten, Linear, Sliding, Step


@dataclass(frozen=True)
class Provenance:
    """Where the weights of a network come from.

    ``source`` is yours, published, starter or random; ``sha256`` is that of the file, empty for
    random weights, which are not ``trained``. ``preprocessing`` and ``norm`` are what they were
    trained with.
    """

    source: str
    sha256: str
    trained: bool
    classes: int | None = None
    licence: str | None = None
    description: str | None = None
    preprocessing: Preprocessing | None = None
    norm: Normalization | None = None


class LayerInfo(NamedTuple):
    """One layer at the network's native size; ``receptive_field`` and ``stride`` in pixels.

    ``multiply_adds`` are those of its filters for one photo.
    """

    name: str
    kind: LayerKind
    shape: Size
    receptive_field: int
    stride: int
    parameters: int
    multiply_adds: int


class Layer(nn.Sequential):
    """A named layer: the steps that a paper's one row stands for."""

    def __init__(self, name: str, kind: LayerKind, steps: Iterable[Step]) -> None:
        super().__init__(*steps)
        self.name = name
        self.kind = kind

    @property
    def steps(self) -> tuple[Step, ...]:
        """Return the steps in forward order."""
        return tuple(self)  # type: ignore[arg-type]

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Yield each parameter and statistic by the key our weight files use."""
        for step in self.steps:
            for key, tensor in learned(step).items():
                yield f"{self.prefix(step)}.{key}", tensor

    def prefix(self, step: Step) -> str:
        """Return what the keys of a step's tensors begin with."""
        return f"{self.name}.bn" if isinstance(step, BatchNorm) else self.name


def learned(step: Step) -> dict[str, Tensor]:
    """Return a step's parameters and statistics; batch norm's batch counter is neither."""
    state: dict[str, Tensor] = step.state_dict(keep_vars=True)
    return {key: tensor for key, tensor in state.items() if key != "num_batches_tracked"}


class Network(nn.Module):
    """A chain of named layers with preprocessing, classes and provenance."""

    def __init__(
        self,
        architecture: Architecture,
        layers: Sequence[Layer],
        preprocessing: Preprocessing,
        classes: tuple[str, ...] | None = None,
        provenance: Provenance | None = None,
    ) -> None:
        super().__init__()
        self.architecture = architecture
        self.chain = nn.ModuleList(layers)
        self.preprocessing = preprocessing
        self.classes = classes
        self.provenance = provenance or Provenance("none", "", trained=False)
        self.eval()

    @property
    def name(self) -> str:
        """Return the name that the API and the pages use."""
        return self.architecture.name

    @property
    def layers(self) -> tuple[Layer, ...]:
        """Return the layers in forward order."""
        return tuple(self.chain)  # type: ignore[arg-type]

    @property
    def input_size(self) -> Size:
        """Return the native input, (C, H, W)."""
        side = self.preprocessing.size
        return Size(self.preprocessing.channels, side, side)

    @property
    def last_conv(self) -> str:
        """Name the last convolutional layer."""
        return [layer.name for layer in self.layers if layer.kind == "conv"][-1]

    @property
    def last_fc(self) -> str | None:
        """Name the layer of class scores, if the weights have a classifier."""
        last = self.layers[-1]
        return last.name if last.kind == "fc" else None

    @property
    def classifier(self) -> str | None:
        """Name the layer of class scores; None where the weights end before the paper's last."""
        return self.last_fc if self.last_fc == self.architecture.rows[-1].name else None

    @property
    def nbytes(self) -> int:
        """Count the bytes that the weights take in memory."""
        return sum(tensor.nbytes for tensor in self.state_dict().values())

    @property
    def dtype(self) -> torch.dtype:
        """Return the type that the weights are computed in."""
        return next(self.parameters()).dtype

    @property
    def device(self) -> torch.device:
        """Return the device that the weights are on."""
        return next(self.parameters()).device

    def layer(self, name: str) -> Layer:
        """Find a layer by name; raise UnknownLayer with the names that there are."""
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise UnknownLayer(self.name, name, [layer.name for layer in self.layers])

    def tensors(self) -> dict[str, Tensor]:
        """Return every parameter and statistic by the key our weight files use."""
        return dict(pair for layer in self.layers for pair in layer.tensors())

    def assign_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Make these tensors the network's own, without a copy; keys are ours, shapes must fit."""
        for layer in self.layers:
            for step in layer.steps:
                prefix = layer.prefix(step)
                state = {key: tensors[f"{prefix}.{key}"] for key in learned(step)}
                if isinstance(step, BatchNorm):
                    state["num_batches_tracked"] = torch.tensor(0)
                step.load_state_dict(state, assign=True)

    def forward(self, pixels: Tensor) -> Tensor:
        """Run all layers on pixels (N, C, H, W)."""
        for layer in self.layers:
            pixels = layer(pixels)
        return pixels

    def sizes(self, pixels: Size) -> list[tuple[Layer, list[Size]]]:
        """List the layers that an input of this size reaches, each with its steps' input sizes.

        The last of a layer's sizes is its output. A fully connected layer that was made for
        another size ends the list, and so does a map that has shrunk to nothing.
        """
        reached: list[tuple[Layer, list[Size]]] = []
        for layer in self.layers:
            sizes = [pixels]
            for step in layer.steps:
                if isinstance(step, Linear) and step.in_features != sizes[-1].channels:
                    return reached
                if isinstance(step, Sliding) and not step.fits(sizes[-1]):
                    return reached
                sizes.append(step.shape(sizes[-1]))
            reached.append((layer, sizes))
            pixels = sizes[-1]
        return reached

    def receptive_field(self, layer: str, unit: tuple[int, int], pixels: Size) -> Box:
        """Say which pixels the unit (y, x) of a layer is computed from, clipped to the input."""
        until = self.path(layer, pixels)
        rows = Span.cells([unit[0]], until[-1][1][-1].height)
        columns = Span.cells([unit[1]], until[-1][1][-1].width)
        for each, sizes in reversed(until):
            for step, input_size in reversed(list(zip(each.steps, sizes, strict=False))):
                rows, columns = step.input_span(rows, columns, input_size)
        return Box(rows.starts[0], columns.starts[0], rows.stops[0], columns.stops[0])

    def path(self, layer: str, pixels: Size) -> list[tuple[Layer, list[Size]]]:
        """Return the layers up to one, with sizes; raise UnknownLayer if the input stops short."""
        found = self.layer(layer)
        reached = self.sizes(pixels)
        for count, (each, _) in enumerate(reached, 1):
            if each is found:
                return reached[:count]
        raise UnreachedLayer(self.name, layer, self.preprocessing.size)

    def describe(self) -> list[LayerInfo]:
        """Describe every layer at the native input size."""
        infos, field, jump, whole = [], 1, 1, False
        for layer, sizes in self.sizes(self.input_size):
            work = 0
            for step, input_size in zip(layer.steps, sizes, strict=False):
                work += step.multiply_adds(input_size)
                whole = whole or isinstance(step, Flatten | AdaptiveAveragePool)
                if isinstance(step, Sliding):
                    field += (step.kernel_size[0] - 1) * jump
                    jump *= step.stride[0]
            parameters = sum(p.numel() for p in layer.parameters())
            side, step_size = (self.preprocessing.size,) * 2 if whole else (field, jump)
            infos.append(
                LayerInfo(layer.name, layer.kind, sizes[-1], side, step_size, parameters, work)
            )
        return infos
