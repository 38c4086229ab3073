"""Second and third stage: the classes, with fc8 alone, then with the whole network."""

import logging
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.workbench import Network, repeat, replace_file
from recipes.descent import cosine, descend
from recipes.features import TARGETS, Lesson, make_optimizer, roughness, trace
from recipes.photos import BATCH, NATIVE, choose, cut, to_network_pixels

log = logging.getLogger(__name__)


def learn_classes(
    network: Network,
    views: Sequence[Tensor],
    labels: Tensor,
    steps: int,
    checkpoint: Path,
    *,
    dropout: float = 0.5,
    decay: float = 0.1,
    smoothing: float = 0.05,
    peak: float = 5e-4,
) -> None:
    """Learn fc8 alone, on pool5 of some views of every photo, from zero."""
    head = network.layer("fc8")
    for step in head.modules():
        if isinstance(step, nn.Dropout):
            step.p = dropout
    for parameter in head.parameters():
        nn.init.zeros_(parameter)
    strength = float(views[0].float().square().mean().sqrt())
    optimizer = torch.optim.AdamW(head.parameters(), weight_decay=decay)

    def learn(step: int) -> dict[str, float]:
        view = views[step % len(views)]
        chosen = torch.randint(len(labels), (256,))
        head.train()
        scores = head(view[chosen].float()).flatten(1)
        loss = F.cross_entropy(scores, labels[chosen], label_smoothing=smoothing)
        # the same on features of unit strength, whatever theirs is
        descend(optimizer, loss, cosine(step, steps, peak / strength))
        head.eval()
        return {"loss": loss.item()}

    repeat(learn, steps, checkpoint, {"head": head, "optimizer": optimizer})


@torch.no_grad()
def center_scores(network: Network) -> None:
    """Take the mean over the classes out of fc8, so that a score compares with the average class.

    Softmax never sees that mean, so learning lets it drift; left in, every class would score below
    zero, and a projection of the likeliest would show what speaks against it.
    """
    for parameter in network.layer("fc8").parameters():
        parameter.sub_(parameter.mean(0, keepdim=True))


def view_photos(network: Network, photos: Sequence[Tensor], count: int, file: Path) -> list[Tensor]:
    """Return pool5 (N, 256, 6, 6) float16 of several random views of each photo, kept in a file."""
    views: list[Tensor] = torch.load(file, weights_only=True) if file.exists() else []
    while len(views) < count:
        views.append(_pool5(network, photos, len(views)))
        replace_file(file, lambda part: torch.save(views, part))
        log.info("view %d of %d photos", len(views), len(photos))
    return views


@torch.inference_mode()
def _pool5(network: Network, photos: Sequence[Tensor], view: int) -> Tensor:
    """Return pool5 of one view of each photo, (N, 256, 6, 6) float16."""
    torch.manual_seed(view)
    pooled = []
    for start in range(0, len(photos), BATCH):
        crops = [cut(photo, NATIVE[0], 0.7, 1.0) for photo in photos[start : start + BATCH]]
        pixels = to_network_pixels(torch.stack(crops), 0, NATIVE[0], network.preprocessing)
        with torch.autocast("cpu", torch.bfloat16):
            for layer in network.layers[:-1]:
                pixels = layer(pixels)
        pooled.append(pixels.half())
    return torch.cat(pooled)


def tune(
    lesson: Lesson,
    photos: Sequence[Tensor],
    labels: Tensor,
    steps: int,
    checkpoint: Path,
    *,
    peak: float = 2e-4,
) -> None:
    """Let the whole student learn the classes while it goes on reproducing its teacher."""
    student, weights = lesson.student, torch.tensor(list(TARGETS.values()))
    filters = student.tensors()["conv1.weight"]
    optimizer = make_optimizer(lesson)

    def learn(step: int) -> dict[str, float]:
        chosen, crops = choose(photos, lesson.alignment.crop(*NATIVE), 0.7)
        student.train()
        with torch.autocast("cpu", torch.bfloat16):
            maps = trace(student, lesson.show(crops, NATIVE[0]))
            errors = lesson(maps, lesson.teach(crops, NATIVE[1]))
            scores = _classify(student, maps["conv5"]).float()
        guess = F.cross_entropy(scores, labels[chosen], label_smoothing=0.05)
        loss = guess + 0.5 * (errors * weights).sum() + 1e-3 * roughness(filters)
        descend(optimizer, loss, cosine(step, steps, peak))
        student.eval()
        return dict(zip(TARGETS, errors.tolist(), strict=True)) | {"classes": guess.item()}

    repeat(learn, steps, checkpoint, {"lesson": lesson, "optimizer": optimizer})


def _classify(network: Network, conv5: Tensor) -> Tensor:
    """Go on from conv5, before its ReLU, to class scores (N, 101)."""
    last = network.layer(network.last_conv)
    for step in last.steps[1:]:
        conv5 = step(conv5)
    for layer in network.layers[network.layers.index(last) + 1 :]:
        conv5 = layer(conv5)
    return conv5.flatten(1)
