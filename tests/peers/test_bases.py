"""Bases and targets against Zuko, nflows, normflows, Pyro and FlowTorch: the same values and gradients, or where the peer is wrong."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
import torch
import torch.distributions as td
from scipy import stats

from pushforward import targets, transforms
from pushforward.bases import (
    BoxUniform,
    DiagNormal,
    FullNormal,
    GeneralizedNormal,
    MixtureOfNormals,
    OrderStatistics,
    Product,
    StandardNormal,
    Truncated,
    VonMises,
    wrap,
)
from pushforward.core.spec import PlanError, Spec
from pushforward.distributions import Flow, TransformedDistribution
from pushforward.io import dtype_name
from pushforward.kernels.linear import ROW_BOUND
from pushforward.nets.mlp import MLP
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


def double(*numbers):
    return (torch.tensor(number, dtype=torch.float64) for number in numbers)


@pytest.mark.parametrize(("low", "high"), [(-1.0, 2.0), (0.5, math.inf), (-math.inf, -1.0)])
def test_truncated(low, high):
    known = zuko.distributions.Truncated(zuko.distributions.Normal(*double(0.3, 1.7)), *double(low, high))
    ours = Truncated(wrap(td.Normal(*double(0.3, 1.7))), low, high).build(()).double()
    inside = X.flatten()[(X.flatten() > low) & (X.flatten() < high)]
    agree(ours.log_prob, known.log_prob, inside)
    assert torch.equal(ours.log_prob(X).isfinite(), X.clamp(low, high) == X)


def test_zukos_truncated_has_no_tails():
    known = zuko.distributions.Truncated(zuko.distributions.Normal(0.0, 1.0), 8.0, 9.0)
    assert torch.isnan(known.log_prob(torch.tensor(8.5)))
    with torch.random.fork_rng():
        assert float(known.rsample((100,)).max()) < 8
    ours = Truncated(StandardNormal(), 8.0, 9.0).build(())
    assert ours.log_prob(torch.tensor(8.5)).item() == pytest.approx(stats.truncnorm(8, 9).logpdf(8.5), abs=1e-5)
    drawn = ours.rsample(torch.Size((100,)), None, torch.Generator().manual_seed(0))
    assert bool(((drawn > 8) & (drawn < 9)).all())


@pytest.mark.parametrize("descending", [False, True])
def test_order_statistics(descending):
    normal, base = zuko.distributions.Normal(*double(0.0, 1.0)), StandardNormal()
    for theirs, ours in (
        (zuko.distributions.Sort(normal, 3, descending), OrderStatistics(base, descending=descending).build((3,))),
        (zuko.distributions.TopK(normal, 3, 7, descending=descending), OrderStatistics(base, 7, descending).build((3,))),
    ):
        x = X.sort(-1, descending).values
        agree(ours.log_prob, theirs.log_prob, x)
        assert bool((ours.log_prob(x.flip(-1)) == -math.inf).all())
        assert bool((theirs.log_prob(x.flip(-1)) == -math.inf).all())
    extreme = (zuko.distributions.Maximum if descending else zuko.distributions.Minimum)(normal, 5)
    agree(OrderStatistics(base, 5, descending).build(()).log_prob, extreme.log_prob, X[:, 0])
    # Beyond eight standard deviations torch's distribution function, and so theirs, is 0 or 1.
    far = torch.tensor([-9.0 if descending else 9.0], dtype=torch.float64)
    assert math.isfinite(OrderStatistics(base, 5, descending).build(()).log_prob(far))
    assert extreme.log_prob(far) == -math.inf


def test_priors_of_nflows():
    low, high = torch.zeros(3), torch.tensor([10.0, 10.0, 1 / 3])
    matrix = torch.tensor([[1.0, 0.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    ours = TransformedDistribution(td.Independent(td.Uniform(low, high), 1), [transforms.LowerCholeskyAffine(torch.zeros(3), matrix)])
    known = nflows.distributions.uniform.MG1Uniform(low, high)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        theirs = known.sample((20,))
        torch.manual_seed(0)
        drawn = ours.sample((20,))
        oscillating = nflows.distributions.uniform.LotkaVolterraOscillating()
        y = oscillating.sample((200,)).double()
    assert torch.allclose(drawn, theirs)
    assert torch.allclose(ours.log_prob(theirs), known.log_prob(theirs).sum(-1))
    mean = torch.tensor([0.01, 0.5, 1.0, 0.01]).log()
    cut = Truncated(wrap(td.Normal(mean, 0.5)), -5.0, 2.0).build((4,)).double()
    off = cut.log_prob(y) - oscillating.log_prob(y)
    # Theirs has the density of the box as a factor, and in its constant erf(z) in place of (1 + erf(z / sqrt 2)) / 2.
    assert torch.allclose(off, off.mean().expand(200), atol=1e-5)
    z = ((torch.tensor([[2.0], [-5.0]]) - mean) / 0.5).double()
    wrong = 4 * math.log(7) + torch.log(z.erf().diff(dim=0).abs()).sum() - torch.log(torch.special.ndtr(z).diff(dim=0).abs()).sum()
    assert off.mean().item() == pytest.approx(wrong.item(), abs=1e-5)
    assert math.exp(wrong.item()) == pytest.approx(47000, rel=0.01)


def test_a_normal_for_each_class():
    theirs = nf.distributions.base.ClassCondDiagGaussian(2, 3).double()
    randomize(theirs, 0.6)
    label = torch.arange(30) % 3
    table = torch.cat([theirs.loc, unclamp(theirs.log_scale)]).detach()
    linear = torch.nn.Linear(3, 4, bias=False).double()
    with torch.no_grad():
        linear.weight.copy_(table)
    plain = DiagNormal(net=linear.float()).build((2,), (3,)).double()
    with torch.no_grad():
        plain.parameters_of.net.module.weight.copy_(table)
    planned = DiagNormal(net=MLP((3,))).build((2,), (3,)).double()
    first, last = planned.parameters_of.net.layers
    with torch.no_grad():  # a hidden unit for each class
        first.c.weight.copy_(torch.eye(3))
        first.c.bias.zero_()
        last.weight.copy_(table)
    context = torch.eye(3, dtype=torch.float64)[label]
    for ours in (plain, planned):
        agree(lambda x, ours=ours: ours.log_prob(x, context), lambda x: theirs.log_prob(x, label), X[:, :2])


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
    smiley = targets.Smiley(0.5)
    agree(lambda v: smiley.log_prob(v) + smiley.log_normalizer, nf.distributions.prior.Smiley(0.25).log_prob, x)


def test_normflows_pictures_have_no_edge():
    image = np.random.default_rng(0).random((5, 4))
    theirs, ours = nf.distributions.prior.ImagePrior(image), targets.Picture(image)
    # Theirs spreads all but the last of n pixels over the range, of which that is the end; ours each of them.
    centres = torch.tensor([[-3 + 6 * (i + 0.5) / 3, -3 + 6 * (j + 0.5) / 4] for i in range(3) for j in range(4)], dtype=torch.float64)
    same = targets.Picture(image[1:, :-1])
    off = same.log_prob(centres) - theirs.log_prob(centres)
    assert torch.allclose(off, off.mean().expand(12), atol=1e-6)  # theirs is no density: no area of a pixel
    outside = torch.tensor([[100.0, 100.0]], dtype=torch.float64)
    assert math.isfinite(theirs.log_prob(outside))
    assert ours.log_prob(outside) == -math.inf
