"""Train a network on a folder of photos as the paper trained its own (Section 3).

``train`` runs on one device, or under ``torchrun`` on as many as it starts processes; it goes on
from its last checkpoint, on the CPU bit for bit. What is random is seeded by the step and the
photo's number, never carried along.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import torch
from PIL import Image
from torch import Tensor, distributed, nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from .catalogue import architecture, hollow
from .errors import InvalidChoice
from .formats import replace_file, write
from .layers import Convolution, Dropout
from .network import Network, build
from .preprocessing import Preprocessing, framed, to_pixels

if TYPE_CHECKING:
    from torchvision.datasets import ImageFolder

log = logging.getLogger(__name__)

KEPT_EPOCHS = (1, 2, 5, 10, 20, 30, 40, 64)
"""The epochs that the paper's Fig. 4 shows."""


@dataclass(frozen=True)
class Plan:
    """The paper's settings; ``batch`` is that of all processes together."""

    epochs: int = 70
    batch: int = 128
    rate: float = 0.01
    momentum: float = 0.9
    dropout: float = 0.5
    radius: float = 0.1
    """A filter whose root mean square exceeds this is scaled back to it."""
    patience: int = 5
    """After so many epochs without a lower error the rate falls to a tenth."""
    augment: bool = True
    seed: int = 0
    every: int = 200
    """Steps between two checkpoints."""


Progress: TypeAlias = Callable[[int, int, float], None]
"""Told after each step: steps done, steps in all, the batch's loss."""


def train(
    name: str,
    data: Path,
    out: Path,
    plan: Plan = Plan(),
    *,
    device: str = "auto",
    workers: int = 0,
    progress: Progress | None = None,
) -> Path:
    """Train a network on ``data`` and return the weights file that was written into ``out``.

    ``data`` holds a folder for each class, or ``train`` and ``val`` that do. ``out`` gets a
    checkpoint, the weights of the paper's epochs and metrics for TensorBoard; a later call with
    the same ``out`` goes on. Raises UnknownNetwork, InvalidChoice.
    """
    with _processes(device) as place:
        run = _Run(name, data, out, plan, place, workers, progress)
        while run.epoch < plan.epochs:
            run.learn_epoch()
        return run.write(f"{name}.safetensors")


# one run


@dataclass
class _Tally:
    """Sums over the photos that an epoch has seen so far."""

    loss: float = 0.0
    wrong: int = 0
    seen: int = 0

    def add(self, scores: Tensor, labels: Tensor, loss: float) -> None:
        self.loss += loss * len(labels)
        self.wrong += int((scores.argmax(1) != labels).sum())
        self.seen += len(labels)

    def shared(self, device: torch.device) -> _Tally:
        """Add up the tallies of all processes."""
        sums = torch.tensor([self.loss, self.wrong, self.seen], dtype=torch.float64, device=device)
        if distributed.is_initialized():
            distributed.all_reduce(sums)
        loss, wrong, seen = sums.tolist()
        return _Tally(loss, int(wrong), int(seen))


class _Run:
    """A training run: what a checkpoint holds, and the two photo folders."""

    def __init__(
        self,
        name: str,
        data: Path,
        out: Path,
        plan: Plan,
        device: torch.device,
        workers: int,
        progress: Progress | None,
    ) -> None:
        self.plan, self.out, self.device, self.progress = plan, out, device, progress
        self.learned, self.tested = open_folders(data)
        self.network = make(name, tuple(self.learned.classes), plan).to(device)
        self.model = _distribute(self.network, device)
        self.optimizer = torch.optim.SGD(
            self.network.parameters(), lr=plan.rate, momentum=plan.momentum
        )
        self.schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(
            self.optimizer, factor=0.1, patience=plan.patience
        )
        self.scaler = torch.amp.GradScaler("cuda", enabled=device.type == "cuda")
        self.photos = Photos(self.learned, self.network.preprocessing, plan)
        self.batches = Batches(self.photos, plan, workers)
        self._open()

    def _open(self) -> None:
        """Make the output folder and take up the checkpoint that may lie there."""
        self.out.mkdir(parents=True, exist_ok=True)
        self.checkpoint = self.out / "checkpoint.pt"
        said = resume(self.checkpoint, self._parts(), **self._identity())
        self.epoch: int = said.get("epoch", 0)
        self.position: int = said.get("position", 0)
        self.tally = _Tally(**said.get("tally", {}))
        self.metrics = _metrics(self.out, self.step) if _is_first() else None

    @property
    def step(self) -> int:
        return self.epoch * len(self.batches) + self.position

    def _parts(self) -> dict[str, Part]:
        return {
            "network": self.network,
            "optimizer": self.optimizer,
            "schedule": self.schedule,
            "scaler": self.scaler,
        }

    def _identity(self) -> dict[str, object]:
        """Say what must not change between two calls that are one run."""
        plan = {key: getattr(self.plan, key) for key in ("batch", "seed", "dropout", "augment")}
        return {**plan, "name": self.network.name, "photos": len(self.learned)}

    def learn_epoch(self) -> None:
        """Learn what is left of the epoch, test, keep the weights if the paper kept them."""
        for pixels, labels in self.batches.of(self.epoch, self.position):
            self._learn(pixels.to(self.device), labels.to(self.device))
            self.position += 1
            if self.step % self.plan.every == 0:
                self._save()
        self._finish_epoch()

    def _learn(self, pixels: Tensor, labels: Tensor) -> None:
        torch.manual_seed(self.plan.seed + self.step * _count() + _rank())
        self.network.train()
        with torch.autocast(self.device.type, torch.float16, enabled=self.scaler.is_enabled()):
            scores = self.model(pixels).flatten(1)
            loss = F.cross_entropy(scores.float(), labels)
        self.optimizer.zero_grad()
        self.scaler.scale(loss).backward()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        renormalise(self.network, self.plan.radius)
        self.network.eval()
        self._tell(scores.detach(), labels, loss.item())

    def _tell(self, scores: Tensor, labels: Tensor, loss: float) -> None:
        self.tally.add(scores, labels, loss)
        if self.metrics:
            self.metrics.add_scalar("loss/step", loss, self.step)
        if self.progress and _is_first():
            self.progress(self.step + 1, self.plan.epochs * len(self.batches), loss)

    def _finish_epoch(self) -> None:
        seen = self.tally.shared(self.device)
        tested = self._test() if self.tested else seen
        error = tested.wrong / max(1, tested.seen)
        self.epoch, self.position, self.tally = self.epoch + 1, 0, _Tally()
        if self.metrics:
            self.metrics.add_scalar("loss/epoch", seen.loss / max(1, seen.seen), self.epoch)
            self.metrics.add_scalar("error/training", seen.wrong / max(1, seen.seen), self.epoch)
            self.metrics.add_scalar("error/validation", error, self.epoch)
            self.metrics.add_scalar("rate", self.optimizer.param_groups[0]["lr"], self.epoch)
            self.metrics.flush()
        self.schedule.step(error)
        if self.epoch in KEPT_EPOCHS:
            self.write(f"epoch-{self.epoch:02}.safetensors")
        self._save()

    @torch.inference_mode()
    def _test(self) -> _Tally:
        assert self.tested is not None
        tally = _Tally()
        photos = Photos(self.tested, self.network.preprocessing, None)
        mine = range(_rank(), len(photos), _count())
        for pixels, labels in DataLoader(photos, self.plan.batch, sampler=mine):
            pixels, labels = pixels.to(self.device), labels.to(self.device)
            scores = self.network(pixels).flatten(1)
            tally.add(scores, labels, float(F.cross_entropy(scores, labels)))
        return tally.shared(self.device)

    def _save(self) -> None:
        if _is_first():
            done = {"epoch": self.epoch, "position": self.position, "tally": asdict(self.tally)}
            save(self.checkpoint, self._parts(), **done, **self._identity())

    def write(self, filename: str) -> Path:
        """Write the weights as they are now."""
        path = self.out / filename
        if _is_first():
            source = f"trained on {self.learned.root}, {self.epoch} epochs"
            write_weights(self.network, path, torch.float32, source=source)
        return path


# networks


def make(name: str, classes: tuple[str, ...], plan: Plan) -> Network:
    """Build a network for these classes with the paper's random weights: N(0, 0.01), biases 0."""
    outline = hollow(name)
    shapes = {key: tuple(tensor.shape) for key, tensor in outline.tensors().items()}
    head = outline.last_fc
    shapes[f"{head}.weight"] = (len(classes), shapes[f"{head}.weight"][1])
    network = build(architecture(name), shapes, classes=classes)
    chance = torch.Generator().manual_seed(plan.seed)
    for key, tensor in network.tensors().items():
        if tensor.dim() > 1:
            nn.init.normal_(tensor, 0, 0.01, generator=chance)
        elif key.endswith("bias"):
            nn.init.zeros_(tensor)
    for step in network.modules():
        if isinstance(step, Dropout):
            step.p = plan.dropout
    return network


@torch.no_grad()
def renormalise(network: Network, radius: float) -> None:
    """Scale each filter whose root mean square exceeds the radius back to it (Section 3)."""
    for step in network.modules():
        if isinstance(step, Convolution):
            strength = step.weight.square().mean((1, 2, 3), keepdim=True).sqrt()
            step.weight.mul_((radius / strength).clamp(max=1))


# photos


def open_folders(data: Path) -> tuple[ImageFolder, ImageFolder | None]:
    """Open the photos to learn, and those to test on if there are any; raise InvalidChoice."""
    from torchvision.datasets import ImageFolder  # here, since it takes longer than torch itself

    parts = [data / "train", data / "val"] if (data / "train").is_dir() else [data]
    try:
        folders = [ImageFolder(part) for part in parts if part.is_dir()]
    except FileNotFoundError as error:
        raise InvalidChoice(f"{data} holds no folder of photos for each class: {error}") from error
    if not folders:
        raise InvalidChoice(f"{data} is no folder")
    learned, tested = folders[0], folders[1] if len(folders) > 1 else None
    if tested is not None and tested.classes != learned.classes:
        raise InvalidChoice(f"{parts[1]} has other classes than {parts[0]}")
    return learned, tested


class Photos(Dataset[tuple[Tensor, int]]):
    """The photos of a folder as pixels (C, H, W) and class; with a plan, cropped at random."""

    def __init__(
        self, folder: ImageFolder, preprocessing: Preprocessing, plan: Plan | None
    ) -> None:
        from torchvision.transforms import v2

        self.folder, self.preprocessing, self.plan = folder, preprocessing, plan
        self.epoch = 0
        self.vary = v2.Compose(
            [
                v2.Resize(preprocessing.resize),
                v2.RandomCrop(preprocessing.size, pad_if_needed=True),
                v2.RandomHorizontalFlip(),
            ]
        )

    def __len__(self) -> int:
        return len(self.folder)

    def __getitem__(self, number: int) -> tuple[Tensor, int]:
        photo, label = self.folder[number]
        picture = self._vary(photo, number) if self.varies else framed(photo, self.preprocessing)
        return to_pixels(picture, self.preprocessing)[0], label

    @property
    def varies(self) -> bool:
        """Is each photo cropped and flipped by chance?"""
        return self.plan is not None and self.plan.augment

    def _vary(self, photo: Image.Image, number: int) -> Image.Image:
        assert self.plan is not None
        photo = photo.convert("L" if self.preprocessing.channel_order == "L" else "RGB")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(hash((self.plan.seed, self.epoch, number)))
            picture: Image.Image = self.vary(photo)
        return picture


class Batches:
    """This process's share of every batch, in an order that only seed and epoch decide."""

    def __init__(self, photos: Photos, plan: Plan, workers: int) -> None:
        if plan.batch % _count() or len(photos) < plan.batch:
            raise InvalidChoice(
                f"a batch of {plan.batch} cannot be had from {len(photos)} photos "
                f"by {_count()} processes"
            )
        self.photos, self.workers, self.size = photos, workers, plan.batch // _count()
        self.sampler: DistributedSampler[Any] = DistributedSampler(
            photos, _count(), _rank(), seed=plan.seed, drop_last=True
        )

    def __len__(self) -> int:
        return len(self.sampler) // self.size

    def of(self, epoch: int, start: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield pixels (N, C, H, W) and labels (N,) from the epoch's batch ``start`` on."""
        self.photos.epoch = epoch
        self.sampler.set_epoch(epoch)
        left = list(self.sampler)[start * self.size :]
        yield from DataLoader(
            self.photos, self.size, sampler=left, drop_last=True, num_workers=self.workers
        )


# processes


@contextmanager
def _processes(device: str) -> Iterator[torch.device]:
    """Join the processes that torchrun started, if it did, and say which device is this one's."""
    cuda = torch.cuda.is_available() if device == "auto" else device.startswith("cuda")
    if "WORLD_SIZE" not in os.environ:
        yield torch.device("cuda" if device == "auto" and cuda else device.replace("auto", "cpu"))
        return
    place = torch.device("cuda", int(os.environ["LOCAL_RANK"])) if cuda else torch.device("cpu")
    distributed.init_process_group("nccl" if cuda else "gloo")
    try:
        yield place
    finally:
        distributed.destroy_process_group()


def _distribute(network: Network, device: torch.device) -> nn.Module:
    if not distributed.is_initialized():
        return network
    return DistributedDataParallel(network, [device.index] if device.type == "cuda" else None)


def _rank() -> int:
    return distributed.get_rank() if distributed.is_initialized() else 0


def _count() -> int:
    return distributed.get_world_size() if distributed.is_initialized() else 1


def _is_first() -> bool:
    return _rank() == 0


def _metrics(out: Path, step: int) -> Any:
    """Open the TensorBoard log, dropping what a run that broke off wrote after its checkpoint."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        log.warning("no metrics: TensorBoard is not installed (pip install 'deconvnet[train]')")
        return None
    return SummaryWriter(out / "metrics", purge_step=step)


# checkpoints and weights


class Part(Protocol):
    """What a checkpoint holds: a module, an optimizer, a schedule."""

    def state_dict(self) -> dict[str, Any]:
        """Return the state as tensors and plain values."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> object:
        """Take a state up again."""


def save(checkpoint: Path, parts: Mapping[str, Part], **progress: Any) -> None:
    """Write a checkpoint."""
    state = {name: part.state_dict() for name, part in parts.items()} | progress
    replace_file(checkpoint, lambda part: torch.save(state, part))


def resume(checkpoint: Path, parts: Mapping[str, Part], **same: Any) -> dict[str, Any]:
    """Fill the parts from a checkpoint and return what else it says; nothing if there is none.

    Raises InvalidChoice unless it says the ``same``: it would belong to another run.
    """
    if not checkpoint.exists():
        return {}
    state: dict[str, Any] = torch.load(checkpoint, map_location="cpu", weights_only=True)
    for key, value in same.items():
        if state.get(key) != value:
            raise InvalidChoice(
                f"{checkpoint} belongs to another run: its {key} is {state.get(key)!r}, "
                f"not {value!r}; choose another folder or remove it"
            )
    for name, part in parts.items():
        part.load_state_dict(state.pop(name))
    return state


def write_weights(network: Network, path: Path, dtype: torch.dtype, **said: str) -> None:
    """Write a network as safetensors with the ``deconvnet`` entry that describes it."""
    tensors = {k: t.detach().to("cpu", dtype).contiguous() for k, t in network.tensors().items()}
    entry: dict[str, Any] = {"preprocessing": asdict(network.preprocessing), **said}
    if network.architecture.norm is not None:
        entry["norm"] = asdict(network.architecture.norm)
    if network.classes is not None:
        entry["classes"] = network.classes
    write(path, tensors, entry)


def repeat(
    learn: Callable[[int], Mapping[str, float]],
    steps: int,
    checkpoint: Path,
    parts: Mapping[str, Part],
    every: int = 100,
) -> None:
    """Learn step after step, going on from the checkpoint.

    Chance is seeded by the step, so that an interrupted run ends where an unbroken one does.
    """
    start: int = resume(checkpoint, parts).get("step", 0)
    began = monotonic()
    for step in range(start, steps):
        torch.manual_seed(step)
        measured = learn(step)
        done = step + 1
        if done % every == 0 or done == steps:
            save(checkpoint, parts, step=done)
            rate = (done - start) / (monotonic() - began)
            numbers = "  ".join(f"{name} {value:.3f}" for name, value in measured.items())
            log.info("step %d of %d  %s  %.2f steps/s", done, steps, numbers, rate)
