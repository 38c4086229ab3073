"""Figures as answers: of a view, or of several beside each other."""

from collections.abc import Sequence

from fastapi import Response

import models
from app.engine.engine import Answer, Engine, identity
from app.photos.store import Photo
from app.photos.uploads import Uploads
from app.web.comparison import SIDES, Column, Seen, differences, see_columns

MEDIA_TYPES = {"svg": "image/svg+xml", "pdf": "application/pdf", "png": "image/png"}

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'"
"""What an SVG may do that is opened by itself: have styles and pictures within it, no more."""


async def draw_figure(
    engine: Engine, photo: Photo, choice: models.Choice, file: models.FigureFile
) -> Answer:
    """Draw the figure of a view, or return the one that is held."""
    network = await engine.network(choice.network, choice.weights)

    async def make() -> Answer:
        view = await engine.see(photo, network, choice)
        return Answer(await engine.beside(lambda: models.to_figure(view, file)))

    return await engine.answer(("figure", photo.id, identity(network), choice, file), make)


async def draw_comparison(
    engine: Engine, uploads: Uploads, columns: Sequence[Column], file: models.FigureFile
) -> Answer:
    """Draw the figure of several views; raises InvalidChoice where one has nothing to draw."""
    views = await draw_views(engine, await see_columns(engine, uploads, columns))
    return Answer(await engine.beside(lambda: models.to_comparison(views, file)))


async def draw_views(
    engine: Engine, seen: Sequence[Seen]
) -> list[tuple[str, models.Visualization]]:
    """Draw each column's view, with what tells it apart; raises InvalidChoice without maps."""
    views = []
    for side, apart, each in zip(SIDES, differences(seen), seen, strict=False):
        if each.listed is None:
            raise models.InvalidChoice("nothing_listed", side=side, layer=each.layer)
        words = (f"photo {value}" if name == "image" else value for name, value in apart)
        view = await engine.see(each.photo, each.network, each.listed)
        views.append((", ".join(words), view))
    return views


def answer_figure(content: bytes, file: models.FigureFile, name: str) -> Response:
    """Answer with a figure under a name without a suffix."""
    headers = {
        "Cache-Control": "no-cache",
        "Content-Disposition": f'inline; filename="{name}.{file.format}"',
    }
    if file.format == "svg":
        headers["Content-Security-Policy"] = POLICY
    return Response(content, media_type=MEDIA_TYPES[file.format], headers=headers)
