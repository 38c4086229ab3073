"""The door of the science: what app, scripts and notebooks may use."""

from collections.abc import Mapping

from models.device import pick_device, use_all_cores, use_one_core
from models.errors import (
    DeconvnetError,
    InvalidChoice,
    OutOfMemory,
    UnknownLayer,
    UnknownNetwork,
    UnreadablePicture,
    WeightsArriving,
    WeightsError,
    WeightsInvalid,
    WeightsMissing,
)
from models.networks.architecture import Architecture
from models.networks.catalogue import ARCHITECTURES, describe_layers
from models.networks.network import LayerInfo, Network, Provenance
from models.networks.preprocessing import (
    FITS,
    Box,
    Frame,
    FramedPhoto,
    Preprocessing,
    frame,
    frame_photo,
)
from models.projection.choice import METHODS, SEEDS, Choice
from models.projection.export import encode_png, entry_names, to_npz, to_png_sheet, to_zip
from models.projection.record import Record, record_photo
from models.projection.selection import Unit
from models.projection.visualize import (
    Prediction,
    Projection,
    Reconstructed,
    Visualization,
    activation_maps,
    draw,
    draw_overlays,
    reconstruct,
    units_seeing,
    visualize,
)
from models.training.config import TrainingConfig
from models.training.run import train
from models.weights.imports import import_weights
from models.weights.sources import Sources, WeightsInfo, fetch_weights, find_weights, load, look_up


def architectures() -> Mapping[str, Architecture]:
    """Return every network's description by name, in the order of history."""
    return ARCHITECTURES


__all__ = [
    "FITS",
    "METHODS",
    "SEEDS",
    "Architecture",
    "Box",
    "Choice",
    "DeconvnetError",
    "Frame",
    "FramedPhoto",
    "InvalidChoice",
    "LayerInfo",
    "Network",
    "OutOfMemory",
    "Prediction",
    "Preprocessing",
    "Projection",
    "Provenance",
    "Reconstructed",
    "Record",
    "Sources",
    "TrainingConfig",
    "Unit",
    "UnknownLayer",
    "UnknownNetwork",
    "UnreadablePicture",
    "Visualization",
    "WeightsArriving",
    "WeightsError",
    "WeightsInfo",
    "WeightsInvalid",
    "WeightsMissing",
    "activation_maps",
    "architectures",
    "describe_layers",
    "draw",
    "draw_overlays",
    "encode_png",
    "entry_names",
    "fetch_weights",
    "find_weights",
    "frame",
    "frame_photo",
    "import_weights",
    "load",
    "look_up",
    "pick_device",
    "reconstruct",
    "record_photo",
    "to_npz",
    "to_png_sheet",
    "to_zip",
    "train",
    "units_seeing",
    "use_all_cores",
    "use_one_core",
    "visualize",
]
