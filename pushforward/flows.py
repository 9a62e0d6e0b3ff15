"""Named flows: functions that return a ready flow from a number of features."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pushforward.bases import StandardNormal
from pushforward.core import Bijector
from pushforward.flow import Flow
from pushforward.kernel import Elementwise
from pushforward.kernels.affine import Additive, Affine
from pushforward.kernels.linear import Linear
from pushforward.kernels.spline import Spline
from pushforward.nets import MLP
from pushforward.parameters import NetLike
from pushforward.spec import PlanError
from pushforward.structures.autoregressive import Autoregressive, InverseAutoregressive
from pushforward.structures.coupling import Coupling
from pushforward.structures.rearrange import Reverse, Shuffle
from pushforward.structures.standardize import Standardize

MIXES = ("linear", "reverse", "shuffle", None)


def _mix(kind: str | None, index: int) -> list[Bijector]:
    if kind == "linear":
        return [Linear()]
    if kind == "reverse":
        return [Reverse()]
    return [Shuffle(index)] if kind == "shuffle" else []


def _net(net: NetLike | None, widths: Sequence[int], activation: str) -> NetLike:
    # Not `net or ...`: a module that is a container has a length, and may be false.
    return MLP(widths, activation) if net is None else net


def _stack(
    name: str,
    features: int,
    context: int,
    transforms: int,
    mix: str | None,
    layer: Callable[[int], Bijector],
    last: Sequence[Bijector] = (),
) -> Flow:
    for what, value, least in (("features", features, 1), ("transforms", transforms, 1), ("context", context, 0)):
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise PlanError(f"{name}: expected {what} to be a whole number of at least {least}, got {value!r}")
    if mix not in MIXES:
        raise PlanError(f"{name}: expected mix to be one of {MIXES}, got {mix!r}")
    plan: list[Bijector] = []
    for index in range(transforms):
        plan += [layer(index), *_mix(mix, index)]
    return Flow(StandardNormal(), [*plan, *last, Standardize()], features, context or None)


def NICE(
    features: int,
    context: int = 0,
    *,
    transforms: int = 4,
    widths: Sequence[int] = (64, 64),
    activation: str = "relu",
    net: NetLike | None = None,
    mix: str | None = "shuffle",
) -> Flow:
    r"""NICE: additive coupling layers, which keep volumes, and one scale per feature at the end.

    Sampling and scoring take one pass a layer. Source: NICE: Non-linear Independent Components Estimation (Dinh et al., 2014).

    Args:
        features: Number of features.
        context: Number of context features (0: not conditional).
        transforms: Number of coupling layers.
        widths: Hidden widths of each network.
        activation: Activation of each network, as in `MLP`.
        net: A network plan or module instead of ``MLP(widths, activation)``.
        mix: What mixes the features after each layer: ``"linear"``, ``"reverse"``, ``"shuffle"`` or None.

    >>> NICE(5).log_prob(torch.zeros(3, 5)).shape
    torch.Size([3])
    """
    chosen = _net(net, widths, activation)
    scale = Elementwise(Affine(), net=chosen) if context else Affine()
    return _stack("NICE", features, context, transforms, mix, lambda i: Coupling(Additive(), flip=i % 2 == 1, net=chosen), [scale])


def RealNVP(
    features: int,
    context: int = 0,
    *,
    transforms: int = 6,
    widths: Sequence[int] = (64, 64),
    activation: str = "relu",
    net: NetLike | None = None,
    mix: str | None = "shuffle",
) -> Flow:
    r"""RealNVP: affine coupling layers. Sampling and scoring take one pass a layer.

    Source: Density Estimation using Real NVP (Dinh et al., 2017). The arguments are those of `NICE`.

    >>> RealNVP(5, context=2).sample((3,), torch.zeros(2)).shape
    torch.Size([3, 5])
    """
    chosen = _net(net, widths, activation)
    return _stack("RealNVP", features, context, transforms, mix, lambda i: Coupling(Affine(), flip=i % 2 == 1, net=chosen))


def MAF(
    features: int,
    context: int = 0,
    *,
    transforms: int = 5,
    widths: Sequence[int] = (64, 64),
    activation: str = "relu",
    net: NetLike | None = None,
    mix: str | None = "reverse",
) -> Flow:
    r"""Masked autoregressive flow: affine, scored in one step a layer, sampled in one step a feature and layer.

    Source: Masked Autoregressive Flow for Density Estimation (Papamakarios et al., 2017). The arguments are those of `NICE`.

    >>> MAF(5).log_prob(torch.zeros(3, 5)).shape
    torch.Size([3])
    """
    chosen = _net(net, widths, activation)
    return _stack("MAF", features, context, transforms, mix, lambda i: Autoregressive(Affine(), net=chosen))


def IAF(
    features: int,
    context: int = 0,
    *,
    transforms: int = 5,
    widths: Sequence[int] = (64, 64),
    activation: str = "relu",
    net: NetLike | None = None,
    mix: str | None = "reverse",
) -> Flow:
    r"""Inverse autoregressive flow: affine, sampled in one step a layer, scored in one step a feature and layer.

    Source: Improved Variational Inference with Inverse Autoregressive Flow (Kingma et al., 2016). The arguments are those of `NICE`.

    >>> IAF(5).rsample_and_log_prob((3,))[1].shape
    torch.Size([3])
    """
    chosen = _net(net, widths, activation)
    return _stack("IAF", features, context, transforms, mix, lambda i: InverseAutoregressive(Affine(), net=chosen))


def NSF(
    features: int,
    context: int = 0,
    *,
    transforms: int = 5,
    bins: int = 8,
    bound: float = 5.0,
    order: str = "quadratic",
    structure: str = "coupling",
    widths: Sequence[int] = (64, 64),
    activation: str = "relu",
    net: NetLike | None = None,
    mix: str | None = "linear",
) -> Flow:
    r"""Neural spline flow: rational splines, coupling (one step a layer both ways) or autoregressive (scored in one step).

    Source: Neural Spline Flows (Durkan et al., 2019). Further arguments are those of `NICE`.

    Args:
        features: Number of features.
        context: Number of context features (0: not conditional).
        transforms: Number of spline layers.
        bins: Bins of each spline.
        bound: Half the width of each spline's box; the data is standardised by `fit`.
        order: ``"quadratic"`` or ``"linear"``, as in `Spline`.
        structure: ``"coupling"`` or ``"autoregressive"``.
        widths: Hidden widths of each network.
        activation: Activation of each network, as in `MLP`.
        net: A network plan or module instead of ``MLP(widths, activation)``.
        mix: What mixes the features after each layer: ``"linear"``, ``"reverse"``, ``"shuffle"`` or None.

    >>> NSF(5, structure="autoregressive").log_prob(torch.zeros(3, 5)).shape
    torch.Size([3])
    """
    chosen, kernel = _net(net, widths, activation), Spline(bins, bound, order)
    if structure == "coupling":
        return _stack("NSF", features, context, transforms, mix, lambda i: Coupling(kernel, flip=i % 2 == 1, net=chosen))
    if structure == "autoregressive":
        return _stack("NSF", features, context, transforms, mix, lambda i: Autoregressive(kernel, net=chosen))
    raise PlanError(f"NSF: expected structure to be 'coupling' or 'autoregressive', got {structure!r}")
