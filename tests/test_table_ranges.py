"""What is given between two values alone: densities, samples and answers against brute force, in Python and at the command."""

import datetime as dt
import math
import re

import numpy as np
import pandas as pd
import pytest
import torch

from pushforward.data import Between
from pushforward.tables.restricted import every_value
from pushforward.tables.univariate import Univariate
from tests.table_cases import frame_of, model_of

FRAME = frame_of("real", "positive", "count", "step", "atom", "atom on a grid", "missing", "binary")
MODEL = model_of(FRAME)
ROW = {name: [FRAME[name].iloc[3]] for name in FRAME}
KNOWN = {"binary": ROW["binary"][0]}
RANGES = {
    "real": Between(990, 1015),
    "positive": Between(None, 3),
    "count": Between(1, 5, "right"),
    "step": Between(18.3, 19.7),
    "atom": Between(0, 2),
    "atom on a grid": Between(5, None),
}
INSIDE = {
    "real": [992.0, 1010.5],
    "positive": [0.5, 2.9],
    "count": [2, 5],
    "step": [18.3, 19.7],
    "atom": [0.0, 1.5],
    "atom on a grid": [5, 9],
}
OUTSIDE = {"real": 1016.0, "positive": 3.1, "count": 1, "step": 19.8, "atom": 2.5, "atom on a grid": 4}


def many(times, **changed):
    return {name: cells * times for name, cells in ROW.items()} | changed


def values_of(name, low, high):
    return {"count": np.arange(low, high + 1), "atom on a grid": np.arange(low, high + 1)}[name]


@pytest.mark.parametrize("name", RANGES)
def test_a_column_given_between_two_values_has_the_density_of_what_lies_between(name):
    view = MODEL.condition(KNOWN | {name: RANGES[name]})
    assert name in view.columns
    assert "binary" not in view.columns
    inside = INSIDE[name]
    rows = many(2, **{name: inside})
    others = [each for each in view.columns if each != name]
    whole = MODEL.log_prob(ROW | {name: [RANGES[name]]}, [name], given=["binary"])
    wanted = MODEL.log_prob(rows, [name], given=["binary"]) + MODEL.log_prob(rows, others, given=["binary", name]) - whole
    torch.testing.assert_close(view.log_prob(rows), wanted, rtol=1e-6, atol=1e-5)
    torch.testing.assert_close(view.log_prob(rows, [name]), MODEL.log_prob(rows, [name], given=["binary"]) - whole, rtol=1e-6, atol=1e-5)
    parts = view.log_prob(rows, by="column")
    assert list(parts) == list(view.columns)
    torch.testing.assert_close(sum(parts.values()), view.log_prob(rows))
    assert view.log_prob(many(1, **{name: [OUTSIDE[name]]})).tolist() == [-math.inf]


@pytest.mark.parametrize("name", ["count", "atom on a grid"])
def test_others_given_a_range_are_the_sum_over_what_lies_in_it(name):
    low, high = (2, 5) if name == "count" else (5, 9)
    values = values_of(name, low, high)
    view = MODEL.condition(KNOWN | {name: Between(low, high)})
    weights = torch.exp(MODEL.log_prob(many(len(values), **{name: values}), [name], given=["binary"]))
    weights = weights / weights.sum()
    alone = [MODEL.condition(KNOWN | {name: int(value)}) for value in values]

    def mean(answers):
        return float(weights @ torch.tensor(list(answers), dtype=torch.float64))

    scores = MODEL.log_prob(many(len(values), **{name: values}), ["real", "step"], given=["binary", name])
    found = view.log_prob(ROW, ["real", "step"])
    assert float(found) == pytest.approx(float(torch.log(weights @ torch.exp(scores))), abs=1e-5)
    by_row, error = MODEL.log_prob_and_error(ROW | {name: [Between(low, high)]}, ["real", "step"], given=["binary", name])
    assert float(by_row) == pytest.approx(float(found), abs=1e-6)
    assert float(error) == 0
    assert view.cdf("real", 1000.0) == pytest.approx(mean(each.cdf("real", 1000.0) for each in alone), abs=1e-5)
    assert view.cdf("real", view.quantile("real", 0.3)) == pytest.approx(0.3, abs=1e-6)
    assert view.mean("step") == pytest.approx(mean(each.mean("step") for each in alone), rel=1e-5)
    assert view.mean("real") == pytest.approx(mean(each.mean("real") for each in alone), rel=1e-5)
    assert view.probabilities("atom")[0.0] == pytest.approx(mean(each.probabilities("atom")[0.0] for each in alone), abs=1e-5)
    assert view.probabilities("missing")[None] == pytest.approx(mean(each.probabilities("missing")[None] for each in alone), abs=1e-5)
    low_end, high_end = view.interval("positive", 0.8)
    assert view.cdf("positive", high_end) - view.cdf("positive", low_end) == pytest.approx(0.8, abs=1e-4)


def test_the_sum_over_a_range_has_all_of_its_probability():
    # A row each, with other ends: few values, one, none, an atom beside them, and all that there are.
    for name, ends in (("count", [(2, 5), (3, 3), (2.2, 2.8), (-math.inf, 4)]), ("atom on a grid", [(5, 9), (0, 0), (-5, 2)])):
        index = MODEL.columns.index(name)
        coded = torch.zeros(len(ends), len(MODEL.columns), dtype=torch.float64)
        bounds = torch.full((len(ends), len(MODEL.columns), 2), math.nan, dtype=torch.float64)
        bounds[:, index] = torch.tensor(ends, dtype=torch.float64)
        with torch.no_grad():
            found = every_value(MODEL.model, coded, bounds, [], index)
        assert found is not None
        for row, (low, high) in enumerate(ends):
            values = found.rows.unflatten(0, found.logs.shape)[row, :, index]
            counted = values[torch.isfinite(found.logs[row])].tolist()
            assert len(set(counted)) == len(counted)
            assert all(low <= value <= high for value in counted)
            whole = MODEL.log_prob(many(1, **{name: [Between(low, high)]}), [name]) if counted else torch.tensor([-math.inf])
            assert float(torch.logsumexp(found.logs[row], 0)) == pytest.approx(float(whole), abs=1e-5)
    index = MODEL.columns.index("real")
    assert every_value(MODEL.model, coded[:1], bounds[:1], [], index) is None  # it has a density


@pytest.mark.parametrize("name", RANGES)
def test_a_column_in_its_range_has_quantiles_and_a_mean_there(name):
    given = MODEL.condition(KNOWN | {name: RANGES[name]})
    anything = MODEL.condition(KNOWN)
    cell = RANGES[name]
    low, high = given.interval(name, 0.98)
    assert cell.low is None or low >= cell.low
    assert cell.high is None or high <= cell.high
    inside, outside = INSIDE[name], OUTSIDE[name]
    assert given.cdf(name, outside) == pytest.approx(float(cell.high is not None and outside > cell.high))
    below = anything.cdf(name, 1) if name == "count" else anything.cdf(name, 4) if name == "atom on a grid" else 0.0
    if name in ("count", "positive", "atom on a grid"):
        top = 1.0 if cell.high is None else anything.cdf(name, cell.high)
        wanted = (anything.cdf(name, inside[0]) - below) / (top - below)
        assert given.cdf(name, inside[0]) == pytest.approx(wanted, abs=1e-6)
    drawn = given.sample(1500, generator=torch.Generator().manual_seed(0))[name].astype(float)
    assert given.mean(name) == pytest.approx(drawn.mean(), abs=4 * drawn.std() / math.sqrt(len(drawn)) + 1e-9)
    assert float((drawn <= given.quantile(name, 0.5)).mean()) > 0.47


@pytest.mark.parametrize("name", RANGES)
def test_samples_are_in_the_range_and_are_scored(name):
    view = MODEL.condition(KNOWN | {name: RANGES[name]})
    drawn = view.sample(300, generator=torch.Generator().manual_seed(1))
    assert torch.isfinite(view.log_prob(drawn)).all()
    assert set(drawn["binary"]) == {KNOWN["binary"]}
    again = view.sample(300, generator=torch.Generator().manual_seed(1))
    assert drawn.equals(again)
    assert view.effective_sample_size == 1024
    assert len(view.sample(0)) == 0


def test_several_ranges_are_weighed():
    first, second = np.arange(1, 5), np.arange(5, 10)
    view = MODEL.condition({"count": (1, 4), "atom on a grid": (5, 9)})
    pairs = [(a, b) for a in first for b in second]
    rows = many(len(pairs), count=[a for a, _ in pairs], **{"atom on a grid": [b for _, b in pairs]})
    weights = torch.exp(MODEL.log_prob(rows, ["count", "atom on a grid"]))
    weights = weights / weights.sum()
    scores = torch.exp(MODEL.log_prob(rows, ["real"], given=["count", "atom on a grid"]))
    assert float(view.log_prob(ROW, ["real"])) == pytest.approx(float(torch.log(weights @ scores)), abs=0.02)
    assert 500 < view.effective_sample_size < 1024
    alone = [MODEL.condition({"count": int(a), "atom on a grid": int(b)}).cdf("step", 19.0) for a, b in pairs]
    assert view.cdf("step", 19.0) == pytest.approx(float(weights @ torch.tensor(alone, dtype=torch.float64)), abs=5e-3)
    drawn = view.sample(1500, generator=torch.Generator().manual_seed(0))
    shares = [float(((drawn["count"] == a) & (drawn["atom on a grid"] == b)).mean()) for a, b in pairs]
    np.testing.assert_allclose(shares, weights.numpy(), atol=0.045)
    assert view.cdf("count", 2) == pytest.approx(float(weights[[place for place, (a, _) in enumerate(pairs) if a <= 2]].sum()), abs=0.02)


def test_a_pair_an_interval_and_a_row_of_a_table_say_the_same():
    ways = [{"count": (2, 5)}, {"count": Between(2, 5)}, {"count": pd.Interval(2, 5, "both")}, pd.DataFrame({"count": [Between(2, 5)]})]
    found = [MODEL.condition(way).mean("real") for way in ways]
    assert found == [found[0]] * 4
    assert MODEL.condition({"count": (3, 3)}).columns == MODEL.condition({"count": 3}).columns
    assert MODEL.condition({"count": (3, None)}).cdf("count", 2) == 0


REFUSED = {
    "a pair that is none": (lambda: MODEL.condition({"count": (1, 2, 3)}), "expected a value, or two between which it lies, got (1, 2, 3)"),
    "a pair the wrong way": (lambda: MODEL.condition({"count": (5, 2)}), "'count': expected a lower end below the upper one, got 5 and 2"),
    "of categories": (lambda: MODEL.condition({"binary": (0, 1)}), "column 'binary': expected"),
    "nothing of the grid": (lambda: MODEL.condition({"count": (2.2, 2.8)}), "'count': expected cells between two values to hold one of"),
    "the probabilities of the column itself": (lambda: MODEL.condition({"atom": (0, 2)}).probabilities("atom"), "'atom'; ask for its cdf"),
    "several in a row beside": (
        lambda: MODEL.log_prob(ROW | {"count": [Between(1, 3)], "real": [Between(990, 1010)], "step": [Between(18, 19)]}, given=["count"]),
        "expected at most one cell between two values in a row beside those that are given",
    ),
    "a range of what is given as one": (
        lambda: MODEL.condition({"count": (1, 4)}).log_prob(ROW | {"count": [Between(2, 3)]}),
        "expected values of what is given, got one that is known between two alone",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_given_is_refused_by_name(case):
    run, message = REFUSED[case]
    with pytest.raises(ValueError, match=re.escape(message)):
        run()


def test_one_interval_beside_what_is_given_is_exact():
    data = ROW | {"count": [Between(2, 5)], "real": [Between(990, 1010)]}
    values = np.arange(2, 6)
    weights = torch.exp(MODEL.log_prob(many(4, count=values), ["count"]))
    inner = torch.exp(MODEL.log_prob(many(4, count=values, real=[Between(990, 1010)] * 4), ["real"], given=["count"]))
    wanted = float(torch.log((weights * inner).sum() / weights.sum()))
    assert float(MODEL.log_prob(data, ["real"], given=["count"])) == pytest.approx(wanted, abs=0.01)


def test_cells_between_two_values_are_filled_between_them():
    n = 40
    data = FRAME.iloc[:n].astype({"count": object, "step": object, "real": object}).reset_index(drop=True)
    data.loc[3, "count"] = Between(2, 5)
    data.loc[5, "step"] = Between(18.0, 19.0)
    data.loc[5, "missing"] = None
    for column, cell in {"count": Between(1, 3), "real": Between(1000, 1010), "step": Between(None, 19)}.items():
        data.at[8, column] = cell
    for table in MODEL.impute(data, 5, generator=torch.Generator().manual_seed(0)):
        assert 2 <= table["count"][3] <= 5
        assert 18 <= table["step"][5] <= 19
        assert not table["missing"].isna().any()
        assert 1 <= table["count"][8] <= 3
        assert 1000 <= table["real"][8] <= 1010
        assert table["step"][8] <= 19
        rest = [row for row in range(n) if row not in (3, 5, 8)]
        assert table["real"][rest].astype(float).equals(FRAME["real"][rest].astype(float))
    # Of one cell the draws are those of its conditional.
    row = pd.DataFrame(ROW).loc[[0] * 1000].reset_index(drop=True).astype({"count": object})
    row["count"] = [Between(2, 5)] * 1000
    (drawn,) = MODEL.impute(row, generator=torch.Generator().manual_seed(0))
    given = {name: cells[0] for name, cells in ROW.items() if name != "count"}
    view = MODEL.condition(given | {"count": (2, 5)})
    for value in (2, 3, 4):
        assert float((drawn["count"] <= value).mean()) == pytest.approx(view.cdf("count", value), abs=0.05)


def test_dates_may_be_given_between_two():
    days = pd.DataFrame({"day": pd.date_range("2020-01-01", periods=90).repeat(2), "size": np.arange(180) % 7 + 0.25})
    model = model_of(days)
    view = model.condition({"day": (dt.date(2020, 1, 10), dt.date(2020, 1, 20))})
    drawn = view.sample(50, generator=torch.Generator().manual_seed(0))
    assert drawn["day"].min() >= pd.Timestamp("2020-01-10")
    assert drawn["day"].max() <= pd.Timestamp("2020-01-20")
    assert view.quantile("day", 0.5) in [dt.date(2020, 1, day) for day in range(10, 21)] or str(view.quantile("day", 0.5))[:7] == "2020-01"


def test_a_component_counts_by_how_likely_it_has_a_value():
    at, counts = MODEL.columns.index("count"), [1, 9]
    coded = MODEL.encode({"count": counts}, asked=[at])
    known = torch.zeros(coded.shape, dtype=torch.bool)
    known[:, at] = True
    with torch.no_grad():
        h = MODEL.model.network.trunk(MODEL.model.network.state(MODEL.model.events(coded), known))
        both = Univariate(MODEL.model, MODEL.model.variables[MODEL.columns.index("missing")], h, torch.tensor([0.3, 0.7]))
    alone = [MODEL.condition({"count": count}) for count in counts]
    there = np.array([0.3, 0.7]) * [1 - each.probabilities("missing")[None] for each in alone]
    cdfs = np.array([each.cdf("missing", 5.0) for each in alone])
    assert abs(there[0] / there.sum() - 0.3) > 1e-3
    assert both.cdf(5.0) == pytest.approx(float(there @ cdfs / there.sum()), abs=1e-6)
    assert both.cdf(both.quantile(0.4)) == pytest.approx(0.4, abs=1e-6)
