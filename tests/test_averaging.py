"""Averaged weights: scored beside the weights themselves, and kept where they are better."""

import pytest
import torch
from torch import nn
from torch.optim import SGD

import pushforward as pf
from pushforward.train.averaging import START, Averages


def rows(count=200, seed=0):
    x = torch.randn(count, 2, generator=torch.Generator().manual_seed(seed))
    return torch.stack([x[:, 0], x[:, 0] ** 2 + 0.3 * x[:, 1]], -1)


def fitted(**options):
    torch.manual_seed(0)
    flow = pf.MAF(2, transforms=1, widths=(8,))
    return flow, pf.fit(
        flow, rows(), progress=False, **{"validation": rows(100, 1), "learning_rate": 0.1, "epochs": 8, "mixture": 0, **options}
    )


def test_the_averages_are_those_of_the_formula():
    parameter, mean = nn.Parameter(torch.tensor([1.0, -2.0])), torch.tensor([1.0, -2.0])
    averages = Averages([parameter], 0.8)
    for step in range(1, 60):
        parameter.data += torch.tensor([0.5, 1.0])
        averages.follow()
        decay = min(0.8, step / (step + START))
        mean = decay * mean + (1 - decay) * parameter.data
    torch.testing.assert_close(averages.means[0], mean)
    own = parameter.detach().clone()
    with averages.lent():
        assert torch.equal(parameter, averages.means[0])
    assert torch.equal(parameter, own)


def test_the_better_of_both_is_kept_and_the_course_of_the_fit_is_the_same():
    noisy = {"learning_rate": 0.02, "batch_size": 4}
    plain, without = fitted(averaging=None, **noisy)
    flow, history = fitted(averaging=0.95, **noisy)
    assert history.train == without.train
    assert history.validation == without.validation
    assert len(history.averaged) == 8
    assert history.best_loss == min(history.start, *history.validation, *history.averaged)
    # So few rows are noisy, and averages are better.
    assert min(history.averaged) < min(history.validation)
    assert (history.averaged[history.best_epoch - 1], without.averaged) == (history.best_loss, [])
    held = rows(100, 1)
    with torch.no_grad():
        assert -flow.log_prob(held).mean().item() == pytest.approx(history.best_loss, abs=1e-5)
        assert -flow.log_prob(held).mean() < -plain.log_prob(held).mean()


def test_where_they_are_worse_the_weights_are_kept():
    # With a small rate the averages lag behind.
    options = {"optimizer": lambda parameters: SGD(parameters, 1e-4), "averaging": 0.999}
    history = fitted(**options)[1]
    assert all(mean > own for mean, own in zip(history.averaged, history.validation, strict=True))
    assert history.best_loss == history.validation[-1]


def test_patience_is_that_of_the_weights():
    ended = [fitted(averaging=averaging, patience=3, epochs=60)[1] for averaging in (None, 0.95)]
    assert len(ended[0].train) == len(ended[1].train)
    assert ended[0].stopped == ended[1].stopped


def test_the_learning_curve_draws_them():
    history = fitted()[1]
    lines = pf.plots.learning_curve(history).axes[0].lines
    drawn = {line.get_label(): list(line.get_ydata()) for line in lines}
    assert drawn["averaged weights"] == history.averaged
    plain = pf.plots.learning_curve(fitted(averaging=None)[1]).axes[0].lines
    assert "averaged weights" not in {line.get_label() for line in plain}


def test_without_held_out_rows_nothing_is_averaged():
    assert fitted(averaging=0.95, validation=None)[1].averaged == []
