"""The article that this project began with, retold beside what the networks here see."""

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse

import models
from app.engine.engine import Engine
from app.pages.article import ArticleNumbers, Size, article_numbers, layers_of, size_of
from app.pages.layer_view import Picture, cache_version
from app.pages.links import Link, picture_address
from app.photos.samples import SAMPLES, read_sample
from app.photos.uploads import Uploads
from app.web.dependencies import EngineHere, UploadsHere, admit
from app.web.templates import show

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)

SAMPLE = SAMPLES[0]
TOLD = ("lenet5", "alexnet", "alexnet2012", "zfnet", "zfnet_b", "vgg16")
"""The networks that the story tells of."""
LOOKED_AT = (
    ("alexnet", "conv2"),
    ("zfnet", "conv1"),
    ("zfnet", "conv2"),
    ("zfnet", "conv3"),
    ("zfnet", "conv5"),
    ("vgg16", "conv5_3"),
)
COUNT = 3
"""Projections of each layer that is looked at."""


@dataclass(frozen=True)
class View:
    """What the strongest maps of a layer saw in the sample: a link to it, and pictures."""

    title: str
    layer: str
    source: str
    link: Link
    pictures: tuple[Picture, ...]


@dataclass(frozen=True)
class Story:
    """The story: counted numbers, published errors, and views by `network layer`."""

    article: ArticleNumbers
    sizes: Mapping[str, Size]
    layers: Mapping[str, tuple[models.LayerInfo, ...]]
    errors: Mapping[str, models.ErrorRate]
    views: Mapping[str, View]
    sample: str


@router.get("/story")
async def show_story(request: Request, engine: EngineHere, uploads: UploadsHere) -> Response:
    """Tell the story; without the views where they cannot be had now."""
    views: Mapping[str, View] = {}
    with contextlib.suppress(models.DeconvnetError):
        views = await admit(request, engine, lambda: _views(engine, uploads))
    page = Story(
        article_numbers(),
        {name: size_of(name) for name in TOLD},
        {name: layers_of(name) for name in TOLD},
        {name: models.error_rates(name)[0] for name in TOLD},
        views,
        SAMPLE.credit,
    )
    return show(request, "story/story.html", page)


async def _views(engine: Engine, uploads: Uploads) -> Mapping[str, View]:
    photo = await uploads.receive(await asyncio.to_thread(read_sample, SAMPLE))
    offered = engine.registry.architectures
    views = {}
    for name, layer in LOOKED_AT:
        if name in offered and engine.registry.weights(name).state == "ready":
            network = await engine.network(name)
            link = Link(image=photo.id, network=name, layer=layer)
            choice = link.choice(layer=layer, top=COUNT)
            with contextlib.suppress(models.UnknownLayer):  # weights may end below it
                selected = await engine.select(photo, network, choice)
                views[f"{name} {layer}"] = _view(network, link, choice, selected)
                engine.places.promise(*link.views)
    return views


def _view(
    network: models.Network, link: Link, choice: models.Choice, selected: models.Selected
) -> View:
    """Say where the pictures of a layer will be; they are made when they are asked for."""
    version = cache_version(network)
    pictures = (
        Picture(
            picture_address(link, choice, unit.feature, part, version),
            int(box.right - box.left),
            int(box.bottom - box.top),
        )
        for unit, box in zip(selected.units, selected.boxes, strict=True)
        for part in ("projection", "patch")
        if unit.activation != 0
    )
    title, source = network.architecture.title, network.provenance.source
    return View(title, link.layer, source, link, tuple(pictures))
