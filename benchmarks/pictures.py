"""What runs in processes that decode; it imports no torch, so that they begin soon."""

import io

from PIL import Image


def decode(content: bytes) -> Image.Image:
    """Decode as Pillow does."""
    return Image.open(io.BytesIO(content)).convert("RGB")
