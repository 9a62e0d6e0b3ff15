"""The support of a flow as one of the sets of torch and Pyro, onto which ``biject_to`` has a map."""

from __future__ import annotations

from pyro.distributions import constraints
from torch.distributions.constraints import Constraint

from pushforward import supports

SETS = {
    supports.Simplex(): constraints.simplex,
    supports.Ordered(): constraints.ordered_vector,
    supports.Ordered(positive=True): constraints.positive_ordered_vector,
    supports.LowerCholesky(): constraints.lower_cholesky,
    supports.LowerCholesky("unit"): constraints.unit_lower_cholesky,
    supports.LowerCholesky("rows"): constraints.corr_cholesky,
    supports.PositiveDefinite(): constraints.positive_definite,
    supports.PositiveDefinite(correlation=True): constraints.corr_matrix,
}


def as_known(support: Constraint, rank: int) -> Constraint:
    """Return the set of torch or Pyro that is the same as ``support``, for events of ``rank`` axes."""
    own = supports.structured(support)
    if own is None:
        return support
    if isinstance(own, supports.Parts):
        parts = [as_known(part, part.event_dim) for part in own.cseq]
        whole = constraints.stack(parts, own.dim) if own.lengths is None else constraints.cat(parts, own.dim, own.lengths)
        return supports.independent(whole, rank)
    known: Constraint = SETS[own]
    return supports.independent(known, rank)
