"""Keras' files of VGG-16 and VGG-19, and HDF5 files that are not what they should be."""

import random
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import models
from models.networks.catalogue import architecture
from models.weights.assembly import assemble
from models.weights.files import read
from models.weights.imports import import_weights
from models.weights.sources import Sources, load
from tests.keras_files import LAYOUTS, Arrays, names, narrow, write
from tests.refusals import refused

ENDINGS = {"Keras 3": "weights.h5", "Keras 3, whole": "keras"}
VGG_MEAN = (103.939, 116.779, 123.68)


@pytest.fixture
def sources(tmp_path: Path) -> Sources:
    return Sources(tmp_path / "weights", tmp_path / "cache", offline=True)


@pytest.mark.parametrize("top", [True, False], ids=["with top", "without"])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", ["vgg16", "vgg19"])
def test_a_file_of_keras_is_imported_whatever_its_layout(
    sources: Sources, tmp_path: Path, name: str, layout: str, top: bool
) -> None:
    arrays = narrow(name, top=top)
    file = write(arrays, tmp_path / f"mine.{ENDINGS.get(layout, 'h5')}", layout)
    said = import_weights(file, name, sources)
    network = load(name, sources)
    held = network.tensors()
    assert network.last_fc == ("fc8" if top else None)
    assert len(held) == 2 * len(arrays)
    for theirs in names(name, top=False):
        kernel, bias = arrays[theirs]
        ours = theirs.replace("block", "conv").replace("_conv", "_")
        weight = held[f"{ours}.weight"].numpy()
        for out, into, y, x in ((0, 0, 0, 0), (3, 2, 0, 1), (1, 0, 2, 0)):
            assert weight[out, into, y, x] == kernel[y, x, into, out]
        assert np.array_equal(held[f"{ours}.bias"].numpy(), bias)
    assert said.preprocessing is not None and said.preprocessing.mean == VGG_MEAN
    assert said.preprocessing.channel_order == "BGR" and said.preprocessing.scale == 1


def passing_through(arrays: Arrays) -> Arrays:
    """Let every convolution pass its three maps on as they are."""
    kernel, bias = np.zeros((3, 3, 3, 3), np.float32), np.zeros(3, np.float32)
    kernel[1, 1] = np.eye(3)
    return {key: pair if pair[0].ndim == 2 else (kernel, bias) for key, pair in arrays.items()}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_scores_are_those_computed_by_hand_in_keras_order(
    sources: Sources, tmp_path: Path, layout: str
) -> None:
    arrays = passing_through(narrow("vgg16", maps=3))
    file = write(arrays, tmp_path / f"mine.{ENDINGS.get(layout, 'h5')}", layout)
    import_weights(file, "vgg16", sources)
    photo = np.random.default_rng(1).random((224, 224, 3), np.float32)
    values = photo.reshape(7, 32, 7, 32, 3).max((1, 3)).ravel()  # rows, columns, channels
    for layer in ("fc1", "fc2", "predictions"):
        kernel, bias = arrays[layer]
        values = values @ kernel + bias
        values = values if layer == "predictions" else np.maximum(values, 0)
    with torch.inference_mode():
        pixels = torch.from_numpy(photo.transpose(2, 0, 1).copy())[None]
        scores = load("vgg16", sources)(pixels).flatten()
    np.testing.assert_allclose(scores.numpy(), values, rtol=1e-4, atol=1e-4)


def test_half_precision_and_the_other_end_first_are_read(tmp_path: Path) -> None:
    arrays = narrow("vgg16", top=False)
    for dtype in ("<f2", ">f4", ">f8"):
        kept = {key: (k.astype(dtype), b.astype(dtype)) for key, (k, b) in arrays.items()}
        file = write(kept, tmp_path / "mine.h5", "Keras 2")
        found = read(file, architecture("vgg16")).tensors["conv1_1.weight"]
        expected = arrays["block1_conv1"][0].astype(dtype).transpose(3, 2, 0, 1)
        assert np.array_equal(found.numpy(), expected.astype(np.float32))


def test_an_uncommon_start_of_the_numbers_is_understood(tmp_path: Path) -> None:
    file = write(narrow("vgg16", top=False), tmp_path / "mine.h5", "Keras 3")
    with h5py.File(file, "a") as content:
        for number in reversed(range(13)):
            old = f"layers/conv2d{f'_{number}' if number else ''}"
            content.move(old, f"layers/conv2d_{number + 96}")
    found = read(file, architecture("vgg16")).tensors
    assert torch.equal(
        found["conv5_3.weight"][1, 2],
        torch.from_numpy(narrow("vgg16", top=False)["block5_conv3"][0][:, :, 2, 1]),
    )


def test_nothing_in_an_archive_is_opened_but_its_weights(sources: Sources, tmp_path: Path) -> None:
    file = write(narrow("vgg16", top=False), tmp_path / "mine.keras", "Keras 3, whole")
    code = '{"class_name": "Lambda", "config": {"function": {"code": "4wEAAAAAAAAA"}}}'
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("assets/config.json", code)
        archive.writestr("assets/data.pkl", b"\x80\x04cposix\nsystem\n(S'touch was-run'\ntR.")
    import_weights(file, "vgg16", sources)
    assert load("vgg16", sources).layers[-1].name == "pool5"


def test_without_its_library_the_one_command_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(narrow("vgg16", top=False), tmp_path / "mine.h5", "Keras 2")
    monkeypatch.setitem(sys.modules, "h5py", None)
    with refused(models.WeightsInvalid, match="install it with: pip install h5py"):
        read(file, architecture("vgg16"))


# what is refused

KERNEL, BIAS = "block1_conv1/block1_conv1/kernel:0", "block1_conv1/block1_conv1/bias:0"


def replace(file: h5py.File, make: Callable[[h5py.Group], object], key: str = KERNEL) -> None:
    above, _, name = key.rpartition("/")
    del file[key]
    group = file[above]
    assert isinstance(group, h5py.Group)
    made = make(group)
    if made is not None:
        group[name] = made


def dataset(**how: object) -> Callable[[h5py.Group], object]:
    return lambda group: group.create_dataset("kernel:0", **how) and None


def virtual(group: h5py.Group) -> None:
    layout = h5py.VirtualLayout(shape=(3, 3, 3, 4), dtype="f4")
    layout[:] = h5py.VirtualSource("other.h5", "data", shape=(3, 3, 3, 4))
    group.create_virtual_dataset("kernel:0", layout)


ONES = np.ones((3, 3, 3, 4), np.float32)
REFUSED: dict[str, tuple[Callable[[h5py.File], object], str]] = {
    "compression": (
        lambda f: replace(f, dataset(data=np.zeros(10**7, np.float32), compression="gzip")),
        "kernel:0 is compressed, virtual or in another file",
    ),
    "pieces": (
        lambda f: replace(f, dataset(data=ONES, chunks=(1, 3, 3, 4))),
        "only plain arrays are read",
    ),
    "a terabyte without storage": (
        lambda f: replace(f, dataset(shape=(3, 3, 3, 10**10), dtype="f4")),
        "kernel:0 claims more numbers than the file holds",
    ),
    "no storage at all": (
        lambda f: replace(f, dataset(shape=(3, 3, 3, 4), dtype="f4")),
        "claims more numbers than the file holds",
    ),
    "external storage": (
        lambda f: replace(
            f, dataset(shape=(3, 3, 3, 4), dtype="f4", external=[("/etc/passwd", 0, 432)])
        ),
        "in another file",
    ),
    "a virtual array": (lambda f: replace(f, virtual), "virtual"),
    "an external link": (
        lambda f: replace(f, lambda _: h5py.ExternalLink("/etc/passwd", "/x")),
        "kernel:0 leads elsewhere, which is not followed",
    ),
    "a soft link": (
        lambda f: replace(f, lambda _: h5py.SoftLink("/block1_conv2")),
        "leads elsewhere",
    ),
    "a circle": (
        lambda f: replace(f, lambda group: group),
        "its tensors share what they hold",
    ),
    "one array twice": (
        lambda f: replace(f, lambda _: f["block1_conv2/block1_conv2/kernel:0"]),
        "its tensors share what they hold",
    ),
    "a stored type": (
        lambda f: replace(f, lambda _: np.dtype("f4")),
        "kernel:0 is no tensor",
    ),
    "NaN": (lambda f: replace(f, lambda _: ONES * np.nan), r"conv1_1\.weight holds NaN"),
    "whole numbers": (
        lambda f: replace(f, lambda _: ONES.astype(np.int32)),
        "is int32, not floating point",
    ),
    "texts": (lambda f: replace(f, lambda _: np.array([b"import os"])), "is .S9, not floating"),
    "objects": (
        lambda f: replace(f, dataset(data=["import os"], dtype=h5py.string_dtype())),
        "is object, not floating point",
    ),
    "another shape": (
        lambda f: replace(f, lambda _: np.ones((5, 5, 3, 4), np.float32)),
        r"conv1_1\.weight is 4 x 3 x 5 x 5, which does not fit vgg16",
    ),
    "another bias": (
        lambda f: replace(f, lambda _: np.ones(5, np.float32), BIAS),
        r"conv1_1\.bias is \(5,\); vgg16 needs \(4,\)",
    ),
    "no bias": (lambda f: f.__delitem__(BIAS), r"lacks conv1_1\.bias"),
    "a missing layer": (lambda f: f.__delitem__("block2_conv1"), "conv2_2 but not conv2_1"),
    "a surplus tensor": (
        lambda f: f.__setitem__("block1_conv1/block1_conv1/gamma:0", np.ones(4, np.float32)),
        "holds block1_conv1/block1_conv1/gamma:0, which vgg16 has no place for",
    ),
    "a surplus layer": (
        lambda f: f.__setitem__("attention/kernel:0", np.ones(4, np.float32)),
        "holds attention/kernel:0, which vgg16 has no place for",
    ),
    "a kernel twice": (
        lambda f: f.__setitem__("block1_conv1/kernel", np.ones((3, 3, 3, 4), np.float32)),
        "holds a tensor of vgg16 under two names",
    ),
}


@pytest.mark.parametrize("trouble", REFUSED)
def test_a_file_is_refused_in_a_sentence_for(
    sources: Sources, tmp_path: Path, trouble: str
) -> None:
    file = write(narrow("vgg16"), tmp_path / "odd.h5", "Keras 2")
    spoil, sentence = REFUSED[trouble]
    with h5py.File(file, "a") as content:
        spoil(content)
    with refused(models.WeightsInvalid, match=sentence):
        import_weights(file, "vgg16", sources)
    assert not sources.weights_dir.exists()


@pytest.mark.parametrize(("theirs", "ours"), [("vgg16", "vgg19"), ("vgg19", "vgg16")])
@pytest.mark.parametrize("layout", ["Keras 2", "Keras 3"])
def test_one_vgg_is_not_taken_for_the_other(
    sources: Sources, tmp_path: Path, layout: str, theirs: str, ours: str
) -> None:
    file = write(narrow(theirs), tmp_path / "odd.h5", layout)
    with refused(models.WeightsInvalid, match=r"not conv3_4 before|no place for|do not fit the 1"):
        import_weights(file, ours, sources)


ARCHIVES: dict[str, tuple[dict[str, bytes], str]] = {
    "no weights": ({"config.json": b"{}"}, r"does not hold one weights file \(model.weights.h5\)"),
    "two": ({"model.weights.h5": b"", "a/model.weights.h5": b""}, "does not hold one weights file"),
    "something else": ({"model.weights.h5": b"<html>"}, "odd.keras is damaged or cut short"),
}


@pytest.mark.parametrize("trouble", ARCHIVES)
def test_an_archive_is_refused_in_a_sentence_for(
    sources: Sources, tmp_path: Path, trouble: str
) -> None:
    entries, sentence = ARCHIVES[trouble]
    with zipfile.ZipFile(tmp_path / "odd.keras", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    with refused(models.WeightsInvalid, match=sentence):
        import_weights(tmp_path / "odd.keras", "vgg16", sources)


def test_an_archive_that_would_grow_without_end_is_refused(
    sources: Sources, tmp_path: Path
) -> None:
    with zipfile.ZipFile(tmp_path / "odd.keras", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model.weights.h5", bytes(10**7))
    with refused(models.WeightsInvalid, match="does not hold one weights file"):
        import_weights(tmp_path / "odd.keras", "lenet5", sources)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.9, 0.999])
@pytest.mark.parametrize("layout", ["Keras 2", "Keras 3", "Keras 3, whole"])
def test_a_truncated_file_says_that_it_is_not_whole(
    sources: Sources, tmp_path: Path, layout: str, share: float
) -> None:
    file = write(narrow("vgg16"), tmp_path / f"odd.{ENDINGS.get(layout, 'h5')}", layout)
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * share)])
    with refused(models.WeightsInvalid, match="damaged"):
        import_weights(file, "vgg16", sources)


@given(
    layout=st.sampled_from(["Keras 1", "Keras 3"]),
    seed=st.integers(0, 2**32),
    count=st.sampled_from([1, 2, 8]),
)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_a_file_with_other_bytes_is_a_network_or_a_sentence(
    tmp_path_factory: pytest.TempPathFactory, layout: str, seed: int, count: int
) -> None:
    file = write(narrow("vgg16", maps=1), tmp_path_factory.mktemp("odd") / "odd.h5", layout)
    content, chance = bytearray(file.read_bytes()), random.Random(seed)
    for _ in range(count):
        content[chance.randrange(len(content))] = chance.choice([0, 1, 127, 128, 254, 255])
    file.write_bytes(content)
    kind = architecture("vgg16")
    try:
        assert assemble(read(file, kind), kind, "yours").layers
    except models.WeightsInvalid as error:
        assert "odd.h5" in str(error)
