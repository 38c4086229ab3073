"""An index on disk: ``index.parquet``, what ``meta.json`` says of it, and its photos.

A folder holds an index once it holds ``meta.json``, which is written last and names the SHA-256
of ``index.parquet``. Equal questions over equal data give equal files, byte for byte.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from models.disk import replace_file
from models.errors import ExamplesInvalid, InvalidChoice, NoExamples
from models.examples.reading import open_photo
from models.examples.strongest import Found, Strongest
from models.networks.network import Network
from models.networks.preprocessing import Preprocessing

if TYPE_CHECKING:
    import pyarrow as pa

FORMAT = 1
TABLE, META, SOURCE = "index.parquet", "meta.json", "source.json"
COLUMNS = ("layer", "feature", "rank", "image", "y", "x", "activation")


@dataclass(frozen=True)
class RefusedPhoto:
    """A photo that could not be read, and why: the error's class and reason."""

    image: str
    reason: str


@dataclass(frozen=True)
class IndexMeta:
    """What an index is of: whose weights, which photos, and how they were shown.

    ``layers`` are the layers that it has and how many maps each has. ``seen`` are the photos that
    were read. ``fingerprint`` is made of the paths and contents of all photos, refused ones too.
    ``parts`` are those that it has of a data folder cut into ``of``. ``computed`` names what the
    numbers may hang on: processor, device, threads, size of a batch, torch.
    """

    network: str
    sha256: str
    preprocessing: Preprocessing
    k: int
    layers: Mapping[str, int]
    seen: int
    refused: tuple[RefusedPhoto, ...]
    fingerprint: str
    computed: Mapping[str, str | int]
    fit: str = "crop"
    parts: tuple[int, ...] = (0,)
    of: int = 1
    table: str = ""

    def to_json(self) -> str:
        """Write it as ``meta.json`` has it."""
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=1)

    @classmethod
    def from_json(cls, text: str) -> IndexMeta:
        """Read what ``to_json`` wrote."""
        said = json.loads(text)
        if said.pop("format") != FORMAT:
            raise ValueError("another format")
        shown: dict[str, Any] = said["preprocessing"]
        for name in ("mean", "std"):
            shown[name] = tuple(shown[name])
        said["preprocessing"] = Preprocessing(**shown)
        said["refused"] = tuple(RefusedPhoto(**each) for each in said["refused"])
        said["parts"] = tuple(said["parts"])
        return cls(**said)


@dataclass(frozen=True)
class Example:
    """One of a map's strongest activations over a data set: the photo, the place, the value."""

    layer: str
    feature: int
    rank: int
    image: str
    y: int
    x: int
    activation: float


@dataclass(frozen=True)
class Index:
    """An index in memory: ``found`` numbers the photos by their place in ``names``, sorted."""

    meta: IndexMeta
    names: tuple[str, ...] = field(repr=False)
    found: Found = field(repr=False)
    folder: Path | None = None

    def examples(self, layer: str, feature: int) -> list[Example]:
        """Return a map's examples, strongest first; raises NoExamples and InvalidChoice."""
        if layer not in self.found:
            raise NoExamples("layer", layer=layer, known=tuple(self.found))
        found = self.found[layer]
        if not 0 <= feature < len(found.image):
            last = len(found.image) - 1
            raise InvalidChoice("no_such_feature", layer=layer, last=last, feature=feature)
        one = found.of(np.array([feature]))
        there = one.found[0]
        columns = (
            column[0][there].tolist() for column in (one.image, one.y, one.x, one.activation)
        )
        return [
            Example(layer, feature, rank, self.names[image], y, x, value)
            for rank, (image, y, x, value) in enumerate(zip(*columns, strict=True))
        ]

    @property
    def nbytes(self) -> int:
        """Count the bytes that it holds, roughly."""
        columns = (column for each in self.found.values() for column in each.columns)
        return sum(column.nbytes for column in columns) + 100 * len(self.names)

    def strongest(self, layer: str) -> list[int]:
        """Return a layer's maps by their strongest activation, ties by lower number."""
        if layer not in self.found:
            raise NoExamples("layer", layer=layer, known=tuple(self.found))
        order = np.argsort(-self.found[layer].activation[:, 0], kind="stable")
        return [int(each) for each in order]

    def photo(self, name: str) -> Image.Image:
        """Return a photo of the index as the network saw it; raises ExamplesInvalid."""
        assert self.folder is not None, "an index that was opened"
        try:
            return open_photo(self.folder, name, self.meta.preprocessing)
        except (OSError, ValueError) as error:
            raise ExamplesInvalid("photo_missing", image=name, cause=error) from error


def to_table(found: Found, names: Mapping[int, str]) -> pa.Table:
    """Lay out what was found as the rows of a table: by layer, feature map and rank."""
    import pyarrow as pa

    parts = [_rows(layer, each, names) for layer, each in found.items()]
    schema = pa.schema(
        [
            ("layer", pa.string()),
            ("feature", pa.int32()),
            ("rank", pa.int32()),
            ("image", pa.string()),
            ("y", pa.int32()),
            ("x", pa.int32()),
            ("activation", pa.float32()),
        ]
    )
    return pa.concat_tables([pa.table(part, schema=schema) for part in parts])


def _rows(layer: str, found: Strongest, names: Mapping[int, str]) -> dict[str, Any]:
    features, ranks = found.found.nonzero()
    there = features, ranks
    return {
        "layer": [layer] * len(features),
        "feature": features.astype(np.int32),
        "rank": ranks.astype(np.int32),
        "image": [names[number] for number in found.image[there].tolist()],
        "y": found.y[there],
        "x": found.x[there],
        "activation": found.activation[there],
    }


def from_table(table: pa.Table, layers: Mapping[str, int], k: int) -> tuple[list[str], Found]:
    """Read what ``to_table`` laid out: the sorted names of the photos, and what was found."""
    columns = {name: table.column(name).to_numpy(zero_copy_only=False) for name in COLUMNS}
    names = sorted(set(columns["image"].tolist()), key=str.encode)
    numbers = {name: number for number, name in enumerate(names)}
    image = np.array([numbers[name] for name in columns["image"].tolist()], np.int64)
    found = {layer: Strongest.nothing(maps, k) for layer, maps in layers.items()}
    for layer, each in found.items():
        rows = columns["layer"] == layer
        at = columns["feature"][rows], columns["rank"][rows]
        each.image[at] = image[rows]
        for column in ("y", "x", "activation"):
            getattr(each, column)[at] = columns[column][rows]
    return names, found


def write_table(table: pa.Table, file: Path) -> None:
    """Write a table; the same rows give the same bytes."""
    import pyarrow.parquet as pq

    replace_file(file, lambda part: pq.write_table(table, part, compression="zstd"))


def write_index(folder: Path, index: Index) -> IndexMeta:
    """Write an index's table and then its meta; its photos are kept before."""
    folder.mkdir(parents=True, exist_ok=True)
    write_table(to_table(index.found, dict(enumerate(index.names))), folder / TABLE)
    digest = hashlib.sha256((folder / TABLE).read_bytes()).hexdigest()
    meta = replace(index.meta, table=digest)
    replace_file(folder / META, lambda part: part.write_text(meta.to_json()))
    return meta


def read_meta(folder: Path) -> IndexMeta:
    """Read what an index is of; raises NoExamples where there is none, or ExamplesInvalid."""
    try:
        return IndexMeta.from_json((folder / META).read_text())
    except FileNotFoundError:
        raise NoExamples("index", folder=str(folder)) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ExamplesInvalid("damaged", file=META, cause=error) from error


def read_index(folder: Path) -> Index:
    """Read an index whole; raises NoExamples, or ExamplesInvalid where a byte is wrong."""
    require_pyarrow()
    import pyarrow as pa
    import pyarrow.parquet as pq

    meta = read_meta(folder)
    try:
        data = (folder / TABLE).read_bytes()
        if hashlib.sha256(data).hexdigest() != meta.table:
            raise ValueError("its checksum is another")
        names, found = from_table(pq.read_table(io.BytesIO(data)), meta.layers, meta.k)
    except (OSError, ValueError, KeyError, IndexError, pa.ArrowException) as error:
        raise ExamplesInvalid("damaged", file=TABLE, cause=error) from error
    return Index(meta, tuple(names), found, folder)


def stamp_of(folder: Path) -> tuple[str, int, int]:
    """Tell an index from any other that was or will be in its place; raises NoExamples."""
    try:
        status = (folder / META).stat()
    except OSError:
        raise NoExamples("index", folder=str(folder)) from None
    return str(folder), status.st_mtime_ns, status.st_ino


def source_of(folder: Path) -> Path | None:
    """Return the folder of photos that an index was built from, where this machine has it."""
    try:
        return Path(json.loads((folder / SOURCE).read_text())["folder"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def require_pyarrow() -> None:
    """Raise InvalidChoice where pyarrow, an extra, is not installed."""
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError:
        raise InvalidChoice("no_pyarrow") from None


def index_folder(examples: Path, network: Network) -> Path:
    """Return where the index of a network with its weights is looked for."""
    return folder_of(examples, network.name, network.provenance.sha256)


def folder_of(examples: Path, network: str, sha256: str) -> Path:
    """Return where the index of a network with certain weights is looked for."""
    return examples / network / (sha256 or "random")


def list_indexes(examples: Path) -> Iterator[tuple[Path, IndexMeta | ExamplesInvalid]]:
    """Yield the indexes below a folder, and what each is of, or why it cannot be read."""
    for file in sorted(examples.glob(f"*/*/{META}")):
        try:
            yield file.parent, read_meta(file.parent)
        except ExamplesInvalid as error:
            yield file.parent, error


def verify_index(folder: Path) -> Iterator[ExamplesInvalid]:
    """Yield what is wrong with an index: rows out of order, photos that lack or are damaged.

    Raises NoExamples where there is none, and ExamplesInvalid where it cannot be read.
    """
    index = read_index(folder)
    for layer, each in index.found.items():
        if not _is_in_order(each):
            yield ExamplesInvalid("out_of_order", layer=layer)
    for name in index.names:
        try:
            index.photo(name)
        except ExamplesInvalid as error:
            yield error


def _is_in_order(found: Strongest) -> bool:
    """Do activations fall, equal ones by photo, and is each photo named once a map?"""
    above, below = found.activation[:, :-1], found.activation[:, 1:]
    earlier = (found.image[:, :-1] < found.image[:, 1:]) | ~found.found[:, 1:]
    once = np.sort(np.where(found.found, found.image, -1 - np.arange(found.k)), axis=1)
    return bool(((above > below) | earlier).all() and (np.diff(once, axis=1) > 0).all())
