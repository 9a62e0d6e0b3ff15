"""Circular kernels: bijections of the circle, that is of all real values with every whole turn alike."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import constraints

from pushforward.core.numerics import finer, soft_clamp
from pushforward.kernels.bins import Bins, through
from pushforward.kernels.kernel import Kernel
from pushforward.kernels.spline import SLOPE_BOUND, boxes, logits, quadratic_forward, quadratic_inverse

# Of a rotation, whichever way: every angle is well inside, so none is only approached.
TURN = 2 * math.pi


def wrap(angle: Tensor) -> Tensor:
    r"""Return angles moved by whole turns into :math:`[-\pi, \pi)`.

    >>> wrap(torch.tensor([1.0, 7.0]))
    tensor([1.0000, 0.7168])
    """
    wrapped = (math.pi * _nearest(finer(angle) / math.pi)).to(angle.dtype)
    return torch.where(wrapped >= math.pi, -math.pi, wrapped)


def _nearest(half_turns: Tensor) -> Tensor:
    """Return half-turns moved by whole turns into [-1, 1]; nothing is rounded, however large they are."""
    return half_turns - 2 * torch.round(0.5 * half_turns)


@dataclass(frozen=True, repr=False)
class Unwrap(Kernel):
    r"""Angles of :math:`(-\pi, \pi)` as real values of which whole turns do not matter: y = x; its inverse wraps.

    It comes first after a base on the circle, such as a uniform one on :math:`(-\pi, \pi)`: the layers that follow are those of this
    file, and the density of the flow is periodic. At the end ``Unwrap().inv`` wraps the samples; then the density is zero outside
    :math:`(-\pi, \pi)`, and at the ends. No parameters.

    >>> Unwrap().inv.build(())(torch.tensor(7.0))
    (tensor(0.7168), tensor(0.))
    """

    formula = "y = x; back, x = y - 2 pi n in (-pi, pi)"
    domain = constraints.interval(-math.pi, math.pi)
    wraps = True

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x, torch.zeros_like(x)

    def inverse(self, y: Tensor) -> tuple[Tensor, Tensor]:
        return wrap(y), torch.zeros_like(y)


@dataclass(frozen=True, repr=False)
class CircularShift(Kernel):
    r"""Rotation of the circle, :math:`y = x + \phi`, with :math:`|\phi| < 2\pi` bounded smoothly, so that every rotation is reached.

    It commutes with whole turns, as `CircularSpline` does and says more of. One parameter an element; all real values to all real values.
    Source: Normalizing Flows on Tori and Spheres (Rezende et al., 2020).

    >>> CircularShift().build((3,))(torch.ones(3))[1]
    tensor(0.)
    """

    formula = "y = x + s(shift) on the circle,  s(a) = 4 arctan(a / 4)"
    is_affine = True
    size = "D"

    def init(self, shape: tuple[int, ...]) -> dict[str, Tensor]:
        return {"shift": torch.zeros(shape)}

    def forward(self, x: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
        return x + soft_clamp(shift, TURN), torch.zeros_like(shift)

    def inverse(self, y: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
        return y - soft_clamp(shift, TURN), torch.zeros_like(shift)


@dataclass(frozen=True, repr=False)
class CircularSpline(Kernel):
    r"""Rational quadratic spline S of the circle :math:`[-\pi, \pi)`, one learned slope at both ends, then a rotation.

    An angle is a real value of which whole turns do not matter, and the map commutes with them:
    :math:`g(x) = x + (S(r) - r) + \phi`, where r is x moved by whole turns into :math:`[-\pi, \pi]`. So
    :math:`g(x + 2\pi) = g(x) + 2\pi` and the log-determinant is the same at x and :math:`x + 2\pi`: with a base that is periodic, such
    as a von Mises distribution, or after `Unwrap`, so is the density, and it is continuous at the seam. Values are angles wherever
    they lie; `wrap` brings samples into :math:`[-\pi, \pi)`. In layers with a network, `Periodic` shows it angles.

    Widths, heights and slopes are those of `Spline`, with a slope more: K bins and K knots. All zero is the identity. :math:`3K`
    parameters an element, and one for the rotation; all real values to all real values.
    Source: Normalizing Flows on Tori and Spheres (Rezende et al., 2020).

    Args:
        bins: K >= 2.
        rotation: Whether to rotate by a learned angle, as `CircularShift` does.

    >>> layer = CircularSpline(bins=4).build(2)
    >>> layer(torch.tensor([3.0, 3.0 + 2 * math.pi]))[0].detach()
    tensor([3.0000, 9.2832])
    """

    bins: Bins = 8
    rotation: bool = True

    formula = "y = monotone rational spline on the circle, then + s(rotation),  s(a) = 4 arctan(a / 4)"
    size = "D * (3 * bins + rotation)"

    def init(self, shape: tuple[int, ...]) -> dict[str, Tensor]:
        parameters = {name: torch.zeros(self.bins, *shape) for name in ("widths", "heights", "slopes")}
        return parameters | {"rotation": torch.zeros(shape)} if self.rotation else parameters

    def fixes(self, x: Tensor) -> Tensor:
        return torch.remainder(x / math.pi, 2) == (math.nan if self.rotation else 1)

    def forward(self, x: Tensor, widths: Tensor, heights: Tensor, slopes: Tensor, rotation: Tensor | None = None) -> tuple[Tensor, Tensor]:
        moved, log_slope = self._moved(finer(x), widths, heights, slopes, inverse=False)
        y = moved if rotation is None else moved + soft_clamp(finer(rotation), TURN)
        return y.to(x.dtype), log_slope.to(x.dtype)

    def inverse(self, y: Tensor, widths: Tensor, heights: Tensor, slopes: Tensor, rotation: Tensor | None = None) -> tuple[Tensor, Tensor]:
        start = finer(y) if rotation is None else finer(y) - soft_clamp(finer(rotation), TURN)
        moved, log_slope = self._moved(start, widths, heights, slopes, inverse=True)
        return moved.to(y.dtype), -log_slope.to(y.dtype)

    def _moved(self, x: Tensor, widths: Tensor, heights: Tensor, slopes: Tensor, inverse: bool) -> tuple[Tensor, Tensor]:
        """Return values moved by the spline or its inverse, and the log-slope of the spline."""
        widths, heights, slopes = finer(widths), finer(heights), finer(slopes)
        d0 = torch.exp(logits(slopes, SLOPE_BOUND))
        # In half-turns the ends of the circle are exact in every precision, so the seam has no gap.
        rows = [*boxes(widths, heights, 1.0), d0, torch.roll(d0, -1, -2)]
        place = _nearest(x / math.pi)
        piece = quadratic_inverse if inverse else quadratic_forward
        mapped, log_slope = through(torch.stack(rows, -3), place, piece, inverse)
        return x + math.pi * (mapped - place), log_slope
