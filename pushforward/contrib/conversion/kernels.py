"""Kernels whose parameters are what another library's network gives: the maths of ours, bounded as that library bounds it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor

from pushforward.core.fields import OneOf, Within
from pushforward.core.numerics import finer
from pushforward.core.spec import PlanError
from pushforward.kernels.bins import fill
from pushforward.kernels.kernel import Kernel
from pushforward.kernels.linear import apply
from pushforward.kernels.spline import Spline

SCALES = ("exp", "softclip", "softplus", "sigmoid", "inverse sigmoid")


def softclip(x: Tensor, limit: float) -> Tensor:
    """Bound a value by ``x / (1 + |x| / limit)``, in (-limit, limit)."""
    return x / (1 + torch.abs(x) / limit)


@dataclass(frozen=True, repr=False)
class RawAffine(Kernel):
    r"""Affine map, :math:`y = \mu + \sigma(\alpha) x`, with one of several scale functions.

    ``"exp"`` is :math:`e^\alpha`, clamped by ``clip``; ``"softclip"`` (Zuko) :math:`e^{\alpha / (1 + |\alpha| / b)}` with
    :math:`b = -\log \mathrm{least}`; ``"softplus"`` and ``"sigmoid"`` that function and ``least`` added; ``"inverse sigmoid"``
    :math:`1 + e^{-\alpha}`. Two parameters an element; all real values to all real values.

    Args:
        scale: The scale function.
        least: What is added to the scale, or the least scale of ``"softclip"``.
        clip: Bounds of the log-scale of ``"exp"`` (None: no bounds).
        convex: Whether the location counts :math:`1 - \sigma` times (Pyro's stable autoregressive layer).
    """

    scale: Annotated[str, OneOf(*SCALES)] = "exp"
    least: Annotated[float, Within(least=0.0, below=1.0)] = 0.0
    clip: tuple[float, float] | None = None
    convex: bool = False

    formula = "y = loc + scale(a) x, with the scale function of another library"
    is_affine = True
    size = "2 * D"

    def check(self) -> None:
        if self.scale == "softclip" and self.least == 0:
            raise PlanError(f"RawAffine: expected least in [0, 1), and above zero for softclip, got {self.least}")
        if self.clip is not None and not (self.scale == "exp" and self.clip[0] < self.clip[1]):
            raise PlanError(f"RawAffine: expected clip to be a lower and an upper bound, of an 'exp' scale, got {self.clip}")

    def init(self, shape: tuple[int, ...]) -> dict[str, Tensor]:
        return {"loc": torch.zeros(shape), "raw_scale": torch.zeros(shape)}

    def forward(self, x: Tensor, loc: Tensor, raw_scale: Tensor) -> tuple[Tensor, Tensor]:
        scale, log_scale = self._scale(raw_scale)
        return (loc - scale * loc if self.convex else loc) + scale * x, log_scale

    def inverse(self, y: Tensor, loc: Tensor, raw_scale: Tensor) -> tuple[Tensor, Tensor]:
        scale, log_scale = self._scale(raw_scale)
        return (y - (loc - scale * loc if self.convex else loc)) / scale, -log_scale

    def _scale(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        if self.scale in ("softplus", "sigmoid"):
            scale = (F.softplus(raw) if self.scale == "softplus" else torch.sigmoid(raw)) + self.least
            return scale, torch.log(scale)
        if self.scale == "softclip":
            raw = softclip(raw, -math.log(self.least))
        elif self.scale == "inverse sigmoid":
            raw = -F.logsigmoid(raw)
        elif self.clip is not None:
            raw = torch.clamp(raw, *self.clip)
        return torch.exp(raw), raw


@dataclass(frozen=True, repr=False)
class RawSpline(Spline):
    r"""Monotone rational spline as `Spline`, whose bins and slopes are made of the logits as another library makes them.

    ``"softplus"`` (nflows, normflows, Pyro, FlowTorch): bins :math:`m + (1 - mK)\,\mathrm{softmax}`, slopes :math:`m + \mathrm{softplus}`,
    and of order ``"linear"`` middles of 0.025 plus 0.95 of a sigmoid. ``"softclip"`` (Zuko): bins of the softmax and slopes of the
    exponential of softly clipped logits, none below ``least_slope``.

    Args:
        bins, bound, order: As of `Spline`.
        form: ``"softplus"`` or ``"softclip"``.
        least_width, least_height: m of the bins, as a part of the whole box.
        least_slope: m of the slopes.
        end_slope: The slope at both ends of the box (Pyro and FlowTorch: 0.999, so that theirs jumps to 1 there).
    """

    form: Annotated[str, OneOf("softplus", "softclip")] = "softplus"
    least_width: Annotated[float, Within(least=0.0)] = 1e-3
    least_height: Annotated[float, Within(least=0.0)] = 1e-3
    least_slope: Annotated[float, Within(above=0.0, below=1.0)] = 1e-3
    end_slope: float = 1.0

    def check(self) -> None:
        if not all(least * self.bins < 1 for least in (self.least_width, self.least_height)):
            raise PlanError(f"RawSpline: expected bins that fit into the box and a least slope in (0, 1), got {self!r}")

    def code(self) -> None:
        return None  # the compiled kernel bounds parameters in its own way

    def _table(self, widths: Tensor, heights: Tensor, slopes: Tensor, middles: Tensor | None) -> Tensor:
        if self.form == "softclip":
            limit = -math.log(self.least_slope)
            w, h = (torch.softmax(softclip(logits, limit / 2), -2) for logits in (widths, heights))
            inner = torch.exp(softclip(slopes, limit))
        else:
            shares = ((widths, self.least_width), (heights, self.least_height))
            w, h = (least + (1 - least * self.bins) * torch.softmax(logits, -2) for logits, least in shares)
            inner = self.least_slope + F.softplus(slopes)
        d = F.pad(inner, (0, 0, 1, 1), value=self.end_slope)
        rows = [*fill(w, self.bound), *fill(h, self.bound), d[..., :-1, :], d[..., 1:, :]]
        if middles is not None:
            rows.append(0.025 + 0.95 * torch.sigmoid(middles))
        return torch.stack(torch.broadcast_tensors(*rows), -3)


@dataclass(frozen=True, repr=False)
class RawLinear(Kernel):
    """Linear map of vectors, ``y = W x + b``, with any matrix: what a linear layer of another library multiplies with.

    ``D (D + 1)`` parameters; unlike those of `Linear` they may, trained on, become a matrix without inverse. Acts on the last event axis.
    """

    event_dim = 1
    formula = "y = W x + b"
    is_affine = True
    size = "D * D + D"

    def init(self, shape: tuple[int, ...]) -> dict[str, Tensor]:
        return {"matrix": torch.eye(shape[-1]), "loc": torch.zeros(shape[-1])}

    def forward(self, x: Tensor, matrix: Tensor, loc: Tensor) -> tuple[Tensor, Tensor]:
        y = apply(finer(matrix), finer(x)) + loc
        return y.to(x.dtype), torch.linalg.slogdet(finer(matrix)).logabsdet.to(x.dtype)

    def inverse(self, y: Tensor, matrix: Tensor, loc: Tensor) -> tuple[Tensor, Tensor]:
        x = torch.linalg.solve(finer(matrix), (finer(y) - loc).unsqueeze(-1)).squeeze(-1)
        return x.to(y.dtype), -torch.linalg.slogdet(finer(matrix)).logabsdet.to(y.dtype)
