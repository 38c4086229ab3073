"""Fragments that several pages show: a problem, published weights, and how far a job is."""

from __future__ import annotations

from dataclasses import dataclass

import models
from app.engine.job_files import Job
from app.web.errors import Problem
from app.web.language import noted
from app.web.sentences import say_weights, sentence

STEPS = (noted("the photo"), noted("photos"), noted("features"))
"""What experiments work on, beside layers, as they say it while they run."""
COLUMNS = (
    noted("transformation"),
    noted("translation"),
    noted("scale"),
    noted("rotation"),
    noted("photo"),
    noted("amount"),
    noted("first"),
    noted("second"),
    noted("probability"),
    noted("activation"),
    noted("part"),
    noted("random"),
    noted("paper, layer 5"),
    noted("layer"),
    noted("feature"),
    noted("epoch"),
    noted("SVM deviation"),
    noted("softmax deviation"),
    noted("paper's SVM"),
    noted("paper's softmax"),
)
"""The words in the tables of results, which their CSV has in English."""


@dataclass(frozen=True)
class Refusal:
    """Why the page that asked gets no answer, as a fragment of it."""

    problem: Problem


@dataclass(frozen=True)
class WeightsOffer:
    """A network's published weights: whether they can be fetched, are arriving or are here.

    ``how`` says in a sentence or two what there is, ``failure`` why the last fetch failed.
    ``others`` are who else publishes some, asked where the first cannot be reached or alone.
    ``arriving`` are the bytes that have arrived and are expected. ``inside`` asks for only what
    changes while they arrive, without the element that watches.
    """

    network: str
    ready: bool
    how: str
    failure: str | None
    offered_nbytes: int | None
    others: tuple[models.Publisher, ...]
    published: bool
    arriving: tuple[int, int] | None
    inside: bool = False


@dataclass(frozen=True)
class JobProgress:
    """How far a job is; ``failure`` says why it failed.

    ``inside`` asks for only what changes while it runs, without the element that watches.
    """

    job: Job
    failure: str | None
    inside: bool = False


def job_progress(job: Job, *, inside: bool = False) -> JobProgress:
    """Collect what the fragment shows of a job."""
    return JobProgress(job, sentence(job.failure) if job.failure else None, inside)


def weights_offer(info: models.WeightsInfo, *, inside: bool = False) -> WeightsOffer:
    """Collect what the fragment shows of a network's weights."""
    return WeightsOffer(
        info.network,
        info.state == "ready",
        say_weights(info),
        sentence(info.failure) if info.failure else None,
        info.offered_nbytes,
        info.offers[1:],
        info.source == "published",
        info.arriving,
        inside,
    )
