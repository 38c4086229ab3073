from .device import pick_device, use_all_cores, use_one_core
from .errors import (
    DeconvnetError,
    InvalidChoice,
    OutOfMemory,
    UnknownLayer,
    UnknownNetwork,
    WeightsArriving,
    WeightsError,
    WeightsInvalid,
    WeightsMissing,
)
from .networks.architecture import Architecture
from .networks.catalogue import architectures, describe_layers
from .networks.network import LayerInfo, Network, Provenance
from .networks.preprocessing import (
    Box,
    Frame,
    FramedPhoto,
    Preprocessing,
    frame,
    frame_photo,
)
from .projection.choice import Choice, Fit, Method, Option, Seed, options_of
from .projection.export import encode_png, entry_names, to_npz, to_png_sheet, to_zip
from .projection.record import Record, record_photo
from .projection.selection import Unit
from .projection.visualize import (
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
from .training.config import TrainingConfig
from .training.run import train
from .weights.imports import import_weights
from .weights.sources import (
    Source,
    Sources,
    State,
    WeightsInfo,
    fetch_weights,
    find_weights,
    load,
    look_up,
)

__all__ = [
    "Architecture",
    "Box",
    "Choice",
    "DeconvnetError",
    "Fit",
    "Frame",
    "FramedPhoto",
    "InvalidChoice",
    "LayerInfo",
    "Method",
    "Network",
    "Option",
    "OutOfMemory",
    "Prediction",
    "Preprocessing",
    "Projection",
    "Provenance",
    "Reconstructed",
    "Record",
    "Seed",
    "Source",
    "Sources",
    "State",
    "TrainingConfig",
    "Unit",
    "UnknownLayer",
    "UnknownNetwork",
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
    "options_of",
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
