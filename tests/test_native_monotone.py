"""The compiled monotone networks and polynomials: rounded once, at any size, out to infinity and back."""

from __future__ import annotations

import math

import pytest
import torch

import pushforward.bijectors as bij
from pushforward.kernels.kernel import reference
from pushforward.native.elementwise import KINDS, MONOTONIC_NETWORK, elementwise
from pushforward.native.layout import MAX_BINS
from pushforward.testing import randomize

pytestmark = pytest.mark.compiled

PLANS = [
    bij.MonotonicNetwork(),
    bij.MonotonicNetwork(units=1, panels=1, bound=0.5),
    bij.MonotonicNetwork(units=2, panels=32, bound=50.0),
    bij.DeepSigmoid(units=1),
    bij.DeepSigmoid(units=8),
    bij.DeepSigmoid(units=5, activation="tanh"),
    bij.SumOfSquares(),
    bij.SumOfSquares(degree=1, terms=1, bound=0.5, slope=0.9),
    bij.SumOfSquares(degree=9, terms=2, bound=50.0, slope=1e-6, tails="gentle"),
    bij.Bernstein(),
    bij.Bernstein(degree=3, bound=0.5, tails="gentle"),
    bij.Bernstein(degree=64, bound=50.0, tails="gentle"),
    bij.Bernstein(degree=6, tails="identity"),
    bij.Bernstein(degree=20, bound=2.0, tails="identity"),
]
ROWS = 96

each_plan = pytest.mark.parametrize("plan", PLANS, ids=repr)
both_ways = pytest.mark.parametrize("inverse", [False, True], ids=["forward", "inverse"])


def generator(seed):
    return torch.Generator().manual_seed(seed)


def parameters(plan, scale, rows, seed=0):
    start = torch.cat([value.flatten() for value in plan.init((1,)).values()])
    return start + scale * torch.randn(rows, len(start), generator=generator(seed))


def points(plan, rows, far=1e30):
    """Return places in the box and beyond it, at its ends and beside them, zero, denormal and far out."""
    bound = torch.tensor(float(getattr(plan, "bound", 4.0)))
    inner, outer = torch.nextafter(bound, torch.tensor(0.0)), torch.nextafter(bound, torch.tensor(1e9))
    special = torch.stack([bound, inner, outer, bound / 2, *torch.tensor([1e-40, 1e-10, 1e3, far])])
    spread = 1.5 * bound * (2 * torch.rand(rows - 2 * len(special) - 1, generator=generator(7)) - 1)
    return torch.cat([torch.zeros(1), special, -special, spread])[:, None]


def half_ulp(value):
    return 2.0 ** (torch.floor(torch.log2(value.abs().clamp(min=2.0**-126))) - 24)


def compiled(plan, inverse=False):
    return lambda x, theta: elementwise(x, theta, plan.code(), inverse)


def plain(plan, inverse=False):
    run = reference(plan)
    return lambda x, theta: run(x, theta, inverse)


def gradients(function, x, theta, gy, gladj):
    x, theta = x.detach().requires_grad_(), theta.detach().requires_grad_()
    return torch.autograd.grad(function(x, theta), (x, theta), (gy, gladj))


def terms(plan):
    """Return how many terms of a sum round in float64, at most."""
    return 8 * getattr(plan, "panels", 1) * getattr(plan, "units", 1) + getattr(plan, "degree", 0) ** 2


@both_ways
@each_plan
def test_values_and_slopes_are_rounded_once(plan, inverse):
    for scale in (0.0, 1.0, 10.0, 100.0):
        x, theta = points(plan, ROWS), parameters(plan, scale, ROWS)
        exact = plain(plan, inverse)(x.double(), theta.double())
        found, fine = compiled(plan, inverse)(x, theta), compiled(plan, inverse)(x.double(), theta.double())
        # What reference and compiled code in float64 may differ by: where a map is flat, its inverse magnifies that.
        size = torch.exp(exact[1][:, None].clamp(min=0)) if inverse else 1.0
        allowed = [(16 + terms(plan)) * 2.0**-52 * of for of in ((size + exact[0].abs()), (1 + size) * (1 + exact[1][:, None].abs()))]
        for ours, precise, right, slack in zip(found, fine, exact, allowed, strict=True):
            slack = slack.reshape(right.shape) if right.dim() == 1 else slack
            assert ((precise - right).abs() <= 8 * slack).all(), scale
            assert ((ours.double() - right).abs() <= half_ulp(right) + 8 * slack).all(), scale


@both_ways
@each_plan
def test_gradients_are_rounded_once(plan, inverse):
    for scale in (1.0, 10.0, 100.0):
        x, theta = points(plan, ROWS, far=100.0), parameters(plan, scale, ROWS, seed=3)
        cotangents = torch.randn(ROWS, 1, generator=generator(5)), torch.randn(ROWS, generator=generator(6))
        wide = [t.double() for t in (x, theta, *cotangents)]
        exact, fine = gradients(plain(plan, inverse), *wide), gradients(compiled(plan, inverse), *wide)
        single = gradients(compiled(plan, inverse), x, theta, *cotangents)
        for ours, precise, right in zip(single, fine, exact, strict=True):
            size = 1 + right.abs().amax(1, keepdim=True)
            assert ((precise - right).abs() <= 1e-10 * size).all(), scale
            # The gradient of the inverse starts from its value as it was rounded.
            assert ((ours.double() - right).abs() <= (2.0**-24 * right.abs() + 1e-10 * size if not inverse else 1e-3 * size)).all(), scale
            if inverse:
                assert ((ours.double() - right).abs() / size).median() <= 4 * 2.0**-24


@each_plan
def test_what_comes_back_is_what_was_there(plan):
    for scale in (1.0, 100.0, 1e4):
        y, theta = points(plan, ROWS).double(), parameters(plan, scale, ROWS, seed=5).double()
        x, ladj = compiled(plan, True)(y, theta)
        again, slope = compiled(plan)(x, theta)
        # What is rounded on the way: the place, the value, and a location that may be far from it.
        size = 1 + y.abs() + x.abs() * torch.exp(slope)[:, None] + theta[:, :1].abs()
        assert ((again - y).abs() <= (16 + terms(plan)) * 2.0**-52 * size).all(), scale
        assert torch.allclose(slope, -ladj, rtol=1e-6, atol=1e-6), scale


@both_ways
@each_plan
def test_infinity_is_mapped_to_itself_with_the_slope_far_out(plan, inverse):
    run, theta = compiled(plan, inverse), parameters(plan, 3.0, 2, seed=1)
    ends, far = torch.tensor([[-math.inf], [math.inf]]), torch.tensor([[-1e30], [1e30]])
    for dtype in (torch.float32, torch.float64):
        for function in (run, plain(plan, inverse)):
            y, ladj = function(ends.to(dtype), theta.to(dtype))
            assert torch.equal(y, ends.to(dtype))
            assert torch.allclose(ladj, run(far.to(dtype), theta.to(dtype))[1], atol=1e-6)
            gx, gtheta = gradients(function, ends.to(dtype), theta.to(dtype), torch.ones(2, 1, dtype=dtype), torch.ones(2, dtype=dtype))
            assert (gx == 1).all()
            assert torch.isfinite(gtheta).all()
    assert all(out.isnan().all() for out in run(torch.full((2, 1), math.nan), theta))


def test_every_size_of_a_polynomial():
    cases = [bij.SumOfSquares(degree, 2, tails=tails) for degree in range(1, 17) for tails in ("linear", "gentle")]
    cases += [bij.Bernstein(degree, tails=tails) for degree in (3, 4, 5, 127, 128) for tails in ("linear", "gentle")]
    cases += [bij.Bernstein(degree, tails="identity") for degree in (6, 7, 8, 127, 128)]
    for plan in cases:
        x, theta = points(plan, 40, far=30.0).double(), parameters(plan, 1.0, 40, seed=2).double()
        cotangents = torch.ones(40, 1, dtype=torch.float64), torch.ones(40, dtype=torch.float64)
        for ours, theirs in zip(
            (*compiled(plan)(x, theta), *gradients(compiled(plan), x, theta, *cotangents)),
            (*plain(plan)(x, theta), *gradients(plain(plan), x, theta, *cotangents)),
            strict=True,
        ):
            assert torch.allclose(ours, theirs, rtol=1e-10, atol=1e-10), plan


def test_larger_sizes_than_the_library_takes_go_to_the_reference():
    most = KINDS[MONOTONIC_NETWORK].bins[-1]
    larger = [bij.MonotonicNetwork(most + 1), bij.DeepSigmoid(MAX_BINS + 1), bij.SumOfSquares(terms=65)]
    other = [bij.DeepSigmoid(layers=2), bij.DeepSigmoid(activation="elu"), bij.DeepSigmoid(activation="leaky_relu"), bij.DenseSigmoid()]
    for plan in (bij.MonotonicNetwork(most), bij.DeepSigmoid(MAX_BINS), bij.SumOfSquares(terms=64)):
        assert plan.code() is not None
    for plan in (*larger, *other):
        assert plan.code() is None
    for plan in (larger[0], larger[2], bij.MonotonicNetwork(most), bij.SumOfSquares(terms=64)):
        layer = randomize(plan.build(2), 1.0, 0).double()
        x = torch.randn(3, 2, generator=generator(1), dtype=torch.float64)
        found, wanted = layer(x), plain(plan)(x, layer.parameters_of.flat())
        assert all(torch.allclose(a, b, atol=1e-10) for a, b in zip(found, wanted, strict=True))
        assert torch.allclose(layer.inverse(found[0])[0], x, atol=1e-9)
