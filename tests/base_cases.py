"""One row or more for every base that needs one: the laws of a flow run over all of them, under some layers."""

from __future__ import annotations

import math

from cases import SMALL

from pushforward import bases
from pushforward import bijectors as bij
from pushforward.core.base import Base
from pushforward.core.bijector import Bijector

Shape = tuple[int, ...]

# name -> (plan, bijector, event_shape, context_shape)
BASES: dict[str, tuple[Base, Bijector | list[Bijector], Shape, Shape | None]] = {
    "FullNormal": (bases.FullNormal(), bij.Spline(bins=4), (3,), None),
    "FullNormal given context": (bases.FullNormal(net=SMALL), [], (2, 2), (3,)),
    "StudentT": (bases.StudentT(), bij.Affine(), (1,), None),
    "StudentT given context": (bases.StudentT(df=4.0, net=SMALL), bij.Affine(), (3,), (2,)),
    "GeneralizedNormal, fixed": (bases.GeneralizedNormal([1.0, 4.0], learn_power=False), [], (2,), None),
    "GeneralizedNormal given context": (bases.GeneralizedNormal(net=SMALL), bij.Affine(), (2,), (2,)),
    "BoxUniform": (bases.BoxUniform(), bij.Compose([bij.Sigmoid().inv, bij.Affine()]), (2,), None),
    "CircleUniform": (bases.CircleUniform(), [], (1,), None),
    "VonMises given context": (bases.VonMises(2.0, net=SMALL), [], (1,), (3,)),
    "MixtureOfNormals": (bases.MixtureOfNormals(5), bij.Affine(), (1,), None),
    "MixtureOfNormals, three features": (bases.MixtureOfNormals(3), bij.Linear(), (3,), None),
    "MixtureOfNormals, full": (bases.MixtureOfNormals(3, covariance="full"), bij.Affine(), (3,), None),
    "MixtureOfNormals, tied, given context": (bases.MixtureOfNormals(3, SMALL, covariance="full", tied=True), [], (2, 2), (3,)),
    "Resampled": (bases.Resampled(SMALL, trials=20), bij.Affine(), (1,), None),
    "Resampled given context": (bases.Resampled(SMALL, trials=5, nodes=512, conditional=True), [], (2,), (2,)),
    "Truncated": (bases.Truncated(bases.StandardNormal(), 0.0, 1.0), bij.Compose([bij.Sigmoid().inv, bij.Affine()]), (2,), None),
    "Truncated given context": (bases.Truncated(bases.DiagNormal(net=SMALL), (-0.5, -math.inf), (math.inf, 1.0)), [], (2,), (3,)),
    "OrderStatistics": (bases.OrderStatistics(bases.DiagNormal()), bij.Ordered().inv, (3,), None),
    "OrderStatistics, top of more": (bases.OrderStatistics(bases.DiagNormal(net=SMALL), 5, descending=True), [], (2,), (3,)),
    "OrderStatistics, minimum": (bases.OrderStatistics(bases.Truncated(bases.StandardNormal(), -1.0), 4), [], (1,), None),
    "SphereUniform": (bases.SphereUniform(), [], (3,), None),
    "SphereUniform, flow of two layers": (
        bases.SphereUniform(),
        [bij.Continuous(SMALL, 1e-2, "rk4", steps=3, steepest=2.0, on=["sphere"]), bij.Stereographic().inv, bij.Affine()],
        (4,),
        None,
    ),
    "VonMisesFisher": (bases.VonMisesFisher((0.0, -2.0, 1.0), 3.0), bij.Stereographic().inv, (3,), None),
    "VonMisesFisher given context": (bases.VonMisesFisher(net=SMALL), [], (3,), (2,)),
    "MixtureOfVonMisesFisher": (
        bases.MixtureOfVonMisesFisher(3, 2.0),
        [bij.Continuous(SMALL, 1e-2, "rk4", steps=2, steepest=2.0, on=["sphere"])],
        (3,),
        None,
    ),
    "MixtureOfVonMisesFisher given context": (bases.MixtureOfVonMisesFisher(3, 2.0, SMALL), [], (3,), (2,)),
    "Product of supports": (bases.Product([bases.VonMises(), bases.DiagNormal(net=SMALL)], [1, 2]), [], (3,), (2,)),
}
