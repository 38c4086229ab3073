"""Long work: one job for all who ask the same, watched, cancelled, and kept with its result.

A server works on one job at a time, a step a turn on the device. What it is doing stands on disk,
so that it outlives a reload, and other servers on the same folder can show and cancel it.
"""

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import models
from app.engine.engine import SMOOTHING, Engine
from app.engine.job_files import Job, JobFiles, Question
from app.settings import Settings
from app.storage import ID, StorageFull, StorageRefused, derive_id, read_secret

log = logging.getLogger(__name__)

EVERY_SECONDS = 0.25
"""How often a job is looked at, and at most written down."""

REMEMBERED = 256
"""How many failures are remembered that the disk did not take."""

Run = Iterator[models.Progress | models.Result]
Begin = Callable[[], Coroutine[Any, Any, Run]]
"""Makes the generator that does a job's work, when its turn comes."""
Encode = Callable[[Any], Mapping[str, bytes]]
"""Writes a result as the files that are kept of it, by name."""


class NoSuchJob(models.DeconvnetError):
    """No job goes by that id."""


class JobExpired(models.DeconvnetError):
    """The job's result was kept for as long as promised, and is gone."""


class JobsFull(models.DeconvnetError):
    """Too many jobs are waiting; ``retry_after`` says in how many seconds to ask again."""


class JobUnfinished(models.DeconvnetError):
    """The job has no result: it is under way, or ended otherwise."""


class JobFailed(models.DeconvnetError):
    """A job ended for a reason that lies in this server."""


class JobLost(JobFailed):
    """The server that worked on the job ended before it."""


class JobOverdue(JobFailed):
    """The job took longer than the ``seconds`` that a job may."""


@dataclass
class _Work:
    """What this server has in hand of a job."""

    job: Job
    begin: Begin
    encode: Encode
    recorded: asyncio.Future[None] = field(default_factory=asyncio.Future)
    task: asyncio.Task[None] | None = None
    stoppable: bool = False
    cancelled: bool = False
    written: float = 0.0


class Jobs:
    """The jobs of one server, under ``data_dir/jobs``."""

    def __init__(
        self, settings: Settings, engine: Engine, has_photo: Callable[[str], bool]
    ) -> None:
        self.settings = settings
        self.files = JobFiles(
            settings.data_dir / "jobs", settings.upload_ttl, settings.result_bytes
        )
        self._engine, self._has_photo = engine, has_photo
        self._secret = read_secret(settings.data_dir / "secret")
        self._work: dict[str, _Work] = {}
        self._unwritten: dict[str, Job] = {}
        self._turn = asyncio.Semaphore(1)
        self._job_seconds = 10.0

    def identify(self, question: Question) -> str:
        """Derive a job's id from its question: the same question, the same id, not guessable."""
        return derive_id(self._secret, f"job {question.text()}".encode())

    async def ask(self, question: Question, begin: Begin, encode: Encode) -> Job:
        """Return the job that answers a question: done, under way, or begun now.

        What failed or was cancelled is begun again. Raises JobsFull, StorageFull, StorageRefused.
        """
        id = self.identify(question)
        with contextlib.suppress(NoSuchJob, JobExpired):
            known = await self.find(id)
            if known.state not in ("failed", "cancelled"):
                return known
        if id not in self._work:  # nor did anybody begin it meanwhile
            self._begin(_Work(Job(id, question), begin, encode))
        await asyncio.shield(self._work[id].recorded)
        return await self.find(id)

    def _begin(self, work: _Work) -> None:
        if len(self._work) >= self.settings.job_limit:
            limit, waiting = self.settings.job_limit, len(self._work)
            raise JobsFull(limit=limit, retry_after=math.ceil(waiting * self._job_seconds))
        self._unwritten.pop(work.job.id, None)
        self._work[work.job.id] = work
        work.task = asyncio.create_task(self._carry(work))

    async def find(self, id: str) -> Job:
        """Return a job as it is now; raises NoSuchJob or JobExpired.

        Where the server that worked on it ended before it, it has failed with JobLost.
        """
        if work := self._work.get(id):
            return work.job
        if failed := self._unwritten.get(id):
            return failed
        if not ID.fullmatch(id):
            raise NoSuchJob(id=id[:64])
        return await asyncio.to_thread(self._read, id)

    def _read(self, id: str) -> Job:
        if self.files.is_expired(id):
            raise JobExpired
        job = self.files.read(id)
        if job is None:
            raise NoSuchJob(id=id)
        if job.ended or self.files.is_claimed(id):
            return job
        job = self.files.read(id) or job  # it may have ended between the two looks
        return job if job.ended else job.to(state="failed", failure=JobLost())

    async def watch(self, id: str) -> AsyncIterator[Job]:
        """Yield a job as it is now and whenever it has changed, until it has ended."""
        last = None
        while last is None or not last.ended:
            job = await self.find(id)
            if job != last:
                yield job
            last = job
            await self._pause(id, last)

    async def _pause(self, id: str, job: Job) -> None:
        work = self._work.get(id)
        if work and work.task and not job.ended:
            await asyncio.wait({work.task}, timeout=EVERY_SECONDS)
        elif not job.ended:
            await asyncio.sleep(EVERY_SECONDS)

    async def wait(self, id: str, seconds: float) -> Job:
        """Return a job when it has ended, or as it is after so many seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                async for _ in self.watch(id):
                    pass
        return await self.find(id)

    async def result(self, id: str, name: str) -> bytes:
        """Return one file of a job's result; raises JobUnfinished, NoSuchJob, JobExpired."""
        job = await self.find(id)
        if job.state == "failed":
            raise JobUnfinished("failed", cause=job.failure)
        if job.state == "cancelled":
            raise JobUnfinished("cancelled")
        if job.state != "done":
            raise JobUnfinished("under_way", state=job.state, done=job.done, total=job.total)
        await asyncio.to_thread(self.files.touch, id)
        content = await asyncio.to_thread(self.files.entry, id, name)
        if content is None:
            raise NoSuchJob(id=id)
        return content

    async def cancel(self, id: str) -> None:
        """End a job for all who asked for it; what has ended stays as it is.

        Raises NoSuchJob or JobExpired.
        """
        job = await self.find(id)
        if work := self._work.get(id):
            await self._cancel(work)
        elif not job.ended:
            await asyncio.to_thread(self.files.ask_to_stop, id)
        elif isinstance(job.failure, JobLost):
            await asyncio.to_thread(self.files.keep, job.to(state="cancelled", failure=None))

    async def _cancel(self, work: _Work) -> None:
        self._stop(work)
        if work.task:
            await asyncio.wait({work.task})

    def _stop(self, work: _Work) -> None:
        """Cancel the work once; what is just being written down is let be."""
        work.cancelled = True
        if work.stoppable and work.task:
            work.stoppable = False
            work.task.cancel()

    async def forget(self, photo: str) -> None:
        """Delete every job on a photo with its result; the photo itself is already gone."""
        for work in [each for each in self._work.values() if photo in each.job.question.images]:
            await self._cancel(work)
        for id in [j.id for j in self._unwritten.values() if photo in j.question.images]:
            del self._unwritten[id]
        await asyncio.to_thread(self._forget, photo)

    def _forget(self, photo: str) -> None:
        for job in self.files.jobs():
            if photo in job.question.images:
                self.files.remove(job.id)

    def sweep(self) -> None:
        """Expire what is over, beyond the budget, or of photos that are gone."""
        self.files.sweep()
        for job in self.files.jobs():
            if not self._is_wanted(job):
                self.files.expire(job.id)

    def _is_wanted(self, job: Job) -> bool:
        return all(map(self._has_photo, job.question.images))

    def holdings(self) -> dict[str, tuple[str, float]]:
        """Count what is waiting: name to meaning and value."""
        return {
            "jobs": ("Jobs waiting or running.", len(self._work)),
            "job_places": ("Most jobs waiting or running.", self.settings.job_limit),
        }

    async def close(self) -> None:
        """Stop working; whoever asks for an unfinished job is told that its server ended."""
        tasks = {work.task for work in self._work.values() if work.task}
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    # One job's way

    async def _carry(self, work: _Work) -> None:
        """Carry a job from its record to its result, unless another server has just begun it."""
        id = work.job.id
        try:
            lock = await asyncio.to_thread(self.files.claim, id)
            if lock:
                try:
                    await self._carry_claimed(work)
                finally:
                    lock.release()
        except models.DeconvnetError as error:
            _tell(work.recorded, error)
        finally:
            _tell(work.recorded)
            del self._work[id]

    async def _carry_claimed(self, work: _Work) -> None:
        """Write down what comes of a job; raises StorageFull or StorageRefused before it begins."""
        await asyncio.to_thread(self.files.heed, work.job.id)  # what stopped an earlier one
        await asyncio.to_thread(self.files.keep, work.job)
        _tell(work.recorded)
        heeding = asyncio.create_task(self._heed(work))
        try:
            result, changes = await self._outcome(work)
        finally:
            heeding.cancel()
        await self._end(work.job.to(**changes), result)

    async def _outcome(self, work: _Work) -> tuple[Mapping[str, bytes], dict[str, Any]]:
        """Do a job's work; return the files of its result, and what has become of it."""
        work.stoppable = not work.cancelled
        try:
            if work.cancelled:
                raise asyncio.CancelledError
            return await self._compute(work), {"state": "done", "done": work.job.total}
        except asyncio.CancelledError:
            if not work.cancelled:  # the server stops
                raise
            return {}, {"state": "cancelled"}
        except models.DeconvnetError as error:
            return {}, {"state": "failed", "failure": error}
        except Exception:
            log.exception("job %s failed", work.job.id)
            return {}, {"state": "failed", "failure": JobFailed()}
        finally:
            work.stoppable = False

    async def _compute(self, work: _Work) -> Mapping[str, bytes]:
        """Do a job's work when its turn comes, step by step; return the files of its result."""
        seconds = self.settings.job_seconds
        async with self._turn:
            begun = time.monotonic()
            await self._note(work, state="running")
            try:
                async with asyncio.timeout(seconds):
                    run = await work.begin()
                    result = await self._engine.in_turns(run, lambda step: self._step(work, step))
                    return await self._engine.beside(lambda: work.encode(result))
            except TimeoutError:
                raise JobOverdue(seconds=seconds) from None
            finally:
                taken = time.monotonic() - begun
                self._job_seconds += SMOOTHING * (taken - self._job_seconds)

    async def _step(self, work: _Work, step: models.Progress | models.Result) -> None:
        """Note how far a job is, and let what people wait for go first."""
        if isinstance(step, models.Progress):
            await self._note(work, done=step.done, total=step.total, detail=step.detail)
        await self._engine.quiet()

    async def _note(self, work: _Work, **changes: Any) -> None:
        work.job, now = work.job.to(**changes), time.monotonic()
        if "state" in changes or now - work.written > EVERY_SECONDS:
            work.written = now
            with contextlib.suppress(StorageFull, StorageRefused):  # the next may be written
                await _whole(asyncio.to_thread(self.files.keep, work.job))

    async def _heed(self, work: _Work) -> None:
        """Cancel a job when another server is asked to, or its photo is gone."""
        while not await asyncio.to_thread(self._is_to_stop, work.job):
            await asyncio.sleep(EVERY_SECONDS)
        self._stop(work)

    def _is_to_stop(self, job: Job) -> bool:
        return self.files.is_to_stop(job.id) or not self._is_wanted(job)

    async def _end(self, job: Job, result: Mapping[str, bytes]) -> None:
        """Write down how a job ended, with its result; where its photo is gone, nothing stays."""
        try:
            await asyncio.to_thread(self.files.keep, job, result)
        except (StorageFull, StorageRefused) as error:
            job = job.to(state="failed", failure=error)
            await self._tell_failure(job)
        self._work[job.id].job = job
        with contextlib.suppress(StorageRefused):  # a read-only disk lets nothing be removed
            await asyncio.to_thread(self.files.heed, job.id)
            if not await asyncio.to_thread(self._is_wanted, job):
                await asyncio.to_thread(self.files.remove, job.id)

    async def _tell_failure(self, job: Job) -> None:
        """Write down why a job failed; where not even that can be kept, remember it."""
        try:
            await asyncio.to_thread(self.files.keep, job)
        except (StorageFull, StorageRefused):
            self._unwritten[job.id] = job
            while len(self._unwritten) > REMEMBERED:
                del self._unwritten[next(iter(self._unwritten))]


async def _whole(writing: Coroutine[Any, Any, None]) -> None:
    """Await what goes on in its thread when it is cancelled, so that nothing overtakes it."""
    task = asyncio.create_task(writing)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        raise


def _tell(recorded: asyncio.Future[None], error: Exception | None = None) -> None:
    """Tell who asked for a job that it is written down, or why it is not."""
    if recorded.done():
        return
    if error:
        recorded.set_exception(error)
    else:
        recorded.set_result(None)
