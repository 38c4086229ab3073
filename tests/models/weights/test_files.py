"""Files in every known format, and files that are not what they should be."""

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torchvision.models import list_models
from torchvision.models.vgg import make_layers

from app.web.sentences import sentence
from models.errors import WeightsInvalid
from models.networks.architecture import Normalization
from models.networks.catalogue import ARCHITECTURES, architecture, build_on_meta
from models.networks.network import Network
from models.weights.assembly import assemble
from models.weights.download import hash_of
from models.weights.files import glance, read, write
from models.weights.metadata import provenance_of
from models.weights.published import imagenet_classes
from tests import weight_files
from tests.refusals import refused
from tests.weight_files import own, save


def opened(path: Path, name: str) -> Network:
    kind = architecture(name)
    return assemble(read(path, kind), kind, "yours")


def assert_holds(network: Network, tensors: dict[str, Tensor]) -> None:
    held = network.tensors()
    assert held.keys() == tensors.keys()
    assert all(torch.equal(held[key], tensors[key]) for key in held)


# the formats


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_our_own_keys_are_read_for_every_network(tmp_path: Path, name: str) -> None:
    tensors = own(name)
    for suffix in ("pth", "safetensors"):
        file = tmp_path / f"{name}.{suffix}"
        save(tensors, file) if suffix == "pth" else save_file(tensors, file)
        assert_holds(opened(file, name), tensors)


@pytest.mark.parametrize("name", [name for name in ARCHITECTURES if name in list_models()])
def test_torchvisions_keys_are_known_to_the_last(name: str) -> None:
    from models.weights.naming import rename

    shapes = weight_files.torchvision_shapes(name)
    theirs = {key: torch.empty(shape, device="meta") for key, shape in shapes.items()}
    naming, named = rename(Path("x.pth"), theirs, architecture(name))
    ours = {key: tuple(tensor.shape) for key, tensor in build_on_meta(name).tensors().items()}
    assert naming == "torchvision"
    assert {key: tuple(tensor.shape) for key, tensor in named.items()} == ours


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("name", ["vgg11", "vgg11_bn"])
def test_a_file_of_torchvisions_computes_what_torchvision_computes(
    tmp_path: Path, name: str, legacy: bool
) -> None:
    torch.manual_seed(0)
    table: list[str | int] = [4, "M", 5, "M", 6, 6, "M", 7, 7, "M", 8, 8, "M"]
    theirs = torch.nn.Sequential()
    theirs.add_module("features", make_layers(table, batch_norm=name.endswith("bn")))
    theirs.eval()
    file = save(theirs.state_dict(), tmp_path / f"{name}.pth", legacy=legacy)
    pixels = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        expected, found = theirs(pixels), opened(file, name)(pixels)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("legacy", [False, True])
def test_a_file_of_pytorchcvs_means_its_own_normalisation(tmp_path: Path, legacy: bool) -> None:
    tensors = own("zfnet")
    file = save(weight_files.pytorchcv(tensors), tmp_path / "zfnet.pth", legacy=legacy)
    network = opened(file, "zfnet")
    assert_holds(network, tensors)
    names = [layer.name for layer in network.layers]
    assert names[:4] == ["conv1", "norm1", "pool1", "conv2"]
    assert network.provenance.norm == Normalization("norm-pool", alpha=1e-4)


def test_our_own_keys_mean_the_papers_normalisation(tmp_path: Path) -> None:
    network = opened(save(own("zfnet"), tmp_path / "zfnet.pth"), "zfnet")
    assert [layer.name for layer in network.layers][:3] == ["conv1", "pool1", "norm1"]
    assert network.provenance.norm == Normalization("pool-norm", alpha=5e-4, k=2.0)


def test_the_metadata_decides_where_it_speaks(tmp_path: Path) -> None:
    file = tmp_path / "zfnet.safetensors"
    said = {
        "norm": {"order": "norm-pool", "k": 1},
        "preprocessing": {"channel_order": "BGR", "scale": 1, "mean": [1, 2, 3], "std": [1, 1, 1]},
        "classes": list("abcdef"),
        "source": "a friend",
        "licence": "MIT",
    }
    write(file, own("zfnet"), said)
    network = opened(file, "zfnet")
    assert network.provenance.norm == Normalization("norm-pool", k=1.0)
    assert network.preprocessing.channel_order == "BGR"
    assert network.preprocessing.mean == (1.0, 2.0, 3.0)
    assert network.classes == tuple("abcdef")
    assert (network.provenance.description, network.provenance.licence) == ("a friend", "MIT")
    assert provenance_of(glance(file), architecture("zfnet"), "yours") == network.provenance


def test_weights_saved_from_several_gpus_are_read(tmp_path: Path) -> None:
    tensors = own("zfnet")
    wrapped = {f"module.{key}": tensor for key, tensor in tensors.items()}
    assert_holds(opened(save({"state_dict": wrapped}, tmp_path / "z.pth"), "zfnet"), tensors)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_any_width_of_numbers_is_read(tmp_path: Path, dtype: torch.dtype) -> None:
    tensors = {key: tensor.to(dtype) for key, tensor in own("lenet5").items()}
    network = opened(save(tensors, tmp_path / "lenet5.pth"), "lenet5")
    assert {tensor.dtype for tensor in network.tensors().values()} == {torch.float32}


def test_a_file_without_a_classifier_gives_the_layers_that_it_has(tmp_path: Path) -> None:
    network = opened(save(own("zfnet", head=False), tmp_path / "zfnet.pth"), "zfnet")
    assert network.layers[-1].name == "pool5" and network.last_fc is None


@pytest.mark.parametrize("classes", [2, 37])
def test_any_number_of_classes_is_welcome(tmp_path: Path, classes: int) -> None:
    network = opened(save(own("zfnet", classes=classes), tmp_path / "zfnet.pth"), "zfnet")
    assert network.describe()[-1].shape.channels == classes


def test_what_was_read_does_not_change_with_the_file(tmp_path: Path) -> None:
    file, tensors = tmp_path / "lenet5.safetensors", own("lenet5")
    save_file(tensors, file)
    network = opened(file, "lenet5")
    file.write_bytes(bytes(file.stat().st_size))
    assert_holds(network, tensors)


def test_the_thousand_classes_are_known() -> None:
    classes = imagenet_classes()
    assert len(classes) == 1000 and classes[0] == "tench"


# what is refused


class Code:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch was-run",)


def with_first(value: object) -> Callable[[], dict[str, Any]]:
    return lambda: {**own("lenet5"), "c1.weight": value}


W = torch.ones(6, 1, 5, 5)
REFUSED: dict[str, tuple[Callable[[], object], str]] = {
    "another shape": (
        with_first(torch.ones(4, 1, 3, 3)),
        r"c1\.weight is 4 x 1 x 3 x 3, which does not fit lenet5",
    ),
    "another bias": (
        lambda: {**own("lenet5"), "c1.bias": torch.ones(5)},
        r"c1\.bias is \(5,\); lenet5 needs \(4,\)",
    ),
    "no dimension": (with_first(torch.tensor(1.0)), r"c1\.weight is .*does not fit"),
    "NaN": (with_first(torch.full((4, 1, 5, 5), float("nan"))), "holds NaN or infinity"),
    "infinity": (with_first(torch.full((4, 1, 5, 5), -float("inf"))), "holds NaN or infinity"),
    "too large for float32": (with_first(W[:4].double() * 1e300), "holds NaN or infinity"),
    "a missing key": (
        lambda: {k: t for k, t in own("lenet5").items() if k != "c2.bias"},
        r"lacks c2\.bias, which lenet5 needs",
    ),
    "a missing layer": (
        lambda: {k: t for k, t in own("lenet5").items() if not k.startswith("c1")},
        "holds c2 but not c1 before it",
    ),
    "a surplus key": (
        lambda: {**own("lenet5"), "fc9.weight": torch.ones(2)},
        r"holds fc9\.weight, which lenet5 has no place for",
    ),
    "another network": (lambda: own("zfnet"), "none of the convolutional layers"),
    "nothing": (dict, "holds no state dict"),
    "a list": (lambda: [W], "holds no state dict"),
    "a number": (with_first(3), r"c1\.weight is no tensor"),
    "whole numbers": (with_first(W[:4].int()), r"c1\.weight is torch\.int32, not floating point"),
    "complex numbers": (with_first(W[:4].to(torch.complex64)), "not floating point"),
    "stride 0": (
        with_first(torch.zeros(()).expand(10**6, 10**6)),
        "claims more numbers than the file holds",
    ),
    "shared numbers": (
        lambda: {str(number): W.expand(6, 1, 5, 5) for number in range(10_000)},
        "share what they hold",
    ),
    "a meta tensor": (with_first(torch.empty(4, 1, 5, 5, device="meta")), "is a meta tensor"),
    "a sparse tensor": (with_first(W[:4].to_sparse()), "is sparse"),
    "code": (
        lambda: {**own("lenet5"), "x": Code()},
        r"holds code, posix\.system, and nothing in it was run",
    ),
    "a whole model": (
        lambda: torch.nn.Sequential(torch.nn.Linear(2, 2)),
        r"holds code, torch\.nn.*save its state_dict\(\) instead",
    ),
}


@pytest.mark.filterwarnings("ignore:Validating sparse")
@pytest.mark.parametrize("legacy", [False, True], ids=["today's", "legacy"])
@pytest.mark.parametrize("trouble", REFUSED)
def test_a_file_is_refused_in_a_sentence_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trouble: str, legacy: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    make, sentence = REFUSED[trouble]
    file = save(make(), tmp_path / "odd.pth", legacy=legacy)
    with refused(WeightsInvalid, match=sentence):
        opened(file, "lenet5")
    assert not (tmp_path / "was-run").exists()


def test_every_refusal_has_a_sentence_of_its_own() -> None:
    sentences = [sentence for _, sentence in REFUSED.values()]
    assert len(set(sentences)) >= len(sentences) - 4  # NaN thrice, state dict and floats twice


def test_a_bare_pickle_is_never_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "odd.pth").write_bytes(pickle.dumps(Code(), protocol=2))
    with refused(WeightsInvalid, match="nothing in it was run"):
        opened(tmp_path / "odd.pth", "lenet5")
    assert not (tmp_path / "was-run").exists()


def test_a_deflated_archive_is_refused_before_it_grows(tmp_path: Path) -> None:
    zeros = {**own("lenet5"), "c1.weight": torch.zeros(10_000_000)}
    file = weight_files.deflated(save(zeros, tmp_path / "odd.pth"))
    assert file.stat().st_size < 500_000
    with refused(WeightsInvalid, match=r"compressed, which torch\.save never does"):
        opened(file, "lenet5")


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("kind", ["today's", "legacy", "safetensors"])
def test_a_truncated_file_says_that_it_is_not_whole(
    tmp_path: Path, kind: str, share: float
) -> None:
    file = tmp_path / ("odd.safetensors" if kind == "safetensors" else "odd.pth")
    if kind == "safetensors":
        save_file(own("lenet5"), file)
    else:
        save(own("lenet5"), file, legacy=kind == "legacy")
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * share)])
    with refused(WeightsInvalid, match=r"damaged|no whole safetensors file"):
        opened(file, "lenet5")


@pytest.mark.parametrize("at", [0.0, 0.01, 0.5, 0.99])
def test_a_flipped_byte_is_a_sentence_or_another_hash(tmp_path: Path, at: float) -> None:
    file = save(own("lenet5"), tmp_path / "odd.pth")
    content = bytearray(file.read_bytes())
    before = hash_of(file)
    content[int(len(content) * at)] ^= 0x40
    file.write_bytes(content)
    try:
        assert opened(file, "lenet5").provenance.sha256 != before
    except WeightsInvalid as error:
        assert "odd.pth" in sentence(error)


@pytest.mark.parametrize("content", [b"", b"<html>", b"PK\x03\x04", b"\x80\x02}q\x00.", b"\0" * 99])
@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_what_is_no_weights_file_is_a_sentence(tmp_path: Path, suffix: str, content: bytes) -> None:
    file = tmp_path / f"odd.{suffix}"
    file.write_bytes(content)
    with refused(WeightsInvalid, match="odd"):
        opened(file, "lenet5")


def test_a_file_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    for name in ("none.pth", "none.safetensors"):
        with refused(WeightsInvalid, match="cannot be read: No such file"):
            opened(tmp_path / name, "lenet5")


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ({"classes": ["a", "b"]}, "2 classes are named, but fc3 of .* tells 6 apart"),
        ({"classes": "abcdef"}, "not a list of names"),
        ({"classes": [1, 2, 3, 4, 5, 6]}, "not a list of names"),
        ({"licence": ["MIT"]}, "'licence' is no text"),
        ({"source": {"a": 1}}, "'source' is no text"),
        ({"preprocessing": []}, "'preprocessing' is not an object"),
        ({"preprocessing": {"size": "32"}}, r"preprocessing\.size cannot be '32'"),
        ({"preprocessing": {"size": 10**9}}, "makes no sense"),
        ({"preprocessing": {"std": [0.0]}}, "makes no sense"),
        ({"preprocessing": {"mean": [0.1, 0.2, 0.3]}}, "makes no sense"),
        ({"preprocessing": {"size": 10**400}}, r"size is 10+, not 8 to 1024"),
        ({"preprocessing": {"resize": 2049}}, "resize is 2049, not 8 to 2048"),
        ({"preprocessing": {"scale": float("nan")}}, "scale is nan, not 1e-06 to 1000"),
        ({"preprocessing": {"scale": 10**400}}, "scale is 10+, not"),
        ({"preprocessing": {"mean": [float("inf")]}}, "mean is inf, not -10000 to 10000"),
        ({"preprocessing": {"mean": [True]}}, r"preprocessing\.mean cannot be 'True'"),
        ({"preprocessing": {"std": [1e-300]}}, "std is 1e-300, not 0.0001 to 10000"),
        ({"source": "half a \ud83d"}, "'source' is no text"),
        ({"classes": [*"abcde", "\udc00"]}, "not a list of names"),
    ],
)
def test_metadata_that_makes_no_sense_is_refused(
    tmp_path: Path, said: dict[str, Any], sentence: str
) -> None:
    file = tmp_path / "lenet5.safetensors"
    write(file, own("lenet5"), said)
    with refused(WeightsInvalid, match=sentence):
        opened(file, "lenet5")


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ({"size": 10**9}, "its norm makes no sense: size is 1000000000, not 1 to 255"),
        ({"size": -5}, "size is -5, not 1 to 255"),
        ({"size": 4}, "size is 4, which is even"),
        ({"alpha": 1e308}, r"alpha is 1e\+308, not 0 to 100"),
        ({"alpha": float("nan")}, "alpha is nan, not 0 to 100"),
        ({"alpha": -1}, "alpha is -1, not 0 to 100"),
        ({"beta": float("inf")}, "beta is inf, not 0 to 4"),
        ({"k": 0}, "k is 0, not 0.001 to 1000"),
        ({"order": "norm"}, r"norm\.order cannot be 'norm'"),
    ],
)
def test_a_normalisation_that_makes_no_sense_is_refused(
    tmp_path: Path, said: dict[str, Any], sentence: str
) -> None:
    file = tmp_path / "zfnet.safetensors"
    write(file, own("zfnet"), {"norm": said})
    with refused(WeightsInvalid, match=sentence):
        opened(file, "zfnet")


@pytest.mark.parametrize("said", [{"size": 255, "alpha": 100, "beta": 4, "k": 1e-3}, {"size": 1}])
def test_the_most_extreme_normalisation_allowed_gives_numbers(
    tmp_path: Path, said: dict[str, Any]
) -> None:
    file = tmp_path / "zfnet.safetensors"
    write(file, own("zfnet"), {"norm": said})
    with torch.inference_mode():
        assert bool(torch.isfinite(opened(file, "zfnet")(torch.randn(1, 3, 224, 224))).all())


def test_an_input_that_ends_before_the_last_layer_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "zfnet.safetensors"
    write(file, own("zfnet", head=False), {"preprocessing": {"size": 16}})
    with refused(WeightsInvalid, match="an input of 16 x 16 pixels, .* ends before conv2"):
        opened(file, "zfnet")


def test_of_an_endless_label_the_beginning_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "lenet5.safetensors"
    write(file, own("lenet5"), {"classes": ["x" * 10**6, *"bcdef"]})
    assert opened(file, "lenet5").classes == ("x" * 200, *"bcdef")


@pytest.mark.parametrize("text", ["{", "[]", "3", '"x"', "[" * 100_000])
def test_metadata_that_is_no_object_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "lenet5.safetensors"
    save_file(own("lenet5"), file, {"deconvnet": text})
    with refused(WeightsInvalid, match="metadata is not"):
        opened(file, "lenet5")


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    file = tmp_path / "lenet5.safetensors"
    write(file, own("lenet5"), {"source": "first"})
    before = file.read_bytes()
    with pytest.raises(TypeError):
        write(file, own("lenet5"), {"source": object()})
    with pytest.raises(ValueError, match=r".+"):
        write(file, {"a": torch.ones(3), "b": None}, {})  # type: ignore[dict-item]
    assert file.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == [file.name]


def test_of_an_endless_description_the_beginning_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "lenet5.safetensors"
    write(file, own("lenet5"), {"source": "x" * 10**6})
    assert opened(file, "lenet5").provenance.description == "x" * 1000


def test_layers_that_a_file_says_have_no_bias_get_one_of_zero(tmp_path: Path) -> None:
    tensors = own("lenet5")
    kept = {key: value for key, value in tensors.items() if key != "c1.bias"}
    file = tmp_path / "lenet5.safetensors"
    save_file(kept, file, {"deconvnet": '{"unbiased": ["c1", "c2", "none"]}'})
    found = read(file, architecture("lenet5")).tensors
    assert torch.equal(found["c1.bias"], torch.zeros_like(tensors["c1.bias"]))
    assert torch.equal(found["c2.bias"], tensors["c2.bias"])


def test_an_archive_whose_list_lies_elsewhere_is_damaged(tmp_path: Path) -> None:
    file = tmp_path / "lenet5.pth"
    file.write_bytes(b"PK\5\6" + bytes(6) + b"\1\0" + b"\xff\xff\0\0" + b"\xff\xff\0\0" + bytes(2))
    with refused(WeightsInvalid, match="archive"):
        read(file, architecture("lenet5"))
