"""`deconvnet networks`."""

from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.options import open_registry
from app.cli.terminal import megabytes, print_table, say

if TYPE_CHECKING:
    from app.engine.registry import NetworkRegistry


def networks(
    name: Annotated[str | None, typer.Argument(help="Show the layers of one network.")] = None,
) -> None:
    """List the networks, or one network's layers."""
    registry = open_registry()
    if name is None:
        return _print_networks(registry)
    return _print_layers(registry, name)


def _print_networks(registry: "NetworkRegistry") -> None:
    rows = [
        (name, architecture.title, info.state, info.source or "", megabytes(info.offered_nbytes))
        for name, architecture in registry.architectures.items()
        for info in [registry.weights(name)]
    ]
    print_table(("network", "title", "weights", "source", "to fetch"), rows)
    say_ways(registry)


def say_ways(registry: "NetworkRegistry") -> None:
    """Print how to get weights."""
    fetch = (
        "DECONVNET_OFFLINE=1 forbids fetching"
        if registry.sources.offline
        else ("'deconvnet weights fetch NETWORK' brings what is to fetch")
    )
    say(f"\n{fetch}; your own weights go into {registry.sources.weights_dir}")
    say("('deconvnet weights import FILE --network NETWORK' checks them and puts them there).")


def _print_layers(registry: "NetworkRegistry", name: str) -> None:
    import models

    ready = registry.weights(name).state == "ready"
    layers = registry.load(name).describe() if ready else models.describe_layers(name)
    rows = [
        (
            layer.name,
            layer.kind,
            " x ".join(map(str, layer.shape)),
            str(layer.receptive_field),
            str(layer.stride),
            f"{layer.parameters:,}",
            f"{layer.multiply_adds:,}",
        )
        for layer in layers
    ]
    header = ("layer", "kind", "maps x height x width", "sees pixels", "stride", "parameters")
    print_table((*header, "multiply-adds"), rows)
