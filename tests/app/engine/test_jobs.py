"""Long work: shared, watched, cancelled, kept; on a folder that several servers use."""

import asyncio
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

import models
from app.engine.engine import Engine
from app.engine.job_files import Job, JobFiles, Question
from app.engine.jobs import (
    JobExpired,
    JobFailed,
    JobLost,
    JobOverdue,
    Jobs,
    JobsFull,
    JobUnfinished,
    NoSuchJob,
    Run,
)
from app.photos.store import Photo
from app.storage import StorageFull
from models.experiments.shape import Table
from tests.refusals import refused
from tests.serving import settings_in

ROOT = Path(__file__).parents[3]
QUESTION = Question("counting", ("a" * 32,), "lenet5", "w", {"stride": "4"})


@dataclass(frozen=True)
class Count:
    """The result of an experiment that counts."""

    steps: int

    @property
    def provenance(self) -> models.Provenance:
        return models.Provenance("random", "", trained=False)

    @property
    def numbers(self) -> Mapping[str, NDArray[np.generic]]:
        return {"steps": np.array(self.steps)}

    @property
    def facts(self) -> Mapping[str, int]:
        return {"steps": self.steps}

    @property
    def table(self) -> Table:
        return Table(("steps",), [(self.steps,)])

    def draw(self, figure: Figure) -> None:
        figure.suptitle(f"{self.steps} steps")


@dataclass
class Counting:
    """An experiment that counts its steps, each of which can be held up."""

    total: int = 3
    begun: int = 0
    taken: int = 0
    hold: float = 0.0
    held_at: int | None = None
    error: Exception | None = None
    size: int = 10
    waiting: list[str] = field(default_factory=list)

    async def begin(self) -> Run:
        self.begun += 1
        return self.run()

    def run(self) -> Run:
        for number in range(self.total):
            self.taken += 1
            time.sleep(self.hold)
            while self.held_at == number:
                time.sleep(0.005)
            if self.error and number == 1:
                raise self.error
            yield models.Progress(number, self.total, f"step {number}")
        yield Count(self.total)

    def encode(self, found: Count) -> Mapping[str, bytes]:
        return {"result.json": str(found.steps).encode() * self.size}


@dataclass
class Server:
    """A server's engine and its jobs, and which photos it has."""

    engine: Engine
    jobs: Jobs
    photos: set[str]

    async def ask(self, work: Counting, question: Question = QUESTION) -> Job:
        return await self.jobs.ask(question, work.begin, work.encode)

    async def finish(self, work: Counting, question: Question = QUESTION) -> Job:
        return await self.jobs.wait((await self.ask(work, question)).id, 60)

    async def until(self, id: str, is_so: Callable[[Job], bool]) -> Job:
        async for job in self.jobs.watch(id):
            if is_so(job):
                return job
        raise AssertionError("the job ended otherwise")


@asynccontextmanager
async def server_on(folder: Path, **chosen: Any) -> AsyncIterator[Server]:
    settings = settings_in(folder, random_weights=True, networks="lenet5", **chosen)
    engine, photos = Engine(settings), {"a" * 32, "b" * 32}
    jobs = Jobs(settings, engine, photos.__contains__)
    try:
        yield Server(engine, jobs, photos)
    finally:
        await jobs.close()
        engine.close()


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(work, 60))


def running(job: Job) -> bool:
    return job.state == "running" and job.done > 0


def other(**changes: Any) -> Question:
    return replace(QUESTION, **changes)


# One job


def test_a_job_is_watched_from_the_first_step_to_its_result(tmp_path: Path) -> None:
    async def work() -> None:
        async with server_on(tmp_path) as server:
            counting = Counting(total=5, hold=0.1)
            asked = await server.ask(counting)
            seen = [job async for job in server.jobs.watch(asked.id)]
            assert asked.state in ("queued", "running")
            assert [job.done for job in seen] == sorted(job.done for job in seen)
            assert 0 < seen[-2].done < 5 and seen[-2].detail.startswith("step")
            assert (seen[-1].state, seen[-1].done, seen[-1].total) == ("done", 5, 5)
            assert await server.jobs.result(asked.id, "result.json") == b"5" * 10

    run(work())


def test_equal_questions_are_one_job(tmp_path: Path) -> None:
    async def work() -> None:
        async with server_on(tmp_path) as server:
            counting = Counting(held_at=1)
            jobs = await asyncio.gather(*(server.ask(counting) for _ in range(20)))
            counting.held_at = None
            assert len({job.id for job in jobs}) == 1
            await server.jobs.wait(jobs[0].id, 60)
            assert counting.begun == 1

    run(work())


@pytest.mark.parametrize(
    "changes",
    [
        {"experiment": "other"},
        {"images": ("b" * 32,)},
        {"network": "zfnet"},
        {"weights": "v"},
        {"options": {"stride": "5"}},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_another_question_is_another_job(tmp_path: Path, changes: dict[str, Any]) -> None:
    async def work() -> None:
        async with server_on(tmp_path) as server:
            assert server.jobs.identify(QUESTION) != server.jobs.identify(other(**changes))

    run(work())


def test_an_id_cannot_be_guessed_without_the_server_s_secret(tmp_path: Path) -> None:
    async def work() -> None:
        async with server_on(tmp_path / "one") as one, server_on(tmp_path / "two") as two:
            assert one.jobs.identify(QUESTION) != two.jobs.identify(QUESTION)

    run(work())


def test_the_same_question_is_answered_at_once_after_a_restart(tmp_path: Path) -> None:
    async def work() -> None:
        async with server_on(tmp_path) as server:
            first = await server.finish(Counting())
        async with server_on(tmp_path) as server:
            again = Counting()
            assert await server.ask(again) == first and not again.begun
            assert await server.jobs.result(first.id, "result.json") == b"3" * 10

    run(work())


def test_an_unfinished_job_has_no_result(tmp_path: Path) -> None:
    async def work() -> None:
        async with server_on(tmp_path) as server:
            counting = Counting(held_at=1)
            job = await server.ask(counting)
            with refused(JobUnfinished, match="its result comes later"):
                await server.jobs.result(job.id, "result.json")
            counting.held_at = None

    run(work())


def test_an_unknown_job_is_a_sentence_and_touches_no_file(tmp_path: Path) -> None:
    async def work() -> None:
        async with server_on(tmp_path) as server:
            for id in ("0" * 32, "../secret", "x" * 9999):
                with refused(NoSuchJob, match="run it again"):
                    await server.jobs.find(id)

    run(work())


# Ended before its end


def test_cancelling_ends_it_for_all_who_asked_and_asking_again_begins_it_again(
    tmp_path: Path,
) -> None:
    async def work() -> None:
        async with server_on(tmp_path) as server:
            counting = Counting(total=100, hold=0.02)
            job = await server.ask(counting)
            watcher = asyncio.ensure_future(server.jobs.wait(job.id, 60))
            await server.until(job.id, running)
            await server.jobs.cancel(job.id)
            assert (await watcher).state == "cancelled" and counting.taken < 100
            with refused(JobUnfinished, match="was cancelled"):
                await server.jobs.result(job.id, "result.json")
            assert (await server.finish(Counting())).state == "done"

    run(work())


def test_a_slow_disk_s_note_of_a_step_never_overtakes_the_note_of_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep, writing = JobFiles.keep, threading.Event()

    def slowly(files: JobFiles, job: Job, result: Mapping[str, bytes] | None = None) -> None:
        if job.state == "running" and job.done:
            writing.set()
            time.sleep(0.5)
        keep(files, job, result)

    async def work() -> None:
        async with server_on(tmp_path) as server:
            job = await server.ask(Counting(total=1000, hold=0.05))
            while not writing.is_set():
                await asyncio.sleep(0.01)
            await server.jobs.cancel(job.id)
            await asyncio.sleep(1.0)  # whatever is still being written is there
            assert (await server.jobs.find(job.id)).state == "cancelled"

    monkeypatch.setattr(JobFiles, "keep", slowly)
    run(work())


def test_a_job_cancelled_while_it_waits_never_begins(tmp_path: Path) -> None:
    async def work() -> None:
        async with server_on(tmp_path) as server:
            first, second = Counting(held_at=1), Counting()
            await server.ask(first)
            waits = await server.ask(second, other(network="b"))
            await server.jobs.cancel(waits.id)
            first.held_at = None
            assert (await server.jobs.find(waits.id)).state == "cancelled" and not second.begun

    run(work())


def test_cancelling_what_is_done_changes_nothing(tmp_path: Path) -> None:
    async def work() -> None:
        async with server_on(tmp_path) as server:
            job = await server.finish(Counting())
            await server.jobs.cancel(job.id)
            assert await server.jobs.find(job.id) == job

    run(work())


def test_why_a_job_failed_is_still_known_after_a_restart(tmp_path: Path) -> None:
    error = models.InvalidChoice("unit_outside", y=9, x=8, layer="c1", rows=3, columns=(4, 5))

    async def work() -> None:
        async with server_on(tmp_path) as server:
            job = await server.finish(Counting(error=error))
            assert job.state == "failed"
        async with server_on(tmp_path) as server:
            failure = (await server.jobs.find(job.id)).failure
            assert isinstance(failure, models.InvalidChoice)
            assert failure.reason == error.reason
            assert failure.fields == error.fields | {"columns": [4, 5]}
            with refused(JobUnfinished, match="unit 9,8 lies outside c1"):
                await server.jobs.result(job.id, "result.json")

    run(work())


def test_an_unforeseen_failure_is_logged_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def work() -> None:
        async with server_on(tmp_path) as server:
            job = await server.finish(Counting(error=RuntimeError("no")))
            assert isinstance(job.failure, JobFailed) and "RuntimeError: no" in caplog.text

    run(work())


def test_a_job_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    async def work() -> None:
        async with server_on(tmp_path, job_seconds=0.1) as server:
            job = await server.finish(Counting(total=1000, hold=0.02))
            assert isinstance(job.failure, JobOverdue) and job.done < 1000

    run(work())


def test_waiting_for_its_turn_is_not_counted_as_a_job_s_time(tmp_path: Path) -> None:
    async def work() -> None:
        async with server_on(tmp_path, job_seconds=2.0) as server:
            first, second = Counting(total=13, hold=0.1), Counting(total=13, hold=0.1)
            await server.ask(first)
            assert (await server.finish(second, other(network="b"))).state == "done"

    run(work())


# Bounded


def test_above_the_limit_of_jobs_the_next_is_told_when_to_ask_again(tmp_path: Path) -> None:
    async def work() -> None:
        async with server_on(tmp_path, job_limit=2) as server:
            counting = Counting(held_at=1)
            await server.ask(counting)
            await server.ask(Counting(), other(network="b"))
            with refused(JobsFull, match=r"ask again in \d+ s"):
                await server.ask(Counting(), other(network="c"))
            assert (await server.ask(counting)).id  # an equal question takes no place
            counting.held_at = None

    run(work())


def test_beyond_the_budget_the_oldest_results_leave_first(tmp_path: Path) -> None:
    async def work() -> None:
        async with server_on(tmp_path, result_bytes=5000) as server:
            ids = []
            for name in "abc":
                job = await server.finish(Counting(size=2000), other(network=name))
                ids.append(job.id)
                await asyncio.sleep(0.02)  # a file's time says which is older
            server.jobs.sweep()
            with refused(JobExpired, match="time is over"):
                await server.jobs.find(ids[0])
            assert (await server.jobs.find(ids[2])).state == "done"
            assert (await server.finish(Counting(size=1), other(network="a"))).state == "done"

    run(work())


@contextmanager
def files_up_to(nbytes: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (nbytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)


def test_a_result_for_which_the_disk_has_no_room_fails_in_a_sentence(tmp_path: Path) -> None:
    async def work() -> None:
        async with server_on(tmp_path) as server:
            with files_up_to(5000):
                job = await server.finish(Counting(size=9000))
            assert isinstance(job.failure, StorageFull)
            assert (await server.finish(Counting())).state == "done"

    run(work())


def test_a_job_that_cannot_be_written_down_is_refused(tmp_path: Path) -> None:
    async def work() -> None:
        async with server_on(tmp_path) as server:
            counting = Counting()
            with files_up_to(100), refused(StorageFull, match="disk"):
                await server.ask(counting)
            assert not counting.begun

    run(work())


def test_a_click_during_a_job_waits_for_one_step_at_most(tmp_path: Path) -> None:
    picture = Image.new("RGB", (40, 40), "navy")

    async def work() -> None:
        async with server_on(tmp_path) as server:
            engine, network = server.engine, await server.engine.network("lenet5")
            counting = Counting(total=10_000, hold=0.002)
            job = await server.ask(counting)
            await server.until(job.id, running)
            delays = []
            for name in "abcdef":  # photos that were never seen: a forward pass, then a walk
                before = counting.taken
                with engine.places.one():
                    await engine.see(Photo(name, name, "PNG", picture), network, models.Choice())
                    delays.append(counting.taken - before)
                await server.until(job.id, lambda job, before=before: job.done > before + 2)  # type: ignore[misc]
            assert max(delays) <= 1
            await server.jobs.cancel(job.id)

    run(work())


# Photos that are forgotten


def test_forgetting_a_photo_deletes_its_results_and_no_others(tmp_path: Path) -> None:
    async def work() -> None:
        async with server_on(tmp_path) as server:
            gone = await server.finish(Counting(), other(images=("b" * 32, "a" * 32)))
            stays = await server.finish(Counting(), other(images=("b" * 32,)))
            server.photos.remove("a" * 32)
            await server.jobs.forget("a" * 32)
            with pytest.raises(NoSuchJob):
                await server.jobs.find(gone.id)
            assert (await server.jobs.find(stays.id)).state == "done"

    run(work())


def test_forgetting_a_photo_ends_the_job_on_it_and_leaves_nothing(tmp_path: Path) -> None:
    async def work() -> None:
        async with server_on(tmp_path) as server:
            job = await server.ask(Counting(total=1000, hold=0.01))
            await server.until(job.id, running)
            server.photos.remove("a" * 32)
            await server.jobs.forget("a" * 32)
            with pytest.raises(NoSuchJob):
                await server.jobs.find(job.id)
            assert not list((tmp_path / "data" / "jobs").glob("*.zip"))

    run(work())


def test_a_photo_that_another_server_forgets_takes_the_job_on_it_along(tmp_path: Path) -> None:
    async def work() -> None:
        async with server_on(tmp_path) as one, server_on(tmp_path) as two:
            job = await one.ask(Counting(total=10_000, hold=0.01))
            await one.until(job.id, running)
            one.photos.remove("a" * 32)
            await two.jobs.forget("a" * 32)
            while one.jobs.holdings()["jobs"][1]:
                await asyncio.sleep(0.02)
            for server in (one, two):
                with pytest.raises(NoSuchJob):
                    await server.jobs.find(job.id)

    run(work())


def test_the_results_of_a_photo_whose_time_is_over_are_over_too(tmp_path: Path) -> None:
    async def work() -> None:
        async with server_on(tmp_path) as server:
            job = await server.finish(Counting())
            server.photos.clear()
            server.jobs.sweep()
            with pytest.raises(JobExpired):
                await server.jobs.find(job.id)

    run(work())


# Several servers on one folder


def test_a_second_server_shows_the_first_one_s_job_and_begins_no_other(tmp_path: Path) -> None:
    async def work() -> None:
        async with server_on(tmp_path) as one, server_on(tmp_path) as two:
            first, second = Counting(total=40, hold=0.02), Counting()
            job = await one.ask(first)
            assert (await two.ask(second)).id == job.id
            assert running(await two.until(job.id, running))
            assert (await two.jobs.wait(job.id, 60)).state == "done"
            assert await two.jobs.result(job.id, "result.json") == b"40" * 10
            assert not second.begun

    run(work())


def test_a_second_server_cancels_the_first_one_s_job(tmp_path: Path) -> None:
    async def work() -> None:
        async with server_on(tmp_path) as one, server_on(tmp_path) as two:
            job = await one.ask(Counting(total=10_000, hold=0.01))
            await two.jobs.cancel(job.id)
            assert (await one.jobs.wait(job.id, 60)).state == "cancelled"
            assert (await two.jobs.wait(job.id, 60)).state == "cancelled"
            assert (await two.finish(Counting())).state == "done"

    run(work())


KILLED = """
import asyncio, sys
from pathlib import Path
from tests.app.engine.test_jobs import Counting, server_on

async def work():
    async with server_on(Path(sys.argv[1])) as server:
        job = await server.ask(Counting(total=100_000, hold=0.01))
        async for now in server.jobs.watch(job.id):
            if now.done:
                print(job.id, flush=True)

asyncio.run(work())
"""


def test_a_job_whose_server_was_killed_says_so_and_can_be_run_again(tmp_path: Path) -> None:
    async def work() -> None:
        command = [sys.executable, "-c", KILLED, str(tmp_path)]
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)
        assert process.stdout
        async with server_on(tmp_path) as server:
            id = (await asyncio.to_thread(process.stdout.readline)).decode().strip()
            assert (await server.jobs.find(id)).state == "running"
            process.kill()
            process.communicate()
            job = await server.jobs.find(id)
            assert job.state == "failed" and isinstance(job.failure, JobLost)
            assert (await server.finish(Counting())).state == "done"
            assert (await server.jobs.find(id)).state == "done"

    run(work())


def test_a_job_that_a_stopping_server_leaves_says_so(tmp_path: Path) -> None:
    async def work() -> None:
        async with server_on(tmp_path) as server:
            job = await server.ask(Counting(total=10_000, hold=0.01))
            await server.until(job.id, running)
        async with server_on(tmp_path) as server:
            assert isinstance((await server.jobs.find(job.id)).failure, JobLost)
            await server.jobs.cancel(job.id)
            assert (await server.jobs.find(job.id)).state == "cancelled"

    run(work())


def test_a_damaged_job_is_run_again(tmp_path: Path) -> None:
    async def work() -> None:
        async with server_on(tmp_path) as server:
            job = await server.finish(Counting())
            file = server.jobs.files.path(job.id)
            file.write_bytes(file.read_bytes()[:50])
            with pytest.raises(NoSuchJob):
                await server.jobs.find(job.id)
            again = Counting()
            assert (await server.finish(again)).state == "done" and again.begun

    run(work())
