"""VGG-16 as the tutor of all starters at once, on the same crops: made for a GPU.

A pupil (zfnet, alexnet) learns to answer as the tutor's classifier does, and to know the tutor's
last maps. The half-wide vgg16 goes on imitating its maps; its classifier learns the tutor's
answers and moves no map. Mixed photos are for the answers alone: no photo is like them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.workbench import Network, repeat
from recipes.album import Album, mix, tint
from recipes.descent import cosine, descend
from recipes.features import roughness
from recipes.halves import WEIGHTS, Imitation, show, trace_convs

TEMPERATURE = 2.0
LAST = "conv5_3"
"""The tutor's maps that a pupil must know."""
EVERY = 250
"""Steps between two checkpoints."""
MEASURED = 64
"""Crops of each of the eight batches on which mean and deviation are measured."""
SIDES = (224, 160, 112)
"""The sides of the crops that the half-wide network learns from, in turn."""


class Tutor:
    """A VGG-16 with a classifier, and the mean and deviation of its last maps."""

    def __init__(self, network: Network, album: Album) -> None:
        self.network = network
        drawn = (album.draw(MEASURED, 224)[1] for _ in range(8))
        maps = torch.cat([self.answer(crops)[0][LAST].float() for crops in drawn])
        channels = maps.transpose(0, 1).flatten(1)
        deviation = channels.std(1)
        self.mean = channels.mean(1)[:, None, None]
        self.deviation = deviation.clamp(min=float(deviation.median()) / 10)[:, None, None]

    @torch.no_grad()
    def answer(self, crops: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Return the maps of crops, before the ReLU, and the class scores (N, classes)."""
        with torch.autocast(crops.device.type, torch.bfloat16):
            maps, scores = trace_convs(self.network.layers, show(self.network, crops))
        return maps, scores.float().flatten(1)

    def standardize(self, maps: Mapping[str, Tensor]) -> Tensor:
        """Return the last maps in units of their deviation."""
        return (maps[LAST].float() - self.mean) / self.deviation


class Pupil(nn.Module):
    """A network that learns from the tutor; a linear map translates its last maps to the tutor's.

    The translation is dropped after training.
    """

    def __init__(self, network: Network, tutor: Tutor) -> None:
        super().__init__()
        self.network, self.tutor = network, tutor
        own, asked = (len(n.tensors()[f"{n.last_conv}.bias"]) for n in (network, tutor.network))
        self.translate = nn.Conv2d(own, asked, 1)

    def forward(self, crops: Tensor) -> tuple[Tensor, Tensor]:
        """Return the guess of the tutor's standardized last maps, and class scores."""
        with torch.autocast(crops.device.type, torch.bfloat16):
            maps, scores = trace_convs(self.network.layers, show(self.network, crops))
            known = self.translate(maps[self.network.last_conv].relu())
        return known.float(), scores.float().flatten(1)


def agree(scores: Tensor, wanted: Tensor) -> Tensor:
    """Return how far scores are from the tutor's: the divergence of their softened shares."""
    soft = F.log_softmax(scores / TEMPERATURE, 1)
    truth = F.log_softmax(wanted / TEMPERATURE, 1)
    return F.kl_div(soft, truth, reduction="batchmean", log_target=True) * TEMPERATURE**2


def tutor_all(
    pupils: Sequence[Network],
    half: Network,
    tutor: Tutor,
    imitation: Imitation,
    album: Album,
    labels: Tensor,
    steps: int,
    checkpoint: Path,
    *,
    batch: int = 256,
    peak: float = 6e-4,
) -> None:
    """Let all learn from the same crops, going on from the checkpoint.

    ``labels`` are the numbers of the photos' classes, -1 where a photo has none.
    """
    device = album.pages.device
    desks = [Pupil(network, tutor) for network in pupils]
    learners = nn.ModuleList([*desks, half])
    learners.to(device).to(memory_format=torch.channels_last).requires_grad_(True)
    groups = [group for desk in desks for group in _groups(desk)] + _half_groups(half)
    optimizer = torch.optim.AdamW(groups, fused=device.type == "cuda")

    def learn(step: int) -> dict[str, float]:
        chosen, crops = album.draw(batch, 224)
        plain, mixed = tint(crops).split([batch // 2, batch - batch // 2])
        crops = torch.cat([plain, mix(mixed)])
        maps, wanted = tutor.answer(crops)
        last, truth = tutor.standardize(maps), labels[chosen[: batch // 2]]
        losses = {d.network.name: _lesson(d, crops, last, wanted, truth) for d in desks}
        losses |= _imitate(half, imitation, tutor, plain, SIDES[step % len(SIDES)])
        descend(optimizer, torch.stack(list(losses.values())).sum(), cosine(step, steps, peak))
        spoken = (step + 1) % EVERY == 0 or step + 1 == steps  # reading a number waits for the GPU
        return {name: loss.item() for name, loss in losses.items()} if spoken else {}

    learners.train()
    repeat(learn, steps, checkpoint, {"learners": learners, "optimizer": optimizer}, EVERY)
    learners.eval().requires_grad_(False)


def _lesson(desk: Pupil, crops: Tensor, last: Tensor, wanted: Tensor, truth: Tensor) -> Tensor:
    known, scores = desk(crops)
    known = F.interpolate(known, size=last.shape[2:], mode="bilinear")
    named = truth >= 0
    guess = F.cross_entropy(scores[: len(truth)][named], truth[named])
    filters = desk.network.tensors()["conv1.weight"]
    error = F.mse_loss(known, last)
    return agree(scores, wanted) + 0.2 * guess + error + 1e-3 * roughness(filters)


def _imitate(
    half: Network, imitation: Imitation, tutor: Tutor, crops: Tensor, side: int
) -> dict[str, Tensor]:
    """Return how far each imitated map is from the tutor's, and the class scores."""
    crops = F.interpolate(crops, size=(side, side), mode="bilinear", antialias=True)
    known, wanted = tutor.answer(crops)
    *body, head = half.layers
    with torch.autocast(crops.device.type, torch.bfloat16):
        maps, pool5 = trace_convs(body, show(half, crops))
        scores = head(pool5.detach()).float().flatten(1)
    errors = imitation.compare(maps, imitation.pick(known))
    losses = {name: WEIGHTS[name] * error for name, error in errors.items()}
    return losses | {half.name: agree(scores, wanted)}


def _groups(desk: Pupil) -> list[dict[str, object]]:
    """Keep the first filters; let fc8, whose weights are small, go slowly."""
    own = desk.network.tensors()
    first, head = own["conv1.weight"], [own["fc8.weight"], own["fc8.bias"]]
    rest = [p for p in desk.parameters() if not any(p is q for q in (first, *head))]
    return [
        {"params": [first], "weight_decay": 0.02, "share": 0.1},
        {"params": head, "weight_decay": 0.1, "share": 0.03},
        {"params": rest, "weight_decay": 0.02, "share": 1.0},
    ]


def _half_groups(half: Network) -> list[dict[str, object]]:
    own = half.tensors()
    head = [own["fc8.weight"], own["fc8.bias"]]
    rest = [p for p in half.parameters() if not any(p is q for q in head)]
    return [
        {"params": rest, "weight_decay": 1e-4, "share": 1.0},
        {"params": head, "weight_decay": 0.5, "share": 0.05},
    ]
