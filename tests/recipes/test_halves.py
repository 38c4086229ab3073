"""A half-wide VGG-16's making, on a toy teacher: which maps, what regression and tuning give."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors import safe_open
from torch import Tensor, nn

from models.networks.network import Network
from recipes.__main__ import main
from recipes.halves import (
    Imitation,
    add_head,
    choose_maps,
    draw_crops,
    imitate,
    make_half,
    measure,
    read_vgg,
    regress,
    show,
    trace_convs,
)
from tests.recipes.conftest import CONVS

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def teacher(vgg_file: Path) -> Network:
    return read_vgg(vgg_file)


@pytest.fixture(scope="module")
def photos() -> list[Tensor]:
    chance = torch.Generator().manual_seed(0)
    rough = torch.rand(6, 3, 20, 24, generator=chance)
    smooth = nn.functional.interpolate(rough, size=(130, 150), mode="bilinear")
    return list((255 * smooth).byte())


def test_the_maps_chosen_are_those_that_vary_and_are_read(
    teacher: Network, photos: list[Tensor]
) -> None:
    readers = teacher.tensors()["conv3_2.weight"]
    before = readers.clone()
    readers[:, [1, 4]] = 0  # nobody reads these two maps of conv3_1
    torch.manual_seed(0)
    chosen = choose_maps(teacher, photos, share=4 / 6)
    readers.copy_(before)
    assert chosen["conv3_1"].tolist() == [0, 2, 3, 5]
    assert all(len(rows) == 4 for rows in chosen.values())


def test_regression_finds_the_teacher_again_where_all_maps_are_kept(
    teacher: Network, photos: list[Tensor]
) -> None:
    torch.manual_seed(0)
    half = make_half(teacher, choose_maps(teacher, photos, share=1.0))
    for parameter in half.parameters():
        parameter.data.normal_()
    maps = {name: torch.arange(6) for name in CONVS}
    regress(half, teacher, maps, photos, crops=64, places=40, ridge=1e-9)
    crops = draw_crops(photos, 4)
    with torch.no_grad():
        found, _ = trace_convs(half.layers, show(half, crops))
        known, _ = trace_convs(teacher.layers, show(teacher, crops))
        for name, truth in known.items():
            torch.testing.assert_close(found[name], truth, atol=1e-2, rtol=1e-2)


def test_tuning_explains_more_of_the_teacher_and_goes_on_where_it_was(
    teacher: Network, photos: list[Tensor], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    maps = choose_maps(teacher, photos)
    imitation, half = Imitation(teacher, maps, photos), make_half(teacher, maps)
    before = measure(half, imitation, photos, batches=1)
    imitate(half, imitation, photos, 6, tmp_path / "half.pt", peak=1e-2)
    after = measure(half, imitation, photos, batches=1)
    assert sum(after.values()) < sum(before.values())
    again = make_half(teacher, maps)
    imitate(again, imitation, photos, 6, tmp_path / "half.pt", peak=1e-2)
    for one, other in zip(half.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_classifier_for_the_teachers_own_maps_is_written_without_them(
    vgg_file: Path, tmp_path: Path
) -> None:
    colours = {"navy": (0, 0, 120), "orange": (255, 160, 0)}
    for number in range(16):
        name, colour = list(colours.items())[number % 2]
        folder = tmp_path / "data" / "caltech101" / name
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 50), colour).save(folder / f"{number}.jpg")
    out, files = tmp_path / "head.safetensors", ["--teacher", str(vgg_file)]
    places = ["--data", str(tmp_path / "data"), "--work", str(tmp_path / "work")]
    main(["head", *files, *places, "--out", str(out), "--head-steps", "2000"])
    with safe_open(out, "pt") as file:
        described = json.loads(file.metadata()["deconvnet"])
        head = {key: file.get_tensor(key) for key in file.keys()}
    assert sorted(head) == ["fc8.bias", "fc8.weight"]
    network = add_head(read_vgg(vgg_file), tuple(described["classes"]))
    for key, tensor in head.items():
        network.tensors()[key].data.copy_(tensor)
    for number, colour in enumerate(colours.values()):
        photo = torch.tensor(colour, dtype=torch.uint8)[None, :, None, None].expand(1, 3, 224, 224)
        assert network(show(network, photo)).flatten().argmax() == number


def test_the_head_reads_pool5_on_a_smaller_grid(teacher: Network, photos: list[Tensor]) -> None:
    half = make_half(teacher, choose_maps(teacher, photos))
    network = add_head(half, ("cat", "dog"), side=4)
    assert network.tensors()["fc8.weight"].shape == (2, 3 * 16)
    assert network.classes == ("cat", "dog") and network.last_fc == "fc8"
