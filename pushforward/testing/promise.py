"""What layers promise beside roundings, brought to where a law measures: solvers' tolerances, stretched by what comes after them."""

from __future__ import annotations

import torch
from torch import Tensor

from pushforward.core.bijector import InverseModule
from pushforward.core.compose import ComposeModule
from pushforward.core.layer import Layer
from pushforward.core.promise import Accuracy
from pushforward.flow.flow import Flow
from pushforward.testing.case import jacobian

Step = tuple[Layer, bool]
"""A layer, and whether it is passed from data to base."""


def passed(module: Layer, inverse: bool = False) -> list[Step]:
    """Return the layers that values pass one after the other, from base to data or, if ``inverse``, back."""
    if isinstance(module, InverseModule):
        return passed(module.module, not inverse)
    if isinstance(module, ComposeModule):
        layers: list[Layer] = [*module.layers]
        return [step for layer in (reversed(layers) if inverse else layers) for step in passed(layer, inverse)]
    return [(module, inverse)]


def promised(step: Step, back: bool = False) -> Accuracy:
    """Return what a layer promises in the direction in which it is passed, or ``back``."""
    layer, inverse = step
    return layer.facts.accuracy[int(inverse != back)]


def exact(module: Layer) -> bool:
    """Tell whether a layer promises to be exact but for roundings, both ways."""
    return all(each.exact for each in module.facts.accuracy)


def run(step: Step, value: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
    """Pass values through a layer."""
    layer, inverse = step
    return layer.inverse(value, context) if inverse else layer(value, context)


def tolerated(module: Layer, x: Tensor, context: Tensor | None, inverse: bool = False) -> Tensor:
    """Return how far off values ``(rows, size)`` may come back from a round trip, beside roundings.

    Wherever a layer makes a value, there or on the way back, it may be off by its tolerance. From there to the start it is stretched by
    the Jacobian of the way back. In a layer that makes its values step by step each is off before the next one sees it: there that of
    the way back is carried on as |J|, both once for each step, as roundings are.

    Args:
        module: A layer of the precision of ``x``.
        x: ``(rows, *event)``, of the base side or, if ``inverse``, of the data side.
        context: ``(rows, *context)``, or None.
        inverse: Whether the round trip begins on the data side.
    """
    value, steps = x.detach(), passed(module, inverse)
    if exact(module):
        return torch.zeros_like(value).reshape(len(x), -1)

    def columns(off: Tensor) -> Tensor:
        return off.reshape(len(x), -1, 1)

    values, off = [value], [torch.zeros_like(columns(value))]
    for step in steps:
        start, value = value, run(step, value, context)[0].detach()
        before = columns(promised(step, back=True).value.of(start))
        after = columns(promised(step).value.of(value))
        rounds = max(promised(step).roundings, promised(step, back=True).roundings)
        if rounds > 1:
            there = jacobian(lambda z, given, step=step: run(step, z, given), start, context, start.dim() - 1)  # type: ignore[misc]
            after = rounds * (after + there.abs() @ before)
        off[-1] = off[-1] + before
        off.append(after)
        values.append(value)
    allowed = off[0].squeeze(-1)
    for index, error in enumerate(off[1:], 1):

        def back(y: Tensor, given: Tensor | None, done: int = index) -> tuple[Tensor, Tensor]:
            for layer, turned in reversed(steps[:done]):
                y = run((layer, not turned), y, given)[0]
            return y, y

        allowed = allowed + (jacobian(back, values[index], context, values[index].dim() - 1).abs() @ error).squeeze(-1)
    return allowed.detach()


def ladj_tolerated(module: Layer, x: Tensor, context: Tensor | None, inverse: bool = False) -> Tensor:
    """Return how far log-determinants ``(rows)`` may be from those of the map that is computed: the sum over the layers.

    An estimate may be anywhere. That both ways undo each other, gradients, and all that does not ask for the exact one is held to it.
    """
    value, allowed = x.detach(), torch.zeros(x.shape[:1], dtype=torch.float64)
    if exact(module):
        return allowed
    for step in passed(module, inverse):
        value, ladj = (t.detach() for t in run(step, value, context))
        allowed = allowed + promised(step).ladj.of(ladj)
        if promised(step).estimated:
            allowed = allowed + torch.inf
    return allowed


def inner(flow: Flow, context: Tensor | None) -> Tensor | None:
    """Return a context as the layers of a flow take it."""
    return context if context is None or flow.context_units is None else flow.context_units.pull(context)[0]


def score_tolerated(flow: Flow, y: Tensor, context: Tensor | None = None) -> Tensor:
    """Return how far two log-densities ``(*batch)`` of a sample may be apart, that of drawing it and that of scoring it.

    That is what values are off by, each in both directions, by the slope of the log-density there, and log-determinants both ways.
    """
    if exact(flow.transform):
        return torch.zeros((), dtype=y.dtype)
    value, context = y.detach().requires_grad_(), inner(flow, context)
    total: Tensor | float = 0.0
    points, steps, allowed = [value], passed(flow.transform, True), torch.zeros((), dtype=y.dtype)
    for step in steps:
        value, ladj = (step[0].pull if step[1] else step[0].push)(value, context)
        points.append(value)
        total = total + ladj
        for back in (False, True):
            allowed = allowed + promised(step, back).ladj.of(ladj)
    density = flow.base.score(value, context) + total
    slopes = torch.autograd.grad(density.sum(), points, allow_unused=True)
    for index, step in enumerate(steps):
        for place, accuracy in ((index, promised(step, back=True)), (index + 1, promised(step))):
            slope = slopes[place]
            if slope is not None and accuracy.value:
                off = max(accuracy.roundings, 1) * slope.abs() * accuracy.value.of(points[place])
                allowed = allowed + (off.flatten(density.dim()).sum(-1) if off.dim() > density.dim() else off)
    return allowed.detach()


def mass_tolerated(flow: Flow, y: Tensor, context: Tensor | None = None) -> float:
    """Return how far a density may be from integrating to 1: the mean over samples ``(rows, *batch, *event)``."""
    base = flow.base.facts.accuracy
    if exact(flow.transform) and not base:
        return 0.0
    flat, given = _rows(flow, y, context)
    allowed = ladj_tolerated(flow.transform, flat, given, inverse=True)
    if base:
        x = flow.transform.pull(flat, given)[0]
        shaped = x.reshape(-1, *flow.batch_shape, *flow.base.event_shape)
        allowed = allowed + base.of(flow.base.score(shaped, None if given is None else given[0])).reshape(-1)
    return float(torch.expm1(allowed).mean())


def shift_tolerated(flow: Flow, y: Tensor, context: Tensor | None = None) -> float:
    """Return how far samples ``(rows, *batch, *event)`` may be from their density, in standard deviations of the base's values."""
    if exact(flow.transform):
        return mass_tolerated(flow, y, context)
    flat, given = _rows(flow, y, context)
    x = flow.transform.pull(flat, given)[0].detach()
    # Of the base's values: those of a round trip that begins there.
    off = tolerated(flow.transform, x, given) / x.reshape(len(x), -1).std(0).clamp(min=1e-12)
    return mass_tolerated(flow, y, context) + float(off.amax(1).mean())


def _rows(flow: Flow, y: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Return some of the values ``(rows, *event)``, and a context for each as layers take it."""
    flat = y.detach()[:64].reshape(-1, *flow.event_shape)
    given = inner(flow, context)
    return flat, None if given is None else given[:1].expand(len(flat), *given.shape[1:])
