"""``pushforward compare``: flows and classical densities of a table, in equal time each."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

import pushforward
from pushforward import plots
from pushforward.cli import tables
from pushforward.cli.arguments import check_above, check_output, kinds_of, say, split
from pushforward.cli.form import Form, opened, with_form
from pushforward.cli.options import Exclude, FixedSeed, Kind, TableFile
from pushforward.cli.pictures import PICTURES, draw


@with_form
def compare(
    running: typer.Context,
    table: TableFile,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="A picture to write as well (.png, .pdf, .svg).")] = None,
    columns: Annotated[str | None, typer.Option(metavar="A,B,...", help="Columns; all that have a density unless told.")] = None,
    exclude: Exclude = None,
    kind: Kind = None,
    seconds: Annotated[float, typer.Option(help="Time of the processor for each model.")] = 30.0,
    seed: FixedSeed = 0,
    *,
    form: Form,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> None:
    """Fit flows and classical densities to a table, in equal time each, and tell how they score rows that none has seen."""
    if sys.stdout is None and output is None:
        raise typer.BadParameter("standard output is closed, and nothing is drawn: expected a picture, -o")
    check_above(seconds, "--seconds")
    if output is not None:
        check_output(output, [table], ending=False)
        if output.suffix not in PICTURES:
            raise typer.BadParameter(f"{output}: expected a name that ends in {', '.join(PICTURES)}")
    source = opened(table, form, quiet)
    left_out, asked = source.known(split(exclude, "--exclude")), source.known(split(columns, "--columns"))
    if both := sorted(set(left_out) & set(asked)):
        raise typer.BadParameter(f"a column is both in --columns and in --exclude: {', '.join(both)}")
    found, odd = tables.schema_of(source, asked or source.columns, bool(asked), left_out, kinds_of(kind or ()))
    if not len(found):
        raise typer.BadParameter(f"no column is left to compare models of: {', '.join(odd) or 'all are excluded'}")
    if odd:
        say(f"left out: {', '.join(odd)}")

    def stop(_: Any) -> None:
        running.obj.check()

    result = pushforward.compare(source, seconds=seconds, schema=found, seed=seed, progress=not quiet, callback=stop)
    if output is not None:
        draw(output, plots.nats(result))
    if sys.stdout is not None:
        sys.stdout.write(f"{result}\n")
