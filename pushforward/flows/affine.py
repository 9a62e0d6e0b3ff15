"""Affine flows: coupling (NICE, RealNVP) and autoregressive (MAF, IAF)."""

from __future__ import annotations

from collections.abc import Sequence

from pushforward.flow import Flow
from pushforward.flows.stack import Support, chosen, stack
from pushforward.kernel import Elementwise
from pushforward.kernels.affine import Additive, Affine
from pushforward.parameters import NetLike
from pushforward.structures.autoregressive import Autoregressive, InverseAutoregressive
from pushforward.structures.coupling import Coupling
from pushforward.structures.standardize import Standardize


def NICE(
    features: int,
    context: int = 0,
    *,
    transforms: int = 4,
    widths: Sequence[int] = (64, 64),
    activation: str = "relu",
    net: NetLike | None = None,
    mix: str | None = "shuffle",
    support: Support = None,
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
        support: The set in which the values of each feature lie: names or constraints, as in `Domain` (None: all real values).

    >>> NICE(5).log_prob(torch.zeros(3, 5)).shape
    torch.Size([3])
    """
    given = chosen(net, widths, activation)
    scale = Elementwise(Affine(), net=given) if context else Affine()
    return stack(
        "NICE",
        features,
        context,
        transforms,
        mix,
        lambda i: Coupling(Additive(), flip=i % 2 == 1, net=given),
        [scale, Standardize()],
        support=support,
    )


def RealNVP(
    features: int,
    context: int = 0,
    *,
    transforms: int = 6,
    widths: Sequence[int] = (64, 64),
    activation: str = "relu",
    net: NetLike | None = None,
    mix: str | None = "shuffle",
    support: Support = None,
) -> Flow:
    r"""RealNVP: affine coupling layers. Sampling and scoring take one pass a layer.

    Source: Density Estimation using Real NVP (Dinh et al., 2017). The arguments are those of `NICE`.

    >>> RealNVP(5, context=2).sample((3,), torch.zeros(2)).shape
    torch.Size([3, 5])
    """
    given = chosen(net, widths, activation)
    return stack("RealNVP", features, context, transforms, mix, lambda i: Coupling(Affine(), flip=i % 2 == 1, net=given), support=support)


def MAF(
    features: int,
    context: int = 0,
    *,
    transforms: int = 5,
    widths: Sequence[int] = (64, 64),
    activation: str = "relu",
    net: NetLike | None = None,
    mix: str | None = "reverse",
    support: Support = None,
) -> Flow:
    r"""Masked autoregressive flow: affine, scored in one step a layer, sampled in one step a feature and layer.

    Source: Masked Autoregressive Flow for Density Estimation (Papamakarios et al., 2017). The arguments are those of `NICE`.

    >>> MAF(5).log_prob(torch.zeros(3, 5)).shape
    torch.Size([3])
    """
    given = chosen(net, widths, activation)
    return stack("MAF", features, context, transforms, mix, lambda i: Autoregressive(Affine(), net=given), support=support)


def IAF(
    features: int,
    context: int = 0,
    *,
    transforms: int = 5,
    widths: Sequence[int] = (64, 64),
    activation: str = "relu",
    net: NetLike | None = None,
    mix: str | None = "reverse",
    support: Support = None,
) -> Flow:
    r"""Inverse autoregressive flow: affine, sampled in one step a layer, scored in one step a feature and layer.

    Source: Improved Variational Inference with Inverse Autoregressive Flow (Kingma et al., 2016). The arguments are those of `NICE`.

    >>> IAF(5).rsample_and_log_prob((3,))[1].shape
    torch.Size([3])
    """
    given = chosen(net, widths, activation)
    return stack("IAF", features, context, transforms, mix, lambda i: InverseAutoregressive(Affine(), net=given), support=support)
