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
    weights: str | None = same("weights")


@dataclass(frozen=True)
class InvarianceRequest:
    """Which photos' features are compared with those of their moved, scaled and turned copies."""

    network: str | None = same("network")
    fit: Fit = same("fit")
    first: str | None = option(None, "A low layer.", when_absent="the first")
    second: str | None = option(None, "A high layer.", when_absent="layer 7, or the last but one")
    target: str | None = option(
        None,
        "The class that is followed, by number or label; one for all photos, or one each with "
        "semicolons between.",
        when_absent="each photo's most probable",
        example="dalmatian",
    )
    steps: int = option(25, "How many copies of each kind are made.", least=3)
    weights: str | None = same("weights")


@dataclass(frozen=True)
class CorrespondenceRequest:
    """Which parts are marked on each photo, and at which layers their loss is compared."""

    network: str | None = same("network")
    fit: Fit = same("fit")
    parts: str = option(
        "",
        "For each part its name, a colon, and its box on every photo, as top,left,bottom,right "
        "in input pixels with semicolons between; parts are separated by |. A part named `object` "
        "says where random boxes may lie.",
        example="nose: 90,100,130,140; 80,96,120,136",
    )
    first: str | None = option(None, "A layer.", when_absent="the last conv layer")
    second: str | None = option(None, "A higher layer.", when_absent="layer 7, or the last but one")
    draws: int = option(10, "How many times random boxes of the same sizes are drawn.")
    weights: str | None = same("weights")


@dataclass(frozen=True)
class EvolutionRequest:
    """Which feature maps are followed through a training run, over how many of its photos."""

    layer: str | None = same("layer")
    features: tuple[int, ...] | None = option(
        None,
        "Feature map numbers.",
        when_absent="the six that are strongest at last",
        example="3,17,200",
    )
    photos: int = option(1000, "Over how many photos the strongest activation is sought at most.")


@dataclass(frozen=True)
class ProbeRequest:
    """Which layers' features are put to the test, and how many photos of each class teach it."""

    network: str | None = same("network")
    fit: Fit = same("fit")
    layers: str | None = option(
        None,
        "Layers, with commas between.",
        when_absent="the paper's 1 to 5 and 7",
        example="pool1,conv4,fc7",
    )
    train: int = option(30, "How many photos of each class are learned from.")
    test: int = option(50, "On how many others of each class it is tested at most.")
    folds: int = option(5, "How many times the photos are drawn.")
    grid: int = option(6, "To how many rows and columns larger maps are averaged.")
    weights: str | None = same("weights")
