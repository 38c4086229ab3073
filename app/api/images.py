"""Photos that were sent: forgetting them."""

from typing import Annotated

from fastapi import APIRouter, Path, Request

from app.api.openapi import problems
from app.web.dependencies import forget_photo

router = APIRouter(tags=["api"])


@router.delete(
    "/images/{id}",
    status_code=204,
    response_description="It is forgotten.",
    responses=problems(404, 422),
)
async def forget_image(
    request: Request, id: Annotated[str, Path(description="`image.id` of an earlier answer.")]
) -> None:
    """Forget a photo and all that was computed from it."""
    await forget_photo(request, id)
