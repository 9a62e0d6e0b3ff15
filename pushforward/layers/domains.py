"""Domains: from a constraint to the bijection that maps real values onto it, and mixed supports feature by feature."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from torch.distributions import constraints
from torch.distributions.constraints import Constraint

from pushforward.core import sets
from pushforward.core.bijector import Bijector
from pushforward.core.compose import Compose
from pushforward.core.spec import PlanError
from pushforward.kernels.cholesky import Cholesky, CorrCholesky, LowerCholesky
from pushforward.kernels.fixed import AffineFixed, Exp, Sigmoid, Softplus
from pushforward.kernels.simplex import Ordered, StickBreaking
from pushforward.kernels.stereographic import Stereographic
from pushforward.layers.parts import Concatenate, Stack

BY_NAME: dict[str, Constraint] = {
    "real": constraints.real,
    "positive": constraints.positive,
    "nonnegative": constraints.nonnegative,
    "unit_interval": constraints.unit_interval,
    "simplex": constraints.simplex,
    "ordered_vector": sets.ORDERED,
    "positive_ordered_vector": sets.POSITIVE_ORDERED,
    "lower_cholesky": constraints.lower_cholesky,
    "unit_lower_cholesky": sets.UNIT_LOWER_CHOLESKY,
    "corr_cholesky": constraints.corr_cholesky,
    "corr_matrix": sets.CORRELATION,
    "positive_definite": constraints.positive_definite,
}


def to_support(support: Constraint | str) -> Bijector:
    """Return the plan of a bijection from all real values onto a support, as ``torch.distributions.biject_to`` gives a transform.

    It knows the intervals of `torch.distributions.constraints` (closed ones are taken as open: a density has no mass on their ends),
    simplex, ordered vectors, Cholesky factors, positive definite and correlation matrices, cat and stack of such, and those that Pyro adds.
    Of a sphere it is `Stereographic`, which leaves out one point and is rough there; `Continuous` on a sphere has no such point.

    Args:
        support: A constraint, or its name, such as ``"positive"``.

    Raises:
        PlanError: No bijection onto the support is known.

    >>> to_support(constraints.interval(0.0, 2.0))
    Compose((Sigmoid(), AffineFixed(scale=2.0)))
    """
    if isinstance(support, str):
        if support not in BY_NAME:
            raise PlanError(f"to_support: expected a constraint or one of {', '.join(BY_NAME)}, got {support!r}")
        support = BY_NAME[support]
    if not isinstance(support, Constraint) or support.is_discrete:
        raise PlanError(f"to_support: expected a constraint on real values or its name, got {support!r}")
    while hasattr(support, "base_constraint"):
        support = support.base_constraint
    assert isinstance(support, Constraint)
    if type(support).__name__ in ("_SoftplusPositive", "_SoftplusLowerCholesky"):
        return Softplus() if type(support).__name__ == "_SoftplusPositive" else LowerCholesky("softplus")
    if type(support) in (constraints.cat, constraints.stack):
        return _of_parts(support)
    kind = sets.limits(support)
    if isinstance(kind, tuple):
        return _to_interval(*kind)
    if isinstance(kind, sets.Parts):
        each = [to_support(c) for c in kind.cseq]
        if kind.lengths is None:
            return Stack(each, kind.dim)
        return Concatenate(each, [_before(plan, n, kind) for plan, n in zip(each, kind.lengths, strict=True)], kind.dim)
    found = _PLANS.get(kind) if kind is not None else None
    if found is None:
        raise PlanError(f"to_support: expected a support onto which a bijection of real values is known, got {support}")
    return found


def _before(plan: Bijector, length: int, parts: sets.Parts) -> int:
    """Return how long a part is before a plan has made it so long; where its axis is not that of the parts, as long."""
    shape = [1] * parts.rank
    shape[parts.dim] = length
    try:
        before = plan.shape_before(tuple(shape))
    except PlanError:
        return length
    return before[parts.dim] if len(before) == parts.rank else length


_PLANS: dict[sets.Structured, Bijector] = {
    sets.Simplex(): StickBreaking(),
    sets.ORDERED: Ordered(),
    sets.POSITIVE_ORDERED: Ordered(positive=True),
    sets.LowerCholesky(): LowerCholesky(),
    sets.UNIT_LOWER_CHOLESKY: LowerCholesky("unit"),
    sets.LowerCholesky("rows"): CorrCholesky(),
    sets.PositiveDefinite(): Compose([LowerCholesky(), Cholesky().inv]),
    sets.CORRELATION: Compose([CorrCholesky(), Cholesky(correlation=True).inv]),
    sets.SPHERE: Stereographic(),
}


def _to_interval(lower: float, upper: float) -> Bijector:
    if lower == -math.inf:
        return Compose([]) if upper == math.inf else Compose([Exp(), AffineFixed(upper, -1.0)])
    if upper == math.inf:
        return Exp() if lower == 0 else Compose([Exp(), AffineFixed(lower)])
    return Sigmoid() if (lower, upper) == (0, 1) else Compose([Sigmoid(), AffineFixed(lower, upper - lower)])


def _of_parts(support: Constraint) -> Bijector:
    each = [to_support(c) for c in support.cseq]  # type: ignore[attr-defined]
    if type(support) is constraints.stack:
        return Stack(each, support.dim)
    return Concatenate(each, support.lengths, support.dim)  # type: ignore[attr-defined]


def Domain(support: Sequence[Constraint | str]) -> Bijector:
    """Return the plan that takes real features each to a support of its own: the last layer of a flow on mixed data.

    The density is then exact in the units of the data, and nothing has mass outside the supports. The first event axis is that of the
    features. A ``"circular"`` feature, an angle, passes unchanged: layers of circular kernels on a circular base give it a density that
    is the same for every whole turn, of which one is taken.

    Args:
        support: A constraint, or its name, for each feature.

    >>> Domain(["real", "real", "positive"])
    Concatenate((Compose(()), Exp()), lengths=(2, 1))
    """
    if isinstance(support, str | Constraint) or not len(support):
        raise PlanError(f"Domain: expected a list with a support for each feature, got {support!r}")
    check_names("Domain", support, ("circular",))
    plans: list[Bijector] = []
    for index, each in enumerate(support):
        try:
            plans.append(Compose([]) if each == "circular" else to_support(each))
        except PlanError as error:
            raise PlanError(f"Domain: feature {index}: {error}") from error
        if plans[-1].event_dim or plans[-1].out_dim:
            raise PlanError(f"Domain: feature {index}: expected a support of single numbers, got {each!r}; write Concatenate for vectors")
    runs = [(plan, len(list(group))) for plan, group in itertools.groupby(plans)]
    return Concatenate([plan for plan, _ in runs], [length for _, length in runs])


def check_names(owner: str, support: Sequence[Constraint | str], more: Sequence[str]) -> None:
    """Raise `PlanError` for a feature whose set has a name that is none of those known here, and none of ``more``."""
    for index, each in enumerate(support):
        if isinstance(each, str) and each not in BY_NAME and each not in more:
            raise PlanError(f"{owner}: feature {index}: expected a constraint or one of {', '.join([*BY_NAME, *more])}, got {each!r}")
