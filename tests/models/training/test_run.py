"""Training as the paper has it: resumable bit for bit, the same on one process as on two."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from models.errors import InvalidChoice, UnknownNetwork
from models.networks.architecture import Normalization
from models.training.checkpoint import write_weights
from models.training.config import TrainingConfig
from models.training.photos import open_folders
from models.training.run import make, renormalise, train
from models.weights.sources import Sources, load
from tests.oracles import slim
from tests.refusals import refused

TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
PLAN = TrainingConfig(epochs=2, batch=4, every=1)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Return a folder of two classes, six grey photos each: dark and bright."""
    chance = torch.Generator().manual_seed(1)
    for name, level in (("dark", 40), ("bright", 200)):
        folder = tmp_path / "photos" / name
        folder.mkdir(parents=True)
        for number in range(6):
            noise = torch.randint(-30, 30, (30, 34), generator=chance)
            Image.fromarray((noise + level).byte().numpy()).save(folder / f"{number}.png")
    return tmp_path / "photos"


def weights_of(file: Path) -> Mapping[str, Tensor]:
    return load_file(file)


def assert_same(one: Path, other: Path) -> None:
    ours, theirs = weights_of(one), weights_of(other)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


class Interrupted(Exception):
    """What the terminal does in the middle of a run."""


def test_an_interrupted_run_ends_with_the_bits_of_an_unbroken_one(
    photos: Path, tmp_path: Path
) -> None:
    def interrupt(done: int, total: int, loss: float) -> None:
        if done == 4:
            raise Interrupted

    whole = train("lenet5", photos, tmp_path / "whole", PLAN, device="cpu")
    with pytest.raises(Interrupted):
        train("lenet5", photos, tmp_path / "broken", PLAN, device="cpu", progress=interrupt)
    mended = train("lenet5", photos, tmp_path / "broken", PLAN, device="cpu")
    assert_same(whole, mended)


def test_resuming_does_only_the_steps_that_are_left(photos: Path, tmp_path: Path) -> None:
    train("lenet5", photos, tmp_path, PLAN, device="cpu")
    steps: list[int] = []
    longer = TrainingConfig(epochs=3, batch=4, every=1)
    train(
        "lenet5", photos, tmp_path, longer, device="cpu", progress=lambda *it: steps.append(it[0])
    )
    assert steps == [7, 8, 9]


def test_weights_are_kept_at_the_papers_epochs(photos: Path, tmp_path: Path) -> None:
    train("lenet5", photos, tmp_path, TrainingConfig(epochs=3, batch=6), device="cpu")
    assert [p.name for p in sorted(tmp_path.glob("epoch-*"))] == [
        "epoch-01.safetensors",
        "epoch-02.safetensors",
    ]


def test_the_weights_say_what_they_were_trained_on(photos: Path, tmp_path: Path) -> None:
    file = train("lenet5", photos, tmp_path, TrainingConfig(epochs=1, batch=6), device="cpu")
    with safe_open(file, "pt") as opened:
        entry = opened.metadata()["deconvnet"]
    assert '"classes": ["bright", "dark"]' in entry
    assert '"channel_order": "L"' in entry


@pytest.mark.parametrize("order", ["norm-pool", "pool-norm"])
def test_written_weights_normalise_as_the_network_that_was_written(
    tmp_path: Path, order: Literal["norm-pool", "pool-norm"]
) -> None:
    norm = Normalization(order, 3, 2e-4, 0.5, 1.5)
    network = slim("alexnet2012", norm=norm).float().to(memory_format=torch.channels_last)
    write_weights(network, tmp_path / "alexnet2012.safetensors", torch.float32, source="a test")
    read = load("alexnet2012", Sources(tmp_path, tmp_path, offline=True))
    pixels = 100 * torch.rand(1, 3, 227, 227, generator=torch.Generator().manual_seed(5))
    assert torch.equal(read(pixels), network.eval()(pixels))


def test_metrics_are_where_tensorboard_reads_them(photos: Path, tmp_path: Path) -> None:
    train("lenet5", photos, tmp_path, TrainingConfig(epochs=1, batch=6), device="cpu")
    assert list((tmp_path / "metrics").glob("events.out.tfevents.*"))


def test_two_processes_give_the_weights_of_one(photos: Path, tmp_path: Path) -> None:
    config = TrainingConfig(epochs=2, batch=4, dropout=0.0, augment=False)
    script = (
        "from pathlib import Path; from models import TrainingConfig, train\n"
        f"train('lenet5', Path({str(photos)!r}), Path({str(tmp_path / 'two')!r}), {config!r},"
        " device='cpu')\n"
        # A thread of the group that outlives it may abort the process as it exits.
        "names = [each.read_text() for each in Path('/proc/self/task').glob('*/comm')]\n"
        "assert not [name for name in names if 'gloo' in name], names\n"
    )
    (tmp_path / "two.py").write_text(script)
    done = subprocess.run(
        [*TORCHRUN, str(tmp_path / "two.py")],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
    )
    assert done.returncode == 0, done.stderr
    one = weights_of(train("lenet5", photos, tmp_path / "one", config, device="cpu"))
    two = weights_of(tmp_path / "two" / "lenet5.safetensors")
    for key in one:
        torch.testing.assert_close(two[key], one[key], rtol=1e-5, atol=1e-7)


def test_a_filter_outside_the_radius_is_scaled_back_to_it() -> None:
    network = make("lenet5", ("a", "b"), PLAN)
    filters = network.tensors()["c1.weight"]
    with torch.no_grad():
        filters[0] *= 1000
    before = filters.detach().clone()
    renormalise(network, 0.1)
    strength = filters.detach().flatten(1).norm(dim=1) / 5
    assert strength[0] == pytest.approx(0.1)
    assert torch.equal(filters[1:], before[1:])
    torch.testing.assert_close(filters[0] / filters[0].norm(), before[0] / before[0].norm())


def test_new_weights_are_the_papers_gaussian() -> None:
    network = make("zfnet", ("cat", "dog"), PLAN)
    tensors = network.tensors()
    assert tensors["fc8.weight"].shape == (2, 4096)
    assert float(tensors["fc6.weight"].detach().std()) == pytest.approx(0.01, rel=0.01)
    assert not tensors["conv3.bias"].any()


def test_wider_weights_keep_the_strength_of_signals_between_first_and_last() -> None:
    tensors = make("zfnet", ("cat", "dog"), TrainingConfig(start="he")).tensors()
    for outer in ("conv1.weight", "fc8.weight"):
        assert float(tensors[outer].detach().std()) == pytest.approx(0.01, rel=0.03)
    read = 256 * 3 * 3
    expected = (2 / read) ** 0.5
    assert float(tensors["conv3.weight"].detach().std()) == pytest.approx(expected, rel=0.01)
    assert not tensors["conv3.bias"].any()


def test_a_checkpoint_from_before_an_option_goes_on(photos: Path, tmp_path: Path) -> None:
    once = TrainingConfig(epochs=1, batch=6)
    train("lenet5", photos, tmp_path, once, device="cpu")
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    del state["start"]
    torch.save(state, tmp_path / "checkpoint.pt")
    assert train("lenet5", photos, tmp_path, once, device="cpu").exists()


def test_a_folder_without_classes_is_refused_with_a_sentence(tmp_path: Path) -> None:
    with refused(InvalidChoice, match="no folder of photos for each class"):
        open_folders(tmp_path)


def test_a_batch_larger_than_the_folder_is_refused(photos: Path, tmp_path: Path) -> None:
    with refused(InvalidChoice, match="a batch of 128 cannot be had from 12 photos"):
        train("lenet5", photos, tmp_path, TrainingConfig(), device="cpu")


def test_an_unknown_network_is_refused(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(UnknownNetwork):
        train("resnet", photos, tmp_path, PLAN, device="cpu")


def test_validation_photos_decide_the_rate_when_there_are_some(
    photos: Path, tmp_path: Path
) -> None:
    (tmp_path / "data").mkdir()
    photos.rename(tmp_path / "data" / "train")
    (tmp_path / "data" / "val").symlink_to(tmp_path / "data" / "train")
    learned, tested = open_folders(tmp_path / "data")
    assert tested is not None and tested.classes == learned.classes
    train("lenet5", tmp_path / "data", tmp_path / "out", PLAN, device="cpu")


def test_a_checkpoint_of_another_run_is_refused(photos: Path, tmp_path: Path) -> None:
    train("lenet5", photos, tmp_path, TrainingConfig(epochs=1, batch=6), device="cpu")
    with refused(InvalidChoice, match="its batch is 6, not 4"):
        train("lenet5", photos, tmp_path, TrainingConfig(epochs=1, batch=4), device="cpu")
