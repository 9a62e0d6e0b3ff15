"""Every option of every way to fit takes effect: each has something that it changes, seen from outside."""

from __future__ import annotations

import copy
import inspect
import math
from types import SimpleNamespace
from unittest import mock

import numpy as np
import pandas as pd
import pytest
import torch
from torch.optim import SGD

import pushforward as pf
from pushforward import bijectors as bij
from pushforward.bases import StandardNormal
from pushforward.bijectors import MLP, Affine
from pushforward.inference.variational import TargetTraining
from pushforward.layers.standardize import StandardizeModule
from pushforward.train import loop
from pushforward.train.adam import AdamW
from pushforward.train.likelihood import Training

X = np.random.default_rng(0).standard_normal((80, 2)).astype(np.float32) * [2.0, 5.0] + [1.0, -3.0]
C = np.random.default_rng(1).standard_normal((80, 1)).astype(np.float32)
"""No two rows of either are alike, so that each is known by its numbers."""


def made(context=0):
    torch.manual_seed(0)
    return pf.MAF(2, context, transforms=2, widths=(8,))


def rows_of(batches):
    """Return the rows of batches, each as a tuple of numbers."""
    return [tuple(row) for batch in batches for row in batch.tolist()]


def known(rows):
    return {tuple(row) for row in np.asarray(rows, np.float32).tolist()}


def state_of(flow):
    return {name: value.clone() for name, value in flow.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def noted(kind, seen):
    """Return an optimiser that notes the rate of each step and the norm of its gradient."""

    class Noted(kind):
        def step(self):
            gradients = [p.grad.flatten() for group in self.param_groups for p in group["params"] if p.grad is not None]
            seen.rates.append(self.param_groups[0]["lr"])
            seen.norms.append(torch.cat(gradients).norm().item())
            super().step()

    Noted.__module__ = kind.__module__  # it draws as little as the one that it notes
    return Noted


# fit


def observe(data=X, context=None, flow=None, **options):
    """Fit, and return what there was to see: rows that were trained on and held out, rates, gradients, the history, the weights."""
    flow = made(0 if context is None else 1) if flow is None else flow
    seen = SimpleNamespace(flow=flow, trained=[], held=[], contexts=[], rates=[], norms=[], casts=[])
    score = flow.log_prob

    def log_prob(x, c=None):
        (seen.trained if flow.training else seen.held).append(x.detach().clone())
        if flow.training:
            seen.contexts.append(c)
        seen.casts.append((flow.training, torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu")))
        return score(x, c)

    # The step of an optimiser of one's own is the same: AdamW, that notes what it is given.
    with mock.patch.object(flow, "log_prob", log_prob), mock.patch.object(loop, "AdamW", noted(AdamW, seen)):
        seen.history = pf.fit(flow, data, context, **{"epochs": 2, "batch_size": 20, "averaging": None, "progress": False, **options})
    seen.state = state_of(flow)
    return seen


def small():
    return pf.Flow(StandardNormal(), [Affine()], 2)


def without_progress():
    """Let no epoch be better than the start."""
    return mock.patch.object(Training, "evaluate", return_value=1.0)


def each_epoch(values, history):
    """Return values of steps by epochs."""
    return np.array(values).reshape(len(history.train), -1)


def of_data():
    assert known(rows_of(observe(validation=None).trained)) == known(X)


def of_context():
    seen = observe(X, C)
    found = zip(rows_of(seen.trained), rows_of(seen.contexts), strict=True)
    assert set(found) <= set(zip(map(tuple, np.float32(X).tolist()), map(tuple, C.tolist()), strict=True))


def of_validation():
    for share, count in ((0.1, 8), (0.25, 20)):
        seen = observe(validation=share)
        trained, held = known(rows_of(seen.trained)), known(rows_of(seen.held))
        assert len(held) == count
        assert not trained & held
        assert trained | held == known(X)
        assert len(seen.history.validation) == 2
    seen = observe(validation=None)
    assert seen.held == []
    assert seen.history.validation == []
    seen = observe(validation=X[:10] + 1)
    assert known(rows_of(seen.held)) == known(X[:10] + 1)
    assert known(rows_of(seen.trained)) == known(X)


def of_objective():
    given = {"epochs": 1, "batch_size": 20, "progress": False, "validation": None}
    flows = [pf.Flow(StandardNormal(), [bij.Continuous(MLP((4,), "silu")), bij.Standardize()], 2) for _ in range(2)]
    flows[1].load_state_dict(flows[0].state_dict())
    for flow, objective in zip(flows, ("likelihood", "flow_matching"), strict=True):
        assert pf.fit(flow, X, objective=objective, **given).objective == objective
    assert not same(*map(state_of, flows))


def of_epochs():
    assert [len(observe(epochs=count).history.train) for count in (1, 3)] == [1, 3]


def of_batch_size():
    # Of 80 rows 8 are held out; a pass of fewer than 10 steps is taken as often as makes 10, of batches of 64 rows at most.
    for size, steps, rows in ((20, 12, 18), (5, 15, 5), (70, 10, 36), (100, 10, 36)):
        seen = observe(batch_size=size, epochs=1)
        assert len(seen.rates) == steps
        assert max(map(len, seen.trained)) == rows
    # Of 900 rows a tenth.
    seen = observe(np.random.default_rng(0).normal(size=(1000, 2)), batch_size=512, epochs=1)
    assert [*map(len, seen.trained)] == [90] * 10


def of_learning_rate():
    for rate in (1e-3, 1e-2):
        seen = observe(learning_rate=rate)
        assert set(seen.rates) == set(seen.history.learning_rate) == {rate}
    # AdamW's first step moves each number by its rate, whatever the gradient.
    one, before = observe(learning_rate=0.1, epochs=1, batch_size=100, validation=None, clip=None, standardize=False), made().state_dict()
    moved = max((value - before[name]).abs().max().item() for name, value in one.state.items() if value.is_floating_point())
    assert 0.1 < moved < 10 * 0.1 + 1e-6


def of_schedule():
    seen = observe(schedule="cosine", learning_rate=0.01, epochs=4, patience=None)
    assert (seen.history.learning_rate == each_epoch(seen.rates, seen.history).T).all()
    assert seen.history.learning_rate == pytest.approx([0.005 * (1 + math.cos(math.pi * k / 4)) for k in range(4)])
    with without_progress():
        seen = observe(flow=small(), schedule="plateau", learning_rate=0.01, epochs=18, patience=None)
        assert (seen.history.learning_rate == each_epoch(seen.rates, seen.history).T).all()
        assert seen.history.learning_rate == [0.01] * 8 + [0.005] * 8 + [0.0025] * 2
        assert set(observe(flow=small(), schedule=None, learning_rate=0.01, epochs=18, patience=None).rates) == {0.01}
    # From an epoch that is better the eight are counted anew.
    with mock.patch.object(Training, "evaluate", side_effect=[2.0, *[2.0] * 5, 1.0, *[1.0] * 11]):
        seen = observe(flow=small(), schedule="plateau", learning_rate=0.01, epochs=17, patience=None)
    assert seen.history.learning_rate == [0.01] * 14 + [0.005] * 3


def of_patience():
    with without_progress():
        for patience in (3, 5):
            history = observe(flow=small(), patience=patience, epochs=30).history
            assert (len(history.train), history.stopped) == (patience, "patience")
        assert len(observe(flow=small(), patience=None, epochs=30).history.train) == 30


def of_seconds():
    with mock.patch("pushforward.train.limit.clock", iter(range(10**6)).__next__):
        history = observe(seconds=9.0, epochs=30).history
    assert history.stopped == "seconds"
    assert len(history.train) < 30


def of_averaging():
    assert len(pf.fit(made(), X, epochs=3, progress=False).averaged) == 3
    assert observe(averaging=None).history.averaged == []
    assert len(observe(averaging=0.9).history.averaged) == 2
    assert observe(averaging=0.9).history.averaged != observe(averaging=0.5).history.averaged


def of_clip():
    before, seen = made().state_dict(), SimpleNamespace(rates=[], norms=[])
    observe(clip=None, optimizer=lambda p: noted(SGD, seen)(p, lr=1e-3))
    assert max(seen.norms) > 0.1
    seen = SimpleNamespace(rates=[], norms=[])
    short = observe(clip=1e-3, epochs=1, optimizer=lambda p: noted(SGD, seen)(p, lr=1.0), validation=None, standardize=False)
    assert max(seen.norms) == pytest.approx(1e-3, rel=1e-3)
    moved = torch.cat([(short.state[name] - before[name]).flatten() for name, _ in short.flow.named_parameters()]).norm()
    assert 0 < moved <= 1e-3 * len(seen.norms) * (1 + 1e-5)


def of_weight_decay():
    plain, heavy = (observe(weight_decay=decay, validation=None, learning_rate=0.01) for decay in (0.0, 20.0))
    sizes = [sum(p.square().sum().item() for p in seen.flow.parameters()) for seen in (plain, heavy)]
    assert sizes[1] < 0.5 * sizes[0]


def of_standardize():
    units = lambda flow: next(m for m in flow.modules() if isinstance(m, StandardizeModule))  # noqa: E731
    for validation in (0.25, None):
        seen = observe(validation=validation)
        trained = torch.tensor(sorted(known(rows_of(seen.trained))), dtype=torch.float64)
        assert len(trained) == (60 if validation else 80)
        torch.testing.assert_close(units(seen.flow).loc.double(), trained.mean(0), rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(units(seen.flow).scale.double(), trained.std(0, correction=0), rtol=1e-6, atol=0)
    fitted = copy.deepcopy(units(seen.flow).loc)
    assert torch.equal(units(observe(X + 9, flow=copy.deepcopy(seen.flow), standardize=None).flow).loc, fitted)
    torch.testing.assert_close(units(observe(X + 9, flow=seen.flow, standardize=True, validation=None).flow).loc, fitted + 9)
    assert not units(observe(standardize=False).flow).calibrated
    given = observe(X, C, standardize=True, validation=None)
    torch.testing.assert_close(given.flow.context_units.loc, torch.tensor(C).mean(0))


def of_whiten():
    assert "Whiten" not in repr(observe().flow)
    assert "Whiten" in repr(observe(whiten=True).flow)
    assert set(pf.fit(made(), X, whiten=None, epochs=1, progress=False).tried) == {"location and scale", "covariance"}
    assert observe(whiten=True, standardize=False).flow.plan == made().plan


def of_mixture():
    assert observe(mixture=0).flow.base.plan == pf.distributions.StandardNormal()
    assert observe(mixture=2).flow.base.plan.components == 2
    apart = [[row[0] + 100 * (index % 2), *row[1:]] for index, row in enumerate(X)]
    history = pf.fit(made(), apart, epochs=1, progress=False)
    assert set(history.tried) == {"location and scale", "mixture"}
    assert observe(mixture=2, standardize=False).flow.base.plan == pf.distributions.StandardNormal()


def frame():
    return pd.DataFrame({"a": X[:, 0], "b": X[:, 1], "c": C[:, 0]})


def of_columns():
    seen = observe(frame(), columns=["b", "a"], validation=None)
    assert known(rows_of(seen.trained)) == known(X[:, ::-1])
    assert seen.flow.columns == ("b", "a")


def of_schema():
    found, told = (observe(frame(), columns=["a", "b"], schema=schema).flow.schema for schema in (None, {"a": "interval:-99:99"}))
    assert (found["a"].kind, told["a"].kind) == ("real", "interval")
    assert told["b"] == found["b"]


def of_context_columns():
    seen = observe(frame(), flow=made(1), context_columns=["c"], validation=None)
    assert known(rows_of(seen.trained)) == known(X)
    assert known(rows_of(seen.contexts)) == known(C)
    assert (seen.flow.columns, seen.flow.context_columns) == (("a", "b"), ("c",))


def of_weights():
    """The losses are weighted means, of the rows held out as of those trained on, and rows without weight are in neither."""
    weights = np.random.default_rng(2).integers(0, 9, 80).astype(float)
    of_row = dict(zip(map(tuple, np.float32(X).tolist()), weights, strict=True))

    def mean(seen, rows):
        rows = sorted(known(rows))
        with torch.no_grad():
            losses = -seen.flow.log_prob(torch.tensor(rows)).double().numpy()
        heavy = np.array([of_row[row] for row in rows])
        assert (heavy > 0).all()
        return (heavy * losses).sum() / heavy.sum(), losses.mean()

    # So small a rate that the weights stay where they are.
    seen = observe(weights=weights, validation=0.3, epochs=1, learning_rate=1e-30)
    held, plain = mean(seen, rows_of(seen.held))
    assert [seen.history.start, seen.history.validation[0], seen.history.best_loss] == pytest.approx([held] * 3, rel=1e-5)
    assert held != pytest.approx(plain, rel=1e-3)
    assert known(rows_of(seen.trained)) | known(rows_of(seen.held)) == {row for row, weight in of_row.items() if weight}
    # Batches of one size: then the mean over them is that over the rows.
    seen = observe(weights=weights, validation=None, epochs=1, batch_size=100, learning_rate=1e-30)
    trained, plain = mean(seen, rows_of(seen.trained))
    assert seen.history.train == pytest.approx([trained], rel=1e-5)
    assert trained != pytest.approx(plain, rel=1e-3)
    with mock.patch("pushforward.train.likelihood.EVALUATE", 7):  # in parts, the last of which is shorter
        again = observe(weights=weights, validation=0.3, epochs=1, learning_rate=1e-30)
    assert again.history.start == pytest.approx(held, rel=1e-5)


def of_optimizer():
    seen = SimpleNamespace(rates=[], norms=[])
    given = []
    other = observe(optimizer=lambda p: given.extend(p) or noted(SGD, seen)(p, lr=0.02))
    assert set(map(id, given)) == set(map(id, other.flow.parameters()))
    assert set(seen.rates) == {0.02}
    assert other.rates == []


def of_compile():
    asked = []
    with mock.patch("torch.compile", lambda module, mode=None: asked.append(mode) or module):
        for value in (True, "max-autotune", False):
            observe(compile=value, epochs=1)
    assert asked == [None, "max-autotune"]


def of_precision():
    for name, dtype in (("bfloat16", torch.bfloat16), (None, False)):
        assert set(observe(precision=name).casts) == {(True, dtype), (False, False)}


def of_seed():
    one, two, other = (observe(validation=0.25, seed=seed, standardize=False) for seed in (1, 1, 2))
    assert rows_of(one.held) == rows_of(two.held)
    assert rows_of(one.trained) == rows_of(two.trained)
    assert same(one.state, two.state)
    assert known(rows_of(one.held)) != known(rows_of(other.held))
    assert one.history.start != other.history.start
    one, other = (observe(validation=None, seed=seed) for seed in (1, 2))
    assert rows_of(one.trained) != rows_of(other.trained)  # in another order
    first = rows_of(one.trained)
    assert first[:80] != first[80:160]


def of_progress():
    for value in (True, False):
        with mock.patch.object(loop, "tqdm", wraps=loop.tqdm) as bar:
            observe(progress=value)
        assert bar.call_args.kwargs["disable"] is not value


def of_callback():
    called = []
    history = observe(epochs=5, callback=lambda given: called.append((given, len(given.train))) or len(called) == 3).history
    assert [count for _, count in called] == [1, 2, 3]
    assert all(given is history for given, _ in called)
    assert history.stopped == "callback"


FIT = {name.removeprefix("of_"): check for name, check in globals().items() if name.startswith("of_")}


@pytest.mark.parametrize("option", FIT)
def test_an_option_of_fit_takes_effect(option):
    FIT[option]()


# fit_target


def normal(x, *context):
    return -0.5 * ((x - 1) ** 2).sum(-1) - (0.1 * context[0].sum(-1) * x[:, 0] if context else 0.0)


def target(density=normal, flow=None, **options):
    """Fit to a density, and return what there was to see: draws that trained, draws that scored, rates, gradients, history, weights."""
    torch.manual_seed(0)
    flow = pf.RealNVP(2, transforms=1, widths=(4,)) if flow is None else flow
    seen = SimpleNamespace(flow=flow, trained=[], scored=[], contexts=[], rates=[], norms=[])

    def log_density(x, *context):
        (seen.trained if flow.training else seen.scored).append(x.detach().clone())
        seen.contexts += context
        return density(x, *context)

    usual = {"steps": 50, "batch_size": 16, "validation": 50, "learning_rate": 0.01, "progress": False}
    with mock.patch.object(loop, "AdamW", noted(AdamW, seen)):
        seen.history = pf.fit_target(flow, log_density, **{**usual, **options})
    seen.state = state_of(flow)
    return seen


ALPHA = {"divergence": "alpha", "alpha": 0.3}
# Two values of each option beside others: the same fit but for it, so that the weights that come of it differ for it alone.
TARGET = {
    "divergence": ({}, ["reverse_kl", "forward_kl"]),
    "alpha": (ALPHA, [0.3, 0.7]),
    "estimator": ({}, ["path", "total", "score"]),
    "annealing": ({}, [None, 50, lambda step: 0.5]),
    "batch_size": ({}, [16, 17]),
    "learning_rate": ({}, [0.01, 0.02]),
    "clip": ({"optimizer": lambda p: SGD(p, 0.01)}, [1e-3, None]),
    "optimizer": ({}, [None, lambda p: SGD(p, 0.01)]),
    "seed": ({}, [1, 2]),
}


@pytest.mark.parametrize("option", TARGET)
def test_an_option_of_fit_target_changes_the_weights(option):
    others, values = TARGET[option]
    states = [target(**{**others, option: value}).state for value in values]
    assert same(states[0], target(**{**others, option: values[0]}).state)
    assert not any(same(states[i], states[j]) for i in range(len(states)) for j in range(i))


def target_context():
    contexts = torch.arange(30.0)[:, None]
    flow = lambda: pf.Flow(StandardNormal(), [bij.Elementwise(Affine(), net=MLP((4,)))], 2, 1)  # noqa: E731
    seen = target(flow=flow(), context=contexts)
    assert set(torch.cat(seen.contexts).flatten().tolist()) == set(range(30))
    one = target(flow=flow(), context=contexts[3])
    assert set(torch.cat(one.contexts).flatten().tolist()) == {3.0}


def target_steps():
    seen = target(steps=120)
    assert len(seen.rates) == len(seen.trained) == 120
    assert len(seen.history.train) == 3


def target_batch_size():
    assert {len(x) for x in target(batch_size=24).trained} == {24}


def target_validation():
    with mock.patch("pushforward.inference.variational.EVALUATE", 30):  # in parts, the last of which is shorter
        for draws in (50, 70):
            seen = target(validation=draws)
            # Before the first step they are scored twice: once to see whether the density is one.
            assert sum(map(len, seen.scored)) == 3 * draws


def target_schedule():
    for schedule, factors in (("cosine", [1.0, 0.75, 0.25]), (None, [1.0] * 3)):
        seen = target(schedule=schedule, steps=150)
        assert seen.history.learning_rate == pytest.approx([0.01 * factor for factor in factors])
        assert (seen.history.learning_rate == np.reshape(seen.rates, (3, 50)).T).all()


def target_patience():
    with mock.patch.object(TargetTraining, "evaluate", return_value=1.0):
        assert len(target(patience=2, steps=500).history.train) == 2


def target_seconds():
    with mock.patch("pushforward.train.limit.clock", iter(range(10**6)).__next__):
        seen = target(seconds=70.0, steps=500, schedule=None)
    assert seen.history.stopped == "seconds"
    assert 0 < len(seen.trained) < 71
    assert len(seen.history.train) == len(seen.history.validation) == len(seen.history.efficiency)
    # A cosine is at its end when the time is.
    with mock.patch("pushforward.train.limit.Limit.gone", 0.5):
        assert target(seconds=70.0).rates == pytest.approx([0.005] * 50)


def target_clip():
    seen = SimpleNamespace(rates=[], norms=[])
    target(clip=1e-3, optimizer=lambda p: noted(SGD, seen)(p, lr=1.0))
    assert max(seen.norms) == pytest.approx(1e-3, rel=1e-3)


def target_seed():
    """The draws that score are others than those that train, and the same each time."""
    seen = target(seed=3, flow=pf.Flow(StandardNormal(), [Affine()], 2), learning_rate=1e-30)
    scored, trained = known(rows_of(seen.scored)), known(rows_of(seen.trained))
    assert len(scored) == 50
    assert len(trained) == 50 * 16
    assert not scored & trained


def target_callback():
    called = []
    history = target(steps=500, callback=lambda given: called.append(given) or len(called) == 2).history
    assert called == [history, history]
    assert history.stopped == "callback"


def target_progress():
    for value in (True, False):
        with mock.patch.object(loop, "tqdm", wraps=loop.tqdm) as bar:
            target(progress=value)
        assert bar.call_args.kwargs["disable"] is not value


def target_alpha():
    """The loss is two standard errors above minus the bound of its order, at most a half, over the draws that score."""
    for others, order in (({}, 0.0), ({"divergence": "forward_kl"}, 0.5), (ALPHA, 0.3), ({**ALPHA, "alpha": 2.0}, 0.5)):
        seen = target(density=lambda x: -torch.log1p((x**2).sum(-1)), validation=400, **others)
        assert seen.history.best_epoch == 1
        x = seen.scored[-1]
        with torch.no_grad():
            log_w = (-torch.log1p((x**2).sum(-1)) - seen.flow.log_prob(x)).double().numpy()
        if order == 0:
            bound, error = log_w.mean(), log_w.std() / 20
        else:
            w = np.exp(order * log_w)
            bound, error = np.log(w.mean()) / order, w.std() / w.mean() / 20 / order
        assert seen.history.validation == pytest.approx([2 * error - bound], abs=1e-5)
        assert error > 1e-3


CHECKED = {name.removeprefix("target_"): check for name, check in globals().items() if name.startswith("target_")}


@pytest.mark.parametrize("option", CHECKED)
def test_an_option_of_fit_target_takes_effect(option):
    CHECKED[option]()


def test_every_option_has_something_that_it_changes():
    assert set(FIT) == set(inspect.signature(pf.fit).parameters) - {"flow"}
    assert set(TARGET) | set(CHECKED) == set(inspect.signature(pf.fit_target).parameters) - {"flow", "log_density"}
