"""The gate for photos, in this process: what else runs in children only, and the rarest turns."""

import asyncio
import io
import os
import resource
import stat
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from app.photos import decoding
from app.photos import store as stores
from app.photos.decoders import DecoderLost, Decoders
from app.photos.decoding import (
    Limits,
    PhotoTooLarge,
    UnreadablePhoto,
    decode,
    decode_picture,
    decode_within,
)
from app.photos.samples import SAMPLES, read_sample
from app.photos.store import PhotoStore, decode_into
from app.photos.uploads import NoSuchPhoto, Uploads, read_photo_file, sweep_forever
from app.storage import StorageRefused
from tests.refusals import refused
from tests.serving import photo, settings_in


@pytest.mark.parametrize(
    ("hard", "memory", "processor"),
    [(resource.RLIM_INFINITY, 7_000_000, 20), (5_000_000, 5_000_000, 20), (10, 10, 10)],
    ids=["nothing is limited yet", "memory is", "both are"],
)
def test_a_decoding_process_confines_itself_within_what_it_may(
    monkeypatch: pytest.MonkeyPatch, hard: int, memory: int, processor: int
) -> None:
    asked: dict[int, tuple[int, int]] = {}
    closed: list[int] = []
    monkeypatch.setattr(resource, "getrlimit", lambda limit: (hard, hard))
    monkeypatch.setattr(resource, "setrlimit", asked.__setitem__)
    monkeypatch.setattr(os, "dup2", lambda old, new: closed.append(new))
    spent = resource.getrusage(resource.RUSAGE_SELF)
    pixels = decode_within(photo(60, 40), Limits(seconds=5, memory=7_000_000))
    assert (pixels.width, pixels.height) == (60, 40) and closed == [2]
    assert asked[resource.RLIMIT_DATA] == (memory, hard)
    soft, kept = asked[resource.RLIMIT_CPU]
    already = spent.ru_utime + spent.ru_stime if processor == 20 else 0
    assert kept == hard and processor + already <= soft <= processor + already + 2


def test_a_process_that_goes_on_with_the_photo_gets_its_pixels_as_a_picture(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    confined: list[Limits] = []
    monkeypatch.setattr(decoding, "_confine", confined.append)
    monkeypatch.setattr(decoding, "_silence", lambda: None)
    picture, pixels = decode_picture(photo(60, 40), Limits()), decode(photo(60, 40), Limits())
    assert picture.size == (60, 40) and picture.tobytes() == pixels.data
    assert confined == [Limits()]


def test_a_decoder_that_runs_out_of_memory_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object, **named: object) -> None:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(Image, "open", full)
        with refused(PhotoTooLarge, match="memory"):
            decode(photo(), Limits())


def test_a_canvas_of_no_pixels_is_no_photo() -> None:
    empty = b"RIFF\x1a\0\0\0WEBPVP8 \x0e\0\0\0" + bytes(14)
    with refused(UnreadablePhoto, match="0x0"):
        decode(empty, Limits())


def test_an_orientation_that_cannot_be_read_turns_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def odd(*arguments: object) -> None:
        raise struct.error("unpack requires a buffer of 12 bytes")

    expected = decode(photo(60, 40), Limits())
    with monkeypatch.context() as patch:
        patch.setattr(Image.Image, "getexif", odd)
        assert decode(photo(60, 40), Limits()) == expected


def test_a_file_that_is_not_there_or_not_ours_is_no_photo(tmp_path: Path) -> None:
    store = PhotoStore(tmp_path, 100, 10_000)
    assert store.read("0" * 32) is None
    store.write("1" * 32, (b"P6\n# someone else's\n1 1\n255\nabc",))
    assert store.read("1" * 32) is None


def test_what_a_decoder_wrote_is_kept_only_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stores, "decode_within", decode)  # which would confine this process
    store = PhotoStore(tmp_path, 100, 10_000)
    draft = store.draft("1" * 32)
    decode_into(draft, photo(60, 40), "a" * 64, Limits())
    assert stat.S_IMODE(draft.stat().st_mode) == 0o600 and store.read("1" * 32) is None
    kept = store.keep(draft, "1" * 32)
    assert kept.picture.tobytes() == decode(photo(60, 40), Limits()).data
    assert (kept.sha256, kept.format) == ("a" * 64, "JPEG")
    draft.write_bytes(store.path("1" * 32).read_bytes()[:-1])
    with refused(StorageRefused, match="what was written"):
        store.keep(draft, "2" * 32)
    assert not store.holds("2" * 32)


def test_a_decoder_that_dies_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def die(decoders: Decoders, draft: Path, data: bytes, sha256: str) -> None:
        draft.parent.mkdir(exist_ok=True)
        draft.write_bytes(b"P6 half of it")
        raise DecoderLost

    async def work(uploads: Uploads) -> None:
        with refused(DecoderLost, match="ask again"):
            await uploads.receive(photo(60, 40))

    monkeypatch.setattr(Decoders, "decode", die)
    with_uploads(tmp_path, work)
    assert not list(settings_in(tmp_path).data_dir.glob("photos/*"))
    assert (settings_in(tmp_path).data_dir / "photos").is_dir()


def with_uploads(folder: Path, work: Callable[[Uploads], Any]) -> None:
    async def run() -> None:
        await work(Uploads(settings_in(folder)))

    asyncio.run(run())


def test_a_sample_is_always_here_and_cannot_be_forgotten(tmp_path: Path) -> None:
    async def work(uploads: Uploads) -> None:
        name = uploads.identify(read_sample(SAMPLES[0]))
        assert uploads.sample(name) == SAMPLES[0] and not await uploads.is_here(name)
        assert (await uploads.find(name)).id == name and await uploads.is_here(name)
        uploads.forget(name)
        assert uploads.holds(name) and not uploads.holds("nothing of ours")
        assert not await uploads.is_here("../secret")
        with refused(NoSuchPhoto, match="has the id"):
            uploads.forget("0" * 32)
        assert uploads.holdings()["decoders_busy"][1] == 0

    with_uploads(tmp_path, work)


def test_a_photo_of_one_s_own_disk_has_the_same_limits(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(photo(60, 40))
    assert read_photo_file(tmp_path / "photo.jpg", settings_in(tmp_path)).picture.size == (60, 40)
    with refused(PhotoTooLarge, match="60x40"):
        read_photo_file(tmp_path / "photo.jpg", settings_in(tmp_path, max_side=50))


def test_sweeping_goes_on_where_one_sweep_fails() -> None:
    done: list[str] = []

    def fail() -> None:
        done.append("failed")
        raise OSError

    async def work() -> None:
        sweeping = asyncio.create_task(
            sweep_forever(fail, lambda: done.append("swept"), seconds=0.01)
        )
        while len(done) < 4:
            await asyncio.sleep(0.01)
        sweeping.cancel()

    asyncio.run(asyncio.wait_for(work(), 20))
    assert done[:4] == ["failed", "swept"] * 2


def test_pictures_are_read_by_the_formats_that_are_named_alone() -> None:
    file = io.BytesIO()
    Image.new("RGB", (4, 4)).save(file, "PPM")
    assert "PPM" not in decoding.FORMATS
    with refused(UnreadablePhoto, match="JPEG, PNG"):
        decode(file.getvalue(), Limits())
