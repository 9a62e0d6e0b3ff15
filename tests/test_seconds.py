"""A time limit of a fit: on a clock of the test's own, which only steps move."""

import math

import pytest
import torch
from torch.optim import AdamW

import pushforward as pf
from pushforward.train import limit, trials


class Clock:
    """A clock that each step of an optimiser moves by a second."""

    def __init__(self):
        self.now, self.rates = 1000.0, []

    def __call__(self):
        return self.now

    def step(self, optimizer, *_):
        self.now += 1
        self.rates.append(optimizer.param_groups[0]["lr"])

    def optimizer(self, parameters):
        made = AdamW(parameters, 0.01)
        made.register_step_post_hook(self.step)
        return made


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr(limit, "clock", made)
    return made


def rows(count=100):
    x = torch.randn(count, 2, generator=torch.Generator().manual_seed(0))
    return torch.stack([x[:, 0], x[:, 0] + 0.1 * x[:, 1]], -1)


def fitted(clock, x=None, **options):
    torch.manual_seed(0)
    flow = pf.MAF(2, transforms=1, widths=(8,))
    return flow, pf.fit(flow, rows() if x is None else x, optimizer=clock.optimizer, progress=False, **{"patience": None, **options})


def test_a_fit_ends_at_the_step_that_takes_the_last_second(clock):
    flow, history = fitted(clock, seconds=25)  # an epoch is 10 steps
    assert (history.stopped, len(clock.rates)) == ("seconds", 25)
    assert [len(each) for each in (history.train, history.validation, history.learning_rate, history.seconds)] == [3] * 4
    # What there was time for in the last epoch counts.
    assert history.best_loss == min(history.start, *history.validation, *history.averaged)
    assert history.best_epoch == 3
    held = flow.state_dict()
    whole, longer = fitted(clock, seconds=1e6, epochs=2)
    assert longer.validation == history.validation[:2]
    assert not all(torch.equal(value, held[name]) for name, value in whole.state_dict().items())


@pytest.mark.parametrize(
    ("options", "stopped", "steps"),
    [({"epochs": 2}, "epochs", 20), ({"patience": 3}, "patience", 30), ({"callback": lambda history: True}, "callback", 10)],
)
def test_whatever_comes_first_ends_it(options, stopped, steps, clock, monkeypatch):
    monkeypatch.setattr("pushforward.train.likelihood.Training.evaluate", lambda self: 1.0)
    assert fitted(clock, seconds=1000, **options)[1].stopped == stopped
    assert len(clock.rates) == steps
    clock.rates.clear()
    history = fitted(clock, seconds=10, **{**options, "epochs": 200, "patience": None})[1]
    assert history.stopped == ("callback" if "callback" in options else "seconds")
    assert len(clock.rates) == 10


def test_a_cosine_ends_where_time_or_epochs_do(clock):
    def at(gone):
        return pytest.approx(0.005 * (1 + math.cos(math.pi * gone)))

    history = fitted(clock, seconds=25, schedule="cosine")[1]
    # Within an epoch, too, since one may take all of the time.
    assert clock.rates == [at(step / 25) for step in range(25)]
    assert history.learning_rate == [at(9 / 25), at(19 / 25), at(24 / 25)]
    clock.rates.clear()
    fitted(clock, seconds=1e9, schedule="cosine", epochs=4)
    assert clock.rates == [at(step // 10 / 4) for step in range(40)]


def test_without_time_for_a_step_the_flow_is_what_it_was_measured_to_be(clock, monkeypatch):
    monkeypatch.setattr(limit.Limit, "gone", 1.0)
    flow, history = fitted(clock, seconds=1)
    assert (history.stopped, history.train, history.best_epoch, clock.rates) == ("seconds", [], 0, [])
    assert history.best_loss == history.start
    assert flow.transform.layers[-1].calibrated


def test_trials_take_their_share_of_the_time(clock):
    x = rows(300)
    x[77, 1] = 1e6
    history = fitted(clock, x, seconds=200, mixture=0)[1]
    assert len(history.tried) == 2
    own = sum(1 for _ in history.train)
    assert own
    assert (history.stopped, len(clock.rates)) == ("seconds", 200)
    clock.rates.clear()
    history = fitted(clock, x, seconds=200, epochs=3, mixture=0)[1]
    assert len(clock.rates) == 30 + 2 * trials.SHARE * 200


def test_a_limit_is_told_of_a_clock_that_was_given(clock):
    whole = limit.Limit(10)
    clock.now += 4
    assert (whole.spent, whole.gone, whole.over) == (4, 0.4, False)
    part = whole.part(0.9)
    assert part.seconds == 6
    assert whole.part(0.1).seconds == 1
    clock.now += 6
    assert whole.over
    assert part.over
    assert whole.part(0.5).over
    assert not limit.Limit(None).part(0.5).over
