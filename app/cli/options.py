"""Options that several commands have, and the settings that they override."""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from app.engine.registry import NetworkRegistry
    from app.settings import Settings


class Method(StrEnum):
    """How ReLUs are undone."""

    deconvnet = "deconvnet"
    guided = "guided"
    gradient = "gradient"


class Seed(StrEnum):
    """What is projected."""

    unit = "unit"
    map = "map"


class Fit(StrEnum):
    """How the photo meets the network's square."""

    crop = "crop"
    pad = "pad"
    stretch = "stretch"


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
