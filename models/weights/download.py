"""Fetch a published file: go on after any interruption, check it whole, rename it at once.

Beside ``<file>`` may lie ``<file>.part`` (what has arrived), ``<file>.part.json`` (of which version
of the file that is), ``<file>.lock`` (who fetches), and ``<file>.sha256`` (the whole hash of what
was fetched, as ``sha256sum -c`` reads it).
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from lzma import LZMAError
from pathlib import Path
from typing import IO, TypeAlias, cast
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from filelock import FileLock

from models.errors import DeconvnetError, WeightsError, WeightsInvalid, WeightsMissing

SECONDS = 5.0
"""Deadline of connecting, and of each silence after that."""
ATTEMPTS = 4
"""Attempts in a row that bring nothing new, after which a fetch gives up."""
CHUNK = 1 << 18
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
WORTH_ANOTHER = {408, 429, 500, 502, 503, 504}

OnProgress: TypeAlias = Callable[[int, int], None]
"""Told how many bytes have arrived, of how many; what it raises stops the fetch."""


@dataclass(frozen=True)
class Published:
    """Weights that somebody has published."""

    url: str
    """Where the file is, or with ``.zip`` at its end an archive of it."""
    filename: str
    nbytes: int
    """The file's size, give or take a thousandth."""
    digest: str
    """The first hex digits of the SHA-256, or with ``sha1:`` before it a whole SHA-1."""
    licence: str
    description: str
    publisher: str = "hub"

    @property
    def is_packed(self) -> bool:
        """Does the file come inside an archive?"""
        return self.url.endswith(".zip")

    @property
    def most_bytes(self) -> int:
        """Return the size beyond which a file cannot be this one."""
        return self.nbytes + self.nbytes // 1000 + 4096


class TransferError(DeconvnetError):
    """A transfer that did not bring the published file."""


class OtherFile(TransferError):
    """What came is not the published file."""


class Cut(TransferError):
    """The connection ended before the file did; another may bring the rest."""


class NoAnswer(Cut):
    """Nobody answered at all."""


class Refused(TransferError):
    """The server answered that it will not give the file."""


def fetch(
    offer: Published,
    folder: Path,
    on_progress: OnProgress = lambda done, total: None,
    *,
    pause: float = 1.0,
) -> Path:
    """Fetch a file into a folder and return its path; where it is whole already, do nothing.

    Goes on with what an interrupted fetch left; waits while another process fetches the same.
    Raises WeightsMissing where the file cannot be had, WeightsInvalid where it is not the one.
    """
    target, part = folder / offer.filename, _Part(folder / Path(offer.url).name, offer.url)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _alone(folder / f"{offer.filename}.lock", part, offer, on_progress):
            if not is_whole(target, offer):
                _bring(offer, part, target, on_progress, pause)
            elif recorded_sha256(target) is None:
                record_sha256(target, target)
    except OSError as error:
        raise unwritten(offer.filename, offer.nbytes, folder, error) from error
    return target


def is_whole(file: Path, offer: Published) -> bool:
    """Is the file there, and the published one as far as its digest is known?"""
    return file.is_file() and _matches(file, offer)


def recorded_sha256(file: Path) -> str | None:
    """Return the whole hash that was recorded when the file was fetched."""
    try:
        return _beside(file).read_text().split()[0]
    except (OSError, IndexError):
        return None


def hash_of(file: Path, algorithm: str = "sha256") -> str:
    """Hash a file's content."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, algorithm).hexdigest()


def _matches(file: Path, offer: Published) -> bool:
    algorithm, _, digest = offer.digest.rpartition(":")
    return hash_of(file, algorithm or "sha256").startswith(digest)


def record_sha256(target: Path, content: Path) -> None:
    """Write beside a file the whole hash of what it holds, or is about to."""
    _beside(target).write_text(f"{hash_of(content)}  {target.name}\n")


def _beside(file: Path) -> Path:
    return file.with_name(f"{file.name}.sha256")


@contextmanager
def _alone(lock: Path, part: _Part, offer: Published, on_progress: OnProgress) -> Iterator[None]:
    """Wait for our turn, telling what the process before us has got."""

    def look() -> bool:
        on_progress(part.size, offer.nbytes)
        return False

    with FileLock(lock, poll_interval=0.2).acquire(cancel_check=look):
        yield


def _bring(
    offer: Published, part: _Part, target: Path, on_progress: OnProgress, pause: float
) -> None:
    """Download what is missing; what was pieced together wrongly is fetched once more."""
    resumed = part.size > 0
    _download(offer, part, on_progress, pause)
    try:
        _finish(offer, part, target)
    except WeightsInvalid:
        part.discard()
        if not resumed:
            raise
        _bring(offer, part, target, on_progress, pause)


def _download(offer: Published, part: _Part, on_progress: OnProgress, pause: float) -> None:
    first = most = part.size
    failures = 0
    while True:
        try:
            return _continue(offer, part, on_progress)
        except Refused as reason:
            raise _not_fetched(offer, reason) from reason
        except Cut as reason:
            failures = 0 if part.size > most else failures + 1
            most = max(most, part.size)
            if failures == ATTEMPTS or (isinstance(reason, NoAnswer) and most == first):
                if _is_all(offer, part):
                    return
                raise _not_fetched(offer, reason) from reason
        time.sleep(pause * 2**failures)


def _is_all(offer: Published, part: _Part) -> bool:
    """Has the whole file arrived, whatever length the server claimed?"""
    if not part.size:
        return False
    return zipfile.is_zipfile(part.file) if offer.is_packed else _matches(part.file, offer)


def _continue(offer: Published, part: _Part, on_progress: OnProgress) -> None:
    """Ask for what is missing and append it; raises Cut, Refused, WeightsInvalid."""
    with _ask(offer, part) as answer:
        start, whole = _span(answer, part)
        if answer.status == 416:
            return
        _refuse(offer, answer, whole)
        total = whole or offer.nbytes
        _make_room(offer, part.file.parent, total - start)
        part.take_up(answer, start)
        done = _append(offer, part, answer, start, lambda done: on_progress(done, total))
    if whole is not None and done < whole:
        raise Cut("ended_early", done=done, whole=whole)


def _append(
    offer: Published,
    part: _Part,
    answer: HTTPResponse,
    start: int,
    on_progress: Callable[[int], None],
) -> int:
    """Write what comes from byte ``start`` on; return how many bytes there are then."""
    with part.file.open("r+b", buffering=0) as file:
        file.truncate(start)
        file.seek(start)
        on_progress(start)
        for chunk in _chunks(answer):
            file.write(chunk)
            on_progress(file.tell())
            if file.tell() > offer.most_bytes:
                raise _not_fetched(offer, OtherFile("no_end"))
        return file.tell()


@contextmanager
def _ask(offer: Published, part: _Part) -> Iterator[HTTPResponse]:
    headers = {"User-Agent": "deconvnet", "Accept-Encoding": "identity", **part.condition()}
    try:
        with urlopen(Request(offer.url, headers=headers), timeout=SECONDS) as answer:
            if offer.url.startswith("https:") and not answer.url.startswith("https:"):
                raise Refused("unencrypted")
            yield cast(HTTPResponse, answer)
    except HTTPError as error:
        if error.code == 416:
            with error:
                yield cast(HTTPResponse, error)
            return
        error.close()
        failure = Cut if error.code in WORTH_ANOTHER else Refused
        raise failure("status", status=error.code, phrase=str(error.reason)) from error
    except URLError as error:
        raise NoAnswer("unreachable", why=str(error.reason)) from error
    except (HTTPException, ConnectionError, TimeoutError) as error:
        raise _broken(error) from error


def _chunks(answer: HTTPResponse) -> Iterator[bytes]:
    try:
        while chunk := answer.read1(CHUNK):
            yield chunk
    except OSError as error:  # told apart from the disk's, which the caller meets
        raise _broken(error) from error


def _span(answer: HTTPResponse, part: _Part) -> tuple[int, int | None]:
    """Say from which byte an answer goes on, and how many the whole has where that is told."""
    answered = answer.headers.get("Content-Range", "")
    if answer.status == 416:
        found = re.fullmatch(r"bytes \*/(\d{1,15})", answered)
        if found and int(found[1]) == part.size:
            return part.size, part.size
        part.discard()
        raise Cut("fewer_bytes")
    if answer.status == 206:
        found = re.fullmatch(r"bytes (\d{1,15})-\d{1,15}/(\d{1,15}|\*)", answered)
        if not found or int(found[1]) > part.size or part.is_of_another(answer):
            part.discard()
            raise Cut("other_part")
        return int(found[1]), None if found[2] == "*" else int(found[2])
    length = answer.headers.get("Content-Length", "")
    return 0, int(length) if re.fullmatch(r"\d{1,15}", length) else None


def _refuse(offer: Published, answer: HTTPResponse, size: int | None) -> None:
    """Refuse before downloading what cannot be the file."""
    if answer.headers.get_content_type() in {"text/html", "application/xhtml+xml"}:
        raise _not_fetched(offer, OtherFile("web_page"))
    least = 0 if offer.is_packed else 2 * offer.nbytes - offer.most_bytes
    if size is not None and not least <= size <= offer.most_bytes:
        raise _not_fetched(offer, OtherFile("other_size", size=size, published=offer.nbytes))


def _make_room(offer: Published, folder: Path, missing: int) -> None:
    missing += offer.nbytes if offer.is_packed else 0
    if shutil.disk_usage(folder).free < missing:
        raise OSError(errno.ENOSPC, f"{missing:,} bytes are missing")


@dataclass(frozen=True)
class _Part:
    """What has arrived of a file, and which version of it that is."""

    whole: Path
    url: str

    @property
    def file(self) -> Path:
        return self.whole.with_name(f"{self.whole.name}.part")

    @property
    def note(self) -> Path:
        return self.whole.with_name(f"{self.whole.name}.part.json")

    @property
    def size(self) -> int:
        try:
            return self.file.stat().st_size
        except FileNotFoundError:
            return 0

    def version(self) -> str | None:
        """Return the version noted, "" where the server names none; None where nothing fits."""
        try:
            noted = json.loads(self.note.read_text())
            return str(noted["version"]) if noted["url"] == self.url else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def condition(self) -> dict[str, str]:
        """Ask for the rest, where there is a beginning of this file."""
        version = self.version()
        if not self.size or version is None:
            return {}
        asked = {"Range": f"bytes={self.size}-"}
        return asked | ({"If-Range": version} if version else {})

    def is_of_another(self, answer: HTTPResponse) -> bool:
        return _version(answer) not in {"", self.version()}

    def take_up(self, answer: HTTPResponse, start: int) -> None:
        """Keep the first bytes, or begin anew and note which version comes now."""
        if start == 0:
            self.discard()
            noted = json.dumps({"url": self.url, "version": _version(answer)})
            self.note.write_text(noted)
            self.file.touch()

    def discard(self) -> None:
        self.file.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)


def _version(answer: HTTPResponse) -> str:
    """Return what If-Range takes: a strong ETag, or a date."""
    etag = answer.headers.get("ETag", "")
    return etag if etag.startswith('"') else answer.headers.get("Last-Modified", "")


def _finish(offer: Published, part: _Part, target: Path) -> None:
    """Check what arrived and give it its name; raises WeightsInvalid."""
    ready = part.file
    if offer.is_packed:
        ready = target.with_name(f"{target.name}.unpacked")
        unpack(part.file, ready, ".pth", offer.most_bytes)
    if not _matches(ready, offer):
        ready.unlink()
        raise _not_fetched(offer, OtherFile("other_hash", digest=offer.digest))
    with ready.open("rb") as file:
        os.fsync(file.fileno())
    record_sha256(target, ready)
    ready.replace(target)
    part.discard()


def unpack(archive: Path, target: Path, ending: str, most_bytes: int) -> None:
    """Take the one file of an ending out of an archive; raises WeightsInvalid for any other."""
    try:
        with zipfile.ZipFile(archive) as entries:
            inside = [entry for entry in entries.infolist() if entry.filename.endswith(ending)]
            if len(inside) != 1 or inside[0].file_size > most_bytes:
                raise WeightsInvalid("not_one_file", file=archive.name, ending=ending)
            with entries.open(inside[0]) as source, target.open("wb") as file:
                _copy(source, file, most_bytes)
    except (zipfile.BadZipFile, zlib.error, LZMAError, EOFError, RuntimeError) as error:
        target.unlink(missing_ok=True)
        raise WeightsInvalid("damaged_archive", file=archive.name, cause=error) from error
    except OSError:
        target.unlink(missing_ok=True)
        raise


def _copy(source: IO[bytes], file: IO[bytes], most_bytes: int) -> None:
    """Copy no more than the directory of the archive promised."""
    while chunk := source.read(CHUNK):
        file.write(chunk)
        if file.tell() > most_bytes:
            raise zipfile.BadZipFile("it holds more than it says")


def _broken(error: Exception) -> Cut:
    return Cut("broken", why=str(error) or type(error).__name__)


def _not_fetched(offer: Published, cause: TransferError) -> WeightsError:
    """Say of which file a transfer failed: what came is not it, or nothing could be had."""
    failure = WeightsInvalid if isinstance(cause, OtherFile) else WeightsMissing
    return failure("no_fetch", file=offer.filename, url=offer.url, cause=cause)


def unwritten(name: str, nbytes: int, folder: Path, error: OSError | None) -> WeightsMissing:
    """Say why a file cannot be written: for want of ``nbytes``, where there is no other error."""
    where = {"file": name, "folder": str(folder)}
    if error is None or error.errno in FULL:
        return WeightsMissing("no_room", **where, nbytes=nbytes)
    return WeightsMissing("not_written", **where, cause=error)
