"""LeNet-5 on handwritten digits."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from models.workbench import Network, architecture, build, repeat
from recipes.descent import cosine, descend
from recipes.photos import to_network_pixels

MNIST_TRAINING = 60_000


def learn_digits(file: Path, steps: int, checkpoint: Path) -> Network:
    """Train LeNet-5 on an .npz of MNIST, each digit anywhere in the margin of two pixels."""
    torch.manual_seed(0)
    network = build(architecture("lenet5"))
    network.classes = tuple("0123456789")
    images, labels = (part[:MNIST_TRAINING] for part in read_digits(file))
    optimizer = torch.optim.Adam(network.parameters())

    def learn(step: int) -> dict[str, float]:
        chosen = torch.randint(len(images), (128,))
        down, across = torch.randint(5, (2,)).tolist()
        seen = F.pad(images[chosen], (across, 4 - across, down, 4 - down))
        scores = network(to_network_pixels(seen, 0, 32, network.preprocessing)).flatten(1)
        loss = F.cross_entropy(scores, labels[chosen])
        descend(optimizer, loss, cosine(step, steps, 4e-3))
        return {"loss": loss.item()}

    repeat(learn, steps, checkpoint, {"network": network, "optimizer": optimizer}, every=500)
    return network


def read_digits(file: Path) -> tuple[Tensor, Tensor]:
    """Return images (N, 1, 28, 28) uint8 and labels (N,): 60,000 to learn, the rest to test."""
    with np.load(file) as digits:
        return torch.from_numpy(digits["images"])[:, None], torch.from_numpy(
            digits["labels"]
        ).long()
