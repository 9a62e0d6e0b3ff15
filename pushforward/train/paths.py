"""Paths of flow matching: how a point goes from a draw of the base to a row of data, as three functions of time."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pushforward.train import options as check

Schedule = Callable[[Tensor], Tensor]
"""Takes times ``(n,)`` in [0, 1] and returns ``(n,)``, each from its own time alone."""
EDGE = 1e-6
"""How near to the ends times are drawn: at the very ends the root of a bridge has an infinite slope."""
ENDS = 1e-6
"""How far off a path may be at its ends."""


@dataclass(frozen=True)
class Path:
    r"""A path from base to data: :math:`x_t = a(t)\, x_1 + b(t)\, x_0 + c(t)\, z`, with z a standard normal draw.

    Its velocity is :math:`a'(t)\, x_1 + b'(t)\, x_0 + c'(t)\, z`; the slopes come from autograd. A path begins in the base and ends in the
    data, :math:`a = 0, b = 1, c = 0` at 0 and :math:`a = 1, b = 0, c = 0` at 1: one that ended near the data only would have the density of
    smoothed data. With ``noise`` it is a stochastic interpolant.
    Sources: Building Normalizing Flows with Stochastic Interpolants (Albergo, Vanden-Eijnden, 2023); Stochastic Interpolants: A Unifying
    Framework for Flows and Diffusions (Albergo, Boffi, Vanden-Eijnden, 2023).

    Args:
        data: a, from times ``(n,)`` to ``(n,)``, each from its own time alone, and differentiable by torch.
        base: b.
        noise: c (None: no noise).

    Raises:
        TypeError: One is no function of tensors.
        ValueError: One gives another shape, numbers that are not finite, or does not keep the ends.

    >>> t, x0, x1 = torch.tensor([0.25]), torch.tensor([[0.0]]), torch.tensor([[2.0]])
    >>> Path(lambda t: t, lambda t: 1 - t).at(t, x0, x1)
    (tensor([[0.5000]]), tensor([[2.]]))
    """

    data: Schedule
    base: Schedule
    noise: Schedule | None = None

    def __post_init__(self) -> None:
        inside = torch.linspace(0, 1, 11, dtype=torch.float64)[1:-1]
        for name, ends in (("data", (0.0, 1.0)), ("base", (1.0, 0.0)), ("noise", (0.0, 0.0))):
            schedule = getattr(self, name)
            if name == "noise" and schedule is None:
                continue
            check.function("Path", name, schedule)
            if schedule is None:
                raise TypeError(f"Path: expected {name} to be a function of times, got None")
            found = [_checked(name, schedule, torch.full((1,), end, dtype=torch.float64)).item() for end in (0.0, 1.0)]
            if not all(abs(one - other) <= ENDS for one, other in zip(found, ends, strict=True)):
                raise ValueError(
                    f"Path: expected {name} to be {ends[0]:g} at time 0 and {ends[1]:g} at time 1, so that the path leads from the base to "
                    f"the data, got {found[0]:g} and {found[1]:g}"
                )
            values = _checked(name, schedule, inside)
            slopes = _with_slope(schedule, inside)[1]
            if not bool(torch.isfinite(values).all() & torch.isfinite(slopes).all()):
                raise ValueError(f"Path: expected {name} to be finite with finite slopes between times 0 and 1, got NaN or inf")

    def mean(self, t: Tensor, x0: Tensor, x1: Tensor) -> tuple[Tensor, Tensor]:
        """Return ``a x1 + b x0`` and its velocity, ``(n, *event)``, at times ``(n,)``."""
        (a, da), (b, db) = (_along(_with_slope(schedule, t), x1) for schedule in (self.data, self.base))
        return a * x1 + b * x0, da * x1 + db * x0

    def spread(self, t: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        """Return c and its slope, to be multiplied with noise like ``(n, *event)``; zeros without noise."""
        if self.noise is None:
            zero = torch.zeros_like(t)
            return _along((zero, zero), like)
        return _along(_with_slope(self.noise, t), like)

    def at(self, t: Tensor, x0: Tensor, x1: Tensor, z: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return :math:`x_t` and its velocity.

        Args:
            t: ``(n,)`` in [0, 1]; with noise strictly between, where its slope is finite.
            x0: Draws of the base, ``(n, *event)``.
            x1: Rows of data, ``(n, *event)``.
            z: Standard normal draws, ``(n, *event)``, where the path has noise.
        """
        place, velocity = self.mean(t, x0, x1)
        if self.noise is None:
            return place, velocity
        if z is None:
            raise ValueError("Path: expected z, since the path has noise, got None")
        c, dc = self.spread(t, x1)
        return place + c * z, velocity + dc * z


def _checked(name: str, schedule: Schedule, t: Tensor) -> Tensor:
    """Return what a function gives; raise TypeError or ValueError unless it is a number for each time."""
    value: Any = schedule(t)
    if not isinstance(value, Tensor) or not value.is_floating_point():
        raise TypeError(f"Path: expected {name} to return a tensor of floating-point numbers, got {type(value).__name__}")
    if value.shape != t.shape:
        raise ValueError(f"Path: expected {name} to return one number for each time, shape {tuple(t.shape)}, got {tuple(value.shape)}")
    return value.detach()


def _with_slope(schedule: Schedule, t: Tensor) -> tuple[Tensor, Tensor]:
    """Return the values of a function and their slopes at times ``(n,)``."""
    with torch.enable_grad():
        leaf = t.detach().requires_grad_()
        value = schedule(leaf)
        if not value.requires_grad:  # a constant
            return value, torch.zeros_like(t)
        (slope,) = torch.autograd.grad(value.sum(), leaf, materialize_grads=True)
    return value.detach(), slope


def _along(pair: tuple[Tensor, Tensor], like: Tensor) -> tuple[Tensor, Tensor]:
    """Return numbers of rows so that they multiply the events of ``like``."""
    one, other = (part.reshape(-1, *[1] * (like.dim() - 1)).to(like.dtype) for part in pair)
    return one, other


class Line(Path):
    """A path that is a line, of which everyone knows the slopes."""

    def mean(self, t: Tensor, x0: Tensor, x1: Tensor) -> tuple[Tensor, Tensor]:
        slope = x1 - x0
        return torch.addcmul(x0, t.reshape(-1, *[1] * (x1.dim() - 1)), slope), slope


LINEAR = Line(lambda t: t, lambda t: 1 - t)
VARIANCE_PRESERVING = Path(lambda t: torch.sin(0.5 * math.pi * t), lambda t: torch.cos(0.5 * math.pi * t))


def _schroedinger_bridge(sigma: float) -> Path:
    return Line(lambda t: t, lambda t: 1 - t, lambda t: sigma * torch.sqrt(t * (1 - t)))


# To check a path takes as long as a step on few rows, so those without a scale are made once.
PATHS: dict[str, Callable[[float], Path]] = {
    "linear": lambda _: LINEAR,
    "variance_preserving": lambda _: VARIANCE_PRESERVING,
    "schroedinger_bridge": _schroedinger_bridge,
}
"""Paths by name, of the scale of their noise."""
NOISY = ("schroedinger_bridge",)
"""Names of the paths with noise."""
