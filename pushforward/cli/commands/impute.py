"""``pushforward impute``: missing cells filled with what they can be."""

from __future__ import annotations

from typing import Annotated

import torch
import typer
from tqdm import tqdm

from pushforward.cli import tables
from pushforward.cli.arguments import check_output, generator_of, say
from pushforward.cli.form import Form, opened, with_form
from pushforward.cli.options import ModelFile, Output, Seed, TableFile
from pushforward.data.writing import write_frames
from pushforward.tables.table_flow import TableFlow


@with_form
def impute(
    running: typer.Context,
    model: ModelFile,
    table: TableFile,
    output: Output = None,
    n: Annotated[
        int, typer.Option("-n", min=1, help="Tables to write, one after the other; of several the first column has the number.")
    ] = 1,
    seed: Seed = None,
    *,
    form: Form,
) -> None:
    """Fill the missing cells of a table, and those known between two values, given the others of their row. Takes a TableFlow."""
    check_output(output, [model, table])
    flow, source = tables.loaded(model), opened(table, form)
    if not isinstance(flow, TableFlow):
        raise typer.BadParameter(
            f"{model}: expected a TableFlow, which has a density of any cells given any others; this one takes whole rows"
        )
    if others := [name for name in source.columns if name not in flow.columns]:
        say(f"left out: {', '.join(others)} (the model does not have them)")
    random, rows, filled, between = generator_of(seed), 0, 0, 0
    with write_frames(output) as add, tqdm(unit=" rows", disable=output is None or None) as bar:
        for at in range(1, n + 1):
            for part in tables.parts_of(source, flow.schema):
                running.obj.check()
                (whole,) = flow.impute(part, generator=random, library="pyarrow")
                add(tables.numbered(whole, flow.columns, at) if n > 1 else whole)
                bar.update(len(whole))
                if at == 1:
                    coded, bounds = flow.encode_all(part, missing=True)
                    between += 0 if bounds is None else int((~torch.isnan(bounds[:, :, 0])).sum())
                    rows, filled = rows + len(whole), filled + int(torch.isnan(coded).sum())
    narrowed = f", of which {between} were known between two values," if between else ""
    say(f"filled {filled} missing cells{narrowed} of {rows} rows" + (f", {n} times" if n > 1 else ""))
