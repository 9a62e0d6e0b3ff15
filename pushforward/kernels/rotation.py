"""Rotations: orthogonal matrices from angles, in three ways."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from pushforward.core.fields import OneOf
from pushforward.core.numerics import constant, finer
from pushforward.kernels.exponential import bounded, exponential
from pushforward.kernels.kernel import Kernel
from pushforward.kernels.linear import apply, strictly_lower

# Largest norm of the skew matrix, in units of sqrt(D). A rotation by pi in all planes has pi: exponentials reach all rotations.
BOUNDS = {"exponential": 4.0, "cayley": 100.0}
METHODS = (*BOUNDS, "givens")


@dataclass(frozen=True, repr=False)
class Rotation(Kernel):
    r"""Rotation of vectors, :math:`y = R x` with :math:`R^\top R = I` and :math:`\det R = 1`.

    One angle for each pair of features, in the skew matrix :math:`A = -A^\top`:

    - ``exponential``: :math:`R = e^{\bar A}`, where :math:`\bar A = A / \sqrt{1 + |A|^2 / b^2}` with :math:`b = 4 \sqrt D` has a
      bounded norm; every rotation can be reached.
    - ``cayley``: :math:`R = (I - \bar A / 2)^{-1} (I + \bar A / 2)`, with :math:`b = 100 \sqrt D`; every rotation without a half turn.
    - ``givens``: a product of rotations in the planes of neighbouring features, in 2D - 3 steps: no matrix to make, so it is
      the one for few features given a context; periodic in each angle; every rotation can be reached.

    ``D (D - 1) / 2`` parameters, all zero for the identity; acts on the last event axis; all real vectors to all real vectors.
    Source: On Orthogonal Jacobians: Cheap Orthogonal Constraints in Neural Networks (Lezcano-Casado, Martínez-Rubio, 2019);
    On Stable Parallel Linear System Solvers (Sameh, Kuck, 1978) for the order of the Givens rotations.

    Args:
        method: ``"exponential"``, ``"cayley"`` or ``"givens"``.

    >>> Rotation().build(3)(torch.tensor([1.0, 2.0, 3.0]))[0].detach()
    tensor([1., 2., 3.])
    """

    method: Annotated[str, OneOf(*METHODS)] = "exponential"

    event_dim = 1
    is_affine = True
    formula = "y = R x,  R = exp(A), (I - A/2)^-1 (I + A/2) or a product of plane rotations,  A' = -A"
    size = "D * (D - 1) // 2"

    def init(self, shape: tuple[int, ...]) -> dict[str, Tensor]:
        return {"angles": torch.zeros(shape[-1] * (shape[-1] - 1) // 2)}

    def forward(self, x: Tensor, angles: Tensor) -> tuple[Tensor, Tensor]:
        return self._turn(x, angles, 1), x.new_zeros(())

    def inverse(self, y: Tensor, angles: Tensor) -> tuple[Tensor, Tensor]:
        return self._turn(y, angles, -1), y.new_zeros(())

    def _turn(self, x: Tensor, angles: Tensor, sign: int) -> Tensor:
        # In float64, so that each direction rounds once, at the end.
        fine, angles, size = finer(x), finer(angles), x.shape[-1]
        if self.method == "givens":
            return _givens(fine, angles, sign).to(x.dtype)
        bound = BOUNDS[self.method] * size**0.5
        lower = strictly_lower(angles, size)
        skew = bounded(lower - lower.mT, bound)
        if self.method == "exponential":
            matrix = exponential(skew, bound)
        else:
            eye = torch.eye(size, dtype=skew.dtype, device=x.device)
            matrix = torch.linalg.solve(eye - 0.5 * skew, eye + 0.5 * skew)
        return apply(matrix if sign > 0 else matrix.mT, fine).to(x.dtype)


def _sheets(size: int) -> tuple[list[list[int]], list[list[int]], list[list[float]]]:
    """Return for each sheet and feature which angle turns it (the last, D(D-1)/2, is no angle), with which partner and which sign."""
    count = size * (size - 1) // 2
    steps = max(2 * size - 3, 0)
    angle = [[count] * size for _ in range(steps)]
    partner = [list(range(size)) for _ in range(steps)]
    sign = [[0.0] * size for _ in range(steps)]
    # The order in which Givens rotations of neighbouring rows make a matrix triangular: entry (i, j) in step D - 1 - i + 2j.
    for i in range(1, size):
        for j in range(i):
            step = size - 1 - i + 2 * j
            angle[step][i - 1] = angle[step][i] = i * (i - 1) // 2 + j
            partner[step][i - 1], partner[step][i] = i, i - 1
            sign[step][i - 1], sign[step][i] = -1.0, 1.0
    return angle, partner, sign


def _givens(x: Tensor, angles: Tensor, sign: int) -> Tensor:
    """Return vectors turned sheet by sheet, the last sheet first if ``sign`` is -1."""
    angle, partner, side = _sheets(x.shape[-1])
    if not angle:
        return x
    padded = torch.cat([angles, angles.new_zeros((*angles.shape[:-1], 1))], -1)
    chosen = padded.index_select(-1, torch.tensor(angle, device=x.device).flatten()).unflatten(-1, (len(angle), -1))
    cosine, sine = torch.cos(chosen), torch.sin(chosen) * (sign * constant(side, x))
    partners = torch.tensor(partner, device=x.device)
    for step in range(len(angle))[::sign]:
        x = cosine[..., step, :] * x + sine[..., step, :] * x.index_select(-1, partners[step])
    return x
