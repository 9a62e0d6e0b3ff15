"""A row for every plan that can be named: what the tests of fields and the fuzzers begin with."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributions as td
from base_cases import BASES
from cases import CASES, SMALL

import pushforward
from pushforward import bijectors as bij
from pushforward import distributions as bases
from pushforward.contrib.conversion.kernels import RawAffine, RawLinear, RawSpline
from pushforward.contrib.conversion.nets import CopiedMLP, CopiedResidual
from pushforward.core.base import Base
from pushforward.core.bijector import Bijector
from pushforward.core.spec import Spec, registry
from pushforward.kernels.projections import Abs, Normalize
from pushforward.nets.net import Net
from pushforward.nets.signature import Signature

Shape = tuple[int, ...] | None
S = bases.StandardNormal()
_BASES: list[tuple[Base, Shape, Shape]] = [
    (S, (3,), None),
    (bases.DiagNormal(SMALL), (3,), (2,)),
    (bases.FullNormal(), (3,), None),
    (bases.StudentT(learn_df=False), (3,), None),
    (bases.GeneralizedNormal(net=SMALL), (3,), (2,)),
    (bases.VonMises(), (2,), None),
    (bases.BoxUniform(-1.0, 1.0), (2,), None),
    (bases.MixtureOfNormals(3), (2,), None),
    (bases.Resampled(SMALL, nodes=64), (2,), None),
    (bases.Product([S, bases.DiagNormal()], [1, 2]), (3,), None),
    (bases.OrderStatistics(S), (3,), None),
    (bases.Truncated(S, -1.0, [1.0, 2.0]), (2,), None),
    (bases.Mixture([S, bases.DiagNormal()], SMALL), (2,), (3,)),
    (bases.Pushforward(S, [bij.Affine(), bij.Exp()]), (2,), None),
    (bases.wrap(td.Independent(td.Normal(torch.zeros(2), torch.ones(2)), 1), learnable=True), None, None),
]
# Of the converters, whose layers have no rows; the nets of rows are found there.
_NETS: list[tuple[Net, Shape, Shape]] = [
    (CopiedMLP((4, 4)), (2,), (1,)),
    (CopiedResidual(4, 1), (2,), (1,)),
]
_OTHERS: list[tuple[Bijector, Shape, Shape]] = [
    (RawAffine(), (2,), None),
    (RawSpline(4), (2,), None),
    (RawLinear(), (2,), None),
    (bij.Additive(), (2,), None),
    (Abs(), (2,), None),
    (Normalize(), (2,), None),
]

# Of a base that has none above, the first row of its laws.
_MORE = [(plan, event, context) for plan, _, event, context in BASES.values()]

# name of the class -> (plan, event_shape, context_shape); an event_shape of a net is that of its inputs.
EVERY: dict[str, tuple[Spec, Shape, Shape]] = {}
for _plan, _event, _context in [*CASES.values(), *_BASES, *_NETS, *_OTHERS, *_MORE]:
    EVERY.setdefault(type(_plan).__name__, (_plan, _event, _context))
for _plan, _event, _context in CASES.values():
    _net = getattr(_plan, "net", None)
    if isinstance(_net, Net) and _context is not None:
        EVERY.setdefault(type(_net).__name__, (_net, _event, _context))


def build(plan: Spec, event_shape: Any, context_shape: Any) -> Any:
    """Build a plan of any kind for a row's shapes."""
    if isinstance(plan, Net):
        return plan.build(Signature(event_shape, (4, *event_shape[1:]), context_shape))
    if isinstance(plan, Base | Bijector):
        return plan.build(event_shape, context_shape)
    raise AssertionError(f"a plan of no kind: {plan!r}")


def ours() -> dict[str, type[Spec]]:
    """Return the plans of the library, without those that tests define."""
    return {name: cls for name, cls in registry().items() if cls.__module__.startswith(pushforward.__name__)}
