"""`deconvnet visualize`."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import models
from app.cli.options import Device, Random, command_options, read_settings
from app.cli.terminal import FAILED, complain, sentence_of, track_items
from app.cli.weights import load_or_fetch
from app.web.choice import from_sent, takes

if TYPE_CHECKING:
    from app.photos.store import Photo
    from app.settings import Settings

PHOTO_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif"}
DEFAULT_SUFFIX = ".png"


@takes(command_options())
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
    device: Device = None,
    random_weights: Random = False,
    **options: Any,
) -> None:
    """Project what the strongest feature maps of a layer saw in photos."""
    settings = read_settings(device=device, random_weights=random_weights or None)
    jobs = list(_plan(images, output))
    from app.engine.registry import NetworkRegistry

    choice = from_sent(models.Choice, options)
    loaded = load_or_fetch(NetworkRegistry(settings), choice)
    done = [_try(settings, loaded, choice, job) for job in track_items(jobs, "Projecting")]
    if not all(done):
        raise typer.Exit(FAILED)


def _try(
    settings: "Settings", network: "models.Network", choice: "models.Choice", job: tuple[Path, Path]
) -> bool:
    try:
        _visualize(settings, network, choice, *job)
    except Exception as error:
        sentence = sentence_of(error)
        if sentence is None:
            raise
        complain(f"{job[0]}: {sentence}")
        return False
    return True


def _visualize(
    settings: "Settings",
    network: "models.Network",
    choice: "models.Choice",
    image: Path,
    output: Path,
) -> None:
    import models
    from app.photos.uploads import read_photo_file
    from app.storage import write_atomically
    from app.web import answers

    photo = read_photo_file(image, settings)
    view = models.visualize(network, photo.picture, choice, limit=settings.max_projections)
    media_type = next(
        media_type for media_type, name in answers.SUFFIXES.items() if f".{name}" == output.suffix
    )
    maps = _activation_maps(network, photo, view) if media_type == answers.ZIP else ()
    content = answers.encode(view, photo, media_type, maps=maps)
    output.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(output, (content,))


def _activation_maps(
    network: "models.Network", photo: "Photo", view: "models.Visualization"
) -> list[Any]:
    """Return the activation maps of a view's features, which only a ZIP asks for."""
    framed = models.frame_photo(photo.picture, network.preprocessing, view.fit)
    record = models.record_photo(network, framed)
    return models.activation_maps(record, view.layer, [e.feature for e in view.projections])


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
            name = photo.relative_to(image) if image.is_dir() else Path(photo.name)
            target = _target(output, name)
            if not target.exists():
                yield photo, target


def _photos(folder: Path) -> Iterator[Path]:
    return (file for file in folder.rglob("*") if file.suffix.lower() in PHOTO_SUFFIXES)


def _target(output: Path, name: Path) -> Path:
    if "{name}" in output.name:
        return _checked(output.with_name(output.name.replace("{name}", name.stem)))
    if output.suffix:
        raise typer.BadParameter(
            f"for several photos {output} must be a folder, or hold {{name}}: "
            f"{output.with_stem(output.stem + '-{name}')}"
        )
    return output / name.with_suffix(DEFAULT_SUFFIX)


def _checked(output: Path) -> Path:
    if output.suffix not in {".png", ".npz", ".zip", ".json"}:
        raise typer.BadParameter(f"{output} must end in .png, .npz, .zip or .json")
    return output
