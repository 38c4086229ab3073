"""Weights given back: imported again, they are the same network."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

import models
from models.networks.network import Network
from models.weights.exports import export_weights
from models.weights.files import write
from models.weights.imports import import_weights
from models.weights.sources import Sources, load
from tests.refusals import refused
from tests.weight_files import own

SAID = {
    "norm": {"order": "norm-pool", "alpha": 1e-4, "k": 1.0},
    "preprocessing": {"channel_order": "BGR", "scale": 1, "mean": [1, 2, 3], "std": [1, 1, 1]},
    "classes": list("abcdef"),
    "source": "a friend",
    "licence": "CC0-1.0",
}


@pytest.fixture
def sources(tmp_path: Path) -> Sources:
    here = Sources(tmp_path / "weights", tmp_path / "cache", offline=True)
    here.weights_dir.mkdir()
    write(here.weights_dir / "zfnet.safetensors", own("zfnet"), SAID)
    return here


def elsewhere(file: Path, name: str, folder: Path) -> Network:
    there = Sources(folder / "elsewhere", folder / "cache", offline=True)
    import_weights(file, name, there)
    return load(name, there, weights="yours")


@pytest.mark.parametrize(
    ("name", "weights"),
    [
        ("zfnet", None),
        ("zfnet", "starter"),
        ("lenet5", None),
        ("vgg16", "starter"),
        ("lenet5", "random"),
    ],
)
def test_what_is_given_back_is_the_same_network_elsewhere(
    sources: Sources, tmp_path: Path, name: str, weights: str | None
) -> None:
    file = tmp_path / "given" / "back.safetensors"
    file.parent.mkdir()
    said = export_weights(name, file, sources, weights)
    here, there = load(name, sources, weights=weights), elsewhere(file, name, tmp_path)
    assert said == here.provenance
    assert [layer.name for layer in there.layers] == [layer.name for layer in here.layers]
    assert there.classes == here.classes and there.preprocessing == here.preprocessing
    ours, theirs = here.tensors(), there.tensors()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    described = here.provenance.description or "imported from back.safetensors"
    wanted = replace(said, source="yours", sha256=there.provenance.sha256, description=described)
    assert there.provenance == wanted
    assert [each.name for each in file.parent.iterdir()] == [file.name]


def test_a_file_that_is_there_is_kept_unless_somebody_insists(
    sources: Sources, tmp_path: Path
) -> None:
    file = tmp_path / "mine.safetensors"
    file.write_text("precious")
    with refused(models.InvalidChoice, match="is there already; --force overwrites it"):
        export_weights("zfnet", file, sources)
    assert file.read_text() == "precious"
    export_weights("zfnet", file, sources, overwrite=True)
    assert elsewhere(file, "zfnet", tmp_path).classes == tuple("abcdef")


@pytest.mark.parametrize(
    ("name", "file", "error", "sentence"),
    [
        ("zfnet", "mine.pth", models.InvalidChoice, r"as \.safetensors, not as 'mine\.pth'"),
        ("zfnet", "none/mine.safetensors", models.WeightsInvalid, "cannot be written: .*No such"),
        ("vgg19", "mine.safetensors", models.WeightsMissing, "vgg19 has no weights here"),
        ("resnet", "mine.safetensors", models.UnknownNetwork, "there is no network 'resnet'"),
    ],
)
def test_what_cannot_be_given_back_is_a_sentence(
    sources: Sources,
    tmp_path: Path,
    name: str,
    file: str,
    error: type[models.DeconvnetError],
    sentence: str,
) -> None:
    with refused(error, match=sentence):
        export_weights(name, tmp_path / file, sources)
    assert not (tmp_path / file).exists()
