"""Rows of the continuous layers: nets so small, and bounds so low, that the laws take seconds."""

from __future__ import annotations

from pushforward.core.bijector import Bijector
from pushforward.layers.continuous import Continuous
from pushforward.nets.mlp import MLP, ResidualMLP
from pushforward.nets.potential import Potential

# name -> (plan, event_shape, context_shape)
CASES: dict[str, tuple[Bijector, tuple[int, ...], tuple[int, ...] | None]] = {
    "Continuous": (Continuous(MLP((4,), "tanh"), tolerance=3e-3, steps=2, steepest=2.0), (2,), None),
    "Continuous, dopri5, matrix": (
        Continuous(ResidualMLP(4, 1, "silu"), tolerance=1e-3, method="dopri5", steps=3, steepest=2.0),
        (2, 1),
        (2,),
    ),
    "Continuous, rk4, given context": (
        Continuous(MLP((4, 4), "softplus"), tolerance=3e-3, method="rk4", steps=3, steepest=2.0),
        (2,),
        (2,),
    ),
    "Continuous, on a sphere": (
        Continuous(MLP((4,), "tanh"), tolerance=1e-2, method="rk4", steps=6, steepest=2.0, on=["sphere"]),
        (3,),
        None,
    ),
    "Continuous, on a sphere of four numbers, given context": (
        Continuous(MLP((4,), "silu"), tolerance=3e-3, steps=2, steepest=2.0, on=["sphere"]),
        (4,),
        (2,),
    ),
    "Continuous, line, circle and sphere": (
        Continuous(MLP((4,), "tanh"), tolerance=3e-3, steps=2, steepest=2.0, on=["real", "circle", "sphere"], sizes=[1, 1, 3]),
        (5,),
        None,
    ),
    "Continuous, Hutchinson": (
        Continuous(MLP((4,), "tanh"), tolerance=3e-2, steps=2, steepest=2.0, trace="hutchinson", probes=4, seed=1),
        (5,),
        None,
    ),
    # Its field has a Jacobian of a lower rank than the sketch.
    "Continuous, Hutch++": (
        Continuous(ResidualMLP(3, 1, "silu"), tolerance=3e-2, method="heun", steps=2, steepest=2.0, trace="hutch++", probes=4),
        (5,),
        None,
    ),
    "Continuous, of a potential, given context": (
        Continuous(Potential(MLP((4,), "tanh")), tolerance=3e-2, method="rk4", steps=2, steepest=2.0),
        (2,),
        (2,),
    ),
    "Continuous, heun": (Continuous(MLP((4,), "silu"), tolerance=3e-2, method="heun", steps=6, steepest=2.0), (1,), None),
}
# Of these the laws take long, and the others have their code.
HEAVY = {
    "Continuous, of a potential, given context",
    "Continuous, dopri5, matrix",
    "Continuous, heun",
    "Continuous, on a sphere of four numbers, given context",
    "Continuous, line, circle and sphere",
}
