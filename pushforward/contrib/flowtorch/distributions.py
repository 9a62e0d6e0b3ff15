"""FlowTorch's distributions by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent

from pushforward.bases.wrapped import WrappedModule
from pushforward.contrib.flowtorch.base import Bijector, Sizes, common, opened
from pushforward.core.spec import PlanError
from pushforward.flow import flow
from pushforward.targets import Funnel
from pushforward.targets.target import Source


class Flow(flow.Flow):
    """A `pushforward.Flow` with FlowTorch's arguments, and ``normalize``, ``rnormalize``, ``bijector`` and ``base_dist``.

    ``condition(context)`` gives the distribution for a context as a view and does not change the flow (in FlowTorch it does, and every
    call after it fails); each method takes a ``context``, too. Base and bijector move together, all is in the ``state_dict``, and
    ``save`` writes a file that `pushforward.load` reads without this module. For example::

        import pushforward.contrib.flowtorch.bijectors as bij
        flow = Flow(base_dist, bij.Compose([bij.AffineAutoregressive(), bij.Permute(), bij.AffineAutoregressive()]))

    Args:
        base_dist: A torch distribution.
        bijector: A bijector, with or without brackets, of this package or any other plan.
        validate_args: True raises ValueError for values outside the support; otherwise their log-density is -inf.
        context_shape: Shape of one context (None: what the bijector states).

    Raises:
        PlanError: Base, bijector and shapes do not fit; the message names the layer.
    """

    def __init__(self, base_dist: Distribution, bijector: Any, validate_args: bool | None = None, *, context_shape: Sizes = None) -> None:
        if not isinstance(base_dist, Distribution):
            raise PlanError(f"Flow: expected base_dist to be a torch distribution, got {base_dist!r}; pushforward.Flow takes plans, too")
        lazy = opened("Flow", bijector)
        super().__init__(base_dist, lazy.plan, context_shape=common("Flow", [lazy], context_shape), validate_args=validate_args)
        self._named = lazy.cls

    @property
    def bijector(self) -> Bijector:
        """The built bijector, of the class that was named; it shares its parameters with the flow."""
        return self._named.built(self.transform)  # type: ignore[no-any-return]

    @property
    def base_dist(self) -> Distribution:
        """The base with the values that its tensors have now."""
        assert isinstance(self.base, WrappedModule)
        made = self.base.holder.distribution()
        return Independent(made, self.base.extra, validate_args=False) if self.base.extra else made

    def rnormalize(self, value: Tensor, context: Tensor | None = None) -> Tensor:
        """Return where on the base side ``(*batch, *event)`` of the data comes from, with gradients."""
        return self.to_base(value, context)[0]

    def normalize(self, value: Tensor, context: Tensor | None = None) -> Tensor:
        """Return where on the base side ``(*batch, *event)`` of the data comes from, without gradients."""
        with torch.no_grad():
            return self.rnormalize(value, context)


class NealsFunnel(Funnel):
    r"""Neal's funnel on ``(x, y)``, :math:`y \sim \mathcal{N}(0, 3^2)` and :math:`x \sim \mathcal{N}(0, e^{y})` given y.

    `pushforward.targets.Funnel` with the features in FlowTorch's order. Samples are right for every shape (FlowTorch fails for ``()`` and
    drops axes of others).

    Args:
        validate_args: Taken for FlowTorch's sake; every real vector is in the support.
    """

    has_rsample = True

    def __init__(self, validate_args: bool | None = None) -> None:
        super().__init__(2, 3.0)

    def density(self, x: Tensor) -> Tensor:
        return super().density(x.flip(-1))

    def draw(self, rows: int, source: Source) -> Tensor:
        return super().draw(rows, source).flip(-1)

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Draw ``(*sample_shape, 2)``; there are no parameters that a gradient could reach."""
        return self.sample(sample_shape)

    def __repr__(self) -> str:
        return "NealsFunnel()"


__all__ = ["Flow", "NealsFunnel"]
