"""VGG-16 as the tutor: crops as they are cut on a device, and what the pupils learn."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from models.workbench import architecture, assemble, read, write, write_weights
from recipes.__main__ import main
from recipes.album import Album, mix, tint
from recipes.halves import add_head, choose_maps, make_half, read_vgg
from recipes.students import make_student
from recipes.tutoring import TEMPERATURE, agree

pytestmark = pytest.mark.usefixtures("one_thread")


def ramp(height: int, width: int) -> Tensor:
    """Return a photo whose red is its column, whose green is its row and whose blue is 7."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([columns, rows, torch.full_like(rows, 7)]).byte()


def test_a_crop_is_a_square_of_the_photo_mirrored_or_not() -> None:
    torch.manual_seed(0)
    chosen, crops = Album([ramp(40, 60), ramp(60, 40)], torch.device("cpu"), 64).draw(64, 16)
    assert set(chosen.tolist()) == {0, 1}
    assert crops.shape == (64, 3, 16, 16)
    for number, crop in zip(chosen.tolist(), crops, strict=True):
        across, down = crop[0].diff(dim=1), crop[1].diff(dim=0)
        # the ramps stay ramps: a place in the crop is a place in the photo, at one scale a side
        torch.testing.assert_close(across, across[:1, :1].expand_as(across), atol=1e-3, rtol=0)
        torch.testing.assert_close(down, down[:1, :1].expand_as(down), atol=1e-3, rtol=0)
        assert 0.5 * 40 / 16 < down[0, 0] < 1.1 * 40 / 16
        assert 0.7 < abs(across[0, 0] / down[0, 0]) < 1.4
        width, height = (60, 40) if number == 0 else (40, 60)
        assert crop[0].min() >= 0 and crop[0].max() <= width - 1
        assert crop[1].min() >= 0 and crop[1].max() <= height - 1
        torch.testing.assert_close(crop[2], torch.full((16, 16), 7.0))
    assert {bool(crop[0, 0, 0] > crop[0, 0, 1]) for crop in crops} == {True, False}


def test_a_long_photo_keeps_its_middle() -> None:
    album = Album([ramp(20, 100)], torch.device("cpu"), 50)
    assert album.sizes.tolist() == [[20, 50]]
    assert album.pages[0, 0, 0, :50].tolist() == list(range(25, 75))


def test_tint_keeps_to_what_a_pixel_can_be_and_mix_lies_between_two_crops() -> None:
    torch.manual_seed(0)
    crops = 255 * torch.rand(8, 3, 4, 4)
    tinted = tint(crops)
    assert tinted.min() >= 0 and tinted.max() <= 255 and not torch.equal(tinted, crops)
    low, high = torch.minimum(crops, crops.flip(0)), torch.maximum(crops, crops.flip(0))
    mixed = mix(crops)
    assert ((mixed >= low - 1e-4) & (mixed <= high + 1e-4)).all()
    assert ((mixed - crops).abs() <= (high - low) / 2 + 1e-4).all()


def test_agreement_is_the_divergence_of_softened_shares() -> None:
    scores, wanted = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 2.0]])
    soft = [np.exp(np.array(v) / TEMPERATURE) for v in ([0, 2], [1, 0])]
    p, q = (v / v.sum() for v in soft)
    by_hand = TEMPERATURE**2 * float((p * np.log(p / q)).sum())
    assert float(agree(scores, wanted)) == pytest.approx(by_hand, rel=1e-5)
    assert float(agree(wanted, wanted)) == pytest.approx(0, abs=1e-6)


@pytest.mark.usefixtures("few_crops")
def test_all_starters_go_on_from_where_they_were(vgg_file: Path, tmp_path: Path) -> None:
    classes = ("cat", "dog")
    for kind in (*classes, "BACKGROUND_Google"):
        (tmp_path / "photos/caltech101" / kind).mkdir(parents=True)
        for number in range(4):
            noise = np.random.default_rng(number).integers(0, 256, (60, 70, 3), dtype=np.uint8)
            Image.fromarray(noise).save(tmp_path / "photos/caltech101" / kind / f"{number}.jpg")
    teacher, starters = read_vgg(vgg_file), tmp_path / "starters"
    starters.mkdir()
    maps = choose_maps(teacher, [ramp(130, 140)])
    (tmp_path / "maps.json").write_text(
        str({k: v.tolist() for k, v in maps.items()}).replace("'", '"')
    )
    made = {name: make_student(name, classes) for name in ("alexnet", "zfnet")}
    made["vgg16"] = add_head(make_half(teacher, maps), classes)
    for name, network in made.items():
        write_weights(network, starters / f"{name}.safetensors", torch.float16)
    head = add_head(teacher, classes).tensors()
    write(tmp_path / "head.safetensors", {k: head[k] for k in ("fc8.weight", "fc8.bias")}, {})
    order = f"tutor --data {tmp_path}/photos --out {tmp_path}/out --work {tmp_path}/work --batch 2"
    order += f" --teacher {vgg_file} --head {tmp_path}/head.safetensors --steps 1 --device cpu"
    main([*order.split(), "--maps", f"{tmp_path}/maps.json", "--starters", str(starters)])
    for name in made:
        paper = architecture(name)
        before, after = (
            assemble(read(folder / f"{name}.safetensors", paper), paper, "starter").tensors()
            for folder in (starters, tmp_path / "out")
        )
        moved = {k for k in before if not torch.equal(before[k], after[k])}
        assert before.keys() == after.keys()
        assert f"{'conv1_2' if name == 'vgg16' else 'conv2'}.weight" in moved


def test_the_mean_of_two_weights_lies_between_them(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("one.safetensors", "other.safetensors")]
    for seed, file in enumerate(files):
        torch.manual_seed(seed)
        write_weights(make_student("alexnet", ("cat", "dog")), file, torch.float32, source="a")
    out = tmp_path / "mean.safetensors"
    main(["average", "--network", "alexnet", *map(str, files), "--out", str(out)])
    paper = architecture("alexnet")
    one, other, mean = (read(file, paper) for file in (*files, out))
    for name, tensor in mean.tensors.items():
        by_hand = ((one.tensors[name] + other.tensors[name]) / 2).half().float()
        assert torch.equal(tensor, by_hand)
    assert mean.metadata["classes"] == ["cat", "dog"] and mean.metadata["source"] == "a"
