"""Fixed maps: formulas, known values, tails, simplices, Cholesky factors, shapes, and supports."""

from __future__ import annotations

import copy
import math
from pathlib import Path

import pytest
import torch
from every_plan import EVERY
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import Dirichlet, biject_to, constraints

from pushforward.bases import StandardNormal
from pushforward.core import sets
from pushforward.core.compose import Compose
from pushforward.core.numerics import soft_clamp
from pushforward.core.spec import PlanError
from pushforward.files import load
from pushforward.flow.flow import Flow
from pushforward.kernels.activations import CauchyCDF, CumulativeDistribution, Logit, Softclip
from pushforward.kernels.affine import Additive, Affine
from pushforward.kernels.cholesky import Cholesky, CorrCholesky, CorrelationMatrix, LowerCholesky, PositiveDefinite
from pushforward.kernels.circular import CircularShift, Unwrap
from pushforward.kernels.constrained import Constrained
from pushforward.kernels.fixed import ELU, AffineFixed, Cos, Exp, LeakyReLU, Power, Sigmoid, Sin, Softplus, Tanh
from pushforward.kernels.kernel import Kernel
from pushforward.kernels.projections import Abs, Normalize
from pushforward.kernels.simplex import Ordered, SimplexToOrdered, Softmax, StickBreaking
from pushforward.kernels.spline import Spline
from pushforward.kernels.stereographic import Stereographic
from pushforward.kernels.tails import CORE, SKEWNESS_BOUND, LogTanh, PositivePower, SignedPower, SinhArcsinh
from pushforward.kernels.triangular import LowerCholeskyAffine
from pushforward.kernels.wavelet import DiscreteCosine, Haar
from pushforward.layers.coupling import Coupling
from pushforward.layers.domains import BY_NAME, Domain, to_support
from pushforward.layers.parts import Concatenate, Stack
from pushforward.layers.reshape import Flatten, Reshape
from pushforward.testing.charts import complete, free


def test_positive_definite_matrices():
    x = torch.randn(9, 2, 6, dtype=torch.float64)
    module = PositiveDefinite().build((2, 6))
    y, ladj = module(x)
    back, other = module.inverse(y)
    assert torch.allclose(back, x, atol=1e-9)
    assert torch.allclose(other, -ladj, atol=1e-9)
    row, column = torch.tril_indices(3, 3)
    jacobian = torch.func.vmap(torch.func.jacrev(lambda v: PositiveDefinite().build(6)(v)[0][row, column]))(x[:, 0])
    assert torch.allclose(torch.linalg.slogdet(jacobian)[1], PositiveDefinite().build(6)(x[:, 0])[1])


@pytest.mark.parametrize(
    ("plan", "value"),
    [
        (StickBreaking(), [0.2, 0.3, 0.4]),
        (Softmax(), [0.5, 0.6, -0.1]),
        (SimplexToOrdered(), [1.0, 0.5]),
        (Ordered(), [1.0, 1.0]),
        (Ordered(positive=True), [-1.0, 1.0]),
        (LowerCholesky(), [[1.0, 0.1], [0.0, 1.0]]),
        (LowerCholesky(), [[1.0, 0.0], [0.0, -1.0]]),
        (LowerCholesky("unit"), [[1.0, 0.0], [0.0, 1.1]]),
        (CorrCholesky(), [[1.0, 0.0], [0.5, 0.5]]),
        (PositiveDefinite(), [[1.0, 2.0], [2.0, 1.0]]),
        (PositiveDefinite(), [[1.0, 0.5], [0.4, 1.0]]),
        (CorrelationMatrix(), [[1.0, 0.5], [0.5, 1.1]]),
        (Stereographic(), [0.6, 0.7, 0.1]),
        (Stereographic(), [0.0, 0.0, 1.0]),
    ],
)
def test_values_outside_the_set_have_no_density_and_finite_gradients(plan, value):
    point = torch.tensor(value).requires_grad_()
    x, ladj = plan.build(plan.shape_before(tuple(point.shape))).inverse(point)
    assert ladj == -math.inf
    assert torch.isfinite(x).all()
    assert torch.isfinite(torch.autograd.grad(x.sum(), point)[0]).all()


def test_values_of_torch():
    x = torch.randn(7, 3, dtype=torch.float64)
    for ours, support in ((StickBreaking(), constraints.simplex), (CorrCholesky(), constraints.corr_cholesky)):
        theirs = biject_to(support)
        y, ladj = ours.build(3)(x)
        assert torch.allclose(y, theirs(x), atol=1e-12)
        assert torch.allclose(ladj, theirs.log_abs_det_jacobian(x, theirs(x)), atol=1e-10)


def test_simplex_keeps_small_shares_where_torch_loses_them():
    x = torch.tensor([12.0, 3.0, -14.0])
    module, theirs = StickBreaking().build(3), biject_to(constraints.simplex)
    assert torch.allclose(module.inverse(module(x)[0])[0], x, rtol=1e-5)
    assert not torch.allclose(theirs.inv(theirs(x)), x, rtol=1e-4)


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=4))
@settings(max_examples=20, deadline=None)
def test_charts_go_both_ways(numbers):
    x = torch.tensor(numbers, dtype=torch.float64)
    y = Softmax().build(len(numbers))(x)[0]
    assert torch.allclose(complete(free(y, sets.Simplex(), 1), sets.Simplex(), tuple(y.shape)), y)


def number(x):
    return torch.tensor(x, dtype=torch.float64)


def log_tanh(cut):
    """Return the formula of `LogTanh`, whose logarithms continue value and slope of the tangent."""
    rate = cut * (1 - math.tanh(cut) ** 2)
    return lambda x: torch.where(
        x.abs() <= cut, torch.tanh(x), torch.sign(x) * (math.tanh(cut) + rate * torch.log(x.abs().clamp(min=cut) / cut))
    )


CDF = CumulativeDistribution
# plan, where, and the formula as it is written: at numbers without symmetry and arguments other than 1, which would leave out what
# multiplies them. The laws know a map and its inverse, and not which of the two is which.
FORMULAS = {
    "Exp": (Exp(), [-1.3, 0.4], torch.exp),
    "Sigmoid": (Sigmoid(), [-1.3, 0.4], lambda x: 1 / (1 + torch.exp(-x))),
    "Tanh": (Tanh(), [-1.3, 0.4], lambda x: (torch.exp(x) - torch.exp(-x)) / (torch.exp(x) + torch.exp(-x))),
    "Sin": (Sin(), [-1.1, 0.4], torch.sin),
    "Cos": (Cos(), [0.3, 2.0], lambda x: -torch.cos(x)),
    "Softplus": (Softplus(), [-1.3, 0.4], lambda x: torch.log(1 + torch.exp(x))),
    "ELU": (ELU(), [-1.3, 0.4], lambda x: torch.where(x >= 0, x, torch.exp(x) - 1)),
    "LeakyReLU": (LeakyReLU(0.3), [-1.3, 0.4], lambda x: torch.where(x >= 0, x, 0.3 * x)),
    "Power": (Power(3.0), [0.3, 1.7], lambda x: x**3),
    "Power, negative": (Power(-0.4), [0.3, 1.7], lambda x: x**-0.4),
    "AffineFixed": (AffineFixed((0.7, -0.2), (3.0, -0.4)), [-1.3, 0.4], lambda x: number([0.7, -0.2]) + number([3.0, -0.4]) * x),
    "Softclip": (Softclip(0.7), [-1.3, 0.4], lambda x: x / (1 + x.abs() / 0.7)),
    "CumulativeDistribution": (CDF("Normal", 0.3, 0.7), [-1.3, 0.4], lambda x: 0.5 + 0.5 * torch.erf((x - 0.3) / 0.7 / 2**0.5)),
    "CumulativeDistribution, Cauchy": (CDF("Cauchy", 0.3, 0.7), [-1.3, 0.4], lambda x: 0.5 + torch.atan((x - 0.3) / 0.7) / math.pi),
    "CumulativeDistribution, Laplace": (
        CDF("Laplace", 0.3, 0.7),
        [-1.3, 0.4],
        lambda x: torch.where(x < 0.3, 0.5 * torch.exp((x - 0.3) / 0.7), 1 - 0.5 * torch.exp((0.3 - x) / 0.7)),
    ),
    "CumulativeDistribution, Gumbel": (CDF("Gumbel", 0.3, 0.7), [-1.3, 0.4], lambda x: torch.exp(-torch.exp((0.3 - x) / 0.7))),
    "PositivePower": (PositivePower(1.7), [-1.3, 0.4], lambda x: torch.sign(x) * x.abs() ** 1.7),
    "PositivePower, a root": (PositivePower(0.4), [-1.3, 0.4], lambda x: torch.sign(x) * x.abs() ** 0.4),
    "PositivePower, its chord": (PositivePower(1.7), [-3e-7, 7e-7], lambda x: x * CORE**0.7),
    "LogTanh": (LogTanh(), [-1.3, 0.4], log_tanh(1.0)),
    "LogTanh, cut at 0.5": (LogTanh(0.5), [-1.3, 0.4], log_tanh(0.5)),
    "LogTanh, cut at 3": (LogTanh(3.0), [-7.0, 2.0], log_tanh(3.0)),
    "Unwrap": (Unwrap(), [-1.3, 0.4], lambda x: x + 0),
    "StickBreaking": (
        StickBreaking(),
        [-1.3, 0.4],
        lambda x: torch.stack([a := torch.sigmoid(x[0] - math.log(2)), b := torch.sigmoid(x[1]) * (1 - a), 1 - a - b]),
    ),
    "Stereographic": (
        Stereographic(),
        [-1.3, 0.4],
        lambda x: torch.cat([2 * x / (1 + x @ x), ((x @ x - 1) / (x @ x + 1)).reshape(1)]),
    ),
    "Softmax": (Softmax(), [-1.3, 0.4], lambda x: torch.softmax(torch.cat([x, 0 * x[:1]]), 0)),
    "SimplexToOrdered": (SimplexToOrdered(0.3), [0.1, 0.25, 0.65], lambda x: 0.3 + torch.logit(x.cumsum(0)[:-1])),
    "Ordered": (Ordered(), [-1.3, 0.4, -0.2], lambda x: torch.stack([x[0], x[0] + x[1].exp(), x[0] + x[1].exp() + x[2].exp()])),
    "Ordered, positive": (Ordered(positive=True), [-1.3, 0.4, -0.2], lambda x: x.exp().cumsum(0)),
    "LowerCholesky": (LowerCholesky(), [-1.3, 0.4, -0.2], lambda x: torch.stack([x[0].exp(), 0 * x[0], x[1], x[2].exp()]).reshape(2, 2)),
    "CorrCholesky": (CorrCholesky(), [0.4], lambda x: torch.cat([0 * x + 1, 0 * x, x.tanh(), 1 / x.cosh()]).reshape(2, 2)),
    "Cholesky": (Cholesky(), [[2.0, 0.3], [0.3, 0.7]], torch.linalg.cholesky),
    "LowerCholeskyAffine": (
        LowerCholeskyAffine([1.0, -2.0], [[2.0, 0.0], [-0.5, 0.7]]),
        [-1.3, 0.4],
        lambda x: number([1.0, -2.0]) + number([[2.0, 0.0], [-0.5, 0.7]]) @ x,
    ),
    "Haar": (Haar(), [-1.3, 0.4], lambda x: torch.stack([x[0] + x[1], x[0] - x[1]]) / 2**0.5),
    "DiscreteCosine": (
        DiscreteCosine(),
        [-1.3, 0.4, 2.0],
        lambda x: torch.stack([x.sum() / 3**0.5, (x[0] - x[2]) / 2**0.5, (x[0] - 2 * x[1] + x[2]) / 6**0.5]),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FORMULAS)
def test_a_fixed_map_is_its_formula(name):
    plan, at, formula = FORMULAS[name]
    x = number(at)
    module = plan.build(tuple(x.shape)).double()
    expected = formula(x)
    y, ladj = module(x)
    torch.testing.assert_close(y, expected, rtol=1e-12, atol=0)
    back, minus = module.inverse(expected)
    torch.testing.assert_close(back, x, rtol=1e-11, atol=1e-300)
    if plan.event_dim == 0:
        slopes = torch.autograd.functional.jacobian(formula, x).diagonal()
        torch.testing.assert_close(ladj, slopes.abs().log().sum(), rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(minus, -slopes.abs().log().sum(), rtol=1e-11, atol=1e-11)


# The same of maps whose parameters are learned, given some; p are the raw ones.
LEARNED = {
    "Affine": (Affine(2.0), {"loc": 0.7, "log_scale": 0.9}, lambda x, p: p["loc"] + soft_clamp(p["log_scale"], 2.0).exp() * x),
    "Additive": (Additive(), {"loc": 0.7}, lambda x, p: x + p["loc"]),
    "SignedPower": (SignedPower(0.8), {"log_power": 0.6}, lambda x, p: torch.sign(x) * x.abs() ** soft_clamp(p["log_power"], 0.8).exp()),
    "SinhArcsinh": (
        SinhArcsinh(0.8),
        {"skewness": 0.7, "log_tail": 0.6},
        lambda x, p: torch.sinh(soft_clamp(p["log_tail"], 0.8).exp() * (torch.asinh(x) + soft_clamp(p["skewness"], SKEWNESS_BOUND))),
    ),
    "CircularShift": (CircularShift(), {"shift": 0.7}, lambda x, p: x + 4 * torch.atan(p["shift"] / 4)),
}
# Where the others are held against theirs.
ELSEWHERE = {
    "test_spline.py": {"Spline"},
    "test_splines_more.py": {"LinearSpline", "QuadraticSpline", "CubicSpline", "CircularSpline"},
    "test_univariate.py": {"SumOfSquares", "Bernstein", "LogisticMixture", "Gaussianization", "NonlinearSquared"},
    "test_neural.py": {"DeepSigmoid", "DenseSigmoid", "MonotonicNetwork"},
}


@pytest.mark.parametrize("name", LEARNED)
def test_a_learned_map_of_numbers_is_its_formula(name):
    plan, given, formula = LEARNED[name]
    assert given.keys() == plan.init((1,)).keys()
    x, parameters = number([-1.3, 0.4]), {key: number([value, -0.3]) for key, value in given.items()}
    y, ladj = plan.forward(x, **parameters)
    expected = formula(x, parameters)
    torch.testing.assert_close(y, expected, rtol=1e-12, atol=0)
    slopes = torch.autograd.functional.jacobian(lambda v: formula(v, parameters), x).diagonal().log()
    torch.testing.assert_close(ladj.expand(2), slopes, rtol=1e-12, atol=1e-12)
    back, minus = plan.inverse(expected, **parameters)
    torch.testing.assert_close(back, x, rtol=1e-11, atol=0)
    torch.testing.assert_close(minus.expand(2), -slopes, rtol=1e-11, atol=1e-11)


def test_every_map_is_held_against_its_formula():
    """Of the fixed ones all, and of those that are learned all on numbers; what other libraries' kernels are, `contrib` says."""
    fixed = {name for name, (plan, shape, _) in EVERY.items() if isinstance(plan, Kernel | Constrained) and plan.bijective
             and not list(plan.build(shape).parameters())}  # fmt: skip
    assert fixed == {name.split(",")[0] for name in FORMULAS}
    numbers = {name for name, (plan, *_) in EVERY.items() if isinstance(plan, Kernel) and plan.event_dim == 0 and plan.bijective}
    numbers = {name for name in numbers if not type(EVERY[name][0]).__module__.startswith("pushforward.contrib.")}
    assert numbers == fixed & numbers | LEARNED.keys() | set().union(*ELSEWHERE.values())
    for file, names in ELSEWHERE.items():
        assert all(name in (Path(__file__).parent / file).read_text() for name in names)


@pytest.mark.parametrize("cut", [0.5, 1.0, 3.0])
def test_the_tails_of_log_tanh_continue_value_and_slope(cut):
    module = LogTanh(cut).build(())
    ends = [module(number(cut * (1 + d))) for d in (-1e-9, 1e-9)]
    for below, above in zip(*ends, strict=True):
        torch.testing.assert_close(below, above, rtol=0, atol=1e-7)


def test_cumulative_distributions():
    x = torch.tensor([-1.5, 0.0, 0.7], dtype=torch.float64)
    for name in ("Normal", "Cauchy", "Laplace", "Gumbel"):
        law = getattr(torch.distributions, name)(torch.tensor(0.5, dtype=torch.float64), 2.0)
        y, ladj = CumulativeDistribution(name, 0.5, 2.0).build(3)(x)
        assert torch.allclose(y, law.cdf(x), atol=1e-12)
        assert torch.allclose(ladj, law.log_prob(x).sum(), atol=1e-12)
    assert CauchyCDF() == CumulativeDistribution("Cauchy")
    tail = torch.tensor([-9.0])
    exact = 1.1285884059538e-19
    assert float(CumulativeDistribution().build(1)(tail)[0]) == pytest.approx(exact, rel=1e-4)
    assert float(torch.distributions.Normal(0.0, 1.0).cdf(tail)) == 0.0, "torch's own loses the lower tail"


def test_known_values():
    one = torch.tensor(1.0, dtype=torch.float64)
    assert float(Softclip(2.0).build(())(one)[0]) == pytest.approx(2 / 3)
    assert Logit() == Sigmoid().inv
    assert float(LogTanh(1.0).build(())(one / 2)[0]) == pytest.approx(math.tanh(0.5))
    assert float(PositivePower(2.0).build(())(-3 * one)[0]) == pytest.approx(-9)
    for power in (0.4, 2.5):
        module = PositivePower(power).build(3)
        points = torch.tensor([0.0, CORE / 2, -CORE * 2], dtype=torch.float64)
        y, ladj = module(points)
        assert torch.isfinite(ladj)
        assert torch.allclose(module.inverse(y)[0], points, rtol=1e-12, atol=0)


@pytest.mark.parametrize("plan", [SinhArcsinh(), SignedPower()])
def test_new_layers_are_the_identity(plan):
    x = torch.linspace(-5, 5, 20, dtype=torch.float64)
    y, ladj = plan.build(20).double()(x)
    assert torch.allclose(y, x, atol=1e-12)
    assert float(ladj.detach()) == pytest.approx(0, abs=1e-10)


def test_reshape_and_flatten():
    x = torch.randn(5, 2, 3)
    assert torch.equal(Reshape((2, 3), 6).build((2, 3))(x)[0], x.reshape(5, 6))
    assert torch.equal(Flatten().build((2, 3)).inverse(x.reshape(5, 6))[0], x)
    assert Reshape(3, (3, 1)).build((4, 3)).out_shape == (4, 3, 1)
    assert (PositiveDefinite().event_dim, PositiveDefinite().out_dim, PositiveDefinite().inv.event_dim) == (1, 2, 2)
    assert PositiveDefinite().shape_after((4, 6)) == (4, 3, 3)
    assert PositiveDefinite().inv.build((3, 3)).out_shape == (6,)


def test_parts_are_the_parts():
    x = torch.randn(5, 4)
    y, ladj = Concatenate([Exp(), Tanh()], [1, 3]).build(4)(x)
    (a, la), (b, lb) = Exp().build(1)(x[:, :1]), Tanh().build(3)(x[:, 1:])
    assert torch.equal(y, torch.cat([a, b], 1))
    assert torch.allclose(ladj, la + lb)
    # torch's functions are an ulp off here or there, by where in its tensor a number stands.
    stacked, each = Stack([Exp(), Exp(), Tanh(), Tanh()]).build(4)(x)[0], torch.cat([x[:, :2].exp(), x[:, 2:].tanh()], 1)
    assert torch.allclose(stacked, each, rtol=4 * torch.finfo(torch.float32).eps, atol=0)
    assert Concatenate([Exp(), Exp()]).build(2).codomain is constraints.positive


@pytest.mark.parametrize(
    ("plan", "shape"),
    [
        (StickBreaking(), 4),
        (Stereographic(), 3),
        (CorrCholesky(), 6),
        (PositiveDefinite(), 6),
        (Ordered(), 3),
        (Domain(["real", "positive", "unit_interval"]), 3),
    ],
)
def test_flows_onto_sets(plan, shape, tmp_path):
    flow = Flow(StandardNormal(), [Spline(), plan], shape)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        y = flow.sample((50,))
    assert y.shape == (50, *flow.event_shape)
    assert flow.support.check(y).all()
    log_prob = flow.log_prob(y)
    assert torch.isfinite(log_prob).all()
    assert (flow.log_prob(-y - 1) == -math.inf)[:1].all() or isinstance(plan, Ordered)
    flow.save(tmp_path / "flow.safetensors")
    assert torch.equal(load(tmp_path / "flow.safetensors").log_prob(y), log_prob)
    assert torch.equal(copy.deepcopy(flow).log_prob(y), log_prob)
    assert tuple(flow.event_shape) == flow.describe().layers[-1].shape_out


def test_a_density_on_the_simplex_is_that_of_its_free_coordinates():
    flow = Flow(StandardNormal(), StickBreaking(), 1)
    share = torch.linspace(1e-6, 1 - 1e-6, 20001, dtype=torch.float64)
    density = flow.double().log_prob(torch.stack([share, 1 - share], -1)).exp()
    assert float(torch.trapezoid(density, share)) == pytest.approx(1, abs=1e-4)
    base = Dirichlet(torch.ones(3, dtype=torch.float64))
    assert Flow(base, SimplexToOrdered()).log_prob(torch.tensor([-1.0, 1.0], dtype=torch.float64)).isfinite()
    assert copy.deepcopy(Flow(base, SimplexToOrdered())).event_shape == (2,)


@pytest.mark.parametrize("name", BY_NAME)
def test_every_support_is_reached(name):
    plan = to_support(name)
    rank = max(plan.event_dim, 1)
    module = plan.build((3,) * rank)
    y, ladj = module(torch.randn(9, 3))
    assert sets.independent(BY_NAME[name], len(module.out_shape)).check(y).all()
    assert torch.isfinite(ladj).all()


@pytest.mark.parametrize("low", [-2.0, 0.0])
def test_intervals_of_torch(low):
    x = torch.randn(5, 2, dtype=torch.float64)
    many = [
        constraints.greater_than(low),
        constraints.less_than(low),
        constraints.interval(low, 3.0),
        constraints.half_open_interval(low, 3.0),
    ]
    for support in [*many, constraints.greater_than_eq(low), constraints.independent(constraints.positive, 1)]:
        y, ladj = to_support(support).build(2)(x)
        theirs = biject_to(support)
        assert torch.allclose(y, theirs(x))
        wanted = theirs.log_abs_det_jacobian(x, theirs(x))
        assert torch.allclose(ladj, wanted.sum(-1) if wanted.dim() == 2 else wanted)
    cat = to_support(constraints.cat([constraints.positive, constraints.real], 0, [1, 2]))
    assert cat == Concatenate([Exp(), Compose([])], [1, 2], 0)
    assert to_support(constraints.stack([constraints.positive, constraints.real], -1)) == Stack([Exp(), Compose([])], -1)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Softclip(0.0),
        lambda: CumulativeDistribution("Poisson"),
        lambda: CumulativeDistribution("Normal", 0.0, -1.0),
        lambda: PositivePower(-1.0),
        lambda: SignedPower(0.0),
        lambda: SinhArcsinh(math.inf),
        lambda: LogTanh(-1.0),
        lambda: LowerCholesky("abs"),
        lambda: LowerCholesky().build(4),
        lambda: CorrCholesky().build(5),
        lambda: Cholesky().build((2, 3)),
        lambda: StickBreaking().inv.build(1),
        lambda: SimplexToOrdered(math.nan),
        lambda: Reshape(6, (2, 2)),
        lambda: Reshape(6, (2, 3)).build(5),
        lambda: Flatten().inv.build(6),
        lambda: Concatenate([]),
        lambda: Concatenate([Exp()], [1, 2]),
        lambda: Concatenate([Exp(), Exp()], [1, 2]).build(4),
        lambda: Stack([Exp()], 3).build(1),
        lambda: to_support("sphere"),
        lambda: to_support(constraints.integer_interval(0, 3)),
        lambda: Domain([]),
        lambda: Domain(["simplex"]),
        lambda: Flow(StandardNormal(), [StickBreaking(), Spline()], 3),
    ],
)
def test_wrong_plans_say_what_was_expected(make):
    with pytest.raises(PlanError, match=r"expected .*got|write Reshape"):
        make()


def test_what_is_no_bijection_maps_forward_and_says_that_it_cannot_go_back():
    x = torch.tensor([[-3.0, 4.0], [0.0, 0.0]])
    assert torch.allclose(Abs().build(2)(x)[0], x.abs())
    y, ladj = Normalize().build(2)(x)
    assert torch.allclose(y, torch.tensor([[-0.6, 0.8], [1.0, 0.0]]))
    assert (ladj == -math.inf).all()
    assert torch.allclose(Normalize(1.0).build(2)(x[:1])[0].abs().sum(), torch.tensor(1.0))
    for plan in (Abs(), Normalize()):
        with pytest.raises(NotImplementedError, match="expected to be asked for images alone"):
            plan.build(2).inverse(x)
        with pytest.raises(PlanError, match=f"expected bijections, got {type(plan).__name__}"):
            Flow(StandardNormal(), [plan], 2)
    with pytest.raises(PlanError, match="Coupling: expected a bijection, got Abs"):
        Coupling(Abs())
    with pytest.raises(PlanError, match="expected p >= 1"):
        Normalize(0.5)
