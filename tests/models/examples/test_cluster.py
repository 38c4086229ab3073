"""A cluster finds what one machine finds, whatever comes back first and whichever node is lost."""

from __future__ import annotations

import pickle
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
import torch

import models
from app.photos.decoding import Limits, decode_picture
from models.examples import cluster
from models.examples.build import build_examples
from models.examples.cluster import Kind, Looker
from models.examples.folder import list_photos
from models.examples.index import read_index
from models.examples.looking import BATCH, State, computed_by
from models.examples.reading import Reader
from models.examples.strongest import nothing_found
from models.experiments.shape import Progress
from models.networks.network import Network
from tests.object_store import serve_bucket
from tests.photo_folders import decode, fill_folder

pytestmark = pytest.mark.usefixtures("one_thread")
KIND = Kind("cpu", 1)


def test_parcels_in_any_order_give_what_one_machine_finds(toy: Network, tmp_path: Path) -> None:
    folder, out = fill_folder(tmp_path / "photos"), tmp_path / "out"
    list(build_examples(toy, folder, out, decode, processes=0))
    index, nothing = read_index(out), nothing_found(toy, [x.name for x in toy.layers], 9)
    looker = Looker(toy, Reader(folder, toy.preprocessing, decode), 0, KIND, nothing)
    groups = groupby(list_photos(folder), lambda entry: entry.number // BATCH["cpu"])
    parcels = [pickle.dumps(list(group)) for _, group in groups]
    state = State(nothing)
    for sent in looker({"parcel": parcels[::-1]})["found"]:
        computed, found = pickle.loads(sent)
        assert computed == computed_by(toy)
        state.join(found)
    assert len(parcels) == 3 and state.done == 43
    assert f"{state.fingerprint:064x}" == index.meta.fingerprint
    places = {number: place for place, number in enumerate(sorted(state.names))}
    for layer, found in state.found.items():
        ours, theirs = found.renumber(places).columns, index.found[layer].columns
        assert all(a.tobytes() == b.tobytes() for a, b in zip(ours, theirs, strict=True)), layer


def test_an_actor_asks_for_its_threads_and_its_gpu() -> None:
    assert Kind("cpu", 4).resources == {"num_cpus": 4, "num_gpus": 0}
    assert Kind("cuda", 2).resources == {"num_cpus": 2, "num_gpus": 1}


def load_lenet(nowhere: Path) -> Network:
    return models.load("lenet5", models.Sources(nowhere, nowhere, offline=True))


@pytest.mark.cluster
@pytest.mark.filterwarnings("ignore")  # Ray's own, of its files and sockets
def test_a_cluster_that_loses_a_node_writes_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "0" * 64)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(cluster, "PARCEL", 2 * BATCH["cpu"])
    import ray
    from ray.cluster_utils import Cluster

    network, read = load_lenet(tmp_path), partial(decode_picture, limits=Limits())
    folder = fill_folder(tmp_path / "photos", 160)
    once, spread = tmp_path / "once", tmp_path / "spread"
    assert torch.get_num_threads() == 1
    list(build_examples(network, folder, once, read, processes=1))
    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    try:
        lost = nodes.add_node(num_cpus=1)
        nodes.add_node(num_cpus=1)
        run: Any = build_examples(network, folder, spread, read, processes=1, ray=nodes.address)
        for step in run:
            if isinstance(step, Progress) and step.done >= 64 and lost is not None:
                nodes.remove_node(lost, allow_graceful=False)
                lost = None
        assert lost is None
    finally:
        ray.shutdown()
        nodes.shutdown()  # type: ignore[no-untyped-call]
    for name in ("index.parquet", "meta.json"):
        assert (spread / name).read_bytes() == (once / name).read_bytes()


@pytest.mark.cluster
@pytest.mark.filterwarnings("ignore")  # Ray's own, of its files and sockets
def test_a_cluster_that_reads_a_store_writes_the_bytes_of_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "any")
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "0" * 64)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(cluster, "PARCEL", 2 * BATCH["cpu"])
    import ray
    from ray.cluster_utils import Cluster

    network, read = load_lenet(tmp_path), partial(decode_picture, limits=Limits())
    folder = fill_folder(tmp_path / "photos", 80)
    once, spread = tmp_path / "once", tmp_path / "spread"
    list(build_examples(network, folder, once, read, processes=1))
    with serve_bucket(tmp_path) as query:
        address = f"s3://bucket/photos?{query}"
        node = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
        try:
            list(build_examples(network, address, spread, read, processes=1, ray=node.address))
        finally:
            ray.shutdown()
            node.shutdown()  # type: ignore[no-untyped-call]
    for name in ("index.parquet", "meta.json"):
        assert (spread / name).read_bytes() == (once / name).read_bytes()
