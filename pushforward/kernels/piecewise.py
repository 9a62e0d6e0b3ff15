"""Piecewise polynomial splines: a linear, a quadratic or a cubic in each bin of a box, the identity outside."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from pushforward.core.fields import MOST, Positive, Within
from pushforward.core.numerics import clamp, finer, soft_clamp
from pushforward.kernels.bins import Bins, Piece, boxed, fill
from pushforward.kernels.kernel import Kernel
from pushforward.kernels.spline import HEIGHT_BOUND, SLOPE_BOUND, WIDTH_BOUND, boxes, evenly_spaced, logits

# Bound of the logits of a cubic's end slopes: they stay within 0.3 and 2.1 times that of their bins, so no slope comes near zero.
END_BOUND = 1.5
# Newton's steps within a bin; with the slopes that the bounds allow, 10 reach the last digit of float64 everywhere.
STEPS = 10


@dataclass(frozen=True, repr=False)
class _Piecewise(Kernel):
    bins: Bins = 8
    bound: Positive = 5.0

    pieces: ClassVar[tuple[Piece, Piece]]

    def fixes(self, x: Tensor) -> Tensor:
        return torch.abs(x) >= self.bound

    def table(self, **parameters: Tensor) -> Tensor:
        """Return what each bin needs, ``(*batch, rows, K, elements)``: x0, width, y0, height and what the piece takes."""
        raise NotImplementedError

    def forward(self, x: Tensor, **parameters: Tensor) -> tuple[Tensor, Tensor]:
        return boxed(self._fine_table(parameters), x, self.bound, self.pieces[0])

    def inverse(self, y: Tensor, **parameters: Tensor) -> tuple[Tensor, Tensor]:
        return boxed(self._fine_table(parameters), y, self.bound, self.pieces[1], inverse=True)

    def _fine_table(self, parameters: dict[str, Tensor]) -> Tensor:
        # Knots rounded to float32 would move with the last digit of a parameter, and with them values far from zero by many of theirs.
        return self.table(**{name: finer(value) for name, value in parameters.items()})


def _stack(*rows: Tensor) -> Tensor:
    return torch.stack(torch.broadcast_tensors(*rows), -3)


def _linear(place: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
    return place, torch.log(s)


@dataclass(frozen=True, repr=False)
class LinearSpline(_Piecewise):
    r"""Piecewise linear spline: K bins of equal width on the box [-B, B], straight in each, the identity outside.

    The slope is :math:`K p_k` in bin k, with p the softmax of K bounded logits; all zero is the identity. The map is continuous and
    increasing; its slope, and so the density, jumps at every knot and at the ends of the box. K parameters an element; all real values to
    all real values.
    Source: Neural Importance Sampling (Müller et al., 2019).

    Args:
        bins: K >= 2.
        bound: B > 0, half the width of the box.

    >>> LinearSpline(bins=4).build((2,))(torch.tensor([0.5, 9.0]))[0].detach()
    tensor([0.5000, 9.0000])
    """

    formula = "y = piecewise linear spline on [-bound, bound], y = x outside"
    size = "D * bins"
    pieces = (_linear, _linear)

    def init(self, shape: tuple[int, ...]) -> dict[str, Tensor]:
        return {"heights": torch.zeros(self.bins, *shape)}

    def table(self, heights: Tensor) -> Tensor:  # type: ignore[override]
        equal = torch.full_like(heights, 1 / self.bins)
        return _stack(*fill(equal, self.bound), *fill(torch.softmax(logits(heights, HEIGHT_BOUND), -2), self.bound))


def _quadratic_forward(theta: Tensor, s: Tensor, d0: Tensor, d1: Tensor) -> tuple[Tensor, Tensor]:
    mean = 0.5 * (d0 + d1)
    u = theta * (d0 + 0.5 * theta * (d1 - d0)) / mean
    return u, torch.log(s * ((1 - theta) * d0 + theta * d1) / mean)


def _quadratic_inverse(u: Tensor, s: Tensor, d0: Tensor, d1: Tensor) -> tuple[Tensor, Tensor]:
    # The slope at the root is the root of the discriminant, here a sum of positive terms; it goes below the bar, where nothing cancels.
    mean, slope = 0.5 * (d0 + d1), torch.sqrt((1 - u) * d0 * d0 + u * d1 * d1)
    return 2 * mean * u / (d0 + slope), torch.log(s * slope / mean)


@dataclass(frozen=True, repr=False)
class QuadraticSpline(_Piecewise):
    r"""Piecewise quadratic spline: K bins on the box [-B, B] with a slope that is linear in each, the identity outside.

    Bin widths are the softmax of bounded logits, the slopes at inner knots are exponentials of bounded logits over their mean (each
    weighted by the bins beside it), so the slopes at both ends of the box are exactly 1 and the map is smooth to first order
    everywhere; all zero is the identity. In a bin of width w with end slopes :math:`d_0, d_1` and :math:`\theta \in [0, 1]` across it,

    .. math:: y = y_0 + w \left(d_0 \theta + \frac{d_1 - d_0}{2} \theta^2\right)

    :math:`2K - 1` parameters an element; all real values to all real values.
    Source: Neural Importance Sampling (Müller et al., 2019), with the ends that Neural Spline Flows (Durkan et al., 2019) gives it.

    Args:
        bins: K >= 3; with two the ends alone would make it the identity.
        bound: B > 0, half the width of the box.

    >>> QuadraticSpline(bins=4).build((2,))(torch.tensor([0.5, 9.0]))[0].detach()
    tensor([0.5000, 9.0000])
    """

    bins: Annotated[int, Within(least=3, most=MOST)] = 8

    formula = "y = piecewise quadratic spline on [-bound, bound], y = x outside"
    size = "D * (2 * bins - 1)"
    pieces = (_quadratic_forward, _quadratic_inverse)

    def init(self, shape: tuple[int, ...]) -> dict[str, Tensor]:
        return {"widths": torch.zeros(self.bins, *shape), "slopes": torch.zeros(self.bins - 1, *shape)}

    def start(self, shape: tuple[int, ...]) -> dict[str, Tensor]:
        return self.init(shape) | {"widths": evenly_spaced(self.bins, self.bound, shape)}

    def table(self, widths: Tensor, slopes: Tensor) -> Tensor:  # type: ignore[override]
        share = torch.softmax(logits(widths, WIDTH_BOUND), -2)
        inner = torch.exp(logits(slopes, SLOPE_BOUND))
        weight = share[..., :-1, :] + share[..., 1:, :]
        # The mean slope of a box is 1, so ends that are as steep as the inner knots on average have slope 1 too.
        ends = (weight * inner).sum(-2, keepdim=True) / weight.sum(-2, keepdim=True)
        d = torch.cat([ends, inner, ends], -2) / ends
        area = share * (d[..., :-1, :] + d[..., 1:, :])
        area = area / area.sum(-2, keepdim=True)
        return _stack(*fill(share, self.bound), *fill(area, self.bound), d[..., :-1, :], d[..., 1:, :])


def _cubic(theta: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Return value and slope of the cubic from (0, 0) to (1, 1) with end slopes a and b."""
    rest = 1 - theta
    value = theta * (a * rest * rest + theta * ((3 - b) * rest + theta))
    return value, a * rest * rest + 2 * (3 - a - b) * theta * rest + b * theta * theta


def _cubic_forward(theta: Tensor, s: Tensor, d0: Tensor, d1: Tensor) -> tuple[Tensor, Tensor]:
    u, slope = _cubic(theta, d0 / s, d1 / s)
    return u, torch.log(s * slope)


def _cubic_inverse(u: Tensor, s: Tensor, d0: Tensor, d1: Tensor) -> tuple[Tensor, Tensor]:
    a, b = d0 / s, d1 / s
    with torch.no_grad():
        # From the inflection point Newton's method goes to the root of an increasing cubic from one side, but for its first step.
        theta = clamp(torch.nan_to_num((2 * a + b - 3) / (3 * (a + b - 2))), 0, 1)
        for _ in range(STEPS):
            value, slope = _cubic(theta, a, b)
            theta = clamp(theta - (value - u) / slope, 0, 1)
    for _ in range(2):  # two steps that are differentiated carry two derivatives
        value, slope = _cubic(theta, a, b)
        theta = theta - (value - u) / slope
    return theta, torch.log(s * _cubic(theta, a, b)[1])


@dataclass(frozen=True, repr=False)
class CubicSpline(_Piecewise):
    r"""Monotone cubic spline: K bins on the box [-B, B], a Hermite cubic in each, the identity outside.

    Bin widths and heights are softmaxes of bounded logits. With the slopes
    :math:`s_k = h_k / w_k` of the bins, the slope at an inner knot is Steffen's, the least of :math:`2 s_{k-1}`, :math:`2 s_k` and
    :math:`(w_k s_{k-1} + w_{k-1} s_k) / (w_{k-1} + w_k)`; those at both ends are :math:`3 \sigma(\cdot)` times that of their bin, from
    a bounded logit each. All zero is the identity. The map is continuous and increasing, smooth to first order inside the box; at its
    ends the slope, and so the density, may jump. It is inverted by Newton's method from the inflection point, which always converges.
    :math:`2K + 2` parameters an element; all real values to all real values.
    Source: Cubic-Spline Flows (Durkan et al., 2019); A simple method for monotonic interpolation in one dimension (Steffen, 1990).

    Args:
        bins: K >= 2.
        bound: B > 0, half the width of the box.

    >>> CubicSpline(bins=4).build((2,))(torch.tensor([0.5, 9.0]))[0].detach()
    tensor([0.5000, 9.0000])
    """

    formula = "y = monotone cubic spline on [-bound, bound], y = x outside"
    size = "D * (2 * bins + 2)"
    pieces = (_cubic_forward, _cubic_inverse)

    def init(self, shape: tuple[int, ...]) -> dict[str, Tensor]:
        return {"widths": torch.zeros(self.bins, *shape), "heights": torch.zeros(self.bins, *shape), "ends": torch.zeros(2, *shape)}

    def start(self, shape: tuple[int, ...]) -> dict[str, Tensor]:
        spaced = evenly_spaced(self.bins, self.bound, shape)
        return self.init(shape) | {"widths": spaced, "heights": spaced}

    def table(self, widths: Tensor, heights: Tensor, ends: Tensor) -> Tensor:  # type: ignore[override]
        x0, w, y0, h = boxes(widths, heights, self.bound)
        s = h / w
        before, after = s[..., :-1, :], s[..., 1:, :]
        mean = (w[..., 1:, :] * before + w[..., :-1, :] * after) / (w[..., 1:, :] + w[..., :-1, :])
        inner = torch.minimum(mean, 2 * torch.minimum(before, after))
        # Logit of a third, so that zero is slope 1.
        outer = 3 * torch.sigmoid(soft_clamp(ends, END_BOUND) - math.log(2))
        d = torch.cat([outer[..., :1, :] * s[..., :1, :], inner, outer[..., 1:, :] * s[..., -1:, :]], -2)
        return _stack(x0, w, y0, h, d[..., :-1, :], d[..., 1:, :])
