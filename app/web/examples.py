"""What pages and the API show of an index: where its pictures are, and where each example leads."""

import asyncio
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import cast
from urllib.parse import quote, urlencode

import models
from app.engine.engine import Engine
from app.engine.job_files import Job, Question
from app.engine.jobs import JobExpired, Jobs, NoSuchJob, Run
from app.photos.decoders import DecoderLost, limits_of
from app.photos.decoding import PhotoTooLarge, UnreadablePhoto, decode_picture
from app.photos.store import Photo
from app.photos.uploads import Uploads
from app.web.addresses import WrittenAddress

EXPERIMENT = "examples"
"""What jobs call the building of an index."""
UNUSABLE = (OSError, UnreadablePhoto, PhotoTooLarge, DecoderLost)


@dataclass(frozen=True)
class Wall:
    """A layer of an index, as its addresses name it; ``weights`` are those asked for, if any."""

    network: str
    layer: str
    weights: str | None = None

    def address(self, *more: object, **query: object) -> WrittenAddress:
        """Return the address of the layer's page, or of what lies below it."""
        parts = ["examples", self.network, self.layer, *map(str, more)]
        path = "/" + "/".join(quote(part, safe="") for part in parts)
        asked = {name: value for name, value in query.items() if value is not None}
        if self.weights is not None:
            asked["weights"] = self.weights
        return WrittenAddress(f"{path}?{urlencode(asked)}" if asked else path)


async def open_photo(
    engine: Engine, uploads: Uploads, index: models.Index, example: models.Example
) -> tuple[Photo, models.Fit]:
    """Take an example's photo in, and say how it is to be fitted to show the same unit.

    The original where it can be read, else what the index keeps of it, which is square already.
    Raises ExamplesInvalid where that lacks, too.
    """
    try:
        data = await asyncio.to_thread(_read_original, engine, index, example.image)
        return await uploads.receive(data), "crop"
    except UNUSABLE:
        kept = await engine.beside(lambda: models.encode_png(index.photo(example.image)))
        return await uploads.receive(kept), "stretch"


def _read_original(engine: Engine, index: models.Index, name: str) -> bytes:
    """Read a photo's file below the folder that was indexed; raises OSError."""
    assert index.folder is not None, "an index that was read"
    root = (models.source_of(index.folder) or Path(name)).resolve()
    file = (root / name).resolve()
    if not file.is_relative_to(root):
        raise FileNotFoundError(name)
    with file.open("rb") as opened:
        data = opened.read(engine.settings.max_upload_bytes + 1)
    if len(data) > engine.settings.max_upload_bytes:
        raise FileNotFoundError(name)
    return data


def _question(network: models.Network) -> Question:
    provenance = network.provenance
    return Question(EXPERIMENT, (), network.name, provenance.sha256 or provenance.source)


async def find_build(jobs: Jobs, network: models.Network) -> Job | None:
    """Return the job that builds a network's index, if one was begun and did not succeed."""
    try:
        job = await jobs.find(jobs.identify(_question(network)))
    except (NoSuchJob, JobExpired):
        return None
    return None if job.state == "done" else job


async def begin_build(engine: Engine, jobs: Jobs, network: models.Network) -> Job:
    """Begin to index the folder that the server's owner names; raises NoExamples without one."""
    folder = engine.settings.examples_folder
    if folder is None:
        raise models.NoExamples("no_folder")
    question = _question(network)
    if await find_build(jobs, network) is None:  # done before, and its index was removed
        await asyncio.to_thread(jobs.files.remove, jobs.identify(question))

    async def begin() -> Run:
        again = await engine.network(question.network, question.weights[:8])
        return await asyncio.to_thread(_build, engine, again, folder)

    return await jobs.ask(question, begin, _files)


def _build(engine: Engine, network: models.Network, folder: Path) -> Run:
    settings = engine.settings
    decode = partial(decode_picture, limits=limits_of(settings))
    out = models.index_folder(settings.data_dir / "examples", network)
    try:
        run = models.build_examples(network, folder, out, decode, processes=settings.decoders)
    except models.InvalidChoice as error:  # whose sentence would name a folder of the server
        if error.reason in ("no_folder", "no_photos"):
            raise models.NoExamples("empty_folder") from None
        raise
    return cast(Run, run)  # its result is kept as an index, and with the job only what it is of


def _files(meta: models.IndexMeta) -> dict[str, bytes]:
    """Keep of a build, with its job, what the index is of."""
    return {"json": meta.to_json().encode()}
