"""What came out: accuracy on what was held out."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor

from models.workbench import Network, framed, to_pixels
from recipes.digits import MNIST_TRAINING, read_digits
from recipes.photos import BATCH, is_held_out, label_photos


class Accuracy(NamedTuple):
    """Shares of held-out pictures that a classifier gets right."""

    pictures: int
    first: float
    among_five: float
    mean_of_classes: float


@torch.inference_mode()
def evaluate(network: Network, data: Path) -> Accuracy:
    """Measure a classifier on what was held out of a file of digits or a folder of photos."""
    asked = read_test_digits(data) if data.is_file() else read_held_out(network, data)
    scores, labels = [], []
    while batch := list(islice(asked, BATCH)):
        pictures = [framed(picture, network.preprocessing) for picture, _ in batch]
        pixels = torch.cat([to_pixels(picture, network.preprocessing) for picture in pictures])
        scores.append(network(pixels).flatten(1))
        labels += [label for _, label in batch]
    return _count(torch.cat(scores), torch.tensor(labels))


def _count(scores: Tensor, labels: Tensor) -> Accuracy:
    right = (scores.argmax(1) == labels).double()
    five = (scores.topk(5).indices == labels[:, None]).any(1).double()
    classes = torch.stack([right[labels == label].mean() for label in labels.unique()])
    return Accuracy(len(labels), float(right.mean()), float(five.mean()), float(classes.mean()))


def read_test_digits(file: Path) -> Iterator[tuple[Image.Image, int]]:
    """Yield the digits that were not learned, with their labels."""
    images, labels = read_digits(file)
    for image, label in zip(images[MNIST_TRAINING:, 0], labels[MNIST_TRAINING:], strict=True):
        yield Image.fromarray(image.numpy()), int(label)


def read_held_out(network: Network, folder: Path) -> Iterator[tuple[Image.Image, int]]:
    """Yield the photos of Caltech-101 that were not learned, with the number of their class."""
    assert network.classes is not None, "the weights have no classes"
    names = [str(path.relative_to(folder)) for path in sorted(folder.rglob("*.jpg"))]
    for name, label in label_photos(names).items():
        if is_held_out(name):
            with Image.open(folder / name) as photo:
                yield photo.convert("RGB"), network.classes.index(label)
