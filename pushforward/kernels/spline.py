"""Monotone rational splines: quadratic and linear order, linear tails of slope 1."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor

from pushforward.core.fields import OneOf, Positive
from pushforward.core.numerics import clamp, soft_clamp, soft_clamp_inverse
from pushforward.kernels.bins import Bins, boxed, fill
from pushforward.kernels.kernel import Kernel, reference
from pushforward.native.elementwise import LINEAR_SPLINE, QUADRATIC_SPLINE, REFERENCES, Code
from pushforward.native.layout import MAX_BINS


@dataclass(frozen=True, repr=False)
class Spline(Kernel):
    r"""Monotone rational spline: K bins on the box [-B, B], the identity outside, slope exactly 1 where they meet.

    Bin widths and heights are softmaxes of bounded logits, knot slopes exponentials of bounded logits; all zero is the identity.
    Within a bin of slope :math:`s = h / w`, with end slopes :math:`d_0, d_1` and :math:`\theta \in [0, 1]` across it, the ``quadratic``
    order is

    .. math:: y = y_0 + h \frac{s\theta^2 + d_0\theta(1-\theta)}{s(\theta^2 + (1-\theta)^2) + (d_0 + d_1)\theta(1-\theta)}

    and the ``linear`` order joins two linear rational pieces at a point that a further parameter :math:`\lambda` sets.
    :math:`3K - 1` parameters an element (quadratic) or :math:`4K - 1` (linear); all real values to all real values.
    Source: Neural Spline Flows (Durkan et al., 2019); Invertible Generative Modeling using Linear Rational Splines (Dolatabadi et
    al., 2020).

    Args:
        bins: K >= 2.
        bound: B > 0, half the width of the box.
        order: ``"quadratic"`` or ``"linear"``.

    >>> Spline(bins=4).build((2,))(torch.tensor([0.5, 9.0]))[0].detach()
    tensor([0.5000, 9.0000])
    """

    bins: Bins = 8
    bound: Positive = 5.0
    order: Annotated[str, OneOf("quadratic", "linear")] = "quadratic"

    formula = "y = monotone rational spline on [-bound, bound], y = x outside"
    size = "D * (3 * bins - 1 if order == 'quadratic' else 4 * bins - 1)"

    def init(self, shape: tuple[int, ...]) -> dict[str, Tensor]:
        rows = {"widths": self.bins, "heights": self.bins, "slopes": self.bins - 1}
        if self.order == "linear":
            rows["middles"] = self.bins
        return {name: torch.zeros(count, *shape) for name, count in rows.items()}

    def start(self, shape: tuple[int, ...]) -> dict[str, Tensor]:
        spaced = evenly_spaced(self.bins, self.bound, shape)
        return self.init(shape) | {"widths": spaced, "heights": spaced}

    def fixes(self, x: Tensor) -> Tensor:
        return torch.abs(x) >= self.bound

    def code(self) -> Code | None:
        kind = QUADRATIC_SPLINE if self.order == "quadratic" else LINEAR_SPLINE
        return Code(kind, self.bins, float(self.bound)) if self.bins <= MAX_BINS else None

    def forward(self, x: Tensor, widths: Tensor, heights: Tensor, slopes: Tensor, middles: Tensor | None = None) -> tuple[Tensor, Tensor]:
        piece = quadratic_forward if middles is None else _linear_forward
        return boxed(self._table(widths, heights, slopes, middles), x, self.bound, piece)

    def inverse(self, y: Tensor, widths: Tensor, heights: Tensor, slopes: Tensor, middles: Tensor | None = None) -> tuple[Tensor, Tensor]:
        piece = quadratic_inverse if middles is None else _linear_inverse
        return boxed(self._table(widths, heights, slopes, middles), y, self.bound, piece, inverse=True)

    def _table(self, widths: Tensor, heights: Tensor, slopes: Tensor, middles: Tensor | None) -> Tensor:
        """Return what each bin needs, ``(*batch, 6 or 7, K, elements)``: x0, width, y0, height, slope left, slope right, middle."""
        d = F.pad(torch.exp(logits(slopes, SLOPE_BOUND)), (0, 0, 1, 1), value=1.0)
        rows = [*boxes(widths, heights, self.bound), d[..., :-1, :], d[..., 1:, :]]
        if middles is not None:
            rows.append(0.5 + logits(middles, MIDDLE_BOUND))
        return torch.stack(torch.broadcast_tensors(*rows), -3)


# Bounds of the logits, as wide as round trips and log-determinants in float64 permit at ten times the usual parameters.
WIDTH_BOUND = 2.5
HEIGHT_BOUND = 2.5
SLOPE_BOUND = 2.5
MIDDLE_BOUND = 0.45
SPACED = 0.6
"""How far logits of knots go at the start, of what their bound permits: they can still be moved from there."""


def logits(parameters: Tensor, bound: float) -> Tensor:
    """Return bounded logits; parameters count a quarter, so that those of a common size give maps that float32 can undo to 1e-5."""
    return soft_clamp(parameters / 4, bound)


def evenly_spaced(bins: int, bound: float, shape: tuple[int, ...]) -> Tensor:
    """Return parameters ``(bins, *shape)`` of widths, or of heights, with knots evenly spaced in arsinh(x), as far as `SPACED` permits.

    Uniform data spans 1.7 standard deviations either side: there are 4 of the 8 bins on [-5, 5], where of equal ones there are 3.
    """
    knots = torch.sinh(math.asinh(bound) * torch.linspace(-1, 1, bins + 1, dtype=torch.float64))
    share = torch.log(knots.diff())
    share = clamp(share - 0.5 * (share.max() + share.min()), -SPACED * WIDTH_BOUND, SPACED * WIDTH_BOUND)
    spaced = (4 * soft_clamp_inverse(share, WIDTH_BOUND)).to(torch.get_default_dtype())
    return spaced.reshape(bins, *(1 for _ in shape)).repeat(1, *shape)


def boxes(widths: Tensor, heights: Tensor, bound: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return x0, width, y0 and height of each bin, ``(*batch, K, elements)``, from parameters of the widths and of the heights.

    Heights are not given relative to widths, though that would bound slopes more closely: a step of an optimiser would then move knots
    in x and y together, and training learns sharp maps worse.
    """
    across, up = torch.softmax(logits(widths, WIDTH_BOUND), -2), torch.softmax(logits(heights, HEIGHT_BOUND), -2)
    return *fill(across, bound), *fill(up, bound)


def quadratic_forward(theta: Tensor, s: Tensor, d0: Tensor, d1: Tensor) -> tuple[Tensor, Tensor]:
    """Return the place in the image of a rational quadratic piece, and its log-slope."""
    # Durkan et al. (2019), eqs. 4 and 5, in sums of positive terms only: nothing cancels.
    rest, cross = 1 - theta, theta * (1 - theta)
    denominator = s * (theta * theta + rest * rest) + (d0 + d1) * cross
    u = theta * (s * theta + d0 * rest) / denominator
    return u, _quadratic_log_slope(theta, rest, s, d0, d1, denominator)


def _quadratic_log_slope(theta: Tensor, rest: Tensor, s: Tensor, d0: Tensor, d1: Tensor, denominator: Tensor) -> Tensor:
    numerator = d1 * theta * theta + 2 * s * theta * rest + d0 * rest * rest
    return 2 * torch.log(s / denominator) + torch.log(numerator)


def quadratic_inverse(u: Tensor, s: Tensor, d0: Tensor, d1: Tensor) -> tuple[Tensor, Tensor]:
    """Return the place before a rational quadratic piece, and the log-slope of the piece there."""
    # The discriminant of eq. 7 is (d0(1-u) - d1 u)² + 4s²u(1-u): a sum of squares, never negative. With m = d0(1-u) - d1 u
    # and R its root, theta : 1-theta = 2su : m+R, where m+R is taken as 4s²u(1-u) / (R-m) when m < 0.
    difference = d0 * (1 - u) - d1 * u
    product = 4 * s * s * u * (1 - u)
    radius = torch.sqrt(difference * difference + product)
    far = torch.where(difference >= 0, radius + difference, product / (radius + torch.abs(difference)))
    near = 2 * s * u
    theta, rest = near / (near + far), far / (near + far)
    denominator = s * (theta * theta + rest * rest) + (d0 + d1) * theta * rest
    return theta, _quadratic_log_slope(theta, rest, s, d0, d1, denominator)


def _linear_weights(s: Tensor, d0: Tensor, d1: Tensor, middle: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    # Dolatabadi et al. (2020), algorithm 1, with weights divided so that only ratios remain: left weight 1, right weight r.
    right = torch.sqrt(d0 / d1)
    joint = (middle * d0 + (1 - middle) * right * d1) / s
    height = middle * right / ((1 - middle) + middle * right)
    return right, joint, height


def _linear_forward(theta: Tensor, s: Tensor, d0: Tensor, d1: Tensor, middle: Tensor) -> tuple[Tensor, Tensor]:
    right, joint, height = _linear_weights(s, d0, d1, middle)
    left_side = theta <= middle
    # Each half is measured from its own outer end, so both are v = V joint t / (a (T - t) + joint t) without cancellation.
    t, length = torch.where(left_side, theta, 1 - theta), torch.where(left_side, middle, 1 - middle)
    t = torch.minimum(t, length)
    outer, reach = torch.where(left_side, torch.ones_like(right), right), torch.where(left_side, height, 1 - height)
    denominator = outer * (length - t) + joint * t
    v = reach * joint * t / denominator
    log_slope = torch.log(outer * joint * length * reach) - 2 * torch.log(denominator)
    return torch.where(left_side, v, 1 - v), log_slope + torch.log(s)


def _linear_inverse(u: Tensor, s: Tensor, d0: Tensor, d1: Tensor, middle: Tensor) -> tuple[Tensor, Tensor]:
    right, joint, height = _linear_weights(s, d0, d1, middle)
    left_side = u <= height
    v, reach = torch.where(left_side, u, 1 - u), torch.where(left_side, height, 1 - height)
    v = torch.minimum(v, reach)
    outer, length = torch.where(left_side, torch.ones_like(right), right), torch.where(left_side, middle, 1 - middle)
    denominator = joint * (reach - v) + outer * v
    t = length * outer * v / denominator
    # With t known, outer (length - t) + joint t = outer length joint reach / denominator: the slope needs no second formula.
    log_slope = 2 * torch.log(denominator) - torch.log(outer * joint * length * reach)
    return torch.where(left_side, t, 1 - t), log_slope + torch.log(s)


REFERENCES[QUADRATIC_SPLINE] = lambda code: reference(Spline(code.bins, code.bound))
REFERENCES[LINEAR_SPLINE] = lambda code: reference(Spline(code.bins, code.bound, "linear"))
