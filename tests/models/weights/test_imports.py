"""Your own weights: one file in any known format becomes WEIGHTS_DIR/<network>.safetensors."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

import models
from models.weights.files import write
from models.weights.imports import import_weights
from models.weights.sources import Sources, find_weights, load
from tests import weight_files
from tests.models.weights.test_files import REFUSED
from tests.refusals import refused
from tests.weight_files import own, save


@pytest.fixture
def sources(tmp_path: Path) -> Sources:
    return Sources(tmp_path / "weights", tmp_path / "cache", offline=True)


def labels(folder: Path, text: str) -> Path:
    file = folder / "labels.txt"
    file.write_text(text, encoding="utf-8")
    return file


def entry(sources: Sources, name: str) -> dict[str, Any]:
    with safe_open(sources.weights_dir / f"{name}.safetensors", framework="pt") as file:
        found: dict[str, Any] = json.loads(file.metadata()["deconvnet"])
        return found


@pytest.mark.parametrize("legacy", [False, True])
def test_a_file_of_pytorchcvs_is_imported_with_all_that_it_means(
    sources: Sources, tmp_path: Path, legacy: bool
) -> None:
    tensors = own("zfnet")
    file = save(weight_files.pytorchcv(tensors), tmp_path / "z.pth", legacy=legacy)
    for each in (file, weight_files.packed(file)):
        import_weights(each, "zfnet", sources)
        network = load("zfnet", sources)
        assert network.provenance.source == "yours"
        assert network.provenance.description == f"imported from {each.name}"
        assert [layer.name for layer in network.layers][:3] == ["conv1", "norm1", "pool1"]
        assert entry(sources, "zfnet")["norm"]["alpha"] == 1e-4
        held = network.tensors()
        assert all(torch.equal(held[key], tensors[key]) for key in tensors)


def test_a_file_of_torchvisions_is_imported(sources: Sources, tmp_path: Path) -> None:
    shapes = weight_files.torchvision_shapes("vgg11")
    theirs = {
        key: torch.rand(2, 3 if key == "features.0.weight" else 2, 3, 3)
        if len(shape) == 4
        else torch.rand(2)
        for key, shape in shapes.items()
        if key.startswith("features.")
    }
    import_weights(save(theirs, tmp_path / "v.pth"), "vgg11", sources)
    network = load("vgg11", sources)
    assert network.layers[-1].name == "pool5"
    assert torch.equal(network.tensors()["conv1_1.weight"], theirs["features.0.weight"])


def test_labels_are_kept_with_the_weights(sources: Sources, tmp_path: Path) -> None:
    file = save(own("lenet5", classes=3), tmp_path / "l.pth")
    said = import_weights(
        file, "lenet5", sources, labels(tmp_path, "\ufeffcat\n dog \nböse 蛇\n\n")
    )
    assert said.classes == 3
    assert load("lenet5", sources).classes == ("cat", "dog", "böse 蛇")


def test_what_the_file_says_of_itself_is_kept(sources: Sources, tmp_path: Path) -> None:
    file = tmp_path / "mine.safetensors"
    said = {"licence": "CC0-1.0", "source": "my cats", "classes": list("abcdef"), "trained": False}
    write(file, own("lenet5"), {**said, "preprocessing": {"size": 32, "mean": [0.5], "std": [0.5]}})
    import_weights(file, "lenet5", sources)
    kept = entry(sources, "lenet5")
    assert {key: kept[key] for key in said} == said
    assert kept["preprocessing"]["mean"] == [0.5]


def test_a_file_may_be_imported_onto_itself(sources: Sources) -> None:
    file = sources.weights_dir / "lenet5.safetensors"
    sources.weights_dir.mkdir()
    write(file, own("lenet5"), {})
    import_weights(file, "lenet5", sources)
    assert find_weights("lenet5", sources).source == "yours"


@pytest.mark.filterwarnings("ignore:Validating sparse")
@pytest.mark.parametrize("trouble", REFUSED)
def test_nothing_changes_and_nothing_runs_for(
    sources: Sources, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    monkeypatch.chdir(tmp_path)
    import_weights(save(own("lenet5"), tmp_path / "good.pth"), "lenet5", sources)
    kept = sources.weights_dir / "lenet5.safetensors"
    before = kept.read_bytes()
    make, sentence = REFUSED[trouble]
    odd = save(make(), tmp_path / "odd.pth")
    for file in (odd, weight_files.packed(odd)):
        with refused(models.WeightsInvalid, match=sentence):
            import_weights(file, "lenet5", sources)
    assert kept.read_bytes() == before
    assert list(sources.weights_dir.iterdir()) == [kept]
    assert not (tmp_path / "was-run").exists()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("cat\ndog\n", "2 classes are named, but fc3 of l.pth tells 6 apart"),
        ("a\n\nb\nc\nd\ne\n", r"labels\.txt: line 2 names no class"),
        ("", r"labels\.txt: line 1 names no class"),
    ],
)
def test_labels_that_do_not_fit_are_refused(
    sources: Sources, tmp_path: Path, text: str, sentence: str
) -> None:
    file = save(own("lenet5"), tmp_path / "l.pth")
    with refused(models.WeightsInvalid, match=sentence):
        import_weights(file, "lenet5", sources, labels(tmp_path, text))
    assert not sources.weights_dir.exists()


def test_labels_that_are_no_text_are_refused(sources: Sources, tmp_path: Path) -> None:
    file = save(own("lenet5"), tmp_path / "l.pth")
    (tmp_path / "labels.txt").write_bytes(b"\xff\xfe\xfa")
    with refused(models.WeightsInvalid, match="cannot be read as text"):
        import_weights(file, "lenet5", sources, tmp_path / "labels.txt")
    with refused(models.WeightsInvalid, match="cannot be read as text"):
        import_weights(file, "lenet5", sources, tmp_path / "none.txt")


def test_labels_for_weights_without_a_classifier_are_refused(
    sources: Sources, tmp_path: Path
) -> None:
    file = save(own("zfnet", head=False), tmp_path / "z.pth")
    with refused(models.WeightsInvalid, match="no classifier for the 2 classes"):
        import_weights(file, "zfnet", sources, labels(tmp_path, "a\nb\n"))


def test_an_archive_that_would_grow_without_end_is_refused(
    sources: Sources, tmp_path: Path
) -> None:
    (tmp_path / "bomb.pth").write_bytes(bytes(50_000_000))
    with refused(models.WeightsInvalid, match="does not hold one weights file"):
        import_weights(weight_files.packed(tmp_path / "bomb.pth"), "lenet5", sources)


def test_a_folder_that_cannot_hold_weights_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "weights").write_text("")
    with refused(models.WeightsInvalid, match="cannot be written"):
        import_weights(
            save(own("lenet5"), tmp_path / "l.pth"),
            "lenet5",
            Sources(tmp_path / "weights", tmp_path),
        )


@pytest.mark.parametrize(
    ("name", "preset", "mean"),
    [
        ("vgg11", "keras", (103.939, 116.779, 123.68)),
        ("vgg11", "caffe", (103.939, 116.779, 123.68)),
        ("alexnet2012", "caffe", (104.0, 117.0, 123.0)),
        ("alexnet2012", "torchvision", (0.485, 0.456, 0.406)),
    ],
)
def test_a_preset_says_how_photos_were_shown(
    sources: Sources, tmp_path: Path, name: str, preset: str, mean: tuple[float, ...]
) -> None:
    file = save(own(name), tmp_path / "own.pth")
    found = import_weights(file, name, sources, preprocessing=preset).preprocessing
    assert found is not None and found.mean == mean
    assert found.size == (227 if name == "alexnet2012" else 224)
    order = "RGB" if preset == "torchvision" else "BGR"
    assert found.channel_order == load(name, sources).preprocessing.channel_order == order


def test_a_file_says_how_photos_were_shown_where_no_preset_fits(
    sources: Sources, tmp_path: Path
) -> None:
    said = {"size": 192, "channel_order": "BGR", "scale": 1, "mean": [1, 2, 3], "std": [4, 5, 6]}
    (tmp_path / "shown.json").write_text(json.dumps(said))
    file = save(own("vgg11"), tmp_path / "v.pth")
    import_weights(file, "vgg11", sources, preprocessing=str(tmp_path / "shown.json"))
    found = load("vgg11", sources).preprocessing
    assert (found.size, found.resize, found.mean, found.std) == (192, 256, (1, 2, 3), (4, 5, 6))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{", r"shown\.json is not a JSON object"),
        ("[1]", r"shown\.json is not a JSON object"),
        ("[" * 10**5, r"shown\.json is not a JSON object"),
        (" " * 2**21, r"shown\.json is not a JSON object"),
        ('{"means": [1, 2, 3]}', r"preprocessing has no means; it has size, resize, channel_order"),
        ('{"size": 3}', "size is 3, not 8 to 1024"),
        (None, "preprocessing is one of torchvision, caffe, keras, or a JSON file, not '.*shown"),
    ],
)
def test_how_photos_were_shown_is_checked(
    sources: Sources, tmp_path: Path, text: str | None, sentence: str
) -> None:
    shown = tmp_path / "shown.json"
    if text is not None:
        shown.write_text(text)
    file = save(own("vgg11"), tmp_path / "v.pth")
    with refused(models.DeconvnetError, match=sentence):
        import_weights(file, "vgg11", sources, preprocessing=str(shown))
    assert not sources.weights_dir.exists()
