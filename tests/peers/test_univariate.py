"""Polynomials and Gaussianization beside the same functions of Zuko and Pyro, with equivalent parameters; and where those are wrong."""

from __future__ import annotations

import math

import pyro.distributions.transforms as pyro
import pytest
import torch
import torch.nn.functional as F
import zuko.transforms as zuko

from pushforward.kernels.mixture import SCALE_BOUND, Gaussianization
from pushforward.kernels.polynomial import COEFFICIENT_BOUND, LOGIT_BOUND, Bernstein, SumOfSquares


def draw(*shape, seed=0, scale=1.0):
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def raw(value, bound):
    """Return the unconstrained parameter whose bounded value is given."""
    scale = 2 * bound / math.pi
    return scale * torch.tan(value / scale)


def agree(ours, theirs, x, *parameters, atol=1e-6):
    """Compare value, log-determinant, and their gradients by x and by the peer's parameters."""
    results = []
    for function in (ours, theirs):
        tensors = [t.clone().requires_grad_() for t in (x, *parameters)]
        y, ladj = function(*tensors)
        results.append([y, ladj, *torch.autograd.grad(torch.sin(y).sum() + ladj.sum(), tensors)])
    for mine, other in zip(*results, strict=True):
        assert torch.allclose(mine, other, rtol=1e-6, atol=atol)


@pytest.mark.parametrize(("degree", "terms"), [(4, 3), (1, 1), (6, 2)])
def test_sum_of_squares_beside_zuko(degree, terms):
    plan = SumOfSquares(degree=degree, terms=terms, bound=10.0)

    def ours(x, a):
        constant = torch.zeros(degree + 1, dtype=a.dtype)
        constant[0] = 1 - math.sqrt(1 - plan.slope)
        coefficients = raw(a + constant, COEFFICIENT_BOUND).reshape(-1, 1)
        return plan.forward(x[:, None], loc=torch.zeros(1, dtype=x.dtype), coefficients=coefficients)

    def theirs(x, a):
        y, ladj = zuko.SOSPolynomialTransform(a).call_and_ladj(x)
        return y[:, None], ladj[:, None]

    agree(ours, theirs, torch.linspace(-9.9, 9.9, 100, dtype=torch.float64), draw(terms, degree + 1, scale=0.4))


def test_sum_of_squares_beside_pyro():
    features, degree, terms = 3, 4, 3
    plan = SumOfSquares(degree=degree, terms=terms, bound=1.0, slope=1e-9)

    def ours(x, a):
        shifted = math.sqrt(terms) * a - F.pad(torch.ones(terms, 1, features, dtype=a.dtype), (0, 0, 0, degree)) * math.sqrt(1 - 1e-9)
        coefficients = raw(shifted, COEFFICIENT_BOUND).flatten(0, 1)
        y, ladj = plan.forward(x, loc=torch.zeros(features, dtype=x.dtype), coefficients=coefficients)
        return y, ladj.sum(-1)

    def theirs(x, a):
        layer = pyro.Polynomial(lambda x: a.expand(len(x), -1, -1, -1), features, degree, terms).double()
        layer.c.data.zero_()
        y = layer(x)
        return y, layer.log_abs_det_jacobian(x, y)

    a = 0.3 * draw(terms, degree + 1, features) + F.pad(torch.full((terms, 1, features), 0.6, dtype=torch.float64), (0, 0, 0, degree))
    # Inside the box, beyond which Pyro's power goes on. It adds 1e-8 to the slope, which is what the tolerance is for.
    agree(ours, theirs, 0.9 * torch.tanh(draw(20, features)), a, atol=1e-5)


def test_pyro_adds_to_the_slope_and_has_no_inverse():
    layer = pyro.Polynomial(lambda x: torch.full((len(x), 1, 2, 1), 1e-4, dtype=x.dtype), 1, 1, 1).double()
    x = torch.zeros(1, 1, dtype=torch.float64, requires_grad=True)
    y = layer(x)
    true = torch.log(torch.autograd.grad(y.sum(), x)[0]).squeeze()
    assert float(true) == pytest.approx(2 * math.log(1e-4))
    assert abs(float(layer.log_abs_det_jacobian(x, y).detach()) - float(true)) > 0.5
    with pytest.raises(KeyError):
        layer.inv(y.detach() + 1)


def test_bernstein_beside_zuko():
    plan = Bernstein(degree=9)

    def ours(x, theta):
        steps = F.softplus(theta[1:])
        increments = raw(torch.log(steps * plan.degree / (2 * plan.bound)), LOGIT_BOUND)[:, None]
        total = steps.sum() + steps[0] + steps[-1]
        loc = theta[:1] - math.log(2.0) * len(theta) / 2 + 0.5 * total
        return plan.forward(x[:, None], increments=increments, loc=loc)

    def theirs(x, theta):
        y, ladj = zuko.BernsteinTransform(theta).call_and_ladj(x)
        return y[:, None], ladj[:, None]

    agree(ours, theirs, torch.linspace(-9.0, 9.0, 100, dtype=torch.float64), draw(plan.degree - 1))


def test_bernstein_with_identity_tails_beside_zuko():
    plan = Bernstein(degree=20, tails="identity")

    def ours(x, theta):
        return plan.forward(x[:, None], increments=raw(theta, LOGIT_BOUND)[:, None])

    def theirs(x, theta):
        y, ladj = zuko.BoundedBernsteinTransform(theta).call_and_ladj(x)
        return y[:, None], ladj[:, None]

    agree(ours, theirs, torch.linspace(-4.9, 4.9, 100, dtype=torch.float64), draw(plan.degree - 4))


def gaussianization(x, shift, scale):
    plan = Gaussianization(components=len(shift))
    theta = {"shifts": raw(shift, plan.shift_bound)[:, None], "scales": raw(scale, SCALE_BOUND)[:, None]}
    return plan.forward(x[:, None], weights=torch.zeros(len(shift), 1, dtype=x.dtype), **theta)


def test_gaussianization_beside_zuko():
    def ours(x, shift, scale):
        # Zuko shrinks twice the probability less 1/2 by a millionth; with that done to ours the two are the same.
        y, ladj = gaussianization(x, shift, scale)
        shrunk = math.sqrt(2) * torch.erfinv((1 - 1e-6) * torch.erf(y / math.sqrt(2)))
        return shrunk, ladj + math.log(1 - 1e-6) + 0.5 * (shrunk * shrunk - y * y)

    def theirs(x, shift, scale):
        y, ladj = zuko.GaussianizationTransform(shift, scale).call_and_ladj(x)
        return y[:, None], ladj[:, None]

    agree(ours, theirs, torch.linspace(-1.5, 1.5, 50, dtype=torch.float64), draw(8), draw(8, seed=1, scale=0.3))


def test_zuko_gaussianization_ends_near_five():
    shift, scale = torch.zeros(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)  # the identity
    layer, x = zuko.GaussianizationTransform(shift, scale), torch.tensor([3.0, 6.0, 30.0], dtype=torch.float64)
    assert layer(x)[2] < 5.1
    assert layer(x)[0] != pytest.approx(3.0, abs=1e-5)
    assert torch.allclose(gaussianization(x, shift, scale)[0][:, 0], x, atol=1e-12)


def test_zuko_inverts_in_a_box_without_a_word():
    y = torch.tensor([1e6, -1e6], dtype=torch.float64)
    for layer in (zuko.GaussianizationTransform(draw(4), draw(4)), zuko.SOSPolynomialTransform(draw(3, 5, scale=0.3))):
        assert torch.allclose(layer.inv(y).abs(), torch.full_like(y, 10.0), atol=1e-3)
    plan = Gaussianization(components=4)
    theta = {name: draw(*value.shape) for name, value in plan.init((1,)).items()}
    x, _ = plan.inverse(y[:, None], **theta)
    assert torch.allclose(plan.forward(x, **theta)[0], y[:, None], rtol=1e-12)
