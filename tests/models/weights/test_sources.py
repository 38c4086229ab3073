"""Which weights a network gets, in which order, and what is said of them."""

import os
from pathlib import Path

import pytest
import torch

import models
from app.web.sentences import say_weights
from models.networks.catalogue import ARCHITECTURES
from models.weights.download import Published, hash_of
from models.weights.files import write
from models.weights.published import PUBLISHED
from models.weights.sources import (
    Sources,
    fetch_weights,
    find_weights,
    load,
    look_up,
    weights_here,
)
from tests import weight_files
from tests.file_server import FileServer
from tests.refusals import refused
from tests.weight_files import own, save

STARTERS = {"lenet5", "alexnet", "zfnet", "vgg16"}


@pytest.fixture
def sources(tmp_path: Path) -> Sources:
    return Sources(tmp_path / "weights", tmp_path / "cache")


@pytest.fixture
def server() -> FileServer:
    return FileServer(b"")


def publish(
    server: FileServer, name: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> Published:
    """Let a small file on loopback stand where a network's published weights are listed."""
    tensors = own(name, classes=1000)
    if name == "zfnet":
        tensors = weight_files.pytorchcv(tensors)
    file = save(tensors, folder / "served" / f"{name}-1.pth", legacy=True)
    nbytes, digest = file.stat().st_size, hash_of(file)[:8]
    if name == "zfnet":
        digest, file = f"sha1:{hash_of(file, 'sha1')}", weight_files.packed(file)
    server.content, server.path = file.read_bytes(), f"/{file.name}"
    offer = Published(server.url, f"{name}-1.pth", nbytes, digest, "MIT", "a server on loopback")
    monkeypatch.setitem(PUBLISHED, name, offer)
    return offer


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_fresh_machine_has_the_starter_weights_and_says_how_to_get_the_others(
    sources: Sources, name: str
) -> None:
    info = find_weights(name, sources)
    if name in STARTERS:
        assert (info.state, info.source) == ("ready", "starter")
    elif name in PUBLISHED:
        assert info.state == "available" and f"weights fetch {name}" in say_weights(info)
        assert info.nbytes == info.offered_nbytes == PUBLISHED[name].nbytes
    else:
        assert info.state == "missing"
        assert f"weights import FILE --network {name}" in say_weights(info)
    assert say_weights(info).endswith(".")


@pytest.mark.parametrize("name", sorted(STARTERS - {"lenet5"}))
def test_published_weights_are_offered_with_their_size_beside_starter_weights(
    sources: Sources, name: str
) -> None:
    info = find_weights(name, sources)
    assert info.offered_nbytes == PUBLISHED[name].nbytes
    assert f"'deconvnet weights fetch {name}' ({info.offered_nbytes / 1e6:.0f} MB)" in say_weights(
        info
    )


def test_nothing_is_offered_where_nothing_may_be_fetched(tmp_path: Path) -> None:
    offline = Sources(tmp_path, tmp_path, offline=True)
    assert find_weights("zfnet", offline).offered_nbytes is None
    info = find_weights("vgg19", offline)
    assert info.state == "missing" and "DECONVNET_OFFLINE" in say_weights(info)
    with refused(models.WeightsMissing, match="DECONVNET_OFFLINE"):
        fetch_weights("vgg19", offline)


def test_your_own_file_wins_over_every_other(
    sources: Sources, tmp_path: Path, server: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with server.running():
        publish(server, "zfnet", tmp_path, monkeypatch)
        assert load("zfnet", sources).provenance.source == "starter"
        fetch_weights("zfnet", sources)
        assert load("zfnet", sources).provenance.source == "published"
        save(own("zfnet"), sources.weights_dir / "zfnet.pth")
        assert load("zfnet", sources).provenance.source == "yours"
        write(sources.weights_dir / "zfnet.safetensors", own("zfnet", classes=3), {})
        assert find_weights("zfnet", sources).path == sources.weights_dir / "zfnet.safetensors"


@pytest.mark.parametrize("name", ["zfnet", "vgg11"])
def test_fetched_weights_say_whose_they_are_and_for_which_classes(
    sources: Sources,
    tmp_path: Path,
    server: FileServer,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    with server.running():
        publish(server, name, tmp_path, monkeypatch)
        file = fetch_weights(name, sources)
    network = load(name, sources)
    provenance = network.provenance
    assert (provenance.source, provenance.trained) == ("published", True)
    assert (provenance.licence, provenance.description) == ("MIT", "a server on loopback")
    assert provenance.sha256 == hash_of(file) and provenance.classes == 1000
    assert network.classes is not None and network.classes[0] == "tench"
    assert provenance.preprocessing is not None and provenance.preprocessing.size == 224
    assert look_up(name, sources) == provenance
    if name == "zfnet":
        assert provenance.norm is not None and provenance.norm.order == "norm-pool"


def test_a_fetched_file_that_changed_is_refused_and_fetched_again(
    sources: Sources, tmp_path: Path, server: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with server.running():
        publish(server, "vgg11", tmp_path, monkeypatch)
        file = fetch_weights("vgg11", sources)
        content = bytearray(file.read_bytes())
        content[-1] ^= 1
        file.write_bytes(content)
        with refused(models.WeightsInvalid, match="weights fetch vgg11' fetches it again"):
            load("vgg11", sources)
        fetch_weights("vgg11", sources)
        assert load("vgg11", sources).provenance.source == "published"


def test_a_published_file_put_there_by_hand_is_checked_against_its_digest(
    sources: Sources, tmp_path: Path, server: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer = publish(server, "vgg11", tmp_path, monkeypatch)
    sources.cache_dir.mkdir()
    (sources.cache_dir / offer.filename).write_bytes(server.content)
    assert load("vgg11", sources).provenance.source == "published"
    save(own("vgg11", seed=1), sources.cache_dir / offer.filename)
    with refused(models.WeightsInvalid, match="is not what was published"):
        load("vgg11", sources)


@pytest.mark.parametrize("name", sorted(STARTERS))
def test_starter_weights_say_whose_they_are(sources: Sources, name: str) -> None:
    network = load(name, sources)
    provenance = network.provenance
    assert (provenance.source, provenance.licence, provenance.trained) == ("starter", "MIT", True)
    assert network.classes is not None and len(network.classes) == provenance.classes
    assert provenance == look_up(name, sources)
    assert all(torch.isfinite(tensor).all() for tensor in network.tensors().values())


def test_random_weights_come_only_when_asked_for_and_say_so(tmp_path: Path) -> None:
    sources = Sources(tmp_path, tmp_path, random=True)
    provenance = load("zfnet", sources).provenance
    assert (provenance.source, provenance.trained, provenance.sha256) == ("random", False, "")
    assert look_up("zfnet", sources) == provenance


def test_all_weights_that_are_here_can_be_asked_for_by_source_and_by_hash(
    sources: Sources, tmp_path: Path, server: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with server.running():
        publish(server, "zfnet", tmp_path, monkeypatch)
        fetch_weights("zfnet", sources)
    save(own("zfnet"), sources.weights_dir / "zfnet.pth")
    here = weights_here("zfnet", sources)
    assert [each.source for each in here] == ["yours", "published", "starter", "random"]
    for each in here:
        for name in (each.source, each.sha256[:8]):
            if name:
                assert load("zfnet", sources, weights=name).provenance == each
                assert look_up("zfnet", sources, name) == each
    assert load("zfnet", sources).provenance == here[0]


def test_of_two_files_of_yours_the_second_goes_by_its_hash(sources: Sources) -> None:
    second = save(own("zfnet"), sources.weights_dir / "zfnet.pth")
    first = sources.weights_dir / "zfnet.safetensors"
    write(first, own("zfnet", seed=1), {})
    assert find_weights("zfnet", sources, "yours").path == first
    assert find_weights("zfnet", sources, hash_of(second)[:8]).path == second


@pytest.mark.parametrize("weights", ["yours", "published", "01234567"])
def test_weights_that_are_not_here_are_refused_with_those_that_are(
    sources: Sources, weights: str
) -> None:
    short = hash_of(Path(models.__file__).parent / "weights/starter/vgg16.safetensors")[:8]
    with refused(
        models.UnknownWeights,
        match=f"'{weights}' here; it has starter, {short}, random. .*weights fetch vgg16'",
    ):
        find_weights("vgg16", sources, weights)


@pytest.mark.parametrize("weights", ["", "mine", "STARTER", "0123456", "0123456g", "012345678"])
def test_a_name_that_no_weights_can_have_is_refused(sources: Sources, weights: str) -> None:
    with refused(models.InvalidChoice, match="yours, published, starter, random, or the first"):
        find_weights("vgg16", sources, weights)


def test_where_nothing_would_win_published_weights_are_fetched_by_their_name(
    sources: Sources,
) -> None:
    assert find_weights("vgg11", sources, "published") == find_weights("vgg11", sources)
    with refused(models.UnknownWeights, match="it has random"):
        find_weights("vgg11", sources, "starter")
    assert find_weights("vgg11", sources, "random").source == "random"


def test_nothing_is_known_of_weights_that_are_missing_or_cannot_be_read(sources: Sources) -> None:
    assert look_up("vgg19", sources) is None
    sources.weights_dir.mkdir()
    (sources.weights_dir / "vgg19.pth").write_bytes(b"PK")
    assert look_up("vgg19", sources) is None


def test_another_file_in_the_same_place_is_looked_up_anew(sources: Sources) -> None:
    sources.weights_dir.mkdir()
    file = sources.weights_dir / "lenet5.safetensors"
    write(file, own("lenet5"), {"source": "the first"})
    first = look_up("lenet5", sources)
    write(file, own("lenet5", seed=1), {"source": "the second"})
    second = look_up("lenet5", sources)
    assert first and second and first.sha256 != second.sha256
    assert (first.description, second.description) == ("the first", "the second")


def test_another_file_with_the_same_time_stamp_is_looked_up_anew(sources: Sources) -> None:
    sources.weights_dir.mkdir()
    file = sources.weights_dir / "lenet5.safetensors"
    write(file, own("lenet5"), {"source": "the first"})
    first, written = look_up("lenet5", sources), file.stat().st_mtime_ns
    write(file, own("lenet5"), {"source": "another"})
    os.utime(file, ns=(written, written))
    second = look_up("lenet5", sources)
    assert first and second and (first.description, second.description) == ("the first", "another")


def test_what_no_one_publishes_cannot_be_fetched(sources: Sources) -> None:
    with refused(models.WeightsMissing, match="No published weights of alexnet2012"):
        fetch_weights("alexnet2012", sources)
    with pytest.raises(models.UnknownNetwork):
        fetch_weights("resnet", sources)
