"""First stage: the student learns to reproduce its teacher's feature maps."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.workbench import Network, repeat
from recipes.descent import cosine, descend
from recipes.photos import ALIGNMENTS, SMALL, choose, to_network_pixels

TARGETS = {"into conv2": 0.5, "into conv3": 0.5, "conv3": 0.5, "conv4": 0.5, "conv5": 1.0}
"""What the student must reproduce, and how much each counts; convN is before its ReLU."""


def trace(network: Network, pixels: Tensor, until: str = "conv5") -> dict[str, Tensor]:
    """Run forward and keep each convolution's input and its output before the ReLU."""
    maps: dict[str, Tensor] = {}
    for layer in network.layers:
        if layer.kind != "conv":
            pixels = layer(pixels)
            continue
        maps[f"into {layer.name}"] = pixels
        if f"into {layer.name}" == until:
            break
        maps[layer.name] = pixels = layer.steps[0](pixels)
        if layer.name == until:
            break
        for step in layer.steps[1:]:
            pixels = step(pixels)
    return {name: kept for name, kept in maps.items() if name in TARGETS}


class Lesson(nn.Module):
    """A student and its teacher: the student must reproduce the teacher's maps of a crop.

    Each map is measured in units of the teacher's deviation, channel by channel. Where widths
    differ, and below conv2, a linear map translates; it is dropped after training.
    """

    def __init__(self, student: Network, teacher: Network) -> None:
        super().__init__()
        self.student, self.teacher = student, teacher
        self.alignment = ALIGNMENTS[student.name]
        asked, known = (_widths(network) for network in (student, teacher))
        differ = [t for t in TARGETS if t == "into conv2" or asked[t] != known[t]]
        self.adapters = nn.ModuleDict({t: nn.Conv2d(asked[t], known[t], 1) for t in differ})
        for target in TARGETS:
            scale = torch.stack([torch.zeros(known[target]), torch.ones(known[target])])
            self.register_buffer(f"scale {target}", scale)

    @torch.no_grad()
    def calibrate(self, photos: Sequence[Tensor], batches: int) -> None:
        """Measure mean and deviation of the teacher's maps over some batches of crops."""
        side = self.alignment.crop(*SMALL)
        seen = [self.teach(choose(photos, side)[1], SMALL[1]) for _ in range(batches)]
        for target in TARGETS:
            channels = torch.cat([maps[target] for maps in seen]).transpose(0, 1).flatten(1)
            deviation = channels.std(1)
            # without a floor the teacher's dead channels dominate the loss
            floor = float(deviation.median()) / 10
            scale = torch.stack([channels.mean(1), deviation.clamp(min=floor)])
            self.get_buffer(f"scale {target}").copy_(scale)

    def teach(self, crops: Tensor, side: int, until: str = "conv5") -> dict[str, Tensor]:
        """Return the teacher's maps of its square in the crops."""
        pixels = to_network_pixels(crops, self.alignment.teacher, side, self.teacher.preprocessing)
        with torch.no_grad():
            return trace(self.teacher, pixels, until)

    def show(self, crops: Tensor, side: int) -> Tensor:
        """Return the student's pixels of its square in the crops."""
        return to_network_pixels(crops, self.alignment.student, side, self.student.preprocessing)

    def forward(self, maps: dict[str, Tensor], wanted: dict[str, Tensor]) -> Tensor:
        """Compare the student's maps with the teacher's: the mean squared error of each."""
        return torch.stack([self._error(t, maps[t], wanted[t]) for t in TARGETS if t in wanted])

    def _error(self, target: str, answer: Tensor, truth: Tensor) -> Tensor:
        mean, deviation = self.get_buffer(f"scale {target}")[:, None, :, None, None]
        if target == "into conv2":
            answer = answer[:, :, self.alignment.low, self.alignment.low]
        if target in self.adapters:
            answer = self.adapters[target](answer)
        else:
            answer = (answer - mean) / deviation
        return F.mse_loss(answer.float(), ((truth - mean) / deviation).float())


def _widths(network: Network) -> dict[str, int]:
    convs = [layer.steps[0] for layer in network.layers if layer.kind == "conv"]
    ends = [step.out_channels for step in convs if isinstance(step, nn.Conv2d)]
    return dict(zip(TARGETS, ends, strict=True))


def roughness(filters: Tensor) -> Tensor:
    """Return the squared difference of neighbouring weights, which keeps filters smooth."""
    across, down = filters.diff(dim=3), filters.diff(dim=2)
    return across.square().sum() + down.square().sum()


def distil(
    lesson: Lesson,
    photos: Sequence[Tensor],
    steps: int,
    checkpoint: Path,
    *,
    first: int = 400,
    peak: float = 1e-3,
    batches: int = 8,
) -> None:
    """Let the student learn the teacher's features; its first layer alone for ``first`` steps."""
    lesson.calibrate(photos, batches)
    optimizer = make_optimizer(lesson)
    filters = lesson.student.tensors()["conv1.weight"]
    weights = torch.tensor(list(TARGETS.values()))

    def learn(step: int) -> dict[str, float]:
        alone = step < first
        until = "into conv2" if alone else "conv5"
        _, crops = choose(photos, lesson.alignment.crop(*SMALL))
        with torch.autocast("cpu", torch.bfloat16):
            wanted = lesson.teach(crops, SMALL[1], until)
            errors = lesson(trace(lesson.student, lesson.show(crops, SMALL[0]), until), wanted)
        loss = (errors * weights[: len(errors)]).sum() + 1e-3 * roughness(filters)
        rate = cosine(step, first, peak) if alone else cosine(step - first, steps - first, peak)
        descend(optimizer, loss, rate)
        return dict(zip(TARGETS, errors.tolist(), strict=False))

    repeat(learn, steps, checkpoint, {"lesson": lesson, "optimizer": optimizer})


def make_optimizer(lesson: Lesson) -> torch.optim.Optimizer:
    """Decay the first filters faster; let fc8, whose inputs are large, learn a tenth as fast."""
    own = lesson.student.tensors()
    first, head = own["conv1.weight"], [own["fc8.weight"], own["fc8.bias"]]
    rest = [p for p in lesson.parameters() if not any(p is q for q in (first, *head))]
    groups = [
        {"params": [first], "weight_decay": 0.02, "share": 1.0},
        {"params": [p for p in rest if p.requires_grad], "weight_decay": 1e-3, "share": 1.0},
        {"params": head, "weight_decay": 0.1, "share": 0.1},
    ]
    return torch.optim.AdamW(groups)
