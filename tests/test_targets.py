"""Targets: every density integrates to 1, its samples agree with it, and it is what the literature says."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import integrate, stats
from sklearn.datasets import make_circles, make_moons, make_swiss_roll

import pushforward as pf
from pushforward import targets

# name -> (target, ends of the first feature, of the second, spacing of the grid)
ROWS = {
    "GaussianRing": (targets.GaussianRing(), (-8, 8), (-8, 8), 0.2),
    "GaussianRing, three": (targets.GaussianRing(3, 1.0, 0.3), (-4, 4), (-4, 4), 0.1),
    "GaussianGrid": (targets.GaussianGrid(), (-5.5, 5.5), (-5.5, 5.5), 0.05),
    "Pinwheel": (targets.Pinwheel(), (-6, 6), (-6, 6), 0.05),
    "Pinwheel, three arms": (targets.Pinwheel(3, 1.5, 0.5, 0.3, -1.0), (-5, 5), (-5, 5), 0.05),
    "TwoMoons": (targets.TwoMoons(), (-2, 3), (-1.5, 2), 0.04),
    "TwoMoons, noisy": (targets.TwoMoons(0.3), (-4, 5), (-4, 4), 0.1),
    "Spirals": (targets.Spirals(turns=0.7), (-4, 4), (-4, 4), 0.08),
    "Spirals, three arms": (targets.Spirals(3, 0.5, 2.0, 0.2), (-4, 4), (-4, 4), 0.1),
    "SwissRoll": (targets.SwissRoll(), (-5, 5), (-5, 5), 0.1),
    "Circles": (targets.Circles(), (-2, 2), (-2, 2), 0.04),
    "Circles, four": (targets.Circles([0.75, 1.5, 2.25, 3.0], 0.08), (-4, 4), (-4, 4), 0.04),
    "TwoModes": (targets.TwoModes(), (-6, 6), (-6, 6), 0.05),
    "TwoModes of normflows": (targets.TwoModes(2.0, 0.2, 0.3), (-4, 4), (-4, 4), 0.04),
    "RingMixture": (targets.RingMixture(), (-4, 4), (-4, 4), 0.03),
    "RingMixture, one": (targets.RingMixture(1), (-5, 5), (-5, 5), 0.05),
    "Smiley": (targets.Smiley(), (-5, 5), (-6, 5.5), 0.02),
    "Smiley, narrow": (targets.Smiley(0.05), (-2.6, 2.6), (-2.6, 2.6), 0.005),
    "Picture": (targets.Picture([[0.0, 1.0, 2.0], [3.0, 0.5, 0.0]], (-3.0, -2.0), (3.0, 2.0)), (-3, 3), (-2, 2), 0.1),
    "Picture, many pixels": (
        targets.Picture(np.random.default_rng(0).random((30, 20)) ** 3 * (np.arange(20) % 3 > 0), (1.0, 0.0), (3.0, 6.0)),
        (1, 3),
        (0, 6),
        0.05,
    ),
    "SineEnergy": (targets.SineEnergy(), (-4, 4), (-5, 5), 0.02),
    "SineEnergy, gap": (targets.SineEnergy("gap"), (-4, 4), (-8, 5), 0.02),
    "SineEnergy, split": (targets.SineEnergy("split"), (-4, 4), (-8, 5), 0.02),
    "Banana": (targets.Banana(), (-16, 16), (-12, 150), 0.05),
    "Rosenbrock": (targets.Rosenbrock(2, 0.5, 1.0, 2.0), (-6, 7), (-5, 45), 0.02),
    "SineWave": (targets.SineWave(), (-8, 8), (-5, 5), 0.05),
    "Crescent": (targets.Crescent(), (-8, 8), (-4, 35), 0.04),
    "Funnel": (targets.Funnel(2, 0.5), (-4, 4), (-30, 30), 0.02),
    "Checkerboard": (targets.Checkerboard(), (-4, 4), (-4, 4), 0.05),
    "Checkerboard, six": (targets.Checkerboard(6, 3.0), (-3, 3), (-3, 3), 0.05),
}
FREQUENCIES = torch.tensor([[0.7, 0.3], [-0.4, 1.1], [2.0, 1.5], [3.1, -2.6], [0.0, 0.15]], dtype=torch.float64)


def grid(name):
    """Return the midpoints of a grid and the weight of each: for smooth densities that vanish at the ends as exact as any rule."""
    _, first, second, spacing = ROWS[name]
    lines, area = [], 1.0
    for low, high in (first, second):
        edges = torch.linspace(low, high, round((high - low) / spacing) + 1, dtype=torch.float64)
        lines.append(0.5 * (edges[1:] + edges[:-1]))
        area *= float(edges[1] - edges[0])
    return torch.cartesian_prod(*lines), area


def waves(x):
    phase = x.double() @ FREQUENCIES.T
    return torch.cat([torch.cos(phase), torch.sin(phase)], -1)


@pytest.mark.parametrize("name", ROWS)
def test_integrates_to_one_and_samples_agree(name):
    target = ROWS[name][0]
    points, area = grid(name)
    density = torch.cat([target.log_prob(part).exp() for part in points.split(20000)]) * area
    # Where the first feature ends sharply, midpoints are exact to second order only.
    assert float(density.sum()) == pytest.approx(1, abs=1e-4 if "SineEnergy" in name else 2e-7)
    expected = density @ waves(points)
    sample = target.sample((40000,), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = waves(sample)
    z = (found.mean(0) - expected) / (found.std(0) / 200).clamp(min=1e-6)
    assert float(z.abs().max()) < 4
    assert bool(target.support.check(sample).all())


@pytest.mark.parametrize("name", ROWS)
def test_precision_gradients_and_nan(name):
    target = ROWS[name][0]
    x = target.sample((200,), generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    exact = target.log_prob(x)
    single = target.log_prob(x.float())
    assert (exact.dtype, single.dtype, target.log_prob(x.bfloat16()).dtype) == (torch.float64, torch.float32, torch.float32)
    assert torch.allclose(exact, single.double(), rtol=1e-3, atol=1e-3) or "Checkerboard" in name
    x = torch.cat([x, torch.zeros(1, 2, dtype=torch.float64), torch.full((1, 2), math.nan, dtype=torch.float64)]).requires_grad_()
    log_prob = target.log_prob(x)
    assert bool(torch.isnan(log_prob[-1]))
    assert not bool(torch.isnan(log_prob[:-1]).any())
    if log_prob.requires_grad:
        (gradient,) = torch.autograd.grad(log_prob[:-2].sum(), x)
        assert bool(torch.isfinite(gradient[:-1]).all())
        numbers = target.log_prob(torch.stack([x[:50].detach() + 1e-6, x[:50].detach() - 1e-6]))
        if "Checkerboard" not in name:
            assert torch.allclose(gradient[:50].sum(-1), (numbers[0] - numbers[1]) / 2e-6, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ROWS)
def test_randomness_and_shapes(name):
    target = ROWS[name][0]
    before = torch.get_rng_state()
    a, b = (target.sample((2, 3), generator=torch.Generator().manual_seed(5)) for _ in range(2))
    assert torch.equal(a, b)
    assert torch.equal(before, torch.get_rng_state())
    assert a.shape == (2, 3, 2)
    assert a.dtype == torch.float32
    assert target.log_prob(a).shape == (2, 3)
    with torch.random.fork_rng():
        assert target.sample().shape == (2,)
        assert target.sample((0,)).shape == target.sample(0).shape == (0, 2)
    assert target.log_prob(torch.empty(0, 2)).shape == (0,)
    assert (target.batch_shape, target.event_shape) == ((), (2,))
    assert repr(eval(repr(target), vars(targets))) == repr(target)
    with pytest.raises(ValueError, match=r"expected floating-point values of shape \(\*batch, 2\), got"):
        target.log_prob(torch.zeros(3))
    with pytest.raises(ValueError, match="expected floating-point values"):
        target.log_prob(torch.zeros(2, dtype=torch.int64))


@pytest.mark.parametrize(
    ("target", "reference"),
    [
        (targets.TwoMoons(0.1), lambda n: make_moons(n, noise=0.1, random_state=0)[0]),
        (targets.Circles([1.0, 0.6], 0.05), lambda n: make_circles(n, factor=0.6, noise=0.05, random_state=0)[0]),
        (targets.SwissRoll(1.0, 0.5), lambda n: make_swiss_roll(n, noise=0.5, random_state=0)[0][:, [0, 2]]),
    ],
)
def test_draws_what_scikit_learn_draws(target, reference):
    ours = waves(target.sample((20000,), generator=torch.Generator().manual_seed(3), dtype=torch.float64))
    theirs = waves(torch.as_tensor(reference(20000)))
    z = (ours.mean(0) - theirs.mean(0)) / ((ours.var(0) + theirs.var(0)) / 20000).sqrt()
    assert float(z.abs().max()) < 4


def test_noisy_curves_against_adaptive_quadrature():
    x = np.array([0.3, 0.55])
    target = targets.TwoMoons(0.07)

    def curve(t, k):
        return (1 - np.cos(t), 0.5 - np.sin(t)) if k else (np.cos(t), np.sin(t))

    total = sum(
        integrate.quad(lambda t, k=k: stats.multivariate_normal(curve(t, k), 0.07**2).pdf(x) / math.pi, 0, math.pi, epsabs=1e-13)[0]
        for k in (0, 1)
    )
    assert target.log_prob(torch.tensor(x)).item() == pytest.approx(math.log(total / 2), abs=1e-10)


def test_triangular_targets_in_more_features():
    x = torch.randn(7, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    a, *rest = x.unbind(-1)
    normal = torch.distributions.Normal
    funnel = normal(0.0, 3.0).log_prob(a) + sum(normal(0.0, torch.exp(a / 2)).log_prob(r) for r in rest)
    assert torch.allclose(targets.Funnel(4).log_prob(x), funnel)
    energy = 0.05 * (a - 1) ** 2 + 5 * sum((x[:, i] - x[:, i - 1] ** 2) ** 2 for i in (1, 2, 3))
    constant = math.sqrt(0.05) * 5**1.5 / math.pi**2
    assert torch.allclose(targets.Rosenbrock(4).log_prob(x), -energy + math.log(constant))
    assert targets.Banana(5).sample((3,), generator=torch.Generator().manual_seed(0)).shape == (3, 5)
    assert (targets.Banana(4, 0.0, 1.0).log_prob(x) - normal(0.0, 1.0).log_prob(x).sum(-1)).abs().max() < 1e-14


def test_energies_are_those_of_the_paper():
    z = 2 * torch.randn(20, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).clamp(-2, 2)
    one, two = z.unbind(-1)
    u1 = 0.5 * ((z.norm(dim=-1) - 2) / 0.4) ** 2 - torch.log(
        torch.exp(-0.5 * ((one - 2) / 0.6) ** 2) + torch.exp(-0.5 * ((one + 2) / 0.6) ** 2)
    )
    w1, w2, w3 = torch.sin(2 * math.pi * one / 4), 3 * torch.exp(-0.5 * ((one - 1) / 0.6) ** 2), 3 * torch.sigmoid((one - 1) / 0.3)
    u2 = 0.5 * ((two - w1) / 0.4) ** 2
    u3 = -torch.log(torch.exp(-0.5 * ((two - w1) / 0.35) ** 2) + torch.exp(-0.5 * ((two - w1 + w2) / 0.35) ** 2))
    u4 = -torch.log(torch.exp(-0.5 * ((two - w1) / 0.4) ** 2) + torch.exp(-0.5 * ((two - w1 + w3) / 0.35) ** 2))
    made = (targets.TwoModes(), targets.SineEnergy(), targets.SineEnergy("gap"), targets.SineEnergy("split"))
    for target, energy in zip(made, (u1, u2, u3, u4), strict=True):
        assert torch.allclose(target.log_prob(z), -energy - target.log_normalizer, atol=1e-9), target
    assert targets.SineEnergy().log_prob(torch.tensor([4.1, 0.0])) == -math.inf
    assert targets.Checkerboard().log_prob(torch.tensor([[4.1, 0.0], [math.inf, 0.0]])).tolist() == [-math.inf, -math.inf]


@pytest.mark.parametrize("width", [0.2, 0.8, 2.0])
def test_the_constant_of_a_smiley(width):
    nodes, weights = np.polynomial.legendre.leggauss(400)
    end, total = 4 + 12 * width, 0.0
    # Where the kinks are, of the height and of the length at the origin, a rule begins anew.
    for low, high in ((-end, -0.8), (-0.8, 0.0), (0.0, end)):
        across, up = np.meshgrid(0.5 * end * (nodes + 1), low + 0.5 * (high - low) * (nodes + 1))
        energy = ((np.hypot(across, up) - 2) ** 2 + (np.abs(up + 0.8) - 1.2) ** 2) / (2 * width**2)
        total += 0.5 * end * (high - low) * (weights @ np.exp(-energy) @ weights)
    # Polar coordinates, in which the origin is no kink, are the better ones.
    assert targets.Smiley(width).log_normalizer == pytest.approx(math.log(total), abs=1e-6)


def test_pixels_of_a_picture():
    picture = np.zeros((3, 4))
    picture[0, 1], picture[2, 3] = 1.0, 3.0
    target = targets.Picture(torch.tensor(picture), (0.0, 0.0), (4.0, 3.0))
    x = torch.tensor([[1.5, 2.5], [3.5, 0.5], [4.0, 0.0], [0.5, 0.5], [1.5, 3.1], [math.inf, 0.0]])
    assert target.log_prob(x).exp().tolist() == pytest.approx([0.25, 0.75, 0.75, 0.0, 0.0, 0.0])
    # Beside a black pixel no sample rounds into it, in single precision and far from the origin either.
    comb = targets.Picture(np.tile([1.0, 0.0], (2, 300)), (50.0, -1.0), (51.0, 1.0))
    for dtype in (torch.float32, torch.float64):
        drawn = comb.sample((200_000,), generator=torch.Generator().manual_seed(0), dtype=dtype)
        assert bool(torch.isfinite(comb.log_prob(drawn)).all())


def test_two_independent():
    both = targets.TwoIndependent(targets.TwoMoons(), targets.Funnel(3))
    x = both.sample((6,), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert x.shape == (6, 5)
    assert torch.equal(both.log_prob(x), both.first.log_prob(x[:, :2]) + both.second.log_prob(x[:, 2:]))


@pytest.mark.parametrize(
    "part",
    [
        pf.MAF(2),
        pf.MAF(2, 1)(torch.zeros(1)),
        pf.NSF(2, support=["positive", "real"]),
        torch.distributions.MultivariateNormal(torch.zeros(2), torch.eye(2)),
        targets.TwoIndependent(targets.TwoMoons(), pf.NSF(1, transforms=1)),
    ],
    ids=str,
)
def test_two_independent_of_any_kind(part):
    for parts in ((targets.Checkerboard(), part), (part, targets.Checkerboard())):
        both = targets.TwoIndependent(*parts)
        torch.manual_seed(0)
        x = both.sample((50,))
        assert bool(both.support.check(x).all())
        cut = parts[0].event_shape[0]
        torch.testing.assert_close(both.log_prob(x), parts[0].log_prob(x[:, :cut]) + parts[1].log_prob(x[:, cut:]))
        beyond = both.sample((1,)).index_fill(1, torch.tensor(0 if parts[1] is part else cut), 9.0)
        assert not bool(both.support.check(beyond))
        assert both.log_prob(beyond).item() == -math.inf
        value, error = both.estimate("mean", 100)
        assert value.shape == error.shape == both.event_shape


def test_two_independent_draw_from_the_generator():
    both = targets.TwoIndependent(targets.TwoMoons(), pf.MAF(2))
    one, other = (both.sample((5,), generator=torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(one, other)
    with pytest.raises(ValueError, match="expected no generator, since MultivariateNormal draws"):
        targets.TwoIndependent(torch.distributions.MultivariateNormal(torch.zeros(2), torch.eye(2)), targets.TwoMoons()).sample(
            (5,), generator=torch.Generator()
        )


@pytest.mark.parametrize(
    ("part", "words"),
    [
        (torch.distributions.Normal(torch.zeros(2), 1.0), r"got Normal of event_shape \(\) and batch_shape \(2,\); .*Independent"),
        (pf.MAF(2, 1)(torch.zeros(3, 1)), r"got ConditionedFlow of event_shape \(2,\) and batch_shape \(3,\)"),
        (torch.zeros(2), "got Tensor"),
        (targets.TwoMoons, "got <class"),
    ],
)
def test_two_independent_of_what_is_none(part, words):
    with pytest.raises(ValueError, match=f"TwoIndependent: expected second to be a distribution on vectors, without a batch, {words}"):
        targets.TwoIndependent(targets.TwoMoons(), part)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: targets.TwoMoons(0.0), "TwoMoons: expected noise > 0, got 0.0"),
        (lambda: targets.GaussianRing(0), "GaussianRing: expected modes to be a whole number of at least 1, got 0"),
        (lambda: targets.Circles([]), "Circles: expected positive radii"),
        (lambda: targets.Circles([1.0, -1.0]), "Circles: expected positive radii"),
        (lambda: targets.Checkerboard(3), "Checkerboard: expected an even number of cells, got 3"),
        (lambda: targets.SineEnergy("U2"), "SineEnergy: expected kind to be 'sine', 'gap' or 'split', got 'U2'"),
        (lambda: targets.Smiley(0.0), "Smiley: expected width > 0, got 0.0"),
        (lambda: targets.Picture([1.0, 2.0]), r"Picture: expected rows of intensities .* got an array of shape \(2,\)"),
        (lambda: targets.Picture([[0.0]]), "Picture: expected rows of intensities of at least 0, not all 0"),
        (lambda: targets.Picture([[1.0], [1.0, 2.0]]), "Picture: expected rows of numbers, all of one length"),
        (lambda: targets.Picture([[1.0, -1.0]]), "Picture: expected rows of intensities"),
        (lambda: targets.Picture([[1.0]], (0.0, 0.0), (0.0, 1.0)), r"Picture: expected finite corners \(x, y\) with low < high"),
        (lambda: targets.Banana(1), "Banana: expected features to be a whole number of at least 2, got 1"),
        (lambda: targets.Rosenbrock(b=-1.0), "Rosenbrock: expected b > 0, got -1.0"),
    ],
)
def test_wrong_arguments(make, words):
    with pytest.raises(ValueError, match=words):
        make()
