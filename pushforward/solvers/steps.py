"""Steps: one step of a method over rows, and a whole path of steps that are known, in operators that differentiate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from pushforward.solvers.tableau import Tableau

Rates = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""``f(t, z, context)``: how fast ``z (rows, size)`` moves at times ``t (rows)``; row by row, with a context ``(rows, C)`` or None."""


class Step(NamedTuple):
    """What a step makes: the result, the error of the embedded method (None: it has none), and the last stage."""

    z: Tensor
    error: Tensor | None
    last: Tensor


def combined(weights: Sequence[float], stages: Sequence[Tensor]) -> Tensor:
    """Return a weighted sum of stages, number by number in the order of the stages, whatever stands beside a number."""
    total: Tensor | None = None
    for weight, stage in zip(weights, stages, strict=True):
        if weight:
            total = weight * stage if total is None else torch.add(total, stage, alpha=weight)
    assert total is not None
    return total


def step(
    tableau: Tableau,
    rates: Rates,
    t: Tensor,
    h: Tensor,
    z: Tensor,
    context: Tensor | None,
    first: Tensor | None = None,
    embedded: bool = False,
) -> Step:
    """Take one step of ``h (rows)`` from ``t (rows)``, backwards where it is negative.

    Args:
        tableau: The method.
        rates: The field.
        t: Times.
        h: Steps.
        z: Values ``(rows, size)``.
        context: ``(rows, C)``, or None.
        first: The field at the start, where it is known.
        embedded: Whether to tell the error, which a method that has one takes a further stage for.
    """
    wide, made = h.unsqueeze(-1), z
    stages = [rates(t, z, context) if first is None else first]
    whole = embedded or not tableau.reuses
    for c, row in zip(tableau.c[1 : len(tableau.c) if whole else -1], tableau.a[1:], strict=False):
        made = z + wide * combined(row, stages)
        stages.append(rates(t + c * h, made, context))
    if not (embedded and tableau.reuses):
        made = z + wide * combined(tableau.b[: len(stages)], stages)
    return Step(made, wide * combined(tableau.error, stages) if embedded else None, stages[-1])


def replayed(tableau: Tableau, rates: Rates, start: float, steps: Tensor, z: Tensor, context: Tensor | None) -> Tensor:
    """Take the steps ``(rows, count)`` one after the other from a time; one of 0 moves nothing, a row with NaN ends as NaN."""
    lost = torch.isnan(steps).any(-1, keepdim=True)
    steps = torch.where(lost, 0.0, steps)
    times = start + torch.cumsum(steps, -1) - steps
    for t, h in zip(times.unbind(-1), steps.unbind(-1), strict=True):
        z = step(tableau, rates, t, h, z, context).z
    return torch.where(lost, torch.nan, z)
