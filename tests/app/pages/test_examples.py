"""The wall, and what leads to and from it."""

from __future__ import annotations

import html
import io
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qsl

import pytest
from PIL import Image
from starlette.testclient import TestClient

import models
from tests.photo_folders import decode, fill_folder
from tests.serving import client_in, photo, sent, state_of, wait_for

HTML = {"accept": "text/html"}
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fill_folder(tmp_path_factory.mktemp("photos"), 20)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, photos: Path) -> Path:
    home = tmp_path_factory.mktemp("wall")
    with client_in(home, networks="lenet5") as client:
        network = state_of(client).engine.registry.load("lenet5")
    out = models.index_folder(home / "data" / "examples", network)
    request = models.ExamplesRequest(("c1", "c2", "fc3"))
    list(models.build_examples(network, photos, out, decode, request, 0))
    return home


@pytest.fixture(scope="module")
def client(home: Path) -> Iterator[TestClient]:
    with client_in(home, networks="lenet5") as client:
        yield client


@pytest.fixture(scope="module")
def index(home: Path) -> models.Index:
    (folder,) = (home / "data" / "examples" / "lenet5").iterdir()
    return models.read_index(folder)


def page(client: TestClient, address: str, status: int = 200) -> str:
    answer = client.get(address, headers=HTML)
    assert answer.status_code == status, answer.text
    return html.unescape(answer.text)


def test_the_api_gives_the_rows_of_the_index(client: TestClient, index: models.Index) -> None:
    for layer, feature in (("c2", 3), ("c1", 0), ("fc3", 9)):
        document = client.get(f"/examples/lenet5/{layer}/{feature}").json()
        rows = [(e["rank"], e["image"], *e["unit"], e["activation"]) for e in document["examples"]]
        assert rows == [
            (e.rank, e.image, e.y, e.x, e.activation) for e in index.examples(layer, feature)
        ]
        assert document["seen"] == 20 and document["sha256"] == index.meta.sha256
        field = document["examples"][0]["receptive_field"]
        assert (field["bottom"] - field["top"] == 32) == (layer == "fc3")


def test_the_wall_shows_every_map_and_nine_ways_on(client: TestClient) -> None:
    text = page(client, "/examples/lenet5/c2")
    assert re.findall(r'<li id="map-(\d+)"', text) == [str(each) for each in range(16)]
    assert len(re.findall(r'href="/examples/lenet5/c2/\d+/\d+"', text)) == 16 * 9
    assert "20 photos of a data set · 3 more could not be read" in text
    assert re.findall(r'href="(/examples/lenet5/\w+)"', text) == [
        f"/examples/lenet5/{layer}" for layer in ("c1", "c2", "fc3")
    ]
    pictures = re.findall(r'src="(/examples/[^"]+)"', text)
    assert len(pictures) == 32
    for address in pictures[:2]:
        answer = client.get(address)
        assert "immutable" in answer.headers["cache-control"]
        assert Image.open(io.BytesIO(answer.content)).size == (292, 292)
    plain = client.get(pictures[0].partition("?")[0])
    assert plain.headers["cache-control"] == "no-cache" and plain.content == answer_of(
        client, pictures[0]
    )


def answer_of(client: TestClient, address: str) -> bytes:
    return bytes(client.get(address).content)


def test_class_scores_are_named(client: TestClient) -> None:
    assert "map 7, 7" in page(client, "/examples/lenet5/fc3")


def test_a_large_layer_has_several_pages(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.pages.examples.ON_A_PAGE", 6)
    first, last = (page(client, f"/examples/lenet5/c2?page={n}") for n in (1, 9))
    assert 'id="map-5"' in first and 'id="map-6"' not in first
    assert "/examples/lenet5/c2?page=2" in first and 'rel="prev"' not in first
    assert 'id="map-15"' in last and 'rel="next"' not in last


def test_an_example_leads_to_its_photo_and_the_unit_that_fired(
    client: TestClient, index: models.Index, photos: Path
) -> None:
    example = index.examples("c2", 3)[2]
    answer = client.get("/examples/lenet5/c2/3/2", follow_redirects=False)
    assert answer.status_code == 303
    place = answer.headers["location"]
    assert place.endswith("#close") and f"unit={example.y},{example.x}" in place
    assert activation_at(client, place) == pytest.approx(example.activation, rel=1e-4)
    original = client.post("/images", **sent((photos / example.image).read_bytes()))
    assert original.url.path.split("/")[2] == place.split("/")[2]
    assert "3" in page(client, place)


def activation_at(client: TestClient, place: str) -> float:
    match = re.fullmatch(r"/images/(\w+)/lenet5/c2\?(.*)#close", place)
    assert match
    asked = {name: value for name, value in parse_qsl(str(match[2]))}
    fields: dict[str, str] = {n: asked[n] for n in ("unit", "fit") if n in asked}
    data: dict[str, str] = {
        "image_id": match[1],
        "network": "lenet5",
        "layer": "c2",
        "features": "3",
        **fields,
    }
    document = client.post("/visualize", data=data).json()
    return float(document["projections"][0]["activation"])


def test_where_the_photo_is_gone_what_the_index_keeps_shows_the_same_unit(
    home: Path, photos: Path, tmp_path: Path, index: models.Index
) -> None:
    shutil.copytree(home, tmp_path / "home")
    (folder,) = (tmp_path / "home" / "data" / "examples" / "lenet5").iterdir()
    (folder / "source.json").write_text(json.dumps({"folder": str(tmp_path / "gone")}))
    with client_in(tmp_path / "home", networks="lenet5") as client:
        answer = client.get("/examples/lenet5/c2/3/0", follow_redirects=False)
        place = answer.headers["location"]
        assert "fit=stretch" in place
        example = index.examples("c2", 3)[0]
        assert activation_at(client, place) == pytest.approx(example.activation, rel=1e-4)


def test_no_file_outside_the_folder_is_read(home: Path, photos: Path, tmp_path: Path) -> None:
    shutil.copytree(home, tmp_path / "home")
    (folder,) = (tmp_path / "home" / "data" / "examples" / "lenet5").iterdir()
    name = models.read_index(folder).examples("c2", 3)[0].image
    inside = tmp_path / "inside" / name
    inside.parent.mkdir(parents=True)
    inside.symlink_to(photos / name)
    (folder / "source.json").write_text(json.dumps({"folder": str(tmp_path / "inside")}))
    with client_in(tmp_path / "home", networks="lenet5") as client:
        answer = client.get("/examples/lenet5/c2/3/0", follow_redirects=False)
        assert "fit=stretch" in answer.headers["location"]


@pytest.mark.parametrize(
    ("address", "status", "sentence"),
    [
        ("/examples/resnet/conv1", 404, "there is no network 'resnet'"),
        ("/examples/lenet5/conv9", 404, "lenet5 has no layer 'conv9'"),
        ("/examples/lenet5/c2?page=x", 422, "page is a whole number"),
        ("/examples/lenet5/c2/16/projections.png", 422, "c2 has the feature maps 0 to 15"),
        ("/examples/lenet5/p1/0/patches.png", 404, "the index has not the layer 'p1'"),
        ("/examples/lenet5/c2/3/9", 404, "map 3 of c2 has no example 9: it has 9"),
        ("/examples/lenet5/c2/figure?features=99", 422, "c2 has the feature maps 0 to 15"),
        ("/examples/lenet5/c2/figure?format=gif", 422, "format"),
    ],
)
def test_what_cannot_be_shown_is_a_sentence(
    client: TestClient, address: str, status: int, sentence: str
) -> None:
    assert sentence in page(client, address, status)


def test_a_layer_that_the_index_lacks_says_which_there_are(client: TestClient) -> None:
    text = page(client, "/examples/lenet5/p1")
    assert "the index has not the layer 'p1'; it has c1, c2, fc3" in text


@pytest.mark.parametrize(
    ("form", "begins"), [("svg", b"<?xml"), ("pdf", b"%PDF"), ("png", b"\x89PNG")]
)
def test_a_layer_becomes_a_figure(client: TestClient, form: str, begins: bytes) -> None:
    answer = client.get(f"/examples/lenet5/c2/figure?features=3,5&format={form}")
    assert answer.status_code == 200 and answer.content.startswith(begins)
    assert f'filename="lenet5-c2-examples.{form}"' in answer.headers["content-disposition"]


def test_the_page_of_a_map_shows_its_nine(client: TestClient) -> None:
    image = client.post("/images", **sent(photo())).url.path.split("/")[2]
    text = page(client, f"/images/{image}/lenet5/c2/3")
    assert "The 9 of 20 photos in which map 3 fires most" in text
    assert len(re.findall(r'href="/examples/lenet5/c2/3/\d"', text)) == 9
    assert "how to index one" in page(client, f"/images/{image}/lenet5/p2/3")


def test_the_ways_to_a_wall(client: TestClient) -> None:
    assert client.get("/examples", headers=HTML).url.path == "/examples/lenet5/c2"
    assert "/examples/zfnet/conv5" in page(client, "/paper")


def test_a_damaged_index_is_a_sentence(home: Path, tmp_path: Path) -> None:
    shutil.copytree(home, tmp_path / "home")
    (folder,) = (tmp_path / "home" / "data" / "examples" / "lenet5").iterdir()
    (folder / "index.parquet").write_bytes(b"PAR1")
    with client_in(tmp_path / "home", networks="lenet5") as client:
        assert "index.parquet of the index is damaged" in page(client, "/examples/lenet5/c2")
        assert client.get("/examples/lenet5/c2/0").status_code == 503


def test_without_an_index_the_page_gives_the_one_command(tmp_path: Path) -> None:
    with client_in(tmp_path, networks="lenet5") as client:
        text = page(client, "/examples/lenet5/c2")
        assert "deconvnet examples build FOLDER --network lenet5" in text
        assert "the nine photos of a data set that fire it most" in text
        assert "<form" not in text.partition("<main")[2]
        problem = client.get("/examples/lenet5/c2/0")
        assert problem.status_code == 404
        assert "nobody has indexed a data set for lenet5" in problem.json()["detail"]
        refused = client.post("/examples/lenet5/build")
        assert refused.status_code == 404 and "names no folder" in refused.json()["detail"]


def test_a_folder_that_the_owner_offers_is_indexed_in_the_background(
    tmp_path: Path, photos: Path
) -> None:
    with client_in(tmp_path, networks="lenet5", examples_folder=photos) as client:
        text = page(client, "/examples/lenet5/c2")
        assert 'action="/examples/lenet5/build" method="post"' in text
        answer = client.post("/examples/lenet5/build", headers=HTML, follow_redirects=False)
        assert answer.headers["location"] == "/examples/lenet5/c2"
        jobs = state_of(client).jobs
        (job,) = jobs.files.jobs()
        watched = page(client, "/examples/lenet5/c2")
        assert 'id="job"' in watched or 'id="map-0"' in watched
        assert client.get(f"/jobs/{job.id}", headers=HTML).url.path == "/examples/lenet5/c2"
        wait_for(lambda: client.get(f"/jobs/{job.id}").json()["state"] == "done")
        assert 'id="map-15"' in page(client, "/examples/lenet5/c2")
        result = client.get(f"/jobs/{job.id}/result").json()
        assert (result["network"], result["seen"]) == ("lenet5", 20)
        # an index that its owner removed can be built again
        shutil.rmtree(tmp_path / "data" / "examples")
        client.post("/examples/lenet5/build", headers=HTML, follow_redirects=False)
        wait_for(lambda: client.get("/examples/lenet5/c2/0").status_code == 200)


def test_a_failed_build_says_why_and_may_go_on(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with client_in(tmp_path, networks="lenet5", examples_folder=tmp_path / "empty") as client:
        client.post("/examples/lenet5/build", headers=HTML, follow_redirects=False)
        (job,) = state_of(client).jobs.files.jobs()
        wait_for(lambda: client.get(f"/jobs/{job.id}").json()["state"] == "failed")
        text = page(client, "/examples/lenet5/c2")
        assert "holds no photos" in text and "Go on with" in text
        assert str(tmp_path) not in text
