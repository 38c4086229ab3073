"""Training after the paper (Section 3): one run, from random weights or its last checkpoint."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor, distributed, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from models.networks.build import build
from models.networks.catalogue import architecture, build_on_meta
from models.networks.network import Network
from models.networks.steps import Convolution, Dropout
from models.training.checkpoint import CHECKPOINT, Part, resume, save, write_weights
from models.training.config import KEPT_EPOCHS, TrainingConfig
from models.training.photos import Batches, Photos, open_folders
from models.training.processes import distribute, is_first, join_processes, rank, world_size

log = logging.getLogger(__name__)

Progress: TypeAlias = Callable[[int, int, float], None]
"""Told after each step: steps done, steps in all, the batch's loss."""


def train(
    name: str,
    data: Path,
    out: Path,
    config: TrainingConfig | None = None,
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
    config = config or TrainingConfig()
    with join_processes(device) as own:
        run = _Run(name, data, out, config, own, workers, progress)
        while run.epoch < config.epochs:
            run.learn_epoch()
        return run.write(f"{name}.safetensors")


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
        config: TrainingConfig,
        device: torch.device,
        workers: int,
        progress: Progress | None,
    ) -> None:
        self.config, self.out, self.device, self.progress = config, out, device, progress
        self.learned, self.tested = open_folders(data)
        self.network = make(name, tuple(self.learned.classes), config).to(device)
        self.model = distribute(self.network, device)
        self.optimizer = torch.optim.SGD(
            self.network.parameters(), lr=config.rate, momentum=config.momentum
        )
        self.schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(
            self.optimizer, factor=0.1, patience=config.patience
        )
        self.scaler = torch.amp.GradScaler("cuda", enabled=device.type == "cuda")
        self.photos = Photos(self.learned, self.network.preprocessing, config)
        self.batches = Batches(self.photos, config, workers)
        self._open()

    def _open(self) -> None:
        """Make the output folder and take up the checkpoint that may lie there."""
        self.out.mkdir(parents=True, exist_ok=True)
        self.checkpoint = self.out / CHECKPOINT
        saved = resume(self.checkpoint, self._parts(), **self._identity())
        self.epoch: int = saved.get("epoch", 0)
        self.position: int = saved.get("position", 0)
        self.tally = _Tally(**saved.get("tally", {}))
        self.metrics = _metrics(self.out, self.step) if is_first() else None

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
        keys = ("batch", "seed", "start", "dropout", "augment")
        config = {key: getattr(self.config, key) for key in keys}
        return {**config, "name": self.network.name, "photos": len(self.learned)}

    def learn_epoch(self) -> None:
        """Learn what is left of the epoch, test, keep the weights if the paper kept them."""
        for pixels, labels in self.batches.of(self.epoch, self.position):
            self._learn(pixels.to(self.device), labels.to(self.device))
            self.position += 1
            if self.step % self.config.every == 0:
                self._save()
        self._finish_epoch()

    def _learn(self, pixels: Tensor, labels: Tensor) -> None:
        torch.manual_seed(self.config.seed + self.step * world_size() + rank())
        self.network.train()
        with torch.autocast(self.device.type, torch.float16, enabled=self.scaler.is_enabled()):
            scores = self.model(pixels).flatten(1)
            loss = F.cross_entropy(scores.float(), labels)
        self.optimizer.zero_grad()
        self.scaler.scale(loss).backward()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        renormalise(self.network, self.config.radius)
        self.network.eval()
        self._tell(scores.detach(), labels, loss.item())

    def _tell(self, scores: Tensor, labels: Tensor, loss: float) -> None:
        self.tally.add(scores, labels, loss)
        if self.metrics:
            self.metrics.add_scalar("loss/step", loss, self.step)
        if self.progress and is_first():
            self.progress(self.step + 1, self.config.epochs * len(self.batches), loss)

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
        mine = range(rank(), len(photos), world_size())
        for pixels, labels in DataLoader(photos, self.config.batch, sampler=mine):
            pixels, labels = pixels.to(self.device), labels.to(self.device)
            scores = self.network(pixels).flatten(1)
            tally.add(scores, labels, float(F.cross_entropy(scores, labels)))
        return tally.shared(self.device)

    def _save(self) -> None:
        if is_first():
            done = {"epoch": self.epoch, "position": self.position, "tally": asdict(self.tally)}
            save(self.checkpoint, self._parts(), **done, **self._identity())

    def write(self, filename: str) -> Path:
        """Write the weights as they are now."""
        path = self.out / filename
        if is_first():
            source = f"trained on {Path(self.learned.root).name}, {self.epoch} epochs"
            write_weights(self.network, path, torch.float32, source=source)
        return path


def make(name: str, classes: tuple[str, ...], config: TrainingConfig) -> Network:
    """Build a network for these classes with random weights: the paper's, biases 0, or He's."""
    template = build_on_meta(name)
    shapes = {key: tuple(tensor.shape) for key, tensor in template.tensors().items()}
    head = template.last_fc
    shapes[f"{head}.weight"] = (len(classes), shapes[f"{head}.weight"][1])
    network = build(architecture(name), shapes, classes=classes)
    chance = torch.Generator().manual_seed(config.seed)
    outer = (next(iter(network.tensors())), f"{head}.weight")
    for key, tensor in network.tensors().items():
        if tensor.dim() > 1 and (config.start == "paper" or key in outer):
            nn.init.normal_(tensor, 0, 0.01, generator=chance)
        elif tensor.dim() > 1:
            nn.init.kaiming_normal_(tensor, nonlinearity="relu", generator=chance)
        elif key.endswith("bias"):
            nn.init.zeros_(tensor)
    for step in network.modules():
        if isinstance(step, Dropout):
            step.p = config.dropout
    return network


@torch.no_grad()
def renormalise(network: Network, radius: float) -> None:
    """Scale each filter whose root mean square exceeds the radius back to it (Section 3)."""
    for step in network.modules():
        if isinstance(step, Convolution):
            strength = step.weight.square().mean((1, 2, 3), keepdim=True).sqrt()
            step.weight.mul_((radius / strength).clamp(max=1))


def _metrics(out: Path, step: int) -> Any:
    """Open the TensorBoard log, dropping what a run that broke off wrote after its checkpoint."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        log.warning("no metrics: TensorBoard is not installed; the extra 'train' brings it")
        return None
    return SummaryWriter(out / "metrics", purge_step=step)
