"""The article that this project began with: its numbers, counted."""

from dataclasses import dataclass
from functools import cache

import models

BYTES = 4
"""Bytes of a number: float32."""
MAPS = 512
"""Maps of the layers whose parameters are compared: as many as the VGGs' widest have."""


@dataclass(frozen=True)
class Size:
    """A network's parameters, the bytes that they take, and its multiply-adds for one photo."""

    title: str
    parameters: int
    multiply_adds: int

    @property
    def nbytes(self) -> int:
        """Return the size in float32."""
        return BYTES * self.parameters


@dataclass(frozen=True)
class ArticleNumbers:
    """What the article's numbers are by count.

    ``vggs`` rise with their parameters. ``three_small`` and ``one_large`` are the parameters of
    three layers of 3 x 3 filters and of one of 7 x 7, with ``maps`` maps below and above.
    """

    vggs: tuple[Size, ...]
    maps: int
    three_small: int
    one_large: int


@cache
def layers_of(name: str) -> tuple[models.LayerInfo, ...]:
    """Describe a network's layers as its paper prints them."""
    return tuple(models.describe_layers(name))


@cache
def size_of(name: str) -> Size:
    """Count a network's parameters."""
    layers = layers_of(name)
    return Size(
        models.architectures()[name].title,
        sum(layer.parameters for layer in layers),
        sum(layer.multiply_adds for layer in layers),
    )


@cache
def article_numbers() -> ArticleNumbers:
    """Count what the article says of the VGGs."""
    names = [name for name in models.architectures() if name.startswith("vgg") and "_" not in name]
    vggs = sorted(map(size_of, names), key=lambda size: size.parameters)
    return ArticleNumbers(tuple(vggs), MAPS, 3 * 3 * 3 * MAPS**2, 7 * 7 * MAPS**2)
