"""A VGG-16 half as wide: each of its maps imitates one map of the published network.

Three stages: choose the teacher's maps that matter most, regress them layer by layer on the
student's own maps below, then tune all layers together.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.workbench import Layer, Network, Preprocessing, architecture, build, repeat
from recipes.descent import cosine, descend
from recipes.photos import BATCH, cut, to_network_pixels

log = logging.getLogger(__name__)

CAFFE = Preprocessing(224, 256, "BGR", 1.0, (103.939, 116.779, 123.68), (1.0, 1.0, 1.0))
SIDE = 112
"""Side of the crops to learn from."""
WEIGHTS = {
    "conv2_2": 0.2,
    "conv3_3": 0.4,
    "conv4_3": 0.6,
    "conv5_1": 0.7,
    "conv5_2": 0.85,
    "conv5_3": 1.0,
}
"""The layers that are compared when all are tuned together, and how much each counts."""

HEAD_SIDE = 4
"""Side to which pool5 is averaged before the classifier; the paper's 7 would take 2.5 MB."""

Maps = Mapping[str, Tensor]
"""For each layer the numbers of the teacher's maps that the student imitates, (student's maps,)."""


def read_vgg(path: Path) -> Network:
    """Read the published VGG-16's convolutions from an .npz of ``convB_N.weight`` and ``.bias``."""
    with np.load(path) as file:
        tensors = {key: torch.from_numpy(file[key]).float() for key in file.files}
    shapes = {key: tuple(tensor.shape) for key, tensor in tensors.items()}
    network = build(architecture("vgg16"), shapes, preprocessing=CAFFE)
    network.assign_tensors(tensors)
    return network.requires_grad_(False).to(memory_format=torch.channels_last)


def read_maps(path: Path) -> Maps:
    """Read which of the teacher's maps a student imitates, from a JSON of lists."""
    return {name: torch.tensor(rows) for name, rows in json.loads(path.read_text()).items()}


def trace_convs(layers: Iterable[Layer], pixels: Tensor) -> tuple[dict[str, Tensor], Tensor]:
    """Run forward; return every convolution's output before its ReLU, and what comes out last."""
    maps: dict[str, Tensor] = {}
    for layer in layers:
        first, *rest = layer.steps
        pixels = first(pixels)
        if layer.kind == "conv":
            maps[layer.name] = pixels
        for step in rest:
            pixels = step(pixels)
    return maps, pixels


def draw_crops(photos: Sequence[Tensor], count: int, side: int = SIDE) -> Tensor:
    """Draw random crops of random photos: (count, 3, side, side) uint8."""
    chosen = torch.randint(len(photos), (count,)).tolist()
    return torch.stack([cut(photos[number], side, 0.5, 1.0) for number in chosen])


def show(network: Network, crops: Tensor) -> Tensor:
    """Return crops as a network's pixels."""
    return to_network_pixels(crops.to(network.device), 0, crops.shape[2], network.preprocessing)


@torch.no_grad()
def choose_maps(teacher: Network, photos: Sequence[Tensor], share: float = 0.5) -> Maps:
    """Choose the maps of each layer that vary most and are read most.

    A map counts by its deviation times the sum of the absolute weights that read it.
    """
    maps, _ = trace_convs(teacher.layers, show(teacher, draw_crops(photos, BATCH)))
    convs = [layer for layer in teacher.layers if layer.kind == "conv"]
    readers = [layer.steps[0] for layer in convs[1:]]
    chosen = {}
    for layer, reader in zip(convs, [*readers, None], strict=True):
        worth = maps[layer.name].transpose(0, 1).flatten(1).std(1)
        if isinstance(reader, nn.Conv2d):
            worth = worth * reader.weight.abs().sum((0, 2, 3))
        count = max(1, round(share * len(worth)))
        chosen[layer.name] = worth.topk(count).indices.sort().values
    return chosen


def make_half(teacher: Network, maps: Maps) -> Network:
    """Build a network with as many maps as were chosen; its first layer is the teacher's own."""
    tensors, below = {}, torch.arange(teacher.input_size.channels)
    for layer in teacher.layers:
        if layer.kind == "conv":
            own = dict(layer.tensors())
            rows = maps[layer.name]
            tensors[f"{layer.name}.weight"] = own[f"{layer.name}.weight"][rows][:, below].clone()
            tensors[f"{layer.name}.bias"] = own[f"{layer.name}.bias"][rows].clone()
            below = rows
    shapes = {key: tuple(tensor.shape) for key, tensor in tensors.items()}
    half = build(teacher.architecture, shapes, preprocessing=teacher.preprocessing)
    half.assign_tensors(tensors)
    return half.to(memory_format=torch.channels_last)


@torch.no_grad()
def regress(
    half: Network,
    teacher: Network,
    maps: Maps,
    photos: Sequence[Tensor],
    *,
    crops: int = 1000,
    places: int = 30,
    ridge: float = 1e-3,
) -> None:
    """Solve each layer in turn: the chosen maps from the student's own 3 x 3 patches below.

    ``places`` patches are taken of each of ``crops`` crops; ``ridge`` is relative to the mean
    square of the patches.
    """
    for layer in half.layers:
        if layer.kind == "conv":
            _regress_layer(
                half, teacher, layer.name, maps[layer.name], photos, crops, places, ridge
            )
            log.info("%s is regressed", layer.name)


def _regress_layer(
    half: Network,
    teacher: Network,
    name: str,
    rows: Tensor,
    photos: Sequence[Tensor],
    crops: int,
    places: int,
    ridge: float,
) -> None:
    patches, answers = [], []
    conv = half.layer(name).steps[0]
    assert isinstance(conv, nn.Conv2d) and not isinstance(conv.padding, str)
    for _ in range(-(-crops // BATCH)):
        batch = draw_crops(photos, BATCH)
        below = _into(half, show(half, batch), name)
        truth = _into(teacher, show(teacher, batch), name)
        truth = teacher.layer(name).steps[0](truth)[:, rows]
        columns = F.unfold(below, conv.kernel_size, padding=conv.padding, stride=conv.stride)
        at = torch.randint(columns.shape[2], (places,))
        patches.append(columns[:, :, at].transpose(1, 2).flatten(0, 1))
        answers.append(truth.flatten(2)[:, :, at].transpose(1, 2).flatten(0, 1))
    x = torch.cat(patches).double()
    x = torch.cat([x, torch.ones(len(x), 1, dtype=x.dtype)], 1)
    gram = x.T @ x
    gram += ridge * gram.diagonal().mean() * torch.eye(len(gram), dtype=x.dtype)
    solved = torch.linalg.solve(gram, x.T @ torch.cat(answers).double()).T.float()
    conv.weight.copy_(solved[:, :-1].view_as(conv.weight))
    assert conv.bias is not None
    conv.bias.copy_(solved[:, -1])


def _into(network: Network, pixels: Tensor, name: str) -> Tensor:
    """Run forward up to the input of a layer."""
    for layer in network.layers:
        if layer.name == name:
            break
        pixels = layer(pixels)
    return pixels


class Imitation:
    """How far a student's maps are from its teacher's, in units of the teacher's deviations."""

    def __init__(self, teacher: Network, maps: Maps, photos: Sequence[Tensor]) -> None:
        self.teacher, self.maps = teacher, maps
        seen = [self.teach(draw_crops(photos, BATCH)) for _ in range(8)]
        self.deviations = {}
        for name in WEIGHTS:
            deviation = torch.cat([each[name] for each in seen]).transpose(0, 1).flatten(1).std(1)
            floor = float(deviation.median()) / 10
            self.deviations[name] = deviation.clamp(min=floor)[:, None, None]

    @torch.no_grad()
    def teach(self, crops: Tensor) -> dict[str, Tensor]:
        """Return the teacher's chosen maps, before the ReLU."""
        with torch.autocast(self.teacher.device.type, torch.bfloat16):
            return self.pick(trace_convs(self.teacher.layers, show(self.teacher, crops))[0])

    def pick(self, maps: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return those of the teacher's maps that a student imitates."""
        device = self.teacher.device
        return {
            name: maps[name].index_select(1, self.maps[name].to(device)).float() for name in WEIGHTS
        }

    def errors(self, half: Network, crops: Tensor) -> dict[str, Tensor]:
        """Return each layer's mean squared error: the share of variance not explained."""
        known = self.teach(crops)
        with torch.autocast(half.device.type, torch.bfloat16):
            maps, _ = trace_convs(half.layers, show(half, crops))
        return self.compare(maps, known)

    def compare(self, maps: Mapping[str, Tensor], known: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Compare a student's maps with those that it imitates, layer by layer."""
        return {
            name: ((maps[name].float() - known[name]) / self.deviations[name]).square().mean()
            for name in WEIGHTS
        }


def imitate(
    half: Network,
    imitation: Imitation,
    photos: Sequence[Tensor],
    steps: int,
    checkpoint: Path,
    *,
    peak: float = 4e-4,
) -> None:
    """Tune all layers together, going on from the checkpoint."""
    half.requires_grad_(True)
    optimizer = torch.optim.AdamW(half.parameters(), weight_decay=1e-4)

    def learn(step: int) -> dict[str, float]:
        errors = imitation.errors(half, draw_crops(photos, BATCH))
        loss = torch.stack([WEIGHTS[name] * error for name, error in errors.items()]).sum()
        descend(optimizer, loss, cosine(step, steps, peak))
        return {name: error.item() for name, error in errors.items()}

    repeat(learn, steps, checkpoint, {"half": half, "optimizer": optimizer})
    half.requires_grad_(False)


@torch.no_grad()
def measure(
    half: Network, imitation: Imitation, photos: Sequence[Tensor], batches: int = 12
) -> dict[str, float]:
    """Measure the share of variance not explained on photos that were not learned."""
    torch.manual_seed(0)
    rounds = [imitation.errors(half, draw_crops(photos, BATCH)) for _ in range(batches)]
    return {name: float(torch.stack([r[name] for r in rounds]).mean()) for name in WEIGHTS}


def add_head(half: Network, classes: tuple[str, ...], side: int = HEAD_SIDE) -> Network:
    """Return the network with a classifier on pool5, averaged to ``side`` x ``side``; all zero."""
    tensors = dict(half.tensors())
    inputs = half.describe()[-1].shape.channels * side**2
    tensors["fc8.weight"], tensors["fc8.bias"] = (
        torch.zeros(len(classes), inputs),
        torch.zeros(len(classes)),
    )
    shapes = {key: tuple(tensor.shape) for key, tensor in tensors.items()}
    network = build(half.architecture, shapes, preprocessing=half.preprocessing, classes=classes)
    network.assign_tensors(tensors)
    return network.to(memory_format=torch.channels_last)
