"""Rows of the normalising layers."""

from __future__ import annotations

from pushforward.core.bijector import Bijector
from pushforward.core.compose import Compose
from pushforward.kernels.affine import Affine
from pushforward.layers.actnorm import ActNorm, BatchNorm
from pushforward.layers.coupling import Coupling
from pushforward.layers.normal_scores import NormalScores
from pushforward.layers.rearrange import OnAxis
from pushforward.layers.whiten import Whiten
from pushforward.nets.mlp import MLP

# name -> (plan, event_shape, context_shape)
CASES: dict[str, tuple[Bijector, tuple[int, ...], tuple[int, ...] | None]] = {
    "ActNorm": (ActNorm(), (3,), None),
    "ActNorm, one feature": (ActNorm(bound=1.0), (1,), None),
    "ActNorm, channels": (ActNorm(), (2, 3), None),
    "ActNorm, last axis": (OnAxis(ActNorm(), -1), (2, 3), None),
    "ActNorm in a chain given context": (Compose([ActNorm(), Coupling(Affine(), net=MLP((16, 16))), ActNorm()]), (3,), (2,)),
    "BatchNorm": (BatchNorm(), (2,), None),
    "BatchNorm, five features": (BatchNorm(momentum=1.0, epsilon=0.0, bound=2.0), (5,), None),
    "NormalScores": (NormalScores(), (2,), None),
    "NormalScores, matrix": (NormalScores(), (2, 3), None),
    "Whiten": (Whiten(), (3,), None),
    "Whiten, matrix": (Whiten(), (2, 3), None),
    "BatchNorm, channels": (BatchNorm(), (2, 2, 2), None),
}
HEAVY = {"NormalScores, matrix"}  # each number by itself, as in "NormalScores"
