"""Folders of small photos for tests: crops of a free photo, some equal, some no photos at all."""

from __future__ import annotations

import io
import os
import signal
from pathlib import Path

from PIL import Image

from models.errors import InvalidChoice

BROKEN = {"broken.jpg": b"no photo", "deep/empty.png": b"", "phone.heic": b"\0\0\0\x18ftypheic" * 3}


def fill_folder(folder: Path, count: int = 40) -> Path:
    """Write so many crops of a cat, the last two equal to the first, and what is no photo."""
    from skimage import data  # here, since processes that decode need none of it

    cat = Image.fromarray(data.chelsea())  # type: ignore[no-untyped-call]
    for number in range(count):
        place = number if number < count - 2 else 0
        left, top = 37 * place % 380, 23 * place % 230
        kind = ("a", "b/c", "ü")[number % 3]
        file = folder / kind / f"{number * 7 % count:03d}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        cat.crop((left, top, left + 60, top + 48)).save(file)
    for name, content in BROKEN.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
    (folder / "notes.txt").write_text("passed over")
    return folder


class Unreadable(InvalidChoice):
    """What ``decode`` raises."""


def decode(data: bytes) -> Image.Image:
    """Decode, or die where the photo says so."""
    if data == b"die":
        os.kill(os.getpid(), signal.SIGKILL)
    try:
        return Image.open(io.BytesIO(data)).convert("RGB")
    except Exception:
        raise Unreadable("damaged") from None
