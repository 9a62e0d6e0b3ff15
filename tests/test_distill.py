"""distill: what a student learns of a teacher, what the history tells of it, and what is refused."""

import inspect
import math
import re
import sys
import warnings
from unittest import mock

import pytest
import torch
from torch.distributions import Independent, Normal
from torch.optim import SGD

import pushforward as pf
from pushforward.bases import Resampled, StandardNormal
from pushforward.bijectors import MLP, Affine, AffineFixed, Exp

module = sys.modules[pf.distill.__module__]  # a function of its name hides it
QUICK = {"steps": 20, "draws": 600, "validation": 200, "batch_size": 64, "learning_rate": 0.02, "progress": False}


@pytest.fixture(autouse=True)
def short(request, monkeypatch):
    """Let an epoch be 10 steps, but for the fits."""
    if request.node.get_closest_marker("fits") is None:
        monkeypatch.setattr(module, "EPOCH", 10)


def stirred(flow, size=0.3, seed=1):
    """Return the flow with other weights, so that it is not the identity."""
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter += size * torch.randn(parameter.shape, generator=g, dtype=parameter.dtype)
    return flow


def teacher(context=0):
    torch.manual_seed(0)
    return stirred(pf.MAF(2, context, transforms=1, widths=(8,)))


def student(context=0):
    torch.manual_seed(1)
    return pf.RealNVP(2, context, transforms=1, widths=(8,))


def weights_of(flow):
    return {name: value.clone() for name, value in flow.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("divergence", ["forward_kl", "reverse_kl", "both"])
def test_a_student_comes_nearer_and_the_history_says_how_near(divergence):
    one, other = teacher().train(), student()
    before, state = weights_of(one), torch.get_rng_state()
    history = pf.distill(one, other, divergence=divergence, **QUICK)
    assert torch.equal(state, torch.get_rng_state())
    assert same(before, one.state_dict())
    assert one.training
    assert all(p.requires_grad and p.grad is None for p in one.parameters())
    assert (history.objective, history.stopped, len(history.train)) == (divergence, "steps", 2)
    kept = history.best_epoch
    assert set(history.forward_kl) == ({kept} if divergence == "reverse_kl" else {0, 1, 2})
    assert set(history.reverse_kl) == ({kept} if divergence == "forward_kl" else {0, 1, 2})
    asked = [
        found for name, found in (("forward_kl", history.forward_kl), ("reverse_kl", history.reverse_kl)) if divergence in (name, "both")
    ]
    assert [history.start, *history.validation] == pytest.approx([sum(found[epoch][0] for found in asked) for epoch in range(3)])
    assert history.best_loss < 0.8 * history.start
    # Both, as draws of one's own tell them.
    with torch.no_grad():
        g = torch.Generator().manual_seed(9)
        for found, (p, q) in ((history.forward_kl, (one, other)), (history.reverse_kl, (other, one))):
            x = p.sample((4000,), generator=g)
            ratio = p.log_prob(x) - q.log_prob(x)
            value, error = found[kept]
            assert abs(value - ratio.mean().item()) < 5 * (error + ratio.std().item() / math.sqrt(4000))
            assert error == pytest.approx(ratio.std().item() / math.sqrt(200), rel=0.5)
    assert "forward KL" in repr(history)
    assert "reverse KL" in repr(history)


def test_a_divergence_from_itself_is_nothing():
    one = teacher()
    history = pf.distill(one, pf.Flow(one.base.plan, one.plan, 2), standardize=False, **{**QUICK, "learning_rate": 1e-30})
    assert history.forward_kl[0][0] > 0.1
    again = teacher()
    history = pf.distill(one, again, divergence="both", standardize=False, **{**QUICK, "learning_rate": 1e-30})
    for found in (history.forward_kl, history.reverse_kl):
        assert found[0] == pytest.approx((0, 0), abs=1e-5)


def test_units_of_the_teacher_become_units_of_the_student():
    wide = pf.Flow(StandardNormal(), [Affine(), AffineFixed([1e3, -5.0], [1e2, 1e-3])], 2)
    wide.columns = ("a", "b")
    other = student()
    history = pf.distill(wide, other, **QUICK)
    assert history.forward_kl[history.best_epoch][0] < 0.05
    assert other.columns == ("a", "b")
    assert other.transform.layers[-1].scale.tolist() == pytest.approx([1e2, 1e-3], rel=0.2)


def test_contexts_in_both_directions():
    one, other = teacher(1), student(1)
    context = torch.linspace(-1, 1, 40)[:, None]
    history = pf.distill(one, other, context, divergence="both", **QUICK)
    assert history.best_loss < 0.8 * history.start
    seen = []
    with mock.patch.object(other, "update", lambda x, c=None: seen.append(c)):
        pf.distill(one, other, context, standardize=False, **QUICK)
    assert set(torch.cat(seen).flatten().tolist()) == set(context.flatten().tolist())


def test_a_distillation_is_repeated_by_its_seed():
    found = []
    for seed in (1, 1, 2):
        other = student()
        torch.manual_seed(seed)
        history = pf.distill(teacher(), other, divergence="both", seed=seed, **QUICK)
        found.append((weights_of(other), history.train, history.forward_kl, history.reverse_kl))
    assert same(found[0][0], found[1][0])
    assert found[0][1:] == found[1][1:]
    assert not same(found[0][0], found[2][0])
    assert found[0][2] != found[2][2]


@pytest.mark.parametrize(("of_teacher", "of_student"), [("double", "float"), ("float", "double"), ("float", "bfloat16")])
def test_flows_of_two_precisions(of_teacher, of_student):
    one, other = getattr(teacher(), of_teacher)(), getattr(student(), of_student)()
    history = pf.distill(one, other, divergence="both", **QUICK)
    assert history.best_loss < 0.8 * history.start
    assert other.dtype == getattr(torch, {"float": "float32", "double": "float64"}.get(of_student, of_student))


def test_a_base_that_takes_no_generator():
    one = pf.Flow(Independent(Normal(torch.ones(2), 2.0), 1), [Affine()])
    other = pf.Flow(Independent(Normal(torch.zeros(2), 1.0), 1), [Affine()])
    state = torch.get_rng_state()
    found = [pf.distill(one, other, divergence="both", standardize=True, **{**QUICK, "learning_rate": 1e-30}).validation for _ in range(2)]
    assert torch.equal(state, torch.get_rng_state())
    assert found[0] == found[1]


def test_a_positive_support():
    one, other = (pf.Flow(StandardNormal(), [Affine(), Exp()], 2) for _ in range(2))
    history = pf.distill(stirred(one, 0.5), other, divergence="both", **QUICK)
    assert history.best_loss < 0.8 * history.start


def test_draws_that_are_no_numbers_are_left_out_and_told():
    one, real = teacher(), pf.Flow.log_prob

    def sometimes(self, x, context=None):
        value = real(self, x, context)
        return torch.where(x[..., 0] > 1.0, math.nan, value) if self.plan == one.plan else value

    class Odd(pf.Flow):
        log_prob = sometimes

        def rsample_and_log_prob(self, *arguments, **options):
            x, log_p = super().rsample_and_log_prob(*arguments, **options)
            return x, torch.where(x[..., 0] > 1.0, math.nan, log_p)

    odd = Odd(one.base.plan, one.plan, 2)
    odd.load_state_dict(one.state_dict())
    with pytest.warns(UserWarning, match=r"distill: left out \d+ draws whose density was not finite"):
        history = pf.distill(odd, student(), divergence="both", **QUICK)
    assert history.invalid_rows > 5
    assert math.isfinite(history.best_loss)
    nothing = pf.Flow(StandardNormal(), [AffineFixed(1e38, 1e38), AffineFixed(0.0, 1e38)], 2)
    other = student()
    before = weights_of(other)
    with pytest.raises(ValueError, match="distill: expected a teacher whose draws and their densities are finite, got 0 of 600"):
        pf.distill(nothing, other, **QUICK)
    assert same(before, other.state_dict())


def test_ctrl_c_leaves_the_best_weights():
    def callback(history):
        raise KeyboardInterrupt

    other = student()
    history = pf.distill(teacher(), other, callback=callback, **QUICK)
    assert history.interrupted
    assert set(history.forward_kl) == {0, 1}
    with mock.patch.object(module.Distilling, "_reverse", mock.Mock(side_effect=KeyboardInterrupt)):
        history = pf.distill(teacher(), other, **QUICK)
    assert history.interrupted
    assert history.reverse_kl == {}


def positive():
    return pf.Flow(StandardNormal(), [Affine(), Exp()], 2)


WRONG = {
    "teacher": (3, TypeError, "distill: teacher: expected a Flow, got int"),
    "student": (torch.nn.Linear(2, 2), TypeError, "distill: student: expected a Flow, got Linear"),
    "event_shape": (pf.MAF(3), ValueError, "distill: expected flows of one event_shape, got (2,) of the teacher and (3,) of the student"),
    "context_shape": (
        pf.MAF(2, 1),
        ValueError,
        "distill: expected flows of one context_shape, got None of the teacher and (1,) of the student",
    ),
    "support": (
        positive(),
        ValueError,
        "distill: expected flows of one support, got (-inf, inf) of the teacher and (0, inf) of the student",
    ),
    "batch": (pf.Flow(Normal(torch.zeros(5, 2), 1.0), [Affine()], 2), ValueError, "expected a flow without a batch shape"),
    "context": (torch.zeros(3, 1), ValueError, "distill: expected no context"),
    "divergence": ("kl", ValueError, "distill: expected divergence to be 'forward_kl', 'reverse_kl' or 'both', got 'kl'"),
    "draws": (1, ValueError, "distill: expected draws to be a whole number of at least 2, got 1"),
    "steps": (0, ValueError, "distill: expected steps to be a whole number of at least 1, got 0"),
    "batch_size": (1.5, ValueError, "distill: expected batch_size to be a whole number of at least 2, got 1.5"),
    "learning_rate": (0.0, ValueError, "distill: expected learning_rate to be a finite number above 0, got 0.0"),
    "schedule": ("fast", ValueError, "distill: expected schedule to be 'plateau', 'cosine' or None, got 'fast'"),
    "patience": (0, ValueError, "distill: expected patience to be a whole number of at least 1 or None, got 0"),
    "clip": (-1.0, ValueError, "distill: expected clip to be a finite number above 0 or None, got -1.0"),
    "validation": (1, ValueError, "distill: expected validation to be a whole number of at least 2, got 1"),
    "standardize": ("yes", ValueError, "distill: expected standardize to be True, False or None, got 'yes'"),
    "optimizer": (3, TypeError, "distill: expected optimizer to be a function or None, got 3"),
    "seed": (0.5, ValueError, "distill: expected seed to be a whole number"),
    "progress": (3, ValueError, "distill: expected progress to be True or False, got 3"),
    "callback": (3, TypeError, "distill: expected callback to be a function or None, got 3"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_argument_is_named_before_anything_changes(name):
    wrong, error, message = WRONG[name]
    other = student()
    given = {"teacher": teacher(), "student": other, **QUICK}
    given["student" if name in ("event_shape", "context_shape", "support", "batch") else name] = wrong
    before = weights_of(other)
    with pytest.raises(error, match=re.escape(message)):
        pf.distill(**given)
    assert same(before, other.state_dict())


def test_every_argument_is_tried():
    assert set(inspect.signature(pf.distill).parameters) <= set(WRONG)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: pf.distill(teacher(1), student(1), **QUICK),
            "distill: expected a context of shape (rows, 1), since the flows are conditional",
        ),
        (lambda: pf.distill(teacher(1), student(1), torch.zeros(3, 2), **QUICK), "distill: expected context of shape (1) or (rows, 1)"),
        (
            lambda: pf.distill(teacher(), pf.Flow(Resampled(MLP((4,)), trials=3), [Affine()], 2), divergence="both", **QUICK),
            "distill: expected a student whose samples carry gradients for divergence='both'",
        ),
    ],
)
def test_what_fits_not_together_is_told(call, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        call()


OPTIONS = {
    "divergence": [("forward_kl",), ("reverse_kl",), ("both",)],
    "draws": [(600,), (300,)],
    "batch_size": [(64,), (100,)],
    "learning_rate": [(0.01,), (0.005,)],
    "schedule": [("cosine",), (None,)],
    "clip": [(1e-3,), (None,)],
    "standardize": [(None,), (False,)],
    "optimizer": [(None,), (lambda p: SGD(p, 0.01),)],
}


@pytest.mark.parametrize("option", OPTIONS)
def test_an_option_changes_the_weights(option):
    others = {"optimizer": lambda p: SGD(p, 0.01)} if option == "clip" else {}
    states = []
    for (value,) in OPTIONS[option]:
        other = student()
        pf.distill(teacher(), other, **{**QUICK, **others, option: value})
        states.append(weights_of(other))
    assert not any(same(states[i], states[j]) for i in range(len(states)) for j in range(i))


def test_steps_patience_validation_and_callback():
    assert len(pf.distill(teacher(), student(), **{**QUICK, "steps": 25}).train) == 3
    other = student()
    pf.distill(teacher(), other, **QUICK)
    history = pf.distill(teacher(), other, patience=1, **{**QUICK, "steps": 500, "learning_rate": 1e-30})
    assert (history.stopped, len(history.train)) == ("patience", 1)
    called = []
    history = pf.distill(teacher(), other, callback=lambda h: called.append(h) or len(called) == 2, **{**QUICK, "steps": 500})
    assert called == [history, history]
    assert history.stopped == "callback"
    few, many = (pf.distill(teacher(), student(), **{**QUICK, "validation": n}).forward_kl[0][1] for n in (50, 800))
    assert 2 < few / many < 8  # a quarter, but for the spread of a spread


@pytest.mark.fits
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_an_autoregressive_flow_becomes_a_coupling():
    torch.manual_seed(0)
    x = pf.targets.TwoMoons().sample((3000,))
    one, other = pf.NSF(2, structure="autoregressive", transforms=2), pf.NSF(2, transforms=4)
    with warnings.catch_warnings():
        pf.fit(one, x, epochs=15, progress=False)
    history = pf.distill(one, other, steps=400, draws=10_000, progress=False)
    print(history)  # noqa: T201
    assert history.forward_kl[history.best_epoch][0] < 0.06
    assert history.reverse_kl[history.best_epoch][0] < 0.08
