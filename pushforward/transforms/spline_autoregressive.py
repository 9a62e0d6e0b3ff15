"""Autoregressive splines: the spline of each number sees the numbers before it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pushforward.kernel import Kernel
from pushforward.transforms.autoregressive import given, made, sized
from pushforward.transforms.elementwise import spline_kernel
from pushforward.transforms.planned import Planned
from pushforward.transforms.planned_conditional import PlannedConditional
from pushforward.transforms.sizes import size


class SplineAutoregressive(Planned):
    """Autoregressive splines: the spline of each number sees the numbers before it.

    Args:
        input_dim: D.
        autoregressive_nn: ``nn(x)`` gives widths, heights, slopes and (order ``"linear"``) middles: K, K, K - 1 and K for each number.
        count_bins: K.
        bound: As in `Spline`.
        order: As in `Spline`.
    """

    autoregressive = True

    def __init__(
        self, input_dim: int, autoregressive_nn: Callable[..., Any], count_bins: int = 8, bound: float = 3.0, order: str = "linear"
    ) -> None:
        kernel, rows = spline_kernel(self.label(), count_bins, bound, order)
        super().__init__(sized(input_dim, given(autoregressive_nn, kernel, False, rows)), 1, autoregressive_nn)


class ConditionalSplineAutoregressive(PlannedConditional):
    """`SplineAutoregressive` whose network sees a context as well, ``nn(x, context=c)``; the keywords are the same."""

    def __init__(self, input_dim: int, autoregressive_nn: Callable[..., Any], **kwargs: Any) -> None:
        kernel, rows = _kernel(self.label(), **kwargs)
        super().__init__(sized(input_dim, given(autoregressive_nn, kernel, True, rows)), 1, autoregressive_nn)


def _kernel(owner: str, count_bins: int = 8, bound: float = 3.0, order: str = "linear") -> tuple[Kernel, int]:
    return spline_kernel(owner, count_bins, bound, order)


def spline_autoregressive(
    input_dim: int, hidden_dims: Sequence[int] | None = None, count_bins: int = 8, bound: float = 3.0, order: str = "linear"
) -> SplineAutoregressive:
    """Return a `SplineAutoregressive` with a masked perceptron (two hidden layers of ``10 D``) and a random order.

    >>> spline_autoregressive(5, order="quadratic")(torch.zeros(7, 5)).shape
    torch.Size([7, 5])
    """
    kernel = spline_kernel("spline_autoregressive", count_bins, bound, order)[0]
    layer = made("spline_autoregressive", kernel, input_dim, None, hidden_dims, lambda features: [10 * features] * 2)
    return SplineAutoregressive.of(layer, 1)


def conditional_spline_autoregressive(
    input_dim: int,
    context_dim: int,
    hidden_dims: Sequence[int] | None = None,
    count_bins: int = 8,
    bound: float = 3.0,
    order: str = "linear",
) -> ConditionalSplineAutoregressive:
    """Return a `ConditionalSplineAutoregressive` with a masked perceptron (two hidden layers of ``10 D``) and a random order."""
    owner = "conditional_spline_autoregressive"
    kernel = spline_kernel(owner, count_bins, bound, order)[0]
    layer = made(owner, kernel, input_dim, size(owner, "context_dim", context_dim), hidden_dims, lambda features: [10 * features] * 2)
    return ConditionalSplineAutoregressive.of(layer, 1)
