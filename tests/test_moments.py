"""Mean, variance, entropy, divergence and distribution function: in closed form, by Monte Carlo, and never in silence."""

import inspect
import math
import warnings
from unittest.mock import create_autospec

import pytest
import torch
from alone import promised
from cases import CASES, SMALL
from torch import distributions as td

import pushforward as pf
from pushforward import bijectors as bij
from pushforward.bases import (
    BoxUniform,
    CircleUniform,
    DiagNormal,
    FullNormal,
    GeneralizedNormal,
    Mixture,
    MixtureOfNormals,
    OrderStatistics,
    Product,
    Pushforward,
    Resampled,
    StandardNormal,
    StudentT,
    Truncated,
    VonMises,
    moments,
    wrap,
)
from pushforward.core import sets
from pushforward.core.spec import PlanError
from pushforward.distributions import TransformedDistribution, kl_divergence
from pushforward.distributions import transforms as T
from pushforward.targets import Funnel, GaussianRing
from pushforward.testing.case import Case, randomize

N = StandardNormal()
PROPERTIES = ("mean", "variance", "stddev", "mode")


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def moved(flow, scale=1.0):
    randomize(flow, scale)
    return flow.double()


# What there is none of

WITHOUT = {
    "flow": lambda: pf.NSF(2),
    "conditional flow": lambda: pf.NSF(2, 3),
    "conditioned flow": lambda: pf.NSF(2, 3)(torch.zeros(3)),
    "expanded flow": lambda: pf.NSF(2).expand((4,)),
    "through transforms": lambda: TransformedDistribution(td.Normal(torch.zeros(2), 1.0), [T.SplineCoupling(2, 1, lambda x: x)]),
    "target": lambda: Funnel(3),
    "compiled flow": lambda: torch.compile(pf.NSF(2)),
}


@pytest.mark.parametrize("name", WITHOUT)
def test_a_property_that_there_is_none_of_is_no_attribute(name):
    distribution = WITHOUT[name]()
    assert [one for one in PROPERTIES if hasattr(distribution, one)] == []
    assert not {one for one, _ in inspect.getmembers(distribution)} & set(PROPERTIES)
    create_autospec(distribution)
    if name == "compiled flow":  # a wrapper of torch's, which asks the flow
        return
    for one in PROPERTIES[:3]:
        # What torch raises, and what asks for an attribute expects.
        for error in (NotImplementedError, AttributeError):
            with pytest.raises(error, match=f"{one} (is known; .estimate|depends on the context; flow.condition)"):
                getattr(distribution, one)
    for call, words in (
        (lambda: distribution.mode, "maximise log_prob|depends on the context"),
        (distribution.entropy, "entropy"),
        (distribution.perplexity, "entropy"),
        (distribution.enumerate_support, "a density"),
        (lambda: distribution.cdf(torch.zeros(distribution.event_shape)), "cdf|context"),
        (lambda: distribution.icdf(torch.tensor(0.5)), "icdf|context"),
    ):
        with pytest.raises((NotImplementedError, ValueError), match=words):
            call()
    with pytest.raises(AttributeError, match="nothing"):
        _ = distribution.nothing


def test_a_flow_is_traced():
    flow, x = pf.NSF(2, transforms=1), torch.randn(5, 2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        warnings.filterwarnings("ignore", ".torch.jit", FutureWarning)  # from torch 2.14 on
        traced = torch.jit.trace_module(flow, {"log_prob": x}, check_trace=False)
    torch.testing.assert_close(traced.log_prob(x), flow.log_prob(x))


# Affine layers


# Maps of sets, and of angles, that do nothing else: no moments are behind them.
STRAIGHT = {"SimplexToOrdered, chain", "LowerCholesky, unit", "Unwrap"}


@pytest.mark.parametrize("name", CASES)
def test_what_is_affine_says_so(name):
    case = Case(*CASES[name])
    module = case.build(scale=3.0)
    # Between layers values may be taken for others that are outside of a domain: all points are inside.
    one, other = case.points(12, module=module, spread=3.0).split(6)
    context = torch.randn(6, *case.context_shape, generator=generator(), dtype=torch.float64) if case.context_shape else None
    with torch.no_grad():
        try:
            ends = [module.forward(x, context)[0] for x in (one, other, 0.7 * one + 0.3 * other)]
        except NotImplementedError:
            return
    straight = torch.allclose(0.7 * ends[0] + 0.3 * ends[1], ends[2], rtol=1e-9, atol=1e-9)
    assert moments.affine(module) == (straight and name not in STRAIGHT), name


CONTEXT = torch.tensor([[0.3, -1.0], [2.0, 0.5]])
AFFINE = [bij.Affine(), bij.Linear(), bij.Shuffle(), bij.Householder(), bij.ActNorm(), bij.AffineFixed(1.0, -2.0), bij.Standardize()]
GIVEN = [bij.Elementwise(bij.Affine(), net=SMALL), bij.Elementwise(bij.Linear(), net=SMALL), bij.Affine().inv]
# name -> (base, layers, shape, what is not known)
KNOWN = {
    "standard normal": (N, AFFINE, 3, ()),
    "diagonal normal": (DiagNormal(), AFFINE, 3, ()),
    "full normal": (FullNormal(), AFFINE, 3, ()),
    "diagonal normal, given context": (DiagNormal(net=SMALL), GIVEN, 3, ()),
    "full normal, given context": (FullNormal(net=SMALL), [bij.Affine()], 3, ()),
    "matrix": (DiagNormal(), [bij.Affine(), bij.OnAxis(bij.Linear(), 0), bij.Reshape((2, 3), 6), bij.Triangular()], (2, 3), ()),
    "scalar": (N, [bij.Affine()], (), ()),
    "box": (BoxUniform(-1.0, 2.0), [bij.AffineFixed(1.0, -2.0)], 2, ()),
    "box, then real": (BoxUniform(-1.0, [2.0, 3.0]), [], 2, ()),
    "student": (StudentT(8.0), AFFINE, 3, ()),
    "generalized": (GeneralizedNormal(1.5, net=SMALL), GIVEN, 2, ()),
    "mixture of normals": (MixtureOfNormals(3), AFFINE, 3, ("entropy",)),
    "mixture of normals, given context": (MixtureOfNormals(3, net=SMALL), GIVEN, 2, ("entropy",)),
    "product": (Product([DiagNormal(net=SMALL), BoxUniform(), StudentT(9.0)], [1, 2, 1]), [bij.Reverse()], 4, ()),
    "pushforward": (Pushforward(FullNormal(), [bij.Affine(), bij.Linear()]), AFFINE, 3, ()),
    "mixture": (Mixture([DiagNormal(), Pushforward(FullNormal(), bij.Affine())], noise=1.0), AFFINE, 2, ("entropy",)),
    "mixture, given context": (Mixture([DiagNormal(net=SMALL), N], net=SMALL), GIVEN, 2, ("entropy",)),
    "torch's normal": (td.Normal(torch.zeros(3), torch.tensor([1.0, 2.0, 3.0])), AFFINE, 3, ()),
    "torch's normal of full covariance": (td.MultivariateNormal(torch.zeros(3), torch.eye(3) + 0.5), AFFINE, 3, ()),
    "torch's laplace": (td.Independent(td.Laplace(torch.ones(3), 1.0), 1), AFFINE, 3, ()),
    "torch's gamma": (td.Gamma(torch.full((2,), 3.0), 1.0), [bij.Stack([bij.AffineFixed(1.0), bij.AffineFixed(0.0, -3.0)])], 2, ()),
    "one feature of a coupling": (N, [bij.Coupling(bij.Affine(), net=SMALL), bij.Autoregressive(bij.Affine(), net=SMALL).inv], 1, ()),
    "batch of the base": (td.Normal(torch.zeros(4, 2), 1.0), [bij.Linear()], None, ()),
}


@pytest.mark.parametrize("name", KNOWN)
def test_closed_forms_are_what_draws_say(name):
    torch.manual_seed(1)
    base, layers, shape, unknown = KNOWN[name]
    given = "context" in name or base in [row[0] for row in KNOWN.values() if "SMALL" in str(row)] or "net=" in repr((base, layers))
    flow = moved(pf.Flow(base, layers, shape, 2 if given else None))
    view = flow.condition(CONTEXT.double() if given else None)
    for quantity in ("mean", "variance", "stddev", "entropy"):
        if quantity in unknown:
            with pytest.raises(NotImplementedError, match="no closed form of entropy"):
                view.entropy()
            continue
        exact = view.entropy() if quantity == "entropy" else getattr(view, quantity)
        value, error = view.estimate(quantity, 40_000)
        assert exact.shape == value.shape == view.batch_shape + (() if quantity == "entropy" else view.event_shape)
        # Of what is exact but for its rounding, the error is none.
        assert bool((torch.abs(exact - value) <= 5.5 * error + 1e-9).all()), quantity
        if not given and not view.batch_shape:
            torch.testing.assert_close(flow.entropy() if quantity == "entropy" else getattr(flow, quantity), exact)
    assert view.mean.requires_grad or not any(p.requires_grad for p in flow.parameters())


def test_far_from_zero_nothing_cancels():
    flow = pf.Flow(N, [bij.AffineFixed(1e7, 1e-3)], 2)
    torch.testing.assert_close(flow.stddev, torch.full((2,), 1e-3))
    assert flow.mean.tolist() == [1e7, 1e7]


def test_moments_have_gradients():
    flow = moved(pf.Flow(DiagNormal(), [bij.Linear()], 2))
    (flow.mean.sum() + flow.variance.sum() + flow.entropy()).backward()
    # But for the part of an LDU that the variance of two elements does not see.
    assert all(p.grad is not None and bool((p.grad != 0).any()) for p in flow.parameters())


@pytest.mark.parametrize("df", [0.7, 1.5])
def test_heavy_tails_have_no_variance(df):
    flow = pf.Flow(StudentT(df, learn_df=False), [bij.Affine()], 2)
    assert bool(torch.isnan(flow.mean).all()) == (df < 1)
    assert bool((torch.isnan(flow.variance) if df < 1 else torch.isinf(flow.variance)).all())
    assert bool(torch.isfinite(flow.entropy()))


@pytest.mark.parametrize(
    "base", [VonMises(), wrap(td.VonMises(torch.tensor(0.0), 1.0)), Truncated(N, 0.0), Resampled(), OrderStatistics(N)]
)
def test_bases_without_closed_forms_say_so(base):
    flow = pf.Flow(base, [], 1 if not isinstance(base, type(wrap(td.Normal(0.0, 1.0)))) else None)
    assert not hasattr(flow, "mean")
    assert not hasattr(flow, "variance")


# Monte Carlo


def test_the_error_is_that_of_the_estimate():
    flow = moved(pf.Flow(N, [bij.Affine(), bij.Linear()], 2))
    exact = {"mean": flow.mean, "variance": flow.variance, "stddev": flow.stddev}
    for quantity, truth in exact.items():
        off = []
        for seed in range(200):
            value, error = flow.estimate(quantity, 100, generator=generator(seed))
            off.append((value - truth) / error)
        spread = torch.stack(off).square().mean(0).sqrt()
        # Of 100 draws an error is known to a tenth; 200 of them tell it to a twentieth.
        assert bool(((spread > 0.75) & (spread < 1.4)).all()), (quantity, spread)


def test_estimates():
    flow = pf.NSF(2, 3, transforms=1)
    c = torch.randn(4, 3)
    value, error = flow.estimate("mean", 50, c, generator=generator())
    assert value.shape == error.shape == (4, 2)
    again = flow(c).estimate("mean", 50, generator=generator())
    assert torch.equal(value, again.value)
    assert flow.estimate("entropy", 50, c).value.shape == (4,)
    share = flow(c).estimate(lambda y: (y > 0).all(-1), 50)
    assert share.value.shape == (4,)
    assert share.value.dtype == torch.float32
    assert flow.half().estimate("stddev", 50, c.half()).value.dtype == torch.float32
    assert not value.requires_grad
    value, error = GaussianRing().estimate("kl_divergence", 2000, other=pf.MAF(2), generator=generator())
    assert value > 5 * error > 0


def test_an_entropy_takes_what_is_known_of_the_base():
    # Affine couplings of volume 1: all of the entropy is the base's.
    flow = moved(pf.NICE(3, transforms=2))
    value, error = flow.estimate("entropy", 10)
    assert error.item() < 1e-12
    drawn = flow.estimate(lambda y: -flow.log_prob(y), 4000, generator=generator())
    assert abs(value - drawn.value) < 5 * drawn.error


@pytest.mark.parametrize(
    ("arguments", "told", "words"),
    [
        (("median",), {}, "expected quantity to be a function or one of 'mean'.*got 'median'"),
        (("mean", 1), {}, "samples to be a whole number of at least 2, got 1"),
        (("mean", 2.5), {}, "samples"),
        (
            ("mean",),
            {"other": td.Normal(0.0, 1.0)},
            "other, a distribution, with 'kl_divergence' and with nothing else, got one with 'mean'",
        ),
        (("kl_divergence",), {}, "got none"),
        (("kl_divergence",), {"other": torch.zeros(2)}, "other to be a distribution, got Tensor"),
        (("kl_divergence",), {"other": td.Normal(torch.zeros(2), 1.0)}, r"other on events of shape \(2,\), got one on \(\); .*Independent"),
        ((lambda y: 1.0,), {}, r"function to return a tensor of shape \(10000, ...\), .* got float"),
        ((lambda y: y.sum(),), {}, r"got \(\)"),
    ],
)
def test_wrong_arguments_of_an_estimate(arguments, told, words):
    with pytest.raises(ValueError, match=words):
        pf.MAF(2).estimate(*arguments, **told)


def test_an_estimate_asks_for_the_context():
    with pytest.raises(ValueError, match="expected a context"):
        pf.MAF(2, 3).estimate("mean")
    made = TransformedDistribution(td.Normal(torch.zeros(2), 1.0), [T.Spline(2)])
    with pytest.raises(ValueError, match="expected no generator"):
        made.estimate("mean", generator=generator())
    assert made.estimate("mean", 20).value.shape == (2,)


# Divergences


def test_a_divergence_of_normals_is_torchs():
    torch.manual_seed(2)
    flows = [moved(pf.Flow(base, layers, 3)) for base, layers in ((FullNormal(), [bij.Affine()]), (N, [bij.Linear(), bij.Affine()]))]

    def as_torch(flow):
        vectors = moments.spread(flow.transform, flow.base, None)
        return td.MultivariateNormal(flow.mean, torch.einsum("ni,nj->ij", vectors, vectors))

    p, q = flows
    exact = td.kl_divergence(as_torch(p), as_torch(q))
    for one in (p, p.condition(), as_torch(p)):
        for other in (q, q.condition(), as_torch(q)):
            torch.testing.assert_close(kl_divergence(one, other), exact)
    torch.testing.assert_close(kl_divergence(p, p), torch.zeros_like(exact), atol=1e-9, rtol=0)
    value, error = p.estimate("kl_divergence", other=q, generator=generator())
    assert abs(value - exact) < 5 * error
    kl_divergence(p, q).backward()
    assert all(parameter.grad is not None for flow in flows for parameter in flow.parameters())


def test_a_divergence_from_what_is_known_to_a_normal():
    box = pf.Flow(BoxUniform(-1.0, 2.0), [bij.AffineFixed(1.0, 2.0)], 2).double()
    q = td.Independent(td.Normal(torch.tensor([1.0, 2.0], dtype=torch.float64), 2.0), 1)
    value, error = box.estimate("kl_divergence", 100_000, other=q, generator=generator())
    assert abs(kl_divergence(box, q) - value) < 5 * error
    torch.testing.assert_close(
        kl_divergence(td.Normal(1.0, 2.0), td.Normal(0.0, 1.0)), td.kl_divergence(td.Normal(1.0, 2.0), td.Normal(0.0, 1.0))
    )


def test_a_divergence_for_each_context():
    torch.manual_seed(3)
    p = moved(pf.Flow(N, [bij.Elementwise(bij.Affine(), net=SMALL)], 3, 2))(CONTEXT.double())
    q = td.MultivariateNormal(torch.zeros(3, dtype=torch.float64), 2 * torch.eye(3, dtype=torch.float64))
    exact = td.kl_divergence(td.MultivariateNormal(p.mean, torch.diag_embed(p.variance)), q)
    assert exact.shape == (2,)
    torch.testing.assert_close(kl_divergence(p, q), exact)
    torch.testing.assert_close(kl_divergence(q, p), td.kl_divergence(q, td.MultivariateNormal(p.mean, torch.diag_embed(p.variance))))


def test_torchs_own_function_can_be_told():
    assert not [pair for pair in td.kl._KL_REGISTRY if pf.Flow in pair], "an import changes nothing"
    try:
        td.register_kl(pf.Flow, pf.Flow)(kl_divergence)
        assert td.kl_divergence(pf.Flow(N, [bij.Affine()], 2), pf.Flow(N, [], 2)).item() == 0
    finally:
        td.kl._KL_REGISTRY.pop((pf.Flow, pf.Flow))
        td.kl._KL_MEMOIZE.clear()


@pytest.mark.parametrize(
    ("p", "q", "error", "words"),
    [
        (pf.NSF(2), pf.MAF(2), NotImplementedError, r"no closed form of kl_divergence .* \.estimate\('kl_divergence', other=q\)"),
        (pf.Flow(N, [bij.Affine()], 2), pf.NSF(2), NotImplementedError, "no closed form"),
        (pf.Flow(N, [], 2), pf.Flow(StudentT(), [], 2), NotImplementedError, "no closed form"),
        (pf.Flow(N, [], 2), Funnel(2), NotImplementedError, "no closed form"),
        (pf.Flow(N, [], 2), pf.Flow(N, [], 3), ValueError, r"events of one shape, got \(2,\) and \(3,\)"),
        (pf.Flow(N, [], 2), td.Normal(torch.zeros(2), 1.0), ValueError, "Independent"),
        (pf.MAF(2, 3), pf.MAF(2), ValueError, "expected a context"),
    ],
)  # fmt: skip
def test_divergences_that_there_are_none_of(p, q, error, words):
    with pytest.raises(error, match=words):
        kl_divergence(p, q)


# Distribution functions


def one_number():
    """Give every plan of the table that is a map of one number, with a base whose values it takes."""
    for name, (plan, _, context) in CASES.items():
        for base in (N, BoxUniform(), BoxUniform(-0.9, 0.9), wrap(td.Gamma(torch.tensor([2.0]), 1.0)), StudentT(3.0)):
            try:
                flow = pf.Flow(base, plan, (1,), context)
            except PlanError:
                continue
            if flow.event_shape == (1,):
                yield name, base, plan, context
                break


NUMBERS = {name: row for name, *row in one_number()}


def test_most_plans_are_maps_of_one_number():
    assert len(NUMBERS) > 60


@pytest.mark.parametrize("name", NUMBERS)
def test_the_slope_of_the_distribution_function_is_the_density(name):
    torch.manual_seed(0)
    base, plan, context = NUMBERS[name]
    flow = moved(pf.Flow(base, plan, (1,), context))
    c = None if context is None else torch.randn(1, *context, dtype=torch.float64)
    wraps = any(part.plan.wraps for part in flow.transform.modules() if hasattr(part, "plan"))
    if wraps or sets.bounds(flow.support) is None:
        with pytest.raises(NotImplementedError, match="wraps angles" if wraps else "a support that is an interval"):
            flow.cdf(torch.zeros(1, 1, dtype=torch.float64), c)
        return
    p = torch.tensor([0.003, 0.2, 0.5, 0.9, 0.999], dtype=torch.float64)
    y = flow.icdf(p, c).detach().requires_grad_()
    assert y.shape == (5, 1)
    assert bool((y[1:] > y[:-1]).all())
    u = flow.cdf(y, c)
    free = promised(flow.transform)
    torch.testing.assert_close(u, p, rtol=1e-6 + free, atol=1e-9 + free)
    slope = torch.autograd.grad(u.sum(), y)[0].squeeze(-1)
    torch.testing.assert_close(slope, flow.log_prob(y, c).exp().detach(), rtol=1e-5 + free, atol=1e-12 + free)
    ends = torch.tensor(sets.bounds(flow.support), dtype=torch.float64)
    assert torch.equal(flow.icdf(torch.tensor([0.0, 1.0], dtype=torch.float64), c).squeeze(-1), ends)
    beyond = torch.stack([ends[0] - 1, ends[1] + 1])[:, None]
    assert flow.cdf(beyond, c).tolist() == [0.0, 1.0]


def test_distribution_functions_for_each_context_and_shape():
    torch.manual_seed(0)
    flow = moved(pf.Flow(N, [bij.Elementwise(bij.Spline(), net=SMALL), bij.AffineFixed(0.0, -2.0)], (), 2))
    c = torch.randn(7, 2, dtype=torch.float64)
    u = torch.rand(5, 7, dtype=torch.float64)
    y = flow(c).icdf(u)
    assert y.shape == (5, 7)
    torch.testing.assert_close(flow(c).cdf(y), u)
    torch.testing.assert_close(flow.cdf(y, c), u)
    assert flow(c).icdf(torch.tensor(0.5, dtype=torch.float64)).shape == (7,)
    torch.testing.assert_close(flow(c).expand((3, 7)).cdf(y[:3]), u[:3])
    assert math.isnan(flow(c[0]).cdf(torch.tensor(math.nan, dtype=torch.float64)).item())
    # About half of the draws lie below the median.
    below = (flow(c).sample((4000,), generator=generator()) < flow(c).icdf(torch.tensor(0.5, dtype=torch.float64))).double().mean(0)
    assert bool((torch.abs(below - 0.5) < 0.04).all())


def test_distribution_functions_of_other_faces():
    made = pf.Flow(td.Normal(0.0, 1.0), [bij.Exp()])
    assert made.cdf(torch.tensor([-1.0, 1.0])).tolist() == [0.0, 0.5]
    other = TransformedDistribution(td.Normal(torch.zeros(1), 1.0), [T.Spline(1)])
    torch.testing.assert_close(other.cdf(other.icdf(torch.tensor([0.3]))), torch.tensor([0.3]))


@pytest.mark.parametrize(
    ("flow", "value", "error", "words"),
    [
        (pf.NSF(2), torch.zeros(2), NotImplementedError, r"cdf expects a flow of one number, got events of shape \(2,\)"),
        (pf.Flow(VonMises(), [], 1), torch.zeros(1), NotImplementedError, "a base whose distribution function is known, got VonMises"),
        (pf.flows.NCSF(1), torch.zeros(1), NotImplementedError, "wraps angles"),
        (pf.Flow(CircleUniform(), [bij.Unwrap()], 1), torch.zeros(1), NotImplementedError, "wraps angles"),
        (pf.NSF(1), torch.zeros(2), ValueError, r"expected value of shape \(\*batch, 1\), got \(2,\)"),
        (pf.NSF(1, 2), torch.zeros(1), ValueError, "expected a context"),
    ],
)
def test_distribution_functions_that_there_are_none_of(flow, value, error, words):
    with pytest.raises(error, match=words):
        flow.cdf(value)


@pytest.mark.parametrize(
    ("value", "error", "words"),
    [
        (torch.tensor([0.5, 1.5]), ValueError, "probabilities from 0 to 1"),
        (torch.tensor(0.5, dtype=torch.float64), TypeError, "expected value of torch.float32, got torch.float64"),
        (0.5, TypeError, "to be a torch.Tensor, got float"),
    ],
)
def test_what_is_no_probability_is_refused(value, error, words):
    with pytest.raises(error, match=words):
        pf.NSF(1).icdf(value)
