"""Coupling: one part passes through and sets the parameters of the other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from pushforward.core import numerics
from pushforward.core.bijector import Bijector
from pushforward.core.budget import reserve
from pushforward.core.facts import Facts
from pushforward.core.fields import Named, OneOf, Place
from pushforward.core.layer import Layer, Shape
from pushforward.core.spec import PlanError
from pushforward.kernels.kernel import Kernel, evaluate, expect_between_numbers
from pushforward.layers.rearrange import Selection
from pushforward.nets.conditioner import Parameters, flat_context
from pushforward.nets.mlp import MLP
from pushforward.nets.net import NetLike

Masked = Annotated[
    Annotated[str, OneOf("halves", "alternating")] | Sequence[Place],
    Named("to be 'halves', 'alternating' or a list of feature indices"),
]


@dataclass(frozen=True, repr=False)
class Coupling(Bijector):
    r"""Coupling layer: :math:`y_a = x_a`, :math:`y_b = k(x_b; \theta(x_a, c))`. One pass to sample, one to score.

    It splits the first event axis. With a single feature nothing passes through and the parameters see the context alone.
    Source: NICE (Dinh et al., 2014); Density Estimation using Real NVP (Dinh et al., 2017).

    Args:
        kernel: The maths of the transformed part, on numbers.
        mask: Which features pass through: ``"halves"`` (the first half), ``"alternating"`` (0, 2, 4, ...) or their indices.
        flip: Let the others pass through instead.
        net: The network from what passes through, and the context, to the parameters.

    >>> from pushforward.bijectors import Spline
    >>> Coupling(Spline(), mask="alternating").build(5)(torch.zeros(7, 5))[1].shape
    torch.Size([7])
    """

    kernel: Kernel
    mask: Masked = "halves"
    flip: bool = False
    net: NetLike = MLP()

    event_dim = 1

    def check(self) -> None:
        expect_between_numbers(self, self.kernel)

    def words(self) -> str:
        return self.kernel.words()

    def passing(self, features: int) -> tuple[int, ...]:
        """Return the features that pass through."""
        reserve(features)
        if features == 1 and isinstance(self.mask, str):
            return ()
        if self.mask == "halves":
            chosen = set(range(features // 2))
        elif self.mask == "alternating":
            chosen = set(range(0, features, 2))
        else:
            chosen = {int(i) for i in self.mask}
            if chosen and max(chosen) >= features:
                raise PlanError(f"Coupling: expected mask indices below {features}, the number of features, got {self.mask}")
        passing = tuple(i for i in range(features) if (i in chosen) != self.flip)
        if len(passing) == features:
            raise PlanError(f"Coupling: expected a mask that leaves a feature to transform, got {self.mask!r} for {features} features")
        return passing

    def make(self, event_shape: Shape, context_shape: Shape | None) -> Layer:
        return CouplingModule(self, event_shape, context_shape)


class CouplingModule(Layer):
    """A built coupling layer; the event is flat inside, so a feature may itself have axes, which a shaped net is shown."""

    def __init__(self, plan: Coupling, event_shape: Shape, context_shape: Shape | None) -> None:
        super().__init__(plan, event_shape, context_shape)
        features, rest = event_shape[0], math.prod(event_shape[1:])
        passing = plan.passing(features)
        moving = tuple(i for i in range(features) if i not in passing)
        self.passing = passing
        self.kernel = plan.kernel
        self.rank = len(event_shape)
        context = 0 if context_shape is None else math.prod(context_shape)
        init = plan.kernel.init((len(moving) * rest,))
        if not init:
            raise PlanError(f"{plan!r}: expected a kernel with parameters for the net to set, got {plan.kernel!r}")
        visible, moved = (len(passing), *event_shape[1:]), (len(moving), *event_shape[1:])
        self.parameters_of = Parameters(init, plan.net, visible, context_shape, elements=moved)
        self.selection = Selection(passing, moving, rest)
        seen = [f"features {_ranges(passing)}"] if passing else []
        self.facts = Facts(
            depends_on=" and ".join(seen + ["the context"] * bool(context)) or "nothing",
            uses_context=context > 0,
            accuracy=plan.kernel.accuracy,
            effort=plan.kernel.effort,
            is_affine=plan.kernel.is_affine and not passing,
        )

    def map_ends(self, ends: Tensor, inverse: bool = False) -> Tensor:
        moving = torch.tensor([i not in self.passing for i in range(len(ends[0]))], device="cpu")
        return ends if self.kernel.keeps(ends[:, moving]) else super().map_ends(ends, inverse)

    def begin(self) -> None:
        moving = (self.selection.sizes[1],)
        self.parameters_of.begin(self.kernel.init(moving), self.kernel.start(moving))

    def push(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self._apply_kernel(False, x, context)

    def pull(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self._apply_kernel(True, y, context)

    def _apply_kernel(self, inverse: bool, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        flat = x if self.rank == 1 else x.flatten(x.dim() - self.rank)
        still, moving = self.selection.split(numerics.working(flat))
        theta = self.parameters_of.flat(still if still.shape[-1] else None, flat_context(context, self.context_shape))
        moved, ladj = evaluate(self.kernel, moving, theta, self.parameters_of.named, inverse)
        if still.shape[:-1] != moved.shape[:-1]:
            still = still.expand(*moved.shape[:-1], -1)
        y = self.selection.merge(still, moved)
        y = y if self.rank == 1 else y.unflatten(-1, self.event_shape)
        return y.to(x.dtype), ladj


def _ranges(indices: Sequence[int]) -> str:
    """Return indices in words, runs joined: ``0-3, 7``."""
    runs: list[list[int]] = []
    for i in indices:
        if runs and i == runs[-1][1] + 1:
            runs[-1][1] = i
        else:
            runs.append([i, i])
    words = [str(a) if a == b else f"{a}-{b}" for a, b in runs]
    return ", ".join(words if len(words) <= 6 else [*words[:4], "...", words[-1]])
