"""What the routes of the API and of the pages take from a request."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Annotated, Any, TypeVar, cast

from fastapi import Depends, File, Form, Path, Request, UploadFile

import models
from app.engine.engine import ClientLeft, Engine
from app.engine.jobs import Jobs
from app.photos.store import Photo
from app.photos.uploads import Uploads
from app.web.errors import WrongMediaType

T = TypeVar("T")


def engine_of(request: Request) -> Engine:
    """Return the application's engine."""
    return cast(Engine, request.app.state.engine)


def uploads_of(request: Request) -> Uploads:
    """Return the application's photos."""
    return cast(Uploads, request.app.state.uploads)


def jobs_of(request: Request) -> Jobs:
    """Return the application's jobs."""
    return cast(Jobs, request.app.state.jobs)


EngineHere = Annotated[Engine, Depends(engine_of)]
UploadsHere = Annotated[Uploads, Depends(uploads_of)]
JobsHere = Annotated[Jobs, Depends(jobs_of)]


async def read_photo(
    request: Request,
    image: Annotated[
        UploadFile | None,
        File(description="JPEG, PNG, WebP, GIF (first frame), BMP, TIFF or AVIF."),
    ] = None,
    image_id: Annotated[str | None, Form(description="`image.id` of an earlier answer.")] = None,
) -> "PhotoInput":
    """Read from a form, all of whose fields must be known, which photo is meant.

    Raises InvalidChoice or WrongMediaType.
    """
    await check_form(request)
    file = image if image is not None and (image.filename or image.size) else None
    if (file is None) == (image_id is None):
        raise models.InvalidChoice("one_photo")
    return PhotoInput(await file.read() if file else None, image_id)


async def check_form(request: Request) -> None:
    """Raise WrongMediaType for what is not sent as a form, InvalidChoice for an unknown field."""
    media_type = request.headers.get("content-type", "")
    if media_type and not media_type.startswith(
        ("multipart/form-data", "application/x-www-form-urlencoded")
    ):
        raise WrongMediaType(media_type=media_type[:60])
    await check_fields(request)


async def check_fields(request: Request) -> None:
    """Raise InvalidChoice for a field of the form that the route does not declare."""
    known = request.scope["route"].body_field.field_info.annotation.model_fields
    unknown = [name[:40] for name in await request.form() if name not in known]
    if unknown:
        raise models.InvalidChoice("unknown_field", names=unknown, known=tuple(known))


class PhotoInput:
    """A photo as a request names it: its bytes, or the id of an earlier one."""

    def __init__(self, data: bytes | None, image_id: str | None) -> None:
        self.data = data
        self.image_id = image_id

    async def find(self, uploads: Uploads) -> Photo:
        """Decode the bytes, or recall the photo."""
        if self.data is not None:
            return await uploads.receive(self.data)
        return await uploads.find(self.image_id or "")


async def forget_photo(request: Request, id: str) -> None:
    """Forget a photo and all that was computed from it; raises NoSuchPhoto."""
    await asyncio.to_thread(uploads_of(request).forget, id)
    engine_of(request).forget(id)
    await jobs_of(request).forget(id)


NameHere = Annotated[str, Path(description="A name from `GET /networks`.")]
PhotoInputHere = Annotated[PhotoInput, Depends(read_photo)]


async def read_photos(
    request: Request,
    image: Annotated[
        list[UploadFile] | None,
        File(description="A photo as `/visualize` takes it; several: repeated."),
    ] = None,
    image_id: Annotated[
        list[str] | None, Form(description="`image.id` of an earlier answer; several: repeated.")
    ] = None,
) -> tuple[PhotoInput, ...]:
    """Read from a form which photos are meant: those sent, then those named.

    Raises InvalidChoice or WrongMediaType.
    """
    await check_form(request)
    files = [await each.read() for each in image or () if each.filename or each.size]
    inputs = [PhotoInput(data, None) for data in files]
    inputs += [PhotoInput(None, id) for id in image_id or () if id]
    if not inputs:
        raise models.InvalidChoice("some_photo")
    return tuple(inputs)


PhotosHere = Annotated[tuple[PhotoInput, ...], Depends(read_photos)]


async def admit(request: Request, engine: Engine, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Do what a request asks for: within the queue, in time, and only while its client waits.

    The one door to everything that decodes, computes or encodes. Raises QueueFull, Overdue,
    Stopping, ClientLeft.
    """
    with engine.places.one():
        return await until_disconnect(request, engine.with_deadline(work()))


async def admit_picture(
    request: Request,
    engine: Engine,
    view: tuple[str, ...],
    work: Callable[[], Coroutine[Any, Any, T]],
) -> T:
    """Do what a picture of a page asks for; the pictures of one view share a place in the queue.

    Its time begins with its turn among them. Raises as ``admit`` does, but QueueFull only for a
    view of which no page was answered.
    """
    with engine.places.of_view(view) as turns:
        return await until_disconnect(request, engine.in_turn(turns, work))


async def until_disconnect(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Await work for as long as the client waits for it; raises ClientLeft when it does not."""
    job, left = asyncio.ensure_future(work), asyncio.ensure_future(_left(request))
    try:
        await asyncio.wait({job, left}, return_when=asyncio.FIRST_COMPLETED)
        if not job.done():
            raise ClientLeft
        return job.result()
    finally:
        job.cancel()
        left.cancel()


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
