"""Continuous flows on spheres and circles: fields, densities of surface area, the shortest ways, bases, and places in degrees."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from torch import nn

import pushforward as pf
from pushforward.bases.directions import concentration
from pushforward.bijectors import MLP, Compose, Continuous, Stereographic, to_support
from pushforward.core import sets
from pushforward.data import from_sphere, per_degree, to_sphere
from pushforward.distributions import Mixture, MixtureOfVonMisesFisher, SphereUniform, VonMisesFisher, constraints
from pushforward.layers.field import Field
from pushforward.layers.spaces import SPACES, Spaces, trace
from pushforward.nets.divergence import by_tangents
from pushforward.testing import randomize
from pushforward.train import FlowMatching

SMALL = MLP((16, 16), "silu")
SPHERE = ["sphere"] * 3


def made(plan, shape=3, base=None, scale=1.0, context=None):
    torch.manual_seed(0)
    return randomize(pf.Flow(base or SphereUniform(), plan, shape, context), scale).double()


def product_rule(size):
    """Return points all over the sphere, and the area of each: Gauss-Legendre nodes in height, even ones around."""
    height, weight = (torch.from_numpy(each) for each in np.polynomial.legendre.leggauss(size))
    angle = torch.arange(2 * size, dtype=torch.float64) * math.pi / size
    across = torch.sqrt(1 - height**2)[:, None]
    points = torch.stack([across * torch.cos(angle), across * torch.sin(angle), height[:, None].expand(-1, 2 * size)], -1)
    return points.reshape(-1, 3), (weight[:, None] * math.pi / size).expand(-1, 2 * size).reshape(-1)


def module(inputs, outputs):
    return nn.Sequential(nn.Linear(inputs + 6, 16), nn.Tanh(), nn.Linear(16, outputs))


# Fields


@pytest.mark.parametrize(
    ("on", "sizes"), [(["sphere"], [2]), (["sphere"], [3]), (["sphere"], [5]), (["real", "circle", "sphere"], [2, 1, 3])]
)
@pytest.mark.parametrize("fastest", [1e4, 1.5])
def test_the_divergence_is_that_of_the_velocity_in_all_of_space(on, sizes, fastest):
    """By the formula from the net's own Jacobian, and by derivatives of the whole velocity, which knows nothing of it."""
    torch.manual_seed(0)
    spaces = Spaces(on, sizes, fastest)
    size, net = sum(sizes), nn.Sequential(nn.Linear(spaces.width, 8), nn.Tanh(), nn.Linear(8, sum(sizes))).double()
    x = spaces.onto(torch.randn(7, size, dtype=torch.float64))
    jacobian = torch.func.vmap(torch.func.jacrev(net))(spaces.seen(x))
    slopes = spaces.slopes(x, net(spaces.seen(x)), lambda vectors: vectors @ jacobian.mT)
    v, expected = by_tangents(lambda x: spaces.tangent(x, net(spaces.seen(x))), x)
    torch.testing.assert_close(trace(slopes, x), expected, rtol=1e-11, atol=1e-11)
    if on == ["sphere"]:
        assert (v * x).sum(-1).abs().max() < 1e-14
        assert v.norm(dim=-1).max() < fastest
        axes = torch.eye(size, dtype=torch.float64) - x.unsqueeze(-1) * x.unsqueeze(-2)
        f = net(x)
        if fastest == 1e4:  # as it is written where nothing is braked
            formula = (axes @ jacobian).diagonal(0, 1, 2).sum(-1) - (size - 1) * (x * f).sum(-1)
            torch.testing.assert_close(trace(slopes, x), formula, rtol=1e-6, atol=1e-6)


def test_the_field_of_a_perceptron_is_that_of_the_same_net_called():
    torch.manual_seed(0)
    spaces = Spaces(("sphere",), (3,), 2.0)
    field = randomize(Field(MLP((8, 8), "silu"), (3,), None, 2.0, spaces=spaces), 1.0).double()
    z = torch.nn.functional.pad(spaces.onto(torch.randn(5, 3, dtype=torch.float64)), (0, 1))
    t = torch.rand(5, dtype=torch.float64)
    of, used = field.rates()
    found = of(used)(t, z, None)
    velocity, divergence = by_tangents(lambda x: field.velocity(t, x, None), z[:, :3])
    torch.testing.assert_close(found, torch.cat([velocity, divergence.unsqueeze(-1)], -1), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("kind", SPACES)
def test_the_shortest_way_begins_and_ends_where_it_should_at_an_even_speed(kind):
    g = torch.Generator().manual_seed(0)
    spaces = Spaces((kind,), (3,), 1e4)
    start, end = (spaces.onto(3 * torch.randn(6, 3, generator=g, dtype=torch.float64)) for _ in range(2))
    share = torch.rand(6, generator=g, dtype=torch.float64)
    for given, expected in ((0.0, start), (1.0, end)):
        place, _ = spaces.between(torch.full_like(share, given), start, end)
        torch.testing.assert_close(spaces.seen(place), spaces.seen(expected), rtol=1e-12, atol=1e-12)
    place, velocity = spaces.between(share, start, end)
    step = 1e-6
    moved = (spaces.between(share + step, start, end)[0] - spaces.between(share - step, start, end)[0]) / (2 * step)
    torch.testing.assert_close(velocity, moved, rtol=1e-7, atol=1e-8)
    speed = velocity.norm(dim=-1)
    torch.testing.assert_close(speed, spaces.between(0 * share, start, end)[1].norm(dim=-1))
    if kind == "sphere":
        torch.testing.assert_close(speed, torch.arccos((start * end).sum(-1)))
        assert (place.norm(dim=-1) - 1).abs().max() < 1e-14
    if kind == "circle":
        assert velocity.abs().max() <= math.pi


def test_the_way_to_the_same_point_and_to_the_opposite_one_is_finite():
    x = torch.tensor([[0.0, 0.6, 0.8]], dtype=torch.float64)
    spaces = Spaces(("sphere",), (3,), 1e4)
    for end in (x, -x):
        place, velocity = spaces.between(torch.tensor([0.3], dtype=torch.float64), x, end)
        assert torch.isfinite(place).all()
        assert torch.isfinite(velocity).all()


# Densities


@pytest.mark.parametrize(
    ("plan", "base"),
    [
        (Continuous(SMALL, 1e-5, on=["sphere"]), SphereUniform()),
        (Continuous(module(3, 3), 1e-4, on=["sphere"]), SphereUniform()),
        (Continuous(SMALL, 1e-5, method="dopri5", on=["sphere"]), VonMisesFisher((1.0, 0.0, 1.0), 2.0)),
    ],
    ids=["perceptron", "module", "von Mises-Fisher"],
)
def test_a_density_integrates_to_one_over_the_sphere(plan, base):
    flow = made(plan, base=base, scale=0.5)
    points, area = product_rule(30)
    with torch.no_grad():
        density = flow.log_prob(points).exp()
    assert density.max() > 3 * density.min()
    assert float((density * area).sum()) == pytest.approx(1, abs=1e-3)


def test_a_density_is_that_of_the_samples_and_its_error_is_stated():
    flow = made(Continuous(SMALL, 1e-3, on=["sphere"]))
    points, area = product_rule(24)
    with torch.no_grad():
        drawn = flow.sample((4000,))
        density = flow.log_prob(points).exp() * area
        mean, spread = density @ points, density @ points.square()
        error = ((spread - mean.square()) / len(drawn)).sqrt()
        assert ((drawn.mean(0) - mean).abs() < 5 * error).all()
        value, stated = flow.log_prob_and_error(drawn[:200])
        true = made(Continuous(SMALL, 1e-11, on=["sphere"])).log_prob(drawn[:200])
    assert ((value - true).abs() <= stated).double().mean() >= 0.95
    assert ((value - true).abs().median() > 1e-9) & (stated.max() < 1e-2)


def test_probes_on_a_sphere_are_right_on_average():
    """They are within what is stated, of which two standard errors are the most."""
    exact = made(Continuous(SMALL, 1e-4, on=["sphere"]), 8, scale=0.5)
    x = exact.sample((5,))
    for way in ("hutchinson", "hutch++"):
        flow = made(Continuous(SMALL, 1e-4, trace=way, probes=5, on=["sphere"]), 8, scale=0.5)
        value, error = flow.log_prob_and_error(x)
        assert (value - exact.log_prob(x)).abs().max() > 1e-2, way
        assert ((value - exact.log_prob(x)).abs() < 2 * error + 1e-3).all(), way


def test_a_line_beside_a_sphere():
    torch.manual_seed(0)
    flow = randomize(pf.CNF(4, support=["real", *SPHERE], widths=(8, 8), tolerance=1e-4), 0.7).double()
    assert "Continuous(net=MLP(widths=(8, 8), activation='silu'), tolerance=0.0001, on=('real', 'sphere'), sizes=(1, 3))" in repr(flow)
    points, area = product_rule(10)
    nodes, weights = (torch.from_numpy(each) for each in np.polynomial.legendre.leggauss(40))
    line = torch.cat([9 * nodes[:, None, None].expand(-1, len(points), 1), points.expand(40, -1, -1)], -1)
    with torch.no_grad():
        density = flow.log_prob(line).exp()
        drawn = flow.sample((100,))
    assert float((density * area).sum(1) @ (9 * weights)) == pytest.approx(1, abs=1e-3)
    assert sets.inside(flow.support, drawn).all()
    # What is beside the sphere moves with the place on it.
    means = (density * area * line[..., 0]).T @ (9 * weights) / ((density * area).T @ (9 * weights))
    assert means.std() > 0.02


def test_a_torus_has_no_seam():
    torch.manual_seed(0)
    flow = randomize(pf.CNF(2, support=["circular"] * 2, widths=(8, 8), tolerance=1e-6), 2.0).double()
    side = (torch.arange(40, dtype=torch.float64) + 0.5) / 40 * 2 * math.pi - math.pi
    grid = torch.cartesian_prod(side, side)
    with torch.no_grad():
        density = flow.log_prob(grid).exp()
        ends = torch.tensor([[-math.pi + 1e-9, 0.3], [math.pi - 1e-9, 0.3]], dtype=torch.float64)
        low, high = flow.log_prob(ends)
        drawn = flow.sample((500,))
    assert density.max() > 1.2 * density.min()
    assert float(density.mean()) * (2 * math.pi) ** 2 == pytest.approx(1, abs=1e-4)
    assert float(low) == pytest.approx(float(high), abs=1e-4)
    assert drawn.abs().max() <= math.pi


def test_values_outside_have_no_density_and_nan_stays_alone():
    flow = made(Continuous(SMALL, 1e-3, on=["sphere"]))
    x = flow.sample((4,)).detach()
    x[1] *= 1.01
    x[2] = math.nan
    value = flow.log_prob(x)
    assert torch.isfinite(value[[0, 3]]).all()
    assert value[1] == -math.inf
    assert torch.isnan(value[2])


def test_it_is_saved_described_and_takes_a_context(tmp_path):
    torch.manual_seed(0)
    flow = randomize(pf.CNF(3, 2, support=SPHERE, widths=(8,), tolerance=1e-3), 1.0)
    context = torch.randn(5, 2)
    x = flow.sample((), context)
    flow.save(tmp_path / "flow.safetensors")
    loaded = pf.load(tmp_path / "flow.safetensors")
    assert all(torch.equal(value, flow.state_dict()[name]) for name, value in loaded.state_dict().items())
    # By torch's products, which may round by where tensors lie.
    torch.testing.assert_close(loaded.log_prob(x, context), flow.log_prob(x, context))
    assert (flow.log_prob(x, context) != flow.log_prob(x, context + 1)).all()
    assert "surface area" in str(flow.describe())
    assert flow.plan == Compose([Continuous(MLP((8,), "silu"), 1e-3, on=["sphere"])])


def test_gradients_are_tangents_and_those_of_differences():
    flow = made(Continuous(SMALL, 1e-9, on=["sphere"]))
    x = flow.sample((3,)).detach().requires_grad_()
    (slope,) = torch.autograd.grad(flow.log_prob(x).sum(), x)
    assert (slope * x).sum(-1).abs().max() < 1e-9
    step, axis = 1e-4, torch.nn.functional.normalize(torch.linalg.cross(x, torch.ones_like(x)), dim=-1).detach()
    ends = [flow.log_prob(torch.nn.functional.normalize(x + sign * step * axis, dim=-1)) for sign in (1, -1)]
    torch.testing.assert_close((slope * axis).sum(-1), (ends[0] - ends[1]) / (2 * step), rtol=1e-5, atol=1e-5)


# Training


def two_places(rows):
    torch.manual_seed(1)
    parts = [VonMisesFisher(loc, 20.0).build((3,)).rsample((rows,)).detach() for loc in ((0.0, 0.0, 1.0), (1.0, 0.0, 0.0))]
    return torch.cat(parts)[torch.randperm(2 * rows)]


def test_flow_matching_learns_two_places():
    """The entropy of the rows is 1.22 nats, that of the uniform distribution 2.53."""
    x = two_places(1000)
    torch.manual_seed(0)
    flow = pf.CNF(3, support=SPHERE, widths=(32, 32), tolerance=1e-3)
    history = pf.fit(flow, x, objective="flow_matching", epochs=25, batch_size=200, progress=False)
    assert history.nats[0] == pytest.approx(math.log(4 * math.pi), abs=1e-3)
    assert history.nats[history.best_epoch] < 1.8


def test_maximum_likelihood_learns():
    x = two_places(200)
    torch.manual_seed(0)
    flow = pf.Flow(SphereUniform(), Continuous(MLP((16,), "silu"), method="heun", steps=5, on=["sphere"]), 3)
    history = pf.fit(flow, x, epochs=6, batch_size=100, learning_rate=2e-2, progress=False)
    assert min(history.validation) < history.validation[0] - 0.1


def test_likelihood_with_options_learns_and_costs_are_refused():
    """As an objective by name and as a plan it is one and the same; what ways cost is told for lines and circles alone."""
    x = two_places(100)
    found = []
    for objective in ("likelihood", pf.Likelihood()):
        torch.manual_seed(0)
        flow = pf.CNF(3, support=SPHERE, widths=(16,), tolerance=1e-2)
        history = pf.fit(flow, x, objective=objective, epochs=2, batch_size=100, learning_rate=1e-2, progress=False)
        assert history.best_loss < history.start - 0.05
        found.append(history.best_loss)
    assert found[0] == pytest.approx(found[1], abs=1e-3)
    before = {name: value.clone() for name, value in flow.state_dict().items()}
    with pytest.raises(ValueError, match="expected fields on lines and circles for a Likelihood with kinetic or jacobian"):
        pf.fit(flow, x, objective=pf.Likelihood(kinetic=0.1), progress=False)
    assert all(torch.equal(value, before[name]) for name, value in flow.state_dict().items())


@pytest.mark.parametrize("support", [SPHERE, ["circular"], ["real", *SPHERE]])
def test_a_field_begins_as_wide_as_its_spaces_are(support):
    """Units of the first layer are spread by 3 over points that are even on the space; where nothing is standardised as well."""
    torch.manual_seed(0)
    flow = pf.CNF(len(support), support=support, widths=(64, 64))
    spaces = next(m for m in flow.transform.modules() if isinstance(m, Field)).spaces
    x = flow.sample((4000,))
    flow.standardize(x)
    first = next(m for m in flow.transform.modules() if isinstance(m, Field)).parameters_of.net.layers[0].x.weight
    even = spaces.seen(spaces.onto(torch.randn(4000, len(support))))
    if "circular" in support:
        even = spaces.seen(2 * math.pi * torch.rand(4000, 1))
    spread = (even @ first.T).std(0).square().mean().sqrt()
    assert float(spread.detach()) == pytest.approx(3.0, rel=0.05)


def test_flow_matching_of_lines_circles_and_spheres_together():
    x = torch.cat([torch.randn(300, 1), 0.3 * torch.randn(300, 1) + math.pi, two_places(150)], 1)
    x[:, 1] = torch.remainder(x[:, 1] + math.pi, 2 * math.pi) - math.pi
    torch.manual_seed(0)
    flow = pf.CNF(5, support=["real", "circular", *SPHERE], widths=(32,), tolerance=1e-2)
    history = pf.fit(flow, x, objective="flow_matching", epochs=15, batch_size=100, learning_rate=2e-2, progress=False)
    assert history.nats[history.best_epoch] < history.nats[0] - 0.5


def test_other_paths_than_the_shortest_are_refused():
    flow, x = pf.CNF(3, support=SPHERE, widths=(4,)), two_places(20)
    with pytest.raises(ValueError, match=r"expected path='linear' for a flow on sphere, .* got 'variance_preserving'"):
        pf.fit(flow, x, objective=FlowMatching(path="variance_preserving"), progress=False)


# Plans


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Continuous(on=["plane"]), "expected on"),
        (lambda: Continuous(on=["real", "sphere"]), "expected a size for each of on"),
        (lambda: Continuous(on=["sphere"], sizes=[3, 3]), "expected a size for each of on"),
        (lambda: Continuous(on=["sphere"]).build((3, 2)), "expected vectors, got event_shape"),
        (lambda: Continuous(on=["real", "sphere"], sizes=[1, 3]).build(5), "expected vectors of 4 numbers"),
        (lambda: Continuous(on=["real", "sphere"], sizes=[1, 1]).build(2), "expected at least 2 numbers for a sphere"),
        (lambda: pf.CNF(4, support=["sphere"] * 4), "expected three features in a row"),
        (lambda: pf.NSF(3, support=SPHERE), r"Domain: feature 0: expected a constraint or one of .*, circular, got 'sphere'"),
        (lambda: pf.CNF(3, support=["real", "real", "sfere"]), "CNF: feature 2: expected .* positive, .*, circular, sphere, got 'sfere'"),
        (lambda: pf.CNF(4, support=["sfere", *SPHERE]), "CNF: feature 0: expected .* circular, sphere, got 'sfere'"),
        (lambda: pf.Flow(SphereUniform(), pf.bijectors.Affine(), 3), "expected values in .* got values in unit sphere"),
        (lambda: SphereUniform().build((1,)), "expected vectors of at least 2 numbers"),
        (lambda: SphereUniform().build((2, 3)), "expected vectors of at least 2 numbers"),
        (lambda: VonMisesFisher().build((4,)), "expected vectors of 3 numbers"),
        (lambda: MixtureOfVonMisesFisher().build((2,)), "expected vectors of 3 numbers"),
        (lambda: VonMisesFisher((0.0, 0.0, 0.0)), "not all zero"),
        (lambda: VonMisesFisher((0.0, 1.0)), "loc"),
        (lambda: VonMisesFisher(concentration=0.0), "concentration"),
    ],
)
def test_what_does_not_fit_is_refused(make, words):
    with pytest.raises(pf.PlanError, match=words):
        make()


def test_the_sphere_is_a_support_like_any_other():
    assert constraints.sphere is sets.SPHERE
    assert to_support(constraints.sphere) == Stereographic()
    x = torch.tensor([[0.6, 0.0, 0.8], [0.6, 0.1, 0.8], [math.nan, 0.0, 1.0]])
    assert constraints.sphere.check(x).tolist() == [True, False, False]
    assert sets.SPHERE.check(sets.SPHERE.settle(1.3 * torch.randn(9, 4))).all()


# Bases


@pytest.mark.parametrize("n", [2, 3, 4, 7])
def test_the_uniform_distribution(n):
    base = SphereUniform().build((n,)).double()
    theirs = stats.uniform_direction(n)
    drawn = base.rsample((20000,))
    area = 2 * math.pi ** (n / 2) / math.gamma(n / 2)
    torch.testing.assert_close(base.log_prob(drawn), torch.full((20000,), -math.log(area), dtype=torch.float64))
    assert theirs.dim == n
    torch.testing.assert_close(drawn.T @ drawn / 20000, torch.eye(n, dtype=torch.float64) / n, rtol=0, atol=0.02)


@pytest.mark.parametrize("kappa", [0.01, 1.0, 30.0, 2000.0])
def test_von_mises_fisher_is_that_of_scipy(kappa):
    loc = np.array([1.0, -2.0, 2.0]) / 3
    base, theirs = VonMisesFisher(loc, kappa).build((3,)).double(), stats.vonmises_fisher(loc, kappa)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        x = base.rsample((20000,)).detach()
    torch.testing.assert_close(base.log_prob(x[:100]).detach(), torch.from_numpy(theirs.logpdf(x[:100].numpy())), rtol=1e-7, atol=1e-7)
    assert float(base.entropy_at().detach()) == pytest.approx(float(theirs.entropy()), abs=1e-6)
    mean = base.mean_at().detach()
    spread = base.spread_at().detach()
    covariance = spread.T @ spread
    torch.testing.assert_close(torch.cov(x.T), covariance, rtol=0, atol=5 * float(covariance.abs().max()) / 20000**0.5)
    error = (covariance.diagonal() / len(x)).sqrt()
    assert ((x.mean(0) - mean).abs() < 5 * error).all()


def test_samples_of_von_mises_fisher_carry_gradients():
    """The height over the mean direction is coth(kappa) - 1 / kappa on average, whose slope is known."""
    base = VonMisesFisher(concentration=3.0).build((3,)).double()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        x = base.rsample((40000,))
    (slope,) = torch.autograd.grad(x[:, 2].mean(), base.parameters_of.offset)
    kappa = 3.0
    expected = kappa * (1 / kappa**2 - 1 / math.sinh(kappa) ** 2)  # by the logarithm
    assert float(slope[3]) == pytest.approx(expected, abs=0.01)
    (slope,) = torch.autograd.grad(base.rsample((40000,))[:, 0].mean(), base.parameters_of.offset)
    assert float(slope[0]) == pytest.approx(1 / math.tanh(kappa) - 1 / kappa, abs=0.02)


def test_a_mixture_of_von_mises_fisher_distributions_is_a_base():
    flow = pf.Flow(Mixture([VonMisesFisher((1.0, 0.0, 0.0), 9.0), VonMisesFisher((0.0, 1.0, 0.0), 4.0)]), [], 3)
    points, area = product_rule(24)
    assert float(flow.double().log_prob(points).exp().detach() @ area) == pytest.approx(1, abs=1e-9)
    assert sets.same(flow.support, sets.SPHERE)


def mixed_up(concentration=3.0):
    base = MixtureOfVonMisesFisher(3, concentration, seed=1).build((3,)).double()
    return randomize(base, 0.5)


def test_the_mixture_is_the_sum_of_its_parts():
    base = mixed_up()
    theta = base.theta(None)
    share, direction, kappa = (t.detach() for t in base._of(theta))
    points, area = product_rule(24)
    parts = [stats.vonmises_fisher(d.numpy(), float(k)).logpdf(points.numpy()) for d, k in zip(direction, kappa, strict=True)]
    expected = torch.logsumexp(share[:, None] + torch.from_numpy(np.stack(parts)), 0)
    torch.testing.assert_close(base.log_prob(points).detach(), expected, rtol=1e-9, atol=1e-9)
    mass = (base.log_prob(points).exp() * area).detach()
    mean, spread = base.mean_at().detach(), base.spread_at().detach()
    torch.testing.assert_close(mass @ points, mean, rtol=0, atol=1e-9)
    torch.testing.assert_close((mass[:, None] * points).T @ points - torch.outer(mean, mean), spread.T @ spread, rtol=0, atol=1e-9)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        x = base.rsample((20000,)).detach()
    torch.testing.assert_close(x.mean(0), mean, rtol=0, atol=0.03)
    torch.testing.assert_close(torch.cov(x.T), spread.T @ spread, rtol=0, atol=0.03)


def test_samples_of_the_mixture_carry_the_gradients_of_means():
    """Of weights, directions and concentrations, against the derivative of the integral."""
    base = mixed_up()
    points, area = product_rule(30)

    def value(x):
        return x[..., 0] * x[..., 1] + 0.7 * x[..., 2] + x[..., 1] ** 3

    exact = torch.autograd.grad((base.log_prob(points).exp() * area * value(points)).sum(), base.parameters_of.offset)[0]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        x = base.rsample((50000,))
    found = torch.autograd.grad(value(x).mean(), base.parameters_of.offset)[0]
    assert exact.abs().min() < 0.01 < 0.1 < exact.abs().max()
    torch.testing.assert_close(found, exact, rtol=0, atol=0.01)
    with pytest.raises(NotImplementedError, match="gradients of samples without create_graph=True"):
        torch.autograd.grad(base.rsample((5,)).sum(), base.parameters_of.offset, create_graph=True)


def test_the_mixture_starts_as_the_one_fitted_to_the_rows():
    x = two_places(500)
    flow = pf.Flow(MixtureOfVonMisesFisher(2, start="em"), Continuous(SMALL, 1e-3, on=["sphere"]), 3)
    flow.calibrate(x)
    share, direction, kappa = flow.base._of(flow.base.theta(None))
    torch.testing.assert_close(share.exp(), torch.tensor([0.5, 0.5]), rtol=0, atol=0.02)
    torch.testing.assert_close(direction.abs().amax(-1), torch.ones(2), rtol=0, atol=1e-2)
    assert ((kappa > 17) & (kappa < 23)).all()
    truth = Mixture([VonMisesFisher((0.0, 0.0, 1.0), 20.0), VonMisesFisher((1.0, 0.0, 0.0), 20.0)], noise=0.0).build((3,))
    # The flow is the identity still.
    assert float((flow.log_prob(x) - truth.log_prob(x)).mean().detach()) == pytest.approx(0, abs=0.01)


def test_single_rows_and_equal_ones_are_no_points():
    """Each component has something of a typical one's spread, and the largest bound of a concentration holds."""
    x = torch.nn.functional.normalize(torch.randn(60, 3, generator=torch.Generator().manual_seed(0)), dim=-1)
    x = torch.cat([x, x[:1].expand(20, 3)])
    for count in (1, 7, 60):
        base = MixtureOfVonMisesFisher(count, start="em").build((3,))
        base.calibrate(x)
        kappa = base._of(base.theta(None))[2]
        assert torch.isfinite(base.log_prob(x)).all()
        assert ((kappa > 1e-2) & (kappa < 1e7)).all()
    with pytest.raises(ValueError, match=r"MixtureOfVonMisesFisher: expected at least 61 different rows .*, got 60"):
        MixtureOfVonMisesFisher(61, start="em").build((3,)).calibrate(x)


@pytest.mark.parametrize("kappa", [1e-2, 0.3, 5.0, 400.0, 3e5])
def test_concentrations_are_those_at_which_the_mean_is(kappa):
    base = VonMisesFisher(concentration=kappa).build((3,)).double()
    away = 1 - base.mean_at().norm().detach()
    assert float(concentration(away)) == pytest.approx(kappa, rel=1e-6)


# Degrees


def test_places_in_degrees():
    frame = pd.DataFrame({"lat": [0.0, 90.0, -45.0, math.nan], "lon": [180.0, 10.0, -540.0, 5.0]})
    x = to_sphere(frame["lat"], frame["lon"])
    half = math.sqrt(0.5)
    expected = torch.tensor([[-1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [-half, 0.0, -half]], dtype=torch.float64)
    torch.testing.assert_close(x[:3], expected, rtol=0, atol=1e-15)
    assert torch.isnan(x[3]).any()
    g = torch.Generator().manual_seed(0)
    latitude = 180 * torch.rand(3, 50, generator=g, dtype=torch.float64) - 90
    longitude = 360 * torch.rand(3, 50, generator=g, dtype=torch.float64) - 180
    for ours, given in zip(from_sphere(to_sphere(latitude, longitude)), (latitude, longitude), strict=True):
        torch.testing.assert_close(ours, given, rtol=0, atol=1e-9)
    assert from_sphere(torch.tensor([0.0, 0.0, 2.0]))[0] == 90
    seam = torch.tensor([[-1.0, 0.0, 0.3], [-1.0, -0.0, 0.3], [-1.0, 1e-9, 0.3]])
    assert from_sphere(seam)[1].tolist() == [-180.0] * 3
    assert from_sphere(to_sphere([-90.0, 90.0], [7.0, 8.0]))[0].tolist() == [-90.0, 90.0]


def test_a_density_in_degrees_integrates_to_one():
    """By even nodes of longitude and Gauss-Legendre ones of latitude, over degrees: nothing here knows of the sphere's area."""
    flow = made(Continuous(SMALL, 1e-5, on=["sphere"]), scale=0.5)
    nodes, weights = (torch.from_numpy(each) for each in np.polynomial.legendre.leggauss(40))
    latitude, longitude = torch.meshgrid(90 * nodes, torch.arange(-180.0, 180.0, 6.0).double(), indexing="ij")
    with torch.no_grad():
        density = per_degree(flow.log_prob(to_sphere(latitude, longitude)), latitude).exp()
    assert float((90 * weights) @ density.sum(1) * 6) == pytest.approx(1, abs=1e-3)
    poles = per_degree(torch.zeros(3), [90.0, -90.0, 89.9999])
    assert poles[:2].tolist() == [-math.inf] * 2
    assert torch.isfinite(poles[2])


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: to_sphere([91.0], [0.0]), ValueError, "latitudes in \\[-90, 90\\] degrees, got 91"),
        (lambda: to_sphere([1.0, 2.0], [0.0]), ValueError, "as many longitudes as latitudes"),
        (lambda: to_sphere(["north"], [0.0]), TypeError, "expected latitude to be numbers, got a list"),
        (lambda: to_sphere([0.0], torch.ones(1, dtype=torch.complex64)), TypeError, "expected longitude to be real numbers"),
        (lambda: per_degree(torch.zeros(2), [91.0, 0.0]), ValueError, "per_degree: expected latitudes in \\[-90, 90\\] degrees, got 91"),
        (lambda: per_degree(torch.zeros(2), [0.0]), ValueError, "one latitude for each log_prob, of shape \\(2,\\), got \\(1,\\)"),
        (lambda: per_degree([0.0], [0.0]), TypeError, "expected log_prob to be a tensor of floating-point numbers, got list"),
        (lambda: from_sphere([0.0, 0.0, 1.0]), TypeError, "expected points to be a tensor of floating-point numbers, got list"),
        (lambda: from_sphere(torch.ones(3, dtype=torch.int64)), TypeError, "expected points to be a tensor of floating-point"),
        (lambda: from_sphere(torch.ones(3, 2)), ValueError, "expected points of shape"),
    ],
)
def test_what_are_no_places_is_refused(call, error, words):
    with pytest.raises(error, match=words):
        call()
