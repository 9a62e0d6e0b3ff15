"""Gaussianization flow."""

from __future__ import annotations

from collections.abc import Sequence

from pushforward.core import Bijector, Compose
from pushforward.flow import Flow
from pushforward.flows.stack import Support, chosen, stack
from pushforward.kernel import Elementwise
from pushforward.kernels.mixture import Gaussianization
from pushforward.kernels.rotation import Rotation
from pushforward.parameters import NetLike


def GF(
    features: int,
    context: int = 0,
    *,
    transforms: int = 5,
    components: int = 8,
    widths: Sequence[int] = (64, 64),
    activation: str = "relu",
    net: NetLike | None = None,
    support: Support = None,
) -> Flow:
    r"""Gaussianization flow: rotations, and for each feature the quantiles of a mixture's cumulative distribution function.

    Scored in one pass a layer; sampled by roots. Source: Gaussianization Flows (Meng et al., 2020).

    Args:
        features: Number of features.
        context: Number of context features (0: not conditional).
        transforms: Number of layers.
        components: Components of each mixture.
        widths: Hidden widths of each network; used with a context only.
        activation: Activation of each network, as in `MLP`.
        net: A network plan or module instead of ``MLP(widths, activation)``.
        support: The set in which the values of each feature lie: names or constraints, as in `Domain` (None: all real values).

    >>> GF(3).log_prob(torch.zeros(2, 3)).shape
    torch.Size([2])
    """
    kernel: Bijector = Gaussianization(components)
    if context:
        kernel = Elementwise(Gaussianization(components), net=chosen(net, widths, activation))
    layer = Compose([kernel.inv, Rotation()])
    return stack("GF", features, context, transforms, None, lambda i: layer, support=support)
