"""Robustness: extreme parameters and values, rows that are spoiled, precision, and rows alone."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.distributions.constraints import Constraint

from pushforward.core import sets
from pushforward.core.layer import Layer, Shape
from pushforward.testing.accuracy import FUNCTIONS, Move, apart, largest, layers_of, rounding
from pushforward.testing.case import Case, randomize
from pushforward.testing.promise import ladj_tolerated, tolerated
from pushforward.testing.sets import beyond, members, on_ends


def _of_all_sizes(case: Case) -> Iterator[Layer]:
    """Give the layer with parameters x100, x10, 0 and ±1e4; mostly one layer whose parameters change, since to build it takes longest."""
    module = case.build(torch.float32, 0.0)
    measures = any(type(layer).measure is not Layer.measure for layer in module.leaves())
    initial = [parameter.detach().clone() for parameter in module.parameters()]
    for scale, seed in [(100.0, s) for s in range(10)] + [(10.0, s) for s in range(20)]:
        if measures:  # what it measures depends on the parameters before it
            yield case.build(torch.float32, scale, seed)
            continue
        with torch.no_grad():
            for parameter, value in zip(module.parameters(), initial, strict=True):
                parameter.copy_(value)
        yield randomize(module, scale, case.seed + seed)
    for filled in (0.0, 1e4, -1e4):
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.fill_(filled)
        yield module


def extremes(case: Case) -> float:
    """Count rows and gradients that are not finite with parameters at 0, ±1e4, x100 and x10 of thirty random sets, both ways."""
    bad = 0
    usual = 3 * case.points(16, torch.float32).sub(0.1).clamp(-9, 9)
    for module in _of_all_sizes(case):
        x, context = case.points(16, torch.float32, module=module), case.contexts(16, torch.float32)
        ends = sets.bounds(module.codomain)
        wide = usual
        if module.out_shape != case.event_shape:
            wide = 3 * torch.randn(16, *module.out_shape, generator=torch.Generator().manual_seed(case.seed))
        y = sets.leave(case.into(wide, module.codomain).float(), ends)
        points, sizes = [x.clone().requires_grad_(), y.clone().requires_grad_()], []
        for function, point in zip((module.forward, module.inverse), points, strict=True):
            result, ladj = function(point, context)
            finite = torch.isfinite(result).reshape(len(point), -1).all(1) & torch.isfinite(ladj)
            bad += int((~finite).sum())
            sizes.append(torch.tanh(result).sum() + torch.tanh(ladj).sum())
        # Of both ways at once: what is not finite in one of two sums is not finite in their sum.
        gradients = torch.autograd.grad(sizes, [*points, *module.parameters()], allow_unused=True)
        found = [g.reshape(-1) for g in gradients if g is not None]
        bad += int((~torch.isfinite(torch.cat(found))).sum())
    return float(bad)


def own_row(case: Case) -> float:
    """Count rows beside a NaN and an infinite row that change, in value or gradient, and NaN rows that come out finite."""
    module = case.build(torch.float32)
    x, context = case.points(6, torch.float32, module=module), case.contexts(6, torch.float32)
    bad = 0
    for function in (module.forward, module.inverse):
        point = x if function == module.forward else module(x, context)[0].detach()
        dirty = point.clone()
        dirty[2], dirty[4] = math.nan, math.inf
        clean, mixed = point.clone().requires_grad_(), dirty.clone().requires_grad_()
        (y, ladj), (z, zladj) = function(clean, context), function(mixed, context)
        rows = [0, 1, 3, 5]
        gradients = [torch.autograd.grad((v[rows].sum() + w[rows].sum()), t)[0][rows] for v, w, t in ((y, ladj, clean), (z, zladj, mixed))]
        bad += int((y[rows] != z[rows]).sum() + (ladj[rows] != zladj[rows]).sum() + (gradients[0] != gradients[1]).sum())
        visible = torch.isnan(z[2]).any() | torch.isnan(zladj[2])
        bad += int(~visible)
    return float(bad)


def half(case: Case) -> float:
    """Return the worst difference of bfloat16, float16 and autocast from float32, per unit of size; dtypes are kept."""
    worst = 0.0
    reference, exact = case.build(torch.float32, 0.3), case.build(torch.float64, 0.3)
    # In float32, since numbers that depend on one another no longer do when they are rounded; a map of all real values sees them rounded.
    square = sets.bounds(reference.domain) is not None
    x = case.points(64, torch.bfloat16 if square else torch.float32, 0.5, reference).float()
    context = case.contexts(64, torch.bfloat16)
    wide = None if context is None else context.float()
    y, ladj = reference(x, wide)
    far, given = x.double(), None if wide is None else wide.double()
    beside = tolerated(exact, far, given).reshape(x.shape) / 0.05, 2 * ladj_tolerated(exact, far, given) / 0.05
    for dtype in (torch.bfloat16, torch.float16):
        module = case.build(dtype, 0.3)
        given = None if context is None else context.to(dtype)
        value, low = module(x.to(dtype), given)
        if value.dtype != dtype or low.dtype != torch.float32:
            raise AssertionError(f"expected a value of {dtype} and a ladj of torch.float32, got {value.dtype} and {low.dtype}")
        back = module.inverse(value, given)[0]
        # What no layer avoids: a matrix magnifies the rounding of y by its condition.
        least = rounding(case, exact, x, wide, torch.finfo(dtype).eps).reshape(x.shape) if square else x.new_zeros(())
        for error in (
            (value.float() - y) / (1 + y.abs()),
            (low - ladj).reshape(-1) / (1 + ladj.abs() + beside[1]).reshape(-1),
            (back.float() - x) / (torch.maximum(1 + x.abs(), 4 * least / 0.05) + beside[0]),
        ):
            worst = max(worst, largest(error))
    with torch.autocast("cpu", torch.bfloat16):
        value, low = reference(x, wide)
    if value.dtype != torch.float32 or low.dtype != torch.float32:
        raise AssertionError(f"autocast: expected float32 values, got {value.dtype} and {low.dtype}")
    return max(worst, largest((value - y) / (1 + y.abs())))


def precision_kept(case: Case) -> float:
    """Count dtypes that are not kept in float64 and float32."""
    bad = 0
    for dtype in (torch.float32, torch.float64):
        module = case.build(dtype)
        x, context = case.points(3, dtype, module=module), case.contexts(3, dtype)
        y, ladj = module(x, context)
        x, back = module.inverse(y, context)
        bad += sum(t.dtype != dtype for t in (y, ladj, x, back))
    return float(bad)


EACH = 3
"""Of how many rows of a batch one is looked at alone: some of each place in a tile of the compiled kernels."""


def row_alone(case: Case) -> float:
    """Return the worst difference of a row alone from the same row in a batch, and of train from eval, in float32 ulps of its size.

    What is more than an ulp is held against what processors do differently (`apart`): four standard deviations of it count as one.
    """
    module = case.build(torch.float32)
    x, context = case.points(64, torch.float32, module=module), case.contexts(64, torch.float32)
    worst = 0.0
    for name in ("forward", "inverse"):
        function = getattr(module, name)
        point = x if name == "forward" else module(x, context)[0].detach()
        together = function(point, context)
        alone = [function(point[i], None if context is None else context[i]) for i in range(0, len(x), EACH)]
        for index, all_rows in enumerate(part[::EACH] for part in together):
            off = (all_rows - torch.stack([a[index] for a in alone])).detach().double().abs()
            # Each row by its own size: beside a large one, that of a small one would count for nothing.
            own = all_rows.detach().double().abs().reshape(len(all_rows), -1).amax(1).clamp(min=1.0)
            size = torch.finfo(torch.float32).eps * own.reshape(-1, *(1 for _ in range(all_rows.dim() - 1)))
            if largest(off / size) > 1:  # else no need to know what is allowed beside
                # A ladj is a sum over the numbers of an event, each made by some functions.
                size = torch.maximum(math.sqrt(FUNCTIONS * point[0].numel()) * size, 4 * _apart(case, name, point, context)[index][::EACH])
            worst = max(worst, largest(off / size))
    training, evaluating = module.train()(x, context), module.eval()(x, context)
    return max(worst, *(math.inf if not torch.equal(a, b) else 0.0 for a, b in zip(training, evaluating, strict=True)))


def _apart(case: Case, name: str, x: Tensor, context: Tensor | None) -> list[Tensor]:
    given = None if context is None else context.double()

    def run(module: Layer, move: Move) -> list[Tensor]:
        layers, value, total = layers_of(module), x.double(), torch.zeros((), dtype=torch.float64)
        for layer in layers if name == "forward" else reversed(layers):
            value, ladj = getattr(layer, name)(move(value), given)
            total = total + move(ladj)
        return [move(value), total]

    return apart(case.build(torch.float64), run, torch.float32, case.seed)


def domain(case: Case) -> float:
    """Count what is wrong about the sets that a layer takes and gives, both ways.

    That are values outside whose ladj is not -inf, whose result is not finite or which touch another row; values all over the set that have
    no result in the other one, or no way back to where they were, since nothing is mapped onto them; and sets that say the opposite.
    """
    module, exact = case.build(torch.float32), case.build(torch.float64)
    shapes = case.event_shape, tuple(module.out_shape)
    draw, bad = torch.Generator().manual_seed(case.seed + 4), 0
    sides = (("forward", module.domain, module.codomain, shapes), ("inverse", module.codomain, module.domain, shapes[::-1]))
    for name, source, target, (shape, other) in sides:
        z = torch.randn(6, *shape, generator=draw, dtype=torch.float64)
        wide, context = members(source, 1.5 * z), case.contexts(6)
        value, ladj = getattr(exact, name)(wide, context)
        back = getattr(exact, "inverse" if name == "forward" else "forward")(value, context)[0]
        bad += _outside(source, wide, shape) + _outside(target, value, other) + int((~torch.isfinite(ladj)).sum())
        if name == "forward" or not any(part.plan.wraps for part in module.leaves()):  # an angle comes back by whole turns
            beside = tolerated(exact, wide, context, name == "inverse").reshape(wide.shape)
            bad += int(((back - wide).abs() > 1e-4 * (1 + wide.abs()) + beside).sum())
        inside, given = members(source, 0.5 * z).float(), None if context is None else context.float()
        for wrong in (outside := beyond(source, inside)) + on_ends(source, inside):
            point = inside.clone()
            point[1] = wrong[1]
            # Of the ends of an interval torch's sets say that they are members.
            bad += int(any(wrong is one for one in outside) and _outside(source, point, shape) != 1)
            point.requires_grad_()
            value, ladj = getattr(module, name)(point, given)
            rows = [0, 2, 3, 4, 5]
            gradient = torch.autograd.grad(value.sum() + ladj[rows].sum(), point)[0]
            bad += int(ladj[1] != -math.inf) + int((~torch.isfinite(ladj[rows])).sum())
            bad += int((~torch.isfinite(value)).sum() + (~torch.isfinite(gradient)).sum())
    return float(bad)


def _outside(support: Constraint, value: Tensor, shape: Shape) -> int:
    """Return how many rows a set says are no members."""
    return int((~sets.inside(sets.independent(support, len(shape)), value)).sum())
