"""Contractive residual layers: a network that never moves two points closer than the identity holds them apart."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pushforward.core import numerics
from pushforward.core.bijector import Bijector
from pushforward.core.facts import Facts
from pushforward.core.fields import Count, Length, OneOf, Within
from pushforward.core.layer import Layer, Shape
from pushforward.core.numerics import clamp
from pushforward.core.promise import Effort
from pushforward.kernels.planar import tanh_slope
from pushforward.nets.conditioner import flat_context

STEPS = 8


def _lipswish(x: Tensor) -> tuple[Tensor, Tensor]:
    gate = torch.sigmoid(x)
    return x * gate / 1.1, gate * (1 + x * torch.sigmoid(-x)) / 1.1


def _elu(x: Tensor) -> tuple[Tensor, Tensor]:
    return F.elu(x), torch.exp(clamp(x, max=0.0))


# Each with its slope, of which none is beyond 1.
ACTIVATIONS: dict[str, Callable[[Tensor], tuple[Tensor, Tensor]]] = {
    "lipswish": _lipswish,
    "elu": _elu,
    "tanh": tanh_slope,
    "sin": lambda x: (torch.sin(x), torch.cos(x)),
}


@dataclass(frozen=True, repr=False)
class Residual(Bijector):
    r"""Contractive residual layer, :math:`y = x + g(x, c)` with :math:`|g(a, c) - g(b, c)| \le \kappa |a - b|` and :math:`\kappa < 1`.

    g is a perceptron on the whole event. Each weight is :math:`\kappa^{1/L} W / \sqrt{1 + \sigma^2}`, where :math:`\sigma` is a true upper
    bound of the spectral norm of W, and no activation is steeper than 1: the map is a bijection whatever the parameters are.
    The log-determinant is that of the exact Jacobian, whose product of matrices is made beside g: for events of some tens of elements.
    For more, `ResidualModule.estimate` draws an unbiased estimate of it, to train with. The inverse takes, a fixed number of times, a
    Newton or a fixed-point step, whichever comes nearer; its gradients are implicit. The layer starts as the identity; all real values to
    all real values.
    Source: Invertible Residual Networks (Behrmann et al., 2019); Residual Flows for Invertible Generative Modeling (Chen et al., 2019).

    Args:
        widths: Width of each hidden layer.
        coefficient: :math:`\kappa`, in (0, 1).
        activation: One of ``lipswish, elu, tanh, sin``.

    >>> layer = Residual((16,)).build(3, context_shape=2)
    >>> layer(torch.zeros(5, 3), torch.zeros(5, 2))[1].shape
    torch.Size([5])
    """

    widths: Annotated[Sequence[Count], Length(1)] = (64, 64)
    coefficient: Annotated[float, Within(above=0.0, below=1.0)] = 0.9
    activation: Annotated[str, OneOf(*ACTIVATIONS)] = "lipswish"

    event_dim = 1
    inverse_method = "a fixed number of Newton or fixed-point steps"
    formula = "y = x + g(x),  |g(a) - g(b)| <= coefficient |a - b|"
    size = "sum((a + 1) * b for a, b in zip((D, *widths), (*widths, D)))"
    log_det = "determinant of the Jacobian; power series, unbiased, on request"

    def make(self, event_shape: Shape, context_shape: Shape | None) -> Layer:
        return ResidualModule(self, event_shape, context_shape)


def norm_bound(matrix: Tensor, steps: int = 6) -> Tensor:
    r"""Return an upper bound of the spectral norm, beyond it by a factor of :math:`n^{1/128}` at most, n the rank.

    :math:`\|W\|_2 = \|(W^\top W)^{2^k}\|_2^{2^{-k-1}}`, which the Frobenius norm bounds from above. Only products, so it differentiates,
    and unlike a power iteration it is never below the norm.
    Source: Efficient Bound of Lipschitz Constant for Convolutional Layers by Gram Iteration (Delattre et al., 2023).
    """
    gram = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.mT
    log_scale = gram.new_zeros(())
    for _ in range(steps):
        size = _frobenius(gram)
        gram, log_scale = gram / size, 2 * (log_scale + torch.log(size))
        gram = torch.matmul(gram, gram.mT)
    return torch.exp((log_scale + torch.log(_frobenius(gram))) / 2**steps)


def _frobenius(matrix: Tensor) -> Tensor:
    return torch.sqrt((matrix * matrix).sum() + torch.finfo(matrix.dtype).tiny)


class WholeModule(Layer):
    """A layer of one network on the flat event; the context shifts its first layer."""

    def __init__(self, plan: Bijector, event_shape: Shape, context_shape: Shape | None, width: int) -> None:
        super().__init__(plan, event_shape, context_shape)
        self.rank = len(event_shape)
        self.context = nn.Linear(math.prod(context_shape), width, bias=False) if context_shape is not None else None
        if self.context is not None:
            nn.init.zeros_(self.context.weight)

    def seen(self, inputs: str) -> str:
        """Return in words what the parameters see."""
        return inputs if self.context is None else f"{inputs} and the context"

    def enter(self, x: Tensor, context: Tensor | None, bias: Tensor) -> tuple[Tensor, Tensor]:
        """Return flat values, with the batch of the context, and the first bias with what the context adds."""
        value = numerics.finer(x if self.rank == 1 else x.flatten(x.dim() - self.rank))
        given = flat_context(context, self.context_shape)
        if self.context is None or given is None:
            return value, bias
        given, weight = numerics.finer(given), numerics.finer(self.context.weight)
        return value.expand(*torch.broadcast_shapes(value.shape[:-1], given.shape[:-1]), -1), bias + torch.matmul(given, weight.mT)

    def leave(self, x: Tensor, y: Tensor, ladj: Tensor) -> tuple[Tensor, Tensor]:
        """Return the result in the shape and the precision of ``x``."""
        y = y if self.rank == 1 else y.unflatten(-1, self.event_shape)
        return y.to(x.dtype), ladj.to(numerics.working(x).dtype)


class ResidualModule(WholeModule):
    """A built residual layer."""

    def __init__(self, plan: Residual, event_shape: Shape, context_shape: Shape | None) -> None:
        super().__init__(plan, event_shape, context_shape, plan.widths[0])
        elements = math.prod(event_shape)
        sizes = (elements, *plan.widths, elements)
        self.activation, self.coefficient = plan.activation, plan.coefficient
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in zip(sizes, sizes[1:], strict=False))
        for parameter in self.layers[-1].parameters():
            nn.init.zeros_(parameter)
        self.facts = Facts(
            depends_on=self.seen("all inputs"), uses_context=self.context is not None, effort=(Effort(), Effort(2 * STEPS + 3))
        )

    def push(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        value, weights, biases = self._prepare(x, context)
        g, jacobian, _ = self._residual(value, weights, biases)
        return self.leave(x, value + g, self._log_det(jacobian))

    def pull(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        target, weights, biases = self._prepare(y, context)
        x = target
        with torch.no_grad():
            g, jacobian, _ = self._residual(x, weights, biases)
            error = g
            for _ in range(STEPS):
                tries = torch.stack([x - _solve(jacobian, error), x - error])
                g, jacobians, _ = self._residual(tries, weights, biases)
                errors = tries + g - target
                # The fixed-point step, the second, always brings the error down; Newton's mostly squares it.
                size = torch.amax(torch.abs(errors), -1, keepdim=True)
                newton = size[0] < size[1]
                x, error = torch.where(newton, tries[0], tries[1]), torch.where(newton, errors[0], errors[1])
                jacobian = torch.where(newton[..., None], jacobians[0], jacobians[1])
        for _ in range(2):
            g, jacobian, _ = self._residual(x, weights, biases)
            update = _solve(jacobian, x + g - target)
            x = x - torch.where(torch.isfinite(update), update, 0.0)
        return self.leave(y, x, -self._log_det(self._residual(x, weights, biases)[1]))

    def estimate(
        self, x: Tensor, context: Tensor | None = None, *, exact: int = 2, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        r"""Return ``(y, ladj)`` of the forward map with an unbiased estimate of ladj, at the cost of some passes.

        :math:`\log|\det(I + J)| = \sum_k (-1)^{k+1} \mathrm{tr}(J^k) / k`: traces with random signs (Hutchinson), and a random number
        of terms, each divided by the probability that it is reached (Russian roulette). That falls like :math:`\kappa^k`,
        so the variance is finite.

        Args:
            x: ``(*batch, *event)``.
            context: ``(*batch, *context)``, or None.
            exact: Number of terms that are always there.
            generator: Where the random numbers come from (None: torch's global generator).
        """
        value, weights, biases = self._prepare(x, self.admit("x", x, self.event_shape, context))
        g, _, slopes = self._residual(value, weights, biases, jacobian=False)
        device = "cpu" if generator is None else generator.device
        luck = float(torch.rand((), dtype=torch.float64, generator=generator, device=device).clamp(min=1e-300))
        terms = exact + math.floor(math.log(luck) / math.log(self.coefficient))
        signs = torch.empty(g.shape, dtype=g.dtype, device=device).bernoulli_(0.5, generator=generator).to(g.device) * 2 - 1
        vector, total = signs, g.new_zeros(g.shape[:-1])
        for k in range(1, terms + 1):
            for weight, slope in zip(reversed(weights[1:]), reversed(slopes), strict=True):
                vector = slope * torch.matmul(vector, weight)
            vector = torch.matmul(vector, weights[0])
            reached = self.coefficient ** max(k - exact, 0)
            total = total + (-1) ** (k + 1) / (k * reached) * (vector * signs).sum(-1)
        return self.leave(x, value + g, total)

    def _prepare(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        """Return flat values, weights within their bounds, and biases, the first with what the context adds."""
        share = self.coefficient ** (1 / len(self.layers))
        weights, biases = [], []
        for layer in self.layers:
            weight, bias = numerics.finer(layer.weight), numerics.finer(layer.bias)  # type: ignore[arg-type]
            weights.append(weight * (share * torch.rsqrt(1 + norm_bound(weight) ** 2)))
            biases.append(bias)
        value, biases[0] = self.enter(x, context, biases[0])
        return value, weights, biases

    def _residual(
        self, x: Tensor, weights: list[Tensor], biases: list[Tensor], jacobian: bool = True
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Return g, its transposed Jacobian ``(*batch, D, D)`` and the slopes of the hidden layers."""
        h, through, slopes = torch.matmul(x, weights[0].mT) + biases[0], weights[0].mT, []
        for weight, bias in zip(weights[1:], biases[1:], strict=True):
            value, slope = ACTIVATIONS[self.activation](h)
            slopes.append(slope)
            h = torch.matmul(value, weight.mT) + bias
            if jacobian:
                through = torch.matmul(through * slope.unsqueeze(-2), weight.mT)
        return h, through, slopes

    @staticmethod
    def _log_det(jacobian: Tensor) -> Tensor:
        found: Tensor = torch.linalg.slogdet(jacobian + torch.eye(jacobian.shape[-1], dtype=jacobian.dtype, device=jacobian.device))[1]
        return found


def _solve(jacobian: Tensor, error: Tensor) -> Tensor:
    """Return ``(I + J)⁻¹`` times the error, from the transpose of J; a row that is not finite does not raise."""
    matrix = jacobian.mT + torch.eye(jacobian.shape[-1], dtype=jacobian.dtype, device=jacobian.device)
    x: Tensor = torch.linalg.solve_ex(matrix, error.unsqueeze(-1))[0]
    return x.squeeze(-1)
