"""The names that others give the same tensors."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torchvision.models.vgg import make_layers

from models.errors import WeightsInvalid
from models.networks.catalogue import architecture
from models.weights.assembly import assemble
from models.weights.files import read
from tests.refusals import refused
from tests.weight_files import own, save


class TimmVGG(nn.Module):
    """timm's form of a VGG: its dense layers are convolutions, but for the last."""

    def __init__(self, *, batch_norm: bool) -> None:
        super().__init__()
        table: list[str | int] = [4, "M", 5, "M", 6, 6, "M", 7, 7, "M", 8, 8, "M"]
        self.features = make_layers(table, batch_norm=batch_norm)
        self.pre_logits = nn.ModuleDict(
            {"fc1": nn.Conv2d(8, 10, 7), "fc2": nn.Conv2d(10, 9, 1), "drop": nn.Dropout()}
        )
        self.head = nn.ModuleDict({"fc": nn.Linear(9, 3)})

    def forward(self, x: Tensor) -> Tensor:
        """Average over whatever places are left, as timm's head does."""
        x = self.features(x)
        for name in ("fc1", "fc2"):
            x = self.pre_logits[name](x).relu()
        scores: Tensor = self.head["fc"](x.mean((2, 3)))
        return scores


@pytest.mark.parametrize("name", ["vgg11", "vgg11_bn"])
def test_a_file_of_timms_computes_what_timms_form_computes(tmp_path: Path, name: str) -> None:
    torch.manual_seed(0)
    theirs = TimmVGG(batch_norm=name.endswith("bn")).eval()
    file, kind = save(theirs.state_dict(), tmp_path / "timm.pth"), architecture(name)
    network = assemble(read(file, kind), kind, "yours")
    pixels = torch.randn(2, 3, 224, 224)
    with torch.inference_mode():
        torch.testing.assert_close(network(pixels).flatten(1), theirs(pixels))


WRAPPED: dict[str, Callable[[str], str]] = {
    "a plain module": lambda key: key,
    "several GPUs": lambda key: f"module.{key}",
    "a module of another": lambda key: f"model.backbone.{key}",
    "underscores": lambda key: key.replace("conv", "conv_"),
}


@pytest.mark.parametrize("wrapper", WRAPPED)
def test_the_plain_names_of_a_vgg_are_known_within(tmp_path: Path, wrapper: str) -> None:
    tensors, kind = own("vgg11"), architecture("vgg11")
    file = save({WRAPPED[wrapper](key): t for key, t in tensors.items()}, tmp_path / "v.pth")
    found = read(file, kind).tensors
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[key], tensors[key]) for key in tensors)


def test_batch_norm_beside_the_convolutions_is_known(tmp_path: Path) -> None:
    tensors, kind = own("vgg11_bn"), architecture("vgg11_bn")
    plain = {
        f"bn{key.removeprefix('conv').replace('.bn', '')}" if ".bn." in key else key: tensor
        for key, tensor in tensors.items()
    }
    assert "bn1_1.running_mean" in plain
    found = read(save(plain, tmp_path / "v.pth"), kind).tensors
    assert found.keys() == tensors.keys()


def test_features_trained_on_several_gpus_are_known(tmp_path: Path) -> None:
    kind = architecture("vgg11")
    theirs = {
        "features.module.0.weight": torch.ones(2, 3, 3, 3),
        "classifier.6.bias": torch.ones(3),
    }
    found = read(save(theirs, tmp_path / "v.pth"), kind)
    assert found.naming == "torchvision"
    assert found.tensors.keys() == {"conv1_1.weight", "fc8.bias"}


def test_two_names_for_one_tensor_are_refused(tmp_path: Path) -> None:
    tensors = own("vgg11")
    file = save({**tensors, "conv_1_1.weight": tensors["conv1_1.weight"] + 1}, tmp_path / "v.pth")
    with refused(WeightsInvalid, match="holds a tensor of vgg11 under two names"):
        read(file, architecture("vgg11"))


def test_a_name_without_end_is_refused(tmp_path: Path) -> None:
    file = save({"a" + ".a" * 10**5: torch.ones(2)}, tmp_path / "v.pth")
    kind = architecture("vgg11")
    with refused(WeightsInvalid, match="none of the convolutional layers"):
        assemble(read(file, kind), kind, "yours")
