"""`GET /examples/...`: a feature map's strongest photos of a data set."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request

import models
from app.api.openapi import problems
from app.web import documents
from app.web.dependencies import EngineHere, NameHere, admit
from app.web.examples import Wall

router = APIRouter(tags=["api"])

LayerHere = Annotated[str, Path(description="A layer of the index.")]
FeatureHere = Annotated[int, Path(ge=0, description="A feature map's number.")]
WeightsHere = Annotated[
    str | None,
    Query(description="`yours`, `published`, `starter`, `random`, or 8 hex digits of a hash."),
]


@router.get(
    "/examples/{network}/{layer}/{feature}",
    response_description="The examples, strongest first.",
    responses=problems(404, 422, 503),
)
async def show_examples(
    request: Request,
    network: NameHere,
    layer: LayerHere,
    feature: FeatureHere,
    engine: EngineHere,
    weights: WeightsHere = None,
) -> documents.ExamplesDocument:
    """List the photos of an indexed data set that fire a feature map most, at most one place each.

    `links` lead to each photo in the explorer; `projections` and `patches` are sheets of nine.
    """

    async def work() -> documents.ExamplesDocument:
        loaded = await engine.network(network, weights)
        index = await engine.examples(loaded)
        found = index.examples(layer, feature)
        boxes = models.example_boxes(loaded, found)
        return documents.describe_examples(
            index.meta, Wall(network, layer, weights), feature, list(zip(found, boxes, strict=True))
        )

    return await admit(request, engine, work)
