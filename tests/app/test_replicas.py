"""Replicas on a cluster: any of them answers any link, and one that dies takes little with it."""

from __future__ import annotations

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2 as httpx
import pytest
import yaml

import models
from app.replicas import application, parse_replicas
from tests.processes import children_of, title_of
from tests.serving import photo, settings_in

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize(("text", "wanted"), [("1", (1, 1)), ("2-8", (2, 8)), ("16", (16, 16))])
def test_replicas_are_a_number_or_a_range(text: str, wanted: tuple[int, int]) -> None:
    assert parse_replicas(text) == wanted


@pytest.mark.parametrize("text", ["0", "3-2", "many", "1-", "-1", "99999"])
def test_no_replicas_are_refused(text: str) -> None:
    with pytest.raises(models.InvalidChoice) as error:
        parse_replicas(text)
    assert error.value.reason == "no_replicas"


@pytest.mark.filterwarnings("ignore")  # of Ray, which uses what pydantic gave up
def test_the_config_describes_the_deployment() -> None:
    from ray import serve
    from ray.serve.schema import ServeDeploySchema

    config = ServeDeploySchema.model_validate(
        yaml.safe_load((ROOT / "docs/serve.yaml").read_text())
    )
    (described,) = config.applications
    assert described.import_path == "app.replicas:application"
    assert isinstance(application(described.args), serve.Application)
    assert parse_replicas(described.args["replicas"]) == (2, 8)


@pytest.mark.cluster
@pytest.mark.filterwarnings("ignore")  # Ray's own, of its files and sockets
def test_a_replica_that_dies_under_load_costs_only_what_it_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "0" * 64)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    import ray
    from ray import serve

    from app.replicas import deploy

    models.connect_to_ray("local")
    try:
        serve.start(http_options={"host": "127.0.0.1", "port": 8793})
        serve.run(
            deploy(settings_in(tmp_path, networks="lenet5", decode_seconds=60), "2", cpus=0.1)
        )
        with httpx.Client(base_url="http://127.0.0.1:8793", timeout=60) as client:
            at_the_beginning(client)
            kept = client.post("/images", files={"image": photo()})
            assert kept.status_code == 303, kept.text
            image = kept.headers["location"]
            victim = one_of_two()
            answers = under_load(client, image, victim)
        statuses = [status for status, _ in answers]
        assert set(statuses) <= {200, 500, 503}
        lost = sum(status != 200 for status in statuses)
        assert lost <= WORKERS, statuses  # what it was holding
        assert statuses[-WORKERS:] == [200] * WORKERS
        contents = {content for status, content in answers if status == 200}
        assert len(contents) == 1, "both replicas give the same bytes"
    finally:
        serve.shutdown()  # type: ignore[no-untyped-call]
        ray.shutdown()


WORKERS, REQUESTS = 6, 240


def at_the_beginning(client: httpx.Client) -> None:
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        try:
            if client.get("/readyz").status_code == 200:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.5)
    raise AssertionError("no replica is ready")


def one_of_two() -> int:
    """Wait for two replicas, and return the process of one."""
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        titles = {pid: title_of(pid) for pid in children_of(os.getpid())}
        replicas = [pid for pid, title in titles.items() if title.startswith("ray::ServeReplica")]
        if len(replicas) == 2:
            return replicas[0]
        time.sleep(0.5)
    raise AssertionError("there are no two replicas")


def under_load(client: httpx.Client, image: str, victim: int) -> list[tuple[int, bytes]]:
    """Ask for one picture again and again, and kill a replica in the middle."""
    fields = {"image_id": image.split("/")[2], "network": "lenet5"}

    def ask(number: int) -> tuple[int, bytes]:
        if number == REQUESTS // 3:
            os.kill(victim, signal.SIGKILL)
        accept = {"accept": "application/x-npz"}
        answer = client.post("/visualize", data=fields, headers=accept)
        return answer.status_code, answer.content

    with ThreadPoolExecutor(WORKERS) as pool:
        return list(pool.map(ask, range(REQUESTS)))
