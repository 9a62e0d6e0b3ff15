"""Flows in Pyro's models and guides, against the installed Pyro."""

import copy
import importlib.util
import math
import pickle
from functools import partial
from pathlib import Path

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import (
    MCMC,
    NUTS,
    SVI,
    JitTrace_ELBO,
    Predictive,
    RenyiELBO,
    Trace_ELBO,
    TraceEnum_ELBO,
    TraceGraph_ELBO,
    TraceMeanField_ELBO,
    config_enumerate,
    infer_discrete,
)
from pyro.infer.autoguide import init_to_value
from pyro.infer.reparam import NeuTraReparam
from torch.distributions import biject_to

import pushforward as pf
from pushforward.bijectors import Affine, AffineCoupling, Autoregressive, Exp, InverseAutoregressive, Linear, Spline, StickBreaking
from pushforward.contrib.pyro import AutoFlow, PyroFlow, as_pyro
from pushforward.distributions import StandardNormal

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.*")


@pytest.fixture(autouse=True)
def _clean():
    pyro.clear_param_store()
    pyro.set_rng_seed(0)
    with pyro.validation_enabled(True):
        yield
    pyro.clear_param_store()


def stirred(flow, scale=0.3):
    """Return the flow with weights at random, so that it is not the identity."""
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.add_(scale * torch.randn_like(parameter))
    return flow


class Passes:
    """Counts how often a flow maps, base to data and data to base, and how often each of its networks is evaluated."""

    def __init__(self, flow, monkeypatch):
        self.forward = self.inverse = 0
        self.nets = []
        for count, name in (("forward", "push"), ("inverse", "pull")):
            monkeypatch.setattr(flow.transform, name, self._counted(count, getattr(flow.transform, name)))
        for index, part in enumerate(m for m in flow.modules() if type(m).__name__ == "Perceptron"):
            self.nets.append(0)
            part.register_forward_hook(lambda *_, i=index: self.nets.__setitem__(i, self.nets[i] + 1))

    def _counted(self, count, function):
        def spy(*args):
            setattr(self, count, getattr(self, count) + 1)
            return function(*args)

        return spy


# One pass to draw and score


@pytest.mark.parametrize("make", [pf.IAF, pf.NSF, pf.RealNVP])
@pytest.mark.parametrize("particles", [1, 4])
def test_a_step_of_svi_costs_one_pass(make, particles, monkeypatch):
    flow = stirred(make(3, context=2, transforms=2))
    passes = Passes(flow, monkeypatch)
    x = torch.randn(5, 2)

    def model(x):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(3), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z[..., :2], 1.0).to_event(1), obs=x)

    def guide(x):
        pyro.module("flow", flow)
        with pyro.plate("data", len(x)):
            pyro.sample("z", as_pyro(flow, x))

    elbo = Trace_ELBO(num_particles=particles, vectorize_particles=particles > 1)
    svi = SVI(model, guide, pyro.optim.ClippedAdam({"lr": 1e-2}), elbo)
    before = [p.detach().clone() for p in flow.parameters()]
    svi.step(x)
    shape_runs = 1 if particles > 1 else 0  # Pyro runs model and guide once to learn how deep plates are nested
    assert (passes.forward, passes.inverse) == (1 + shape_runs, 0)
    svi.step(x)
    assert (passes.forward, passes.inverse) == (2 + shape_runs, 0)
    assert passes.nets == [2 + shape_runs] * 2
    assert any(not torch.equal(a, b) for a, b in zip(before, flow.parameters(), strict=True))


def test_a_guide_over_all_sites_costs_one_pass_and_so_does_the_potential_of_neutra(monkeypatch):
    def model():
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("s", dist.LogNormal(z, 1.0))

    guide = AutoFlow(model, pf.NSF)
    guide()
    passes = Passes(guide.flow, monkeypatch)
    SVI(model, guide, pyro.optim.Adam({"lr": 1e-2}), Trace_ELBO()).step()
    assert (passes.forward, passes.inverse) == (1, 0)
    neutra = NeuTraReparam(guide)
    reparametrised = poutine.reparam(model, config=lambda _: neutra)
    trace = poutine.trace(reparametrised).get_trace()
    trace.log_prob_sum()
    assert (passes.forward, passes.inverse) == (2, 0)


@pytest.mark.parametrize("make", [pf.IAF, pf.NSF])
def test_the_gradient_of_one_pass_is_that_of_two(make):
    flow = stirred(make(3)).double()

    def gradient(score):
        flow.zero_grad()
        torch.manual_seed(1)
        score().sum().backward()
        return [p.grad.clone() for p in flow.parameters() if p.grad is not None]

    site = as_pyro(flow)
    once = gradient(lambda: site.log_prob(site.rsample((4,))))
    twice = gradient(lambda: flow.log_prob(flow.rsample((4,))))
    assert len(once) > 4
    for a, b in zip(once, twice, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-7)


# Nothing stale


def _through_data(flow, value, context):
    for parameter in flow.parameters():
        parameter.data.add_(0.1)  # as Pyro's ClippedAdam writes: the version counter does not move


def _optimiser(flow, value, context):
    flow.log_prob(value.detach(), context).sum().backward()
    torch.optim.SGD(flow.parameters(), 0.1).step()


def _loaded(flow, value, context):
    flow.load_state_dict({k: v + 0.1 if v.is_floating_point() else v for k, v in flow.state_dict().items()})


def _value_in_place(flow, value, context):
    with torch.no_grad():
        value.add_(0.5)


def _value_data(flow, value, context):
    value.data.add_(0.5)


def _context_in_place(flow, value, context):
    context.add_(0.5)


def _standardised(flow, value, context):
    flow.calibrate(5 + 2 * torch.randn(50, 2), torch.randn(50, 3))


@pytest.mark.parametrize("change", [_through_data, _optimiser, _loaded, _value_in_place, _value_data, _context_in_place, _standardised])
def test_what_has_changed_is_scored_afresh(change):
    flow, context = stirred(pf.NSF(2, context=3, transforms=2)), torch.randn(4, 3)
    site = as_pyro(flow, context)
    value = site.rsample()
    first = site.log_prob(value)
    torch.testing.assert_close(first, flow.log_prob(value.detach(), context), rtol=1e-4, atol=1e-4)
    assert site.log_prob(value) is first
    change(flow, value, context)
    again, fresh = site.log_prob(value), flow.log_prob(value.detach(), context)
    torch.testing.assert_close(again.detach(), fresh.detach(), rtol=1e-4, atol=1e-4)
    assert not torch.allclose(again, first, atol=1e-3)


def test_values_not_drawn_here_are_scored_afresh():
    flow = stirred(pf.NSF(2))
    site = as_pyro(flow)
    value = site.rsample((3,))
    drawn = site.log_prob(value)
    for other in (value.detach(), value.clone(), torch.randn(3, 2)):
        torch.testing.assert_close(site.log_prob(other), flow.log_prob(other))
        assert site.log_prob(other) is not drawn
    assert torch.equal(as_pyro(flow).log_prob(value), flow.log_prob(value))


def test_a_draw_without_gradients_does_not_take_them_away_later():
    flow = stirred(pf.NSF(2))
    site = as_pyro(flow)
    with torch.no_grad():
        value = site.rsample()
        assert not site.log_prob(value).requires_grad
    assert site.log_prob(value).requires_grad
    flow.requires_grad_(False)
    value = site.rsample()
    value.requires_grad_(True)
    (gradient,) = torch.autograd.grad(site.log_prob(value), value)
    assert gradient.abs().sum() > 0


def test_detached_samples_have_the_gradient_of_the_score():
    flow = stirred(pf.NSF(2))
    site = as_pyro(flow).has_rsample_(False).expand((3,))
    value = site()
    assert not value.requires_grad
    site.log_prob(value).sum().backward()
    got = [p.grad.clone() for p in flow.parameters()]
    flow.zero_grad()
    flow.log_prob(value).sum().backward()
    for a, p in zip(got, flow.parameters(), strict=True):
        torch.testing.assert_close(a, p.grad)


def test_under_vmap_each_draw_is_scored_as_it_is():
    # Under vmap the networks are torch's, alone they are compiled: float32 rounds them apart, and these maps magnify it.
    flow = stirred(pf.NSF(2)).double()
    site = as_pyro(flow)

    def draw(_):
        value = site.rsample()
        return value, site.log_prob(value)

    value, score = torch.vmap(draw, randomness="different")(torch.zeros(3))
    torch.testing.assert_close(score, flow.log_prob(value), rtol=1e-8, atol=1e-8)


def test_copies_and_pickles_are_of_the_distribution():
    site = as_pyro(stirred(pf.NSF(2)))
    value = site.rsample()
    site.log_prob(value)
    for other in (copy.deepcopy(site), pickle.loads(pickle.dumps(site))):
        torch.testing.assert_close(other.log_prob(value.detach()), site.log_prob(value.detach()))


# Shapes


def test_shapes_are_those_of_torch():
    flow = pf.NSF(2, context=3)
    site = as_pyro(flow, torch.randn(5, 3))
    assert isinstance(site, dist.TorchDistribution)
    assert (site.batch_shape, site.event_shape, site.event_dim) == ((5,), (2,), 1)
    assert site.shape((4,)) == (4, 5, 2)
    wide = site.expand_by((7,))
    value = wide()
    assert value.shape == (7, 5, 2)
    assert wide.log_prob(value).shape == (7, 5)
    whole = site.to_event(1)
    value = whole.rsample((3,))
    torch.testing.assert_close(whole.log_prob(value), flow.log_prob(value.detach(), site.view.context).sum(-1), rtol=1e-4, atol=1e-4)
    mask = torch.tensor([True, False, True, True, False])
    masked = site.mask(mask)
    value = masked()
    assert masked.log_prob(value)[~mask].abs().sum() == 0
    assert repr(site).startswith("PyroFlow(Flow(")


def test_plates_and_subsamples_scale_the_density():
    flow = stirred(pf.NSF(2)).double()

    def model():
        pyro.module("flow", flow)
        with pyro.plate("rows", 6, dim=-2), pyro.plate("columns", 10, subsample_size=5, dim=-1):
            return pyro.sample("z", as_pyro(flow))

    trace = poutine.trace(model).get_trace()
    value = trace.nodes["z"]["value"]
    assert value.shape == (6, 5, 2)
    assert trace.nodes["z"]["fn"].batch_shape == (6, 5)
    torch.testing.assert_close(trace.log_prob_sum(), 2 * flow.log_prob(value.detach()).sum())
    names = {name for name, _ in pyro.get_param_store().named_parameters()}
    assert names == {f"flow$$${name}" for name, _ in flow.named_parameters()}


def test_beside_enumerated_sites():
    """A flow prior given a cluster that is summed over: the evidence is the sum by hand, and so is the cluster's posterior."""
    flow = stirred(pf.NSF(2, context=2, transforms=2))
    weights, value, clusters = torch.tensor([0.2, 0.5, 0.3]), torch.randn(6, 2), torch.randn(3, 2)

    @config_enumerate
    def model():
        with pyro.plate("data", 6):
            k = pyro.sample("k", dist.Categorical(weights))
            pyro.sample("z", as_pyro(flow, clusters[k]), obs=value)

    each = torch.stack([flow.log_prob(value, c) for c in clusters], -1) + weights.log()
    elbo = TraceEnum_ELBO(max_plate_nesting=1)
    assert elbo.loss(model, lambda: None) == pytest.approx(-each.logsumexp(-1).sum().item(), rel=1e-5)
    best = poutine.trace(infer_discrete(model, first_available_dim=-2, temperature=0)).get_trace()
    assert torch.equal(best.nodes["k"]["value"], each.argmax(-1))


def test_enumeration_beside_a_flow_in_the_guide():
    flow = pf.NSF(2)

    @config_enumerate
    def model():
        z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        with pyro.plate("data", 4):
            k = pyro.sample("k", dist.Bernoulli(0.3))
            pyro.sample("x", dist.Normal(z[..., 0] + k * z[..., 1], 1.0), obs=torch.arange(4.0))

    def guide():
        pyro.module("flow", flow)
        pyro.sample("z", as_pyro(flow))

    elbo = TraceEnum_ELBO(max_plate_nesting=1, num_particles=3, vectorize_particles=True)
    svi = SVI(model, guide, pyro.optim.Adam({"lr": 1e-2}), elbo)
    assert all(math.isfinite(svi.step()) for _ in range(3))


# Supports


@pytest.mark.parametrize(
    "flow",
    [
        pf.NSF(3, support=["positive", "real", "unit_interval"]),
        pf.Flow(StandardNormal(), [Affine(), StickBreaking()], 3),
        pf.Flow(StandardNormal(), [Affine(), Exp()], 3),
        pf.NSF(3),
    ],
    ids=["mixed", "simplex", "positive", "real"],
)
def test_supports_are_known_to_pyro(flow):
    site = as_pyro(flow)
    value = site.sample((50,))
    assert site.support.check(value).all()
    to_support = biject_to(site.support)
    free = to_support.inv(value)
    assert free.shape == (50, 3)
    torch.testing.assert_close(to_support(free), value, rtol=1e-3, atol=1e-4)
    assert to_support.log_abs_det_jacobian(free, value).shape == (50,)


def test_a_flow_as_prior_in_nuts_gives_the_known_posterior():
    """The prior is N(1, 0.5^2) by an affine flow and the noise has scale 0.5: the posterior of y = 2 is N(1.5, 0.125)."""
    flow = pf.Flow(StandardNormal(), [Affine()], 1)
    layer = flow.transform.layers[0].parameters_of
    with torch.no_grad():
        layer.named(layer.offset)["loc"].fill_(1.0)
        width = 6 / math.pi
        layer.named(layer.offset)["log_scale"].fill_(width * math.tan(math.log(0.5) / width))

    def model():
        z = pyro.sample("z", as_pyro(flow))
        pyro.sample("y", dist.Normal(z, 0.5).to_event(1), obs=torch.tensor([2.0]))

    mcmc = MCMC(NUTS(model), num_samples=150, warmup_steps=50, disable_progbar=True)
    mcmc.run()
    z = mcmc.get_samples()["z"].squeeze(-1)
    effective = max(10.0, float(mcmc.diagnostics()["z"]["n_eff"]))
    sd = math.sqrt(0.125)
    assert z.mean().item() == pytest.approx(1.5, abs=4 * sd / math.sqrt(min(effective, 150)))
    assert z.std().item() == pytest.approx(sd, abs=4 * sd / math.sqrt(min(effective, 150)))


def test_positive_latents_of_a_flow_prior_stay_positive_in_nuts():
    flow = stirred(pf.NSF(2, transforms=1, support=["positive", "real"]), 0.1)

    def model():
        z = pyro.sample("z", as_pyro(flow))
        pyro.sample("y", dist.Normal(z[1], 1.0), obs=torch.tensor(1.0))

    mcmc = MCMC(NUTS(model), num_samples=15, warmup_steps=15, disable_progbar=True)
    mcmc.run()
    z = mcmc.get_samples()["z"]
    assert (z[:, 0] > 0).all()
    assert z[:, 1].std() > 0


# Posteriors with known answers


def _evidence_gap(model, guide, log_evidence, particles=2000):
    """Return how far the ELBO is below the evidence, which is KL(guide | posterior), and the standard error of that."""
    elbo = Trace_ELBO(num_particles=particles, vectorize_particles=True, max_plate_nesting=1)
    with torch.no_grad():
        traces = list(elbo._get_traces(model, guide, (), {}))
    total = 0.0
    for model_trace, guide_trace in traces:
        for trace, sign in ((model_trace, 1), (guide_trace, -1)):
            for name, site in trace.nodes.items():
                if site["type"] == "sample" and not name.startswith("num_particles"):
                    total = total + sign * site["log_prob"].reshape(particles, -1).sum(-1)
    return float(log_evidence - total.mean()), float(total.std() / math.sqrt(particles))


CONTINUOUS = partial(pf.CNF, widths=(8,), tolerance=1e-3)


def _regression():
    """Return a model y = A z + noise of three strongly correlated latents, its posterior and its log-evidence."""
    design = torch.tensor([[1.0, 0.9, 0.0], [0.9, 1.0, 0.3], [0.5, 0.5, 1.0], [1.0, 1.0, 0.2]])
    y, noise = torch.tensor([1.0, -0.5, 2.0, 0.3]), 0.5

    def model():
        z = pyro.sample("z", dist.Normal(torch.zeros(3), 1.0).to_event(1))
        with pyro.plate("rows", 4):
            pyro.sample("y", dist.Normal((z * design).sum(-1), noise), obs=y)

    covariance = torch.linalg.inv(torch.eye(3) + design.T @ design / noise**2)
    mean = covariance @ design.T @ y / noise**2
    marginal = dist.MultivariateNormal(torch.zeros(4), design @ design.T + noise**2 * torch.eye(4))
    return model, mean, covariance, marginal.log_prob(y)


@pytest.mark.parametrize("flow", [pf.IAF, lambda d: [AffineCoupling(), Linear()], CONTINUOUS], ids=["IAF", "plans", "CNF"])
def test_the_posterior_of_a_linear_model(flow):
    model, mean, covariance, evidence = _regression()
    guide = AutoFlow(model, flow)
    steps = 300
    optimiser = pyro.optim.ClippedAdam({"lr": 0.03, "lrd": 0.02 ** (1 / steps)})
    svi = SVI(model, guide, optimiser, Trace_ELBO(num_particles=8, vectorize_particles=True, max_plate_nesting=1))
    for _ in range(steps):
        svi.step()
    gap, error = _evidence_gap(model, guide, evidence)
    assert -4 * error < gap < 0.05 + 4 * error
    # A normal whose mean is off by d posterior deviations is at least d^2 / 2 from the posterior.
    off = math.sqrt(2 * max(gap + 4 * error, 0.0))
    draws = guide.flow.sample((20_000,))
    white = torch.linalg.solve_triangular(torch.linalg.cholesky(covariance), (draws - mean).T, upper=False)
    assert white.mean(1).norm() < off + 4 * math.sqrt(3 / 20_000)
    # And one whose scale along some axis is off by a factor s is (s^2 - 1 - log s^2) / 2 from it, at least (s^2 - 1)^2 / 6 for s^2 < 1.5.
    spread = torch.linalg.eigvalsh(white @ white.T / 20_000)
    assert (spread - 1).abs().max() < math.sqrt(6 * max(gap + 4 * error, 0.0)) + 4 * math.sqrt(2 / 20_000) + off**2
    quantiles = guide.quantiles([0.1, 0.5, 0.9])["z"]
    assert (quantiles[1] - mean).abs().max() < (off + 0.06) * covariance.diagonal().max().sqrt()
    assert torch.equal(guide.quantiles([0.0, 1.0])["z"].argsort(0), torch.tensor([[0, 0, 0], [1, 1, 1]]))


def test_an_amortised_guide_learns_every_posterior():
    """z ~ N(0, 1), x ~ N(z, 1): the posterior is N(x / 2, 1 / 2), whatever x."""
    x = torch.linspace(-2, 2, 16)[:, None]
    flow = pf.IAF(1, context=1, transforms=1, widths=(32,))

    def model():
        with pyro.plate("data", 16):
            z = pyro.sample("z", dist.Normal(torch.zeros(1), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    def guide():
        pyro.module("flow", flow)
        with pyro.plate("data", 16):
            pyro.sample("z", as_pyro(flow, x))

    steps = 300
    svi = SVI(model, guide, pyro.optim.ClippedAdam({"lr": 0.02, "lrd": 0.02 ** (1 / steps)}), Trace_ELBO(4, 1, vectorize_particles=True))
    for _ in range(steps):
        svi.step()
    evidence = dist.Normal(0.0, math.sqrt(2)).log_prob(x).sum()
    gap, error = _evidence_gap(model, guide, evidence)
    assert -4 * error < gap < 16 * 0.02 + 4 * error
    off = math.sqrt(2 * (gap + 4 * error))
    z = flow(x).sample((20_000,))
    assert ((z.mean(0) - x / 2).abs().max() / math.sqrt(0.5)) < off + 4 / math.sqrt(20_000)


# The guide over all sites


def hierarchical():
    z = pyro.sample("z", dist.Normal(torch.zeros(3), 1.0).to_event(1))
    s = pyro.sample("s", dist.LogNormal(0.0, 1.0))
    pyro.sample("p", dist.Dirichlet(torch.ones(3)))
    with pyro.plate("g", 4):
        m = pyro.sample("m", dist.Normal(0.0, s))
        pyro.sample("y", dist.Normal(m + z.sum(-1, keepdim=True), 1.0), obs=torch.arange(4.0))


FLOWS = {
    "IAF": pf.IAF,
    "MAF": pf.MAF,
    "NSF": pf.NSF,
    "CNF": CONTINUOUS,
    "planar": pf.flows.PlanarFlow,
    "function": lambda d: [AffineCoupling(), Linear()],
    "list": [AffineCoupling(), Linear()],
    "plan": Autoregressive(Spline()),
    "flow": pf.NSF(10),
}


@pytest.mark.parametrize("name", FLOWS)
def test_guides_of_all_kinds(name):
    guide = AutoFlow(hierarchical, FLOWS[name])
    svi = SVI(hierarchical, guide, pyro.optim.Adam({"lr": 1e-2}), Trace_ELBO())
    assert all(math.isfinite(svi.step()) for _ in range(3))
    assert guide.flow.event_shape == (10,)  # 3 of z, 1 of s, 2 of the simplex p, 4 of m
    if name != "CNF":  # a solver takes steps
        assert guide.flow.transform.facts.depth[0] <= len(guide.flow.transform.layers)
    registered = {p.unconstrained() if hasattr(p, "unconstrained") else p for p in pyro.get_param_store().values()}
    assert {id(p) for p in guide.flow.parameters()} == {id(p) for p in registered}
    median = guide.median()
    assert {k: tuple(v.shape) for k, v in median.items()} == {"z": (3,), "s": (), "p": (3,), "m": (4,)}
    assert median["s"] > 0
    assert median["p"].sum().item() == pytest.approx(1, abs=1e-5)
    drawn = Predictive(hierarchical, guide=guide, num_samples=7)()
    assert drawn["m"].shape[0] == 7
    assert drawn["m"].shape[-1] == 4


ELBOS = {
    "mean field": lambda: TraceMeanField_ELBO(),
    "graph": lambda: TraceGraph_ELBO(),
    "enumerated": lambda: TraceEnum_ELBO(max_plate_nesting=1, strict_enumeration_warning=False),
    "Renyi": lambda: RenyiELBO(num_particles=2),
    "particles": lambda: Trace_ELBO(num_particles=3, vectorize_particles=True, max_plate_nesting=1),
}


@pytest.mark.parametrize("name", ELBOS)
def test_guides_with_all_losses(name):
    guide = AutoFlow(hierarchical)
    svi = SVI(hierarchical, guide, pyro.optim.Adam({"lr": 1e-2}), ELBOS[name]())
    assert all(math.isfinite(svi.step()) for _ in range(2))


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("flow", [pf.IAF, pf.NSF])
def test_recorded_losses_are_the_same_and_follow_the_parameters(flow):
    guide = AutoFlow(hierarchical, flow)
    guide()
    recorded, plain = JitTrace_ELBO(), Trace_ELBO()
    recorded.loss_and_grads(hierarchical, guide)
    for _ in range(2):
        found = []
        for elbo in (recorded, plain):
            guide.zero_grad()
            pyro.set_rng_seed(3)
            loss = elbo.loss_and_grads(hierarchical, guide)
            found.append([torch.as_tensor(loss), *(p.grad.clone() for p in guide.flow.parameters() if p.grad is not None)])
        assert len(found[0]) > 10
        for a, b in zip(*found, strict=True):
            torch.testing.assert_close(a.double(), b.double(), rtol=1e-4, atol=1e-4)
        for parameter in guide.flow.parameters():
            parameter.data.add_(0.005)


def test_where_the_guide_starts():
    start = {"z": torch.tensor([1.0, -2.0, 3.0]), "s": torch.tensor(0.5), "p": torch.tensor([0.2, 0.3, 0.5]), "m": torch.arange(4.0)}
    guide = AutoFlow(hierarchical, pf.NSF, init_loc_fn=init_to_value(values=start), init_scale=0.01)
    guide()
    median = guide.median()
    error = 5 * 0.01 * 1.25 / math.sqrt(10_000)  # of a median, in units of the unconstrained values
    for name, value in start.items():
        assert (median[name] - value).abs().max() < error * max(1.0, value.abs().max().item())
    low, high = guide.quantiles([0.1587, 0.8413])["z"]
    torch.testing.assert_close((high - low) / 2, torch.full((3,), 0.01), rtol=0.06, atol=0)


def test_autoregressive_layers_are_turned_round():
    guide = AutoFlow(hierarchical, pf.MAF)
    guide()
    kinds = [type(plan) for plan in guide.flow.plan.bijectors]
    assert InverseAutoregressive in kinds
    assert Autoregressive not in kinds
    built = pf.MAF(10)
    guide = AutoFlow(hierarchical, built)
    guide()
    assert guide.flow is built


def test_the_trained_flow_is_saved_and_loaded(tmp_path):
    guide = AutoFlow(hierarchical, pf.NSF)
    guide()
    guide.flow.save(tmp_path / "guide.safetensors")
    again = pf.load(tmp_path / "guide.safetensors")
    x = torch.randn(3, 10)
    assert torch.equal(again.log_prob(x), guide.flow.log_prob(x))
    copied = copy.deepcopy(guide)
    assert torch.equal(copied.flow.log_prob(x), guide.flow.log_prob(x))


def test_in_double_precision():
    def model():
        pyro.sample("z", dist.Normal(torch.zeros(2, dtype=torch.float64), 1.0).to_event(1))

    guide = AutoFlow(model)
    assert math.isfinite(SVI(model, guide, pyro.optim.Adam({"lr": 1e-2}), Trace_ELBO()).step())
    assert guide.flow.dtype == torch.float64


def test_neutra_gives_the_funnel_its_width():
    """Through a trained guide NUTS moves in the base, where the funnel is nearly round; its neck has v ~ N(0, 3^2)."""

    def funnel():
        v = pyro.sample("v", dist.Normal(0.0, 3.0))
        pyro.sample("x", dist.Normal(torch.zeros(2), (v / 2).exp()[..., None]).to_event(1))

    guide = AutoFlow(funnel, lambda d: pf.IAF(d, transforms=1, widths=(32,), mix=None), init_scale=1.0)
    steps = 300
    svi = SVI(
        funnel,
        guide,
        pyro.optim.ClippedAdam({"lr": 0.02, "lrd": 0.05 ** (1 / steps)}),
        Trace_ELBO(num_particles=8, vectorize_particles=True, max_plate_nesting=0),
    )
    for _ in range(steps):
        svi.step()
    neutra = NeuTraReparam(guide.requires_grad_(False))
    model = poutine.reparam(funnel, config=lambda _: neutra)
    mcmc = MCMC(NUTS(model, max_tree_depth=4), num_samples=300, warmup_steps=100, disable_progbar=True)
    mcmc.run()
    latent = mcmc.get_samples()["v_shared_latent"]
    drawn = neutra.transform_sample(latent)
    assert drawn["x"].shape == (300, 2)
    effective = float(mcmc.diagnostics()["v_shared_latent"]["n_eff"].min())
    assert effective > 30
    error = 3 / math.sqrt(min(effective, 300))
    assert abs(drawn["v"].mean().item()) < 4 * error
    assert abs(drawn["v"].std().item() - 3) < 4 * error / math.sqrt(2) + 0.3


# Wrong input


def test_what_is_refused():
    flow = pf.NSF(2, context=3)
    with pytest.raises(TypeError, match=r"as_pyro: expected a pushforward.Flow.*write NSF\(features\)"):
        as_pyro(pf.NSF)
    with pytest.raises(TypeError, match=r"as_pyro: expected a pushforward\.Flow"):
        as_pyro(torch.distributions.Normal(0.0, 1.0))
    with pytest.raises(ValueError, match="expected a context"):
        as_pyro(flow)
    with pytest.raises(ValueError, match="conditioned already"):
        as_pyro(flow(torch.zeros(3)), torch.zeros(3))
    with pytest.raises(ValueError, match="expand"):
        as_pyro(flow, torch.zeros(4, 3)).expand((5,))
    with pytest.raises(TypeError, match="AutoFlow: expected a flow, layers, or a function"):
        AutoFlow(hierarchical, 3)
    for scale in (0.0, -1.0, "wide"):
        with pytest.raises(ValueError, match="init_scale"):
            AutoFlow(hierarchical, init_scale=scale)
    with pytest.raises(ValueError, match=r"AutoFlow: expected a flow of \(10,\).*got \(3,\)"):
        AutoFlow(hierarchical, pf.NSF(3))()
    with pytest.raises(ValueError, match="given a context"):
        AutoFlow(hierarchical, pf.NSF(10, context=2))()
    with pytest.raises(ValueError, match="onto all real values"):
        AutoFlow(hierarchical, pf.Flow(StandardNormal(), [Affine(), Exp()], 10))()
    with pytest.raises(RuntimeError, match="call it once"):
        AutoFlow(hierarchical).median()
    guide = AutoFlow(hierarchical)
    guide()
    with pytest.raises(ValueError, match="quantiles between 0 and 1"):
        guide.quantiles([1.5])


def test_a_bare_flow_is_no_distribution_of_pyro_and_does_not_pass_for_one():
    flow = pf.NSF(2)
    trace = poutine.trace(lambda: pyro.sample("z", flow)).get_trace()
    with pytest.raises(TypeError, match=r"expected value to be a torch\.Tensor"):
        trace.log_prob_sum()
    assert isinstance(as_pyro(flow), PyroFlow)


# The pages

ROOT = Path(__file__).parents[2]


@pytest.mark.filterwarnings("ignore:.*max_plate_nesting.*:UserWarning")
@pytest.mark.parametrize("page", ["pyro-flow-guide.md", "pyro-flow-prior.md"])
def test_the_tutorials_run_and_print_what_they_say(page, tmp_path, monkeypatch):
    spec = importlib.util.spec_from_file_location("docs_runner", ROOT / "tests" / "test_docs.py")
    runner = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(runner)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    runner.test_code_runs_and_prints_what_the_page_says(ROOT / "docs" / "tutorials" / page, tmp_path, monkeypatch)
    assert list(tmp_path.glob("pyro-*.png"))
