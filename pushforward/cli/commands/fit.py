"""``pushforward fit``: a model of the columns of a table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer

import pushforward
from pushforward.cli import tables
from pushforward.cli.arguments import (
    WORDS,
    check_above,
    check_output,
    check_share,
    complete,
    dtype_of,
    generator_of,
    kinds_of,
    named_flow,
    objective_of,
    plan_options,
    read_numbers,
    refuse_constants,
    say,
    split,
    supports,
    titles,
)
from pushforward.cli.form import Form, opened, with_form
from pushforward.cli.options import Columns, Context, Exclude, FixedSeed, Kind, TableFile
from pushforward.cli.signals import Signals
from pushforward.data.checks import blurred
from pushforward.data.frames import dequantize as spread_grids
from pushforward.recipes.choice import NAMED, make_flow


@with_form
def fit(
    running: typer.Context,
    table: TableFile,
    output: Annotated[Path, typer.Option("-o", "--output", help="The model to write, such as model.safetensors.")],
    columns: Columns = None,
    context: Context = None,
    exclude: Exclude = None,
    kind: Kind = None,
    flow: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            callback=named_flow,
            help=f"The kind of flow: {', '.join(NAMED)}. Unless told, NSF; for a table that is not of plain numbers alone, a TableFlow.",
        ),
    ] = None,
    transforms: Annotated[int | None, typer.Option(min=1, help="Layers.")] = None,
    widths: Annotated[str | None, typer.Option(metavar="64,64", help="Hidden widths of each network.")] = None,
    bins: Annotated[int | None, typer.Option(min=2, help="Bins of each spline.")] = None,
    objective: Annotated[
        str | None, typer.Option(metavar="NAME", help="What is learned by: likelihood, or flow_matching, which --flow CNF has.")
    ] = None,
    path: Annotated[str | None, typer.Option(metavar="NAME", help=f"Of flow matching: {', '.join(WORDS['path'])}.")] = None,
    coupling: Annotated[
        str | None, typer.Option(metavar="NAME", help=f"How flow matching pairs draws and rows: {', '.join(WORDS['coupling'])}.")
    ] = None,
    mixture: Annotated[
        int | None, typer.Option(min=0, help="Normals of a mixture that a flow begins as, 0 for none; as held-out rows say, unless told.")
    ] = None,
    kinetic: Annotated[float | None, typer.Option(help="Of likelihood: what the kinetic energy of a continuous flow costs.")] = None,
    jacobian: Annotated[float | None, typer.Option(help="Of likelihood: what the Jacobian of a continuous flow costs.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="The most passes over the rows.")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Rows of one step.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Step size at the start.")] = None,
    validation: Annotated[float | None, typer.Option(help="Share of the rows that is held out, between 0 and 1.")] = None,
    patience: Annotated[int | None, typer.Option(min=1, help="Epochs without a better held-out loss before it stops.")] = None,
    seconds: Annotated[float | None, typer.Option(help="Time that the fit may take.")] = None,
    seed: FixedSeed = 0,
    dequantize: Annotated[bool, typer.Option(help="Spread columns that lie on a grid evenly between its points.")] = False,
    support: Annotated[bool, typer.Option("--support", help="Give no density to values beyond the bounds of the columns' kinds.")] = False,
    drop_missing: Annotated[bool, typer.Option("--drop-missing", help="Leave out rows with missing values.")] = False,
    float64: Annotated[bool, typer.Option("--float64", help="Compute in double precision.")] = False,
    *,
    form: Form,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no summary.")] = False,
) -> None:
    """Fit a flow to the columns of a table and write it as a model."""
    check_output(output, [table], ending=False)
    check_above(learning_rate, "--learning-rate")
    check_above(seconds, "--seconds")
    check_share(validation)
    of_numbers = flow, context, transforms, widths, bins, mixture, dequantize or None, support or None, drop_missing or None
    flow = flow or "NSF"
    plan = plan_options(flow, transforms, widths, bins)
    of_objective = {"path": path, "coupling": coupling, "kinetic": kinetic, "jacobian": jacobian}
    trained_by = objective_of(objective, of_objective, flow, transforms)
    source = opened(table, form, quiet)
    given, left_out = source.known(split(context, "--context")), source.known(split(exclude, "--exclude"))
    names = source.known(split(columns, "--columns")) or tuple(name for name in source.numeric if name not in given + left_out)
    for option, others in (("--context", given), ("--exclude", left_out)):
        if both := sorted(set(others) & set(names + given * (option == "--exclude"))):
            first = "--columns" if both[0] in names else "--context"
            raise typer.BadParameter(f"a column is both in {first} and in {option}: {', '.join(both)}")
    typed = all(option is None for option in of_numbers) and any(name not in left_out for name in source.columns)
    if (given or left_out) and not names and not typed:
        raise typer.BadParameter(f"no column is left to fit beside those of {'--context' if given else '--exclude'}")
    chosen = {
        "objective": trained_by, "epochs": epochs, "batch_size": batch_size, "learning_rate": learning_rate, "validation": validation,
        "patience": patience, "seconds": seconds, "mixture": mixture,
    }  # fmt: skip
    options: dict[str, Any] = {name: value for name, value in chosen.items() if value is not None}
    if typed:
        wanted = names if columns else source.columns
        schema, odd = tables.schema_of(source, wanted, bool(columns), left_out, kinds_of(kind or ()))
        if tables.beyond_numbers(schema):
            tables.announce(schema, odd, quiet)
            _fit(running, tables.made(schema, seed, float64), source, None, output, seed, quiet, options)
            return
    if not names:
        source.read()  # which says why no column is one of numbers
    rows, found = read_numbers(source, names + given, kinds_of(kind or ()))
    rows = complete(source, names + given, rows, drop_missing, "; leave them out with --drop-missing")
    told = [f"{name or '(no name)'} ({why})" for name, why in source.left_out.items() if not columns and name not in given + left_out]
    noted = f"left out: {', '.join(told)}" if told else ""
    if not quiet:
        say("; ".join(filter(None, (f"{len(rows)} rows of {titles(names, given)}", noted))))
    elif noted:
        say(noted)
    refuse_constants(source, names + given, rows)
    x, c = rows[:, : len(names)], rows[:, len(names) :] if given else None
    if support:
        plan["support"] = supports(flow, found.part(names), dequantize)
    if dequantize:
        x = spread_grids(x, generator_of(seed))[0]
    model = make_flow("fit", flow, len(names), len(given), plan, seed)
    too_large = np.abs(rows).max() > np.finfo(dtype_of(model)).max
    if float64 or too_large or blurred(torch.as_tensor(rows), model.dtype):
        model = model.double()
    model.columns, model.context_columns, model.schema = names, given or None, found
    _fit(running, model, x, c, output, seed, quiet, options)


def _fit(running: typer.Context, model: Any, x: Any, c: Any, output: Path, seed: int, quiet: bool, options: dict[str, Any]) -> None:
    """Fit a model and write it; what ends a fit from outside lets it write what it has."""
    signals: Signals = running.obj
    history = pushforward.fit(model, x, c, seed=seed, progress=not quiet, callback=lambda _: signals.came, **options)
    ended = history.interrupted or signals.came
    if ended and not history.best_epoch:
        raise KeyboardInterrupt
    with signals.waiting():
        model.save(output)
    if not quiet:
        say(f"{_reached(history)} after epoch {history.best_epoch} of {len(history.train)}; wrote {output}")
    if ended:
        raise KeyboardInterrupt


def _reached(history: pushforward.History) -> str:
    """Return how good the weights are that were kept, in nats where they were scored by densities."""
    what = "held-out" if history.monitored == "validation" else "training"
    loss = history.best_loss if history.objective == "likelihood" else history.nats.get(history.best_epoch)
    if loss is None:  # it was ended before the densities of these weights were taken
        return f"{what} loss {history.best_loss:.4f} of {history.objective}"
    return f"{what} log-density {-loss:.4f} nats a row"
