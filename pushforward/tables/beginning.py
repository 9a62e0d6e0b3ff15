"""Beginning: latent classes of a table, kept where rows that were held out are more probable by them than by the copula."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pushforward.core.draws import Drawing
from pushforward.data.schema.grid import Grid
from pushforward.data.schema.schema import Schema
from pushforward.tables.chain import score_chain
from pushforward.tables.chart import Chart
from pushforward.tables.classes import BINS, widths
from pushforward.tables.events import Events
from pushforward.tables.maximising import Found, Layout, likelihoods, maximised
from pushforward.tables.steps import bin_of
from pushforward.tables.variable import Variable

if TYPE_CHECKING:
    from pushforward.tables.model import Model

COUNTS = (8, 16, 32, 64, 128)
"""Of classes that are tried, as long as more of them are better."""
ROWS = 4096
"""Rows from which classes are found, at most."""
LEAST = 40
"""Rows without which there are none."""
HELD = 5
"""Of so many rows one is held out, on which they are compared."""
TRIED, KEPT = 12, 20
"""Rounds of expectation maximisation of each trial, and of what is kept."""
WORK = 2**24
"""Rows times cells times classes, at most, so that wide tables take no longer."""
FAR, MOST = 30.0, 3.0
"""Log-odds of one alone, and at most of what a model begins with."""
NEVER = -690.0
"""The log of a probability of what is in no row."""
FEW = 32
"""Draws of a row held out with several cells that are known between two values alone."""
SURE = 2.0
"""By how many standard errors classes have to be better."""


def edges_of(charts: list[Chart], grids: list[Grid]) -> Tensor:
    """Return the edges of bins in shares below and above ``(numbers, 2, BINS + 1)``: those of charts, of points each bin in equal parts.

    On a grid bins are whole cells, so that a cell is in one of them.
    """
    found = []
    for chart, grid in zip(charts, grids, strict=True):
        below, above = chart.edges()
        below, above = torch.cat([below.new_zeros(1), below, below.new_ones(1)]), torch.cat([below.new_ones(1), above, below.new_zeros(1)])
        # A bound has no tail beyond it.
        kept = torch.cat([torch.ones_like(below[:1], dtype=torch.bool), widths(torch.stack([below, above])) > 0])
        if grid.step:
            place = (chart.knots[: len(below) - 2] - grid.origin) / grid.step - 0.5
            kept[1:-1] &= (place - torch.round(place)).abs() < 1e-6
        both = torch.stack([below[kept], above[kept]])
        parts = 1 if grid.step else max(1, BINS // (both.shape[1] - 1))
        place = torch.arange(parts, dtype=both.dtype, device=both.device) / parts
        fine = torch.cat([(both[:, :-1, None] + place * both.diff().unsqueeze(2)).flatten(1), both[:, -1:]], 1)
        found.append(torch.cat([fine, fine[:, -1:].expand(2, BINS + 1 - fine.shape[1])], 1))
    return torch.stack(found) if found else torch.zeros(0, 2, BINS + 1, dtype=torch.float64)


def layout_of(model: Model, edges: Tensor) -> Layout:
    """Return the tokens of a model that has been measured."""
    shares, sizes = [], []
    for variable in model.variables:
        shares.append(torch.softmax(model.network.start_of(variable).double(), 0))
        sizes.append(variable.cases)
    shares.append(widths(edges).flatten())
    sizes += [BINS] * len(edges)
    block = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes)).to(edges.device)
    scores = torch.where(edges[:, 0] <= 0.5, torch.special.ndtri(edges[:, 0]), -torch.special.ndtri(edges[:, 1]))
    return Layout(block, torch.cat(shares), scores)


@torch.no_grad()
def begin(model: Model, events: Events, weights: Tensor, total: int) -> None:
    """Find classes from rows with weights, and let the model begin with them if rows that are held out are more probable by them.

    Args:
        model: The model, measured but for them; what its network has learnt counts for nothing.
        events: Rows.
        weights: ``(n)``.
        total: How many rows there are, of which these are some.
    """
    classes = model.network.classes
    classes.forget()
    rows = slice(None, None, -(-len(weights) // ROWS))
    events, weights, seen = events.take(rows), weights[rows], len(weights[rows]) / total
    n = len(weights)
    if n < LEAST or len(model.variables) < 2:
        return
    edges = edges_of([model.chart_of(variable) for variable in model.numbers], model.grids).to(weights.device)
    layout = layout_of(model, edges)
    index = classes.tokens(events, range(len(model.variables)), edges)
    held = torch.arange(n, device=weights.device) % HELD == HELD - 1
    best, score = None, -math.inf
    for count in COUNTS:
        if count > n // 4 or (best is not None and n * index.shape[1] * count > WORK):
            break
        found, _ = maximised(layout, index[~held], weights[~held], _seeds(int((~held).sum()), count, weights), TRIED)
        reached = float((weights[held] * torch.logsumexp(likelihoods(found, index[held]), 1)).sum())
        if reached <= score:
            break
        best, score = found, reached
    assert best is not None
    scores = []
    for far in (FAR, -FAR):
        begin_with(model, best, edges, edges.new_full((len(edges),), far))
        scores.append(_scored(model, events.take(held)))
    classes.forget()
    share = weights[held] / weights[held].sum()
    odds = edges.new_zeros(len(edges))
    mixed = scores[0].clone()
    for variable in model.numbers:
        a, b = (part[:, variable.index] for part in scores)
        odds[variable.number] = _odds(a - b, share)
        mixed[:, variable.index] = torch.logaddexp(F.logsigmoid(odds[variable.number]) + a, F.logsigmoid(-odds[variable.number]) + b)
    apart = (mixed - _scored(model, events.take(held))).sum(1)
    mean = float((share * apart).sum())
    error = float(torch.sqrt((share.square() * (apart - mean).square()).sum()))
    if mean <= SURE * error:
        return
    kept, _ = maximised(layout, index, weights, torch.softmax(likelihoods(best, index), 1), KEPT)
    begin_with(model, kept, edges, odds, seen)


def _odds(apart: Tensor, share: Tensor) -> float:
    """Return the log-odds with which a mixture of two densities is the most probable, by the difference of their logs ``(n)``."""
    odds = 0.0
    for _ in range(30):
        part = float((share * torch.sigmoid(odds + apart)).sum())
        odds = float(np.clip(math.log(max(part, 1e-9) / max(1 - part, 1e-9)), -MOST, MOST))
    return odds


def _seeds(n: int, count: int, weights: Tensor) -> Tensor:
    """Return a posterior in which each class has one row, drawn at random, and all others have none."""
    drawn = torch.randperm(n, generator=torch.Generator().manual_seed(0))[:count].to(weights.device)
    own = torch.zeros(n, count, dtype=torch.float64, device=weights.device)
    own[drawn, torch.arange(count, device=weights.device)] = 1
    return own


def begin_with(model: Model, found: Found, edges: Tensor, odds: Tensor, seen: float = 1.0) -> None:
    """Let a model begin with classes, of whose atoms the probability is divided between them and their cells among values."""
    classes, chances = model.network.classes, torch.exp(found.logs)
    # Bins that a number does not have are in no row.
    logs = found.logs.clamp(min=NEVER)
    for variable in model.numbers:
        cells = _overlaps(model, variable, edges, chances)
        if cells:
            begin = classes.begins[variable.index]
            value = chances[begin] / (1 - torch.stack(list(cells.values())).sum(0)).clamp(min=0.1)
            for at, cell in cells.items():
                chances[begin + at] = (chances[begin + at] - value * cell).clamp(min=1e-9)
            chances[begin] = value
            block = slice(begin, begin + variable.cases)
            chances[block] /= chances[block].sum(0)
            logs[begin] = torch.log(chances[begin])
    single = seen / found.sizes
    classes.set(weights=found.weights, logs=logs, chances=chances, edges=edges, odds=odds, single=single)


def _overlaps(model: Model, variable: Variable, edges: Tensor, chances: Tensor) -> dict[int, Tensor]:
    """Return by the atoms of a grid the probabilities of their cells among values in each class, ``(K)``."""
    chart, grid = model.chart_of(variable), model.grid_of(variable)
    assert grid is not None
    if not grid.step or not variable.atoms:
        return {}
    atoms = np.array(variable.atoms)
    a, middle, b = chart.cell(torch.tensor(grid.wrapped(atoms), dtype=torch.float64, device=edges.device), grid.step / 2)
    own = edges[variable.number]
    index = bin_of(own, (a.below + b.below) / 2, (a.above + b.above) / 2)
    begin = model.network.classes.bins[variable.number or 0]
    cells = (torch.exp(middle.log_density) / widths(own)[index]).unsqueeze(1) * chances[begin + index]
    return {at: cell for at, (cell, inside) in enumerate(zip(cells, grid.holds(atoms), strict=True), 1) if inside}


def _scored(model: Model, events: Events) -> Tensor:
    """Return the log of each column's conditional before anything is learnt, ``(n, columns)``."""
    with Drawing(0):
        fresh = type(model)(Schema(tuple(variable.column for variable in model.variables)), (1,), 2, "silu").to(events.places.device)
    fresh.charts, fresh.network.copula, fresh.network.classes = model.charts, model.network.copula, model.network.classes
    fresh.network.starts.copy_(model.network.starts)
    fresh.to(model.dtype)
    return score_chain(fresh, events, range(len(model.variables)), draws=FEW).logs
