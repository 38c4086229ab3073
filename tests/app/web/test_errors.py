from pathlib import Path

import pytest
from fastapi import Request
from fastapi.responses import HTMLResponse, Response
from starlette.testclient import TestClient

import models
from app import storage
from app.engine import device, engine, experiments, jobs, places
from app.main import create_app
from app.photos import decoders, decoding, uploads
from app.web import errors
from tests.serving import LOCAL, client_in, settings_in, state_of

NOTHING = models.WeightsInfo("zfnet", "missing", None, None, Path("zfnet.safetensors"))
AN_ERROR: dict[type[Exception], models.DeconvnetError] = {
    models.UnknownNetwork: models.UnknownNetwork("net", ["zfnet"]),
    models.UnknownLayer: models.UnknownLayer("zfnet", "conv9", ["conv1"]),
    models.InvalidChoice: models.InvalidChoice("feature_twice"),
    models.UnknownWeights: models.UnknownWeights(
        network="zfnet", weights="0a1b2c3d", known=("starter",), info=NOTHING
    ),
    models.WeightsArriving: models.WeightsArriving("zfnet", 250_000_000, 7),
    models.WeightsInvalid: models.WeightsInvalid("no_convolutions"),
    models.WeightsMissing: models.WeightsMissing("not_written", file="a", folder="b", cause="c"),
    models.NoExamples: models.NoExamples("layer", layer="conv1", known=("conv5",)),
    models.ExamplesInvalid: models.ExamplesInvalid("part_twice", part=1, of=2),
    models.OutOfMemory: models.OutOfMemory("ReLU()"),
    models.DeviceLost: models.DeviceLost("failed", cause="CUDA error"),
    device.DeviceHung: device.DeviceHung(seconds=120.0),
    errors.RequestMalformed: errors.RequestMalformed(cause="no end"),
    errors.HeadersTooLong: errors.HeadersTooLong(limit=65536),
    errors.ChunksTooSmall: errors.ChunksTooSmall(least=128),
    decoding.UnreadablePhoto: decoding.UnreadablePhoto("empty"),
    decoding.PhotoTooLarge: decoding.PhotoTooLarge("too_much_memory"),
    uploads.NoSuchPhoto: uploads.NoSuchPhoto(id="0"),
    uploads.PhotoExpired: uploads.PhotoExpired(),
    storage.StorageFull: storage.StorageFull(),
    storage.StorageRefused: storage.StorageRefused(cause=OSError(30, "Read-only file system")),
    storage.StorageClosed: storage.StorageClosed(folder="/data", cause="Permission denied"),
    storage.SecretInvalid: storage.SecretInvalid(file="secret", nbytes=0),
    decoders.DecoderLost: decoders.DecoderLost(),
    engine.Stopping: engine.Stopping(),
    places.QueueFull: places.QueueFull(retry_after=7),
    engine.Overdue: engine.Overdue(seconds=30.0),
    engine.ClientLeft: engine.ClientLeft(),
    experiments.UnknownExperiment: experiments.UnknownExperiment(name="a", known=("b",)),
    jobs.NoSuchJob: jobs.NoSuchJob(id="0"),
    jobs.JobExpired: jobs.JobExpired(),
    jobs.JobsFull: jobs.JobsFull(limit=16, retry_after=7),
    jobs.JobUnfinished: jobs.JobUnfinished("cancelled"),
    jobs.JobFailed: jobs.JobOverdue(seconds=60.0),
    errors.NotAcceptable: errors.NotAcceptable(media_types=("image/png",), accept="text/css"),
    errors.WrongMediaType: errors.WrongMediaType(media_type="text/css"),
}


@pytest.mark.parametrize("kind", list(errors.STATUS), ids=lambda kind: kind.__name__)
def test_a_retry_is_offered_where_it_helps_only(kind: type[Exception]) -> None:
    problem = errors.problem_of(AN_ERROR[kind])
    assert ("Retry-After" in problem.headers) == (kind in errors.WORTH_RETRYING)
    assert problem.title and problem.detail


def test_a_subclass_gets_its_parents_status() -> None:
    class Odd(models.UnknownLayer):
        pass

    assert errors.problem_of(Odd("zfnet", "no", ["conv1"])).status == 404


def test_a_failure_of_ours_leaks_nothing_and_carries_the_headers(tmp_path: Path) -> None:
    app = create_app(settings_in(tmp_path))

    @app.get("/fail")
    def fail() -> None:
        raise RuntimeError("the secret is 42")

    answer = TestClient(app, base_url=LOCAL).get("/fail")
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert "secret" not in answer.text and "Traceback" not in answer.text
    assert "content-security-policy" in answer.headers
    page = TestClient(app, base_url=LOCAL).get("/fail", headers={"accept": "text/html"})
    assert page.status_code == 500 and page.headers["X-Request-ID"] in page.text


def test_a_browser_gets_the_same_sentence_as_a_page(tmp_path: Path) -> None:
    app = create_app(settings_in(tmp_path))

    def page(request: Request, problem: errors.Problem) -> Response:
        return HTMLResponse(f"<p>{problem.detail}</p>", problem.status)

    app.state.page_of_problem = page
    client = TestClient(app, base_url=LOCAL)
    document = client.get("/networks/nope").json()
    shown = client.get("/networks/nope", headers={"accept": "text/html"})
    assert shown.status_code == 404 and shown.headers["content-type"].startswith("text/html")
    assert shown.text == f"<p>{document['detail']}</p>"


def test_a_method_that_a_path_does_not_take_is_told_with_all_that_it_takes(tmp_path: Path) -> None:
    client = client_in(tmp_path)
    for path, allowed in {
        "/jobs/0": "GET, DELETE",
        "/images/0": "GET, DELETE",
        "/visualize": "POST",
        "/experiments/occlusion": "GET, POST",
    }.items():
        answer = client.patch(path)
        assert answer.status_code == 405 and answer.headers["Allow"] == allowed
        assert f"it takes {allowed}." in answer.json()["detail"]


def test_a_full_queue_is_503_with_the_time_to_ask_again(tmp_path: Path) -> None:
    from tests.serving import photo, sent

    with client_in(tmp_path, queue_limit=1) as client:
        with state_of(client).engine.places.one():
            answer = client.post("/visualize", **sent(photo()))
        assert answer.status_code == 503
        assert int(answer.headers["retry-after"]) >= 1
        assert client.post("/visualize", **sent(photo()), data={"top": "1"}).status_code == 200


def test_readiness_ends_before_the_server_does(tmp_path: Path) -> None:
    with client_in(tmp_path) as client:
        state_of(client).engine.stopping = True
        answer = client.get("/readyz")
        assert answer.status_code == 503
        assert answer.headers["content-type"] == "application/problem+json"
        assert client.get("/healthz").status_code == 200


@pytest.mark.parametrize("address", ["/images", "/samples/chelsea"])
def test_photos_come_through_the_same_door_as_all_work(tmp_path: Path, address: str) -> None:
    from tests.serving import photo, sent

    with client_in(tmp_path, queue_limit=1) as client:
        with client.app.state.engine.places.one():  # type: ignore[attr-defined]
            refused = client.post(address, **sent(photo()), follow_redirects=False)
        assert refused.status_code == 503 and int(refused.headers["retry-after"]) >= 1
        taken = client.post(address, **sent(photo()), follow_redirects=False)
        assert taken.status_code == 303
        shown = f"{taken.headers['location']}/photo.jpg"
        with client.app.state.engine.places.one():  # type: ignore[attr-defined]
            assert client.get(shown).status_code == 503
        assert client.get(shown).status_code == 200


def test_a_photo_that_takes_longer_than_a_request_may_is_503(tmp_path: Path) -> None:
    from tests.serving import photo, sent

    with client_in(tmp_path, request_seconds=0.001) as client:
        answer = client.post("/images", **sent(photo(3000, 2000)))
        assert answer.status_code == 503 and "Retry-After" in answer.headers
