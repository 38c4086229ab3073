"""Bytes to pixels within limits: what runs in the child process that may be killed.

Of the project it needs the errors alone, so that the child starts in a tenth of a second.
"""

import io
import math
import os
import re
import resource
import struct
import warnings
from dataclasses import dataclass

from PIL import ExifTags, Image, ImageChops, ImageCms, TiffImagePlugin, UnidentifiedImageError

import models

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
READABLE = "JPEG, PNG, WebP, GIF, BMP, TIFF or AVIF"
MEGAPIXEL = 1_000_000
HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"}
WHITE = (255, 255, 255)
TURNS: dict[object, Image.Transpose] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation to the turn that sets the photo upright."""


class UnreadablePhoto(models.DeconvnetError):
    """Bytes that no picture can be made of."""


class PhotoTooLarge(models.DeconvnetError):
    """A photo beyond the limits, refused before its pixels are decoded."""


@dataclass(frozen=True)
class Limits:
    """What a photo may ask of the machine."""

    pixels: int = 50_000_000
    side: int = 16_384
    aspect: float = 32.0
    scans: int = 100
    seconds: float = 5.0
    memory: int = 2**30


@dataclass(frozen=True)
class Pixels:
    """A decoded photo: RGB, three bytes a pixel, row by row; `format` as Pillow names it."""

    width: int
    height: int
    data: bytes
    format: str


def decode_within(data: bytes, limits: Limits) -> Pixels:
    """Decode under this process's memory and processor limits (call it in a child)."""
    _confine(limits)
    _silence()
    return decode(data, limits)


def decode_picture(data: bytes, limits: Limits) -> Image.Image:
    """Decode as ``decode_within`` does, for who goes on in the same process."""
    pixels = decode_within(data, limits)
    return Image.frombytes("RGB", (pixels.width, pixels.height), pixels.data)


def decode(data: bytes, limits: Limits) -> Pixels:
    """Decode the first frame, upright, as RGB on white; 16-bit grey is scaled, not clipped.

    Raises UnreadablePhoto or PhotoTooLarge, whatever the decoder raised.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _decode(data, limits)
    except (UnreadablePhoto, PhotoTooLarge):
        raise
    except Image.DecompressionBombError:
        raise PhotoTooLarge("too_many_pixels", limit=limits.pixels) from None
    except MemoryError:
        raise PhotoTooLarge("too_much_memory") from None
    except Exception as error:
        # Pillow's decoders raise anything from struct.error to PyCMSError on odd files.
        raise _unreadable(data, error) from None


def _decode(data: bytes, limits: Limits) -> Pixels:
    _refuse_at_sight(data, limits)
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        name = image.format or ""
        _refuse_size(image.size, limits)
        image.load()
        if isinstance(image, TiffImagePlugin.TiffImageFile):
            picture = _from_tiff(image)
        else:
            picture = to_rgb(_upright(image))
    return Pixels(*picture.size, picture.tobytes(), "JPEG" if name == "MPO" else name)


def _confine(limits: Limits) -> None:
    used = resource.getrusage(resource.RUSAGE_SELF)
    seconds = math.ceil(used.ru_utime + used.ru_stime + 4 * limits.seconds)
    for limit, value in ((resource.RLIMIT_DATA, limits.memory), (resource.RLIMIT_CPU, seconds)):
        hard = resource.getrlimit(limit)[1]
        soft = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(limit, (soft, hard))


def _silence() -> None:
    """Keep what C libraries print about odd files out of the server's log."""
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)


def _refuse_at_sight(data: bytes, limits: Limits) -> None:
    """Refuse from the first bytes what Pillow's own opening would already pay for."""
    if not data:
        raise UnreadablePhoto("empty")
    if data[4:8] == b"ftyp" and _brands(data) & HEIF_BRANDS:
        raise UnreadablePhoto("heic")
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        _refuse_size(webp_size(data), limits)
    if data[:2] == b"\xff\xd8" and (scans := count_scans(data, limits.scans)) > limits.scans:
        raise PhotoTooLarge("too_many_scans", scans=scans, limit=limits.scans)


def _brands(data: bytes) -> set[bytes]:
    end = min(int.from_bytes(data[:4], "big"), 256)
    return {data[8:12], *(data[at : at + 4] for at in range(16, end, 4))} - {b"avif", b"avis"}


def _refuse_size(size: tuple[int, int], limits: Limits) -> None:
    width, height = size
    if width < 1 or height < 1:
        raise UnreadablePhoto("no_pixels", width=width, height=height)
    if max(size) > limits.side:
        raise PhotoTooLarge("side", width=width, height=height, limit=limits.side)
    if width * height > limits.pixels:
        raise PhotoTooLarge("pixels", width=width, height=height, limit=limits.pixels)
    if width * height > MEGAPIXEL and max(size) > limits.aspect * min(size):
        raise PhotoTooLarge("aspect", width=width, height=height, limit=limits.aspect)


def webp_size(data: bytes) -> tuple[int, int]:
    """Read the canvas of a WebP, which Pillow would allocate on opening."""
    chunk, head = data[12:16], data[20:30].ljust(10, b"\0")
    if chunk == b"VP8X":
        return 1 + int.from_bytes(head[4:7], "little"), 1 + int.from_bytes(head[7:10], "little")
    if chunk == b"VP8L":
        bits = int.from_bytes(head[1:5], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    width, height = struct.unpack("<HH", head[6:10])
    return width & 0x3FFF, height & 0x3FFF


MARKER = re.compile(rb"\xff([^\x00\xff\xd0-\xd7\x01])")
ALONE = {0xD8}
SCAN, END = 0xDA, 0xD9


def count_scans(data: bytes, most: int) -> int:
    """Count a JPEG's scans by walking its markers, no further than one beyond `most`."""
    at, scans = 0, 0
    while scans <= most and (marker := MARKER.search(data, at)):
        code = marker[1][0]
        if code == END:
            break
        scans += code == SCAN
        at = marker.end()
        if code not in ALONE:
            at += max(2, int.from_bytes(data[at : at + 2], "big"))
    return scans


def _upright(image: Image.Image) -> Image.Image:
    turn = TURNS.get(_orientation(image))
    return image if turn is None else image.transpose(turn)


def _orientation(image: Image.Image) -> object:
    try:
        return image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # malformed EXIF never fails a picture
        return None


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert any mode to RGB: transparency on white, deep grey scaled to 8 bits."""
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode in {"I", "F"} or image.mode.startswith("I;16"):
        return _shallow(image).convert("RGB")
    if image.has_transparency_data:
        return _on_white(image)
    if image.mode == "LAB":
        return _from_lab(image)
    return image.convert("RGB")


def _on_white(image: Image.Image) -> Image.Image:
    clear = image.convert("RGBA")
    white = Image.new("RGB", image.size, WHITE)
    white.paste(clear, mask=clear.getchannel("A"))
    return white


def _shallow(image: Image.Image, full: float = 65535.0) -> Image.Image:
    """Scale deep grey to 8 bits: 16-bit by 257, 0..1 floats by 255, others by their range.

    ``full`` is what white is in a picture of up to 16 bits.
    """
    if image.mode.startswith("I;16"):
        low, high = 0.0, full
        image = image.convert("I")
    else:
        low, high = image.getextrema()  # type: ignore[assignment]
        if not math.isfinite(low) or not math.isfinite(high):
            raise UnreadablePhoto("not_finite")
        low, high = _range_of(image.mode, low, high)
    scale = 255 / (high - low)
    # Adding a half and truncating rounds; convert("L") on its own would clip and truncate.
    return image.convert("F").point(lambda v: v * scale + (0.5 - low * scale)).convert("L")


def _range_of(mode: str, low: float, high: float) -> tuple[float, float]:
    full = 1.0 if mode == "F" else 65535.0
    if low >= 0 and high <= full:
        return 0.0, full
    return (low, high) if high > low else (low, low + 1)


WHITE_IS_ZERO, SIGNED, FLOATS, PLANES = 0, 2, 3, 2
"""What TIFF's tags PhotometricInterpretation, SampleFormat and PlanarConfiguration may say."""


def _from_tiff(image: TiffImagePlugin.TiffImageFile) -> Image.Image:
    """Read what Pillow reads rightly; set right, or refuse, what it reads otherwise."""
    tags = image.tag_v2
    bits = max(tags.get(TiffImagePlugin.BITSPERSAMPLE, (1,)))
    format = max(tags.get(TiffImagePlugin.SAMPLEFORMAT, (1,)))
    white_is_zero = tags.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == WHITE_IS_ZERO
    planes = tags.get(TiffImagePlugin.PLANAR_CONFIGURATION) == PLANES
    if bits == 8 and format == SIGNED:
        raise UnreadablePhoto("signed_bytes")
    if bits > 8 and planes and len(image.getbands()) > 1:
        raise UnreadablePhoto("deep_planes")
    if format == FLOATS and white_is_zero:
        raise UnreadablePhoto("white_is_zero")
    upright = _upright(image)
    if image.mode == "I" and format not in {SIGNED, FLOATS} and _lowest(upright) < 0:
        raise UnreadablePhoto("beyond_31_bits")
    if image.mode.startswith("I;16"):
        grey = _shallow(upright, full=2.0**bits - 1)
        return (ImageChops.invert(grey) if white_is_zero else grey).convert("RGB")
    return to_rgb(upright)


def _lowest(image: Image.Image) -> float:
    return float(image.getextrema()[0])  # type: ignore[arg-type]  # of one band


def _from_lab(image: Image.Image) -> Image.Image:
    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    picture = ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB")
    assert picture is not None
    return picture


def _unreadable(data: bytes, error: Exception) -> UnreadablePhoto:
    """Tell what Pillow found: no picture, half of one, or a damaged one."""
    if isinstance(error, UnidentifiedImageError):
        return UnreadablePhoto("no_picture", readable=READABLE)
    if "truncated" in str(error).lower() or isinstance(error, EOFError | struct.error):
        return UnreadablePhoto("cut_off", nbytes=len(data))
    return UnreadablePhoto("damaged", readable=READABLE)
