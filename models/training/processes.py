"""The processes that share a training run: one, or as many as torchrun started."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from models.networks.network import Network


@contextmanager
def join_processes(device: str) -> Iterator[torch.device]:
    """Join the processes that torchrun started, if it did, and say which device is this one's."""
    cuda = torch.cuda.is_available() if device == "auto" else device.startswith("cuda")
    if "WORLD_SIZE" not in os.environ:
        yield torch.device("cuda" if device == "auto" and cuda else device.replace("auto", "cpu"))
        return
    own = torch.device("cuda", int(os.environ["LOCAL_RANK"])) if cuda else torch.device("cpu")
    # Its functions take the group that stands when it is imported as their default. Imported once
    # the processes have joined, it would keep their group alive, whose threads may abort Python's
    # exit.
    importlib.import_module("torch.distributed.nn")
    distributed.init_process_group("nccl" if cuda else "gloo")
    try:
        yield own
    finally:
        distributed.destroy_process_group()


def distribute(network: Network, device: torch.device) -> nn.Module:
    """Let the processes average their gradients, where there are several."""
    if not distributed.is_initialized():
        return network
    return DistributedDataParallel(network, [device.index] if device.type == "cuda" else None)


def rank() -> int:
    """Return this process's number, from 0."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def world_size() -> int:
    """Return how many processes share the run."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def is_first() -> bool:
    """Tell whether this process is the one that writes files."""
    return rank() == 0
