"""The command with all its commands, in the order of its help."""

from __future__ import annotations

from typing import Annotated

import typer

import pushforward
from pushforward.cli.commands.compare import compare
from pushforward.cli.commands.describe import describe
from pushforward.cli.commands.fit import fit
from pushforward.cli.commands.impute import impute
from pushforward.cli.commands.plot import plot
from pushforward.cli.commands.sample import sample
from pushforward.cli.commands.schema import schema
from pushforward.cli.commands.score import score

COMMANDS = (fit, sample, score, impute, describe, schema, plot, compare)

app = typer.Typer(
    add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False, help="Fit, sample and score densities of tables."
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"pushforward {pushforward.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[bool, typer.Option("--version", is_eager=True, callback=_version, help="Show the version.")] = False,
) -> None:
    pass


for _command in COMMANDS:
    app.command()(_command)
