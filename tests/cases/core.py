"""Rows of the first layers: affine, spline, linear, fixed maps and the structures."""

from __future__ import annotations

import math

from pushforward import bijectors as bij
from pushforward.core.bijector import Bijector

SMALL = bij.MLP((16, 16))
DAG = [[0, 0, 0, 0], [1, 0, 0, 0], [1, 0, 0, 0], [0, 1, 1, 0]]

# name -> (plan, event_shape, context_shape)
CASES: dict[str, tuple[Bijector, tuple[int, ...], tuple[int, ...] | None]] = {
    "Exp": (bij.Exp(), (2,), None),
    "Sigmoid": (bij.Sigmoid(), (2,), None),
    "Tanh": (bij.Tanh(), (2,), None),
    "Softplus": (bij.Softplus(), (2,), None),
    "ELU": (bij.ELU(), (2,), None),
    "LeakyReLU": (bij.LeakyReLU(0.2), (2,), None),
    "Power": (bij.Power(3.0), (2,), None),
    "Power, negative": (bij.Power(-0.5), (2,), None),
    "AffineFixed": (bij.AffineFixed([1.0, -2.0], [0.5, -3.0]), (2,), None),
    "Affine": (bij.Affine(), (3,), None),
    "Affine, scalar": (bij.Affine(), (), None),
    "Affine, matrix": (bij.Affine(), (2, 3), None),
    "Affine given context": (bij.Elementwise(bij.Affine(), net=SMALL), (3,), (2,)),
    "Additive": (bij.Elementwise(bij.Additive(), net=SMALL), (3,), (2,)),
    "Spline": (bij.Spline(), (2,), None),
    "Spline, linear": (bij.Spline(order="linear"), (2,), None),
    "Spline, 16 bins": (bij.Spline(bins=16, bound=3.0), (1,), None),
    "Spline given context": (bij.Elementwise(bij.Spline(bins=4), net=SMALL), (2,), (3,)),
    "Spline, linear, given context": (bij.Elementwise(bij.Spline(bins=4, order="linear"), net=SMALL), (2,), (3,)),
    "Linear": (bij.Linear(), (3,), None),
    "Linear, one feature": (bij.Linear(), (1,), None),
    "Linear, no bias, matrix": (bij.Linear(bias=False), (2, 3), None),
    "Linear given context": (bij.Elementwise(bij.Linear(), net=SMALL), (3,), (2,)),
    "Permute": (bij.Permute([2, 0, 1]), (3,), None),
    "Reverse": (bij.Reverse(), (3, 2), None),
    "Shuffle": (bij.Shuffle(3), (5,), None),
    "OnAxis": (bij.OnAxis(bij.Linear(), 0), (3, 2), None),
    "OnAxis, coupling": (bij.OnAxis(bij.Coupling(bij.Affine(), net=SMALL), -1), (2, 3), None),
    "Standardize": (bij.Standardize(), (3,), None),
    "Coupling affine": (bij.Coupling(bij.Affine(), net=SMALL), (3,), None),
    "Coupling affine, one feature": (bij.Coupling(bij.Affine(), net=SMALL), (1,), (2,)),
    "Coupling affine, images": (bij.Coupling(bij.Affine(), mask="alternating", net=SMALL), (3, 2, 2), (2,)),
    "Coupling spline": (bij.Coupling(bij.Spline(bins=4), mask="alternating", flip=True, net=SMALL), (4,), (2,)),
    "Coupling spline, linear": (bij.Coupling(bij.Spline(bins=4, order="linear"), mask=[2], net=bij.ResidualMLP(16)), (3,), None),
    "Autoregressive affine": (bij.Autoregressive(bij.Affine(), net=SMALL), (4,), None),
    "Autoregressive affine, order": (bij.Autoregressive(bij.Affine(), order=[2, 0, 1], net=bij.ResidualMLP(16)), (3,), (2,)),
    "Autoregressive affine, Jacobi": (bij.Autoregressive(bij.Affine(), net=SMALL, solve="jacobi"), (4,), (2,)),
    "Autoregressive affine, graph": (bij.Autoregressive(bij.Affine(), adjacency=DAG, net=SMALL), (4,), None),
    "Autoregressive affine, tokens": (bij.Autoregressive(bij.Affine(), net=SMALL), (3, 2), None),
    "Autoregressive spline": (bij.Autoregressive(bij.Spline(bins=4), net=SMALL), (3,), (2,)),
    "Autoregressive, one feature": (bij.Autoregressive(bij.Affine(), net=SMALL), (1,), (2,)),
    "InverseAutoregressive affine": (bij.InverseAutoregressive(bij.Affine(), net=SMALL), (3,), None),
    "InverseAutoregressive spline": (bij.InverseAutoregressive(bij.Spline(bins=4, order="linear"), net=SMALL), (3,), (2,)),
    "InverseAutoregressive spline, Jacobi": (
        bij.InverseAutoregressive(bij.Spline(bins=4), net=bij.ResidualMLP(16), solve="jacobi"),
        (3,),
        None,
    ),
    "Inverse": (bij.Inverse(bij.Coupling(bij.Spline(bins=4), net=SMALL)), (3,), None),
    "Inverse, bounded": (bij.Inverse(bij.Sigmoid()), (2,), None),
    "Compose": (bij.Compose([bij.Coupling(bij.Affine(), net=SMALL), bij.Reverse(), bij.Affine(), bij.Exp()]), (3,), None),
    "Compose, empty": (bij.Compose([]), (2,), None),
    "Compose, chain of supports": (bij.Compose([bij.Affine(), bij.Sigmoid(), bij.AffineFixed(-math.pi, 2 * math.pi)]), (2,), None),
}
