"""Jobs on disk: what was asked, how far it is, who works on it, and what came out."""

import contextlib
import io
import json
import os
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout

import models
from app.storage import FileStore, disk_errors, remove_stale

State = Literal["queued", "running", "done", "failed", "cancelled"]

RECORD = "job.json"
"""The entry of a job's file that says what it is and how far; the others are its result."""
DAMAGED = (zipfile.BadZipFile, ValueError, KeyError, TypeError, EOFError)
"""What reading a file raises that is not as it was written."""


@dataclass(frozen=True)
class Question:
    """What a job answers: equal questions are one job.

    ``images`` are ids of photos, ``weights`` the SHA-256 of the network's weights, ``options`` what
    differs from the experiment's defaults, as text; among them are the names of registered folders,
    and ``content`` is a fingerprint of what these hold.
    """

    experiment: str
    images: tuple[str, ...] = ()
    network: str = ""
    weights: str = ""
    options: Mapping[str, str] = field(default_factory=dict)
    content: str = ""

    def text(self) -> str:
        """Write it in one way only, with the method that would answer it today."""
        return json.dumps(asdict(self) | {"method": models.METHOD}, sort_keys=True)


@dataclass(frozen=True)
class Job:
    """Long work: what it answers and how far it is; ``failure`` says why it failed."""

    id: str
    question: Question
    state: State = "queued"
    done: int = 0
    total: int = 0
    detail: str = ""
    failure: models.DeconvnetError | None = None

    @property
    def ended(self) -> bool:
        """Tell whether nothing more happens to it."""
        return self.state not in ("queued", "running")

    def to(self, **changes: Any) -> "Job":
        """Return it as it is after these changes."""
        return replace(self, **changes)


class JobFiles(FileStore):
    """The jobs of a folder, each a ZIP of its record and its result.

    The server that works on a job holds a lock beside it, which its death frees.
    """

    def __init__(self, folder: Path, ttl: float, budget: int) -> None:
        super().__init__(folder, ".zip", ttl, budget)

    def read(self, id: str) -> Job | None:
        """Read how far a job was when it was last written; None where it is not, or is damaged."""
        content = self.entry(id, RECORD)
        with contextlib.suppress(*DAMAGED):
            return _job(json.loads(content)) if content else None
        return None

    def entry(self, id: str, name: str) -> bytes | None:
        """Read one entry of a job's file; None where it is not there, or is damaged."""
        with disk_errors(), contextlib.suppress(FileNotFoundError, *DAMAGED):
            with zipfile.ZipFile(self.path(id)) as file:
                return file.read(name)
        return None

    def keep(self, job: Job, result: Mapping[str, bytes] | None = None) -> None:
        """Write how far a job is, and its result; raises StorageFull or StorageRefused."""
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr(zipfile.ZipInfo(RECORD), json.dumps(_document(job)))
            for name, content in (result or {}).items():
                archive.writestr(zipfile.ZipInfo(name), content)
        self.write(job.id, (file.getvalue(),))

    def jobs(self) -> Iterator[Job]:
        """Yield every job that is held."""
        for id in list(self.names()):
            if job := self.read(id):
                yield job

    def expire(self, id: str) -> None:
        """End a job's time."""
        with contextlib.suppress(FileNotFoundError):
            os.truncate(self.path(id), 0)

    # Who works on it

    def claim(self, id: str) -> FileLock | None:
        """Take a job to work on until the lock is released; None where somebody works on it.

        Raises StorageFull or StorageRefused.
        """
        lock = FileLock(self.folder / f"{id}.lock", timeout=0, thread_local=False)
        with disk_errors():
            self.folder.mkdir(parents=True, exist_ok=True)
            try:
                lock.acquire()
            except Timeout:  # which is an OSError too
                return None
        return lock

    def is_claimed(self, id: str) -> bool:
        """Tell whether a server that lives works on a job."""
        lock = self.claim(id)
        if lock is not None:
            lock.release()
        return lock is None

    def ask_to_stop(self, id: str) -> None:
        """Ask whichever server works on a job to stop."""
        with disk_errors():
            self._stop(id).touch()

    def is_to_stop(self, id: str) -> bool:
        """Tell whether somebody asked for a job to be stopped."""
        return self._stop(id).exists()

    def heed(self, id: str) -> None:
        """Note that who asked for a job to be stopped was heard."""
        if self.is_to_stop(id):
            with disk_errors():
                self._stop(id).unlink(missing_ok=True)

    def _stop(self, id: str) -> Path:
        return self.folder / f"{id}.stop"

    def sweep(self) -> None:
        """Expire what is over, and remove what was left lying beside the jobs."""
        super().sweep()
        remove_stale(self.folder, ".stop")
        remove_stale(self.folder, ".lock", unless=lambda file: self.is_claimed(file.stem))


def _document(job: Job) -> dict[str, Any]:
    failure = job.failure
    written = failure and {
        "error": type(failure).__name__,
        "reason": failure.reason,
        "fields": {name: _plain(value) for name, value in failure.fields.items()},
    }
    return asdict(replace(job, failure=None)) | {"failure": written}


def _plain(value: object) -> object:
    """Return what JSON can hold of a field."""
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value if isinstance(value, str | int | float | None) else str(value)


def _job(document: dict[str, Any]) -> Job:
    question = document["question"]
    images = tuple(question["images"])
    failure = document["failure"] and _failure(**document["failure"])
    return Job(
        **document | {"question": Question(**question | {"images": images}), "failure": failure}
    )


def _failure(error: str, reason: str, fields: dict[str, object]) -> models.DeconvnetError:
    kind = next(each for each in _kinds(models.DeconvnetError) if each.__name__ == error)
    failure = kind.__new__(kind)
    models.DeconvnetError.__init__(failure, reason, **fields)
    return failure


def _kinds(kind: type[models.DeconvnetError]) -> Iterator[type[models.DeconvnetError]]:
    yield kind
    for each in kind.__subclasses__():
        yield from _kinds(each)
