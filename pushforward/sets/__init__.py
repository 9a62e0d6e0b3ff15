"""Sets of values: supports, domains and codomains, as torch constraints, and how values enter and leave them."""

from pushforward.sets.interval import (
    REAL,
    Ends,
    any_site,
    bounds,
    independent,
    inner_point,
    inner_points,
    inside,
    interval,
    tolerance,
)
from pushforward.sets.parts import Moved, Parts
from pushforward.sets.relation import contains, joined, moved, of_sites, same, sites, split
from pushforward.sets.structured import (
    CORRELATION,
    ORDERED,
    POSITIVE_ORDERED,
    UNIT_LOWER_CHOLESKY,
    Limits,
    LowerCholesky,
    Ordered,
    PositiveDefinite,
    Simplex,
    Structured,
    enter,
    enter_events,
    leave,
    limits,
    name,
    structured,
)

__all__ = [
    "CORRELATION", "ORDERED", "POSITIVE_ORDERED", "REAL", "UNIT_LOWER_CHOLESKY", "Ends", "Limits", "LowerCholesky", "Moved", "Ordered",
    "Parts", "PositiveDefinite", "Simplex", "Structured", "any_site", "bounds", "contains", "enter", "enter_events", "independent",
    "inner_point", "inner_points", "inside", "interval", "joined", "leave", "limits", "moved", "name", "of_sites", "same", "sites", "split",
    "structured", "tolerance",
]  # fmt: skip
