"""The laws of the grid: those of `pushforward.testing` at any size of the parameters, each in the precision that it is about."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from pushforward.core import sets
from pushforward.core.bijector import Inverse, InverseModule
from pushforward.core.layer import Layer
from pushforward.testing import accuracy, behaviour, robustness
from pushforward.testing.accuracy import largest, representable
from pushforward.testing.case import Case, jacobian
from pushforward.testing.promise import tolerated

MANY = (64, 128, 256)
"""As many points as the laws draw where they want many; the grid draws FEW, and has many configurations instead."""
FEW = 16
SMALL = 5
"""The largest D at which a law that costs a multiple of a call is run."""
DRAWS = 8
"""Times that values are put off by a rounding, to see what an inverse makes of it."""
NEW, X1, X3, X10 = 0.0, 1.0, 3.0, 10.0
"""Sizes of the parameters: of a new layer, and the standard deviations of the noise put on it."""


@dataclass(frozen=True)
class Scaled(Case):
    """A case whose parameters are ``size`` times as large as a law asks for, on few points; 0 is a new layer."""

    size: float = 1.0

    def build(self, dtype: torch.dtype = torch.float64, scale: float = 1.0, seed: int = 0) -> Layer:
        return super().build(dtype, scale * self.size, seed)

    def points(self, rows: int, dtype: torch.dtype = torch.float64, spread: float = 1.0, module: Layer | None = None) -> Tensor:
        return super().points(FEW if rows in MANY else rows, dtype, spread, module)

    def contexts(self, rows: int, dtype: torch.dtype = torch.float64) -> Tensor | None:
        return super().contexts(FEW if rows in MANY else rows, dtype)


def finite(case: Case) -> float:
    """Count values, ladjs and gradients that are not finite, at wide points, both ways, in both precisions."""
    bad = 0
    for dtype in (torch.float32, torch.float64):
        module = case.build(dtype)
        x, context = case.points(16, dtype, 3.0, module), case.contexts(16, dtype)
        draw = torch.Generator().manual_seed(case.seed + 4)
        wide = 3 * torch.randn(16, *module.out_shape, generator=draw, dtype=torch.float64)
        y = sets.leave(case.into(wide, module.codomain).to(dtype), sets.limits(module.codomain))
        for function, point in ((module.forward, x), (module.inverse, y)):
            point = point.clone().requires_grad_()
            value, ladj = function(point, context)
            bad += int((~torch.isfinite(value)).sum() + (~torch.isfinite(ladj)).sum())
            gradients = torch.autograd.grad(torch.tanh(value).sum() + ladj.sum(), [point, *module.parameters()], allow_unused=True)
            bad += sum(int((~torch.isfinite(g)).sum()) for g in gradients if g is not None)
    return float(bad)


def unavoidable(case: Case, exact: Layer, x: Tensor, context: Tensor | None, eps: float) -> Tensor:
    """Return the error of a round trip that no implementation avoids, where slopes may differ from one rounding to the next.

    It is `accuracy.rounding`, which goes by the slopes at the points themselves, or what the exact inverse makes of the exact values when
    these are off by a rounding: the largest of `DRAWS`, whichever is more.
    """
    wide, given = x.double(), None if context is None else context.double()
    y = exact(wide, given)[0].detach()
    draw = torch.Generator().manual_seed(case.seed + 5)
    # All draws in one call, the first of them without an error.
    sign = torch.randint(0, 2, (DRAWS, *y.shape), generator=draw, dtype=torch.float64) * 2 - 1
    near = torch.cat([y.unsqueeze(0), sets.leave(y * (1 + eps * sign), sets.limits(exact.codomain))])
    many = None if given is None else given.expand(DRAWS + 1, *given.shape).flatten(0, 1)
    back, *off = exact.inverse(near.flatten(0, 1), many)[0].detach().reshape(DRAWS + 1, len(x), -1)
    moved = torch.nan_to_num((torch.stack(off) - back).abs(), nan=math.inf).amax(0)
    return torch.maximum(accuracy.rounding(case, exact, x, context, eps), moved)


def round_trip(dtype: torch.dtype, floor: float) -> Callable[[Case], float]:
    """Return the law of the round trip at large parameters: 16 unavoidable errors, and not both 4 of them and ``floor``, make 1."""

    def figure(case: Case) -> float:
        module, exact = case.build(dtype), case.build(torch.float64)
        x, context = case.points(128, dtype, module=module), case.contexts(128, dtype)
        y = module(x, context)[0].detach()
        error = (module.inverse(y, context)[0].detach() - x).reshape(len(x), -1).double()
        least = unavoidable(case, exact, x, context, torch.finfo(dtype).eps)
        # As in `accuracy.round_trip_units`, a floor of one smallest step for values near zero.
        allowed = torch.minimum(16 * (least + 1e-12), torch.clamp(4 * least, min=floor))
        allowed = allowed + tolerated(exact, x.double(), None if context is None else context.double())
        return largest((error / allowed)[representable(module, y)])

    return figure


def moved(module: Layer, x: Tensor, y: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Return ladj there, ladj back, and how far they move when the two points do by what rounding does to them.

    That is, with J the Jacobian there, eps (|J⁻¹| |y| + |x|) and eps (|J| |x| + |y|). Where values are made step by step each is rounded
    before the next one sees it: |J⁻¹| |J| |x| and |J| |J⁻¹| |y| more, once for each step; see `accuracy.rounding`.
    """
    x, y = x.detach().requires_grad_(), y.detach().requires_grad_()
    there, back = module(x, context)[1], module.inverse(y, context)[1]
    forth = jacobian(module.forward, x.detach(), context, len(module.event_shape)).detach().abs()
    inverse = jacobian(module.inverse, y.detach(), context, len(module.out_shape)).detach().abs()
    steps, total = max(each.roundings for each in module.facts.accuracy), torch.zeros(len(x), dtype=x.dtype)
    for point, ladj, onto, away, other in ((x, there, inverse, forth, y), (y, back, forth, inverse, x)):
        slope = torch.autograd.grad(ladj.sum(), point, allow_unused=True)[0] if ladj.requires_grad else None
        if slope is None:
            continue
        size, far = (v.detach().abs().reshape(len(x), -1, 1) for v in (point, other))
        error = onto @ far + size + (onto @ away @ size if steps > 1 else 0)
        total = total + steps * torch.finfo(x.dtype).eps * (slope.abs().reshape(len(x), -1) * error.squeeze(-1)).sum(1)
    return there.detach(), back.detach(), total


def opposite(case: Case) -> float:
    """Return how far ladj there plus ladj back is from zero, per 1e-12 of their size and 4 times what rounding moves them."""
    module = case.build(torch.float64)
    x, context = case.points(128, module=module), case.contexts(128)
    y = module(x, context)[0].detach()
    there, back, free = moved(module, x, y, context)
    return largest(((there + back) / (1e-12 * (1 + there.abs()) + 4 * free))[representable(module, y)])


def ladj_exact(case: Case) -> float:
    """Return the figure of the law of ladj against autograd's Jacobian; values made step by step may move ladj by what rounding does.

    Autograd's Jacobian is made row by row by another order of sums than ladj is.
    """
    module = case.build(torch.float64)
    if max(each.roundings for each in module.facts.accuracy) <= 1 or any(
        sets.structured(support) for support in (module.domain, module.codomain)
    ):
        return accuracy.ladj_exact(1.0)(case)
    x, context = case.points(128, module=module), case.contexts(128)
    rows = representable(module, module(x, context)[0].detach())
    x, context = x[rows], None if context is None else context[rows]
    y = module(x, context)[0].detach()
    there, back, free = moved(module, x, y, context)
    worst = 0.0
    for function, point, axes, claimed in (
        (module.forward, x, len(module.event_shape), there),
        (module.inverse, y, len(module.out_shape), back),
    ):
        matrix = jacobian(function, point, context, axes).detach()
        found = torch.linalg.slogdet(matrix)[1]
        lost = torch.linalg.cond(matrix) * torch.finfo(torch.float64).eps / 1e-12
        worst = max(worst, largest((claimed - found) / (1 + found.abs() + lost + 4 * free / 1e-12)))
    return worst


def alone(case: Case) -> float:
    """Return the largest difference of a row alone from the row in a batch, per 2 ulps or 4 roundings of the point, the larger of the two.

    Two sums in another order differ by a rounding of what they add up, which large parameters then multiply, as they do a rounding of the
    point itself.
    """
    module, exact = case.build(torch.float32), case.build(torch.float64)
    x, context = case.points(3, torch.float32, module=module), case.contexts(3, torch.float32)
    y = module(x, context)[0].detach()
    eps, worst = torch.finfo(torch.float32).eps, 0.0
    turned = InverseModule(Inverse(case.plan), exact)
    for function, point, back, start in ((module.forward, x, turned, y), (module.inverse, y, exact, x)):
        value = function(point, context)[0].detach()
        single = torch.stack([function(point[i], None if context is None else context[i])[0].detach() for i in range(len(point))])
        allowed = 4 * accuracy.rounding(case, back, start, context, eps)
        size = 2 * eps * value.abs().max().clamp(min=1.0)
        worst = max(worst, largest((value - single).reshape(len(value), -1) / torch.maximum(allowed, size)))
    return worst


@dataclass(frozen=True)
class GridLaw:
    """A law with its precision and the limit of its figure at each size of the parameters.

    Args:
        name: What it holds.
        dtype: The precision that it is about.
        figure: From a case to the worst figure.
        limits: From the size of the parameters to the largest figure allowed; it is not run at other sizes.
        most: The largest D at which it is run.
        many: Whether it takes many calls, so that it is run for numerical roots at D = 2 alone.
        chain: The largest D at which it is run for a chain of layers with the largest parameters, where the roundings between layers
            are larger than the bins of a spline, and no slope tells what becomes of them.
    """

    name: str
    dtype: torch.dtype
    figure: Callable[[Case], float]
    limits: dict[float, float]
    most: float = math.inf
    many: bool = False
    chain: float = math.inf

    def holds(self, d: int, size: float, root: bool, chain: bool) -> bool:
        """Tell whether the law is run at a configuration."""
        return (
            size in self.limits
            and d <= self.most
            and not (self.many and root and (d != 2 or size == NEW))
            and not (chain and size == X10 and d > self.chain)
        )


F32, F64 = torch.float32, torch.float64
LAWS = (
    GridLaw("round trip, in roundings", F32, accuracy.round_trip_units(1.0, 4), {NEW: 4, X1: 4}),
    GridLaw("round trip, large parameters", F32, round_trip(F32, 1e-3), {X3: 1, X10: 1}, chain=SMALL),
    GridLaw("round trip at knots, edges, denormals, |x| <= 10", F32, accuracy.knots, {X1: 1, X10: 1}, SMALL, chain=0),
    GridLaw("any x up to 1e30", F32, accuracy.anywhere, {X1: 0, X10: 0}, SMALL),
    GridLaw("ladj against float64", F32, accuracy.ladj_precision, {X1: 1e-5, X3: 1e-5, X10: 1e-5}),
    GridLaw("a NaN or infinite row is alone", F32, robustness.own_row, {X1: 0, X10: 0}),
    GridLaw("a row alone", F32, alone, {X1: 1, X10: 1}, SMALL),
    GridLaw("round trip, per 1e-11 or 4 roundings", F64, accuracy.round_trip(F64, 1.0, 1e-11), {NEW: 1, X1: 1}),
    GridLaw("round trip, large parameters", F64, round_trip(F64, 1e-11), {X3: 1, X10: 1}, chain=SMALL),
    GridLaw("ladj against autograd", F64, accuracy.ladj_exact(1.0), {NEW: 1e-12, X1: 1e-12}, SMALL),
    GridLaw("ladj against autograd, large parameters", F64, ladj_exact, {X3: 1e-12, X10: 1e-12}, SMALL),
    GridLaw("ladj there and back", F64, opposite, {X1: 1, X3: 1, X10: 1}),
    # Differences tell nothing where a step that is lost in rounding is also one beyond which the map bends.
    GridLaw("gradients against differences", F64, accuracy.gradients, {NEW: 1e-6, X1: 1e-6}, SMALL, True),
    GridLaw("second derivatives against differences", F64, accuracy.second_derivatives, {X1: 1e-5}, SMALL, True),
    GridLaw("shapes, strides, contexts", F64, behaviour.shapes, {X1: 0}),
    GridLaw("all finite", F64, finite, {NEW: 0, X1: 0, X3: 0, X10: 0}),
)
