"""What layers and bases promise: the laws hold each to its own, `describe` prints it, and chains add it up."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from cases import CASES
from solvers import FixedPoint, RungeKutta, RungeKuttaModule

import pushforward as pf
import pushforward.bijectors as bij
from pushforward import distributions as dist
from pushforward.core.base import BaseModule
from pushforward.core.facts import BaseFacts, Facts, abreast, chained
from pushforward.core.promise import Accuracy, Effort, Tolerance, both_ways
from pushforward.testing import FLOW_LAWS, LAWS, LawError, check_bijector, check_flow, randomize
from pushforward.testing.case import Case
from pushforward.testing.promise import passed, tolerated

ROUND_TRIPS = [law.name for law in LAWS if law.name.startswith("round trip")]
LADJ = [law.name for law in LAWS if law.name.startswith("ladj against")]
MEASURED = [*ROUND_TRIPS, *LADJ]
SHARP = ["round trip, float64, in units of 1e-11", *LADJ]
SMALL = bij.MLP((8,))


def broken(plan, *shapes, only=None):
    """Return the names of the laws that a plan breaks."""
    try:
        check_bijector(plan, *shapes, only=only)
    except LawError as error:
        return [line.strip().split(": ")[0] for line in str(error).splitlines()[1:]]
    return []


# What is promised is kept, and what is not kept is found


@pytest.mark.parametrize("size", [1, pytest.param(2, marks=pytest.mark.heavy)])
def test_an_ode_layer_keeps_every_law_at_its_own_promise(size):
    # The compiler reads each step of a formula that is long: with the heavy ones.
    wanted = {law.name for law in LAWS} - ({"one graph under torch.compile"} if size == 1 else set())
    assert set(check_bijector(RungeKutta(), size, only=wanted)) == wanted


@pytest.mark.parametrize("size", [1, 2])
def test_an_ode_layer_of_too_few_steps_breaks_its_promise(size):
    assert not broken(RungeKutta(), size, only=MEASURED)
    assert LADJ[1] in broken(RungeKutta(2), size, only=MEASURED)
    assert {*LADJ, "round trip, float32, parameters x10, in roundings"} <= set(broken(RungeKutta(1), size, only=MEASURED))
    # The same steps are enough for a promise that says so.
    assert not broken(RungeKutta(2, 1e-2), size, only=MEASURED)


@pytest.mark.parametrize("size", [1, 2])
def test_a_layer_that_promises_nothing_is_held_to_roundings(size):
    assert set(LADJ) <= set(broken(RungeKutta(8, 0.0), size, only=MEASURED))
    assert RungeKutta(8, 0.0).build(size).facts.accuracy == (Accuracy(), Accuracy())


def test_a_fixed_point_keeps_every_law_at_its_own_promise():
    assert set(check_bijector(FixedPoint(), 2)) == {law.name for law in LAWS}


@pytest.mark.parametrize(
    "wrap",
    [
        lambda kernel: kernel,
        lambda kernel: kernel.inv,
        lambda kernel: bij.Coupling(kernel, net=SMALL),
        lambda kernel: bij.Autoregressive(kernel, net=SMALL),
        lambda kernel: bij.InverseAutoregressive(kernel, net=SMALL),
        lambda kernel: bij.Compose([bij.Linear(), kernel, bij.Affine(), kernel.inv]),
        lambda kernel: bij.Compose([bij.Affine(), bij.Compose([kernel, bij.Linear()])]).inv,
        lambda kernel: bij.Concatenate([kernel, bij.Affine()], [2, 1]),
        lambda kernel: bij.OnAxis(kernel, -1),
    ],
    ids=["free", "inverse", "coupling", "autoregressive", "inverse autoregressive", "chain", "inverse of a chain", "beside", "on an axis"],
)
def test_a_promise_goes_where_its_kernel_goes(wrap):
    """In every place enough passes keep it, too few break it, and none is held to more than it promises."""
    assert not broken(wrap(FixedPoint()), 3, only=MEASURED)
    assert not broken(wrap(FixedPoint(passes=8, tolerance=4e-3)), 3, only=MEASURED)
    assert broken(wrap(FixedPoint(passes=2)), 3, only=SHARP)
    assert broken(wrap(FixedPoint(passes=8, tolerance=0.0)), 3, only=SHARP)


def module(name, change):
    """Return the plan of an ODE layer that changes one thing."""

    class Changed(RungeKuttaModule):
        def __init__(self, plan, event_shape, context_shape):
            super().__init__(plan, event_shape, context_shape)
            self.facts = dataclasses.replace(self.facts, accuracy=plan.accuracy)

        def push(self, x, context=None):
            return change(self, x, super().push(x))

    class Plan(RungeKutta):
        def make(self, event_shape, context_shape):
            return Changed(self, event_shape, context_shape)

    Plan.__name__ = Plan.__qualname__ = name
    return dataclasses.dataclass(frozen=True, repr=False)(Plan)()


def with_accuracy(plan, *accuracy):
    object.__setattr__(plan, "accuracy", tuple(accuracy))
    return plan


def off_ladj(layer, x, made):
    return made[0], made[1] + 1e-3


def off_value(layer, x, made):
    return made[0] + 1e-3, made[1]


def of_the_batch(layer, x, made):
    return made[0] + 1e-9 * x.sum(), made[1]


def cut(layer, x, made):
    """The value's gradient is 1 part in 10,000 off."""
    return made[0] + 1e-4 * (x.detach() - x), made[1]


def same(layer, x, made):
    return made


TIGHT, LOOSE = Accuracy.within(1e-4), Accuracy.within(1e-2)
VALUE = Accuracy(value=Tolerance(0.1), ladj=TIGHT.ladj)
GRADIENTS = "gradients against differences"
PLANTED = [
    (same, [*MEASURED, GRADIENTS], TIGHT, True),
    (off_ladj, LADJ, TIGHT, False),
    (off_ladj, LADJ, VALUE, False),  # a promise of the value says nothing of the log-determinant
    (off_ladj, LADJ, LOOSE, True),
    (off_value, SHARP[:1], TIGHT, False),
    (off_value, SHARP[:1], LOOSE, True),
    (cut, [GRADIENTS], LOOSE, False),  # nor of gradients
    (cut, [GRADIENTS], Accuracy.within(1e-2, gradients=1e-3), True),
]


@pytest.mark.parametrize(("change", "laws", "accuracy", "kept"), PLANTED)
def test_each_part_of_a_promise_has_a_law(change, laws, accuracy, kept):
    plan = with_accuracy(module(f"Changed{PLANTED.index((change, laws, accuracy, kept))}", change), accuracy, accuracy)
    assert bool(broken(plan, 2, only=laws)) != kept


def test_no_tolerance_excuses_a_layer_that_looks_at_its_batch():
    plan = with_accuracy(module("OfTheBatch", of_the_batch), LOOSE, LOOSE)
    assert broken(plan, 2, only=["a NaN or infinite row is alone"])


def test_a_promise_is_stretched_by_what_comes_after_it():
    """On the way back a factor of 1000 multiplies what the layer before it is off, and a factor of 1/1000 divides it."""
    x = Case(RungeKutta(), (2,)).points(16)
    alone = tolerated(RungeKutta().build(2).double(), x, None)
    for factor in (1000.0, 0.001):
        plan = bij.Compose([bij.AffineFixed(0.0, factor), bij.Compose([RungeKutta()])])
        back = tolerated(plan.build(2).double(), x, None)
        inverse = tolerated(plan.inv.build(2).double(), factor * x, None, inverse=True)
        new = tolerated(RungeKutta().build(2).double(), factor * x, None)
        torch.testing.assert_close(back, new / factor)
        assert inverse.shape == back.shape
    assert (alone > 0).all()
    assert not tolerated(bij.Spline().build(2).double(), x, None).any()


def test_a_chain_is_passed_layer_by_layer():
    plan = bij.Compose([bij.Affine(), bij.Compose([bij.Spline(), bij.Affine().inv]).inv]).build(2)
    assert [(type(layer.plan).__name__, turned) for layer, turned in passed(plan)] == [
        ("Affine", False),
        ("Affine", False),
        ("Spline", True),
    ]
    assert [turned for _, turned in passed(plan, inverse=True)] == [False, True, True]


# Flows

DENSITIES = [law.name for law in FLOW_LAWS if law.name.startswith(("sample", "density", "outside"))]


@pytest.mark.parametrize("size", [1, pytest.param(2, marks=pytest.mark.heavy)])
def test_a_flow_is_held_to_the_promise_of_its_layers(size):
    flow = pf.Flow(dist.StandardNormal(), [RungeKutta(), bij.Affine(), FixedPoint()], size)
    assert set(check_flow(flow, scale=1.0, only=DENSITIES)) == set(DENSITIES)
    for layers in ([RungeKutta(1), bij.Affine()], [RungeKutta(4, 0.0), bij.Affine()]):
        with pytest.raises(LawError, match="density against autograd's Jacobian"):
            check_flow(pf.Flow(dist.StandardNormal(), layers, size), scale=1.0, only=DENSITIES)


def test_a_density_may_be_off_by_what_its_layers_promise():
    """Log-determinants that are 0.1 off give a mass of 0.9: found, but where 0.2 is promised."""
    laws = [law.name for law in FLOW_LAWS if law.name.startswith("density integrates")]

    for tolerance, kept in ((1e-4, False), (0.2, True)):
        plan = with_accuracy(module(f"Off{kept}", same), TIGHT, TIGHT)
        layer = type("Pulled", (type(plan.build(1)),), {"pull": lambda self, y, context=None: (y + 0, 0 * y.sum(-1) - 0.1)})
        made = with_accuracy(plan, Accuracy.within(tolerance), Accuracy.within(tolerance))
        object.__setattr__(made, "make", lambda *shapes, layer=layer, made=made: layer(made, *shapes))
        flow = pf.Flow(dist.StandardNormal(), made, 1)
        if kept:
            check_flow(flow, only=laws)
        else:
            with pytest.raises(LawError):
                check_flow(flow, only=laws)


@pytest.mark.parametrize("scale", [0.3, 1.0, 3.0])
@pytest.mark.parametrize("size", [1, 2, 4, 8])
def test_a_resampled_base_keeps_the_promise_of_its_constant(size, scale):
    draw = torch.Generator().manual_seed(size)
    for nodes in (128, 512):
        base = randomize(dist.Resampled(SMALL, nodes=nodes).build((size,)), scale, size).double()
        points = torch.randn(400_000, size, generator=draw, dtype=torch.float64)
        with torch.no_grad():
            exact, given = base.normalizer(points).log(), base.normalizer(base.nodes).log()
        # The mean of 400,000 points of numbers in [0, 1], by five standard errors.
        assert abs(float(given - exact)) <= base.facts.accuracy.absolute + 5 * 0.5 / 400_000**0.5 / float(exact.exp())
        assert base.facts.accuracy == Tolerance(2 * size / nodes)


# How promises add up


def test_roundings_and_tolerances_add_up_along_a_chain():
    one, other = Accuracy(2, Tolerance(1e-3), Tolerance(relative=1e-4)), Accuracy.within(1e-5)
    both = one.followed_by(other)
    assert both == Accuracy(3, Tolerance(1e-3 + 1e-5, 1e-5), Tolerance(1e-5, 1e-4 + 1e-5))
    assert one.beside(other) == Accuracy(2, Tolerance(1e-3, 1e-5), Tolerance(1e-5, 1e-4 + 1e-5))
    parts = [Facts(accuracy=(one, other), effort=(Effort(2, 1), Effort(3, 3, 1, True))), Facts()]
    assert chained(parts).accuracy == (one.followed_by(Accuracy()), other.followed_by(Accuracy()))
    assert chained(parts).effort == (Effort(3, 2), Effort(4, 4, 1, True))
    assert abreast(parts).effort == (Effort(2, 1), Effort(3, 3, 1, True))
    assert abreast(parts).accuracy == (one, other.beside(Accuracy()))
    assert chained(parts).inverted().accuracy == chained(parts).accuracy[::-1]
    assert chained([]).accuracy == (Accuracy(0), Accuracy(0))
    assert Accuracy(0).followed_by(one) == one


def test_layers_declare_what_holds_of_them():
    def accuracy(plan, size=4):
        return plan.build(size).facts.accuracy

    assert accuracy(bij.Spline()) == accuracy(bij.Residual((4,))) == (Accuracy(), Accuracy())
    assert accuracy(bij.Reverse()) == accuracy(bij.Reshape(4, (2, 2))) == (Accuracy(0), Accuracy(0))
    assert accuracy(bij.Autoregressive(bij.Affine())) == (Accuracy(4), Accuracy())
    assert accuracy(bij.InverseAutoregressive(bij.Affine(), solve="jacobi")) == (Accuracy(), Accuracy(4))
    assert accuracy(bij.BlockAutoregressive((2,))) == (Accuracy(), Accuracy(4))
    assert accuracy(bij.Autoregressive(FixedPoint())) == (Accuracy(4), Accuracy.within(2e-6))
    assert accuracy(bij.InverseAutoregressive(FixedPoint()))[1] == dataclasses.replace(Accuracy.within(2e-6), roundings=4)
    assert accuracy(bij.Compose([bij.Spline(), bij.Reverse(), bij.Linear()])) == (Accuracy(2), Accuracy(2))


@pytest.mark.parametrize("name", CASES)
def test_the_library_promises_roundings_alone_but_where_it_solves(name):
    """Continuous layers alone have a tolerance, that of their plan; and moving numbers is all that is free of roundings."""
    plan, event, context = CASES[name]
    facts = plan.build(event, context).facts
    if isinstance(plan, bij.Continuous):
        assert [(each.value, each.ladj) for each in facts.accuracy] == [(Tolerance(plan.tolerance, plan.tolerance),) * 2] * 2
        return
    assert all(each.exact for each in facts.accuracy)
    assert (0 not in (each.roundings for each in facts.accuracy)) or facts.volume_preserving


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        (lambda: Tolerance(-1.0), ValueError, "Tolerance: expected absolute to be a number of at least 0, got -1.0"),
        (lambda: Tolerance(0.0, float("nan")), ValueError, "Tolerance: expected relative to be a number of at least 0, got nan"),
        (lambda: Accuracy(1.5), ValueError, "Accuracy: expected roundings to be a whole number of at least 0, got 1.5"),
        (lambda: Accuracy(value=1e-5), TypeError, "Accuracy: expected value to be a Tolerance, got 1e-05"),
        (lambda: Effort(evaluations=-1), ValueError, "Effort: expected evaluations to be a whole number of at least 0, got -1"),
        (lambda: Facts(accuracy=Accuracy()), TypeError, r"Facts: expected accuracy to be a pair of Accuracy, to sample and to score, got"),
        (lambda: Facts(effort=(1, 1)), TypeError, "Facts: expected effort to be a pair of Effort"),
    ],
)
def test_what_is_no_promise_is_refused(wrong, error, message):
    with pytest.raises(error, match=message):
        wrong()


# Described


def test_a_description_prints_what_is_promised():
    text = str(pf.Flow(dist.StandardNormal(), [RungeKutta(), bij.Autoregressive(bij.Affine(), net=SMALL), bij.Reverse()], 3).describe())
    said = [line.strip() for line in text.splitlines() if "accuracy" in line]
    assert said == [
        "accuracy    1e-05 + 1e-05 |y| of a solver, both ways",
        "accuracy    exact to 3 roundings to sample, exact to rounding to score",
        "accuracy    exact",
        "accuracy: 1e-05 + 1e-05 |y| of a solver, both ways; what a layer is off, those after it stretch as they do values",
    ]
    assert "evaluations 32 to sample, 32 to score" in text


def test_a_description_has_promises_for_programs():
    flow = pf.Flow(dist.StandardNormal(), [FixedPoint(), bij.Linear()], 2)
    first, second = flow.describe().layers
    assert (first.accuracy_to_sample, first.accuracy_to_score) == (Accuracy(), Accuracy.within(2e-6))
    assert second.accuracy_to_sample == Accuracy()
    assert flow.describe().accuracy("score") == Accuracy(2, Tolerance(2e-6, 2e-6), Tolerance(2e-6, 2e-6))
    assert flow.describe().accuracy("sample") == Accuracy(2) == flow.transform.facts.accuracy[0]


def test_a_description_adds_up_components_and_tells_of_their_density():
    mixed = dist.Mixture([dist.Pushforward(dist.StandardNormal(), FixedPoint()), dist.StandardNormal()])
    told = pf.Flow(mixed, bij.Affine(), 2).describe()
    assert told.accuracy("score") == dataclasses.replace(Accuracy.within(2e-6), roundings=2)
    assert told.base_accuracy == Tolerance(2e-6, 2e-6)
    assert "density of the base 0.001" in str(pf.Flow(dist.Resampled(SMALL, nodes=2000), bij.Affine(), 1).describe())
    assert "density of the base" not in str(pf.NSF(2, transforms=1).describe())


def test_words():
    assert Accuracy(0).words() == "exact"
    assert Accuracy(value=Tolerance(1e-5), ladj=Tolerance(1e-4)).words() == "1e-05 of a solver, log-determinant 0.0001"
    assert Accuracy(ladj=Tolerance(0.5)).words() == "exact to rounding, log-determinant 0.5"
    assert Accuracy.within(1e-5, gradients=1e-3).words() == "1e-05 + 1e-05 |y| of a solver, gradients 0.001 + 0.001 |gradient|"
    assert both_ways(Accuracy(), Accuracy()) == "exact to rounding"


# Bases


def test_bases_of_bases_derive_their_facts():
    normal, resampled = dist.StandardNormal(), dist.Resampled(SMALL, nodes=100)
    facts = {
        "Product": dist.Product([normal, resampled], [1, 1]).build((2,)).facts,
        "Mixture": dist.Mixture([resampled, resampled]).build((2,)).facts,
        "Pushforward": dist.Pushforward(resampled, bij.Exp()).build((2,)).facts,
        "Truncated": dist.Truncated(dist.DiagNormal(SMALL), -1.0, 1.0).build((2,), (1,)).facts,
        "OrderStatistics": dist.OrderStatistics(dist.DiagNormal(SMALL)).build((2,), (1,)).facts,
    }
    assert [facts[name].accuracy for name in ("Product", "Mixture", "Pushforward")] == [Tolerance(0.02), Tolerance(0.04), Tolerance(0.04)]
    assert not any(facts[name].has_rsample for name in ("Product", "Mixture", "Pushforward"))
    assert all(facts[name].has_rsample and facts[name].uses_context for name in ("Truncated", "OrderStatistics"))
    assert facts["Truncated"].has_tails
    assert not facts["Pushforward"].has_tails
    base = dist.Truncated(normal, -1.0, 1.0).build((2,))
    assert (base.support, base.batch_shape, base.has_rsample) == (base.facts.support, torch.Size(), True)


def test_a_fact_that_is_a_loose_attribute_is_refused():
    with pytest.raises(TypeError, match=r"Loose: expected has_rsample to be declared as a fact, as in facts = BaseFacts\(has_r"):
        type("Loose", (BaseModule,), {"has_rsample": False})
    with pytest.raises(AttributeError):
        dist.StandardNormal().build((2,)).support = None
    with pytest.raises(dataclasses.FrozenInstanceError):
        dist.StandardNormal().build((2,)).facts.gaussian = False


# What a call reads


def test_a_call_reads_no_promise(monkeypatch):
    flow, y, read = pf.NSF(2), torch.zeros(5, 2), set()
    flow.log_prob(y)

    def watched(kind):
        def get(self, name):
            read.add((kind.__name__, name))
            return object.__getattribute__(self, name)

        return get

    for kind in (Facts, BaseFacts, Accuracy, Effort, Tolerance):
        monkeypatch.setattr(kind, "__getattribute__", watched(kind))
    flow.log_prob(y)
    flow.log_prob(y).sum().backward()
    flow.rsample_and_log_prob((3,))
    # Whether a layer changes volumes and sees a context was read before there were promises.
    assert {name for kind, name in read if kind == "Facts"} <= {"volume_preserving", "uses_context"}
    assert {each for each in read if each[0] not in ("Facts", "BaseFacts")} == set()
    assert {name for kind, name in read if kind == "BaseFacts"} <= {"has_rsample"}  # of `rsample` alone
    read.clear()
    flow.log_prob(y)
    assert {kind for kind, _ in read} <= {"Facts"}
