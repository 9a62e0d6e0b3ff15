"""Masked networks that give the parameters of autoregressive transforms: Pyro's names over this library's perceptrons."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pushforward.contrib.pyro.face.dense_nets import MODULES, Network
from pushforward.contrib.pyro.face.order import share
from pushforward.core.spec import PlanError
from pushforward.nets.dense import Dense
from pushforward.nets.signature import Mask, Signature

__all__ = ["AutoRegressiveNN", "ConditionalAutoRegressiveNN"]


class ConditionalAutoRegressiveNN(Network):
    """A masked perceptron (MADE): the parameters of each feature see the features before it, and a context.

    Source: MADE: Masked Autoencoder for Distribution Estimation (Germain et al., 2015).

    Args:
        input_dim: D, how many features.
        context_dim: Length of the context.
        hidden_dims: Width of each hidden layer.
        param_dims: How many parameters of each kind a feature has: ``(*batch, K, D)`` each, or ``(*batch, D)`` if all are 1.
        permutation: The features in the order in which they follow one another (None: at random). It is saved.
        skip_connections: Whether a masked linear layer goes from the input to the output as well.
        nonlinearity: An activation of torch.

    >>> a, b = ConditionalAutoRegressiveNN(10, 5, [50])(torch.ones(7, 10), context=torch.ones(7, 5))
    >>> a.shape
    torch.Size([7, 10])
    """

    permutation: Tensor

    def __init__(
        self,
        input_dim: int,
        context_dim: int,
        hidden_dims: Sequence[int],
        param_dims: Sequence[int] = (1, 1),
        permutation: Tensor | Sequence[int] | None = None,
        skip_connections: bool = False,
        nonlinearity: nn.Module = MODULES[0],
    ) -> None:
        super().__init__(input_dim, context_dim, hidden_dims, param_dims, nonlinearity)
        order = torch.randperm(input_dim) if permutation is None else torch.as_tensor(permutation, dtype=torch.long)
        if sorted(order.tolist()) != list(range(input_dim)):
            raise PlanError(f"{type(self).__name__}: expected permutation to have every index below {input_dim} once, got {permutation}")
        self.register_buffer("permutation", order)
        self.net, self.skip = self._built(skip_connections)

    def _built(self, skip: bool) -> tuple[nn.Module, Dense | None]:
        place = np.argsort(self.permutation.tolist())
        mask: Mask = np.tile(place[None, :] < place[:, None], (sum(self.param_dims), 1))
        net = self.plan.build(Signature.of_sizes(self.input_dim, len(mask), self.context_dim, mask))
        return net, Dense(self.input_dim, len(mask), mask, bias=False) if skip else None

    def get_permutation(self) -> Tensor:
        """Return the features in the order in which they follow one another."""
        return self.permutation

    def forward(self, x: Tensor, context: Tensor | None = None) -> Any:
        out: Tensor = self.net(x, context)
        return self.parted(out if self.skip is None else out + self.skip(x))

    def parted(self, out: Tensor) -> Any:
        if sum(self.param_dims) == 1:
            return out
        table = out.unflatten(-1, (-1, self.input_dim))
        if len(self.param_dims) == 1:
            return table
        return table.unbind(-2) if set(self.param_dims) == {1} else torch.split(table, self.param_dims, -2)

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *rest: Any) -> None:
        # The masks follow the order, and only the order is saved.
        saved = state.get(f"{prefix}permutation")
        if saved is not None and saved.shape == self.permutation.shape and not torch.equal(saved.cpu(), self.permutation.cpu()):
            self.permutation.copy_(saved)
            for old, made in zip((self.net, self.skip), built := self._built(self.skip is not None), strict=True):
                if old is not None and made is not None:
                    share(made.to(self.permutation.device), old)
            self.net, self.skip = built
        super()._load_from_state_dict(state, prefix, *rest)


class AutoRegressiveNN(ConditionalAutoRegressiveNN):
    """`ConditionalAutoRegressiveNN` without a context: ``net(x)``.

    >>> AutoRegressiveNN(10, [50], param_dims=[1, 5])(torch.ones(7, 10))[1].shape
    torch.Size([7, 5, 10])
    """

    def __init__(
        self,
        input_dim: int,
        hidden_dims: Sequence[int],
        param_dims: Sequence[int] = (1, 1),
        permutation: Tensor | Sequence[int] | None = None,
        skip_connections: bool = False,
        nonlinearity: nn.Module = MODULES[0],
    ) -> None:
        super().__init__(input_dim, 0, hidden_dims, param_dims, permutation, skip_connections, nonlinearity)
