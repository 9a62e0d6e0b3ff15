"""What named flows are stacked from."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch.distributions.constraints import Constraint

from pushforward.bases import StandardNormal
from pushforward.core import Base, Bijector
from pushforward.flow import Flow
from pushforward.kernels.linear import Linear
from pushforward.nets import MLP
from pushforward.parameters import NetLike
from pushforward.spec import PlanError, plain
from pushforward.structures.domains import Domain
from pushforward.structures.rearrange import Reverse, Shuffle
from pushforward.structures.standardize import Standardize

Support = Sequence[Constraint | str] | None
MIXES = ("linear", "reverse", "shuffle", None)


def mixing(kind: str | None, index: int) -> list[Bijector]:
    """Return what mixes the features after layer ``index``."""
    if kind == "linear":
        return [Linear()]
    if kind == "reverse":
        return [Reverse()]
    return [Shuffle(index)] if kind == "shuffle" else []


def chosen(net: NetLike | None, widths: Sequence[int], activation: str) -> NetLike:
    """Return the network that was given, or a perceptron."""
    # Not `net or ...`: a module that is a container has a length, and may be false.
    return MLP(widths, activation) if net is None else net


def has_angles(support: Sequence[Constraint | str]) -> bool:
    """Tell whether some feature is an angle."""
    return any(isinstance(each, str) and each == "circular" for each in support)


def stack(
    name: str,
    features: int,
    context: int,
    transforms: int,
    mix: str | None,
    layer: Callable[[int], Bijector],
    last: Sequence[Bijector] | None = None,
    base: Base | None = None,
    first: Sequence[Bijector] = (),
    support: Support = None,
) -> Flow:
    """Return a flow of layers with what mixes the features after each; ``last`` stands for the standardisation at the end."""
    features, transforms, context = (plain(value) for value in (features, transforms, context))
    for what, value, least in (("features", features, 1), ("transforms", transforms, 1), ("context", context, 0)):
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise PlanError(f"{name}: expected {what} to be a whole number of at least {least}, got {value!r}")
    if mix not in MIXES:
        raise PlanError(f"{name}: expected mix to be one of {MIXES}, got {mix!r}")
    plan: list[Bijector] = list(first)
    for index in range(transforms):
        plan += [layer(index), *mixing(mix, index)]
    plan += [Standardize()] if last is None else last
    if support is not None:
        if isinstance(support, str) or len(support) != features:
            raise PlanError(f"{name}: expected support to have one set for each of {features} features, got {support!r}")
        if has_angles(support):
            raise PlanError(
                f"{name}: expected no circular features, since its layers have a seam where a turn ends; use NSF, or NCSF for angles alone"
            )
        plan.append(Domain(support))
    return Flow(StandardNormal() if base is None else base, plan, features, context or None)
