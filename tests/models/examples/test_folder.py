"""The photos of a folder: by the bytes of their paths, whatever the disk says first."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from models.errors import InvalidChoice
from models.examples.folder import FolderPart, list_part, list_photos, read_photo


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")
    return folder


def test_photos_come_by_the_bytes_of_their_whole_path(tmp_path: Path) -> None:
    names = [
        "a.jpg",
        "a/b.JPEG",
        "a-b/c.png",
        "a0.webp",
        "ä.gif",
        "Z.bmp",
        "b/ä/z.tiff",
        "b/a.avif",
    ]
    touch(tmp_path, *reversed(names), "a/readme.txt", "a/list.csv")
    found = [entry.name for entry in list_photos(tmp_path)]
    assert found == sorted(name.encode() for name in names)
    assert [entry.number for entry in list_photos(tmp_path)] == list(range(len(names)))
    assert all(read_photo(tmp_path, name) == b"x" for name in found)


@pytest.mark.parametrize("of", [1, 2, 5])
def test_every_photo_is_in_one_part(tmp_path: Path, of: int) -> None:
    touch(tmp_path, *(f"{number}.jpg" for number in range(30)))
    parts = [[e.name for e in list_part(tmp_path, FolderPart(n, of), 4)] for n in range(of)]
    assert sorted(name for part in parts for name in part) == [
        e.name for e in list_photos(tmp_path)
    ]
    assert all(parts)


def test_a_circle_of_links_ends(tmp_path: Path) -> None:
    touch(tmp_path, "a/b.jpg")
    (tmp_path / "a" / "again").symlink_to(tmp_path)
    (tmp_path / "link.jpg").symlink_to(tmp_path / "a" / "b.jpg")
    (tmp_path / "nowhere.jpg").symlink_to(tmp_path / "gone")
    assert [e.name for e in list_photos(tmp_path)] == [b"a/b.jpg", b"link.jpg", b"nowhere.jpg"]


def test_names_that_are_no_text_are_listed_as_they_are(tmp_path: Path) -> None:
    name = b"\xff.jpg"
    with open(os.path.join(os.fsencode(tmp_path), name), "wb"):
        pass
    assert [entry.name for entry in list_photos(tmp_path)] == [name]


def test_no_folder_and_no_part_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidChoice) as no_folder:
        next(list_photos(tmp_path / "nothing"))
    with pytest.raises(InvalidChoice) as no_part:
        FolderPart(3, 3)
    assert (no_folder.value.reason, no_part.value.reason) == ("no_folder", "no_such_part")
