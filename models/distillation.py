"""Make the starter weights: distil a published AlexNet's features, then learn a classifier.

``python -m models.distillation train|evaluate|filters --help`` says how to run it, and
docs/weights.md is the card of what came out. Every phase goes on from its last checkpoint.
"""

import argparse
import hashlib
import logging
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.utils import make_grid

from .catalogue import architecture, hollow
from .formats import assemble, fill, read, replace_file
from .network import Network, Normalization, build
from .preprocessing import Preprocessing, framed, to_pixels
from .training import repeat, write_weights

log = logging.getLogger(__name__)

BATCH = 32
POOL5 = 256 * 6 * 6
TARGETS = {"into conv2": 0.5, "into conv3": 0.5, "conv3": 0.5, "conv4": 0.5, "conv5": 1.0}
"""What the student must reproduce, and how much each counts; convN is before its ReLU."""
NO_CLASS = "BACKGROUND_Google"
BVLC = Preprocessing(227, 256, "BGR", 1.0, (104.0, 117.0, 123.0), (1.0, 1.0, 1.0))
MNIST_TRAINING = 60_000
PHOTOS = "starter: features distilled from BVLC AlexNet on 11,144 photos, classifier on Caltech-101"
DIGITS = "starter: learned on MNIST's 60,000 training digits"


@dataclass(frozen=True)
class Sight:
    """Where student and teacher look within one crop so that their units' centres coincide.

    The teacher's first units sit at pixels 5 (conv1) and 17 (into conv3), alexnet's at 3 and 15,
    zfnet's at 2 and 20; ``low`` picks the student's units below conv2 that have a counterpart.
    """

    student: int
    teacher: int
    low: slice

    def crop(self, student: int, teacher: int) -> int:
        """Return the side of a crop that holds a student's and a teacher's square."""
        return max(self.student + student, self.teacher + teacher)


SIGHTS = {
    "alexnet": Sight(student=2, teacher=0, low=slice(None)),
    "zfnet": Sight(student=0, teacher=3, low=slice(2, None, 2)),
}
SMALL, NATIVE = (176, 179), (224, 227)
"""Sides, student's and teacher's, that give both 10 x 10 and 13 x 13 maps at conv5."""


# networks


def make_student(name: str, classes: tuple[str, ...]) -> Network:
    """Build a random network whose only fully connected layer tells these classes."""
    shapes = {key: tuple(t.shape) for key, t in hollow(name).tensors().items() if "fc" not in key}
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
    network.adopt(tensors)
    return network.requires_grad_(False)


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


# photos


def read_photos(folder: Path) -> dict[str, Tensor]:
    """Decode every JPEG below a folder: path from there -> (3, H, W) uint8."""
    return {str(p.relative_to(folder)): read_photo(p) for p in sorted(folder.rglob("*.jpg"))}


def read_photo(path: Path) -> Tensor:
    """Decode one photo: (3, H, W) uint8."""
    with Image.open(path) as photo:
        return torch.from_numpy(np.array(photo.convert("RGB"))).permute(2, 0, 1)


def is_held_out(name: str) -> bool:
    """Tell whether ``caltech101/<class>/<file>`` belongs to the fifth that is never learned."""
    return int(hashlib.sha256(name.encode()).hexdigest(), 16) % 5 == 0


def label_photos(names: Sequence[str]) -> dict[str, str]:
    """Return the class of every Caltech-101 photo; other photos have none."""
    parts = {name: Path(name).parts for name in names}
    return {n: p[1] for n, p in parts.items() if p[0] == "caltech101" and p[1] != NO_CLASS}


def cut(photo: Tensor, side: int, least: float, most: float) -> Tensor:
    """Cut a random square of that share of the shorter side, flip it or not: (3, side, side)."""
    height, width = photo.shape[1:]
    share, down, across, mirror = torch.rand(4).tolist()
    size = int(min(height, width) * (least + (most - least) * share))
    top, left = int((height - size + 1) * down), int((width - size + 1) * across)
    square = photo[None, :, top : top + size, left : left + size]
    resized = F.interpolate(square, size=(side, side), mode="bilinear", antialias=True)[0]
    return resized.flip(2) if mirror < 0.5 else resized


def choose(photos: Sequence[Tensor], side: int, least: float = 0.62) -> tuple[Tensor, Tensor]:
    """Draw a batch: which photos (N,), and a crop of each (N, 3, side, side) uint8."""
    chosen = torch.randint(len(photos), (BATCH,))
    crops = [cut(photos[i], side, least, 0.97) for i in chosen.tolist()]
    return chosen, torch.stack(crops)


def look(crops: Tensor, corner: int, side: int, preprocessing: Preprocessing) -> Tensor:
    """Turn a square of uint8 crops into a network's pixels."""
    seen = crops[:, :, corner : corner + side, corner : corner + side].float()
    seen = seen.flip(1) if preprocessing.channel_order == "BGR" else seen
    mean, std = (torch.tensor(v)[:, None, None] for v in (preprocessing.mean, preprocessing.std))
    return ((seen * preprocessing.scale - mean) / std).contiguous(memory_format=torch.channels_last)


# features


class Lesson(nn.Module):
    """What a student is asked: to reproduce its teacher's maps on the same crop.

    Each map is measured in units of the teacher's deviation, channel by channel. Where widths
    differ, and below conv2, a linear map translates; it is dropped after training.
    """

    def __init__(self, student: Network, teacher: Network) -> None:
        super().__init__()
        self.student, self.teacher = student, teacher
        self.sight = SIGHTS[student.name]
        asked, known = (_widths(network) for network in (student, teacher))
        differ = [t for t in TARGETS if t == "into conv2" or asked[t] != known[t]]
        self.adapters = nn.ModuleDict({t: nn.Conv2d(asked[t], known[t], 1) for t in differ})
        for target in TARGETS:
            scale = torch.stack([torch.zeros(known[target]), torch.ones(known[target])])
            self.register_buffer(f"scale {target}", scale)

    @torch.no_grad()
    def calibrate(self, photos: Sequence[Tensor], batches: int) -> None:
        """Measure mean and deviation of the teacher's maps over some batches of crops."""
        side = self.sight.crop(*SMALL)
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
        pixels = look(crops, self.sight.teacher, side, self.teacher.preprocessing)
        with torch.no_grad():
            return trace(self.teacher, pixels, until)

    def show(self, crops: Tensor, side: int) -> Tensor:
        """Return the student's pixels of its square in the crops."""
        return look(crops, self.sight.student, side, self.student.preprocessing)

    def forward(self, maps: dict[str, Tensor], wanted: dict[str, Tensor]) -> Tensor:
        """Compare the student's maps with the teacher's: the mean squared error of each."""
        return torch.stack([self._error(t, maps[t], wanted[t]) for t in TARGETS if t in wanted])

    def _error(self, target: str, answer: Tensor, truth: Tensor) -> Tensor:
        mean, deviation = self.get_buffer(f"scale {target}")[:, None, :, None, None]
        if target == "into conv2":
            answer = answer[:, :, self.sight.low, self.sight.low]
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


def cosine(step: int, steps: int, peak: float, warm: int = 100) -> float:
    """Return a step's learning rate: linear warm-up, then a cosine down to 2 % of the peak."""
    progress = max(0.0, (step - warm) / max(1, steps - warm))
    return peak * min(1.0, (step + 1) / warm) * (0.02 + 0.49 * (1 + math.cos(math.pi * progress)))


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
    optimizer = _optimizer(lesson)
    filters = lesson.student.tensors()["conv1.weight"]
    weights = torch.tensor(list(TARGETS.values()))

    def learn(step: int) -> dict[str, float]:
        alone = step < first
        until = "into conv2" if alone else "conv5"
        _, crops = choose(photos, lesson.sight.crop(*SMALL))
        with torch.autocast("cpu", torch.bfloat16):
            wanted = lesson.teach(crops, SMALL[1], until)
            errors = lesson(trace(lesson.student, lesson.show(crops, SMALL[0]), until), wanted)
        loss = (errors * weights[: len(errors)]).sum() + 1e-3 * roughness(filters)
        rate = cosine(step, first, peak) if alone else cosine(step - first, steps - first, peak)
        _descend(optimizer, loss, rate)
        return dict(zip(TARGETS, errors.tolist(), strict=False))

    repeat(learn, steps, checkpoint, {"lesson": lesson, "optimizer": optimizer})


def _optimizer(lesson: Lesson) -> torch.optim.Optimizer:
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


def _descend(optimizer: torch.optim.Optimizer, loss: Tensor, rate: float) -> None:
    optimizer.zero_grad()
    loss.backward()
    for group in optimizer.param_groups:
        nn.utils.clip_grad_norm_(group["params"], 5.0)
        group["lr"] = rate * group.get("share", 1.0)
    optimizer.step()


# the classifier


def learn_classes(
    network: Network, views: Sequence[Tensor], labels: Tensor, steps: int, checkpoint: Path
) -> None:
    """Learn fc8 alone, on pool5 of some views of every photo, from zero."""
    head = network.layer("fc8")
    for parameter in head.parameters():
        nn.init.zeros_(parameter)
    strength = float(views[0].float().square().mean().sqrt())
    optimizer = torch.optim.AdamW(head.parameters(), weight_decay=0.1)

    def learn(step: int) -> dict[str, float]:
        view = views[step % len(views)]
        chosen = torch.randint(len(labels), (256,))
        head.train()
        scores = head(view[chosen].float()).flatten(1)
        loss = F.cross_entropy(scores, labels[chosen], label_smoothing=0.05)
        # the same as 5e-4 on features of unit strength, whatever theirs is
        _descend(optimizer, loss, cosine(step, steps, 5e-4 / strength))
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
        pixels = look(torch.stack(crops), 0, NATIVE[0], network.preprocessing)
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
    optimizer = _optimizer(lesson)

    def learn(step: int) -> dict[str, float]:
        chosen, crops = choose(photos, lesson.sight.crop(*NATIVE), 0.7)
        student.train()
        with torch.autocast("cpu", torch.bfloat16):
            maps = trace(student, lesson.show(crops, NATIVE[0]))
            errors = lesson(maps, lesson.teach(crops, NATIVE[1]))
            scores = _classify(student, maps["conv5"]).float()
        guess = F.cross_entropy(scores, labels[chosen], label_smoothing=0.05)
        loss = guess + 0.5 * (errors * weights).sum() + 1e-3 * roughness(filters)
        _descend(optimizer, loss, cosine(step, steps, peak))
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


# digits


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
        scores = network(look(seen, 0, 32, network.preprocessing)).flatten(1)
        loss = F.cross_entropy(scores, labels[chosen])
        _descend(optimizer, loss, cosine(step, steps, 4e-3))
        return {"loss": loss.item()}

    repeat(learn, steps, checkpoint, {"network": network, "optimizer": optimizer}, every=500)
    return network


def read_digits(file: Path) -> tuple[Tensor, Tensor]:
    """Return images (N, 1, 28, 28) uint8 and labels (N,): 60,000 to learn, the rest to test."""
    with np.load(file) as digits:
        return torch.from_numpy(digits["images"])[:, None], torch.from_numpy(
            digits["labels"]
        ).long()


# what came out


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


def count_weak(filters: Tensor) -> int:
    """Count the filters whose root mean square is below a tenth of the largest."""
    strength = filters.flatten(1).square().mean(1).sqrt()
    return int((strength < strength.max() / 10).sum())


def correlate_neighbours(filters: Tensor) -> float:
    """Correlate weights one pixel apart, over all filters, so that strong ones count more."""
    centred = filters - filters.mean((2, 3), keepdim=True)
    across = (centred[..., :-1] * centred[..., 1:]).sum()
    down = (centred[..., :-1, :] * centred[..., 1:, :]).sum()
    return float((across + down) / 2 / centred.square().sum())


def draw_filters(filters: Tensor, columns: int = 16, tile: int = 55) -> Image.Image:
    """Draw filters (N, C, k, k) side by side, strongest first, each on its own scale."""
    order = filters.flatten(1).norm(dim=1).argsort(descending=True)
    scaled = filters[order] / filters[order].abs().amax((1, 2, 3), keepdim=True)
    tiles = (scaled * 127 + 128).round().byte().expand(-1, 3, -1, -1)
    zoom = max(1, tile // tiles.shape[3])
    tiles = tiles.repeat_interleave(zoom, 2).repeat_interleave(zoom, 3)
    sheet = make_grid(tiles, columns, padding=3, pad_value=255)
    return Image.fromarray(sheet.permute(1, 2, 0).numpy())


# command line


def train(options: argparse.Namespace) -> None:
    """Run every phase that is not yet done and write the weights."""
    work: Path = options.work
    work.mkdir(parents=True, exist_ok=True)
    if options.network == "lenet5":
        network = learn_digits(options.data, options.steps or 12_000, work / "digits.pt")
        description = DIGITS
    else:
        network = train_on_photos(options, work)
        description = PHOTOS
    write_weights(network, options.out, torch.float16, source=description, licence="MIT")


def train_on_photos(options: argparse.Namespace, work: Path) -> Network:
    """Distil features, learn the classes with fc8 alone, then with the whole network."""
    torch.manual_seed(0)
    photos = read_photos(options.data)
    labels = label_photos(list(photos))
    classes = tuple(sorted(set(labels.values())))
    log.info("%d photos, %d of them of %d classes", len(photos), len(labels), len(classes))
    student = make_student(options.network, classes)
    if options.start:
        fill(student, read(options.start, student.architecture).tensors, options.start.name)
        revive(student, options.revive)
    lesson = Lesson(student, read_teacher(options.teacher))
    lesson.to(memory_format=torch.channels_last)
    distil(lesson, list(photos.values()), options.steps or 6_000, work / "features.pt")
    learned = [name for name in labels if not is_held_out(name)]
    pictures = [photos[name] for name in learned]
    truth = torch.tensor([classes.index(labels[name]) for name in learned])
    views = view_photos(student, pictures, 4, work / "views.pt")
    learn_classes(student, views, truth, options.head_steps, work / "classes.pt")
    tune(lesson, pictures, truth, options.tuning_steps, work / "tuning.pt")
    center_scores(student)
    return student


def report(options: argparse.Namespace) -> None:
    """Print what a weights file gets right of what was held out."""
    got = evaluate(_load(options), options.data)
    sys.stdout.write(
        f"{options.network}: {got.first:.1%} of {got.pictures} held-out pictures right, "
        f"{got.among_five:.1%} among the first five, mean over classes {got.mean_of_classes:.1%}\n"
    )


def show_filters(options: argparse.Namespace) -> None:
    """Draw the first layer and print what can be measured of it."""
    filters = next(iter(_load(options).tensors().values())).detach()
    draw_filters(filters).save(options.out, optimize=True)
    sys.stdout.write(
        f"{options.network}: {count_weak(filters)} of {len(filters)} filters weak, "
        f"neighbours correlate by {correlate_neighbours(filters):.2f}\n"
    )


def _load(options: argparse.Namespace) -> Network:
    kind = architecture(options.network)
    return assemble(read(options.weights, kind), kind, "yours")


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m models.distillation", description=__doc__)
    commands = parser.add_subparsers(required=True)
    learn = commands.add_parser("train", help=train.__doc__)
    learn.add_argument("--data", type=Path, required=True, help="folder of photos; .npz of digits")
    learn.add_argument("--out", type=Path, required=True, help="the .safetensors to write")
    learn.add_argument("--work", type=Path, default=Path("distillation"), help="checkpoints")
    learn.add_argument("--teacher", type=Path, help=".npz of BVLC AlexNet's convolutions")
    learn.add_argument("--start", type=Path, help="weights to go on from instead of random ones")
    learn.add_argument("--revive", type=float, default=0.0, help=revive.__doc__)
    learn.add_argument("--steps", type=int, help="steps of the first phase")
    learn.add_argument("--head-steps", type=int, default=4_000)
    learn.add_argument("--tuning-steps", type=int, default=2_000)
    learn.set_defaults(run=train)
    test = commands.add_parser("evaluate", help=report.__doc__)
    test.add_argument("--data", type=Path, required=True)
    test.set_defaults(run=report)
    show = commands.add_parser("filters", help=show_filters.__doc__)
    show.add_argument("--out", type=Path, required=True, help="the .png to write")
    show.set_defaults(run=show_filters)
    for command in (learn, test, show):
        command.add_argument("--network", choices=("lenet5", *SIGHTS), required=True)
        command.add_argument("--threads", type=int, default=torch.get_num_threads())
    for command in (test, show):
        command.add_argument("weights", type=Path)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    options = parse(arguments)
    torch.set_num_threads(options.threads)
    options.run(options)


if __name__ == "__main__":
    main()
