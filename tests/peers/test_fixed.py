"""Fixed maps beside Pyro, Zuko, nflows and torch: value, log-determinant and gradient, or where the peer is wrong."""

from __future__ import annotations

import math

import pyro.distributions.transforms as pyro
import pytest
import torch
import zuko.transforms as zuko
from nflows.transforms import nonlinearities as nflows
from torch.distributions import transforms as own

from pushforward.core import sets
from pushforward.core.compose import Compose
from pushforward.kernels.activations import CauchyCDF, CumulativeDistribution, Softclip
from pushforward.kernels.cholesky import Cholesky, CorrCholesky, LowerCholesky, PositiveDefinite
from pushforward.kernels.fixed import Cos, Sin
from pushforward.kernels.simplex import Ordered, SimplexToOrdered, StickBreaking
from pushforward.kernels.tails import LogTanh, PositivePower, SignedPower
from pushforward.layers.reshape import Reshape


def draw(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def agree(plan, theirs, x):
    """Compare value, log-determinant and the gradient of both with those of a torch transform."""
    module = plan.build(tuple(x.shape[1:]))
    results = []
    for ours in (True, False):
        point = x.clone().requires_grad_()
        if ours:
            y, ladj = module(point)
        else:
            y = theirs(point)
            ladj = theirs.log_abs_det_jacobian(point, y)
            ladj = ladj.sum(tuple(range(1, ladj.dim()))) if ladj.dim() > 1 else ladj
        results.append((y, ladj, torch.autograd.grad(torch.sin(y).sum() + ladj.sum(), point)[0]))
    for a, b in zip(*results, strict=True):
        assert torch.allclose(a, b, atol=1e-6, rtol=1e-6)
    assert torch.allclose(module.inverse(results[0][0])[0], x, atol=1e-6)


SIMPLEX = sets.Simplex().member(draw(5, 4))


@pytest.mark.parametrize(
    ("plan", "theirs", "x"),
    [
        (Softclip(2.0), zuko.SoftclipTransform(2.0), draw(5, 3)),
        (Sin(), zuko.SinTransform(), 0.9 * torch.atan(draw(5, 3))),
        (Cos(), zuko.CosTransform(), 0.5 * math.pi + 0.9 * torch.atan(draw(5, 3))),
        (PositivePower(1.7), pyro.PositivePowerTransform(1.7), draw(5, 3)),
        (StickBreaking(), own.StickBreakingTransform(), draw(5, 3)),
        (CorrCholesky(), own.CorrCholeskyTransform(), draw(5, 6)),
        (Ordered(), pyro.OrderedTransform(), draw(5, 4)),
        (Cholesky(), pyro.CholeskyTransform(), sets.PositiveDefinite().member(draw(5, 3, 3))),
        (Cholesky(correlation=True), pyro.CorrMatrixCholeskyTransform(), sets.PositiveDefinite(True).member(draw(5, 3, 3))),
        (CumulativeDistribution("Laplace"), own.CumulativeDistributionTransform(torch.distributions.Laplace(0.0, 1.0)), draw(5, 3)),
        (Reshape(4, (2, 2)), own.ReshapeTransform((4,), (2, 2)), draw(5, 4)),
    ],
)
def test_the_same_map(plan, theirs, x):
    agree(plan, theirs, x)


def test_signed_power_of_zuko_except_at_zero():
    alpha = torch.tensor([0.5, -0.5], dtype=torch.float64)
    plan = SignedPower(bound=1.0)
    module = plan.build(2).double()
    with torch.no_grad():  # undo the smooth bound
        module.parameters_of.offset.copy_(2 / math.pi * torch.tan(math.pi / 2 * alpha))
    x = draw(5, 2)
    y, ladj = module(x)
    theirs = zuko.SignedPowerTransform(alpha)
    assert torch.allclose(y, theirs(x))
    assert torch.allclose(ladj, theirs.log_abs_det_jacobian(x, y).sum(-1))
    zero = torch.zeros(2, dtype=torch.float64)
    assert torch.isnan(theirs(zero)[1]), "Zuko: 0 times infinity"
    assert torch.isfinite(module(zero)[1])


def test_positive_power_of_pyro_has_no_density_at_zero():
    zero = torch.zeros(1)
    theirs = pyro.PositivePowerTransform(2.0)
    assert torch.isnan(theirs.log_abs_det_jacobian(zero, theirs(zero))).all()
    assert torch.isfinite(PositivePower(2.0).build(1)(zero)[1])


def test_log_tanh_of_nflows_has_a_kink():
    ours, theirs = LogTanh(1.0).build(1), nflows.LogTanh(1.0)
    inner = torch.tensor([[0.4], [-0.9]], dtype=torch.float64)
    for a, b in zip(ours(inner), theirs(inner), strict=True):
        assert torch.allclose(a, b)
    beside = torch.tensor([[1 - 1e-7], [1 + 1e-7]], dtype=torch.float64)
    assert torch.allclose(*ours(beside)[1], atol=1e-5)
    jump = theirs(beside)[1].diff().abs()
    assert jump > 0.1, "nflows: alpha = (1 - tanh(tanh c)) / c, which is not the slope of tanh at c"


def test_cauchy_of_nflows():
    x = draw(5, 3)
    y, ladj = CauchyCDF().build(3)(x)
    theirs, log_slope = nflows.CauchyCDF()(x)
    assert torch.allclose(y, theirs)
    assert torch.allclose(ladj, log_slope if log_slope.shape == ladj.shape else log_slope.reshape(5, -1).sum(1))


def test_lower_triangles_of_torch_and_pyro_fill_a_whole_matrix():
    x = draw(5, 3, 3)
    row, column = torch.tril_indices(3, 3)
    for plan, theirs in (
        (LowerCholesky(), own.LowerCholeskyTransform()),
        (LowerCholesky("softplus"), pyro.SoftplusLowerCholeskyTransform()),
    ):
        y, ladj = plan.build(6)(x[:, row, column])
        assert torch.allclose(y, theirs(x))
        assert not theirs.bijective, "they take nine numbers of which six count, and have no log-determinant"
        jacobian = torch.func.vmap(torch.func.jacrev(lambda v, plan=plan: plan.build(6)(v)[0][row, column]))(x[:, row, column])
        assert torch.allclose(ladj, torch.linalg.slogdet(jacobian)[1])
    below = torch.tril_indices(3, 3, -1)
    from pyro.distributions.transforms.unit_cholesky import UnitLowerCholeskyTransform

    assert torch.allclose(LowerCholesky("unit").build(3)(x[:, below[0], below[1]])[0], UnitLowerCholeskyTransform()(x))
    assert torch.allclose(PositiveDefinite().build(6)(x[:, row, column])[0], own.PositiveDefiniteTransform()(x))


@pytest.mark.parametrize("anchor", [0.0, 0.3])
def test_simplex_to_ordered_of_pyro_is_wrong_off_zero(anchor):
    theirs = pyro.SimplexToOrderedTransform(torch.tensor(anchor, dtype=torch.float64))
    y, ladj = SimplexToOrdered(anchor).build(4)(SIMPLEX)
    assert torch.allclose(y, theirs(SIMPLEX))

    def reduced(coordinates):
        return theirs(torch.cat([coordinates, 1 - coordinates.sum(-1, keepdim=True)], -1))

    jacobian = torch.func.vmap(torch.func.jacrev(reduced))(SIMPLEX[:, :-1])
    assert torch.allclose(ladj, torch.linalg.slogdet(jacobian)[1])
    assert torch.allclose(ladj, theirs.log_abs_det_jacobian(SIMPLEX, y)) == (anchor == 0)


def test_cat_and_stack_of_torch():
    from pushforward.kernels.fixed import Exp, Tanh
    from pushforward.layers.parts import Concatenate, Stack

    x = draw(5, 3)
    agree(Concatenate([Exp(), Tanh()], [1, 2]), own.CatTransform([own.ExpTransform(), own.TanhTransform()], 1, [1, 2]), x)
    agree(Stack([Exp(), Compose([]), Tanh()]), own.StackTransform([own.ExpTransform(), own.identity_transform, own.TanhTransform()], 1), x)
