"""TIFFs of all depths and orders, written by hand: read rightly, or refused with a sentence."""

import io
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from app.photos.decoding import Limits, UnreadablePhoto, decode
from tests.refusals import refused

RAMP = np.array([[0, 16384, 32768, 49152, 65535]] * 4)
GREY = [0, 64, 128, 191, 255]
"""The ramp in 8 bits, rounded by hand."""
SHORT, LONG = 3, 4
XMP = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF '
    'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description '
    'xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/></rdf:RDF></x:xmpmeta>'
)


def tiff(
    planes: Sequence[bytes], bits: int, photometric: int, sign: int = 1, colours: int = 1
) -> bytes:
    """Write a TIFF of 5 x 4 pixels without compression, each plane a strip."""
    layout = 2 if len(planes) > 1 else 1
    tags: list[tuple[int, int, list[int]]] = [
        (256, SHORT, [5]),
        (257, SHORT, [4]),
        (258, SHORT, [bits] * colours),
        (259, SHORT, [1]),
        (262, SHORT, [photometric]),
        (273, LONG, [0] * len(planes)),
        (277, SHORT, [colours]),
        (278, SHORT, [4]),
        (279, LONG, [len(plane) for plane in planes]),
        (284, SHORT, [layout]),
        (339, SHORT, [sign] * colours),
    ]
    sizes = [len(values) * (2 if kind == SHORT else 4) for _, kind, values in tags]
    end_of_tags = 8 + 2 + 12 * len(tags) + 4
    at = end_of_tags + sum(size for size in sizes if size > 4)
    for place in range(len(planes)):
        tags[5][2][place] = at
        at += len(planes[place])
    entries, beyond = b"", b""
    for tag, kind, values in tags:
        packed = struct.pack(f"<{len(values)}{'H' if kind == SHORT else 'I'}", *values)
        where = end_of_tags + len(beyond)
        beyond += packed if len(packed) > 4 else b""
        packed = packed.ljust(4, b"\0") if len(packed) <= 4 else struct.pack("<I", where)
        entries += struct.pack("<HHI", tag, kind, len(values)) + packed
    head = b"II*\0" + struct.pack("<IH", 8, len(tags))
    return head + entries + bytes(4) + beyond + b"".join(planes)


def pack12(values: NDArray[Any]) -> bytes:
    rows = ("".join(f"{value:012b}" for value in row).ljust(64, "0") for row in values)
    return b"".join(int(row, 2).to_bytes(8, "big") for row in rows)


def first_row(data: bytes) -> list[list[int]]:
    pixels = decode(data, Limits())
    assert (pixels.width, pixels.height) == (5, 4)
    return np.frombuffer(pixels.data, np.uint8).reshape(4, 5, 3)[0].tolist()  # type: ignore[no-any-return]


def grey(values: Sequence[int]) -> list[list[int]]:
    return [[value] * 3 for value in values]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (tiff([RAMP.astype("<u2").tobytes()], 16, 1), GREY),
        (tiff([RAMP.astype("<u2").tobytes()], 16, 0), [255 - value for value in GREY]),
        (tiff([pack12(RAMP >> 4)], 12, 1), GREY),
        (tiff([(RAMP >> 8).astype("u1").tobytes()], 8, 0), [255, 191, 127, 63, 0]),
        (tiff([(RAMP - 32768).astype("<i2").tobytes()], 16, 1, sign=2), GREY),
        (tiff([(RAMP / 65535).astype("<f4").tobytes()], 32, 1, sign=3), GREY),
        (tiff([(RAMP << 8).astype("<u4").tobytes()], 32, 1), GREY),
    ],
    ids=["16", "16 white is zero", "12", "8 white is zero", "16 signed", "float", "32"],
)
def test_grey_of_any_depth_has_the_right_brightness(data: bytes, expected: list[int]) -> None:
    assert first_row(data) == grey(expected)


def test_sixteen_bit_colours_are_read_interleaved_and_eight_bit_ones_in_planes() -> None:
    colours = np.stack([RAMP, RAMP[:, ::-1], 0 * RAMP], -1)
    expected = [[v, w, 0] for v, w in zip((RAMP >> 8)[0], (RAMP >> 8)[0, ::-1], strict=True)]
    assert first_row(tiff([colours.astype("<u2").tobytes()], 16, 2, colours=3)) == expected
    planes = [(colours[..., c] >> 8).astype("u1").tobytes() for c in range(3)]
    assert first_row(tiff(planes, 8, 2, colours=3)) == expected


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (tiff([RAMP.astype("<u2").tobytes()] * 3, 16, 2, colours=3), "separate planes"),
        (tiff([(RAMP >> 9).astype("i1").tobytes()], 8, 1, sign=2), "bytes with a sign"),
        (tiff([(RAMP / 65535).astype("<f4").tobytes()], 32, 0, sign=3), "zero is white"),
        (tiff([(RAMP * 65537).astype("<u4").tobytes()], 32, 1), "32 bits"),
    ],
    ids=["planes", "signed bytes", "floats", "beyond 31 bits"],
)
def test_what_would_come_out_wrong_is_refused(data: bytes, sentence: str) -> None:
    with refused(UnreadablePhoto, match=sentence):
        decode(data, Limits())


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_an_orientation_that_only_xmp_knows_is_followed(kind: str) -> None:
    file, text = io.BytesIO(), PngImagePlugin.PngInfo()
    text.add_itxt("XML:com.adobe.xmp", XMP)
    options = {"xmp": XMP.encode()} if kind == "JPEG" else {"pnginfo": text}
    Image.new("RGB", (30, 20)).save(file, kind, **options)
    pixels = decode(file.getvalue(), Limits())
    assert (pixels.width, pixels.height) == (20, 30)


def test_a_cmyk_photo_is_read_by_the_plain_formula_whatever_its_profile() -> None:
    def saved(**options: Any) -> bytes:
        file = io.BytesIO()
        Image.new("CMYK", (5, 4), (255, 0, 0, 51)).save(file, "TIFF", **options)
        return file.getvalue()

    assert first_row(saved()) == [[0, 204, 204]] * 5
    assert first_row(saved(icc_profile=b"any")) == [[0, 204, 204]] * 5
