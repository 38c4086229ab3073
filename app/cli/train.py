"""`deconvnet train`."""

import os
from pathlib import Path
from typing import Annotated, Literal

import typer

from app.cli.options import Device, read_settings
from app.cli.terminal import interruptible, say, steps_bar


def train(
    network: Annotated[str, typer.Option(help="See 'deconvnet networks'.")],
    data: Annotated[
        Path, typer.Option(help="A folder for each class, or train/ and val/ that hold them.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for checkpoint, weights and metrics.")],
    epochs: Annotated[int, typer.Option(min=1, help="The paper's 70.")] = 70,
    batch: Annotated[int, typer.Option(min=1, help="Photos in a batch, on all devices.")] = 128,
    rate: Annotated[float, typer.Option(min=0.0, help="Learning rate at the start.")] = 0.01,
    start: Annotated[
        Literal["paper", "he"],
        typer.Option(help="Random weights: the paper's, or wider ones for a small set of photos."),
    ] = "paper",
    every: Annotated[int, typer.Option(min=1, help="Steps between checkpoints.")] = 200,
    workers: Annotated[int, typer.Option(min=0, help="Processes that read photos.")] = 0,
    seed: Annotated[int, typer.Option(help="Where chance begins.")] = 0,
    device: Device = None,
) -> None:
    """Train a network on a folder of photos, with the paper's recipe.

    An interrupted run goes on from its checkpoint when the same command is given again. Several
    GPUs: torchrun --nproc-per-node=N --no-python deconvnet train ...
    """
    settings = read_settings(device=device)
    import models

    config = models.TrainingConfig(
        epochs=epochs, batch=batch, rate=rate, start=start, seed=seed, every=every
    )
    chosen, first = models.pick_device(settings.device), os.environ.get("RANK", "0") == "0"
    kept = f"at most {every} steps are lost"
    with interruptible(kept), steps_bar(network, shown=first) as on_progress:
        weights = models.train(
            network, data, out, config, device=chosen, workers=workers, progress=on_progress
        )
    if first:  # of the processes that torchrun started
        say(f"{network}: {weights}; 'deconvnet weights import {weights} --network {network}'")
