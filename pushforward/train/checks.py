"""Checks of data before the first step: rows and columns that cannot be trained on are named."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from pushforward import supports
from pushforward.flow import Flow
from pushforward.train.data import few
from pushforward.train.rows import SAMPLE, Rows

DISTINCT = 256
"""Distinct values of a column up to which a flow can tell them apart, and put a spike on each."""


def check_rows(flow: Flow, rows: Rows, dtype: torch.dtype, first: int = 0, which: str = "") -> None:
    """Raise ValueError where a row is not finite in ``dtype``, or lies outside the flow's support; rows count from ``first``."""
    for what, values, names in (("data", rows.x, rows.columns), ("context", rows.context, rows.context_columns)):
        if values is None:
            continue
        bad: list[int] = []
        outside: list[int] = []
        sites: set[int] = set()
        for start in range(0, len(values), SAMPLE):
            part = values[start : start + SAMPLE].to(dtype)
            wrong = ~torch.isfinite(part.reshape(len(part), -1))
            bad += (wrong.any(1).nonzero().squeeze(-1) + first + start).tolist()
            sites.update(wrong.any(0).nonzero().squeeze(-1).tolist())
            if what == "data":
                part = torch.where(torch.isfinite(part), part, torch.full_like(part, supports.inner_point(*_ends(flow))))
                inside: Tensor = flow.support.check(part)
                outside += ((~inside).nonzero().squeeze(-1) + first + start).tolist()
        if bad:
            where = ", ".join(site_name(i, values.shape[1:], names) for i in sorted(sites)[:5])
            raise ValueError(
                f"fit: expected finite {which}{what} in {dtype}, got NaN, infinite or too large numbers in {len(bad)} rows: {few(bad)} "
                f"({where}); drop these rows or fill them in"
            )
        if outside:
            raise ValueError(
                f"fit: expected {which}data in {supports.name(flow.support)}, the flow's support, got others in rows {few(outside)}"
            )


def check_spread(rows: Rows, dtype: torch.dtype) -> None:
    """Raise ValueError for a column that is constant, or that ``dtype`` rounds to a few values; warn of grids and repeated rows."""
    if len(rows) < 2:
        raise ValueError(f"fit: expected at least 2 rows to train on, got {len(rows)}")
    for what, values, names in (("data", rows.x, rows.columns), ("context", rows.context, rows.context_columns)):
        if values is None:
            continue
        flat = values.reshape(len(values), -1)
        low, high = flat.amin(0).to(dtype), flat.amax(0).to(dtype)
        site = lambda i, v=values, n=names: site_name(i, v.shape[1:], n)  # noqa: E731
        if constant := (low == high).nonzero().squeeze(-1).tolist():
            named = ", ".join(map(site, constant[:5]))
            raise ValueError(
                f"fit: expected columns that vary, got {what} with {len(constant)} constant in {dtype} over the {len(rows)} rows to train "
                f"on: {named}; leave them out"
            )
        spread = flat.double().std(0, correction=0)
        if lost := (~torch.isfinite(spread) | (spread == 0)).nonzero().squeeze(-1).tolist():
            raise ValueError(
                f"fit: expected {what} whose spread has a square among the numbers of torch.float64, got too small or too large a one in "
                f"{', '.join(map(site, lost[:5]))}; give them in other units"
            )
        coarse = [i for i, column in enumerate(_some(flat).double().T) if _blurred(column, torch.finfo(dtype).eps)]
        if coarse:
            named = ", ".join(map(site, coarse[:5]))
            raise ValueError(
                f"fit: expected {what} that {dtype} can tell apart, got a large offset and a small spread in {named}; subtract the offset, "
                "or use float64: flow.double()"
            )
    _warn_of_grids(rows)


def _blurred(column: Tensor, eps: float) -> bool:
    """Tell whether rounding, where most values are, is more than a quarter of the half width that holds nine tenths of them."""
    low, middle, high = torch.quantile(column, torch.tensor([0.05, 0.5, 0.95], dtype=column.dtype, device=column.device)).tolist()
    spread = (high - low) / 2 or column.std(correction=0).item()
    return bool(eps * abs(middle) > spread / 4)


def _warn_of_grids(rows: Rows) -> None:
    flat = _some(rows.x).reshape(-1, max(1, math.prod(rows.x.shape[1:]))).double()
    if len(flat) < 20:
        return
    found = []
    for i, column in enumerate(flat.T):
        counts = torch.unique(column, return_counts=True)[1]
        grid = 2 * len(counts) <= len(flat) and len(counts) <= DISTINCT
        if grid or counts.max().item() > 0.1 * len(flat):
            found.append(f"{site_name(i, rows.x.shape[1:], rows.columns)} ({len(counts)} distinct values in {len(flat)} rows)")
    if found:
        more = f" and {len(found) - 5} more" if len(found) > 5 else ""
        warnings.warn(
            f"fit: columns on a grid, or with one value many times: {', '.join(found[:5])}{more}. A density has no best value there: the "
            "flow may put a spike on each. Add noise first: x, steps = pushforward.train.data.dequantize(x)",
            stacklevel=4,
        )
    elif flat.shape[1] > 1 and 2 * _distinct_rows(flat) <= len(flat):
        warnings.warn(
            "fit: most rows occur more than once, so that rows held out are also rows to train on and the held-out loss says little; "
            "drop the copies and give weights instead",
            stacklevel=4,
        )


def _distinct_rows(flat: Tensor) -> int:
    # Rows that are alike have the same weighted sum; with irrational weights others hardly ever do.
    weights = torch.arange(1, flat.shape[1] + 1, dtype=flat.dtype, device=flat.device).sqrt()
    return len(torch.unique((flat * weights).sum(1)))


def _some(values: Tensor) -> Tensor:
    """Return at most SAMPLE rows, spread evenly."""
    return values[:: -(-len(values) // SAMPLE)]


def _ends(flow: Flow) -> tuple[float, float]:
    return supports.bounds(flow.support) or (0.0, 1.0)


def site_name(index: int, shape: Sequence[int], names: Sequence[str] | None) -> str:
    """Return the name of a site of an event in words: its column's name, its number, or its place."""
    if not shape:
        return "the values"
    if names is not None and len(shape) == 1:
        return f"column {names[index]!r}"
    place = np.unravel_index(index, tuple(shape))
    return f"column {index}" if len(shape) == 1 else f"site {tuple(int(i) for i in place)}"
