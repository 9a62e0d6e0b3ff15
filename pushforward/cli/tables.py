"""What the commands do with a model of a table whose columns are of all kinds."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import typer

from pushforward.cli.arguments import generator_of, say
from pushforward.core.draws import Drawing
from pushforward.data import cells
from pushforward.data.ranges import cell_of
from pushforward.data.reading import ROWS, Array, Table
from pushforward.data.schema import Column, Schema
from pushforward.data.schema.checking import say as problems_of
from pushforward.data.schema.column import DISCRETE, REFUSED
from pushforward.data.schema.finding import find_column, is_between
from pushforward.data.to_frames import zone_of
from pushforward.data.values import Values
from pushforward.files import load
from pushforward.flow.flow import Flow
from pushforward.tables.file import holds_table
from pushforward.tables.table_flow import TableFlow


def loaded(path: Path) -> Flow | TableFlow:
    """Read a model of either kind."""
    return TableFlow.load(path) if path.is_file() and _is_model(path) and holds_table(path) else load(path)


def _is_model(path: Path) -> bool:
    """Tell whether the header of a file is one of this library; what is wrong with others `load` says."""
    try:
        holds_table(path)
    except (ValueError, OSError):
        return False
    return True


def schema_of(table: Table, columns: Sequence[str], asked: bool, exclude: Sequence[str], kinds: dict[str, str]) -> tuple[Schema, list[str]]:
    """Return what columns of a table are, without those of which there is no density, and why these are left out.

    Args:
        table: The table.
        columns: The columns.
        asked: Whether they are asked for by name: one of which there is no density is an error then.
        exclude: Columns left out without a word.
        kinds: What some of them are.
    """
    wanted = [name for name in columns if name not in exclude]
    if unknown := [name for name in kinds if name not in wanted]:
        there = ", ".join(map(repr, wanted))
        raise ValueError(f"--kind {unknown[0]}={kinds[unknown[0]]}: expected a column that is fitted, {there}, got {unknown[0]!r}")
    texts = [name for name, kind in kinds.items() if is_between(kind)]
    found = [find_column(values, kinds.get(values.name), 1) for values in table.typed(wanted, texts=texts)]
    odd = {column.name: f"{column.kind}: {column.why}" for column in found if column.kind in REFUSED}
    odd |= {column.name: f"one value: {column.atoms[0][0]:g}" for column in found if _is_constant(column) and column.name not in odd}
    odd |= {name: table.left_out[name] for name in table.doubtful if name in wanted and name not in kinds}
    odd |= {column.name: "it has no name" for column in found if not column.name}
    if asked and (doubtful := [name for name in odd if name in table.doubtful]):
        table.read(doubtful)  # which says in which row
    if asked and odd:
        name, why = next(iter(odd.items()))
        raise ValueError(f"{table.path}: expected columns of which there is a density or a probability, got {name!r} ({why})")
    kept = tuple(column for column in found if column.name not in odd)
    return Schema(kept), [f"{name or '(no name)'} ({why})" for name, why in odd.items()]


def _is_constant(column: Column) -> bool:
    return column.numeric and not column.missing and [share for _, share in column.atoms] == [1.0]


def beyond_numbers(schema: Schema) -> list[str]:
    """Return in words which columns have what no density of numbers has: other kinds, missing values, values with a probability."""
    told = []
    for column in schema:
        parts = [column.kind] if column.kind in DISCRETE or not column.numeric else []
        parts += ["missing values"] if column.missing else []
        parts += ["values known between two others"] if column.between else []
        parts += ["values with a probability of their own"] if column.atoms else []
        told += [f"{column.name}: {', '.join(parts)}"] if parts else []
    return told


def given_cells(settings: Sequence[str], schema: Schema) -> dict[str, Any]:
    """Return ``COLUMN=VALUE`` settings by column, each as a value of the column's kind; nothing after the sign means a missing one.

    Of numbers and dates ``COLUMN=3..7``, ``COLUMN>5`` and the like say that two values alone are known, as `of_texts` reads them.
    """
    found: dict[str, Any] = {}
    for setting in settings:
        # Names and categories may have the sign in them.
        places = [at for at, sign in enumerate(setting) if sign in "=<>≤≥" and setting[:at].strip() in schema.names]
        name = setting[: places[0]].strip() if places else ""
        if not places or name in found:
            raise typer.BadParameter(f"--given {setting}: expected COLUMN=VALUE, each column once, of {', '.join(schema.names)}")
        text = setting[places[0] :].removeprefix("=").strip()
        found[name] = _cell(setting, schema[name], text)
    return found


def _cell(setting: str, column: Column, text: str) -> Any:
    if not text:
        return None
    if column.kind in DISCRETE:
        by_text = {str(category): category for category in column.categories}
        if text in by_text:
            return by_text[text]
        truth = cells.truths([text])
        if truth is not None and truth[0] in column.categories:
            return truth[0]
        number = cells.number(text)
        if number is not None and number[0] in column.categories and column.storage != "string":
            return number[0]
        raise typer.BadParameter(f"--given {setting}: expected one of {', '.join(map(str, column.categories[:20]))}, got {text!r}")

    def read(end: str) -> Any:
        return _moment(setting, column, end) if column.kind == "datetime" else _finite(setting, end)

    what = "a date such as 2024-12-31" if column.kind == "datetime" else "a number"
    try:
        cell = cell_of(text, read)
    except ValueError as error:
        raise typer.BadParameter(f"--given {setting}: {str(error).removeprefix('Between: ')}") from error
    if cell is None:
        raise typer.BadParameter(f"--given {setting}: expected {what}, got {text!r}; a range is told as in 3..7 or >5")
    return cell


def _finite(setting: str, text: str) -> float:
    value = float(text)
    if math.isfinite(value):
        return value
    raise typer.BadParameter(f"--given {setting}: expected a finite number")


def _moment(setting: str, column: Column, text: str) -> Any:
    moments = cells.dates([text])
    if moments is None or (moment := moments[0][0]) is None:
        return None
    if column.zone and moment.tzinfo is None:
        moment = moment.replace(tzinfo=zone_of(column.zone))
    elif moment.tzinfo is not None and not column.zone:
        raise typer.BadParameter(f"--given {setting}: expected a time without a zone, as the column has none, got {text!r}")
    return moment.date() if column.storage == "date" else moment


def parts_of(table: Table, schema: Schema) -> Iterator[dict[str, Values]]:
    """Iterate over parts of a table as columns by name."""
    table.known(schema.names)  # which says what there is instead of one that is not
    columns = dict(zip(schema.names, schema.values(table), strict=True))
    for start in range(0, len(next(iter(columns.values()))), ROWS):
        yield {name: values.part(slice(start, start + ROWS)) for name, values in columns.items()}


def check(schema: Schema, table: Table) -> None:
    """Refuse a table that a model's schema does not allow, by columns and rows."""
    if found := schema.problems(table):
        raise ValueError(f"{table.path}: {problems_of(found)}")


def made(schema: Schema, seed: int, double: bool) -> TableFlow:
    """Return a new model of the columns of a table, its first weights drawn from the seed."""
    with Drawing(seed):
        model = TableFlow(schema)
    return model.double() if double else model


def pictured(model: TableFlow, table: Table, columns: Sequence[str], most: int, seed: int) -> tuple[Array, Array]:
    """Return rows of a table, and as many samples, as numbers: categories by their place, moments in seconds.

    None has a missing value, or one that is known between two others alone.
    """
    places = [model.columns.index(name) for name in columns]
    coded = model.encode_all(table, asked=places)[0][:, places].numpy()
    whole = coded[~np.isnan(coded).any(1)]
    if not len(whole):
        raise ValueError(f"{table.path}: every row has a value that is missing, or known between two others alone; choose other columns")
    chosen = np.sort(np.random.default_rng(seed).permutation(len(whole))[:most])
    drawn = model.sample(min(most, len(coded)), generator=generator_of(seed), library="pyarrow")
    samples = model.encode(drawn, asked=places)[:, places].numpy()
    return whole[chosen], samples[~np.isnan(samples).any(1)]


def numbered(table: Any, columns: Sequence[str], number: int) -> Any:
    """Return an Arrow table after a column with a number, whose name none of the others has."""
    name = "imputation"
    while name in columns:
        name += "_"
    return table.add_column(0, name, [np.full(len(table), number)])


def written(schema: Schema, columns: Sequence[str]) -> dict[str, Any]:
    """Return how pictures write the numbers of columns that stand for something else."""
    named = {name: [str(one) for one in schema[name].categories] for name in columns if schema[name].categories}
    return named | {name: "date" for name in columns if schema[name].kind == "datetime"}


def announce(schema: Schema, left_out: Sequence[str], quiet: bool) -> None:
    """Say which columns are fitted, and why by a model of all kinds."""
    noted = f"left out: {', '.join(left_out)}" if left_out else ""
    told = beyond_numbers(schema)
    more = f" and {len(told) - 4} more" if len(told) > 4 else ""
    why = f"a TableFlow, since not all columns are plain numbers ({'; '.join(told[:4])}{more}); --flow NSF fits numbers alone"
    if not quiet:
        say("; ".join(filter(None, (noted, why))))
    elif noted:
        say(noted)
