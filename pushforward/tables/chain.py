"""Chain: columns one after the other, each given those before, to score rows and to draw what is not known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from pushforward.tables.events import Events
from pushforward.tables.heads import case_logs, column_knots, column_score
from pushforward.tables.integral import DRAWS, score_open
from pushforward.tables.network import Hidden
from pushforward.tables.spline import drawn
from pushforward.tables.variable import HELD, VALUE, Variable

if TYPE_CHECKING:
    from pushforward.tables.model import Model

ROWS = 4096
"""Rows that go through the network together."""


class Scores(NamedTuple):
    """The log of each column's conditional ``(n, columns)``, and the standard errors of their sums ``(n)``, 0 but for several intervals."""

    logs: Tensor
    errors: Tensor


def score_rows(
    model: Model, coded: Tensor, order: Sequence[int], given: Sequence[int] = (), bounds: Tensor | None = None, draws: int = DRAWS
) -> Scores:
    """Return what `score_chain` does of coded rows ``(n, columns)``, of which no more than a block are events at a time."""
    ends = [None] * len(coded.split(ROWS)) if bounds is None else bounds.split(ROWS)
    parts = [score_chain(model, model.events(rows, some), order, given, draws) for rows, some in zip(coded.split(ROWS), ends, strict=True)]
    return Scores(*map(torch.cat, zip(*parts, strict=True)))


def score_chain(model: Model, events: Events, order: Sequence[int], given: Sequence[int] = (), draws: int = DRAWS) -> Scores:
    """Return the log of each column's conditional given those before it in an order and those given.

    In a row with cells that are known between two values alone these come last, since nothing can be conditioned on them.
    """
    if not len(events.cases):
        return Scores(torch.zeros(0, len(order), dtype=torch.float64), torch.zeros(0, dtype=torch.float64))
    found = []
    for at in range(0, len(events.cases), ROWS):
        some = events.take(slice(at, at + ROWS))
        wide = some.cases[:, list(order)] <= HELD
        logs = some.places.new_zeros(wide.shape)
        errors = some.places.new_zeros(len(wide))
        for pattern in wide.unique(dim=0).tolist() if bool(wide.any()) else [[False] * len(order)]:
            rows = (wide == torch.tensor(pattern, device=wide.device)).all(1).nonzero().squeeze(-1)
            first, last = ([place for place, is_wide in enumerate(pattern) if is_wide == which] for which in (False, True))
            exact, known_between = ([order[place] for place in places] for places in (first, last))
            part = some if len(rows) == len(wide) else some.take(rows)
            if last:
                scores, errors[rows] = score_open(model, part, exact, known_between, given, draws)
            else:
                scores = _score(model, part, exact, given)
            logs[rows[:, None], torch.tensor([*first, *last], device=wide.device)] = scores
        found.append(Scores(logs, errors))
    return Scores(*map(torch.cat, zip(*found, strict=True)))


def _score(model: Model, events: Events, order: Sequence[int], given: Sequence[int]) -> Tensor:
    network = model.network
    known = torch.zeros(events.cases.shape, dtype=torch.bool, device=events.cases.device)
    known[:, list(given)] = True
    state = network.state(events, known)
    found = []
    for at, index in enumerate(order):
        variable = model.variables[index]
        found.append(column_score(network, variable, model.grid_of(variable), network.trunk(state), events))
        if at + 1 < len(order):
            state = network.added(state, variable, events)
    return torch.stack(found, 1)


def check_generator(given: torch.Generator | None) -> None:
    """Raise TypeError for what draws no random numbers."""
    if given is not None and not isinstance(given, torch.Generator):
        raise TypeError(f"TableFlow: expected generator to be a torch.Generator or None, got {type(given).__name__}")


def draw_chain(
    model: Model, coded: Tensor, known: Tensor, order: Sequence[int], generator: torch.Generator | None, missing: bool = True
) -> Tensor:
    """Return coded rows in which what is not known is drawn, column by column, given what is known and what was drawn before.

    Args:
        model: The model.
        coded: ``(n, columns)``; what is not known may be anything.
        known: ``(n, columns)``.
        order: The columns to draw.
        generator: Of the random numbers.
        missing: Whether a draw may be a missing value.
    """
    check_generator(generator)
    rows = coded.clone()
    for at in range(0, len(rows), ROWS):
        part = slice(at, at + ROWS)
        rows[part] = _draw(model, rows[part], known[part], order, generator, missing)
    return rows


def _draw(model: Model, coded: Tensor, known: Tensor, order: Sequence[int], generator: torch.Generator | None, missing: bool) -> Tensor:
    network = model.network
    events = model.events(torch.where(known, coded, torch.nan))
    state = network.state(events, known)
    for index in order:
        variable = model.variables[index]
        wanted = ~known[:, index]
        if not bool(wanted.any()):
            continue
        coded[wanted, index] = draw_column(model, variable, network.trunk(state.take(wanted)), generator, missing)
        events = model.met(events, variable, coded[:, index])
        more = network.added(state, variable, events)
        # What was known before has been told.
        state = more if bool(wanted.all()) else state.where(wanted, more)
    return coded


def draw_column(model: Model, variable: Variable, h: Hidden, generator: torch.Generator | None, missing: bool = True) -> Tensor:
    """Return a coded draw of a column for each row of the last hidden layer."""
    logs = case_logs(model.network, variable, h)
    if not missing and variable.may_be_missing:
        logs = logs.clone()
        logs[:, variable.missing] = -torch.inf
    case = _categorical(logs, generator)
    none = case == variable.missing if variable.may_be_missing else torch.zeros_like(case, dtype=torch.bool)
    if variable.number is None:
        return torch.where(none, torch.nan, case.double())
    chart, grid = model.chart_of(variable), model.grid_of(variable)
    assert grid is not None
    share = _uniform(len(h.units), h.units.device, generator)
    choice = _uniform(len(share), share.device, generator)
    x = chart.inverse(*drawn(column_knots(model.network, variable, h), share, 1 - share, choice))
    settled = torch.from_numpy(grid.settle(x.cpu().numpy())).to(x.device)
    atoms = torch.tensor([torch.nan, *variable.atoms], dtype=torch.float64, device=x.device)
    settled = torch.where((case > VALUE) & (case < len(atoms)), atoms[case.clamp(max=len(atoms) - 1)], settled)
    return torch.where(none, torch.nan, settled)


def _categorical(logs: Tensor, generator: torch.Generator | None) -> Tensor:
    """Return a draw of each row's cases by its distribution function."""
    sums = torch.cumsum(torch.exp(logs), -1)
    draw = _uniform(len(logs), logs.device, generator).unsqueeze(-1) * sums[:, -1:]
    last = torch.isfinite(logs).long().cumsum(-1).argmax(-1)
    return torch.minimum((draw >= sums).sum(-1), last)


def _uniform(count: int, device: torch.device, generator: torch.Generator | None) -> Tensor:
    """Return numbers of (0, 1), both ends left out."""
    where = generator.device if generator is not None else device
    drawn = torch.rand(count, dtype=torch.float64, generator=generator, device=where).to(device)
    return drawn.clamp(min=2.0**-60)
