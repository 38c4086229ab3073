"""`POST /experiments/{name}` and `/jobs/{id}`, as programs use them."""

import csv
import io
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

import models
from app.engine.experiments import EXPERIMENTS
from tests.serving import client_in, photo, sent, state_of, wait_for

ASKED = {"network": "lenet5", "square": "8", "stride": "8", "layer": "c2"}
WAIT = {"prefer": "wait=20"}
PLACES = ((32 - 8) // 8 + 1,) * 2


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with client_in(tmp_path_factory.mktemp("experiments")) as client:
        yield client


@pytest.fixture(scope="module")
def image(client: TestClient) -> str:
    answer = client.post("/visualize", **sent(photo()), data={"network": "lenet5"})
    return str(answer.json()["image"]["id"])


def occlude(client: TestClient, image: str, headers: Any = None, **fields: str) -> Any:
    return client.post(
        "/experiments/occlusion", data={"image_id": image, **ASKED, **fields}, headers=headers
    )


def ended(client: TestClient, address: str) -> Any:
    wait_for(lambda: client.get(address).json()["state"] not in ("queued", "running"))
    return client.get(address).json()


def test_an_experiment_is_a_job_that_is_asked_for_its_result(
    client: TestClient, image: str
) -> None:
    answer = occlude(client, image, stride="6")
    assert answer.status_code == 202
    address = answer.headers["location"]
    assert address == f"/jobs/{answer.json()['id']}"
    assert set(answer.json()) == {"id", "experiment", "state", "done", "total", "detail", "result"}
    document = ended(client, address)
    assert document["state"] == "done" and document["done"] == document["total"] > 0
    found = client.get(document["result"]).json()
    assert found["tops"] == found["lefts"] == [0, 6, 12, 18, 24]
    assert np.shape(found["probability"]) == (5, 5) and found["layer"] == "c2"


def test_who_would_wait_gets_the_result_at_once(client: TestClient, image: str) -> None:
    answer = occlude(client, image, WAIT)
    assert answer.status_code == 200
    assert answer.headers["preference-applied"] == "wait=20"
    found = answer.json()
    assert found["weights"]["source"] == "starter" and found["experiment"] == "occlusion"
    assert np.shape(found["best_class"]) == PLACES


def test_a_photo_may_be_sent_along(client: TestClient) -> None:
    answer = client.post("/experiments/occlusion", **sent(photo()), data=ASKED, headers=WAIT)
    assert answer.status_code == 200 and answer.json()["network"] == "lenet5"


def test_who_would_not_wait_long_enough_is_told_where_the_job_is(
    client: TestClient, image: str
) -> None:
    answer = occlude(client, image, {"prefer": "respond-async, wait=0"}, stride="1")
    assert answer.status_code == 202
    assert ended(client, answer.headers["location"])["state"] == "done"


def test_a_browser_is_led_to_the_job_s_page(client: TestClient, image: str) -> None:
    answer = client.post(
        "/experiments/occlusion",
        data={"image_id": image, **ASKED},
        headers={"accept": "text/html,*/*;q=0.8"},
        follow_redirects=False,
    )
    assert answer.status_code == 303 and answer.headers["location"].startswith("/jobs/")


def test_the_result_comes_in_every_kind_with_the_same_numbers(
    client: TestClient, image: str
) -> None:
    address = occlude(client, image).headers["location"]
    ended(client, address)

    def result(media_type: str) -> Any:
        answer = client.get(f"{address}/result", headers={"accept": media_type})
        assert answer.status_code == 200
        assert answer.headers["content-type"].partition(";")[0] == media_type
        return answer

    document = result("application/json").json()
    arrays = np.load(io.BytesIO(result("application/x-npz").content))
    rows = list(csv.DictReader(io.StringIO(result("text/csv").text)))
    assert arrays["probability"].dtype == np.float32 and arrays["tops"].dtype == np.int64
    np.testing.assert_allclose(arrays["probability"], document["probability"], rtol=1e-6)
    from_rows = [float(row["probability"]) for row in rows]
    np.testing.assert_allclose(arrays["probability"].ravel(), from_rows, rtol=1e-6)
    assert Image.open(io.BytesIO(result("image/png").content)).format == "PNG"
    assert result("image/svg+xml").text.rstrip().endswith("</svg>")


def test_a_job_s_answer_is_what_the_engine_finds(client: TestClient, image: str) -> None:
    network = models.load("lenet5", state_of(client).engine.registry.sources, "cpu")
    picture = Image.open(io.BytesIO(photo()))
    framed = models.frame_photo(picture, network.preprocessing)
    asked = models.OcclusionRequest(square=8, stride=8, layer="c2")
    direct = models.finish(models.occlude(network, framed, asked))
    answer = occlude(client, image, {**WAIT, "accept": "application/x-npz"})
    served = np.load(io.BytesIO(answer.content))
    for name, values in direct.numbers.items():
        np.testing.assert_allclose(served[name], np.asarray(values), rtol=1e-4, atol=1e-6)


def events(client: TestClient, address: str, **headers: str) -> list[tuple[str, str]]:
    answer = client.get(f"{address}/events", headers=headers)
    assert answer.headers["content-type"].startswith("text/event-stream")
    found = []
    for block in answer.text.strip().split("\n\n"):
        fields = [line.partition(": ")[::2] for line in block.splitlines()]
        data = "\n".join(value for name, value in fields if name == "data")
        found.append((dict(fields).get("event", ""), data))
    return found


def test_events_tell_how_far_a_job_is_until_it_ends(client: TestClient, image: str) -> None:
    address = occlude(client, image, stride="1", square="7").headers["location"]
    told = events(client, address)
    assert [event for event, _ in told] == ["progress"] * (len(told) - 1) + ["end"]
    states = [json.loads(data)["state"] for _, data in told]
    assert states[-1] == "done" and set(states[:-1]) <= {"queued", "running"}


def test_a_page_gets_its_progress_drawn(client: TestClient, image: str) -> None:
    address = occlude(client, image).headers["location"]
    told = events(client, address, **{"hx-request": "true"})
    assert told[-1] == ("end", "end") and "Show what was found" in told[-2][1]


def test_an_equal_question_is_the_same_job_and_another_is_not(
    client: TestClient, image: str
) -> None:
    plain = occlude(client, image).json()["id"]
    said = occlude(client, image, fill="mean", fit="crop", weights="starter").json()["id"]
    last = occlude(client, image, layer="").json()["id"]
    other = occlude(client, image, fill="#000000").json()["id"]
    assert plain == said == last != other


@contextmanager
def busy_device(client: TestClient) -> Iterator[None]:
    """Keep the device from any work."""
    free, portal = threading.Event(), client.portal
    assert portal is not None
    held = portal.start_task_soon(state_of(client).engine.on_device, free.wait)
    try:
        yield
    finally:
        free.set()
        held.result()


def test_a_cancelled_job_says_so(client: TestClient, image: str) -> None:
    with busy_device(client):
        address = occlude(client, image, stride="2").headers["location"]
        assert client.delete(address).status_code == 204
        document = client.get(address).json()
        assert (document["state"], document["result"]) == ("cancelled", None)
        answer = client.get(f"{address}/result")
        assert answer.status_code == 409 and "was cancelled" in answer.json()["detail"]
        assert client.delete(address).status_code == 204


def test_the_result_of_a_job_under_way_is_409(client: TestClient, image: str) -> None:
    with busy_device(client):
        address = occlude(client, image, stride="3").headers["location"]
        answer = client.get(f"{address}/result")
        assert answer.status_code == 409 and "comes later" in answer.json()["detail"]
        client.delete(address)


def test_forgetting_the_photo_forgets_the_result(client: TestClient) -> None:
    data = photo(colour="green")
    answer = client.post("/experiments/occlusion", **sent(data), data=ASKED)
    address = answer.headers["location"]
    ended(client, address)
    id = client.post("/visualize", **sent(data), data={"network": "lenet5"}).json()["image"]["id"]
    assert client.delete(f"/images/{id}").status_code == 204
    for path in (address, f"{address}/result", f"{address}/events"):
        assert client.get(path).status_code == 404


@pytest.mark.parametrize(
    ("fields", "status", "says"),
    [
        ({"square": "33"}, 422, "square is 1 to 32"),
        ({"square": "0"}, 422, "greater than or equal to 1"),
        ({"square": "big"}, 422, "square"),
        ({"stride": "-1"}, 422, "stride"),
        ({"fill": "grey"}, 422, "#808080"),
        ({"fit": "squeeze"}, 422, "squeeze"),
        ({"target": "unicorn"}, 422, "no class 'unicorn'"),
        ({"target": "10"}, 422, "0 to 9"),
        ({"layer": "conv9"}, 404, "no layer 'conv9'"),
        ({"feature": "99"}, 422, "feature maps 0 to"),
        ({"unit": "99,0"}, 422, "lies outside"),
        ({"unit": "9"}, 422, "unit is a row and a column"),
        ({"network": "nonet"}, 404, "no network 'nonet'"),
        ({"weights": "ffffffff"}, 404, "ffffffff"),
        ({"image_id": "0" * 32}, 404, "No photo"),
        ({"image_id": ""}, 422, "send a photo"),
        ({"squares": "9"}, 422, "squares"),
    ],
)
def test_bad_input_gets_a_sentence(
    client: TestClient, image: str, fields: dict[str, str], status: int, says: str
) -> None:
    answer = occlude(client, image, WAIT, **fields)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert says in answer.json()["detail"]


def test_more_photos_than_an_experiment_takes_are_refused(client: TestClient, image: str) -> None:
    files = [("image", ("a.jpg", photo())), ("image", ("b.jpg", photo(colour="red")))]
    answer = client.post("/experiments/occlusion", files=files, data=ASKED)
    assert (
        answer.status_code == 422
        and "takes 1 of your photos at most, not 2" in answer.json()["detail"]
    )


def test_a_result_in_no_kind_that_is_accepted_is_refused_before_it_begins(
    client: TestClient, image: str
) -> None:
    assert occlude(client, image, {"accept": "text/css"}).status_code == 406


@pytest.mark.parametrize("path", ["", "/result", "/events"])
@pytest.mark.parametrize("id", ["0" * 32, "nothing", "%2e%2e%2fsecret"])
def test_an_unknown_job_is_a_sentence(client: TestClient, id: str, path: str) -> None:
    answer = client.get(f"/jobs/{id}{path}")
    assert answer.status_code == 404 and answer.json()["detail"]


def test_above_the_limit_of_jobs_the_answer_is_503_with_when_to_ask_again(tmp_path: Path) -> None:
    with client_in(tmp_path, job_limit=1) as client, busy_device(client):
        first = client.post("/experiments/occlusion", **sent(photo()), data=ASKED)
        other = {**ASKED, "stride": "1"}
        second = client.post("/experiments/occlusion", **sent(photo()), data=other)
        assert (first.status_code, second.status_code) == (202, 503)
        assert int(second.headers["retry-after"]) > 0
        client.delete(first.headers["location"])


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_the_document_of_the_api_declares_every_option(client: TestClient, name: str) -> None:
    schema = client.get("/openapi.json").json()
    operation = schema["paths"][f"/experiments/{name}"]["post"]
    body = operation["requestBody"]["content"]["multipart/form-data"]["schema"]["$ref"]
    fields = schema["components"]["schemas"][body.rpartition("/")[2]]["properties"]
    options = {option.name for option in models.options_of(EXPERIMENTS[name].request)}
    assert set(fields) == {"image", "image_id", *options}
    assert {"200", "202", "303", "409", "422", "503"} <= set(operation["responses"])
