"""A folder in a store is the folder: the same photos in the same order, and the same index."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from models.errors import InvalidChoice
from models.examples.build import build_examples
from models.examples.folder import list_photos, read_photo
from models.examples.index import source_of
from models.examples.store import Store, open_folder
from models.networks.network import Network
from tests.object_store import serve_bucket
from tests.photo_folders import decode, fill_folder
from tests.refusals import refused

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = fill_folder(tmp_path_factory.mktemp("bucket") / "photos")
    for name in ("a-b/c.png", "a0.JPG"):  # where "/" is sorted among others
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(name.encode())
    return folder


@pytest.fixture(params=["s3", "fsspec+memory", "fsspec+file"])
def address(
    request: pytest.FixtureRequest, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """Return the address of the folder's photos in a store."""
    if request.param == "fsspec+file":
        yield f"fsspec+{folder.as_uri()}"
    elif request.param == "fsspec+memory":
        memory = fsspec.filesystem("memory")
        memory.put(f"{folder}/", "/bucket/photos/", recursive=True)
        yield "fsspec+memory:///bucket/photos"
        memory.rm("/bucket", recursive=True)
    else:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.setenv(name, "any")
        with serve_bucket(folder.parent) as query:
            yield f"s3://bucket/photos?{query}"


def test_a_store_lists_and_holds_what_the_folder_does(address: str, folder: Path) -> None:
    store = open_folder(address)
    assert isinstance(store, Store)
    ours, theirs = list(list_photos(store)), list(list_photos(folder))
    assert [entry[:3] for entry in ours] == [entry[:3] for entry in theirs]
    assert len(ours) == 45 and [e.name for e in ours] == sorted(e.name for e in ours)
    for entry in ours:
        assert read_photo(store, entry.name) == read_photo(folder, entry.name)


def test_the_index_of_a_store_is_that_of_the_folder(
    address: str, folder: Path, toy: Network, tmp_path: Path
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    list(build_examples(toy, folder, here, decode, processes=0))
    list(build_examples(toy, address, there, decode, processes=0))
    files = [f.relative_to(here) for f in here.rglob("*") if f.suffix in (".webp", ".parquet")]
    assert len(files) > 20
    for name in (*files, Path("meta.json")):
        assert (there / name).read_bytes() == (here / name).read_bytes()
    assert json.loads((there / "source.json").read_text()) == {"store": address.split("?")[0]}
    assert source_of(there) is None and source_of(here) == folder


@pytest.mark.parametrize("address", ["s3", "fsspec+file"], indirect=True)
def test_other_processes_open_the_store_themselves(
    address: str, folder: Path, toy: Network, tmp_path: Path
) -> None:
    list(build_examples(toy, folder, tmp_path / "here", decode, processes=0))
    list(build_examples(toy, address, tmp_path / "there", decode, processes=1))
    here, there = (tmp_path / each / "index.parquet" for each in ("here", "there"))
    assert there.read_bytes() == here.read_bytes()


def test_an_address_of_this_machine_is_its_folder(tmp_path: Path) -> None:
    assert open_folder(tmp_path.as_uri()) == open_folder(str(tmp_path)) == tmp_path
    with refused(InvalidChoice, f"file://{tmp_path}/none is no folder"):
        open_folder(f"file://{tmp_path}/none")


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("carrier://pigeon", "read from 'carrier://pigeon': Unrecognized filesystem type"),
        ("fsspec+carrier://pigeon", "Protocol not known: carrier"),
        ("fsspec+memory:///nowhere", "fsspec\\+memory:///nowhere is no folder"),
        ("s3://a b", "Cannot parse URI"),
    ],
)
def test_what_is_no_store_is_a_sentence(address: str, sentence: str) -> None:
    with refused(InvalidChoice, sentence):
        open_folder(address)


def test_a_password_in_an_address_is_not_repeated() -> None:
    with pytest.raises(InvalidChoice) as caught:
        open_folder("s3://me:secret@a b/c?d=secret")
    assert "s3://a b/c" in str(caught.value) and "secret" not in str(caught.value)


def test_a_store_that_fails_says_so_and_a_photo_that_lacks_is_an_error_of_its_own(
    folder: Path, tmp_path: Path
) -> None:
    root = fill_folder(tmp_path / "photos", 4)
    store = Store(f"fsspec+{root.as_uri()}")
    with pytest.raises(OSError, match="none"):
        store.read(b"none.jpg")
    found = store.walk(lambda name: True)
    assert next(found)[0] == b"a/000.png"
    for file in (root / "b").rglob("*.png"):
        file.unlink()
    (root / "b" / "c").rmdir()
    (root / "b").rmdir()
    with refused(InvalidChoice, "no photos can be read from 'fsspec"):
        list(found)
