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


def _masked(*dims):
    return T.AutoRegressiveNN(4, [9], dims)


def _masked_given(*dims):
    return T.ConditionalAutoRegressiveNN(4, 2, [9], dims)


# Layers whose network is the user's: name -> (how it is made, shape of values); what is conditional takes contexts of 2.
NETWORKS = {
    "AffineCoupling": (lambda: T.AffineCoupling(2, T.DenseNN(2, [9], [2, 2])), (4,)),
    "AffineCoupling dim": (lambda: T.AffineCoupling(1, T.DenseNN(4, [8], [8, 8]), dim=-3), (3, 2, 2)),
    "ConditionalAffineCoupling": (lambda: T.ConditionalAffineCoupling(2, T.ConditionalDenseNN(2, 2, [9], [2, 2])), (4,)),
    "AffineAutoregressive": (lambda: T.AffineAutoregressive(_masked(1, 1)), (4,)),
    "AffineAutoregressive stable": (lambda: T.AffineAutoregressive(_masked(1, 1), stable=True), (4,)),
    "ConditionalAffineAutoregressive": (lambda: T.ConditionalAffineAutoregressive(_masked_given(1, 1)), (4,)),
    "SplineAutoregressive": (lambda: T.SplineAutoregressive(4, _masked(8, 8, 7, 8)), (4,)),
    "SplineAutoregressive quadratic": (lambda: T.SplineAutoregressive(4, _masked(8, 8, 7), order="quadratic"), (4,)),
    "ConditionalSplineAutoregressive": (lambda: T.ConditionalSplineAutoregressive(4, _masked_given(8, 8, 7, 8)), (4,)),
    "NeuralAutoregressive": (lambda: T.NeuralAutoregressive(_masked(16, 16, 16)), (4,)),
    "ConditionalNeuralAutoregressive": (lambda: T.ConditionalNeuralAutoregressive(_masked_given(16, 16, 16)), (4,)),
    "Polynomial": (lambda: T.Polynomial(_masked(15), 4, 4, 3), (4,)),
    "ConditionalSpline": (lambda: T.ConditionalSpline(T.DenseNN(2, [9], [16, 16, 12, 16]), 4, 4), (4,)),
    "ConditionalPlanar": (lambda: T.ConditionalPlanar(T.DenseNN(2, [9], [1, 4, 4])), (4,)),
    "ConditionalRadial": (lambda: T.ConditionalRadial(T.DenseNN(2, [9], [4, 1, 1])), (4,)),
    "ConditionalHouseholder": (lambda: T.ConditionalHouseholder(4, T.DenseNN(2, [9], [4])), (4,)),
    "ConditionalMatrixExponential": (lambda: T.ConditionalMatrixExponential(4, T.DenseNN(2, [9], [16])), (4,)),
    "ConditionalGeneralizedChannelPermute": (lambda: T.ConditionalGeneralizedChannelPermute(T.DenseNN(2, [9], [9])), (3, 2, 2)),
    "SplineCoupling": (lambda: T.SplineCoupling(4, 2, T.DenseNN(2, [9], [16, 16, 14, 16])), (4,)),
    "SplineCoupling quadratic": (lambda: T.SplineCoupling(4, 2, T.DenseNN(2, [9], [16, 16, 14]), order="quadratic"), (4,)),
}
# Maps without parameters, for values of any size: name -> (arguments, shape of values).
FIXED = {
    "ELUTransform": ((), (3,)),
    "LeakyReLUTransform": ((), (3,)),
    "SoftplusTransform": ((), (3,)),
    "PositivePowerTransform": ((1.5,), (3,)),
    "DiscreteCosineTransform": ((-2, 0.5), (3, 2)),
    "HaarTransform": ((-1, True), (5,)),
    "OrderedTransform": ((), (4,)),
    "CholeskyTransform": ((), (3, 3)),
    "CorrMatrixCholeskyTransform": ((), (3, 3)),
    "Normalize": ((), (3,)),
    "SoftplusLowerCholeskyTransform": ((), (3, 3)),
    "UnitLowerCholeskyTransform": ((), (3, 3)),
}


def make(case):
    """Return the transform (or conditional transform) of a case."""
    arguments, keywords, _ = CASES[case]
    return getattr(T, case.split()[0])(*arguments, **keywords)
