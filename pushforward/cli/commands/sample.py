"""``pushforward sample``: rows drawn from a model."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from tqdm import tqdm

import pushforward
from pushforward.cli import tables
from pushforward.cli.arguments import check_output, columns_of, complete, dtype_of, generator_of, given_row, say, whole_of
from pushforward.cli.form import Form, opened, with_form
from pushforward.cli.options import ModelFile, Output, Seed
from pushforward.data.reading import ROWS, Array
from pushforward.data.writing import write_frames, write_table
from pushforward.tables.conditional import TableConditional
from pushforward.tables.table_flow import TableFlow


@with_form
def sample(
    running: typer.Context,
    model: ModelFile,
    n: Annotated[int, typer.Option("-n", min=1, help="Rows to draw; of a context table, for each of its rows.")],
    output: Output = None,
    seed: Seed = None,
    given: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COLUMN=VALUE",
            help="A context column's value, of a TableFlow any column's, or a range, as in age=30..39; once for each.",
        ),
    ] = None,
    context_table: Annotated[Path | None, typer.Option(metavar="TABLE", help="Contexts, a row each.")] = None,
    *,
    form: Form,
) -> None:
    """Draw rows from a model. Those of a conditional model start with its context columns."""
    check_output(output, [model, context_table])
    flow = tables.loaded(model)
    if isinstance(flow, TableFlow):
        if context_table is not None:
            raise typer.BadParameter("--context-table: only a conditional flow has it; of a TableFlow any column is given by --given")
        known = tables.given_cells(given or [], flow.schema)
        density, random = flow.condition(known) if known else flow, generator_of(seed)
        with write_frames(output) as add, tqdm(unit=" rows", disable=output is None or None) as bar:
            for start in range(0, n, ROWS):
                running.obj.check()
                add(density.sample(min(ROWS, n - start), generator=random, library="pyarrow"))
                bar.update(min(ROWS, n - start))
        if isinstance(density, TableConditional) and len(density.between) > 1:
            say(f"of several ranges draws are chosen by weights: {density.effective_sample_size:.0f} of 1024 in effect")
        return
    names, conditions = columns_of(flow)
    if given and context_table:
        raise typer.BadParameter("expected --given or --context-table, got both")
    if not conditions and (given or context_table):
        raise typer.BadParameter(f"the model {model} is not conditional: it takes neither --given nor --context-table")
    if conditions and not (given or context_table):
        raise typer.BadParameter(f"the model is conditional on {', '.join(conditions)}: expected --given or --context-table")
    contexts: Iterable[Array]
    if context_table is None:
        if form.told:
            raise typer.BadParameter(f"--{form.told[0]}: expected a table of which it tells how it is written, --context-table, got none")
        contexts = [given_row(given or [], conditions)]
    else:
        source = opened(context_table, form)
        parts = enumerate(source.chunks(conditions, ROWS))
        contexts = (complete(source, conditions, rows, drop=False, before=place * ROWS) for place, rows in parts)
    generator = generator_of(seed)
    with (
        write_table(output, conditions + names, dtype_of(flow), whole_of(flow)) as append,
        tqdm(unit=" rows", disable=output is None or None) as bar,
    ):
        for rows in contexts:
            for start in range(0, len(rows) * n, ROWS):
                context = rows[np.arange(start, min(start + ROWS, len(rows) * n)) // n]
                running.obj.check()
                append(np.hstack([context, draws(flow, context, generator)]))
                bar.update(len(context))


def draws(flow: pushforward.Flow, contexts: Array, generator: torch.Generator) -> Array:
    """Draw one row for each row of contexts, which have no columns if the flow is not conditional."""
    given = torch.as_tensor(contexts, dtype=flow.dtype)
    drawn = flow.sample((), given, generator=generator) if flow.context_shape else flow.sample((len(given),), generator=generator)
    values: Array = drawn.to(torch.float64).numpy()
    return values if flow.schema is None or flow.columns is None else flow.schema.part(flow.columns).in_kind(values)
