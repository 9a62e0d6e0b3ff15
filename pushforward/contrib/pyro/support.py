"""The support of a flow as one of the sets of torch and Pyro, onto which ``biject_to`` has a map."""

from __future__ import annotations

from pyro.distributions import constraints
from torch.distributions.constraints import Constraint

from pushforward import supports

SETS = {
    supports.Simplex(): constraints.simplex,
    supports.ORDERED: constraints.ordered_vector,
    supports.POSITIVE_ORDERED: constraints.positive_ordered_vector,
    supports.LowerCholesky(): constraints.lower_cholesky,
    supports.UNIT_LOWER_CHOLESKY: constraints.unit_lower_cholesky,
    supports.LowerCholesky("rows"): constraints.corr_cholesky,
    supports.PositiveDefinite(): constraints.positive_definite,
    supports.CORRELATION: constraints.corr_matrix,
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
