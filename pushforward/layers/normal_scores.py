"""Normal scores of each element, by what is measured: quantiles in the middle, generalised Pareto tails beyond them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pushforward.core import numerics
from pushforward.core.bijector import Bijector
from pushforward.core.layer import Layer, Shape
from pushforward.core.numerics import clamp
from pushforward.core.spec import PlanError
from pushforward.kernels.bins import through
from pushforward.kernels.pareto import fit_pareto, tail_forward, tail_inverse
from pushforward.kernels.spline import quadratic_forward, quadratic_inverse

TAIL = 0.05
"""Share of the rows in each tail, where rows are many; where they are few, `FEW` rows are, up to a quarter."""
FEW = 20
BINS = 8
ROWS_A_BIN = 20
CELLS = 2**24
"""Values that are sorted at most: of larger tables, rows evenly spread."""
LEAST = 8
"""Rows that say anything of tails, at least."""
INNER, OUTER = 1.349, 3.290
"""Widths of the middle half and of the middle nine tenths of a standard normal variable."""
WIDE, LONG, FAR = 1.8, 1.3, 4.0
"""How many times as large as its middle half, and as its middle nine tenths, say, the standard deviation of an element may be; and how far,
in units of the latter, its farthest value may lie from the middle."""
STEEP = 1e4
"""The slopes of both tails where they begin are at most so many times those of the bins beside them, or that part of them."""


@dataclass(frozen=True, repr=False)
class NormalScores(Bijector):
    r"""Each element to a nearly normal one, where a few values are so far out that they, and not most rows, decide its spread.

    `calibrate` measures; until then, and at elements that need nothing, it is the identity. Between the quantiles of 5 % and 95 % it is a
    monotone rational-quadratic spline through the normal scores of 9 quantiles. Beyond, on each side, it takes a normal tail to one of
    a generalised Pareto distribution, whose shape :math:`\xi \ge 0` and scale are fitted to what lies beyond the knot:

    .. math:: y = y_c + \sigma \frac{e^{\xi t} - 1}{\xi}, \qquad t = \frac{x^2 - c^2}{2}

    with c the normal score and :math:`y_c` the quantile, so that values of probability :math:`y^{-1/\xi}` lie a few units from the
    middle. An element needs it when some value is far out and its standard deviation is above 1.8 times that of a normal variable whose
    middle half is as wide, or above 1.3 times where the middle nine tenths are (a little more for few rows). `fit` puts this layer next to
    the data when there is such a column. No parameters, all measured; all real values to all real values.
    Source: Gaussianization (Chen, Gopinath, 2001); Modelling extreme multivariate events (Coles, Tawn, 1991), whose margins these are.

    >>> layer, rows = NormalScores().build(1), torch.linspace(-3, 3, 400).sinh()[:, None] ** 3
    >>> layer.calibrate(rows)
    >>> layer.inverse(rows)[0].abs().max().item() < 4 < rows.abs().max().item() / 200
    True
    """

    event_dim = 0
    measured_turned = False
    formula = "y = spline(x) for |x| <= c, y = q + sigma (exp(xi (x^2 - c^2) / 2) - 1) / xi beyond, all measured"

    def make(self, event_shape: Shape, context_shape: Shape | None) -> Layer:
        return NormalScoresModule(self, event_shape, context_shape)


class NormalScoresModule(Layer):
    """Built normal scores; its buffer ``bent`` tells which elements are more than the identity."""

    cut: Tensor
    knots: Tensor
    slopes: Tensor
    shapes: Tensor
    bent: Tensor
    calibrated: Tensor

    def __init__(self, plan: Bijector, event_shape: Shape, context_shape: Shape | None) -> None:
        super().__init__(plan, event_shape, context_shape)
        elements = math.prod(event_shape)
        # Where the spline ends on the base side, its knots on the data side with the slopes there, and the shapes of both tails.
        self.register_buffer("cut", torch.tensor(1.0))
        self.register_buffer("knots", torch.linspace(-1, 1, BINS + 1)[:, None].repeat(1, elements))
        self.register_buffer("slopes", torch.ones(BINS + 1, elements))
        self.register_buffer("shapes", torch.zeros(2, elements))
        self.register_buffer("bent", torch.zeros(elements, dtype=torch.bool))
        self.register_buffer("calibrated", torch.tensor(False))

    def push(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        flat, table, cut = self._flat(x), self._table(), numerics.finer(self.cut)
        y, ladj = through(table, clamp(flat, -cut, cut), quadratic_forward, inverse=False)
        # Far enough below the end of the format for knot and scale, and for a network to add such values up.
        largest = math.log(torch.finfo(numerics.working(x).dtype).max) - 7
        for sign, knot, scale, shape in self._tails():
            beyond, log_slope = tail_forward(torch.maximum(sign * flat, cut), cut, scale, shape, largest)
            outer = sign * flat > cut
            y, ladj = torch.where(outer, knot + sign * beyond, y), torch.where(outer, log_slope, ladj)
        return self._result(x, flat, y, ladj)

    def pull(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        flat, table, cut = self._flat(y), self._table(), numerics.finer(self.cut)
        low, high = numerics.finer(self.knots[0]), numerics.finer(self.knots[-1])
        x, log_slope = through(table, torch.minimum(torch.maximum(flat, low), high), quadratic_inverse, inverse=True)
        ladj = -log_slope
        for sign, knot, scale, shape in self._tails():
            excess = sign * (flat - knot)
            beyond, log_slope = tail_inverse(clamp(excess, min=0), cut, scale, shape)
            x, ladj = torch.where(excess > 0, sign * beyond, x), torch.where(excess > 0, log_slope, ladj)
        return self._result(y, flat, x, ladj)

    def measure(self, values: Tensor, context: Tensor | None = None, inverse: bool = False) -> None:
        """Measure quantiles and tails of the elements that need it."""
        if inverse:
            raise PlanError("NormalScores: expected values of the data side to measure, got the layer inverted; write it without .inv")
        rows = values.detach().reshape(-1, self.bent.numel())
        if not len(rows) or not bool(torch.isfinite(rows).all()):
            raise ValueError(f"NormalScores: expected finite rows to measure, got {len(rows)} of which some are not")
        rows = _some(rows)
        share = tail_share(len(rows))
        cut = -_scores(torch.tensor(share)).item()
        self.cut.fill_(cut)
        self.bent.copy_(far_out(rows).to(self.bent.device))
        for element in self.bent.nonzero().squeeze(-1).tolist():
            self._measure_element(element, rows[:, element].double().sort().values, share, cut)
        self.calibrated.fill_(True)

    def _measure_element(self, element: int, column: Tensor, share: float, cut: float) -> None:
        """Measure one element from its values in order; leave it the identity where no two quantiles differ in its precision."""
        # Few rows make few bins; their quantiles are joined by straight lines, on which the knots lie.
        bins = max(1, min(BINS, int(len(column) * (1 - 2 * share) / ROWS_A_BIN)))
        coarse = _quantiles(column[:, None], torch.special.ndtr(torch.linspace(-cut, cut, bins + 1, dtype=column.dtype))).squeeze(-1)
        place = torch.linspace(0, bins, BINS + 1, dtype=column.dtype, device=column.device)
        index = clamp(place.long(), max=bins - 1)
        straight = torch.linspace(0, 1, BINS + 1, dtype=column.dtype, device=column.device)
        for knots in (torch.lerp(coarse[index], coarse[index + 1], place - index), torch.lerp(coarse[0], coarse[-1], straight)):
            # A value that many rows share makes bins without a height; the knots are then evenly spaced.
            kept = numerics.working(self.knots[:, element].copy_(knots)).double()
            slopes = kept.diff() * BINS / (2 * cut)
            if bool((self.knots[:, element].diff() > 0).all()):
                break
        else:
            self.bent[element] = False
            self.knots[:, element] = torch.linspace(-1, 1, BINS + 1)
            return
        ends = []
        for tail, excess, beside in ((0, kept[0] - column, slopes[0]), (1, column - kept[-1], slopes[-1])):
            excess = excess[excess > 0]
            shape, scale = fit_pareto(excess) if len(excess) else (0.0, beside.item() / cut)
            self.shapes[tail, element] = shape
            ends.append(min(max(scale * cut, beside.item() / STEEP), beside.item() * STEEP))
        between = torch.sqrt(slopes[1:] * slopes[:-1])
        self.slopes[:, element] = torch.cat([numerics.constant(ends[:1], slopes), between, numerics.constant(ends[1:], slopes)])

    def _flat(self, value: Tensor) -> Tensor:
        return numerics.finer(value).reshape(*value.shape[: value.dim() - len(self.event_shape)], self.bent.numel())

    def _table(self) -> Tensor:
        """Return what each bin needs, ``(6, bins, elements)``: x0, width, y0, height, slope left, slope right."""
        knots, slopes, cut = numerics.finer(self.knots), numerics.finer(self.slopes), numerics.finer(self.cut)
        width = (2 * cut / BINS).expand_as(knots[1:])
        start = width * torch.arange(BINS, dtype=knots.dtype, device=knots.device)[:, None] - cut
        return torch.stack([start, width, knots[:-1], knots.diff(dim=0), slopes[:-1], slopes[1:]])

    def _tails(self) -> list[tuple[int, Tensor, Tensor, Tensor]]:
        """Return sign, knot, scale and shape of both tails, whose slopes where they begin are those of the spline."""
        knots, slopes, shapes = numerics.finer(self.knots), numerics.finer(self.slopes), numerics.finer(self.shapes)
        cut = numerics.finer(self.cut)
        return [(-1, knots[0], slopes[0] / cut, shapes[0]), (1, knots[-1], slopes[-1] / cut, shapes[1])]

    def _result(self, value: Tensor, flat: Tensor, mapped: Tensor, ladj: Tensor) -> tuple[Tensor, Tensor]:
        """Return what has been mapped where elements are bent, in the precision and the shape of the value, and the sum of the ladj."""
        result = torch.where(self.bent, mapped, flat).reshape(value.shape).to(value.dtype)
        return result, torch.where(self.bent, ladj, 0.0).sum(-1).to(numerics.working(value).dtype)


def far_out(rows: Tensor) -> Tensor:
    """Tell for each element of ``(n, elements)`` whether a few values are so far out that they, and not most rows, decide its spread."""
    if len(rows) < LEAST:
        return torch.zeros(rows.shape[1], dtype=torch.bool, device=rows.device)
    column = rows.double()
    low, quarter, middle, three, high = _quantiles(column.sort(0).values, numerics.constant([TAIL, 0.25, 0.5, 0.75, 1 - TAIL], column))
    spread, inner, outer = column.std(0, correction=0), (three - quarter) / INNER, (high - low) / OUTER
    most = torch.maximum(column.amax(0) - middle, middle - column.amin(0))
    # What few rows vary by chance.
    more = 1 + 3 / math.sqrt(len(column))
    heavy = (spread > WIDE * more * inner) | (spread > LONG * more * outer)
    found: Tensor = heavy & (most > FAR * outer) & (high > low)
    return found


def tail_share(rows: int) -> float:
    """Return the share of the rows that each tail takes."""
    return min(0.25, max(TAIL, FEW / rows))


def _some(rows: Tensor) -> Tensor:
    """Return as many rows, evenly spread, as `CELLS` allows."""
    return rows[:: -(-rows.numel() // CELLS)]


def _scores(shares: Tensor) -> Tensor:
    scores: Tensor = torch.special.ndtri(shares.double())
    return scores


def _quantiles(ordered: Tensor, shares: Tensor) -> Tensor:
    """Return quantiles ``(len(shares), elements)`` of columns that are in order; `torch.quantile` refuses large ones."""
    place = shares.to(ordered) * (len(ordered) - 1)
    index = clamp(place.long(), max=max(len(ordered) - 2, 0))
    return torch.lerp(ordered[index], ordered[clamp(index + 1, max=len(ordered) - 1)], (place - index)[:, None])
