"""Where an experiment is asked for: its photos, its network, and what else it can be told."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated
from urllib.parse import parse_qsl, urlencode

from fastapi import APIRouter, File, Form, Request, Response, UploadFile
from fastapi.responses import HTMLResponse, RedirectResponse
from starlette.datastructures import QueryParams

import models
from app.engine.engine import Answer, Engine, identity
from app.engine.experiments import EXPERIMENTS, Experiment, check_photos, find_experiment
from app.engine.folders import FOLDER_EXPERIMENTS, FolderExperiment, FolderField, registered
from app.pages.marks import PART, Mark, marked, marks
from app.photos.samples import SAMPLES, Sample, find_sample, read_sample
from app.photos.uploads import Uploads
from app.settings import Settings
from app.web.addresses import WrittenAddress
from app.web.choice import read_query, write_option
from app.web.dependencies import EngineHere, UploadsHere, admit
from app.web.templates import show, show_first

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)


@dataclass(frozen=True)
class Experiments:
    """The page that lists the experiments, each by its name and what it does."""

    experiments: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Field:
    """An option in the form: its value as text, and values to choose from or to suggest."""

    option: models.Option
    value: str
    values: tuple[str, ...]


@dataclass(frozen=True)
class FolderChoice:
    """A field that names a registered folder: what it means, the names, the one that is chosen."""

    name: str
    setting: str
    meaning: str
    names: tuple[str, ...]
    value: str


@dataclass(frozen=True)
class FolderPage:
    """The page of an experiment on folders of this machine, which its owner has registered.

    ``networks`` are offered where it is asked of one; ``weights`` are kept from the address.
    """

    name: str
    does: str
    folders: tuple[FolderChoice, ...]
    networks: tuple[tuple[str, str], ...]
    network: str
    weights: str | None
    fields: tuple[Field, ...]

    @property
    def missing(self) -> tuple[str, ...]:
        """Name the settings under which nothing is registered."""
        return tuple(each.setting for each in self.folders if not each.names)


@dataclass(frozen=True)
class PhotoTile:
    """A photo of the experiment, framed as the network sees it; ``without`` is the page less it."""

    id: str
    address: WrittenAddress
    without: WrittenAddress


@dataclass(frozen=True)
class ExperimentPage:
    """The page of one experiment; ``side`` is that of the network's input.

    ``room`` is how many more photos it takes, ``here`` the query of the page's own address,
    ``marks`` are the parts that are marked on its photos.
    """

    name: str
    does: str
    network: str
    weights: str | None
    networks: tuple[tuple[str, str], ...]
    side: int
    photos: tuple[PhotoTile, ...]
    room: int
    fields: tuple[Field, ...]
    here: str
    marks: tuple[Mark, ...]
    samples: tuple[Sample, ...] = SAMPLES

    @property
    def sending(self) -> WrittenAddress:
        """Return where further photos are sent."""
        return WrittenAddress(f"/experiments/{self.name}/photos?{self.here}")

    def field(self, name: str) -> Field:
        """Return the field of an option."""
        return next(each for each in self.fields if each.option.name == name)

    @property
    def kept(self) -> tuple[tuple[str, str], ...]:
        """Return the page's own query as fields of a form, all but the parts of a mark."""
        return tuple(parse_qsl(self.here))


@router.get("/experiments")
def list_experiments(request: Request) -> Response:
    """List the experiments."""
    on_photos = [(each.name, each.does) for each in EXPERIMENTS.values()]
    on_folders = [(each.name, each.does) for each in FOLDER_EXPERIMENTS.values()]
    page = Experiments((*on_photos, *on_folders))
    return show(request, "experiments/experiments.html", page)


@router.get("/experiments/{name}")
async def show_experiment(
    request: Request, name: str, engine: EngineHere, uploads: UploadsHere
) -> Response:
    """Ask what an experiment needs to know."""
    if name in FOLDER_EXPERIMENTS:
        on_folders = FOLDER_EXPERIMENTS[name]
        work = partial(_folder_page, on_folders, request.query_params, engine)
        return show(request, f"experiments/{name}.html", await admit(request, engine, work))
    experiment = find_experiment(name)
    if PART in request.query_params:
        return RedirectResponse(str(marked(f"/experiments/{name}", request.query_params)), 303)
    page = await admit(
        request, engine, lambda: _page(experiment, request.query_params, engine, uploads)
    )
    templates = (f"experiments/{name}.html", "experiments/experiment.html")
    return show_first(request, templates, page)


async def _page(
    experiment: Experiment, query: QueryParams, engine: Engine, uploads: Uploads
) -> ExperimentPage:
    images = query.getlist("image")
    check_photos(experiment, images)
    for id in images:
        await uploads.find(id)
    asked = read_query(experiment.request, query)
    network = await engine.network(asked.network, asked.weights)
    ready = await asyncio.to_thread(_ready, engine)
    return ExperimentPage(
        experiment.name,
        experiment.does,
        network.name,
        asked.weights,
        ready,
        network.preprocessing.size,
        tuple(_tile(experiment.name, query, id, network.name, asked) for id in images),
        experiment.most - len(images),
        tuple(_fields(experiment, asked, network)),
        _query(query, images),
        marks(f"/experiments/{experiment.name}", query) if query.get("parts") else (),
    )


async def _folder_page(
    experiment: FolderExperiment, query: QueryParams, engine: Engine
) -> FolderPage:
    asked = read_query(experiment.request, query)
    network, ready = None, tuple[tuple[str, str], ...]()
    if experiment.has_network:
        network = await engine.network(asked.network, asked.weights)
        ready = await asyncio.to_thread(_ready, engine)
    return FolderPage(
        experiment.name,
        experiment.does,
        tuple(_folder_choice(each, query, engine.settings) for each in experiment.folders),
        ready,
        network.name if network else "",
        getattr(asked, "weights", None),
        tuple(_fields(experiment, asked, network)),
    )


def _folder_choice(field: FolderField, query: QueryParams, settings: Settings) -> FolderChoice:
    names, setting = tuple(registered(field, settings)), f"DECONVNET_{field.setting.upper()}"
    return FolderChoice(field.name, setting, field.meaning, names, query.get(field.name, ""))


def _ready(engine: Engine) -> tuple[tuple[str, str], ...]:
    """List the networks whose weights are here, by name and title."""
    registry = engine.registry
    known = registry.architectures.items()
    return tuple((n, each.title) for n, each in known if registry.weights(n).state == "ready")


def _tile(name: str, query: QueryParams, id: str, network: str, asked: object) -> PhotoTile:
    others = [each for each in query.getlist("image") if each != id]
    seen = {"fit": getattr(asked, "fit", "crop")}
    if weights := getattr(asked, "weights", None):
        seen["weights"] = weights
    return PhotoTile(
        id,
        WrittenAddress(f"/experiments/frames/{network}/{id}.png?{urlencode(seen)}"),
        WrittenAddress(f"/experiments/{name}?{_query(query, others)}"),
    )


def _query(query: QueryParams, images: Sequence[str]) -> str:
    """Write a page's query with other photos."""
    kept = [(name, value) for name, value in query.multi_items() if name != "image" and value]
    return urlencode([*(("image", id) for id in images), *kept], safe=",")


def _fields(
    experiment: Experiment | FolderExperiment, asked: object, network: models.Network | None
) -> list[Field]:
    suggested: dict[str, tuple[str, ...]] = {}
    if network:
        layers = tuple(layer.name for layer in network.describe())
        suggested = {name: layers for name in ("layer", "first", "second")}
        suggested["target"] = network.classes or ()
    fields = []
    for option in models.options_of(experiment.request):
        if option.name in ("network", "weights"):
            continue
        value = getattr(asked, option.name)
        text = "" if value is None else write_option(value)
        fields.append(Field(option, text, option.words or suggested.get(option.name, ())))
    return fields


@router.post("/experiments/{name}/photos")
async def receive_photos(
    request: Request,
    name: str,
    engine: EngineHere,
    uploads: UploadsHere,
    image: Annotated[list[UploadFile] | None, File()] = None,
    sample: Annotated[str | None, Form()] = None,
) -> RedirectResponse:
    """Take photos or a sample, and go back to where the experiment is asked for with them."""
    experiment, query = find_experiment(name), request.query_params
    sent = [await each.read() for each in image or () if each.size]
    if sample is not None:
        sent.append(await asyncio.to_thread(_read_sample, sample))
    if not sent:
        raise models.InvalidChoice("no_photo")

    async def receive() -> list[str]:
        return [(await uploads.receive(data)).id for data in sent]

    ids = await admit(request, engine, receive)
    images = list(dict.fromkeys([*query.getlist("image"), *ids]))
    check_photos(experiment, images)
    return RedirectResponse(f"/experiments/{name}?{_query(query, images)}", 303)


def _read_sample(name: str) -> bytes:
    sample = find_sample(name)
    if sample is None:
        raise models.InvalidChoice("no_sample", name=name[:40])
    return read_sample(sample)


@router.get("/experiments/frames/{network}/{id}.png")
async def show_frame(
    request: Request, network: str, id: str, engine: EngineHere, uploads: UploadsHere
) -> Response:
    """Show a photo as a network sees it: the square that is cut out of it, resized."""
    asked = read_query(models.Choice, request.query_params, network=network)

    async def work() -> Answer:
        photo = await uploads.find(id)
        loaded = await engine.network(network, asked.weights)

        async def make() -> Answer:
            framed = await engine.framed(photo, loaded, asked.fit)
            return Answer(await engine.beside(lambda: models.encode_png(framed.picture)))

        return await engine.answer(("frame", photo.id, identity(loaded), asked.fit), make)

    answer = await admit(request, engine, work)
    return Response(answer.content, media_type="image/png", headers={"Cache-Control": "no-cache"})
