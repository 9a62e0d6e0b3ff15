"""Trials: `fit` tries both ways to measure columns with values far out, and keeps the one with the better held-out loss."""

import copy
import warnings

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

import pushforward as pf
from pushforward.bases.mixture_of_normals import StartedMixtureModule
from pushforward.bijectors import NormalScores, Whiten
from pushforward.distributions import StandardNormal, StudentT
from pushforward.flow.standardising import mixture_of
from pushforward.train import trials
from pushforward.train.history import History
from pushforward.train.trials import MIXTURE, PLAIN, SCORES, WHITE


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def one_wild(count=2000):
    rows = torch.randn(count, 2, generator=seeded(0))
    rows[77, 1] = 1e6
    return rows


def fitted(rows, flow=None, **options):
    torch.manual_seed(0)
    flow = flow or pf.MAF(rows.shape[1], transforms=1, widths=(8,))
    return flow, pf.fit(flow, rows, progress=False, **{"epochs": 1, **options})


def judged(monkeypatch, scores, plain):
    """Let trials end with these losses; an error is raised."""

    class Judge(trials.Training):
        def run(self, callback):
            loss = scores if NormalScores() in self.flow.plan.bijectors else plain
            if isinstance(loss, type):
                raise loss
            return History(best_loss=loss)

    monkeypatch.setattr(trials, "Training", Judge)


@pytest.mark.parametrize(
    ("scores", "plain", "kept"), [(1.0, 0.5, False), (0.5, 1.0, True), (1.0, 1.0, True), (FloatingPointError, 9.0, False)]
)
def test_the_better_way_is_kept(scores, plain, kept, monkeypatch):
    judged(monkeypatch, scores, plain)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # what was tried is no oversight
        flow, history = fitted(one_wild(300))
    assert history.tried == {SCORES: scores if isinstance(scores, float) else float("inf"), PLAIN: plain}
    assert (NormalScores() in flow.plan.bijectors) == kept


def apart(count=600):
    """Rows in four places."""
    place = torch.randint(0, 2, (count, 2), generator=seeded(1)) * 8.0
    return place + torch.randn(count, 2, generator=seeded(2))


def test_a_mixture_is_tried_and_kept_where_rows_are_in_several_places():
    flow, history = fitted(apart(), mixture=None)
    assert history.tried[MIXTURE] < history.tried[PLAIN] - 0.3
    assert flow.base.plan == mixture_of(4)
    # Nothing of it is in a flow that is better without.
    flow, history = fitted(torch.randn(300, 2, generator=seeded(0)), pf.NSF(2, transforms=1, widths=(8,)), mixture=None)
    assert (flow.base.plan == StandardNormal()) == (history.tried[PLAIN] <= history.tried[MIXTURE])


def test_components_are_tried_as_long_as_more_help(monkeypatch):
    tried = []

    def nats(flow, rows):
        tried.append(flow.base.plan.components)
        return {2: 3.0, 4: 1.0, 8: 2.0}[tried[-1]]

    monkeypatch.setattr(trials, "_nats", nats)
    flow, _ = fitted(apart(), mixture=None)
    assert tried == [2, 4, 8]
    assert flow.base.plan == mixture_of(4)
    tried.clear()
    fitted(apart(45), mixture=None)  # of 41 rows to fit, ten for each component
    assert tried == [2, 4]


def test_what_is_not_tried_is_measured_once(monkeypatch):
    counted = []
    measure = StartedMixtureModule.measure
    monkeypatch.setattr(StartedMixtureModule, "measure", lambda self, *rows: (counted.append(1), measure(self, *rows))[1])
    fitted(apart(), mixture=2)
    assert len(counted) == 1


@pytest.mark.parametrize("broken", [False, True])
def test_a_fit_that_fails_leaves_the_base(monkeypatch, broken):
    flow = pf.MAF(2, transforms=1, widths=(8,))
    before = {name: value.clone() for name, value in flow.state_dict().items()}
    if broken:  # once it has been replaced
        monkeypatch.setattr(StartedMixtureModule, "measure", lambda self, *rows: 1 / 0)
    with pytest.raises(ZeroDivisionError if broken else ValueError, match="zero" if broken else "at least 30 different rows"):
        fitted(apart(30), flow, mixture=3 if broken else 30)
    assert flow.base.plan == StandardNormal()
    assert set(flow.state_dict()) == set(before)
    assert all(torch.equal(value, before[name]) for name, value in flow.state_dict().items())
    assert flow.plan == pf.MAF(2, transforms=1, widths=(8,)).plan


def test_a_base_that_a_mixture_does_not_replace_is_left(monkeypatch):
    torch.manual_seed(0)
    flow = pf.Flow(StudentT(), pf.MAF(2, transforms=1, widths=(8,)).plan, 2)
    assert fitted(apart(), flow, mixture=None)[1].tried == {}
    flow = pf.Flow(StudentT(), pf.MAF(2, transforms=1, widths=(8,)).plan, 2)
    with pytest.raises(ValueError, match="whose place a mixture takes"):
        fitted(apart(), flow, mixture=3)
    assert flow.plan == pf.MAF(2, transforms=1, widths=(8,)).plan


def test_a_value_far_out_is_taken_by_its_quantile():
    flow, history = fitted(one_wild())
    assert history.tried[SCORES] < history.tried[PLAIN] - 1
    assert NormalScores() in flow.plan.bijectors


@pytest.mark.parametrize(
    ("rows", "options"),
    [
        pytest.param(torch.randn(300, 2, generator=seeded(0)), {}, id="nothing far out"),
        pytest.param(one_wild(300), {"validation": None}, id="nothing held out"),
        pytest.param(one_wild(300), {"standardize": False}, id="not to be measured"),
    ],
)
def test_where_there_is_no_choice_nothing_is_tried(rows, options, monkeypatch):
    monkeypatch.setattr(trials, "Training", None)
    assert fitted(rows, **options)[1].tried == {}


def test_a_stream_is_not_read_for_a_trial():
    loader = DataLoader(TensorDataset(one_wild(300)), batch_size=100)
    flow = pf.MAF(2, transforms=1, widths=(8,))
    history = pf.fit(flow, loader, validation=one_wild(300), epochs=1, progress=False)
    assert history.tried == {}
    assert NormalScores() in flow.plan.bijectors


@pytest.mark.fits
def test_a_trial_takes_few_steps_and_a_flow_that_was_measured_is_not_tried(monkeypatch):
    steps, run = [], trials.Training.run

    def counted(self, callback):
        step = self.optimizer.step
        monkeypatch.setattr(self.optimizer, "step", lambda: (steps.append(self.flow), step()))
        return run(self, callback)

    monkeypatch.setattr(trials.Training, "run", counted)
    for count, batch, epochs in ((300, 512, 12), (2000, 16, 1), (5000, 512, 12), (300, 512, 2)):
        steps.clear()
        flow, history = fitted(one_wild(count), batch_size=batch, epochs=epochs)
        own = sum(one is flow for one in steps)
        assert len(history.tried) == 2
        tried = (len(steps) - own) / 2
        assert tried == own == 20 if epochs == 2 else trials.TRIAL / 1.5 <= tried <= 1.5 * min(own, trials.TRIAL)
    steps.clear()
    assert pf.fit(flow, one_wild(300), epochs=1, progress=False).tried == {}
    assert all(one is flow for one in steps)


def test_the_same_seed_gives_the_same_and_nothing_else_is_touched():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    flow = pf.MAF(2, transforms=1, widths=(8,))
    drawn = torch.get_rng_state()
    other = copy.deepcopy(flow)
    first, second = (pf.fit(one, one_wild(300), epochs=2, progress=False) for one in (flow, other))
    assert torch.equal(torch.get_rng_state(), drawn)
    assert not torch.equal(drawn, before)
    assert first.tried == second.tried
    assert first.train == second.train


def test_ctrl_c_in_a_trial_ends_the_fit_with_the_flow_as_it_was(monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    flow = pf.MAF(2, transforms=1, widths=(8,))
    plan, state = flow.plan, copy.deepcopy(flow.state_dict())
    monkeypatch.setattr(trials.Training, "steps", interrupted)
    with pytest.raises(KeyboardInterrupt):
        pf.fit(flow, one_wild(300), progress=False)
    assert flow.plan == plan
    assert all(torch.equal(value, state[name]) for name, value in flow.state_dict().items())


def leaning(count=400):
    """Two columns, of which one nearly determines the other."""
    x = torch.randn(count, 2, generator=seeded(0))
    return torch.stack([x[:, 0], x[:, 0] + 0.02 * x[:, 1]], -1)


def test_the_covariance_is_tried_where_it_is_asked_for():
    flow, history = fitted(leaning(), whiten=None)
    assert set(history.tried) == {PLAIN, WHITE}
    assert history.tried[WHITE] < history.tried[PLAIN]
    assert Whiten() in flow.plan.bijectors
    flow, history = fitted(leaning())
    assert history.tried == {}
    assert Whiten() not in flow.plan.bijectors
    wild = leaning()
    wild[77, 1] = 1e6
    flow, history = fitted(wild, whiten=None)
    assert set(history.tried) == {SCORES, PLAIN, WHITE}
    assert (Whiten() in flow.plan.bijectors) == (history.tried[WHITE] < min(history.tried[SCORES], history.tried[PLAIN]))
    assert (NormalScores() in flow.plan.bijectors) == (history.tried[SCORES] <= history.tried[PLAIN])


def test_the_covariance_is_measured_without_a_trial_where_that_is_told_or_there_is_no_judge(monkeypatch):
    monkeypatch.setattr(trials, "Training", None)
    flow, history = fitted(leaning(), whiten=True)
    assert history.tried == {}
    assert Whiten() in flow.plan.bijectors
    assert Whiten() not in fitted(leaning(), whiten=None, validation=None)[0].plan.bijectors
    assert fitted(torch.randn(100, 1, generator=seeded(0)), pf.NSF(1, transforms=1), whiten=None)[1].tried == {}


def test_scores_can_be_left_out_in_a_loop_of_ones_own():
    flow = pf.MAF(2)
    flow.standardize(one_wild(300), scores=False)
    assert NormalScores() not in flow.plan.bijectors
    for given in ({}, {"scores": True}):
        flow = pf.MAF(2)
        flow.standardize(one_wild(300), **given)
        assert NormalScores() in flow.plan.bijectors
    for wrong in ("no", None, 1):
        with pytest.raises(ValueError, match=rf"Flow\.standardize: expected scores to be True or False, got {wrong!r}"):
            pf.MAF(2).standardize(one_wild(300), scores=wrong)
