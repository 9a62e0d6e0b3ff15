"""Mixture start: how many normals suit data, so that a flow may begin as a mixture of them."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from pushforward.bases.em import grown
from pushforward.bases.mixture_of_normals import MixtureOfNormals
from pushforward.bases.normal import StandardNormal
from pushforward.core.base import BaseModule

COMPONENTS = (2, 4, 8, 16, 32)
"""Components of mixtures to try, each twice as many as the one before."""
ROWS = 10
"""Rows for each component of a mixture, at least."""
FEW = 2000
"""Of fewer rows those held out hardly tell how many components suit: tenths are held out in turn, for so many rows fitted in all."""
SEEN = 2**15
"""Values that tell how many components suit, at most; of more some that are evenly spread."""
WIDEST = 100
"""Numbers of an event for which mixtures are tried, at most: each component has half the square of it."""


def mixture_of(components: int) -> MixtureOfNormals:
    """Return a mixture of normals that is fitted to the rows when it measures, with all covariances and wide bounds."""
    return MixtureOfNormals(components, covariance="full", bound=8.0, start="em")


def takes_mixture(base: BaseModule) -> bool:
    """Tell whether a mixture may take the place of a base: of one that has learnt nothing, or of such a mixture."""
    plan = base.plan
    return plan == StandardNormal() or (isinstance(plan, MixtureOfNormals) and plan == mixture_of(plan.components))


def suits_mixture(base: BaseModule) -> bool:
    """Tell whether mixtures in the place of a base are worth trying: of events that are not too wide."""
    return takes_mixture(base) and math.prod(base.event_shape) <= WIDEST


def best_mixture(rows: Tensor, held: Tensor, over: Callable[[], bool] = lambda: False) -> tuple[Tensor, int]:
    """Return the log-density of held-out values ``(n, *event)`` under the mixture that suits them, and its components.

    There are 1, 2, 4, ... of them, as long as more help (if not the next, the ones after), there are rows enough, and it is not over. The
    fewest are taken that are no more than one standard error behind the best, since more cost time and may be ahead by chance; of few rows,
    whose tenths are held out in turn, the best. One normal distribution gives way where it is two standard errors behind.
    Source: Classification and Regression Trees (Breiman, Friedman, Olshen, Stone, 1984), for that rule.
    """
    size = math.prod(rows.shape[1:])  # an event may be a number
    rows, held = rows.double().reshape(-1, size), held.double().reshape(-1, size)
    different = len(torch.unique(rows, dim=0))
    parts = [(rows, held)]
    if different >= 2 * ROWS:
        tenth = torch.arange(len(rows), device=rows.device) % 10
        parts += [(torch.cat([held, rows[tenth != part]]), rows[tenth == part]) for part in range(min(10, FEW // len(rows)))]
    found: list[tuple[int, Tensor]] = []
    for steps in zip(*(grown(fitted, judges) for fitted, judges in parts), strict=False):
        count = steps[0][0]
        found.append((count, torch.cat([density for _, density in steps])))
        best, most = max(found, key=lambda one: one[1].mean().item())
        if 4 * best <= count or count == COMPONENTS[-1] or different < ROWS * 2 * count or over():
            break
    errors = {1: 2.0} if len(parts) > 1 else {1: 2.0, **dict.fromkeys(COMPONENTS, 1.0)}
    for count, density in found:
        behind = most - density
        if behind.mean() <= errors.get(count, 0.0) * behind.std(correction=0) / math.sqrt(len(behind)):
            break
    return density[: len(held)], count


def suited(value: Tensor, ladj: Tensor) -> tuple[float, int]:
    """Return the nats of data under the mixture at the base that suits every tenth row best, fitted to the others, and its components.

    Args:
        value: The data at the base, ``(n, *event)``.
        ladj: The log-determinants of the way there, ``(n)``.
    """
    value, ladj = (part[:: -(-len(part) // SEEN)] for part in (value, ladj))
    held = torch.arange(len(value), device=value.device) % 10 == 0
    if len(value) < 2:
        return math.nan, 1
    density, count = best_mixture(value[~held], value[held])
    return -(density + ladj[held].double()).mean().item(), count
