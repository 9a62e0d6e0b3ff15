"""``pushforward describe``: what a model is made of."""

from __future__ import annotations

import dataclasses
import json
import sys
from typing import Annotated

import typer

from pushforward.cli import tables
from pushforward.cli.arguments import titles
from pushforward.cli.options import ModelFile
from pushforward.tables.table_flow import TableFlow


def describe(
    model: ModelFile,
    batch: Annotated[int, typer.Option(min=1, help="Rows of a training step, for its memory.")] = 1000,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Tell what a model is made of, layer by layer."""
    if sys.stdout is None:
        raise typer.BadParameter("standard output is closed, and what a model is made of goes nowhere else")
    flow = tables.loaded(model)
    if isinstance(flow, TableFlow):
        told = {"widths": flow.widths, "bins": flow.bins, "activation": flow.activation, "schema": flow.schema.to_dict()}
        sys.stdout.write((json.dumps(told, indent=2) if as_json else flow.describe()) + "\n")
        return
    description = flow.describe(batch=batch)
    if as_json:
        kinds = None if flow.schema is None else flow.schema.to_dict()
        names = {"columns": flow.columns, "context_columns": flow.context_columns, "schema": kinds}
        text = json.dumps({**names, **dataclasses.asdict(description)}, indent=2)
    else:
        text = str(description) + (f"\ncolumns: {titles(flow.columns, flow.context_columns or ())}" if flow.columns else "")
        text += "" if flow.schema is None else f"\n\n{flow.schema}"
    sys.stdout.write(text + "\n")
