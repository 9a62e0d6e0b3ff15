"""Whitening: a flow that begins as the normal distribution, or the mixture, fitted to its rows."""

import itertools
import math

import numpy as np
import pytest
import torch
import torch.distributions as td
from sklearn.mixture import GaussianMixture

import pushforward as pf
from pushforward.bases.em import POINT, _flattest, _sums, grown, maximised, moments_of
from pushforward.bijectors import NormalScores, Standardize, Whiten
from pushforward.core.spec import PlanError
from pushforward.distributions import DiagNormal, MixtureOfNormals, StandardNormal
from pushforward.flow.mixture_start import best_mixture, mixture_of
from pushforward.kernels.linear import ROW_BOUND


def correlated(count=500, seed=0):
    """Three columns, in units of their own, of which the last is nearly the difference of the others."""
    x = torch.randn(count, 3, generator=torch.Generator().manual_seed(seed)).double()
    last = x[:, 0] - x[:, 1] + 0.01 * x[:, 2]
    return torch.stack([1e-3 * x[:, 0] + 5, x[:, 1], 1e3 * last - 7], -1)


def humps(count=600, seed=0):
    """Four clusters, skewed."""
    generator = torch.Generator().manual_seed(seed)
    corner = torch.randint(0, 2, (count, 2), generator=generator) * 6.0 - 3.0
    return (corner + 0.5 * torch.randn(count, 2, generator=generator)).double() @ torch.tensor([[1.0, 3.0], [0.0, 0.2]]).double()


def nats(flow, rows):
    with torch.no_grad():
        return -flow.log_prob(rows).mean().item()


def test_a_flow_begins_as_the_normal_distribution_of_its_rows():
    rows = correlated()
    flow = pf.MAF(3, transforms=1).double()
    flow.standardize(rows, whiten=True)
    expected = torch.distributions.MultivariateNormal(rows.mean(0), torch.from_numpy(np.cov(rows.T.numpy(), bias=True)))
    # The variance that is added counts most where a column is nearly determined: by a few thousandths here.
    assert nats(flow, rows) == pytest.approx(-expected.log_prob(rows).mean().item(), abs=2e-2)
    plain = pf.MAF(3, transforms=1).double()
    plain.standardize(rows)
    assert nats(flow, rows) < nats(plain, rows) - 2
    white = flow.transform.inverse(rows)[0].detach()
    torch.testing.assert_close(torch.cov(white.T, correction=0), torch.eye(3).double(), atol=2e-2, rtol=0)
    assert flow.plan.bijectors[-2:] == (Whiten(), Standardize())


def test_it_is_added_once_kept_in_files_and_left_out_where_there_is_no_place(tmp_path):
    flow = pf.NSF(3, transforms=1)
    flow.standardize(correlated().float(), whiten=True)
    flow.standardize(correlated().float(), whiten=True)
    assert [type(layer.plan) for layer in flow.transform.layers].count(Whiten) == 1
    flow.save(tmp_path / "f.safetensors")
    again = pf.load(tmp_path / "f.safetensors")
    rows = correlated(20, 1).float()
    assert torch.equal(again.log_prob(rows), flow.log_prob(rows))
    for flow, rows in ((pf.NSF(1, transforms=1), torch.randn(50, 1)), (pf.flows.NCSF(2, transforms=1), torch.randn(50, 2).clamp(-3, 3))):
        flow.standardize(rows, whiten=True)
        assert "Whiten" not in repr(flow)
    for wrong in ("no", None, 1):
        with pytest.raises(ValueError, match=rf"Flow\.standardize: expected whiten to be True or False, got {wrong!r}"):
            pf.MAF(2).standardize(torch.randn(9, 2), whiten=wrong)


def test_what_cannot_be_measured_is_refused_and_columns_that_others_determine_are_not():
    layer = Whiten().build(2)
    for rows in (torch.zeros(0, 2), torch.tensor([[math.nan, 1.0]]), torch.ones(5, 2)):
        with pytest.raises(ValueError, match=r"Whiten: expected (finite rows|values that vary)"):
            layer.calibrate(rows)
    with pytest.raises(PlanError, match=r"without \.inv"):
        Whiten().inv.build(2).calibrate(torch.randn(5, 2))
    line = torch.randn(50, 1).repeat(1, 2)
    layer.calibrate(line)
    x, ladj = layer.inverse(line)
    assert torch.isfinite(x).all()
    assert torch.isfinite(ladj).all()
    few = Whiten().build(9)
    few.calibrate(torch.randn(3, 9))
    assert torch.isfinite(few.inverse(torch.randn(5, 9))[0]).all()


@pytest.mark.parametrize(("covariance", "theirs"), [("full", "full"), ("diagonal", "diag"), ("spherical", "spherical")])
@pytest.mark.parametrize("count", [1, 4])
def test_a_base_begins_as_the_mixture_of_expectation_maximisation(covariance, theirs, count):
    rows = humps()
    units = (rows - rows.mean(0)) / rows.std(0, correction=0)
    if covariance == "full":
        flow = pf.Flow(MixtureOfNormals(count, covariance=covariance, start="em", bound=8.0), [Standardize()], 2).double()
        flow.standardize(rows, whiten=True)
    else:
        flow = pf.Flow(MixtureOfNormals(count, covariance=covariance, start="em", bound=8.0), [], 2).double()
        flow.calibrate(units)
    given = rows if covariance == "full" else units
    reached = -GaussianMixture(count, covariance_type=theirs, random_state=0).fit(given.numpy()).score(given.numpy())
    # A row of a typical component is added to each covariance. Of several, theirs may end elsewhere: k-means depends on the units.
    assert nats(flow, given) <= reached + 0.02
    assert nats(flow, given) == pytest.approx(reached, abs=0.02) or count > 1
    before = pf.Flow(MixtureOfNormals(count, covariance=covariance, start="kmeans", bound=8.0), [], 2).double()
    before.calibrate(units)
    shift = rows.std(0, correction=0).log().sum().item() if covariance == "full" else 0.0
    assert nats(flow, given) <= nats(before, units) + shift + 0.02


def test_tied_covariances_are_one():
    rows = humps()
    flow = pf.Flow(MixtureOfNormals(4, covariance="full", tied=True, start="em", bound=8.0), [Standardize()], 2).double()
    flow.standardize(rows, whiten=True)
    reached = -GaussianMixture(4, covariance_type="tied", random_state=0).fit(rows.numpy()).score(rows.numpy())
    assert nats(flow, rows) <= reached + 0.02


def along_lines(count=4000):
    """Rows near a flat line and near a steep one."""
    draw = torch.Generator().manual_seed(3)
    a, noise = torch.randn(2, count, generator=draw, dtype=torch.float64)
    flat, steep = torch.stack([a, 0.01 * noise], 1), torch.stack([0.02 * a + 0.005 * noise, a], 1)
    return torch.where(torch.arange(count)[:, None] % 2 == 0, flat, steep)


@pytest.mark.parametrize("count", [3, 8])
def test_no_bound_cuts_off_a_mixture_of_narrow_parts(count):
    rows = along_lines()
    flow = pf.Flow(mixture_of(count), [Standardize()], 2).double()
    flow.standardize(rows, whiten=True, scores=False)
    inner = flow.transform.inverse(rows)[0]
    shares, means, covariances = maximised(inner, count, "full", False)
    parts = td.MultivariateNormal(means, covariance_matrix=covariances)
    whole = td.MixtureSameFamily(td.Categorical(probs=shares), parts)
    # A millionth of the mean variance is added once more before factors are taken.
    assert (flow.base.log_prob(inner) - whole.log_prob(inner)).abs().mean() < 0.03
    # Rows of factors of these are longer than those of a layer may be.
    factors = torch.linalg.cholesky(covariances)
    assert (factors / factors.diagonal(dim1=-2, dim2=-1).unsqueeze(-2)).tril(-1).norm(dim=-1).max() > 2 * ROW_BOUND
    reached = -GaussianMixture(count, random_state=0).fit(rows.numpy()).score(rows.numpy())
    assert nats(flow, rows) <= reached + 0.1


@pytest.mark.parametrize("covariance", ["full", "diagonal", "spherical"])
@pytest.mark.parametrize("tied", [False, True])
def test_a_mixture_of_rows_that_come_again_is_finite(covariance, tied):
    rows = torch.tensor([[0.0, 0.0], [1.0, 0.0], [5.0, 2.0]], dtype=torch.float64).repeat(7, 1)
    shares, means, covariances = maximised(rows, 3, covariance, tied)
    assert shares.sum().item() == pytest.approx(1)
    assert torch.isfinite(means).all()
    # No component is narrower than a hundred-millionth of all.
    assert (torch.linalg.eigvalsh(covariances) > 0.99 * POINT * rows.var(0, correction=0).mean()).all()
    assert len(covariances) == (1 if tied else 3)


@pytest.mark.parametrize("stretch", [1.0, 40.0])
def test_a_component_is_split_where_it_is_two_in_any_units(stretch):
    draw = torch.Generator().manual_seed(0)
    rows = torch.randn(2000, 3, generator=draw, dtype=torch.float64)
    rows[:, 0] += 5.0 * torch.where(torch.rand(2000, generator=draw) < 0.5, -1, 1)
    rows = rows / rows.std(0)
    turn = torch.linalg.qr(torch.randn(3, 3, generator=draw, dtype=torch.float64))[0] * torch.tensor([1.0, stretch, 1.0]).double()
    counts = dict(itertools.islice(grown(rows @ turn, rows @ turn), 2))
    # As good as two normals that are known: the places are 10 / sqrt(26) apart, and each has a spread of 1 / sqrt(26).
    places = torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(torch.ones(2).double()),
        torch.distributions.Normal(torch.tensor([-5.0, 5.0]).double() / 26**0.5, torch.ones(2).double() / 26**0.5),
    )
    known = places.log_prob(rows[:, 0]) + torch.distributions.Normal(0.0, 1.0).log_prob(rows[:, 1:]).sum(1) - math.log(stretch)
    assert counts[2].mean().item() > known.mean().item() - 0.02
    axis = _flattest(rows @ turn, *[moments_of(_sums(rows @ turn, torch.ones(2000, 1).double()), "full", False)] * 2, torch.tensor([0]))[0]
    along = torch.linalg.solve(turn.T, axis)
    assert abs(along[0]) / torch.linalg.vector_norm(along) > 0.99


def test_components_with_few_rows_are_like_all_others():
    rows = torch.randn(80, 12, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    rows[:, 0] += 9.0 * (torch.arange(80) % 4)
    _, _, covariances = maximised(rows, 4, "full", False)
    # Twenty rows of twelve columns say nothing of most directions; what they do not say is that of all of them.
    assert torch.linalg.eigvalsh(covariances).amin() > 0.15
    assert torch.linalg.eigvalsh(covariances).amax() < 4.0
    many = (
        torch.randn(8000, 12, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
        * torch.where(torch.arange(8000) % 2 == 0, 1.0, 0.01)[:, None]
    )
    many[:, 0] += 9.0 * (torch.arange(8000) % 2)
    _, _, covariances = maximised(many, 2, "full", False)
    # Many do: what is narrow stays narrow.
    assert torch.linalg.eigvalsh(covariances).amin(1).amin().sqrt().item() == pytest.approx(0.01, rel=0.1)


def test_one_component_of_rows_that_are_all_the_same():
    rows = torch.full((40, 2), 3.0, dtype=torch.float64)
    shares, means, covariances = maximised(rows, 1, "full", False)
    assert (shares.item(), means.tolist()) == (1.0, [[3.0, 3.0]])
    assert torch.isfinite(torch.linalg.cholesky(covariances)).all()
    density, count = best_mixture(rows, rows)
    assert count == 1
    assert (density > 100).all()


def test_more_components_fit_the_rows_better():
    draw = torch.Generator().manual_seed(4)
    a, noise = torch.randn(2, 2000, generator=draw, dtype=torch.float64)
    rows = torch.stack([a, torch.sin(3 * a) + 0.05 * noise], 1)
    reached = []
    for count in (1, 2, 3, 4, 6, 8, 12):
        flow = pf.Flow(mixture_of(count), [Standardize()], 2).double()
        flow.standardize(rows, scores=False)
        reached.append(nats(flow, rows))
    assert all(after < before + 2e-3 for before, after in itertools.pairwise(reached))
    assert reached[-1] < reached[0] - 1


def test_a_mixture_takes_the_place_of_a_standard_normal():
    rows = humps()
    flow = pf.NSF(2, transforms=2).double()
    flow.standardize(rows, whiten=True, mixture=4)
    mixture = pf.Flow(mixture_of(4), [Standardize()], 2).double()
    mixture.standardize(rows, whiten=True)
    assert nats(flow, rows) == pytest.approx(nats(mixture, rows), abs=1e-6)
    flow.standardize(rows, mixture=2)  # again, with another
    assert flow.base.plan == mixture_of(2)
    for base in (MixtureOfNormals(4), DiagNormal()):
        other = pf.Flow(base, pf.NSF(2, transforms=1).plan, 2)
        with pytest.raises(ValueError, match="expected a standard normal base, whose place a mixture takes"):
            other.standardize(rows.float(), mixture=2)
        assert other.base.plan == base


def test_a_flow_over_the_mixture_begins_where_it_is():
    rows = humps()
    base = MixtureOfNormals(4, covariance="full", start="em", bound=8.0)
    mixture, flow = pf.Flow(base, [Standardize()], 2), pf.Flow(base, pf.NSF(2, transforms=2).plan, 2)
    for one in (mixture, flow):
        one.double().standardize(rows, whiten=True)
    assert nats(flow, rows) == pytest.approx(nats(mixture, rows), abs=1e-6)
    assert nats(mixture, rows) < nats(pf.Flow(StandardNormal(), mixture.plan, 2).double(), rows)


def nearly_the_same(count=2000, wild=3):
    """Two columns that are nearly the same, but for a few rows, none of which is far out in either."""
    x = torch.randn(count, 1, generator=torch.Generator().manual_seed(0)).double()
    rows = torch.cat([x, x + 0.01 * torch.randn(count, 1, generator=torch.Generator().manual_seed(1)).double()], 1)
    rows[:wild, 1] = -rows[:wild, 0] - 1
    return rows


def test_what_is_far_out_once_it_is_whitened_is_taken_by_its_quantile():
    rows, flow = nearly_the_same(), pf.NSF(2, transforms=1).double()
    assert NormalScores() not in flow.arranged(rows).plan.bijectors
    flow.standardize(rows, whiten=True)
    assert flow.plan.bijectors[-3:] == (NormalScores(), Whiten(), Standardize())
    plain = pf.NSF(2, transforms=1).double()
    plain.standardize(rows, whiten=True, scores=False)
    assert NormalScores() not in plain.plan.bijectors
    # A wild row no longer costs the square of how far out it is, nor does it widen all others.
    unseen = torch.tensor([[1.0, -2.5]]).double()
    assert nats(flow, unseen) < 0.5 * nats(plain, unseen)
    assert nats(flow, rows) < nats(plain, rows) - 0.5
    # Rows that are whitened well need none, and what is taken by its quantile before is not again.
    for given in (nearly_the_same(wild=0), nearly_the_same() + torch.tensor([[0.0, 1e6]] + [[0.0, 0.0]] * 1999).double()):
        flow = pf.NSF(2, transforms=1).double()
        flow.standardize(given, whiten=True)
        far = bool(given.abs().max() > 100)
        assert flow.plan.bijectors.count(NormalScores()) == far
        assert flow.plan.bijectors[-2 - far :] == (Whiten(), Standardize(), NormalScores())[: 2 + far]
