"""Sets of values by the names that torch and Pyro give them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions.constraints import *
from torch.distributions.constraints import Constraint, corr_cholesky, lower_cholesky, positive
from torch.distributions.constraints import __all__ as _torch_names

from pushforward.core import sets


class Integer(Constraint):
    """Whole numbers, of any sign."""

    is_discrete = True

    def check(self, value: Tensor) -> Tensor:
        return torch.isfinite(value) & (value == torch.floor(value))


corr_matrix = sets.CORRELATION
corr_cholesky_constraint = corr_cholesky
integer = Integer()
ordered_vector = sets.ORDERED
positive_ordered_vector = sets.POSITIVE_ORDERED
softplus_lower_cholesky = lower_cholesky
softplus_positive = positive
sphere = sets.SPHERE
unit_lower_cholesky = sets.UNIT_LOWER_CHOLESKY

__all__ = [
    *_torch_names, "corr_cholesky_constraint", "corr_matrix", "integer", "ordered_vector", "positive_ordered_vector",
    "softplus_lower_cholesky", "softplus_positive", "sphere", "unit_lower_cholesky",
]  # fmt: skip
