"""Linear transforms of vectors by a matrix exponential."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pushforward.kernel import Elementwise
from pushforward.kernels import exponential
from pushforward.spec import PlanError
from pushforward.transforms.given import SOME, _Given
from pushforward.transforms.planned import Planned
from pushforward.transforms.planned_conditional import PlannedConditional
from pushforward.transforms.sizes import perceptron, size


def _exponential(iterations: int, normalization: str, bound: float | None) -> exponential.MatrixExponential:
    if normalization in ("weight", "spectral"):
        raise NotImplementedError(f"MatrixExponential: expected normalization 'none', got {normalization!r}; bound keeps the norm small")
    if normalization != "none":
        raise PlanError(f"MatrixExponential: expected normalization 'none', got {normalization!r}")
    if not isinstance(iterations, int) or iterations < 1:
        raise PlanError(f"MatrixExponential: expected iterations to be a whole number of at least 1, got {iterations!r}")
    return exponential.MatrixExponential() if bound is None else exponential.MatrixExponential(bound)


class MatrixExponential(Planned):
    """Linear map of vectors by a matrix exponential; `pushforward.bijectors.MatrixExponential` has the formulas. D^2 parameters.

    The exponential is exact to rounding, so ``iterations``, in Pyro the terms of a series, changes nothing.

    Args:
        input_dim: D.
        iterations: See above.
        normalization: ``"none"``.
        bound: Largest norm of the matrix (None: 5).
    """

    def __init__(self, input_dim: int, iterations: int = 8, normalization: str = "none", bound: float | None = None) -> None:
        super().__init__(_exponential(iterations, normalization, bound).build(size("MatrixExponential", "input_dim", input_dim)), 1)


class ConditionalMatrixExponential(PlannedConditional):
    """`MatrixExponential` whose matrix a network gives: ``nn(context)`` is ``(*batch, D^2)``."""

    def __init__(
        self, input_dim: int, nn: Callable[..., Any], iterations: int = 8, normalization: str = "none", bound: float | None = None
    ) -> None:
        plan = Elementwise(_exponential(iterations, normalization, bound), _Given(nn))
        super().__init__(plan.build(size("ConditionalMatrixExponential", "input_dim", input_dim), SOME), 1, nn)


def matrix_exponential(input_dim: int, iterations: int = 8, normalization: str = "none", bound: float | None = None) -> MatrixExponential:
    """Return a `MatrixExponential` of ``input_dim`` numbers."""
    return MatrixExponential(input_dim, iterations, normalization, bound)


def conditional_matrix_exponential(
    input_dim: int,
    context_dim: int,
    hidden_dims: Sequence[int] | None = None,
    iterations: int = 8,
    normalization: str = "none",
    bound: float | None = None,
) -> ConditionalMatrixExponential:
    """Return a `ConditionalMatrixExponential` with a perceptron of two hidden layers of ``10 D``."""
    owner = "conditional_matrix_exponential"
    features, context = size(owner, "input_dim", input_dim), size(owner, "context_dim", context_dim)
    net = perceptron(owner, hidden_dims, [10 * features] * 2)
    plan = Elementwise(_exponential(iterations, normalization, bound), net)
    return ConditionalMatrixExponential.of(plan.build(features, context), 1)
