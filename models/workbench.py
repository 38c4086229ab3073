"""The second door, for those who work with tensors: benchmarks, recipes, notebooks.

``models`` itself hands out no tensor; what does, and the parts that networks are made of, is here.
"""

from models.disk import replace_file
from models.examples.folder import list_photos
from models.examples.looking import batch_of
from models.examples.reading import Reader
from models.networks.architecture import Normalization
from models.networks.build import build
from models.networks.catalogue import architecture, build_on_meta
from models.networks.network import Layer, Network
from models.networks.preprocessing import Preprocessing, framed, to_pixels
from models.networks.signal import Size, Span
from models.networks.steps import (
    AdaptiveAveragePool,
    AveragePool,
    Convolution,
    Flatten,
    Linear,
    LocalResponseNorm,
    MaxPool,
    ReLU,
)
from models.projection.record import Record, activations, record
from models.projection.selection import Unit, peaks, strongest
from models.projection.walk import Reconstruction, project, project_maps
from models.training.checkpoint import repeat, write_weights
from models.weights.assembly import assemble, fill
from models.weights.files import read, write

__all__ = [
    "AdaptiveAveragePool",
    "AveragePool",
    "Convolution",
    "Flatten",
    "Layer",
    "Linear",
    "LocalResponseNorm",
    "MaxPool",
    "Network",
    "Normalization",
    "Preprocessing",
    "ReLU",
    "Reader",
    "Reconstruction",
    "Record",
    "Size",
    "Span",
    "Unit",
    "activations",
    "architecture",
    "assemble",
    "batch_of",
    "build",
    "build_on_meta",
    "fill",
    "framed",
    "list_photos",
    "peaks",
    "project",
    "project_maps",
    "read",
    "record",
    "repeat",
    "replace_file",
    "strongest",
    "to_pixels",
    "write",
    "write_weights",
]
