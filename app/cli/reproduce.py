"""`deconvnet reproduce`: what of the paper one machine can make again, on one page."""

import contextlib
import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import models
from app.cli.options import Device, Random, read_settings
from app.cli.terminal import experiment_bar, interruptible, say
from app.cli.weights import load_or_fetch
from app.web.sentences import sentence

if TYPE_CHECKING:
    from app.cli.reproduction import Bench, Plan, Section
    from app.settings import Settings

SAMPLES = ("chelsea", "astronaut", "coffee")
"""The photos that it is made on where none are given."""


def reproduce(
    images: Annotated[
        list[Path] | None,
        typer.Argument(help="Photos.", show_default="a cat, an astronaut and a cup"),
    ] = None,
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="The .html to write; a .pdf is written beside it."),
    ] = Path("reproduction.html"),
    network: Annotated[
        list[str] | None,
        typer.Option(
            help="Most is asked of the first, Fig. 6 and Table 7 of all; repeated for more.",
            show_default="zfnet and alexnet",
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="A folder of photos for each class, for Table 7 and Fig. 4."),
    ] = None,
    run: Annotated[
        Path | None, typer.Option(help="The output folder of a training run, for Fig. 4.")
    ] = None,
    parts: Annotated[
        str | None,
        typer.Option(
            help="For Table 1, as 'deconvnet experiment correspondence' takes them.",
            show_default="those of the samples' faces",
        ),
    ] = None,
    folds: Annotated[int, typer.Option(min=1, help="Draws of Table 7.")] = 5,
    device: Device = None,
    random_weights: Random = False,
) -> None:
    """Make the paper's figures and tables again, with the weights at hand, on one page.

    What was made is kept: the same command goes on where it was interrupted.
    """
    if output.suffix != ".html":
        raise typer.BadParameter(f"{output} must end in .html")
    settings = read_settings(device=device, random_weights=random_weights or None)
    from app.cli.reproduction import LEFT_OUT, MARKS, PLANS, Bench, Reproduction, weights_of
    from app.engine.registry import NetworkRegistry

    registry, names = NetworkRegistry(settings), network or ["zfnet", "alexnet"]
    bench = Bench(
        tuple(load_or_fetch(registry, models.Choice(network=name)) for name in names),
        _photos(images, settings),
        parts or ("" if images else MARKS),
        data,
        run,
        folds,
        settings.data_dir / "vectors",
        models.pick_device(settings.device),
    )
    made, left_out, keep = [], list(LEFT_OUT), settings.data_dir / "reproduction"
    with interruptible("what was made is kept"), experiment_bar(output.stem) as on_progress:
        for plan in PLANS:
            if lacks := plan.lacks(bench):
                left_out.append((plan.title, lacks))
                continue
            try:
                made.append(_section(plan, bench, keep, on_progress))
            except models.InvalidChoice as error:  # these weights or photos cannot give it
                left_out.append((plan.title, sentence(error)))
    weights = tuple(weights_of(each) for each in bench.networks)
    _write(Reproduction(tuple(made), weights, tuple(left_out)), output)


def _photos(images: list[Path] | None, settings: "Settings") -> Mapping[str, Any]:
    """Return the photos that are named, or the samples."""
    from app.photos.samples import find_sample, read_sample
    from app.photos.uploads import read_photo_file

    if images:
        return {each.stem: read_photo_file(each, settings).picture for each in images}
    from PIL import Image

    samples = [sample for name in SAMPLES if (sample := find_sample(name))]
    return {
        sample.title.lower(): Image.open(io.BytesIO(read_sample(sample))).convert("RGB")
        for sample in samples
    }


def _section(
    plan: "Plan", bench: "Bench", keep: Path, on_progress: Callable[["models.Progress"], None]
) -> "Section":
    """Return a section that was kept, or make it and keep it."""
    from app.cli.reproduction import Section
    from app.storage import write_atomically

    file = keep / f"{bench.key(plan.title)}.json"
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        return Section.read(file.read_bytes())
    on_progress(models.Progress(0, 1, plan.title))
    made = None
    for step in plan.make(bench, plan.title):
        if isinstance(step, models.Progress):
            on_progress(models.Progress(step.done, step.total, f"{plan.title}: {step.detail}"))
        else:
            made = step
    assert made is not None, "a plan ends in its section"
    keep.mkdir(parents=True, exist_ok=True)
    write_atomically(file, (made.write(),))
    return made


def _write(page: Any, output: Path) -> None:
    from app.storage import write_atomically
    from app.web.templates import draw

    output.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(output, (draw("reproduction.html", page).encode(),))
    pdf = output.with_suffix(".pdf")
    write_atomically(pdf, (models.to_booklet(page.pages),))
    say(f"{output} and {pdf}: {len(page.sections)} figures and tables")
    for title, why in page.left_out:
        say(f"left out: {title}: {why}")
