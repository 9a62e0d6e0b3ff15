"""Networks that give the parameters of transforms: Pyro's names over this library's perceptrons."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pushforward.contrib.pyro.face.sizes import perceptron, size
from pushforward.core.spec import PlanError
from pushforward.nets.mlp import MLP
from pushforward.nets.signature import Signature

__all__ = ["ConditionalDenseNN", "DenseNN"]

MODULES = (nn.ReLU(), nn.LeakyReLU(), nn.ELU(), nn.GELU(), nn.SiLU(), nn.Softplus(), nn.Tanh(), nn.Sigmoid())
KNOWN = dict(zip(map(repr, MODULES), ("relu", "leaky_relu", "elu", "gelu", "silu", "softplus", "tanh", "sigmoid"), strict=True))


class Network(nn.Module):
    """A perceptron that starts with zero outputs, so that a layer whose parameters it gives starts as the identity."""

    net: nn.Module

    def __init__(
        self, input_dim: int, context_dim: int, hidden_dims: Sequence[int], param_dims: Sequence[int], nonlinearity: nn.Module
    ) -> None:
        super().__init__()
        name = type(self).__name__
        self.input_dim, self.context_dim = size(name, "input_dim", input_dim), size(name, "context_dim", context_dim, 0)
        self.hidden_dims = list(perceptron(name, hidden_dims, ()).widths)
        if not isinstance(param_dims, Sequence) or not len(param_dims):
            raise PlanError(f"{name}: expected param_dims to be a list of at least one length, got {param_dims!r}")
        self.param_dims = [size(name, f"param_dims[{place}]", length) for place, length in enumerate(param_dims)]
        if repr(nonlinearity) not in KNOWN:
            raise PlanError(
                f"{name}: expected nonlinearity to be one of {', '.join(KNOWN)}, got {nonlinearity!r}; "
                "or give the transform a network of your own"
            )
        self.f, self.plan = nonlinearity, MLP(self.hidden_dims, KNOWN[repr(nonlinearity)])

    def forward(self, x: Tensor, context: Tensor | None = None) -> Any:
        return self.parted(self.net(x, context))

    def parted(self, out: Tensor) -> Any:
        """Return an output as Pyro's networks do: a tensor for a single kind of parameter, else a tuple of one for each."""
        return out if len(self.param_dims) == 1 else torch.split(out, self.param_dims, -1)


class ConditionalDenseNN(Network):
    """A perceptron of values and a context whose output is cut into parameters: ``net(x, context=c)``.

    It starts with zero outputs, so that a layer whose parameters it gives starts as the identity.

    Args:
        input_dim: Length of the values.
        context_dim: Length of the context.
        hidden_dims: Width of each hidden layer.
        param_dims: Length of each parameter; one tensor ``(*batch, length)`` for each, or a single one if there is one.
        nonlinearity: An activation of torch.

    >>> a, b = ConditionalDenseNN(10, 5, [50], param_dims=[1, 10])(torch.ones(7, 10), context=torch.ones(7, 5))
    >>> a.shape, b.shape
    (torch.Size([7, 1]), torch.Size([7, 10]))
    """

    def __init__(
        self,
        input_dim: int,
        context_dim: int,
        hidden_dims: Sequence[int],
        param_dims: Sequence[int] = (1, 1),
        nonlinearity: nn.Module = MODULES[0],
    ) -> None:
        super().__init__(input_dim, context_dim, hidden_dims, param_dims, nonlinearity)
        self.net = self.plan.build(Signature.of_sizes(self.input_dim, sum(self.param_dims), self.context_dim))


class DenseNN(ConditionalDenseNN):
    """`ConditionalDenseNN` without a context: ``net(x)``.

    >>> DenseNN(10, [50], param_dims=[3])(torch.ones(7, 10)).shape
    torch.Size([7, 3])
    """

    def __init__(
        self, input_dim: int, hidden_dims: Sequence[int], param_dims: Sequence[int] = (1, 1), nonlinearity: nn.Module = MODULES[0]
    ) -> None:
        super().__init__(input_dim, 0, hidden_dims, param_dims, nonlinearity)
