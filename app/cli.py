"""The command line: `deconvnet serve`, `visualize`, `networks`, `weights`, `train`."""

import contextlib
import os
import sys
from collections.abc import Iterable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    import models
    from app.offer import Offer
    from app.settings import Settings

# torch takes seconds to import, so every command imports what it needs when it runs.

cli = typer.Typer(
    help="See what each layer of AlexNet, ZFNet or a VGG saw in a photo.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
weights_cli = typer.Typer(help="See, check and bring weights.", no_args_is_help=True)
cli.add_typer(weights_cli, name="weights")

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif"}
DEFAULT_SUFFIX = ".png"
FAILED = 1
INTERRUPTED = 130


class Method(StrEnum):
    """How ReLUs are undone."""

    deconvnet = "deconvnet"
    guided = "guided"
    gradient = "gradient"


class Seed(StrEnum):
    """What is projected."""

    unit = "unit"
    map = "map"


class Fit(StrEnum):
    """How the photo meets the network's square."""

    crop = "crop"
    pad = "pad"
    stretch = "stretch"


Device = Annotated[
    str | None, typer.Option(help="auto, cpu, cuda or cuda:N.", show_default="DECONVNET_DEVICE")
]
Random = Annotated[bool, typer.Option("--random-weights", help="Use random weights, and say so.")]


def main() -> None:
    """Run the command line; failures are sentences, never tracebacks."""
    try:
        cli()
    except Exception as error:
        sentence = _sentence(error)
        if sentence is None:
            raise
        _complain(sentence)
        sys.exit(FAILED)


@cli.command()
def serve(
    host: Annotated[
        str | None, typer.Option(help="Address to listen on.", show_default="127.0.0.1")
    ] = None,
    port: Annotated[int | None, typer.Option(help="Port.", show_default="8000")] = None,
    device: Device = None,
    random_weights: Random = False,
) -> None:
    """Serve the explorer and the API."""
    settings = _settings(host=host, port=port, device=device, random_weights=random_weights or None)
    from app.main import serve as serve_with

    serve_with(settings)


@cli.command()
def visualize(
    images: Annotated[list[Path], typer.Argument(help="Photos, or folders of photos.")],
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            help="A .png, .npz, .zip or .json file; for several photos a folder, or a name "
            "with {name} in it.",
        ),
    ],
    network: Annotated[
        str | None, typer.Option(help="See 'deconvnet networks'.", show_default="first ready one")
    ] = None,
    layer: Annotated[str | None, typer.Option(help="", show_default="last conv layer")] = None,
    method: Annotated[Method, typer.Option(help="How ReLUs are undone.")] = Method.deconvnet,
    seed: Annotated[Seed, typer.Option(help="One activation, or a whole map.")] = Seed.unit,
    top: Annotated[
        int | None, typer.Option(help="How many of the strongest maps.", show_default="9")
    ] = None,
    features: Annotated[
        str | None, typer.Option(help="Instead of --top: map numbers such as 3,17,200.")
    ] = None,
    unit: Annotated[
        str | None, typer.Option(help="Row,column for every map.", show_default="strongest")
    ] = None,
    fit: Annotated[Fit, typer.Option(help="How the photo meets the square.")] = Fit.crop,
    device: Device = None,
    random_weights: Random = False,
) -> None:
    """Project what the strongest feature maps of a layer saw in photos."""
    settings = _settings(device=device, random_weights=random_weights or None)
    jobs = list(_plan(images, output))
    import models
    from app.api import parse_features, parse_unit
    from app.offer import Offer

    choice = models.Choice(
        layer=layer,
        method=method.value,
        seed=seed.value,
        top=top,
        features=parse_features(features),
        unit=parse_unit(unit),
        fit=fit.value,
        limit=settings.max_projections,
    )
    offer = Offer(settings)
    name = network or offer.default()
    if offer.weights(name).state == "available" and not _fetch(offer, name):
        raise typer.Exit(FAILED)
    loaded = offer.load(name)
    done = [_try(settings, loaded, choice, job) for job in _progress(jobs, "Projecting")]
    if not all(done):
        raise typer.Exit(FAILED)


def _try(
    settings: "Settings", network: "models.Network", choice: "models.Choice", job: tuple[Path, Path]
) -> bool:
    try:
        _visualize(settings, network, choice, *job)
    except Exception as error:
        sentence = _sentence(error)
        if sentence is None:
            raise
        _complain(f"{job[0]}: {sentence}")
        return False
    return True


def _visualize(
    settings: "Settings",
    network: "models.Network",
    choice: "models.Choice",
    image: Path,
    output: Path,
) -> None:
    import hashlib

    from PIL import Image

    import models
    from app import answers
    from app.decoding import decode
    from app.uploads import Photo, limits_of, write_atomically

    data = image.read_bytes()
    pixels = decode(data, limits_of(settings))
    picture = Image.frombytes("RGB", (pixels.width, pixels.height), pixels.data)
    photo = Photo("", hashlib.sha256(data).hexdigest(), pixels.format, picture)
    view = models.visualize(network, picture, choice)
    kind = next(kind for kind, name in answers.KINDS.items() if f".{name}" == output.suffix)
    content = answers.encode(view, photo, kind)
    output.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(output, content)


def _plan(images: list[Path], output: Path) -> Iterator[tuple[Path, Path]]:
    """Pair each photo with the file it becomes; of many, those that are there are done."""
    if len(images) == 1 and images[0].is_file() and not output.is_dir() and output.suffix:
        yield images[0], _checked(output)
        return
    for image in images:
        inside = sorted(_photos(image)) if image.is_dir() else [image]
        if not inside:
            raise typer.BadParameter(f"the folder {image} holds no photos")
        for photo in inside:
            place = photo.relative_to(image) if image.is_dir() else Path(photo.name)
            target = _target(output, place)
            if not target.exists():
                yield photo, target


def _photos(folder: Path) -> Iterator[Path]:
    return (file for file in folder.rglob("*") if file.suffix.lower() in SUFFIXES)


def _target(output: Path, place: Path) -> Path:
    if "{name}" in output.name:
        return _checked(output.with_name(output.name.replace("{name}", place.stem)))
    if output.suffix:
        raise typer.BadParameter(
            f"for several photos {output} must be a folder, or hold {{name}}: "
            f"{output.with_stem(output.stem + '-{name}')}"
        )
    return output / place.with_suffix(DEFAULT_SUFFIX)


def _checked(output: Path) -> Path:
    if output.suffix not in {".png", ".npz", ".zip", ".json"}:
        raise typer.BadParameter(f"{output} must end in .png, .npz, .zip or .json")
    return output


@cli.command()
def networks(
    name: Annotated[str | None, typer.Argument(help="Show the layers of one network.")] = None,
) -> None:
    """List the networks, or one network's layers."""
    offer = _offer()
    if name is None:
        return _print_networks(offer)
    return _print_layers(offer, name)


def _print_networks(offer: "Offer") -> None:
    rows = [
        (name, architecture.title, info.state, info.source or "", _megabytes(info.offered_nbytes))
        for name, architecture in offer.architectures.items()
        for info in [offer.weights(name)]
    ]
    _print_table(("network", "title", "weights", "source", "to fetch"), rows)
    _say_ways(offer)


def _say_ways(offer: "Offer") -> None:
    fetch = (
        "DECONVNET_OFFLINE=1 forbids fetching"
        if offer.sources.offline
        else ("'deconvnet weights fetch NETWORK' brings what is to fetch")
    )
    _say(f"\n{fetch}; your own weights go into {offer.sources.weights_dir}")
    _say("('deconvnet weights import FILE --network NETWORK' checks them and puts them there).")


def _print_layers(offer: "Offer", name: str) -> None:
    import models

    ready = offer.weights(name).state == "ready"
    layers = offer.load(name).describe() if ready else models.outline(name)
    rows = [
        (
            layer.name,
            layer.kind,
            " x ".join(map(str, layer.shape)),
            str(layer.receptive_field),
            str(layer.stride),
            f"{layer.parameters:,}",
        )
        for layer in layers
    ]
    header = ("layer", "kind", "maps x height x width", "sees pixels", "stride", "parameters")
    _print_table(header, rows)


@weights_cli.command("list")
def list_weights() -> None:
    """List which weights each network has, or could have."""
    offer = _offer()
    header = ("network", "weights", "source", "size", "classes", "licence", "sha256", "to fetch")
    _print_table(header, [_weights_row(offer, name) for name in offer.architectures])
    _say_ways(offer)


def _weights_row(offer: "Offer", name: str) -> tuple[str, ...]:
    info, known = offer.weights(name), offer.provenance(name)
    found: tuple[object, ...] = (None,) * 3
    if known is not None:
        found = (known.classes, known.licence, known.sha256[:12])
    size = _megabytes(info.nbytes) if info.path else None
    cells = (info.source, size, *found, _megabytes(info.offered_nbytes))
    return name, info.state, *(str(each or "") for each in cells)


def _megabytes(nbytes: int | None) -> str:
    return f"{nbytes / 1e6:,.1f} MB" if nbytes else ""


@weights_cli.command("fetch")
def fetch_weights(
    names: Annotated[
        list[str] | None, typer.Argument(help="Networks; without any, what could be fetched.")
    ] = None,
) -> None:
    """Fetch published weights; an interrupted fetch goes on where it was."""
    offer = _offer()
    if not names:
        offered = ((name, offer.weights(name).offered_nbytes) for name in offer.architectures)
        rows = [(name, _megabytes(nbytes)) for name, nbytes in offered if nbytes]
        return _print_table(("network", "size"), rows)
    for name in names:
        offer.weights(name)
    done = [_fetch(offer, name) for name in names]
    if not all(done):
        raise typer.Exit(FAILED)
    return None


def _fetch(offer: "Offer", name: str) -> bool:
    import models

    try:
        with _interruptible("what has arrived is kept"), _bytes_bar(name) as tell:
            file = offer.fetch(name, tell)
    except models.DeconvnetError as error:
        _complain(f"{name}: {error}")
        return False
    own = offer.weights(name)
    if own.path != file:
        _say(f"{name}: {file}; but {own.path} wins over it")
    elif provenance := offer.provenance(name):
        _say(f"{name}: {file}, sha256 {provenance.sha256}")
    return True


@weights_cli.command("import")
def import_weights(
    file: Annotated[Path, typer.Argument(help="A .safetensors, .pth or .pth.zip file.")],
    network: Annotated[str, typer.Option(help="The network that the weights are for.")],
    classes: Annotated[
        Path | None, typer.Option(help="A text file with one class on each line.")
    ] = None,
) -> None:
    """Check a weights file of your own, and keep it as the network's weights.

    Reads torchvision's, pytorchcv's and our own keys. Nothing in the file is run, and nothing
    changes unless all of it is well.
    """
    offer = _offer()
    offer.weights(network)
    import models

    said = models.import_weights(file, network, offer.sources, classes)
    labels = f"{said.classes} classes named" if said.classes else "no classes named"
    _say(f"{network}: {offer.weights(network).path}, {labels}, sha256 {said.sha256}")


@weights_cli.command("verify")
def verify_weights(
    names: Annotated[list[str] | None, typer.Argument(help="Networks; all by default.")] = None,
) -> None:
    """Read every weights file there is, and say whether it is whole."""
    offer = _offer()
    import models

    failed = False
    for name in names or offer.architectures:
        info = offer.weights(name)
        if info.state != "ready":
            if names:
                _complain(f"{name} has no weights here. {info.how}")
                failed = True
            continue
        try:
            provenance = offer.load(name).provenance
            _say(f"{name}: whole, {provenance.source}, sha256 {provenance.sha256 or 'none'}")
        except models.WeightsInvalid as error:
            _complain(f"{name}: {error}")
            failed = True
    if failed:
        raise typer.Exit(FAILED)


@cli.command()
def train(
    network: Annotated[str, typer.Option(help="See 'deconvnet networks'.")],
    data: Annotated[
        Path, typer.Option(help="A folder for each class, or train/ and val/ that hold them.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for checkpoint, weights and metrics.")],
    epochs: Annotated[int, typer.Option(min=1, help="The paper's 70.")] = 70,
    batch: Annotated[int, typer.Option(min=1, help="Photos in a batch, on all devices.")] = 128,
    rate: Annotated[float, typer.Option(min=0.0, help="Learning rate at the start.")] = 0.01,
    every: Annotated[int, typer.Option(min=1, help="Steps between checkpoints.")] = 200,
    workers: Annotated[int, typer.Option(min=0, help="Processes that read photos.")] = 0,
    seed: Annotated[int, typer.Option(help="Where chance begins.")] = 0,
    device: Device = None,
) -> None:
    """Train a network on a folder of photos, with the paper's recipe.

    An interrupted run goes on from its checkpoint when the same command is given again. Several
    GPUs: torchrun --nproc-per-node=N --no-python deconvnet train ...
    """
    settings = _settings(device=device)
    import models

    plan = models.Plan(epochs=epochs, batch=batch, rate=rate, seed=seed, every=every)
    place, first = models.pick_device(settings.device), os.environ.get("RANK", "0") == "0"
    kept = f"at most {every} steps are lost"
    with _interruptible(kept), _steps_bar(network, shown=first) as tell:
        weights = models.train(
            network, data, out, plan, device=place, workers=workers, progress=tell
        )
    if first:  # of the processes that torchrun started
        _say(f"{network}: {weights}; 'deconvnet weights import {weights} --network {network}'")


def _settings(**overrides: Any) -> "Settings":
    from app.settings import Settings

    return Settings(**{name: value for name, value in overrides.items() if value is not None})


def _offer(**overrides: Any) -> "Offer":
    from app.offer import Offer

    return Offer(_settings(**overrides))


def _progress(items: list[Any], title: str) -> Iterator[Any]:
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    return iter(track(items, title, console=console, disable=len(items) < 2))


@contextlib.contextmanager
def _interruptible(kept: str) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        _complain(f"Interrupted; {kept}. The same command goes on from there.")
        raise typer.Exit(INTERRUPTED) from None


@contextlib.contextmanager
def _bytes_bar(title: str) -> Iterator[Any]:
    """Show bytes arriving; yields what to tell them to."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(title, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


@contextlib.contextmanager
def _steps_bar(title: str, *, shown: bool) -> Iterator[Any]:
    """Show a training run; yields what to tell its steps to."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("loss {task.fields[loss]:.4f}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), disable=not shown) as progress:
        task = progress.add_task(title, total=None, loss=float("nan"))
        yield lambda done, total, loss: progress.update(
            task, completed=done, total=total, loss=loss
        )


def _print_table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(*header, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*row)
    Console().print(table)


def _say(sentence: str) -> None:
    typer.echo(sentence)


def _complain(sentence: str) -> None:
    typer.echo(sentence, err=True)


def _sentence(error: Exception) -> str | None:
    """Put what a user can mend in a sentence; None for what is our own fault."""
    from pydantic import ValidationError

    from app.decoding import PhotoTooLarge, UnreadablePhoto

    if isinstance(error, ValidationError):
        return "; ".join(
            f"DECONVNET_{'_'.join(map(str, one['loc'])).upper()}: {one['msg']}"
            for one in error.errors()
        )
    if isinstance(error, OSError):
        return f"{error.filename or ''}: {error.strerror or error}".removeprefix(": ")
    if isinstance(error, PhotoTooLarge | UnreadablePhoto):
        return str(error)
    models = sys.modules.get("models")
    if models and isinstance(error, models.DeconvnetError):
        return str(error)
    return None
