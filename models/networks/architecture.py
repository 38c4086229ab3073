"""A network as its paper prints it: a table of rows, and the constants that belong to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

from models.networks.preprocessing import Preprocessing
from models.networks.steps import ReLU, Step

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


class ErrorRate(NamedTuple):
    """What somebody has published of a network's errors, in per cent.

    ``source`` is the paper, or whose weights were measured; ``place`` is where in it. ``data`` are
    the photos: the challenge's of 2012 for validation, or the digits of MNIST for testing.
    """

    source: Literal["paper", "torchvision", "pytorchcv"]
    place: str
    top1: float
    top5: float | None
    data: Literal["ILSVRC-2012", "MNIST"] = "ILSVRC-2012"


@dataclass(frozen=True)
class Normalization:
    """Local response normalisation's place and constants; ``alpha`` in torch's sense."""

    order: Literal["pool-norm", "norm-pool"] = "pool-norm"
    size: int = 5
    alpha: float = 5e-4
    beta: float = 0.75
    k: float = 2.0


@dataclass(frozen=True)
class Architecture:
    """A network as its paper describes it.

    ``errors`` are what the paper prints of one network, ``bibtex`` is its entry for a
    bibliography. From the layer ``smooth_from`` on,
    projections are shown smooth unless something else is asked.
    """

    name: str
    title: str
    paper: str
    rows: tuple[Row, ...]
    preprocessing: Preprocessing
    errors: tuple[ErrorRate, ...] = ()
    norm: Normalization | None = None
    activation: Callable[[], Step] = ReLU
    batch_norm: bool = False
    adaptive: int | None = None
    dropout: float = 0.0
    smooth_from: str | None = None
    bibtex: str = ""
