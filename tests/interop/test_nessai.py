"""nessai: its nested samplers run on a flow of this library."""

import math
import pickle

import numpy as np
import pytest
import torch
from nessai.flowmodel import FlowModel
from nessai.flows.base import BaseFlow
from nessai.flowsampler import FlowSampler
from nessai.model import Model

import pushforward as pf
from pushforward.bijectors import Affine, AffineCoupling, Linear
from pushforward.contrib.nessai import NessaiFlow, flow_class

pytestmark = [
    pytest.mark.filterwarnings("ignore:The `nessai.gw` module will be deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore::RuntimeWarning:nessai.*"),
]
COVARIANCE = np.array([[1.0, 0.9], [0.9, 1.0]])
PRECISION = np.linalg.inv(COVARIANCE)
LOG_NORM = 0.5 * math.log(np.linalg.det(2 * math.pi * COVARIANCE))
SMALL = {"transforms": 2, "widths": (16,)}


class Gaussian(Model):
    """A correlated normal likelihood in a box of side 20: the evidence is 1 / 400, but for 1e-20 outside the box."""

    def __init__(self):
        self.names = ["x", "y"]
        self.bounds = {"x": [-10, 10], "y": [-10, 10]}

    def log_prior(self, x):
        return np.log(self.in_bounds(x), dtype=float) - 2 * math.log(20)

    def log_likelihood(self, x):
        v = np.stack([x["x"], x["y"]], -1)
        return -0.5 * np.einsum("...i,ij,...j->...", v, PRECISION, v) - LOG_NORM

    def to_unit_hypercube(self, x):
        y = x.copy()
        for name in self.names:
            y[name] = (x[name] + 10) / 20
        return y

    def from_unit_hypercube(self, x):
        y = x.copy()
        for name in self.names:
            y[name] = 20 * x[name] - 10
        return y


def model(tmp_path, seed=0, **config):
    torch.manual_seed(seed)
    made = FlowModel(flow_config={"n_inputs": 2, **config}, output=str(tmp_path), rng=np.random.default_rng(seed))
    made.initialise()
    return made


def test_the_evidence_of_a_gaussian(tmp_path):
    config = {"flow": flow_class(pf.NSF, **SMALL)}
    sampler = FlowSampler(
        Gaussian(), output=str(tmp_path), nlive=200, seed=1, flow_config=config, training_config={"lr": 3e-3}, resume=False, plot=False
    )
    sampler.run(plot=False, save=False)
    assert isinstance(sampler.ns.proposal.flow.model, NessaiFlow)
    assert abs(sampler.log_evidence + 2 * math.log(20)) < 3 * sampler.log_evidence_error
    samples = np.stack([sampler.posterior_samples[name] for name in ("x", "y")], -1)
    # Errors of moments of correlated normals, over independent samples, times 5.
    error = 5 / math.sqrt(len(samples))
    assert np.abs(samples.mean(0)).max() < error
    assert np.abs(np.cov(samples.T) - COVARIANCE).max() < math.sqrt(2) * error


def test_the_importance_sampler_takes_it_too(tmp_path):
    """Two levels: each adds a flow, trained with weights."""
    config = {"flow": flow_class(pf.RealNVP, **SMALL)}
    sampler = FlowSampler(
        Gaussian(),
        output=str(tmp_path),
        nlive=600,
        seed=1,
        flow_config=config,
        training_config={"max_epochs": 10},
        resume=False,
        plot=False,
        importance_nested_sampler=True,
        max_iteration=2,
    )
    sampler.run(plot=False, save=False)
    flows = sampler.ns.proposal.flow.models
    assert len(flows) == 2
    assert all(isinstance(flow, NessaiFlow) for flow in flows)
    assert math.isfinite(sampler.log_evidence)


def test_all_methods_of_a_base_flow_agree(tmp_path):
    made = model(tmp_path, flow=flow_class(pf.NSF, **SMALL))
    with torch.no_grad():
        for p in made.model.parameters():
            p += 0.1 * torch.randn_like(p)
    assert isinstance(made.model, BaseFlow)
    x, log_prob = made.sample_and_log_prob(50)
    assert x.shape == (50, 2)
    np.testing.assert_allclose(made.log_prob(x), log_prob, atol=1e-4)
    z, again = made.forward_and_log_prob(x)
    np.testing.assert_allclose(again, log_prob, atol=1e-4)
    back, ladj = made.inverse(z)
    np.testing.assert_allclose(back, x, atol=1e-4)
    # The density from its parts, in numpy.
    np.testing.assert_allclose(-0.5 * (z**2).sum(-1) - math.log(2 * math.pi) - ladj, log_prob, atol=1e-4)
    np.testing.assert_allclose(made.sample_and_log_prob(z=z)[1], log_prob, atol=1e-4)
    assert made.sample(7).shape == made.sample_latent_distribution(7).shape == (7, 2)


def test_nessais_sizes_are_those_of_a_named_flow():
    flow = flow_class(pf.RealNVP)(3, 10, 5, 2).flow
    assert flow.plan == pf.RealNVP(3, transforms=5, widths=(10, 10)).plan
    assert flow_class(pf.RealNVP, transforms=2)(3, 10, 5, 1).flow.plan == pf.RealNVP(3, transforms=2, widths=(10,)).plan
    assert flow_class(pf.flows.BNAF)(2, 10, 1, 2).flow.plan == pf.flows.BNAF(2, transforms=1).plan
    assert flow_class([AffineCoupling(), Linear()])(2, 10, 5, 1).flow.plan == pf.bijectors.Compose([AffineCoupling(), Linear()])
    assert flow_class(lambda features: pf.MAF(features, transforms=1))(2, 10, 5, 1).flow.plan == pf.MAF(2, transforms=1).plan
    assert flow_class("nsf-ar")(2, 8, 1, 1).flow.plan == pf.NSF(2, structure="autoregressive", transforms=1, widths=(8,)).plan
    # What else is in flow_config are further arguments.
    assert flow_class(pf.NSF)(2, 8, 1, 1, bins=4).flow.plan == pf.NSF(2, transforms=1, widths=(8,), bins=4).plan


def test_weights_are_reset_saved_and_loaded(tmp_path, caplog):
    made = model(tmp_path, flow=flow_class(pf.NSF, **SMALL))
    data = np.random.default_rng(0).normal(1.0, 0.2, (300, 2))
    start = made.log_prob(data).mean()
    torch.manual_seed(0)
    history = made.train(data, max_epochs=10, plot=False)
    trained = made.log_prob(data)
    assert trained.mean() > start
    assert history["loss"][-1] < history["loss"][0]
    other = model(tmp_path, seed=5, flow=flow_class(pf.NSF, **SMALL))
    other.load_weights(made.weights_file)
    np.testing.assert_array_equal(other.log_prob(data), trained)
    caplog.clear()
    made.reset_model()
    assert "Could not reset" not in caplog.text
    np.testing.assert_allclose(made.log_prob(data).mean(), start, atol=1e-5)  # all layers start as the identity
    assert made.model.flow.transform.layers[0].parameters_of.net.layers[-1].weight.abs().max() == 0
    made.model.freeze_transform()
    assert not any(p.requires_grad for p in made.model.parameters())
    made.model.unfreeze_transform()
    assert all(p.requires_grad for p in made.model.parameters())


def test_a_flow_begins_where_its_first_rows_are(tmp_path):
    made = model(tmp_path, flow=flow_class(pf.NSF, **SMALL))
    plan, names = made.model.flow.plan, [*made.model.state_dict()]
    data = np.random.default_rng(0).normal(5.0, 0.2, (400, 2))
    first = made.train(data, max_epochs=1, plot=False)["loss"][0]
    # The loss of one normal distribution, in the first step.
    assert first == pytest.approx(2 * (0.5 + 0.5 * math.log(2 * math.pi) + math.log(0.2)), abs=0.15)
    assert made.model.flow.plan == plan
    assert [*made.model.state_dict()] == names
    kept = {id(p) for p in made.model.parameters()}
    assert kept == {id(p) for group in made._optimiser.param_groups for p in group["params"]}
    # What it has measured stays, and scoring measures nothing.
    standardize = made.model.flow.transform.layers[-1]
    loc = standardize.loc.clone()
    made.train(data + 1, max_epochs=1, plot=False)
    assert torch.equal(standardize.loc, loc)
    other = flow_class(pf.NSF, **SMALL)(2, 8, 1, 1).eval()
    other.log_prob(torch.randn(10, 2))
    assert not other.flow.transform.layers[-1].calibrated
    # Rows that do not vary say nothing, and a flow that measures nothing stays as it is.
    other.train().log_prob(torch.ones(10, 2))
    assert not other.flow.transform.layers[-1].calibrated
    bare = flow_class([AffineCoupling()])(2, 8, 1, 1).train()
    bare.log_prob(torch.randn(10, 2))
    assert bare.flow.plan == pf.bijectors.Compose([AffineCoupling()])


def test_a_run_that_was_stopped_goes_on(tmp_path):
    config = {"flow": flow_class(pf.RealNVP, **SMALL)}
    options = {"nlive": 50, "seed": 1, "flow_config": config, "training_config": {"max_epochs": 5}, "plot": False, "maximum_uninformed": 50}
    first = FlowSampler(Gaussian(), output=str(tmp_path), max_iteration=100, resume=True, **options)
    first.run(plot=False, save=False)
    flow = first.ns.proposal.flow.model.flow
    second = FlowSampler(Gaussian(), output=str(tmp_path), resume=True, **options)
    assert second.ns.iteration == first.ns.iteration
    x = torch.randn(5, 2)
    assert torch.equal(second.ns._flow_proposal.flow.model.flow.log_prob(x), flow.log_prob(x))
    assert flow.log_prob(x).isfinite().all()


def test_it_pickles():
    made = pickle.loads(pickle.dumps(flow_class(pf.NSF, **SMALL)))
    assert made(2, 8, 1, 1).flow.plan == pf.NSF(2, **SMALL).plan


def test_what_does_not_fit_is_refused():
    with pytest.raises(TypeError, match="flow_class: expected flow to be a named flow"):
        flow_class(pf.NSF(2))
    with pytest.raises(TypeError, match="flow_class: expected flow to be a name"):
        flow_class("glow")
    with pytest.raises(TypeError, match=r"flow_class: expected no options beside plans, got \['bins'\]"):
        flow_class([Affine()], bins=4)
    with pytest.raises(ValueError, match=r"flow_class: expected a pushforward\.Flow of event_shape \(2,\)"):
        flow_class(lambda features: pf.NSF(features + 1, **SMALL))(2, 8, 1, 1)
    with pytest.raises(ValueError, match=r"flow_class: expected the base StandardNormal\(\)"):
        flow_class(pf.flows.PlanarFlow)(2, 8, 1, 1)
    with pytest.raises(ValueError, match=r"flow_class: expected values in \(-inf, inf\), got \(0, inf\)"):
        flow_class(pf.NSF, support=["positive", "positive"])(2, 8, 1, 1)
    with pytest.raises(TypeError, match="distribution"):
        flow_class(pf.NSF)(2, 8, 1, 1, distribution="lars")
    with pytest.raises(ValueError, match="expected no context"):
        flow_class(pf.NSF)(2, 8, 1, 1).log_prob(torch.zeros(3, 2), torch.zeros(3, 1))
