"""Merge the indexes of parts of one data folder; in any order and grouping, the same index."""

from __future__ import annotations

import filecmp
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from models.disk import replace_file
from models.errors import ExamplesInvalid
from models.examples.index import SOURCE, Index, IndexMeta, read_index, write_index
from models.examples.looking import add_prints
from models.examples.reading import photo_file
from models.examples.strongest import Found, merge

ALIKE = ("network", "sha256", "preprocessing", "fit", "k", "layers", "computed", "of")
"""What indexes must agree on to be merged."""


def merge_examples(folders: Sequence[Path], out: Path) -> IndexMeta:
    """Merge indexes on disk into a new one; raises NoExamples and ExamplesInvalid."""
    indexes = [read_index(folder) for folder in folders]
    merged = merge_indexes(indexes)
    for name in merged.names:
        _copy_photo(name, folders, out)
    if (source := folders[0] / SOURCE).exists():
        replace_file(out / SOURCE, lambda part: shutil.copyfile(source, part))
    return write_index(out, merged)


def _copy_photo(name: str, folders: Sequence[Path], out: Path) -> None:
    """Copy a photo from the first index that has it."""
    kept = photo_file(out, name)
    there = next((f for folder in folders if (f := photo_file(folder, name)).exists()), None)
    if there is None or (kept.exists() and filecmp.cmp(there, kept, shallow=False)):
        return
    kept.parent.mkdir(parents=True, exist_ok=True)
    replace_file(kept, lambda part: shutil.copyfile(there, part))


def merge_indexes(indexes: Sequence[Index]) -> Index:
    """Merge indexes of parts of one folder; raises ExamplesInvalid for those of anything else."""
    names = sorted({name for each in indexes for name in each.names}, key=str.encode)
    numbers = {name: number for number, name in enumerate(names)}
    meta = merge_metas([each.meta for each in indexes])
    found = merge([_renumbered(each, numbers) for each in indexes])
    used = sorted({n for each in found.values() for n in each.image[each.found].tolist()})
    places = {number: place for place, number in enumerate(used)}
    kept = {layer: each.renumber(places) for layer, each in found.items()}
    return Index(meta, tuple(names[number] for number in used), kept)


def _renumbered(index: Index, numbers: Mapping[str, int]) -> Found:
    places = {place: numbers[name] for place, name in enumerate(index.names)}
    return {layer: each.renumber(places) for layer, each in index.found.items()}


def merge_metas(metas: Sequence[IndexMeta]) -> IndexMeta:
    """Say what merged indexes are of; raises ExamplesInvalid for what does not go together."""
    first, *others = metas
    for other in others:
        for name in ALIKE:
            if getattr(other, name) != getattr(first, name):
                raise ExamplesInvalid("other", what=name)
        first = _merge_two(first, other)
    return first


def _merge_two(one: IndexMeta, other: IndexMeta) -> IndexMeta:
    if common := set(one.parts) & set(other.parts):
        raise ExamplesInvalid("part_twice", part=min(common) + 1, of=one.of)
    parts = tuple(sorted({*one.parts, *other.parts}))
    whole = len(parts) == one.of
    print_of_both = add_prints(int(one.fingerprint, 16), int(other.fingerprint, 16))
    return replace(
        one,
        seen=one.seen + other.seen,
        refused=tuple(sorted((*one.refused, *other.refused), key=lambda each: each.image.encode())),
        fingerprint=f"{print_of_both:064x}",
        parts=(0,) if whole else parts,
        of=1 if whole else one.of,
    )
