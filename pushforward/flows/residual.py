"""Residual flow."""

from __future__ import annotations

from collections.abc import Sequence

from pushforward.core import Compose
from pushforward.flow import Flow
from pushforward.flows.stack import Support, stack
from pushforward.structures.normalize import ActNorm
from pushforward.structures.residual import Residual


def ResidualFlow(
    features: int,
    context: int = 0,
    *,
    transforms: int = 8,
    widths: Sequence[int] = (64, 64),
    coefficient: float = 0.9,
    activation: str = "lipswish",
    support: Support = None,
) -> Flow:
    r"""Residual flow: contractive residual layers, which mix all features at once, with `ActNorm` before each.

    Scored in one pass a layer, with the determinant of the whole Jacobian; sampled by a fixed number of steps towards the fixed point.
    Source: Invertible Residual Networks (Behrmann et al., 2019); Residual Flows for Invertible Generative Modeling (Chen et al., 2019).

    Args:
        features: Number of features.
        context: Number of context features (0: not conditional).
        transforms: Number of layers.
        widths: Hidden widths of each network.
        coefficient: Lipschitz bound of each network, in (0, 1).
        activation: As in `Residual`.
        support: The set in which the values of each feature lie: names or constraints, as in `Domain` (None: all real values).

    >>> ResidualFlow(3, transforms=2).log_prob(torch.zeros(2, 3)).shape
    torch.Size([2])
    """
    layer = Compose([Residual(widths, coefficient, activation).inv, ActNorm()])
    return stack("ResidualFlow", features, context, transforms, None, lambda i: layer, support=support)
