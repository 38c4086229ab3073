"""Checkpoints: what a run needs to go on, and the weights it leaves."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from pickle import UnpicklingError
from time import monotonic
from typing import Any, Protocol

import torch

from models.disk import replace_file
from models.errors import InvalidChoice
from models.networks.architecture import Normalization
from models.networks.network import Network
from models.networks.steps import LocalResponseNorm
from models.weights.files import write

log = logging.getLogger(__name__)

CHECKPOINT = "checkpoint.pt"
"""The name of a run's checkpoint in its folder."""


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

    Raises InvalidChoice where it does not say the ``same``: it would belong to another run.
    """
    if not checkpoint.exists():
        return {}
    state: dict[str, Any] = torch.load(checkpoint, map_location="cpu", weights_only=True)
    for key, value in same.items():
        if state.get(key, value) != value:
            raise InvalidChoice(
                "of_another_run",
                checkpoint=str(checkpoint),
                key=key,
                found=state.get(key),
                wanted=value,
            )
    for name, part in parts.items():
        part.load_state_dict(state.pop(name))
    return state


def name_of(run: Path) -> str:
    """Read from a run's checkpoint which network it trains; raise InvalidChoice for no run."""
    checkpoint = run / CHECKPOINT
    try:
        state: dict[str, Any] = torch.load(checkpoint, "cpu", weights_only=True, mmap=True)
        return str(state["name"])
    except (OSError, RuntimeError, KeyError, UnpicklingError) as error:
        raise InvalidChoice("no_run", folder=str(run), cause=error) from error


def write_weights(network: Network, path: Path, dtype: torch.dtype, **metadata: str) -> None:
    """Write a network as safetensors with the ``deconvnet`` entry that describes it."""
    tensors = {k: t.detach().to("cpu", dtype).contiguous() for k, t in network.tensors().items()}
    entry: dict[str, Any] = {"preprocessing": asdict(network.preprocessing), **metadata}
    if norm := _norm_of(network):
        entry["norm"] = asdict(norm)
    if network.classes is not None:
        entry["classes"] = network.classes
    write(path, tensors, entry)


def _norm_of(network: Network) -> Normalization | None:
    """Read the constants of normalisation off a network's own steps, and where they stand."""
    kinds = [layer.kind for layer in network.layers]
    step = next((s for s in network.modules() if isinstance(s, LocalResponseNorm)), None)
    if step is None:
        return network.architecture.norm
    before = kinds[kinds.index("norm") - 1]
    return Normalization(
        "pool-norm" if before == "pool" else "norm-pool",
        step.size,
        step.alpha,
        step.beta,
        step.k,
    )


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
