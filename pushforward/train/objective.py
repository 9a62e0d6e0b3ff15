"""The objectives of `fit`: likelihood and flow matching, with their options."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from pushforward.core import sets
from pushforward.core.extras import require
from pushforward.core.layer import Layer
from pushforward.flow.flow import Flow
from pushforward.layers.continuous import ContinuousModule
from pushforward.train import options as check
from pushforward.train.couplings import check_teacher
from pushforward.train.paths import NOISY, PATHS, Path

OBJECTIVES = ("likelihood", "flow_matching")
COUPLINGS = ("independent", "optimal_transport")
TIMES = ("uniform", "late")
SIGMA = 0.1
"""The scale of a bridge's noise where nobody says another."""


@dataclass(frozen=True)
class FlowMatching:
    r"""Flow matching as the objective of `fit`: the field of a `Continuous` layer learns the velocity of paths from base to data.

    The loss is :math:`E\,\|v(t, x_t) - \dot x_t\|^2`, over draws :math:`x_0` of the base, rows :math:`x_1`, and times t, divided by how
    many numbers an event has. No differential equation is solved for it. Its minimum is the field whose flow has the density of the data,
    whatever path, coupling and times are; they decide how straight that field is, and how noisy the steps are.
    Sources: Flow Matching for Generative Modeling (Lipman et al., 2023); Flow Straight and Fast (Liu, Gong, Liu, 2023); Building
    Normalizing Flows with Stochastic Interpolants (Albergo, Vanden-Eijnden, 2023); Improving and Generalizing Flow-Based Generative Models
    with Minibatch Optimal Transport (Tong et al., 2024); a flow's coupling: The Coupling Within: Flow Matching via Distilled Normalizing
    Flows (Berthelot et al., 2026); the late times: Flow Matching for Scalable
    Simulation-Based Inference (Wildberger et al., 2023).

    Args:
        path: ``"linear"``, :math:`t x_1 + (1 - t) x_0`, and on circles and spheres the shortest way there, where there is no other (Flow
            Matching on General Geometries, Chen, Lipman, 2024); ``"variance_preserving"``, :math:`\sin(\pi t / 2) x_1 +
            \cos(\pi t / 2) x_0`, whose spread stays that of a standardised base and data; ``"schroedinger_bridge"``, the linear path with
            the noise of a Brownian bridge, :math:`\sigma \sqrt{t (1 - t)} z`, a stochastic interpolant; or a `Path` of your own. Of a
            noise's velocity the part
            that no field can learn is taken off the loss, which then may fall below 0, and draws come in pairs z, -z: without that the
            loss of a bridge has no finite variance.
        sigma: Scale of the bridge's noise, 0.1 where it is None; for that path alone.
        coupling: ``"independent"``, or ``"optimal_transport"``, which pairs the draws and rows of a batch so that the sum of their squared
            distances is least: straighter fields, for a step that takes about twice as long (scipy, in the extra ``transport``).
            A conditional flow pairs among rows of equal contexts, and rows with weights are drawn by these first. Or a fitted flow of the
            same shapes, support and base, whose own coupling is taken: each row goes with the point of the base that this flow maps to
            it. Nothing is left to chance then, paths hardly cross, and the field is as right as that flow is.
        times: ``"late"``, of density :math:`2t`: more times near the data, where the field of narrow data is harder; or ``"uniform"``.
            Times are stratified over a batch.
        nats_every: Epochs after which the held-out rows' density is taken, in nats (None: at the start and the end alone).

    Raises:
        ValueError: An option out of range, or a sigma for a path without noise.

    >>> FlowMatching(coupling="optimal_transport").path
    'linear'
    """

    path: str | Path = "linear"
    sigma: float | None = None
    coupling: str | Flow = "independent"
    times: str = "late"
    nats_every: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.path, Path):
            _expect_word("FlowMatching", "path", self.path, tuple(PATHS), "a Path")
        check.real("FlowMatching", "sigma", self.sigma, optional=True)
        if self.sigma is not None and self.path not in NOISY:
            raise ValueError(f"FlowMatching: expected sigma with path='schroedinger_bridge' alone, got {self.sigma!r} with {self.path!r}")
        if not isinstance(self.coupling, Flow):
            _expect_word("FlowMatching", "coupling", self.coupling, COUPLINGS, "a Flow")
        check.choice("FlowMatching", "times", self.times, TIMES)
        object.__setattr__(self, "nats_every", check.whole("FlowMatching", "nats_every", self.nats_every, 1, optional=True))

    def made_path(self) -> Path:
        """Return the path itself."""
        return self.path if isinstance(self.path, Path) else PATHS[self.path](SIGMA if self.sigma is None else float(self.sigma))


@dataclass(frozen=True)
class Likelihood:
    r"""Maximum likelihood as the objective of `fit`, with what a continuous flow's ways cost, so that solvers take few steps.

    The loss is the negative log-density and, of each `Continuous` layer, :math:`\lambda_K \int |v|^2 dt / D + \lambda_J \int
    \|\partial v / \partial x\|_F^2 dt / D` along the way of each row, D the number of numbers of an event: integrated beside the
    log-determinant, by the same steps and within the same tolerance. The norm of the Jacobian is exact where the trace is. Losses of
    held-out rows are their nats alone.
    Source: How to Train Your Neural ODE: the World of Jacobian and Kinetic Regularization (Finlay et al., 2020).

    Args:
        kinetic: :math:`\lambda_K`, at least 0.
        jacobian: :math:`\lambda_J`, at least 0; exact, it takes a tangent for each dimension.

    Raises:
        ValueError: One is negative or not finite.
        TypeError: One is no number.

    >>> Likelihood(kinetic=0.05, jacobian=0.05).kinetic
    0.05
    """

    kinetic: float = 0.0
    jacobian: float = 0.0

    def __post_init__(self) -> None:
        for name in ("kinetic", "jacobian"):
            check.real("Likelihood", name, getattr(self, name), zero=True)

    @property
    def plain(self) -> bool:
        """Whether nothing comes to the likelihood."""
        return not self.kinetic and not self.jacobian


Objective = FlowMatching | Likelihood


@dataclass(frozen=True)
class Around:
    """The continuous layer of a flow, and the layers on either side of it, in order from base to data."""

    before: Sequence[Layer]
    field: ContinuousModule
    after: Sequence[Layer]

    def from_base(self, x: Tensor, context: Tensor | None) -> Tensor:
        """Take draws of the base to where the field begins."""
        for layer in self.before:
            x = sets.leave(layer.push(x, context)[0], sets.limits(layer.codomain))
        return x

    def from_data(self, y: Tensor, context: Tensor | None) -> Tensor:
        """Take rows of data to where the field ends."""
        for layer in reversed(self.after):
            y = sets.leave(layer.pull(y, context)[0], sets.limits(layer.domain))
        return y


def around(owner: str, flow: Flow) -> Around:
    """Return the one continuous layer of a flow and what is around it; raise ValueError where there is not one."""
    layers = list(flow.transform.leaves())
    places = [i for i, layer in enumerate(layers) if isinstance(layer, ContinuousModule)]
    wanted = f"{owner}: expected a flow with one Continuous layer in its list of layers for objective='flow_matching'"
    if len(places) != 1:
        held = sum(isinstance(part, ContinuousModule) for part in flow.transform.modules())
        inside = f", and {held - len(places)} inside other layers, where no data comes by" if held > len(places) else ""
        raise ValueError(
            f"{wanted}, got {len(places) or 'none'}{inside}: {flow.plan!r}; pushforward.CNF(features) is such a flow, and "
            "objective='likelihood' takes any"
        )
    (place,) = places
    field = layers[place]
    assert isinstance(field, ContinuousModule)
    return Around(layers[:place], field, layers[place + 1 :])


def make_objective(owner: str, given: Any) -> Objective | None:
    """Return the options of an objective, or None for plain likelihood; raise ValueError or TypeError for anything else."""
    if isinstance(given, Likelihood):
        return None if given.plain else given
    if isinstance(given, FlowMatching):
        return given
    _expect_word(owner, "objective", given, OBJECTIVES, "a FlowMatching or a Likelihood")
    return None if given == "likelihood" else FlowMatching()


def check_loss(owner: str, flow: Any, plan: Any, kind: type[Objective]) -> None:
    """Raise TypeError unless a loss is given a flow and options of its kind, and what `check_objective` raises."""
    if not isinstance(flow, Flow):
        raise TypeError(f"{owner}: expected a Flow, got {type(flow).__name__}")
    if not isinstance(plan, kind):
        raise TypeError(f"{owner}: expected plan to be a {kind.__name__}, got {type(plan).__name__}")
    check_objective(owner, flow, plan)


def check_objective(owner: str, flow: Flow, given: Objective | None, compile: bool | str = False) -> None:  # noqa: A002
    """Raise ValueError where a flow has no field for it, or none that learns, and ImportError where a package is missing."""
    if given is None:
        return
    if isinstance(given, Likelihood):
        _check_costs(owner, flow, compile)
        return
    field = around(owner, flow).field
    if not any(parameter.requires_grad for parameter in field.parameters()):
        raise ValueError(
            f"{owner}: expected a Continuous layer with parameters that require a gradient for objective='flow_matching', which trains no "
            "others, got none"
        )
    if field.spaces is not None and given.path != "linear":
        raise ValueError(
            f"{owner}: expected path='linear' for a flow on {' and '.join(field.spaces.kinds)}, whose paths are the shortest ways there, "
            f"got {given.path!r}"
        )
    if isinstance(given.coupling, Flow):
        check_teacher(owner, flow, given.coupling)
    elif given.coupling == "optimal_transport":
        require("scipy.optimize", "transport")


def _check_costs(owner: str, flow: Flow, compiled: bool | str) -> None:
    """Raise ValueError unless all continuous layers, of which there is one, are in the list of layers, and nothing is compiled."""
    fields = [layer for layer in flow.transform.leaves() if isinstance(layer, ContinuousModule)]
    seen = len(fields)
    held = sum(isinstance(part, ContinuousModule) for part in flow.transform.modules())
    if not seen or seen != held:
        got = f"{held - seen} inside other layers" if held else "none"
        raise ValueError(
            f"{owner}: expected a flow with its Continuous layers in its list of layers for a Likelihood with kinetic or jacobian, got "
            f"{got}: {flow.plan!r}"
        )
    for field in fields:
        # The Jacobian in space counts what keeps a point on the sphere as well.
        if field.spaces is not None and "sphere" in field.spaces.kinds:
            raise ValueError(
                f"{owner}: expected fields on lines and circles for a Likelihood with kinetic or jacobian, got one on a sphere: "
                f"{field.plan!r}; train it by plain likelihood or by flow matching"
            )
    if compiled:
        raise ValueError(f"{owner}: expected compile=False for a Likelihood with kinetic or jacobian, got {compiled!r}")


def _expect_word(owner: str, name: str, value: Any, words: Sequence[str], other: str) -> None:
    """Raise ValueError unless a value is one of the words."""
    if not isinstance(value, str) or value not in words:
        call = "; write its brackets" if isinstance(value, type) else ""
        got = value.__name__ if isinstance(value, type) else " ".join(repr(value).split())[:80]
        raise ValueError(f"{owner}: expected {name} to be {', '.join(map(repr, words))}, or {other}, got {got}{call}")
