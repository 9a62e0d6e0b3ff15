"""Bases that are made of distribution functions: truncated ones and order statistics."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.distributions as td
from cases import SMALL
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from pushforward.bases import BoxUniform, DiagNormal, MixtureOfNormals, OrderStatistics, StandardNormal, StudentT, Truncated, wrap
from pushforward.distributions import Flow
from pushforward.testing import randomize

INF = math.inf

# name -> (plan, scipy's distribution of one element)
CUT = {
    "normal": (Truncated(StandardNormal(), -1.0, 2.0), stats.truncnorm(-1, 2)),
    "normal, from below": (Truncated(StandardNormal(), 1.5), stats.truncnorm(1.5, INF)),
    "normal, from above": (Truncated(StandardNormal(), upper=-3.0), stats.truncnorm(-INF, -3)),
    "normal, far out": (Truncated(StandardNormal(), 8.0, 9.0), stats.truncnorm(8, 9)),
    "normal, farther out": (Truncated(StandardNormal(), -41.0, -40.0), stats.truncnorm(-41, -40)),
    "normal, not at all": (Truncated(StandardNormal()), stats.norm()),
    "torch's normal": (Truncated(wrap(td.Normal(torch.ones(2), 2.0)), 21.0), stats.truncnorm(10, INF, 1, 2)),
    "exponential": (Truncated(wrap(td.Exponential(torch.ones(2))), -1.0, 1.0), stats.truncexpon(1.0)),
    "box": (Truncated(BoxUniform(), 0.5, 3.0), stats.uniform(0.5, 0.5)),
    "twice": (Truncated(Truncated(StandardNormal(), 0.0, 2.0), upper=1.0), stats.truncnorm(0, 1)),
}


@pytest.mark.parametrize("name", CUT)
def test_truncated_is_scipys(name):
    plan, known = CUT[name]
    base = plan.build((2,)).double()
    x = base.rsample(torch.Size((4000,)), None, torch.Generator().manual_seed(3))
    low, high = base.ends
    assert bool(base.support.check(x).all())
    assert bool(((x > low[0]) & (x < high[0])).all())
    assert stats.kstest(x.flatten().numpy(), known.cdf).pvalue > 1e-4
    assert torch.allclose(base.log_prob(x), torch.as_tensor(known.logpdf(x.numpy())).sum(-1), rtol=1e-9, atol=1e-9)
    assert torch.allclose(plan.build((2,)).log_prob(x.float()), base.log_prob(x.float().double()).float(), rtol=1e-5, atol=1e-5)
    lower, upper = base.log_tails(x)
    assert torch.allclose(torch.logaddexp(lower, upper), torch.zeros_like(x), atol=1e-11)
    assert torch.allclose(base.quantile(lower - upper), x, rtol=1e-11, atol=1e-11)
    single = plan.build((2,)).rsample(torch.Size((2000,)), None, torch.Generator().manual_seed(4))
    assert single.dtype == torch.float32
    assert bool(torch.isfinite(plan.build((2,)).log_prob(single)).all())


@settings(max_examples=40, deadline=None)
@given(st.floats(-37, 37), st.floats(-9, 3))
def test_slivers_of_a_normal_have_all_their_digits(start, log_width):
    stop = start + 10**log_width
    base = Truncated(StandardNormal(), start, stop).build((1,)).double()
    nodes, weights = np.polynomial.legendre.leggauss(60)
    pieces = np.linspace(start, min(stop, 40.0), 41)
    points = torch.as_tensor((pieces[:-1, None] + np.diff(pieces)[:, None] * 0.5 * (nodes + 1)).reshape(-1, 1))
    area = torch.as_tensor((np.diff(pieces)[:, None] * 0.5 * weights).reshape(-1))
    # An end as a number has a rounding, which is more of a sliver the thinner it is.
    assert float(area @ base.log_prob(points).exp()) == pytest.approx(1, rel=1e-9 + 1e-13 / 10**log_width)


def test_ends_for_each_element_and_outside():
    base = Truncated(StandardNormal(), (-1.0, -INF), (INF, 0.5)).build((2,))
    x = torch.tensor([[-1.0, 0.5], [-1.1, 0.0], [0.0, 0.6], [math.nan, 0.0], [0.0, -5.0]], requires_grad=True)
    result = base.log_prob(x)
    assert result[1:3].tolist() == [-INF, -INF]
    assert torch.isnan(result[3])
    mass = stats.norm.sf(-1) * stats.norm.cdf(0.5)
    assert result[4].item() == pytest.approx(stats.norm.logpdf([0, -5]).sum() - math.log(mass), abs=1e-5)
    (gradient,) = torch.autograd.grad(result[[0, 1, 2, 4]].sum(), x)
    assert bool(torch.isfinite(gradient).all())
    assert base.support.check(x.detach()[1:]).tolist() == [False, False, False, True]
    assert base.support.check(torch.tensor([[-0.99, 0.49], [-0.99, 0.51], [-1.01, 0.49]])).tolist() == [True, False, False]
    assert Truncated(StandardNormal(), 0.0).build(()).rsample(torch.Size((3,))).shape == (3,)
    assert Flow(Truncated(StandardNormal(), 0.0), [], ()).log_prob(torch.tensor([0.5, -0.5])).tolist()[1] == -INF


@pytest.mark.parametrize("plan", [Truncated(DiagNormal(), -0.3, 1.2), Truncated(MixtureOfNormals(2), -0.3)], ids=["normal", "mixture"])
def test_samples_have_gradients_that_keep_the_distribution_function(plan):
    base = randomize(plan.build((1,)), 0.4).double()
    offset = base.base.parameters_of.offset
    x = base.rsample(torch.Size(()), None, torch.Generator().manual_seed(1))
    (gradient,) = torch.autograd.grad(x.sum(), offset)
    odds = torch.sub(*base.log_tails(x.detach())).detach()
    for index in range(len(offset)):
        ends = []
        for step in (1e-6, -1e-6):
            with torch.no_grad():
                offset[index] += step
                ends.append(base.quantile(odds).item())
                offset[index] -= step
        assert gradient[index].item() == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-6, abs=1e-8), index
    assert torch.isfinite(torch.autograd.grad(base.log_prob(x.detach()).sum(), offset)[0]).all()


def test_a_truncated_base_learns_what_was_cut_off():
    generator = torch.Generator().manual_seed(0)
    data = 0.5 + 1.5 * torch.randn(20000, 1, generator=generator)
    data = data[data > 1.0].unsqueeze(-1)
    flow = Flow(Truncated(DiagNormal(), 1.0), [], event_shape=1)
    optimizer = torch.optim.LBFGS(flow.parameters(), max_iter=100, line_search_fn="strong_wolfe")

    def loss():
        optimizer.zero_grad()
        value = -flow.log_prob(data).mean()
        value.backward()
        return value

    optimizer.step(loss)
    low, high = flow.base.base.log_prob(torch.tensor([[[0.5]], [[2.0]]])).detach().flatten().tolist()
    assert low - high == pytest.approx(0.5, abs=0.1)  # one standard deviation from the mean of what was there before the cut


# name -> (base, scipy's distribution of one draw)
DRAWN = {
    "normal": (StandardNormal(), stats.norm()),
    "box": (BoxUniform(-1.0, 2.0), stats.uniform(-1, 3)),
    "torch's": (wrap(td.Exponential(2.0)), stats.expon(scale=0.5)),
    "cut": (Truncated(StandardNormal(), 0.0), stats.truncnorm(0, INF)),
    "mixture": (MixtureOfNormals(1), stats.norm()),
}


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("name", DRAWN)
def test_each_order_statistic_is_scipys(name, descending):
    plan, known = DRAWN[name]
    base = OrderStatistics(plan, 5, descending).build((2,)).double()
    generator = None if "torch" in name else torch.Generator().manual_seed(0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        x = base.rsample(torch.Size((4000,)), None, generator).detach()
    assert bool(base.support.check(x).all())
    for index in range(2):
        u = known.cdf(x[:, index].numpy())
        assert stats.kstest(1 - u if descending else u, stats.beta(index + 1, 5 - index).cdf).pvalue > 1e-4
    beyond = known.logcdf(x[:, 1].numpy()) if descending else known.logsf(x[:, 1].numpy())
    expected = math.log(20) + known.logpdf(x.numpy()).sum(-1) + 3 * beyond
    assert torch.allclose(base.log_prob(x).detach(), torch.as_tensor(expected), rtol=1e-9, atol=1e-9)
    assert bool((base.log_prob(x.flip(-1)) == -INF).all())


def test_a_sorted_sample_needs_no_distribution_function():
    base = OrderStatistics(StudentT(3.0, learn_df=False)).build((4,)).double()
    x = base.rsample(torch.Size((6,)), None, torch.Generator().manual_seed(0)).detach()
    single = StudentT(3.0, learn_df=False).build(()).double()
    assert torch.allclose(base.log_prob(x), single.log_prob(x).sum(-1) + math.log(24))
    assert torch.equal(x.sort(-1).values, x)


def test_extremes_far_out_gradients_and_contexts():
    base = OrderStatistics(StandardNormal(), 10**6, descending=True).build(()).double()
    x = torch.tensor([4.0, 5.0, 39.0, -39.0, INF, math.nan], dtype=torch.float64, requires_grad=True)
    result = base.log_prob(x)
    expected = math.log(10**6) + stats.norm.logpdf(x[:4].detach()) + (10**6 - 1) * stats.norm.logcdf(x[:4].detach())
    assert torch.allclose(result[:4].detach(), torch.as_tensor(expected), rtol=1e-9)
    assert result[4] == -INF
    assert torch.isnan(result[5])
    assert torch.isfinite(torch.autograd.grad(result[:4].sum(), x)[0][:4]).all()
    box = OrderStatistics(BoxUniform(), 3).build((2,))
    x = torch.tensor([[0.0, 0.5], [0.2, 1.0], [0.2, 1.1], [-0.1, 0.5], [0.3, 0.3], [0.4, 0.3]], requires_grad=True)
    result = box.log_prob(x)
    assert result.exp().tolist() == pytest.approx([3.0, 0.0, 0.0, 0.0, 4.2, 0.0], abs=1e-5)
    assert torch.isfinite(torch.autograd.grad(result[[0, 2, 3, 4, 5]].sum(), x)[0]).all()
    given = OrderStatistics(DiagNormal(net=SMALL), 4).build((2,), (3,))
    randomize(given, 0.5)
    context = torch.randn(7, 3, generator=torch.Generator().manual_seed(0))
    drawn = given.rsample(torch.Size((5, 7)), context, torch.Generator().manual_seed(0))
    assert drawn.shape == (5, 7, 2)
    whole = given.log_prob(drawn, context)
    alone = torch.stack([given.log_prob(drawn[:, i], context[i]) for i in range(7)], 1)
    assert torch.allclose(whole, alone, atol=1e-5)
    (gradient,) = torch.autograd.grad(drawn.sum(), given.base.parameters_of.net.layers[-1].bias)
    assert bool((gradient != 0).all())
