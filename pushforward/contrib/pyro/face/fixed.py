"""Fixed transforms that Pyro adds to torch's: no parameters, for values of any size."""

from __future__ import annotations

import warnings

from torch import Tensor
from torch.distributions.transforms import CorrCholeskyTransform

from pushforward.contrib.pyro.face.layout import Lazy, OnDim
from pushforward.contrib.pyro.face.planned import PlannedMap
from pushforward.contrib.pyro.face.sizes import negative
from pushforward.core import sets
from pushforward.core.bijector import Bijector
from pushforward.core.compose import Compose
from pushforward.core.spec import PlanError
from pushforward.kernels import cholesky, fixed, projections, simplex, tails, wavelet
from pushforward.layers.rearrange import Reverse

__all__ = [
    "CholeskyTransform", "CorrLCholeskyTransform", "CorrMatrixCholeskyTransform", "DiscreteCosineTransform", "ELUTransform",
    "HaarTransform", "LeakyReLUTransform", "Normalize", "OrderedTransform", "PositivePowerTransform", "SoftplusTransform", "elu",
    "leaky_relu",
]  # fmt: skip


class Fixed(PlannedMap):
    """A plan without parameters as a transform: no module, since it has no tensors, and equal to another that has an equal plan.

    Args:
        plan: The plan.
        event_dim: How many axes a transformed event has.
        dim: The event axis on which the plan acts on vectors (None: it acts on events as they are).
    """

    def __init__(self, plan: Bijector, event_dim: int, dim: int | None = None) -> None:
        super().__init__(Lazy(plan, event_dim) if dim is None else OnDim(Lazy(plan, 1), dim), event_dim)

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and isinstance(other, Fixed) and (self.plan, self.rank) == (other.plan, other.rank)

    def __hash__(self) -> int:
        return hash((type(self), self.plan))


class ELUTransform(Fixed):
    """Exponential linear unit, from all real numbers to those above -1; `pushforward.bijectors.ELU`.

    >>> ELUTransform().inv(torch.tensor(-0.5))
    tensor(-0.6931)
    """

    sign = 1

    def __init__(self, cache_size: int = 0) -> None:
        super().__init__(fixed.ELU(), 0)


class LeakyReLUTransform(Fixed):
    """Leaky rectifier of slope 0.01 below zero; `pushforward.bijectors.LeakyReLU`."""

    sign = 1

    def __init__(self, cache_size: int = 0) -> None:
        super().__init__(fixed.LeakyReLU(), 0)


class SoftplusTransform(Fixed):
    """Softplus, from all real numbers to the positive ones; `pushforward.bijectors.Softplus`."""

    sign = 1

    def __init__(self, cache_size: int = 0) -> None:
        super().__init__(fixed.Softplus(), 0)


class PositivePowerTransform(Fixed):
    """Power that keeps the sign, of all real numbers; `pushforward.bijectors.PositivePower`.

    Args:
        exponent: A positive number; a power that is learned is ``SignedPower`` of `pushforward.bijectors`.
        cache_size: As in `TransformModule`.
        validate_args: Taken for the sake of code written for Pyro; the exponent is always checked.
    """

    sign = 1

    def __init__(self, exponent: float | Tensor, *, cache_size: int = 0, validate_args: bool | None = None) -> None:
        if isinstance(exponent, Tensor) and (exponent.numel() != 1 or exponent.requires_grad):
            raise PlanError(
                f"PositivePowerTransform: expected exponent to be a single number, got {exponent!r}; "
                "use pushforward.bijectors.SignedPower for powers that are many or learned"
            )
        super().__init__(tails.PositivePower(float(exponent) if isinstance(exponent, Tensor) else exponent), 0)


class DiscreteCosineTransform(Fixed):
    """Discrete cosine transform along an axis; `pushforward.bijectors.DiscreteCosine`.

    Args:
        dim: The axis, negative; an event has ``-dim`` axes.
        smooth: Power of the frequency by which each coefficient is weighted.
        cache_size: As in `TransformModule`.
    """

    def __init__(self, dim: int = -1, smooth: float = 0.0, cache_size: int = 0) -> None:
        super().__init__(wavelet.DiscreteCosine(smooth), -negative(self.label(), dim), dim)


class HaarTransform(Fixed):
    """Haar wavelet transform along an axis; `pushforward.bijectors.Haar`.

    Args:
        dim: The axis, negative; an event has ``-dim`` axes.
        flip: Whether to turn the order of the values round first.
        cache_size: As in `TransformModule`.
    """

    def __init__(self, dim: int = -1, flip: bool = False, cache_size: int = 0) -> None:
        plan = wavelet.Haar()
        super().__init__(Compose([Reverse(), plan]) if flip else plan, -negative(self.label(), dim), dim)


class OrderedTransform(Fixed):
    """Real vectors to increasing ones; `pushforward.bijectors.Ordered`."""

    def __init__(self, cache_size: int = 0) -> None:
        super().__init__(simplex.Ordered(), 1)


class CholeskyTransform(Fixed):
    """Positive definite matrices to their Cholesky factors; `pushforward.bijectors.Cholesky`."""

    def __init__(self, cache_size: int = 0) -> None:
        super().__init__(cholesky.Cholesky(), 2)


class CorrMatrixCholeskyTransform(Fixed):
    """Correlation matrices to their Cholesky factors; `pushforward.bijectors.CorrMatrixCholesky`."""

    def __init__(self, cache_size: int = 0) -> None:
        super().__init__(cholesky.CorrMatrixCholesky(), 2)


class CorrLCholeskyTransform(CorrCholeskyTransform):
    """torch's `CorrCholeskyTransform` by an old name."""

    def __init__(self, cache_size: int = 0) -> None:
        warnings.warn("CorrLCholeskyTransform is an old name of CorrCholeskyTransform", FutureWarning, stacklevel=2)
        super().__init__(cache_size=0)


class Normalize(Fixed):
    """Projection onto the unit sphere; no bijection, so it can sample and not score; `pushforward.bijectors.Normalize`.

    The inverse, as torch has it for maps that are no bijections, is some value with that image: the value itself.
    """

    bijective = False

    def __init__(self, p: float = 2, cache_size: int = 0) -> None:
        super().__init__(projections.Normalize(p), 1)

    codomain = sets.SPHERE

    def _inverse(self, y: Tensor) -> Tensor:
        self._admit("y", y)
        return y

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        raise NotImplementedError("Normalize: expected to be asked for images alone; a projection has no log-determinant")


def elu() -> ELUTransform:
    """Return an `ELUTransform`."""
    return ELUTransform()


def leaky_relu() -> LeakyReLUTransform:
    """Return a `LeakyReLUTransform`."""
    return LeakyReLUTransform()
