"""A visualization as bytes: PNG, ZIP, npz. The same view gives the same bytes, always."""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo, putchunk

from models import render
from models.networks.signal import Size
from models.projection.choice import Show
from models.projection.visualize import Projection, Visualization

try:
    from fpng_py import fpng_encode_image_to_memory as pack
except ImportError:  # it comes as source: where no compiler was, Pillow packs all pictures
    pack = None

CHANNELS = {"RGB": 3, "RGBA": 4}
"""The pictures that fpng packs; it takes a twelfth of Pillow's time, and a sixth more bytes."""
COMPRESSION = {"compress_level": 1, "compress_type": zlib.Z_RLE}
"""How Pillow packs the others: projections are noisy, so that runs alone pack best."""
HEADER = 33
"""How long a PNG's signature and its first chunk, IHDR, are together."""


def encode_png(picture: Image.Image, metadata: PngInfo | None = None) -> bytes:
    """Write a picture as PNG, with this metadata and no other."""
    channels = CHANNELS.get(picture.mode)
    if pack and channels:
        packed: bytes = pack(picture.tobytes(), *picture.size, channels)
        return _with_metadata(packed, metadata) if metadata else packed
    file = io.BytesIO()
    picture.save(file, "PNG", pnginfo=metadata, **COMPRESSION)
    return file.getvalue()


def _with_metadata(packed: bytes, metadata: PngInfo) -> bytes:
    """Put the chunks of metadata behind a PNG's header."""
    chunks = io.BytesIO()
    for kind, content, *_ in metadata.chunks:
        putchunk(chunks, kind, content)
    return b"".join((packed[:HEADER], chunks.getvalue(), memoryview(packed)[HEADER:]))


ASKED = ("network", "layer", "method", "seed", "fit", "show")


def provenance_text(view: Visualization, **instead: str) -> str:
    """Say as JSON what was asked, and of which weights."""
    asked = {name: getattr(view, name) for name in ASKED} | instead
    if view.target:
        asked |= {"rank": view.rank, "target": asdict(view.target)}
    return json.dumps({**asked, "weights": {"state": "ready", **asdict(view.provenance)}})


def to_png_sheet(view: Visualization) -> bytes:
    """Draw all projections beside their patches on one sheet; a text chunk has the provenance."""
    cells = [(each.picture, each.patch, _caption(each)) for each in view.projections]
    metadata = PngInfo()
    metadata.add_itxt("deconvnet", provenance_text(view))
    return encode_png(render.sheet(cells), metadata)


def _caption(each: Projection) -> str:
    caption = f"map {each.feature}: {each.activation:.4g}"
    if each.contribution is not None:
        caption += f" ({each.contribution:+.3g})"
    if each.remaining is not None:
        return f"{caption}, {100 * each.remaining:.2g} % left"
    return caption if each.picture else f"{caption} (silent)"


def way_suffix(show: Show) -> str:
    """Return what a file's name says of how its projections are drawn; nothing of exact ones."""
    return "" if show == "exact" else f"-{show}"


def entry_names(each: Projection, show: Show = "exact") -> tuple[str | None, str]:
    """Name the files of a projection and of its patch inside a ZIP."""
    return (
        f"{each.feature:05}-projection{way_suffix(show)}.png" if each.picture else None,
        f"{each.feature:05}-patch.png",
    )


def to_zip(
    view: Visualization,
    document: str,
    maps: Sequence[NDArray[np.floating]] = (),
    texts: Mapping[str, str] = MappingProxyType({}),
) -> bytes:
    """Pack the pictures, ``visualization.json`` and ``texts`` by name, all of one fixed date.

    With the activation ``maps`` (H, W) of the view's features the numbers come too, packed.
    """
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(zipfile.ZipInfo("visualization.json"), document)
        for each in view.projections:
            name, patch = entry_names(each, view.show)
            if name and each.picture:
                archive.writestr(zipfile.ZipInfo(name), encode_png(each.picture))
            archive.writestr(zipfile.ZipInfo(patch), encode_png(each.patch))
        for entry, text in texts.items():
            archive.writestr(zipfile.ZipInfo(entry), text)
        if maps:
            _pack(archive, "arrays.npz", to_npz(view))
            _pack(archive, "activation-maps.npz", _maps_to_npz(view, maps))
    return file.getvalue()


def _pack(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    """Put arrays, which are zero for the most part, into an archive."""
    archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED, 1)


def _maps_to_npz(view: Visualization, maps: Sequence[NDArray[np.floating]]) -> bytes:
    """Write the activation maps (N, H, W) of a view's features, with their numbers."""
    file = io.BytesIO()
    features = np.array([each.feature for each in view.projections], np.int64)
    np.savez(file, features=features, maps=np.stack(maps).astype(np.float32, copy=False))
    return file.getvalue()


def to_npz(view: Visualization) -> bytes:
    """Write the numbers as arrays: projections (N, C, H, W) on the whole input, in its units.

    They are exact, however the view is shown. An npz is a ZIP: its comment says whose weights
    they are of.
    """
    width, height = view.input
    size = Size(view.channels, height, width)
    canvases = np.stack([each.canvas(size) for each in view.reconstructions])
    file = io.BytesIO()
    np.savez(
        file,
        features=np.array([each.feature for each in view.projections], np.int64),
        units=np.array([each.unit or (-1, -1) for each in view.projections], np.int64),
        activations=np.array([each.activation for each in view.projections], np.float32),
        receptive_fields=np.array([each.receptive_field for each in view.projections], np.int64),
        projections=canvases.astype(np.float32, copy=False),
    )
    with zipfile.ZipFile(file, "a") as archive:
        archive.comment = provenance_text(view, show="exact").encode()
    return file.getvalue()
