"""The paper's recipe in numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

KEPT_EPOCHS = (1, 2, 5, 10, 20, 30, 40, 64)
"""The epochs that the paper's Fig. 4 shows."""


@dataclass(frozen=True)
class TrainingConfig:
    """The paper's settings; ``batch`` is that of all processes together."""

    epochs: int = 70
    batch: int = 128
    rate: float = 0.01
    momentum: float = 0.9
    start: Literal["paper", "he"] = "paper"
    """Random weights: the paper's N(0, 0.01), or, between the first layer and the last, as wide as
    signals need to keep their strength (He et al. 2015), so that few photos suffice to begin."""
    dropout: float = 0.5
    radius: float = 0.1
    """A filter whose root mean square exceeds this is scaled back to it."""
    patience: int = 5
    """After so many epochs without a lower error the rate falls to a tenth."""
    augment: bool = True
    seed: int = 0
    every: int = 200
    """Steps between two checkpoints."""
