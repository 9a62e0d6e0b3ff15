"""Conditional distribution functions on [0, 1]: a marginal's shares moved and narrowed, then bent by a monotone spline."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from pushforward.core.numerics import finer, soft_clamp
from pushforward.kernels.spline import logits, quadratic_forward, quadratic_inverse
from pushforward.tables.steps import Steps

MARGIN = 1e-4
"""What is cut off of shares before their logit is taken, so that the ends are finite."""
END = math.log((1 - MARGIN) / MARGIN)
CENTER, SCALE = 8.0, 5.0
"""Of the center, which stays between the ends, and of the log of the scale."""
LOGIT = 1.702
"""How many times as large as a normal score the logit of a share is, near enough."""
WIDE = -5.0
"""Log-odds in a new network of the marginal itself, beside what is moved and bent: no value is as good as impossible."""
FAR, HALVINGS = 700.0, 70
"""Between which logits a share is looked for, and in how many steps."""
BOUND = 4.0
"""Of the logits of widths, heights and slopes: wider than a kernel's, since both shares are kept and nothing cancels."""


class Knots(NamedTuple):
    """What splines are made of.

    Args:
        table: ``(..., 6, K)``, of each bin its width and height, what lies to its left across and up, and what lies to its right.
        slopes: ``(..., K + 1)``.
        center: Of what shares are moved by, ``(..., 1)``.
        scale: Of what they are narrowed by, ``(..., 1)``.
        wide: The log-odds of the marginal itself, beside all of it, ``(..., 1)``.
        steps: What shares go through before they are moved, ``(...)``; None for nothing.
    """

    table: Tensor
    slopes: Tensor
    center: Tensor
    scale: Tensor
    wide: Tensor
    steps: Steps | None = None

    def repeated(self, count: int) -> Knots:
        """Return one spline several times over."""
        slopes, center, scale, wide = (part.expand(count, -1) for part in (self.slopes, self.center, self.scale, self.wide))
        return Knots(self.table.expand(count, -1, -1), slopes, center, scale, wide, self.steps and self.steps.repeated(count))

    def take(self, index: Tensor) -> Knots:
        """Return the knots of some splines."""
        parts = (self.table, self.slopes, self.center, self.scale, self.wide)
        table, slopes, center, scale, wide = (part.index_select(0, index) for part in parts)
        return Knots(table, slopes, center, scale, wide, self.steps and self.steps.take(index))


def size(bins: int) -> int:
    """Return how many parameters a spline has."""
    return 3 * bins + 4


def knots_of(
    parameters: Tensor, bins: int, circular: Tensor | None = None, mean: Tensor | None = None, spread: Tensor | None = None
) -> Knots:
    """Return the knots of splines with parameters ``(..., 3 K + 4)``; zero is the identity, the marginal itself.

    Args:
        parameters: Of widths, heights and slopes, then center, scale and the marginal's log-odds.
        bins: K.
        circular: Where a spline is periodic, broadcast to ``(...)``: it has one slope at both ends, and is not moved.
        mean: Of the marginal's normal score, where it is moved by itself, ``(...)``; None for 0.
        spread: Its standard deviation, in whose units the parameters move it further; None for 1.
    """
    bent, center, scale, wide = parameters.split([3 * bins + 1, 1, 1, 1], -1)
    parts, slopes = logits(bent, BOUND).split([2 * bins, bins + 1], -1)
    parts = finer(torch.softmax(parts.unflatten(-1, (2, bins)), -1))
    d = torch.exp(finer(slopes))
    scale = torch.exp(finer(soft_clamp(scale, SCALE)))
    if mean is None or spread is None:
        center = finer(soft_clamp(center, CENTER))
    else:
        spread, mean = spread.unsqueeze(-1), mean.unsqueeze(-1)
        center = (LOGIT * mean + soft_clamp(spread * finer(center), CENTER)).clamp(-END, END)
        scale = spread * scale
    if circular is not None:
        center, scale = (torch.where(circular.unsqueeze(-1), at, part) for at, part in ((0.0, center), (1.0, scale)))
        d = torch.cat([d[..., :-1], torch.where(circular.unsqueeze(-1), d[..., :1], d[..., -1:])], -1)
    return Knots(torch.cat([parts, *_sums(parts)], -2), d, center, scale, finer(wide) + WIDE)


def _sums(parts: Tensor) -> tuple[Tensor, Tensor]:
    """Return what lies to the left and to the right of each part, each summed from its own end."""
    before = F.pad(torch.cumsum(parts[..., :-1], -1), (1, 0))
    after = F.pad(torch.cumsum(parts[..., 1:].flip(-1), -1).flip(-1), (0, 1))
    return before, after


def shares(knots: Knots, below: Tensor, above: Tensor) -> tuple[Tensor, Tensor]:
    """Return the conditional's share on the nearer side of the moved middle, and which side that is (True: below).

    Args:
        knots: ``(..., K)``.
        below: The marginal's share below, ``(...)``.
        above: The share above.
    """
    near, on_left, _ = (part.squeeze(-1) for part in _bent(knots, below.unsqueeze(-1), above.unsqueeze(-1)))
    if knots.steps is not None:
        below, above = knots.steps.forward(below, above)
    wide = knots.wide.squeeze(-1)
    return torch.sigmoid(-wide) * near + torch.sigmoid(wide) * torch.where(on_left, below, above), on_left


def _bent(knots: Knots, below: Tensor, above: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return what `shares` does of what is moved and bent alone, of points ``(..., P)`` of each spline."""
    below, above, log_move = _moved(knots, below, above)
    on_left, w, h, x0, x1, y0, y1, near, far = _bin_at(knots, below, above, 0)
    theta = (torch.where(on_left, below - x0, above - x1) / w).clamp(0, 1)
    part, log_slope = quadratic_forward(theta, h / w, near, far)
    return torch.where(on_left, y0, y1) + h * part, on_left, log_slope + log_move


def log_mean_slope(knots: Knots, a: tuple[Tensor, Tensor], b: tuple[Tensor, Tensor], log_step: Tensor | float = 0.0) -> Tensor:
    """Return the log of the conditional's share of cells divided by the marginal's.

    Args:
        knots: ``(..., K)``.
        a: The marginal's shares below and above where cells begin, each ``(...)``.
        b: Those where they end; the same for a point, of which this is the log-slope.
        log_step: What this is of the steps beside, or of the marginal.
    """
    wide = knots.wide.squeeze(-1)
    return torch.logaddexp(F.logsigmoid(-wide) + _log_mean_slope(knots, a, b), F.logsigmoid(wide) + log_step)


def log_slope(knots: Knots, below: Tensor, above: Tensor, log_step: Tensor | float = 0.0) -> Tensor:
    """Return the log of the conditional's density divided by the marginal's at points, as `log_mean_slope` does of cells."""
    bent = _bent(knots, below.unsqueeze(-1), above.unsqueeze(-1))[2].squeeze(-1)
    wide = knots.wide.squeeze(-1)
    return torch.logaddexp(F.logsigmoid(-wide) + bent, F.logsigmoid(wide) + log_step)


def _log_mean_slope(knots: Knots, a: tuple[Tensor, Tensor], b: tuple[Tensor, Tensor]) -> Tensor:
    near, left, _ = _bent(knots, *(torch.stack(part, -1) for part in zip(a, b, strict=True)))
    (near_a, near_b), (left_a, left_b) = near.unbind(-1), left.unbind(-1)
    low_a, low_b = a[0] <= 0.5, b[0] <= 0.5
    own = torch.where(low_b, b[0] - a[0], torch.where(low_a, 1 - a[0] - b[1], a[1] - b[1]))
    of = torch.where(left_b, near_b - near_a, torch.where(left_a, 1 - near_a - near_b, near_a - near_b))
    size_of = torch.where(low_b, b[0], torch.where(low_a, torch.full_like(b[0], 0.5), a[1]))
    narrow = own <= 1e-7 * size_of + 1e-290
    if not bool((narrow | (of <= 0)).any()):
        return torch.log(of / own)
    middle = torch.where(low_b, (a[0] + b[0]) / 2, 1 - (a[1] + b[1]) / 2), torch.where(low_b, 1 - (a[0] + b[0]) / 2, (a[1] + b[1]) / 2)
    log_slope = _bent(knots, *(part.unsqueeze(-1) for part in middle))[2].squeeze(-1)
    quotient = torch.where(narrow, 1.0, of) / torch.where(narrow, 1.0, own)
    # Of a cell that is rounded away the slope is all there is.
    return torch.where(narrow | (quotient <= 0), log_slope, torch.log(torch.where(quotient > 0, quotient, 1.0)))


def inverse(knots: Knots, below: Tensor, above: Tensor) -> tuple[Tensor, Tensor]:
    """Return the marginal's shares below and above where the conditional's are these, by bisection of their logit."""
    wanted = torch.where(below <= 0.5, below, above)
    low, high = (torch.full_like(wanted, side * FAR) for side in (-1, 1))
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        near, left = shares(knots, torch.sigmoid(middle), torch.sigmoid(-middle))
        # Each compared with what is kept of it without a difference.
        less = torch.where(left == (below <= 0.5), (near < wanted) == left, left)
        less = torch.where((left != (below <= 0.5)), torch.where(left, near < 1 - wanted, near > 1 - wanted), less)
        low, high = torch.where(less, middle, low), torch.where(less, high, middle)
    middle = (low + high) / 2
    return torch.sigmoid(middle), torch.sigmoid(-middle)


def drawn(knots: Knots, below: Tensor, above: Tensor, choice: Tensor) -> tuple[Tensor, Tensor]:
    """Return the marginal's shares of draws: uniform ones, which a second uniform ``choice`` leaves as the marginal's, or bends."""
    plain = choice < torch.sigmoid(knots.wide.squeeze(-1))
    bent = [part.squeeze(-1) for part in _bent_back(knots, below.unsqueeze(-1), above.unsqueeze(-1))]
    if knots.steps is not None:
        below, above = knots.steps.inverse(below, above)
    return torch.where(plain, below, bent[0]), torch.where(plain, above, bent[1])


def _bent_back(knots: Knots, below: Tensor, above: Tensor) -> tuple[Tensor, Tensor]:
    """Return the marginal's shares below and above where those of what is moved and bent are these ``(..., P)``."""
    nearer, w, h, x0, x1, y0, y1, near, far = _bin_at(knots, below, above, 1)
    part = (torch.where(nearer, below - y0, above - y1) / h).clamp(0, 1)
    theta, _ = quadratic_inverse(part, h / w, near, far)
    # In a bin the place from the one end is 1 less that from the other.
    from_low, from_high = torch.where(nearer, theta, 1 - theta), torch.where(nearer, 1 - theta, theta)
    under, over = x0 + w * from_low, x1 + w * from_high
    return _moved_back(knots, torch.where(under <= over, under, 1 - over), torch.where(under <= over, 1 - under, over))


def _moved(knots: Knots, below: Tensor, above: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    r"""Return shares moved and narrowed, and the log-slope of that.

    With :math:`l` the logit of the share, of which a margin is cut off so that it is finite, the moved share is the distribution function
    of a logistic distribution of :math:`l` that is truncated to where :math:`l` can be. What is nearly a function of what is known takes
    one number to say where, and one to say how nearly; by bins alone it takes all of them. The slope at both ends is finite.
    """
    center, scale, rest = knots.center, knots.scale, 1 - 2 * MARGIN
    # The logit and what lies between it and both ends, each without a difference of what is nearly the same.
    from_low = torch.log1p(rest * below / MARGIN) - torch.log1p(-rest * below / (1 - MARGIN))
    from_high = torch.log1p(rest * above / MARGIN) - torch.log1p(-rest * above / (1 - MARGIN))
    logit = torch.where(below <= 0.5, from_low - END, END - from_high)
    place, low, high = (logit - center) / scale, (-END - center) / scale, (END - center) / scale
    log_low, log_high = F.logsigmoid(-low), F.logsigmoid(high)
    log_within = torch.log(-torch.expm1(low - high))
    log_under, log_over = F.logsigmoid(place), F.logsigmoid(-place)
    under = torch.exp(log_under - (log_high + log_within)) * -torch.expm1(-from_low / scale)
    over = torch.exp(log_over - (log_low + log_within)) * -torch.expm1(-from_high / scale)
    log_slope = log_under + log_over - (log_low + log_high + log_within + torch.log(scale))
    log_slope = log_slope + (math.log(rest) - F.logsigmoid(logit) - F.logsigmoid(-logit))
    nearer = under <= over
    return torch.where(nearer, under, 1 - over).clamp(0, 1), torch.where(nearer, 1 - under, over).clamp(0, 1), log_slope


def _moved_back(knots: Knots, below: Tensor, above: Tensor) -> tuple[Tensor, Tensor]:
    """Return the shares that are moved to these."""
    center, scale = knots.center, knots.scale
    low, high = (-END - center) / scale, (END - center) / scale
    whole = torch.exp(F.logsigmoid(high) + F.logsigmoid(-low)) * -torch.expm1(low - high)
    place = torch.log(torch.sigmoid(low) + below * whole) - torch.log(torch.sigmoid(-high) + above * whole)
    logit = (center + scale * place).clamp(-END, END)
    under, over = ((torch.sigmoid(sign * logit) - MARGIN) / (1 - 2 * MARGIN) for sign in (1, -1))
    return under.clamp(0, 1), over.clamp(0, 1)


def _bin_at(knots: Knots, below: Tensor, above: Tensor, axis: int) -> tuple[Tensor, ...]:
    """Return whether shares are nearer to the low end, and what there is of the bin that they are in.

    That is its width and height, what lies to its left and right, across and up, and the slopes at its nearer and at its farther end.

    Args:
        knots: ``(..., 6, K)``.
        below: Shares below, ``(..., P)``.
        above: Shares above.
        axis: On which axis the shares are, 0 across and 1 up.
    """
    nearer, bins = below <= 0.5, knots.table.shape[-1]
    left, right = knots.table[..., 2 + axis, 1:].unsqueeze(-2), knots.table[..., 4 + axis, :-1].unsqueeze(-2)
    from_left = (below.unsqueeze(-1) >= left).sum(-1)
    from_right = bins - 1 - (above.unsqueeze(-1) >= right).sum(-1)
    index = torch.where(nearer, from_left, from_right)
    w, h, x0, y0, x1, y1 = _entries(knots.table, index.unsqueeze(-2).expand(*index.shape[:-1], 6, -1)).unbind(-2)
    first, last = _entries(knots.slopes, torch.cat([index, index + 1], -1)).chunk(2, -1)
    return nearer, w, h, x0, x1, y0, y1, torch.where(nearer, first, last), torch.where(nearer, last, first)


def _entries(table: Tensor, index: Tensor) -> Tensor:
    """Return a table's entries ``(..., K)`` at places ``(..., P)``."""
    if index.shape[:-1] != table.shape[:-1]:
        batch = torch.broadcast_shapes(index.shape[:-1], table.shape[:-1])
        table, index = table.expand(*batch, -1), index.expand(*batch, -1)
    return torch.gather(table, -1, index)
