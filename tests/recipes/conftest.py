"""What the recipes' tests share: a published VGG-16 that is small."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recipes import classes, evaluation, halves, photos, tutoring

CONVS = [f"conv{b}_{n}" for b, count in enumerate((2, 2, 3, 3, 3), 1) for n in range(1, count + 1)]


@pytest.fixture(scope="session")
def vgg_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a VGG-16 of six maps a layer, an .npz as the published one is."""
    chance, below = np.random.default_rng(0), 3
    tensors: dict[str, np.ndarray[Any, Any]] = {}
    for name in CONVS:
        deviation = (2 / (9 * below)) ** 0.5 * (0.02 if below == 3 else 1)
        weight = chance.normal(0, deviation, (6, below, 3, 3)).astype(np.float32)
        tensors |= {f"{name}.weight": weight, f"{name}.bias": np.full(6, 0.1, np.float32)}
        below = 6
    file = tmp_path_factory.mktemp("teacher") / "vgg.npz"
    np.savez(file, allow_pickle=False, **tensors)
    return file


@pytest.fixture
def few_crops(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw few crops at a time, for who asks whether a recipe runs and not how well it learns."""
    for module in (classes, evaluation, halves, photos):
        monkeypatch.setattr(module, "BATCH", 4)
    monkeypatch.setattr(tutoring, "MEASURED", 4)
