"""The laws that every layer and every flow keeps, for the library's own and for yours.

>>> from pushforward.bijectors import Affine
>>> figures = check_bijector(Affine(), (2,), only=["ladj against autograd, float64"])
>>> figures["ladj against autograd, float64"] < 1e-12
True
"""

from pushforward.testing.case import Case, randomize
from pushforward.testing.flow_laws import FLOW_LAWS, check_flow
from pushforward.testing.laws import LAWS, Law, LawError, check_bijector

__all__ = ["FLOW_LAWS", "LAWS", "Case", "Law", "LawError", "check_bijector", "check_flow", "randomize"]
