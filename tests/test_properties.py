"""Properties of random flows: whatever plan is drawn, the distribution that it builds is whole."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

import pushforward
import pushforward.bijectors as bij
from pushforward.core.spec import Spec
from pushforward.distributions import DiagNormal, Flow, StandardNormal
from pushforward.testing import randomize
from pushforward.testing.flow_laws import doubt

NETS = st.sampled_from([bij.MLP((6,)), bij.MLP((5, 7), "tanh"), bij.ResidualMLP(6, 1, "silu")])
KERNELS = st.one_of(
    st.builds(bij.Affine, st.floats(0.5, 3.0)),
    st.builds(bij.Spline, st.integers(2, 6), st.floats(1.0, 6.0), st.sampled_from(["quadratic", "linear"])),
)
FEATURES = st.shared(st.integers(1, 4), key="features")
CONTEXT = st.shared(st.none() | st.integers(1, 3), key="context")


@st.composite
def layers(draw):
    """Draw a layer of all real values that fits the features and the context."""
    features, context = draw(FEATURES), draw(CONTEXT)
    kernel, net = draw(KERNELS), draw(NETS)
    kind = draw(st.integers(0, 8))
    if kind == 0:
        return kernel
    if kind == 1:
        return bij.Elementwise(kernel, net if context else None)
    if kind == 2:
        return bij.Coupling(kernel, draw(st.sampled_from(["halves", "alternating"])), draw(st.booleans()), net)
    if kind == 3:
        return bij.Autoregressive(kernel, draw(st.none() | st.permutations(range(features))), net=net)
    if kind == 4:
        return bij.InverseAutoregressive(kernel, draw(st.none() | st.permutations(range(features))), net=net)
    if kind == 5:
        return bij.Permute(draw(st.permutations(range(features))))
    if kind == 6:
        return bij.Linear(draw(st.booleans()))
    if kind == 7:
        return bij.LeakyReLU(draw(st.floats(0.3, 3.0)))
    return bij.Standardize()


CHAINS = st.lists(st.one_of(layers(), st.builds(bij.Inverse, layers()), st.builds(bij.Compose, st.lists(layers(), max_size=2))), max_size=4)
ENDS = st.sampled_from(
    [[], [bij.Exp()], [bij.Sigmoid()], [bij.Tanh(), bij.AffineFixed(1.0, 2.0)], [bij.Softplus(), bij.Power(2.0)], [bij.ELU()]]
)


@st.composite
def flows(draw, bounded=True):
    features, context = draw(FEATURES), draw(CONTEXT)
    plan = [*draw(CHAINS), *(draw(ENDS) if bounded else [])]
    base = draw(st.sampled_from([StandardNormal(), DiagNormal()]))
    if context:
        plan.insert(0, bij.Elementwise(bij.Affine(), draw(NETS)))
    seed = draw(st.integers(0, 1000))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        flow = Flow(base, plan, features, context)
    return randomize(flow, 0.5, seed).double(), seed


def given_context(flow, rows, seed):
    generator = torch.Generator().manual_seed(seed)
    return None if flow.context_shape is None else torch.randn(rows, *flow.context_shape, generator=generator, dtype=torch.float64)


def saturated():
    """Return a flow some of whose samples lie within a rounding of the ends of their support, where no density is known."""
    plan = [bij.Elementwise(bij.Affine(), bij.MLP((6,))), bij.Linear(False), bij.Tanh(), bij.AffineFixed(1.0, 2.0)]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        flow = Flow(StandardNormal(), plan, 4, 1)
    return randomize(flow, 0.5, 1).double(), 1


@settings(max_examples=60, deadline=None)
@given(drawn=flows())
@example(drawn=saturated())
def test_scores_what_it_samples(drawn):
    flow, seed = drawn
    context = given_context(flow, 6, seed)
    shape = (2,) if context is not None else (2, 6)
    y, log_prob = flow.rsample_and_log_prob(shape, context, generator=torch.Generator().manual_seed(seed))
    assert y.shape == (2, 6, *flow.event_shape)
    assert log_prob.shape == (2, 6)
    assert flow.support.check(y).all()
    again = flow.log_prob(y, context)
    assert torch.isfinite(again).all()
    assert ((again - log_prob).abs() <= 1e-6 * (1 + log_prob.abs()) + doubt(flow, y, context)).all()
    assert torch.equal(y, flow.rsample(shape, context, generator=torch.Generator().manual_seed(seed)))


def test_few_samples_are_too_near_an_end_to_be_scored():
    """The example above is compared where it can be, which is in most rows."""
    flow, seed = saturated()
    context = given_context(flow, 6, seed)
    y = flow.sample((2,), context, generator=torch.Generator().manual_seed(seed))
    bound = doubt(flow, y, context)
    assert 1 <= int(torch.isinf(bound).sum()) <= 3
    known = torch.isfinite(bound)
    assert (bound[known] < 0.1).all()
    assert int((bound < 1e-6).sum()) >= 8


@settings(max_examples=40, deadline=None)
@given(drawn=flows(bounded=False))
def test_the_jacobian_is_what_autograd_says(drawn):
    flow, seed = drawn
    context = given_context(flow, 1, seed)
    one = None if context is None else context[0]
    x = torch.randn(flow.base.event_shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    ladj = flow.transform(x, one)[1]
    matrix = torch.func.jacrev(lambda v: flow.transform(v, one)[0])(x)
    # Autograd's own determinant is as good as its matrix is conditioned.
    lost = 1e-14 * torch.linalg.cond(matrix)
    assert (ladj - torch.linalg.slogdet(matrix)[1]).abs() <= 1e-9 * (1 + ladj.abs()) + lost


@settings(max_examples=40, deadline=None)
@given(drawn=flows())
def test_every_parameter_that_matters_learns(drawn):
    flow, seed = drawn
    context = given_context(flow, 8, seed)
    y = flow.sample((8,) if context is None else (), context, generator=torch.Generator().manual_seed(seed))
    parameters = list(flow.parameters())
    if not parameters:
        return
    flow.log_prob(y, context).mean().backward()
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in parameters)
    assert any(p.grad is not None and (p.grad != 0).any() for p in parameters)


@settings(max_examples=30, deadline=None)
@given(drawn=flows())
def test_is_the_same_after_files_and_copies(drawn, tmp_path_factory):
    flow, seed = drawn
    context = given_context(flow, 5, seed)
    y = flow.sample((5,) if context is None else (), context, generator=torch.Generator().manual_seed(seed))
    expected = flow.log_prob(y, context)
    path = tmp_path_factory.mktemp("flow") / "flow.safetensors"
    flow.save(path)
    loaded = pushforward.load(path)
    assert Spec.from_json(flow.plan.to_json()) == flow.plan == loaded.plan
    for other in (loaded, copy.deepcopy(flow)):
        assert torch.equal(other.log_prob(y, context), expected)


@settings(max_examples=8, deadline=None)
@given(drawn=flows(), batch=st.integers(1, 50))
def test_describes_itself(drawn, batch):
    flow, _ = drawn
    description = flow.describe(batch=batch)
    assert description.parameters == sum(p.numel() for p in flow.parameters())
    assert sum(layer.parameters for layer in description.layers) + sum(p.numel() for p in flow.base.parameters()) == description.parameters
    assert f"{description.parameters:,} parameters" in str(description)
    shape = tuple(flow.base.event_shape)
    for layer in description.layers:
        assert layer.shape_in == layer.shape_out == shape
        assert layer.formula
        assert layer.depends_on
    assert description.training_bytes >= 4 * 8 * description.parameters


@settings(max_examples=30, deadline=None)
@given(drawn=flows())
def test_the_inverse_of_a_flow_is_its_inverse(drawn):
    flow, seed = drawn
    context = given_context(flow, 5, seed)
    turned = flow.plan.inv.build(flow.event_shape, flow.context_shape).double()
    turned.load_state_dict({f"module.{name}": value for name, value in flow.transform.state_dict().items()})
    x = torch.randn(5, *flow.base.event_shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    y, ladj = flow.transform(x, context)
    back, minus = turned(y, context)
    assert torch.equal(back, flow.transform.inverse(y, context)[0])
    assert torch.allclose(minus, -ladj, rtol=1e-5, atol=1e-5)
    assert turned.facts.evaluations == tuple(reversed(flow.transform.facts.evaluations))


@pytest.mark.parametrize("kernel", [bij.Affine(), bij.Spline(), bij.Spline(order="linear"), bij.Linear()], ids=repr)
def test_ten_thousand_random_parameter_sets_stay_finite(kernel):
    draw = torch.Generator().manual_seed(0)
    # From a tenth to a hundred times the usual size, each set with its own.
    sizes = 10 ** (3 * torch.rand(10_000, generator=draw) - 1)
    parameters = {
        name: (sizes.reshape(-1, *(1,) * start.dim()) * torch.randn(10_000, *start.shape, generator=draw)).requires_grad_()
        for name, start in kernel.init((2,)).items()
    }
    x = 3 * torch.randn(10_000, 2, generator=draw)
    for function in (kernel.forward, kernel.inverse):
        value, ladj = function(x, **parameters)
        assert torch.isfinite(value).all()
        assert torch.isfinite(ladj).all()
        gradients = torch.autograd.grad(torch.tanh(value).sum() + torch.tanh(ladj).sum(), list(parameters.values()), allow_unused=True)
        assert all(torch.isfinite(gradient).all() for gradient in gradients if gradient is not None)
