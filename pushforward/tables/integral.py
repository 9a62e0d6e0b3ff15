"""Integral: rows with cells that are known between two values alone, scored last, of several by quasi-Monte Carlo."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.quasirandom import SobolEngine

from pushforward.tables.events import Events
from pushforward.tables.heads import case_logs, column_knots, column_score, held
from pushforward.tables.network import Hidden, State
from pushforward.tables.spline import inverse, shares
from pushforward.tables.variable import VALUE, Variable

if TYPE_CHECKING:
    from pushforward.tables.model import Model

DRAWS = 256
"""Draws of a row with several intervals."""
REPEATS = 8
"""Independent sets of points, from whose scatter the error is told."""
BLOCK = 32_768
"""Draws that go through the network together."""
_END = 2.0**-40
_SEED = 20_231


def score_open(
    model: Model, events: Events, exact: Sequence[int], wide: Sequence[int], given: Sequence[int], draws: int
) -> tuple[Tensor, Tensor]:
    r"""Return the log of each column's conditional, those of intervals after all others ``(n, columns)``, and the errors of the sums.

    Given what is known exactly, one interval has the probability that its conditional has between its ends. Of several the integral over
    all but the last is a mean over draws, each between its ends given those before,

    .. math:: \log \frac1K \sum_k \prod_j P(x_j \in I_j \mid x, x_1^k, \dots, x_{j-1}^k),

    with scrambled Sobol points, the same for all rows. Its error is the standard error of `REPEATS` independent means.
    Source: the simulator of Geweke, Hajivassiliou and Keane, as in Simulation of Multivariate Normal Rectangle Probabilities
    (Hajivassiliou, McFadden, Ruud, 1996); Scrambled Net Variance for Integrals of Smooth Functions (Owen, 1997).

    Args:
        model: The model.
        events: Rows, all with intervals in the same columns.
        exact: The columns without intervals, in their order.
        wide: Those with intervals, which follow.
        given: Columns that are given.
        draws: How many draws of a row with several.
    """
    network = model.network
    known = torch.zeros(events.cases.shape, dtype=torch.bool, device=events.cases.device)
    known[:, list(given)] = True
    state = network.state(events, known)
    parts = []
    for index in exact:
        variable = model.variables[index]
        parts.append(column_score(network, variable, model.grid_of(variable), network.trunk(state), events))
        state = network.added(state, variable, events)
    first = model.variables[wide[0]]
    if len(wide) == 1:
        parts.append(column_score(network, first, model.grid_of(first), network.trunk(state), events))
        return torch.stack(parts, 1), torch.zeros(len(known), dtype=torch.float64, device=known.device)
    count = max(1, -(-draws // REPEATS))
    points = torch.cat(
        [SobolEngine(2 * len(wide) - 2, scramble=True, seed=_SEED + at).draw(count, dtype=torch.float64) for at in range(REPEATS)]
    )
    points = points.to(known.device)
    found, errors = [], []
    at_once = max(1, BLOCK // len(points))
    for at in range(0, len(known), at_once):
        some = torch.arange(at, min(at + at_once, len(known)), device=known.device)
        logs = _paths(model, events.take(some), state.take(some), wide, points)
        means = torch.logsumexp(logs, 1) - math.log(len(points))
        found.append(means.diff(dim=1, prepend=means.new_zeros(len(some), 1)))
        errors.append(log_mean(logs[:, :, -1])[1])
    return torch.cat([torch.stack(parts, 1), torch.cat(found)], 1) if parts else torch.cat(found), torch.cat(errors)


def log_mean(logs: Tensor) -> tuple[Tensor, Tensor]:
    """Return the log of the mean of draws ``(n, REPEATS * k)`` by their logs, and its standard error, from the scatter of the sets."""
    each = torch.logsumexp(logs.unflatten(1, (REPEATS, -1)), 2)
    mean = torch.logsumexp(logs, 1) - math.log(logs.shape[1])
    each = torch.exp(each - each.amax(1, keepdim=True).clamp(min=-1e300))
    return mean, each.std(1) / each.mean(1).clamp(min=1e-300) / math.sqrt(REPEATS)


def _paths(model: Model, events: Events, state: State, wide: Sequence[int], points: Tensor) -> Tensor:
    """Return for each row and draw the log of the product up to each interval ``(n, draws, intervals)``."""
    n, count = len(events.cases), len(points)
    many = torch.arange(n, device=points.device).repeat_interleave(count)
    events, state = events.take(many), state.take(many)
    uniform = points.repeat(n, 1)
    network = model.network
    total: Tensor = torch.zeros(len(many), dtype=torch.float64, device=points.device)
    found = []
    for place, index in enumerate(wide):
        variable = model.variables[index]
        h = network.trunk(state)
        total = total + column_score(network, variable, model.grid_of(variable), h, events)
        found.append(total)
        if place + 1 < len(wide):
            values = draw_within(model, variable, h, events, uniform[:, 2 * place], uniform[:, 2 * place + 1])
            events = model.met(events, variable, values)
            state = network.added(state, variable, events)
    logs: Tensor = torch.stack(found, 1).unflatten(0, (n, count))
    return logs


def draw_within(model: Model, variable: Variable, h: Hidden, events: Events, share: Tensor, choice: Tensor) -> Tensor:
    """Return a coded value of a column for each row, drawn from its conditional between the ends of its interval by two uniform numbers."""
    chart, grid = model.chart_of(variable), model.grid_of(variable)
    assert grid is not None
    logs, case = case_logs(model.network, variable, h), events.cases[:, variable.index]
    begin_below, begin_above, end_below, end_above, base = events.places[:, variable.number].unbind(-1)
    knots = column_knots(model.network, variable, h)
    a, b = (_both(*shares(knots, below, above)) for below, above in ((begin_below, begin_above), (end_below, end_above)))
    share = share.clamp(_END, 1 - _END)
    below, above = a[0] + share * (b[0] - a[0]), b[1] + (1 - share) * (a[1] - b[1])
    x = chart.inverse(*inverse(knots, below, above))
    values = torch.from_numpy(grid.settle(x.cpu().numpy())).to(x.device)
    among = torch.where(base > -torch.inf, torch.exp(logs[:, VALUE]) * (b[0] - a[0]).clamp(min=0), 0.0)
    sums = torch.cumsum(torch.cat([among.unsqueeze(1), held(variable, logs, case)], 1), 1)
    chosen = (choice.unsqueeze(1) * sums[:, -1:] >= sums).sum(1).clamp(max=len(variable.atoms))
    atoms = torch.tensor([torch.nan, *variable.atoms], dtype=torch.float64, device=x.device)
    return torch.where(chosen > 0, atoms[chosen], values)


def _both(near: Tensor, left: Tensor) -> tuple[Tensor, Tensor]:
    """Return the share below and above of the nearer one."""
    return torch.where(left, near, 1 - near), torch.where(left, 1 - near, near)
