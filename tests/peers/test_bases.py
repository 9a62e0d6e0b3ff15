"""Bases and targets against Zuko, nflows, normflows, Pyro and FlowTorch: the same values and gradients, or where the peer is wrong."""

from __future__ import annotations

import math
import warnings

import pytest
import torch
import torch.distributions as td
from scipy import stats

from pushforward import targets
from pushforward.bases import (
    BoxUniform,
    DiagNormal,
    FullNormal,
    GeneralizedNormal,
    MixtureOfNormals,
    Product,
    StandardNormal,
    VonMises,
    wrap,
)
from pushforward.distributions import Flow
from pushforward.io import dtype_name
from pushforward.kernels.linear import ROW_BOUND
from pushforward.spec import PlanError, Spec
from pushforward.testing import randomize

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import flowtorch.distributions
    import nflows.distributions
    import nflows.distributions.uniform
    import normflows as nf
    import pyro.distributions as pyro
    import zuko  # which switches off the validation of every torch distribution, as its own need it

X = 2 * torch.randn(30, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def unclamp(value, bound=3.0):
    """Return what the smooth clamp takes to a value."""
    return 2 * bound / math.pi * torch.tan(math.pi * value / (2 * bound))


def set_parameters(base, **values):
    """Give a free base the parameters by name."""
    flat = [torch.as_tensor(values[name], dtype=torch.float64).reshape(-1) for name, *_ in base.parameters_of.layout]
    base.double()
    with torch.no_grad():
        base.parameters_of.offset.copy_(torch.cat(flat))
    return base


def agree(ours, theirs, x=X):
    """Compare log-densities and their gradients."""
    results = []
    for function in (ours, theirs):
        own = x.clone().requires_grad_()
        value = function(own)
        results.append((value.detach(), torch.autograd.grad(value.sum(), own, allow_unused=True)[0]))
    assert torch.allclose(results[0][0], results[1][0], rtol=1e-6, atol=1e-6)
    if results[0][1] is not None and results[1][1] is not None:
        assert torch.allclose(results[0][1], results[1][1], rtol=1e-6, atol=1e-6)


def test_standard_and_diagonal_normals():
    agree(StandardNormal().build((3,)).log_prob, nflows.distributions.StandardNormal((3,)).double().log_prob)
    theirs = nf.distributions.DiagGaussian(3).double()
    randomize(theirs, 0.5)
    ours = set_parameters(DiagNormal().build((3,)), loc=theirs.loc.detach(), log_scale=unclamp(theirs.log_scale.detach()))
    agree(ours.log_prob, theirs.log_prob)
    known = zuko.distributions.DiagNormal(theirs.loc[0].detach(), theirs.log_scale[0].detach().exp())
    agree(ours.log_prob, known.log_prob)


def test_mixture_of_normals():
    with torch.random.fork_rng():
        theirs = nf.distributions.GaussianMixture(4, 3).double()
    randomize(theirs, 0.4)
    ours = MixtureOfNormals(4).build((3,))
    set_parameters(ours, logits=theirs.weight_scores.detach(), loc=theirs.loc.detach(), log_scale=unclamp(theirs.log_scale.detach()))
    agree(ours.log_prob, theirs.log_prob)
    gmm = zuko.mixtures.GMM(3, 0, components=4, covariance_type="diagonal", epsilon=0.0).double()
    logits, loc, diagonal = (p.detach() for p in gmm.phi)
    diagonal.mul_(0.5)
    set_parameters(ours, logits=logits, loc=loc, log_scale=unclamp(diagonal))
    agree(ours.log_prob, gmm().log_prob)


def test_samples_of_a_mixture_have_pyros_gradients():
    ours = randomize(MixtureOfNormals(3).build((2,)), 0.4).double()
    theta = ours.theta(None)
    scale = torch.exp(6 / math.pi * torch.atan(theta["log_scale"] * math.pi / 6))
    theirs = pyro.MixtureOfDiagNormals(theta["loc"], scale, theta["logits"])
    agree(ours.log_prob, theirs.log_prob, X[:, :2])
    # Of E x1 x2^2 the gradient is known. Other transports of the samples have the same one, but Pyro's has another for the weights.
    exact = (torch.softmax(theta["logits"], -1) * theta["loc"][:, 0] * (theta["loc"][:, 1] ** 2 + scale[:, 1] ** 2)).sum()
    (expected,) = torch.autograd.grad(exact, ours.parameters_of.offset, retain_graph=True)
    worst = []
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for draw in (lambda: ours.rsample(torch.Size((500,))), lambda: theirs.rsample((500,))):
            values = ((x[:, 0] * x[:, 1] ** 2).mean() for x in (draw() for _ in range(60)))
            parts = torch.stack([torch.autograd.grad(v, ours.parameters_of.offset, retain_graph=True)[0] for v in values])
            error = (parts.std(0) / math.sqrt(60)).clamp(min=1e-9)
            worst.append(((parts.mean(0) - expected) / error).abs())
    assert float(worst[0].max()) < 4
    assert float(worst[1][3:].max()) < 4
    assert float(worst[1][:3].max()) > 8


def test_full_covariance():
    ours = randomize(FullNormal().build((3,)), 1.0).double()
    theta = ours.theta(None)
    matrix = (ours.kernel.forward(torch.eye(3, dtype=torch.float64), **theta)[0] - theta["loc"]).T.detach()
    agree(ours.log_prob, pyro.MultivariateNormal(theta["loc"].detach(), scale_tril=matrix).log_prob)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        gmm = zuko.mixtures.GMM(3, 0, components=1, epsilon=0.0).double()
    with torch.no_grad():
        gmm.phi[3].mul_(0.2)
    loc = gmm.phi[1].detach()
    full = gmm().base.scale_tril[0].detach()
    scales = full.diagonal()
    below = torch.tril(full / scales, -1)
    lengths = below.square().sum(-1, keepdim=True)
    assert bool((lengths < ROW_BOUND**2).all())
    entries = (below / torch.sqrt(1 - lengths / ROW_BOUND**2))[tuple(torch.tril_indices(3, 3, -1))]
    set_parameters(ours, lower=entries, log_diagonal=unclamp(scales.log()), loc=loc[0])
    agree(ours.log_prob, gmm().log_prob)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_boxes():
    low, high = torch.tensor([-1.0, 0.0, -3.0], dtype=torch.float64), torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    ours = BoxUniform(low, high).build((3,))
    x = torch.cat([X, 0.3 * X + 0.5 * (low + high)])
    for theirs in (nflows.distributions.uniform.BoxUniform(low, high), zuko.distributions.BoxUniform(low, high)):
        theirs._validate_args = theirs.base_dist._validate_args = False
        assert torch.equal(ours.log_prob(x).isfinite(), theirs.log_prob(x).isfinite())
        assert torch.allclose(ours.log_prob(x), theirs.log_prob(x))
    # normflows: a constant on the box that does not move with the module.
    unit = nf.distributions.base.Uniform(3, -1.0, 1.0)
    assert torch.allclose(BoxUniform(-1.0, 1.0).build((3,)).log_prob(X).float(), unit.log_prob(X).float())


def test_generalized_normal():
    power = torch.tensor([1.0, 1.7, 4.0], dtype=torch.float64)
    known = zuko.distributions.GeneralizedNormal(power)
    agree(GeneralizedNormal(power).build((3,)).double().log_prob, lambda x: known.log_prob(x).sum(-1))


def test_torchs_von_mises_is_wrong_in_the_eighth_digit():
    ours = VonMises(4.0).build((1,)).double()
    x = torch.linspace(-3, 3, 7, dtype=torch.float64)[:, None]
    exact = torch.as_tensor(stats.vonmises(4.0).logpdf(x[:, 0].numpy()))
    theirs = td.VonMises(torch.tensor(0.0, dtype=torch.float64), torch.tensor(4.0, dtype=torch.float64)).log_prob(x[:, 0])
    assert float((ours.log_prob(x).detach() - exact).abs().max()) < 1e-13
    assert 1e-10 < float((theirs - exact).abs().max()) < 1e-6


def test_products():
    ours = Product([StandardNormal(), BoxUniform(-9.0, 9.0)], [2, 1]).build((3,))
    theirs = zuko.distributions.Joint(
        *(td.Normal(torch.tensor(0.0, dtype=torch.float64), 1.0) for _ in range(2)),
        td.Uniform(torch.tensor(-9.0, dtype=torch.float64), 9.0),
    )
    assert torch.allclose(ours.log_prob(X), theirs.log_prob(X))
    gaussian = nf.distributions.UniformGaussian(3, [2], scale=torch.tensor([1.0, 1.0, 18.0])).double()
    assert torch.allclose(ours.log_prob(X), gaussian.log_prob(X))
    outside = torch.tensor([[0.0, 0.0, 10.0]], dtype=torch.float64)
    assert ours.log_prob(outside) == -math.inf
    assert math.isfinite(gaussian.log_prob(outside))  # theirs is no density outside its interval


TWO, ONES = torch.tensor([0.5, -1.0]), torch.tensor([1.0, 2.0])
PYRO = {
    "Normal": lambda: pyro.Normal(TWO, ONES),
    "to_event": lambda: pyro.Normal(TWO, ONES).to_event(1),
    "LogNormal": lambda: pyro.LogNormal(TWO, ONES),
    "InverseGamma": lambda: pyro.InverseGamma(ONES, ONES),
    "MultivariateNormal": lambda: pyro.MultivariateNormal(TWO, 2 * torch.eye(2)),
    "MultivariateStudentT": lambda: pyro.MultivariateStudentT(torch.tensor(4.0), TWO, torch.eye(2)),
    "AsymmetricLaplace": lambda: pyro.AsymmetricLaplace(TWO, ONES, torch.tensor([0.5, 2.0])),
    "SoftLaplace": lambda: pyro.SoftLaplace(TWO, ONES),
    "Logistic": lambda: pyro.Logistic(TWO, ONES),
    "SkewLogistic": lambda: pyro.SkewLogistic(TWO, ONES, torch.tensor([0.5, 2.0])),
    "Stable": lambda: pyro.Stable(torch.tensor([1.5, 1.2]), torch.tensor([0.3, 0.0]), ONES, TWO),
    "AffineBeta": lambda: pyro.AffineBeta(torch.tensor([2.0, 3.0]), torch.tensor([2.0, 2.0]), TWO, ONES),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("learnable", [False, True])
@pytest.mark.parametrize("name", PYRO)
def test_pyros_distributions_can_be_bases(name, learnable, tmp_path):
    base = PYRO[name]()
    plan = wrap(base, learnable)
    assert Spec.from_json(plan.to_json()) == plan
    module = plan.build()
    with torch.random.fork_rng():
        x = base.sample((20,))
        assert module.rsample(torch.Size((3, *base.batch_shape))).shape == (3, *base.batch_shape, *base.event_shape)
    assert torch.allclose(module.log_prob(x), base.log_prob(x), rtol=1e-4, atol=1e-4)
    assert bool(list(module.parameters())) == learnable
    flow = Flow(base, [])
    flow.save(tmp_path / "flow.safetensors")
    assert dtype_name(flow.dtype) == "float32"


def test_a_name_of_pyro_that_does_not_exist():
    with pytest.raises(PlanError, match=r"got 'pyro\.Nonsense'; import pyro first"):
        Spec.from_dict({"type": "Wrapped", "name": "pyro.Nonsense", "arguments": []})


@pytest.mark.filterwarnings("ignore")
def test_targets_of_the_peers():
    x = X[:, :2]
    for modes in (5, 8):
        ring = nf.distributions.CircularGaussianMixture(modes).double()
        agree(targets.GaussianRing(modes, 2.0, 2 / 3 * math.sin(math.pi / modes)).log_prob, ring.log_prob, x)
    moons = targets.TwoModes(2.0, 0.2, 0.3)
    agree(lambda v: moons.log_prob(v) + moons.log_normalizer, nf.distributions.TwoMoons().log_prob, x)
    assert math.exp(moons.log_normalizer) == pytest.approx(2.23, abs=0.01)  # what theirs integrates to
    modes = targets.TwoModes(1.5, 0.4, 0.6)
    agree(lambda v: modes.log_prob(v) + modes.log_normalizer, nf.distributions.prior.TwoModes(1.5, 0.2).log_prob, x)
    rings = targets.RingMixture(3)
    agree(lambda v: rings.log_prob(v) + rings.log_normalizer, nf.distributions.RingMixture(3).log_prob, x)
    # FlowTorch's funnel has its features the other way round.
    agree(targets.Funnel().log_prob, lambda v: flowtorch.distributions.NealsFunnel().log_prob(v.flip(-1)), x)
