"""Evolution: the strongest activation at each kept epoch, found a second way."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from models.errors import InvalidChoice, UnknownLayer
from models.experiments.evolution import Evolution, evolve
from models.experiments.export import result_files
from models.experiments.requests import EvolutionRequest
from models.experiments.shape import finish
from models.networks.network import Network
from models.networks.preprocessing import framed, to_pixels
from models.training.checkpoint import write_weights
from models.training.config import TrainingConfig
from models.training.run import make, train
from tests.oracles import plain
from tests.refusals import refused

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Return a folder of two classes, ten photos of noise each."""
    chance = np.random.default_rng(1)
    for name in ("a", "b"):
        folder = tmp_path / "photos" / name
        folder.mkdir(parents=True)
        for number in range(10):
            levels = chance.integers(0, 256, (30, 34), dtype=np.uint8)
            Image.fromarray(levels).save(folder / f"{number}.png")
    return tmp_path / "photos"


@pytest.fixture
def networks() -> dict[int, Network]:
    networks = {}
    for epoch in (1, 2, 10):
        networks[epoch] = make("lenet5", ("a", "b"), TrainingConfig(seed=epoch))
        for key, tensor in networks[epoch].tensors().items():
            if tensor.dim() > 1:
                tensor.data *= 20 if key.startswith("c") else 1
    return networks


@pytest.fixture
def run_folder(tmp_path: Path, networks: dict[int, Network]) -> Path:
    """Return what a training run leaves."""
    folder = tmp_path / "run"
    folder.mkdir()
    torch.save({"name": "lenet5"}, folder / "checkpoint.pt")
    for epoch, network in networks.items():
        write_weights(network, folder / f"epoch-{epoch:02}.safetensors", torch.float32)
    return folder


def ask(run: Path, data: Path, **asked: object) -> Evolution:
    found = finish(evolve(run, data, EvolutionRequest(**asked)))  # type: ignore[arg-type]
    assert isinstance(found, Evolution)
    return found


def test_the_strongest_activation_of_all_photos_is_found_at_each_epoch(
    run_folder: Path, photos: Path, networks: dict[int, Network]
) -> None:
    found = ask(run_folder, photos, layer="c2", features=(3, 7))
    assert found.epochs == (1, 2, 10)
    files = sorted(photos.rglob("*.png"))
    for column, network in enumerate(networks.values()):
        pixels = torch.cat(
            [
                to_pixels(framed(Image.open(f), network.preprocessing), network.preprocessing)
                for f in files
            ]
        )
        maps = plain(network, until="c2")(pixels)
        for row, feature in enumerate((3, 7)):
            moment = found.moments[row][column]
            assert moment.activation == pytest.approx(float(maps[:, feature].max()), rel=1e-5)
            y, x = moment.unit
            there = float(maps[moment.photo, feature, y, x])
            assert there == pytest.approx(moment.activation, rel=1e-5)
            assert found.photos[moment.photo] == files[moment.photo].relative_to(photos).as_posix()
            assert moment.picture is not None
            top, left, bottom, right = moment.box
            assert moment.picture.size == (right - left, bottom - top)


def test_the_maps_that_are_strongest_at_last_are_followed(
    run_folder: Path, photos: Path, networks: dict[int, Network]
) -> None:
    found = ask(run_folder, photos, layer="c1")
    last = [row[-1].activation for row in found.moments]
    assert len(last) == 6 and last == sorted(last, reverse=True)


def test_photos_are_taken_evenly_from_all_of_the_folder(run_folder: Path, photos: Path) -> None:
    found = ask(run_folder, photos, photos=3, features=(0,))
    assert found.photos == ("a/0.png", "b/0.png", "b/9.png")


def test_numbers_have_a_row_for_each_map_and_a_column_for_each_epoch(
    run_folder: Path, photos: Path
) -> None:
    found = ask(run_folder, photos, features=(1, 5))
    assert {name: each.shape for name, each in found.numbers.items()} == {
        "epochs": (3,),
        "features": (2,),
        "activation": (2, 3),
        "photo": (2, 3),
        "unit": (2, 3, 2),
        "receptive_field": (2, 3, 4),
    }
    assert len(list(found.table.rows)) == 6
    assert all(result_files(found).values())


def test_a_map_that_fires_in_no_photo_has_no_place_in_the_table(
    run_folder: Path, photos: Path
) -> None:
    found = finish(evolve(run_folder, photos, EvolutionRequest(features=(2,), photos=4)))
    fired = found.moments[0][0]
    silent = replace(fired, activation=0.0, picture=None)
    found = replace(found, moments=((silent, *found.moments[0][1:]),))
    first, second, *_ = found.table.rows
    assert list(first) == [2, 1, 0.0, "", "", ""]
    assert list(second)[3] in found.photos


def test_a_run_of_our_own_can_be_followed(photos: Path, tmp_path: Path) -> None:
    config = TrainingConfig(epochs=2, batch=10)
    train("lenet5", photos, tmp_path / "own", config, device="cpu")
    assert ask(tmp_path / "own", photos).epochs == (1, 2)


def test_what_is_no_run_is_refused(run_folder: Path, photos: Path, tmp_path: Path) -> None:
    with refused(InvalidChoice, "holds no weights of epochs"):
        ask(tmp_path, photos)
    with pytest.raises(UnknownLayer):
        ask(run_folder, photos, layer="conv9")
    with refused(InvalidChoice, "c2 has the feature maps 0 to 15, not 16"):
        ask(run_folder, photos, features=(16,))
    (run_folder / "checkpoint.pt").write_bytes(b"nothing")
    with refused(InvalidChoice, "holds no checkpoint of a training run"):
        ask(run_folder, photos)
