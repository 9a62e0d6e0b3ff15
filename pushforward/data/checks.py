"""Checks of data before the first step: rows and columns that cannot be trained on are named."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from pushforward.core import sets
from pushforward.data.frames import few
from pushforward.data.rows import SAMPLE, Rows
from pushforward.flow.flow import Flow

LEAST, CELLS = 4096, 2**24
"""Rows, and where these are enough values, that are looked at at most."""
COARSE = 64
"""How many roundings fit into the half width of the middle nine tenths of a column, at least."""


def check_rows(flow: Flow, rows: Rows, dtype: torch.dtype, first: int = 0, which: str = "") -> None:
    """Raise ValueError where a row is not finite in ``dtype``, or lies outside the flow's support; rows count from ``first``."""
    for what, values, names in (("data", rows.x, rows.columns), ("context", rows.context, rows.context_columns)):
        if values is None:
            continue
        bad: list[int] = []
        outside: list[int] = []
        elements: set[int] = set()
        for start in range(0, len(values), SAMPLE):
            part = values[start : start + SAMPLE].to(dtype)
            wrong = ~torch.isfinite(part.reshape(len(part), -1))
            bad += (wrong.any(1).nonzero().squeeze(-1) + first + start).tolist()
            elements.update(wrong.any(0).nonzero().squeeze(-1).tolist())
            if what == "data":
                part = torch.where(torch.isfinite(part), part, torch.full_like(part, sets.inner_point(*_ends(flow))))
                inside: Tensor = flow.support.check(part)
                outside += ((~inside).nonzero().squeeze(-1) + first + start).tolist()
        if bad:
            where = ", ".join(element_name(i, values.shape[1:], names) for i in sorted(elements)[:5])
            raise ValueError(
                f"fit: expected finite {which}{what} in {dtype}, got NaN, infinite or too large numbers in {len(bad)} rows: {few(bad)} "
                f"({where}); drop these rows or fill them in"
            )
        if outside:
            raise ValueError(
                f"fit: expected {which}data in {sets.name(flow.support)}, the flow's support, got others in rows {few(outside)}"
            )


def check_spread(rows: Rows, dtype: torch.dtype) -> None:
    """Raise ValueError for a column that is constant, or whose digits ``dtype`` does not carry."""
    if len(rows) < 2:
        raise ValueError(f"fit: expected at least 2 rows to train on, got {len(rows)}")
    for what, values, names in (("data", rows.x, rows.columns), ("context", rows.context, rows.context_columns)):
        if values is None:
            continue
        flat = values.reshape(len(values), -1)
        low, high = flat.amin(0).to(dtype), flat.amax(0).to(dtype)
        element = lambda i, v=values, n=names: element_name(i, v.shape[1:], n)  # noqa: E731
        coarse = blurred(flat, dtype)
        if coarse:
            raise ValueError(
                f"fit: expected {what} that {dtype} can tell apart, got a large offset and a small spread in {named(map(element, coarse))}"
                "; subtract the offset, or use float64: flow.double()"
            )
        if constant := (low == high).nonzero().squeeze(-1).tolist():
            raise ValueError(
                f"fit: expected columns that vary, got {what} with {len(constant)} constant in {dtype} over the {len(rows)} rows to train "
                f"on: {named(map(element, constant))}; leave them out"
            )
        spread = flat.double().std(0, correction=0)
        if lost := (~torch.isfinite(spread) | (spread == 0)).nonzero().squeeze(-1).tolist():
            raise ValueError(
                f"fit: expected {what} whose spread has a square among the numbers of torch.float64, got too small or too large a one in "
                f"{named(map(element, lost))}; give them in other units"
            )


def blurred(flat: Tensor, dtype: torch.dtype) -> list[int]:
    """Return the columns whose digits a precision does not carry: they vary, but rounding leaves few values where most of them are.

    A rounding is 1/64 of half the width of the middle nine tenths there, or more: some 130 values are left of these, and a density sees
    them as a grid. Columns that the rows themselves hold in no more digits are not meant: they are on that grid already.
    """
    some = some_of(flat)
    if torch.finfo(some.dtype).eps >= torch.finfo(dtype).eps:
        return []
    ordered = some.double().sort(0).values
    place = [round(share * (len(ordered) - 1)) for share in (0.05, 0.5, 0.95)]
    low, middle, high = ordered[place]
    spread = torch.where(high > low, (high - low) / 2, ordered.std(0, correction=0))
    rounding = torch.finfo(dtype).eps * torch.maximum(middle.abs(), spread)
    return (COARSE * rounding > spread).logical_and(spread > 0).nonzero().squeeze(-1).tolist()


def named(names: Iterable[str]) -> str:
    """Return the first few names, and how many more there are."""
    listed = list(names)
    return ", ".join(listed[:5]) + (f" and {len(listed) - 5} more" if len(listed) > 5 else "")


def some_of(values: Tensor) -> Tensor:
    """Return at most `SAMPLE` rows, spread evenly, and of many columns fewer: as many as `CELLS` values."""
    count = max(LEAST, min(SAMPLE, CELLS // max(1, math.prod(values.shape[1:]))))
    return values[:: -(-len(values) // count)]


def _ends(flow: Flow) -> tuple[float, float]:
    return sets.bounds(flow.support) or (0.0, 1.0)


def element_name(index: int, shape: Sequence[int], names: Sequence[str] | None) -> str:
    """Return the name of an element of an event in words: its column's name, its number, or its place."""
    if not shape:
        return "the values"
    if names is not None and len(shape) == 1:
        return f"column {names[index]!r}"
    place = np.unravel_index(index, tuple(shape))
    return f"column {index}" if len(shape) == 1 else f"element {tuple(int(i) for i in place)}"
