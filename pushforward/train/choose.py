"""choose: a flow for a table, of a family and size that are chosen on held-out rows within a budget of time."""

from __future__ import annotations

import numbers
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.utils.data import DataLoader
from tqdm import tqdm

from pushforward.data.checks import blurred
from pushforward.data.frames import tables
from pushforward.data.schema import Schema
from pushforward.train import options as check
from pushforward.train.candidates import CANDIDATES, TABLES, Candidate, TableCandidate
from pushforward.train.history import History
from pushforward.train.limit import Limit
from pushforward.train.search import Chosen, Run, Search
from pushforward.train.tabled import Tabled, has_names, least_share, tabled
from pushforward.train.tables import HELD


def choose(
    data: Any,
    context: Any = None,
    *,
    seconds: float | Limit = 60.0,
    validation: Any = 0.1,
    candidates: Sequence[Candidate | TableCandidate] = (*CANDIDATES, *TABLES),
    columns: Sequence[str] | None = None,
    context_columns: Sequence[str] | None = None,
    schema: Schema | Mapping[str, str] | None = None,
    weights: Any = None,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
    seed: int = 0,
    progress: bool = True,
    callback: Callable[[History], object] | None = None,
) -> Chosen:
    r"""Choose a flow for a table, fit it, and return it with its history: the family and size that score held-out rows best.

    First the classical densities: one normal distribution with all covariances, and mixtures of normals by expectation maximisation. Then
    flows, of which one begins as the best of these: a quarter of the time for all of them, another for the better half, and the rest for
    the best, which goes on from where it is each time; where patience ends it before the time does, the next best goes on. A quarter that
    is too short even for measuring goes to the one over the best density. The best of all by the held-out rows is returned. The flow is
    a function of the time that there was: no seed repeats it exactly. As the held-out rows chose it, their loss flatters it a little:
    compare it with other models on rows that none has seen.

    Of a table with names the schema says what is tried. Where all columns are numbers without a step, an atom or a missing cell, flows
    and a `TableFlow` have densities in the same units, and compete. Of any other table only a `TableFlow` has one: independent
    columns, their copula, and two sizes of it are tried. Held-out nats are those of the mixed measure.
    Source: Non-stochastic Best Arm Identification and Hyperparameter Optimization (Jamieson, Talwalkar, 2016): successive halving.

    Args:
        data: A table with names, as for `Schema.find`: a frame, a mapping, or a file. Or rows ``(n, features)`` of numbers, or ``(n,)`` of
            one column, without a schema: whatever `fit` takes but a DataLoader.
        context: Rows ``(n, context)`` for a conditional density, for which mixtures are left out; the columns of a table are then
            numbers without a schema.
        seconds: Time that all of it may take, by the clock; measuring, and scoring the held-out rows, may come on top. A `Limit` counts by
            another clock.
        validation: Share of the rows to hold out; or rows, or (rows, context).
        candidates: What to choose among; `pushforward.train.CANDIDATES` and `pushforward.train.TABLES` are the usual ones.
        columns: Columns of a table that are data; None for all.
        context_columns: Columns of the same DataFrame that are context.
        schema: What the columns of a table are: a `Schema`, or kinds of some of them such as ``{"age": "count"}``; None to find out.
        weights: Weight of each row, ``(n,)``, as in `fit`.
        dtype: Precision of the flow (None: torch's default, or float64 where that does not carry the digits of a column).
        device: Where the flow is and computes (None: where torch makes tensors).
        seed: Seed of the split, of first weights and of the fits.
        progress: Show on stderr which candidate is fitted.
        callback: Called with the candidate's history after each epoch; all of it ends when it returns True.

    Returns:
        ``(flow, history)``. Ctrl-C ends it early, with ``history.interrupted``, and gives the best so far.

    Raises:
        ValueError: Nothing held out, options out of range, no candidate for such a table, and what `fit` raises of data.
        TypeError: A DataLoader, and what `fit` raises of data.
        FileNotFoundError: There is no such file.

    >>> flow, history = choose(torch.randn(200, 2), seconds=0.5, progress=False)
    >>> flow.event_shape, history.candidates[0].loss == history.best_loss
    (torch.Size([2]), True)
    """
    limit = Limit.of("choose", seconds, optional=False)
    check.seed("choose", seed)
    check.choice("choose", "progress", progress, (True, False))
    check.function("choose", "callback", callback)
    if isinstance(data, DataLoader) or isinstance(validation, DataLoader):
        raise TypeError("choose: expected rows in memory, which all candidates are fitted to, got a DataLoader; take `fit` with a flow")
    if validation is None:
        raise ValueError("choose: expected validation to be a share between 0 and 1, or rows, which choose; got None")
    if not isinstance(candidates, Sequence) or not all(isinstance(each, Candidate | TableCandidate) for each in candidates):
        raise TypeError(f"choose: expected candidates to be a list of Candidate or TableCandidate, got {candidates!r}")
    if schema is not None and not isinstance(schema, Schema | Mapping):
        raise TypeError(f"choose: expected schema to be a Schema or kinds by column, got {schema!r}")
    if has_names(data) and context is None and not context_columns:
        check.names("choose", "columns", columns)
        table = tabled("choose", data, columns, schema)
        rows = {"validation": validation, "weights": weights, "seed": seed, "callback": callback}
        runs = _of_table(table, candidates, rows, dtype, device)
    else:
        if schema is not None:
            raise ValueError("choose: expected a table with names, and no context, of whose columns a schema tells")
        rows = {
            "data": data, "context": context, "validation": validation, "columns": columns, "context_columns": context_columns,
            "weights": weights, "seed": seed, "callback": callback,
        }  # fmt: skip
        runs = _of_numbers(candidates, rows, dtype, device)
    with tqdm(disable=not progress, desc="choose", unit="fit") as bar:
        search = Search(runs, limit, bar)
        search.run()
    return search.best()


def _of_numbers(
    candidates: Sequence[Candidate | TableCandidate], rows: dict[str, Any], dtype: torch.dtype | None, device: Any
) -> list[Run]:
    """Return the flows that suit rows of numbers."""
    x, c = tables("choose", rows["data"], rows["context"], rows["columns"], rows["context_columns"])
    width, given = x.shape[1], 0 if c is None else c.shape[1]
    dtype = dtype or _carrying(x, c)
    suited = [each for each in candidates if isinstance(each, Candidate) and each.suits(width, given, len(x))]
    if not suited:
        raise ValueError(f"choose: expected a candidate for {width} features, {given} of context and {len(x)} rows, got {candidates!r}")
    return [Run(each, each.make(width, given, rows["seed"]).to(device, dtype), rows) for each in suited]


def _of_table(
    table: Tabled, candidates: Sequence[Candidate | TableCandidate], rows: dict[str, Any], dtype: torch.dtype | None, device: Any
) -> list[Run]:
    """Return the models that suit a table, each of which scores the same rows in the same measure."""
    width, count, held = len(table.schema), len(table.coded), rows["validation"]
    flows = [each for each in candidates if isinstance(each, Candidate) and table.plain and each.suits(width, 0, count)]
    typed = [each for each in candidates if isinstance(each, TableCandidate)]
    if not flows and not typed:
        told = "; ".join(f"{name}: {what}" for name, what in table.beyond.items()) or f"{count} rows of {width} columns, on a grid in part"
        raise ValueError(
            f"choose: expected a candidate for {told}; only a TableCandidate has a density of such a table, got {candidates!r}"
        )
    share = least_share(held, count, HELD) if typed else held
    # A flow of numbers sees the rows as they are coded, so that the same are held out.
    seen = share if not flows or isinstance(share, numbers.Real | str) else table.rows_of("choose", share)[:HELD]
    runs = []
    for each in flows:
        flow = each.make(width, 0, rows["seed"]).to(device, dtype or _carrying(table.coded, None))
        flow.columns, flow.schema = table.schema.names, table.schema
        runs.append(Run(each, flow, {**rows, "data": table.coded, "validation": seen}))
    return runs + [
        Run(each, each.make(table.schema, rows["seed"]).to(device, dtype), {**rows, "data": table.data, "validation": share})
        for each in typed
    ]


def _carrying(x: torch.Tensor, context: torch.Tensor | None) -> torch.dtype:
    """Return torch's precision, or float64 where that does not carry the digits of a column."""
    usual = torch.get_default_dtype()
    return torch.float64 if blurred(x, usual) or (context is not None and blurred(context, usual)) else usual
