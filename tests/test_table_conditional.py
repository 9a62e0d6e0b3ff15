"""Any columns given any others: conditionals agree with the joint, with brute force, and with their own samples."""

import datetime as dt
import math

import numpy as np
import pandas as pd
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import pushforward as pf
from tests.table_cases import BEGUN, KINDS, frame_of, model_of
from tests.test_table_flow import beside, outcomes, seeded

NUMBERS = [kind for kind in KINDS if kind not in ("binary", "numbered", "categorical", "ordered", "missing category", "many")]


def test_given_and_rest_are_the_joint_in_the_order_given_first():
    frame = frame_of("real", "count", "categorical", "missing")
    model = model_of(frame).double()
    row = frame.iloc[3]
    rows = frame.iloc[[3]]
    # The schema's first columns given: the joint itself.
    view = model.condition({"real": row["real"], "count": row["count"]})
    assert view.columns == ("categorical", "missing")
    both = view.log_prob(rows) + model.log_prob(rows, ["real", "count"])
    assert torch.allclose(both, model.log_prob(rows), atol=1e-12)
    # Others given: the chain of those given, and then of the rest.
    from pushforward.tables.chain import score_chain

    view = model.condition({"categorical": row["categorical"], "missing": row["missing"]})
    events = model.model.events(model.encode(rows))
    wanted = score_chain(model.model, events, [2, 3, 0, 1]).logs.sum(1)
    assert torch.allclose(view.log_prob(rows) + model.log_prob(rows, ["categorical", "missing"]), wanted, atol=1e-12)
    parts = view.log_prob(rows, by="column")
    assert list(parts) == ["real", "count"]
    assert torch.allclose(sum(parts.values()), view.log_prob(rows), atol=1e-12)


@pytest.mark.parametrize(("kind", "classes"), BEGUN)
def test_what_one_column_is_given_others_is_a_sum_over_its_density(kind, classes):
    """Probabilities, mean, distribution function, quantiles and intervals against sums over `log_prob`."""
    other = beside(kind)
    frame = frame_of(kind, other)
    model = model_of(frame, classes=classes)
    given = {other: bool(frame[other][0]) if other == "binary" else int(frame[other][0])}
    view = model.condition(given)
    values, counts = outcomes(model, kind)
    table = model.decode(torch.stack([values, torch.zeros_like(values)], 1), "dict")
    mass = torch.exp(view.log_prob({kind: table[kind]})) * counts
    assert float(mass.sum()) == pytest.approx(1, abs=1e-3)
    column = model.schema[kind]
    probabilities = view.probabilities(kind)
    assert sum(probabilities.values()) == pytest.approx(1, abs=1e-9)
    cases = len(column.categories) or len(column.atoms)
    keys = [*column.categories] or [atom for atom, _ in column.atoms]
    for key, wanted in zip(keys, mass[:cases].tolist(), strict=True):
        assert probabilities[key] == pytest.approx(wanted, abs=1e-6)
    if column.missing:
        assert probabilities[None] == pytest.approx(float(mass[cases]), abs=1e-6)
    there = ~torch.isnan(values)
    x, share = values[there], mass[there] / mass[there].sum()
    if kind not in NUMBERS:
        with pytest.raises(ValueError, match="expected a column of numbers"):
            view.mean(kind)
        if column.kind == "ordered":
            sums = torch.cumsum(share, 0).tolist()
            assert view.quantile(kind, 0.5) == column.categories[next(at for at, one in enumerate(sums) if one >= 0.5)]
            low, high = view.interval(kind, 0.2)
            assert column.categories.index(low) <= column.categories.index(high)
        else:
            with pytest.raises(ValueError, match="expected a column with an order"):
                view.quantile(kind, 0.5)
        return
    coded = lambda value: float(model.encode({kind: [value]}, "raise", [0], fitted=False)[0, 0])  # noqa: E731
    spread = float(((x - x.mean()) ** 2 * share).sum().sqrt()) + 1e-9
    mean = coded(view.mean(kind)) if column.kind == "datetime" else view.mean(kind)
    if column.kind == "circular":
        turn = 2 * math.pi / column.period
        wanted = math.atan2(float((torch.sin(turn * x) * share).sum()), float((torch.cos(turn * x) * share).sum())) / turn
        apart = (mean - wanted + column.period / 2) % column.period - column.period / 2
        assert apart == pytest.approx(0, abs=2e-3 * column.period)
    elif kind not in ("positive", "atom", "missing atom", "constant"):  # tails of which the sum has too little
        assert mean == pytest.approx(float((x * share).sum()), abs=5e-3 * spread + (86400 if kind == "date" else 0))
    order = torch.argsort(x)
    x, sums = x[order], torch.cumsum(share[order], 0)
    for q in (0.05, 0.3, 0.5, 0.9):
        got = coded(view.quantile(kind, q))
        at = min(int(torch.searchsorted(sums, q)), len(x) - 1)
        near = x[max(at - 2, 0)], x[min(at + 2, len(x) - 1)]
        if column.kind != "circular":
            off = 1e-6 * spread + model.model.grids[0].rounding
            assert float(near[0]) - off <= got <= float(near[1]) + off
            value = model.decode(torch.tensor([[got, 0.0]], dtype=torch.float64), "dict")[kind][0]
            assert view.cdf(kind, value) >= q - 2e-6 - (0.01 if model.model.grids[0].rounding else 0)
            assert view.cdf(kind, value) == pytest.approx(float(sums[torch.searchsorted(x, got + 1e-9 * spread, right=True) - 1]), abs=2e-3)
    low, high = (coded(end) for end in view.interval(kind, 0.8))
    inside = (x >= low) & (x <= high) if low <= high else (x >= low) | (x <= high)
    held = float(torch.diff(sums, prepend=sums.new_zeros(1))[inside].sum())
    assert held >= 0.8 - 5e-3
    assert not (model.model.grids[0].step == 0 and not column.atoms) or held == pytest.approx(0.8, abs=5e-3)


def test_samples_of_a_condition_keep_to_it_and_have_its_density():
    frame = frame_of("real", "count", "categorical", "missing")
    model = model_of(frame)
    view = model.condition({"categorical": "Ulm", "missing": None})
    drawn = view.sample(6000, generator=seeded())
    assert list(drawn.columns) == list(frame.columns)
    assert set(drawn["categorical"]) == {"Ulm"}
    assert drawn["missing"].isna().all()
    assert drawn["real"].mean() == pytest.approx(view.mean("real"), abs=5 * drawn["real"].std() / math.sqrt(6000))
    assert drawn["real"].quantile(0.3) == pytest.approx(view.quantile("real", 0.3), abs=0.1 * drawn["real"].std())
    # By Monte Carlo the mean log-density of the samples is that of the samples' own conditional.
    scores = view.log_prob(drawn)
    assert torch.isfinite(scores).all()
    # A column of which others are drawn first: the mean over draws of what it is given all.
    counts = torch.tensor(drawn["count"].to_numpy())
    some = drawn.iloc[:300]
    each = [model.condition({"real": r, "categorical": "Ulm", "missing": None}).probabilities("count")["value"] for r in some["real"][:3]]
    assert each == [1.0] * 3
    assert counts.min() >= 0


def test_a_condition_may_be_a_row_of_a_table_and_dates():
    frame = frame_of("date", "zone", "categorical")
    model = model_of(frame)
    one = model.condition(frame[["date"]].iloc[:1])
    other = model.condition({"date": frame["date"][0]})
    assert one.probabilities("categorical") == other.probabilities("categorical")
    assert isinstance(other.quantile("zone", 0.5), dt.datetime)
    assert other.quantile("zone", 0.5).utcoffset() is not None
    assert isinstance(model.condition({"categorical": "Ulm"}).quantile("date", 0.5), dt.date)
    low, high = model.condition({"categorical": "Ulm"}).interval("date", 0.5)
    assert low < high


def test_imputed_tables_keep_what_is_there_and_draw_the_rest():
    frame = frame_of("missing", "missing count", "missing category", "real")
    model = model_of(frame)
    frame.index = [f"row {i}" for i in range(len(frame))]
    first, second = model.impute(frame, 2, generator=seeded())
    assert not first.isna().any().any()
    for table in (first, second):
        assert list(table.index) == list(frame.index)
        for name in frame:
            there = frame[name].notna()
            assert (table[name][there] == frame[name][there]).all()
            assert table[name].dtype == frame[name].dtype
    assert not first.equals(second)
    # Of one row, drawn often: the conditional given the others, and given that it is there.
    row = frame[frame["missing count"].isna() & frame["missing"].notna() & frame["missing category"].notna()].iloc[[0]]
    drawn = model.impute(pd.concat([row] * 4000), generator=seeded())[0]["missing count"].astype(float)
    view = model.condition({name: row[name].iloc[0] for name in frame if name != "missing count"})
    assert drawn.mean() == pytest.approx(view.mean("missing count"), abs=5 * drawn.std() / math.sqrt(4000))
    arrow = model.impute(model.sample(5, generator=seeded(), library="pyarrow"))[0]
    assert arrow.column_names == list(frame.columns)


def test_cells_may_be_imputed_of_columns_that_were_whole():
    frame = frame_of("categorical", "count", "date", "real")
    model = model_of(frame)
    gaps = frame.astype({"count": "Int64"})
    for at, name in enumerate(gaps):
        gaps.loc[at::7, name] = None
    with pytest.raises(ValueError, match="column 'categorical': expected no missing value"):
        model.log_prob(gaps)
    filled = model.impute(gaps, generator=seeded())[0]
    assert not filled.isna().any().any()
    model.log_prob(filled)  # allowed by the schema
    there = gaps.notna()
    assert all((filled[name][there[name]] == gaps[name][there[name]]).all() for name in gaps)


def test_disagreement_is_that_of_two_chains_and_none_where_columns_are_independent():
    frame = frame_of("real", "count", "categorical")
    model = pf.TableFlow(frame, widths=(16,)).measure(frame)
    assert model.disagreement(frame).largest < 1e-5
    noisy = model_of(frame)
    found = noisy.disagreement(frame, 12, generator=seeded())
    assert found.typical > 0.05
    assert found.largest >= found.typical
    assert found.schema == pytest.approx(float(noisy.log_prob(frame).mean()))
    assert len(found.orders) == 12


def test_a_description_tells_columns_measures_and_what_a_pass_costs():
    frame = frame_of("real", "atom", "count", "step", "missing category", "date", "many")
    model = model_of(frame)
    text = model.describe()
    parameters = sum(p.numel() for p in model.parameters())
    assert text.splitlines()[0] == f"TableFlow of 7 columns, {parameters:,} parameters"
    for words in ("density of cells 0.1 wide", "density, probability of atoms", "density a second of cells 86400 wide", "probability"):
        assert words in text
    with FlopCounterMode(display=False) as counter:
        model.log_prob(frame.iloc[:1])
    products = counter.get_total_flops() // 2
    assert f"in 7 passes of the network, {products:,} multiplications" in text
    assert "not fitted" in pf.TableFlow(frame).describe()


WRONG = [
    (lambda m, f: m.condition({}), "expected values of some columns, got none"),
    (lambda m, f: m.condition({"age": 3}), "no column 'age'"),
    (lambda m, f: m.condition({"real": 1013.0, "binary": True}), "got values of all"),
    (lambda m, f: m.condition({"real": None}), "expected no missing value"),
    (lambda m, f: m.condition({"real": "warm"}), "expected numbers, got texts"),
    (lambda m, f: m.condition(f[["real"]]), "expected one row, got 50"),
    (lambda m, f: m.condition({"binary": True}).quantile("real", 1.5), "q between 0 and 1"),
    (lambda m, f: m.condition({"binary": True}).interval("real", True), "p between 0 and 1"),
    (lambda m, f: m.condition({"binary": True}).mean("binary"), "a column that is not given"),
    (lambda m, f: m.condition({"binary": True}).mean("age"), "no column 'age'"),
    (lambda m, f: m.condition({"binary": True}).log_prob(f), "expected 'binary' as it is given, got another in row"),
    (lambda m, f: m.condition({"binary": True}).log_prob(f, ["binary"]), "columns that are not given, got 'binary'"),
    (lambda m, f: m.condition({"binary": True}).log_prob(f, by="row"), "by to be 'column' or None"),
    (lambda m, f: m.condition({"binary": True}).sample(-1), "n to be a whole number"),
    (lambda m, f: m.condition({"real": 1013.0}).cdf("binary", True), "a column of numbers"),
    (lambda m, f: m.impute(f, 0), "n to be a whole number"),
    (lambda m, f: m.disagreement(f, 0), "orders to be a whole number"),
    (lambda m, f: pf.TableFlow(f).condition({"real": 1.0}), "a model that has met data"),
    (lambda m, f: pf.TableFlow(f).impute(f), "a model that has met data"),
    (lambda m, f: pf.TableFlow(f).disagreement(f), "a model that has met data"),
]


@pytest.mark.parametrize(("call", "message"), WRONG)
def test_wrong_input_is_refused(call, message):
    frame = frame_of("real", "binary", n=50)
    with pytest.raises(ValueError, match=message):
        call(model_of(frame), frame)


def test_numpy_is_not_needed_of_users():
    frame = frame_of("real", "binary", n=50)
    view = model_of(frame).condition({"binary": np.bool_(True)})
    assert isinstance(view.mean("real"), float)


def test_rows_are_scored_given_cells_of_their_own():
    kinds = ("real", "count", "categorical", "missing")
    frame = frame_of(*kinds, n=60)
    model = model_of(frame)
    found = model.log_prob(frame, given=["missing", "count"])
    for row in range(0, 60, 7):
        view = model.condition({name: frame[name].iloc[row] for name in ("count", "missing")})
        assert float(found[row]) == pytest.approx(float(view.log_prob(frame.iloc[[row]])), abs=1e-5)
    parts = model.log_prob(frame, ["real"], given=["count"], by="column")
    assert list(parts) == ["real"]
    torch.testing.assert_close(parts["real"], model.log_prob_and_error(frame, ["real"], given=["count"])[0])
    odd = model.log_prob(frame.assign(count=-1), ["real"], given=["count"], unseen="outside")
    assert bool((odd == -math.inf).all())


GIVEN = [
    ({"given": "real"}, "expected given to be a list of names, got 'real'"),
    ({"given": ["none"]}, "no column 'none'"),
    ({"given": ["real"], "columns": ["real"]}, "expected columns that are not given, got 'real'"),
    ({"given": ["real", "count"]}, "expected a column that is not given, got all of them"),
]


@pytest.mark.parametrize(("options", "words"), GIVEN, ids=[words for _, words in GIVEN])
def test_what_cannot_be_given_is_said(options, words):
    frame = frame_of("real", "count", n=60)
    model = model_of(frame)
    for method in (model.log_prob, model.log_prob_and_error):
        with pytest.raises(ValueError, match=words):
            method(frame, **options)
