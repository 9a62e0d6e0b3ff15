"""pocoMC: its sampler is preconditioned by a flow of this library."""

import math

import numpy as np
import pocomc
import pytest
import scipy.stats
import torch

import pushforward as pf
from pushforward.contrib.pocomc import to_pocomc
from pushforward.contrib.zuko.adapter import ZukoFlow

SMALL = {"transforms": 2, "widths": (16,)}
SIZES = {"n_effective": 256, "n_active": 128, "vectorize": True, "random_state": 0}
COVARIANCE = np.array([[1.0, 0.9], [0.9, 1.0]])


def gaussian(x):
    return scipy.stats.multivariate_normal(np.zeros(2), COVARIANCE).logpdf(x)


def banana(x):
    """Rosenbrock's: -(1 - x)^2 / 2 - 5 (y - x^2)^2."""
    return -0.5 * (1 - x[..., 0]) ** 2 - 5 * (x[..., 1] - x[..., 0] ** 2) ** 2


def box(side):
    return pocomc.Prior([scipy.stats.uniform(-side / 2, side)] * 2)


def by_quadrature(log_likelihood, side, points=2000):
    """Return the log-evidence of a likelihood in a box by the midpoint rule."""
    line = (np.arange(points) + 0.5) / points * side - side / 2
    grid = np.stack(np.meshgrid(line, line, indexing="ij"), -1)
    return math.log(np.exp(log_likelihood(grid)).mean())


def sampled(flow, log_likelihood, side, **options):
    sampler = pocomc.Sampler(box(side), log_likelihood, flow=to_pocomc(flow), **SIZES, **options)
    sampler.run(n_total=512, n_evidence=1024, progress=False)
    return sampler


@pytest.fixture(scope="module")
def run():
    torch.manual_seed(0)
    return sampled(pf.NSF(2, **SMALL), gaussian, 20)


def test_the_evidence_of_a_gaussian(run):
    evidence, error = run.evidence()
    assert isinstance(run.flow.flow, ZukoFlow)
    assert abs(evidence - by_quadrature(gaussian, 20)) < 3 * error
    # All but 1e-20 of the likelihood is in the box.
    assert by_quadrature(gaussian, 20) == pytest.approx(-2 * math.log(20), abs=1e-6)


def test_the_evidence_of_a_banana():
    torch.manual_seed(0)
    evidence, error = sampled(pf.RealNVP(2, **SMALL), banana, 10).evidence()
    assert abs(evidence - by_quadrature(banana, 10)) < 3 * error


def test_the_moments_of_the_samples(run):
    samples, weights, _, _ = run.posterior()
    assert weights.sum() == pytest.approx(1)
    mean = weights @ samples
    covariance = (weights[:, None] * (samples - mean)).T @ (samples - mean)
    # Chains are correlated: half of the effective size, 5 standard errors.
    error = 5 / math.sqrt(0.5 / (weights**2).sum())
    assert np.abs(mean).max() < error
    assert np.abs(covariance - COVARIANCE).max() < math.sqrt(2) * error


def test_the_state_is_saved_and_loaded(run, tmp_path):
    run.save_state(tmp_path / "some.state")
    again = pocomc.Sampler(box(20), gaussian, flow=to_pocomc(pf.NSF(2, **SMALL)), output_dir=str(tmp_path), **SIZES)
    x = torch.randn(5, 2)
    assert not torch.equal(again.flow.log_prob(x), run.flow.log_prob(x)), "the flow of the run was trained"
    again.load_state(tmp_path / "some.state")
    assert torch.equal(again.flow.log_prob(x), run.flow.log_prob(x))


def test_regularisation_shrinks_the_weights():
    """Zuko's own flows fail here: pocoMC asks them for ``transforms``, which they have no longer."""
    x = torch.randn(300, 2, generator=torch.Generator().manual_seed(0)) ** 3
    sizes = []
    for scale in (None, 0.001):
        torch.manual_seed(0)
        flow = pf.NSF(2, **SMALL)
        pocomc.Flow(2, to_pocomc(flow)).fit(x, epochs=20, laplace_scale=scale)
        sizes.append(sum(p.abs().sum().item() for name, p in flow.named_parameters() if ".net." in name and name.endswith("weight")))
    assert sizes[1] < 0.95 * sizes[0]


@pytest.mark.filterwarnings("ignore:Float64 data is currently unsupported:UserWarning")
def test_both_directions_agree_in_pocomcs_own_class():
    torch.manual_seed(0)
    flow = pf.NSF(3, **SMALL)
    with torch.no_grad():
        for p in flow.parameters():
            p += 0.1 * torch.randn_like(p)
    theirs = pocomc.Flow(3, to_pocomc(flow))
    x = torch.randn(20, 3, dtype=torch.float64)  # pocoMC makes it single, and says so
    u, ladj = theirs.forward(x)
    back, minus = theirs.inverse(u)
    torch.testing.assert_close(back, x.float(), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(minus, -ladj, rtol=1e-4, atol=1e-4)
    exact = torch.distributions.MultivariateNormal(torch.zeros(3), torch.eye(3)).log_prob(u) + ladj
    torch.testing.assert_close(theirs.log_prob(x), exact, rtol=1e-4, atol=1e-4)
    samples, log_prob = theirs.sample(50)
    torch.testing.assert_close(flow.log_prob(samples), log_prob, rtol=1e-4, atol=1e-4)


def test_what_does_not_fit_is_refused():
    with pytest.raises(TypeError, match=r"expected a pushforward\.Flow, got str"):
        to_pocomc("nsf6")
    with pytest.raises(ValueError, match="to_pocomc: expected a flow without context"):
        to_pocomc(pf.NSF(2, 3, **SMALL))
    with pytest.raises(ValueError, match=r"to_pocomc: expected a flow in torch\.float32"):
        to_pocomc(pf.NSF(2, **SMALL).double())
    with pytest.raises(ValueError, match=r"to_pocomc: expected values in \(-inf, inf\), got \(0, inf\)"):
        to_pocomc(pf.NSF(2, support=["positive", "positive"], **SMALL))
    with pytest.raises(ValueError, match="to_pocomc: expected values in"):
        to_pocomc(pf.flows.NCSF(2, **SMALL))
    with pytest.raises(ValueError, match="to_pocomc: expected events of one axis"):
        to_pocomc(pf.Flow(pf.distributions.StandardNormal(), pf.bijectors.Affine(), (2, 2)))
