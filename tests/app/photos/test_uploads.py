import asyncio
import hashlib
import io
import os
import resource
import signal
import stat
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import anyio
import pytest
from PIL import Image, ImageDraw

from app.photos.decoders import DecoderLost
from app.photos.decoding import (
    Limits,
    PhotoTooLarge,
    UnreadablePhoto,
    count_scans,
    decode,
    webp_size,
)
from app.photos.uploads import NoSuchPhoto, PhotoExpired, Uploads
from app.settings import Settings
from app.storage import SecretInvalid, StorageFull, read_secret
from tests.refusals import refused
from tests.serving import png_header

LIMITS = Limits()


def encode(picture: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def decoded(data: bytes, limits: Limits = LIMITS) -> Image.Image:
    pixels = decode(data, limits)
    return Image.frombytes("RGB", (pixels.width, pixels.height), pixels.data)


def colour_at(picture: Image.Image, place: tuple[int, int]) -> tuple[int, ...]:
    pixel = picture.getpixel(place)
    assert isinstance(pixel, tuple)
    return pixel


def scene(width: int = 60, height: int = 40) -> Image.Image:
    picture = Image.new("RGB", (width, height), "navy")
    ImageDraw.Draw(picture).rectangle((0, 0, width // 3, height // 2), fill="orange")
    return picture


def with_uploads(
    folder: Path, work: Callable[[Uploads], Coroutine[Any, Any, Any]], **settings: Any
) -> Any:
    async def run() -> Any:
        return await work(Uploads(Settings(data_dir=folder, **settings)))

    return asyncio.run(run())


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "JPEG"])
def test_reads_every_promised_format(kind: str) -> None:
    lossless = {"WEBP": {"lossless": True}}.get(kind, {})
    result = decoded(encode(scene(), kind, **lossless))
    assert result.size == (60, 40)
    red, _, blue = colour_at(result, (2, 2))
    assert red > 220 and blue < 40


def test_sixteen_bit_grey_is_scaled_and_not_clipped() -> None:
    deep = Image.frombytes("I;16", (4, 1), struct.pack("<4H", 0, 256, 32768, 65535))
    for kind in ("PNG", "TIFF"):
        result = decoded(encode(deep, kind))
        assert [colour_at(result, (x, 0))[0] for x in range(4)] == [0, 1, 128, 255]


def test_floating_point_grey_is_scaled_by_its_range() -> None:
    unit = Image.frombytes("F", (3, 1), struct.pack("<3f", 0, 0.5, 1))
    wide = Image.frombytes("F", (3, 1), struct.pack("<3f", -10, 0, 10))
    for picture in (unit, wide):
        result = decoded(encode(picture, "TIFF"))
        assert [colour_at(result, (x, 0))[0] for x in range(3)] == [0, 128, 255]


def test_floating_point_grey_that_is_not_finite_is_refused_in_a_sentence() -> None:
    odd = Image.frombytes("F", (2, 1), struct.pack("<2f", 0, float("inf")))
    with refused(UnreadablePhoto, match="finite"):
        decode(encode(odd, "TIFF"), LIMITS)


def test_transparency_is_laid_on_white() -> None:
    clear = Image.new("RGBA", (2, 1), (0, 0, 0, 0))
    clear.putpixel((1, 0), (0, 0, 0, 255))
    for kind in ("PNG", "WEBP"):
        result = decoded(encode(clear, kind, lossless=True))
        assert colour_at(result, (0, 0)) == (255, 255, 255)
        assert colour_at(result, (1, 0)) == (0, 0, 0)


def test_a_palette_with_a_transparent_colour_is_laid_on_white() -> None:
    palette = Image.new("P", (2, 1))
    palette.putpalette([0, 0, 0, 200, 0, 0])
    palette.putpixel((1, 0), 1)
    result = decoded(encode(palette, "PNG", transparency=0))
    assert [colour_at(result, (x, 0)) for x in range(2)] == [(255, 255, 255), (200, 0, 0)]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "CMYK", "YCbCr", "RGBA"])
def test_any_mode_becomes_rgb(mode: str) -> None:
    kind = "TIFF" if mode in {"CMYK", "YCbCr"} else "PNG"
    assert decoded(encode(scene().convert(mode), kind)).size == (60, 40)


def test_a_lab_tiff_keeps_its_colour() -> None:
    grey = Image.new("LAB", (2, 2), (128, 128, 128))  # L* 50: sRGB 119
    red, green, blue = colour_at(decoded(encode(grey, "TIFF")), (0, 0))
    assert max(red, green, blue) - min(red, green, blue) <= 2 and abs(red - 119) <= 3


def test_a_cmyk_jpeg_keeps_its_colours() -> None:
    red, green, blue = colour_at(decoded(encode(scene().convert("CMYK"), "JPEG")), (2, 2))
    assert red > 200 > green > 100 > blue


def test_the_first_frame_of_an_animation_counts() -> None:
    first, second = Image.new("RGB", (8, 8), "red"), Image.new("RGB", (8, 8), "blue")
    for kind in ("GIF", "WEBP", "PNG"):
        data = encode(first, kind, save_all=True, append_images=[second])
        red, _, blue = colour_at(decoded(data), (4, 4))
        assert red > 200 and blue < 50


def test_a_photo_is_set_upright_by_its_exif() -> None:
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        stored = decoded(encode(scene(), "JPEG", exif=exif, quality=95))
        assert stored.size == ((60, 40) if orientation < 5 else (40, 60))
    exif[0x0112] = 6  # the stored left edge is the top: a quarter turn clockwise mends it
    red, _, blue = colour_at(decoded(encode(scene(), "JPEG", exif=exif)), (37, 2))
    assert red > 200 and blue < 60


@pytest.mark.parametrize(
    "junk", [b"Exif\0\0", b"Exif\0\0MM\0*\xff\xff\xff\xff", b"Exif\0\0" + b"\xff" * 40]
)
def test_malformed_exif_never_fails_a_picture(junk: bytes) -> None:
    plain = encode(scene(), "JPEG")
    data = plain[:2] + b"\xff\xe1" + struct.pack(">H", len(junk) + 2) + junk + plain[2:]
    assert decoded(data).size == (60, 40)


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "empty"),
        (b"hello, world", "not a picture"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not a picture"),
        (b"%PDF-1.7", "not a picture"),
        (b"\xff\xd8\xff", "not a picture|cut off|damaged"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "save it as JPEG"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", "save it as JPEG"),
    ],
)
def test_what_is_no_picture_is_refused_in_a_sentence(data: bytes, sentence: str) -> None:
    with refused(UnreadablePhoto, match=sentence):
        decode(data, LIMITS)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"])
def test_a_truncated_picture_is_refused_in_a_sentence(kind: str) -> None:
    noise = Image.effect_noise((80, 80), 90).convert("RGB")
    data = encode(noise, kind)
    with refused(UnreadablePhoto, match=r"damaged|cut off|not a picture"):
        decode(data[: len(data) // 2], LIMITS)


@pytest.mark.parametrize(
    "size", [(20_000, 20_000), (1, 40_000_000), (16_385, 1), (8_000, 7_000), (9_000, 200)]
)
def test_a_photo_beyond_the_limits_is_refused_by_its_header(size: tuple[int, int]) -> None:
    data = png_header(*size)
    start = time.perf_counter()
    with pytest.raises(PhotoTooLarge):
        decode(data, LIMITS)
    assert time.perf_counter() - start < 0.1


def test_a_long_photo_below_a_megapixel_is_read() -> None:
    assert decoded(encode(Image.new("L", (10_000, 20)))).size == (10_000, 20)


def test_a_webp_that_claims_a_huge_canvas_costs_no_memory() -> None:
    data = b"RIFF\x1e\0\0\0WEBPVP8L\x0d\0\0\0\x2f\xff\xff\xff\x0f" + b"\0" * 20
    assert webp_size(data) == (16_384, 16_384)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(PhotoTooLarge):
        decode(data, LIMITS)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000


@pytest.mark.parametrize("options", [{"lossless": True}, {"quality": 80}, {"save_all": True}])
def test_the_size_of_a_webp_is_read_from_its_header(options: dict[str, Any]) -> None:
    frames = [scene(31, 17).rotate(9)] if "save_all" in options else []
    assert webp_size(encode(scene(31, 17), "WEBP", append_images=frames, **options)) == (31, 17)


def test_a_jpeg_with_a_thousand_scans_is_refused_before_decoding() -> None:
    data = encode(Image.effect_noise((400, 400), 90), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    bomb = data[:-2] + data[last:-2] * 1000 + data[-2:]
    assert count_scans(data, 100) == data.count(b"\xff\xda") < 20
    start = time.perf_counter()
    with refused(PhotoTooLarge, match="scans"):
        decode(bomb, LIMITS)
    assert time.perf_counter() - start < 0.1


def test_a_scan_inside_an_embedded_thumbnail_is_not_counted() -> None:
    plain = encode(scene(), "JPEG")
    thumbnail = b"Exif\0\0" + b"\xff\xda\0\x02" * 200
    data = plain[:2] + b"\xff\xe1" + struct.pack(">H", len(thumbnail) + 2) + thumbnail + plain[2:]
    assert count_scans(data, 100) == 1


def test_walking_a_file_of_nothing_but_marker_bytes_is_quick() -> None:
    start = time.process_time()
    count_scans(b"\xff\xd8" + b"\xff" * 16_000_000, 100)
    count_scans(b"\xff\xd8" + b"\xff\0" * 8_000_000, 100)
    assert time.process_time() - start < 1


def test_the_same_photo_has_the_same_id_which_is_no_plain_hash(tmp_path: Path) -> None:
    data = encode(scene())

    async def work(uploads: Uploads) -> tuple[str, str]:
        return (await uploads.receive(data)).id, (await uploads.receive(data)).sha256

    first, sha256 = with_uploads(tmp_path, work)
    again, _ = with_uploads(tmp_path, work)
    elsewhere, _ = with_uploads(tmp_path / "other", work)
    assert first == again != elsewhere
    assert sha256 == hashlib.sha256(data).hexdigest()
    assert not sha256.startswith(first)


def test_a_photo_is_found_again_with_the_same_pixels_after_a_restart(tmp_path: Path) -> None:
    async def send(uploads: Uploads) -> Any:
        return await uploads.receive(encode(scene(), "JPEG"))

    sent = with_uploads(tmp_path, send)
    found = with_uploads(tmp_path, lambda uploads: uploads.find(sent.id))
    assert found.picture.tobytes() == sent.picture.tobytes()
    assert (found.sha256, found.format) == (sent.sha256, "JPEG")


def test_only_pixels_are_kept_and_only_their_owner_may_read_them(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010F] = "secret camera"
    data = encode(scene(), "JPEG", exif=exif)
    with_uploads(tmp_path, lambda uploads: uploads.receive(data))
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert len(files) == 2
    for file in files:
        assert b"secret camera" not in file.read_bytes()
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_forgotten_photo_is_gone(tmp_path: Path) -> None:
    async def work(uploads: Uploads) -> None:
        photo = await uploads.receive(encode(scene()))
        uploads.forget(photo.id)
        with pytest.raises(NoSuchPhoto):
            await uploads.find(photo.id)
        with pytest.raises(NoSuchPhoto):
            uploads.forget(photo.id)

    with_uploads(tmp_path, work)
    assert not list((tmp_path / "photos").iterdir())


@pytest.mark.parametrize("name", ["", "../secret", "..", "x" * 10_000, "0" * 32, "\0", "é" * 32])
def test_an_unknown_id_is_a_sentence_and_touches_no_file(tmp_path: Path, name: str) -> None:
    async def work(uploads: Uploads) -> None:
        with refused(NoSuchPhoto, match="No photo is kept here under"):
            await uploads.find(name)
        with pytest.raises(NoSuchPhoto):
            uploads.forget(name)

    with_uploads(tmp_path, work)
    assert (tmp_path / "secret").exists()


def test_an_expired_photo_says_so_and_leaves_no_pixels(tmp_path: Path) -> None:
    async def work(uploads: Uploads) -> None:
        photo = await uploads.receive(encode(scene()))
        (file,) = (tmp_path / "photos").iterdir()
        os.utime(file, (time.time() - 7200,) * 2)
        with refused(PhotoExpired, match="upload it again"):
            await uploads.find(photo.id)
        uploads.sweep()
        assert file.stat().st_size == 0
        with pytest.raises(PhotoExpired):
            await uploads.find(photo.id)
        assert (await uploads.receive(encode(scene()))).id == photo.id
        assert (await uploads.find(photo.id)).picture.size == (60, 40)

    with_uploads(tmp_path, work, upload_ttl=3600)


def test_beyond_the_disk_budget_the_oldest_photo_leaves_first(tmp_path: Path) -> None:
    async def work(uploads: Uploads) -> None:
        old = await uploads.receive(encode(scene(60, 40)))
        os.utime(tmp_path / "photos" / f"{old.id}.ppm", (1e9, 1e9))
        new = await uploads.receive(encode(scene(61, 40)))
        uploads.sweep()
        assert (await uploads.find(new.id)).picture.size == (61, 40)
        with pytest.raises(PhotoExpired):
            await uploads.find(old.id)

    with_uploads(tmp_path, work, upload_bytes=10_000, upload_ttl=10**10)


def test_a_damaged_file_in_the_store_is_decoded_anew(tmp_path: Path) -> None:
    data = encode(scene())
    photo = with_uploads(tmp_path, lambda uploads: uploads.receive(data))
    (file,) = (tmp_path / "photos").iterdir()
    file.write_bytes(file.read_bytes()[:-7])
    again = with_uploads(tmp_path, lambda uploads: uploads.receive(data))
    assert again.picture.tobytes() == photo.picture.tobytes()


def test_overwritten_pixels_are_not_served_and_uploading_again_repairs_them(tmp_path: Path) -> None:
    data = encode(scene())
    photo = with_uploads(tmp_path, lambda uploads: uploads.receive(data))
    (file,) = (tmp_path / "photos").iterdir()
    content = bytearray(file.read_bytes())
    content[-100] ^= 1
    file.write_bytes(content)

    async def work(uploads: Uploads) -> None:
        with refused(NoSuchPhoto, match="upload it again"):
            await uploads.find(photo.id)
        assert (await uploads.receive(data)).picture.tobytes() == photo.picture.tobytes()

    with_uploads(tmp_path, work)
    again = with_uploads(tmp_path, lambda uploads: uploads.find(photo.id))
    assert again.picture.tobytes() == photo.picture.tobytes()


def test_a_photo_that_version_0_1_kept_is_still_read(tmp_path: Path) -> None:
    photo = with_uploads(tmp_path, lambda uploads: uploads.receive(encode(scene())))
    (file,) = (tmp_path / "photos").iterdir()
    head = f"P6\n# {photo.sha256} PNG\n60 40\n255\n"
    file.write_bytes(head.encode() + photo.picture.tobytes())
    again = with_uploads(tmp_path, lambda uploads: uploads.find(photo.id))
    assert (again.sha256, again.format) == (photo.sha256, "PNG")
    assert again.picture.tobytes() == photo.picture.tobytes()


def test_all_who_ask_for_a_photo_at_once_get_one_copy(tmp_path: Path) -> None:
    photo = with_uploads(tmp_path, lambda uploads: uploads.receive(encode(scene(3000, 2500))))

    async def work(uploads: Uploads) -> None:
        copies = await asyncio.gather(*(uploads.find(photo.id) for _ in range(12)))
        assert len({id(each.picture) for each in copies}) == 1
        assert uploads.cache.nbytes == 0  # the photo is beyond this budget

    with_uploads(tmp_path, work, picture_bytes=1000)


def test_the_same_photo_sent_by_many_at_once_is_decoded_once(tmp_path: Path) -> None:
    data = slow_photo()

    async def work(uploads: Uploads) -> None:
        photos = await asyncio.gather(*(uploads.receive(data) for _ in range(6)))
        assert len({id(each.picture) for each in photos}) == 1

    with_uploads(tmp_path, work, decode_seconds=60, decoders=1)


@pytest.mark.parametrize("content", [b"", b"short"])
def test_a_secret_that_is_none_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "secret").write_bytes(content)
    with refused(SecretInvalid, match=f"holds {len(content)} bytes where the secret"):
        read_secret(tmp_path / "secret")


def test_a_full_disk_is_a_sentence(tmp_path: Path) -> None:
    async def work(uploads: Uploads) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
        try:
            with refused(StorageFull, match="disk"):
                await uploads.receive(encode(scene()))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        with_uploads(tmp_path, work)
    finally:
        signal.signal(signal.SIGXFSZ, before)
    assert not list((tmp_path / "photos").iterdir())


def test_decoding_beyond_its_deadline_is_killed_and_the_next_photo_is_fine(tmp_path: Path) -> None:
    slow = slow_photo()

    async def work(uploads: Uploads) -> None:
        await uploads.receive(encode(scene()))
        with refused(PhotoTooLarge, match="seconds"):
            await uploads.receive(slow)
        start = time.perf_counter()
        assert (await uploads.receive(encode(scene(9, 9)))).picture.size == (9, 9)
        assert time.perf_counter() - start < 1

    with_uploads(tmp_path, work, decode_seconds=1)


def test_decoding_beyond_its_memory_is_refused_and_the_next_photo_is_fine(tmp_path: Path) -> None:
    async def work(uploads: Uploads) -> None:
        with refused(PhotoTooLarge, match="memory"):
            await uploads.receive(encode(Image.new("RGB", (6000, 6000))))
        assert (await uploads.receive(encode(scene()))).picture.size == (60, 40)

    with_uploads(tmp_path, work, decode_bytes=120 * 2**20)


def test_the_death_of_a_decoder_costs_no_photo(tmp_path: Path) -> None:
    async def work(uploads: Uploads) -> None:
        await uploads.warm()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(kill_decoders, 1)
            photo = await uploads.receive(slow_photo())
        assert photo.picture.size == (2500, 2500)

    with_uploads(tmp_path, work, decode_seconds=60)


def test_a_photo_whose_decoder_always_dies_may_be_sent_again(tmp_path: Path) -> None:
    async def work(uploads: Uploads) -> None:
        await uploads.warm()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(kill_decoders, 1000)
            with refused(DecoderLost, match="died twice at this one: ask again"):
                await uploads.receive(slow_photo())
            tasks.cancel_scope.cancel()
        assert (await uploads.receive(encode(scene(9, 9)))).picture.size == (9, 9)

    with_uploads(tmp_path, work, decode_seconds=60)


def test_where_no_decoder_can_be_started_a_photo_may_be_sent_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(uploads: Uploads) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(sys, "executable", str(tmp_path / "nowhere"))
            with refused(DecoderLost, match="ask again"):
                await uploads.receive(encode(scene(9, 9)))
        assert (await uploads.receive(encode(scene(9, 9)))).picture.size == (9, 9)

    with_uploads(tmp_path, work)


async def kill_decoders(count: int) -> None:
    """Kill decoding processes that are at work (past their first instants), one after another."""
    seen: dict[int, int] = {}
    while count:
        await anyio.sleep(0.05)
        for child in children():
            seen[child] = seen.get(child, 0) + 1
            if seen[child] == 12:
                os.kill(child, signal.SIGKILL)
                count -= 1


def slow_photo() -> bytes:
    """A legal JPEG of many scans, which takes seconds to decode."""
    data = encode(Image.effect_noise((2500, 2500), 90), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:-2] + data[last:-2] * 90 + data[-2:]


def children() -> list[int]:
    found = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text()
    return [int(child) for child in found.split()]


def test_eight_processes_agree_on_one_secret(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib, app.storage\n"
        "print(app.storage.read_secret(pathlib.Path(sys.argv[1])).hex())"
    )
    runs = [
        subprocess.Popen([sys.executable, "-c", code, tmp_path / "secret"], stdout=subprocess.PIPE)
        for _ in range(8)
    ]
    secrets = {run.communicate()[0] for run in runs}
    assert secrets == {read_secret(tmp_path / "secret").hex().encode() + b"\n"}
    assert [file.name for file in tmp_path.iterdir()] == ["secret"]
