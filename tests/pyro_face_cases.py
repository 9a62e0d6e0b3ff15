"""The learnable names of Pyro's face, each with arguments and the shape of an event to try it on."""

from __future__ import annotations

from pushforward import transforms as T

# name -> (arguments, keywords, shape of values)
LEARNABLE = {
    "affine_autoregressive": ((4,), {}, (4,)),
    "affine_autoregressive stable": ((4,), {"stable": True}, (4,)),
    "affine_coupling": ((5,), {}, (5,)),
    "affine_coupling dim": (((4, 2, 3),), {"dim": -3}, (4, 2, 3)),
    "batchnorm": ((3,), {}, (3,)),
    "block_autoregressive": ((3,), {}, (3,)),
    "block_autoregressive gated": ((3,), {"residual": "gated", "activation": "sigmoid"}, (3,)),
    "block_autoregressive normal": ((3,), {"residual": "normal", "activation": "LeakyReLU"}, (3,)),
    "generalized_channel_permute": ((), {"channels": 3}, (3, 2, 2)),
    "householder": ((4,), {}, (4,)),
    "matrix_exponential": ((4,), {}, (4,)),
    "neural_autoregressive": ((3,), {}, (3,)),
    "permute": ((4,), {}, (4,)),
    "permute dim": (((3, 2),), {"dim": -2}, (3, 2)),
    "planar": ((4,), {}, (4,)),
    "polynomial": ((3,), {}, (3,)),
    "radial": ((4,), {}, (4,)),
    "spline": ((3,), {}, (3,)),
    "spline quadratic": ((3,), {"order": "quadratic"}, (3,)),
    "spline_autoregressive": ((3,), {}, (3,)),
    "spline_autoregressive quadratic": ((3,), {"order": "quadratic"}, (3,)),
    "spline_coupling": ((5,), {}, (5,)),
    "spline_coupling quadratic": ((5,), {"order": "quadratic", "identity": True}, (5,)),
    "sylvester": ((4,), {}, (4,)),
}
CONDITIONAL = {
    "conditional_affine_autoregressive": ((4, 2), {}, (4,)),
    "conditional_affine_coupling": ((5, 2), {}, (5,)),
    "conditional_affine_coupling dim": (((4, 2, 3), 2), {"dim": -3}, (4, 2, 3)),
    "conditional_generalized_channel_permute": ((2,), {}, (3, 2, 2)),
    "conditional_householder": ((4, 2), {"count_transforms": 2}, (4,)),
    "conditional_matrix_exponential": ((4, 2), {}, (4,)),
    "conditional_neural_autoregressive": ((3, 2), {}, (3,)),
    "conditional_planar": ((4, 2), {}, (4,)),
    "conditional_radial": ((4, 2), {}, (4,)),
    "conditional_spline": ((3, 2), {}, (3,)),
    "conditional_spline quadratic": ((3, 2), {"order": "quadratic"}, (3,)),
    "conditional_spline_autoregressive": ((3, 2), {}, (3,)),
    "conditional_spline_autoregressive quadratic": ((3, 2), {"order": "quadratic"}, (3,)),
}
CASES = LEARNABLE | CONDITIONAL


def make(case):
    """Return the transform (or conditional transform) of a case."""
    arguments, keywords, _ = CASES[case]
    return getattr(T, case.split()[0])(*arguments, **keywords)
