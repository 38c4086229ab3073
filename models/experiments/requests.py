"""What each experiment can be asked; read without torch by forms, addresses and commands."""

from __future__ import annotations

from dataclasses import dataclass

from models.projection.choice import Fit, option, same

MEAN = "mean"


@dataclass(frozen=True)
class OcclusionRequest:
    """Which square slides over the photo, and what is watched meanwhile."""

    network: str | None = same("network")
    fit: Fit = same("fit")
    square: int = option(32, "The side of the square, in input pixels.")
    stride: int = option(8, "By how many input pixels it moves.")
    fill: str = option(MEAN, "Its colour: `mean`, the mid-grey of the preprocessing, or `#rrggbb`.")
    target: str | None = option(
        None, "The class that is watched: its number or label.", when_absent="the most probable"
    )
    layer: str | None = same("layer")
    feature: int | None = option(
        None, "The feature map that is watched.", when_absent="the strongest", least=0
    )
    unit: tuple[int, int] | None = option(
        None,
        "`y,x`: one unit of the map.",
        when_absent="the sum over the map",
        example="6,7",
    )
