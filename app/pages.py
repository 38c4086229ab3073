"""The pages: a photo is dropped on one, and the network is walked on another."""

from dataclasses import dataclass
from hashlib import sha256
from typing import Annotated, Any

from fastapi import APIRouter, File, Request, Response, UploadFile
from fastapi.responses import HTMLResponse, RedirectResponse
from fastapi.staticfiles import StaticFiles
from fastapi.templating import Jinja2Templates

import models
from app import answers
from app.api import EngineHere, UploadsHere
from app.errors import Problem
from app.folders import folder

YEAR = "public, max-age=31536000, immutable"
ACCEPT = "image/jpeg,image/png,image/webp,image/gif,image/bmp,image/tiff,image/avif"

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)
templates = Jinja2Templates(folder("templates"))


def static(name: str) -> str:
    """Link a static file by its content, so that it can be cached for ever."""
    digest = sha256((folder("static") / name).read_bytes()).hexdigest()
    return f"/static/{name}?v={digest[:12]}"


templates.env.globals["static"] = static


class Static(StaticFiles):
    """Static files, cached for ever where the link names their content."""

    def file_response(self, *args: Any, **options: Any) -> Response:
        """Answer with a file."""
        response = super().file_response(*args, **options)
        scope = args[2]
        named = scope["query_string"].startswith(b"v=")
        response.headers["Cache-Control"] = YEAR if named else "no-cache"
        return response


@dataclass(frozen=True)
class Start:
    """The page where a photo is chosen; `problem` says why the last one was not taken."""

    accept: str = ACCEPT
    problem: Problem | None = None


def page(request: Request, name: str, context: Any, status: int = 200) -> Response:
    """Draw a page from its context, a frozen dataclass known to the template as `page`."""
    return templates.TemplateResponse(request, name, {"page": context}, status)


def show_problem(request: Request, problem: Problem) -> Response:
    """Show a failure on the start page, where the next photo can be chosen."""
    return page(request, "start.html", Start(problem=problem), problem.status)


@router.get("/")
def start(request: Request) -> Response:
    """Ask for a photo."""
    return page(request, "start.html", Start())


@router.post("/images")
async def receive(
    uploads: UploadsHere, image: Annotated[list[UploadFile], File()]
) -> RedirectResponse:
    """Take a photo, and go where it is explored."""
    file = next((each for each in image if each.size), None)
    if file is None:
        raise models.InvalidChoice("choose a photo first")
    photo = await uploads.receive(await file.read())
    return RedirectResponse(f"/images/{photo.id}", 303)


@dataclass(frozen=True)
class Explorer:
    """What a network's layer saw in a photo."""

    view: models.Visualization
    pictures: tuple[tuple[models.Projection, str | None], ...]


@router.get("/images/{id}")
async def explore(request: Request, id: str, engine: EngineHere, uploads: UploadsHere) -> Response:
    """Show what the last convolutional layer saw."""
    photo = await uploads.find(id)
    with engine.place():
        network = await engine.within(engine.network())
        view = await engine.within(engine.see(photo, network, models.Choice()))
    pictures = tuple((each, answers.data_uri(each.picture)) for each in view.projections)
    return page(request, "explorer.html", Explorer(view, pictures))
