"""Rows: data, context and weights side by side, in memory or from a loader, in batches."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from pushforward.data.weights import relative

SAMPLE = 65536
"""Rows from which location, scale and oddities are measured at most."""


@dataclass
class Rows:
    """Rows in memory as a flow takes them: ``x`` (n, *event), ``context`` (n, *context), ``weights`` (n), the largest of which is 1.

    Of a table there are names as well, and the schema of the columns of data and context.
    """

    x: Tensor
    context: Tensor | None = None
    weights: Tensor | None = None
    columns: tuple[str, ...] | None = None
    context_columns: tuple[str, ...] | None = None
    schema: Any = None

    def __len__(self) -> int:
        return len(self.x)

    def map(self, change: Callable[[Tensor], Tensor]) -> Rows:
        """Return the rows with data, context and weights changed alike."""
        x, context, weights = (None if t is None else change(t) for t in (self.x, self.context, self.weights))
        assert x is not None
        return Rows(x, context, weights, self.columns, self.context_columns, self.schema)

    def part(self, rows: slice) -> Rows:
        """Return some of the rows, without a copy."""
        return self.map(lambda t: t[rows])

    def take(self, index: Tensor) -> Rows:
        """Return the rows that ``index`` names."""
        return self.map(lambda t: t[index.to(t.device)])

    def batches(self, size: int, generator: torch.Generator | None = None) -> Iterator[Rows]:
        """Give all rows in batches of nearly one size, at most ``size``: in random order with a generator, else in their own."""
        count = -(-len(self) // size)
        if generator is None:
            for start in range(0, len(self), size):
                yield self.part(slice(start, start + size))
        else:
            for index in torch.randperm(len(self), generator=generator).tensor_split(count):
                yield self.take(index)

    def typical(self, generator: torch.Generator) -> Rows:
        """Return at most `SAMPLE` rows, evenly spread, drawn by their weights where there are weights."""
        some = self.part(slice(None, None, -(-len(self) // SAMPLE)))
        if some.weights is None:
            return some
        drawn = some.take(torch.multinomial(some.weights.cpu().double(), len(some), replacement=True, generator=generator))
        # A few heavy rows may be all that is drawn; location and scale then come from the rows as they are.
        each = [part.reshape(len(drawn), -1) for part in (drawn.x, drawn.context) if part is not None]
        return drawn if all(bool((flat.amin(0) < flat.amax(0)).all()) for flat in each) else some


def apart(owner: str, rows: Rows, share: float, generator: torch.Generator) -> tuple[Rows, Rows]:
    """Return rows to train on and a share of them, drawn at random, that is held out; raise ValueError where they are too few."""
    count = max(1, round(share * len(rows)))
    if len(rows) - count < 2:
        raise ValueError(f"{owner}: expected at least 3 rows, {count} to hold out and 2 to train on, got {len(rows)}; see validation=None")
    order = torch.randperm(len(rows), generator=generator)
    return _weighed(owner, rows.take(order[count:])), _weighed(owner, rows.take(order[:count]))


def _weighed(owner: str, rows: Rows) -> Rows:
    """Return some of the rows with weights of which the largest is 1 again: what is light beside others may be all that is held out."""
    return rows if rows.weights is None else dataclasses.replace(rows, weights=relative(owner, rows.weights))


@dataclass
class Stream:
    """Rows that a torch DataLoader gives, batch by batch, as x or as (x, context).

    Args:
        loader: What is read anew for each pass; its batches have their own size and order.
        read: Makes checked rows of the number of rows before, and of what the loader gave.
        items: Gives what the loader gives.
        what: Whose rows these are, for error messages.
    """

    loader: DataLoader[Any]
    read: Callable[..., Rows]
    items: Callable[[DataLoader[Any]], Iterator[Any]] = iter
    what: str = "fit"
    columns: tuple[str, ...] | None = None
    context_columns: tuple[str, ...] | None = None

    def batches(self, size: int = 0, generator: torch.Generator | None = None) -> Iterator[Rows]:
        """Give the loader's own batches."""
        seen = 0
        for item in self.items(self.loader):
            parts = list(item) if isinstance(item, list | tuple) else [item]
            if len(parts) not in (1, 2):
                raise ValueError(f"{self.what}: expected a DataLoader of x or (x, context), got one that gives {len(parts)} parts")
            rows = self.read(seen, *parts)
            seen += len(rows)
            yield rows

    def typical(self, generator: torch.Generator) -> Rows:
        """Return at most `SAMPLE` rows from all parts of the stream."""
        kept: list[Rows] = []
        stride, seen = 1, 0
        for rows in self.batches():
            # Every stride-th row of the whole stream; when there are too many, every second of them.
            first = -seen % stride
            seen += len(rows)
            if first < len(rows):
                kept.append(rows.part(slice(first, None, stride)).map(torch.clone))
            if sum(map(len, kept)) > SAMPLE:
                kept, stride = [join(kept).part(slice(None, None, 2)).map(torch.clone)], 2 * stride
        if not seen:
            raise ValueError(f"{self.what}: expected rows of data, got a DataLoader without any")
        if next(self.batches(), None) is None:
            raise ValueError(
                f"{self.what}: expected a DataLoader that gives its rows anew each time, since every epoch reads them, got one that gave "
                f"{seen} rows once and then none; is its dataset a generator? Make it one that starts again, or a list"
            )
        return join(kept)


def join(parts: Sequence[Rows]) -> Rows:
    """Return rows one after the other."""
    context = None if parts[0].context is None else torch.cat([part.context for part in parts if part.context is not None])
    return Rows(torch.cat([part.x for part in parts]), context)
