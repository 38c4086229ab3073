"""Photos that were sent: forgetting them."""

import asyncio
from typing import Annotated

from fastapi import APIRouter, Path

from app.api.openapi import problems
from app.web.dependencies import EngineHere, UploadsHere

router = APIRouter(tags=["api"])


@router.delete(
    "/images/{id}",
    status_code=204,
    response_description="It is forgotten.",
    responses=problems(404, 422),
)
async def forget_image(
    id: Annotated[str, Path(description="`image.id` of an earlier answer.")],
    engine: EngineHere,
    uploads: UploadsHere,
) -> None:
    """Forget a photo and all that was computed from it."""
    await asyncio.to_thread(uploads.forget, id)
    engine.forget(id)
