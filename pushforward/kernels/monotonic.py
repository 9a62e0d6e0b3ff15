"""Increasing maps without a closed-form inverse, and the unconstrained monotonic network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import torch
from torch import Tensor

from pushforward.core.fields import Count, Positive, Within
from pushforward.core.numerics import clamp, constant, finer, soft_clamp
from pushforward.core.roots import root
from pushforward.kernels.affine import LOC_BOUND
from pushforward.kernels.kernel import Kernel, reference
from pushforward.native.elementwise import MONOTONIC_NETWORK, REFERENCES, Code


class Monotone(Kernel):
    """An increasing map of all real values onto all real values, with slopes between fixed bounds and a numerical inverse.

    A subclass writes ``prepare``, which bounds the parameters once, and ``curve``, which evaluates the map. Both work in float64 (MPS
    has none), and so does the compiled form: a value is then rounded once each way, however many terms it is the sum of.
    """

    inverse_method = "a root"

    prepare: Callable[..., Any]
    """From parameters by name to what ``curve`` needs of them."""
    curve: Callable[[Tensor, Any], tuple[Tensor, Tensor]]
    """From ``x`` and that to value and log-slope."""

    def forward(self, x: Tensor, **parameters: Tensor) -> tuple[Tensor, Tensor]:
        near, infinite = _reachable(x)
        y, ladj = self.curve(near, self.prepare(**{name: finer(value) for name, value in parameters.items()}))
        return torch.where(infinite, x, y.to(x.dtype)), ladj.to(x.dtype)

    def inverse(self, y: Tensor, **parameters: Tensor) -> tuple[Tensor, Tensor]:
        prepared = self.prepare(**{name: finer(value) for name, value in parameters.items()})
        near, infinite = _reachable(y)
        x = root(lambda x: self.curve(x, prepared), near, STEPS)
        value, log_slope = self.curve(x, prepared)
        # Parameters that are no numbers have no root.
        x, log_slope = (torch.where(torch.isnan(value), value, made) for made in (x, log_slope))
        return torch.where(infinite, y, x.to(y.dtype)), -log_slope.to(y.dtype)


def _reachable(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return ``x`` with numbers far out in the place of infinity, and what is infinite: its image is itself, its slope that out there."""
    fine, infinite = finer(x), torch.isinf(x)
    return torch.where(infinite, torch.sign(fine) * (torch.finfo(fine.dtype).max * FAR), fine), infinite


FAR = 1e-18
# Slopes between fixed bounds: with parameters of any size 45 steps reach the last digit.
STEPS = 48


@dataclass(frozen=True, repr=False)
class MonotonicNetwork(Monotone):
    r"""Unconstrained monotonic network (UMNN): the integral of the exponential of a network g of one hidden layer.

    .. math:: y = \mu + \int_0^x e^{\ell + g(t)} dt, \quad g(t) = \sum_k v_k \tanh(a_k t + c_k), \quad \sum_k |v_k| \le V = 3.

    With :math:`|a_k| \le 1.6\, P / B` the integral over [0, x] is P panels of eight Gauss-Legendre nodes for x in the box [-B, B];
    outside the map goes on along its tangent. :math:`y` and its slope are those of the quadrature rule itself, so the log-determinant
    is exact for the map as it is computed, and that map increases whatever the parameters: in the strip
    :math:`|\mathrm{Im}\, t| \le \pi / 4|a|` no tanh exceeds 1 and no derivative of one exceeds 2, so the rule's slope, the rule
    applied to :math:`(t e^{g})'`, is off from :math:`e^{g(x)} \ge e^{-V}` by at most
    :math:`\frac{32}{15} e^V (1 + 2.4 \cdot 1.6\, P V) \rho^{-16} / (1 - \rho^{-2})`, with :math:`\rho = 2.38` the ellipse about a panel
    that lies in the strip: less than half of :math:`e^{-V}` for P up to 32.
    It starts as the identity. :math:`3K + 2` parameters an element for K units; all real values to all real values.
    Source: Unconstrained Monotonic Neural Networks (Wehenkel, Louppe, 2019), with an integrand that the rule resolves.

    Args:
        units: K >= 1, width of the hidden layer.
        panels: P from 1 to 32; more of them allow a steeper network.
        bound: B > 0, half the width of the box.

    >>> MonotonicNetwork().build((2,))(torch.tensor([0.5, 9.0]))[0].detach()
    tensor([0.5000, 9.0000])
    """

    units: Count = 8
    panels: Annotated[int, Within(least=1, most=MAX_PANELS)] = 4
    bound: Positive = 5.0

    formula = "y = loc + integral_0^x exp(level + sum_k v_k tanh(a_k t + c_k)) dt on [-bound, bound], its tangent outside"
    size = "D * (3 * units + 2)"
    log_det = "closed form, the derivative of the quadrature rule"

    def check(self) -> None:
        code = Code(MONOTONIC_NETWORK, self.units, float(self.bound), self.panels)
        object.__setattr__(self, "_code", code if code.taken else None)

    def code(self) -> Code | None:
        return self._code

    def init(self, shape: tuple[int, ...]) -> dict[str, Tensor]:
        # Heights of zero are the identity; the units' places over the box are what makes each learn something of its own.
        steepness = STEEPNESS * self.panels
        return {
            "loc": torch.zeros(shape),
            "level": torch.zeros(shape),
            "heights": torch.zeros(self.units, *shape),
            "steepness": torch.full((self.units, *shape), steepness / self.bound),
            "places": spread(self.units, steepness, shape),
        }

    def prepare(self, loc: Tensor, level: Tensor, heights: Tensor, steepness: Tensor, places: Tensor) -> tuple[Tensor, ...]:
        # sum |v| <= sqrt(K) |v| < V, smoothly.
        squares = (heights * heights).sum(-2, keepdim=True)
        heights = heights * torch.rsqrt(1 + squares * (self.units / HEIGHT_BOUND**2))
        limit = STEEPNESS * self.panels
        return (
            clamp(loc, -LOC_BOUND, LOC_BOUND),
            torch.exp(soft_clamp(level, LEVEL_BOUND)),
            heights.unsqueeze(-3),
            soft_clamp(steepness, limit / self.bound).unsqueeze(-3),
            soft_clamp(places, limit).unsqueeze(-3),
            *constant(_rule(self.panels), loc).unsqueeze(-1),
        )

    def curve(self, x: Tensor, prepared: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        loc, level, heights, steepness, places, nodes, weights = prepared
        inside = clamp(x, -self.bound, self.bound)
        t = inside.unsqueeze(-2) * nodes
        bent = torch.tanh(steepness * t.unsqueeze(-2) + places)
        integrand = weights * torch.exp((heights * bent).sum(-2))
        growth = t * (heights * steepness * (1 - bent * bent)).sum(-2)
        slope = level * (integrand * (1 + growth)).sum(-2)
        y = loc + level * inside * integrand.sum(-2) + slope * (x - inside)
        return y, torch.log(slope)


HEIGHT_BOUND = 3.0
LEVEL_BOUND = 2.0
# Both are what the proof in the docstring is for.
STEEPNESS = 1.6
MAX_PANELS = 32
GAUSS: tuple[list[float], list[float]] = tuple(row.tolist() for row in np.polynomial.legendre.leggauss(8))  # type: ignore[assignment]


def _rule(panels: int) -> list[list[float]]:
    """Return nodes and weights on [0, 1]: the Gauss-Legendre rule in each of some equal panels."""
    nodes = [(panel + 0.5 + 0.5 * node) / panels for panel in range(panels) for node in GAUSS[0]]
    return [nodes, [0.5 * weight / panels for weight in GAUSS[1]] * panels]


def spread(count: int, reach: float, shape: tuple[int, ...]) -> Tensor:
    """Return ``(count, *shape)``: numbers spread evenly over (-reach, reach), the same at all elements."""
    values = torch.tensor([reach * ((2 * k + 1) / count - 1) for k in range(count)])
    return values.reshape(-1, *(1,) * len(shape)).expand(-1, *shape)


REFERENCES[MONOTONIC_NETWORK] = lambda code: reference(MonotonicNetwork(code.bins, code.parts, code.bound))
