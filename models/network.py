"""A network: named layers in order, with all that belongs to its weights.

``Architecture`` is what a paper prints (a table of rows); ``build`` turns it into a ``Network``,
taking widths, groups and the head from the tensors that will fill it. Shapes, strides and
receptive fields are derived from the layers, never written down.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from .errors import UnknownLayer, WeightsInvalid
from .layers import (
    AdaptiveAveragePool,
    AveragePool,
    BatchNorm,
    Convolution,
    Dropout,
    Flatten,
    Kind,
    Linear,
    MaxPool,
    Normalize,
    Rectify,
    Size,
    Sliding,
    Span,
)
from .preprocessing import Box, Preprocessing

LayerKind = Literal["conv", "pool", "norm", "fc"]


class Filters(NamedTuple):
    """A convolution with its nonlinearity, as a paper's table prints it."""

    name: str
    maps: int
    kernel: int
    stride: int = 1
    padding: int = 0


class Pooling(NamedTuple):
    """A pooling layer."""

    name: str
    kernel: int
    stride: int
    ceil_mode: bool = False
    average: bool = False


class Norm(NamedTuple):
    """A local response normalisation; its constants come with the weights."""

    name: str


class Dense(NamedTuple):
    """A fully connected layer; the last one of a network has no nonlinearity."""

    name: str
    units: int


Row = Filters | Pooling | Norm | Dense


@dataclass(frozen=True)
class Normalization:
    """Local response normalisation's place and constants; ``alpha`` in torch's sense."""

    order: Literal["pool-norm", "norm-pool"] = "pool-norm"
    size: int = 5
    alpha: float = 5e-4
    beta: float = 0.75
    k: float = 2.0


@dataclass(frozen=True)
class Provenance:
    """Where the weights of a network come from."""

    source: str
    sha256: str
    trained: bool
    classes: int | None = None
    licence: str | None = None
    description: str | None = None
    preprocessing: Preprocessing | None = None
    norm: Normalization | None = None


@dataclass(frozen=True)
class Architecture:
    """A network as its paper describes it."""

    name: str
    title: str
    paper: str
    rows: tuple[Row, ...]
    preprocessing: Preprocessing
    norm: Normalization | None = None
    squash: Callable[[], Kind] = Rectify
    batch_norm: bool = False
    adaptive: int | None = None
    dropout: float = 0.0


class LayerInfo(NamedTuple):
    """One layer at the network's native size; ``receptive_field`` and ``stride`` in pixels."""

    name: str
    kind: LayerKind
    shape: Size
    receptive_field: int
    stride: int
    parameters: int


class Layer(nn.Sequential):
    """A named layer: the steps that a paper's one row stands for."""

    def __init__(self, name: str, kind: LayerKind, steps: Iterable[Kind]) -> None:
        super().__init__(*steps)
        self.name = name
        self.kind = kind

    @property
    def steps(self) -> tuple[Kind, ...]:
        """Return the steps in forward order."""
        return tuple(self)  # type: ignore[arg-type]

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Yield each parameter and statistic by the key our weight files use."""
        for step in self.steps:
            for key, tensor in learned(step).items():
                yield f"{self.prefix(step)}.{key}", tensor

    def prefix(self, step: Kind) -> str:
        """Return what the keys of a step's tensors begin with."""
        return f"{self.name}.bn" if isinstance(step, BatchNorm) else self.name


def learned(step: Kind) -> dict[str, Tensor]:
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
        names = ", ".join(layer.name for layer in self.layers)
        raise UnknownLayer(f"{self.name} has no layer {name!r}; it has {names}")

    def tensors(self) -> dict[str, Tensor]:
        """Return every parameter and statistic by the key our weight files use."""
        return dict(pair for layer in self.layers for pair in layer.tensors())

    def adopt(self, tensors: Mapping[str, Tensor]) -> None:
        """Take these tensors, of our own keys and the right shapes, for the network's own."""
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
        """Derive, for each layer that an input of this size reaches, its steps' input sizes.

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
            for step, below in reversed(list(zip(each.steps, sizes, strict=False))):
                rows, columns = step.grow(rows, columns, below)
        return Box(rows.starts[0], columns.starts[0], rows.stops[0], columns.stops[0])

    def path(self, layer: str, pixels: Size) -> list[tuple[Layer, list[Size]]]:
        """Return the layers up to one, with sizes; raise UnknownLayer if the input stops short."""
        found = self.layer(layer)
        reached = self.sizes(pixels)
        for count, (each, _) in enumerate(reached, 1):
            if each is found:
                return reached[:count]
        native = self.preprocessing.size
        raise UnknownLayer(f"{self.name} has {layer} only for inputs of {native} x {native} pixels")

    def describe(self) -> list[LayerInfo]:
        """Describe every layer at the native input size."""
        infos, field, jump, whole = [], 1, 1, False
        for layer, sizes in self.sizes(self.input_size):
            for step in layer.steps:
                whole = whole or isinstance(step, Flatten | AdaptiveAveragePool)
                if isinstance(step, Sliding):
                    field += (step.kernel_size[0] - 1) * jump
                    jump *= step.stride[0]
            parameters = sum(p.numel() for p in layer.parameters())
            side, step_size = (self.preprocessing.size,) * 2 if whole else (field, jump)
            infos.append(LayerInfo(layer.name, layer.kind, sizes[-1], side, step_size, parameters))
        return infos


Shapes = Mapping[str, Sequence[int]]


def build(
    architecture: Architecture,
    shapes: Shapes | None = None,
    *,
    norm: Normalization | None = None,
    preprocessing: Preprocessing | None = None,
    classes: tuple[str, ...] | None = None,
    provenance: Provenance | None = None,
) -> Network:
    """Build the network; with ``shapes``, of own keys, as wide, grouped and long as they say.

    Parameters are torch's usual random ones (or unallocated, under ``torch.device("meta")``).
    Raises WeightsInvalid for shapes that make no chain.
    """
    norm = norm or architecture.norm
    rows = list(_in_order(architecture.rows, norm))
    if shapes is not None:
        rows = list(_held(rows, shapes))
    preprocessing = preprocessing or architecture.preprocessing
    maker = _Maker(architecture, norm, preprocessing, shapes, last=rows[-1])
    layers = [maker.layer(row) for row in rows]
    return Network(architecture, layers, preprocessing, classes, provenance)


def _in_order(rows: tuple[Row, ...], norm: Normalization | None) -> Iterator[Row]:
    """Put each normalisation before its pool where the weights were trained so."""
    swap = norm is not None and norm.order == "norm-pool"
    pending = list(rows)
    while pending:
        if swap and len(pending) > 1 and isinstance(pending[1], Norm):
            pending[0], pending[1] = pending[1], pending[0]
            yield pending.pop(0)
        yield pending.pop(0)


def _held(rows: list[Row], shapes: Shapes) -> Iterator[Row]:
    """Keep the rows that the tensors fill, and the weightless ones between and after them."""
    filled = [f"{row.name}.weight" in shapes for row in rows if isinstance(row, Filters)]
    if not any(filled):
        raise WeightsInvalid("the file holds none of the convolutional layers")
    for (first, held), (second, further) in pairwise(
        zip([row.name for row in rows if isinstance(row, Filters)], filled, strict=True)
    ):
        if further and not held:
            raise WeightsInvalid(f"the file holds {second} but not {first} before it")
    for row in rows:
        if isinstance(row, Filters) and f"{row.name}.weight" not in shapes:
            return
        if not isinstance(row, Dense) or f"{row.name}.weight" in shapes:
            yield row


class _Maker:
    """Makes layers one after another, each fitting the one before."""

    def __init__(
        self,
        architecture: Architecture,
        norm: Normalization | None,
        preprocessing: Preprocessing,
        shapes: Shapes | None,
        last: Row,
    ) -> None:
        self.architecture, self.norm = architecture, norm
        self.shapes, self.last = shapes, last
        side = preprocessing.size
        self.size = Size(preprocessing.channels, side, side)
        self.flat = False

    def layer(self, row: Row) -> Layer:
        """Make the layer of a row."""
        match row:
            case Filters():
                return self._close(row.name, "conv", self._filters(row))
            case Pooling():
                kind = AveragePool if row.average else MaxPool
                pool = kind(row.kernel, row.stride, ceil_mode=row.ceil_mode)
                return self._close(row.name, "pool", [pool])
            case Norm():
                assert self.norm is not None, "an architecture with norm rows says its constants"
                n = self.norm
                return self._close(row.name, "norm", [Normalize(n.size, n.alpha, n.beta, n.k)])
            case Dense():
                return self._close(row.name, "fc", self._dense(row))

    def _close(self, name: str, kind: LayerKind, steps: list[Kind]) -> Layer:
        for step in steps:
            self.size = step.shape(self.size)
        return Layer(name, kind, steps)

    def _filters(self, row: Filters) -> list[Kind]:
        count, group, kernel = row.maps, self.size.channels, row.kernel
        if self.shapes is not None:
            shape = self._shape(row.name, 4)
            count, group, kernel = shape[0], shape[1], shape[2]
            self._agree(row.name, shape, fits=shape[2:] == (row.kernel, row.kernel))
        groups = max(1, self.size.channels // max(1, group))
        fits = groups * group == self.size.channels and count % groups == 0 and count > 0
        self._agree(row.name, (count, group, kernel, kernel), fits=fits)
        steps: list[Kind] = [
            Convolution(self.size.channels, count, kernel, row.stride, row.padding, groups)
        ]
        if self.architecture.batch_norm:
            steps.append(BatchNorm(count))
        return [*steps, self.architecture.squash()]

    def _dense(self, row: Dense) -> list[Kind]:
        steps: list[Kind] = []
        size = self.size
        if not self.flat:
            if self.architecture.adaptive is not None:
                steps.append(AdaptiveAveragePool(self.architecture.adaptive))
                size = steps[-1].shape(size)
            steps.append(Flatten())
            size = steps[-1].shape(size)
            self.flat = True
        count = row.units
        if self.shapes is not None:
            shape = self._shape(row.name, 2)
            count = shape[0]
            self._agree(row.name, shape, fits=shape[1] == size.channels and count > 0)
        if self.architecture.dropout:
            steps.append(Dropout(self.architecture.dropout))
        steps.append(Linear(size.channels, count))
        return steps if row is self.last else [*steps, self.architecture.squash()]

    def _shape(self, name: str, dimensions: int) -> tuple[int, ...]:
        assert self.shapes is not None
        shape = tuple(self.shapes[f"{name}.weight"])
        self._agree(name, shape, fits=len(shape) == dimensions)
        return shape

    def _agree(self, name: str, shape: Sequence[int], *, fits: bool) -> None:
        if not fits:
            text = " x ".join(map(str, shape))
            raise WeightsInvalid(
                f"{name}.weight is {text}, which does not fit {self.architecture.name} "
                f"after {self.size.channels} maps of {self.size.height} x {self.size.width}"
            )
