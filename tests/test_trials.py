"""Trials: `fit` tries both ways to measure columns with values far out, and keeps the one with the better held-out loss."""

import copy
import io
import pickle
import warnings

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

import pushforward as pf
from pushforward.bases.mixture_of_normals import StartedMixtureModule
from pushforward.bijectors import ActNorm, Affine, NormalScores, Whiten
from pushforward.core.draws import Drawing
from pushforward.data.rows import Rows
from pushforward.distributions import StandardNormal, StudentT
from pushforward.flow import mixture_start
from pushforward.flow.mixture_start import best_mixture, mixture_of, suited
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
        flow, history = fitted(one_wild(300), mixture=0)
    assert history.tried == {SCORES: scores if isinstance(scores, float) else float("inf"), PLAIN: plain}
    assert (NormalScores() in flow.plan.bijectors) == kept


def apart(count=600):
    """Rows in four places."""
    place = torch.randint(0, 2, (count, 2), generator=seeded(1)) * 8.0
    return place + torch.randn(count, 2, generator=seeded(2))


def test_a_mixture_is_kept_where_rows_are_in_several_places():
    flow, history = fitted(apart())
    assert history.tried[MIXTURE] < history.tried[PLAIN] - 0.3
    assert flow.base.plan == mixture_of(4)
    assert Whiten() in flow.plan.bijectors
    # It begins as well as was said, but for what maximisation gains after the splits.
    assert history.start < history.tried[MIXTURE] + 0.02
    # One normal distribution needs none.
    flow, history = fitted(torch.randn(300, 2, generator=seeded(0)))
    assert (flow.base.plan, history.tried) == (StandardNormal(), {})


def test_a_flow_that_is_ahead_of_the_mixture_after_its_trial_goes_on_from_there(monkeypatch):
    learned = []
    run = trials.Training.run

    def told(self, callback):
        history = run(self, callback)
        learned.append({name: value.clone() for name, value in self.flow.state_dict().items()})
        return history

    monkeypatch.setattr(trials, "Training", type("Told", (trials.Training,), {"run": told}))
    monkeypatch.setattr(trials, "best_mixture", lambda rows, held, over: (torch.full((len(held),), -9.0), 2))
    flow, history = fitted(apart())
    assert history.tried[PLAIN] < history.tried[MIXTURE]
    assert flow.base.plan == StandardNormal()
    # The loss before its first step is that of the trial, whose steps are not lost.
    assert history.start == pytest.approx(history.tried[PLAIN], abs=1e-5)
    assert len(learned) == 1
    assert set(learned[0]) == set(flow.state_dict())


def test_both_ways_to_measure_are_those_of_a_mixture(monkeypatch):
    seen = []

    def best(rows, held, over):
        seen.append(rows)
        return torch.full((len(held),), 40.0 * len(seen)), 2

    monkeypatch.setattr(trials, "best_mixture", best)
    flow, history = fitted(one_wild(300))
    assert len(seen) == 2
    assert not torch.allclose(seen[0], seen[1])
    assert set(history.tried) == {MIXTURE, SCORES}
    assert (flow.base.plan, NormalScores() in flow.plan.bijectors) == (mixture_of(2), False)


@pytest.mark.parametrize("components", [1, 2, 4])
def test_as_many_components_as_suit_the_rows(components):
    place = (torch.arange(4000) % components)[:, None] * torch.tensor([[9.0, 3.0]])
    rows = place + torch.randn(4000, 2, generator=seeded(0))
    density, found = best_mixture(rows[:2000], rows[2000:])
    assert found == components
    exact = torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(torch.ones(components)),
        torch.distributions.Independent(
            torch.distributions.Normal(torch.arange(components)[:, None] * torch.tensor([[9.0, 3.0]]), torch.ones(components, 2)), 1
        ),
    )
    assert density.mean().item() == pytest.approx(exact.log_prob(rows[2000:]).mean().item(), abs=0.02)


def test_components_end_with_the_rows_with_more_of_them_and_with_the_time(monkeypatch):
    asked, densities = [], {}

    def grown(rows, held):
        for count in (1, 2, 4, 8, 16, 32, 64):
            asked.append(count)
            yield count, torch.full((len(held),), densities.get(count, 0.0))

    monkeypatch.setattr(mixture_start, "grown", grown)
    monkeypatch.setattr(mixture_start, "FEW", 0)  # of few rows all are asked, eleven times
    rows = torch.randn(2000, 2, generator=seeded(0))
    for given, count, over, end, found in (
        ({2: 0.1, 8: 1.0}, 2000, lambda: False, 32, 8),
        ({1: 1.0}, 2000, lambda: False, 4, 1),
        ({2: 0.1, 4: 0.2, 8: 0.3, 16: 0.4, 32: 1.0}, 2000, lambda: False, 32, 32),
        ({4: 0.5, 16: 1.0}, 90, lambda: False, 8, 4),
        ({4: 1.0}, 2000, lambda: len(asked) > 1, 2, 1),
    ):
        asked.clear()
        densities.clear()
        densities.update(given)
        assert best_mixture(rows[:count], rows, over)[1] == found
        assert asked[-1] == end


def test_fewer_components_are_taken_where_more_are_ahead_by_chance(monkeypatch):
    noise = torch.randn(100, generator=seeded(0)).double()
    noise = noise - noise.mean()
    monkeypatch.setattr(mixture_start, "grown", lambda rows, held: iter([(1, noise * 0 - 0.3), (2, noise * 0), (4, noise + 0.09)]))
    density, found = best_mixture(torch.randn(4000, 2), torch.randn(100, 2))
    assert (density.mean().item(), found) == (pytest.approx(0.0), 2)


@pytest.mark.parametrize(("ahead", "found"), [(0.15, 1), (0.19, 1), (0.21, 2)])
def test_one_normal_distribution_gives_way_at_two_standard_errors(ahead, found, monkeypatch):
    noise = torch.randn(100, generator=seeded(0)).double()
    noise = (noise - noise.mean()) / noise.std(correction=0)  # one standard error is 0.1
    monkeypatch.setattr(mixture_start, "grown", lambda rows, held: iter([(1, noise * 0), (2, noise + ahead)]))
    assert best_mixture(torch.randn(4000, 2), torch.randn(100, 2))[1] == found


def test_no_operator_of_a_trial_is_watched_for_draws_of_layers_that_draw_nothing(monkeypatch):
    watched, steps, run, dispatch = [0], [], trials.Training.run, Drawing.__torch_dispatch__

    def counted(self, *given, **more):
        watched[0] += 1
        return dispatch(self, *given, **more)

    def told(self, callback):
        before = watched[0]
        history = run(self, callback)
        steps.append(watched[0] - before)
        return history

    monkeypatch.setattr(Drawing, "__torch_dispatch__", counted)
    monkeypatch.setattr(trials, "Training", type("Told", (trials.Training,), {"run": told}))
    fitted(apart())
    assert watched[0] > 0  # layers that are added may draw
    assert steps == [0]


def test_an_optimizer_of_the_flow_itself_is_told_of_copies():
    flow = pf.MAF(2, transforms=1, widths=(8,))
    with pytest.raises(ValueError, match=r"got one of others; leave flow\.parameters\(\) for the function's argument"):
        fitted(apart(), flow, optimizer=lambda _: torch.optim.SGD(flow.parameters(), 0.1))
    assert flow.base.plan == StandardNormal()


def test_a_flow_that_knows_something_begins_with_small_steps():
    taken = []

    class Told(torch.optim.SGD):
        def step(self):
            taken.append(self.param_groups[0]["lr"])
            super().step()

    def rates(flow=None, **options):
        taken.clear()
        flow = fitted(apart(), flow, optimizer=lambda p: Told(p, lr=0.5), epochs=7, schedule=None, **options)[0]
        return flow, [*taken]

    flow, found = rates(mixture=0)
    assert len(found) > 100
    assert set(found) == {0.5}
    grown = [0.5 * min(1.0, (step + 1) / 100) for step in range(len(found))]
    assert rates(flow)[1] == pytest.approx(grown)
    assert rates(mixture=2)[1] == pytest.approx(grown)


@pytest.mark.parametrize("values", [(0.0, 1.0), (0.0, 1.0, 2.0, 9.0), tuple(range(30))])
def test_rows_that_come_again_and_again_are_no_trouble(values):
    rows = torch.tensor(values, dtype=torch.float32)[torch.randint(0, len(values), (600, 1), generator=seeded(0))]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the grid
        flow, history = fitted(rows, pf.NSF(1, transforms=1))
    assert torch.isfinite(flow.log_prob(rows)).all()
    assert torch.isfinite(torch.tensor([*history.tried.values()])).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_flow_of_a_half_format_tells_rows_far_from_zero_apart(dtype):
    rows = 1e-3 * apart(900) + 100  # in either format all are one number
    flow, history = fitted(rows, pf.MAF(2, transforms=1, widths=(8,)).to(dtype))
    assert flow.base.plan == mixture_of(4)
    assert {p.dtype for p in flow.parameters()} == {dtype}
    exact = fitted(rows.double(), pf.MAF(2, transforms=1, widths=(8,)).double())[1]
    assert history.tried[MIXTURE] == pytest.approx(exact.tried[MIXTURE], abs=0.1)
    assert history.start == pytest.approx(exact.start, abs=0.1)


@pytest.mark.parametrize("mixture", [None, 2])
def test_a_flow_of_single_numbers_begins_as_a_mixture(mixture):
    rows = apart()[:, 0]
    flow, history = fitted(rows, pf.Flow(StandardNormal(), Affine(), ()), mixture=mixture)
    assert flow.base.plan == mixture_of(2)
    vectors, same = fitted(rows[:, None], pf.Flow(StandardNormal(), Affine(), 1), mixture=mixture)
    assert (history.start, history.tried) == (pytest.approx(same.start), pytest.approx(same.tried))
    assert torch.allclose(flow.log_prob(rows), vectors.log_prob(rows[:, None]), atol=1e-5)


def test_a_mixture_of_images_is_saved_and_moved_between():
    rows = 3.0 * torch.randint(0, 2, (600, 1, 1), generator=seeded(0)) + torch.randn(600, 4, 4, generator=seeded(1))
    flow, history = fitted(rows, pf.Flow(StandardNormal(), ActNorm(), (4, 4)))
    assert flow.base.plan == mixture_of(2)
    assert history.tried[MIXTURE] < history.tried[PLAIN] - 3
    file = io.BytesIO()
    pickle.dump(flow, file)
    file.seek(0)
    for other in (copy.deepcopy(flow), pickle.load(file)):
        torch.testing.assert_close(other.log_prob(rows), flow.log_prob(rows))
    vector = flow.base.distribution()
    assert torch.allclose(vector.log_prob(rows.flatten(1)), flow.base.log_prob(rows), atol=1e-3)
    assert torch.allclose(flow.mean, rows.mean(0), atol=0.2)
    assert f"from {mixture_of(2)}" in str(flow.describe())
    assert flow.log_prob(rows[:6].reshape(2, 3, 4, 4)).shape == (2, 3)
    assert flow.log_prob(rows[:0]).shape == (0,)


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
    flow, history = fitted(one_wild(), mixture=0)
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
        flow, history = fitted(one_wild(count), batch_size=batch, epochs=epochs, mixture=0)
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
    flow, history = fitted(wild, whiten=None, mixture=0)
    assert set(history.tried) == {SCORES, PLAIN, WHITE}
    assert (Whiten() in flow.plan.bijectors) == (history.tried[WHITE] < min(history.tried[SCORES], history.tried[PLAIN]))
    assert (NormalScores() in flow.plan.bijectors) == (history.tried[SCORES] <= history.tried[PLAIN])


def test_the_covariance_is_measured_without_a_trial_where_that_is_told_or_there_is_no_judge(monkeypatch):
    monkeypatch.setattr(trials, "Training", None)
    flow, history = fitted(leaning(), whiten=True, mixture=0)
    assert history.tried == {}
    assert Whiten() in flow.plan.bijectors
    assert Whiten() not in fitted(leaning(), whiten=None, validation=None)[0].plan.bijectors
    assert fitted(torch.randn(100, 1, generator=seeded(0)), pf.NSF(1, transforms=1), whiten=None)[1].tried == {}


def test_numbers_of_components_may_be_numpys():
    assert fitted(apart(), mixture=np.int64(3))[0].base.plan == mixture_of(3)
    flow = pf.MAF(2, transforms=1, widths=(8,))
    flow.standardize(apart(), mixture=np.int64(2))
    assert (flow.base.plan, type(flow.base.plan.components)) == (mixture_of(2), int)


def test_numbers_to_standardize_by_may_have_any_batch_shape():
    for batch in ((600,), (20, 30)):
        flow = pf.Flow(StandardNormal(), Affine(), ())
        flow.standardize(apart()[:, 0].reshape(batch), mixture=None)
        assert flow.base.plan == mixture_of(2)


@pytest.mark.parametrize("batch", [(600,), (20, 30), (1, 600), (600, 1)])
def test_rows_to_standardize_by_may_have_any_batch_shape(batch):
    flow = pf.MAF(2, transforms=1, widths=(8,))
    flow.standardize(apart().reshape(*batch, 2), mixture=None)
    assert flow.base.plan == mixture_of(4)


def test_of_many_rows_some_tell_of_the_components(monkeypatch):
    seen = []

    def best(rows, held):
        seen.extend([rows, held])
        return torch.full((len(held),), 2.0), 2

    monkeypatch.setattr(mixture_start, "SEEN", 400)
    monkeypatch.setattr(mixture_start, "best_mixture", best)
    values = torch.arange(1000.0)[:, None]
    assert suited(values, torch.full((1000,), 0.5)) == (-2.5, 2)
    assert torch.equal(torch.cat(seen).sort(0).values, values[::3])
    assert torch.equal(seen[1], values[::30])


def test_of_few_rows_all_tell_of_the_components_once(monkeypatch):
    asked = []

    def grown(rows, held):
        asked.append((rows, held))
        yield 1, torch.zeros(len(held))

    monkeypatch.setattr(mixture_start, "grown", grown)
    for count, parts in ((150, 11), (400, 6), (1500, 2), (4000, 1)):
        asked.clear()
        rows, held = torch.arange(count)[:, None], -1 - torch.arange(30)[:, None]
        assert len(best_mixture(rows, held)[0]) == len(held)
        assert len(asked) == parts
        together = torch.cat([rows, held]).double()
        for number, (fitted, judges) in enumerate(asked):
            # What is fitted to and what is judged by are all there is, and have nothing in common.
            assert torch.equal(torch.cat([fitted, judges]).sort(0).values, together.sort(0).values)
            assert torch.equal(judges, held.double() if number == 0 else rows[number - 1 :: 10].double())


def test_few_rows_take_the_best_mixture_by_all_of_them_and_many_the_fewest_that_may_be_as_good(monkeypatch):
    noise = torch.randn(1100, generator=seeded(0)).double()

    def grown(rows, held):
        spread = noise[: len(held)] - noise[: len(held)].mean()
        yield from ((1, spread * 0 - 9), (2, spread * 0), (4, spread + 0.03))  # half a standard error at most

    monkeypatch.setattr(mixture_start, "grown", grown)
    for count, found in ((200, 4), (4000, 2)):
        assert best_mixture(torch.randn(count, 2, generator=seeded(1)), torch.randn(100, 2))[1] == found


@pytest.mark.parametrize(
    ("count", "behind", "taken"), [(100, 0.56, True), (100, 0.58, False), (1000, 0.29, True), (1000, 0.31, False), (2000, 0.01, False)]
)
def test_a_mixture_of_few_rows_gives_way_to_a_flow_that_is_three_standard_errors_ahead(count, behind, taken, monkeypatch):
    noise = torch.randn(25, generator=seeded(0)).double()
    noise = (noise - noise.mean()) / noise.std(correction=0)  # one standard error is 0.2
    monkeypatch.setattr(trials, "_nats", lambda flow, held, seed: torch.full((25,), 3.0, dtype=torch.float64))
    monkeypatch.setattr(trials, "_mixture", lambda *_: (3.0 + behind + noise, 2))
    monkeypatch.setattr(trials, "CLEAR", 0.0)
    rows = torch.randn(count, 2, generator=seeded(0))
    flow, _ = fitted(rows, validation=rows[:25])
    assert (flow.base.plan == mixture_of(2)) is taken


def test_the_nats_that_trials_compare_are_those_of_the_same_rows():
    flow = pf.MAF(2, transforms=1, widths=(8,))
    rows = Rows(torch.randn(20, 2, generator=seeded(0)), None, None)
    assert torch.allclose(trials._nats(flow, rows, 0), -flow.log_prob(rows.x).double())
    heavy = Rows(rows.x, None, torch.arange(20.0))
    assert torch.equal(trials._drawn(heavy, 3).x, trials._drawn(heavy, 3).x)


def test_a_loop_of_ones_own_begins_without_scores_where_a_mixture_has_no_need_of_them(monkeypatch):
    found = []

    def best(rows, held):
        found.append(rows)
        return torch.full((len(held),), 400.0 * len(found)), 2  # the second way, which is without them

    monkeypatch.setattr(mixture_start, "best_mixture", best)
    flow = pf.MAF(2, transforms=1, widths=(8,))
    flow.standardize(one_wild(300), mixture=None)
    assert len(found) == 2
    assert (flow.base.plan, NormalScores() in flow.plan.bijectors) == (mixture_of(2), False)
    found.clear()
    flow = pf.MAF(2, transforms=1, widths=(8,))
    flow.standardize(torch.randn(300, 2, generator=seeded(0)), mixture=None)
    assert len(found) == 1  # no column needs scores: there is one way


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


def test_the_more_rows_the_clearer_a_mixture_has_to_be_ahead(monkeypatch):
    class Judge(trials.Training):
        def run(self, callback):
            return History(best_loss=3.0)

    monkeypatch.setattr(trials, "Training", Judge)
    monkeypatch.setattr(trials, "_nats", lambda flow, held, seed: torch.full((len(held),), 3.0))
    monkeypatch.setattr(trials, "_mixture", lambda flow, seen, held, *_: (torch.full((len(held),), ahead), 2))
    for count, ahead, taken in ((300, 2.99, True), (300, 2.998, False), (12_000, 2.81, False), (12_000, 2.79, True)):
        rows = torch.randn(count, 2, generator=seeded(0))
        flow, history = fitted(rows, epochs=1, validation=rows[:50])
        assert history.tried == {MIXTURE: pytest.approx(ahead), PLAIN: 3.0}
        assert (flow.base.plan == mixture_of(2)) == taken
