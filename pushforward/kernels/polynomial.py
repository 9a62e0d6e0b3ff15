"""Increasing polynomials on a box, with tails that are straight or become so: sum of squares and Bernstein."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Annotated

import numpy as np
import torch
from torch import Tensor

from pushforward.core.fields import Count, OneOf, Positive, Within
from pushforward.core.numerics import clamp, constant, soft_clamp
from pushforward.core.spec import PlanError
from pushforward.kernels.affine import LOC_BOUND
from pushforward.kernels.kernel import reference
from pushforward.kernels.monotonic import Monotone, spread
from pushforward.native.elementwise import (
    BERNSTEIN,
    GENTLE_BERNSTEIN,
    GENTLE_SUM_OF_SQUARES,
    IDENTITY_BERNSTEIN,
    REFERENCES,
    SUM_OF_SQUARES,
    Code,
    Reference,
)

REACH = 3.0
"""A gentle tail leaves the slope of its end within a third of the box's half width, but for a factor e."""


class _Polynomial(Monotone):
    r"""A polynomial that increases on the box [-bound, bound], and what it goes on as outside.

    A linear tail is the tangent at the end of the box. Few values lie near the ends, and a polynomial that they alone decide may be steep
    there, which would take values far out to where the base has no mass. A gentle tail begins as the tangent and falls to the mean slope
    of the box where that is less: at a distance t its slope is :math:`m + (s - m) e^{-t / r}`, with s that of the end, m the lesser of s
    and the mean slope, and r = B / 3.
    """

    bound: float
    tails: str

    rows: Callable[..., tuple[Tensor, ...]]
    """From parameters by name to what `inside` and `mean_slope` need of them."""

    def inside(self, x: Tensor, rows: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """Return value and slope in the box."""
        raise NotImplementedError

    def mean_slope(self, rows: tuple[Tensor, ...]) -> Tensor:
        """Return how much the polynomial rises in the box, by its width."""
        raise NotImplementedError

    def prepare(self, **parameters: Tensor) -> tuple[tuple[Tensor, ...], Tensor | None]:
        rows = self.rows(**parameters)
        return rows, self.mean_slope(rows) if self.tails == "gentle" else None

    def curve(self, x: Tensor, prepared: tuple[tuple[Tensor, ...], Tensor | None]) -> tuple[Tensor, Tensor]:
        rows, level = prepared
        nearest = clamp(x, -self.bound, self.bound)
        y, slope = self.inside(nearest, rows)
        past = x - nearest
        if level is None:
            return y + slope * past, torch.log(slope)
        reach, level = self.bound / REACH, torch.minimum(level, slope)
        left = torch.abs(past) / -reach
        excess = slope - level
        y = y + level * past - excess * reach * torch.sign(past) * torch.expm1(left)
        return y, torch.log(level + excess * torch.exp(left))


@dataclass(frozen=True, repr=False)
class SumOfSquares(_Polynomial):
    r"""Sum-of-squares polynomial on the box [-B, B], continued outside along its tangents or more gently.

    .. math:: y = \mu + \int_0^x \epsilon + \frac{1}{K} \sum_k p_k(t / B)^2 dt, \qquad
        p_k(u) = \sqrt{1 - \epsilon} + \sum_{j=0}^{L} a_{kj} u^j

    A power of x would leave the floating-point range in the tails, and no inverse would come back. The coefficients :math:`a_{kj}` lie
    within 2. The integral is Gauss-Legendre quadrature with L + 1 nodes, which is exact here and adds positive terms only. At the
    start the map is within 0.01 of the identity in the box, with a slope of at most 1.01: the terms differ in their linear
    coefficients, since equal ones would stay equal (one term starts as the identity).
    :math:`K (L + 1) + 1` parameters an element; all real values to all real values.
    Source: Sum-of-Squares Polynomial Flow (Jaini et al., 2019).

    Args:
        degree: L from 1 to 16, of the polynomials that are squared; y is of degree 2L + 1.
        terms: K >= 1, how many squares.
        bound: B > 0, half the width of the box.
        slope: The least slope, epsilon in (0, 1).
        tails: ``"linear"``, the tangents; or ``"gentle"``: where a tangent is steeper than the box on the whole, the slope falls to the
            mean slope of the box within B / 3 or so, and values far out are not taken farther out.

    >>> SumOfSquares(terms=1).build((2,))(torch.tensor([0.5, 9.0]))[0].detach()
    tensor([0.5000, 9.0000])
    """

    degree: Annotated[int, Within(least=1, most=len(RULES))] = 4
    terms: Count = 3
    bound: Positive = 5.0
    slope: Annotated[float, Within(above=0.0, below=1.0)] = 1e-3
    tails: Annotated[str, OneOf("linear", "gentle")] = "linear"

    formula = "y = loc + integral_0^x (slope + 1/K sum_k p_k(t/bound)^2) dt on [-bound, bound], its tails outside"
    size = "D * (terms * (degree + 1) + 1)"

    def check(self) -> None:
        code = Code(SQUARES[self.tails], self.degree, float(self.bound), self.terms, float(self.slope))
        object.__setattr__(self, "_code", code if code.taken else None)

    def code(self) -> Code | None:
        return self._code

    def init(self, shape: tuple[int, ...]) -> dict[str, Tensor]:
        rows = [torch.zeros(self.terms, *shape) for _ in range(self.degree + 1)]
        rows[1] = spread(self.terms, START, shape)
        return {"loc": torch.zeros(shape), "coefficients": torch.stack(rows, 1).flatten(0, 1)}

    def rows(self, loc: Tensor, coefficients: Tensor) -> tuple[Tensor, ...]:
        rows = soft_clamp(coefficients, COEFFICIENT_BOUND).unflatten(-2, (self.terms, self.degree + 1))
        constant, *others = rows.unsqueeze(-2).unbind(-3)
        return clamp(loc, -LOC_BOUND, LOC_BOUND), constant + math.sqrt(1 - self.slope), *others

    def inside(self, x: Tensor, rows: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        loc, *coefficients = rows
        nodes, weights = self._rule(x)
        slopes = self._slopes(x.unsqueeze(-2) * (nodes / self.bound), coefficients)
        return loc + x * (weights * slopes).sum(-2), slopes[..., -1, :]

    def mean_slope(self, rows: tuple[Tensor, ...]) -> Tensor:
        loc, *coefficients = rows
        nodes, weights = self._rule(loc)
        return (weights * self._slopes(2 * nodes - 1, coefficients)).sum(-2)

    def _rule(self, like: Tensor) -> tuple[Tensor, Tensor]:
        nodes, weights = (constant(row, like).unsqueeze(-1) for row in RULES[self.degree - 1])
        return nodes, weights

    def _slopes(self, u: Tensor, coefficients: list[Tensor]) -> Tensor:
        """Return the slopes at ``u`` (*batch, nodes, elements), places in the box in units of its half width."""
        u, p = u.unsqueeze(-3), coefficients[-1]
        for coefficient in coefficients[-2::-1]:
            p = p * u + coefficient
        return self.slope + (p * p).mean(-3)


START = 0.1
COEFFICIENT_BOUND = 2.0


def _rule(count: int) -> tuple[list[float], list[float]]:
    """Return the Gauss-Legendre nodes and weights on [0, 1], and the end of the interval with weight 0."""
    nodes, weights = np.polynomial.legendre.leggauss(count)
    return [*(0.5 + 0.5 * nodes).tolist(), 1.0], [*(0.5 * weights).tolist(), 0.0]


RULES = tuple(_rule(degree + 1) for degree in range(1, 17))


@dataclass(frozen=True, repr=False)
class Bernstein(_Polynomial):
    r"""Bernstein polynomial with increasing coefficients on the box [-B, B], twice continuously differentiable there.

    .. math:: y = \sum_{i=0}^{M} \theta_i \binom{M}{i} t^i (1 - t)^{M - i}, \qquad t = \frac{x + B}{2B}, \quad
        \theta_{i+1} - \theta_i = \frac{2B}{M} \delta_i > 0

    The first two increments are equal and so are the last two, so the second derivative is zero at the ends. With ``linear``
    tails :math:`\delta_i` is the exponential of a logit within 3 and a location is added; outside the map goes on along
    its tangents. With ``gentle`` tails its slope falls to the mean slope of the box where a tangent is steeper, and then only the first
    derivative is continuous at the ends. With ``identity`` tails the four outer increments are 1 and the others share the rest by a
    softmax: the box is mapped onto itself, and outside y = x. Each starts as the identity. M - 1 parameters an element (M - 4 with identity
    tails);
    all real values to all real values.
    Source: Deep transformation models: Tackling complex regression problems with neural network based transformation models (Sick et
    al., 2020); Robust normalizing flows using Bernstein-type polynomials (Ramasinghe et al., 2021).

    Args:
        degree: M, from 3, or 6 with identity tails, to 128.
        bound: B > 0, half the width of the box.
        tails: ``"linear"``, ``"gentle"`` or ``"identity"``.

    >>> Bernstein().build((2,))(torch.tensor([0.5, 9.0]))[0].detach()
    tensor([0.5000, 9.0000])
    """

    degree: Annotated[int, Within(least=3, most=MAX_DEGREE)] = 16
    bound: Positive = 5.0
    tails: Annotated[str, OneOf("linear", "gentle", "identity")] = "linear"

    formula = "y = sum_i theta_i binom(M, i) t^i (1-t)^(M-i) with t = (x + bound) / (2 bound) in [0, 1], its tails outside"
    size = "D * (degree - 4 if tails == 'identity' else degree - 1)"

    def check(self) -> None:
        if self.tails == "identity" and self.degree < 6:
            raise PlanError(f"Bernstein: expected degree to be a whole number of at least 6 with identity tails, got {self.degree}")

    def fixes(self, x: Tensor) -> Tensor:
        # With identity tails the box is mapped onto itself.
        return (torch.abs(x) >= self.bound) & (self.tails == "identity")

    def code(self) -> Code | None:
        return Code(BERNSTEINS[self.tails], self.degree, float(self.bound))

    def init(self, shape: tuple[int, ...]) -> dict[str, Tensor]:
        if self.tails == "identity":
            return {"increments": torch.zeros(self.degree - 4, *shape)}
        return {"loc": torch.zeros(shape), "increments": torch.zeros(self.degree - 2, *shape)}

    def rows(self, increments: Tensor, loc: Tensor | None = None) -> tuple[Tensor, ...]:
        logits = soft_clamp(increments, LOGIT_BOUND)
        if loc is None:
            ones = torch.ones_like(logits[..., :2, :])
            inner = [ones, torch.softmax(logits, -2) * (self.degree - 4), ones]
        else:
            inner = [torch.exp(rows) for rows in (logits[..., :1, :], logits, logits[..., -1:, :])]
        steps = torch.cat(inner, -2) * (2 * self.bound / self.degree)
        # The coefficients lie evenly about the location: it is then that of the middle, not of the left end.
        left = torch.cumsum(steps, -2) - steps - 0.5 * steps.sum(-2, keepdim=True)
        return steps, left if loc is None else left + clamp(loc, -LOC_BOUND, LOC_BOUND).unsqueeze(-2)

    def mean_slope(self, rows: tuple[Tensor, ...]) -> Tensor:
        steps, _ = rows
        return steps.sum(-2) / (2 * self.bound)

    def inside(self, x: Tensor, rows: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        steps, left = rows
        t = (x + self.bound) / (2 * self.bound)
        up, down = _powers(torch.stack([t, (self.bound - x) / (2 * self.bound)]), self.degree).unbind(0)
        last = self.degree - 1
        binomials = constant([float(math.comb(last, i)) for i in range(self.degree)], x).unsqueeze(-1)
        # The basis of degree M - 1 gives the slope in positive terms, and the value since b(i, M) = (1-t) b(i, M-1) + t b(i-1, M-1).
        basis = binomials * up * down.flip(-2)
        y = (basis * (left + t.unsqueeze(-2) * steps)).sum(-2)
        return y, (basis * steps).sum(-2) * (self.degree / (2 * self.bound))


LOGIT_BOUND = 3.0
MAX_DEGREE = 128


def _powers(t: Tensor, count: int) -> Tensor:
    """Return the powers 0 to count - 1, ``(*batch, count, elements)``, by doubling; unlike `torch.pow` they differentiate twice at zero."""
    factor = t.unsqueeze(-2)
    rows = torch.ones_like(factor)
    while rows.shape[-2] < count:
        rows = torch.cat([rows, rows * factor], -2)
        factor = factor * factor
    return rows[..., :count, :]


SQUARES = {"linear": SUM_OF_SQUARES, "gentle": GENTLE_SUM_OF_SQUARES}
BERNSTEINS = {"linear": BERNSTEIN, "gentle": GENTLE_BERNSTEIN, "identity": IDENTITY_BERNSTEIN}


def _squares(tails: str, code: Code) -> Reference:
    return reference(SumOfSquares(code.bins, code.parts, code.bound, code.floor, tails))


def _bernstein(tails: str, code: Code) -> Reference:
    return reference(Bernstein(code.bins, code.bound, tails))


REFERENCES.update({kind: partial(_squares, tails) for tails, kind in SQUARES.items()})
REFERENCES.update({kind: partial(_bernstein, tails) for tails, kind in BERNSTEINS.items()})
