"""The documents of the API: what clients read, word for word as the contract has it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

import models
from app.engine.job_files import Job, State
from app.web.addresses import url
from app.web.examples import Wall
from app.web.sentences import say_weights, sentence


class Document(BaseModel):
    """A document of the API; it never changes once made."""

    model_config = ConfigDict(frozen=True, extra="forbid")


D = TypeVar("D", bound=Document)


class ProblemDocument(Document):
    """A failure, after RFC 9457; `detail` is a sentence that says the way out."""

    type: str = Field(examples=["about:blank"])
    title: str = Field(examples=["Not Found"])
    status: int = Field(examples=[404])
    detail: str = Field(examples=["alexnet has no layer 'conv9'; it has conv1, pool1, ..."])
    instance: str | None = Field(
        None,
        description="The id of the request, which its line in the server's log has too.",
        examples=["urn:uuid:6f1c1c26-9c1f-4d0e-8b7a-3f0a5d1f6a52"],
    )


class PreprocessingDocument(Document):
    """How photos are shown to a network: resized, cropped, scaled, less a mean, over a std."""

    size: int = Field(description="Side of the square that the network sees, in pixels.")
    resize: int = Field(
        description="To how many pixels the shorter side is brought before the middle is cut out."
    )
    channel_order: str = Field(description="`RGB`, `BGR`, or `L` for grey.")
    scale: float = Field(description="What values of 0 to 255 are multiplied by.")
    mean: tuple[float, ...] = Field(description="What is taken away, by channel.")
    std: tuple[float, ...] = Field(description="What the rest is divided by, by channel.")


class NormalizationDocument(Document):
    """Local response normalisation, its place and constants; `alpha` as torch has it."""

    order: str = Field(description="`pool-norm` or `norm-pool`.")
    size: int = Field(description="How many neighbouring maps count.")
    alpha: float = Field(description="The factor of the sum of squares.")
    beta: float = Field(description="The power.")
    k: float = Field(description="What is added before the power.")


class WeightsDocument(Document):
    """Whether a network has weights, and where they come from; all but `state` null without any."""

    state: models.State = Field(description="`ready` in every answer that weights were used for.")
    source: models.Source | None = Field(
        description="Where they come from: `yours`, `published`, `starter` or `random`."
    )
    sha256: str | None = Field(description="Hash of the weights file; empty for random weights.")
    trained: bool | None = Field(description="False for random weights: nothing was learned.")
    classes: int | None = Field(description="How many classes the classifier tells apart.")
    licence: str | None = Field(description="Under which licence they are given.")
    description: str | None = Field(
        description="What they are and what they learned from, in words."
    )
    preprocessing: PreprocessingDocument | None = Field(description="How photos are shown to them.")
    norm: NormalizationDocument | None = Field(description="Null for networks without it.")


class ImageDocument(Document):
    """The photo that was sent."""

    id: str = Field(description="For `image_id` in later requests, and for links.")
    sha256: str = Field(description="Hash of the bytes that were sent.")
    width: int = Field(description="Of the photo, upright, in pixels.")
    height: int = Field(description="Of the photo, upright, in pixels.")


class SizeDocument(Document):
    """Width and height in pixels."""

    width: int = Field(description="In pixels.")
    height: int = Field(description="In pixels.")


class PredictionDocument(Document):
    """A class and its probability."""

    label: str = Field(description="The name of the class.")
    probability: float = Field(description="From 0 to 1; all classes together are 1.")


class TargetDocument(Document):
    """A class, by its number and its label."""

    number: int = Field(
        description="The number of the class, which is that of its unit in the last layer."
    )
    label: str = Field(description="The name of the class.")


class BoxDocument(Document):
    """A rectangle of input pixels; bottom and right are exclusive."""

    top: int = Field(description="First row.")
    left: int = Field(description="First column.")
    bottom: int = Field(description="The row after the last.")
    right: int = Field(description="The column after the last.")


class ProjectionDocument(Document):
    """One feature map's projection to pixels."""

    feature: int = Field(description="Number of the feature map, from 0.")
    unit: tuple[int, int] | None = Field(description="Row and column; null for `seed=map`.")
    activation: float = Field(description="For `seed=map` the map's largest.")
    receptive_field: BoxDocument = Field(
        description="What the unit sees, in pixels of the input; for `seed=map` all of it."
    )
    scale: float | None = Field(
        description="The value drawn as full black or white; for `show=lit` the strength from "
        "which on the photo is shown whole."
    )
    remaining: float | None = Field(
        description="For `show=difference` the share of its energy that the picture shows, from 0 "
        "to 1; null for any other."
    )
    contribution: float | None = Field(
        description="For `rank=contribution` what the whole map adds to the score of the class "
        "`target`: gradient times activation, summed; else null."
    )
    projection: str | None = Field(
        description="PNG as a data URI (in a ZIP: its file); null where the unit is silent."
    )
    patch: str | None = Field(description="The same of the photo inside the receptive field.")


class VisualizationDocument(Document):
    """What the chosen feature maps of one layer saw in one photo, strongest first."""

    network: str = Field(description="The network that was used.")
    layer: str = Field(description="The layer whose activations were projected.")
    method: models.Method = Field(description="How the signal passed ReLUs on its way down.")
    seed: models.Seed = Field(
        description="What was sent back: one activation of each map, or all of it."
    )
    fit: models.Fit = Field(description="How the photo was made square.")
    show: models.Show = Field(description="How the projections are drawn.")
    rank: models.Rank = Field(description="What makes a map stronger than another.")
    target: TargetDocument | None = Field(
        description="For `rank=contribution` the class that the maps contribute to; else null."
    )
    weights: WeightsDocument = Field(description="The weights that were used.")
    image: ImageDocument = Field(description="The photo, its id and its size.")
    input: SizeDocument = Field(description="The size of what the network saw.")
    predictions: tuple[PredictionDocument, ...] | None = Field(
        description="Null where the weights have no classifier."
    )
    projections: tuple[ProjectionDocument, ...] = Field(
        description="The chosen feature maps, strongest first."
    )
    timings_ms: Mapping[str, float] = Field(description="What each part took, in milliseconds.")


class LayerDocument(Document):
    """One layer at the network's native input size."""

    name: str
    kind: str
    shape: tuple[int, int, int] = Field(description="Channels, height, width.")
    receptive_field: int = Field(description="Side in pixels.")
    stride: int = Field(description="Pixels between neighbouring units.")
    parameters: int
    multiply_adds: int = Field(description="Of its filters, for one photo.")


class OfferDocument(Document):
    """Which weights a network has or could have, in words and bytes."""

    bytes: int | None = Field(description="Size of the file, or of what is published.")
    how: str = Field(description="What these weights are, and how to get some, or others.")
    offered_bytes: int | None = Field(
        description="Size of the published weights, where they are not here and may be fetched "
        "with `POST /networks/{network}/fetch`."
    )


class NetworkSummary(Document):
    """A network on offer."""

    name: str
    title: str
    paper: str
    weights: WeightsDocument
    offer: OfferDocument


class NetworksDocument(Document):
    """All networks on offer, and the one that is used where none is named."""

    default: str
    networks: tuple[NetworkSummary, ...]


class NetworkDocument(NetworkSummary):
    """A network with its layers in forward order."""

    layers: tuple[LayerDocument, ...] = Field(description="Those of the weights that win.")
    sources: tuple[WeightsDocument, ...] = Field(
        description="All weights that are on this machine, those that win first; `weights` takes "
        "their `source`, or the first 8 digits of their `sha256`."
    )


class DownloadDocument(Document):
    """How far the fetch of a network's published weights has come."""

    network: str
    state: models.State
    bytes: int = Field(description="Bytes that have arrived.")
    total: int = Field(description="Bytes that are expected; 0 where nothing is fetched.")
    detail: str


class JobDocument(Document):
    """How far a job is."""

    id: str
    experiment: str
    state: State
    done: int = Field(description="How many of its `total` steps are done.")
    total: int = Field(description="0 while it is not known.")
    detail: str = Field(description="What is done now; of a failed one, why it failed.")
    result: str | None = Field(description="Where its result is, once it is done.")


class ExampleDocument(Document):
    """One of a map's strongest activations over a data set."""

    rank: int
    image: str = Field(description="The photo's path below the folder that was indexed.")
    unit: tuple[int, int] = Field(description="Row and column in the map.")
    activation: float
    receptive_field: BoxDocument
    link: str = Field(description="Leads to the photo in the explorer.")


class ExamplesDocument(Document):
    """A map's strongest photos of a data set, strongest first; none where it is silent in all."""

    network: str
    layer: str
    feature: int
    sha256: str = Field(description="Of the weights.")
    seen: int = Field(description="How many photos the data set has that could be read.")
    fingerprint: str = Field(description="Of the data set: of its photos' paths and contents.")
    examples: tuple[ExampleDocument, ...]
    projections: str = Field(description="Where the projections of the first nine are, as a PNG.")
    patches: str = Field(description="Where the patches of the first nine are, as a PNG.")


class HealthDocument(Document):
    """The server's state in a word."""

    status: Literal["ok", "ready"]


def describe_weights(
    provenance: models.Provenance | None, state: models.State = "ready"
) -> WeightsDocument:
    """Document whether there are weights, and where they come from."""
    if provenance is None:
        nothing = dict.fromkeys(name for name in WeightsDocument.model_fields if name != "state")
        return WeightsDocument(state=state, **nothing)
    return WeightsDocument(
        state=state,
        source=provenance.source,
        sha256=provenance.sha256,
        trained=provenance.trained,
        classes=provenance.classes,
        licence=provenance.licence,
        description=provenance.description,
        preprocessing=_document(PreprocessingDocument, provenance.preprocessing),
        norm=_document(NormalizationDocument, provenance.norm),
    )


def describe_target(target: models.Target | None) -> TargetDocument | None:
    """Document a class, where there is one."""
    return _document(TargetDocument, target)


def _document(document: type[D], known: Any) -> D | None:
    """Document one of the dataclasses of models, field by field."""
    return None if known is None else document(**asdict(known))


def describe_layer(layer: models.LayerInfo) -> LayerDocument:
    """Document a layer."""
    return LayerDocument(
        name=layer.name,
        kind=layer.kind,
        shape=tuple(layer.shape),
        receptive_field=layer.receptive_field,
        stride=layer.stride,
        parameters=layer.parameters,
        multiply_adds=layer.multiply_adds,
    )


def describe_offer(info: models.WeightsInfo) -> OfferDocument:
    """Document which weights there are or could be."""
    return OfferDocument(
        bytes=info.nbytes,
        how=say_weights(info),
        offered_bytes=info.offered_nbytes,
    )


def describe_download(network: str, info: models.WeightsInfo) -> DownloadDocument:
    """Document how far a fetch has come."""
    done, total = info.arriving or (0, 0)
    return DownloadDocument(
        network=network,
        state="downloading" if info.arriving else info.state,
        bytes=done,
        total=total,
        detail=say_weights(info),
    )


def describe_examples(
    meta: models.IndexMeta,
    wall: Wall,
    feature: int,
    found: Sequence[tuple[models.Example, models.Box]],
) -> ExamplesDocument:
    """Document a map's strongest photos."""
    return ExamplesDocument(
        network=meta.network,
        layer=wall.layer,
        feature=feature,
        sha256=meta.sha256,
        seen=meta.seen,
        fingerprint=meta.fingerprint,
        examples=tuple(_example(wall, each, box) for each, box in found),
        projections=url(wall.address(feature, "projections.png")),
        patches=url(wall.address(feature, "patches.png")),
    )


def _example(wall: Wall, each: models.Example, box: models.Box) -> ExampleDocument:
    edges = {name: int(edge) for name, edge in box._asdict().items()}
    return ExampleDocument(
        rank=each.rank,
        image=each.image,
        unit=(each.y, each.x),
        activation=each.activation,
        receptive_field=BoxDocument(**edges),
        link=url(wall.address(each.feature, each.rank)),
    )


def describe_job(job: Job) -> JobDocument:
    """Document how far a job is."""
    return JobDocument(
        id=job.id,
        experiment=job.question.experiment,
        state=job.state,
        done=job.done,
        total=job.total,
        detail=sentence(job.failure) if job.failure else job.detail,
        result=url(f"/jobs/{job.id}/result") if job.state == "done" else None,
    )
