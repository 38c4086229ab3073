"""`deconvnet serve`."""

from typing import Annotated

import typer

from app.cli.options import Device, Random, read_settings


def serve(
    host: Annotated[
        str | None, typer.Option(help="Address to listen on.", show_default="127.0.0.1")
    ] = None,
    port: Annotated[int | None, typer.Option(help="Port.", show_default="8000")] = None,
    device: Device = None,
    random_weights: Random = False,
    photos: Annotated[
        list[str] | None,
        typer.Option(
            help="NAME=FOLDER of photos on which visitors may run experiments; repeated for more.",
            show_default="DECONVNET_PHOTO_FOLDERS",
        ),
    ] = None,
    run: Annotated[
        list[str] | None,
        typer.Option(
            help="NAME=FOLDER of a training run, likewise.", show_default="DECONVNET_RUNS"
        ),
    ] = None,
) -> None:
    """Serve the explorer and the API."""
    settings = read_settings(
        host=host,
        port=port,
        device=device,
        random_weights=random_weights or None,
        photo_folders=photos or None,
        runs=run or None,
    )
    from app.server import serve as serve_with

    serve_with(settings)
