"""Standardising: where in a chain of layers one that measures belongs, and the chain with it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.distributions import constraints
from torch.distributions.constraints import Constraint

from pushforward.bases.em import grown
from pushforward.bases.mixture_of_normals import MixtureOfNormals
from pushforward.bases.normal import StandardNormal
from pushforward.core import sets
from pushforward.core.base import BaseModule
from pushforward.core.bijector import Bijector
from pushforward.core.compose import Compose, ComposeModule
from pushforward.core.layer import Layer, Shape
from pushforward.layers.actnorm import ActNormModule
from pushforward.layers.normal_scores import NormalScores, far_out
from pushforward.layers.standardize import Standardize, StandardizeModule
from pushforward.layers.whiten import Whiten

COMPONENTS = (2, 4, 8, 16, 32)
"""Components of mixtures to try, each twice as many as the one before."""
ROWS = 10
"""Rows for each component of a mixture, at least."""
FEW = 2000
"""Of fewer rows those held out hardly tell how many components suit: each tenth is held out in turn, as long as so many rows are fitted to."""
SEEN = 2**15
"""Values that tell how many components suit, at most; of more some that are evenly spread."""
WIDEST = 100
"""Numbers of an event for which mixtures are tried, at most: each component has half the square of it."""
CONTEXT_UNITS: dict[bool, Bijector] = {False: Standardize(), True: Compose([Standardize(), NormalScores()])}
"""How contexts are measured: by location and scale, and where a few are so far out that these say little, by quantiles and tails."""


def mixture_of(components: int) -> MixtureOfNormals:
    """Return a mixture of normals that is fitted to the rows when it measures, with all covariances and wide bounds."""
    return MixtureOfNormals(components, covariance="full", bound=8.0, start="em")


def takes_mixture(base: BaseModule) -> bool:
    """Tell whether a mixture may take the place of a base: of one that has learnt nothing, or of such a mixture."""
    plan = base.plan
    return plan == StandardNormal() or (isinstance(plan, MixtureOfNormals) and plan == mixture_of(plan.components))


def suits_mixture(base: BaseModule) -> bool:
    """Tell whether mixtures in the place of a base are worth trying: of events that are not too wide."""
    return takes_mixture(base) and math.prod(base.event_shape) <= WIDEST


def best_mixture(rows: Tensor, held: Tensor, over: Callable[[], bool] = lambda: False) -> tuple[Tensor, int]:
    """Return the log-density of held-out values ``(n, *event)`` under the mixture that suits them, and its components.

    There are 1, 2, 4, ... of them, as long as more help (if not the next, the ones after), there are rows enough, and it is not over. The
    fewest are taken that are no more than one standard error behind the best, or two where that is one normal distribution: more cost
    time, and may be ahead by chance.
    Source: Classification and Regression Trees (Breiman, Friedman, Olshen, Stone, 1984), for that rule.
    """
    size = math.prod(rows.shape[1:])  # an event may be a number
    rows, held = rows.double().reshape(-1, size), held.double().reshape(-1, size)
    different = len(torch.unique(rows, dim=0))
    parts = [(rows, held)]
    if different >= 2 * ROWS:
        tenth = torch.arange(len(rows), device=rows.device) % 10
        parts += [(rows[tenth != part], rows[tenth == part]) for part in range(min(10, FEW // len(rows)))]
    found: list[tuple[int, Tensor]] = []
    for steps in zip(*(grown(fitted, judges) for fitted, judges in parts), strict=False):
        count = steps[0][0]
        found.append((count, torch.cat([density for _, density in steps])))
        best, most = max(found, key=lambda one: one[1].mean().item())
        if 4 * best <= count or count == COMPONENTS[-1] or different < ROWS * 2 * count or over():
            break
    for count, density in found:
        behind = most - density
        if behind.mean() <= (2 if count == 1 else 1) * behind.std(correction=0) / math.sqrt(len(behind)):
            break
    return density[: len(held)], count


def components_of(values: Tensor) -> int:
    """Return the components of the mixture that suits every tenth value ``(n, *event)`` best, fitted to the others; 0 for one normal."""
    values = values[:: -(-len(values) // SEEN)]
    held = torch.arange(len(values), device=values.device) % 10 == 0
    count = best_mixture(values[~held], values[held])[1] if len(values) > 1 else 1
    return count if count > 1 else 0


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
