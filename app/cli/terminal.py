"""What the command line prints: sentences, tables, progress."""

import contextlib
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import typer

import models
from app.web.sentences import sentence

if TYPE_CHECKING:
    pass


FAILED = 1
INTERRUPTED = 130


def megabytes(nbytes: int | None) -> str:
    """Write a size in megabytes; nothing for none."""
    return f"{nbytes / 1e6:,.1f} MB" if nbytes else ""


def track_items(items: list[Any], title: str) -> Iterator[Any]:
    """Show a bar while the items are gone through, where there are several."""
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    return iter(track(items, title, console=console, disable=len(items) < 2))


@contextlib.contextmanager
def interruptible(kept: str | None) -> Iterator[None]:
    """End on Ctrl-C with a sentence that says what is kept, None for nothing."""
    try:
        yield
    except KeyboardInterrupt:
        goes_on = f"{kept}. The same command goes on from there."
        complain(f"Interrupted; {goes_on if kept else 'nothing of it is kept.'}")
        raise typer.Exit(INTERRUPTED) from None


@contextlib.contextmanager
def bytes_bar(title: str) -> Iterator[Any]:
    """Show a bar of bytes; yields the function that moves it to (done, total)."""
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
def steps_bar(title: str, *, shown: bool) -> Iterator[Any]:
    """Show a bar of a training run; yields the function that moves it to (done, total, loss)."""
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


@contextlib.contextmanager
def experiment_bar(title: str) -> Iterator[Any]:
    """Show a bar of an experiment; yields the function that moves it to a ``Progress``."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[detail]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(title, total=None, detail="")
        yield lambda step: progress.update(
            task, completed=step.done, total=step.total, detail=step.detail
        )


@contextlib.contextmanager
def images_bar(title: str) -> Iterator[Any]:
    """Show a bar of photos, how many a second, and the time left; moved to a ``Progress``."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        Task,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class RateColumn(ProgressColumn):
        """How many photos a second."""

        def render(self, task: Task) -> Text:
            return Text(f"{task.speed:,.1f} a second" if task.speed else "")

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        RateColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[detail]}"),
    )
    with Progress(*columns, console=Console(stderr=True), speed_estimate_period=60) as progress:
        task = progress.add_task(title, total=None, detail="")
        yield lambda step: progress.update(
            task, completed=step.done, total=step.total, detail=step.detail
        )


def print_table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> None:
    """Print a table."""
    from rich.console import Console
    from rich.table import Table

    table = Table(*header, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*row)
    Console().print(table)


def say(sentence: str) -> None:
    """Print a sentence on standard output."""
    typer.echo(sentence)


def complain(sentence: str) -> None:
    """Print a sentence on standard error."""
    typer.echo(sentence, err=True)


def sentence_of(error: Exception) -> str | None:
    """Say in a sentence what the user can mend; None for an error of the program itself."""
    from pydantic import ValidationError

    if isinstance(error, ValidationError):
        return "; ".join(
            f"DECONVNET_{'_'.join(map(str, one['loc'])).upper()}: {one['msg']}"
            for one in error.errors()
        )
    if isinstance(error, OSError):
        return f"{error.filename or ''}: {error.strerror or error}".removeprefix(": ")
    if isinstance(error, models.DeconvnetError):
        return sentence(error)
    return None
