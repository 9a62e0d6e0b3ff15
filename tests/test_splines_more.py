"""Piecewise polynomial splines against the papers' formulas; kernels on the circle and the network that makes them periodic."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate
from torch.distributions import Uniform, VonMises

from pushforward.core.spec import PlanError, Spec
from pushforward.flow.flow import Flow
from pushforward.kernels.circular import TURN, CircularShift, CircularSpline, Unwrap, wrap
from pushforward.kernels.kernel import Elementwise
from pushforward.kernels.piecewise import END_BOUND, CubicSpline, LinearSpline, QuadraticSpline
from pushforward.kernels.spline import HEIGHT_BOUND, SLOPE_BOUND, WIDTH_BOUND, Spline
from pushforward.layers.autoregressive import Autoregressive, InverseAutoregressive
from pushforward.layers.coupling import Coupling
from pushforward.nets.mlp import MLP, ResidualMLP
from pushforward.nets.periodic import Periodic
from pushforward.nets.signature import Signature
from pushforward.testing.case import randomize

BOXED = [LinearSpline, QuadraticSpline, CubicSpline]
PLANS = [plan(bins=bins) for plan in BOXED for bins in (3, 8)] + [CircularShift(), CircularSpline(), CircularSpline(5, rotation=False)]
SMALL = MLP((16, 16), "tanh")
PI = math.pi


def draw(plan, elements=1, seed=0, scale=1.0, dtype=torch.float64):
    """Return parameters of a given size, named."""
    generator = torch.Generator().manual_seed(seed)
    return {
        name: (scale * torch.randn(value.shape, generator=generator, dtype=torch.float64)).to(dtype)
        for name, value in plan.init((elements,)).items()
    }


def clamp(values, bound):
    return 2 * bound / PI * np.arctan(PI * np.asarray(values) / (2 * bound))


def softmax(logits):
    shares = np.exp(logits - np.max(logits))
    return shares / shares.sum()


def knots(shares, bound):
    return bound * (2 * np.concatenate([[0.0], np.cumsum(shares)]) - 1)


def reference(plan, parameters, x):
    """Return value and slope at points inside the box, written out from the papers for one element's parameters."""
    one = {name: value[:, 0].numpy() for name, value in parameters.items()}
    bound, bins = plan.bound, plan.bins
    if isinstance(plan, LinearSpline):
        xs, ys = np.linspace(-bound, bound, bins + 1), knots(softmax(clamp(one["heights"] / 4, HEIGHT_BOUND)), bound)
        k = np.searchsorted(xs, x, side="right") - 1
        return np.interp(x, xs, ys), (np.diff(ys) / np.diff(xs))[k]
    w = softmax(clamp(one["widths"] / 4, WIDTH_BOUND))
    xs = knots(w, bound)
    k = np.searchsorted(xs, x, side="right") - 1
    theta, width = (x - xs[k]) / np.diff(xs)[k], np.diff(xs)
    if isinstance(plan, QuadraticSpline):
        inner = np.exp(clamp(one["slopes"] / 4, SLOPE_BOUND))
        # Find the common slope c of both ends that makes the trapezoids' area c, so that after division by it the ends are 1.
        free = integrate.trapezoid([0, *inner, 0], xs) / (2 * bound)
        ends = free / (1 - (w[0] + w[-1]) / 2)
        d = np.array([ends, *inner, ends]) / ends
        areas = width * (d[1:] + d[:-1]) / 2
        assert areas.sum() == pytest.approx(2 * bound, rel=1e-12)
        ys = -bound + np.concatenate([[0], np.cumsum(areas)])
        slope = d[k] + (d[k + 1] - d[k]) * theta
        return ys[k] + width[k] * (d[k] + slope) / 2 * theta, slope
    ys = knots(softmax(clamp(one["heights"] / 4, HEIGHT_BOUND)), bound)
    s = np.diff(ys) / width
    mean = (width[1:] * s[:-1] + width[:-1] * s[1:]) / (width[1:] + width[:-1])
    inner = 2 * np.minimum(np.minimum(s[:-1], s[1:]), mean / 2)
    outer = 3 / (1 + 2 * np.exp(-clamp(one["ends"], END_BOUND)))
    d = np.array([outer[0] * s[0], *inner, outer[1] * s[-1]])
    a, b = (d[k] + d[k + 1] - 2 * s[k]) / width[k] ** 2, (3 * s[k] - 2 * d[k] - d[k + 1]) / width[k]
    t = x - xs[k]
    return ys[k] + t * (d[k] + t * (b + t * a)), d[k] + t * (2 * b + 3 * t * a)


@pytest.mark.parametrize("scale", [0.0, 1.0, 5.0, 1e4])
@pytest.mark.parametrize("bins", [3, 8, 40])
@pytest.mark.parametrize("kind", BOXED)
def test_against_the_papers(kind, bins, scale):
    plan = kind(bins=bins, bound=2.0)
    parameters = draw(plan, seed=bins, scale=scale)
    x = np.linspace(-1.9999, 1.9999, 976)  # no knot among them
    value, slope = reference(plan, parameters, x)
    point = torch.tensor(x)[:, None]
    y, ladj = plan.forward(point, **parameters)
    assert np.abs(y[:, 0].numpy() - value).max() < 1e-12
    assert np.abs(ladj[:, 0].numpy() - np.log(slope)).max() < 1e-10
    back, negative = plan.inverse(y, **parameters)
    assert (back - point).abs().max() < 1e-12
    assert (negative + ladj).abs().max() < 1e-10


@pytest.mark.parametrize("kind", BOXED)
def test_the_identity_at_first_and_outside(kind):
    plan = kind(bins=5, bound=3.0)
    x = torch.linspace(-3, 3, 101, dtype=torch.float64)[:, None]
    for function in (plan.forward, plan.inverse):
        y, ladj = function(x, **draw(plan, scale=0.0))
        assert (y - x).abs().max() < 1e-14
        assert ladj.abs().max() < 1e-14
        far = torch.tensor([[-1e30], [-3.0], [3.0], [3.5], [1e30]], dtype=torch.float64)
        y, ladj = function(far, **draw(plan, scale=2.0))
        assert torch.equal(y, far)
        assert torch.equal(ladj, torch.zeros_like(far))


@pytest.mark.parametrize("kind", BOXED)
def test_continuous_and_increasing_across_the_box(kind):
    plan = kind(bins=4, bound=1.0)
    parameters = draw(plan, elements=50, seed=3, scale=4.0)
    x = torch.linspace(-1.1, 1.1, 4001, dtype=torch.float64)[:, None].expand(-1, 50)
    y = plan.forward(x, **parameters)[0]
    assert (y.diff(dim=0) > 0).all()
    for end in (-1.0, 1.0):
        beside = torch.tensor([[end - 1e-9], [end + 1e-9]], dtype=torch.float64).expand(-1, 50)
        y, ladj = plan.forward(beside, **parameters)
        assert (y[1] - y[0]).abs().max() < 1e-7
        if kind is QuadraticSpline:
            assert ladj.abs().max() < 1e-7


def test_two_bins_between_ends_of_slope_one_leave_nothing_to_learn():
    with pytest.raises(PlanError, match="QuadraticSpline: expected bins to be a whole number of at least 3, got 2"):
        QuadraticSpline(bins=2)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), scale=st.sampled_from([0.3, 1.0, 10.0, 1e4]), bins=st.integers(2, 20), u=st.floats(0.0, 1.0))
def test_the_cubic_is_inverted_to_the_last_digits(seed, scale, bins, u):
    plan = CubicSpline(bins=bins, bound=1.0)
    parameters = draw(plan, seed=seed, scale=scale)
    y = torch.tensor([[2 * u - 1]], dtype=torch.float64)
    x, ladj = plan.inverse(y, **parameters)
    again, slope = plan.forward(x, **parameters)
    assert abs(float(again - y)) < 1e-13
    if abs(float(x)) < 1:  # at the ends, where the slope jumps, the rounding of x decides on which side it is
        assert abs(float(ladj + slope)) < 1e-9
    assert -1 <= float(x) <= 1


def test_the_cubic_where_it_is_a_line_or_a_parabola():
    # Peers divide by the leading coefficient: with equal slopes it vanishes.
    plan = CubicSpline(bins=4, bound=2.0)
    for ends in (0.0, 0.5, -0.5):
        parameters = draw(plan, scale=0.0) | {"ends": torch.full((2, 1), ends, dtype=torch.float64)}
        y = torch.linspace(-2, 2, 1001, dtype=torch.float64)[:, None]
        x, ladj = plan.inverse(y, **parameters)
        assert (plan.forward(x, **parameters)[0] - y).abs().max() < 1e-14
        assert torch.isfinite(ladj).all()


@pytest.mark.parametrize("plan", PLANS, ids=repr)
def test_the_number_of_parameters_is_the_formula(plan):
    for elements in (1, 3):
        names = {"D": elements, "bins": getattr(plan, "bins", 0), "rotation": getattr(plan, "rotation", False)}
        assert sum(value.numel() for value in plan.init((elements,)).values()) == eval(plan.size, {}, names)
        assert sum(p.numel() for p in plan.build(elements).parameters()) == eval(plan.size, {}, names)


@pytest.mark.parametrize("kind", [*BOXED, CircularSpline])
@pytest.mark.parametrize("bins", [1, 0, 2.5, "8", True])
def test_wrong_bins(kind, bins):
    with pytest.raises(PlanError, match=f"{kind.__name__}: expected bins"):
        kind(bins=bins)


@pytest.mark.parametrize("bound", [0.0, -1.0, math.inf, math.nan])
def test_wrong_bounds(bound):
    for kind in (*BOXED, Spline):
        with pytest.raises(PlanError, match=f"{kind.__name__}: expected bound > 0"):
            kind(bound=bound)
    with pytest.raises(PlanError, match="CubicSpline: expected bound > 0, got 'wide'"):
        CubicSpline(bound="wide")
    with pytest.raises(PlanError, match="CircularSpline: expected rotation to be True or False, got 1"):
        CircularSpline(rotation=1)


# The circle


def test_wrap():
    given = torch.tensor([0.0, 3.0, -PI, PI, 7.0, -7.0, 2 * PI, 1e6], dtype=torch.float64)
    wanted = np.mod(given.numpy() + PI, 2 * PI) - PI
    assert np.abs(wrap(given).numpy() - wanted).max() < 1e-9
    assert float(wrap(torch.tensor(PI, dtype=torch.float64))) == -PI
    assert float(wrap(torch.tensor(PI))) == pytest.approx(-PI, abs=2e-7)  # in float32 it is a little more than pi
    many = wrap(torch.linspace(-1e3, 1e3, 100_001))
    assert bool(((many >= -PI) & (many < PI)).all())
    assert torch.equal(wrap(many), many)
    assert torch.isnan(wrap(torch.tensor(math.nan)))


@pytest.mark.parametrize("scale", [1.0, 100.0])
@pytest.mark.parametrize("plan", [CircularSpline(), CircularSpline(bins=2, rotation=False), CircularShift()], ids=repr)
def test_a_whole_turn_more_is_a_whole_turn_more(plan, scale):
    parameters = draw(plan, elements=20, scale=scale, seed=1)
    x = torch.linspace(-4, 4, 301, dtype=torch.float64)[:, None].expand(-1, 20)
    for function in (plan.forward, plan.inverse):
        y, ladj = function(x, **parameters)
        for turns in (-3, 1, 1000):
            z, same = function(x + 2 * PI * turns, **parameters)
            assert (z - y - 2 * PI * turns).abs().max() < 1e-8
            assert (same - ladj).abs().max() < 1e-8


def test_the_seam_is_no_seam():
    plan = CircularSpline(bins=4)
    parameters = draw(plan, elements=200, scale=3.0, seed=2)
    for end in (-PI, PI):
        beside = torch.tensor([[end - 1e-9], [end], [end + 1e-9]], dtype=torch.float64).expand(-1, 200)
        for function in (plan.forward, plan.inverse):
            y, ladj = function(beside, **parameters)
            assert (y.diff(dim=0) > 0).all()
            assert y.diff(dim=0).max() < 1e-7
            assert ladj.diff(dim=0).abs().max() < 1e-6
    # One whole turn of the circle is covered once, however the parameters are.
    y = plan.forward(torch.tensor([[-PI], [PI]], dtype=torch.float64).expand(-1, 200), **parameters)[0]
    assert (y[1] - y[0] - 2 * PI).abs().max() < 1e-13


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_round_trip_at_the_seam(dtype):
    plan = CircularSpline()
    parameters = draw(plan, elements=300, scale=2.0, seed=4, dtype=dtype)
    ends = torch.tensor([-3 * PI, -PI, PI, 3 * PI, 1e4], dtype=dtype)
    x = torch.cat([ends, torch.nextafter(ends, ends + 1), torch.nextafter(ends, ends - 1)])[:, None].expand(-1, 300)
    y, ladj = plan.forward(x, **parameters)
    back, negative = plan.inverse(y, **parameters)
    roundings = (back - x).abs() / (torch.finfo(dtype).eps * (y.abs() * torch.exp(-ladj) + x.abs()))
    assert roundings.max() < 4
    assert torch.isfinite(negative).all()


def test_slopes_at_both_ends_are_the_first_parameter():
    plan = CircularSpline(bins=3, rotation=False)
    parameters = draw(plan, seed=5)
    ladj = plan.forward(torch.tensor([[-PI], [PI], [3 * PI]], dtype=torch.float64), **parameters)[1]
    wanted = clamp(parameters["slopes"][0, 0].item() / 4, SLOPE_BOUND)
    assert ladj.flatten().tolist() == pytest.approx([wanted] * 3, abs=1e-9)


def test_with_slope_one_at_the_seam_it_is_the_spline_on_the_line():
    circular, spline = CircularSpline(bins=6, rotation=False), Spline(bins=6, bound=PI)
    parameters = draw(circular, elements=3, seed=6)
    parameters["slopes"][0] = 0.0
    x = torch.linspace(-3.14, 3.14, 501, dtype=torch.float64)[:, None].expand(-1, 3)
    wanted = spline.forward(x, parameters["widths"], parameters["heights"], parameters["slopes"][1:])
    for one, other in zip(circular.forward(x, **parameters), wanted, strict=True):
        assert (one - other).abs().max() < 1e-12


def test_every_rotation_is_reached():
    shift = torch.linspace(-100, 100, 100_001, dtype=torch.float64)[:, None]
    turned = CircularShift().forward(torch.zeros_like(shift), shift)[0]
    assert turned.abs().max() < TURN
    assert wrap(turned).min() < -PI + 1e-2
    assert wrap(turned).max() > PI - 1e-2
    rotated = CircularSpline(bins=2).forward(torch.zeros_like(shift), *(torch.zeros(2, 1, dtype=torch.float64),) * 3, shift)[0]
    assert (rotated - turned).abs().max() < 1e-14


def layers(net):
    return [
        Coupling(CircularSpline(bins=4), net=net),
        Coupling(CircularSpline(bins=4), flip=True, net=net),
        Autoregressive(CircularSpline(bins=4), net=net),
        InverseAutoregressive(CircularShift(), net=net),
    ]


def flow_of(net, base=None, plan=None):
    torch.manual_seed(0)
    base = base or VonMises(torch.zeros(2, dtype=torch.float64), torch.tensor([0.5, 2.0], dtype=torch.float64))
    flow = Flow(base, plan or layers(net), event_shape=2).double()
    randomize(flow, 1.0, seed=1)
    return flow


@pytest.mark.parametrize("net", [Periodic(SMALL), Periodic(ResidualMLP(16))], ids=repr)
def test_the_density_on_the_torus_is_periodic(net):
    flow = flow_of(net)
    x = torch.rand(200, 2, dtype=torch.float64) * 2 * PI - PI
    wanted = flow.log_prob(x)
    assert float(wanted.detach().std()) > 0.1
    for turns in ([1, 0], [0, -1], [5, -3]):
        found = flow.log_prob(x + 2 * PI * torch.tensor(turns, dtype=torch.float64))
        assert (found - wanted).abs().max() < 1e-9


def test_the_density_on_the_torus_is_continuous_at_the_seam():
    flow = flow_of(Periodic(SMALL))
    across = torch.tensor([PI - 1e-9, PI, PI + 1e-9, -PI, -PI + 1e-9], dtype=torch.float64)
    other = torch.linspace(-PI, PI, 41, dtype=torch.float64)
    pairs = torch.cartesian_prod(across, other)
    for x in (pairs, pairs.flip(-1)):
        density = flow.log_prob(x).reshape(5, 41)
        assert (density - density[:1]).abs().max() < 1e-6


def test_without_periodic_there_is_a_seam():
    flow = flow_of(SMALL)
    x = torch.zeros(1, 2, dtype=torch.float64)
    assert (flow.log_prob(x) - flow.log_prob(x + torch.tensor([2 * PI, 0]))).abs() > 1e-3


def test_the_density_on_the_torus_integrates_to_one():
    flow = flow_of(Periodic(SMALL))
    axis = (torch.arange(300, dtype=torch.float64) + 0.5) / 300 * 2 * PI + 1.0  # a turn that starts anywhere
    with torch.no_grad():
        total = flow.log_prob(torch.cartesian_prod(axis, axis)).exp().mean() * (2 * PI) ** 2
    assert float(total) == pytest.approx(1.0, abs=1e-3)


def test_a_bounded_base_is_unwrapped_and_samples_are_wrapped():
    ends = torch.full((2,), PI, dtype=torch.float64)
    periodic = flow_of(None, Uniform(-ends, ends), [Unwrap(), *layers(Periodic(SMALL))])
    bounded = flow_of(None, Uniform(-ends, ends), [Unwrap(), *layers(Periodic(SMALL)), Unwrap().inv])
    x = torch.rand(500, 2, dtype=torch.float64) * 2 * PI - PI
    assert (periodic.log_prob(x) - bounded.log_prob(x)).abs().max() < 1e-12
    assert (periodic.log_prob(x + 2 * PI) - periodic.log_prob(x)).abs().max() < 1e-9
    assert (bounded.log_prob(x + 2 * PI) == -math.inf).all()
    torch.manual_seed(1)
    drawn = bounded.sample((20_000,))
    assert bool((drawn.abs() < PI).all())
    torch.manual_seed(1)
    loose = periodic.sample((20_000,))
    assert bool((loose.abs() > PI).any())
    assert (wrap(loose) - drawn).abs().max() < 1e-12
    # The mean of a function under the samples is its integral under the density.
    axis = (torch.arange(300, dtype=torch.float64) + 0.5) / 300 * 2 * PI - PI
    grid = torch.cartesian_prod(axis, axis)
    with torch.no_grad():
        weight = bounded.log_prob(grid).exp() * (2 * PI / 300) ** 2
    for function in (torch.cos, torch.sin):
        error = function(drawn).mean(0) - (weight[:, None] * function(grid)).sum(0)
        assert (error.abs() < 4 * 0.71 / 20_000**0.5).all()


# The network


def test_periodic_net_sees_angles_and_the_rest():
    net = Periodic(SMALL, circular=[2, 0]).build(Signature((3,), (4,)))
    randomize(net, 1.0)
    x = torch.randn(5, 3)
    y = net(x, None)
    assert torch.allclose(net(x + 2 * PI * torch.tensor([1, 0, -2]), None), y, atol=1e-5)
    assert not torch.allclose(net(x + 2 * PI * torch.tensor([0, 1, 0]), None), y, atol=1e-2)


def test_periodic_net_keeps_masks():
    mask = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 0, 1]], dtype=bool)
    for circular in (None, [1], [0, 2]):
        net = Periodic(MLP((32, 32), "tanh"), circular).build(Signature((3,), (4,), mask=mask))
        randomize(net, 1.0)
        found = torch.autograd.functional.jacobian(lambda v, net=net: net(v, None), torch.tensor([0.3, -0.7, 1.1]))
        assert ((found != 0).numpy() == mask).all()


def test_autoregression_stays_triangular():
    layer = Autoregressive(CircularSpline(bins=3), order=[2, 0, 1], net=Periodic(SMALL, circular=[0])).build(3, 2)
    randomize(layer, 1.0)
    c = torch.randn(2)
    jacobian = torch.autograd.functional.jacobian(lambda v: layer.inverse(v, c)[0], torch.tensor([0.3, -0.7, 1.1]))
    allowed = torch.tensor([[1, 0, 1], [1, 1, 1], [0, 0, 1]])
    assert torch.equal((jacobian != 0).int(), allowed.int())


def test_a_module_behind_periodic():
    module = torch.nn.Sequential(torch.nn.Linear(5, 8), torch.nn.Tanh(), torch.nn.Linear(8, 2 * 3))
    layer = Coupling(CircularSpline(bins=2, rotation=False), net=Periodic(module)).build(2, 3)
    x, c = torch.randn(4, 2), torch.randn(4, 3)
    turned = x + 2 * PI * torch.tensor([1.0, 0.0])
    assert torch.allclose(layer(x, c)[1], layer(turned, c)[1], atol=1e-5)
    with pytest.raises(PlanError, match="expected a module that takes"):
        Coupling(CircularSpline(), net=Periodic(module)).build(5, 3)


def test_periodic_without_inputs_is_its_net():
    layer = Elementwise(CircularShift(), net=Periodic(SMALL)).build(2, 3)
    assert layer(torch.zeros(4, 2), torch.ones(4, 3))[0].shape == (4, 2)


def test_periodic_as_a_plan():
    plan = Coupling(CircularSpline(), net=Periodic(MLP((8,)), circular=[0]))
    assert Spec.from_json(plan.to_json()) == plan
    assert "cos and sin of 1 of 1 inputs, MLP 2 → 8 →" in str(plan.describe(2))
    with pytest.raises(PlanError, match="expected circular indices below 1, the number of its inputs, got"):
        Coupling(CircularSpline(), net=Periodic(circular=[1])).build(2)
    for wrong in ([], [0, 0], [-1], [True], "all", 3):
        with pytest.raises(PlanError, match="Periodic: expected circular to be a list of indices"):
            Periodic(circular=wrong)
    with pytest.raises(PlanError, match="expected net to be a plan"):
        Periodic(net=None)
