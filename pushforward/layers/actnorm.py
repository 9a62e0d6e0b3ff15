"""Normalisation of features inside a flow: measured location and scale under a learned affine map."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from pushforward.core import numerics
from pushforward.core.bijector import Bijector
from pushforward.core.facts import Facts
from pushforward.core.fields import Positive, Within
from pushforward.core.layer import Layer, Shape
from pushforward.kernels.affine import Affine
from pushforward.kernels.kernel import evaluate
from pushforward.nets.conditioner import Parameters


@dataclass(frozen=True, repr=False)
class ActNorm(Bijector):
    r"""Activation normalisation, :math:`y_c = m_c + v_c (\mu_c + e^{s(\alpha_c)} x_c)`, one location and scale a feature or channel.

    ``calibrate`` measures m and v, mean and standard deviation of the data side, and puts the learned part back to the identity: from
    then on the base side of those rows has mean 0 and variance 1. m and v stay as they are, :math:`\mu` and the log-scale, bounded as in
    `Affine`, are learned. Nothing is measured in a call: a layer that never met data is the identity at the start. All are in the
    ``state_dict``, with ``calibrated``. A feature that does not vary keeps the scale 1.
    Acts on the first event axis, whose C entries each share two parameters over the other axes; all real values to all real values.
    Source: Glow: Generative Flow with Invertible 1x1 Convolutions (Kingma, Dhariwal, 2018).

    Args:
        bound: The largest absolute log of the learned scale.

    >>> layer = ActNorm().build(2)
    >>> layer.calibrate(torch.tensor([[0.0, 10.0], [2.0, 30.0]]))
    >>> layer.inverse(torch.tensor([[2.0, 10.0]]))[0].detach()
    tensor([[ 1., -1.]])
    """

    bound: Positive = 3.0

    event_dim = 1
    formula = "y = m + v (loc + exp(s(log_scale)) x) for each feature, m and v measured once"
    size = "2 * C"

    def make(self, event_shape: Shape, context_shape: Shape | None) -> Layer:
        return ActNormModule(self, event_shape, context_shape, self.bound)


@dataclass(frozen=True, repr=False)
class BatchNorm(Bijector):
    r"""Batch normalisation, :math:`y_c = m_c + v_c (\mu_c + e^{s(\alpha_c)} x_c)` with statistics that follow the data.

    :math:`m` and :math:`v^2 - \epsilon` are running means of the mean and the variance of the data side. Both directions use what is
    stored, in training as in evaluation. With the statistics of the batch instead, as Pyro and nflows take them in training, a row's
    density depends on the rows beside it, gradients run through the statistics, the inverse is not that of the forward map,
    and the model that is evaluated is not the one that was trained. So here nothing changes in a call. ``calibrate`` measures rows and
    puts the learned part back to the identity; ``update`` moves the statistics towards those of a batch by ``momentum``, the weight of
    the new batch as in Pyro and `torch.nn.BatchNorm1d`; the first update takes its batch whole. `fit` updates before each step;
    in a loop of your own, ``flow.update(y)`` does.
    Acts on the first event axis, whose C entries each share two parameters over the other axes; all real values to all real values.
    Source: Density Estimation using Real NVP (Dinh et al., 2017); Masked Autoregressive Flow for Density Estimation (Papamakarios et al.,
    2017), with stored statistics.

    Args:
        momentum: Weight of a new batch, in (0, 1].
        epsilon: What is added to each variance.
        bound: The largest absolute log of the learned scale.

    >>> layer = BatchNorm(momentum=0.5).build(1)
    >>> layer.update(torch.tensor([[0.0], [2.0]])), layer.update(torch.tensor([[8.0], [10.0]]))
    (None, None)
    >>> layer.loc
    tensor([5.])
    """

    momentum: Annotated[float, Within(above=0.0, most=1.0)] = 0.1
    epsilon: Annotated[float, Within(least=0.0)] = 1e-5
    bound: Positive = 3.0

    event_dim = 1
    formula = "y = m + v (loc + exp(s(log_scale)) x) for each feature, m and v running statistics"
    size = "2 * C"

    def make(self, event_shape: Shape, context_shape: Shape | None) -> Layer:
        return BatchNormModule(self, event_shape, context_shape)


class ActNormModule(Layer):
    """Measured location and scale of each feature, and a learned affine map below them."""

    facts = Facts(is_affine=True)
    loc: Tensor
    scale: Tensor
    calibrated: Tensor

    def __init__(self, plan: Bijector, event_shape: Shape, context_shape: Shape | None, bound: float, epsilon: float = 0.0) -> None:
        super().__init__(plan, event_shape, context_shape)
        features, self.rest, self.rank = event_shape[0], math.prod(event_shape[1:]), len(event_shape)
        self.kernel, self.epsilon = Affine(bound), epsilon
        self.parameters_of = Parameters(self.kernel.init((features,)))
        self.register_buffer("loc", torch.zeros(features))
        self.register_buffer("scale", torch.ones(features))
        self.register_buffer("calibrated", torch.tensor(False))

    def push(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        y, ladj = self._learned(False, self._features(numerics.working(x)))
        loc, scale = numerics.working(self.loc), numerics.working(self.scale)
        return self._event(loc + scale * y).to(x.dtype), ladj + self.rest * torch.log(scale).sum()

    def pull(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        loc, scale = numerics.working(self.loc), numerics.working(self.scale)
        x, ladj = self._learned(True, (self._features(numerics.working(y)) - loc) / scale)
        return self._event(x).to(y.dtype), ladj - self.rest * torch.log(scale).sum()

    def _learned(self, inverse: bool, values: Tensor) -> tuple[Tensor, Tensor]:
        out, ladj = evaluate(self.kernel, values, self.parameters_of.flat(), self.parameters_of.named, inverse)
        return out, ladj.sum(-1)

    def _features(self, x: Tensor) -> Tensor:
        """Return ``(*batch, rest, features)``: the features on the last axis, the other event axes joined to one."""
        return x.reshape((*x.shape[: x.dim() - self.rank], self.event_shape[0], self.rest)).mT

    def _event(self, x: Tensor) -> Tensor:
        return x.mT.reshape(x.shape[:-2] + self.event_shape)

    @torch.no_grad()
    def measure(self, values: Tensor, context: Tensor | None = None, inverse: bool = False) -> None:
        """Measure mean and standard deviation (of the population) of every feature, and put the learned part back to the identity."""
        mean, variance, constant = self._measured(values)
        self._store(mean, torch.where(constant, 1.0, variance) + self.epsilon, inverse)
        for parameter in self.parameters_of.parameters():
            parameter.zero_()

    def _measured(self, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return mean and variance of each feature, and where it varies by no more than rounding."""
        rows = self._features(y.detach()).reshape(-1, self.event_shape[0]).double()
        if not len(rows) or not bool(torch.isfinite(rows).all()):
            got = "some that are not" if len(rows) else "none"
            raise ValueError(f"{type(self.plan).__name__}: expected rows of finite values, got {got}")
        variance = rows.var(0, correction=0)
        return rows.mean(0), variance, variance.sqrt() <= torch.finfo(y.dtype).eps * rows.abs().amax(0)

    def _store(self, mean: Tensor, square: Tensor, inverse: bool) -> None:
        """Take mean and variance of the data side (``inverse``: the base side, whose values then have mean 0 and variance 1 above)."""
        scale = square.sqrt()
        self.loc.copy_(-mean / scale if inverse else mean)
        self.scale.copy_(1 / scale if inverse else scale)
        self.calibrated.fill_(True)

    def _stored(self, inverse: bool) -> tuple[Tensor, Tensor]:
        """Return the mean and the variance that are stored."""
        loc, scale = self.loc.double(), self.scale.double()
        return (-loc / scale, scale.square().reciprocal()) if inverse else (loc, scale.square())


class BatchNormModule(ActNormModule):
    """A built batch normalisation: `ActNormModule` with statistics that move."""

    facts = Facts(is_affine=True, has_statistics=True)

    def __init__(self, plan: BatchNorm, event_shape: Shape, context_shape: Shape | None) -> None:
        super().__init__(plan, event_shape, context_shape, plan.bound, plan.epsilon)
        self.momentum = plan.momentum

    @torch.no_grad()
    def follow(self, values: Tensor, context: Tensor | None = None, inverse: bool = False) -> None:
        """Move the statistics towards those of rows ``(n, *event)`` of the data side; the learned part stays."""
        mean, variance, constant = self._measured(values)
        if not bool(self.calibrated):
            self._store(mean, torch.where(constant, 1.0, variance) + self.epsilon, inverse)
            return
        old, square = self._stored(inverse)
        self._store(torch.lerp(old, mean, self.momentum), torch.lerp(square, variance + self.epsilon, self.momentum), inverse)
