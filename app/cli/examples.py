"""`deconvnet examples`: build, merge, list and verify indexes of data sets."""

import os
import re
from functools import partial
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

import models
from app.cli.figure import IN_NAME, format_of
from app.cli.options import Device, Random, read_settings
from app.cli.terminal import (
    FAILED,
    complain,
    images_bar,
    interruptible,
    print_table,
    say,
    track_items,
)
from app.cli.weights import load_or_fetch
from app.web.choice import from_sent, parse_features
from app.web.sentences import sentence

PART = re.compile(r"(\d{1,6})/(\d{1,6})")
LISTED = 20
"""So many refused photos are named; ``meta.json`` names them all."""

NetworkName = Annotated[
    str | None, typer.Option(help="See 'deconvnet networks'.", show_default="the first ready one")
]
Weights = Annotated[
    str | None,
    typer.Option(
        help="yours, published, starter, random, or 8 hex digits.", show_default="those that win"
    ),
]


class Asked(NamedTuple):
    """Which network, with which weights."""

    network: str | None
    weights: str | None


def build_examples(
    folder: Annotated[
        str,
        typer.Argument(
            help="A folder of photos, at any depth; or its address: s3://bucket/photos."
        ),
    ],
    network: NetworkName = None,
    layers: Annotated[
        str | None, typer.Option(help="Layers, with commas between.", show_default="all")
    ] = None,
    k: Annotated[int, typer.Option(help="How many photos of each feature map.")] = 9,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="The index's folder.", show_default="the server's"),
    ] = None,
    part: Annotated[
        str | None,
        typer.Option(help="Only one part of the folder, such as 2/8; 'merge' joins them."),
    ] = None,
    decoders: Annotated[
        int | None,
        typer.Option(min=1, help="Processes that decode photos.", show_default="one a core"),
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option(help="A Ray cluster: auto, HOST:6379, or local.", show_default="none"),
    ] = None,
    weights: Weights = None,
    device: Device = None,
    random_weights: Random = False,
) -> None:
    """Index the photos that fire each feature map most; interrupted, it goes on from there."""
    request = models.ExamplesRequest(_layers(layers), k, _part(part))
    settings = read_settings(device=device, random_weights=random_weights or None)
    from app.engine.registry import NetworkRegistry
    from app.photos.decoders import limits_of
    from app.photos.decoding import decode_picture

    loaded = load_or_fetch(NetworkRegistry(settings), Asked(network, weights))
    index = out or models.index_folder(settings.data_dir / "examples", loaded)
    decode = partial(decode_picture, limits=limits_of(settings))
    run = models.build_examples(
        loaded, folder, index, decode, request, decoders or os.cpu_count() or 1, ray
    )
    with interruptible("what was found so far is kept"), images_bar(loaded.name) as on_progress:
        for step in run:
            if isinstance(step, models.Progress):
                on_progress(step)
            else:
                meta = step
    _report(meta, index)


def _layers(text: str | None) -> tuple[str, ...]:
    return tuple(name.strip() for name in (text or "").split(",") if name.strip())


def _part(text: str | None) -> "models.FolderPart":
    if text is None:
        return models.FolderPart()
    match = PART.fullmatch(text)
    if match is None:
        raise models.InvalidChoice("part_is_no_part", text=text[:40])
    return models.FolderPart(int(match[1]) - 1, int(match[2]))


def _report(meta: "models.IndexMeta", index: Path) -> None:
    """Say what was seen, and what was refused."""
    maps = sum(meta.layers.values())
    say(f"{index}: {meta.seen:,} photos seen, {maps:,} feature maps of {len(meta.layers)} layers")
    if meta.refused:
        complain(f"{len(meta.refused):,} photos were refused:")
        for each in meta.refused[:LISTED]:
            complain(f"  {each.image}: {each.reason}")
        if len(meta.refused) > LISTED:
            complain("  ... and others, which meta.json lists")


def merge_examples(
    indexes: Annotated[list[Path], typer.Argument(help="Indexes of parts of one folder.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder of the merged index.")],
) -> None:
    """Merge the indexes of a folder's parts; in any order they give the same bytes."""
    _report(models.merge_examples(indexes, out), out)


def show_examples(
    output: Annotated[Path, typer.Option("--output", "-o", help="A .svg, .pdf or .png file.")],
    network: NetworkName = None,
    layer: Annotated[
        str | None, typer.Option(help="A layer.", show_default="the last conv layer")
    ] = None,
    features: Annotated[
        str | None,
        typer.Option(help="Feature map numbers, with commas between.", show_default="the top"),
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="So many of the strongest maps.")] = 12,
    index: Annotated[
        Path | None, typer.Option(help="The index's folder.", show_default="the server's")
    ] = None,
    weights: Weights = None,
    device: Device = None,
    random_weights: Random = False,
) -> None:
    """Draw maps' strongest photos, projections beside patches, as in the paper's Fig. 2."""
    file = from_sent(models.FigureFile, {IN_NAME: format_of(output)})
    settings = read_settings(device=device, random_weights=random_weights or None)
    from app.engine.registry import NetworkRegistry
    from app.storage import write_atomically

    loaded = load_or_fetch(NetworkRegistry(settings), Asked(network, weights))
    folder = index or models.index_folder(settings.data_dir / "examples", loaded)
    found, layer = models.read_index(folder), layer or loaded.last_conv
    if found.meta.sha256 != loaded.provenance.sha256 or found.meta.network != loaded.name:
        raise models.ExamplesInvalid("of_others", network=loaded.name, found=found.meta.network)
    named = parse_features(features) if features else found.strongest(layer)[:top]
    items = track_items(list(named), f"{loaded.name} {layer}")
    drawn = [models.draw_examples(loaded, found, layer, each) for each in items]
    output.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(output, (models.to_wall(loaded, found, layer, drawn, file),))
    say(f"{output}: {len(drawn)} maps of {layer}")


def list_examples() -> None:
    """List the indexes that the server would show."""
    header = ("network", "weights", "photos", "refused", "layers", "k", "data set")
    print_table(header, [_row(*each) for each in models.list_indexes(_examples())])


def _examples() -> Path:
    return read_settings().data_dir / "examples"


def _row(folder: Path, meta: "models.IndexMeta | models.ExamplesInvalid") -> tuple[str, ...]:
    names = folder.parent.name, folder.name[:12]
    if isinstance(meta, models.ExamplesInvalid):
        return *names, "", "", sentence(meta), "", ""
    counts = (meta.seen, len(meta.refused), len(meta.layers), meta.k)
    return *names, *(f"{count:,}" for count in counts), meta.fingerprint[:12]


def verify_examples(
    indexes: Annotated[
        list[Path] | None, typer.Argument(help="Indexes.", show_default="the server's")
    ] = None,
) -> None:
    """Check that indexes are whole: checksums, the order of rows, and their photos."""
    folders = indexes or [folder for folder, _ in models.list_indexes(_examples())]
    if not [_verify(folder) for folder in folders].count(False):
        return
    raise typer.Exit(FAILED)


def _verify(folder: Path) -> bool:
    try:
        wrong: list[models.ExamplesError] = list(models.verify_index(folder))
    except models.ExamplesError as error:
        wrong = [error]
    for each in wrong:
        complain(f"{folder}: {sentence(each)}")
    if not wrong:
        say(f"{folder}: whole")
    return not wrong
