"""Where a network's weights come from, and the network filled with them.

In order: your own file, published weights that have been fetched, the starter weights that ship
with the project. Random weights come only when asked for, and say so. Whatever is here can be asked
for, by its source or the first digits of its hash.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal, get_args

import torch
from torch import nn

from models.errors import (
    DeconvnetError,
    InvalidChoice,
    UnknownWeights,
    WeightsInvalid,
    WeightsMissing,
)
from models.networks.build import build
from models.networks.catalogue import architecture
from models.networks.network import Network, Provenance
from models.networks.signal import layout
from models.weights.assembly import assemble
from models.weights.download import OnProgress, Published, recorded_sha256
from models.weights.files import WeightsFile, glance, read
from models.weights.metadata import provenance_of
from models.weights.naming import Naming
from models.weights.publishers import (
    Publisher,
    choose_publishers,
    complete_file,
    expect,
    fetch_in_order,
    publisher_of,
    publishers,
)

STARTER = Path(__file__).parent / "starter"
SEED = 0
Source = Literal["yours", "published", "starter", "random"]
SOURCES: tuple[Source, ...] = get_args(Source)
HASH = re.compile(r"[0-9a-f]{8}")
"""How a hash begins, where weights are named by it."""
State = Literal["ready", "downloading", "available", "missing"]


@dataclass(frozen=True)
class Sources:
    """Where to look for weights."""

    weights_dir: Path
    cache_dir: Path
    offline: bool = False
    random: bool = False


@dataclass(frozen=True)
class WeightsInfo:
    """What weights a network would have, without loading them."""

    network: str
    state: State
    source: Source | None
    path: Path | None
    own: Path
    """Where a file of your own weights would win."""
    publishers: tuple[Publisher, ...] = ()
    """Who publishes weights of it, the best first."""
    offline: bool = False
    """Nothing may be fetched."""
    arriving: tuple[int, int] | None = None
    """Bytes that have arrived and are expected, while somebody fetches the published weights."""
    failure: DeconvnetError | None = None
    """Why the last fetch failed, while that is remembered."""

    @property
    def published_nbytes(self) -> int | None:
        """Return the size of the best weights that somebody has published."""
        return self.publishers[0].nbytes if self.publishers else None

    @property
    def offers(self) -> tuple[Publisher, ...]:
        """Return who would give more than what is here, where anything may be fetched."""
        if self.offline or self.source in ("yours", "random"):
            return ()
        names = [each.filename for each in self.publishers]
        here = self.path.name if self.source == "published" and self.path else None
        return self.publishers[: names.index(here)] if here in names else self.publishers

    @property
    def offered_nbytes(self) -> int | None:
        """Return the size of the best published weights that may be fetched and are not here."""
        return self.offers[0].nbytes if self.offers else None

    @property
    def nbytes(self) -> int | None:
        """Return the size of the file, or of what is published where there is none."""
        if self.source is None:
            return self.published_nbytes
        return self.path.stat().st_size if self.path else None

    @property
    def stamp(self) -> tuple[int, ...]:
        """Return the stamp of the file; empty where there is none."""
        try:
            return stamp_of(self.path) if self.path else ()
        except OSError:
            return ()


def stamp_of(path: Path) -> tuple[int, ...]:
    """Return what differs whenever another file stands in this one's place; raises OSError.

    The time of writing can be set back; the time of that change and the inode cannot.
    """
    found = path.stat()
    return found.st_size, found.st_ino, found.st_mtime_ns, found.st_ctime_ns


def find_weights(name: str, sources: Sources, weights: str | None = None) -> WeightsInfo:
    """Say which weights a network would load: those that win, or the ``weights`` asked for.

    ``weights`` are a source, or 8 hex digits. Raises UnknownNetwork, UnknownWeights, InvalidChoice.
    """
    architecture(name)
    known = (own_file(name, sources), publishers(name), sources.offline)
    if found := _choose(name, sources, weights):
        source, path = found
        return WeightsInfo(name, "ready", source, path, *known)
    may_be_fetched = publishers(name) and not sources.offline
    none = WeightsInfo(name, "available" if may_be_fetched else "missing", None, None, *known)
    winning = none if weights is None else find_weights(name, sources)
    if winning == none and weights in (None, "published"):
        return none  # the network's first use fetches them, by whatever name
    names = _names(weights_here(name, sources))
    raise UnknownWeights(network=name, weights=weights, known=names, info=winning)


def weights_here(name: str, sources: Sources) -> tuple[Provenance, ...]:
    """List all weights of a network that can be loaded, those that win first."""
    known = (_provenance(name, *found) for found in _here(name, sources))
    return tuple(provenance for provenance in known if provenance is not None)


def _choose(name: str, sources: Sources, weights: str | None) -> tuple[Source, Path | None] | None:
    """Find the weights that are asked for, or else those that win."""
    here = list(_here(name, sources))
    if weights is None:
        return here[0] if here[0][0] != "random" or sources.random else None
    if weights in SOURCES:
        return next((found for found in here if found[0] == weights), None)
    if not HASH.fullmatch(weights):
        raise InvalidChoice("unknown_source", known=SOURCES, text=weights[:40])
    hashes = ((found, _provenance(name, *found)) for found in here)
    return next((found for found, its in hashes if its and its.sha256[:8] == weights), None)


def _names(here: tuple[Provenance, ...]) -> tuple[str, ...]:
    """List by which names weights can be asked for."""
    return tuple(name for its in here for name in (its.source, its.sha256[:8]) if name)


def fetch_weights(
    name: str,
    sources: Sources,
    on_progress: OnProgress = lambda done, total: None,
    publisher: str | None = None,
) -> Path:
    """Fetch a network's published weights, from the first publisher who can give them.

    Where some are here, only who has better ones is asked; ``publisher`` names a single one.
    Raises UnknownNetwork, InvalidChoice, WeightsMissing where there are none, WeightsInvalid.
    """
    architecture(name)
    offers = publishers(name)
    if not offers:
        raise WeightsMissing("not_fetched", info=find_weights(name, sources))
    if sources.offline:
        raise WeightsMissing("offline", info=find_weights(name, sources))
    chosen = choose_publishers(offers, sources.cache_dir, publisher)
    return fetch_in_order(chosen, sources.cache_dir, on_progress)


def look_up(name: str, sources: Sources, weights: str | None = None) -> Provenance | None:
    """Say where a network's weights come from, without loading them where that can be avoided.

    None where there are none, or none that can be read; raises as ``find_weights`` does.
    """
    info = find_weights(name, sources, weights)
    return _provenance(name, info.source, info.path) if info.source else None


def _provenance(name: str, source: Source, path: Path | None) -> Provenance | None:
    if path is None:
        return _random(name)
    try:
        return _look_up(name, source, path, stamp_of(path))
    except (OSError, WeightsInvalid):
        return None


@lru_cache(64)
def _look_up(name: str, source: Source, path: Path, _: tuple[int, ...]) -> Provenance:
    paper = architecture(name)
    offer = publisher_of(name, path) if source == "published" else None
    if path.suffix == ".safetensors":
        file = glance(path)
    elif isinstance(offer, Published) and (sha256 := recorded_sha256(path)):
        naming: Naming = "pytorchcv" if offer.is_packed else "torchvision"
        file = WeightsFile(path, sha256, {}, naming, {})
    else:
        file = read(path, paper)
    return provenance_of(complete_file(file, offer, name) if offer else file, paper, source)


def load(name: str, sources: Sources, device: str = "cpu", weights: str | None = None) -> Network:
    """Load a network with its weights onto a device, ready to record and project.

    Raises WeightsMissing (its ``info`` says what could be had), WeightsInvalid, and as
    ``find_weights`` does.
    """
    info = find_weights(name, sources, weights)
    if info.source == "random":
        network = randomized(name)
    elif info.path is None:
        raise WeightsMissing("not_here", info=info)
    else:
        network = _assemble(name, info)
    where = torch.device(device)
    network.to(where).to(memory_format=layout(where))
    return network.requires_grad_(requires_grad=False)


def _assemble(name: str, info: WeightsInfo) -> Network:
    assert info.path is not None and info.source is not None
    file = read(info.path, architecture(name))
    offer = publisher_of(name, info.path) if info.source == "published" else None
    if offer is not None:
        expect(file, offer, name)
        file = complete_file(file, offer, name)
    return assemble(file, architecture(name), info.source)


def randomized(name: str) -> Network:
    """Build a network with random weights, the same each time: He et al.'s, biases zero."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        network = build(architecture(name), provenance=_random(name))
        for key, tensor in network.tensors().items():
            if tensor.dim() > 1:
                nn.init.kaiming_normal_(tensor)
            elif key.endswith("bias"):
                nn.init.zeros_(tensor)
    return network


def _random(name: str) -> Provenance:
    paper = architecture(name)
    return Provenance(
        "random", "", trained=False, preprocessing=paper.preprocessing, norm=paper.norm
    )


def _here(name: str, sources: Sources) -> Iterator[tuple[Source, Path | None]]:
    """Yield all that can be loaded, what wins first; random weights need no file."""
    if sources.random:
        yield "random", None
    yield from (found for found in _places(name, sources) if found[1].is_file())
    if not sources.random:
        yield "random", None


def _places(name: str, sources: Sources) -> Iterator[tuple[Source, Path]]:
    """Yield every file that may hold the weights, best first."""
    yield "yours", sources.weights_dir / f"{name}.safetensors"
    yield "yours", sources.weights_dir / f"{name}.pth"
    for offer in publishers(name):
        yield "published", sources.cache_dir / offer.filename
    yield "starter", STARTER / f"{name}.safetensors"


def own_file(name: str, sources: Sources) -> Path:
    """Name the file that holds your own weights of a network."""
    return sources.weights_dir / f"{name}.safetensors"
