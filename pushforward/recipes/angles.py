"""Angles beside other features in one flow of splines."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import numpy as np
from torch.distributions.constraints import Constraint

from pushforward.bases import CircleUniform, Product, StandardNormal
from pushforward.core.base import Base
from pushforward.core.bijector import Bijector
from pushforward.core.compose import Compose
from pushforward.kernels.circular import CircularShift, CircularSpline, Unwrap
from pushforward.kernels.kernel import Kernel
from pushforward.layers.coupling import Coupling
from pushforward.layers.domains import Domain
from pushforward.layers.parts import Concatenate
from pushforward.layers.standardize import Standardize
from pushforward.nets.net import NetLike
from pushforward.nets.periodic import Periodic


class Mixed:
    """What a flow on angles and other features is stacked from: each layer moves a half of the angles, then a half of the others.

    What a half is moved by is computed from all other features, angles by their cosines and sines, so the density has no seam. A feature
    alone of its kind moves in every layer; of several, each moves in one of two layers that follow one another.
    """

    def __init__(self, support: Sequence[Constraint | str], kernel: Kernel, bins: int, net: NetLike) -> None:
        self.support, self.kernel, self.bins, self.net = list(support), kernel, bins, net
        self.circular = [isinstance(each, str) and each == "circular" for each in support]

    def layer(self, index: int) -> Bijector:
        """Return layer ``index``."""
        kinds = ((True, CircularSpline(self.bins)), (False, self.kernel))
        return Compose([self._coupling(kind, kernel, index) for kind, kernel in kinds])

    def base(self) -> Base:
        """Return uniform angles beside standard normal features."""
        runs = self._runs()
        return Product([CircleUniform() if self.circular[run[0]] else StandardNormal() for run in runs], [len(run) for run in runs])

    def first(self) -> Bijector:
        """Return what makes the angles real values of which whole turns do not matter."""
        return self._each(lambda run: Unwrap() if self.circular[run[0]] else Compose([]))

    def last(self) -> Bijector:
        """Return what turns angles and wraps them, and takes the others to their location, scale and support."""
        angle = Compose([CircularShift(), Unwrap().inv])
        return self._each(lambda run: angle if self.circular[run[0]] else Compose([Standardize(), Domain([self.support[i] for i in run])]))

    def _runs(self) -> list[list[int]]:
        """Return the features in runs of one kind."""
        return [list(run) for _, run in itertools.groupby(range(len(self.support)), lambda i: self.circular[i])]

    def _each(self, plan: Callable[[list[int]], Bijector]) -> Bijector:
        runs = self._runs()
        return Concatenate([plan(run) for run in runs], [len(run) for run in runs])

    def _coupling(self, kind: bool, kernel: Kernel, index: int) -> Bijector:
        group = [i for i, circular in enumerate(self.circular) if circular == kind]
        halves = np.array_split(np.random.default_rng(index // 2).permutation(group), 2)
        moved = group if len(group) == 1 else halves[index % 2].tolist()
        passing = [i for i in range(len(self.support)) if i not in moved]
        angles = [place for place, i in enumerate(passing) if self.circular[i]]
        return Coupling(kernel, mask=passing, net=Periodic(self.net, angles) if angles else self.net)
