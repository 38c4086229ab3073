"""`deconvnet examples`: what it prints, what it writes, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.photo_folders import fill_folder
from tests.serving import Run

pytestmark = pytest.mark.usefixtures("one_thread")


def test_a_folder_is_indexed_listed_verified_and_merged(run: Run, tmp_path: Path) -> None:
    folder = fill_folder(tmp_path / "photos", 20)
    code, said, complaints = run("examples", "build", folder, "--network", "lenet5")
    assert code == 0, complaints
    assert "20 photos seen, 258 feature maps of 7 layers" in said
    assert "3 photos were refused" in complaints
    assert "broken.jpg: UnreadablePhoto.no_picture" in complaints
    assert "phone.heic: UnreadablePhoto.heic" in complaints
    (index,) = (tmp_path / "data" / "examples" / "lenet5").iterdir()
    assert json.loads((index / "meta.json").read_text())["sha256"] == index.name

    code, said, _ = run("examples", "list")
    assert code == 0 and "lenet5" in said and index.name[:12] in said
    code, said, _ = run("examples", "verify")
    assert code == 0 and "whole" in said

    code, said, _ = run("examples", "show", "--network", "lenet5", "-o", tmp_path / "wall.svg")
    assert code == 0 and "12 maps of c2" in said
    assert "strongest of 20 photos" in (tmp_path / "wall.svg").read_text()
    shown = ("--network", "lenet5", "--layer", "fc3", "--features", "1,7")
    assert run("examples", "show", *shown, "-o", tmp_path / "wall.png")[0] == 0
    assert (tmp_path / "wall.png").read_bytes().startswith(b"\x89PNG")

    for part in ("1/2", "2/2"):
        made = ("--out", tmp_path / part[0], "--part", part)
        assert run("examples", "build", folder, "--network", "lenet5", *made)[0] == 0
    code, said, _ = run(
        "examples", "merge", tmp_path / "2", tmp_path / "1", "--out", tmp_path / "merged"
    )
    assert code == 0
    for name in ("index.parquet", "meta.json"):
        assert (tmp_path / "merged" / name).read_bytes() == (index / name).read_bytes()

    (index / "index.parquet").write_bytes(b"PAR1")
    code, _, complaints = run("examples", "verify", index)
    assert code == 1 and "index.parquet of the index is damaged" in complaints


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--layers", "conv9"), "lenet5 has no layer 'conv9'"),
        (("--k", "0"), "k is 1 to 100, not 0"),
        (("--part", "3/2"), "a part is written 1/2 to 2/2, not 3/2"),
        (("--part", "two"), "a part is written such as 2/8, not 'two'"),
    ],
)
def test_what_cannot_be_built_is_a_sentence(
    run: Run, tmp_path: Path, options: tuple[str, ...], sentence: str
) -> None:
    folder = fill_folder(tmp_path / "photos", 4)
    code, _, complaints = run("examples", "build", folder, "--network", "lenet5", *options)
    assert code == 1 and sentence in complaints


def test_no_photos_and_no_folder_are_sentences(run: Run, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    code, _, complaints = run("examples", "build", tmp_path / "empty", "--network", "lenet5")
    assert code == 1 and "holds no photos of the kinds that are read" in complaints
    code, _, complaints = run("examples", "build", tmp_path / "none", "--network", "lenet5")
    assert code == 1 and "is no folder" in complaints
    code, _, complaints = run("examples", "merge", tmp_path / "none", "--out", tmp_path / "out")
    assert code == 1 and "holds no index" in complaints


def test_a_folder_may_be_given_by_its_address(run: Run, tmp_path: Path) -> None:
    folder = fill_folder(tmp_path / "photos", 4)
    asked = ("--network", "lenet5", "--layers", "c1", "--out", tmp_path / "index")
    code, said, complaints = run("examples", "build", folder.as_uri(), *asked)
    assert code == 0 and "4 photos seen" in said, complaints


def test_no_store_and_no_folder_in_one_are_sentences(run: Run, tmp_path: Path) -> None:
    code, _, complaints = run("examples", "build", "carrier://pigeon", "--network", "lenet5")
    assert code == 1 and "no photos can be read from 'carrier://pigeon': Unrecog" in complaints
    for address in ("fsspec+memory:///nowhere", (tmp_path / "none").as_uri()):
        code, _, complaints = run("examples", "build", address, "--network", "lenet5")
        assert code == 1 and f"{address} is no folder" in complaints


def test_what_cannot_be_drawn_is_a_sentence(run: Run, tmp_path: Path) -> None:
    folder = fill_folder(tmp_path / "photos", 4)
    code, _, complaints = run("examples", "show", "--network", "lenet5", "-o", tmp_path / "a.svg")
    assert code == 1 and "holds no index" in complaints
    code, _, complaints = run("examples", "show", "-o", tmp_path / "a.gif")
    assert code == 2 and "must end in .svg, .pdf, .png" in complaints
    asked = ("--network", "lenet5", "--layers", "c1", "--out", tmp_path / "index")
    assert run("examples", "build", folder, *asked)[0] == 0
    show = ("examples", "show", "--network", "lenet5", "--index", tmp_path / "index")
    code, _, complaints = run(*show, "-o", tmp_path / "a.svg")
    assert code == 1 and "the index has not the layer 'c2'; it has c1" in complaints
    code, _, complaints = run(*show, "--weights", "random", "-o", tmp_path / "a.svg")
    assert code == 1 and "the index is of lenet5 with other weights" in complaints
