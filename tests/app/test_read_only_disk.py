"""A disk that became read-only while a server runs: what was kept is read, the rest is told."""

import asyncio
import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from app.engine.engine import Engine
from app.engine.job_files import Job, Question
from app.engine.jobs import Jobs, JobUnfinished, Run
from app.storage import StorageRefused
from tests.app.engine.test_jobs import Counting, running, server_on
from tests.app.test_serving import START, free_port
from tests.refusals import refused
from tests.serving import client_in, photo, sent, settings_in

REASON = "Read-only file system|Permission denied"


@contextlib.contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Make a folder read-only: by a mount for root, whom no permission stops, else by its mode."""
    if os.geteuid() == 0:
        mounted = _mount("--bind", str(folder), str(folder))
        if not mounted or not _mount("-o", "remount,bind,ro", str(folder)):
            pytest.skip("NO READ-ONLY DISK: root may not mount here; run this test as another user")
        try:
            yield
        finally:
            subprocess.run(["umount", "--lazy", folder], check=True)
        return
    folders = [folder, *(each for each in folder.rglob("*") if each.is_dir())]
    for each in folders:
        each.chmod(0o500)
    try:
        yield
    finally:
        for each in folders:
            each.chmod(0o700)


def _mount(*arguments: str) -> bool:
    return subprocess.run(["mount", *arguments], capture_output=True).returncode == 0


def keep(client: TestClient, data: bytes) -> str:
    taken = client.post("/images", **sent(data), follow_redirects=False)
    assert taken.status_code == 303
    return str(taken.headers["location"])


def test_kept_photos_are_served_and_what_cannot_be_kept_is_told(tmp_path: Path) -> None:
    with client_in(tmp_path) as client:
        known = keep(client, photo())
    with read_only(tmp_path / "data"), client_in(tmp_path) as client:
        assert client.get(f"{known}/photo.jpg").status_code == 200
        assert keep(client, photo()) == known
        told = client.post("/images", **sent(photo(colour="white")))
        assert told.status_code == 503 and any(each in told.text for each in REASON.split("|"))
        assert client.get("/readyz").status_code == 200


def test_a_photo_that_cannot_be_deleted_is_not_said_to_be(tmp_path: Path) -> None:
    with client_in(tmp_path) as client:
        known = keep(client, photo())
        with read_only(tmp_path / "data"):
            assert client.delete(known).status_code == 503
            assert client.delete("/images/" + "0" * 32).status_code == 404
            assert client.get(f"{known}/photo.jpg").status_code == 200
        assert client.delete(known).status_code == 204


def test_a_photo_that_may_not_be_read_is_told_and_read_again_later(tmp_path: Path) -> None:
    """A folder where the file should be: unreadable to everyone, root included."""
    with client_in(tmp_path) as client:
        known = keep(client, photo())
    (file,) = (tmp_path / "data" / "photos").iterdir()
    file.rename(tmp_path / "aside")
    file.mkdir()
    with client_in(tmp_path) as client:
        told = client.get(f"{known}/photo.jpg")
        assert told.status_code == 503 and "Is a directory" in told.text
        file.rmdir()
        (tmp_path / "aside").rename(file)
        assert client.get(f"{known}/photo.jpg").status_code == 200


@pytest.mark.parametrize("make", [True, False], ids=["there", "not there"])
def test_a_first_start_on_a_folder_that_is_not_ours_is_a_sentence(
    tmp_path: Path, make: bool
) -> None:
    folder = tmp_path / "disk"
    (folder / "data" if make else folder).mkdir(parents=True)
    environment = os.environ | {
        "DECONVNET_DATA_DIR": str(folder / "data"),
        "DECONVNET_PORT": str(free_port()),
    }
    with read_only(folder):
        done = subprocess.run(
            [sys.executable, "-c", START, "serve"],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert done.returncode == 1 and "DECONVNET_DATA_DIR" in done.stderr
    assert re.search(REASON, done.stderr) and "Traceback" not in done.stderr


def test_a_job_that_the_disk_cannot_take_at_its_end_has_failed_for_that_reason(
    tmp_path: Path,
) -> None:
    async def work() -> None:
        async with server_on(tmp_path) as server:
            steps = Counting(held_at=2)
            job = await server.ask(steps)
            await server.until(job.id, running)
            with read_only(tmp_path / "data"):
                steps.held_at = None
                ended = await server.jobs.wait(job.id, 20)
                assert ended.state == "failed" and isinstance(ended.failure, StorageRefused)
                assert (await server.jobs.find(job.id)).state == "failed"
                with refused(JobUnfinished, match=REASON):
                    await server.jobs.result(job.id, "result.json")
            again = await server.finish(Counting())
            assert again.id == job.id and again.state == "done"

    asyncio.run(asyncio.wait_for(work(), 60))


def test_a_job_that_cannot_be_claimed_is_refused_before_it_begins(tmp_path: Path) -> None:
    async def begin() -> Run:
        raise AssertionError("it began")

    async def work() -> Job:
        settings = settings_in(tmp_path, random_weights=True, networks="lenet5")
        engine = Engine(settings)
        jobs = Jobs(settings, engine, lambda photo: True)
        try:
            with read_only(tmp_path / "data"):
                question = Question("counting", (), "lenet5", "w", {})
                return await jobs.ask(question, begin, lambda result: {})
        finally:
            engine.close()

    with refused(StorageRefused, match=REASON):
        asyncio.run(asyncio.wait_for(work(), 60))
