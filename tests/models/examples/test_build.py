"""An index is what looking at every photo gives, however often its build was killed."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image, UnidentifiedImageError

import models
from app.photos.decoding import Limits
from app.photos.decoding import decode as decode_app
from models.errors import ExamplesInvalid, InvalidChoice, NoExamples, UnknownLayer
from models.examples import build
from models.examples.build import ExamplesRequest, build_examples
from models.examples.folder import FolderPart, list_photos
from models.examples.index import IndexMeta, list_indexes, read_index, read_meta, verify_index
from models.examples.looking import BATCH
from models.examples.merging import merge_examples
from models.examples.reading import photo_file
from models.experiments.shape import Progress
from models.networks.network import Network
from models.networks.preprocessing import framed, to_pixels
from models.projection.record import record
from tests.photo_folders import BROKEN, decode, fill_folder
from tests.processes import children_of, is_running

HERE = 0
"""Photos are decoded in this process, where a test is not about the others."""

pytestmark = pytest.mark.usefixtures("one_thread")
ROOT = Path(__file__).parents[3]


def run(network: Network, folder: Path, out: Path, **asked: Any) -> IndexMeta:
    *_, meta = begin(network, folder, out, **asked)
    assert isinstance(meta, IndexMeta)
    return meta


def begin(
    network: Network, folder: Path, out: Path, **asked: Any
) -> Iterator[Progress | IndexMeta]:
    return build_examples(network, folder, out, decode, ExamplesRequest(**asked), HERE)


def contents(out: Path) -> dict[str, bytes]:
    """All of an index but where its photos came from."""
    passed_over = (".lock", "source.json")
    files = (file for file in out.rglob("*") if file.is_file() and file.name not in passed_over)
    return {file.relative_to(out).as_posix(): file.read_bytes() for file in files}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fill_folder(tmp_path_factory.mktemp("photos"))


@pytest.fixture(scope="module")
def whole(
    tmp_path_factory: pytest.TempPathFactory, toy: Network, photos: Path, one_thread: None
) -> Path:
    out = tmp_path_factory.mktemp("whole")
    run(toy, photos, out)
    return out


def by_brute_force(network: Network, folder: Path, k: int) -> dict[tuple[str, int], list[Any]]:
    """Record every group of photos, keep everything, sort it: what an index has to be."""
    files = (file for file in folder.rglob("*.*") if file.suffix in (".png", ".jpg", ".heic"))
    names = sorted((file.relative_to(folder).as_posix() for file in files), key=str.encode)
    seen: dict[tuple[str, int], list[Any]] = {}
    size = BATCH["cpu"]
    for start in range(0, len(names), size):
        group = names[start : start + size]
        rows = [look_at(network, folder / name) for name in group]
        blank = to_pixels(Image.new("RGB", (32, 32)), network.preprocessing)
        whole = [blank if row is None else row for row in rows] + [blank] * (size - len(rows))
        for layer, maxima in record(network, torch.cat(whole)).maxima.items():
            for row, name in enumerate(group):
                columns = (c[row].tolist() for c in (maxima.values, maxima.rows, maxima.columns))
                for feature, (value, y, x) in enumerate(zip(*columns, strict=True)):
                    if rows[row] is not None and (value > 0 or layer == "fc4"):
                        each = (-value, name.encode(), y, x)
                        seen.setdefault((layer, feature), []).append(each)
    return {key: sorted(rows)[:k] for key, rows in seen.items()}


def look_at(network: Network, file: Path) -> torch.Tensor | None:
    try:
        return to_pixels(framed(Image.open(file), network.preprocessing), network.preprocessing)
    except UnidentifiedImageError:
        return None


def test_an_index_is_what_brute_force_finds(toy: Network, photos: Path, whole: Path) -> None:
    index, wanted = read_index(whole), by_brute_force(toy, photos, 9)
    found = {
        (layer, feature): [(-e.activation, e.image.encode(), e.y, e.x) for e in examples]
        for layer, maps in index.meta.layers.items()
        for feature in range(maps)
        if (examples := index.examples(layer, feature))
    }
    assert found == wanted
    assert len({layer for layer, _ in found}) == len(toy.layers) and len(found) > 40


def test_the_table_has_the_promised_columns_in_order(whole: Path, toy: Network) -> None:
    table = pq.read_table(whole / "index.parquet")
    assert table.column_names == ["layer", "feature", "rank", "image", "y", "x", "activation"]
    rows = table.to_pydict()
    order = [layer.name for layer in toy.layers]
    keys = list(zip(map(order.index, rows["layer"]), rows["feature"], rows["rank"], strict=True))
    assert keys == sorted(keys) and len(set(keys)) == len(keys)
    assert min(rows["rank"]) == 0 and max(rows["rank"]) == 8


def test_meta_says_what_the_index_is_of(whole: Path, toy: Network, photos: Path) -> None:
    said = json.loads((whole / "meta.json").read_text())
    assert (said["network"], said["sha256"], said["k"], said["seen"]) == ("toy", "0" * 64, 9, 40)
    assert said["preprocessing"]["size"] == 32 and said["fit"] == "crop"
    assert {each["image"] for each in said["refused"]} == set(BROKEN)
    assert all(each["reason"] == "Unreadable.damaged" for each in said["refused"])
    prints = 0
    for entry in list_photos(photos):
        content = hashlib.sha256((photos / entry.name.decode()).read_bytes()).digest()
        each = hashlib.sha256(entry.name + b"\0" + content).digest()
        prints = (prints + int.from_bytes(each, "big")) % 2**256
    assert said["fingerprint"] == f"{prints:064x}"
    assert said["computed"]["device"] == "cpu" and said["computed"]["threads"] == 1
    assert said["table"] == hashlib.sha256((whole / "index.parquet").read_bytes()).hexdigest()


def test_the_photos_are_kept_as_the_network_saw_them(
    whole: Path, toy: Network, photos: Path
) -> None:
    index = read_index(whole)
    for name in index.names:
        seen = framed(Image.open(photos / name), toy.preprocessing)
        assert np.array_equal(np.asarray(index.photo(name)), np.asarray(seen))
    assert not list(verify_index(whole))


def test_an_index_built_again_keeps_the_photos_of_today(tmp_path: Path, toy: Network) -> None:
    (tmp_path / "photos").mkdir()
    for level in (250, 10):
        Image.new("RGB", (40, 40), (level,) * 3).save(tmp_path / "photos" / "one.png")
        run(toy, tmp_path / "photos", tmp_path / "out")
        assert np.asarray(read_index(tmp_path / "out").photo("one.png")).mean() == level
        merge_examples([tmp_path / "out"], tmp_path / "merged")
        assert np.asarray(read_index(tmp_path / "merged").photo("one.png")).mean() == level


def test_equal_photos_count_twice_and_the_first_path_leads(whole: Path) -> None:
    index = read_index(whole)
    for layer, maps in index.meta.layers.items():
        for feature in range(maps):
            rows = [(-e.activation, e.image.encode()) for e in index.examples(layer, feature)]
            assert rows == sorted(rows)
            assert len({name for _, name in rows}) == len(rows)
    everything = [index.examples("conv2", feature) for feature in range(12)]
    equal = [a.activation == b.activation for rows in everything for a, b in pairwise(rows)]
    assert any(equal)


def test_written_in_another_order_and_elsewhere_the_bytes_are_the_same(
    tmp_path: Path, toy: Network, photos: Path, whole: Path
) -> None:
    for file in sorted(photos.rglob("*.*"), reverse=True):
        if file.is_file():
            copy = tmp_path / "copy" / file.relative_to(photos)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)
    run(toy, tmp_path / "copy", tmp_path / "out")
    assert contents(tmp_path / "out") == contents(whole)


@pytest.mark.parametrize("of", [2, 3])
def test_any_number_of_parts_merged_gives_the_same_bytes(
    tmp_path: Path, toy: Network, photos: Path, whole: Path, of: int
) -> None:
    parts = [tmp_path / str(number) for number in range(of)]
    for number, part in enumerate(parts):
        run(toy, photos, part, part=FolderPart(number, of))
    some = merge_examples(parts[:2], tmp_path / "some")
    assert (some.parts, some.of) == (((0,), 1) if of == 2 else ((0, 1), 3))
    merge_examples([*reversed(parts[2:]), tmp_path / "some"], tmp_path / "out")
    merged, once = contents(tmp_path / "out"), contents(whole)
    assert merged == once


@pytest.mark.parametrize("steps", [1, 2, 3, 4])
def test_a_build_that_was_ended_goes_on_from_there(
    tmp_path: Path,
    toy: Network,
    photos: Path,
    whole: Path,
    steps: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(build, "EVERY_SECONDS", 0.0)
    begun = begin(toy, photos, tmp_path)
    before = [step for _, step in zip(range(steps), begun, strict=False)][-1]
    begun.close()  # type: ignore[attr-defined]
    assert isinstance(before, Progress)
    again = begin(toy, photos, tmp_path)
    first = next(again)
    assert isinstance(first, Progress) and first.done == before.done
    assert first.done > 0 or steps == 1
    list(again)
    assert contents(tmp_path) == contents(whole)
    assert not (tmp_path / "building.parquet").exists()


def test_a_folder_that_changed_meanwhile_is_begun_anew(
    tmp_path: Path, toy: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "EVERY_SECONDS", 0.0)
    folder, out = fill_folder(tmp_path / "photos", 24), tmp_path / "out"
    begun = begin(toy, folder, out)
    *_, before = (step for _, step in zip("ab", begun, strict=False))
    assert isinstance(before, Progress) and before.done > 0
    begun.close()  # type: ignore[attr-defined]
    shutil.copyfile(folder / "a" / "003.png", folder / "a" / "000b.png")
    first = next(iter(begin(toy, folder, out)))
    assert isinstance(first, Progress) and first.done == 0


KILLED = """
import functools, sys, torch
from pathlib import Path
import models
from app.photos.decoding import Limits, decode_picture
from models.examples import build
build.EVERY_SECONDS = 0.0
torch.set_num_threads(1)
folder, out = map(Path, sys.argv[1:])
network = models.load("lenet5", models.Sources(out, out, offline=True))
decode = functools.partial(decode_picture, limits=Limits())
for step in build.build_examples(network, folder, out, decode):
    print(step, flush=True)
    sys.stdin.readline()
"""


def test_a_killed_build_goes_on_from_there_and_leaves_no_process(
    tmp_path: Path, photos: Path
) -> None:
    killed, once = tmp_path / "killed", tmp_path / "once"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    command = [sys.executable, "-c", KILLED, str(photos), str(killed)]
    with subprocess.Popen(command, cwd=ROOT, **pipes) as child:  # type: ignore[call-overload]
        child.stdin.write("\n\n")
        child.stdin.flush()
        said = [child.stdout.readline() for _ in range(3)]
        family = children_of(child.pid)
        child.send_signal(signal.SIGKILL)
    assert "done=32" in said[-1] and family
    deadline = time.monotonic() + 60
    while any(is_running(each) for each in family):
        assert time.monotonic() < deadline, "a process outlived its build"
        time.sleep(0.05)
    network = models.load("lenet5", models.Sources(killed, killed, offline=True))
    first, *_ = build_examples(network, photos, killed, decode_here, processes=HERE)
    assert isinstance(first, Progress) and first.done == 32
    list(build_examples(network, photos, once, decode_here, processes=HERE))
    assert contents(killed) == contents(once)


def decode_here(data: bytes) -> Image.Image:
    """Decode as the server does, without its bounds on this process."""
    pixels = decode_app(data, Limits())
    return Image.frombytes("RGB", (pixels.width, pixels.height), pixels.data)


def test_a_photo_that_kills_its_decoder_is_refused_and_no_other(
    tmp_path: Path, toy: Network
) -> None:
    folder = fill_folder(tmp_path / "photos", 24)
    (folder / "a" / "005.png").write_bytes(b"die")
    request = ExamplesRequest(("conv1",))
    *_, meta = build_examples(toy, folder, tmp_path / "out", decode, request, processes=2)
    assert isinstance(meta, IndexMeta)
    assert {(each.image, each.reason) for each in meta.refused if "Died" in each.reason} == {
        ("a/005.png", "ProcessDied")
    }
    assert meta.seen == 24 and len(meta.refused) == 1 + len(BROKEN)


def test_what_the_disk_refuses_is_listed(tmp_path: Path, toy: Network) -> None:
    folder = fill_folder(tmp_path / "photos", 5)
    (folder / "gone.jpg").symlink_to(folder / "nowhere")
    with open(os.path.join(os.fsencode(folder), b"\xff.jpg"), "wb"):
        pass
    refused = {each.image: each.reason for each in run(toy, folder, tmp_path / "out").refused}
    assert refused["gone.jpg"] == "OSError.No such file or directory"
    assert refused["\\xff.jpg"] == "NameIsNoText"


def refuse(network: Network, folder: Path, out: Path, **asked: Any) -> str:
    with pytest.raises((InvalidChoice, UnknownLayer)) as error:
        list(begin(network, folder, out, **asked))
    return error.value.reason or type(error.value).__name__


def test_what_cannot_be_built_is_refused(tmp_path: Path, toy: Network, photos: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert refuse(toy, tmp_path / "nothing", tmp_path / "out") == "no_folder"
    assert refuse(toy, tmp_path / "empty", tmp_path / "out") == "no_photos"
    assert refuse(toy, photos, tmp_path / "out", layers=("conv9",)) == "UnknownLayer"
    assert refuse(toy, photos, tmp_path / "out", k=0) == "k_out_of_range"
    assert not (tmp_path / "out").exists()


def test_two_builds_of_one_index_are_refused(tmp_path: Path, toy: Network, photos: Path) -> None:
    first = begin(toy, photos, tmp_path)
    next(first)
    assert refuse(toy, photos, tmp_path) == "being_built"
    first.close()  # type: ignore[attr-defined]


def damaged(whole: Path, tmp_path: Path) -> Iterator[Path]:
    for name in ("index.parquet", "meta.json"):
        copy = tmp_path / name
        shutil.copytree(whole, copy)
        content = bytearray((copy / name).read_bytes())
        content[len(content) // 3] ^= 0x41
        (copy / name).write_bytes(content)
        yield copy


def test_a_flipped_byte_is_noticed(tmp_path: Path, whole: Path) -> None:
    table, meta = damaged(whole, tmp_path)
    with pytest.raises(ExamplesInvalid):
        read_index(table)
    with pytest.raises(ExamplesInvalid):
        list(verify_index(table))
    try:  # a flipped letter of meta.json may leave JSON; then it says something else
        assert read_meta(meta) != read_meta(whole)
    except ExamplesInvalid:
        pass


def test_a_photo_that_lacks_is_noticed_and_the_same_build_brings_it_back(
    tmp_path: Path, toy: Network, photos: Path, whole: Path
) -> None:
    shutil.copytree(whole, tmp_path / "copy")
    gone = read_index(whole).names[0]
    photo_file(tmp_path / "copy", gone).unlink()
    (error,) = verify_index(tmp_path / "copy")
    assert error.reason == "photo_missing" and error.fields["image"] == gone
    run(toy, photos, tmp_path / "copy")
    assert contents(tmp_path / "copy") == contents(whole)


def test_what_does_not_go_together_is_not_merged(
    tmp_path: Path, toy: Network, photos: Path, whole: Path
) -> None:
    run(toy, photos, tmp_path / "few", k=2)
    run(toy, photos, tmp_path / "part", part=FolderPart(0, 2))

    def reason(folders: Sequence[Path]) -> tuple[str, object]:
        with pytest.raises(ExamplesInvalid) as error:
            merge_examples(folders, tmp_path / "out")
        return error.value.reason, error.value.fields.get("what")

    assert reason([whole, tmp_path / "few"]) == ("other", "k")
    assert reason([whole, tmp_path / "part"]) == ("other", "of")
    assert reason([tmp_path / "part"] * 2) == ("part_twice", None)
    with pytest.raises(NoExamples):
        merge_examples([whole, tmp_path / "nothing"], tmp_path / "out")


def test_indexes_are_found_where_they_are_looked_for(tmp_path: Path, whole: Path) -> None:
    shutil.copytree(whole, tmp_path / "toy" / ("0" * 64))
    bad = tmp_path / "toy" / "random"
    bad.mkdir()
    (bad / "meta.json").write_text("{}")
    good, other = list_indexes(tmp_path)
    assert good == (tmp_path / "toy" / ("0" * 64), read_meta(whole))
    assert other[0] == bad and isinstance(other[1], ExamplesInvalid)
