"""Warnings of data of which no density is the best: grids, values with a probability, columns that others determine, copies of rows."""

from __future__ import annotations

import math
import warnings

import torch
from torch import Tensor
from torch.distributions import constraints
from torch.distributions.constraints import Constraint

from pushforward.bases.moments import affine
from pushforward.bases.normal import DiagNormal, FullNormal, StandardNormal
from pushforward.core import sets
from pushforward.data.checks import element_name, named, some_of
from pushforward.data.dependence import dependent
from pushforward.data.grids import LEAST, repeats
from pushforward.data.rows import Rows
from pushforward.flow.flow import Flow
from pushforward.layers.autoregressive import AutoregressiveModule
from pushforward.layers.coupling import CouplingModule
from pushforward.layers.normal_scores import NormalScoresModule, far_out


def warn_of_oddities(rows: Rows, support: Constraint) -> None:
    """Warn of what makes a fit run after spikes, once for each kind; the columns are named."""
    warn_of_repeats(rows)
    if _is_of_columns(support):
        warn_of_dependence(rows)


def warn_of_the_flow(flow: Flow, rows: Rows, chosen: bool) -> None:
    """Warn of what a flow that has met its data cannot do for it: bend a column, or reach values far out, unless that was ``chosen``."""
    # Given a context, one normal distribution for each is a model that people want; and so is one of linear layers alone.
    layered = any(isinstance(module, AutoregressiveModule | CouplingModule) for module in flow.transform.modules())
    normal = isinstance(flow.base.plan, DiagNormal | FullNormal | StandardNormal) and affine(flow.transform)
    if normal and layered and flow.context_shape is None:
        _warn(
            f"no layer of this flow bends its values: with {sum(p.numel() for p in flow.parameters()):,} parameters it is one normal "
            "distribution. With a single feature take splines, such as flows.NSF"
        )
    if chosen or any(isinstance(module, NormalScoresModule) for module in flow.transform.modules()):
        return
    flat = some_of(rows.x).reshape(-1, max(1, math.prod(rows.x.shape[1:])))
    free = _unbounded(flow.support, flat.shape[1])
    far = [index for index, far in enumerate(far_out(flat).tolist()) if far and free[index]]
    if far:
        names = named(element_name(index, rows.x.shape[1:], rows.columns) for index in far)
        _warn(
            f"columns with values so far out that they decide mean and deviation: {names}; all others come to lie in a sliver. This flow "
            "has no place for NormalScores, which would measure them otherwise: give it one in its list of layers, or cut the values"
        )


def _unbounded(support: Constraint, columns: int) -> list[bool]:
    """Tell for each column whether all real values are in its set."""
    kind = sets.structured(support)
    if isinstance(kind, sets.Parts) and kind.rank == 1:
        lengths = kind.lengths or (1,) * len(kind.cseq)
        return [free for part, length in zip(kind.cseq, lengths, strict=True) for free in _unbounded(part, length)]
    return [sets.same(support, constraints.real)] * columns


def _is_of_columns(support: Constraint) -> bool:
    """Tell whether each column has a set of its own; entries of simplices and of matrices determine one another by nature."""
    kind = sets.structured(support)
    return kind is None or (isinstance(kind, sets.Parts) and all(map(_is_of_columns, kind.cseq)))


def _warn(text: str) -> None:
    warnings.warn(f"fit: {text}", stacklevel=5)


def warn_of_repeats(rows: Rows) -> None:
    """Warn of columns on a grid, of values with a probability of their own, and of rows that occur more than once."""
    flat = some_of(rows.x).reshape(-1, max(1, math.prod(rows.x.shape[1:])))
    if len(flat) < LEAST:
        return
    alone = _first_of_each(flat.double())
    copied = flat.shape[1] > 1 and 2 * len(alone) <= len(flat)
    # Where rows are copies, so are their values: columns are then judged by rows that differ.
    found = [repeats(column) for column in (flat[alone] if copied else flat).T]
    names = [element_name(i, rows.x.shape[1:], rows.columns) for i in range(len(found))]
    grids = [f"{names[i]} ({each.distinct} distinct values in {len(flat)} rows)" for i, each in enumerate(found) if each.grid]
    atoms = [f"{names[i]} ({100 * each.share:.0f} % of the rows)" for i, each in enumerate(found) if each.atom]
    if grids:
        _warn(
            f"columns on a grid: {named(grids)}. A density has no best value there: the flow may put a spike on each. Add noise first: "
            "x, steps = pushforward.data.dequantize(x)"
        )
    if atoms:
        _warn(
            f"columns with one value many times: {named(atoms)}. It has a probability, and no density: the flow may put a spike on it. "
            "Fit the other rows alone and give the value's share of the rows beside it, or spread it by noise that does not matter to you"
        )
    if copied and not (grids or atoms):
        _warn(
            "most rows occur more than once, so that rows held out are also rows to train on and the held-out loss says little; "
            "drop the copies and give weights instead"
        )


def warn_of_dependence(rows: Rows) -> None:
    """Warn of columns that others determine."""
    flat, given = rows.x.reshape(len(rows), -1), None if rows.context is None else rows.context.reshape(len(rows), -1)
    count = flat.shape[1]
    found = dependent(flat, given)
    if not found:
        return

    def element(i: int) -> str:
        if i < count:
            return element_name(i, rows.x.shape[1:], rows.columns)
        assert rows.context is not None
        return f"context {element_name(i - count, rows.context.shape[1:], rows.context_columns)}"

    told = [f"{element(column)} by {named(map(element, parts))}" for column, parts in found[:5]]
    more = f", and {len(found) - 5} more" if len(found) > 5 else ""
    _warn(
        f"columns that others determine: {'; '.join(told)}{more}. The rows lie on a surface, where no density is largest: the loss falls "
        "as long as the fit goes on, and says nothing. Leave such a column out, and compute it from the others after sampling"
    )


def _first_of_each(flat: Tensor) -> Tensor:
    """Return the indices of rows that differ from one another."""
    # Rows that are alike have the same weighted sum; with irrational weights others hardly ever do.
    weights = torch.arange(1, flat.shape[1] + 1, dtype=flat.dtype, device=flat.device).sqrt()
    ordered, order = torch.sort((flat * weights).sum(1), stable=True)
    return order[torch.cat([torch.ones_like(order[:1], dtype=torch.bool), ordered[1:] != ordered[:-1]])]
