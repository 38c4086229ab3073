"""`deconvnet experiment`: the paper's experiments, with the parameters that the API has."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

import models
from app.cli.options import Device, Random, command_options, read_settings
from app.cli.terminal import experiment_bar, interruptible, say
from app.cli.weights import load_or_fetch
from app.web.choice import from_sent, takes

FORMATS = ("svg", "png", "npz", "csv", "json")

Photo = Annotated[Path, typer.Argument(help="A photo.", show_default=False)]
Photos = Annotated[list[Path], typer.Argument(help="Photos.", show_default=False)]
Output = Annotated[
    Path,
    typer.Option("--output", "-o", help="A .svg, .png, .npz, .csv or .json file."),
]
Run = Iterator["models.Progress | models.Result"]
Begin = Callable[["models.Network", "Sequence[models.FramedPhoto]", Any], Run]


@takes(command_options(models.OcclusionRequest))
def occlusion(
    image: Photo,
    output: Output,
    device: Device = None,
    random_weights: Random = False,
    **options: Any,
) -> None:
    """Slide a square over a photo, and watch a class and a feature map (Fig. 7)."""
    asked = from_sent(models.OcclusionRequest, options)
    _answer([image], output, asked, _occlude, device=device, random_weights=random_weights)


def _occlude(network: "models.Network", photos: "Sequence[models.FramedPhoto]", asked: Any) -> Run:
    return models.occlude(network, photos[0], asked)


@takes(command_options(models.InvarianceRequest))
def invariance(
    images: Photos,
    output: Output,
    device: Device = None,
    random_weights: Random = False,
    **options: Any,
) -> None:
    """Measure how far features move when photos are shifted, enlarged and turned (Fig. 5)."""
    asked = from_sent(models.InvarianceRequest, options)
    begin: Begin = models.measure_invariance
    _answer(images, output, asked, begin, device=device, random_weights=random_weights)


@takes(command_options(models.CorrespondenceRequest))
def correspondence(
    images: Photos,
    output: Output,
    device: Device = None,
    random_weights: Random = False,
    **options: Any,
) -> None:
    """Mask the same part on several photos, and compare what that takes away (Table 1)."""
    asked = from_sent(models.CorrespondenceRequest, options)
    _answer(images, output, asked, models.correspond, device=device, random_weights=random_weights)


@takes(command_options(models.EvolutionRequest))
def evolution(
    run: Annotated[Path, typer.Argument(help="The output folder of a training run.")],
    data: Annotated[Path, typer.Argument(help="The photos that it learned from.")],
    output: Output,
    device: Device = None,
    **options: Any,
) -> None:
    """Follow feature maps through the epochs of a training run (Fig. 4)."""
    _check(output)
    asked = from_sent(models.EvolutionRequest, options)
    chosen = models.pick_device(read_settings(device=device).device)
    with interruptible(None):
        write_result(_watch(models.evolve(run, data, asked, chosen), output.stem), output)


@takes(command_options(models.ProbeRequest))
def probe(
    data: Annotated[Path, typer.Argument(help="A folder that holds a folder for each class.")],
    output: Output,
    keep: Annotated[
        Path | None,
        typer.Option(help="Where feature vectors are kept.", show_default="DATA_DIR/vectors"),
    ] = None,
    device: Device = None,
    random_weights: Random = False,
    **options: Any,
) -> None:
    """Test what each layer's features tell of the classes of photos (Table 7)."""
    _check(output)
    settings = read_settings(device=device, random_weights=random_weights or None)
    asked = from_sent(models.ProbeRequest, options)
    from app.engine.registry import NetworkRegistry

    network = load_or_fetch(NetworkRegistry(settings), asked)
    folder = keep or settings.data_dir / "vectors"
    with interruptible("the feature vectors that were computed are kept"):
        write_result(_watch(models.probe(network, data, folder, asked), output.stem), output)


def _answer(
    images: list[Path], output: Path, asked: Any, begin: Begin, *, device: Any, random_weights: bool
) -> None:
    """Run an experiment on photos, and write its result as the file that was asked for."""
    _check(output)
    settings = read_settings(device=device, random_weights=random_weights or None)
    from app.engine.registry import NetworkRegistry
    from app.photos.uploads import read_photo_file

    network = load_or_fetch(NetworkRegistry(settings), asked)
    pictures = [read_photo_file(image, settings).picture for image in images]
    photos = [models.frame_photo(each, network.preprocessing, asked.fit) for each in pictures]
    with interruptible(None):
        write_result(_watch(begin(network, photos, asked), output.stem), output)


def _watch(run: Run, title: str) -> "models.Result":
    """Run an experiment to its end beside a bar."""
    with experiment_bar(title) as on_progress:
        for step in run:
            if not isinstance(step, models.Progress):
                return step
            on_progress(step)
    raise AssertionError("an experiment ends in its result")


def _check(output: Path) -> None:
    if output.suffix.removeprefix(".") not in FORMATS:
        raise typer.BadParameter(f"{output} must end in .{', .'.join(FORMATS)}")


def write_result(result: "models.Result", output: Path) -> None:
    """Write a result in the format that the file's name says."""
    from app.storage import write_atomically

    form: Any = output.suffix.removeprefix(".")
    output.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(output, (models.encode_result(result, form),))
    say(f"{output}: {_weights(result)}")


def _weights(result: "models.Result") -> str:
    known = result.provenance
    return f"weights: {known.source}{', sha256 ' + known.sha256[:8] if known.sha256 else ''}"
