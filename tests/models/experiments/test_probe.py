"""What layers know: classifiers on features that can be told apart, and folds by hand."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.svm import LinearSVC

from models.errors import InvalidChoice, UnknownLayer
from models.experiments.export import result_files
from models.experiments.probe import (
    Probe,
    draw_split,
    mean_over_classes,
    papers_layers,
    probe,
    softmax_of,
    svm_of,
    turned,
)
from models.experiments.requests import ProbeRequest
from models.experiments.shape import Progress, finish
from models.experiments.vectors import fill_vectors, open_vectors, trim_vectors
from models.networks.catalogue import build_on_meta
from models.networks.network import Network
from models.networks.preprocessing import framed, to_pixels
from models.training.photos import read_photo
from tests.oracles import plain
from tests.refusals import refused

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return dark, grey and bright photos, twelve of each, and a folder that is no class."""
    chance, folder = np.random.default_rng(1), tmp_path_factory.mktemp("photos")
    levels = {"dark": 40, "grey": 120, "bright": 210, "BACKGROUND_Google": 120}
    for name, level in levels.items():
        (folder / name).mkdir()
        for number in range(12):
            picture = chance.integers(level - 25, level + 25, (36, 36, 3), dtype=np.uint8)
            Image.fromarray(picture).save(folder / name / f"{number:02}.png")
    return folder


def ask(network: Network, data: Path, keep: Path, **asked: object) -> Probe:
    request = ProbeRequest(**{"train": 8, "folds": 2, **asked})  # type: ignore[arg-type]
    found = finish(probe(network, data, keep, request))
    assert isinstance(found, Probe)
    return found


def test_both_classifiers_tell_separable_features_apart() -> None:
    chance = np.random.default_rng(0)
    truth = np.repeat(np.arange(3), 20)
    vectors = 3 * np.eye(3)[truth] + 0.1 * chance.standard_normal((60, 3))
    for classifier in (svm_of(), softmax_of(3)):
        fitted = classifier.fit(vectors[::2], truth[::2])
        assert mean_over_classes(fitted.predict(vectors[1::2]), truth[1::2]) == 1


def test_the_softmax_learns_many_classes_that_hardly_differ() -> None:
    """Its first slopes are slight then: a fixed bound on them would end it before it begins."""
    chance = np.random.default_rng(0)
    truth = np.repeat(np.arange(100), 4)
    apart = 0.05 * np.eye(100)[truth] + 0.002 * chance.standard_normal((400, 100))
    vectors = np.hstack([np.ones((400, 1)), apart])
    fitted = softmax_of(100).fit(vectors[::2], truth[::2])
    assert mean_over_classes(fitted.predict(vectors[1::2]), truth[1::2]) == 1


def test_accuracy_is_the_mean_over_classes() -> None:
    truth, found = np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1])
    assert mean_over_classes(found, truth) == pytest.approx((2 / 3 + 1) / 2)


def test_turned_vectors_have_the_same_products() -> None:
    chance = np.random.default_rng(0)
    learned, tested = chance.standard_normal((2, 10, 50))
    one, other = turned(learned, tested)
    assert one.shape == other.shape == (10, 10)
    unit, unit_ = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (learned, tested))
    np.testing.assert_allclose(one @ one.T, unit @ unit.T, atol=1e-5)
    np.testing.assert_allclose(other @ one.T, unit_ @ unit.T, atol=1e-5)


def test_an_svm_on_turned_vectors_is_the_svm_on_those_that_were() -> None:
    chance = np.random.default_rng(0)
    learned, tested = chance.standard_normal((2, 20, 60))
    taught = np.arange(20) % 2
    learned[taught == 1] += 0.5
    one, other = turned(learned, tested)
    unit, unit_ = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (learned, tested))
    ours, theirs = (LinearSVC(C=10, tol=1e-8, max_iter=10**5) for _ in range(2))
    found = ours.fit(one, taught).decision_function(other)
    expected = theirs.fit(unit, taught).decision_function(unit_)
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_a_fold_learns_from_as_many_of_each_class_and_tests_on_others() -> None:
    labels = np.array([0] * 9 + [1] * 5)
    train, test = draw_split(labels, 3, 4, fold=0)
    assert np.bincount(labels[train]).tolist() == [3, 3]
    assert np.bincount(labels[test]).tolist() == [4, 2]
    assert not set(train) & set(test)
    again, other = draw_split(labels, 3, 4, fold=0), draw_split(labels, 3, 4, fold=1)
    assert (again.train == train).all() and not (other.train == train).all()


def test_every_layer_tells_bright_from_dark(toy: Network, photos: Path, tmp_path: Path) -> None:
    found = ask(toy, photos, tmp_path, layers="conv1, pool2")
    assert found.layers == ("conv1", "pool2") and found.classes == ("bright", "dark", "grey")
    assert found.svm.shape == found.softmax.shape == (2, 2)
    assert found.svm.min() > 0.9 and found.softmax.min() > 0.9
    assert all(result_files(found).values())


def test_a_vector_is_the_layer_s_maps_averaged_to_the_grid(
    toy: Network, photos: Path, tmp_path: Path
) -> None:
    files = sorted((photos / "grey").iterdir())
    kept = open_vectors(tmp_path, toy, files, ("norm1", "fc3"), "crop", 1)
    assert list(fill_vectors(kept, toy, files, "crop", 1)) == [8, 12]
    pixels = to_pixels(framed(Image.open(files[3]), toy.preprocessing), toy.preprocessing)
    means = plain(toy, until="norm1")(pixels)[0].mean((1, 2))
    np.testing.assert_allclose(kept.open("norm1")[3], means, rtol=2e-3, atol=1e-3)
    dense = plain(toy, until="fc3")(pixels).flatten()
    np.testing.assert_allclose(kept.open("fc3")[3], dense, rtol=2e-3, atol=1e-3)


def test_features_are_computed_once_and_go_on_where_they_were(
    toy: Network, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("models.experiments.vectors.BATCH", 5)
    whole = ask(toy, photos, tmp_path / "whole", layers="conv2")
    request = ProbeRequest(train=8, folds=2, layers="conv2")
    broken = probe(toy, photos, tmp_path / "broken", request)
    for _ in range(3):  # it says where it begins, then two batches
        next(broken)
    del broken
    resumed = [s for s in probe(toy, photos, tmp_path / "broken", request)]
    steps = [s.done for s in resumed if isinstance(s, Progress) and s.detail == "features"]
    assert steps == [10, 15, 20, 25, 30, 35, 36]
    assert isinstance(resumed[-1], Probe)
    np.testing.assert_array_equal(resumed[-1].svm, whole.svm)


def test_vectors_beyond_the_budget_go_the_longest_unused_first(tmp_path: Path) -> None:
    now = time.time()
    for name, hours in (("new", 0.5), ("used", 2), ("old", 3), ("older", 4)):
        (tmp_path / name).mkdir()
        file = tmp_path / name / "conv1.npy"
        file.write_bytes(bytes(100))
        os.utime(file, (now, now - 3600 * hours))
    trim_vectors(tmp_path, 250)
    assert {each.name for each in tmp_path.iterdir()} == {"new", "used"}
    trim_vectors(tmp_path, 50)
    assert {each.name for each in tmp_path.iterdir()} == {"new"}  # somebody may be at work on it


def test_classifiers_are_taught_once(toy: Network, photos: Path, tmp_path: Path) -> None:
    whole = ask(toy, photos, tmp_path, layers="conv2", folds=2)
    (vectors,) = tmp_path.rglob("conv2.npy")
    vectors.unlink()  # so that nothing could be taught again
    again = ask(toy, photos, tmp_path, layers="conv2", folds=2)
    np.testing.assert_array_equal(again.svm, whole.svm)
    np.testing.assert_array_equal(again.softmax, whole.softmax)


def test_only_reading_photos_and_features_needs_the_device(
    toy: Network, photos: Path, tmp_path: Path
) -> None:
    request = ProbeRequest(train=8, folds=1, layers="conv2")
    steps = [s for s in probe(toy, photos, tmp_path, request) if isinstance(s, Progress)]
    assert {step.beside for step in steps if step.detail == "features"} == {False}
    assert {step.beside for step in steps if step.detail == "conv2"} == {True}


def test_one_against_all_finds_the_classes_that_scikit_learn_does(
    toy: Network, photos: Path, tmp_path: Path
) -> None:
    found = ask(toy, photos, tmp_path, layers="conv1", folds=1, train=3, grid=1)
    (file,) = tmp_path.rglob("conv1.npy")
    labels = np.repeat(np.arange(3), 12)
    split = draw_split(labels, 3, 50, 0)
    vectors = np.load(file).astype(np.float64)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    theirs = LinearSVC(C=10, tol=1e-6, max_iter=10**5).fit(unit[split.train], labels[split.train])
    expected = mean_over_classes(theirs.predict(unit[split.test]), labels[split.test])
    assert found.svm[0, 0] == pytest.approx(expected, abs=0.02)


def test_a_file_that_is_no_photo_is_named(toy: Network, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / "data" / name).mkdir(parents=True)
        for number in range(3):
            Image.new("RGB", (36, 36)).save(tmp_path / "data" / name / f"{number}.png")
    (tmp_path / "data" / "b" / "1.png").write_bytes(b"not a picture")
    with refused(InvalidChoice, "b/1.png is no photo that can be read"):
        ask(toy, tmp_path / "data", tmp_path / "keep", train=1, layers="conv1")


@pytest.mark.parametrize(
    ("name", "layers"),
    [
        ("zfnet", ("norm1", "norm2", "conv3", "conv4", "pool5", "fc7")),
        ("alexnet", ("pool1", "pool2", "conv3", "conv4", "pool5", "fc7")),
        ("vgg16", ("pool1", "pool2", "pool3", "pool4", "pool5", "fc7")),
    ],
)
def test_the_layers_are_the_papers_unless_others_are_named(
    name: str, layers: tuple[str, ...]
) -> None:
    assert papers_layers(build_on_meta(name)) == layers


def test_what_cannot_be_had_is_refused(toy: Network, photos: Path, tmp_path: Path) -> None:
    with refused(InvalidChoice, "class bright has 12 photos: to learn from 12 and test on others"):
        ask(toy, photos, tmp_path, train=12)
    with refused(InvalidChoice, "folds is 1 or more, not 0"):
        ask(toy, photos, tmp_path, folds=0)
    with pytest.raises(UnknownLayer):
        ask(toy, photos, tmp_path, layers="conv1,conv9")
    with refused(InvalidChoice, "no folder of photos for each class"):
        ask(toy, tmp_path, tmp_path)


def test_the_papers_numbers_stand_beside_networks_of_five_convolutions_only(
    toy: Network, photos: Path, tmp_path: Path
) -> None:
    found = ask(toy, photos, tmp_path, folds=1)
    assert not found.is_papers
    rows = [list(row) for row in found.table.rows]
    assert all(row[2] == row[4] == row[5] == "" for row in rows)  # one fold has no deviation
    many = tuple(f"layer{number}" for number in range(9))  # more than the paper has
    values = np.zeros((9, 1))
    assert len(list(replace(found, layers=many, svm=values, softmax=values).table.rows)) == 9


def test_photos_are_read_upright_on_white_and_unclipped(tmp_path: Path) -> None:
    half = Image.fromarray(np.repeat(np.array([[[255] * 3], [[0] * 3]], np.uint8), 2, 1))
    turned_over = Image.Exif()
    turned_over[0x0112] = 3
    half.save(tmp_path / "half.png", exif=turned_over)
    assert read_photo(tmp_path / "half.png").getpixel((0, 0)) == (0, 0, 0)
    Image.new("RGBA", (2, 2), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    assert read_photo(tmp_path / "clear.png").getpixel((0, 0)) == (255, 255, 255)
    Image.fromarray(np.full((2, 2), 32896, np.uint16)).save(tmp_path / "deep.png")
    assert read_photo(tmp_path / "deep.png").getpixel((0, 0)) == (128, 128, 128)


def test_features_of_a_photo_that_changed_are_computed_anew(
    toy: Network, photos: Path, tmp_path: Path
) -> None:
    file = tmp_path / "one.bmp"
    seen = []
    for number, level in enumerate((20, 200)):
        Image.new("RGB", (32, 32), (level,) * 3).save(file)  # as many bytes
        os.utime(file, (number, number))
        kept = open_vectors(tmp_path / "kept", toy, [file], ("conv2",), "crop", 6)
        list(fill_vectors(kept, toy, [file], "crop", 6))
        seen.append(np.array(kept.open("conv2")))
    assert not np.array_equal(seen[0], seen[1])
