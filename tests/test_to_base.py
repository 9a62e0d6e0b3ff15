"""A conditioned flow's transform: from data to base, as Zuko has it, and a transform of torch in all else."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.distributions as td

import pushforward
from pushforward import bijectors as bij
from pushforward.distributions import BoxUniform
from pushforward.testing import randomize


def flow_of(context):
    torch.manual_seed(0)
    made = pushforward.MAF(3, context or 0, transforms=1, widths=(8,)).double()
    return randomize(made, 0.5)


@pytest.mark.parametrize("contexts", [None, (), (5,), (4, 1)])
def test_it_goes_to_the_base_and_back_in_one_pass_each(contexts):
    flow = flow_of(None if contexts is None else 2)
    c = None if contexts is None else torch.randn(*contexts, 2, dtype=torch.float64)
    transform = flow(c).transform
    x = torch.randn(5, 3, dtype=torch.float64)
    z, ladj = transform.call_and_ladj(x)
    assert torch.equal(z, flow.to_base(x, c)[0])
    assert torch.equal(transform(x), z)
    assert torch.equal(transform.log_abs_det_jacobian(x, z), ladj)
    torch.testing.assert_close(transform.inv(z), x.expand(z.shape))
    torch.testing.assert_close(transform.inv.call_and_ladj(z)[1], -ladj)
    assert transform.forward_shape(x.shape) == transform.inverse_shape(z.shape) == z.shape
    assert transform.inv.inv == transform == flow(c).transform
    assert transform != transform.inv
    assert hash(transform) == hash(flow(c).transform)
    for _ in range(2):  # nothing is kept: it follows the flow
        randomize(flow, 0.5, seed=3)
        assert torch.equal(transform(x), flow.to_base(x, c)[0])
    assert torch.equal(copy.deepcopy(transform)(x), transform(x))
    assert repr(transform.inv).endswith(".inv")


def test_torch_takes_it_as_a_transform():
    flow, c, x = flow_of(2), torch.randn(2, dtype=torch.float64), torch.randn(7, 3, dtype=torch.float64)
    base = td.Independent(td.Normal(torch.zeros(3, dtype=torch.float64), 1.0), 1)
    made = td.TransformedDistribution(base, [flow(c).transform.inv])
    torch.testing.assert_close(made.log_prob(x), flow.log_prob(x, c))
    assert made.sample((4,)).shape == (4, 3)
    jacobian = torch.autograd.functional.jacobian(flow(c).transform, x[0])
    torch.testing.assert_close(torch.linalg.slogdet(jacobian)[1], flow(c).transform.log_abs_det_jacobian(x[0], x[0]))
    bounded = pushforward.Flow(BoxUniform(), [bij.Sigmoid().inv, bij.Exp()], 2)().transform
    assert bounded.domain.check(torch.ones(2))
    assert not bounded.domain.check(-torch.ones(2))
    assert not bounded.codomain.check(2 * torch.ones(2))
    assert bounded.inv.domain.check(torch.full((2,), 0.5))


def test_its_doors_are_those_of_the_flow():
    flow = flow_of(2)
    transform = flow(torch.zeros(2, dtype=torch.float64)).transform
    for call in (transform, transform.inv):
        with pytest.raises(ValueError, match=r"shape \(\*batch, 3\), got \(5, 2\)"):
            call(torch.zeros(5, 2, dtype=torch.float64))
        with pytest.raises(TypeError, match=r"got torch\.int64"):
            call(torch.zeros(5, 3, dtype=torch.int64))
        with pytest.raises(ValueError, match=r"expected values of shape \(\*batch, 3\), got \(2,\)"):
            call.forward_shape((2,))
        assert call(torch.zeros(0, 3, dtype=torch.float64)).shape == (0, 3)
    with pytest.raises(ValueError, match="expected a context"):
        _ = flow().transform
