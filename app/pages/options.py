"""Rows of links that show the same in other ways."""

from dataclasses import dataclass

import models
from app.pages.links import Link

TOP = 9
TOPS = (9, 16, 25, 64)
"""How many maps a page offers to list."""


@dataclass(frozen=True)
class Option:
    """One choice in a row of links; `text` is a value's own word, or a name to show."""

    text: str
    link: Link
    chosen: bool


@dataclass(frozen=True)
class Options:
    """A row of options under the name of what they choose."""

    name: str
    options: tuple[Option, ...]

    @property
    def changed(self) -> bool:
        """Tell whether another than the first, usual one is chosen."""
        return any(each.chosen for each in self.options[1:])


def offer_words(link: Link, name: str) -> Options:
    """Offer the words of one of a choice's options."""
    (option,) = (each for each in models.options_of() if each.name == name)
    links = [link.to(**{name: word}) for word in option.words]
    if name != "method":
        links = [each.to(unit=None) for each in links]
    chosen = getattr(link, name)
    pairs = zip(option.words, links, strict=True)
    return Options(name, tuple(Option(word, to, word == chosen) for word, to in pairs))


def offer_tops(link: Link, layer: models.LayerInfo) -> Options:
    """Offer how many of a layer's maps are listed."""
    most = layer.shape.channels
    tops = [top for top in TOPS if top < most] + [most] * (most < TOPS[-1])
    current = min(link.top or TOP, most)
    options = (Option(str(top), link.to(top=top), top == current) for top in tops)
    return Options("top", tuple(options))
