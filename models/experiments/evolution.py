"""Evolution (Zeiler & Fergus 2013, 4.1, Fig. 4): how features come to be during training.

From the weights that a run kept at some epochs: for each chosen feature map and epoch, its
strongest activation over the photos, projected to pixels.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from models import render
from models.errors import InvalidChoice
from models.experiments.export import result_files
from models.experiments.features import read_pixels
from models.experiments.requests import EvolutionRequest
from models.experiments.shape import Progress, Table
from models.networks.architecture import Architecture
from models.networks.catalogue import architecture
from models.networks.network import Network, Provenance
from models.networks.preprocessing import Box
from models.projection.export import encode_png
from models.projection.record import record
from models.projection.selection import Unit
from models.projection.visualize import check_features
from models.projection.walk import Reconstruction, project
from models.training.checkpoint import name_of
from models.training.photos import open_folders
from models.weights.assembly import assemble
from models.weights.files import read

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BATCH = 8
"""So many photos go forward together: few, since nobody else has the device meanwhile."""
FOLLOWED = 6
"""How many maps are followed where none are named: the paper shows six a layer."""
SNAPSHOT = re.compile(r"epoch-(\d+)\.safetensors")


@dataclass(frozen=True)
class Moment:
    """One map at one epoch: where it fired most, and the projection of that, if it fired."""

    activation: float
    photo: int
    unit: tuple[int, int]
    box: Box
    picture: Image.Image | None


@dataclass(frozen=True)
class Evolution:
    """F feature maps of a layer at E epochs: ``moments`` has a row for each map."""

    network: str
    layer: str
    epochs: tuple[int, ...]
    features: tuple[int, ...]
    moments: tuple[tuple[Moment, ...], ...] = field(repr=False)
    photos: tuple[str, ...] = field(repr=False)
    provenance: Provenance

    @property
    def numbers(self) -> Mapping[str, NDArray[np.generic]]:
        """Return epochs, features, and of each (F, E) activation, photo, unit and its box."""
        return {
            "epochs": np.array(self.epochs, np.int64),
            "features": np.array(self.features, np.int64),
            "activation": np.array([[m.activation for m in r] for r in self.moments], np.float32),
            "photo": np.array([[m.photo for m in row] for row in self.moments], np.int64),
            "unit": np.array([[m.unit for m in row] for row in self.moments], np.int64),
            "receptive_field": np.array([[m.box for m in r] for r in self.moments], np.int64),
        }

    @property
    def facts(self) -> Mapping[str, Any]:
        """Name the layer, and the photos."""
        names = [[self.photos[each.photo] for each in row] for row in self.moments]
        return {
            "experiment": "evolution",
            "network": self.network,
            "layer": self.layer,
            "photos": len(self.photos),
            "photo_name": names,
            "silent": [[each.picture is None for each in row] for row in self.moments],
        }

    @property
    def table(self) -> Table:
        """Return a row for each map and epoch; where a map fired nowhere, no place."""
        columns = ("feature", "epoch", "activation", "photo", "y", "x")
        rows = [
            (feature, epoch, m.activation, *self._place(m))
            for feature, row in zip(self.features, self.moments, strict=True)
            for epoch, m in zip(self.epochs, row, strict=True)
        ]
        return Table(columns, rows)

    def _place(self, moment: Moment) -> tuple[object, ...]:
        if moment.picture is None:
            return "", "", ""
        return self.photos[moment.photo], *moment.unit

    def draw(self, figure: Figure) -> None:
        """Draw a strip for each map: its projections from the first epoch to the last."""
        height, width = len(self.features), len(self.epochs)
        figure.set_size_inches(1.1 * width + 0.6, 1.1 * height + 0.4)
        grid = figure.subplots(height, width, squeeze=False)
        for feature, row, strip in zip(self.features, self.moments, grid, strict=True):
            strip[0].set_ylabel(f"map {feature}", fontsize=7)
            for moment, axes in zip(row, strip, strict=True):
                axes.set(xticks=(), yticks=(), facecolor="0.93")
                axes.spines[:].set_visible(False)
                if moment.picture is None:
                    axes.text(0.5, 0.5, "silent", ha="center", transform=axes.transAxes)
                else:
                    axes.imshow(moment.picture)
        for epoch, axes in zip(self.epochs, grid[0], strict=True):
            axes.set_title(f"epoch {epoch}", fontsize=7)


def evolution_files(found: Evolution) -> dict[str, bytes]:
    """Write an evolution in every format, and its projections as PNGs by map and epoch."""
    pictures = {
        f"{feature}-{epoch}.png": encode_png(moment.picture)
        for feature, row in zip(found.features, found.moments, strict=True)
        for epoch, moment in zip(found.epochs, row, strict=True)
        if moment.picture is not None
    }
    return result_files(found) | pictures


def snapshots_of(run: Path) -> dict[int, Path]:
    """Find the weights that a training run kept, by epoch; raise InvalidChoice for none."""
    files = run.glob("epoch-*.safetensors")
    named = [(found, file) for file in files if (found := SNAPSHOT.fullmatch(file.name))]
    if not named:
        raise InvalidChoice("no_snapshots", folder=str(run))
    return dict(sorted((int(found[1]), file) for found, file in named))


def evolve(
    run: Path, data: Path, request: EvolutionRequest, device: str = "cpu"
) -> Iterator[Progress | Evolution]:
    """Follow feature maps through the epochs that a training run kept, over its photos.

    ``data`` holds a folder for each class, or ``train`` that does. Raises UnknownLayer,
    InvalidChoice and WeightsInvalid at once, before anything is computed.
    """
    snapshots, paper = snapshots_of(run), architecture(name_of(run))
    if request.photos < 1:
        raise InvalidChoice("too_few_photos", least=1, sent=request.photos)
    last = _load(list(snapshots.values())[-1], paper, device)
    layer = request.layer or last.last_conv
    size = last.path(layer, last.input_size)[-1][1][-1]
    check_features(layer, request.features or (), size.channels)
    photos = _some(data, request.photos)
    return _evolve(snapshots, paper, device, data, photos, layer, request.features)


def _load(file: Path, paper: Architecture, device: str) -> Network:
    network = assemble(read(file, paper), paper, "yours").to(device)
    return network.requires_grad_(requires_grad=False)


def _some(data: Path, most: int) -> list[Path]:
    """Return at most so many photos of the training folder, evenly from all of it."""
    files = [Path(file) for file, _ in open_folders(data)[0].samples]
    places = np.linspace(0, len(files) - 1, min(most, len(files))).round().astype(int)
    return [files[place] for place in places]


def _evolve(
    snapshots: Mapping[int, Path],
    paper: Architecture,
    device: str,
    data: Path,
    photos: Sequence[Path],
    layer: str,
    features: tuple[int, ...] | None,
) -> Iterator[Progress | Evolution]:
    batches = -(-len(photos) // BATCH)
    done, total = 0, len(snapshots) * batches
    columns: dict[int, list[Moment]] = {}
    for epoch in sorted(snapshots, reverse=True):  # the last epoch's strongest are followed
        network = _load(snapshots[epoch], paper, device)
        peaks = _Peaks(network, layer)
        for start in range(0, len(photos), BATCH):
            yield Progress(done, total, f"epoch {epoch}")
            peaks.see(read_pixels(photos[start : start + BATCH], network.preprocessing), start)
            done += 1
        features = features or peaks.strongest(FOLLOWED)
        columns[epoch] = [_moment(peaks.of(each), network, layer, photos) for each in features]
    assert features is not None
    rows = zip(*(columns[epoch] for epoch in snapshots), strict=True)
    names = tuple(photo.relative_to(data).as_posix() for photo in photos)
    last = _load(snapshots[max(snapshots)], paper, device).provenance
    yield Evolution(paper.name, layer, tuple(snapshots), features, tuple(rows), names, last)


class _Peaks:
    """Each map's strongest unit over the photos seen so far; ties go to the first."""

    def __init__(self, network: Network, layer: str) -> None:
        self.network, self.layer = network, layer
        self.values: NDArray[np.float32] | None = None

    def see(self, pixels: torch.Tensor, start: int) -> None:
        """Look at photos whose numbers begin at ``start``."""
        maxima = record(self.network, pixels, until=self.layer).maxima[self.layer]
        values, rows, columns = (
            each.float().cpu().numpy() for each in (maxima.values, maxima.rows, maxima.columns)
        )
        best, maps = values.argmax(0), np.arange(values.shape[1])
        found = np.stack([best + start, rows[best, maps], columns[best, maps]], 1).astype(int)
        strongest = values[best, maps]
        if self.values is None:
            self.values, self.places = strongest, found
            return
        higher = strongest > self.values
        self.values = np.where(higher, strongest, self.values)
        self.places = np.where(higher[:, None], found, self.places)

    def strongest(self, count: int) -> tuple[int, ...]:
        """Return the maps with the largest activation, ties by lower number."""
        assert self.values is not None, "photos were seen"
        return tuple(np.argsort(-self.values, kind="stable")[:count].tolist())

    def of(self, feature: int) -> Unit:
        """Return a map's strongest unit; its image is the photo's number."""
        assert self.values is not None, "photos were seen"
        photo, y, x = self.places[feature].tolist()
        return Unit(feature, y, x, float(self.values[feature]), photo)


def _moment(unit: Unit, network: Network, layer: str, photos: Sequence[Path]) -> Moment:
    """Project a map's strongest unit from the photo where it fired."""
    seen = record(network, read_pixels([photos[unit.image]], network.preprocessing), until=layer)
    (found,) = project(seen, layer, [unit._replace(image=0)])
    picture = _draw(found, network.preprocessing.channel_order)
    return Moment(unit.activation, unit.image, (unit.y, unit.x), found.box, picture)


def _draw(found: Reconstruction, order: str) -> Image.Image | None:
    scale = render.scale_of(found.values)
    return render.picture(found.values, scale, order) if scale else None
