"""Weights given back: one file that holds them with all that is known of them."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError

from models.errors import InvalidChoice, WeightsInvalid
from models.networks.network import Provenance
from models.weights.files import write
from models.weights.metadata import describe
from models.weights.sources import Sources, load


def export_weights(
    name: str, file: Path, sources: Sources, weights: str | None = None, *, overwrite: bool = False
) -> Provenance:
    """Write a network's weights, with their metadata, to a ``.safetensors`` file; return whose.

    Imported again, it is the same network. Raises InvalidChoice for a file of another ending or
    one that is there already, WeightsInvalid where it cannot be written, and as ``load`` does.
    """
    if file.suffix != ".safetensors":
        raise InvalidChoice("no_safetensors_name", file=file.name)
    if file.exists() and not overwrite:
        raise InvalidChoice("file_exists", file=str(file))
    network = load(name, sources, weights=weights)
    tensors = {key: tensor.contiguous() for key, tensor in network.tensors().items()}
    try:
        write(file, tensors, describe(network.provenance, network.classes))
    except (OSError, SafetensorError) as error:
        raise WeightsInvalid("cannot_be_written", file=str(file), cause=error) from error
    return network.provenance
