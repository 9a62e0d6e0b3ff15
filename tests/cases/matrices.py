"""Rows of matrices on vectors: reflections, rotations, exponentials, triangles, their products, and fixed transforms."""

from __future__ import annotations

from cases.core import SMALL
from pushforward.bijectors import PLU
from pushforward.core.bijector import Bijector
from pushforward.kernels.exponential import MatrixExponential
from pushforward.kernels.factored import QR, SVD
from pushforward.kernels.householder import Householder
from pushforward.kernels.kernel import Elementwise
from pushforward.kernels.rotation import Rotation
from pushforward.kernels.triangular import LowerCholeskyAffine, Triangular
from pushforward.kernels.wavelet import DiscreteCosine, Haar

# name -> (plan, event_shape, context_shape)
CASES: dict[str, tuple[Bijector, tuple[int, ...], tuple[int, ...] | None]] = {
    "Householder": (Householder(3), (5,), None),
    "Householder, one feature": (Householder(1), (1,), None),
    "Householder, more than features, matrix": (Householder(8), (2, 3), None),
    "Householder given context": (Elementwise(Householder(), net=SMALL), (3,), (2,)),
    "Rotation": (Rotation(), (5,), None),
    "Rotation, Cayley": (Rotation("cayley"), (3,), None),
    "Rotation, Givens": (Rotation("givens"), (5,), None),
    "Rotation, one feature": (Rotation(), (1,), None),
    "Rotation given context": (Elementwise(Rotation(), net=SMALL), (2,), (3,)),
    "Rotation, Cayley, given context": (Elementwise(Rotation("cayley"), net=SMALL), (3,), (2,)),
    "Rotation, Givens, matrix, given context": (Elementwise(Rotation("givens"), net=SMALL), (2, 3), (2,)),
    "MatrixExponential": (MatrixExponential(), (5,), None),
    "MatrixExponential, one feature": (MatrixExponential(2.0), (1,), None),
    "MatrixExponential, norm up to 15": (MatrixExponential(15.0), (2,), None),
    "MatrixExponential given context": (Elementwise(MatrixExponential(3.0), net=SMALL), (3,), (2,)),
    "Triangular": (Triangular(), (5,), None),
    "Triangular, upper, no bias, one feature": (Triangular(upper=True, bias=False), (1,), None),
    "Triangular, upper, given context": (Elementwise(Triangular(upper=True), net=SMALL), (3,), (2,)),
    "Triangular, many features": (Triangular(), (32,), None),
    "LowerCholeskyAffine": (LowerCholeskyAffine([1.0, -2.0, 0.0], [[2.0, 0.0, 0.0], [-0.5, 0.5, 0.0], [0.1, 1.0, 1.0]]), (3,), None),
    "QR": (QR(4), (5,), None),
    "QR given context": (QR(2, net=SMALL), (3,), (2,)),
    "SVD": (SVD(4), (5,), None),
    "SVD given context": (SVD(2, net=SMALL), (3,), (2,)),
    "PLU": (PLU(1), (3,), None),
    "PLU, channels": (PLU(1, axis=0), (3, 2, 2), None),
    "DiscreteCosine": (DiscreteCosine(), (5,), None),
    "DiscreteCosine, smooth": (DiscreteCosine(1.0), (4,), None),
    "DiscreteCosine, rough, one feature": (DiscreteCosine(-0.5), (1,), None),
    "Haar": (Haar(), (5,), None),
    "Haar, matrix": (Haar(), (2, 8), None),
}

HEAVY = {
    "Householder given context",
    "Householder, more than features, matrix",
    "Rotation given context",
    "Rotation, Cayley, given context",
    "Rotation, Givens, matrix, given context",
    "MatrixExponential given context",
    "Triangular, upper, given context",
    "Triangular, many features",
    "QR given context",
    "SVD given context",
    "DiscreteCosine, smooth",
    "PLU, channels",
}
