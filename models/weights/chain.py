"""A chain of operations, as files with a graph hold it, matched against an architecture's rows.

Kinds and attributes have ONNX's names. What a file says beyond its tensors is checked row by row:
kernel, stride, padding, groups; the local response normalisation's place and constants are taken.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from torch import Tensor

from models.errors import WeightsInvalid
from models.networks.architecture import Architecture, Dense, Filters, Norm, Normalization, Pooling
from models.networks.build import in_order
from models.networks.preprocessing import Preprocessing
from models.networks.steps import BatchNorm

IDLE = {"Dropout", "Identity"}
"""Kinds that change nothing when a network is used."""
FLATTENS = {"Flatten", "Reshape", "Squeeze"}
DENSE = {"Gemm", "MatMul"}
TO_CHANNELS_LAST = (0, 2, 3, 1)
HEAD = re.compile(r"a?f?d(rd){0,2}")
"""What follows the last pool where that is a classifier that can be read, a letter a kind."""
LETTERS = {
    "AveragePool": "a",
    "GlobalAveragePool": "a",
    "Flatten": "f",
    "Dense": "d",
    "Relu": "r",
    "Sigmoid": "r",
}


@dataclass(frozen=True)
class Operation:
    """One operation: its kind, its own tensors, and the name of what it gives."""

    kind: str
    output: str
    attributes: Mapping[str, Any] = field(default_factory=dict)
    tensors: tuple[Tensor, ...] = ()


@dataclass(frozen=True)
class Chain:
    """A file's operations in order; ``size`` is its input's (channels, height, width), if said."""

    file: str
    operations: tuple[Operation, ...]
    size: tuple[int | None, int | None, int | None]


@dataclass(frozen=True)
class Match:
    """What a chain holds for an architecture: tensors by our keys, constants, the last layer.

    ``unbiased`` are the layers whose biases are zero because the file has none. ``output`` is the
    file's name of what the last layer gives. ``whole`` is False where the chain goes on with a
    classifier of another kind, which is left out.
    """

    tensors: dict[str, Tensor]
    unbiased: tuple[str, ...]
    norm: Normalization | None
    side: int
    layer: str
    output: str
    whole: bool


def match(chain: Chain, architecture: Architecture) -> Match:
    """Match a chain with an architecture's rows; raises WeightsInvalid where they differ."""
    return _Matcher(chain, architecture).match()


def describe_match(file: str, found: Match, shown: Preprocessing) -> dict[str, Any]:
    """Return as metadata what a chain says beyond its tensors, and how photos are shown to it."""
    resize = max(shown.resize, found.side)
    metadata: dict[str, Any] = {
        "preprocessing": asdict(replace(shown, size=found.side, resize=resize))
    }
    if found.unbiased:
        metadata["unbiased"] = found.unbiased
    if found.norm:
        metadata["norm"] = asdict(found.norm)
    if not found.whole:
        metadata["source"] = f"imported from {file}, without its classifier"
    return metadata


class _Matcher:
    """Takes one operation after another off a chain, as the rows ask for them."""

    def __init__(self, chain: Chain, architecture: Architecture) -> None:
        self.file, self.architecture = chain.file, architecture
        self.pending = deque(_simplified(chain.operations))
        self.tensors: dict[str, Tensor] = {}
        self.unbiased: list[str] = []
        self.activation = architecture.activation.__name__.replace("ReLU", "Relu")
        self.layer = self.output = ""
        self.channels = architecture.preprocessing.channels
        self.side = self._input_side(chain)
        self.norm = _norm_of(self.pending) if architecture.norm else None

    def match(self) -> Match:
        """Match rows until the chain or the paper's table ends."""
        side = self.side
        for row in in_order(self.architecture.rows, self.norm):
            if isinstance(row, Dense) or not self.pending:
                break
            self._row(row)
        whole = self._head()
        unbiased = tuple(self.unbiased)
        return Match(self.tensors, unbiased, self.norm, side, self.layer, self.output, whole)

    def _input_side(self, chain: Chain) -> int:
        channels, height, width = chain.size
        side = self.architecture.preprocessing.size if height is None else height
        self.layer = "input"
        self._check("channels", channels or self.channels, self.channels)
        self._check("width", width or side, side)
        return side

    def _row(self, row: Filters | Pooling | Norm) -> None:
        self.layer = row.name
        match row:
            case Filters():
                self._filters(row)
            case Pooling():
                self._pool(row)
            case Norm():
                found = self._take("LRN")
                self._check("constants", _constants(found), _constants_of(self.norm))

    def _filters(self, row: Filters) -> None:
        found = self._take("Conv")
        weight, *bias = self._weights(found, 4)
        self._check("kernel", tuple(weight.shape[2:]), (row.kernel, row.kernel))
        self._check("stride", _pair(found, "strides"), (row.stride, row.stride))
        self._check("dilation", _pair(found, "dilations"), (1, 1))
        pads = _pads(found, self.side, row.kernel, row.stride)
        self._check("padding", pads, (row.padding,) * 4)
        groups = found.attributes.get("group", 1)
        self._check("channels", groups * weight.shape[1], self.channels)
        self._keep(row.name, weight, bias)
        if self.architecture.batch_norm:
            self._batch_norm(row)
        self.side = (self.side + 2 * row.padding - row.kernel) // row.stride + 1
        self._take(self.activation)

    def _batch_norm(self, row: Filters) -> None:
        found = self._take("BatchNormalization")
        keys = ("weight", "bias", "running_mean", "running_var")
        self._check("tensors", len(found.tensors), len(keys))
        scale, shift, mean, variance = found.tensors
        # our own epsilon is added when the network runs
        variance = variance + (found.attributes.get("epsilon", 1e-5) - BatchNorm(1).eps)
        named = zip(keys, (scale, shift, mean, variance), strict=True)
        self.tensors |= {f"{row.name}.bn.{key}": tensor for key, tensor in named}

    def _pool(self, row: Pooling) -> None:
        found = self._take("AveragePool" if row.average else "MaxPool")
        self._check("kernel", _pair(found, "kernel_shape"), (row.kernel, row.kernel))
        self._check("stride", _pair(found, "strides"), (row.stride, row.stride))
        self._check("dilation", _pair(found, "dilations"), (1, 1))
        top, left, bottom, right = _pads(found, self.side, row.kernel, row.stride)
        most = 0 if row.average else row.kernel - 1
        self._check("padding", (top, left, min(bottom, most)), (0, 0, right))
        after = self.side + bottom - row.kernel
        ceil_mode = bool(found.attributes.get("ceil_mode", 0))
        wanted = _cells(self.side - row.kernel, row.stride, ceil_mode=row.ceil_mode)
        # a margin below and to the right stands for what others call ceil mode
        self._check("maps of side", _cells(after, row.stride, ceil_mode=ceil_mode), wanted)
        self.side = wanted

    def _head(self) -> bool:
        """Match what follows the trunk; False where that is no classifier that can be read."""
        kinds = "".join(LETTERS.get(each.kind, "?") for each in self.pending)
        if not self.pending:
            return True
        for each in self.pending:
            if each.kind == "Conv":
                raise self._other(each, "Gemm")
        if not HEAD.fullmatch(kinds):
            return False
        rows = [row for row in self.architecture.rows if isinstance(row, Dense)]
        last_first = self._flatten()
        for row in rows[-kinds.count("d") :]:
            self.layer = row.name
            self._dense(row, last_first=last_first)
            last_first = False
            if self.pending:
                self._take(self.activation)
        return True

    def _flatten(self) -> bool:
        """Take pools and reshapes below the classifier; tell whether channels come last there."""
        if self.pending[0].kind in {"GlobalAveragePool", "AveragePool"}:
            self._average(self.pending.popleft())
        last_first = False
        if self.pending[0].kind == "Flatten":
            last_first = bool(self.pending.popleft().attributes.get("channels_last"))
        return last_first

    def _average(self, found: Operation) -> None:
        """Take a pool that parts the maps evenly, as ours before a classifier does."""
        self._check("average pool", self.architecture.adaptive is not None, True)
        if found.kind == "GlobalAveragePool":
            self.side = 1
            return
        kernel = max(1, _pair(found, "kernel_shape")[0])
        self._check("kernel", _pair(found, "kernel_shape"), (kernel, kernel))
        self._check("stride", _pair(found, "strides"), (kernel, kernel))
        self._check("padding", _pads(found, self.side, kernel, kernel), (0, 0, 0, 0))
        self._check("maps of side", self.side % kernel, 0)
        self.side //= kernel

    def _dense(self, row: Dense, *, last_first: bool) -> None:
        found = self.pending.popleft()
        weight, *bias = self._weights(found, 2)
        inputs = self.channels * self.side**2
        self._check("inputs", weight.shape[1], inputs)
        if last_first:
            cells = weight.reshape(len(weight), self.side, self.side, self.channels)
            weight = cells.permute(0, 3, 1, 2).reshape(len(weight), inputs)
        self.side = 1
        self._keep(row.name, weight, bias)
        self.output = found.output

    def _weights(self, found: Operation, dimensions: int) -> tuple[Tensor, ...]:
        """Return an operation's weight and, where it has one, its bias."""
        counts = tuple(each.dim() for each in found.tensors)
        if counts != (dimensions,):
            self._check("dimensions", counts, (dimensions, 1))
        return found.tensors

    def _keep(self, name: str, weight: Tensor, bias: Sequence[Tensor]) -> None:
        self.channels = weight.shape[0]
        self.tensors[f"{name}.weight"] = weight.contiguous()
        if bias:
            self.tensors[f"{name}.bias"] = bias[0]
        else:
            self.unbiased.append(name)

    def _take(self, wanted: str) -> Operation:
        """Take the next operation off the chain; raise unless it is of this kind."""
        if not self.pending:
            raise WeightsInvalid(
                "ends_early",
                file=self.file,
                layer=self.layer,
                network=self.architecture.name,
                wanted=wanted,
            )
        found = self.pending.popleft()
        if found.kind != wanted:
            raise self._other(found, wanted)
        self.output = found.output
        return found

    def _other(self, found: Operation, wanted: str) -> WeightsInvalid:
        return WeightsInvalid(
            "other_operation",
            file=self.file,
            layer=self.layer,
            found=found.kind,
            network=self.architecture.name,
            wanted=wanted,
        )

    def _check(self, name: str, found: object, wanted: object) -> None:
        if found != wanted:
            raise WeightsInvalid(
                "other_constant",
                file=self.file,
                layer=self.layer,
                name=name,
                found=str(found),
                network=self.architecture.name,
                wanted=str(wanted),
            )


def _simplified(operations: Iterable[Operation]) -> Iterable[Operation]:
    """Drop what changes nothing, and bring the rest to as few kinds as the rows have."""
    kept = [each for each in operations if each.kind not in IDLE]
    while kept and kept[-1].kind in {"Softmax", "Transpose", *FLATTENS}:
        kept.pop()
    simplified: list[Operation] = []
    for each in kept:
        before = simplified[-1] if simplified else None
        if each.kind == "Add" and before and _takes_bias(before, each):
            simplified[-1] = _with_bias(before, each)
        elif each.kind in FLATTENS and before and _is_last(before):
            simplified[-1] = Operation("Flatten", each.output, {"channels_last": True})
        else:
            simplified.append(_named_alike(each))
    return simplified


def _takes_bias(before: Operation, add: Operation) -> bool:
    count = before.tensors[0].shape[0] if before.tensors else 0
    shapes = {(count,), (1, count)} if before.kind == "Dense" else {(count, 1, 1), (1, count, 1, 1)}
    fits = len(add.tensors) == 1 and tuple(add.tensors[0].shape) in shapes
    return before.kind in {"Conv", "Dense"} and len(before.tensors) == 1 and fits


def _with_bias(before: Operation, add: Operation) -> Operation:
    tensors = (before.tensors[0], add.tensors[0].reshape(-1))
    return Operation(before.kind, add.output, before.attributes, tensors)


def _is_last(before: Operation) -> bool:
    order = tuple(before.attributes.get("perm", ()))
    return before.kind == "Transpose" and order == TO_CHANNELS_LAST


def _named_alike(each: Operation) -> Operation:
    """Bring the ways to flatten, and those to write a matrix product, to one each."""
    if each.kind in FLATTENS:
        return Operation("Flatten", each.output)
    scaled = any(each.attributes.get(name, 1.0) != 1.0 for name in ("alpha", "beta"))
    if each.kind not in DENSE or not each.tensors or scaled or each.attributes.get("transA", 0):
        return each
    weight, *bias = each.tensors
    if not each.attributes.get("transB", 0) and weight.dim() == 2:
        weight = weight.T
    return Operation("Dense", each.output, {}, (weight, *(shift.reshape(-1) for shift in bias)))


def _norm_of(operations: Iterable[Operation]) -> Normalization | None:
    """Take the place and the constants of the first local response normalisation."""
    kinds = [each.kind for each in operations]
    if "LRN" not in kinds:
        return None
    found = next(each for each in operations if each.kind == "LRN")
    before = "MaxPool" not in kinds[: kinds.index("LRN")]
    size, alpha, beta, k = _constants(found)
    return Normalization("norm-pool" if before else "pool-norm", int(size), alpha, beta, k)


def _constants(found: Operation) -> tuple[float, ...]:
    """Return size, alpha, beta, k; ONNX and torch both divide alpha by the size."""
    said = found.attributes
    numbers = (said.get("alpha", 1e-4), said.get("beta", 0.75), said.get("bias", 1.0))
    # stored in single precision: 1e-4 is read as 9.99999974e-05
    return (float(said.get("size", 0)), *(float(f"{number:.7g}") for number in numbers))


def _constants_of(norm: Normalization | None) -> tuple[float, ...] | None:
    return (float(norm.size), norm.alpha, norm.beta, norm.k) if norm else None


def _pair(found: Operation, name: str) -> tuple[int, ...]:
    return tuple(found.attributes.get(name, (1, 1)))


def _pads(found: Operation, side: int, kernel: int, stride: int) -> tuple[int, ...]:
    """Return the margins at the top, left, bottom and right."""
    automatic = found.attributes.get("auto_pad", "NOTSET")
    if automatic in {"NOTSET", "VALID"}:
        said = found.attributes.get("pads", ()) if automatic == "NOTSET" else ()
        return tuple(said) or (0, 0, 0, 0)
    total = max((-(-side // stride) - 1) * stride + kernel - side, 0)
    less, more = total // 2, total - total // 2
    first, second = (more, less) if automatic == "SAME_LOWER" else (less, more)
    return (first, first, second, second)


def _cells(length: int, stride: int, *, ceil_mode: bool) -> int:
    return (-(-length // stride) if ceil_mode else length // stride) + 1
