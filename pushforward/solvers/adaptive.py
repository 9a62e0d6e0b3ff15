"""Adaptive steps: each row has its own time, step and error, and is accepted or tried again whatever stands beside it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from pushforward.solvers.steps import Rates, step
from pushforward.solvers.tableau import Tableau

MOST = 5000
"""Steps that a row may try. One that is not there by then ends as NaN, and so does one whose steps no longer move its time."""
SAFETY, LEAST, GREATEST = 0.9, 0.2, 5.0
"""By how much a step is shorter than what the error asks for, and the factors by which it shrinks and grows at most."""
DAMPING = 0.04
"""The share of the error before in the choice of the next step, which keeps stiff rows from being tried in vain."""


class Taken(NamedTuple):
    """Steps that some rows have taken at once."""

    rows: Tensor | None
    """Which ones (None: all, in their order)."""
    t: Tensor
    h: Tensor
    z: Tensor
    """Where they began."""


class Solution(NamedTuple):
    """Where the rows came to."""

    z: Tensor
    taken: list[Taken]
    evaluations: Tensor
    """Of the field, for each row."""


def solve(
    tableau: Tableau, rates: Rates, z: Tensor, context: Tensor | None, start: float, end: float, tolerance: float, keep: bool = True
) -> Solution:
    r"""Return ``z(end)`` of ``dz/dt = f(t, z)`` for rows ``z (rows, size)`` that each take their own steps.

    A step is accepted where no number of the row is farther off than :math:`\epsilon (1 + \max(|z_0|, |z_1|))` by the embedded method,
    and the better of the two results is carried on. Rows that are there leave the batch.
    Source: Solving Ordinary Differential Equations I (Hairer, Nørsett, Wanner, 1993), II.4, and IV.2 for the damping.

    Args:
        tableau: A method with an embedded one.
        rates: The field.
        z: Values at the start.
        context: ``(rows, C)``, or None.
        start: The time at which they are there.
        end: The time at which they are wanted.
        tolerance: :math:`\epsilon`.
        keep: Whether to keep what steps were taken.
    """
    with torch.no_grad():
        return _solve(tableau, rates, z.detach(), None if context is None else context.detach(), start, end, tolerance, keep)


def _solve(
    tableau: Tableau, rates: Rates, z: Tensor, context: Tensor | None, start: float, end: float, tolerance: float, keep: bool
) -> Solution:
    whole, exponent = end - start, 1 / tableau.order
    result, count = torch.full_like(z, torch.nan), z.new_full((len(z),), 2, dtype=torch.int64)
    taken: list[Taken] = []
    t = z.new_full((len(z),), start)
    first = rates(t, z, context)
    h = _first_step(tableau, rates, t, z, first, context, whole, tolerance)
    alive = torch.isfinite(first).all(-1) & torch.isfinite(z).all(-1) & torch.isfinite(h)
    rows = torch.arange(len(z), device=z.device)
    before, tries = torch.ones_like(t), 0
    rows, t, h, z, first, before, context = _chosen(alive, rows, t, h, z, first, before, context)
    while len(rows) and tries < MOST:
        tries += 1
        last = torch.abs(h) >= torch.abs(end - t)
        h = torch.where(last, end - t, h)
        made, error, reached = step(tableau, rates, t, h, z, context, first, embedded=True)
        assert error is not None
        size = _size(error, tolerance, torch.maximum(torch.abs(z), torch.abs(made)))
        accepted = size <= 1  # NaN is not
        count[rows] += tableau.evaluations
        if keep and bool(accepted.any()):
            if bool(accepted.all()):
                taken.append(Taken(rows if len(rows) < len(result) else None, t, h, z))
            else:
                taken.append(Taken(rows[accepted], t[accepted], h[accepted], z[accepted]))
        bounded = torch.clamp(torch.nan_to_num(size, torch.inf, torch.inf), min=1e-10)
        factor = SAFETY * bounded ** (0.75 * DAMPING - exponent) * before**DAMPING
        factor = torch.clamp(factor, LEAST, GREATEST)
        # What was tried in vain does not grow at once.
        factor = torch.where(accepted, factor, torch.clamp(factor, max=1.0))
        wide = accepted.unsqueeze(-1)
        t = torch.where(accepted, torch.where(last, end, t + h), t)
        z, first = torch.where(wide, made, z), torch.where(wide, reached, first)
        before = torch.where(accepted, torch.clamp(bounded, min=1e-4), before)
        there = accepted & last
        h = h * factor
        going = ~there & (t + h != t)
        if not bool(going.all()):
            result[rows[there]] = z[there]
            rows, t, h, z, first, before, context = _chosen(going, rows, t, h, z, first, before, context)
    return Solution(result, taken, count)


def _chosen(which: Tensor, *tensors: Tensor | None) -> tuple[Tensor, ...]:
    """Return some rows of all of them."""
    if bool(which.all()):
        return tensors  # type: ignore[return-value]
    return tuple(None if each is None else each[which] for each in tensors)  # type: ignore[misc]


def _size(error: Tensor, tolerance: float, values: Tensor) -> Tensor:
    """Return the largest error of a row in units of what is allowed."""
    return torch.amax(torch.abs(error) / (tolerance * (1 + values)), -1)


def _first_step(
    tableau: Tableau, rates: Rates, t: Tensor, z: Tensor, first: Tensor, context: Tensor | None, whole: float, tolerance: float
) -> Tensor:
    """Return the first step of each row, by the size of its field and how fast that changes."""
    size, slope = _size(z, tolerance, torch.abs(z)), _size(first, tolerance, torch.abs(z))
    trial = torch.where((size < 1e-5) | (slope < 1e-5), 1e-6, 0.01 * size / slope)
    trial = torch.clamp(trial, max=abs(whole)) * (1 if whole > 0 else -1)
    there = rates(t + trial, z + trial.unsqueeze(-1) * first, context)
    bend = _size(there - first, tolerance, torch.abs(z)) / torch.abs(trial)
    steep = torch.maximum(slope, bend)
    length = torch.minimum(100 * torch.abs(trial), (0.01 / steep) ** (1 / tableau.order))
    # Where the field does not move, the whole way is one step.
    return torch.clamp(torch.where(steep <= 1e-15, abs(whole), length), max=abs(whole)) * (1 if whole > 0 else -1)


def table(taken: Sequence[Taken], lost: Tensor) -> Tensor:
    """Return steps as one tensor ``(rows, count)``, with zeros after a row's last, and NaN for rows that are ``lost (rows, 1)``."""
    rows = len(lost)
    lengths, entries = torch.zeros(rows, dtype=torch.int64, device=lost.device), []
    for some, _, h, _ in taken:
        which = torch.arange(rows, device=lost.device) if some is None else some
        entries.append((which, lengths[which], h))
        lengths[which] += 1
    count = int(lengths.max()) if rows else 0
    # Of no rows there are no steps, whose precision nobody asks for.
    steps = torch.zeros(rows, max(count, 1), dtype=taken[0].h.dtype if taken else torch.float64, device=lost.device)
    for which, place, h in entries:
        steps[which, place] = h
    return torch.where(lost, torch.nan, steps)
