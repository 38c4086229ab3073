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
    ray: Annotated[
        str | None,
        typer.Option(
            help="Serve on a Ray cluster: auto, HOST:6379, or local.", show_default="none"
        ),
    ] = None,
    replicas: Annotated[
        str, typer.Option(help="With --ray, how many at least and at most, such as 1-8.")
    ] = "1",
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
    if ray is not None:
        from app.replicas import serve_on_ray

        return serve_on_ray(settings, ray, replicas)
    from app.server import serve as serve_with

    return serve_with(settings)
