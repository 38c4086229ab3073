"""`deconvnet figure`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import models
from app.cli.options import Device, Random, command_options, read_settings
from app.cli.terminal import say
from app.cli.weights import load_or_fetch
from app.web.choice import from_sent, takes

if TYPE_CHECKING:
    from app.settings import Settings

IN_NAME = "format"
"""The option of a figure that the name of its file says."""


def figure_options() -> Any:
    """Yield a command's option for each option of a choice, and of a figure's file."""
    yield from command_options()
    yield from (p for p in command_options(models.FigureFile) if p.name != IN_NAME)


@takes(figure_options())
def figure(
    image: Annotated[Path, typer.Argument(help="A photo.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="A .svg, .pdf or .png file.", show_default=False)
    ],
    device: Device = None,
    random_weights: Random = False,
    **options: Any,
) -> None:
    """Draw projections beside the patches that caused them, for a report.

    Prints a caption for it, and the papers to cite as BibTeX.
    """
    file = from_sent(models.FigureFile, options | {IN_NAME: format_of(output)})
    models.check_file(file)
    choice = from_sent(models.Choice, options)
    settings = read_settings(device=device, random_weights=random_weights or None)
    view = _see(settings, image, choice)
    from app.storage import write_atomically
    from app.web.citation import bibtex

    content = models.to_figure(view, file)
    output.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(output, (content,))
    say(f"{models.caption(view)}\n\n{bibtex([view])}")


def format_of(output: Path) -> str:
    """Read from a figure's name which kind of file it is; raises BadParameter."""
    (formats,) = (o.words for o in models.options_of(models.FigureFile) if o.name == IN_NAME)
    suffix = output.suffix.removeprefix(".")
    if suffix not in formats:
        raise typer.BadParameter(f"{output} must end in .{', .'.join(formats)}")
    return suffix


def _see(settings: "Settings", image: Path, choice: "models.Choice") -> "models.Visualization":
    from app.engine.registry import NetworkRegistry
    from app.photos.uploads import read_photo_file

    photo = read_photo_file(image, settings)
    network = load_or_fetch(NetworkRegistry(settings), choice)
    return models.visualize(network, photo.picture, choice, limit=settings.max_projections)
