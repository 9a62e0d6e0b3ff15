"""What named flows are stacked from."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from torch.distributions.constraints import Constraint

from pushforward.bases import StandardNormal
from pushforward.core.base import Base
from pushforward.core.bijector import Bijector
from pushforward.core.spec import PlanError
from pushforward.flow.flow import Flow
from pushforward.flow.standardising import chain
from pushforward.kernels.linear import Linear
from pushforward.layers.domains import Domain
from pushforward.layers.rearrange import Reverse, Shuffle
from pushforward.layers.standardize import Standardize

Support = Sequence[Constraint | str] | None
MIXES = ("linear", "reverse", "shuffle", None)


@dataclass(frozen=True)
class Parts:
    """What one flow is stacked from, from base to data.

    Args:
        layer: Returns the layer, or the layers, of an index from 0.
        base: The base.
        first: What stands before the layers.
        last: What stands after them; the sets of ``support`` follow.
        mixed: Whether features are mixed after each layer as ``mix`` says.
        placed: Whether ``last`` has the sets of ``support`` already, angles among them.
    """

    layer: Callable[[int], Bijector | Sequence[Bijector]]
    base: Base = StandardNormal()
    first: Sequence[Bijector] = ()
    last: Sequence[Bijector] = (Standardize(),)
    mixed: bool = True
    placed: bool = False


def mixing(kind: str | None, index: int) -> list[Bijector]:
    """Return what mixes the features after layer ``index``."""
    if kind == "linear":
        return [Linear()]
    if kind == "reverse":
        return [Reverse()]
    return [Shuffle(index)] if kind == "shuffle" else []


def has_angles(support: Support, names: Collection[str] = ("circular",)) -> bool:
    """Tell whether some feature is an angle, or has another of the names."""
    return any(isinstance(each, str) and each in names for each in support or ())


def check_support(name: str, support: Support, features: int) -> None:
    """Raise `PlanError` unless there is one set for each feature, or none at all."""
    several = isinstance(support, Collection) and not isinstance(support, str)
    if support is not None and not (several and len(support) == features):
        raise PlanError(f"{name}: expected support to have one set for each of {features} features, got {support!r}")


def only_moves(flow: Flow, support: Support) -> bool:
    """Tell whether all that a flow does to a normal base, before the sets of its support, is affine."""
    layers = chain(flow.transform)
    return flow.base.facts.gaussian and all(layer.facts.is_affine for layer in (layers if support is None else layers[:-1]))


def stack(name: str, parts: Parts, features: int, context: int, transforms: int, mix: str | None, support: Support) -> Flow:
    """Return a flow of layers with what mixes the features after each."""
    plan = [*parts.first]
    for index in range(transforms):
        made = parts.layer(index)
        plan += [made] if isinstance(made, Bijector) else made
        plan += mixing(mix, index) if parts.mixed else []
    plan += parts.last
    if support is not None and not parts.placed:
        if has_angles(support):
            raise PlanError(
                f"{name}: expected no circular features, since its layers have a seam where a turn ends; use NSF or CNF, "
                "or NCSF for angles alone"
            )
        plan.append(Domain(support))
    return Flow(parts.base, plan, features, context or None)
