"""Your own weights: a file of any known format, checked and kept as a network's own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from safetensors import SafetensorError

from models.errors import WeightsInvalid
from models.networks.catalogue import architecture, describe_layers
from models.networks.network import Provenance
from models.weights.assembly import assemble
from models.weights.download import unpack
from models.weights.files import glance, read, write
from models.weights.metadata import describe, provenance_of
from models.weights.presets import choose_preprocessing
from models.weights.sources import Sources, own_file

ARCHIVES = {".zip": ".pth", ".keras": "model.weights.h5"}
"""How the one file that is read of an archive ends; nothing else in it is opened."""


def import_weights(
    file: Path,
    name: str,
    sources: Sources,
    labels: Path | None = None,
    preprocessing: str | None = None,
) -> Provenance:
    """Check a file of any known format and keep it as a network's own weights.

    ``labels`` has one class on each line; ``preprocessing`` is a preset's name or a JSON file, in
    place of what the file says or its format implies. Nothing changes, and nothing in the file is
    run, unless all of it is well: raises UnknownNetwork, WeightsInvalid, InvalidChoice.
    """
    paper = architecture(name)
    with TemporaryDirectory(prefix="deconvnet-") as folder:
        found = read(_unpacked(file, name, Path(folder)), paper)
    metadata = {"source": f"imported from {file.name}", **found.metadata}
    if labels is not None:
        metadata["classes"] = _read_labels(labels)
    if preprocessing is not None:
        metadata["preprocessing"] = choose_preprocessing(preprocessing, paper)
    found = replace(found, path=file, metadata=metadata)
    network = assemble(found, paper, "yours")
    described = describe(network.provenance, network.classes)
    try:
        sources.weights_dir.mkdir(parents=True, exist_ok=True)
        write(own_file(name, sources), found.tensors, described)
    except (OSError, SafetensorError) as error:
        target = str(own_file(name, sources))
        raise WeightsInvalid("cannot_be_written", file=target, cause=error) from error
    return provenance_of(glance(own_file(name, sources)), paper, "yours")


def _unpacked(file: Path, name: str, folder: Path) -> Path:
    """Return the file itself, or what an archive such as pytorchcv's or Keras' holds."""
    if file.suffix not in ARCHIVES:
        return file
    inside = folder / (file.stem if file.suffix == ".zip" else file.name)
    try:
        unpack(
            file,
            inside,
            ARCHIVES[file.suffix],
            8 * sum(layer.parameters for layer in describe_layers(name)) + 2**20,
        )
    except OSError as error:
        raise WeightsInvalid("cannot_be_read", file=file.name, cause=error) from error
    return inside


def _read_labels(file: Path) -> list[str]:
    try:
        lines = file.read_text(encoding="utf-8-sig").strip().splitlines()
    except (OSError, UnicodeError) as error:
        raise WeightsInvalid("labels_are_no_text", file=file.name, cause=error) from error
    labels = [line.strip() for line in lines] or [""]
    if "" in labels:
        raise WeightsInvalid("empty_label", file=file.name, line=labels.index("") + 1)
    return labels
