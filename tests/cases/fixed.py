"""Rows of the fixed maps, those that change tails, and those onto simplices, ordered vectors and Cholesky factors."""

from __future__ import annotations

from torch.distributions import constraints

from cases.core import SMALL
from pushforward.core.bijector import Bijector
from pushforward.core.compose import Compose
from pushforward.kernels.activations import CumulativeDistribution, Softclip
from pushforward.kernels.affine import Affine
from pushforward.kernels.cholesky import Cholesky, CorrCholesky, LowerCholesky
from pushforward.kernels.fixed import Cos, Exp, Sigmoid, Sin
from pushforward.kernels.kernel import Elementwise
from pushforward.kernels.linear import Linear
from pushforward.kernels.simplex import Ordered, SimplexToOrdered, Softmax, StickBreaking
from pushforward.kernels.spline import Spline
from pushforward.kernels.stereographic import Stereographic
from pushforward.kernels.tails import LogTanh, PositivePower, SignedPower, SinhArcsinh
from pushforward.layers.autoregressive import Autoregressive
from pushforward.layers.coupling import Coupling
from pushforward.layers.domains import Domain, to_support
from pushforward.layers.parts import Concatenate, Stack
from pushforward.layers.rearrange import OnAxis
from pushforward.layers.reshape import Flatten, Reshape

# name -> (plan, event_shape, context_shape)
CASES: dict[str, tuple[Bijector, tuple[int, ...], tuple[int, ...] | None]] = {
    "Softclip": (Softclip(3.0), (2,), None),
    "CumulativeDistribution, normal": (CumulativeDistribution("Normal", 0.5, 3.0), (2,), None),
    "CumulativeDistribution, Cauchy": (CumulativeDistribution("Cauchy"), (1,), None),
    "CumulativeDistribution, Laplace": (CumulativeDistribution("Laplace"), (3,), None),
    "CumulativeDistribution, Gumbel": (CumulativeDistribution("Gumbel", 0.0, 5.0), (2,), None),
    "Sin": (Sin(), (2,), None),
    "Cos": (Cos(), (2,), None),
    "LogTanh": (LogTanh(), (2,), None),
    "PositivePower": (PositivePower(1.7), (2,), None),
    "SignedPower": (SignedPower(), (3,), None),
    "SignedPower given context": (Elementwise(SignedPower(), net=SMALL), (2,), (3,)),
    "SinhArcsinh": (SinhArcsinh(), (5,), None),
    "SinhArcsinh given context": (Elementwise(SinhArcsinh(), net=SMALL), (1,), (2,)),
    "Coupling sinh-arcsinh": (Coupling(SinhArcsinh(), net=SMALL), (3,), (2,)),
    "Coupling signed power": (Coupling(SignedPower(), net=SMALL), (3,), None),
    "Autoregressive sinh-arcsinh": (Autoregressive(SinhArcsinh(), net=SMALL), (3,), None),
    "StickBreaking": (StickBreaking(), (3,), None),
    "StickBreaking, inverse": (StickBreaking().inv, (4,), None),
    "Stereographic": (Stereographic(), (2,), None),
    "Stereographic, inverse, two rows": (Stereographic().inv, (2, 4), None),
    "StickBreaking, chain": (Compose([StickBreaking(), SimplexToOrdered(0.3)]), (3,), None),
    "StickBreaking, two rows": (Compose([StickBreaking(), Softmax().inv, Exp()]), (2, 3), None),
    "Softmax": (Softmax(), (4,), None),
    "SimplexToOrdered": (SimplexToOrdered(), (4,), None),
    "SimplexToOrdered, chain": (Compose([SimplexToOrdered().inv, SimplexToOrdered(-1.0)]), (3,), None),
    "Ordered": (Ordered(), (5,), None),
    "Ordered, positive": (Ordered(positive=True), (3,), None),
    "LowerCholesky": (LowerCholesky(), (6,), None),
    "LowerCholesky, chain": (Compose([LowerCholesky("softplus"), LowerCholesky().inv, Exp()]), (6,), None),
    "LowerCholesky, softplus": (LowerCholesky("softplus"), (3,), None),
    "LowerCholesky, unit": (LowerCholesky("unit"), (2, 3), None),
    "CorrCholesky": (CorrCholesky(), (3,), None),
    "Cholesky": (Cholesky(), (3, 3), None),
    "Cholesky, inverse": (Cholesky().inv, (3, 3), None),
    "Cholesky, correlation, inverse": (Cholesky(correlation=True).inv, (3, 3), None),
    "Cholesky, correlation": (Cholesky(correlation=True), (2, 3, 3), None),
    "Reshape": (Reshape(6, (2, 3)), (6,), None),
    "Reshape, chain": (Compose([Reshape(6, (2, 3)), OnAxis(Linear(), 0), Reshape((2, 3), 6)]), (6,), None),
    "Flatten": (Flatten(), (3, 2), None),
    "Concatenate": (Concatenate([Exp(), Affine(), Sigmoid()], [1, 2, 2], -1), (5,), None),
    "Concatenate, parts of other lengths": (
        Compose([Concatenate([Softmax(), Affine()], [2, 3]), Concatenate([SimplexToOrdered(), Exp()], [3, 3])]),
        (5,),
        None,
    ),
    "Concatenate given context": (Concatenate([Elementwise(Affine(), net=SMALL), Spline()], [2, 1]), (3,), (2,)),
    "Stack": (Stack([Ordered(), Affine(), Sigmoid().inv.inv], 1), (2, 3), None),
    "Concatenate, longer": (Concatenate([StickBreaking(), Exp()], [2, 1]), (3,), None),
    "Stack, longer": (Stack([StickBreaking(), Softmax()], 0), (2, 2), None),
    "Stack of numbers": (Stack([Affine(), Spline(bins=4)]), (2,), None),
    "Domain": (Domain(["real", "circular", "positive", constraints.interval(0.0, 2.0), constraints.less_than(0.0)]), (5,), None),
    "Domain, one support": (to_support(constraints.less_than(1.0)), (2,), None),
}

# Of "Autoregressive sinh-arcsinh" the kernel stays in a coupling and given context, and the structure over other kernels; of the chains
# their parts stay.
HEAVY = {
    "Autoregressive sinh-arcsinh",
    "StickBreaking, chain",
    "LowerCholesky, chain",
    "Concatenate, parts of other lengths",
    "StickBreaking, two rows",
    "Reshape, chain",
    "SimplexToOrdered, chain",
    "Stack, longer",
}
