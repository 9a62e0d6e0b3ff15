"""Heads: what a network's outputs say of a column, the log of its measure's density at an event, and draws."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pushforward.core.numerics import finer
from pushforward.data.schema.grid import Grid
from pushforward.tables.events import Events
from pushforward.tables.network import Hidden, Network
from pushforward.tables.spline import Knots, knots_of, log_mean_slope, log_slope
from pushforward.tables.variable import HELD, OUTSIDE, VALUE, Variable


def case_logs(network: Network, variable: Variable, h: Hidden) -> Tensor:
    """Return the log-probabilities of a column's cases ``(n, cases)`` in float64."""
    return torch.log_softmax(finer(network.logits(variable, h)), -1)


def column_knots(network: Network, variable: Variable, h: Hidden, steps: bool = True) -> Knots:
    """Return the knots of a number's conditional, ``(n, bins)``; without the steps of classes where these are scored by bins alone."""
    circular = torch.tensor(variable.column.kind == "circular", device=h.units.device)
    knots = knots_of(network.spline(variable, h.units), network.bins, circular, *network.copula.place(h.common, variable))
    if not network.classes.count:
        return knots
    number = torch.tensor([variable.number], device=h.units.device)
    knots = knots._replace(wide=knots.wide + network.classes.odds_of(number))
    return knots._replace(steps=network.classes.steps(variable, h.posterior)) if steps else knots


def column_score(network: Network, variable: Variable, grid: Grid | None, h: Hidden, events: Events) -> Tensor:
    """Return the log of a column's conditional at its events ``(n)``, -inf where it is outside."""
    case = events.cases[:, variable.index]
    logs = case_logs(network, variable, h)
    own = logs.gather(-1, case.clamp(min=0).unsqueeze(-1)).squeeze(-1)
    if variable.number is not None:
        assert grid is not None
        place, wide = events.places[:, variable.number], case <= HELD
        some = bool(wide.any())
        knots = column_knots(network, variable, h, steps=some)
        every = torch.arange(len(case), device=case.device)
        log_step = network.classes.log_steps([variable], h.posterior, [every], events) if network.classes.count else 0.0
        value = _value(knots, place, grid.step > 0, log_step)
        if some:
            value = torch.where(wide, _value(knots, place, True, _of_interval(knots, place)), value)
        of_case, of_value, of_number = (part.unsqueeze(1) for part in (own, logs[:, VALUE], value))
        own = _joined([variable], [grid], case.unsqueeze(1), of_case, of_value, of_number).squeeze(1)
        own = torch.where(wide, _within(held(variable, logs, case), logs[:, VALUE] + value), own) if some else own
    return torch.where(case == OUTSIDE, -torch.inf, own)


def held(variable: Variable, logs: Tensor, case: Tensor) -> Tensor:
    """Return the probabilities of the atoms that lie in intervals ``(n, atoms)``, 0 of those that do not, by the logs of all cases."""
    count = len(variable.atoms)
    code = (HELD - case).clamp(min=0).unsqueeze(-1)
    first, last = code // (count + 1), code % (count + 1)
    rank = torch.tensor(variable.ranks, dtype=torch.long, device=case.device)
    return torch.exp(logs[:, 1 : 1 + count]) * ((rank >= first) & (rank < last))


def _within(atoms: Tensor, log_values: Tensor) -> Tensor:
    """Return the log of the probability of intervals, by those of the atoms and of the values in them."""
    mass = atoms.sum(-1)
    return torch.where(mass > 0, torch.logaddexp(torch.log(torch.where(mass > 0, mass, 1.0)), log_values), log_values)


def all_scores(network: Network, grids: list[Grid], h: Hidden, events: Events, wanted: Tensor) -> Tensor:
    """Return the logs of all columns' conditionals given the same, ``(n, columns)``, where they are wanted; 0 elsewhere."""
    own, of_value, order = [], [], []
    of_atoms: dict[int, Tensor] = {}
    some = bool((events.cases <= HELD).any())
    for group, logits in network.all_logits(h):
        logs = torch.log_softmax(finer(logits), -1)
        index = [variable.index for variable in group]
        order += index
        own.append(logs.gather(-1, events.cases[:, index].clamp(min=0).unsqueeze(-1)).squeeze(-1))
        of_value.append(logs[:, :, VALUE])
        if some:
            of_atoms.update((v.index, held(v, logs[:, at], events.cases[:, v.index])) for at, v in enumerate(group) if v.number is not None)
    scores = torch.cat(own, 1)
    numbers = [variable for variable in network.variables if variable.number is not None]
    if numbers:
        # Numbers first, the other columns after them.
        index = [variable.index for variable in numbers]
        place = [order.index(column) for column in index]
        cases = events.cases[:, index]
        values, log_value = _all_values(network, grids, h, events, wanted, numbers), torch.cat(of_value, 1)[:, place]
        joined = _joined(numbers, grids, cases, scores[:, place], log_value, values)
        if some:
            within = [_within(of_atoms[column], log_value[:, at] + values[:, at]) for at, column in enumerate(index)]
            joined = torch.where(cases <= HELD, torch.stack(within, 1), joined)
        others = [at for at, column in enumerate(order) if column not in index]
        scores, order = torch.cat([joined, scores[:, others]], 1), [*index, *(order[at] for at in others)]
    scores = scores[:, [order.index(column) for column in range(len(order))]]
    return torch.where(wanted, torch.where(events.cases == OUTSIDE, -torch.inf, scores), 0.0)


def _all_values(network: Network, grids: list[Grid], h: Hidden, events: Events, wanted: Tensor, numbers: list[Variable]) -> Tensor:
    """Return the logs of what numbers are among values, ``(n, numbers)``; only where they count, since splines cost the most."""
    index = [variable.index for variable in numbers]
    device = h.units.device
    case = events.cases[:, index]
    stepped = torch.tensor([grid.step > 0 for grid in grids], device=device)
    last = torch.tensor([len(variable.atoms) if grid.step else VALUE for variable, grid in zip(numbers, grids, strict=True)], device=device)
    wide = case <= HELD
    needed = wanted[:, index] & ((case >= VALUE) & (case <= last) | wide)
    # Number by number: the rows of each that count go through its own head.
    rows = [one.nonzero().squeeze(-1) for one in needed.T]
    counts = torch.tensor([len(one) for one in rows], device=device)
    row, number = torch.cat(rows), torch.repeat_interleave(torch.arange(len(numbers), device=device), counts)
    turns = [variable.column.kind == "circular" for variable in numbers]
    circular = torch.tensor(turns, device=device)[number] if any(turns) else None
    mean, spread = (part[row, number] for part in network.copula.places(h.common, numbers))
    knots = knots_of(network.some_splines(h.units, rows), network.bins, circular, mean, spread)
    places, cells, between = events.places[row, number], (stepped | wide)[row, number], wide[row, number]
    log_step = places.new_zeros(len(places))
    if network.classes.count:
        knots = knots._replace(wide=knots.wide + network.classes.odds_of(number).unsqueeze(-1))
        log_step = network.classes.log_steps(numbers, h.posterior, rows, events, h.own)
        if bool(between.any()):
            parts = [row[which] for row, which in zip(rows, between.split([len(row) for row in rows]), strict=True)]
            steps = network.classes.some_steps(numbers, h.posterior, parts)
            log_step[between] = steps.log_mean_slope(*_ends(places[between]))
    value = places.new_zeros(len(places))
    for which in (True, False):
        some = (cells == which).nonzero().squeeze(-1)
        if len(some) == len(cells):
            value = _value(knots, places, which, log_step)
        elif len(some):
            value = value.index_copy(0, some, _value(knots.take(some), places[some], which, log_step[some]))
    found: Tensor = torch.zeros(case.shape, dtype=events.places.dtype, device=device)
    return found.index_put((row, number), value)


def _value(knots: Knots, place: Tensor, cells: bool, log_step: Tensor | float) -> Tensor:
    """Return the log of a number's measure among values, of points or of cells, by that of the steps beside or of the marginal."""
    begin, end = _ends(place)
    return place[..., 4] + (log_mean_slope(knots, begin, end, log_step) if cells else log_slope(knots, *begin, log_step))


def _ends(place: Tensor) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Return the marginal's shares below and above where cells begin, and where they end."""
    begin_below, begin_above, end_below, end_above, _ = place.unbind(-1)
    return (begin_below, begin_above), (end_below, end_above)


def _of_interval(knots: Knots, place: Tensor) -> Tensor | float:
    return knots.steps.log_mean_slope(*_ends(place)) if knots.steps is not None else 0.0


def _joined(numbers: Sequence[Variable], grids: Sequence[Grid], case: Tensor, own: Tensor, of_value: Tensor, value: Tensor) -> Tensor:
    """Return the logs of numbers' conditionals ``(n, numbers)``: of their cases, and of what they are among values."""
    atoms = [len(variable.atoms) if grid.step else 0 for variable, grid in zip(numbers, grids, strict=True)]
    if any(atoms):
        # An atom on a grid is one of its values as well, so that its probability is that of both.
        atom = (case > VALUE) & (case <= torch.tensor(atoms, device=case.device))
        own = torch.where(atom, torch.logaddexp(own, of_value + value), own)
    return own + torch.where(case == VALUE, value, 0.0)
