from .device import free_memory, guard, pick_device, use_all_cores, use_one_core
from .errors import (
    DeconvnetError,
    DeviceLost,
    ExamplesError,
    ExamplesInvalid,
    InvalidChoice,
    NoExamples,
    OutOfMemory,
    UnknownLayer,
    UnknownNetwork,
    UnknownWeights,
    WeightsArriving,
    WeightsError,
    WeightsInvalid,
    WeightsMissing,
)
from .examples.build import ExamplesRequest, build_examples
from .examples.cluster import connect_to_ray, forget_main
from .examples.folder import FolderPart
from .examples.index import (
    Example,
    Index,
    IndexMeta,
    folder_of,
    index_folder,
    list_indexes,
    read_index,
    read_meta,
    source_of,
    stamp_of,
    verify_index,
)
from .examples.merging import merge_examples
from .examples.wall import (
    NINE,
    DrawnExamples,
    cut_patches,
    draw_examples,
    example_boxes,
    lay_out,
    to_wall,
)
from .experiments.booklet import Page, to_booklet
from .experiments.correspondence import (
    OBJECT,
    Correspondence,
    Part,
    check_correspondence,
    correspond,
    parse_parts,
    write_parts,
)
from .experiments.evolution import Evolution, evolution_files, evolve
from .experiments.export import ResultFormat, encode_result, result_files
from .experiments.filters import measure_filters
from .experiments.frequencies import FirstLayer
from .experiments.heatmaps import Occlusion
from .experiments.invariance import Invariance, check_invariance, measure_invariance
from .experiments.occlusion import check_occlusion, occlude
from .experiments.panels import occlusion_files
from .experiments.probe import Probe, check_probe, probe
from .experiments.requests import (
    CorrespondenceRequest,
    EvolutionRequest,
    InvarianceRequest,
    OcclusionRequest,
    ProbeRequest,
)
from .experiments.shape import METHOD, Progress, Result, Table, finish
from .experiments.vectors import trim_vectors
from .networks.architecture import Architecture, ErrorRate
from .networks.catalogue import architectures, describe_layers
from .networks.classes import class_of
from .networks.network import LayerInfo, Network, Provenance
from .networks.preprocessing import Box, Frame, FramedPhoto, Preprocessing, frame, frame_photo
from .projection.caption import caption, comparison_caption
from .projection.choice import (
    Choice,
    FigureFile,
    Fit,
    Method,
    Option,
    Rank,
    Seed,
    Show,
    check_file,
    options_of,
)
from .projection.citation import bibtex
from .projection.contribution import Contributions, Target, contributions
from .projection.export import encode_png, entry_names, to_npz, to_png_sheet, to_zip, way_suffix
from .projection.feature import Inspection, Place, draw_filter, inspect_feature
from .projection.figure import to_comparison, to_figure
from .projection.maps import (
    LayerMaps,
    RankedMaps,
    activation_maps,
    draw_map,
    draw_sheet,
    layer_maps,
    rank_maps,
    sheet_grid,
)
from .projection.record import Record, record_photo
from .projection.selected import Selected, cut_patch, select
from .projection.selection import Unit
from .projection.trial import try_device
from .projection.visualize import (
    Prediction,
    Projection,
    Reconstructed,
    Visualization,
    complete,
    draw,
    reconstruct,
    units_seeing,
    visualize,
)
from .training.config import TrainingConfig
from .training.run import train
from .weights.exports import export_weights
from .weights.imports import import_weights
from .weights.onnx import compare_onnx
from .weights.published import error_rates
from .weights.publishers import Publisher
from .weights.sources import (
    Source,
    Sources,
    State,
    WeightsInfo,
    fetch_weights,
    find_weights,
    load,
    look_up,
    weights_here,
)

__all__ = [
    "METHOD",
    "NINE",
    "OBJECT",
    "Architecture",
    "Box",
    "Choice",
    "Contributions",
    "Correspondence",
    "CorrespondenceRequest",
    "DeconvnetError",
    "DeviceLost",
    "DrawnExamples",
    "ErrorRate",
    "Evolution",
    "EvolutionRequest",
    "Example",
    "ExamplesError",
    "ExamplesInvalid",
    "ExamplesRequest",
    "FigureFile",
    "FirstLayer",
    "Fit",
    "FolderPart",
    "Frame",
    "FramedPhoto",
    "Index",
    "IndexMeta",
    "Inspection",
    "InvalidChoice",
    "Invariance",
    "InvarianceRequest",
    "LayerInfo",
    "LayerMaps",
    "Method",
    "Network",
    "NoExamples",
    "Occlusion",
    "OcclusionRequest",
    "Option",
    "OutOfMemory",
    "Page",
    "Part",
    "Place",
    "Prediction",
    "Preprocessing",
    "Probe",
    "ProbeRequest",
    "Progress",
    "Projection",
    "Provenance",
    "Publisher",
    "Rank",
    "RankedMaps",
    "Reconstructed",
    "Record",
    "Result",
    "ResultFormat",
    "Seed",
    "Selected",
    "Show",
    "Source",
    "Sources",
    "State",
    "Table",
    "Target",
    "TrainingConfig",
    "Unit",
    "UnknownLayer",
    "UnknownNetwork",
    "UnknownWeights",
    "Visualization",
    "WeightsArriving",
    "WeightsError",
    "WeightsInfo",
    "WeightsInvalid",
    "WeightsMissing",
    "activation_maps",
    "architectures",
    "bibtex",
    "build_examples",
    "caption",
    "check_correspondence",
    "check_file",
    "check_invariance",
    "check_occlusion",
    "check_probe",
    "class_of",
    "compare_onnx",
    "comparison_caption",
    "complete",
    "connect_to_ray",
    "contributions",
    "correspond",
    "cut_patch",
    "cut_patches",
    "describe_layers",
    "draw",
    "draw_examples",
    "draw_filter",
    "draw_map",
    "draw_sheet",
    "encode_png",
    "encode_result",
    "entry_names",
    "error_rates",
    "evolution_files",
    "evolve",
    "example_boxes",
    "export_weights",
    "fetch_weights",
    "find_weights",
    "finish",
    "folder_of",
    "forget_main",
    "frame",
    "frame_photo",
    "free_memory",
    "guard",
    "import_weights",
    "index_folder",
    "inspect_feature",
    "lay_out",
    "layer_maps",
    "list_indexes",
    "load",
    "look_up",
    "measure_filters",
    "measure_invariance",
    "merge_examples",
    "occlude",
    "occlusion_files",
    "options_of",
    "parse_parts",
    "pick_device",
    "probe",
    "rank_maps",
    "read_index",
    "read_meta",
    "reconstruct",
    "record_photo",
    "result_files",
    "select",
    "sheet_grid",
    "source_of",
    "stamp_of",
    "to_booklet",
    "to_comparison",
    "to_figure",
    "to_npz",
    "to_png_sheet",
    "to_wall",
    "to_zip",
    "train",
    "trim_vectors",
    "try_device",
    "units_seeing",
    "use_all_cores",
    "use_one_core",
    "verify_index",
    "visualize",
    "way_suffix",
    "weights_here",
    "write_parts",
]
