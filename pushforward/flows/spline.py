"""Spline flows: on the real line, and on circles."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pushforward.bases import BoxUniform
from pushforward.core import Bijector
from pushforward.flow import Flow
from pushforward.flows.mixed import Mixed
from pushforward.flows.stack import Support, chosen, has_angles, stack
from pushforward.kernels.circular import CircularShift, CircularSpline, Unwrap
from pushforward.kernels.spline import Spline
from pushforward.parameters import NetLike
from pushforward.periodic import Periodic
from pushforward.spec import PlanError
from pushforward.structures.autoregressive import Autoregressive
from pushforward.structures.coupling import Coupling


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
    support: Support = None,
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
        support: The set in which the values of each feature lie: names or constraints, as in `Domain` (None: all real values). Features
            may be ``"circular"``, angles in :math:`(-\pi, \pi)`, beside others; layers then move halves of both, and ``mix`` does nothing.

    >>> NSF(5, structure="autoregressive").log_prob(torch.zeros(3, 5)).shape
    torch.Size([3])
    """
    given, kernel = chosen(net, widths, activation), Spline(bins, bound, order)
    if support is not None and has_angles(support) and len(support) == features:
        if structure != "coupling" or all(has_angles([each]) for each in support):
            raise PlanError(
                "NSF: expected structure 'coupling' and features that are no angles beside circular ones; for angles alone use NCSF"
            )
        mixed = Mixed(support, kernel, bins, given)
        return stack("NSF", features, context, transforms, None, mixed.layer, [mixed.last()], mixed.base(), [mixed.first()])
    if structure == "coupling":
        return stack("NSF", features, context, transforms, mix, lambda i: Coupling(kernel, flip=i % 2 == 1, net=given), support=support)
    if structure == "autoregressive":
        return stack("NSF", features, context, transforms, mix, lambda i: Autoregressive(kernel, net=given), support=support)
    raise PlanError(f"NSF: expected structure to be 'coupling' or 'autoregressive', got {structure!r}")


def NCSF(
    features: int,
    context: int = 0,
    *,
    transforms: int = 5,
    bins: int = 8,
    structure: str = "coupling",
    widths: Sequence[int] = (64, 64),
    activation: str = "relu",
    net: NetLike | None = None,
    mix: str | None = "shuffle",
) -> Flow:
    r"""Neural circular spline flow: angles in :math:`(-\pi, \pi)`, with a density that has no seam where the ends of the circle meet.

    Networks see cosines and sines (`Periodic`), kernels are circular splines, the base is uniform. The arguments are those of `NSF`.
    Source: Normalizing Flows on Tori and Spheres (Rezende et al., 2020).

    >>> NCSF(2).sample((3,)).abs().max() < 3.15
    tensor(True)
    """
    if mix not in ("shuffle", "reverse", None):
        raise PlanError(f"NCSF: expected mix to be 'shuffle', 'reverse' or None, since angles cannot be added up, got {mix!r}")
    given, kernel = Periodic(chosen(net, widths, activation)), CircularSpline(bins)

    def layer(index: int) -> Bijector:
        if structure == "autoregressive":
            return Autoregressive(kernel, net=given)
        # A coupling of one angle sees no other: only the context, or nothing.
        return Coupling(kernel, flip=index % 2 == 1, net=given)

    if structure not in ("coupling", "autoregressive"):
        raise PlanError(f"NCSF: expected structure to be 'coupling' or 'autoregressive', got {structure!r}")
    if features == 2 and structure == "coupling":
        mix = None  # with two features a shuffle undoes every other flip, and a feature may be left out
    circle = BoxUniform(-math.pi, math.pi)
    return stack("NCSF", features, context, transforms, mix, layer, [CircularShift(), Unwrap().inv], circle, [Unwrap()])
