"""A visualization as bytes: what the contract says is inside, and always the same bytes."""

from __future__ import annotations

import io
import json
import struct
import zipfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from numpy.lib.npyio import NpzFile
from PIL import Image

from models import (
    Choice,
    Network,
    Visualization,
    encode_png,
    entry_names,
    to_npz,
    to_png_sheet,
    to_zip,
    visualize,
)

pytestmark = pytest.mark.usefixtures("one_thread")

DOCUMENT = json.dumps({"network": "toy"})


def shown(network: Network, cat: Image.Image, **chosen: Any) -> Visualization:
    return visualize(network, cat, Choice(**chosen))


def arrays(view: Visualization) -> NpzFile:
    found: NpzFile = np.load(io.BytesIO(to_npz(view)), allow_pickle=False)
    return found


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


def test_arrays_have_the_contract_s_names_types_and_shapes(toy: Network, cat: Image.Image) -> None:
    found = arrays(shown(toy, cat, top=4))
    assert {name: (found[name].dtype.name, found[name].shape) for name in found} == {
        "features": ("int64", (4,)),
        "units": ("int64", (4, 2)),
        "activations": ("float32", (4,)),
        "receptive_fields": ("int64", (4, 4)),
        "projections": ("float32", (4, 3, 32, 32)),
    }


def test_arrays_hold_what_was_seen_strongest_first(toy: Network, cat: Image.Image) -> None:
    view = shown(toy, cat, top=5)
    found = arrays(view)
    assert found["features"].tolist() == [each.feature for each in view.projections]
    assert found["units"].tolist() == [list(each.unit or ()) for each in view.projections]
    assert found["receptive_fields"].tolist() == [
        list(map(int, each.receptive_field)) for each in view.projections
    ]
    assert (np.diff(found["activations"]) <= 0).all()
    assert found["activations"].tolist() == pytest.approx(
        [each.activation for each in view.projections]
    )


@pytest.mark.parametrize("layer", ["conv1", "pool1", "norm1", "conv2", "pool2", "fc4"])
def test_projections_lie_on_the_whole_input_and_are_exactly_zero_outside_their_field(
    toy: Network, cat: Image.Image, layer: str
) -> None:
    view = shown(toy, cat, layer=layer, top=4)
    found = arrays(view)
    for canvas, arrived, box in zip(
        found["projections"].copy(), view.reconstructions, found["receptive_fields"], strict=True
    ):
        top, left, bottom, right = box
        assert np.array_equal(canvas[:, top:bottom, left:right], arrived.values)
        canvas[:, top:bottom, left:right] = 0
        assert not canvas.any()


def test_a_whole_map_has_the_unit_minus_one(toy: Network, cat: Image.Image) -> None:
    view = shown(toy, cat, seed="map", top=3)
    found = arrays(view)
    assert (found["units"] == -1).all()
    assert (found["receptive_fields"] == (0, 0, 32, 32)).all()
    assert found["activations"].tolist() == pytest.approx(
        [each.activation for each in view.projections]
    )


@pytest.mark.parametrize("method", ["deconvnet", "guided", "gradient"])
@pytest.mark.parametrize("seed", ["unit", "map"])
def test_the_array_of_a_dead_unit_is_zero(
    dead: Network, cat: Image.Image, seed: str, method: str
) -> None:
    found = arrays(shown(dead, cat, features=(3, 5), seed=seed, method=method))
    assert found["features"].tolist() == [5, 3] and found["activations"][1] == 0
    assert found["projections"][0].any() and not found["projections"][1].any()


def test_arrays_keep_the_channels_as_the_network_takes_them(
    blue_first: Network, cat: Image.Image
) -> None:
    view = shown(blue_first, cat, top=1)
    canvas = arrays(view)["projections"][0]
    top, left, bottom, right = map(int, view.projections[0].receptive_field)
    assert np.array_equal(canvas[:, top:bottom, left:right], view.reconstructions[0].values)


@pytest.mark.parametrize("chosen", [{}, {"seed": "map"}, {"layer": "fc4", "top": 4}])
def test_the_same_view_gives_the_same_bytes(
    toy: Network, cat: Image.Image, chosen: dict[str, Any]
) -> None:
    one, other = (shown(toy, cat.copy(), **chosen) for _ in range(2))
    assert to_npz(one) == to_npz(other)
    assert to_png_sheet(one) == to_png_sheet(other)
    assert to_zip(one, DOCUMENT) == to_zip(other, DOCUMENT)


def test_a_zip_holds_the_document_and_every_picture(dead: Network, cat: Image.Image) -> None:
    view = shown(dead, cat, features=(3, 5))
    with zipfile.ZipFile(io.BytesIO(to_zip(view, DOCUMENT))) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == [
            "visualization.json",
            "00005-projection.png",
            "00005-patch.png",
            "00003-patch.png",
        ]
        assert json.loads(archive.read("visualization.json")) == {"network": "toy"}
        stored = Image.open(io.BytesIO(archive.read("00005-projection.png")))
        assert np.array_equal(np.asarray(stored), np.asarray(view.projections[0].picture))
        assert all(info.date_time == (1980, 1, 1, 0, 0, 0) for info in archive.infolist())


def test_a_dead_unit_has_no_picture_to_name(dead: Network, cat: Image.Image) -> None:
    alive, silent = shown(dead, cat, features=(3, 5)).projections
    assert entry_names(alive) == ("00005-projection.png", "00005-patch.png")
    assert entry_names(silent) == (None, "00003-patch.png")


@pytest.fixture(params=["fpng", "Pillow"])
def packer(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pack with fpng, which is built where there is a compiler, and as where there was none."""
    if request.param == "fpng":
        pytest.importorskip("fpng_py")
    else:
        monkeypatch.setattr("models.projection.export.pack", None)


@pytest.mark.usefixtures("packer")
def test_a_png_keeps_every_level_and_says_nothing_more(cat: Image.Image) -> None:
    cat.info["comment"] = "taken at home"
    again = opened(encode_png(cat))
    assert np.array_equal(np.asarray(again), np.asarray(cat)) and not again.info


SIZES = [(1, 1), (1, 300), (300, 1), (7, 5), (224, 224), (1214, 668)]


@pytest.mark.usefixtures("packer")
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "1", "P"])
@pytest.mark.parametrize("size", SIZES)
def test_a_png_of_any_size_and_mode_is_decoded_equal(size: tuple[int, int], mode: str) -> None:
    levels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 4), np.uint8)
    levels[size[1] // 2 :] = 255  # noise above, paper below, as on a sheet
    picture = Image.fromarray(levels).convert(mode)
    again = opened(encode_png(picture))
    assert np.array_equal(np.asarray(again.convert("RGBA")), np.asarray(picture.convert("RGBA")))


def chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    """Take a PNG apart: kind and content of every chunk, each with the right checksum."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    found, at = [], 8
    while at < len(data):
        (length,) = struct.unpack_from(">I", data, at)
        kind, content = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        assert struct.unpack_from(">I", data, at + 8 + length)[0] == zlib.crc32(kind + content)
        found.append((kind, content))
        at += 12 + length
    return found


@pytest.mark.usefixtures("packer")
def test_a_sheet_s_provenance_stands_behind_its_header(toy: Network, cat: Image.Image) -> None:
    view = shown(toy, cat)
    (header, _), (kind, content), *others = chunks(to_png_sheet(view))
    assert (header, kind, others[-1]) == (b"IHDR", b"iTXt", (b"IEND", b""))
    assert content.startswith(b"deconvnet\0")
    assert json.loads(content.rpartition(b"\0")[2])["network"] == "toy"


def test_pngs_made_at_once_are_those_made_alone(cat: Image.Image) -> None:
    pictures = [cat.resize((200 + n, 150)) for n in range(16)]
    alone = [encode_png(each) for each in pictures]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(encode_png, pictures)) == alone


def test_a_sheet_is_one_png(toy: Network, cat: Image.Image) -> None:
    drawn = opened(to_png_sheet(shown(toy, cat)))
    assert drawn.format == "PNG" and drawn.width > 3 * 64 * 2
