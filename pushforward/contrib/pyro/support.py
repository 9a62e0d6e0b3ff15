"""The support of a flow as one of the sets of torch and Pyro, onto which ``biject_to`` has a map."""

from __future__ import annotations

from pyro.distributions import constraints
from torch.distributions.constraints import Constraint

from pushforward.core import sets

SETS = {
    sets.Simplex(): constraints.simplex,
    sets.ORDERED: constraints.ordered_vector,
    sets.POSITIVE_ORDERED: constraints.positive_ordered_vector,
    sets.LowerCholesky(): constraints.lower_cholesky,
    sets.UNIT_LOWER_CHOLESKY: constraints.unit_lower_cholesky,
    sets.LowerCholesky("rows"): constraints.corr_cholesky,
    sets.PositiveDefinite(): constraints.positive_definite,
    sets.CORRELATION: constraints.corr_matrix,
    sets.SPHERE: constraints.sphere,
}


def as_known(support: Constraint, rank: int) -> Constraint:
    """Return the set of torch or Pyro that is the same as ``support``, for events of ``rank`` axes."""
    own = sets.structured(support)
    if own is None:
        return support
    if isinstance(own, sets.Parts):
        parts = [as_known(part, part.event_dim) for part in own.cseq]
        whole = constraints.stack(parts, own.dim) if own.lengths is None else constraints.cat(parts, own.dim, own.lengths)
        return sets.independent(whole, rank)
    known: Constraint = SETS[own]
    return sets.independent(known, rank)
