"""Photos to begin with: free ones that scikit-image ships."""

import io
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from PIL import Image, ImageOps

SIZE = (288, 216)


@dataclass(frozen=True)
class Sample:
    """A photo that comes with the project, and whom to thank for it."""

    name: str
    file: str
    title: str
    credit: str


SAMPLES = (
    Sample("chelsea", "chelsea.png", "Cat", "Stefan van der Walt, CC0"),
    Sample("astronaut", "astronaut.png", "Astronaut", "NASA, public domain"),
    Sample("coffee", "coffee.png", "Cup", "Rachel Michetti, CC0"),
    Sample("rocket", "rocket.jpg", "Rocket", "SpaceX, public domain"),
    Sample("camera", "camera.png", "Photographer", "Lav Varshney, CC0"),
    Sample("retina", "retina.jpg", "Retina", "Mikael Häggström, CC0"),
)


def find_sample(name: str) -> Sample | None:
    """Find a sample by name."""
    return next((each for each in SAMPLES if each.name == name), None)


@cache
def read_sample(sample: Sample) -> bytes:
    """Read a sample's file."""
    spec = find_spec("skimage")
    assert spec is not None and spec.submodule_search_locations, "scikit-image is a dependency"
    return Path(spec.submodule_search_locations[0], "data", sample.file).read_bytes()


@cache
def thumbnail(sample: Sample, kind: Literal["JPEG", "WEBP"]) -> bytes:
    """Return a small picture of a sample, 4 to 3."""
    file = io.BytesIO()
    with Image.open(io.BytesIO(read_sample(sample))) as picture:
        small = ImageOps.fit(picture.convert("RGB"), SIZE, Image.Resampling.LANCZOS)
    small.save(file, kind, quality=85)
    return file.getvalue()
