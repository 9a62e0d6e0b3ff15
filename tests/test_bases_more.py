"""Bases beyond the diagonal normal: every law of a flow, known values, samples against densities, gradients of samples."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
import torch.distributions as td
from base_cases import BASES
from cases import SMALL
from code_read import of_flow
from scipy import stats
from torch.utils._python_dispatch import TorchDispatchMode

import pushforward
from pushforward import bijectors as bij
from pushforward.bases import (
    BoxUniform,
    CircleUniform,
    FullNormal,
    GeneralizedNormal,
    MixtureOfNormals,
    OrderStatistics,
    Product,
    Resampled,
    StandardNormal,
    StudentT,
    Truncated,
    VonMises,
    wrap,
)
from pushforward.bases.clusters import clusters
from pushforward.core.base import Base
from pushforward.core.numerics import soft_clamp_inverse
from pushforward.core.spec import PlanError, Spec, registry
from pushforward.distributions import Flow
from pushforward.testing import FLOW_LAWS, check_flow, randomize


def flow_of(name):
    base, bijector, event, context = BASES[name]
    return Flow(base, bijector, event_shape=event, context_shape=context)


GRAPH = "one graph under torch.compile"
READ_LATER = {
    "FullNormal", "StudentT", "BoxUniform", "MixtureOfNormals, three features", "Truncated", "OrderStatistics",
}  # fmt: skip
"""Bases that have no code that another row has not: torch's compiler reads theirs in `make test-heavy`."""


@pytest.mark.parametrize("name", BASES)
def test_laws_of_flows(name):
    wanted = {law.name for law in FLOW_LAWS} - {GRAPH}
    assert set(check_flow(flow_of(name), only=wanted)) == wanted


@pytest.mark.compiler
@pytest.mark.parametrize("name", [name for name in BASES if name not in READ_LATER])
def test_a_base_is_one_graph(name):
    check_flow(flow_of(name), only=[GRAPH])


@pytest.mark.heavy
@pytest.mark.parametrize("name", sorted(READ_LATER))
def test_further_bases_are_one_graph(name):
    check_flow(flow_of(name), only=[GRAPH])


def test_the_compiler_reads_all_code_before_the_heavy_tests():
    codes = {name: of_flow(flow_of(name)) for name in BASES}
    kept = set().union(*(codes[name] for name in BASES if name not in READ_LATER))
    assert set().union(*codes.values()) == kept


def test_every_base_has_a_row():
    own = {name for name, cls in registry().items() if issubclass(cls, Base) and cls.__module__.startswith("pushforward.bases")}
    # Their laws are those of tests/test_flow_laws.py and tests/test_normalise.py, and of what holds them here.
    elsewhere = {"StandardNormal", "DiagNormal", "Mixture", "Pushforward", "Wrapped"}
    assert own - elsewhere <= {type(plan).__name__ for plan, *_ in BASES.values()}


# name -> (plan, scipy's distribution of one element)
KNOWN = {
    "t": (StudentT(df=2.5), stats.t(2.5)),
    "Cauchy": (StudentT(df=1.0), stats.cauchy()),
    "generalized normal": (GeneralizedNormal(1.7), stats.gennorm(1.7)),
    "Laplace": (GeneralizedNormal(1.0), stats.laplace()),
    "normal": (GeneralizedNormal(2.0), stats.norm(scale=math.sqrt(0.5))),
    "nearly uniform": (GeneralizedNormal(30.0), stats.gennorm(30.0)),
    "von Mises": (VonMises(3.0), stats.vonmises(3.0)),
    "von Mises, nearly uniform": (VonMises(1e-3), stats.vonmises(1e-3)),
    "von Mises, sharp": (VonMises(120.0), stats.vonmises(120.0)),
    "circle": (CircleUniform(), stats.uniform(-math.pi, 2 * math.pi)),
    "box": (BoxUniform(-1.0, 3.0), stats.uniform(-1, 4)),
}


@pytest.mark.parametrize("name", KNOWN)
def test_densities_and_samples_are_scipys(name):
    plan, known = KNOWN[name]
    base = plan.build((2,)).double()
    drawn = base.rsample(torch.Size((5000,)), None, torch.Generator().manual_seed(7)).detach()
    assert stats.kstest(drawn.flatten().numpy(), known.cdf).pvalue > 1e-4
    expected = torch.as_tensor(known.logpdf(drawn.numpy())).sum(-1)
    assert torch.allclose(base.log_prob(drawn), expected, rtol=1e-11, atol=1e-11)
    assert torch.allclose(plan.build((2,)).log_prob(drawn.float()).double(), expected, rtol=1e-4, atol=1e-4)
    single = plan.build((2,)).rsample(torch.Size((1000,)), None, torch.Generator().manual_seed(8)).detach()
    assert single.dtype == torch.float32
    assert torch.isfinite(single).all()


def test_full_normal_is_multivariate_normal():
    base = randomize(FullNormal().build((4,)), 1.5).double()
    theta = base.theta(None)
    eye = torch.eye(4, dtype=torch.float64)
    matrix = base.kernel.forward(eye, **theta)[0] - theta["loc"]
    known = td.MultivariateNormal(theta["loc"], matrix.T @ matrix)
    x = 3 * torch.randn(20, 4, dtype=torch.float64)
    assert torch.allclose(base.log_prob(x), known.log_prob(x), rtol=1e-9)
    assert torch.equal(matrix.T, matrix.T.tril())
    drawn = base.rsample(torch.Size((40000,)), None, torch.Generator().manual_seed(0)).detach()
    assert torch.allclose(drawn.T.cov(), known.covariance_matrix, rtol=0.1, atol=0.1)


def test_mixture_of_normals_is_a_mixture():
    base = randomize(MixtureOfNormals(4).build((3,)), 1.0).double()
    theta = base.theta(None)
    scale = torch.exp(6 / math.pi * torch.atan(theta["log_scale"] * math.pi / 6))
    parts = td.Independent(td.Normal(theta["loc"], scale), 1)
    known = td.MixtureSameFamily(td.Categorical(logits=theta["logits"]), parts)
    x = 2 * torch.randn(20, 3, dtype=torch.float64)
    assert torch.allclose(base.log_prob(x), known.log_prob(x), rtol=1e-12)
    assert len({tuple(row) for row in theta["loc"].tolist()}) == 4
    assert torch.equal(
        MixtureOfNormals(2, seed=3).build((2,)).theta(None)["loc"], MixtureOfNormals(2, seed=3).build((2,)).theta(None)["loc"]
    )
    assert MixtureOfNormals(1).build((2,)).log_prob(torch.zeros(2)).item() == pytest.approx(-math.log(2 * math.pi))


COVARIANCES = [(kind, tied) for kind in ("diagonal", "spherical", "full") for tied in (False, True)]


class Solved(TorchDispatchMode):
    """Notes how many numbers are solved for."""

    def __init__(self):
        super().__init__()
        self.numbers = []

    def __torch_dispatch__(self, function, types, given=(), named=None):
        if "solve_triangular" in str(function):
            self.numbers.append(max(part.numel() for part in given[:2]))
        return function(*given, **named or {})


@pytest.mark.parametrize("tied", [False, True])
def test_components_that_are_the_same_for_all_rows_are_solved_for_once(tied):
    # By a product of matrices, however many rows there are: a solve for each row takes many times as long.
    base = randomize(MixtureOfNormals(4, covariance="full", tied=tied).build((3,)), 1.0)
    x = torch.randn(500, 3)
    with Solved() as solved:
        found = base.log_prob(x)
    assert solved.numbers == [(1 if tied else 4) * 3 * 3]
    torch.testing.assert_close(found, base.distribution().log_prob(x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_narrow_components_far_out_are_scored_to_the_precision_of_their_rows(dtype):
    loc, scale = 1000.0, 1e-2
    base = MixtureOfNormals(1, covariance="full", bound=8.0).build((2,)).double()
    log_scale = soft_clamp_inverse(torch.full((2,), math.log(scale)).double(), 8.0)
    start = [torch.zeros(1), torch.full((2,), loc), log_scale, torch.full((1,), 3.0)]
    base.parameters_of.start_at(torch.cat([part.double() for part in start]))
    noise = torch.randn(200, 2, generator=torch.Generator().manual_seed(0)).double()
    theta, normals = base.theta(None), base.distribution().component_distribution
    rows = (loc + base.triangular.forward(noise, theta["entries"][0], theta["log_scale"][0])[0]).detach().to(dtype)
    exact = td.MultivariateNormal(normals.loc[0], scale_tril=normals.scale_tril[0])
    # In float32 as in float64, of the same rows: nothing is lost beyond what rounding the result costs.
    found = base.to(dtype).log_prob(rows).double()
    tolerance = 1e-9 if dtype == torch.float64 else 1e-3
    torch.testing.assert_close(found, exact.log_prob(rows.double()), rtol=tolerance, atol=tolerance)


def test_narrow_components_far_from_zero_have_their_density():
    generator = torch.Generator().manual_seed(0)
    centres = 100 * torch.randn(4, 1, 2, generator=generator).double()
    mixing = torch.randn(4, 2, 2, generator=generator).double()
    rows = (centres + 1e-4 * torch.randn(4, 300, 2, generator=generator).double() @ mixing).reshape(-1, 2).float()
    base = MixtureOfNormals(4, covariance="full", bound=12.0, start="em").build((2,))
    base.measure(rows)
    exact = copy.deepcopy(base).double()
    wanted = exact.distribution().log_prob(rows.double())
    assert torch.allclose(base.log_prob(rows).double(), wanted, atol=1e-4)
    x = rows.double().requires_grad_()
    slopes = torch.autograd.grad(exact.distribution().log_prob(x).sum(), x)[0]
    found = torch.func.vmap(torch.func.grad(base.log_prob))(rows)
    assert torch.allclose(found.double(), slopes, rtol=1e-4, atol=1e-4 * slopes.abs().max().item())
    assert torch.allclose(base.log_prob(rows.reshape(4, 300, 2)).flatten(), base.log_prob(rows))
    assert base.log_prob(rows[:0]).shape == (0,)


def test_second_derivatives_of_a_full_mixture_are_those_of_torch():
    base = randomize(MixtureOfNormals(3, covariance="full").build((2,)), 0.5).double()
    x = torch.randn(5, 2, generator=torch.Generator().manual_seed(0)).double()
    wanted = [torch.autograd.functional.hessian(base.distribution().log_prob, row) for row in x]
    assert torch.allclose(torch.func.vmap(torch.func.hessian(base.log_prob))(x), torch.stack(wanted))


@pytest.mark.parametrize("elements", [1, 3])
@pytest.mark.parametrize("context", [None, 2])
@pytest.mark.parametrize(("kind", "tied"), COVARIANCES)
def test_mixtures_of_normals_are_torchs_mixtures(kind, tied, context, elements):
    net = None if context is None else bij.MLP((8,))
    base = randomize(MixtureOfNormals(4, net, covariance=kind, tied=tied).build((elements,), context and (context,)), 0.8).double()
    scales = (1 if tied else 4) * (1 if kind == "spherical" else elements)
    entries = (1 if tied else 4) * elements * (elements - 1) // 2 if kind == "full" else 0
    assert base.parameters_of.size == 4 + 4 * elements + scales + entries
    c = None if context is None else torch.randn(5, context, dtype=torch.float64)
    known = base.distribution(c)
    x = 2 * torch.randn(20, 5, elements, dtype=torch.float64)
    torch.testing.assert_close(base.log_prob(x, c), known.log_prob(x), rtol=1e-10, atol=1e-10)
    assert known.mixture_distribution.logits.shape == (*([] if c is None else [5]), 4)
    covariance = known.component_distribution.variance
    if tied:
        torch.testing.assert_close(covariance[..., :1, :].expand(covariance.shape), covariance)
    if kind == "spherical":
        torch.testing.assert_close(covariance[..., :1].expand(covariance.shape), covariance)
    drawn = base.rsample(torch.Size((0,) if c is None else (0, 5)), c)
    assert drawn.numel() == 0
    assert base.log_prob(drawn, c).numel() == 0
    alone = base.rsample(torch.Size(()), None if c is None else c[0], torch.Generator().manual_seed(0))
    torch.testing.assert_close(
        base.log_prob(alone, None if c is None else c[0]), base.distribution(None if c is None else c[0]).log_prob(alone)
    )
    with pytest.raises((ValueError, TypeError), match=r"expected (a|no) context"):
        base.distribution(torch.zeros(5, 2, dtype=torch.float64) if c is None else None)


@pytest.mark.parametrize(("kind", "tied"), COVARIANCES)
def test_gradients_of_expectations_of_a_mixture(kind, tied):
    base = randomize(MixtureOfNormals(3, covariance=kind, tied=tied).build((2,)), 0.4).double()
    drawn = base.rsample(torch.Size((20000,)), None, torch.Generator().manual_seed(0))
    product = drawn[:, 0] * drawn[:, 1] ** 2
    known = base.distribution()
    (one, two), normals = known.component_distribution.mean.unbind(-1), known.component_distribution
    shared = normals.covariance_matrix[:, 0, 1] if kind == "full" else 0.0
    exact = (known.mixture_distribution.probs * (one * (two**2 + normals.variance[:, 1]) + 2 * two * shared)).sum()
    (expected,) = torch.autograd.grad(exact, base.parameters_of.offset)
    halves = torch.stack([torch.autograd.grad(part.mean(), base.parameters_of.offset, retain_graph=True)[0] for part in product.split(500)])
    error = halves.std(0) / math.sqrt(len(halves))
    assert float(((halves.mean(0) - expected) / error.clamp(min=1e-9)).abs().max()) < 4.5
    (first,) = torch.autograd.grad(product[:10].sum(), base.parameters_of.offset, create_graph=True)
    assert torch.isfinite(torch.autograd.grad(first.sum(), base.parameters_of.offset)[0]).all()


CENTRES = torch.tensor([[5.0, 0.0], [-5.0, 3.0], [0.0, -6.0]])
FACTOR = torch.tensor([[0.5, 0.0], [0.4, 0.3]])


def clustered(rows=200, seed=0):
    draw = torch.Generator().manual_seed(seed)
    return torch.cat([centre + torch.randn(rows, 2, generator=draw) @ FACTOR.T for centre in CENTRES])


@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize(("kind", "tied"), COVARIANCES)
def test_a_mixture_starts_from_clusters(kind, tied, given):
    net = bij.MLP((8,)) if given else None
    base = MixtureOfNormals(3, net, covariance=kind, tied=tied, start="kmeans").build((2,), (1,) if given else None)
    x, c = clustered(), torch.randn(600, 1) if given else None
    randomize(base, 1.0)  # it starts anew, whatever it has learned
    before = base.log_prob(x, c).mean()
    base.calibrate(x, c)
    known = base.distribution(c[0] if given else None)
    means = known.component_distribution.mean
    nearest = torch.cdist(CENTRES, means).min(1)
    assert sorted(nearest.indices.tolist()) == [0, 1, 2]
    assert nearest.values.max() < 0.15
    torch.testing.assert_close(known.mixture_distribution.probs, torch.full((3,), 1 / 3), atol=1e-4, rtol=0)
    expected = FACTOR @ FACTOR.T
    if kind == "full":
        covariance = known.component_distribution.covariance_matrix
        torch.testing.assert_close(covariance, expected.expand(3, 2, 2), atol=0.08, rtol=0)
    else:
        wanted = expected.diagonal() if kind == "diagonal" else expected.diagonal().mean().expand(2)
        torch.testing.assert_close(known.component_distribution.variance, wanted.expand(3, 2), atol=0.08, rtol=0)
    assert base.log_prob(x, c).mean() > before
    again = MixtureOfNormals(3, net, covariance=kind, tied=tied, start="kmeans").build((2,), (1,) if given else None)
    again.calibrate(x, c)
    torch.testing.assert_close(again.log_prob(x, c), base.log_prob(x, c))


@pytest.mark.parametrize("how", ["kmeans", "kmeans++", "rows"])
def test_clusters_are_none_empty_and_no_worse_than_they_began(how):
    draw = torch.Generator().manual_seed(1)
    for rows in (
        clustered(),
        torch.randn(50, 3, generator=draw),
        torch.arange(4.0)[:, None].repeat(3, 1),
        torch.randn(7, 2, generator=draw),
    ):
        for seed in range(3):
            count = min(7, len(torch.unique(rows, dim=0)))
            found = clusters(rows, count, how, seed)
            assert torch.bincount(found, minlength=count).min() >= 1
            assert torch.equal(clusters(rows, count, how, seed), found)
    rows = clustered()

    def spread(found):
        return sum(((rows[found == i] - rows[found == i].mean(0)) ** 2).sum() for i in range(3))

    best = [spread(clusters(rows, 3, "kmeans", seed)) for seed in range(5)]
    assert min(best) <= spread(torch.arange(3).repeat_interleave(200)) + 1e-3
    assert all(k <= spread(clusters(rows, 3, "kmeans++", seed)) + 1e-3 for seed, k in enumerate(best))


def test_a_flow_over_clusters_is_fitted_saved_and_not_started_again(tmp_path):
    plan = MixtureOfNormals(3, covariance="full", start="kmeans")
    flow = Flow(plan, [], 2)
    data = 100 + 10 * clustered()
    pushforward.fit(flow, data, epochs=2, progress=False)
    first = flow.log_prob(data).mean()
    assert len(torch.cdist(100 + 10 * CENTRES, flow.sample((300,))).min(1).values) == 3
    assert torch.cdist(100 + 10 * CENTRES, flow.sample((300,))).min(1).values.max() < 5
    pushforward.fit(flow, data, epochs=1, progress=False)
    assert flow.log_prob(data).mean() > first - 0.1
    flow.save(tmp_path / "flow.safetensors")
    assert pushforward.load(tmp_path / "flow.safetensors").base.plan == plan
    old = {key: value for key, value in MixtureOfNormals(3).to_dict().items() if key not in ("covariance", "tied", "start")}
    assert Spec.from_dict(old) == MixtureOfNormals(3)  # as files of before have it
    images = Flow(MixtureOfNormals(2, start="rows"), [], (2, 2))
    images.calibrate(torch.randn(50, 2, 2))
    assert torch.isfinite(images.log_prob(images.sample((5,)))).all()


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (torch.zeros(10, 2), "at least 3 different rows to start from, one a component, got 1"),
        (torch.randn(2, 2), "at least 3 different rows to start from, one a component, got 2"),
        (torch.zeros(0, 2), "got 0"),
        (torch.full((5, 2), math.nan), "expected finite values to start from"),
        (torch.zeros(5, 3), r"shape \(\*batch, 2\), got \(5, 3\)"),
    ],
)
def test_what_no_mixture_can_start_from_is_told(values, words):
    base = MixtureOfNormals(3, start="kmeans").build((2,))
    before = base.parameters_of.offset.clone()
    with pytest.raises(ValueError, match=words):
        base.calibrate(values)
    assert torch.equal(base.parameters_of.offset, before)
    # A column that does not vary, and one that another determines, are no reason.
    flat = torch.stack([torch.randn(30), torch.zeros(30)], -1)
    for kind in ("diagonal", "spherical", "full"):
        for rows in (flat, flat[:, :1].expand(30, 2)):
            made = MixtureOfNormals(3, start="kmeans", covariance=kind).build((2,))
            made.calibrate(rows)
            assert torch.isfinite(made.log_prob(rows)).all()
            assert torch.isfinite(torch.autograd.grad(made.log_prob(rows).sum(), made.parameters_of.offset)[0]).all()


RULE = np.polynomial.legendre.leggauss(400)


def cdf_of(name, value, flat):
    """Return the distribution function of a one-dimensional base with given parameters, by quadrature from far below."""
    base = SAMPLED[name].build((1,)).double()
    with torch.no_grad():
        base.parameters_of.offset.copy_(torch.as_tensor(flat))
        low = -math.pi if "VonMises" in name else -12.0
        nodes, weights = RULE
        points = low + 0.5 * (value - low) * (torch.as_tensor(nodes) + 1)
        return 0.5 * (value - low) * float((base.log_prob(points[:, None]).exp() * torch.as_tensor(weights)).sum())


SAMPLED = {
    "VonMises": VonMises(4.0),
    "MixtureOfNormals": MixtureOfNormals(3),
    "MixtureOfNormals, full": MixtureOfNormals(3, covariance="full"),
    "MixtureOfNormals, tied and spherical": MixtureOfNormals(3, covariance="spherical", tied=True),
    "StudentT": StudentT(df=20.0),
    "FullNormal": FullNormal(),
}


@pytest.mark.parametrize("name", ["VonMises", "MixtureOfNormals"])
def test_gradients_of_samples_keep_the_distribution_function(name):
    base = randomize(SAMPLED[name].build((1,)), 0.3).double()
    offset = base.parameters_of.offset
    if name == "VonMises":
        offset.data[0] = 0.0  # the middle opposite to the cut, from which the distribution function is counted
    for seed in range(4):
        value = base.rsample(torch.Size(()), None, torch.Generator().manual_seed(seed))
        (gradient,) = torch.autograd.grad(value.sum(), offset)
        density = base.log_prob(value).exp().item()
        for index in range(len(offset)):
            moved = [offset.detach().clone() for _ in range(2)]
            moved[0][index] += 1e-5
            moved[1][index] -= 1e-5
            slope = (cdf_of(name, value.item(), moved[0]) - cdf_of(name, value.item(), moved[1])) / 2e-5
            if name == "VonMises" and index == 0:
                slope = -density  # a turn: the distribution function from the cut on moves with it
            assert gradient[index].item() == pytest.approx(-slope / density, abs=2e-7), index


@pytest.mark.parametrize("name", SAMPLED)
def test_extreme_parameters_stay_finite(name):
    for size in (0.0, 1e4, -1e4):
        base = SAMPLED[name].build((2,))
        with torch.no_grad():
            base.parameters_of.offset.fill_(size)
        x = base.rsample(torch.Size((50,)), None, torch.Generator().manual_seed(0))
        log_prob = base.log_prob(x)
        assert torch.isfinite(log_prob).all()
        for gradient in (*torch.autograd.grad(log_prob.sum() + x.sum(), base.parameters_of.offset),):
            assert torch.isfinite(gradient).all(), (name, size)


def test_heavy_tails_do_not_overflow():
    base = StudentT(df=1.0, learn_df=False).build((1,))
    x = torch.tensor([[1e25], [-1e30], [math.inf], [0.0]], requires_grad=True)
    result = base.log_prob(x)
    assert torch.allclose(result[:2].double(), torch.as_tensor(stats.cauchy.logpdf([1e25, -1e30])), rtol=1e-5)
    assert result[2] == -math.inf
    (gradient,) = torch.autograd.grad(result[[0, 1, 3]].sum(), x)
    assert torch.isfinite(gradient[[0, 1, 3]]).all()


def test_resampled_normalizer():
    base = randomize(Resampled(SMALL, trials=8).build((2,)), 2.0)
    with torch.no_grad():
        ours = base.normalizer(base.nodes)
        other = base.normalizer(torch.randn(200_000, 2, generator=torch.Generator().manual_seed(0)))
    assert 0.02 < ours < 0.98
    assert ours.item() == pytest.approx(other.item(), abs=3e-3)
    # A grid holds all of the mass.
    line = torch.linspace(-7, 7, 281)
    mass = base.log_prob(torch.cartesian_prod(line, line)).exp().sum() * 0.05**2
    assert mass.item() == pytest.approx(1, abs=2e-3)
    (gradient,) = torch.autograd.grad(mass, [base.acceptance.net.layers[-1].bias])
    assert gradient.abs().max() < 2e-3  # the constant follows the parameters


def test_resampled_special_cases():
    x = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    normal = StandardNormal().build((3,)).log_prob(x)
    assert torch.allclose(Resampled(SMALL).build((3,)).log_prob(x), normal, atol=1e-5)  # equal acceptance everywhere
    once = randomize(Resampled(SMALL, trials=1).build((3,)), 2.0)
    assert torch.allclose(once.log_prob(x), normal, atol=1e-6)
    many = randomize(Resampled(SMALL, trials=100_000).build((3,)), 1.0).double()
    accepted = torch.sigmoid(many._logit(x.double(), None)) / many.normalizer(many.nodes)
    assert torch.allclose(many.log_prob(x.double()), normal.double() + accepted.log(), atol=1e-6)


@pytest.mark.parametrize("trials", [1, 2, 5])
def test_a_resampled_base_tries_as_often_as_it_says(trials):
    """Of a base that takes numbers above zero alone, a draw is below only where every trial was."""
    base = Resampled(bij.MLP((2,)), trials).build((1,)).double()
    net = base.acceptance.net
    with torch.no_grad():  # logit 1e6 x, which is bounded
        net.layers[0].x.weight.copy_(torch.tensor([[1.0], [-1.0]]))
        net.layers[0].x.bias.zero_()
        net.layers[-1].weight.copy_(torch.tensor([[1e6, -1e6]]))
        net.layers[-1].bias.zero_()
    below = 0.5**trials
    x = torch.tensor([[-1.0], [1.0]], dtype=torch.float64)
    expected = td.Normal(0.0, 1.0).log_prob(x[:, 0]) + torch.tensor([2 * below, 2 * (1 - below)], dtype=torch.float64).log()
    torch.testing.assert_close(base.log_prob(x), expected, rtol=0, atol=0.01)
    drawn = base.draw(torch.Size([20_000]), generator=torch.Generator().manual_seed(0))
    assert (drawn < 0).double().mean().item() == pytest.approx(below, abs=0.015)


def test_a_resampled_base_learns_a_ring():
    torch.manual_seed(0)
    angle = 2 * math.pi * torch.rand(2000)
    data = torch.stack([2 * torch.cos(angle), 2 * torch.sin(angle)], -1) + 0.2 * torch.randn(2000, 2)
    flow = Flow(Resampled(bij.MLP((32,)), trials=20, nodes=1024), bij.Affine(), event_shape=2)
    normal = -td.Normal(0.0, data.std()).log_prob(data).sum(-1).mean().item()
    optimizer = torch.optim.Adam(flow.parameters(), lr=0.02)
    for _ in range(150):
        loss = -flow.log_prob(data).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < normal - 0.3
    assert (flow.sample((2000,)).norm(dim=-1) > 1).float().mean() > 0.8


def test_product_of_bases():
    plan = Product([StandardNormal(), BoxUniform(0.0, 2.0), wrap(td.Exponential(torch.ones(2)))], [1, 1, 2])
    base = plan.build((4,))
    x = torch.tensor([[0.5, 1.0, 0.3, 2.0], [0.5, 2.5, 0.3, 2.0], [0.5, 1.0, -0.3, 2.0], [math.nan, 1.0, 0.3, 2.0]])
    expected = td.Normal(0.0, 1.0).log_prob(torch.tensor(0.5)).item() - math.log(2) - 2.3
    result = base.log_prob(x)
    assert result[0].item() == pytest.approx(expected)
    assert result[1:3].tolist() == [-math.inf] * 2
    assert torch.isnan(result[3])
    assert base.support.check(x).tolist() == [True, False, False, False]
    assert base.rsample(torch.Size((5,))).shape == (5, 4)
    assert Spec.from_json(plan.to_json()) == plan


def test_ends_of_a_box():
    base = BoxUniform([0.0, -1.0], 1.0).build((2,))
    x = torch.tensor([[0.0, -1.0], [1.0, 1.0], [0.5, -1.1], [1.1, 0.0], [math.nan, 0.0], [math.inf, 0.0]])
    assert base.log_prob(x).tolist()[:4] == pytest.approx([-math.log(2)] * 2 + [-math.inf] * 2)
    assert torch.isnan(base.log_prob(x)[4])
    assert base.log_prob(x)[5] == -math.inf
    exact = BoxUniform(0.1, 0.3).build((1,)).double()
    assert exact.log_prob(torch.tensor([0.3 - 1e-12], dtype=torch.float64)).item() == pytest.approx(-math.log(0.2), rel=1e-14)
    assert exact.log_prob(torch.tensor([0.3 + 1e-12], dtype=torch.float64)).item() == -math.inf


@pytest.mark.parametrize("name", BASES)
def test_plans_meta_device_and_empty_batches(name):
    plan, _, event, shape = BASES[name]
    assert Spec.from_json(plan.to_json()) == plan
    with torch.device("meta"):
        built = plan.build(event, shape)
        assert built.log_prob(torch.zeros(3, *event), None if shape is None else torch.zeros(3, *shape)).shape == (3,)
    base = plan.build(event, shape)
    given = None if shape is None else torch.zeros(*shape)
    assert base.log_prob(torch.zeros(0, *event), given).shape == (0,)
    x = base.rsample(torch.Size((4,)), given, torch.Generator().manual_seed(0)).detach()
    assert torch.equal(x, base.rsample(torch.Size((4,)), given, torch.Generator().manual_seed(0)))
    whole = base.log_prob(x, given)
    spoiled = base.log_prob(torch.cat([x[:3], torch.full_like(x[:1], math.nan)]), given)
    assert torch.isnan(spoiled[3])
    assert torch.allclose(spoiled[:3], whole[:3])
    assert torch.allclose(torch.func.vmap(lambda row: base.log_prob(row, given))(x), whole, atol=1e-5)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: FullNormal(net=3), r"FullNormal: expected net to be a plan such as MLP\(\)"),
        (lambda: FullNormal(bound=0.0), "expected bound > 0"),
        (lambda: FullNormal(net=SMALL).build((2,)), "expected a context for its net, got none"),
        (lambda: StudentT(df=0.0), "StudentT: expected df > 0, got 0.0"),
        (lambda: StudentT(df=[1.0, 2.0]).build((3,)), r"expected df to broadcast to the event_shape \(3,\), got \(1.0, 2.0\)"),
        (lambda: GeneralizedNormal([1.0, -1.0]), "GeneralizedNormal: expected power > 0"),
        (lambda: VonMises(math.inf), "VonMises: expected concentration > 0, got inf"),
        (lambda: BoxUniform(1.0, 0.0), "BoxUniform: expected finite low < high, got low=1.0 and high=0.0"),
        (lambda: BoxUniform(0.0, math.inf), "BoxUniform: expected finite low < high"),
        (lambda: BoxUniform([0.0, 0.0], [1.0, 1.0, 1.0]), "BoxUniform: expected finite low < high"),
        (lambda: BoxUniform("a"), "BoxUniform: expected"),
        (lambda: MixtureOfNormals(covariance="round"), "expected covariance to be 'diagonal', 'spherical' or 'full', got 'round'"),
        (lambda: MixtureOfNormals(start="moments"), "expected start to be one of normal, kmeans, kmeans\\+\\+, rows, em, got 'moments'"),
        (lambda: MixtureOfNormals(tied=1), "expected tied to be True or False, got 1"),
        (lambda: MixtureOfNormals(0), "expected components to be a whole number of at least 1, got 0"),
        (lambda: MixtureOfNormals(seed=-1), "expected seed to be a whole number of at least 0, got -1"),
        (lambda: Resampled(trials=0), "Resampled: expected trials to be a whole number of at least 1, got 0"),
        (lambda: Resampled(net=None), "Resampled: expected net"),
        (lambda: Resampled(conditional=True).build((2,)), "expected a context, got none"),
        (lambda: Resampled(conditional=1), "expected conditional to be True or False, got 1"),
        (lambda: Truncated(StandardNormal(), 1.0, 0.0), "Truncated: expected lower < upper, got lower=1.0 and upper=0.0"),
        (lambda: Truncated(StandardNormal(), "a"), "Truncated: expected lower to be a number, or nested lists of numbers, got 'a'"),
        (lambda: Truncated(td.Normal(0.0, 1.0)), r"Truncated: expected base to be a base plan, .* what wrap\(\) gives .*, got Normal"),
        (lambda: Truncated(StandardNormal(), (0.0, 0.0)).build((3,)), r"expected lower to broadcast to the event_shape \(3,\)"),
        (lambda: Truncated(BoxUniform(), 2.0, 3.0).build((1,)), "expected ends between which the base has some probability"),
        (lambda: Truncated(wrap(td.Gumbel(0.0, 1.0)), 50.0).build(()), "expected ends between which the base has some probability"),
        (lambda: Truncated(StudentT(), 0.0).build((1,)), r"Truncated: expected independent elements .* got StudentT\("),
        (lambda: Truncated(MixtureOfNormals(), 0.0).build((2,)), "Truncated: expected independent elements"),
        (lambda: Truncated(FullNormal(), 0.0).build((2,)), "give what it was made of, and map the result by Pushforward"),
        (lambda: OrderStatistics(StandardNormal(), 0), "expected draws to be a whole number of at least 1, got 0"),
        (lambda: OrderStatistics(StandardNormal(), 2).build((3,)), r"expected an event of one axis, at most 2 long, got event_shape"),
        (lambda: OrderStatistics(StandardNormal()).build((2, 2)), "expected an event of one axis"),
        (lambda: OrderStatistics(StandardNormal(), descending=1), "expected descending to be True or False, got 1"),
        (lambda: OrderStatistics(StandardNormal), "OrderStatistics: expected base to be a base plan"),
        (lambda: OrderStatistics(StudentT(), 3).build((2,)), "OrderStatistics: expected independent elements with a known distribution"),
        (lambda: OrderStatistics(wrap(td.Normal(torch.zeros(2), 1.0))).build((2,)), "expected a base without a batch"),
        (lambda: Product([], []), "Product: expected bases to be a list of .*base plans"),
        (lambda: Product([StandardNormal], [1]), "Product: expected bases.0. to be a base plan"),
        (lambda: Product([StandardNormal()], [1, 2]), "expected a size of at least 1 for each of the 1 bases"),
        (lambda: Product([StandardNormal()], [2]).build((3,)), r"expected an event of 2 features, got event_shape \(3,\)"),
        (lambda: Product([wrap(td.Normal(torch.zeros(3, 2), 1.0))], [2]).build((2,)), "expected bases without a batch"),
        (
            lambda: pushforward.Flow(Product([VonMises(), StandardNormal()], [1, 1]), bij.Affine(), 2),
            "expected all values in .* blocks of 1 in",
        ),
    ],
)
def test_wrong_arguments(make, words):
    with pytest.raises(PlanError, match=words):
        make()


def test_a_base_keeps_its_file(tmp_path):
    flow = Flow(MixtureOfNormals(3), bij.Affine(), event_shape=2)
    flow.save(tmp_path / "flow.safetensors")
    assert pushforward.load(tmp_path / "flow.safetensors").base.plan == MixtureOfNormals(3)
