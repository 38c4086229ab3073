"""The experiments that a server runs as jobs: a table, a row an experiment."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import models
from app.engine.jobs import Encode, Run

MANY = 16
"""Most photos of one experiment."""

Begin = Callable[[models.Network, Sequence[models.FramedPhoto], Any], Run]


@dataclass(frozen=True)
class Experiment:
    """One experiment: what it asks for, what it does, and the function of ``models`` that runs it.

    ``begin`` raises at once for what cannot be answered. ``complete`` puts in what the network
    decides where nothing is said, so that equal questions read alike. ``most`` are the photos that
    it takes; ``encode`` writes the files that are kept of its result.
    """

    name: str
    request: type[Any]
    does: str
    begin: Begin
    complete: Callable[[models.Network, Any], Any] = lambda network, asked: asked
    most: int = MANY
    encode: Encode = models.result_files


def _occlude(
    network: models.Network, photos: Sequence[models.FramedPhoto], asked: models.OcclusionRequest
) -> Run:
    return models.occlude(network, photos[0], asked)


def _with_layer(network: models.Network, asked: models.OcclusionRequest) -> models.OcclusionRequest:
    return replace(asked, layer=asked.layer or network.last_conv)


EXPERIMENTS: Mapping[str, Experiment] = {
    each.name: each
    for each in (
        Experiment(
            "occlusion",
            models.OcclusionRequest,
            "Slide a square over a photo, and watch a class and a feature map (Fig. 7).",
            _occlude,
            _with_layer,
            most=1,
            encode=models.occlusion_files,
        ),
        Experiment(
            "invariance",
            models.InvarianceRequest,
            "Measure how far features move when photos are shifted, enlarged and turned (Fig. 5).",
            models.measure_invariance,
        ),
        Experiment(
            "correspondence",
            models.CorrespondenceRequest,
            "Mask the same part on several photos, and compare what that takes away (Table 1).",
            models.correspond,
        ),
    )
}


class UnknownExperiment(models.DeconvnetError):
    """No experiment goes by that name; ``known`` are those that do."""


def find_experiment(name: str) -> Experiment:
    """Find an experiment by name; raises UnknownExperiment."""
    if name not in EXPERIMENTS:
        raise UnknownExperiment(name=name[:40], known=tuple(EXPERIMENTS))
    return EXPERIMENTS[name]


def check_photos(experiment: Experiment, photos: Sequence[str]) -> None:
    """Raise InvalidChoice for more photos than an experiment takes, or one that comes twice."""
    if len(photos) > experiment.most:
        raise models.InvalidChoice("too_many_photos", most=experiment.most, sent=len(photos))
    if len(set(photos)) < len(photos):
        raise models.InvalidChoice("photo_twice")
