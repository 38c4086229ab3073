"""Evolution and probe over the web: on folders that the owner registered, and on no others."""

import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from starlette.testclient import TestClient

import models
from app.engine.folders import FOLDER_EXPERIMENTS
from models.training.checkpoint import write_weights
from models.training.run import make
from tests.serving import client_in, wait_for

HTML = {"accept": "text/html"}
WAIT = {"prefer": "wait=25"}
PROBED = {"data": "mine", "network": "lenet5", "train": "3", "folds": "1", "layers": "c1"}
FOLLOWED = {"run": "first", "data": "mine", "layer": "c2", "features": "3,7"}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with photos of two classes, a training run, and an empty folder."""
    place, chance = tmp_path_factory.mktemp("place"), np.random.default_rng(0)
    for name, level in (("dark", 40), ("bright", 210)):
        (place / "photos" / name).mkdir(parents=True)
        for number in range(6):
            levels = chance.integers(level - 25, level + 25, (36, 36), dtype=np.uint8)
            Image.fromarray(levels).save(place / "photos" / name / f"{number}.png")
    (place / "run").mkdir()
    (place / "empty").mkdir()
    torch.save({"name": "lenet5"}, place / "run" / "checkpoint.pt")
    for epoch in (1, 2):
        network = make("lenet5", ("bright", "dark"), models.TrainingConfig(seed=epoch))
        file = place / "run" / f"epoch-{epoch:02}.safetensors"
        write_weights(network, file, torch.float32)
    return place


@pytest.fixture(scope="module")
def client(place: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    photos = {"mine": place / "photos", "nothing": place / "empty", "gone": place / "gone"}
    runs = {"first": place / "run", "unfinished": place / "empty"}
    folder = tmp_path_factory.mktemp("served")
    with client_in(folder, photo_folders=photos, runs=runs) as client:
        yield client


def probe(client: TestClient, headers: Any = None, **fields: str) -> Any:
    return client.post("/experiments/probe", data={**PROBED, **fields}, headers=headers)


def evolve(client: TestClient, headers: Any = None, **fields: str) -> Any:
    return client.post("/experiments/evolution", data={**FOLLOWED, **fields}, headers=headers)


def test_a_registered_folder_is_probed(client: TestClient) -> None:
    answer = probe(client, WAIT)
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert found["experiment"] == "probe" and found["layers"] == ["c1"]
    assert found["classes"] == 2 and found["photos"] == 12
    assert found["svm"] == [[1.0]]  # dark is told from bright
    assert found["weights"]["source"] == "starter"


def test_a_registered_run_is_followed_as_the_command_line_does(
    client: TestClient, place: Path
) -> None:
    answer = evolve(client, {**WAIT, "accept": "text/csv"})
    assert answer.status_code == 200, answer.text
    request = models.EvolutionRequest(layer="c2", features=(3, 7))
    direct = models.finish(models.evolve(place / "run", place / "photos", request))
    served = [float(row["activation"]) for row in csv.DictReader(io.StringIO(answer.text))]
    np.testing.assert_allclose(served, np.ravel(direct.numbers["activation"]), rtol=1e-5)


@pytest.mark.parametrize("ask", [probe, evolve])
def test_the_result_comes_in_every_kind(client: TestClient, ask: Any) -> None:
    address = ask(client).headers["location"]
    wait_for(lambda: client.get(address).json()["state"] == "done")
    for kind in ("application/json", "application/x-npz", "text/csv", "image/svg+xml", "image/png"):
        answer = client.get(f"{address}/result", headers={"accept": kind})
        assert answer.status_code == 200 and answer.headers["content-type"].startswith(kind)
        assert answer.content


@pytest.mark.parametrize("ask", [probe, evolve])
def test_an_equal_question_is_one_job_until_the_folder_changes(
    client: TestClient, place: Path, ask: Any
) -> None:
    one, other = ask(client), ask(client)
    assert one.headers["location"] == other.headers["location"]
    more = place / "photos" / "dark" / "more.png"
    Image.new("L", (36, 36), 40).save(more)
    try:
        assert ask(client).headers["location"] != one.headers["location"]
    finally:
        more.unlink()


@pytest.mark.parametrize(
    ("ask", "fields", "status", "says"),
    [
        (probe, {"data": "yours"}, 422, "nothing is registered for 'data' as 'yours'"),
        (probe, {"data": "/etc"}, 422, "there are mine, nothing, gone"),
        (probe, {"data": "../photos"}, 422, "there are mine, nothing, gone"),
        (probe, {"data": ""}, 422, "'data' is missing"),
        (probe, {"data": "nothing"}, 422, "nothing holds no folder of photos for each class"),
        (probe, {"data": "gone"}, 422, "gone is no folder"),
        (probe, {"train": "6"}, 422, "has 6 photos: to learn from 6"),
        (probe, {"folds": "0"}, 422, "folds"),
        (probe, {"layers": "c1,conv9"}, 404, "no layer 'conv9'"),
        (probe, {"network": "nonet"}, 404, "no network 'nonet'"),
        (probe, {"run": "first"}, 422, "no field run here"),
        (evolve, {"run": "second"}, 422, "nothing is registered for 'run' as 'second'"),
        (evolve, {"run": "unfinished"}, 422, "unfinished holds no weights of epochs"),
        (evolve, {"features": "99"}, 422, "c2 has the feature maps 0 to 15"),
        (evolve, {"layer": "conv9"}, 404, "no layer 'conv9'"),
        (evolve, {"photos": "0"}, 422, "greater than or equal to 1"),
        (evolve, {"network": "lenet5"}, 422, "no field network here"),
    ],
)
def test_bad_input_gets_a_sentence_that_tells_no_path(
    client: TestClient, place: Path, ask: Any, fields: dict[str, str], status: int, says: str
) -> None:
    answer = ask(client, WAIT, **fields)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert says in answer.json()["detail"]
    assert str(place) not in answer.text


def test_a_link_that_leads_nowhere_is_told_as_no_photo(client: TestClient, place: Path) -> None:
    link = place / "photos" / "dark" / "nowhere.png"
    link.symlink_to(place / "away.png")
    try:
        answer = probe(client, WAIT)
        assert answer.status_code == 422, answer.text
        assert "dark/nowhere.png is no photo that can be read" in answer.json()["detail"]
    finally:
        link.unlink()


def test_where_nothing_is_registered_the_answer_says_who_can(tmp_path: Path) -> None:
    with client_in(tmp_path) as client:
        answer = probe(client)
        assert answer.status_code == 422
        assert "DECONVNET_PHOTO_FOLDERS" in answer.json()["detail"]


@pytest.mark.parametrize("name", FOLDER_EXPERIMENTS)
def test_the_document_of_the_api_declares_every_field(client: TestClient, name: str) -> None:
    schema = client.get("/openapi.json").json()
    operation = schema["paths"][f"/experiments/{name}"]["post"]
    (content,) = operation["requestBody"]["content"].values()
    fields = schema["components"]["schemas"][content["schema"]["$ref"].rpartition("/")[2]]
    options = {option.name for option in models.options_of(FOLDER_EXPERIMENTS[name].request)}
    folders = {each.name for each in FOLDER_EXPERIMENTS[name].folders}
    assert set(fields["properties"]) == folders | options
    assert set(fields["required"]) == folders


@pytest.mark.parametrize(("name", "asked"), [("probe", PROBED), ("evolution", FOLLOWED)])
def test_from_the_page_to_what_was_found_without_javascript(
    client: TestClient, name: str, asked: dict[str, str]
) -> None:
    text = client.get(f"/experiments/{name}", headers=HTML).text
    assert "<option>mine</option>" in text
    form = re.search(r'<form id="run".*?</form>', text, re.DOTALL)
    assert form is not None
    assert set(asked) <= set(re.findall(r'name="([a-z]+)"', form[0]))
    answer = client.post(f"/experiments/{name}", data=asked, headers=HTML)
    job = answer.url.path
    assert job.startswith("/jobs/")
    wait_for(lambda: client.get(job).json()["state"] == "done")
    found = client.get(job, headers=HTML).text
    assert f"{job}/result.svg" in found and "data mine" in found
    change = re.search(r'href="(/experiments/[^"]+)">Ask otherwise', found)
    assert change is not None
    again = client.get(change[1].replace("&amp;", "&"), headers=HTML).text
    assert "<option selected>mine</option>" in again


def test_an_evolution_s_page_shows_each_epoch_by_its_link(client: TestClient) -> None:
    job = evolve(client).headers["location"]
    wait_for(lambda: client.get(job).json()["state"] == "done")
    text = client.get(job, headers=HTML).text
    assert f'href="{job}?epoch=1#evolution"' in text and "<span data-epoch" in text
    shown = {name: client.get(f"{job}?epoch={name}", headers=HTML).text for name in ("1", "2", "9")}
    hidden = {
        name: re.findall(r'<div data-at="(\d)" hidden>', page) for name, page in shown.items()
    }
    assert set(hidden["1"]) == {"1"} and set(hidden["2"]) == set(hidden["9"]) == {"0"}
    pictures = re.findall(rf'src="({job}/maps/[37]-[12]\.png)"', text)
    assert len(pictures) + text.count('class="silent"') == 4
    for picture in pictures:
        assert Image.open(io.BytesIO(client.get(picture).content)).format == "PNG"
    assert client.get(f"{job}/maps/9-1.png").status_code == 404


def test_a_failed_one_can_be_run_again_from_its_page(client: TestClient, place: Path) -> None:
    broken = place / "photos" / "dark" / "0.png"
    whole = broken.read_bytes()
    broken.write_bytes(b"no picture")
    try:
        job = evolve(client, layer="c1", features="3").headers["location"]
        wait_for(lambda: client.get(job).json()["state"] == "failed")
        text = client.get(job, headers=HTML).text
        assert "dark/0.png is no photo that can be read" in text
        form = re.search(r'<form action="/experiments/evolution".*?</form>', text, re.DOTALL)
        assert form is not None
        fields = dict(re.findall(r'name="([^"]+)" value="([^"]*)"', form[0]))
        assert client.post("/experiments/evolution", data=fields).status_code == 202
    finally:
        broken.write_bytes(whole)
