"""The command line: `serve`, `visualize`, `figure`, `experiment`, `networks`, `weights`, ..."""

import sys
from typing import Annotated

import typer

from app import VERSION
from app.cli.examples import (
    build_examples,
    list_examples,
    merge_examples,
    show_examples,
    verify_examples,
)
from app.cli.experiment import correspondence, evolution, invariance, occlusion, probe
from app.cli.figure import figure
from app.cli.networks import networks
from app.cli.reproduce import reproduce
from app.cli.serve import serve
from app.cli.terminal import FAILED, complain, say, sentence_of
from app.cli.train import train
from app.cli.visualize import visualize
from app.cli.weights import (
    export_weights,
    fetch_weights,
    import_weights,
    list_weights,
    verify_weights,
)

cli = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
weights_cli = typer.Typer(help="See, check and bring weights.", no_args_is_help=True)
examples_cli = typer.Typer(
    help="Find each feature map's strongest activations over a data set (Fig. 2).",
    no_args_is_help=True,
)
experiment_cli = typer.Typer(help="Run the paper's experiments.", no_args_is_help=True)

cli.command()(serve)
cli.command()(visualize)
cli.command()(figure)
cli.command()(networks)
cli.command()(train)
cli.command()(reproduce)
cli.add_typer(experiment_cli, name="experiment")
experiment_cli.command()(occlusion)
experiment_cli.command()(invariance)
experiment_cli.command()(correspondence)
experiment_cli.command()(evolution)
experiment_cli.command()(probe)
cli.add_typer(examples_cli, name="examples")
examples_cli.command("build")(build_examples)
examples_cli.command("merge")(merge_examples)
examples_cli.command("show")(show_examples)
examples_cli.command("list")(list_examples)
examples_cli.command("verify")(verify_examples)
cli.add_typer(weights_cli, name="weights")
weights_cli.command("list")(list_weights)
weights_cli.command("fetch")(fetch_weights)
weights_cli.command("import")(import_weights)
weights_cli.command("export")(export_weights)
weights_cli.command("verify")(verify_weights)


def print_version(asked: bool) -> None:
    """Print the version and stop, where that is asked for."""
    if asked:
        say(VERSION)
        raise typer.Exit


@cli.callback()
def read_common_options(
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", callback=print_version, is_eager=True),
    ] = False,
) -> None:
    """See what each layer of a convolutional network saw in a photo."""


def main() -> None:
    """Run the command line; failures are sentences, never tracebacks."""
    try:
        cli()
    except Exception as error:
        sentence = sentence_of(error)
        if sentence is None:
            raise
        complain(sentence)
        sys.exit(FAILED)
