"""From an architecture's rows to a network, as wide and long as the tensors that will fill it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

from models.errors import WeightsInvalid
from models.networks.architecture import (
    Architecture,
    Dense,
    Filters,
    LayerKind,
    Norm,
    Normalization,
    Pooling,
    Row,
)
from models.networks.network import Layer, Network, Provenance
from models.networks.preprocessing import Preprocessing
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
    Step,
)

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
    """Build an architecture's network; ``shapes``, by our keys, decide widths, groups and length.

    Parameters are torch's usual random ones (or unallocated, under ``torch.device("meta")``).
    Raises WeightsInvalid for shapes that make no chain.
    """
    norm = norm or architecture.norm
    rows = list(in_order(architecture.rows, norm))
    if shapes is not None:
        rows = list(_held(rows, shapes))
    preprocessing = preprocessing or architecture.preprocessing
    maker = _Maker(architecture, norm, preprocessing, shapes, last=rows[-1])
    layers = [maker.layer(row) for row in rows]
    return Network(architecture, layers, preprocessing, classes, provenance)


def in_order(rows: tuple[Row, ...], norm: Normalization | None) -> Iterator[Row]:
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
        raise WeightsInvalid("no_convolutions")
    for (first, held), (second, further) in pairwise(
        zip([row.name for row in rows if isinstance(row, Filters)], filled, strict=True)
    ):
        if further and not held:
            raise WeightsInvalid("gap", held=second, missing=first)
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
                pooling = AveragePool if row.average else MaxPool
                pool = pooling(row.kernel, row.stride, ceil_mode=row.ceil_mode)
                return self._close(row.name, "pool", [pool])
            case Norm():
                assert self.norm is not None, "an architecture with norm rows says its constants"
                n = self.norm
                return self._close(
                    row.name, "norm", [LocalResponseNorm(n.size, n.alpha, n.beta, n.k)]
                )
            case Dense():
                return self._close(row.name, "fc", self._dense(row))

    def _close(self, name: str, kind: LayerKind, steps: list[Step]) -> Layer:
        for step in steps:
            self.size = step.shape(self.size)
        return Layer(name, kind, steps)

    def _filters(self, row: Filters) -> list[Step]:
        count, group, kernel = row.maps, self.size.channels, row.kernel
        if self.shapes is not None:
            shape = self._shape(row.name, 4)
            count, group, kernel = shape[0], shape[1], shape[2]
            self._agree(row.name, shape, fits=shape[2:] == (row.kernel, row.kernel))
        groups = max(1, self.size.channels // max(1, group))
        fits = groups * group == self.size.channels and count % groups == 0 and count > 0
        self._agree(row.name, (count, group, kernel, kernel), fits=fits)
        steps: list[Step] = [
            Convolution(self.size.channels, count, kernel, row.stride, row.padding, groups)
        ]
        if self.architecture.batch_norm:
            steps.append(BatchNorm(count))
        return [*steps, self.architecture.activation()]

    def _dense(self, row: Dense) -> list[Step]:
        steps: list[Step] = []
        size = self.size
        if not self.flat:
            if self.architecture.adaptive is not None:
                steps.append(AdaptiveAveragePool(self._side(row, self.architecture.adaptive)))
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
        return steps if row is self.last else [*steps, self.architecture.activation()]

    def _side(self, row: Dense, paper: int) -> int:
        """Return the side that maps are averaged to: the paper's, or a smaller one that fits."""
        if self.shapes is None:
            return paper
        inputs = self._shape(row.name, 2)[1]
        side = math.isqrt(inputs // self.size.channels)
        return side if 1 <= side < paper and side**2 * self.size.channels == inputs else paper

    def _shape(self, name: str, dimensions: int) -> tuple[int, ...]:
        assert self.shapes is not None
        shape = tuple(self.shapes[f"{name}.weight"])
        self._agree(name, shape, fits=len(shape) == dimensions)
        return shape

    def _agree(self, name: str, shape: Sequence[int], *, fits: bool) -> None:
        if not fits:
            raise WeightsInvalid(
                "does_not_fit",
                key=f"{name}.weight",
                shape=" x ".join(map(str, shape)),
                network=self.architecture.name,
                **self.size._asdict(),
            )
