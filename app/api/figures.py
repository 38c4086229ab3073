"""`GET /figures/...`: a view as a labelled figure for a report."""

from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Request, Response

import models
from app.api.openapi import problems
from app.engine.engine import Answer
from app.web.choice import form_reader
from app.web.dependencies import EngineHere, NameHere, UploadsHere, admit
from app.web.figures import MEDIA_TYPES, answer_figure, draw_figure

router = APIRouter(tags=["api"])

IN_PATH = ("network", "layer")

ImageHere = Annotated[str, Path(description="`image.id` of an earlier answer.")]
LayerHere = Annotated[str, Path(description="A name from `GET /networks/{network}`.")]
ChoiceHere = Annotated[models.Choice, Depends(form_reader(models.Choice, Query, IN_PATH))]
FileHere = Annotated[models.FigureFile, Depends(form_reader(models.FigureFile, Query))]


@router.get(
    "/figures/{image}/{network}/{layer}",
    response_class=Response,
    response_description="The figure.",
    responses={
        200: {
            "content": {
                media_type: {"schema": {"type": "string", "format": "binary"}}
                for media_type in MEDIA_TYPES.values()
            }
        },
        **problems(404, 410, 422, 503),
    },
)
async def show_figure(
    request: Request,
    image: ImageHere,
    network: NameHere,
    layer: LayerHere,
    engine: EngineHere,
    uploads: UploadsHere,
    choice: ChoiceHere,
    file: FileHere,
) -> Response:
    """Draw projections beside the patches that caused them, titled and labelled."""
    choice = replace(choice, network=network, layer=layer)

    async def work() -> Answer:
        return await draw_figure(engine, await uploads.find(image), choice, file)

    answer = await admit(request, engine, work)
    return answer_figure(answer.content, file, f"{network}-{layer}")
