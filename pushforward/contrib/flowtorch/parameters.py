"""FlowTorch's parameters by name: where the parameters of a bijector come from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from pushforward.core.spec import PlanError
from pushforward.nets.mlp import MLP
from pushforward.nets.net import Net, NetLike

ACTIVATIONS: dict[type[nn.Module], str] = {
    nn.ReLU: "relu",
    nn.LeakyReLU: "leaky_relu",
    nn.ELU: "elu",
    nn.GELU: "gelu",
    nn.SiLU: "silu",
    nn.Softplus: "softplus",
    nn.Tanh: "tanh",
    nn.Sigmoid: "sigmoid",
}


@dataclass(frozen=True)
class Parameters:
    """A network, or None for free parameters, and the order in which an autoregressive bijector takes the features.

    FlowTorch's class of this name is abstract: one subclasses it for a network of one's own. Here a network of one's own is a `Net` plan
    or any `torch.nn.Module`, which every ``params_fn`` takes as it is.

    Args:
        net: The network from what is visible to the parameters.
        order: The features in the order in which they follow one another (None: left open).
    """

    net: NetLike | None = None
    order: Sequence[int] | None = None


class Tensor(Parameters):
    """Free parameters, as in ``bij.Affine(params.Tensor())``; they start as the identity (FlowTorch: normal, of scale 0.001)."""

    def __init__(self) -> None:
        super().__init__()


class DenseAutoregressive(Parameters):
    """A masked multilayer perceptron, as in ``bij.AffineAutoregressive(params.DenseAutoregressive(hidden_dims=(64, 64)))``.

    Args:
        hidden_dims: Width of each hidden layer.
        nonlinearity: A class of `torch.nn`: ReLU, LeakyReLU, ELU, GELU, SiLU, Softplus, Tanh or Sigmoid.
        permutation: The features in the order in which they follow one another. None leaves it open: the features as they are, and in a
            `Compose` another order for each layer. FlowTorch draws it from the global random state.
        skip_connections: True is refused, as it fails in FlowTorch.

    Raises:
        PlanError: An argument is of another kind.
    """

    def __init__(
        self,
        *,
        hidden_dims: Sequence[int] = (256, 256),
        nonlinearity: Callable[[], nn.Module] = nn.ReLU,
        permutation: Sequence[int] | None = None,
        skip_connections: bool = False,
    ) -> None:
        if skip_connections:
            raise PlanError(
                "DenseAutoregressive: expected skip_connections to be False, got True; use MLP() or a masked module of your own"
            )
        name = ACTIVATIONS.get(nonlinearity)  # type: ignore[call-overload]
        if name is None:
            known = ", ".join(f"nn.{cls.__name__}" for cls in ACTIVATIONS)
            raise PlanError(f"DenseAutoregressive: expected nonlinearity to be one of the classes {known}, got {nonlinearity!r}")
        super().__init__(MLP(hidden_dims, name), None if permutation is None else [int(i) for i in permutation])


def as_parameters(owner: str, given: Any) -> Parameters:
    """Return what a ``params_fn`` says: nothing, `Parameters`, one of the names above, a `Net` plan or a module."""
    if given is None:
        return Parameters()
    if isinstance(given, type) and issubclass(given, Parameters):
        return given()
    if isinstance(given, Parameters):
        return given
    if isinstance(given, Net | nn.Module):
        return Parameters(given)
    raise PlanError(f"{owner}: expected params_fn to be Tensor(), DenseAutoregressive(), a Net plan or an nn.Module, got {given!r}")


__all__ = ["DenseAutoregressive", "Parameters", "Tensor"]
