"""Cells that are known between two values alone: their probability against brute force, what a fit makes of them, and what is refused."""

import datetime as dt
import math
import re

import numpy as np
import pandas as pd
import pytest
import torch

import pushforward as pf
from pushforward.data import Between, Schema, between
from pushforward.tables.chain import score_rows
from pushforward.tables.spreading import spread
from tests.table_cases import frame_of, model_of

FRAME = frame_of("real", "positive", "interval", "count", "step", "atom", "atom on a grid", "marked count", "missing", "binary")
MODEL = model_of(FRAME)
ROW = {name: [FRAME[name].iloc[3]] for name in FRAME}


def scored_last(name, values, model=MODEL, row=ROW, first=()):
    """Return the log-densities of a row with values in one column, in the order that has it, after some others, last."""
    others = [at for at, each in enumerate(model.columns) if each not in (*first, name)] + [model.columns.index(each) for each in first]
    data = {each: list(cells) * len(values) for each, cells in row.items()} | {name: list(values)}
    coded = model.encode(data)
    before = score_rows(model.model, coded[:1], others).logs.sum(1)
    return (before + score_rows(model.model, coded, [model.columns.index(name)], others).logs.sum(1)).detach()


def integral(name, low, high, points=40_001):
    x = torch.linspace(low, high, points, dtype=torch.float64)
    return torch.trapezoid(torch.exp(scored_last(name, x.tolist())), x)


def total(name, values, width=1.0):
    return width * torch.exp(scored_last(name, values)).sum()


CELLS = {
    # name: (column, cell, its probability with the others' density by brute force)
    "between two": ("real", Between(1000, 1020), lambda: integral("real", 1000, 1020)),
    "narrow": ("real", Between(1010, 1010.001), lambda: integral("real", 1010, 1010.001)),
    "above": ("positive", Between(3, None), lambda: integral("positive", 3, 300) + integral("positive", 300, 1e5)),
    "below, with a bound": ("positive", Between(None, 3), lambda: integral("positive", 0, 3)),
    "within bounds": ("interval", Between(0.2, 7), lambda: integral("interval", 0.2, 1)),
    "counts": ("count", Between(2, 5), lambda: total("count", [2, 3, 4, 5])),
    "counts above": ("count", pd.Interval(5, math.inf), lambda: total("count", range(6, 400))),
    "counts, one end left out": ("count", pd.Interval(2, 5, closed="right"), lambda: total("count", [3, 4, 5])),
    "counts, the other end left out": ("count", pd.Interval(2, 5, closed="left"), lambda: total("count", [2, 3, 4])),
    "counts, both left out": ("count", Between(0, 3, "neither"), lambda: total("count", [1, 2])),
    "between counts": ("count", Between(1.5, 4.2), lambda: total("count", [2, 3, 4])),
    "a grid": ("step", Between(18.3, 19.7), lambda: total("step", [round(18.3 + 0.1 * at, 1) for at in range(15)], 0.1)),
    "a grid, ends left out": ("step", Between(18.3, 18.7, "neither"), lambda: total("step", [18.4, 18.5, 18.6], 0.1)),
    "with an atom": ("atom", Between(0, 5), lambda: integral("atom", 1e-12, 5) + total("atom", [0.0])),
    "without it": ("atom", Between(0, 5, "right"), lambda: integral("atom", 1e-12, 5)),
    "an atom on a grid": ("atom on a grid", Between(5, 9), lambda: total("atom on a grid", [5, 6, 7, 8, 9])),
    "a mark": ("marked count", Between(-2000, 25), lambda: total("marked count", [-999, *range(26)])),
    "without the mark": ("marked count", Between(None, 25), lambda: total("marked count", [-999, *range(26)])),
    "beyond it": ("marked count", Between(-5, 25), lambda: total("marked count", range(26))),
    "anything but missing": ("missing", Between(None, None), lambda: torch.exp(scored_last("missing", [0.1], MODEL) * 0)[0] * anything()),
}  # fmt: skip


def anything():
    """Return what is left of the others' density where a cell is not missing."""
    alone = [name for name in MODEL.columns if name != "missing"]
    return torch.exp(MODEL.log_prob(ROW, alone))[0] - torch.exp(scored_last("missing", [None]))[0]


@pytest.mark.parametrize("name", CELLS)
def test_a_cell_between_two_values_has_the_probability_of_all_that_lie_between(name):
    column, cell, wanted = CELLS[name]
    found = MODEL.log_prob(ROW | {column: [cell]})
    assert float(torch.exp(found)[0] / wanted()) == pytest.approx(1, abs=2e-4)
    parts = MODEL.log_prob(ROW | {column: [cell]}, by="column")
    assert float(sum(parts.values())[0]) == pytest.approx(float(found[0]))
    # Nothing else is given it.
    others = MODEL.log_prob(ROW, [each for each in MODEL.columns if each != column], by="column")
    assert {each: float(part) for each, part in parts.items() if each != column} == pytest.approx({k: float(v) for k, v in others.items()})
    assert float(MODEL.log_prob_and_error(ROW | {column: [cell]})[1][0]) == 0


def test_intervals_side_by_side_have_the_probability_of_both():
    logs = [float(MODEL.log_prob(ROW | {"real": [cell]})) for cell in (Between(990, 1010), Between(1010, 1030), Between(990, 1030))]
    assert math.exp(logs[0]) + math.exp(logs[1]) == pytest.approx(math.exp(logs[2]), rel=1e-9)
    counts = [float(MODEL.log_prob(ROW | {"count": [cell]})) for cell in (Between(1, 3), Between(3, 6, "right"), Between(1, 6))]
    assert math.exp(counts[0]) + math.exp(counts[1]) == pytest.approx(math.exp(counts[2]), rel=1e-9)


def test_far_out_an_interval_keeps_its_digits():
    far = float(MODEL.log_prob(ROW | {"positive": [Between(1e6, None)]}))
    further = float(MODEL.log_prob(ROW | {"positive": [Between(2e6, None)]}))
    between_them = float(MODEL.log_prob(ROW | {"positive": [Between(1e6, 2e6)]}))
    assert math.exp(further - far) + math.exp(between_them - far) == pytest.approx(1, rel=1e-6)
    assert math.isfinite(far)


def test_rows_with_and_without_intervals_are_alone():
    cells = between([*[5.0] * 4, None, 2.0], [5.0, 9.0, np.inf, 5.0, None, 2.0])
    data = pd.DataFrame({"real": [1010.0, 1011.0] * 3, "missing": cells, "count": [1, pd.Interval(1, 4), 3, 4, pd.Interval(0, 9), 2]})
    columns = ["real", "missing", "count"]
    together = MODEL.log_prob(data, columns)
    alone = torch.cat([MODEL.log_prob(data.iloc[[row]], columns) for row in range(6)])
    torch.testing.assert_close(together, alone, rtol=1e-6, atol=1e-5)
    parts = MODEL.log_prob(data, columns, by="column")
    torch.testing.assert_close(sum(parts.values()), together)


def both(a, b, first, others):
    """Return the sum over pairs of values in the order that has them last."""
    row = ROW | {first[0]: [a[0]], first[1]: [b[0]]}
    return sum(torch.exp(scored_last(first[1], b, row=row | {first[0]: [x]}, first=first[:1])).sum() for x in a)


def test_of_several_intervals_the_integral_and_its_error_are_those_of_brute_force():
    cells = {"count": [Between(1, 4)], "atom on a grid": [Between(5, 9)]}
    exact = float(torch.log(both([1, 2, 3, 4], [5, 6, 7, 8, 9], ("count", "atom on a grid"), None)))
    for draws in (64, 256, 2048):
        found, error = MODEL.log_prob_and_error(ROW | cells, draws=draws)
        assert abs(float(found[0]) - exact) < 5 * float(error[0]) + 1e-9
        assert 0 < float(error[0]) < 0.5 / math.sqrt(draws)
    assert float(MODEL.log_prob(ROW | cells)[0]) == pytest.approx(exact, abs=0.02)
    # The points are the same each time; torch's products may round by where tensors lie.
    torch.testing.assert_close(MODEL.log_prob(ROW | cells), MODEL.log_prob(ROW | cells))


def test_of_two_numbers_it_is_that_of_a_grid_of_points():
    model = model_of(frame_of("real", "positive"))
    x, y = torch.linspace(1005, 1015, 401, dtype=torch.float64), torch.linspace(0.5, 4, 401, dtype=torch.float64)
    rows = torch.cartesian_prod(x, y)
    density = torch.exp(score_rows(model.model, rows, [0, 1]).logs.sum(1).detach()).reshape(401, 401)
    exact = float(torch.log(torch.trapezoid(torch.trapezoid(density, y), x)))
    found, error = model.log_prob_and_error({"real": [Between(1005, 1015)], "positive": [Between(0.5, 4)]}, draws=1024)
    assert abs(float(found[0]) - exact) < 5 * float(error[0]) + 2e-4


def test_three_intervals_of_atoms_and_values():
    cells = {"atom": [Between(0, 4)], "marked count": [Between(-2000, 28)], "count": [Between(0, 2)]}
    few, error = MODEL.log_prob_and_error(ROW | cells, draws=256)
    many, small = MODEL.log_prob_and_error(ROW | cells, draws=8192)
    assert abs(float(few - many)) < 5 * float(error + small)
    assert float(small) < float(error)


# Measuring and fitting


def test_marginals_of_censored_times_are_those_of_kaplan_and_meier():
    random = np.random.default_rng(0)
    time, until = random.exponential(10, 300), random.exponential(12, 300)
    seen = time < until
    x = torch.tensor(np.where(seen, time, np.nan))
    bounds = torch.tensor(np.where(seen[:, None], np.nan, np.stack([until, np.full(300, np.inf)], 1)))
    values, weights = spread(Schema.find({"t": time})["t"], x, torch.ones(300, dtype=torch.float64), bounds)
    order = np.argsort(np.minimum(time, until))
    survival = np.cumprod(1 - seen[order] / (300 - np.arange(300)))
    some = order[: int(np.flatnonzero(seen[order])[-1])]
    for at in range(0, len(some), 20):
        wanted = 1 - survival[at]
        got = float(weights[values <= np.minimum(time, until)[some[at]]].sum() / weights.sum())
        assert got == pytest.approx(wanted, abs=1e-6)
    assert float(weights.sum()) == pytest.approx(300)


@pytest.mark.fits
def test_a_fit_knows_what_was_censored():
    random = np.random.default_rng(1)
    old = random.random(3000) < 0.5
    time, until = random.exponential(np.where(old, 4, 12)), random.exponential(9, 3000)
    frame = pd.DataFrame(
        {"old": np.where(old, "yes", "no"), "time": between(np.minimum(time, until), np.where(time < until, time, np.inf))}
    )
    torch.manual_seed(0)
    model = pf.TableFlow(frame, widths=(16,), bins=8)
    pf.fit(model, frame, epochs=8, progress=False, learning_rate=3e-3)
    # The ends alone, taken for times, have medians of 2.0 and 3.6.
    for word, mean in (("yes", 4), ("no", 12)):
        assert model.condition({"old": word}).quantile("time", 0.5) == pytest.approx(mean * math.log(2), rel=0.25)
        for t in (1, 5):
            assert 1 - model.condition({"old": word}).cdf("time", t) == pytest.approx(math.exp(-t / mean), abs=0.06)


def test_the_loss_of_training_has_intervals_and_nothing_is_conditioned_on_them():
    from pushforward.train.tables import TableLoss

    model = model_of(frame_of("real", "count", "atom on a grid"))
    frame = pd.DataFrame({"real": [1010.0, 1012.0], "count": [pd.Interval(2, 5), 3], "atom on a grid": [Between(5, 9), 7]})
    events = model.model.events(*model.encode_all(frame))
    known = torch.tensor([[True, True, False]] * 2)
    rows, one = events.packed(), torch.ones(2)
    loss = TableLoss(model)(rows, known, one)
    loss.backward()
    assert all(bool(torch.isfinite(p.grad).all()) for p in model.parameters() if p.grad is not None)
    alone = model.log_prob(frame.iloc[:1], ["real", "atom on a grid"]) - model.log_prob(frame.iloc[:1], ["real"])
    all_of = model.log_prob(frame.iloc[1:]) - model.log_prob(frame.iloc[1:], ["real", "count"])
    assert loss.item() == pytest.approx(-float(alone + all_of) / 2, rel=1e-5)


def test_a_column_of_which_nothing_is_known_exactly():
    frame = pd.DataFrame({"income": pd.arrays.IntervalArray.from_breaks([0, 10, 20, 40, 80]).repeat(50), "a": ["x", "y"] * 100})
    schema = Schema.find(frame)
    assert (schema["income"].kind, schema["income"].atoms, schema["income"].missing) == ("count", (), 0)
    assert "known between two values alone in 200 rows" in schema["income"].why
    model = pf.TableFlow(frame, widths=(8,)).measure(frame)
    for low, high in ((0, 10), (20, 40)):
        found = model.log_prob({"income": [pd.Interval(low, high)]}, ["income"])
        assert float(torch.exp(found)) == pytest.approx(0.25, abs=0.05)


def test_dates_have_ends_too():
    days = [dt.date(2020, 1, 1) + dt.timedelta(int(x)) for x in np.random.default_rng(0).integers(0, 60, 200)]
    model = pf.TableFlow({"day": days}, widths=(8,)).measure({"day": days})
    first, last = dt.date(2020, 1, 10), dt.date(2020, 1, 12)
    wanted = model.log_prob({"day": [first, dt.date(2020, 1, 11), last]}).exp().sum() * 86400
    assert float(model.log_prob({"day": [Between(first, last)]}).exp()) == pytest.approx(float(wanted))
    assert float(model.log_prob({"day": [pd.Interval(pd.Timestamp(first), pd.Timestamp(last), closed="both")]}).exp()) == pytest.approx(
        float(wanted)
    )


# What is refused

WRONG = [
    (lambda: Between(3, 2), "Between: expected a lower end below the upper one, got 3 and 2"),
    (lambda: Between(3, 3, "left"), "expected a lower end below the upper one, got 3 and 3, left closed"),
    (lambda: Between("a", 3), "expected a number, a date or None as its low, got 'a'"),
    (lambda: Between(math.nan, 3), "expected a number, a date or None as its low, got nan"),
    (lambda: Between(1, dt.date(2020, 1, 1)), "expected both ends to be numbers or both dates"),
    (lambda: Between(1, 2, "open"), "expected closed to be one of both, left, right, neither, got 'open'"),
    (lambda: between([1, 5], [2, 4]), "between: row 1: expected a lower end below the upper one, got 5 and 4"),
    (lambda: between([1], [2, 4]), "between: expected as many lower as upper ends, got 1 and 2"),
    (lambda: MODEL.log_prob(ROW | {"binary": [Between(0, 1)]}), "column 'binary': expected values, since it is binary, got cells that are"),
    (lambda: MODEL.log_prob(ROW | {"positive": [Between(-5, -2)]}), "column 'positive': expected cells between two values to hold"),
    (lambda: MODEL.log_prob(ROW | {"count": [Between(2.2, 2.8)]}), "column 'count': expected cells between two values to hold one of the"),
    (lambda: MODEL.disagreement(ROW | {"real": [Between(1, 2)]}), "column 'real': expected values here, got in row 0 one that is known"),
    (lambda: MODEL.condition({"count": 2}).log_prob(ROW | {"count": [Between(1, 3)]}), "got one that is known between two alone"),
    (lambda: Schema.find({"x": ["a", Between(1, 2)]}), "column 'x': expected numbers or dates beside values known between two others"),
    (lambda: MODEL.log_prob_and_error(ROW, draws=0), "expected draws to be a whole number of at least 1, got 0"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "words"), WRONG, ids=[words[:60] for _, words in WRONG])
def test_what_is_no_interval_is_refused(call, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        call()


def test_models_are_chosen_and_compared_with_such_cells():
    random = np.random.default_rng(0)
    x, limit = random.exponential(3, 200), random.exponential(5, 200)
    table = {"x": between(np.minimum(x, limit), np.where(x < limit, x, np.inf)), "arm": ["a", "b"] * 100}
    model, history = pf.choose(table, seconds=1, progress=False)
    assert "NSF" not in history.tried
    assert model.schema["x"].between
    assert history.best_loss == pytest.approx(-float(model.log_prob(table).mean()), abs=0.4)
    found = pf.compare(table, seconds=0.2, held=table, progress=False)
    assert found.left_out["NSF"].startswith("x: values known between two others")
    assert found["independent columns"].nats == pytest.approx(history.tried["independent columns"], abs=0.4)


def test_outside_of_what_there_can_be_a_cell_has_no_probability_if_that_is_asked_for():
    bad = ROW | {"positive": [Between(-5, -2)]}
    assert float(MODEL.log_prob(bad, unseen="outside")) == -math.inf


def test_a_view_scores_intervals_given_values():
    view = MODEL.condition({"count": 2})
    found = view.log_prob({"real": [Between(1000, 1020)]}, ["real"])
    assert float(torch.exp(found)) == pytest.approx(view.cdf("real", 1020) - view.cdf("real", 1000), rel=1e-9)


def test_one_value_beside_intervals_is_no_constant():
    cells = between([1.0, 2.0] * 20, [1.0, np.inf] * 20)
    column = Schema.find({"t": cells})["t"]
    assert column.atoms == ((1.0, 0.5),)
    model = pf.TableFlow({"t": cells}, widths=(8,)).measure({"t": cells})
    assert float(model.log_prob({"t": [1.0]}).exp()) == pytest.approx(0.5, abs=0.02)
    # Of the others no more is known than that they are beyond 2: what they begin with is wide.
    assert 0.2 < float(model.log_prob({"t": [Between(2, None)]}).exp()) < 0.5
