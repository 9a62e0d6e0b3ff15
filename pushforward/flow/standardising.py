"""Standardising: where in a chain of layers one that measures belongs, and the chain with it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.distributions import constraints
from torch.distributions.constraints import Constraint

from pushforward.core import sets
from pushforward.core.base import BaseModule
from pushforward.core.bijector import Bijector
from pushforward.core.compose import Compose, ComposeModule
from pushforward.core.layer import Layer, Shape
from pushforward.layers.actnorm import ActNormModule
from pushforward.layers.normal_scores import NormalScores, far_out
from pushforward.layers.standardize import Standardize, StandardizeModule
from pushforward.layers.whiten import Whiten

CONTEXT_UNITS: dict[bool, Bijector] = {False: Standardize(), True: Compose([Standardize(), NormalScores()])}
"""How contexts are measured: by location and scale, and where a few are so far out that these say little, by quantiles and tails."""


def chain(transform: Layer) -> list[Layer]:
    """Return the layers that a bijection is a list of: itself, where it is no list."""
    return [*transform.layers] if isinstance(transform, ComposeModule) else [transform]


def arranged(
    transform: Layer, base: BaseModule, value: Tensor, context: Tensor | None, scores: bool, whiten: bool, like: Tensor, given: Shape | None
) -> Layer:
    """Return a transform with `Standardize`, `NormalScores` and `Whiten` put in where they are wanted, which have not measured yet."""
    inside = [module.plan for module in transform.modules() if isinstance(module, Layer)]
    place = real_end(chain(transform), base.support)
    if place is None or any(part.wraps for part in inside):
        return transform

    def with_part(place: int, part: Bijector) -> Layer:
        return inserted(chain(transform), place, part, (base.event_shape, given), like)

    if not any(isinstance(part, Standardize) for part in inside):
        transform = with_part(place, Standardize())
        place += 1
    wanted = scores and not any(isinstance(part, NormalScores) for part in inside)
    if wanted and _far_out_at(chain(transform), place, base.event_shape, value, context):
        transform = with_part(place, NormalScores())
    spot = white_end(chain(transform)) if whiten else None
    if spot is not None and not any(isinstance(part, Whiten) for part in inside):
        transform = with_part(spot, Whiten())
        # What is next to nothing beside others, but for a few rows, is far out once it has a spread of one.
        scored = any(isinstance(part.plan, NormalScores) for part in chain(transform))
        if scores and not scored and _far_out_white(_seen_at(chain(transform), spot + 1, value, context)):
            transform = with_part(spot, NormalScores())
    return transform


def _far_out_at(layers: Sequence[Layer], place: int, shape: Shape, value: Tensor, context: Tensor | None) -> bool:
    """Tell whether a few values, as they are after so many layers, decide the spread of an element."""
    return any_far_out(_seen_at(layers, place, value, context), layers[place - 1].out_shape if place else shape)


def _seen_at(layers: Sequence[Layer], place: int, value: Tensor, context: Tensor | None) -> Tensor:
    """Return values as they are after so many layers."""
    for layer in reversed(layers[place:]):
        value = layer.pull(value, context)[0]
    return value


def _far_out_white(value: Tensor) -> bool:
    """Tell whether a few values of vectors decide the spread of an element, once all are whitened."""
    rows = value.double().flatten(0, -2)
    spread = rows.std(0, correction=0)
    if not bool(torch.isfinite(rows).all() and (spread > 0).all()):
        return False
    scaled = (rows - rows.mean(0)) / spread
    layer = Whiten().build(rows.shape[1]).to(scaled)
    layer.measure(scaled)
    return any_far_out(layer.pull(scaled)[0], (rows.shape[1],))


def real_end(layers: Sequence[Layer], support: Constraint) -> int | None:
    """Return after how many layers values are all real numbers for the last time, before the maps that bound them; None: never."""
    held = itertools.accumulate(layers, lambda support, layer: layer.image(support), initial=support)
    places = [place for place, support in enumerate(held) if sets.same(support, constraints.real)]
    return places[-1] if places else None


def white_end(layers: Sequence[Layer]) -> int | None:
    """Return after how many layers vectors of several numbers are whitened, beside the last `Standardize`; None: nowhere."""
    places = [place for place, layer in enumerate(layers) if isinstance(layer.plan, Standardize)]
    return places[-1] if places and len(layers[places[-1]].event_shape) == 1 and layers[places[-1]].event_shape[0] > 1 else None


def inserted(layers: Sequence[Layer], place: int, part: Bijector, shapes: tuple[Shape, Shape | None], like: Tensor) -> Layer:
    """Return the chain with one more layer after so many others; these stay the very same modules, so an optimiser that holds them goes on.

    Args:
        layers: The layers.
        place: After how many of them.
        part: The plan of the new one.
        shapes: Of an event of the base, and of a context.
        like: A tensor of the precision and the place that it gets.
    """
    plan = Compose((*(layer.plan for layer in layers[:place]), part, *(layer.plan for layer in layers[place:])))
    transform = plan.build(*shapes).to(like)
    transform.layers = nn.ModuleList([*layers[:place], transform.layers[place], *layers[place:]])  # type: ignore[index,list-item]
    return transform


def measured(module: nn.Module) -> bool:
    """Tell whether a layer of a flow has measured data already."""
    return any(bool(part.calibrated) for part in module.modules() if isinstance(part, StandardizeModule | ActNormModule))


def begin(transform: Layer) -> None:
    """Let layers that have learnt nothing yet begin where they learn fastest, if their rows are of a known spread; the map stays."""
    parts = [part for part in transform.modules() if isinstance(part, Layer)]
    standardised = any(isinstance(part, StandardizeModule) for part in parts)
    for part in parts:
        if standardised or part.standard:
            part.begin()


def any_far_out(values: Tensor, shape: Sequence[int]) -> bool:
    """Tell whether a few values ``(*batch, *shape)`` decide the spread of an element."""
    with torch.no_grad():
        return bool(far_out(values.reshape(-1, math.prod(shape))).any())
