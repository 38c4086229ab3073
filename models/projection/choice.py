"""What to project: every option that a person or a program can choose, declared once.

The form of ``/visualize``, the pages' addresses, their links and the options of the command line
are derived from the fields of ``Choice``: a new option is one line here.
"""

from __future__ import annotations

from dataclasses import Field, dataclass, field, fields
from functools import cache
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from models.errors import InvalidChoice

Method = Literal["deconvnet", "guided", "gradient"]
Seed = Literal["unit", "map"]
Fit = Literal["crop", "pad", "stretch"]
Rank = Literal["activation", "contribution"]
Show = Literal["exact", "smooth", "lit", "difference"]
FigureFormat = Literal["svg", "pdf", "png"]
Form = Literal["word", "text", "number", "numbers", "pair"]

T = TypeVar("T")

TOP = 9
"""How many maps are shown where nothing is said: the paper's nine."""


def option(
    default: T, meaning: str, *, when_absent: str = "", example: str = "", least: int = 1
) -> T:
    """Declare an option: what it means, what its absence means, and an example of its text.

    A number is at ``least`` so large.
    """
    metadata = {"meaning": meaning, "when_absent": when_absent, "example": example, "least": least}
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Choice:
    """What to project: ``features``, or else the ``top`` strongest maps, of one layer."""

    network: str | None = option(None, "A network, by its name.", when_absent="the first ready one")
    layer: str | None = option(
        None, "A layer of it, by its name.", when_absent="the last conv layer"
    )
    method: Method = option("deconvnet", "How the signal passes ReLUs on its way down.")
    seed: Seed = option("unit", "One activation, or the whole feature map.")
    fit: Fit = option("crop", "How the photo meets the square.")
    top: int | None = option(None, "How many of the strongest feature maps.", when_absent=str(TOP))
    features: tuple[int, ...] | None = option(
        None, "Instead of `top`: feature map numbers.", example="3,17,200"
    )
    unit: tuple[int, int] | None = option(
        None,
        "`y,x`: one position for every chosen feature map.",
        when_absent="the strongest",
        example="6,7",
    )
    show: Show | None = option(
        None,
        "How pictures are drawn; arrays are always exact.",
        when_absent="exact, or smooth for VGG from conv3_1 on",
    )
    rank: Rank = option(
        "activation",
        "What `top` counts as strongest: the largest activation, or the largest contribution to "
        "the score of a class.",
    )
    target: str | None = option(
        None,
        "A class by its number or label, for `rank=contribution`.",
        when_absent="the most probable",
        example="7",
    )
    weights: str | None = option(
        None,
        "`yours`, `published`, `starter`, `random`, or the first 8 hex digits of the hash of "
        "weights that are on this machine.",
        when_absent="those that win: yours, published, starter",
        example="starter",
    )


DPI = 300
DPIS = range(50, 601)
"""The resolutions that a figure's PNG may have, in pixels an inch."""


@dataclass(frozen=True)
class FigureFile:
    """How a figure is written to a file."""

    format: FigureFormat = option("svg", "The kind of file.")
    dpi: int | None = option(None, "Pixels an inch, of a PNG.", when_absent=str(DPI))


@dataclass(frozen=True)
class Option:
    """One declared option: all that forms, addresses and commands need to know of it.

    ``form`` is how its value is written, ``words`` lists the values where there are few,
    ``when_absent`` says what its default means.
    """

    name: str
    form: Form
    default: Any
    words: tuple[str, ...]
    hint: Any
    meaning: str
    when_absent: str
    example: str
    least: int

    @property
    def help(self) -> str:
        """Say what it means, and what its absence means."""
        return (
            f"{self.meaning.rstrip('.')}; {self.when_absent}." if self.when_absent else self.meaning
        )


def options_of(choice_type: type = Choice) -> tuple[Option, ...]:
    """Return the options that a dataclass declares, in their order: a choice's, or another's."""
    return _options_of(choice_type)


@cache  # a page writes hundreds of links
def _options_of(choice_type: Any) -> tuple[Option, ...]:
    hints = get_type_hints(choice_type)
    declared = (each for each in fields(choice_type) if "meaning" in each.metadata)
    return tuple(_option(each, hints[each.name]) for each in declared)


def _option(declared: Field[Any], hint: Any) -> Option:
    words = next((get_args(each) for each in (hint, *get_args(hint)) if _is_words(each)), ())
    form: Form = "word" if words else _form(hint)
    return Option(declared.name, form, declared.default, words, hint, **declared.metadata)


def _is_words(hint: Any) -> bool:
    return get_origin(hint) is Literal


def _form(hint: Any) -> Form:
    """Tell how a value of this type is written."""
    value_type = next((part for part in get_args(hint) if part is not type(None)), hint)
    if get_origin(value_type) is tuple:
        return "numbers" if get_args(value_type)[-1] is Ellipsis else "pair"
    return "number" if value_type is int else "text"


def check(choice: Choice) -> None:
    """Raise InvalidChoice for what no network and photo could satisfy."""
    check_words(choice)
    if choice.features is not None and choice.top is not None:
        raise InvalidChoice("features_and_top")
    if choice.unit is not None and choice.seed == "map":
        raise InvalidChoice("unit_and_map")
    if choice.features is not None and choice.rank == "contribution":
        raise InvalidChoice("contribution_and_features")
    if choice.target is not None and choice.rank != "contribution":
        raise InvalidChoice("target_without_contribution")


def check_words(choice: object) -> None:
    """Raise InvalidChoice for a word that an option does not know."""
    for each in options_of(type(choice)):
        value = getattr(choice, each.name)
        if each.words and value not in (*each.words, each.default):
            raise InvalidChoice("unknown_word", name=each.name, known=each.words, value=value)


def check_file(file: FigureFile) -> None:
    """Raise InvalidChoice for a format or a resolution that no figure has."""
    check_words(file)
    if file.dpi is not None and file.dpi not in DPIS:
        raise InvalidChoice("dpi_out_of_range", least=DPIS[0], most=DPIS[-1], dpi=file.dpi)


def same(name: str) -> Any:
    """Declare, in another dataclass, an option as ``Choice`` has it."""
    (found,) = (each for each in fields(Choice) if each.name == name)
    return field(default=found.default, metadata=found.metadata)
