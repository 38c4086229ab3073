"""What tests share: one toy network, a photo, golden pictures, and a machine kept quiet."""

from __future__ import annotations

import copy
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from skimage import data

from app.cli.main import main
from models.networks.architecture import Architecture, Dense, Filters, Norm, Normalization, Pooling
from models.networks.build import build
from models.networks.network import Network, Provenance
from models.networks.preprocessing import Preprocessing
from tests.serving import Run

GOLDEN = Path(__file__).parent / "golden"
LEVELS = 2
"""How many grey levels a golden picture may differ by, since processors round differently."""

TOY = Architecture(
    name="toy",
    title="A toy",
    paper="none",
    rows=(
        Filters("conv1", 6, 5, stride=2, padding=1),
        Pooling("pool1", 3, 2, ceil_mode=True),
        Norm("norm1"),
        Filters("conv2", 12, 3, padding=1),
        Pooling("pool2", 3, 2),
        Dense("fc3", 10),
        Dense("fc4", 4),
    ),
    preprocessing=Preprocessing(size=32, resize=36),
    norm=Normalization(),
)


def pytest_configure(config: pytest.Config) -> None:
    """Share the cores among pytest-xdist's workers, and with the programs that they start."""
    if workers := int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", 0)):
        threads = max(1, (os.cpu_count() or 1) // workers)
        os.environ["OMP_NUM_THREADS"] = str(threads)
        torch.set_num_threads(threads)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--accept", action="store_true", help="take today's golden pictures as right")


@pytest.fixture(scope="session")
def toy() -> Network:
    """Return a small network of every kind of layer, with random weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        network = build(
            TOY,
            classes=("cat", "dog", "car", "cup"),
            provenance=Provenance("toy", "0" * 64, trained=False, classes=4),
        )
    return network.requires_grad_(requires_grad=False)


@pytest.fixture(scope="session")
def dead(toy: Network) -> Network:
    """Return the toy with a map, number 3 of conv2, that never fires."""
    network = copy.deepcopy(toy)
    network.tensors()["conv2.bias"][3] = -1000
    return network


@pytest.fixture(scope="session")
def blue_first(toy: Network) -> Network:
    """Return the toy as Caffe would have trained it: blue first, 0 to 255 less the mean."""
    caffe = Preprocessing(
        size=32, resize=36, channel_order="BGR", scale=1.0, mean=(104, 117, 123), std=(1, 1, 1)
    )
    network = build(toy.architecture, preprocessing=caffe)
    network.assign_tensors(toy.tensors())
    return network


@pytest.fixture(scope="session")
def cat() -> Image.Image:
    """Return a photo of a cat, 451 x 300."""
    chelsea: Callable[[], NDArray[np.uint8]] = data.chelsea
    return Image.fromarray(chelsea())


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Compute on one thread: small tensors only wait for a second one on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, Image.Image], None]:
    """Return what compares a picture with the accepted one of that name."""

    def compare(name: str, picture: Image.Image) -> None:
        file = GOLDEN / f"{name}.png"
        if request.config.getoption("--accept"):
            picture.save(file, optimize=True)
        accepted = Image.open(file)
        assert (picture.mode, picture.size) == (accepted.mode, accepted.size)
        apart = np.abs(np.asarray(picture, int) - np.asarray(accepted, int)).max()
        assert apart <= LEVELS, f"{file.name} differs by {apart} levels; 'make accept' takes it"

    return compare


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command line on folders of its own: exit code, output, complaints."""
    for name in ("weights", "cache", "data"):
        monkeypatch.setenv(f"DECONVNET_{name.upper()}_DIR", str(tmp_path / name))
    monkeypatch.setenv("DECONVNET_OFFLINE", "1")
    monkeypatch.setenv("DECONVNET_DEVICE", "cpu")
    monkeypatch.setenv("COLUMNS", "300")

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["deconvnet", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            main()
            raise SystemExit(0)
        heard = capsys.readouterr()
        assert "Traceback" not in heard.err
        return int(stopped.value.code or 0), heard.out, heard.err

    return call
