"""Normalising layers and mixtures: what they measure, when, and that their densities are exact."""

from __future__ import annotations

import copy
import math

import pytest
import torch
import torch.distributions as td
from hypothesis import given, settings
from hypothesis import strategies as st

import pushforward as pf
import pushforward.bijectors as bij
from pushforward.bases.mixture import Mixture, Pushforward
from pushforward.bases.product import Product
from pushforward.core.compose import Compose
from pushforward.core.spec import PlanError
from pushforward.distributions import DiagNormal, Flow, StandardNormal, wrap
from pushforward.flows.mixture import mixture
from pushforward.layers.actnorm import ActNorm, BatchNorm
from pushforward.testing import check_flow, randomize

SMALL = bij.MLP((16, 16))
BOTH = pytest.mark.parametrize("plan", [ActNorm(), BatchNorm(epsilon=0.0)], ids=repr)


def rows(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


# Normalisation


@BOTH
@pytest.mark.parametrize("event", [(3,), (3, 4), (2, 3, 4), (1,)])
def test_calibrate_gives_mean_zero_and_variance_one_for_each_feature(plan, event):
    module = randomize(plan.build(event), 1.0).double()  # what was learned before is put back
    y = 5.0 + 3.0 * rows(200, *event) * torch.arange(1.0, event[0] + 1, dtype=torch.float64).reshape(-1, *(1,) * (len(event) - 1))
    module.calibrate(y)
    x, ladj = module.inverse(y)
    features = x.detach().movedim(1, -1).reshape(-1, event[0])
    assert torch.allclose(features.mean(0), torch.zeros(event[0], dtype=torch.float64), atol=1e-12)
    assert torch.allclose(features.std(0, correction=0), torch.ones(event[0], dtype=torch.float64), atol=1e-12)
    scale = y.movedim(1, -1).reshape(-1, event[0]).std(0, correction=0)
    assert torch.allclose(ladj, -(math.prod(event[1:]) * scale.log().sum()).expand(200), atol=1e-10)
    back, forward = module(x)
    assert torch.allclose(back, y, atol=1e-10)
    assert torch.allclose(forward, -ladj)


@BOTH
def test_nothing_is_measured_in_a_call(plan):
    module = plan.build((2,)).double()
    y = 100 + rows(50, 2)
    before = copy.deepcopy(module.state_dict())
    for mode in (True, False):
        module.train(mode)
        assert torch.equal(module.inverse(y)[0], y)
        assert torch.equal(module(y)[0], y)
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert not bool(module.calibrated)


@BOTH
def test_what_was_measured_is_in_the_state(plan):
    module = plan.build((2,))
    module.calibrate(rows(50, 2, dtype=torch.float32) * 7 + 3)
    assert set(module.state_dict()) == {"parameters_of.offset", "loc", "scale", "calibrated"}
    fresh = plan.build((2,))
    fresh.load_state_dict(module.state_dict())
    x = rows(5, 2, seed=1, dtype=torch.float32)
    assert bool(fresh.calibrated)
    assert torch.equal(fresh(x)[0], module(x)[0])


@BOTH
@pytest.mark.parametrize("value", [0.0, 0.1, -1e6, 3e-30])
def test_a_constant_feature_keeps_the_scale_one(plan, value):
    module = plan.build((2,))
    y = torch.stack([torch.full((1000,), value), rows(1000, dtype=torch.float32)], 1)
    module.calibrate(y)
    assert module.scale[0] == 1
    x, ladj = module.inverse(y)
    assert bool(torch.isfinite(x).all() & torch.isfinite(ladj).all())
    assert x[:, 0].abs().max() <= 1e-6 * max(1, abs(value))


@BOTH
@pytest.mark.parametrize(("offset", "spread"), [(1e5, 1.0), (0.0, 1e6), (-3.0, 1e-6), (1e6, 1e6)])
def test_data_of_any_size_comes_back(plan, offset, spread):
    module = plan.build((2,))
    y = offset + spread * rows(500, 2, dtype=torch.float32)
    module.calibrate(y)
    x = module.inverse(y)[0]
    eps = torch.finfo(torch.float32).eps
    assert x.abs().max() < 6
    assert ((module(x)[0] - y).abs() <= 4 * eps * (spread * x.abs() + y.abs() + abs(offset))).all()


@BOTH
def test_rows_that_cannot_be_measured_are_refused(plan):
    module = plan.build((2,))
    bad = torch.zeros(3, 2)
    bad[1, 0] = math.nan
    for y in (torch.zeros(0, 2), bad, bad.nan_to_num(nan=math.inf)):
        with pytest.raises(ValueError, match=rf"{type(plan).__name__}: expected rows of finite values, got (none|some)"):
            module.calibrate(y)
    assert not bool(module.calibrated)


@BOTH
def test_it_learns_after_it_was_calibrated(plan):
    module = plan.build((2,)).double()
    module.calibrate(rows(100, 2))
    y = 2 + rows(100, 2, seed=1)
    optimizer = torch.optim.Adam(module.parameters(), 0.05)
    losses = []
    for _ in range(100):
        x, ladj = module.inverse(y)
        loss = (0.5 * x.square().sum(-1) - ladj).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    x = module.inverse(y)[0].detach()
    assert losses[-1] < losses[0] - 1
    assert torch.allclose(x.mean(0), torch.zeros(2, dtype=torch.float64), atol=0.1)


@BOTH
def test_the_learned_part_is_an_affine_map_of_each_feature(plan):
    module, affine = randomize(plan.build((3, 2)), 2.0).double(), bij.Affine().build((3,)).double()
    affine.load_state_dict({"parameters_of.offset": module.parameters_of.offset})
    x = rows(4, 3, 2)
    columns = [affine(x[..., i]) for i in range(2)]
    y, ladj = module(x)
    assert torch.allclose(y, torch.stack([value for value, _ in columns], -1), atol=1e-13)
    assert torch.allclose(ladj, columns[0][1] + columns[1][1], atol=1e-13)


def test_a_flow_calibrates_layers_from_the_data_side():
    flow = Flow(StandardNormal(), [ActNorm(), bij.Coupling(bij.Affine(), net=SMALL), BatchNorm()], event_shape=2)
    y = 4 + 2 * rows(300, 2, dtype=torch.float32)
    flow.calibrate(y)
    outer, inner = flow.transform.layers[2], flow.transform.layers[0]
    assert torch.allclose(outer.loc, y.mean(0), atol=1e-5)
    assert torch.allclose(inner.scale, torch.ones(2), atol=1e-3)
    history = pf.fit(flow, y, epochs=3, progress=False)
    assert math.isfinite(history.best_loss)


@given(momentum=st.floats(0.01, 1.0), sizes=st.lists(st.integers(2, 20), min_size=1, max_size=5), seed=st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_updates_are_running_means(momentum, sizes, seed):
    module = BatchNorm(momentum, epsilon=1e-3).build((2,)).double()
    mean = square = None
    for index, size in enumerate(sizes):
        y = 3 + 2 * rows(size, 2, seed=100 * seed + index)
        module.update(y)
        m, v = y.mean(0), y.var(0, correction=0) + 1e-3
        mean = m if mean is None else (1 - momentum) * mean + momentum * m
        square = v if square is None else (1 - momentum) * square + momentum * v
    assert torch.allclose(module.loc, mean, atol=1e-12)
    assert torch.allclose(module.scale, square.sqrt(), atol=1e-12)


def test_an_update_keeps_what_was_learned_and_both_directions():
    module = randomize(BatchNorm().build((2,)), 1.0).double()
    before = module.parameters_of.offset.detach().clone()
    for seed in range(3):
        module.update(5 * rows(10, 2, seed=seed))
        y = rows(6, 2, seed=9)
        x, ladj = module.train().inverse(y)
        assert torch.allclose(module.eval()(x)[0], y, atol=1e-12)
        # A row gives the same whatever is beside it.
        assert torch.equal(module.train().inverse(y[:1])[0], x[:1])
        assert torch.equal(module.inverse(y[:1])[1], ladj[:1])
    assert torch.equal(module.parameters_of.offset, before)


def test_an_update_walks_a_chain():
    plan = Compose([BatchNorm(epsilon=0.0), ActNorm(), Compose([bij.Elementwise(bij.Affine(), net=SMALL), BatchNorm(epsilon=0.0)])])
    module = randomize(plan.build((2,), (3,)), 0.5).double()
    y, context = 4 + 3 * rows(64, 2), rows(64, 3, seed=1)
    module.update(y, context)
    assert not bool(module.layers[1].calibrated)
    outer = module.layers[2].layers[1]
    assert torch.allclose(outer.loc, y.mean(0))
    between = module.layers[1].inverse(module.layers[2].inverse(y, context)[0], context)[0].detach()
    assert torch.allclose(module.layers[0].loc, between.mean(0))
    assert torch.allclose(module.layers[0].scale, between.std(0, correction=0))


def test_statistics_follow_the_data_in_a_fit():
    flow = Flow(StandardNormal(), [BatchNorm(), bij.Coupling(bij.Spline(bins=4), net=SMALL), bij.Reverse(), BatchNorm()], event_shape=2)
    y = torch.sinh(rows(400, 2, dtype=torch.float32))
    history = pf.fit(flow, y, epochs=5, progress=False, mixture=0)
    assert all(bool(layer.calibrated) for layer in flow.transform.layers if layer.facts.has_statistics)
    assert history.best_loss < history.start
    assert check_flow(flow, scale=None, only=["sample and score in one pass", "file and copies"])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ActNorm(bound=0.0), "expected bound > 0"),
        (lambda: BatchNorm(momentum=0.0), "BatchNorm: expected momentum in"),
        (lambda: BatchNorm(momentum=1.5), "BatchNorm: expected momentum in"),
        (lambda: BatchNorm(epsilon=-1.0), "BatchNorm: expected epsilon >= 0"),
        (lambda: BatchNorm(epsilon=math.inf), "BatchNorm: expected epsilon >= 0"),
        (lambda: BatchNorm(momentum="0.1"), r"BatchNorm: expected momentum in \(0, 1\], got '0.1'"),
        (lambda: ActNorm().build(()), "expected an event of at least 1 axes"),
    ],
)
def test_wrong_normalisation_is_refused(make, message):
    with pytest.raises(PlanError, match=message):
        make()


# Mixtures


def component(plan=None):
    return Pushforward(StandardNormal(), bij.Affine() if plan is None else plan)


MIXTURES = {
    "free": lambda: Flow(Mixture([component(), component([bij.Coupling(bij.Spline(bins=4), net=SMALL)])]), [], 2),
    "one number": lambda: Flow(Mixture([component(), DiagNormal()]), bij.Spline(bins=4), 1),
    "given context": lambda: Flow(Mixture([component(bij.Elementwise(bij.Affine(), net=SMALL)), DiagNormal()], net=SMALL), [], 2, 3),
    "positive": lambda: Flow(Mixture([component([bij.Affine(), bij.Exp()]), component([bij.Affine(), bij.Softplus()])]), [], 1),
    "flows": lambda: mixture([pf.NSF(2, 1, transforms=1, widths=(16,)), pf.MAF(2, 1, transforms=1, widths=(16,))], net=SMALL),
}


@pytest.mark.parametrize("name", MIXTURES)
def test_mixtures_keep_the_laws_of_flows(name):
    check_flow(MIXTURES[name]())


def test_density_is_the_weighted_sum_of_the_components():
    flow = randomize(MIXTURES["given context"](), 1.0).double()
    y, context = rows(50, 2), rows(50, 3, seed=1)
    base = flow.base
    weights = base.log_weights(context).exp()
    density = sum(weights[:, k] * part.log_prob(y, context).exp() for k, part in enumerate(base.components))
    assert torch.allclose(flow.log_prob(y, context), density.log(), atol=1e-12)
    assert torch.allclose(weights.sum(-1), torch.ones(50, dtype=torch.float64))
    assert torch.allclose(torch.softmax(base.log_joint(y, context), -1).sum(-1), torch.ones(50, dtype=torch.float64))


def test_it_agrees_with_torch():
    loc, scale, weight = rows(3, 2), rows(3, 2, seed=1).exp(), rows(3, seed=2)
    normals = [wrap(td.Independent(td.Normal(loc[k], scale[k]), 1)) for k in range(3)]
    flow = Flow(Mixture(normals), [], 2).double()
    flow.base.parameters_of.offset.data.copy_(weight)
    theirs = td.MixtureSameFamily(td.Categorical(logits=weight), td.Independent(td.Normal(loc, scale), 1))
    y = (3 * rows(100, 2, seed=3)).requires_grad_()
    ours, other = flow.log_prob(y), theirs.log_prob(y)
    assert torch.allclose(ours, other, atol=1e-10)
    for a, b in zip(torch.autograd.grad(ours.sum(), y), torch.autograd.grad(other.sum(), y), strict=True):
        assert torch.allclose(a, b, atol=1e-10)


def test_samples_come_from_each_component_as_often_as_it_weighs():
    parts = [wrap(td.Independent(td.Normal(torch.tensor([loc]), torch.tensor([0.1])), 1)) for loc in (-10.0, 0.0, 10.0)]
    flow = Flow(Mixture(parts, net=SMALL), [], 1, 1)
    flow.base.parameters_of.net.layers[-1].bias.data.copy_(torch.tensor([0.2, 0.3, 0.5]).log())
    with torch.random.fork_rng():
        torch.manual_seed(0)
        drawn = flow.sample((20000,), torch.zeros(2, 1))
    for k, (centre, weight) in enumerate([(-10, 0.2), (0, 0.3), (10, 0.5)]):
        share = ((drawn - centre).abs() < 1).double().mean(0)
        assert (share - weight).abs().max() < 4 * math.sqrt(weight * (1 - weight) / 20000), k


def test_a_generator_is_all_that_a_sample_depends_on():
    flow = randomize(MIXTURES["given context"](), 1.0)
    context = torch.zeros(4, 3)
    state = torch.get_rng_state()
    one, two, other = (flow.sample((5,), context, generator=torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(one, two)
    assert not torch.equal(one, other)
    assert torch.equal(state, torch.get_rng_state())


def test_supports_that_differ_span_an_interval():
    uniform = wrap(td.Independent(td.Uniform(torch.zeros(1), torch.ones(1)), 1))
    exponential = wrap(td.Independent(td.Exponential(torch.ones(1)), 1))
    flow = Flow(Mixture([uniform, exponential]), [], 1).double()
    y = torch.tensor([[-1.0], [0.5], [2.0]], dtype=torch.float64, requires_grad=True)
    expected = torch.stack([torch.tensor(-math.inf), torch.tensor(0.5 + 0.5 * math.exp(-0.5)).log(), torch.tensor(math.log(0.5) - 2)])
    log_prob = flow.log_prob(y)
    assert torch.allclose(log_prob.float(), expected)
    # Nowhere near a value is any component: the density is 0, and no gradient is NaN.
    log_prob[1:].sum().backward()
    assert bool(torch.isfinite(y.grad).all())
    assert flow.support.check(torch.tensor([5.0]))
    assert not flow.support.check(torch.tensor([-0.1]))


def test_a_gap_between_components_has_density_zero_and_finite_gradients():
    parts = [wrap(td.Independent(td.Uniform(torch.tensor([low]), torch.tensor([low + 1])), 1)) for low in (0.0, 3.0)]
    flow = Flow(Mixture(parts), [], 1)
    log_prob = flow.log_prob(torch.tensor([[0.5], [2.0], [3.5]]))
    assert log_prob[1] == -math.inf
    gradient = torch.autograd.grad(log_prob[[0, 2]].sum(), flow.base.parameters_of.offset)[0]
    assert bool(torch.isfinite(gradient).all())


def test_components_that_start_alike_find_two_clusters():
    y = torch.cat([torch.randn(300, 2, generator=torch.Generator().manual_seed(0)) * 0.3 + 3, -3 + 0.5 * rows(300, 2).float()])
    flow = Flow(Mixture([component(), component()]), [], 2)
    history = pf.fit(flow, y, epochs=40, progress=False)
    one = Flow(StandardNormal(), [bij.Affine()], 2)
    assert history.best_loss < pf.fit(one, y, epochs=40, progress=False, mixture=0).best_loss - 1
    belongs = flow.base.log_joint(flow.transform.inverse(y)[0]).argmax(-1)
    assert len(set(belongs[:300].tolist())) == 1
    assert len(set(belongs[300:].tolist())) == 1
    assert belongs[0] != belongs[-1]


def test_noise_moves_a_new_mixture_apart_and_none_leaves_it():
    still = Mixture([DiagNormal(), DiagNormal()], noise=0.0).build((2,))
    assert all(not part.parameters_of.offset.any() for part in still.components)
    apart = Mixture([DiagNormal(), DiagNormal()]).build((2,))
    assert not torch.equal(apart.components[0].parameters_of.offset, apart.components[1].parameters_of.offset)


@pytest.mark.parametrize("context", [None, 1])
def test_calibrate_reaches_the_layers_of_each_component(context):
    learnt = bij.Elementwise(bij.Affine(), net=SMALL) if context else bij.Affine()
    parts = [Pushforward(StandardNormal(), [learnt, ActNorm()]), Pushforward(StandardNormal(), [learnt, bij.Standardize(), bij.Exp()])]
    flow = Flow(Mixture(parts), bij.AffineFixed(1.0, 2.0), 2, context).double()
    x = torch.cat([10 + rows(500, 2), -10 + 3 * rows(500, 2, seed=1)])  # after the layer above: around 4.5 and -5.5
    c = None if context is None else 7 + rows(1000, 1, seed=2)
    flow.calibrate(x, c)
    first, second = flow.base.components
    norm, units = first.transform.layers[1], second.transform.layers[1]
    y = (x - 1) / 2
    assert norm.calibrated
    assert torch.allclose(norm.loc, y.mean(0))
    assert torch.allclose(norm.scale, y.std(0, correction=0))
    # The second has positive values alone: it measures the rows that it could have made.
    inside = torch.log(y[(y > 0).all(1)])
    assert units.calibrated
    assert torch.allclose(units.loc, inside.mean(0))
    assert torch.allclose(units.scale, inside.std(0, correction=0))
    for component in (first, second) if context else ():
        assert component.context_units.calibrated
    assert torch.isfinite(flow.log_prob(x, c)).all()


def test_a_component_without_a_row_of_its_own_stays_as_it_is():
    parts = [Pushforward(StandardNormal(), bij.Standardize()), Pushforward(StandardNormal(), [bij.Standardize(), bij.Exp()])]
    flow = Flow(Mixture(parts), [], 1)
    flow.calibrate(-1 - torch.rand(20, 1))
    assert [bool(module.calibrated) for module in flow.modules() if hasattr(module, "calibrated")] == [True, False]


def test_calibrate_reaches_a_flow_inside_a_flow_and_a_block_of_a_product():
    inner = Pushforward(Pushforward(StandardNormal(), ActNorm()), bij.AffineFixed(0.0, 2.0))
    flow = Flow(Product([inner, StandardNormal()], [2, 1]), bij.AffineFixed(3.0, 1.0), 3).double()
    x = rows(100, 3)
    flow.calibrate(x)
    assert torch.allclose(flow.base.parts[0].base.transform.loc, (x[:, :2].mean(0) - 3) / 2)


def test_statistics_of_components_follow_the_data_in_a_fit():
    parts = [Pushforward(StandardNormal(), [bij.Affine(), BatchNorm(momentum=0.5)]), DiagNormal()]
    flow, x = Flow(Mixture(parts), [], 1), torch.tensor([[1.0], [5.0]])
    assert flow.base.facts.has_statistics
    flow.update(x)
    norm = flow.base.components[0].transform.layers[1]
    assert torch.equal(norm.loc, torch.tensor([3.0]))
    pf.fit(flow, 4 + rows(64, 1, dtype=torch.float32), validation=None, epochs=3, standardize=False, progress=False)
    assert abs(float(norm.loc) - 4) < 0.5
    blocks = Flow(Product(parts, [1, 1]), [], 2)
    blocks.update(torch.tensor([[1.0, 0.0], [5.0, 0.0]]))
    assert torch.equal(blocks.base.parts[0].transform.layers[1].loc, torch.tensor([3.0]))


def test_a_mixture_of_flows_that_were_fitted_is_the_mean_of_their_densities(tmp_path):
    flows = []
    for seed, scale in enumerate((1.0, 5.0)):
        y, context = scale * rows(100, 2, seed=seed).float() + 7, scale * rows(100, 1, seed=10 + seed).float()
        flow = pf.MAF(2, 1, transforms=1, widths=(16,))
        pf.fit(flow, y, context, epochs=2, progress=False)
        flows.append(flow)
    both = mixture(flows)
    y, context = 7 + rows(20, 2, seed=5).float(), rows(20, 1, seed=6).float()
    expected = torch.stack([flow.log_prob(y, context) for flow in flows]).logsumexp(0) - math.log(2)
    assert torch.allclose(both.log_prob(y, context), expected, atol=1e-5)
    for component, flow in zip(both.base.components, flows, strict=True):
        drawn = component.draw(torch.Size([3, 20]), context, torch.Generator().manual_seed(0))
        assert torch.allclose(drawn, flow.sample((3,), context, generator=torch.Generator().manual_seed(0)), atol=1e-5)
    both.save(tmp_path / "both.safetensors")
    assert torch.equal(pf.load(tmp_path / "both.safetensors").log_prob(y, context), both.log_prob(y, context))
    before = both.log_prob(y, context)
    flows[0].transform.layers[0].parameters_of.net.layers[-1].bias.data.add_(1)  # copies, not the flows themselves
    assert torch.equal(both.log_prob(y, context), before)
    start = both.log_prob(y, context).mean()
    pf.fit(both, y, context, epochs=5, validation=None, progress=False)
    assert both.log_prob(y, context).mean() > start
    assert both.describe().parameters == sum(p.numel() for p in both.parameters())


def test_half_precision_and_float64_mixtures():
    flow = mixture([pf.MAF(2, transforms=1), pf.MAF(2, transforms=1)])
    assert mixture([copy.deepcopy(flow).double(), copy.deepcopy(flow).double()]).dtype == torch.float64
    assert flow.to(torch.bfloat16).log_prob(torch.zeros(3, 2, dtype=torch.bfloat16)).dtype == torch.float32


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Mixture([]), "Mixture: expected components to be a list of .*base plans"),
        (lambda: Mixture(StandardNormal()), "Mixture: expected components to be a list of .*base plans"),
        (lambda: Mixture([StandardNormal(), bij.Affine()]), "Mixture: expected components.1. to be a base plan, .*, got Affine"),
        (lambda: Mixture([td.Normal(0.0, 1.0)]), "what wrap\\(\\) gives for a torch distribution"),
        (lambda: Mixture([StandardNormal()], net="MLP"), "Mixture: expected net to be a plan"),
        (lambda: Mixture([StandardNormal()], noise=-1.0), r"Mixture: expected noise in \[0, 1e.06\], got -1.0"),
        (lambda: Mixture([StandardNormal()], net=SMALL).build((2,)), "expected a context for its net"),
        (lambda: Mixture([StandardNormal(), wrap(td.Normal(torch.zeros(2, 3), 1.0))]).build((3,)), "expected all components on events"),
        (lambda: Pushforward(bij.Affine(), bij.Affine()), "Pushforward: expected base to be a base plan"),
        (lambda: Pushforward(StandardNormal(), [3]), "expected bijector.0. to be a bijector"),
        (lambda: Pushforward(StandardNormal(), bij.Power(2.0)).build((2,)), "expected values in \\(0, inf\\)"),
        (lambda: mixture([]), "mixture: expected a list of flows"),
        (lambda: mixture([pf.NSF(2), pf.NSF(3)]), "mixture: expected flows of one shape"),
        (lambda: mixture([pf.NSF(2), pf.NSF(2).double()]), "mixture: expected flows of one shape, context and precision"),
    ],
)
def test_wrong_mixtures_are_refused(make, message):
    with pytest.raises(PlanError, match=message):
        make()


def test_plans_of_mixtures_go_through_json():
    plan = Mixture([component([bij.Affine(), bij.Exp()]), DiagNormal(net=SMALL)], net=SMALL, noise=0.2)
    assert pf.Spec.from_json(plan.to_json()) == plan
    assert "Pushforward(StandardNormal(), (Affine(), Exp()))" in repr(plan)
