"""Files that are whole or not there, whenever whoever writes them is interrupted."""

import os
from collections.abc import Callable
from pathlib import Path


def replace_file(file: Path, write: Callable[[Path], object]) -> None:
    """Write a file so that an interruption leaves the old one or the new one, whole."""
    unfinished = file.with_name(f"{file.name}.part")
    try:
        write(unfinished)
        unfinished.chmod(0o644)  # safetensors lets nobody else read its files
        with unfinished.open("rb") as written:
            os.fsync(written.fileno())
        unfinished.replace(file)
    finally:
        unfinished.unlink(missing_ok=True)
