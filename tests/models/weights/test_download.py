"""Fetching from a server on loopback that cuts, lies and ignores; killed, in a race."""

import hashlib
import io
import random
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from models.errors import WeightsInvalid, WeightsMissing
from models.weights.download import Published, fetch, hash_of, is_whole, recorded_sha256
from models.weights.published import PUBLISHED
from tests.file_server import FileServer
from tests.refusals import refused

CONTENT = random.Random(1).randbytes(3_000_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def server() -> Iterator[FileServer]:
    with FileServer(CONTENT).running() as server:
        yield server


def offer_of(server: FileServer, digest: str = SHA256[:8], nbytes: int = len(CONTENT)) -> Published:
    return Published(server.url, "weights.pth", nbytes, digest, "MIT", "a test")


def fetched(server: FileServer, folder: Path) -> bytes:
    return fetch(offer_of(server), folder, pause=0).read_bytes()


def left_in(folder: Path) -> set[str]:
    return {file.name for file in folder.iterdir()} - {"weights.pth.lock"}


def leave(folder: Path, server: FileServer, content: bytes, version: str = '\\"one\\"') -> None:
    """Leave what a fetch that was interrupted leaves."""
    folder.mkdir(exist_ok=True)
    (folder / "weights.pth.part").write_bytes(content)
    note = f'{{"url": "{server.url}", "version": "{version}"}}'
    (folder / "weights.pth.part.json").write_text(note)


def test_a_file_arrives_whole_with_its_full_hash_beside_it(
    server: FileServer, tmp_path: Path
) -> None:
    assert fetched(server, tmp_path / "cache") == CONTENT
    assert left_in(tmp_path / "cache") == {"weights.pth", "weights.pth.sha256"}
    assert recorded_sha256(tmp_path / "cache" / "weights.pth") == SHA256


def test_the_recorded_hash_is_one_that_sha256sum_reads(server: FileServer, tmp_path: Path) -> None:
    fetched(server, tmp_path)
    command = ["sha256sum", "--check", "weights.pth.sha256"]
    assert subprocess.run(command, cwd=tmp_path, capture_output=True).returncode == 0


def test_a_file_that_is_there_is_not_fetched_again(server: FileServer, tmp_path: Path) -> None:
    fetched(server, tmp_path)
    assert fetched(server, tmp_path) == CONTENT
    assert len(server.asked) == 1


def test_a_file_put_there_by_hand_gets_its_hash_recorded(
    server: FileServer, tmp_path: Path
) -> None:
    (tmp_path / "weights.pth").write_bytes(CONTENT)
    assert fetched(server, tmp_path) == CONTENT
    assert recorded_sha256(tmp_path / "weights.pth") == SHA256 and not server.asked


def test_a_file_with_a_flipped_byte_is_fetched_again(server: FileServer, tmp_path: Path) -> None:
    fetched(server, tmp_path)
    flipped = bytes([CONTENT[0] ^ 1]) + CONTENT[1:]
    (tmp_path / "weights.pth").write_bytes(flipped)
    assert not is_whole(tmp_path / "weights.pth", offer_of(server))
    assert fetched(server, tmp_path) == CONTENT


def test_progress_is_told_up_to_the_last_byte(server: FileServer, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    fetch(offer_of(server), tmp_path, lambda done, total: told.append((done, total)))
    assert told == sorted(told)
    assert told[-1] == (len(CONTENT), len(CONTENT)) and told[0][0] == 0


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_connection_that_is_cut_is_taken_up_where_it_was(
    server: FileServer, tmp_path: Path, share: float
) -> None:
    server.cuts = [share]
    assert fetched(server, tmp_path) == CONTENT
    cut = int(len(CONTENT) * share)
    assert server.asked == [None, f"bytes={cut}-" if cut else None]
    assert server.sent == len(CONTENT)


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_server_that_always_cuts_there_is_given_up(
    server: FileServer, tmp_path: Path, share: float
) -> None:
    server.always_cut = share
    with refused(WeightsMissing, match=r"the connection ended after .* of 3,000,000 bytes"):
        fetched(server, tmp_path)
    assert "weights.pth" not in left_in(tmp_path)
    server.always_cut = None
    assert fetched(server, tmp_path) == CONTENT
    assert server.sent == len(CONTENT)


def test_a_server_that_ignores_ranges_gives_the_file_from_the_start(
    server: FileServer, tmp_path: Path
) -> None:
    server.ranges, server.cuts = False, [0.5]
    assert fetched(server, tmp_path) == CONTENT
    assert server.asked == [None, "bytes=1500000-"]


def test_another_version_of_the_file_is_never_pieced_together(
    server: FileServer, tmp_path: Path
) -> None:
    leave(tmp_path, server, b"x" * 1000, version='\\"zero\\"')
    assert fetched(server, tmp_path) == CONTENT
    assert server.sent == len(CONTENT)


@pytest.mark.parametrize("etag", [None, 'W/"weak"'])
def test_without_a_version_the_hash_decides_and_a_wrong_piece_is_fetched_anew(
    server: FileServer, tmp_path: Path, etag: str | None
) -> None:
    server.etag = etag
    leave(tmp_path, server, b"x" * 1000, version="")
    assert fetched(server, tmp_path) == CONTENT
    assert server.asked == ["bytes=1000-", None]


@pytest.mark.parametrize("kept", [0, 1, 1_499_999, 2_999_999, 3_000_000])
def test_an_interruption_at_any_byte_is_gone_on_from(
    server: FileServer, tmp_path: Path, kept: int
) -> None:
    leave(tmp_path, server, CONTENT[:kept])
    assert fetched(server, tmp_path) == CONTENT
    assert server.sent == len(CONTENT) - kept


def test_more_bytes_than_the_server_has_are_fetched_anew(
    server: FileServer, tmp_path: Path
) -> None:
    leave(tmp_path, server, CONTENT + b"more")
    assert fetched(server, tmp_path) == CONTENT


@pytest.mark.parametrize("note", ["", "[]", '{"url": 3}', '{"url": "http://elsewhere/"}'])
def test_a_beginning_of_unknown_origin_is_not_gone_on_from(
    server: FileServer, tmp_path: Path, note: str
) -> None:
    (tmp_path / "weights.pth.part").write_bytes(b"x" * 1000)
    (tmp_path / "weights.pth.part.json").write_text(note)
    assert fetched(server, tmp_path) == CONTENT
    assert server.asked == [None]


def test_a_length_that_is_a_lie_within_reason_is_settled_by_the_hash(
    server: FileServer, tmp_path: Path
) -> None:
    server.claim, server.ranges = len(CONTENT) + 1000, False
    assert fetched(server, tmp_path) == CONTENT


def test_no_length_at_all_is_no_obstacle(server: FileServer, tmp_path: Path) -> None:
    server.claim = -1
    assert fetched(server, tmp_path) == CONTENT


@pytest.mark.parametrize("claim", [5, 10**12])
def test_a_length_that_cannot_be_is_refused_before_anything_is_downloaded(
    server: FileServer, tmp_path: Path, claim: int
) -> None:
    server.claim = claim
    with refused(WeightsInvalid, match=f"has {claim:,} bytes where 3,000,000 were published"):
        fetched(server, tmp_path)
    assert left_in(tmp_path) == set()


def test_a_file_without_an_end_is_left_at_its_size(server: FileServer, tmp_path: Path) -> None:
    server.content, server.claim = CONTENT * 3, -1
    with refused(WeightsInvalid, match="does not end where it should"):
        fetched(server, tmp_path)
    assert server.sent < 2 * len(CONTENT)


def test_a_web_page_is_not_taken_for_the_file_and_spoils_nothing(
    server: FileServer, tmp_path: Path
) -> None:
    server.cuts = [0.5]
    server.always_cut = 0.5
    with pytest.raises(WeightsMissing):
        fetched(server, tmp_path)
    server.kind, server.content, server.etag = "text/html", b"<h1>Log in</h1>", None
    server.ranges, server.always_cut = False, None
    with refused(WeightsInvalid, match="a web page came instead"):
        fetched(server, tmp_path)
    assert (tmp_path / "weights.pth.part").stat().st_size == 1_500_000


def test_another_file_is_refused_by_its_hash(server: FileServer, tmp_path: Path) -> None:
    server.content = CONTENT[:-1] + b"?"
    with refused(WeightsInvalid, match="its hash is not"):
        fetched(server, tmp_path)
    assert left_in(tmp_path) == set()


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_server_without_the_file_is_asked_once(
    server: FileServer, tmp_path: Path, status: int
) -> None:
    server.status = status
    with refused(WeightsMissing, match=f"the server answered {status}"):
        fetched(server, tmp_path)
    assert len(server.asked) == 1


def test_a_server_in_trouble_is_asked_again(server: FileServer, tmp_path: Path) -> None:
    server.status = 503
    with refused(WeightsMissing, match="the server answered 503"):
        fetched(server, tmp_path)
    assert len(server.asked) > 1


def test_a_server_that_is_not_there_is_reported_at_once(tmp_path: Path) -> None:
    offer = Published("http://127.0.0.1:9/weights.pth", "weights.pth", 9, "00", "MIT", "a test")
    start = time.monotonic()
    with refused(WeightsMissing, match="cannot be reached"):
        fetch(offer, tmp_path)
    assert time.monotonic() - start < 1


def test_a_silent_server_is_left_at_the_deadline(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("models.weights.download.SECONDS", 0.1)
    server.silent, server.seconds = True, 0.4
    with refused(WeightsMissing, match="timed out"):
        fetched(server, tmp_path)


def packed(method: int = zipfile.ZIP_DEFLATED, name: str = "weights.pth") -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        archive.writestr(name, CONTENT)
    return file.getvalue()


def packed_offer(server: FileServer) -> Published:
    server.path = "/weights.pth.zip"
    return offer_of(server, f"sha1:{hashlib.sha1(CONTENT).hexdigest()}")


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("cuts", [[], [0.0, 0.5, 0.99]])
def test_a_packed_file_is_unpacked_and_checked_by_its_whole_sha1(
    server: FileServer, tmp_path: Path, method: int, cuts: list[float]
) -> None:
    server.content, server.cuts = packed(method), cuts
    assert fetch(packed_offer(server), tmp_path, pause=0).read_bytes() == CONTENT
    assert left_in(tmp_path) == {"weights.pth", "weights.pth.sha256"}
    assert recorded_sha256(tmp_path / "weights.pth") == SHA256


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (packed()[:-50], "damaged archive"),
        (packed(name="readme.txt"), "does not hold one weights file"),
        (b"PK", "damaged archive"),
        (packed()[:2000] + b"??" + packed()[2002:], "damaged archive|hash"),
    ],
)
def test_a_packed_file_that_is_another_leaves_nothing(
    server: FileServer, tmp_path: Path, content: bytes, sentence: str
) -> None:
    server.content = content
    with refused(WeightsInvalid, match=sentence):
        fetch(packed_offer(server), tmp_path, pause=0)
    assert left_in(tmp_path) == set()


def test_an_archive_that_would_grow_without_end_is_not_unpacked(
    server: FileServer, tmp_path: Path
) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("weights.pth", bytes(100_000_000))
    server.content = file.getvalue()
    with refused(WeightsInvalid, match="does not hold one weights file"):
        fetch(packed_offer(server), tmp_path, pause=0)
    assert left_in(tmp_path) == set()


# processes

FETCH = """
import sys, resource, signal
from pathlib import Path
from app.web.sentences import sentence
from models import DeconvnetError
from models.weights.download import fetch
from models.weights.published import Published
url, folder, digest, limit = sys.argv[1:]
if int(limit):
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))
offer = Published(url, "weights.pth", 3_000_000, digest, "MIT", "a test")
try:
    print(fetch(offer, Path(folder), pause=0))
except DeconvnetError as error:
    sys.exit(sentence(error))
"""


def begin(server: FileServer, folder: Path, limit: int = 0) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", FETCH, server.url, str(folder), SHA256[:8], str(limit)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for(file: Path, size: int) -> None:
    deadline = time.monotonic() + 60
    while not (file.exists() and file.stat().st_size >= size):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_fetch_killed_midway_is_gone_on_from_by_the_next(
    server: FileServer, tmp_path: Path
) -> None:
    part, server.seconds = tmp_path / "weights.pth.part", 0.05
    for size in (500_000, 1_500_000):
        process = begin(server, tmp_path)
        wait_for(part, size)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert not (tmp_path / "weights.pth").exists()
    kept, server.seconds = part.stat().st_size, 0.0
    assert fetched(server, tmp_path) == CONTENT
    assert server.asked[-1] == f"bytes={kept}-"


def test_processes_that_fetch_at_once_fetch_once(server: FileServer, tmp_path: Path) -> None:
    server.seconds = 0.02
    processes = [begin(server, tmp_path) for _ in range(2)]
    for process in processes:
        said, complaints = process.communicate(timeout=120)
        assert process.returncode == 0, complaints
        assert said.strip() == str(tmp_path / "weights.pth")
    assert server.asked == [None]
    assert hash_of(tmp_path / "weights.pth") == SHA256


def test_one_that_waits_goes_on_where_the_one_that_was_killed_stopped(
    server: FileServer, tmp_path: Path
) -> None:
    part, server.seconds = tmp_path / "weights.pth.part", 0.2
    first = begin(server, tmp_path)
    wait_for(part, 1)
    told: list[int] = []
    waiting = threading.Thread(
        target=fetch, args=(offer_of(server), tmp_path, lambda done, total: told.append(done))
    )
    waiting.start()
    wait_for(part, 500_000)
    first.kill()
    first.communicate()
    server.seconds = 0.0
    waiting.join(60)
    assert (tmp_path / "weights.pth").read_bytes() == CONTENT
    assert len(server.asked) == 2 and told == sorted(told)
    assert int(str(server.asked[1]).removeprefix("bytes=").removesuffix("-")) >= 500_000


def test_threads_that_fetch_at_once_fetch_once_and_see_how_far_it_is(
    server: FileServer, tmp_path: Path
) -> None:
    server.seconds = 0.02
    told: list[list[int]] = [[], []]
    threads = [
        threading.Thread(
            target=fetch, args=(offer_of(server), tmp_path, lambda done, total, t=t: t.append(done))
        )
        for t in told
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert server.asked == [None]
    assert all(len(set(t)) > 2 for t in told)


def test_a_full_disk_is_a_sentence_and_what_arrived_is_kept(
    server: FileServer, tmp_path: Path
) -> None:
    process = begin(server, tmp_path, limit=1_000_000)
    _, complaints = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "no room for its 3 MB" in complaints and "Traceback" not in complaints
    assert (tmp_path / "weights.pth.part").stat().st_size == 1_000_000
    assert fetched(server, tmp_path) == CONTENT
    assert server.asked == [None, "bytes=1000000-"]


def test_a_disk_too_small_is_noticed_before_anything_is_downloaded(
    server: FileServer, tmp_path: Path
) -> None:
    huge = 10**17
    server.claim = -1
    offer = offer_of(server, nbytes=huge)
    with refused(WeightsMissing, match="there is no room"):
        fetch(offer, tmp_path, pause=0)
    assert "weights.pth.part" not in left_in(tmp_path)


def test_a_file_where_the_folder_should_be_is_a_sentence(
    server: FileServer, tmp_path: Path
) -> None:
    (tmp_path / "cache").write_text("")
    with refused(WeightsMissing, match="could not be written"):
        fetched(server, tmp_path / "cache")


def test_what_tell_raises_stops_the_fetch_and_the_next_goes_on(
    server: FileServer, tmp_path: Path
) -> None:
    class Stop(Exception):
        pass

    def on_progress(done: int, total: int) -> None:
        if done > 1_000_000:
            raise Stop

    with pytest.raises(Stop):
        fetch(offer_of(server), tmp_path, on_progress)
    kept = (tmp_path / "weights.pth.part").stat().st_size
    assert kept > 1_000_000
    assert fetched(server, tmp_path) == CONTENT
    assert server.asked == [None, f"bytes={kept}-"]


@pytest.mark.parametrize("offer", PUBLISHED.values(), ids=PUBLISHED)
def test_what_is_published_says_where_how_large_and_whose(offer: Published) -> None:
    assert offer.url.startswith("https://") and offer.filename in offer.url
    assert offer.nbytes > 100_000_000 and offer.licence and offer.description
    assert int(offer.digest.rpartition(":")[2], 16)
    assert len(offer.digest) == (45 if offer.is_packed else 8)
