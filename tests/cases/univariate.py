"""Rows of the polynomials, the mixtures and the nonlinear squared map."""

from __future__ import annotations

from cases.core import SMALL
from pushforward.core.bijector import Bijector
from pushforward.kernels.kernel import Elementwise
from pushforward.kernels.mixture import Gaussianization, LogisticMixture
from pushforward.kernels.polynomial import Bernstein, SumOfSquares
from pushforward.kernels.squared import NonlinearSquared
from pushforward.layers.autoregressive import Autoregressive
from pushforward.layers.coupling import Coupling

# name -> (plan, event_shape, context_shape)
CASES: dict[str, tuple[Bijector, tuple[int, ...], tuple[int, ...] | None]] = {
    "SumOfSquares": (SumOfSquares(), (2,), None),
    "SumOfSquares, one square, degree 8": (SumOfSquares(degree=8, terms=1, bound=3.0, slope=0.01), (1,), None),
    "SumOfSquares, gentle tails": (SumOfSquares(degree=3, terms=2, bound=2.0, tails="gentle"), (2,), None),
    "SumOfSquares given context": (Elementwise(SumOfSquares(degree=2), net=SMALL), (5,), (2,)),
    "Autoregressive SumOfSquares": (Autoregressive(SumOfSquares(degree=3, terms=2), net=SMALL), (3,), None),
    "Bernstein": (Bernstein(), (2,), None),
    "Bernstein, degree 40": (Bernstein(degree=40, bound=3.0), (1,), None),
    "Bernstein, identity tails": (Bernstein(degree=12, tails="identity"), (5,), None),
    "Bernstein, gentle tails": (Bernstein(degree=12, bound=2.0, tails="gentle"), (3,), None),
    "Bernstein given context": (Elementwise(Bernstein(degree=6, tails="identity"), net=SMALL), (2,), (3,)),
    "Coupling Bernstein": (Coupling(Bernstein(degree=8), net=SMALL), (3,), (2,)),
    "LogisticMixture": (LogisticMixture(), (2,), None),
    "LogisticMixture, not affine": (LogisticMixture(components=3, affine=False), (1,), None),
    "LogisticMixture given context": (Elementwise(LogisticMixture(components=4), net=SMALL), (5,), (2,)),
    "Coupling LogisticMixture": (Coupling(LogisticMixture(components=4), net=SMALL), (3,), (2,)),
    "Gaussianization": (Gaussianization(), (2,), None),
    "Gaussianization, 2 components": (Gaussianization(components=2), (5,), None),
    "Gaussianization given context": (Elementwise(Gaussianization(components=4), net=SMALL), (1,), (2,)),
    "Coupling Gaussianization": (Coupling(Gaussianization(components=3), net=SMALL), (3,), None),
    "NonlinearSquared": (NonlinearSquared(), (2,), None),
    "NonlinearSquared given context": (Elementwise(NonlinearSquared(), net=SMALL), (5,), (2,)),
    "Autoregressive NonlinearSquared": (Autoregressive(NonlinearSquared(), net=SMALL), (3,), (1,)),
}
# Where roots are sought in PyTorch the compiler takes half a minute for each: one row a plan, the one of its name, is for every day.
HEAVY = {name for name, (plan, _, _) in CASES.items() if name != type(plan).__name__}
