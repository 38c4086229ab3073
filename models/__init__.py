"""The door of the science: what app, scripts and notebooks may use."""

from collections.abc import Mapping

from .catalogue import ARCHITECTURES, outline
from .deconvnet import Record, Unit
from .device import pick_device, use_all_cores, use_one_core
from .errors import (
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
from .export import encode_png, entry_names, to_npz, to_png_sheet, to_zip
from .network import Architecture, LayerInfo, Network, Provenance
from .preprocessing import FITS, Box, Frame, Preprocessing, frame
from .training import Plan, train
from .visualize import (
    METHODS,
    SEEDS,
    Choice,
    Prediction,
    Projection,
    Visualization,
    activation_pictures,
    record,
    units_seeing,
    visualize,
)
from .weights import (
    Sources,
    WeightsInfo,
    fetch_weights,
    find_weights,
    import_weights,
    load,
    look_up,
)


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
    "InvalidChoice",
    "LayerInfo",
    "Network",
    "OutOfMemory",
    "Plan",
    "Prediction",
    "Preprocessing",
    "Projection",
    "Provenance",
    "Record",
    "Sources",
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
    "activation_pictures",
    "architectures",
    "encode_png",
    "entry_names",
    "fetch_weights",
    "find_weights",
    "frame",
    "import_weights",
    "load",
    "look_up",
    "outline",
    "pick_device",
    "record",
    "to_npz",
    "to_png_sheet",
    "to_zip",
    "train",
    "units_seeing",
    "use_all_cores",
    "use_one_core",
    "visualize",
]
