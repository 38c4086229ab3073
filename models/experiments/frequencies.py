"""What the first layer's filters were found to be: numbers, a table, a figure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models import render
from models.experiments.shape import Table
from models.networks.network import Provenance

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BANDS = (0.0, 1 / 8, 1 / 4, 1 / 2)
"""Where the bands begin and end, in cycles a pixel: coarse, middle, fine."""
WEAKEST = 0.1
"""A filter is drawn on its own scale, but none finer than this share of the layer's largest."""
SIDE = 44
"""Side of a drawn filter, in pixels, about."""
GAP = 2

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Reading:
    """What the second layer reads through the first: the ``aliased`` share of each filter (M,)."""

    aliased: Floats = field(repr=False)


@dataclass(frozen=True)
class FirstLayer:
    """The N filters of a first layer, red first, and the waves that they respond to.

    ``spectra`` are the filters' energies over frequencies from -1/2 to 1/2 cycles a pixel, and
    ``bands`` their shares in ``BANDS``; ``bands_on_photos`` and ``aliased`` are those of what the
    filters make of photos, whose waves are weaker the finer they are. ``aliased`` holds for each
    stride the share in waves too fast for it, ``second`` the same of the second layer at the
    network's own stride, or None where that is 1.
    """

    network: str
    layer: str
    stride: int
    filters: Floats = field(repr=False)  # (N, 3, k, k)
    rms: Floats = field(repr=False)  # (N,)
    dead: NDArray[np.bool_] = field(repr=False)  # (N,)
    spectra: Floats = field(repr=False)  # (N, F, F)
    bands: Floats = field(repr=False)  # (N, B)
    bands_on_photos: Floats = field(repr=False)  # (N, B)
    aliased: Mapping[int, Floats] = field(repr=False)  # stride: (N,)
    second: Reading | None
    provenance: Provenance

    @property
    def living(self) -> NDArray[np.bool_]:
        """Tell which filters are not dead."""
        return ~self.dead

    @property
    def median_rms(self) -> float:
        """Return the root mean square of the filter in the middle of those that are not zero."""
        return middle_of(self.rms)

    @property
    def nbytes(self) -> int:
        """Count the bytes of the numbers."""
        return self.spectra.nbytes + sum(each.nbytes for each in self.numbers.values())

    @property
    def mostly(self) -> tuple[int, ...]:
        """Count the living filters that have most of their energy in each band."""
        largest = self.bands[self.living].argmax(1)
        return tuple(int((largest == band).sum()) for band in range(len(BANDS) - 1))

    @property
    def numbers(self) -> Mapping[str, NDArray[np.generic]]:
        """Return the filters and what was measured of them, as arrays."""
        numbers: dict[str, NDArray[np.generic]] = {
            "filters": self.filters,
            "rms": self.rms,
            "dead": self.dead,
            "bands": self.bands,
            "bands_on_photos": self.bands_on_photos,
        }
        numbers |= {f"aliased_by_{stride}": each for stride, each in self.aliased.items()}
        return numbers | ({"second_aliased": self.second.aliased} if self.second else {})

    @property
    def facts(self) -> Mapping[str, Any]:
        """Return the layer and where its bands begin and end."""
        return {
            "experiment": "filters",
            "network": self.network,
            "layer": self.layer,
            "stride": self.stride,
            "band_edges": list(BANDS),
        }

    @property
    def table(self) -> Table:
        """Return a row for each filter."""
        columns = ["filter", "rms", "dead", "coarse", "middle", "fine"]
        columns += [f"aliased_by_{stride}" for stride in self.aliased]
        found = [self.rms, self.dead, *self.bands.T, *self.aliased.values()]
        rows = zip(range(len(self.rms)), *(each.tolist() for each in found), strict=True)
        return Table(columns, rows)

    def share(self, band: int, *, on_photos: bool = False) -> float:
        """Return the mean share of a band over the filters that are not dead."""
        bands = self.bands_on_photos if on_photos else self.bands
        return _mean(bands[self.living, band])

    def aliased_by(self, stride: int) -> float:
        """Return the mean share that a stride aliases, over the filters that are not dead."""
        return _mean(self.aliased[stride][self.living])

    @property
    def order(self) -> NDArray[np.int64]:
        """Return the filters from the coarsest to the finest, the dead ones last."""
        fineness = self.bands @ np.arange(self.bands.shape[1]) + 10.0 * self.dead
        return np.argsort(fineness, kind="stable")

    def draw(self, figure: Figure) -> None:
        """Draw filters and spectra side by side."""
        figure.set_size_inches(8, 4.4)
        pictures = (self.picture(), self.picture_of_spectra())
        names = (f"{self.network} {self.layer}", "their spectra, -1/2 to 1/2 cycles a pixel")
        for axes, picture, name in zip(figure.subplots(1, 2), pictures, names, strict=True):
            axes.imshow(picture)
            axes.set_title(name, loc="left")
            axes.set_axis_off()

    def picture(self) -> Image.Image:
        """Draw the filters as a grid: zero is mid-grey, each on its own scale within bounds."""
        scales = np.array([render.scale_of(each) for each in self.filters])
        scales = np.maximum(scales, WEAKEST * scales.max())
        pairs = zip(self.filters[self.order], scales[self.order], strict=True)
        return _grid([render.picture(values, float(scale)) for values, scale in pairs])

    def picture_of_spectra(self) -> Image.Image:
        """Draw the amplitudes of the spectra as a grid: still at the middle, white is the most."""
        amplitudes = np.sqrt(self.spectra[self.order])
        most = np.maximum(amplitudes.max((1, 2)), WEAKEST * amplitudes.max())
        levels = np.rint(255 * amplitudes / most[:, None, None]).astype(np.uint8)
        return _grid([Image.fromarray(each).convert("RGB") for each in levels])


def _grid(pictures: list[Image.Image]) -> Image.Image:
    """Paste pictures of one size in rows, enlarged by whole pixels."""
    columns = 12 if len(pictures) > 64 else 8
    side = pictures[0].width * max(1, round(SIDE / pictures[0].width))
    step = side + GAP
    rows = -(-len(pictures) // columns)
    canvas = Image.new("RGB", (columns * step - GAP, rows * step - GAP), (128, 128, 128))
    for number, each in enumerate(pictures):
        row, column = divmod(number, columns)
        scaled = each.resize((side, side), Image.Resampling.NEAREST)
        canvas.paste(scaled, (column * step, row * step))
    return canvas


def middle_of(rms: Floats) -> float:
    """Return the median of what is not zero; 0 where all is."""
    return float(np.median(rms[rms > 0])) if rms.any() else 0.0


def _mean(values: Floats) -> float:
    return float(values.mean()) if len(values) else 0.0
