"""The pages as they leave the server."""

import base64
import dataclasses
import html
import io
import json
import re
import shutil
import zipfile
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jinja2 import nodes
from PIL import Image, ImageChops
from starlette.testclient import TestClient

import models
from app.cli.reproduction import Reproduction
from app.engine.engine import Engine
from app.pages.compare import Compare, Preset, Side, Tile
from app.pages.compare import Field as ColumnField
from app.pages.docs import Docs
from app.pages.evolution_view import EvolutionView, FollowedMap, MapThen
from app.pages.examples import ExampleLink, ExampleMap, ExamplesPage
from app.pages.experiments import (
    ExperimentPage,
    Experiments,
    Field,
    FolderChoice,
    FolderPage,
    PhotoTile,
)
from app.pages.feature import Feature, InputTile, MethodTile, Neighbour, PlaceTile
from app.pages.figure import FigurePage
from app.pages.filters import FiltersPage
from app.pages.glance import Cell, Glance
from app.pages.jobs import JobPage, Table
from app.pages.layer_view import (
    Card,
    Detour,
    Explorer,
    LayerTab,
    LayerView,
    Picture,
)
from app.pages.links import Click, Link, read_click, read_link
from app.pages.marks import Mark
from app.pages.networks import Networks
from app.pages.occlusion_view import Numbers, OcclusionView, Scale
from app.pages.options import Option, Options
from app.pages.paper import Paper
from app.pages.pictures import Legend
from app.pages.start import Stage, Start
from app.pages.story import Story
from app.photos.samples import SAMPLES, read_sample, thumbnail
from app.web.folders import folder
from app.web.fragments import JobProgress, Refusal, WeightsOffer
from app.web.templates import number, signed, templates
from tests.serving import client_in, photo, sent, state_of

HTML = {"accept": "text/html"}
PARTIAL = HTML | {"hx-request": "true", "hx-request-type": "partial"}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with client_in(tmp_path_factory.mktemp("pages")) as client:
        yield client


@pytest.fixture(scope="module")
def explorer(client: TestClient) -> str:
    """Return the address of a photo in ZFNet's conv5."""
    answer = client.post("/images", **sent(photo(480, 320)), follow_redirects=False)
    assert answer.status_code == 303
    return f"{answer.headers['location']}/zfnet/conv5"


def page(client: TestClient, address: str, status: int = 200) -> str:
    answer = client.get(address, headers=HTML)
    assert answer.status_code == status, answer.text
    return answer.text


def addresses(text: str, ending: str) -> list[str]:
    found = re.findall(r'(?:src|href)="([^"]+)"', text)
    plain = [address.replace("&amp;", "&") for address in found]
    return [address for address in plain if address.partition("?")[0].endswith(ending)]


# Contexts and templates agree


PARTS = ("about", "absent", "close", "glance", "list", "networks", "photo", "terms", "ways")
CONTEXTS = {
    "_problem.html": Refusal,
    "_download.html": WeightsOffer,
    "_job.html": JobProgress,
    "reproduction.html": Reproduction,
    "jobs/job.html": JobPage,
    "jobs/_occlusion.html": JobPage,
    "jobs/_evolution.html": JobPage,
    "experiments/experiments.html": Experiments,
    "experiments/folders.html": FolderPage,
    "experiments/evolution.html": FolderPage,
    "experiments/probe.html": FolderPage,
    "experiments/experiment.html": ExperimentPage,
    "experiments/occlusion.html": ExperimentPage,
    "experiments/invariance.html": ExperimentPage,
    "experiments/correspondence.html": ExperimentPage,
    "start/start.html": Start,
    "explorer/explorer.html": Explorer,
    "explorer/_explorer.html": Explorer,
    **{f"explorer/_{part}.html": Explorer for part in PARTS},
    "explorer/_legend.html": Legend,
    "explorer/legend.html": Legend,
    "explorer/refused.html": Detour,
    "docs/docs.html": Docs,
    "networks/networks.html": Networks,
    "filters/filters.html": FiltersPage,
    "story/story.html": Story,
    "paper/paper.html": Paper,
    "_slips.html": Networks,
    "compare/compare.html": Compare,
    "compare/_compare.html": Compare,
    "figure/figure.html": FigurePage,
    "feature/feature.html": Feature,
    "feature/_examples.html": Feature,
    "examples/examples.html": ExamplesPage,
}
WITHOUT = {
    "experiments/_fields.html",
    "base.html",
    "explorer/_pictures.html",
    "story/_view.html",
    "explorer/_words.html",
    "compare/_words.html",
    "feature/_words.html",
    "examples/_nine.html",
}
"""What all pages extend, and macros."""


def test_every_template_has_a_context() -> None:
    assert {*CONTEXTS, *WITHOUT} == set(templates.env.list_templates())


@pytest.mark.parametrize("name", CONTEXTS)
def test_a_template_asks_only_for_what_its_context_has(name: str) -> None:
    tree = templates.env.parse((folder("templates") / name).read_text())
    asked = {
        node.attr
        for node in tree.find_all(nodes.Getattr)
        if isinstance(node.node, nodes.Name) and node.node.name == "page"
    }
    assert asked <= set(dir(CONTEXTS[name])) | fields(CONTEXTS[name])


def fields(kind: Any) -> set[str]:
    return {field.name for field in dataclasses.fields(kind)}


@pytest.mark.parametrize(
    "kind",
    [
        *dict.fromkeys(CONTEXTS.values()),
        LayerView,
        Stage,
        Field,
        FolderChoice,
        PhotoTile,
        Mark,
        Table,
        OcclusionView,
        EvolutionView,
        FollowedMap,
        MapThen,
        Numbers,
        Scale,
        Card,
        Cell,
        Glance,
        Picture,
        LayerTab,
        Option,
        Options,
        Side,
        Tile,
        ColumnField,
        Preset,
        PlaceTile,
        MethodTile,
        InputTile,
        Neighbour,
        ExampleMap,
        ExampleLink,
    ],
)
def test_a_context_is_frozen_and_documented(kind: Any) -> None:
    assert kind.__dataclass_params__.frozen
    assert kind.__doc__ and not kind.__doc__.startswith(f"{kind.__name__}(")


# Small, strict, cached


def test_our_javascript_is_small() -> None:
    scripts = [file for file in folder("static").glob("*.js")]
    sizes = {file.name: file.stat().st_size for file in scripts}
    assert sizes and all(0 < size < 12_000 for size in sizes.values())


@pytest.mark.parametrize("address", ["/", "", "/docs", "/experiments/occlusion"])
def test_a_page_loads_one_script_of_ours_at_most(
    client: TestClient, explorer: str, address: str
) -> None:
    text = page(client, address if address.startswith("/") else explorer)
    assert len(re.findall(r'<script src="/static/(?!vendor/)', text)) <= 1
    # an extension in a file of its own can come after htmx has begun, and then does nothing
    assert len(re.findall(r'<script src="/static/vendor/', text)) <= 1


@pytest.mark.parametrize(
    "address",
    [
        "/",
        "",
        "?feature=0&unit=0,0",
        "/docs",
        "/networks",
        "/filters?networks=alexnet",
        "/story",
        "/examples/zfnet/conv5",
        "/experiments",
        "/experiments/occlusion",
    ],
)
def test_nothing_is_inline_and_nothing_comes_from_elsewhere(
    client: TestClient, explorer: str, address: str
) -> None:
    place = address if address.startswith("/") else f"{explorer}{address}"
    text = page(client, place)
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=|<script(?![^>]*\ssrc=)", text)
    for link in re.findall(r'(?:src|href|action)="([^"]+)"', text):
        assert re.match(r"/(?!/)|#", link), link


def test_static_files_are_cached_for_ever_by_content(client: TestClient) -> None:
    links = addresses(page(client, "/"), ".css") + addresses(page(client, "/"), ".js")
    assert len(links) >= 3
    for link in links:
        assert "immutable" in client.get(link).headers["cache-control"]
        plain = client.get(link.partition("?")[0])
        assert plain.headers["cache-control"] == "no-cache"


def test_pictures_are_sized_lazy_and_cached_for_ever(client: TestClient, explorer: str) -> None:
    text = page(client, explorer)
    tags = re.findall(r"<(?:img|input type=\"image\")[^>]*>", text)
    assert len(tags) == 1 + 3 + 27
    for tag in tags:
        assert re.search(r'width="\d+" height="\d+"', tag), tag
        at_once = "photo.jpg" in tag or "/projection.png" in tag or "Patch of" in tag
        assert ('loading="lazy"' in tag) == (not at_once), tag
        assert ('fetchpriority="low"' in tag) == ("Patch of" in tag), tag
        assert re.search(r'alt="[^"]+"', tag)
    for link in {*addresses(text, ".png"), *addresses(text, "photo.jpg")}:
        answer = client.get(link)
        assert answer.status_code == 200
        if "card.png" not in link:
            assert "immutable" in answer.headers["cache-control"]


def test_a_picture_is_as_large_as_the_page_says(client: TestClient, explorer: str) -> None:
    text = page(client, explorer)
    for kind in ("projection", "patch"):
        for tag in re.findall(rf"<img[^>]*{kind}\.png[^>]*>", text):
            size = re.search(r'width="(\d+)" height="(\d+)"', tag)
            link = addresses(tag, ".png")[0]
            picture = Image.open(io.BytesIO(client.get(link).content))
            assert size and picture.size == (int(size[1]), int(size[2]))


def test_a_card_has_the_same_map_in_half_its_size(client: TestClient, explorer: str) -> None:
    text = page(client, explorer)
    maps = [link for link in addresses(text, ".png") if "/map.png" in link]
    small = [link for link in maps if "size=card" in link]
    assert len(maps) == 10 and len(small) == 9, "one is looked at closely"
    assert [each for each in maps if each not in small] == [
        each for each in maps if "size=close" in each
    ]
    whole, half = (client.get(each) for each in (small[0].replace("size=card&", ""), small[0]))
    assert len(half.content) < len(whole.content) / 3
    assert "immutable" in half.headers["cache-control"]
    pixels = np.asarray(Image.open(io.BytesIO(whole.content)), float)
    means = pixels.reshape(112, 2, 112, 2, 3).mean((1, 3))
    assert np.abs(np.asarray(Image.open(io.BytesIO(half.content)), float) - means).max() <= 0.5
    webp = client.get(small[0], headers={"accept": "image/webp,*/*"})
    assert webp.headers["content-type"] == "image/webp" and "Accept" in webp.headers["vary"]
    assert len(webp.content) < len(half.content) / 5
    seen = np.asarray(Image.open(io.BytesIO(webp.content)), float)
    assert seen.shape == means.shape and np.abs(seen - means).mean() < 4, "it looks the same"
    assert client.get(small[0].replace("=card", "=tiny")).status_code == 422


def test_a_small_map_is_not_made_smaller(client: TestClient, explorer: str) -> None:
    lenet = explorer.replace("/zfnet/conv5", "/lenet5/c2")
    links = [each for each in addresses(page(client, lenet), ".png") if "size=card" in each]
    for part, side in (("/map.png", 32), ("/patch.png", 14)):
        (link, *_) = (each for each in links if part in each)
        whole = Image.open(io.BytesIO(client.get(link.replace("size=card&", "")).content))
        for accept in ("*/*", "image/webp,*/*"):
            picture = Image.open(io.BytesIO(client.get(link, headers={"accept": accept}).content))
            assert picture.size == (side, side) and picture.tobytes() == whole.tobytes()


@pytest.mark.parametrize(("part", "size"), [("/map.png", "close"), ("/patch.png", "card")])
def test_a_large_picture_to_look_at_comes_as_a_browser_takes_it(
    client: TestClient, explorer: str, part: str, size: str
) -> None:
    links = addresses(page(client, explorer), ".png")
    (link, *_) = (each for each in links if part in each and f"size={size}" in each)
    whole, same = (client.get(each) for each in (link.replace(f"size={size}&", ""), link))
    assert same.content == whole.content
    webp = client.get(link, headers={"accept": "image/webp,*/*"})
    assert webp.headers["content-type"] == "image/webp"
    assert len(webp.content) < len(whole.content) / 4
    seen, exact = (
        np.asarray(Image.open(io.BytesIO(each.content)), float) for each in (webp, whole)
    )
    # the photo is of sharp saturated stripes, whose colours WebP keeps at half the size
    assert seen.shape == exact.shape and np.abs(seen - exact).mean() < 6, "it looks the same"


@pytest.mark.parametrize("size", ["photo", "small"])
def test_a_photo_comes_as_a_browser_takes_it(client: TestClient, explorer: str, size: str) -> None:
    address = f"{explorer.removesuffix('/zfnet/conv5')}/{size}.jpg"
    accepts = {"image/jpeg": "*/*", "image/webp": "image/avif,image/webp,*/*;q=0.8"}
    seen = []
    for kind, accept in accepts.items():
        answer = client.get(address, headers={"accept": accept})
        assert answer.headers["content-type"] == kind and answer.headers["vary"] == "Accept"
        assert "immutable" in answer.headers["cache-control"]
        seen.append(np.asarray(Image.open(io.BytesIO(answer.content)), float))
    assert seen[0].shape == seen[1].shape and np.abs(seen[0] - seen[1]).mean() < 6


def test_a_picture_of_other_weights_is_not_cached(client: TestClient, explorer: str) -> None:
    link = addresses(page(client, explorer), "projection.png")[0]
    other = re.sub(r"v=\w+", "v=000000000000", link)
    assert client.get(other).headers["cache-control"] == "no-cache"


def test_weights_that_come_while_the_page_is_made_are_taken(
    client: TestClient, explorer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, asked = Engine.network, []

    async def late(engine: Engine, name: str, weights: str | None = None) -> models.Network:
        asked.append(name)
        if len(asked) == 1:
            raise models.WeightsArriving(name, retry_after=1)
        return await network(engine, name, weights)

    monkeypatch.setattr(Engine, "network", late)
    assert client.get(explorer, headers=HTML).status_code == 200
    assert asked == ["zfnet", "zfnet"]


def test_pages_are_not_cached(client: TestClient, explorer: str) -> None:
    for address in ("/", explorer):
        headers = client.get(address, headers=HTML).headers
        assert headers["cache-control"] == "no-store"
        assert "HX-Request-Type" in headers["vary"]


# The explorer says what the API says


def api(client: TestClient, explorer: str, **said: str) -> Any:
    _, _, image, network, layer = explorer.split("/")
    data = {"image_id": image, "network": network, "layer": layer, **said}
    return client.post("/visualize", data=data).json()


def test_the_cards_are_the_projections_of_the_api(client: TestClient, explorer: str) -> None:
    text = page(client, explorer)
    named = [int(name) for name in re.findall(r'class="card-name">map (\d+)', text)]
    told = api(client, explorer)["projections"]
    assert named == [each["feature"] for each in told]
    numbers = re.findall(r"</span>([\d.,]+)</span></span>", text)
    assert numbers == [number(each["activation"]) for each in told]


def test_the_field_on_the_photo_is_the_one_of_the_api(client: TestClient, explorer: str) -> None:
    # The photo is 480 x 320: the shorter side becomes 256, then 224 are cut from the middle.
    text = page(client, explorer)
    scale_x, scale_y = 384 / 480, 256 / 320
    left, top = (384 - 224) / 2, (256 - 224) / 2
    drawn = [list(map(float, f.split())) for f in re.findall(r'data-field="([^"]+)"', text)]
    for (x, y, width, height), each in zip(
        drawn, api(client, explorer)["projections"], strict=True
    ):
        box = each["receptive_field"]
        assert x == pytest.approx((box["left"] + left) / scale_x)
        assert y == pytest.approx((box["top"] + top) / scale_y)
        assert width == pytest.approx((box["right"] - box["left"]) / scale_x)
        assert height == pytest.approx((box["bottom"] - box["top"]) / scale_y)


def test_the_class_scores_are_those_of_the_api(client: TestClient, explorer: str) -> None:
    text = page(client, explorer)
    for each in api(client, explorer)["predictions"]:
        assert each["label"].replace("_", " ") in text
        assert f"{100 * each['probability']:.1f} %" in text


def test_the_pictures_are_those_of_the_api(client: TestClient, explorer: str) -> None:
    strongest = api(client, explorer)["projections"][0]
    for kind in ("projection", "patch"):
        link = addresses(page(client, explorer), f"{kind}.png")[0]
        sent_inline = base64.b64decode(strongest[kind].partition(",")[2])
        assert client.get(link).content == sent_inline


def test_the_curl_line_asks_for_what_is_close(client: TestClient, explorer: str) -> None:
    text = page(client, f"{explorer}?feature=17&unit=2,3&method=guided")
    line = re.search(r"<code>(curl [^<]+)</code>", text)
    assert line
    said = dict(pair.split("=", 1) for pair in re.findall(r"-F (\S+)", line[1]))
    told = client.post("/visualize", data=said).json()
    assert told["method"] == "guided"
    assert [(p["feature"], p["unit"]) for p in told["projections"]] == [(17, [2, 3])]


def test_the_archive_tells_where_its_pictures_come_from(client: TestClient, explorer: str) -> None:
    link = addresses(page(client, f"{explorer}?method=guided&top=16"), "view.zip")[0]
    answer = client.get(link)
    assert 'filename="zfnet-conv5.zip"' in answer.headers["content-disposition"]
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        told = json.loads(archive.read("visualization.json"))
        assert (told["method"], len(told["projections"])) == ("guided", 16)
        assert told["weights"]["sha256"] and told["image"]["sha256"]
        assert {each["patch"] for each in told["projections"]} <= set(archive.namelist())


def test_the_weights_are_named_on_every_view(client: TestClient, explorer: str) -> None:
    sha256 = api(client, explorer)["weights"]["sha256"]
    for address in (explorer, f"{explorer}?at=1,1", explorer.replace("conv5", "conv1")):
        text = page(client, address)
        assert f"<code>{sha256[:8]}</code>" in text and "starter" in text


def test_a_link_made_with_other_weights_says_so(client: TestClient, explorer: str) -> None:
    short = api(client, explorer)["weights"]["sha256"][:8]
    assert "other weights" not in page(client, f"{explorer}?weights={short}")
    other = page(client, f"{explorer}?weights=01234567")
    assert "made with other weights, <code>01234567</code>" in other
    assert f'data-link="{explorer}?weights={short}"' in other
    assert f'href="{explorer.replace("zfnet/conv5", "lenet5")}"' in other
    sheet = re.search(rf'"({explorer}/maps\.png[^"]*)"', other)
    assert sheet and client.get(html.unescape(sheet[1])).status_code == 200
    assert client.get(f"{explorer}?weights=rubbish", headers=HTML).status_code == 422


def test_other_weights_that_are_here_are_a_link_away(client: TestClient, explorer: str) -> None:
    text = page(client, explorer)
    assert re.search(r'weights=starter" aria-current="true">starter</a>', text)
    random = page(client, re.findall(r'href="([^"]+weights=random)"', text)[0])
    assert "random weights: nothing was learned" in random
    assert re.search(r'weights=random" aria-current="true">random</a>', random)
    assert f'data-link="{explorer}?weights=random"' in random and "-F weights=random" in random
    (first, *_) = addresses(random, "projection.png")
    starter = addresses(text, "projection.png")[0]
    assert client.get(first).content != client.get(starter).content
    assert client.get(first).headers["cache-control"].endswith("immutable")
    chosen = re.findall(r'href="([^"]+)#close" aria-current', random)
    assert len(chosen) == 2 and all("weights=random" in each for each in chosen)


def test_a_link_to_weights_that_are_not_here_leads_to_those_that_are(
    client: TestClient, explorer: str
) -> None:
    text = page(client, f"{explorer}?weights=yours", 404)
    assert "zfnet has no weights &#39;yours&#39; here" in text
    assert f'href="{explorer}?weights=random"' in text
    address = f"{explorer.removesuffix('/conv5')}?weights=random"
    assert client.get(address).url.query == b"weights=random"


def test_random_weights_are_flagged(tmp_path: Path) -> None:
    with client_in(tmp_path, random_weights=True, networks="lenet5") as client:
        address = client.post("/samples/camera", follow_redirects=True, headers=HTML)
        assert "random weights: nothing was learned" in address.text


# Before anything is projected


def test_a_page_answers_without_projecting_anything(client: TestClient, explorer: str) -> None:
    page(client, explorer.replace("conv5", "conv4"))
    held = state_of(client).engine.answers.keys()
    assert not [key for key in held if key[0] in {"walk", "view"} and "conv4" in str(key)]


def test_a_projection_is_the_same_alone_and_in_a_list(client: TestClient, explorer: str) -> None:
    alone = addresses(page(client, explorer), "projection.png")[3]
    listed = alone.replace("?", "?top=9&")
    one, other = (Image.open(io.BytesIO(client.get(each).content)) for each in (alone, listed))
    assert one.size == other.size
    apart = ImageChops.difference(one, other).convert("L").getextrema()
    assert apart in {(0, 0), (0, 1)}  # sums of another batch round differently


# The whole layer


def test_the_whole_layer_is_on_one_sheet(client: TestClient, explorer: str) -> None:
    text = page(client, explorer)
    (sheet,) = set(re.findall(r'<image href="([^"]+)" width="(\d+)" height="(\d+)"', text))
    answer = client.get(html.unescape(sheet[0]))
    assert Image.open(io.BytesIO(answer.content)).size == (int(sheet[1]), int(sheet[2]))
    assert "immutable" in answer.headers["cache-control"]
    corners = re.findall(r'<svg viewBox="(\d+) (\d+) 13 13"', text)
    assert len(set(corners)) == 128
    assert all(int(x) < int(sheet[1]) and int(y) < int(sheet[2]) for x, y in corners)


def maps_of(text: str) -> list[int]:
    return [int(number) for number in re.findall(r'title="Map (\d+): activation', text)]


def test_maps_are_sorted_by_strength_or_number_a_page_at_a_time(
    client: TestClient, explorer: str
) -> None:
    pages = [page(client, f"{explorer}?page={number}") for number in (1, 2)]
    by_strength = [feature for text in pages for feature in maps_of(text)]
    assert sorted(by_strength) == list(range(256))
    told = api(client, explorer, top="256")["projections"]
    assert by_strength == [each["feature"] for each in told]
    assert maps_of(page(client, f"{explorer}?order=number&page=2")) == list(range(128, 256))
    assert maps_of(page(client, f"{explorer}?page=99")) == maps_of(pages[1])


def test_maps_are_sorted_by_what_they_add_to_a_class(client: TestClient, explorer: str) -> None:
    text = page(client, f"{explorer}?order=contribution")
    told = api(client, explorer, top="256", rank="contribution")
    assert maps_of(text) == [each["feature"] for each in told["projections"][:128]]
    label = told["predictions"][0]["label"].replace("_", " ")
    assert f"what they add to the score of {label}" in text
    other = page(client, f"{explorer}?order=contribution&rank=contribution&target=3")
    assert maps_of(other) != maps_of(text)
    assert 'order=contribution"' not in page(client, explorer.replace("conv5", "fc8"))


def test_the_map_looked_at_leads_to_its_neighbours_in_order(
    client: TestClient, explorer: str
) -> None:
    text = page(client, f"{explorer}?order=number&feature=127")
    links = {
        rel: html.unescape(to) for rel, to in re.findall(r'rel="(prev|next)" href="([^"]+)"', text)
    }
    assert links == {
        "prev": f"{explorer}?feature=126&order=number#close",
        "next": f"{explorer}?feature=128&order=number&page=2#close",
    }
    assert re.findall(r'rel="(prev|next)"', page(client, f"{explorer}?order=number&feature=0")) == [
        "next"
    ]


def test_a_class_leads_to_its_unit_in_the_last_layer(client: TestClient, explorer: str) -> None:
    text = page(client, explorer)
    (first, *_) = api(client, explorer)["predictions"]
    link = re.search(r'<a href="([^"]+)#close" title="Unit \d+ of fc8"', text)
    assert link
    close = page(client, html.unescape(link[1]))
    assert re.search(rf'id="close-title">Map \d+ <span class="label">{first["label"]}', close)


def test_a_unit_at_the_border_that_sees_much_padding_is_flagged(
    client: TestClient, explorer: str
) -> None:
    # ZFNet's conv5 sees 139 x 139; its corner unit lies 75 x 75 pixels inside the photo.
    (box,) = (
        each["receptive_field"]
        for each in api(client, explorer, features="5", unit="0,0")["projections"]
    )
    share = 1 - box["bottom"] * box["right"] / 139**2
    flagged = False
    for feature in range(40):
        text = page(client, f"{explorer}?feature={feature}&unit=0,0")
        if "silent here" not in text:
            assert f"{100 * share:.0f} % of what it could see lies beyond" in text
            flagged = True
            break
    assert flagged
    assert "at the border of its map" not in page(client, f"{explorer}?feature=5&unit=6,6")


# Addresses


def test_another_network_is_entered_at_the_same_layer_where_it_has_that(
    client: TestClient, explorer: str
) -> None:
    image = explorer.removesuffix("/zfnet/conv5")
    to = client.get(f"{image}?network=alexnet&near=conv3&method=guided").url
    assert str(to).endswith(f"{image}/alexnet/conv3?method=guided")
    assert client.get(f"{image}?network=lenet5&near=conv3").url.path == f"{image}/lenet5/c2"


def test_a_fragment_is_what_htmx_asks_for(client: TestClient, explorer: str) -> None:
    text = client.get(explorer, headers=PARTIAL).text
    assert text.lstrip().startswith('<div id="explorer"')
    assert "<html" not in text and "<title>conv5 of ZFNet" in text
    restored = client.get(explorer, headers=PARTIAL | {"hx-request-type": "full"}).text
    assert restored.startswith("<!doctype html>")


def test_a_problem_is_a_fragment_that_changes_no_address(client: TestClient, explorer: str) -> None:
    answer = client.get(f"{explorer}?feature=999", headers=PARTIAL)
    assert answer.status_code == 422
    assert answer.headers["hx-retarget"] == "#problem"
    assert answer.headers["hx-push-url"] == "false"
    assert "0 to 255, not 999" in answer.text


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("feature=x", "whole number"),
        ("unit=1", "row and a column"),
        ("at=1;2", "row and a column"),
        ("method=magic", "one of deconvnet, guided, gradient"),
        ("fit=x", "one of crop, pad, stretch"),
        ("seed=x", "one of unit, map"),
        ("feature=3&unit=13,0", "rows 0 to 12"),
        ("seed=map&feature=1&unit=1,1", "the whole map"),
        ("order=beauty", "one of activation, number"),
        ("page=x", "whole number"),
        ("feature=1&row=3", "give both row and column, or neither"),
        ("feature=1&column=3", "give both column and row, or neither"),
        ("x=3", "give both x and y, or neither"),
        ("at=320,3", "outside the photo, which has rows 0 to 319 and columns 0 to 479"),
        ("at=3,480", "outside the photo"),
    ],
)
def test_what_an_address_cannot_say_is_explained(
    client: TestClient, explorer: str, query: str, said: str
) -> None:
    assert said in page(client, f"{explorer}?{query}", 422)


@pytest.mark.parametrize(
    ("change", "status", "said"),
    [
        (("conv5", "conv9"), 404, "zfnet has no layer"),
        (("zfnet/conv5", "nonet/conv5"), 404, "there is no network"),
        (("zfnet/conv5", "nonet"), 404, "there is no network"),
        (("conv5", "conv5?feature=999"), 422, "0 to 255, not 999"),
        (("zfnet/conv5", "zfnet?top=x"), 422, "whole number"),
    ],
)
def test_a_wrong_address_does_not_lose_the_photo(
    client: TestClient, explorer: str, change: tuple[str, str], status: int, said: str
) -> None:
    text = page(client, explorer.replace(*change), status)
    image = explorer.removesuffix("/zfnet/conv5")
    assert said in text
    assert f'src="{image}/photo.jpg"' in text and f'href="{image}/zfnet' in text
    for link in re.findall(rf'href="({image}[^"]*)"', text):
        assert client.get(link, headers=HTML).status_code == 200


def test_all_maps_that_fire_at_a_place_are_counted(client: TestClient, explorer: str) -> None:
    text = page(client, f"{explorer}?at=150,225")
    said = re.search(r"(\d+) maps fire here, the 9 strongest", text)
    every = page(client, f"{explorer}?at=150,225&top=256")
    assert said and int(said[1]) == every.count('class="card-name"') > 9


def test_a_silent_map_is_called_so(client: TestClient, explorer: str) -> None:
    text = page(client, f"{explorer}?features=0,1&unit=0,0")
    assert "<i>silent here</i>" in text and "dead" not in text
    alone = page(client, f"{explorer}?feature=1&unit=0,0")
    assert "This unit is silent here" in alone and "row 0, column 0" in alone


def test_a_map_that_fires_nowhere_has_no_place(client: TestClient, explorer: str) -> None:
    last = api(client, explorer, top="256")["projections"][-1]
    text = page(client, f"{explorer}?feature={last['feature']}")
    assert last["activation"] == 0
    assert "This map is silent here" in text and 'class="where"' not in text


def test_the_options_are_named_in_words(client: TestClient, explorer: str) -> None:
    text = page(client, explorer)
    for words in ("Project", "strongest activation", "whole map", "Photo", "centre crop"):
        assert f">{words}<" in text
    assert ">whole, padded<" in text and ">stretched<" in text
    assert not re.search(">(seed|fit|unit|crop|pad|stretch)<", text)


def test_a_chosen_place_is_not_called_the_strongest(client: TestClient, explorer: str) -> None:
    for query in ("unit=5,6", "at=150,225", "feature=3&unit=5,6"):
        text = page(client, f"{explorer}?{query}")
        assert ">activation at this place<" in text and ">strongest activation<" not in text


def test_one_unit_and_its_whole_map_are_not_told_apart_where_they_are_the_same(
    client: TestClient, explorer: str
) -> None:
    image = explorer.removesuffix("/zfnet/conv5")
    text = page(client, f"{image}/lenet5/fc3")
    assert ">whole map<" not in text and ">exact<" in text


def test_a_field_larger_than_the_picture_is_said_to_be(tmp_path: Path) -> None:
    with client_in(tmp_path, networks="vgg19", random_weights=True) as client:
        image = client.post("/images", **sent(photo()), follow_redirects=False).headers["location"]
        text = page(client, f"{image}/vgg19/conv5_4")
    assert "pixels, is larger than the picture" in text and "252" in text


def test_the_servers_own_weights_are_called_that(tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    starter = folder("templates").parent / "models" / "weights" / "starter"
    shutil.copy(starter / "lenet5.safetensors", tmp_path / "weights")
    with client_in(tmp_path, networks="lenet5") as client:
        answer = client.post("/samples/camera", follow_redirects=True, headers=HTML)
    text = html.unescape(answer.text)
    assert "<b>this server's own</b> weights" in text and "yours<" not in text


def test_a_photo_in_a_network_leads_to_its_last_conv_layer(
    client: TestClient, explorer: str
) -> None:
    image = explorer.removesuffix("/zfnet/conv5")
    assert client.get(image).url.path == explorer
    assert client.get(f"{image}/lenet5?method=guided").url.path == f"{image}/lenet5/c2"


def test_a_unit_alone_is_that_of_every_map_as_in_the_api(client: TestClient, explorer: str) -> None:
    text = page(client, f"{explorer}?unit=5,6")
    told = api(client, explorer, unit="5,6")["projections"]
    named = [int(name) for name in re.findall(r'class="card-name">map (\d+)', text)]
    assert named == [each["feature"] for each in told]
    assert "row 5, column 6" in text


def test_a_layer_with_few_maps_lists_them_all(client: TestClient, explorer: str) -> None:
    text = page(client, explorer.replace("zfnet/conv5", "lenet5/c1?top=64"))
    assert "The 6 strongest of 6 maps" in text


def test_a_missing_network_says_how_to_get_it(client: TestClient, explorer: str) -> None:
    text = page(client, explorer.replace("zfnet/conv5", "vgg19/conv5_4"), 503)
    assert "deconvnet weights fetch vgg19" in text


def test_how_to_get_weights_is_said_once_and_names_no_folder(
    client: TestClient, explorer: str
) -> None:
    text = page(client, explorer.replace("zfnet/conv5", "alexnet2012/conv5"), 503)
    assert text.count("No published weights of alexnet2012 are known") == 1
    folder_of_weights = str(state_of(client).settings.weights_dir)
    assert "deconvnet weights import FILE --network alexnet2012" in text
    assert folder_of_weights not in text


def test_a_missing_network_has_only_its_layers(client: TestClient, explorer: str) -> None:
    text = page(client, explorer.replace("zfnet/conv5", "vgg19/conv9"), 404)
    assert "vgg19 has no layer" in text and "conv5_4" in text


def test_weights_that_cannot_be_used_are_told_from_missing_ones(tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "zfnet.safetensors").write_bytes(b"no weights")
    with client_in(tmp_path) as client:
        image = client.post("/images", **sent(photo()), follow_redirects=False).headers["location"]
        text = page(client, f"{image}/zfnet/conv5", 503)
    assert "The weights of ZFNet cannot be used" in text


def test_a_busy_server_offers_to_try_again(tmp_path: Path) -> None:
    with client_in(tmp_path, queue_limit=1) as client:
        image = client.post("/images", **sent(photo()), follow_redirects=False).headers["location"]
        with state_of(client).engine.places.one():
            text = page(client, f"{image}/zfnet/conv5", 503)
    assert "busy" in text and '<a href="">Try again</a>' in text


def test_a_photo_that_nobody_has_is_said_to_be_gone(client: TestClient) -> None:
    assert "upload it again" in page(client, f"/images/{'0' * 32}/zfnet/conv5", 404)


def test_an_empty_form_asks_for_a_photo(client: TestClient) -> None:
    head = 'Content-Disposition: form-data; name="image"; filename=""'
    body = f"--e\r\n{head}\r\nContent-Type: application/octet-stream\r\n\r\n\r\n--e--\r\n"
    kind = {"content-type": "multipart/form-data; boundary=e"}
    answer = client.post("/images", headers=HTML | kind, content=body)
    assert answer.status_code == 422
    assert "Choose a photo first." in answer.text


def test_an_empty_file_is_called_empty(client: TestClient) -> None:
    answer = client.post("/images", headers=HTML, files={"image": ("a.jpg", b"")})
    assert answer.status_code == 415
    assert "The file is empty" in answer.text


def test_who_reloads_a_refusal_begins_anew(client: TestClient) -> None:
    answer = client.post("/images", headers=HTML, files={"image": ("a.jpg", b"text")})
    assert "<title>Not readable · deconvnet explorer</title>" in answer.text
    again = client.get("/images", headers=HTML)
    assert (again.status_code, again.url.path) == (200, "/")


def test_a_forgotten_photo_is_gone(client: TestClient) -> None:
    place = client.post("/images", **sent(photo(70, 50)), follow_redirects=False)
    image = place.headers["location"]
    assert client.get(f"{image}/photo.jpg").status_code == 200
    assert client.post(f"{image}/forget", follow_redirects=False).headers["location"] == "/"
    assert client.get(f"{image}/photo.jpg").status_code == 404


def test_a_photo_says_what_forgetting_means_before_the_button(
    client: TestClient, explorer: str
) -> None:
    text = page(client, explorer)
    assert text.index("for everybody who has a link to it") < text.index(">Forget it<")


def test_a_sample_stays_whoever_forgets_it(client: TestClient) -> None:
    place = client.post("/samples/coffee", headers=HTML)
    assert "Forget" not in place.text and "one of the samples: Cup" in place.text
    image = "/".join(place.url.path.split("/")[:3])
    assert client.delete(image).status_code == 204
    client.post(f"{image}/forget")
    assert client.get(f"{image}/photo.jpg").status_code == 200


def test_a_sample_is_here_before_anybody_chose_it(tmp_path: Path) -> None:
    with client_in(tmp_path) as client:
        uploads = state_of(client).uploads
        image = uploads.identify(read_sample(SAMPLES[0]))
        assert client.get(f"/images/{image}/small.jpg").status_code == 200


def test_a_form_of_another_site_is_refused(client: TestClient) -> None:
    answer = client.post("/samples/coffee", headers={"origin": "http://elsewhere.example"})
    assert answer.status_code == 403


def test_a_hostile_layer_name_stays_text(client: TestClient, explorer: str) -> None:
    address = explorer.replace("conv5", "%22%3E%3Cimg%20src=x%20onerror=1%3E")
    assert "<img src=x" not in page(client, address, 404)


# Links


def test_a_link_says_what_was_read() -> None:
    unit = {"feature": "7", "unit": "1,2", "weights": "0a1b2c3d"}
    for query in ({}, {"method": "guided", "at": "3,4"}, unit):
        link = read_link("a", "zfnet", "conv5", query)
        assert link.query == query
    assert (
        str(Link(image="a", network="zfnet", layer="conv5", top=16))
        == "/images/a/zfnet/conv5?top=16"
    )
    assert read_link("a", "b", "c", {"feature": "7", "row": "1", "column": "2"}).unit == (1, 2)


@pytest.mark.parametrize(
    ("query", "press"),
    [
        ({"at-200x100.x": "50", "at-200x100.y": "75"}, Click(None, 0.75, 0.25)),
        ({"map-12-104x104.x": "26", "map-12-104x104.y": "0"}, Click(12, 0.0, 0.25)),
        ({"at-200x100.x": "-3", "at-200x100.y": "100"}, Click(None, 0.999999, 0.0)),
        ({"at-200x100.x": "50"}, None),
        ({"at-200x100.x": "a", "at-200x100.y": "1"}, None),
        ({}, None),
    ],
)
def test_a_press_is_a_share_of_the_picture(query: dict[str, str], press: Click | None) -> None:
    assert read_click(query) == press


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (1234.5, "1,234"), (12.34, "12.3"), (1.234, "1.23"), (-1.5, "\N{MINUS SIGN}1.50")],
)
def test_a_number_has_few_digits(value: float, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (999.7, "+1,000"), (-12000.4, "\N{MINUS SIGN}12,000"), (0.5, "+0.50")],
)
def test_what_is_added_has_its_sign(value: float, text: str) -> None:
    assert signed(value) == text


# Samples


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.name)
def test_a_sample_comes_with_the_package_and_a_credit(sample: Any) -> None:
    shipped = {str(path) for path in distribution("scikit-image").files or ()}
    assert f"skimage/data/{sample.file}" in shipped
    assert sample.credit.endswith(("CC0", "public domain"))
    assert Image.open(io.BytesIO(read_sample(sample))).width > 200
    assert len(thumbnail(sample, "JPEG")) < 40_000


def test_the_start_shows_a_photo_on_its_way_up(client: TestClient) -> None:
    text = page(client, "/")
    pictures = addresses(text, "strongest.png")
    assert [each.split("/")[4] for each in pictures] == ["conv1", "conv3", "conv5"]
    for each in pictures:
        answer = client.get(each)
        assert Image.open(io.BytesIO(answer.content)).size == (224, 224)
        assert client.get(f"{each.removesuffix('/strongest.png')}?seed=map").status_code == 200


def test_the_start_needs_no_weights(tmp_path: Path) -> None:
    with client_in(tmp_path, networks="vgg19") as client:
        text = page(client, "/")
    assert "Choose a photo" in text and "strongest.png" not in text


def test_every_sample_can_be_explored(client: TestClient) -> None:
    text = page(client, "/")
    for sample in SAMPLES:
        assert f'action="/samples/{sample.name}"' in text and sample.credit in text
        assert client.get(f"/samples/{sample.name}.jpg").status_code == 200
        answer = client.post(f"/samples/{sample.name}", headers=HTML)
        assert answer.status_code == 200


def test_links_are_written_as_they_always_were() -> None:
    link = read_link(
        "a",
        "zfnet",
        "conv5",
        {"method": "guided", "seed": "unit", "fit": "pad", "top": "16", "at": "9,4"}
        | {"feature": "172", "unit": "7,4", "weights": "0123abcd"},
    )
    assert str(link) == (
        "/images/a/zfnet/conv5?method=guided&fit=pad&top=16&at=9,4&feature=172&unit=7,4"
        "&weights=0123abcd"
    )


# Ways to show


def test_the_ways_to_show_are_a_row_of_links_with_a_formula(
    client: TestClient, explorer: str
) -> None:
    text = page(client, explorer)
    for way in ("smooth", "lit", "difference"):
        assert f"show={way}" in text
    assert f'<a href="{explorer}" aria-current="true">exact</a>' in text
    assert "Exact: each channel" in text and "Smooth: the mean" in page(
        client, f"{explorer}?show=smooth"
    )


def test_every_picture_of_another_way_is_drawn_that_way(client: TestClient, explorer: str) -> None:
    usual, lit = (page(client, f"{explorer}?top=1{more}") for more in ("", "&show=lit"))
    one, two = (client.get(addresses(text, "projection.png")[0]).content for text in (usual, lit))
    assert one != two
    saved = client.get(addresses(lit, "card.png")[0]).headers["content-disposition"]
    assert re.search(r'filename="zfnet-conv5-\d+-lit.png"', saved)
    saved = client.get(addresses(lit, "view.zip")[0]).headers["content-disposition"]
    assert 'filename="zfnet-conv5-lit.zip"' in saved


def test_a_legend_prints_the_scale(client: TestClient, explorer: str) -> None:
    asked = {"network": "zfnet", "layer": "conv5", "top": "1", "show": "lit"}
    image = explorer.split("/")[2]
    (each,) = client.post("/visualize", data=asked | {"image_id": image}).json()["projections"]
    link = re.search(r'hx-get="([^"]+/legend[^"]*)"', page(client, f"{explorer}?top=1&show=lit"))
    assert link
    address, scale = html.unescape(link[1]), float(f"{each['scale']:.2g}")
    for headers in (HTML, PARTIAL):  # a page without JavaScript, else a part of one
        shown = client.get(address, headers=headers).text
        assert f"{scale:g} and more" in shown


def test_a_difference_is_that_of_the_maps_at_the_unit_looked_at(
    client: TestClient, explorer: str
) -> None:
    link = re.search(r'<a href="([^"]+)">difference</a>', page(client, explorer))
    assert link
    text = page(client, link[1].replace("&amp;", "&"))
    assert 'aria-current="true">difference</a>' in text
    links = {html.unescape(each) for each in re.findall(r'hx-get="([^"]+/legend[^"]*)"', text)}
    assert len(links) > 1
    for each in links:
        assert "% of its energy is left" in client.get(each, headers=PARTIAL).text


def test_a_difference_stays_behind_in_its_layer(client: TestClient, explorer: str) -> None:
    text = page(client, f"{explorer}?show=difference&unit=5,6")
    assert f'href="{explorer.replace("conv5", "conv4")}"' in text
    for query in ("show=difference&seed=map", "show=difference&at=150,225"):
        text = page(client, f"{explorer}?{query}")
        link = next(each for each in re.findall(r'href="([^"]+)"', text) if "/conv4?" in each)
        assert "show=difference" in link
        there = page(client, html.unescape(link))
        assert 'aria-current="true">difference</a>' in there
    kept = page(client, f"{explorer}?show=lit&unit=5,6")
    assert f'href="{explorer.replace("conv5", "conv4")}?show=lit"' in kept


def test_a_difference_that_cannot_be_had_says_why_and_shows_the_maps_as_usual(
    client: TestClient, explorer: str
) -> None:
    text = page(client, f"{explorer}?show=difference")
    assert "choose one unit of conv5" in text
    assert 'aria-current="true">exact</a>' in text and "projection.png" in text
    assert "compares two" in page(client, f"{explorer}?show=difference&features=7&seed=map")


def test_an_unknown_field_beside_a_photo_is_refused_with_the_known_ones(client: TestClient) -> None:
    answer = client.post("/images", **sent(photo()), data={"layer": "conv5"})
    assert answer.status_code == 422 and "there is no field layer here" in answer.json()["detail"]
    assert "there are image" in answer.json()["detail"]


# Which maps speak for a class


def test_maps_are_ranked_for_a_class_that_the_page_names(client: TestClient, explorer: str) -> None:
    text = page(client, f"{explorer}?rank=contribution&target=3")
    label = re.search(r"of 256 maps that speak most for ([^<]+)</h2>", text)
    assert label and "to the score</span>" in text
    spaced = label[1].replace(" ", "_")
    assert f'name="target" value="{spaced}"' in text or f'name="target" value="{label[1]}"' in text
    assert "rank=contribution&amp;target=3" in text  # cards stay in the list


@pytest.mark.parametrize("query", ["rank=contribution&target=nobody", "rank=contribution"])
def test_a_rank_that_cannot_be_had_says_why_and_lists_the_strongest(
    client: TestClient, explorer: str, query: str
) -> None:
    layer = "fc8" if "target" not in query else "conv5"
    text = page(client, f"{explorer.replace('conv5', layer)}?{query}")
    assert 'role="note"' in text and "strongest of" in text and "to the score" not in text


def test_the_maps_at_a_place_are_ranked_by_their_strength(
    client: TestClient, explorer: str
) -> None:
    assert "fire there" in page(client, f"{explorer}?rank=contribution&at=160,200")
