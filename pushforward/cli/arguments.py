"""What the commands are told: lists of names, settings and files, checked before any work."""

from __future__ import annotations

import csv
import io
import math
import shlex
import sys
from collections.abc import Mapping, Sequence
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
import torch
import typer
from torch.distributions import constraints

from pushforward.data.frames import few
from pushforward.data.reading import Array, Table, TableError
from pushforward.data.schema import Schema
from pushforward.data.schema.checking import say as problems_of
from pushforward.data.schema.finding import find_column
from pushforward.data.schema.settling import grid_of
from pushforward.data.values import NUMBERS
from pushforward.data.writing import check_target
from pushforward.flow.flow import Flow
from pushforward.layers.continuous import ContinuousModule
from pushforward.recipes.choice import NAMED, known_name
from pushforward.train.objective import COUPLINGS, OBJECTIVES, FlowMatching, Likelihood
from pushforward.train.paths import PATHS

WORDS = {"path": tuple(PATHS), "coupling": COUPLINGS}
"""Options of flow matching, and the words that they take."""


def split(names: str | None, option: str) -> tuple[str, ...]:
    """Return the names of a list with commas; one with a comma in it stands in quotes, as in CSV."""
    try:
        found = () if names is None else tuple(name.strip() for name in next(csv.reader([names], skipinitialspace=True, strict=True), []))
    except csv.Error:
        found = ()
    if names is not None and (not found or not all(found)):
        raise typer.BadParameter(f"{option}: expected names with commas between them, got {names!r}")
    if twice := [name for name in found if found.count(name) > 1 and option not in ("--widths", "--missing")]:
        raise typer.BadParameter(f"{option}: expected each column once, got {twice[0]!r} twice")
    return found


def kinds_of(settings: Sequence[str]) -> dict[str, str]:
    """Return ``COLUMN=KIND`` settings by column."""
    kinds: dict[str, str] = {}
    for setting in settings:
        name, given, kind = setting.rpartition("=")
        if not given or not name or name in kinds:
            raise typer.BadParameter(f"--kind {setting}: expected COLUMN=KIND once for a column, such as age=count or wind=circular:360")
        kinds[name] = kind
    return kinds


def given_row(settings: Sequence[str], conditions: tuple[str, ...]) -> Array:
    """Return ``COLUMN=VALUE`` settings as one row of contexts."""
    values: dict[str, float] = {}
    for setting in settings:
        name, _, text = setting.rpartition("=")
        if name not in conditions or name in values:
            raise typer.BadParameter(f"--given {setting}: expected COLUMN=VALUE once for each of {', '.join(conditions)}")
        try:
            values[name] = float(text)
        except ValueError:
            raise typer.BadParameter(f"--given {setting}: expected a number, got {text!r}") from None
        if not math.isfinite(values[name]):
            raise typer.BadParameter(f"--given {setting}: expected a finite number")
    if missing := [name for name in conditions if name not in values]:
        raise typer.BadParameter(f"expected --given {missing[0]}=VALUE, since the model is conditional on {', '.join(conditions)}")
    return np.array([[values[name] for name in conditions]])


def named_flow(name: str | None) -> str | None:
    """Return the name of a flow as it is known; refuse one that is none."""
    if name is None:
        return None
    known = known_name(name)
    if known is None:
        raise typer.BadParameter(f"expected one of {', '.join(NAMED)}, got {name!r}")
    return known


def plan_options(flow: str, transforms: int | None, widths: str | None, bins: int | None) -> dict[str, Any]:
    """Return what was told of a flow's plan, as arguments of the function that makes it."""
    options: dict[str, Any] = {"transforms": transforms, "widths": widths, "bins": bins}
    options = {name: value for name, value in options.items() if value is not None}
    for option in options:
        *others, last = [name for name, made in NAMED.items() if option in signature(made).parameters]
        if flow not in (*others, last):
            raise typer.BadParameter(f"--{option}: only {', '.join(others)} and {last} have it, got --flow {flow}")
    if widths is not None:
        parts = split(widths, "--widths")
        if not all(part.isdecimal() and int(part) > 0 for part in parts):
            raise typer.BadParameter(f"--widths: expected whole numbers such as 64,64, got {widths!r}")
        options["widths"] = tuple(int(part) for part in parts)
    return options


def objective_of(
    objective: str | None, options: Mapping[str, Any], flow: str, transforms: int | None
) -> str | FlowMatching | Likelihood | None:
    """Return what a fit is told of its objective; refuse what is no objective, has no such options, or asks for one velocity field.

    Args:
        objective: Its name (None: likelihood).
        options: Of ``path`` and ``coupling``, which flow matching has, and ``kinetic`` and ``jacobian``, which likelihood has; None where
            not told.
        flow: The kind of flow.
        transforms: How many layers it is told to have.
    """
    if objective is not None and objective not in OBJECTIVES:
        raise typer.BadParameter(f"--objective: expected {' or '.join(OBJECTIVES)}, got {objective!r}")
    told = {name: value for name, value in options.items() if value is not None}
    made: type[FlowMatching | Likelihood] = FlowMatching if objective == "flow_matching" else Likelihood
    for name, value in told.items():
        if name not in signature(made).parameters:
            other = "likelihood" if made is FlowMatching else "flow_matching"
            raise typer.BadParameter(f"--{name}: only --objective {other} has it, got {objective or 'likelihood'}")
        if name in WORDS and value not in WORDS[name]:
            *words, last = WORDS[name]
            raise typer.BadParameter(f"--{name}: expected {', '.join(words)} or {last}, got {value!r}")
        if name not in WORDS and not 0 <= value < math.inf:
            raise typer.BadParameter(f"--{name}: expected a finite number of at least 0, got {value}")
    asked = next((f"--{name}" for name in told), None) if made is Likelihood else f"--objective {objective}"
    if asked and not _fields(flow):
        *others, last = filter(_fields, NAMED)
        have = "the velocity field that it trains" if made is FlowMatching else "a velocity field"
        raise typer.BadParameter(f"{asked}: only {', '.join(others)} and {last} have {have}, got --flow {flow}")
    if made is FlowMatching and _fields(flow, transforms) > 1:
        raise typer.BadParameter(f"--transforms: expected 1 with --objective {objective}, which trains one field, got {transforms}")
    return made(**told) if told else objective


def _fields(flow: str, transforms: int | None = None) -> int:
    """Return how many velocity fields a named flow has."""
    made = NAMED[flow](2, **({} if transforms is None else {"transforms": transforms}))
    return sum(isinstance(layer, ContinuousModule) for layer in made.transform.leaves())


def supports(flow: str, schema: Schema, spread: bool) -> list[Any]:
    """Return the set of each column, by its bounds: of a grid that is spread, to the ends of its outermost cells."""
    *others, last = [name for name, made in NAMED.items() if "support" in signature(made).parameters]
    if flow not in (*others, last):
        raise typer.BadParameter(f"--support: only {', '.join(others)} and {last} have it, got --flow {flow}")
    sets: list[Any] = []
    for column in schema:
        low, high = grid_of(column).ends if spread else (column.low, column.high)
        if low is None:
            sets.append("real")
        else:
            sets.append(constraints.greater_than(low) if high is None else constraints.interval(low, high))
    return sets


def check_above(value: float | None, option: str) -> None:
    """Refuse what is no finite number above 0."""
    if value is not None and not 0 < value < math.inf:
        raise typer.BadParameter(f"{option}: expected a finite number above 0, got {value}")


def check_share(value: float | None) -> None:
    """Refuse a share of the rows that is none."""
    if value is not None and not 0 < value < 1:
        raise typer.BadParameter(f"--validation: expected a share between 0 and 1, got {value}")


def check_output(output: Path | None, inputs: Sequence[Path | None], ending: bool = True) -> None:
    """Refuse, before any work, an output that cannot be written or that would replace an input."""
    if output is None:
        if sys.stdout is None:
            raise typer.BadParameter("standard output is closed: expected a file, -o")
        return
    try:
        check_target(output, ending)
    except (OSError, ValueError) as error:
        raise type(error)(f"--output: {error}") from error
    if any(path is not None and path.exists() and output.exists() and output.samefile(path) for path in inputs):
        raise typer.BadParameter(f"{output} would replace the file that is read; write to another name")


def columns_of(flow: Flow, table: Table | None = None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the names of the flow's columns and of its context: those saved in the model, else those of the table, else numbers."""
    event, given = tuple(flow.event_shape), flow.context_shape or (0,)
    if len(event) != 1 or len(given) != 1:
        raise ValueError(f"expected a model of the rows of a table, got one of events {event} given {given}")
    if flow.columns is not None:
        return flow.columns, flow.context_columns or ()
    count = event[0] + given[0]
    names = tuple(map(str, range(count))) if table is None else table.numeric
    if len(names) != count:
        raise ValueError(f"the model has no column names, so {count} numeric columns are expected in {table.path}, got {', '.join(names)}")  # type: ignore[union-attr]
    return names[: event[0]], names[event[0] :]


def complete(table: Table, columns: tuple[str, ...], rows: Array, drop: bool, hint: str = "", before: int = 0) -> Array:
    """Return the rows without missing values; they are dropped, with a word about it, or there must be none. No value may be infinite.

    Args:
        table: Where the rows are from.
        columns: What they are columns of.
        rows: ``(rows, columns)``.
        drop: Whether to drop rows with missing values.
        hint: What to do about them, if not.
        before: How many rows of the table are before these.
    """
    if len(infinite := np.flatnonzero(np.isinf(rows).any(axis=1))):
        where = ", ".join(repr(columns[place]) for place in np.flatnonzero(np.isinf(rows).any(axis=0)))
        raise ValueError(
            f"{table.path}: expected finite values, got infinite ones in row{'s' * (len(infinite) > 1)} "
            f"{few((infinite + before + 1).tolist())} of {where}; correct them, or take them as missing with --missing inf,-inf"
        )
    whole = ~np.isnan(rows).any(axis=1)
    missing = len(rows) - int(whole.sum())
    if not missing:
        return rows
    if not drop:
        where = ", ".join(repr(columns[place]) for place in np.flatnonzero(np.isnan(rows).any(axis=0)))
        found = few((np.flatnonzero(~whole) + before + 1).tolist())
        raise ValueError(f"{table.path}: {missing} of {len(rows)} rows have missing values{hint}; they are in {where}, in rows {found}")
    if missing == len(rows):
        raise ValueError(f"{table.path}: every row has a missing value; choose other columns")
    say(f"left out {missing} of {len(rows)} rows of {table.path}, which have missing values")
    return rows[whole]


def read_numbers(table: Table, columns: tuple[str, ...], kinds: Mapping[str, str]) -> tuple[Array, Schema]:
    """Read columns of numbers, and find what they are unless it is told, in one pass.

    Raises:
        TableError: A column has anything but numbers.
        ValueError: Values are none of the kind that is told.
    """
    if unknown := [name for name in kinds if name not in columns]:
        there = ", ".join(map(repr, columns))
        raise ValueError(f"--kind {unknown[0]}={kinds[unknown[0]]}: expected a column that is fitted, {there}, got {unknown[0]!r}")
    values = list(table.typed(columns))
    # Of a column that holds no numbers reading says what is there, and in which row; one without any value is all missing.
    numbers = all(each.storage in NUMBERS for each in values)
    rows = np.stack([each.values for each in values], axis=1) if numbers else table.read(columns)
    if not len(rows):
        raise TableError(f"{table.path}: expected rows, got none")
    schema = Schema(tuple(find_column(each, kinds.get(each.name), 1) for each in values))
    return rows, schema


def check_rows(table: Table, schema: Schema | None, columns: tuple[str, ...], rows: Array, before: int = 0) -> None:
    """Refuse rows that a model's schema does not allow; missing values are another matter."""
    if schema is not None and (found := schema.part(columns).outside(rows, before + 1)[1]):
        raise ValueError(f"{table.path}: {problems_of(found)}")


def refuse_constants(table: Table, columns: tuple[str, ...], rows: Array) -> None:
    """Refuse columns that have one value in all rows: there is no density of them."""
    if len(rows) > 1 and len(places := np.flatnonzero(rows.min(axis=0) == rows.max(axis=0))):
        told = ", ".join(f"{columns[place]!r} (always {rows[0, place]:.6g})" for place in places[:5]) + ", ..." * (len(places) > 5)
        raise ValueError(f"{table.path}: expected columns that vary, got constant ones: {told}; {leave_out([columns[p] for p in places])}")


def leave_out(names: Sequence[str]) -> str:
    """Return the option that leaves out columns, in words to copy."""
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(names)
    return f"leave them out with --exclude {shlex.quote(text.getvalue())}"


def some_rows(table: Table, columns: tuple[str, ...], count: int, random: np.random.Generator, schema: Schema | None = None) -> Array:
    """Return at most ``count`` rows, each with the same chance, from a table of any length; refuse what a schema does not allow."""
    kept, keys, before = np.empty((0, len(columns))), np.empty(0), 0
    for rows in table.chunks(columns):
        # A picture leaves out what is infinite, and says so.
        check_rows(table, schema, columns, np.where(np.isinf(rows), np.nan, rows), before)
        before += len(rows)
        kept, keys = np.concatenate([kept, rows]), np.concatenate([keys, random.random(len(rows))])
        lowest = np.sort(np.argsort(keys)[:count])
        kept, keys = kept[lowest], keys[lowest]
    return kept


def generator_of(seed: int | None) -> torch.Generator:
    """Return a source of random numbers; a fresh one for None."""
    generator = torch.Generator()
    if seed is None:
        generator.seed()
        return generator
    return generator.manual_seed(seed)


def whole_of(flow: Flow) -> tuple[str, ...]:
    """Return the columns of a flow whose values are whole numbers."""
    wanted = flow.columns or ()
    return () if flow.schema is None else tuple(column.name for column in flow.schema if column.name in wanted and column.whole)


def dtype_of(flow: Flow) -> Any:
    """Return the precision in which a flow's samples and scores are written."""
    return np.float64 if flow.dtype == torch.float64 else np.float32


def say(message: str) -> None:
    """Write one line to standard error, of characters that a terminal shows."""
    shown = "".join(c if c.isprintable() else " " for c in message)
    sys.stderr.write(f"pushforward: {' '.join(shown.split())}\n")


def titles(columns: tuple[str, ...], conditions: tuple[str, ...]) -> str:
    """Return columns, and those that they are conditioned on, in words."""
    return ", ".join(columns) + (f" given {', '.join(conditions)}" if conditions else "")
