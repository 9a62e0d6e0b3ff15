"""``pushforward score``: the log-densities of the rows of a table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from tqdm import tqdm

from pushforward.cli import tables
from pushforward.cli.arguments import check_output, check_rows, columns_of, dtype_of, say
from pushforward.cli.form import Form, opened, with_form
from pushforward.cli.options import ModelFile, Output, TableFile
from pushforward.data.reading import Table
from pushforward.data.writing import write_table
from pushforward.tables.table_flow import TableFlow


@with_form
def score(
    running: typer.Context,
    model: ModelFile,
    table: TableFile,
    output: Output = None,
    by: Annotated[
        str | None, typer.Option(metavar="column", help="Of a TableFlow: the parts of the sum, each column given those before it.")
    ] = None,
    given: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COLUMN[=VALUE]",
            help="Of a TableFlow: a column that is given, as it is in each row, by a value or a range; the others are scored.",
        ),
    ] = None,
    outside: Annotated[
        bool, typer.Option("--outside", help="Score rows that the model's schema does not allow as -inf, instead of an error.")
    ] = False,
    *,
    form: Form,
) -> None:
    """Score the rows of a table. Writes log-densities in nats, in order; nan for a row with a missing value."""
    check_output(output, [model, table])
    flow, source = tables.loaded(model), opened(table, form)
    if by not in (None, "column"):
        raise typer.BadParameter(f"--by: expected column, got {by!r}")
    if isinstance(flow, TableFlow):
        _score_table(running, flow, source, output, given or [], by, outside)
        return
    if given:
        raise typer.BadParameter("--given: only of a TableFlow; a conditional flow takes its context from the table's columns")
    if by is not None:
        raise typer.BadParameter("--by: only a TableFlow has parts by column")
    names, conditions = columns_of(flow, source)
    scored, known, total = 0, 0, 0.0
    with write_table(output, ["log_prob"], dtype_of(flow)) as append, tqdm(unit=" rows", disable=output is None or None) as bar:
        for rows in source.chunks(names + conditions):
            running.obj.check()
            out = np.zeros(len(rows), bool)
            if outside and flow.schema is not None:
                out = flow.schema.part(names + conditions).outside(rows)[0]
            else:
                check_rows(source, flow.schema, names + conditions, rows, scored)
            x = torch.as_tensor(rows, dtype=flow.dtype)
            with torch.no_grad():
                result = flow.log_prob(x[:, : len(names)], x[:, len(names) :] if conditions else None).numpy()
            result = np.where(out & ~np.isnan(rows).any(1), -np.inf, result)
            append(result[:, None])
            bar.update(len(rows))
            there = result[~np.isnan(result)]
            scored, known, total = scored + len(rows), known + len(there), total + float(there.sum(dtype=np.float64))
    noted = f"; nan for {scored - known} rows with missing values" if known < scored else ""
    mean = f"{total / known:.4f}" if known else "nan"
    say(f"mean log-density {mean} nats a row over {known} rows{noted}")


def _score_table(
    running: typer.Context, model: TableFlow, source: Table, output: Path | None, given: Sequence[str], by: str | None, outside: bool
) -> None:
    """Score a table of columns of all kinds: in all, or by column, perhaps given some."""
    fixed = tables.given_cells([setting for setting in given if setting not in model.columns], model.schema)
    known = [*fixed, *(name for name in given if name in model.columns)]
    if len(set(known)) < len(known):
        raise typer.BadParameter(f"--given: expected each column once, got {', '.join(given)}")
    asked = [name for name in model.columns if name not in known]
    if not asked:
        raise typer.BadParameter("--given: expected a column that is not given, got all of them")
    schema = model.schema.part([name for name in model.columns if name not in fixed])
    if not outside:
        tables.check(schema, source)
    names = asked if by else ["log_prob"]
    count, total = 0, 0.0
    with write_table(output, names) as append, tqdm(unit=" rows", disable=output is None or None) as bar:
        for part in tables.parts_of(source, schema):
            running.obj.check()
            rows = len(next(iter(part.values())))
            whole = {**part, **{name: [value] * rows for name, value in fixed.items()}}
            found = model.log_prob(whole, given=known, by=by, unseen="outside" if outside else "raise")
            scores = np.stack([found[name].numpy() for name in names], 1) if by else found.numpy()[:, None]
            append(scores)
            count, total = count + len(scores), total + float(scores.sum())
            bar.update(len(scores))
    say(f"mean log-density {total / count:.4f} nats a row over {count} rows")
