"""Options that several commands have, and the settings that they override."""

from collections.abc import Iterator
from inspect import Parameter
from typing import TYPE_CHECKING, Annotated, Any

import typer

import models
from app.web.choice import parameter

if TYPE_CHECKING:
    from app.engine.registry import NetworkRegistry
    from app.settings import Settings


Device = Annotated[
    str | None, typer.Option(help="auto, cpu, cuda or cuda:N.", show_default="DECONVNET_DEVICE")
]
Random = Annotated[bool, typer.Option("--random-weights", help="Use random weights, and say so.")]


def read_settings(**overrides: Any) -> "Settings":
    """Read the settings, with what the command line overrides."""
    from app.settings import Settings

    return Settings(**{name: value for name, value in overrides.items() if value is not None})


def open_registry(**overrides: Any) -> "NetworkRegistry":
    """Open the registry of networks that the settings describe."""
    from app.engine.registry import NetworkRegistry

    return NetworkRegistry(read_settings(**overrides))


def command_options(choice_type: type = models.Choice) -> Iterator[Parameter]:
    """Yield a command's option for each option of a choice."""
    for option in models.options_of(choice_type):
        declared = typer.Option(help=option.meaning, show_default=option.when_absent or True)
        yield parameter(option, declared)
