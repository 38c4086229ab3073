"""One step of learning, and how large it is."""

import math

import torch
from torch import Tensor, nn


def cosine(step: int, steps: int, peak: float, warm: int = 100) -> float:
    """Return a step's learning rate: linear warm-up, then a cosine down to 2 % of the peak."""
    progress = max(0.0, (step - warm) / max(1, steps - warm))
    return peak * min(1.0, (step + 1) / warm) * (0.02 + 0.49 * (1 + math.cos(math.pi * progress)))


def descend(optimizer: torch.optim.Optimizer, loss: Tensor, rate: float) -> None:
    """Take one step down the loss, each group at its share of the rate, gradients clipped."""
    optimizer.zero_grad()
    loss.backward()
    for group in optimizer.param_groups:
        nn.utils.clip_grad_norm_(group["params"], 5.0)
        group["lr"] = rate * group.get("share", 1.0)
    optimizer.step()
