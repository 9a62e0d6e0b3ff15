"""sbi: NPE and NLE train a flow of this library, on problems whose posteriors are known."""

import copy
import math
import pickle
import re

import numpy as np
import pytest
import torch
from sbi.inference import NLE, NPE, DirectPosterior
from sbi.neural_nets.embedding_nets import FCEmbedding
from sbi.utils import BoxUniform, MultipleIndependent
from sklearn.model_selection import cross_val_score
from sklearn.neighbors import KNeighborsClassifier
from torch import nn
from torch.distributions import Gamma, MultivariateNormal, constraints

import pushforward as pf
from pushforward.bijectors import AffineCoupling, Linear
from pushforward.contrib.sbi import as_estimator, density_estimator
from pushforward.contrib.sbi.priors import of_features
from pushforward.core import sets

pytestmark = pytest.mark.filterwarnings("ignore:Maximum number of epochs:UserWarning")
QUIET = {"show_progress_bars": False}
SMALL = {"transforms": 2, "widths": (16,)}

# theta ~ N(0, I), x = A theta + noise: the posterior is normal, with this precision, and so is the likelihood.
A, NOISE = torch.tensor([[1.0, 0.5], [0.0, 1.0]]), 0.5
PRIOR = MultivariateNormal(torch.zeros(2), torch.eye(2))
PRECISION = torch.eye(2) + A.T @ A / NOISE**2


def gaussian(theta):
    return theta @ A.T + NOISE * torch.randn_like(theta)


def posterior_of(x):
    return MultivariateNormal(torch.linalg.solve(PRECISION, (x @ A / NOISE**2).T).T, precision_matrix=PRECISION)


def divergence(true, learned):
    """Return the mean of log p - log q over draws of p, an estimate of a Kullback-Leibler divergence, and its standard error."""
    difference = true - learned
    return difference.mean().item(), (difference.std() / math.sqrt(len(difference))).item()


@pytest.fixture(scope="module", autouse=True)
def folder(tmp_path_factory):
    """Let sbi write its logs, which it puts where it runs, elsewhere."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("sbi"))
        yield


def rows(simulator, prior, n, seed):
    torch.manual_seed(seed)
    theta = prior.sample((n,))
    return theta, simulator(theta)


def two_moons(theta):
    angle, radius = math.pi * (torch.rand(len(theta)) - 0.5), 0.1 + 0.01 * torch.randn(len(theta))
    moon = torch.stack([radius * angle.cos() + 0.25, radius * angle.sin()], 1)
    return moon + torch.stack([-theta.sum(1).abs(), theta[:, 1] - theta[:, 0]], 1) / math.sqrt(2)


def log_two_moons(theta, x):
    """Return log p(x | theta), by the polar coordinates of what is left of x."""
    rest = x - torch.stack([-theta.sum(1).abs(), theta[:, 1] - theta[:, 0]], 1) / math.sqrt(2) - torch.tensor([0.25, 0.0])
    radius = rest.norm(dim=1)
    ring = torch.distributions.Normal(0.1, 0.01).log_prob(radius) - radius.log() - math.log(math.pi)
    return torch.where(rest[:, 0] > 0, ring, -math.inf)


def drawn_on_a_grid(log_density, n, points=1201):
    """Draw from a density on the square (-1, 1)^2, known but for its constant."""
    line = torch.linspace(-1, 1, points + 1)[:-1] + 1 / points
    grid = torch.cartesian_prod(line, line)
    weights = log_density(grid).exp()
    return grid[torch.multinomial(weights, n)] + 2 * (torch.rand(n, 2) - 0.5) / points


def test_npe_on_two_moons():
    """Held to the exact posterior by a classifier that cannot tell them apart, and by the shares of both moons."""
    prior = BoxUniform(-torch.ones(2), torch.ones(2))
    theta, x = rows(two_moons, prior, 10000, 0)
    inference = NPE(prior, density_estimator=density_estimator(pf.NSF, support=prior, bins=12), **QUIET)
    inference.append_simulations(theta, x).train(training_batch_size=500, learning_rate=3e-3, max_num_epochs=60)
    posterior = inference.build_posterior()
    observed, n = torch.zeros(1, 2), 1000
    ours = posterior.sample((n,), x=observed, **QUIET)
    exact = drawn_on_a_grid(lambda grid: log_two_moons(grid, observed), n)
    both, labels = torch.cat([ours, exact]).numpy(), np.repeat([0, 1], n)
    order = np.random.default_rng(0).permutation(2 * n)
    c2st = cross_val_score(KNeighborsClassifier(20), both[order], labels[order], cv=5).mean()
    # Of the exact posterior's own samples it is 0.5, with a standard error of 0.011; of the prior it is 0.96, of a normal with the right
    # moments 0.92.
    assert c2st < 0.65
    share = (ours.sum(1) > 0).float().mean().item()
    assert abs(share - 0.5) < 0.1
    # Nothing leaks out of the prior, so sbi's correction changes nothing, and no sample is rejected.
    assert bool(prior.support.check(ours).all())
    corrected, plain = (posterior.log_prob(ours, x=observed, norm_posterior=norm) for norm in (True, False))
    assert torch.equal(corrected, plain)
    assert posterior.leakage_correction(observed, num_rejection_samples=1000, **QUIET) == 1


@pytest.fixture(scope="module")
def npe():
    theta, x = rows(gaussian, PRIOR, 3000, 0)
    inference = NPE(PRIOR, density_estimator=density_estimator(pf.MAF, transforms=2, widths=(32,)), **QUIET)
    inference.append_simulations(theta, x).train(training_batch_size=200, learning_rate=3e-3, max_num_epochs=40)
    return inference.build_posterior()


def test_npe_on_a_linear_gaussian(npe):
    theta, x = rows(gaussian, PRIOR, 5000, 1)
    with torch.no_grad():
        learned = npe.posterior_estimator.log_prob(theta, x)[0]
    found, error = divergence(posterior_of(x).log_prob(theta), learned)
    assert -3 * error < found < 0.03 + 3 * error
    n, observed = 4000, torch.tensor([[0.8, -0.6]])
    samples, exact = npe.sample((n,), x=observed, **QUIET), posterior_of(observed)
    scale = exact.covariance_matrix[0].diagonal().sqrt()
    # A divergence of 0.03 nats moves a mean by up to sqrt(0.06) of its scale; 5 standard errors for the draws.
    assert bool(((samples.mean(0) - exact.mean[0]).abs() < (math.sqrt(0.06) + 5 / math.sqrt(n)) * scale).all())
    assert bool(((samples.std(0) / scale).log().abs() < math.sqrt(0.06) + 5 / math.sqrt(2 * n)).all())


@pytest.mark.parametrize("objective", ["likelihood", "flow_matching"])
def test_npe_trains_a_continuous_flow(objective):
    n, epochs, bar = (600, 8, 0.2) if objective == "likelihood" else (3000, 60, 0.08)
    theta, x = rows(gaussian, PRIOR, n, 0)
    build = density_estimator("CNF", widths=(16,), tolerance=1e-2, objective=objective)
    inference = NPE(PRIOR, density_estimator=build, **QUIET)
    inference.append_simulations(theta, x).train(training_batch_size=100, learning_rate=1e-2, max_num_epochs=epochs)
    posterior = inference.build_posterior()
    theta, x = rows(gaussian, PRIOR, 2000, 1)
    with torch.no_grad():
        found, error = divergence(posterior_of(x).log_prob(theta), posterior.posterior_estimator.log_prob(theta, x)[0])
    # The prior is 1.5 nats off, and the tolerance is that of each log-density.
    assert -3 * error - 0.02 < found < bar + 3 * error
    exact = posterior_of(torch.tensor([[0.8, -0.6]]))
    samples = posterior.sample((1000,), x=torch.tensor([[0.8, -0.6]]), **QUIET)
    assert bool(((samples.mean(0) - exact.mean[0]).abs() < 0.8 * exact.covariance_matrix[0].diagonal().sqrt()).all())


def test_a_flow_that_fit_has_trained_makes_a_posterior():
    theta, x = rows(gaussian, PRIOR, 3000, 0)
    flow = pf.CNF(2, context=2, widths=(16,), tolerance=1e-2)
    options = {"objective": "flow_matching", "learning_rate": 1e-2, "schedule": "cosine", "progress": False}
    pf.fit(flow, theta, context=10 * x + 5, epochs=25, **options)
    posterior = DirectPosterior(as_estimator(flow), PRIOR)
    theta, x = rows(gaussian, PRIOR, 2000, 1)
    with torch.no_grad():
        learned = posterior.posterior_estimator.log_prob(theta, 10 * x + 5)[0]
    torch.testing.assert_close(learned, flow.log_prob(theta, 10 * x + 5).detach(), rtol=0, atol=1e-5)
    found, error = divergence(posterior_of(x).log_prob(theta), learned)
    assert -3 * error - 0.02 < found < 0.08 + 3 * error
    observed = torch.tensor([[0.8, -0.6]])
    exact, samples = posterior_of(observed), posterior.sample((1000,), x=10 * observed + 5, **QUIET)
    assert bool(((samples.mean(0) - exact.mean[0]).abs() < 0.8 * exact.covariance_matrix[0].diagonal().sqrt()).all())
    assert posterior.log_prob(samples, x=10 * observed + 5).shape == (1000,)


@pytest.mark.parametrize(
    ("flow", "error", "message"),
    [
        (pf.NSF(2, transforms=1), ValueError, "as_estimator: expected a conditional flow, got one without context"),
        (pf.NSF, TypeError, "as_estimator: expected a Flow, got function"),
        (
            pf.Flow(pf.distributions.StandardNormal(), AffineCoupling(), (2, 3), context_shape=1),
            ValueError,
            "as_estimator: expected a flow of vectors, got event_shape",
        ),
    ],
)
def test_what_is_no_conditional_flow_of_vectors_is_refused(flow, error, message):
    with pytest.raises(error, match=message):
        as_estimator(flow)


def test_flow_matching_trains_later_rounds_and_likelihoods():
    """A later round of NPE takes sbi's own loss, of densities."""
    theta, x = rows(gaussian, PRIOR, 200, 0)
    build = {"widths": (8,), "tolerance": 1e-2, "objective": "flow_matching"}
    npe, nle = (
        NPE(PRIOR, density_estimator=density_estimator("CNF", **build), **QUIET),
        NLE(PRIOR, density_estimator=density_estimator("CNF", of="likelihood", **build), **QUIET),
    )
    for inference in (npe, nle):
        inference.append_simulations(theta, x).train(max_num_epochs=2)
    proposal = npe.build_posterior().set_default_x(x[:1])
    theta = proposal.sample((100,), **QUIET)
    npe.append_simulations(theta, gaussian(theta), proposal=proposal).train(training_batch_size=50, max_num_epochs=1)
    for inference in (npe, nle):
        assert all(math.isfinite(loss) for loss in inference.summary["validation_loss"])


def test_flow_matching_keeps_what_the_regression_finds():
    """Of a linear model it is the posterior but for noise, and stays so: on straight ways a field that is half learnt is a nat off."""
    prior = MultivariateNormal(torch.zeros(5), torch.eye(5))
    simulate = lambda theta: theta + torch.randn_like(theta)  # noqa: E731
    theta, x = rows(simulate, prior, 2000, 0)
    build = density_estimator("CNF", widths=(32,), tolerance=1e-2, objective="flow_matching")
    inference = NPE(prior, density_estimator=build, **QUIET)
    inference.append_simulations(theta, x).train(training_batch_size=100, max_num_epochs=4)
    theta, x = rows(simulate, prior, 2000, 1)
    true = MultivariateNormal(x / 2, 0.5 * torch.eye(5)).log_prob(theta)
    with torch.no_grad():
        found, error = divergence(true, inference.build_posterior().posterior_estimator.log_prob(theta, x)[0])
    assert -3 * error - 0.02 < found < 0.03 + 3 * error


@pytest.mark.parametrize(
    ("objective", "support", "path"),
    [
        ("flow_matching", None, "variance_preserving"),
        ("flow_matching", ["circular"] * 2, "linear"),
        (pf.FlowMatching(), None, "linear"),
        (pf.FlowMatching("schroedinger_bridge"), None, "schroedinger_bridge"),
    ],
)
def test_the_word_takes_the_path_of_standardised_values_where_there_is_one(objective, support, path):
    theta, x = rows(gaussian, BoxUniform(-torch.ones(2), torch.ones(2)), 50, 0)
    scores = "none" if support else "independent"  # angles have their units
    build = density_estimator("CNF", widths=(8,), support=support, z_score_theta=scores, objective=objective)
    assert build(theta, x).matching.path == path


def test_flow_matching_is_the_loss_of_each_row_and_trains_the_embedding():
    prior = BoxUniform(-torch.ones(2), torch.ones(2))
    theta, x = rows(gaussian, prior, 50, 0)
    net = nn.Linear(2, 3)
    build = density_estimator("CNF", widths=(8,), support=prior, embedding_net=net, objective=pf.FlowMatching(times="late"))
    estimator = pickle.loads(pickle.dumps(build(theta, x)))
    with torch.no_grad():
        for parameter in estimator.net.parameters():
            parameter += 0.3 * torch.randn(parameter.shape)
    theta[0] = -1.0  # the end of the prior
    losses = estimator.loss(theta, x)
    assert losses.shape == (50,)
    assert bool(torch.isfinite(losses).all())
    losses.mean().backward()
    assert estimator.embedding_net.weight.grad.abs().max() > 0
    # Draws that train are new ones, and those that score are the same.
    again = estimator.loss(theta, x)
    assert not torch.equal(losses, again)
    estimator.eval()
    scored = estimator.loss(theta, x)
    assert scored.shape == (50,)
    # By torch's products, which may round by where tensors lie.
    torch.testing.assert_close(scored, estimator.loss(theta, x))
    # The mean over rows hardly depends on their order, by which they get other draws: 16 of each make it four times as quiet.
    orders = [torch.randperm(50, generator=torch.Generator().manual_seed(seed)) for seed in range(40)]
    with torch.no_grad():
        found = torch.stack([estimator.loss(theta[order], x[order]).mean() for order in orders])
        estimator.train()
        single = torch.stack([estimator.loss(theta, x).mean() for _ in orders])
        estimator.eval()
    assert found.std() < 0.5 * single.std()
    assert estimator.log_prob(theta, x).shape == (1, 50)


@pytest.mark.parametrize(
    ("objective", "flow", "message"),
    [
        ("matching", "CNF", "density_estimator: expected objective to be 'likelihood', 'flow_matching', or a FlowMatching or a Likelihood"),
        (pf.Likelihood(kinetic=0.1), "CNF", "density_estimator: expected an objective without kinetic and jacobian"),
        (
            pf.FlowMatching(coupling=pf.MAF(2)),
            "CNF",
            "density_estimator: expected an objective with coupling='independent', got a flow",
        ),
        (pf.FlowMatching(coupling="optimal_transport"), "CNF", "density_estimator: expected an objective with coupling='independent', got"),
        ("flow_matching", "MAF", "density_estimator: expected a flow with one Continuous layer in its list of layers for objective="),
    ],
)
def test_objectives_that_do_not_fit_are_refused(objective, flow, message):
    with pytest.raises(ValueError, match=message):
        density_estimator(flow, objective=objective)(*rows(gaussian, PRIOR, 50, 0))


def test_a_batch_of_observations(npe):
    observed = torch.randn(3, 2)
    samples = npe.sample_batched((1000,), x=observed, **QUIET)
    assert samples.shape == (1000, 3, 2)
    log_prob = npe.log_prob_batched(samples, x=observed, norm_posterior=False)
    for index, one in enumerate(observed):
        alone = npe.log_prob(samples[:, index], x=one[None], norm_posterior=False)
        torch.testing.assert_close(log_prob[:, index], alone, rtol=1e-5, atol=1e-5)
        exact = posterior_of(one[None])
        assert bool(((samples[:, index].mean(0) - exact.mean[0]).abs() < 0.25 + 5 / math.sqrt(1000)).all())


def test_it_pickles_and_copies(npe):
    theta, x = torch.randn(5, 2), torch.randn(1, 2)
    for again in (pickle.loads(pickle.dumps(npe)), copy.deepcopy(npe)):
        assert torch.equal(again.log_prob(theta, x=x), npe.log_prob(theta, x=x))
    builder = pickle.loads(pickle.dumps(density_estimator(pf.NSF, regression=False, **SMALL)))
    assert builder(torch.randn(50, 2), torch.randn(50, 3)).net.plan == pf.NSF(2, 3, **SMALL).plan


def test_nle_on_a_linear_gaussian():
    theta, x = rows(gaussian, PRIOR, 3000, 0)
    inference = NLE(PRIOR, density_estimator=density_estimator(pf.MAF, of="likelihood", transforms=2, widths=(32,)), **QUIET)
    estimator = inference.append_simulations(theta, x).train(training_batch_size=200, learning_rate=3e-3, max_num_epochs=40)
    theta, x = rows(gaussian, PRIOR, 5000, 1)
    with torch.no_grad():
        learned = estimator.log_prob(x, theta)[0]
    exact = MultivariateNormal(theta @ A.T, NOISE**2 * torch.eye(2)).log_prob(x)
    found, error = divergence(exact, learned)
    assert -3 * error < found < 0.03 + 3 * error
    # Ten observations at once: sbi adds up their likelihoods.
    n, observed = 500, gaussian(torch.tensor([[0.5, -0.5]]).expand(10, 2))
    samples = inference.build_posterior(sample_with="rejection").sample((n,), x=observed, **QUIET)
    covariance = torch.linalg.inv(torch.eye(2) + 10 * A.T @ A / NOISE**2)
    mean = covariance @ (A.T @ observed.sum(0) / NOISE**2)
    scale = covariance.diagonal().sqrt()
    # Ten likelihoods of 0.03 nats each.
    assert bool(((samples.mean(0) - mean).abs() < (math.sqrt(0.6) + 5 / math.sqrt(n)) * scale).all())


def test_two_rounds():
    """Sequential NPE with atomic proposals, in a box that cuts the posterior off."""
    prior = BoxUniform(torch.tensor([0.0, -2.0]), torch.tensor([2.0, 2.0]))
    observed = torch.tensor([[0.3, 0.2]])
    torch.manual_seed(0)
    inference = NPE(prior, density_estimator=density_estimator(pf.NSF, support=prior, transforms=3), **QUIET)
    proposal = prior
    for size in (1500, 1000):
        theta = proposal.sample((size,))
        inference.append_simulations(theta, gaussian(theta), proposal=proposal)
        inference.train(training_batch_size=200, learning_rate=3e-3, max_num_epochs=20)
        posterior = inference.build_posterior()
        proposal = posterior.set_default_x(observed)
    n = 4000
    samples = posterior.sample((n,), x=observed, **QUIET)
    assert bool(prior.support.check(samples).all())
    grid = torch.cartesian_prod(torch.linspace(0.0, 2.0, 401)[1:], torch.linspace(-2.0, 2.0, 401)[1:])
    weights = torch.softmax(MultivariateNormal(grid @ A.T, NOISE**2 * torch.eye(2)).log_prob(observed), 0)[:, None]
    mean = (weights * grid).sum(0)
    scale = (weights * (grid - mean) ** 2).sum(0).sqrt()
    assert bool(((samples.mean(0) - mean).abs() < (0.3 + 5 / math.sqrt(n)) * scale).all())
    assert bool(((samples.std(0) / scale).log().abs() < 0.3 + 5 / math.sqrt(2 * n)).all())


def test_an_embedding_of_images_is_trained_with_the_flow():
    def simulator(theta):
        return theta[:, :1, None, None] + 0.5 * torch.randn(len(theta), 1, 6, 6)

    prior = MultivariateNormal(torch.zeros(1), torch.eye(1))
    theta, x = rows(simulator, prior, 1000, 0)
    net = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(36), nn.Linear(36, 4), nn.ReLU())
    with pytest.raises(ValueError, match=r"density_estimator: z-scores of the conditions: .* try 'structured' or 'none'"):
        density_estimator(pf.NSF, embedding_net=net, **SMALL)(theta, torch.where(torch.eye(6) > 0, x, 0.0))  # some pixels never change
    before = copy.deepcopy(net.state_dict())
    builder = density_estimator(pf.NSF, embedding_net=net, z_score_x="structured", **SMALL)
    assert torch.equal(builder(theta, x).embedding_net[1].running_mean, torch.zeros(36)), "building moves no running statistics"
    inference = NPE(prior, density_estimator=builder, **QUIET)
    estimator = inference.append_simulations(theta, x).train(learning_rate=3e-3, max_num_epochs=60, stop_after_epochs=60)
    assert not torch.equal(estimator.embedding_net[2].weight, before["2.weight"])
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items()), "each estimator has a copy"
    with torch.no_grad():
        learned = estimator.eval().log_prob(theta, x)[0]
    variance = 1 / (1 + 36 / 0.25)
    exact = torch.distributions.Normal(variance * x.flatten(1).sum(1) / 0.25, math.sqrt(variance)).log_prob(theta[:, 0])
    assert divergence(exact, learned)[0] < 0.2 * divergence(exact, prior.log_prob(theta))[0], "most of what x tells is learned"


def test_sbis_own_embedding_nets_work():
    made = density_estimator(embedding_net=FCEmbedding(3, output_dim=5), **SMALL)(torch.randn(50, 2), torch.randn(50, 3))
    assert made.net.context_shape == (5,)


@pytest.mark.parametrize("of", ["posterior", "likelihood"])
def test_shapes_and_values_of_the_estimator(of):
    torch.manual_seed(0)
    theta, x = torch.randn(100, 2) * 3 + 1, torch.randn(100, 3)
    made = density_estimator(pf.NSF, of=of, **SMALL)(theta, x)
    value, condition = (theta, x) if of == "posterior" else (x, theta)
    with torch.no_grad():
        for p in made.parameters():
            p += 0.1 * torch.randn_like(p)
        assert made.input_shape == value.shape[1:]
        assert made.condition_shape == condition.shape[1:]
        alone = torch.stack([made.net.log_prob(v, made.conditions(c)) for v, c in zip(value[:6], condition[:6], strict=True)])
        torch.testing.assert_close(made.log_prob(value[:6], condition[:6]), alone[None])
        torch.testing.assert_close(made.loss(value[:6], condition[:6]), -alone)
        torch.testing.assert_close(made.log_prob(value[None, :6], condition[None, :6]), alone[None])
        many = made.log_prob(value[:12].reshape(4, 3, -1), condition[:3])
        assert many.shape == (4, 3)
        torch.testing.assert_close(many[1, 2], made.net.log_prob(value[5], made.conditions(condition[2])))
        assert made.log_prob(value[:7, None], condition[:3]).shape == (7, 3)
        assert made.log_prob(value[:1], condition[:3]).shape == (1, 3)
    assert made.sample((7,), condition[:3]).shape == (7, 3, *value.shape[1:])
    samples, log_prob = made.sample_and_log_prob((7, 2), condition[:3])
    assert samples.shape == (7, 2, 3, *value.shape[1:])
    torch.testing.assert_close(made.net.log_prob(samples, made.conditions(condition[:3])), log_prob, rtol=1e-4, atol=1e-4)
    with pytest.raises(ValueError, match="input"):
        made.log_prob(torch.zeros(4, 5), condition[:4])
    with pytest.raises(ValueError, match="condition"):
        made.sample((3,), torch.zeros(4, 7))


def test_z_scores_are_those_of_the_training_rows():
    torch.manual_seed(0)
    theta, x = torch.randn(500, 2) * torch.tensor([0.01, 100.0]) + 5, 50 + 3 * torch.randn(500, 3)
    made = density_estimator(pf.MAF, regression=False, **SMALL)(theta, x)
    layer = made.net.transform.layers[-1]
    torch.testing.assert_close(layer.loc, theta.mean(0))
    torch.testing.assert_close(layer.scale, theta.std(0, correction=0))
    torch.testing.assert_close(made.conditions(x).mean(0), torch.zeros(3), atol=1e-4, rtol=0)
    start = MultivariateNormal(theta.mean(0), torch.diag(theta.var(0, correction=0)))
    torch.testing.assert_close(made.log_prob(theta, x)[0], start.log_prob(theta), rtol=1e-4, atol=1e-4)
    plain = density_estimator(pf.MAF, z_score_theta="none", z_score_x="none", regression=False, **SMALL)(theta, x)
    assert torch.equal(plain.conditions(x), x)
    torch.testing.assert_close(
        plain.log_prob(theta, x)[0], MultivariateNormal(torch.zeros(2), torch.eye(2)).log_prob(theta), rtol=1e-4, atol=0.1
    )
    # Plans get what scores and holds them.
    plans = density_estimator([AffineCoupling(), Linear()], regression=False, support=["positive", "real"])(theta.abs(), x).net.plan
    assert plans == pf.bijectors.Compose(
        [AffineCoupling(), Linear(), pf.bijectors.Standardize(), pf.bijectors.Domain(["positive", "real"])]
    )


def test_a_training_row_on_the_prior_s_edge_has_a_finite_loss():
    prior = BoxUniform(torch.tensor([0.0, -3.0]), torch.tensor([1.0, 5.0]))
    torch.manual_seed(0)
    theta, x = prior.sample((100,)), torch.randn(100, 2)
    theta[0], theta[1] = torch.tensor([0.0, 5.0]), torch.tensor([1.0, -3.0])
    made = density_estimator(pf.NSF, support=prior, **SMALL)(theta, x)
    assert bool(made.loss(theta, x).isfinite().all())
    assert made.log_prob(torch.tensor([[1.1, 0.0]]), x[:1]).item() == -math.inf
    theta[3, 0] = 1.5
    with pytest.raises(ValueError, match="density_estimator: expected values in the support, got 1 of 100 rows outside"):
        density_estimator(pf.NSF, support=prior, **SMALL)(theta, x)


def ends(found):
    return [sets.bounds(each) for each in found]


def test_the_set_of_each_feature_is_read_from_a_prior():
    assert ends(of_features(BoxUniform(torch.tensor([0.0, -1.0]), torch.tensor([1.0, 2.0])), 2)) == [(0, 1), (-1, 2)]
    assert ends(of_features(PRIOR, 2)) == [(-math.inf, math.inf)] * 2
    assert ends(of_features(constraints.positive, 3)) == [(0, math.inf)] * 3
    assert ends(of_features(constraints.less_than(torch.tensor([1.0, 2.0])), 2)) == [(-math.inf, 1), (-math.inf, 2)]
    several = MultipleIndependent([Gamma(torch.ones(1), torch.ones(1)), PRIOR, BoxUniform(torch.zeros(1), torch.ones(1))])
    assert ends(of_features(several, 4)) == [(0, math.inf), (-math.inf, math.inf), (-math.inf, math.inf), (0, 1)]
    assert of_features(["positive", "real"], 2) == ["positive", "real"]
    for wrong, features in (
        (constraints.simplex, 2),
        (constraints.boolean, 2),
        (["positive"], 2),
        (constraints.interval(torch.zeros(3), torch.ones(3)), 2),
    ):
        with pytest.raises(ValueError, match="support: expected"):
            of_features(wrong, features)


def test_wrong_options_are_refused():
    with pytest.raises(TypeError, match="density_estimator: expected flow to be a named flow"):
        density_estimator(pf.NSF(2, 3))
    with pytest.raises(TypeError, match="density_estimator: expected flow to be a name"):
        density_estimator("glow")
    with pytest.raises(TypeError, match="density_estimator: expected no options beside plans"):
        density_estimator([Linear()], bins=4)
    with pytest.raises(ValueError, match="density_estimator: expected of to be 'posterior'"):
        density_estimator(of="theta")
    with pytest.raises(ValueError, match="density_estimator: expected z_score_x to be one of"):
        density_estimator(z_score_x="yes")
    with pytest.raises(ValueError, match="density_estimator: expected 'structured' z-scores for conditions alone"):
        density_estimator(of="likelihood", z_score_x="structured")
    theta, x = torch.randn(50, 2), torch.randn(50, 3)
    with pytest.raises(ValueError, match="density_estimator: expected rows of one axis for the likelihood"):
        density_estimator(of="likelihood", **SMALL)(theta, x[:, :, None])
    with pytest.raises(ValueError, match=r"density_estimator: expected a Standardize\(\) layer"):
        density_estimator(pf.flows.PlanarFlow)(theta, x)
    with pytest.raises(ValueError, match=r"density_estimator: expected a pushforward\.Flow of event_shape"):
        density_estimator(lambda features, context: pf.NSF(features, **SMALL))(theta, x)


def test_weights_are_averaged_where_sbi_scores_and_keeps():
    """A training by hand: after eval() the weights are the averages of those after each step, after train() themselves."""
    theta, x = rows(gaussian, PRIOR, 100, 0)
    estimator = density_estimator(pf.MAF, **SMALL, averaging=0.9)(theta, x)
    parameters = [*estimator.parameters()]
    optimizer = torch.optim.Adam(parameters, 1e-2)
    expected = [p.detach().clone() for p in parameters]
    for step in range(1, 4):
        optimizer.zero_grad()
        estimator.log_prob(theta, x)
        estimator.loss(theta, x).mean().backward()
        optimizer.step()
        for mean, p in zip(expected, parameters, strict=True):
            mean.lerp_(p.detach(), 1 - min(0.9, step / (step + 9)))
    own = [p.detach().clone() for p in parameters]
    estimator.eval()
    for p, mean, value in zip(parameters, expected, own, strict=True):
        assert torch.allclose(p, mean, atol=1e-6)
        assert not torch.equal(p, value) or torch.equal(mean, value)
    estimator.loss(theta, x)  # a loss that scores moves nothing, nor does one that no step follows
    copied = pickle.loads(pickle.dumps(estimator))
    for made in (estimator, copied):
        made.train()
        assert all(torch.equal(p, value) for p, value in zip(made.parameters(), own, strict=True))
    # What is loaded is what there is, in training and after it.
    estimator.eval()
    best = copy.deepcopy(estimator.state_dict())
    estimator.train().load_state_dict(best)
    for mode in (True, False, True):
        assert all(torch.equal(value, best[name]) for name, value in estimator.train(mode).state_dict().items())


def test_the_flow_begins_with_a_regression():
    """On the linear Gaussian it is the posterior's mean before the first step; inside a box too, and not where rows are few."""
    theta, x = rows(gaussian, PRIOR, 3000, 0)
    begun = density_estimator(pf.MAF, **SMALL)(theta, x)
    exact = posterior_of(x)
    found, error = divergence(exact.log_prob(theta), begun.log_prob(theta, x)[0].detach())
    # What is left are the correlation of the posterior's features, and the errors of six coefficients.
    scale = exact.covariance_matrix[0].diagonal().sqrt()
    lost = -0.5 * torch.logdet(exact.covariance_matrix[0] / scale / scale[:, None]).item()
    assert -3 * error < found < lost + 0.02 + 3 * error
    plain = density_estimator(pf.MAF, **SMALL, regression=False)(theta, x)
    assert divergence(exact.log_prob(theta), plain.log_prob(theta, x)[0].detach())[0] > 0.5
    boxed = density_estimator(pf.MAF, **SMALL, support=["positive", "real"])
    inside = theta[:, 0] > 0
    assert "Additive" in repr(boxed(theta[inside], x[inside]).net.plan)
    assert [type(part).__name__ for part in begun.net.plan.bijectors[-3:]] == ["Standardize", "Elementwise", "Standardize"]
    # The units of the values are those of the flow, so a step of an optimiser moves the regression as far in all.
    scaled = density_estimator(pf.MAF, **SMALL)(theta * torch.tensor([1e-4, 1e4]), x)
    moved = scaled.log_prob(theta * torch.tensor([1e-4, 1e4]), x)
    torch.testing.assert_close(moved, begun.log_prob(theta, x), rtol=1e-3, atol=1e-3)
    weights = [[*made.net.transform.layers[-2].parameters()] for made in (begun, scaled)]
    assert all(torch.allclose(a, b, rtol=1e-3, atol=1e-4) for a, b in zip(*weights, strict=True))
    assert "Additive" not in repr(density_estimator(pf.MAF, **SMALL)(theta[:20], x[:20]).net.plan)
    assert "Additive" not in repr(density_estimator(pf.MAF, **SMALL, embedding_net=nn.Linear(2, 2))(theta, x).net.plan)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"averaging": 1.0}, "density_estimator: expected averaging to be a number between 0 and 1 or None, got 1.0"),
        ({"averaging": "0.9"}, "density_estimator: expected averaging to be a number between 0 and 1 or None, got '0.9'"),
        ({"regression": "yes"}, "density_estimator: expected regression to be True or False, got 'yes'"),
    ],
)
def test_wrong_beginnings(option, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        density_estimator(pf.MAF, **option)
