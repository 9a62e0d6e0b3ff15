"""``pushforward plot``: a table against samples, in pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from pushforward import plots
from pushforward.cli import tables
from pushforward.cli.arguments import check_output, columns_of, complete, generator_of, some_rows, split
from pushforward.cli.commands.sample import draws
from pushforward.cli.form import Form, opened, with_form
from pushforward.cli.options import FixedSeed, ModelFile, TableFile
from pushforward.cli.pictures import PICTURES, draw_all
from pushforward.tables.table_flow import TableFlow


@with_form
def plot(
    model: ModelFile,
    table: TableFile,
    output: Annotated[Path, typer.Option("-o", "--output", help="A picture (.png, .pdf, .svg), or a folder for one more of each column.")],
    columns: Annotated[str | None, typer.Option(metavar="A,B,...", help="Columns to draw; all of the model's unless told.")] = None,
    rows: Annotated[int, typer.Option(min=2, help="The most rows to draw, chosen at random; as many samples.")] = 10_000,
    seed: FixedSeed = 0,
    *,
    form: Form,
) -> None:
    """Draw a table against samples. A picture of all pairs of columns, and in a folder one of each column, too."""
    flow, source = tables.loaded(model), opened(table, form)
    names, conditions = (flow.columns, ()) if isinstance(flow, TableFlow) else columns_of(flow, source)
    drawn = split(columns, "--columns") or names
    if unknown := [name for name in drawn if name not in names]:
        raise typer.BadParameter(f"--columns: the model has no column {unknown[0]!r}; it has {', '.join(names)}")
    if len(drawn) > plots.MOST_COLUMNS:
        raise typer.BadParameter(f"--columns: expected at most {plots.MOST_COLUMNS} columns to draw in pairs, got {len(drawn)}")
    if output.suffix:
        check_output(output, [model, table], ending=False)
        if output.suffix not in PICTURES:
            raise typer.BadParameter(f"{output}: expected a name that ends in {', '.join(PICTURES)}, or a folder")
    elif output.exists() and not output.is_dir():
        raise NotADirectoryError(f"{output} is a file, not a folder")
    if isinstance(flow, TableFlow):
        tables.check(flow.schema, source)
        draw_all(output, *tables.pictured(flow, source, drawn, rows, seed), drawn, tables.written(flow.schema, drawn))
        return
    values = some_rows(source, names + conditions, rows, np.random.default_rng(seed), flow.schema)
    values = complete(source, names + conditions, np.where(np.isinf(values), np.nan, values), drop=True)
    samples = draws(flow, values[:, len(names) :], generator_of(seed))
    chosen = [names.index(name) for name in drawn]
    data, samples = values[:, chosen], samples[:, chosen]
    draw_all(output, data, samples, drawn, {})
