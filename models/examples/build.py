"""Build an index: one pass over a data folder, all layers at once, in constant memory.

Photos are decoded in processes beside the network, a bounded number ahead. What was found so far
is written down every few seconds, to a temporary name and then renamed, so that a build that was
killed goes on from there and ends in the same bytes.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import groupby, islice
from pathlib import Path
from typing import Protocol

import numpy as np
from filelock import FileLock, Timeout

from models.disk import replace_file
from models.errors import InvalidChoice
from models.examples import index
from models.examples.folder import WHOLE, Entry, FolderPart, list_part
from models.examples.index import Index, IndexMeta, RefusedPhoto
from models.examples.looking import State, batch_of, computed_by, look, trail_of
from models.examples.reading import PHOTOS, Decode, Keeper, Reader, photo_file
from models.examples.store import Store, open_folder
from models.examples.strongest import Found, nothing_found
from models.experiments.shape import Progress
from models.networks.network import Network

EVERY_SECONDS = 5.0
"""How often what was found so far is written down."""
UNFINISHED = "building.parquet"
K = 9


@dataclass(frozen=True)
class ExamplesRequest:
    """What an index is to hold: which layers, all where none are named, and how many photos."""

    layers: tuple[str, ...] = ()
    k: int = K
    part: FolderPart = WHOLE


class Machine(Protocol):
    """What looks at photos: this process, or a cluster."""

    @property
    def batch(self) -> int:
        """Return how many photos go forward together."""

    @property
    def computed(self) -> dict[str, str | int]:
        """Name what the last bits of the numbers may hang on."""

    def look(self, entries: Iterator[Entry], state: State) -> Iterator[int]:
        """Look at photos; yield, now and then, how many of all were looked at.

        Whenever it yields, ``state`` is whole: all that it says was done was found.
        """


@dataclass(frozen=True)
class Here:
    """This process looks at the photos, which others decode."""

    network: Network
    reader: Reader
    processes: int

    @property
    def batch(self) -> int:
        """Return how many photos go forward together."""
        return batch_of(self.network)

    @property
    def computed(self) -> dict[str, str | int]:
        """Name what the last bits of the numbers may hang on."""
        return computed_by(self.network)

    def look(self, entries: Iterator[Entry], state: State) -> Iterator[int]:
        """Look at photos, a group at a time."""
        reads = self.reader.read_all(entries, self.processes)
        for _, group in groupby(reads, lambda read: read.entry.number // self.batch):
            look(self.network, group, state)
            yield state.done


def build_examples(
    network: Network,
    folder: Path | str,
    out: Path,
    decode: Decode,
    request: ExamplesRequest = ExamplesRequest(),
    processes: int = 2,
    ray: str | None = None,
) -> Iterator[Progress | IndexMeta]:
    """Index a folder of photos, and yield at last what the index is of.

    ``folder`` may be in a store, by its address (``s3://bucket/photos``). ``ray`` is the address of
    a Ray cluster that does it; this process and its nodes see the folder at the same path or
    address. Raises InvalidChoice and UnknownLayer at once: for a folder that is none or holds no
    photo, a store that does not answer, layers that are not there, and a k below 1.
    """
    index.require_pyarrow()
    if not 1 <= request.k <= MOST:
        raise InvalidChoice("k_out_of_range", most=MOST, k=request.k)
    found = nothing_found(network, request.layers or all_layers(network), request.k)
    where = open_folder(folder)
    reader = Reader(where, network.preprocessing, decode)
    machine: Machine = Here(network, reader, processes)
    if ray is not None:
        from models.examples.cluster import Cluster

        machine = Cluster(network, reader, processes, ray)
    total = sum(1 for _ in list_part(where, request.part, machine.batch))
    if not total:
        raise InvalidChoice("no_photos", folder=str(where))
    return _build(_Task(network, machine, out, reader, request, total, processes), found)


MOST = 100
"""Most examples of a map."""


def all_layers(network: Network) -> tuple[str, ...]:
    """Name every layer that the native input reaches."""
    return tuple(layer.name for layer, _ in network.sizes(network.input_size))


@dataclass(frozen=True)
class _Task:
    """One build: whose maps, who looks, where to, and at how many photos."""

    network: Network
    machine: Machine
    out: Path
    reader: Reader
    request: ExamplesRequest
    total: int
    processes: int

    def photos(self) -> Iterator[Entry]:
        """Yield the photos of this build's part of the folder."""
        return list_part(self.reader.folder, self.request.part, self.machine.batch)


def _build(task: _Task, found: Found) -> Iterator[Progress | IndexMeta]:
    out = task.out
    out.mkdir(parents=True, exist_ok=True)
    with _alone(out):
        question = _question(task, found)
        state = _resume(out, question, found, task.photos())
        kept, written = state.done, time.monotonic()
        yield Progress(state.done, task.total, _say(state))
        for done in task.machine.look(islice(task.photos(), state.done, None), state):
            if state.done > kept and time.monotonic() - written > EVERY_SECONDS:
                _write(out, question, state)
                kept, written = state.done, time.monotonic()
            yield Progress(done, task.total, _say(state))
        _write(out, question, state)
        yield from keep_photos(state, out, task.reader, task.processes)
        yield finish(task, state)


def _say(state: State) -> str:
    return f"{len(state.refused)} refused" if state.refused else ""


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Hold a folder for one build; raises InvalidChoice where another holds it."""
    lock = FileLock(out / ".lock", timeout=0, thread_local=False)
    try:
        lock.acquire()
    except Timeout:
        raise InvalidChoice("being_built") from None
    try:
        yield
    finally:
        lock.release()


# What is written down on the way


def _question(task: _Task, found: Found) -> str:
    """Write down what a build is of; only the same may go on where it was left."""
    network, request = task.network, task.request
    asked = {
        "network": network.name,
        "sha256": network.provenance.sha256,
        "preprocessing": asdict(network.preprocessing),
        "layers": {layer: len(each.image) for layer, each in found.items()},
        "k": request.k,
        "part": asdict(request.part),
        "computed": task.machine.computed,
    }
    return json.dumps(asked)


def _write(out: Path, question: str, state: State) -> None:
    """Write down what was found so far, in one file."""
    import pyarrow as pa

    state.prune()
    numbers = np.concatenate([each.image[each.found] for each in state.found.values()])
    table = index.to_table(state.found, state.names).append_column("number", pa.array(numbers))
    said = {
        "question": question,
        "done": state.done,
        "refused": [asdict(each) for each in state.refused],
        "fingerprint": f"{state.fingerprint:064x}",
        "trail": state.trail,
        "began": state.began,
    }
    table = table.replace_schema_metadata({"deconvnet": json.dumps(said)})
    index.write_table(table, out / UNFINISHED)


def _resume(out: Path, question: str, nothing: Found, photos: Iterable[Entry]) -> State:
    """Return what an earlier build of the same found, if the folder still begins as it did."""
    state = _read(out / UNFINISHED, question, nothing)
    if state is None:
        return State(nothing)
    trail = trail_of("", islice(photos, state.done))
    return state if trail == state.trail else State(nothing)


def _read(file: Path, question: str, nothing: Found) -> State | None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(file)
        said = json.loads(table.schema.metadata[b"deconvnet"])
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException):
        return None
    if said["question"] != question:
        return None
    layers = {layer: len(each.image) for layer, each in nothing.items()}
    k = next(iter(nothing.values())).k
    names, found = index.from_table(table, layers, k)
    columns = (table.column(each).to_pylist() for each in ("image", "number"))
    number_of = dict(zip(*columns, strict=True))
    numbers = {place: number_of[name] for place, name in enumerate(names)}
    return State(
        {layer: each.renumber(numbers) for layer, each in found.items()},
        {number: name for name, number in number_of.items()},
        said["done"],
        [RefusedPhoto(**each) for each in said["refused"]],
        int(said["fingerprint"], 16),
        said["trail"],
        said.get("began", time.time()),
    )


# The end


def keep_photos(state: State, out: Path, reader: Reader, processes: int) -> Iterator[Progress]:
    """Keep the photos that the index names, as the network saw them, and drop all others.

    Those that this build kept before it was interrupted are there already.
    """
    state.prune()
    wanted = {photo_file(out, name): (number, name) for number, name in state.names.items()}
    for file in (out / PHOTOS).glob("*/*"):
        if file not in wanted:
            file.unlink()
    left = [each for file, each in wanted.items() if not _is_kept(file, state.began)]
    entries = (Entry(number, name.encode(), 0, 0) for number, name in left)
    keeper = Keeper(reader.folder, reader.preprocessing, reader.decode, out)
    for done, _ in enumerate(keeper.read_all(entries, processes)):
        yield Progress(done, len(left), "photos kept")


def _is_kept(file: Path, began: float) -> bool:
    """Tell whether this build kept a photo: an earlier one's may be of another photo by now."""
    try:
        return file.stat().st_mtime >= began
    except OSError:
        return False


def finish(task: _Task, state: State) -> IndexMeta:
    """Write the index of all that was found, and return what it is of."""
    network, request, out = task.network, task.request, task.out
    meta = IndexMeta(
        network.name,
        network.provenance.sha256,
        network.preprocessing,
        request.k,
        {layer: len(each.image) for layer, each in state.found.items()},
        state.done - len(state.refused),
        tuple(sorted(state.refused, key=lambda each: each.image.encode())),
        f"{state.fingerprint:064x}",
        task.machine.computed,
        parts=(request.part.number,),
        of=request.part.of,
    )
    places = {number: place for place, number in enumerate(sorted(state.names))}
    found = {layer: each.renumber(places) for layer, each in state.found.items()}
    names = tuple(state.names[number] for number in sorted(state.names))
    source = json.dumps(_source(task.reader.folder))
    replace_file(out / index.SOURCE, lambda part: part.write_text(source))
    meta = index.write_index(out, Index(meta, names, found))
    (out / UNFINISHED).unlink(missing_ok=True)
    return meta


def _source(folder: Path | Store) -> dict[str, str]:
    if isinstance(folder, Store):
        return {"store": str(folder)}
    return {"folder": str(folder.absolute())}
