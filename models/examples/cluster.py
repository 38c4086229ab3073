"""The same build on a Ray cluster: groups of photos go out, what was found in them comes back.

Ray Data streams the groups through actors, each with a copy of the network (on a GPU where the
cluster has some), starts those of a lost node anew elsewhere and gives them their groups again.
A group is looked at as it is on one machine, and merging is associative: the bytes are the same.
"""

from __future__ import annotations

import logging
import os
import pickle
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby, islice
from typing import Any

import torch

from models.errors import ExamplesInvalid, InvalidChoice
from models.examples.folder import Entry
from models.examples.looking import BATCH, State, computed_by, look, trail_of
from models.examples.reading import Reader
from models.examples.strongest import Found
from models.networks.network import Network

WAVE = 2**16
"""So many photos are handed out before what was found is written down and others are listed."""
PARCEL = 2**10
"""So many go to an actor at a time, in whole groups."""


@dataclass(frozen=True)
class Kind:
    """What an actor is: what it runs on, and on how many threads."""

    device: str
    threads: int

    @property
    def resources(self) -> dict[str, Any]:
        """Return what Ray sets aside for it."""
        return {"num_cpus": self.threads, "num_gpus": int(self.device == "cuda")}


@dataclass(frozen=True)
class Cluster:
    """A Ray cluster looks at the photos. It is connected to when it is made.

    ``address`` is what ``ray.init`` takes: ``auto``, ``host:6379``, or ``local`` for a cluster on
    this machine alone. Ray's token authentication is on unless the environment says otherwise.
    """

    network: Network
    reader: Reader
    processes: int
    address: str
    kind: Kind = field(init=False)
    computed: dict[str, str | int] = field(init=False)

    def __post_init__(self) -> None:
        """Connect, and find out what computes there; raises InvalidChoice where nothing does."""
        ray = connect_to_ray(self.address)
        gpus = ray.cluster_resources().get("GPU", 0)
        kind = Kind("cuda" if gpus else "cpu", torch.get_num_threads())
        object.__setattr__(self, "kind", kind)
        tell = ray.remote(**kind.resources)(_tell)
        object.__setattr__(self, "computed", ray.get(tell.remote(self.network, kind)))

    @property
    def batch(self) -> int:
        """Return how many photos go forward together."""
        return BATCH[self.kind.device]

    def look(self, entries: Iterator[Entry], state: State) -> Iterator[int]:
        """Look at photos, a wave at a time; what a wave found is added once all of it is there."""
        nothing = {layer: each.emptied() for layer, each in state.found.items()}
        while wave := list(islice(entries, WAVE)):
            arrived = State(nothing)
            for found in self._send(wave, nothing):
                arrived.join(found)
                yield state.done + arrived.done
            state.join(arrived)
            state.trail = trail_of(state.trail, wave)
            yield state.done

    def _send(self, wave: list[Entry], nothing: Found) -> Iterator[State]:
        import ray.data

        together = PARCEL // self.batch * self.batch
        parcels = [
            {"parcel": pickle.dumps(list(group))}
            for _, group in groupby(wave, lambda entry: entry.number // together)
        ]
        sent = ray.data.from_items(parcels, override_num_blocks=len(parcels))
        looked = sent.map_batches(
            Looker,
            fn_constructor_args=(self.network, self.reader, self.processes, self.kind, nothing),
            compute=ray.data.ActorPoolStrategy(min_size=1, max_size=self._most()),
            batch_size=1,
            **self.kind.resources,
        )
        for row in looked.iter_rows():
            computed, found = pickle.loads(row["found"])
            if computed != self.computed:
                raise ExamplesInvalid("other", what="computed")
            yield found

    def _most(self) -> int:
        """Say how many actors the cluster has room for."""
        import ray

        there = ray.cluster_resources()  # type: ignore[no-untyped-call]
        if self.kind.device == "cuda":
            return max(1, int(there.get("GPU", 0)))
        return max(1, int(there.get("CPU", 0) // self.kind.threads))


class Looker:
    """Looks at parcels of photos in an actor."""

    def __init__(
        self, network: Network, reader: Reader, processes: int, kind: Kind, nothing: Found
    ) -> None:
        forget_main()
        torch.set_num_threads(kind.threads)
        self.network = network.to(kind.device)
        self.reader, self.processes, self.nothing = reader, processes, nothing

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, list[bytes]]:
        """Return what was found in each parcel of a batch."""
        return {"found": [self._look(pickle.loads(parcel)) for parcel in batch["parcel"]]}

    def _look(self, entries: list[Entry]) -> bytes:
        state = State({layer: each.emptied() for layer, each in self.nothing.items()})
        size = BATCH[self.network.device.type]
        reads = self.reader.read_all(entries, self.processes)
        for _, group in groupby(reads, lambda read: read.entry.number // size):
            look(self.network, group, state)
        state.prune()
        return pickle.dumps((computed_by(self.network), state))


def forget_main() -> None:
    """Let child processes of a Ray worker start without importing its program, which takes long."""
    vars(sys.modules["__main__"]).pop("__file__", None)


def _tell(network: Network, kind: Kind) -> dict[str, str | int]:
    """Name what an actor's numbers hang on, in a task that is placed as an actor is."""
    torch.set_num_threads(kind.threads)
    return computed_by(network.to(kind.device))


def connect_to_ray(address: str) -> Any:
    """Connect to a cluster, and return Ray; raises InvalidChoice where that cannot be."""
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    os.environ.setdefault("RAY_DATA_DISABLE_PROGRESS_BARS", "1")
    try:
        import ray
        import ray.data
    except ImportError:
        raise InvalidChoice("no_ray") from None
    if not ray.is_initialized():
        try:
            ray.init(
                address,
                include_dashboard=False if address == "local" else None,
                log_to_driver=False,
                logging_level=logging.WARNING,
            )
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise InvalidChoice("no_cluster", address=address, cause=str(error)) from error
    ray.data.DataContext.get_current().enable_progress_bars = False
    return ray
