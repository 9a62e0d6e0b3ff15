"""compare: flows and classical densities of a table, in equal time of the processor, scored on the same rows in the same measure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from tqdm import tqdm

from pushforward.data.frames import tables
from pushforward.data.rows import Rows
from pushforward.data.schema import Schema
from pushforward.data.weights import of_rows
from pushforward.train import options as check
from pushforward.train.bench import Bench
from pushforward.train.comparison import Comparison
from pushforward.train.history import History
from pushforward.train.tabled import has_names, least_share, tabled

LEAST = 10
"""Rows of a table, at least."""
MOST = 10_000
"""Rows of a table that a share holds out, at most."""


def compare(
    data: Any,
    *,
    seconds: float = 30.0,
    held: Any = 0.2,
    columns: Sequence[str] | None = None,
    schema: Schema | Mapping[str, str] | None = None,
    weights: Any = None,
    seed: int = 0,
    progress: bool = True,
    callback: Callable[[History], object] | None = None,
) -> Comparison:
    r"""Fit flows and classical densities to a table in equal time each, and score rows that none has seen.

    These are independent columns; their normal copula; latent classes beside it, which a `TableFlow` starts from; where all cells are
    numbers and none has a probability of its own, one normal distribution, the mixture of as many normals as a tenth of its rows chooses,
    and `NSF`; and a `TableFlow`. All are scored in the mixed measure of a `TableFlow`. On a grid that is the probability of a cell by its
    width: flows of
    numbers are fitted to values spread evenly over their cells, and their density is averaged over 32 points of the cell, one in each
    part of each side: an estimate that is a little low rather than high. A schema that is found is found from all rows, those held out
    among them.
    Source: A note on the evaluation of generative models (Theis, van den Oord, Bethge, 2016); A Comparison of Three Methods for Selecting
    Values of Input Variables (McKay, Beckman, Conover, 1979).

    Args:
        data: A table, as for `Schema.find`: a frame, a mapping, a file, or an array ``(n, columns)`` of numbers.
        seconds: Time of the processor that each model may take, on all threads; what ends it is looked at after each step.
        held: Share of the rows that is held out of all fits, 10,000 of them at most; or a table of such rows.
        columns: Columns of the table; None for all.
        schema: What they are: a `Schema`, or kinds of some of them such as ``{"age": "count"}``; None to find out.
        weights: Weight of each row, ``(n,)``, at least 0, in fits and in means over rows held out.
        seed: Seed of the split, of first weights and of the fits.
        progress: Show on stderr which model is fitted.
        callback: Called with the history of a fit after each epoch; where it returns True the comparison is ended as by Ctrl-C.

    Raises:
        ValueError: Too few rows, a column without a density or a probability, options out of range.
        TypeError: The schema or the callback is none.
        FileNotFoundError: There is no such file.
        KeyboardInterrupt: It was ended: half a comparison is none.

    >>> table = {"city": ["Bonn", "Ulm"] * 50, "height": [170.0 + i % 17 + i / 100 for i in range(100)]}
    >>> found = compare(table, seconds=0.2, progress=False)
    >>> len(found.rows), found.held, list(found.left_out)
    (4, 20, ['one normal', 'mixture of normals', 'NSF'])
    """
    check.real("compare", "seconds", seconds)
    check.names("compare", "columns", columns)
    check.seed("compare", seed)
    check.choice("compare", "progress", progress, (True, False))
    check.function("compare", "callback", callback)
    if schema is not None and not isinstance(schema, Schema | Mapping):
        raise TypeError(f"compare: expected schema to be a Schema or kinds by column, got {schema!r}")
    share = check.is_number(held)
    if isinstance(held, bool | str) or held is None or (share and not 0 < held < 1):
        raise ValueError(f"compare: expected held to be a share between 0 and 1, or a table, got {held!r}")
    table = tabled("compare", _named(data), columns, schema)
    heavy = torch.ones(len(table.coded)) if weights is None else of_rows("compare", weights, len(table.coded))
    places = (heavy > 0).nonzero().squeeze(-1)
    if len(places) < LEAST:
        raise ValueError(f"compare: expected at least {LEAST} rows, got {len(places)}")
    whole = Rows(table.coded, table.bounds, heavy.double())  # what else is known of cells goes with the rows
    if share:
        part = least_share(float(held), len(places), MOST)
        mixed = places[torch.randperm(len(places), generator=torch.Generator().manual_seed(int(seed)))]
        count = round(part * len(places))
        seen, test = mixed[count:].sort().values, whole.take(mixed[:count])
    else:
        seen, test = places, Rows(*table.cells_of("compare", _named(held)))
    if len(seen) < LEAST // 2 or len(test) < 2:
        raise ValueError(f"compare: expected at least {LEAST // 2} rows to fit to and 2 to score, got {len(seen)} and {len(test)}")
    bench = Bench(table, seen, whole.take(seen), test, weights is not None, float(seconds), int(seed), callback)
    with tqdm(disable=not progress, desc="compare", unit="model") as bar:
        for name, model in bench.models().items():
            bar.set_postfix_str(name)
            bench.run(name, model)
            bar.update()
    return bench.found()


def _named(data: Any) -> Any:
    """Return a table as it is, and rows of numbers as one whose columns are called 0, 1, ..."""
    if has_names(data):
        return data
    rows = tables("compare", data)[0].detach().cpu().numpy()
    return {str(place): column for place, column in enumerate(rows.T)}
