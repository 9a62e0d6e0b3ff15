"""Transforms of numbers, each with parameters of its own: splines and batch normalisation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pushforward.kernel import Elementwise
from pushforward.kernels import spline as splines
from pushforward.structures import normalize
from pushforward.transforms.given import SOME, _Given
from pushforward.transforms.layout import Elements, NormElements
from pushforward.transforms.planned import Planned
from pushforward.transforms.planned_conditional import PlannedConditional
from pushforward.transforms.sizes import perceptron, size


def spline_kernel(owner: str, count_bins: int, bound: float, order: str) -> tuple[splines.Spline, int]:
    """Return a spline with Pyro's arguments, and how many parameters it has for each number; ``owner`` is what errors begin with."""
    bins = size(owner, "count_bins", count_bins, 2)
    return splines.Spline(bins, bound, order), (4 if order == "linear" else 3) * bins - 1


class Spline(Planned):
    """A monotone rational spline of each of D numbers; `pushforward.bijectors.Spline` has the formulas. It starts as the identity.

    ``event_dim`` is 0: the log-determinant is one for each number. D (4K - 1) parameters, or D (3K - 1) of order ``"quadratic"``.

    Args:
        input_dim: D.
        count_bins: K.
        bound: Half the width of the box outside of which a value stays as it is.
        order: ``"linear"`` or ``"quadratic"``.

    >>> import torch
    >>> Spline(2, count_bins=16).log_abs_det_jacobian(torch.zeros(5, 2), torch.zeros(5, 2)).shape
    torch.Size([5, 2])
    """

    sign = 1

    def __init__(self, input_dim: int, count_bins: int = 8, bound: float = 3.0, order: str = "linear") -> None:
        kernel, _ = spline_kernel(self.label(), count_bins, bound, order)
        super().__init__(Elements(kernel.build(size(self.label(), "input_dim", input_dim))), 0)  # type: ignore[arg-type]


class ConditionalSpline(PlannedConditional):
    """`Spline` whose parameters a network gives, from the context.

    Args:
        nn: ``nn(context)`` gives widths, heights, slopes and (order ``"linear"``) middles, each ``(*batch, D K)``, slopes ``D (K - 1)``.
        input_dim: D.
        count_bins: K.
        bound: As in `Spline`.
        order: As in `Spline`.

    >>> from pushforward.transforms import DenseNN
    >>> ConditionalSpline(DenseNN(3, [20], [16, 16, 14, 16]), 2, 8).condition(torch.zeros(5, 3))(torch.zeros(5, 2)).shape
    torch.Size([5, 2])
    """

    def __init__(self, nn: Callable[..., Any], input_dim: int, count_bins: int, bound: float = 3.0, order: str = "linear") -> None:
        kernel, rows = spline_kernel(self.label(), count_bins, bound, order)
        layer = Elementwise(kernel, _Given(nn, rows=rows)).build(size(self.label(), "input_dim", input_dim), SOME)
        super().__init__(Elements(layer), 0, nn)  # type: ignore[arg-type]


class BatchNorm(Planned):
    r"""Batch normalisation as a transform of D numbers: statistics that follow the data, with a learned scale and location.

    Both directions use what is stored, in training as in evaluation, so they are inverses of one another and a row is scored alone.
    Pyro's moves its statistics whenever it scores in training, and then uses those of the batch. Here nothing moves in a call:
    ``update(y)``, of the transform or of the `TransformedDistribution`, does, with the rows of each training step.
    2D parameters; ``event_dim`` is 0. `pushforward.bijectors.BatchNorm` has the formulas.

    Args:
        input_dim: D.
        momentum: Weight of a new batch.
        epsilon: What is added to each variance.

    >>> layer = BatchNorm(1)
    >>> layer.update(torch.tensor([[0.0], [2.0]]))
    >>> layer.inv(torch.tensor([[2.0]])).round(decimals=3)
    tensor([[1.]], grad_fn=<RoundBackward1>)
    """

    sign = 1

    def __init__(self, input_dim: int, momentum: float = 0.1, epsilon: float = 1e-5) -> None:
        plan = normalize.BatchNorm(momentum, epsilon)
        super().__init__(NormElements(plan.build(size(self.label(), "input_dim", input_dim))), 0)  # type: ignore[arg-type]


def spline(input_dim: int, **kwargs: Any) -> Spline:
    """Return a `Spline` of ``input_dim`` numbers."""
    return Spline(input_dim, **kwargs)


def conditional_spline(
    input_dim: int,
    context_dim: int,
    hidden_dims: Sequence[int] | None = None,
    count_bins: int = 8,
    bound: float = 3.0,
    order: str = "linear",
) -> ConditionalSpline:
    """Return a `ConditionalSpline` with a perceptron of two hidden layers, ten units wide for each number.

    >>> conditional_spline(2, context_dim=3).condition(torch.zeros(5, 3))(torch.zeros(5, 2)).shape
    torch.Size([5, 2])
    """
    owner = "conditional_spline"
    features, context = size(owner, "input_dim", input_dim), size(owner, "context_dim", context_dim)
    net = perceptron(owner, hidden_dims, [10 * features] * 2)
    layer = Elementwise(spline_kernel(owner, count_bins, bound, order)[0], net).build(features, context)
    return ConditionalSpline.of(Elements(layer), 0)  # type: ignore[arg-type]


def batchnorm(input_dim: int, **kwargs: Any) -> BatchNorm:
    """Return a `BatchNorm` of ``input_dim`` numbers."""
    return BatchNorm(input_dim, **kwargs)
