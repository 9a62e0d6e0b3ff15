"""``pushforward schema``: what the columns of a table are, and why."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

from pushforward.cli.arguments import kinds_of, split
from pushforward.cli.form import Form, opened, with_form
from pushforward.cli.options import Exclude, Kind, TableFile
from pushforward.data.schema import Schema


@with_form
def schema(
    table: TableFile,
    kind: Kind = None,
    columns: Annotated[str | None, typer.Option(metavar="A,B,...", help="Columns to tell of; all unless told.")] = None,
    exclude: Exclude = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
    *,
    form: Form,
) -> None:
    """Tell what the columns of a table are, and why."""
    if sys.stdout is None:
        raise typer.BadParameter("standard output is closed, and what the columns are goes nowhere else")
    source = opened(table, form)
    wanted = split(columns, "--columns") or source.columns
    kinds = kinds_of(kind or ())
    if unknown := [name for name in kinds if name not in source.columns]:
        raise ValueError(
            f"--kind {unknown[0]}={kinds[unknown[0]]}: no column {unknown[0]!r}; there are {', '.join(map(repr, source.columns))}"
        )
    found = Schema.find(source, kinds, wanted, split(exclude, "--exclude"))
    sys.stdout.write((json.dumps(found.to_dict(), indent=2) if as_json else str(found)) + "\n")
