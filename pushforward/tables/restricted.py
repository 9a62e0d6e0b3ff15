"""Restricted: what is given between two values alone is drawn between its ends, with weights where several columns are."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.quasirandom import SobolEngine

from pushforward.tables.chain import Scores, score_chain, score_rows
from pushforward.tables.events import first_in
from pushforward.tables.heads import column_score
from pushforward.tables.integral import BLOCK, DRAWS, REPEATS, draw_within

if TYPE_CHECKING:
    from pushforward.tables.model import Model

CHOSEN = 1024
"""Draws among which samples are chosen by their weights, where several columns are given between two values; more for many samples."""
_SEED = 40_487


class Drawn(NamedTuple):
    """Draws of what is given between two values alone.

    Args:
        rows: Coded rows ``(n k, columns)``, k for each, with values in these columns.
        logs: Of each the log of its weight, ``(n, k)``: the product of the probabilities of the intervals, each given those before. Of one
            interval all are alike.
        all: Whether these are all values that there are, and the weights their probabilities: then sums over them are no estimates.
    """

    rows: Tensor
    logs: Tensor
    all: bool = False

    @property
    def weights(self) -> Tensor:
        """The weights ``(n, k)``, those of a row sum to 1."""
        return torch.softmax(self.logs, 1)

    @property
    def effective(self) -> Tensor:
        """The effective sample size of each row's draws ``(n)``: as many of equal weights are as good."""
        return 1 / self.weights.square().sum(1)


def every_value(model: Model, coded: Tensor, bounds: Tensor, exact: Sequence[int], index: int) -> Drawn | None:
    """Return all values of one column between the ends that rows give it, with their probabilities given what is given exactly.

    None where it has a density, or more than `DRAWS` values there. Rows with fewer values than others have some of probability 0 besides.

    Args:
        model: The model.
        coded: ``(n, columns)``.
        bounds: ``(n, columns, 2)``.
        exact: Columns that are given exactly.
        index: The column that is given between two values.
    """
    variable = model.variables[index]
    grid = model.grid_of(variable)
    if grid is None or not grid.step or grid.circular:
        return None
    low, high = bounds[:, index].unbind(-1)
    least, most = grid.ends
    low = low if least is None else low.clamp(min=least)
    high = high if most is None else high.clamp(max=most)
    first, last = first_in(grid, low), -first_in(dataclasses.replace(grid, origin=-grid.origin), -high)
    count = int((last - first).amax().clamp(min=-1, max=DRAWS)) + 1
    if count > DRAWS or not bool(torch.isfinite(first).all() and torch.isfinite(last).all()):
        return None
    steps = first.unsqueeze(1) + torch.arange(count, device=coded.device)
    values = torch.from_numpy(grid.settle((grid.origin + grid.step * steps).cpu().numpy())).to(coded)
    inside = steps <= last.unsqueeze(1)
    beside = [atom for atom, held in zip(variable.atoms, grid.holds(np.array(variable.atoms)), strict=True) if not held]
    if beside:  # an atom that is none of the values of the grid
        atoms = coded.new_tensor(beside).expand(len(coded), -1)
        values = torch.cat([values, atoms], 1)
        inside = torch.cat([inside, (atoms >= bounds[:, index, :1]) & (atoms <= bounds[:, index, 1:])], 1)
    rows = coded.repeat_interleave(values.shape[1], 0)
    rows[:, index] = values.flatten()
    logs = score_rows(model, rows, [index], exact, None).logs[:, 0].unflatten(0, values.shape)
    return Drawn(rows, torch.where(inside, logs, -torch.inf), all=True)


def points_of(wide: Sequence[int], draws: int) -> Tensor:
    """Return scrambled Sobol points ``(at least draws, 2 intervals)`` in `REPEATS` independent sets."""
    count = max(1, -(-draws // REPEATS))
    sets = [SobolEngine(2 * len(wide), scramble=True, seed=_SEED + at).draw(count, dtype=torch.float64) for at in range(REPEATS)]
    return torch.cat(sets)


def draw_between(
    model: Model, coded: Tensor, bounds: Tensor, exact: Sequence[int], wide: Sequence[int], points: Tensor, fixed: Sequence[int] = ()
) -> Drawn:
    r"""Return draws of the cells of rows that are given between two values, given those that are given exactly and one another.

    Each is drawn between its ends from its conditional given those before it, so draw k of :math:`x_1, \dots, x_m` has the weight
    :math:`\prod_j P(x_j \in I_j \mid x, x_1^k, \dots, x_{j-1}^k)`: of one interval the draws are those of the density itself.

    Args:
        model: The model.
        coded: ``(n, columns)``.
        bounds: ``(n, columns, 2)``.
        exact: Columns that are given exactly.
        wide: Columns that are given between two values.
        points: Uniform numbers ``(k, 2 intervals)``, the same for all rows, or ``(n, k, 2 intervals)``.
        fixed: Those of the intervals' columns whose values the rows have: of these the density counts, and nothing is drawn.
    """
    network, n, count = model.network, len(coded), points.shape[-2]
    uniform = points.to(coded.device).expand(n, count, -1).flatten(0, 1)
    many = torch.arange(n, device=coded.device).repeat_interleave(count)
    rows = coded[many]
    known = torch.zeros(rows.shape, dtype=torch.bool, device=rows.device)
    known[:, list(exact)] = True
    ends = bounds.clone()
    ends[:, list(fixed)] = torch.nan
    events = model.events(coded, ends).take(many)
    state = network.state(events, known)
    total = torch.zeros(len(rows), dtype=torch.float64, device=rows.device)
    for place, index in enumerate(wide):
        variable = model.variables[index]
        h = network.trunk(state)
        total = total + column_score(network, variable, model.grid_of(variable), h, events)
        if index not in fixed:
            rows[:, index] = draw_within(model, variable, h, events, uniform[:, 2 * place], uniform[:, 2 * place + 1])
            events = model.met(events, variable, rows[:, index])
        state = network.added(state, variable, events)
    return Drawn(rows, total.unflatten(0, (n, count)))


def score_given(
    model: Model, coded: Tensor, asked: Sequence[int], known: Sequence[int], bounds: Tensor | None, draws: int = DRAWS
) -> Scores:
    r"""Return what `score_rows` does where some of what is given is known between two values alone, as ``bounds (n, columns, 2)`` say.

    Such columns come first in the chain, given what is given exactly, and the others after them:

    .. math:: \frac{\int_I p(w \mid x) \, p(y \mid x, w) \, dw}{P(w \in I \mid x)},

    means over draws of w, as quasi-random as those of `score_open`, or sums over all values that one column has there, if these are few. A
    column may be asked about and given between two values: then its density is that of what lies between. Where no other is, all of it is
    exact, as sums are.

    Raises:
        ValueError: A row has several cells between two values among those asked about, beside some that are given.
    """
    if bounds is None or bool(torch.isnan(bounds[:, list(known), 0]).all()):
        return score_rows(model, coded, asked, known, bounds, draws)
    wide = ~torch.isnan(bounds[:, :, 0])
    given = torch.zeros(coded.shape[1], dtype=torch.bool, device=coded.device)
    given[list(known)] = True
    logs = torch.zeros(len(coded), len(asked), dtype=torch.float64, device=coded.device)
    errors = logs.new_zeros(len(coded))
    for pattern in (wide & given).unique(dim=0):
        rows = ((wide & given) == pattern).all(1).nonzero().squeeze(-1)
        between = pattern.nonzero().squeeze(-1).tolist()
        if not between:
            logs[rows], errors[rows] = score_rows(model, coded[rows], asked, known, bounds[rows], draws)
            continue
        exact = [index for index in known if index not in between]
        others = [index for index in asked if index not in between]
        if others and bool((wide[rows][:, others].sum(1) > 1).any()):
            raise ValueError("TableFlow: expected at most one cell between two values in a row beside those that are given, got several")
        points = points_of(between, draws)
        some = max(1, BLOCK // len(points))
        for part in rows.split(some):
            logs[part], errors[part] = _ratio(model, coded[part], bounds[part], exact, between, asked, points)
    return Scores(logs, errors)


def _ratio(
    model: Model, coded: Tensor, bounds: Tensor, exact: Sequence[int], wide: Sequence[int], asked: Sequence[int], points: Tensor
) -> Scores:
    """Return the log of each asked column's conditional given the intervals, and the errors of the sums, of rows with the same ones."""
    ends = torch.where(
        torch.isin(torch.arange(coded.shape[1], device=coded.device), torch.tensor(wide, device=coded.device))[:, None], bounds, torch.nan
    )
    fixed = [index for index in wide if index in asked]
    every = None if fixed or len(wide) > 1 else every_value(model, coded, bounds, exact, wide[0])
    whole = draw_between(model, coded, ends, exact, wide, points) if every is None else every
    inside = torch.ones(len(coded), dtype=torch.bool, device=coded.device)
    drawn = whole
    if fixed:
        x, low, high = coded[:, fixed], bounds[:, fixed, 0], bounds[:, fixed, 1]
        inside = ((x >= low) & (x <= high)).all(1)
        drawn = draw_between(model, coded, ends, exact, wide, points, fixed)
    others = [index for index in asked if index not in wide]
    n, count = drawn.logs.shape
    parts = drawn.logs.new_zeros(n, count, len(asked))
    last = torch.zeros(n, len(asked), dtype=torch.bool, device=coded.device)
    if others:
        rest = torch.where(torch.isnan(ends), bounds, torch.nan)
        events = model.events(drawn.rows, rest.repeat_interleave(count, 0))
        places = [list(asked).index(index) for index in others]
        parts[:, :, places] = score_chain(model, events, others, [*exact, *wide]).logs.unflatten(0, (n, count))
        last[:, places] = ~torch.isnan(rest[:, others, 0])
    # A cell between two values comes last in the chain of its row.
    order = torch.argsort(last.long(), dim=1, stable=True)
    sums = torch.cumsum(parts.gather(2, order.unsqueeze(1).expand(-1, count, -1)), 2) + drawn.logs.unsqueeze(2)
    below = torch.logsumexp(whole.logs, 1, keepdim=True)
    first = torch.logsumexp(drawn.logs, 1, keepdim=True) - below if fixed else torch.zeros_like(below)
    steps = torch.logsumexp(sums, 1) - below
    each = steps.diff(dim=1, prepend=first)
    found = torch.zeros_like(each).scatter(1, order, each)
    if fixed:
        # What is asked about of the intervals themselves counts with the first of them.
        found[:, list(asked).index(fixed[0])] += first[:, 0]
    found = torch.where(inside.unsqueeze(1), found, -torch.inf)
    if whole.all:
        return Scores(found, found.new_zeros(n))
    sets = (torch.logsumexp(part.unflatten(1, (REPEATS, -1)), 2) for part in (sums[:, :, -1], whole.logs))
    ratio = torch.exp(next(sets) - next(sets) - steps[:, -1:].clamp(min=-1e300))
    exactly = not others and len(fixed) == len(wide)
    return Scores(found, ratio.new_zeros(n) if exactly and len(wide) == 1 else ratio.std(1) / math.sqrt(REPEATS))


def started(
    model: Model, coded: Tensor, bounds: Tensor, exact: Sequence[int], wide: Sequence[int], n: int, generator: torch.Generator | None
) -> Tensor:
    """Return n coded rows of one ``(1, columns)``, what is given between two values drawn; of several columns chosen by weights.

    Of n rows at most one in four of the draws is taken, with the least scatter of their counts.
    Source: Improved Particle Filter for Nonlinear Problems (Carpenter, Clifford, Fearnhead, 1999).
    """
    where = generator.device if generator is not None else coded.device

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, dtype=torch.float64, generator=generator, device=where).to(coded.device)

    count = n if len(wide) == 1 else max(CHOSEN, 4 * n)
    parts = [draw_between(model, coded, bounds, exact, wide, points) for points in uniform(count, 2 * len(wide)).split(BLOCK)]
    rows = torch.cat([part.rows for part in parts])
    if len(wide) == 1:
        return rows
    weights = torch.softmax(torch.cat([part.logs for part in parts], 1), 1)[0]
    ticks = (torch.arange(n, dtype=torch.float64, device=coded.device) + uniform(1)) / n
    chosen = torch.searchsorted(torch.cumsum(weights, 0), ticks).clamp(max=count - 1)
    # They come in no order.
    return rows[chosen[uniform(n).argsort()]]
