"""Accuracy: round trips, log-determinants and derivatives, each held against what floating point allows."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pushforward.core import sets
from pushforward.core.compose import ComposeModule
from pushforward.core.layer import Layer
from pushforward.core.promise import Tolerance
from pushforward.testing.case import Case, jacobian, rank
from pushforward.testing.charts import directions
from pushforward.testing.promise import ladj_tolerated, tolerated

ROWS = 64
"""Rows whose Jacobians are taken, which is most of the work."""


def largest(values: Tensor) -> float:
    """Return the largest absolute value; NaN counts as infinite, nothing as 0."""
    if not values.numel():
        return 0.0
    return float(torch.nan_to_num(values.detach().double().abs(), nan=math.inf).max())


def layers_of(module: Layer) -> list[Any]:
    """Return the layers of a chain, or the module alone."""
    return list(module.layers) if isinstance(module, ComposeModule) else [module]


def rounding(case: Case, module: Layer, x: Tensor, context: Tensor | None, eps: float) -> Tensor:
    """Return the error that no implementation avoids: eps (|J⁻¹| |y| + |x|), J⁻¹ the Jacobian of the inverse at y.

    A chain rounds the value after each of its layers, so there the first term is summed over them; a layer that makes its values step by
    step, in either direction, rounds each before the next one sees it, so there |x| is carried on as |J⁻¹| |J| |x|, once for each step.
    """
    value, context = x.double(), None if context is None else context.double()
    allowed = value.reshape(len(x), -1).abs()
    layers = layers_of(module)
    for index, layer in enumerate(layers):
        value = layer(value, context)[0].detach()

        def back(y: Tensor, given: Tensor | None, done: int = index + 1) -> tuple[Tensor, Tensor]:
            for earlier in reversed(layers[:done]):
                y = earlier.inverse(y, given)[0]
            return y, y

        inverse = jacobian(back, value, context, len(layer.out_shape)).abs()
        allowed = allowed + (inverse @ value.reshape(len(x), -1, 1).abs()).squeeze(-1)
        rounds = max(each.roundings for each in layer.facts.accuracy)
        if rounds > 1 and len(layers) == 1:
            slope = jacobian(layer.forward, x.double(), context, rank(case)).abs()
            allowed = allowed + (inverse @ slope @ x.double().reshape(len(x), -1, 1).abs()).squeeze(-1)
            allowed = allowed * rounds
    return (eps * allowed).detach()


Move = Callable[[Tensor], Tensor]
# Functions that a formula takes one after the other.
FUNCTIONS = 4


def apart(module: nn.Module, run: Callable[[Any, Move], Sequence[Tensor]], dtype: torch.dtype, seed: int = 0) -> list[Tensor]:
    """Return the standard deviation of how far two computations of ``run(module, move)`` in ``dtype`` lie apart, as processors differ.

    BLAS sums a product of n terms in an order of its own, another for each number of rows and processor: a computation is the exact one of
    parameters that are off by independent errors, √n u of their size (Higham and Mary, SIAM J. Sci. Comput. 41, 2019). Functions such as
    exp are one ulp off here or there: so are, by `FUNCTIONS` of them, the values that ``run`` hands to ``move``. Two computations differ
    by √2 of one's error. How the results follow is measured on the module in float64, at random relative changes of 1e-6.
    """
    draw, change, times, module = torch.Generator().manual_seed(seed), 1e-6, 16, copy.deepcopy(module)
    weights = {name: p.detach().clone() for name, p in module.named_parameters()}
    root = math.sqrt(max((math.prod(weight.shape[1:]) for weight in weights.values() if weight.dim() > 1), default=1) + FUNCTIONS)

    def sign(t: Tensor) -> Tensor:
        return 2 * torch.randint(2, t.shape, generator=draw, dtype=torch.float64) - 1

    still = [t.detach() for t in run(module, lambda t: t)]
    squares = [torch.zeros_like(t) for t in still]
    for _ in range(times):
        with torch.no_grad():
            for name, parameter in module.named_parameters():
                parameter.copy_(weights[name] * (1 + change * root * sign(parameter)))
        moved = run(module, lambda t: t * (1 + 2 * math.sqrt(FUNCTIONS) * change * sign(t)))  # an ulp is 2 u
        # What is moved out of its support has no difference to tell.
        squares = [s + torch.nan_to_num((m.detach() - t) / change, 0, 0, 0) ** 2 for s, m, t in zip(squares, moved, still, strict=True)]
    return [2**-0.5 * torch.finfo(dtype).eps * (s / times).sqrt() for s in squares]


def _allowed(case: Case, exact: Layer, x: Tensor, context: Tensor | None, error: Tensor, limit: float) -> Tensor:
    """Return what a round trip is held to, ``limit`` times: unavoidable roundings, or what processors do differently (`apart`) if more.

    That is where a network runs over all rows one way, and step by step the other.
    """
    allowed = rounding(case, exact, x, context, torch.finfo(x.dtype).eps)
    if largest(error / (limit * allowed + 1e-12)) <= 1:  # else no need to know
        return allowed
    given = None if context is None else context.double()
    off = apart(exact, lambda module, move: exact.inverse(move(module(move(x.double()), given)[0]), given)[:1], x.dtype, case.seed)[0]
    return torch.maximum(allowed, 6 / limit * off.reshape(allowed.shape))


def representable(module: Layer, y: Tensor) -> Tensor:
    """Return the rows whose values are not so close to an end of the range that the format has too few numbers left there."""
    ends = sets.bounds(module.codomain)
    rows = torch.ones(len(y), dtype=torch.bool)
    info = torch.finfo(y.dtype)
    for end in ends or ():
        room = info.max / 10 if math.isinf(end) else max(1e3 * info.eps * abs(end), 1e3 * info.tiny)
        far = y.abs() < room if math.isinf(end) else (y - end).abs() > room
        rows &= far.reshape(len(y), -1).all(1)
    if int(rows.sum()) < 8:
        raise AssertionError(f"expected at least 8 of {len(y)} points inside the representable range, got {int(rows.sum())}")
    return rows


def round_trip_units(scale: float, limit: float) -> Callable[[Case], float]:
    """Return the law of the float32 round trip in unavoidable roundings, of which ``limit`` are allowed, at parameters of a given size."""

    def figure(case: Case) -> float:
        module, exact = case.build(torch.float32, scale), case.build(torch.float64, scale)
        x, context = case.points(ROWS, torch.float32, module=module), case.contexts(ROWS, torch.float32)
        y = module(x, context)[0].detach()
        back = module.inverse(y, context)[0].detach()
        error = (back - x).reshape(len(x), -1).double().abs()
        allowed = _allowed(case, exact, x, context, error, limit)
        beside = tolerated(exact, x.double(), None if context is None else context.double()) / limit
        # A floor of one smallest step, for values near zero.
        return largest((error / (allowed + beside + 1e-12))[representable(module, y)])

    return figure


def round_trip(dtype: torch.dtype, scale: float, limit: float) -> Callable[[Case], float]:
    """Return the round-trip error of N(0, 1) points in units of ``limit``; of rows beyond it, in those of 4 unavoidable roundings."""

    def figure(case: Case) -> float:
        module, exact = case.build(dtype, scale), case.build(torch.float64, scale)
        x, context = case.points(256, dtype, module=module), case.contexts(256, dtype)
        y = module(x, context)[0].detach()
        error = (module.inverse(y, context)[0].detach() - x).reshape(len(x), -1).double().abs()
        allowed = tolerated(exact, x.double(), None if context is None else context.double()) + torch.full_like(error, limit)
        if bool((far := (error > limit).any(1)).any()):  # else no need to know more
            given = x[far], None if context is None else context[far]
            allowed[far] += (4 * _allowed(case, exact, *given, error[far] * (error[far] > limit), 4) - limit).clamp(min=0)
        return largest((error / allowed)[representable(module, y)])

    return figure


def _special_points(module: Layer) -> Tensor:
    """Return values at which formulas change or rounding bites: zero, denormals, box edges and knots, one ulp beside them."""
    values = [0.0, 1e-40, 1e-30, 0.5, 1.0, 3.0, 4.9999995, 5.0, 5.0000005, 7.0, 10.0]
    for part in module.modules():
        bound = getattr(getattr(part, "kernel", None), "bound", None)
        if isinstance(bound, float):
            values += [bound, bound / 2, bound / 4]
    points = torch.tensor(values, dtype=torch.float32)
    beside = [torch.nextafter(points, torch.full_like(points, end)) for end in (-math.inf, math.inf)]
    points = torch.cat([points, *beside])
    return torch.cat([points, -points])


def knots(case: Case) -> float:
    """Return the round-trip error at special points up to |x| = 10, in units of 1e-5; of rows beyond it, of 16 unavoidable roundings.

    It is taken with the new module too, whose knots are known. A gradient that is not finite counts as infinite.
    """
    return max(_knots(case, scale) for scale in (0.0, 1.0))


def _knots(case: Case, scale: float) -> float:
    module, exact = case.build(torch.float32, scale), case.build(torch.float64, scale)
    special = _special_points(module)
    x = special.reshape(-1, *(1,) * rank(case)).expand(-1, *case.event_shape)
    ends = sets.limits(module.domain)
    if ends is not None and ends != sets.REAL:
        x = case.into(x.double().clamp(-5, 5), module.domain).float()
    context = case.contexts(len(x), torch.float32)
    y = module(x, context)[0].detach()
    for function, start in ((module.forward, x), (module.inverse, y)):
        point = start.clone().requires_grad_()
        value, ladj = function(point, context)
        gradients = torch.autograd.grad(value.sum() + ladj.sum(), [point, *module.parameters()], allow_unused=True)
        if not all(bool(torch.isfinite(gradient).all()) for gradient in gradients if gradient is not None):
            return math.inf
    error = (module.inverse(y, context)[0] - x).detach().reshape(len(x), -1).double().abs()
    allowed = tolerated(exact, x.double(), None if context is None else context.double()) + torch.full_like(error, 1e-5)
    if bool((far := ~(error <= 1e-5).all(1)).any()):  # else no need to know more
        unavoidable = rounding(case, exact, x[far], None if context is None else context[far], torch.finfo(torch.float32).eps)
        allowed[far] += (16 * unavoidable - 1e-5).clamp(min=0)
    return largest(error / allowed)


def anywhere(case: Case) -> float:
    """Count values of |x| up to 1e30 that give something not finite, or that come back farther off than rounding allows.

    Of maps onto a part of the real numbers, or onto a set, those come back that are not all mapped onto its edge; those that are have to
    come back as something that is mapped there, too.
    """
    module, exact = case.build(torch.float32), case.build(torch.float64)
    magnitude = torch.tensor([1e2, 1e3, 1e6, 1e15, 1e30], dtype=torch.float32)
    x = torch.cat([magnitude, -magnitude]).reshape(-1, *(1,) * rank(case)).expand(-1, *case.event_shape)
    ends = sets.limits(module.domain)
    if ends is not None and ends != sets.REAL:
        x = case.into(x.double().clamp(-10, 10), module.domain).float()
    context = case.contexts(len(x), torch.float32)
    y, ladj = module(x, context)
    back = module.inverse(y, context)[0]
    bad = (~torch.isfinite(y)).flatten(1).any(1) | (~torch.isfinite(back)).flatten(1).any(1) if rank(case) else ~torch.isfinite(y + back)
    if ends == sets.REAL == sets.bounds(module.codomain) and module.out_shape == module.event_shape:
        there = torch.isfinite(module.inverse(x, context)[0])
        bad = bad | ~(there.flatten(1).all(1) if rank(case) else there)
    allowed = 16 * rounding(case, exact, x, context, torch.finfo(torch.float32).eps) + 1e-5
    allowed = allowed + tolerated(exact, x.double(), None if context is None else context.double())
    off = ((back - x).reshape(len(x), -1).double().abs() > torch.nan_to_num(allowed, nan=math.inf)).any(1)
    # Where the values reach the end of the format, or of the range, there is no room left for a round trip; what comes back stands there
    # for all that is mapped onto it.
    again = module(back, context)[0]
    stays = ((again - y).abs() <= 1e-3 * (1 + y.abs())).reshape(len(x), -1).all(1)
    room = (y.abs() < 1e35).reshape(len(x), -1).all(1) & torch.tensor(ends == sets.REAL == sets.bounds(module.codomain))
    return float((bad | (off & (room | ~stays))).sum() + (~torch.isfinite(ladj)).sum())


def ladj_exact(scale: float) -> Callable[[Case], float]:
    """Return the law of ladj against autograd's Jacobian, both ways, per unit of 1 + |ladj|, with parameters of a given size."""

    def figure(case: Case) -> float:
        module = case.build(torch.float64, scale)
        x, context = case.points(ROWS, module=module), case.contexts(ROWS)
        rows = representable(module, module(x, context)[0].detach())
        x, context = x[rows], None if context is None else context[rows]
        y, worst = module(x, context)[0], 0.0
        # The inverse is held at its own point, so that its rounding does not count as an error of its ladj.
        beside = ladj_tolerated(module, x, context), ladj_tolerated(module, y, context, inverse=True)
        for (function, point, axes), free in zip(directions(module, x, y), beside, strict=True):
            claimed, matrix = function(point, context)[1], jacobian(function, point, context, axes).detach()
            found = torch.linalg.slogdet(matrix)[1]
            # What autograd's own determinant loses to rounding is no error of ours.
            lost = torch.linalg.cond(matrix) * torch.finfo(torch.float64).eps / 1e-12
            worst = max(worst, largest((claimed.detach() - found) / (1 + found.abs() + lost + free / 1e-12)))
        return worst

    return figure


def ladj_precision(case: Case) -> float:
    """Return the difference of ladj in float32 and float64 at the same point, in units of 1 + |ladj| and of what roundings change.

    These are 4 ulps of x and, in a chain, of the value after each of its layers, by the slope of all ladj that follows. To a solver's
    tolerances both computations are off.
    """
    module, exact = case.build(torch.float32), case.build(torch.float64)
    x, context = case.points(256, torch.float32, module=module), case.contexts(256, torch.float32)
    value, given = x.double(), None if context is None else context.double()
    steps = []
    for layer in layers_of(exact):
        point = value.detach().requires_grad_()
        value, ladj = layer(point, given)
        steps.append((point, value, ladj))
    high = exact(x.double(), given)[1].detach()
    slope, moved = torch.zeros_like(value), 2 * ladj_tolerated(exact, x.double(), given)
    for layer, (point, value, ladj) in zip(reversed(layers_of(exact)), reversed(steps), strict=True):
        moved = moved + 2 * (slope.abs() * layer.facts.accuracy[0].value.of(value)).reshape(len(x), -1).sum(1)
        slope = torch.autograd.grad((value * slope.detach()).sum() + ladj.sum(), point)[0]
        moved = moved + 4 * torch.finfo(torch.float32).eps * (slope * point).detach().abs().reshape(len(x), -1).sum(1)
    return largest((module(x, context)[1] - high).detach() / (1 + high.abs() + moved / 1e-5))


def gradients(case: Case) -> float:
    """Compare gradients of value and ladj, both ways, with central differences in float64, in train and in eval mode."""
    worst, claims = 0.0, []
    for training in (True, False):
        module = case.build(torch.float64).train(training)
        x, context = case.points(3, module=module), case.contexts(3)
        y = module(x, context)[0].detach()
        sides = [_slopes(module, function, point, context) for function, point, _ in directions(module, x, y)]
        claims.append(torch.cat([part.flatten() for loss, _, slopes in sides for part in (loss().detach(), *slopes)]))
        # A mode that changes neither the loss nor one gradient has the same differences.
        if training or not torch.equal(*claims):
            worst = max(worst, *(_gradient_error(*side, *way) for side, way in zip(sides, _differences(module), strict=True)))
    return worst


def _differences(module: Layer) -> list[tuple[Tolerance, tuple[float, ...]]]:
    """Return for each direction how far gradients may be off, and the steps over which differences are taken.

    Differences of values that are off tell less the smaller the step: for a solver there are larger ones, too.
    """
    steps = 1e-4, 1e-5, 1e-6
    return [(each.gradients, steps if each.exact else (1e-2, 1e-3, *steps)) for each in module.facts.accuracy]


Loss = Callable[[], Tensor]


def _slopes(
    module: Layer, function: Callable[..., tuple[Tensor, Tensor]], point: Tensor, context: Tensor | None
) -> tuple[Loss, list[Tensor], list[Tensor]]:
    """Return a loss of value and ladj, the tensors that it depends on, and the gradients that are claimed for them."""
    draw = torch.Generator().manual_seed(7)
    point = point.clone().requires_grad_()
    inputs = [point, *(p for p in module.parameters())]
    if context is not None and module.facts.uses_context:
        context = context.clone().requires_grad_()
        inputs.append(context)
    weights = torch.randn(function(point, context)[0].shape, generator=draw, dtype=torch.float64)

    def loss() -> Tensor:
        value, ladj = function(point, context)
        return (torch.sin(value) * weights).sum() + ladj.sum()

    claimed = torch.autograd.grad(loss(), inputs, allow_unused=True)
    return loss, inputs, [torch.zeros_like(t) if g is None else g for t, g in zip(inputs, claimed, strict=True)]


def _gradient_error(loss: Loss, inputs: list[Tensor], slopes: list[Tensor], free: Tolerance, steps: Sequence[float]) -> float:
    """Return the worst difference between gradients and central differences along one random direction for each tensor."""
    draw, worst = torch.Generator().manual_seed(8), 0.0
    for tensor, slope in zip(inputs, slopes, strict=True):
        direction = torch.randn(tensor.shape, generator=draw, dtype=torch.float64)
        direction = direction / direction.norm().clamp(min=1e-300)
        claimed, start, errors = float((slope * direction).sum()), tensor.detach().clone(), []
        # Several steps, of which the best counts: rounding spoils the small, curvature the large.
        for step in steps:
            values = []
            with torch.no_grad():
                for sign in (1, -1):
                    tensor.copy_(start + sign * step * direction)
                    values.append(float(loss()))
                tensor.copy_(start)
            errors.append(abs((values[0] - values[1]) / (2 * step) - claimed))
        worst = max(worst, min(errors) / (1 + abs(claimed) + float(free.of(slope).norm()) / 1e-6))
    return worst


def second_derivatives(case: Case) -> float:
    """Compare the derivative of the gradient of ladj and value, both ways, with differences of the gradient."""
    module = case.build(torch.float64)
    x, context = case.points(3, module=module), case.contexts(3)
    y = module(x, context)[0].detach()
    worst = 0.0
    for (function, start, _), (free, _) in zip(directions(module, x, y), _differences(module), strict=True):
        draw = torch.Generator().manual_seed(3)
        direction = torch.randn(start.shape, generator=draw, dtype=torch.float64)

        def slope(point: Tensor, function: Callable[..., tuple[Tensor, Tensor]] = function, graph: bool = False) -> Tensor:
            point = point if graph else point.detach().requires_grad_()
            value, ladj = function(point, context)
            total = torch.sin(value).sum() + ladj.sum()
            return torch.autograd.grad(total, point, create_graph=graph)[0]

        point = start.clone().requires_grad_()
        first = slope(point, graph=True)
        claimed = torch.autograd.grad((first * direction).sum(), point, allow_unused=True)[0] if first.requires_grad else None
        step = 1e-3 if free else 1e-6  # differences of gradients that are off tell less the smaller the step
        found = (slope(start + step * direction) - slope(start - step * direction)) / (2 * step)
        claimed_along = 0.0 if claimed is None else float((claimed * direction).sum())
        wanted = float((found * direction).sum())
        worst = max(worst, abs(claimed_along - wanted) / (1 + abs(wanted) + float(free.of(first).norm()) / (1e-5 * step)))
    return worst
