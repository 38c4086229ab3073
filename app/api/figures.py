"""`GET /figures/...`: a view, or several beside each other, as a labelled figure for a report."""

from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request, Response

import models
from app.api.openapi import problems
from app.engine.engine import Answer
from app.web import comparison
from app.web.choice import form_reader
from app.web.dependencies import EngineHere, NameHere, UploadsHere, admit
from app.web.figures import MEDIA_TYPES, answer_figure, draw_comparison, draw_figure

router = APIRouter(tags=["api"])

IN_PATH = ("network", "layer")

ImageHere = Annotated[str, Path(description="`image.id` of an earlier answer.")]
LayerHere = Annotated[str, Path(description="A name from `GET /networks/{network}`.")]
ChoiceHere = Annotated[models.Choice, Depends(form_reader(models.Choice, Query, IN_PATH))]
FileHere = Annotated[models.FigureFile, Depends(form_reader(models.FigureFile, Query))]


SideHere = Annotated[
    str,
    Query(
        description="The address of a view, with its query.",
        examples=["/images/ID/zfnet/conv5?method=guided"],
    ),
]


def check_known(request: Request) -> None:
    """Raise InvalidChoice for a parameter that figures do not have."""
    options = (*models.options_of(), *models.options_of(models.FigureFile))
    known = {option.name for option in options} - {*request.path_params}
    if not request.path_params:
        known = {*comparison.SIDES, *(o.name for o in models.options_of(models.FigureFile))}
    unknown = [name[:40] for name in request.query_params if name not in known]
    if unknown:
        raise models.InvalidChoice("unknown_field", names=unknown, known=tuple(sorted(known)))


DRAWN: dict[str, Any] = {
    "response_class": Response,
    "response_description": "The figure.",
    "dependencies": [Depends(check_known)],
    "responses": {
        200: {
            "content": {
                media_type: {"schema": {"type": "string", "format": "binary"}}
                for media_type in MEDIA_TYPES.values()
            }
        },
        **problems(404, 410, 422, 503),
    },
}


@router.get("/figures/compare", **DRAWN)
async def show_comparison(
    request: Request,
    left: SideHere,
    right: SideHere,
    engine: EngineHere,
    uploads: UploadsHere,
    file: FileHere,
    third: SideHere = "",
) -> Response:
    """Draw two or three views beside each other, titled and labelled."""
    named = {"left": left, "right": right, "third": third}
    columns = comparison.read_columns(named, request.headers["host"])

    async def work() -> Answer:
        return await draw_comparison(engine, uploads, columns, file)

    answer = await admit(request, engine, work)
    return answer_figure(answer.content, file, "comparison")


@router.get("/figures/{image}/{network}/{layer}", **DRAWN)
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
