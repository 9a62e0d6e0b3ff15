"""A built bijection as a transform of torch, for the reparametrisation of Pyro models."""

from __future__ import annotations

from torch import Tensor
from torch.distributions import constraints
from torch.distributions.transforms import Transform

from pushforward.contrib.pyro.once import Once
from pushforward.core.layer import Layer


class FlowTransform(Transform):
    """A map of real vectors to real vectors, base to data; the log-determinant of a value is found in the pass that maps it (see `Once`).

    Args:
        module: The built bijection.
    """

    domain = constraints.real_vector
    codomain = constraints.real_vector
    bijective = True

    def __init__(self, module: Layer) -> None:
        super().__init__()
        self.module = module
        self._once = Once(module)

    def _call(self, x: Tensor) -> Tensor:
        y, ladj = self.module(x)
        self._once = Once(self.module, x)
        self._once.keep(y, ladj)
        return y  # type: ignore[no-any-return]

    def _inverse(self, y: Tensor) -> Tensor:
        return self.module.inverse(y)[0]

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the log of the absolute Jacobian determinant at ``x``, ``(*batch)``."""
        found = self._once.score(y) if self._once.inputs and self._once.inputs[0] is x else None
        return self.module(x)[1] if found is None else found
