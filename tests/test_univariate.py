"""Polynomials, mixtures and the nonlinear squared map against their definitions, computed by other means, and where they must be exact."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from cases import CASES
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, special

from pushforward.core import sets
from pushforward.core.numerics import soft_clamp
from pushforward.core.spec import PlanError
from pushforward.kernels.kernel import Kernel
from pushforward.kernels.mixture import FAR, SCALE_BOUND, WEIGHT_BOUND, Gaussianization, LogisticMixture, _log_mills
from pushforward.kernels.polynomial import COEFFICIENT_BOUND, LOGIT_BOUND, Bernstein, SumOfSquares
from pushforward.kernels.squared import HEIGHT_BOUND, LOG_BOUND, SHIFT_BOUND, NonlinearSquared

PLANS = [
    SumOfSquares(),
    SumOfSquares(bound=3.0, tails="gentle"),
    Bernstein(),
    Bernstein(bound=3.0, tails="gentle"),
    Bernstein(tails="identity"),
    LogisticMixture(),
    LogisticMixture(affine=False),
    Gaussianization(),
    NonlinearSquared(),
]


def draw(plan, seed=0, scale=1.0, elements=1):
    """Return parameters of a given size in float64, by name."""
    generator = torch.Generator().manual_seed(seed)
    return {
        name: value.double() + scale * torch.randn(value.shape, generator=generator, dtype=torch.float64)
        for name, value in plan.init((elements,)).items()
    }


def grid(reach, count=41):
    return torch.linspace(-reach, reach, count, dtype=torch.float64)[:, None]


def row(value, bound):
    """Return the bounded numbers of one element."""
    return soft_clamp(value, bound)[..., 0].numpy()


def number(value, bound):
    """Return the bounded number of one element."""
    return float(soft_clamp(value, bound).squeeze())


@pytest.mark.parametrize("degree", [1, 4, 16])
def test_sum_of_squares_is_the_integral(degree):
    plan = SumOfSquares(degree=degree, terms=2, bound=3.0, slope=0.01)
    theta = draw(plan, degree)
    a = row(theta["coefficients"], COEFFICIENT_BOUND).reshape(2, degree + 1)
    a[:, 0] += math.sqrt(0.99)

    def slope(t):
        return 0.01 + sum(np.polynomial.Polynomial(p)(t / 3.0) ** 2 for p in a) / 2

    x = grid(2.9, 9)
    y, ladj = plan.forward(x, **theta)
    wanted = [float(theta["loc"]) + integrate.quad(slope, 0, float(v), epsabs=1e-12)[0] for v in x]
    assert np.allclose(y[:, 0], wanted, atol=1e-10)
    assert np.allclose(ladj[:, 0], np.log([slope(float(v)) for v in x]), atol=1e-12)


def test_a_square_of_degree_one_is_a_cubic():
    plan = SumOfSquares(degree=1, terms=1, bound=1.0, slope=0.5)
    a = torch.tan(torch.tensor([[0.0], [0.4]], dtype=torch.float64) * math.pi / (2 * COEFFICIENT_BOUND)) * 2 * COEFFICIENT_BOUND / math.pi
    y, _ = plan.forward(grid(1.0), loc=torch.zeros(1, dtype=torch.float64), coefficients=a)
    x, c = grid(1.0), math.sqrt(0.5)
    assert torch.allclose(y, 0.5 * x + c * c * x + 0.4 * c * x**2 + 0.16 / 3 * x**3, atol=1e-14)


@pytest.mark.parametrize("plan", [Bernstein(degree=7, bound=2.0), Bernstein(degree=9, bound=2.0, tails="identity"), Bernstein(degree=128)])
def test_bernstein_is_the_sum_over_its_basis(plan):
    theta = draw(plan, 1)
    logits = row(theta["increments"], LOGIT_BOUND)
    if plan.tails == "linear":
        steps = np.exp([logits[0], *logits, logits[-1]])
    else:
        steps = np.array([1, 1, *(special.softmax(logits) * (plan.degree - 4)), 1, 1])
    steps = steps * 2 * plan.bound / plan.degree
    coefficients = np.concatenate([[0.0], np.cumsum(steps)]) - steps.sum() / 2 + (float(theta["loc"]) if "loc" in theta else 0.0)
    x = grid(plan.bound)
    t = (x.numpy()[:, 0] + plan.bound) / (2 * plan.bound)
    basis = [special.comb(plan.degree, i) * t**i * (1 - t) ** (plan.degree - i) for i in range(plan.degree + 1)]
    y, _ = plan.forward(x, **theta)
    assert np.allclose(y[:, 0], coefficients @ np.array(basis), atol=1e-12)
    # de Casteljau: the value is what halving the control polygon again and again tends to.
    assert np.allclose(y[[0, -1], 0], coefficients[[0, -1]], atol=1e-12)


def test_bernstein_with_identity_tails():
    plan = Bernstein(tails="identity")
    theta = draw(plan, 2, 3.0)
    x = torch.tensor([-1e30, -7.0, -5.0, 5.0, 6.0, 1e30])[:, None]
    y, ladj = plan.forward(x, **{name: value.float() for name, value in theta.items()})
    assert torch.equal(y, x)
    assert ladj.abs().max() < 1e-6


@pytest.mark.parametrize("plan", [SumOfSquares(bound=3.0), Bernstein(bound=3.0), Bernstein(bound=3.0, tails="identity")])
@pytest.mark.parametrize("end", [-3.0, 3.0])
def test_the_tails_are_tangents(plan, end):
    theta = draw(plan, 3)
    x = torch.tensor([end, end * (1 - 1e-9), end * (1 + 1e-9), 7 * end], dtype=torch.float64)[:, None]
    y, ladj = plan.forward(x, **theta)
    slope = torch.exp(ladj[0])
    assert torch.allclose(ladj, ladj[0].expand(4, 1), atol=1e-7)
    assert torch.allclose(y, y[0] + slope * (x - end), atol=1e-12)


@pytest.mark.parametrize("plan", [SumOfSquares(bound=3.0, tails="gentle"), Bernstein(bound=3.0, tails="gentle")])
@pytest.mark.parametrize("end", [-3.0, 3.0])
def test_gentle_tails_fall_to_the_mean_slope_of_the_box(plan, end):
    steeper = 0
    for seed in range(20):
        theta = draw(plan, seed)
        x = torch.tensor([-3.0, 3.0, end, end * (1 + 1e-9), end * 4 / 3, end * 30], dtype=torch.float64)[:, None]
        y, ladj = plan.forward(x, **theta)
        slopes = torch.exp(ladj[2:, 0])
        start, near, third, far = slopes.tolist()
        level = min(((y[1] - y[0]) / 6).item(), start)
        steeper += level < start
        assert near == pytest.approx(start, rel=1e-6)
        assert third == pytest.approx(level + (start - level) / math.e, rel=1e-9)
        assert far == pytest.approx(level, rel=1e-9)
        # The value is the integral of the slope.
        assert (y[-1] - y[2]).abs().item() == pytest.approx(29 * 3 * level + (start - level), rel=1e-9)
    assert 0 < steeper < 20


@pytest.mark.parametrize("plan", [Bernstein(), Bernstein(tails="identity")])
def test_the_second_derivative_of_bernstein_has_no_jump(plan):
    theta = draw(plan, 3)
    x = torch.tensor([[-5.0 + 1e-7], [5.0 - 1e-7]], dtype=torch.float64, requires_grad=True)
    bend = torch.autograd.grad(plan.forward(x, **theta)[1].sum(), x)[0]
    assert bend.abs().max() < 1e-5


def mixture(theta, bound):
    """Return weights, shifts and scales of the one element."""
    share = special.softmax(row(theta["weights"], WEIGHT_BOUND))
    return share, row(theta["shifts"], bound), np.exp(row(theta["scales"], SCALE_BOUND))


def test_logistic_mixture_is_its_definition():
    plan = LogisticMixture(components=5)
    theta = draw(plan, 4, 2.0)
    share, shift, scale = mixture(theta, plan.shift_bound)
    x = grid(3.0)
    inner = special.logit((share * special.expit(scale * x.numpy() + shift)).sum(1))
    wanted = float(theta["loc"]) + math.exp(number(theta["log_scale"], 3.0)) * inner
    assert np.allclose(plan.forward(x, **theta)[0][:, 0], wanted, atol=1e-9)


def test_gaussianization_is_its_definition():
    plan = Gaussianization(components=5)
    theta = draw(plan, 5, 2.0)
    share, shift, scale = mixture(theta, plan.shift_bound)
    x = grid(3.0)
    z = scale * x.numpy() + shift
    wanted = special.ndtri((share * special.ndtr(z)).sum(1))
    y, ladj = plan.forward(x, **theta)
    good = np.abs(wanted) < 4
    assert good.sum() > 10
    assert np.allclose(y[:, 0].numpy()[good], wanted[good], atol=1e-9)
    density = (share * scale * np.exp(-0.5 * z * z)).sum(1) / np.exp(-0.5 * wanted * wanted)
    assert np.allclose(ladj[:, 0].numpy()[good], np.log(density)[good], atol=1e-7)


@pytest.mark.parametrize("plan", [LogisticMixture(affine=False), Gaussianization()])
@pytest.mark.parametrize("scale", [1.0, 10.0])
def test_far_out_a_mixture_is_the_line_of_its_widest_component(plan, scale):
    theta = draw(plan, 6, scale)
    a = math.exp(row(theta["scales"], SCALE_BOUND).min())
    for dtype, far in ((torch.float32, 1e30), (torch.float64, 1e200)):
        x = torch.tensor([[-far], [far]], dtype=dtype)
        y, ladj = plan.forward(x, **{name: value.to(dtype) for name, value in theta.items()})
        assert torch.allclose(y, a * x, rtol=1e-6)
        assert torch.allclose(ladj, torch.full_like(ladj, math.log(a)), atol=1e-5)


def test_a_gaussianized_mixture_is_normal():
    # Pushed through its own distribution function, a sample of the mixture is normal: Kolmogorov-Smirnov at 1e-6.
    plan = Gaussianization(components=3)
    theta = draw(plan, 7)
    share, shift, scale = mixture(theta, plan.shift_bound)
    random = np.random.default_rng(0)
    chosen = random.choice(3, 20000, p=share)
    x = torch.from_numpy((random.standard_normal(20000) - shift[chosen]) / scale[chosen])[:, None]
    u = np.sort(special.ndtr(plan.forward(x, **theta)[0][:, 0].numpy()))
    assert np.abs(u - (np.arange(20000) + 0.5) / 20000).max() < 2.7 / math.sqrt(20000)


def test_mills_ratio_over_the_whole_range():
    w = torch.tensor([0.0, 1.0, 8.0, FAR - 1e-9, FAR, FAR + 1e-9, 1e3, 1e8, 1e30, 1e300], dtype=torch.float64, requires_grad=True)
    value = _log_mills(w)
    wanted = np.log(special.erfcx(w.detach().numpy() / math.sqrt(2)) * math.sqrt(math.pi / 2))
    assert np.allclose(value.detach(), wanted, rtol=1e-14, atol=1e-14)
    # The slope of the log is w - 1 / ratio, -1/w (1 - 2/w² + ...) far out.
    slope = torch.autograd.grad(value.sum(), w)[0]
    assert torch.allclose(slope[:3], w[:3].detach() - torch.exp(-value[:3].detach()), atol=1e-13)
    assert torch.allclose(slope[3:] * w[3:].detach(), -1 + 2 / w[3:].detach() ** 2, rtol=1e-5)


@pytest.mark.parametrize("plan", [LogisticMixture(components=1, affine=False), Gaussianization(components=1)])
def test_one_component_is_affine(plan):
    theta = draw(plan, 8, 3.0)
    x = grid(20.0)
    shift, scale = number(theta["shifts"], plan.shift_bound), math.exp(number(theta["scales"], SCALE_BOUND))
    y, ladj = plan.forward(x, **theta)
    assert np.allclose(y, scale * x.numpy() + shift, rtol=1e-12, atol=1e-12)
    assert torch.allclose(ladj, torch.full_like(ladj, math.log(scale)), atol=1e-12)


def test_nonlinear_squared_is_its_formula():
    theta = draw(NonlinearSquared(), 9, 2.0)
    a, d = (math.exp(number(theta[name], LOG_BOUND)) for name in ("log_scale", "log_steepness"))
    c = number(theta["height"], HEIGHT_BOUND) * a / d
    x = grid(5.0)
    y, _ = NonlinearSquared().forward(x, **theta)
    x = x.numpy()[:, 0]
    assert np.allclose(y[:, 0], a * x + float(theta["loc"]) + c / (1 + (d * x + number(theta["shift"], SHIFT_BOUND)) ** 2))


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_the_slope_of_nonlinear_squared_stays_above_a_twentieth(sign):
    zero = torch.zeros(1, dtype=torch.float64)
    theta = {"loc": zero, "log_scale": zero, "height": zero + sign * 1e12, "log_steepness": zero, "shift": zero}
    _, ladj = NonlinearSquared().forward(grid(5.0, 100001), **theta)
    assert float(torch.exp(ladj).min()) == pytest.approx(0.05, abs=1e-6)


def test_nonlinear_squared_comes_back_as_the_root_of_its_cubic():
    theta = draw(NonlinearSquared(), 10, 2.0)
    a, d = (math.exp(number(theta[name], LOG_BOUND)) for name in ("log_scale", "log_steepness"))
    height, shift = number(theta["height"], HEIGHT_BOUND), number(theta["shift"], SHIFT_BOUND)
    y = grid(4.0, 9)
    x, _ = NonlinearSquared().inverse(y, **theta)
    for value, found in zip(y[:, 0].tolist(), x[:, 0].tolist(), strict=True):
        u = d * (value - float(theta["loc"])) / a + shift
        roots = np.roots([1.0, -u, 1.0, height - u])
        real = roots[np.abs(roots.imag).argmin()].real
        assert found == pytest.approx((real - shift) / d, abs=1e-9)


EXACT = [
    SumOfSquares(terms=1),
    SumOfSquares(terms=1, tails="gentle"),
    Bernstein(),
    Bernstein(tails="gentle"),
    Bernstein(tails="identity"),
    LogisticMixture(1),
    Gaussianization(1),
    NonlinearSquared(),
]


@pytest.mark.parametrize("plan", EXACT)
def test_a_new_layer_is_the_identity(plan):
    x = grid(12.0)
    y, ladj = plan.forward(x, **draw(plan, scale=0.0))
    assert torch.allclose(y, x, atol=1e-12)
    assert ladj.abs().max() < 1e-12


@pytest.mark.parametrize(
    ("plan", "reach", "off"), [(SumOfSquares(), 5.0, 0.01), (LogisticMixture(), 5.0, 0.03), (Gaussianization(), 5.0, 0.01)]
)
def test_where_terms_must_differ_a_new_layer_is_close_to_the_identity(plan, reach, off):
    x = grid(reach)
    theta = draw(plan, scale=0.0)
    assert (plan.forward(x, **theta)[0] - x).abs().max() < off
    # They differ enough to part: no two of them have the same gradient.
    for value in theta.values():
        value.requires_grad_()
    y, ladj = plan.forward(torch.randn(200, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0)), **theta)
    (0.5 * y * y * y.sign() - ladj).sum().backward()
    name = "coefficients" if "coefficients" in theta else "shifts"
    gradient = theta[name].grad.reshape(3, -1)[:, 0] if name == "coefficients" else theta[name].grad[:, 0]
    assert (gradient[:, None] - gradient[None]).abs().add(torch.eye(len(gradient))).min() > 1e-3


@settings(max_examples=60, deadline=None)
@given(plan=st.sampled_from(PLANS), seed=st.integers(0, 10**6), scale=st.sampled_from([1.0, 10.0, 1e4]), x=st.floats(-1e30, 1e30))
def test_there_and_back(plan, seed, scale, x):
    theta = draw(plan, seed, scale, 3)
    point = torch.full((1, 3), x, dtype=torch.float64)
    y, ladj = plan.forward(point, **theta)
    back, again = plan.inverse(y, **theta)
    # What roundings of the image allow: up to 8 terms, each an ulp off, one way in the map and another in its inverse. An image near 0 is
    # a difference of terms of size 1.
    allowed = 1e-15 * (16 * point.abs() + 16 * y.abs().clamp(min=1) * torch.exp(-ladj)) + 1e-11
    assert ((back - point).abs() <= allowed).all()
    assert (ladj + again).abs().max() < 1e-5


@settings(max_examples=40, deadline=None)
@given(plan=st.sampled_from(PLANS), seed=st.integers(0, 10**6), scale=st.sampled_from([1.0, 10.0, 1e4]))
def test_every_map_increases_in_float32(plan, seed, scale):
    theta = {name: value.float() for name, value in draw(plan, seed, scale).items()}
    x = torch.cat([torch.linspace(-8, 8, 2001), torch.logspace(1, 30, 50), -torch.logspace(1, 30, 50)]).sort().values[:, None]
    y, ladj = plan.forward(x, **theta)
    assert (y[1:] >= y[:-1]).all()
    assert torch.isfinite(ladj).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SumOfSquares(degree=0), "SumOfSquares: expected degree"),
        (lambda: SumOfSquares(degree=17), "SumOfSquares: expected degree to be a whole number of at most 16, got 17"),
        (lambda: SumOfSquares(terms=0), "SumOfSquares: expected terms"),
        (lambda: SumOfSquares(bound=-1.0), "SumOfSquares: expected bound > 0, got -1.0"),
        (lambda: SumOfSquares(slope=0.0), r"SumOfSquares: expected slope in \(0, 1\), got 0.0"),
        (lambda: SumOfSquares(slope="a"), r"SumOfSquares: expected slope in \(0, 1\), got 'a'"),
        (lambda: SumOfSquares(tails="identity"), "SumOfSquares: expected tails to be 'linear' or 'gentle', got 'identity'"),
        (lambda: Bernstein(degree=2), "Bernstein: expected degree"),
        (lambda: Bernstein(degree=5, tails="identity"), "Bernstein: expected degree"),
        (lambda: Bernstein(degree=129), "Bernstein: expected degree to be a whole number of at most 128, got 129"),
        (lambda: Bernstein(bound=math.inf), "Bernstein: expected bound > 0, got inf"),
        (lambda: Bernstein(tails="flat"), "Bernstein: expected tails to be 'linear', 'gentle' or 'identity', got 'flat'"),
        (lambda: LogisticMixture(components=0), "LogisticMixture: expected components"),
        (lambda: Gaussianization(components=2.5), "Gaussianization: expected components"),
    ],
)
def test_wrong_arguments(make, message):
    with pytest.raises(PlanError, match=message):
        make()


@pytest.mark.parametrize("plan", PLANS)
def test_the_number_of_parameters_is_the_formula(plan):
    arguments = {name: getattr(plan, name) for name in plan.__dataclass_fields__}
    for elements in (1, 5):
        found = sum(p.numel() for p in plan.build((elements,)).parameters())
        assert found == eval(plan.size, {"D": elements, **arguments})


KERNELS = {name: (plan, event) for name, (plan, event, _) in CASES.items() if isinstance(plan, Kernel) and plan.event_dim == 0}


@pytest.mark.parametrize("name", KERNELS)
def test_the_slope_at_knots_and_ends_is_that_of_the_formula(name):
    """A knot, an end of a box and zero are where a guard begins or ends: the derivative there is the slope that is reported, both ways."""
    kernel, event = KERNELS[name]
    bound, ends = getattr(kernel, "bound", 1.0), sets.bounds(kernel.domain)
    x = torch.tensor([0.0, bound, -bound, bound / 2, -bound / 4, 0.75 * bound, 1.0, -1.0, 2.0, 1e-6, -1e-6], dtype=torch.float64)
    if ends not in (None, sets.REAL):
        x = x[(x > ends[0]) & (x < ends[1])]
    elements = math.prod(event)
    parameters = {key: value.double() for key, value in kernel.init((elements,)).items()}
    given = x[:, None].repeat(1, elements).requires_grad_()
    y, ladj = kernel.forward(given, **parameters)
    (slope,) = torch.autograd.grad(y.sum(), given)
    assert torch.allclose(slope.abs(), torch.exp(ladj), rtol=1e-9)
    given = y.detach().requires_grad_()
    back, ladj = kernel.inverse(given, **parameters)
    (slope,) = torch.autograd.grad(back.sum(), given)
    assert torch.allclose(slope.abs(), torch.exp(ladj), rtol=1e-9)
