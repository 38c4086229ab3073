"""Options read and written as text: in forms, addresses and on the command line.

All of it is derived from what a dataclass declares with ``option``: ``models.Choice``, or the
request of an experiment.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Annotated, Any, TypeVar

import models

C = TypeVar("C")
F = TypeVar("F", bound=Callable[..., Any])

NUMBERS = re.compile(r"\s*\d{1,9}\s*(,\s*\d{1,9}\s*)*")
NUMBER = re.compile(r"\d{1,9}")
WIRE = {"text": str, "number": int, "numbers": str, "pair": str}
"""What programs send for an option that is no word of a few."""


def parse_option(option: models.Option, text: str) -> Any:
    """Read an option's value; raises InvalidChoice. Whether a word is known is checked later."""
    match option.form:
        case "number":
            return parse_number(option.name, text)
        case "numbers":
            return parse_features(text)
        case "pair":
            return parse_unit(text)
    return text


def parse_number(name: str, text: str) -> int:
    """Read a whole number; raises InvalidChoice."""
    if not NUMBER.fullmatch(text.strip()):
        raise models.InvalidChoice("no_whole_number", name=name, text=text[:40])
    return int(text)


def parse_features(text: str) -> tuple[int, ...]:
    """Read feature map numbers such as `3,17,200`; raises InvalidChoice."""
    if not NUMBERS.fullmatch(text):
        raise models.InvalidChoice("features_are_no_numbers", text=text[:40])
    return tuple(int(number) for number in text.split(","))


def parse_unit(text: str) -> tuple[int, int]:
    """Read a unit's row and column such as `6,7`; raises InvalidChoice."""
    if not NUMBERS.fullmatch(text) or text.count(",") != 1:
        raise models.InvalidChoice("unit_is_no_pair", text=text[:40])
    y, x = (int(number) for number in text.split(","))
    return y, x


def write_option(value: Any) -> str:
    """Write an option's value as ``parse_option`` reads it."""
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def read_query(choice_type: type[C], query: Mapping[str, str], **known: Any) -> C:
    """Read options from an address's query, beside ``known`` fields; raises InvalidChoice."""
    read = {
        option.name: parse_option(option, query[option.name])
        for option in models.options_of(choice_type)
        if option.name not in known and query.get(option.name, "").strip()
    }
    return choice_type(**read, **known)


def write_query(choice: object, without: Collection[str] = ()) -> dict[str, str]:
    """Write the options that differ from their defaults."""
    return {
        option.name: write_option(value)
        for option in models.options_of(type(choice))
        if (value := getattr(choice, option.name)) != option.default and option.name not in without
    }


def form_reader(
    choice_type: type[C], field: Callable[..., Any], without: Collection[str] = ()
) -> Callable[..., C]:
    """Make a dependency that reads a choice from a form or a query.

    ``field`` declares one field of it, ``without`` are the options that stand elsewhere.
    """
    declared = (p for p in form_parameters(choice_type, field) if p.name not in without)

    @takes(declared)
    def read_choice(**sent: Any) -> C:
        """Read which projections are wanted; raises InvalidChoice."""
        return from_sent(choice_type, sent)

    return read_choice


def form_parameters(choice_type: type, field: Callable[..., Any]) -> Iterator[inspect.Parameter]:
    """Yield a parameter for each option, as FastAPI declares the fields of a form."""
    for option in models.options_of(choice_type):
        more: dict[str, Any] = {"examples": [option.example]} if option.example else {}
        if option.form == "number":
            more["ge"] = option.least
        yield parameter(option, field(description=option.help, **more))


def parameter(option: models.Option, declared: Any) -> inspect.Parameter:
    """Declare an option as a keyword of a function, as FastAPI and Typer read them."""
    hint = option.hint if option.form == "word" else WIRE[option.form] | None
    annotated: Any = Annotated
    return inspect.Parameter(
        option.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=option.default,
        annotation=annotated[hint, declared],
    )


def takes(parameters: Iterable[inspect.Parameter]) -> Callable[[F], F]:
    """Show a function's ``**keywords`` as these parameters to FastAPI and Typer."""

    def declare(function: F) -> F:
        signature = inspect.signature(function, eval_str=True)
        own = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
        together = signature.replace(parameters=[*own, *parameters])
        function.__signature__ = together  # type: ignore[attr-defined]
        return function

    return declare


def from_sent(choice_type: type[C], sent: Mapping[str, Any]) -> C:
    """Make a choice of what a form or a command line gave; raises InvalidChoice."""
    return choice_type(
        **{
            option.name: parse_option(option, value) if isinstance(value, str) else value
            for option in models.options_of(choice_type)
            if option.name in sent
            for value in [sent[option.name]]
        }
    )
