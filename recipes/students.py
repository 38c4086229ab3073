"""Teacher and student: the network that knows, and the one that is to learn from it."""

import logging
from pathlib import Path

import numpy as np
import torch
from torch import nn

from models.workbench import (
    Network,
    Normalization,
    Preprocessing,
    architecture,
    build,
    build_on_meta,
)

POOL5 = 256 * 6 * 6
BVLC = Preprocessing(227, 256, "BGR", 1.0, (104.0, 117.0, 123.0), (1.0, 1.0, 1.0))

log = logging.getLogger(__name__)


def make_student(name: str, classes: tuple[str, ...]) -> Network:
    """Build a random network whose only fully connected layer tells these classes."""
    shapes = {
        key: tuple(t.shape) for key, t in build_on_meta(name).tensors().items() if "fc" not in key
    }
    network = build(
        architecture(name), {**shapes, "fc8.weight": (len(classes), POOL5)}, classes=classes
    )
    for key, tensor in network.tensors().items():
        if key.endswith("bias"):
            nn.init.zeros_(tensor)
        elif key == "conv1.weight":  # with Kaiming's 0.12 the filters stay noise for hours
            nn.init.normal_(tensor, 0, 0.01)
        else:
            nn.init.kaiming_normal_(tensor)
    return network


@torch.no_grad()
def revive(network: Network, share: float) -> None:
    """Start those first filters again whose strength is below this share of the strongest."""
    filters, bias = (network.tensors()[f"conv1.{part}"] for part in ("weight", "bias"))
    strength = filters.flatten(1).norm(dim=1)
    dead = strength < share * strength.max()
    filters[dead] = torch.randn_like(filters[dead]) * 0.01
    bias[dead] = 0
    log.info("%d first filters start again", int(dead.sum()))


def read_teacher(path: Path) -> Network:
    """Read BVLC's AlexNet from an .npz of ``convN.weight`` and ``convN.bias``."""
    with np.load(path) as file:
        tensors = {key: torch.from_numpy(file[key]).float() for key in file.files}
    norm = Normalization("norm-pool", alpha=1e-4, k=1.0)
    shapes = {key: tuple(tensor.shape) for key, tensor in tensors.items()}
    network = build(architecture("alexnet2012"), shapes, norm=norm, preprocessing=BVLC)
    network.assign_tensors(tensors)
    return network.requires_grad_(False)
