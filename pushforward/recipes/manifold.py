"""Spheres and circles beside other features in one continuous flow."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

from torch.distributions.constraints import Constraint

from pushforward.bases import CircleUniform, Product, SphereUniform, StandardNormal
from pushforward.core.base import Base
from pushforward.core.bijector import Bijector
from pushforward.core.compose import Compose
from pushforward.core.spec import PlanError
from pushforward.kernels.circular import Unwrap
from pushforward.layers.domains import Domain
from pushforward.layers.parts import Concatenate
from pushforward.layers.standardize import Standardize

CURVED = {"circular": "circle", "sphere": "sphere"}
"""What features that are no numbers of a line are called, and the spaces of which they are points."""
VECTOR = 3
"""Features that one sphere takes."""


class Places:
    """What a continuous flow on spheres, circles and lines begins and ends with: features in runs of one kind, a sphere's by three.

    Args:
        name: The flow's name, for errors.
        support: The set of each feature.
    """

    def __init__(self, name: str, support: Sequence[Constraint | str]) -> None:
        self.runs: list[tuple[str, list[Constraint | str]]] = []
        for kind, group in itertools.groupby(support, lambda each: CURVED.get(each, "real") if isinstance(each, str) else "real"):
            run = list(group)
            if kind != "sphere":
                self.runs.append((kind, run))
                continue
            if len(run) % VECTOR:
                raise PlanError(f"{name}: expected three features in a row for each 'sphere', a unit vector, got {len(run)}")
            self.runs += [(kind, run[:VECTOR])] * (len(run) // VECTOR)
        self.on = [kind for kind, _ in self.runs]
        self.sizes = [len(run) for _, run in self.runs]

    def base(self) -> Base:
        """Return uniform angles and unit vectors beside standard normal features."""
        bases: dict[str, Base] = {"circle": CircleUniform(), "sphere": SphereUniform(), "real": StandardNormal()}
        return bases[self.on[0]] if len(self.on) == 1 else Product([bases[kind] for kind in self.on], self.sizes)

    def first(self) -> list[Bijector]:
        """Return what makes angles real values of which whole turns do not matter."""
        return self._each(lambda kind, run: Unwrap() if kind == "circle" else Compose([]))

    def last(self) -> list[Bijector]:
        """Return what wraps angles, and takes numbers of a line to their location, scale and support."""
        ends: dict[str, Callable[[list[Constraint | str]], Bijector]] = {
            "circle": lambda run: Unwrap().inv,
            "sphere": lambda run: Compose([]),
            "real": lambda run: Compose([Standardize(), Domain(run)]),
        }
        return self._each(lambda kind, run: ends[kind](run))

    def _each(self, plan: Callable[[str, list[Constraint | str]], Bijector]) -> list[Bijector]:
        plans = [plan(kind, run) for kind, run in self.runs]
        if all(each == Compose([]) for each in plans):
            return []
        return plans if len(plans) == 1 else [Concatenate(plans, self.sizes)]
