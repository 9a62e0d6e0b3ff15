"""Flows for variational posteriors: sampled in one pass, with parameters that a network may give for each context."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pushforward.bases import DiagNormal
from pushforward.core import Bijector
from pushforward.flow import Flow
from pushforward.flows.stack import chosen, stack
from pushforward.kernel import Elementwise, Kernel
from pushforward.kernels.householder import Householder
from pushforward.kernels.planar import Planar
from pushforward.kernels.radial import Radial
from pushforward.kernels.sylvester import Sylvester
from pushforward.parameters import NetLike
from pushforward.structures.rearrange import Reverse


def _posterior(
    name: str,
    features: int,
    context: int,
    transforms: int,
    kernel: Callable[[int], Kernel],
    net: NetLike | None,
    widths: Sequence[int],
    between: Callable[[int], list[Bijector]] = lambda i: [],
) -> Flow:
    """Return layers over a normal whose location and scale are learned, all given the context where there is one."""
    given = chosen(net, widths, "relu") if context else None

    def layer(index: int) -> Bijector:
        return Elementwise(kernel(index), net=given) if context else kernel(index)

    plan = [part for index in range(1, transforms) for part in (*between(index), layer(index))]
    return stack(name, features, context, 1, None, lambda i: layer(0), plan, DiagNormal(net=given))


def PlanarFlow(
    features: int,
    context: int = 0,
    *,
    transforms: int = 8,
    activation: str = "tanh",
    widths: Sequence[int] = (64, 64),
    net: NetLike | None = None,
) -> Flow:
    r"""Planar flow over a learned normal: a posterior for variational inference.

    Sampled in one pass; scored by a root a layer. Source: Variational Inference with Normalizing Flows (Rezende, Mohamed, 2015).

    Args:
        features: Number of latent variables.
        context: Number of context features, from which a network gives all parameters (0: free parameters).
        transforms: Number of layers.
        activation: ``"tanh"`` or ``"leaky_relu"``, as in `Planar`.
        widths: Hidden widths of each network.
        net: A network plan or module instead of ``MLP(widths)``.

    >>> PlanarFlow(3).rsample_and_log_prob((2,))[1].shape
    torch.Size([2])
    """
    return _posterior("PlanarFlow", features, context, transforms, lambda i: Planar(activation), net, widths)


def RadialFlow(
    features: int, context: int = 0, *, transforms: int = 8, widths: Sequence[int] = (64, 64), net: NetLike | None = None
) -> Flow:
    r"""Radial flow over a learned normal: a posterior for variational inference. The arguments are those of `PlanarFlow`.

    Sampled in one pass; scored by a root a layer. Source: Variational Inference with Normalizing Flows (Rezende, Mohamed, 2015).

    >>> RadialFlow(3).rsample_and_log_prob((2,))[1].shape
    torch.Size([2])
    """
    return _posterior("RadialFlow", features, context, transforms, lambda i: Radial(), net, widths)


def SylvesterFlow(
    features: int,
    context: int = 0,
    *,
    transforms: int = 4,
    variant: str = "householder",
    widths: Sequence[int] = (64, 64),
    net: NetLike | None = None,
) -> Flow:
    r"""Sylvester flow over a learned normal: a posterior for variational inference.

    Sampled in one pass; scored by roots, one a row of the triangular matrices. ``variant`` is that of `Sylvester`; with
    ``"triangular"`` the order of the features is reversed between layers. Further arguments are those of `PlanarFlow`.
    Source: Sylvester Normalizing Flows for Variational Inference (van den Berg et al., 2018).

    >>> SylvesterFlow(3).rsample_and_log_prob((2,))[1].shape
    torch.Size([2])
    """

    def between(index: int) -> list[Bijector]:
        return [Reverse()] if variant == "triangular" else []

    return _posterior("SylvesterFlow", features, context, transforms, lambda i: Sylvester(variant), net, widths, between)


def HouseholderFlow(
    features: int,
    context: int = 0,
    *,
    transforms: int = 1,
    reflections: int = 2,
    widths: Sequence[int] = (64, 64),
    net: NetLike | None = None,
) -> Flow:
    r"""Householder flow: a learned diagonal normal turned by reflections, which gives it a full covariance.

    Sampled and scored in one pass. ``reflections`` are those of `Householder`, further arguments those of `PlanarFlow`.
    Source: Improving Variational Auto-Encoders using Householder Flow (Tomczak, Welling, 2016).

    >>> HouseholderFlow(3).rsample_and_log_prob((2,))[1].shape
    torch.Size([2])
    """
    return _posterior("HouseholderFlow", features, context, transforms, lambda i: Householder(reflections), net, widths)
