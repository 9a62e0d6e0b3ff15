"""The commands; each reads files, calls the library, and writes files."""

from __future__ import annotations

import dataclasses
import json
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from tqdm import tqdm

import pushforward
from pushforward import plots
from pushforward.cli import tables
from pushforward.cli.arguments import (
    WORDS,
    check_above,
    check_output,
    check_rows,
    check_share,
    columns_of,
    complete,
    dtype_of,
    generator_of,
    given_row,
    kinds_of,
    named_flow,
    objective_of,
    opened,
    plan_options,
    read_numbers,
    refuse_constants,
    say,
    some_rows,
    split,
    supports,
    whole_of,
)  # fmt: skip
from pushforward.cli.signals import Signals
from pushforward.data.checks import blurred
from pushforward.data.frames import dequantize as spread_grids
from pushforward.data.reading import ROWS, Array, Table
from pushforward.data.schema import Schema
from pushforward.data.writing import write_frames, write_table
from pushforward.io import replacing
from pushforward.recipes.choice import NAMED, make_flow
from pushforward.tables.table_flow import TableFlow

app = typer.Typer(
    add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False, help="Fit, sample and score densities of tables."
)
PICTURES = (".png", ".pdf", ".svg")
SEEDS = 2**63 - 1


TableFile = Annotated[Path, typer.Argument(metavar="TABLE", help="A table: .csv, .csv.gz, .tsv, .parquet or .npy.")]
ModelFile = Annotated[Path, typer.Argument(metavar="MODEL", help="A model that fit wrote.")]
Columns = Annotated[str | None, typer.Option(metavar="A,B,...", help="Columns; all numeric ones, or the model's, unless told.")]
Context = Annotated[str | None, typer.Option(metavar="C,D,...", help="Columns that the density is conditioned on.")]
Seed = Annotated[int | None, typer.Option(min=0, max=SEEDS, help="Random seed; a fresh one unless told.")]
FixedSeed = Annotated[int, typer.Option(min=0, max=SEEDS, help="Random seed.")]
Output = Annotated[Path | None, typer.Option("-o", "--output", help="A table to write instead of CSV on standard output.")]
Exclude = Annotated[str | None, typer.Option(metavar="A,B,...", help="Columns to leave out.")]
Delimiter = Annotated[
    str | None, typer.Option(help="Between values: a character, or comma, semicolon, tab, pipe, blank; found unless told.")
]
Decimal = Annotated[str | None, typer.Option(help="The decimal mark, . or ,; found unless told.")]
Encoding = Annotated[str | None, typer.Option(help="Of the text, such as cp1252; found unless told.")]
Header = Annotated[bool | None, typer.Option("--header/--no-header", help="Whether the first row has names; found unless told.")]
Kind = Annotated[list[str] | None, typer.Option(metavar="COLUMN=KIND", help="What a column is, such as age=count; once for each.")]
Missing = Annotated[str | None, typer.Option(metavar="A,B,...", help="More marks for missing values, such as -999.")]


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"pushforward {pushforward.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[bool, typer.Option("--version", is_eager=True, callback=_version, help="Show the version.")] = False,
) -> None:
    pass


@app.command()
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
    delimiter: Delimiter = None,
    decimal: Decimal = None,
    encoding: Encoding = None,
    header: Header = None,
    missing: Missing = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no summary.")] = False,
) -> None:
    """Fit a flow to the columns of a table and write it as a model."""
    check_output(output, [table], ending=False)
    check_above(learning_rate, "--learning-rate")
    check_above(seconds, "--seconds")
    check_share(validation)
    of_numbers = flow, context, transforms, widths, bins, dequantize or None, support or None, drop_missing or None
    flow = flow or "NSF"
    plan = plan_options(flow, transforms, widths, bins)
    of_objective = {"path": path, "coupling": coupling, "kinetic": kinetic, "jacobian": jacobian}
    trained_by = objective_of(objective, of_objective, flow, transforms)
    source = opened(table, delimiter, decimal, encoding, header, missing, quiet)
    given, left_out = source.known(split(context, "--context")), source.known(split(exclude, "--exclude"))
    names = source.known(split(columns, "--columns")) or tuple(name for name in source.numeric if name not in given + left_out)
    for option, others in (("--context", given), ("--exclude", left_out)):
        if both := sorted(set(others) & set(names + given * (option == "--exclude"))):
            first = "--columns" if both[0] in names else "--context"
            raise typer.BadParameter(f"a column is both in {first} and in {option}: {', '.join(both)}")
    if (given or left_out) and not names:
        raise typer.BadParameter(f"no column is left to fit beside those of {'--context' if given else '--exclude'}")
    chosen = {
        "objective": trained_by, "epochs": epochs, "batch_size": batch_size, "learning_rate": learning_rate, "validation": validation,
        "patience": patience, "seconds": seconds,
    }  # fmt: skip
    options: dict[str, Any] = {name: value for name, value in chosen.items() if value is not None}
    if all(option is None for option in of_numbers):
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
        say("; ".join(filter(None, (f"{len(rows)} rows of {_titles(names, given)}", noted))))
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


@app.command()
def sample(
    running: typer.Context,
    model: ModelFile,
    n: Annotated[int, typer.Option("-n", min=1, help="Rows to draw; of a context table, for each of its rows.")],
    output: Output = None,
    seed: Seed = None,
    given: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMN=VALUE", help="A context column's value, of a TableFlow any column's; once for each."),
    ] = None,
    context_table: Annotated[Path | None, typer.Option(metavar="TABLE", help="Contexts, a row each.")] = None,
    delimiter: Delimiter = None,
    decimal: Decimal = None,
    encoding: Encoding = None,
    header: Header = None,
    missing: Missing = None,
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
        form = {"delimiter": delimiter, "decimal": decimal, "encoding": encoding, "header": header, "missing": missing}
        if told := [name for name, value in form.items() if value is not None]:
            raise typer.BadParameter(f"--{told[0]}: expected a table of which it tells how it is written, --context-table, got none")
        contexts = [given_row(given or [], conditions)]
    else:
        source = opened(context_table, delimiter, decimal, encoding, header, missing)
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
                append(np.hstack([context, _sample(flow, context, generator)]))
                bar.update(len(context))


@app.command()
def score(
    running: typer.Context,
    model: ModelFile,
    table: TableFile,
    output: Output = None,
    by: Annotated[
        str | None, typer.Option(metavar="column", help="Of a TableFlow: the parts of the sum, each column given those before it.")
    ] = None,
    outside: Annotated[
        bool, typer.Option("--outside", help="Score rows that the model's schema does not allow as -inf, instead of an error.")
    ] = False,
    delimiter: Delimiter = None,
    decimal: Decimal = None,
    encoding: Encoding = None,
    header: Header = None,
    missing: Missing = None,
) -> None:
    """Score the rows of a table. Writes log-densities in nats, in order; nan for a row with a missing value."""
    check_output(output, [model, table])
    flow, source = tables.loaded(model), opened(table, delimiter, decimal, encoding, header, missing)
    if by not in (None, "column"):
        raise typer.BadParameter(f"--by: expected column, got {by!r}")
    if isinstance(flow, TableFlow):
        _score_table(running, flow, source, output, by, outside)
        return
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


def _score_table(running: typer.Context, model: TableFlow, source: Table, output: Path | None, by: str | None, outside: bool) -> None:
    """Score a table of columns of all kinds: in all, or by column."""
    if not outside:
        tables.check(model, source)
    names = list(model.columns) if by else ["log_prob"]
    count, total = 0, 0.0
    with write_table(output, names) as append, tqdm(unit=" rows", disable=output is None or None) as bar:
        for part in tables.parts_of(source, model.schema):
            running.obj.check()
            found = model.log_prob(part, by=by, unseen="outside" if outside else "raise")
            scores = np.stack([found[name].numpy() for name in names], 1) if by else found.numpy()[:, None]
            append(scores)
            count, total = count + len(scores), total + float(scores.sum())
            bar.update(len(scores))
    say(f"mean log-density {total / count:.4f} nats a row over {count} rows")


@app.command()
def impute(
    running: typer.Context,
    model: ModelFile,
    table: TableFile,
    output: Output = None,
    n: Annotated[
        int, typer.Option("-n", min=1, help="Tables to write, one after the other; of several the first column has the number.")
    ] = 1,
    seed: Seed = None,
    delimiter: Delimiter = None,
    decimal: Decimal = None,
    encoding: Encoding = None,
    header: Header = None,
    missing: Missing = None,
) -> None:
    """Fill the missing cells of a table with draws from what they can be, given the others of their row. Takes a TableFlow."""
    check_output(output, [model, table])
    flow, source = tables.loaded(model), opened(table, delimiter, decimal, encoding, header, missing)
    if not isinstance(flow, TableFlow):
        raise typer.BadParameter(
            f"{model}: expected a TableFlow, which has a density of any cells given any others; this one takes whole rows"
        )
    if others := [name for name in source.columns if name not in flow.columns]:
        say(f"left out: {', '.join(others)} (the model does not have them)")
    random, rows, filled = generator_of(seed), 0, 0
    with write_frames(output) as add, tqdm(unit=" rows", disable=output is None or None) as bar:
        for at in range(1, n + 1):
            for part in tables.parts_of(source, flow.schema):
                running.obj.check()
                (whole,) = flow.impute(part, generator=random, library="pyarrow")
                add(tables.numbered(whole, flow.columns, at) if n > 1 else whole)
                bar.update(len(whole))
                if at == 1:
                    rows, filled = rows + len(whole), filled + int(torch.isnan(flow.encode(part, missing=True)).sum())
    say(f"filled {filled} missing cells of {rows} rows" + (f", {n} times" if n > 1 else ""))


@app.command()
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
        text = str(description) + (f"\ncolumns: {_titles(flow.columns, flow.context_columns or ())}" if flow.columns else "")
        text += "" if flow.schema is None else f"\n\n{flow.schema}"
    sys.stdout.write(text + "\n")


@app.command()
def schema(
    table: TableFile,
    kind: Kind = None,
    columns: Annotated[str | None, typer.Option(metavar="A,B,...", help="Columns to tell of; all unless told.")] = None,
    exclude: Exclude = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
    delimiter: Delimiter = None,
    decimal: Decimal = None,
    encoding: Encoding = None,
    header: Header = None,
    missing: Missing = None,
) -> None:
    """Tell what the columns of a table are, and why."""
    if sys.stdout is None:
        raise typer.BadParameter("standard output is closed, and what the columns are goes nowhere else")
    source = opened(table, delimiter, decimal, encoding, header, missing)
    wanted = split(columns, "--columns") or source.columns
    kinds = kinds_of(kind or ())
    if unknown := [name for name in kinds if name not in source.columns]:
        raise ValueError(
            f"--kind {unknown[0]}={kinds[unknown[0]]}: no column {unknown[0]!r}; there are {', '.join(map(repr, source.columns))}"
        )
    found = Schema.find(source, kinds, wanted, split(exclude, "--exclude"))
    sys.stdout.write((json.dumps(found.to_dict(), indent=2) if as_json else str(found)) + "\n")


@app.command()
def plot(
    model: ModelFile,
    table: TableFile,
    output: Annotated[Path, typer.Option("-o", "--output", help="A picture (.png, .pdf, .svg), or a folder for one more of each column.")],
    columns: Annotated[str | None, typer.Option(metavar="A,B,...", help="Columns to draw; all of the model's unless told.")] = None,
    rows: Annotated[int, typer.Option(min=2, help="The most rows to draw, chosen at random; as many samples.")] = 10_000,
    seed: FixedSeed = 0,
    delimiter: Delimiter = None,
    decimal: Decimal = None,
    encoding: Encoding = None,
    header: Header = None,
    missing: Missing = None,
) -> None:
    """Draw a table against samples. A picture of all pairs of columns, and in a folder one of each column, too."""
    flow, source = tables.loaded(model), opened(table, delimiter, decimal, encoding, header, missing)
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
        tables.check(flow, source)
        _draw_all(output, *tables.pictured(flow, source, drawn, rows, seed), drawn, tables.written(flow.schema, drawn))
        return
    values = some_rows(source, names + conditions, rows, np.random.default_rng(seed), flow.schema)
    values = complete(source, names + conditions, np.where(np.isinf(values), np.nan, values), drop=True)
    samples = _sample(flow, values[:, len(names) :], generator_of(seed))
    chosen = [names.index(name) for name in drawn]
    data, samples = values[:, chosen], samples[:, chosen]
    _draw_all(output, data, samples, drawn, {})


@app.command()
def compare(
    running: typer.Context,
    table: TableFile,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="A picture to write as well (.png, .pdf, .svg).")] = None,
    columns: Annotated[str | None, typer.Option(metavar="A,B,...", help="Columns; all that have a density unless told.")] = None,
    exclude: Exclude = None,
    kind: Kind = None,
    seconds: Annotated[float, typer.Option(help="Time of the processor for each model.")] = 30.0,
    seed: FixedSeed = 0,
    delimiter: Delimiter = None,
    decimal: Decimal = None,
    encoding: Encoding = None,
    header: Header = None,
    missing: Missing = None,
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
    source = opened(table, delimiter, decimal, encoding, header, missing, quiet)
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
        _draw(output, plots.nats(result))
    if sys.stdout is not None:
        sys.stdout.write(f"{result}\n")


def _draw_all(output: Path, data: Array, samples: Array, drawn: Sequence[str], written: dict[str, Any]) -> None:
    """Draw all pairs of columns, and into a folder each column as well."""
    if output.suffix:
        _draw(output, plots.pairs(data, samples, columns=drawn, written=written))
        return
    output.mkdir(parents=True, exist_ok=True)
    _draw(output / "pairs.png", plots.pairs(data, samples, columns=drawn, written=written))
    for index, name in enumerate(drawn):
        safe = re.sub(r"[^\w.-]+", "_", name)
        own = {name: written[name]} if name in written else {}
        _draw(output / f"{index + 1:02d}_{safe}.png", plots.compare(data[:, index], samples[:, index], columns=[name], written=own))


def _titles(columns: tuple[str, ...], conditions: tuple[str, ...]) -> str:
    return ", ".join(columns) + (f" given {', '.join(conditions)}" if conditions else "")


def _draw(target: Path, figure: Any) -> None:
    with replacing(target) as part:
        figure.savefig(part, format=target.suffix[1:])
    say(f"wrote {target}")


def _sample(flow: pushforward.Flow, contexts: Array, generator: torch.Generator) -> Array:
    """Draw one row for each row of contexts, which have no columns if the flow is not conditional."""
    given = torch.as_tensor(contexts, dtype=flow.dtype)
    drawn = flow.sample((), given, generator=generator) if flow.context_shape else flow.sample((len(given),), generator=generator)
    values: Array = drawn.to(torch.float64).numpy()
    return values if flow.schema is None or flow.columns is None else flow.schema.part(flow.columns).in_kind(values)
