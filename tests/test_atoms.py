"""What has a probability of its own in a column of numbers, and what is a grid: decided by counts, held against columns of known kinds."""

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import pushforward as pf
from pushforward.data import Schema
from pushforward.data.schema.atoms import MANY, find_atoms
from tests.table_cases import KINDS, frame_of, schema_of

SEEDS = st.integers(0, 2**32 - 1)


def found(values, name="x", told=None):
    return Schema.find({name: values}, None if told is None else {name: told}).columns[0]


# Few values that differ

IRREGULAR = st.lists(st.floats(-1e6, 1e6), min_size=3, max_size=20, unique_by=lambda x: round(x, 2)).filter(lambda some: not _even(some))


def _even(some):
    """Tell whether values are so regular that they are a grid without many holes."""
    x = np.sort(some)
    steps = np.diff(x) / np.diff(x).min()
    return bool((np.abs(steps - np.rint(steps)) < 1e-3).all() or np.diff(x).min() < 1e-5 * (x[-1] - x[0]))


@settings(max_examples=60, deadline=None)
@given(IRREGULAR, SEEDS, st.integers(8, 60))
def test_few_values_without_a_common_step_are_atoms_all_of_them(some, seed, each):
    values = np.random.default_rng(seed).permutation(np.repeat(some, each))
    column = found(values)
    assert [value for value, _ in column.atoms] == sorted(some)
    assert sum(share for _, share in column.atoms) == pytest.approx(1)
    assert column.step == 0 or column.kind == "count"


DOSES = {
    "ages": [22, 22.5, 23.1, 24.7, 25.9, 30.2],
    "doses": [0.05, 0.1, 0.5, 2],
    "powers": [1, 10, 100, 1000],
    "hours": [1, 2, 4, 8, 24, 48],
}


@pytest.mark.parametrize("name", DOSES)
@pytest.mark.parametrize("rows", [40, 400])
def test_their_held_out_density_is_a_probability(name, rows):
    values = np.random.default_rng(0).choice(DOSES[name], rows)
    model = pf.TableFlow({"x": values}, widths=(8,)).measure({"x": values})
    shares = torch.exp(model.log_prob({"x": DOSES[name]}))
    assert 0.85 < float(shares.sum()) < 1
    seen = model.sample(2000, generator=torch.Generator().manual_seed(0), library="dict")["x"]
    assert np.isin(seen, DOSES[name]).mean() > 0.95


FEW_DOSES = st.lists(st.integers(0, 10), min_size=3, max_size=9, unique=True)


@settings(max_examples=60, deadline=None)
@given(FEW_DOSES, st.integers(100, 400), st.lists(st.integers(3, 300), min_size=11, max_size=11), st.sampled_from([1.0, 0.05, 0.5]))
def test_few_values_that_fill_little_of_a_grid_are_atoms_however_often_each_comes(beside, far, counts, step):
    places = np.array([*beside, far])
    values = np.repeat(places * step, counts[: len(places)])
    assert {value for value, _ in find_atoms(values).atoms} == set(np.unique(values).tolist())


def test_a_value_that_came_once_beside_few_is_none_and_may_come_again():
    column = found([*[0.3, 1.0, 7.1] * 50, 4.77])
    assert [value for value, _ in column.atoms] == [0.3, 1.0, 7.1]


def test_many_values_that_come_again_are_no_atoms():
    random = np.random.default_rng(0)
    assert found(np.repeat(random.normal(size=200), 2)).atoms == ()
    assert found(np.repeat(random.normal(size=MANY + 1), 20)).atoms == ()
    assert len(found(np.repeat(random.normal(size=MANY), 20)).atoms) == MANY


# Grids


def _smooth(shape, n, random):
    return {
        "normal": lambda: np.rint(random.normal(50, random.uniform(0.2, 9), n)),
        "tenths": lambda: np.round(random.normal(0, random.uniform(0.3, 2), n), 1),
        "ages": lambda: random.integers(18, 91, n),
        "poisson": lambda: random.poisson(random.uniform(0.3, 30), n),
        "geometric": lambda: random.geometric(random.uniform(0.05, 0.6), n),
        "halves": lambda: np.rint(2 * random.lognormal(1, 0.5, n)) / 2,
        "two humps": lambda: np.rint(np.where(random.random(n) < 0.5, random.normal(0, 3, n), random.normal(30, 4, n))),
        "heavy": lambda: np.rint(5 * random.pareto(1.2, n)),
        "beta": lambda: np.round(random.beta(0.5, 0.5, n), 2),
    }[shape]()


SHAPES = ["normal", "tenths", "ages", "poisson", "geometric", "halves", "two humps", "heavy", "beta"]


@settings(max_examples=120, deadline=None)
@given(st.sampled_from(SHAPES), st.integers(300, 5000), SEEDS)
def test_common_values_of_smooth_grids_are_no_atoms(shape, n, seed):
    values = _smooth(shape, n, np.random.default_rng(seed))
    assert find_atoms(values).atoms == ()


@settings(max_examples=80, deadline=None)
@given(st.sampled_from(["ages", "poisson", "tenths", "two humps", "halves"]), st.integers(500, 5000), st.floats(0.3, 0.6), SEEDS, st.data())
def test_a_value_that_stands_out_from_those_beside_it_is_one(shape, n, share, seed, data):
    random = np.random.default_rng(seed)
    values = _smooth(shape, n, random)
    distinct, counts = np.unique(values, return_counts=True)
    usual = distinct[counts <= 0.02 * n]
    if len(usual) < 20:
        return
    atom = data.draw(st.sampled_from(usual.tolist()))
    values = np.where(random.random(n) < share, atom, values)
    assert [value for value, _ in find_atoms(values).atoms] == [atom]


# Marks


@settings(max_examples=80, deadline=None)
@given(
    st.sampled_from(["ages", "poisson", "tenths", "two humps", "halves", "smooth"]),
    st.sampled_from([-999.0, 9999.0, -9999.0, 99999.0]),
    st.integers(200, 3000),
    st.floats(0.02, 0.3),
    SEEDS,
)
def test_a_mark_far_from_all_others_is_an_atom_and_the_others_are_as_without_it(shape, mark, n, share, seed):
    random = np.random.default_rng(seed)
    values = random.normal(10, 2, n) if shape == "smooth" else _smooth(shape, n, random)
    marked = random.permutation(np.concatenate([values, np.full(max(3, int(share * n)), mark)]))
    alone, both = found(values), found(marked)
    assert (both.kind, both.step, both.low, both.high, both.origin) == (alone.kind, alone.step, alone.low, alone.high, alone.origin)
    assert [value for value, _ in both.atoms] == sorted([*(value for value, _ in alone.atoms), mark])
    assert "far from all others: does it mean a missing value?" in both.why


CODES = [
    (np.repeat(np.arange(18, 91), 8), -1, 18, "count, atom -1 (3 %)"),
    (np.repeat(np.arange(1, 6), 100), -9, 22, "count, atom -9 (4.2 %)"),
    (np.repeat(np.arange(1, 6), 100), -1, 22, "count, atom -1 (4.2 %)"),
    (np.repeat(np.arange(0, 6), 100), -1, 22, "real, step 1"),  # what is next to a grid may be one of its values
    (np.repeat(np.arange(-5, 6), 100), -999, 22, "real, step 1, atom -999 (2 %)"),
    (np.repeat(np.arange(18, 91), 8), -999, 2, "real, step 1"),  # twice is no mark
    (np.random.default_rng(0).lognormal(3, 0.3, 500), -1, 20, "real, atom -1 (3.8 %)"),
]


@pytest.mark.parametrize(("values", "mark", "times", "words"), CODES)
def test_codes_beyond_a_gap_are_marks(values, mark, times, words):
    assert found([*values.tolist(), *[mark] * times]).told() == words


def test_a_mark_need_not_be_on_the_grid_of_the_others():
    column = found([*range(20, 90)] * 5 + [-999.5] * 4)
    assert (column.kind, column.step, [value for value, _ in column.atoms]) == ("count", 1, [-999.5])
    column = found([*np.round(np.random.default_rng(0).normal(20, 3, 900), 1), *[999.55] * 20])
    assert (column.kind, column.step, [value for value, _ in column.atoms]) == ("positive", 0.1, [999.55])
    model = pf.TableFlow({"x": [*range(20, 90)] * 5 + [-999.5] * 4}, widths=(8,))
    model.measure({"x": [*range(20, 90)] * 5 + [-999.5] * 4})
    assert float(model.log_prob({"x": [-999.5]}).exp()) == pytest.approx(4 / 354, rel=0.2)


def test_several_marks_at_both_ends():
    column = found([*range(20, 90)] * 5 + [-999, -998, 9999] * 4)
    assert column.kind == "count"
    assert [value for value, _ in column.atoms] == [-999, -998, 9999]
    assert "-999 and -998 and 9999 are far from all others: do they mean" in column.why


def test_nothing_is_drawn_between_a_mark_and_the_others():
    frame = pd.DataFrame({"age": [*range(18, 91)] * 5 + [-999] * 12})
    model = pf.TableFlow(frame, widths=(8,)).measure(frame)
    drawn = model.sample(20_000, generator=torch.Generator().manual_seed(0))["age"]
    assert abs((drawn == -999).mean() - 12 / 377) < 0.006
    assert drawn[drawn != -999].min() >= 0
    assert (drawn.between(-998, 10)).mean() < 2e-3
    model.schema.check(frame)
    with pytest.raises(ValueError, match="expected at least 0, got -998 in row 0"):
        model.schema.check({"age": [-998]})


@pytest.mark.parametrize("kind", ["few values", "few counts", "marked count", "marked circle", "marked step"])
def test_the_kinds_of_the_tables_of_tests_have_atoms(kind):
    assert kind in KINDS
    assert schema_of(frame_of(kind)).columns[0].atoms


def test_zero_far_from_all_others_is_no_question():
    column = found([*np.random.default_rng(0).uniform(1000, 1100, 300), *[0.0] * 30])
    assert (column.kind, column.atoms) == ("real", ((0.0, 30 / 330),)) or column.kind == "positive"
    assert "missing" not in column.why


def test_what_is_told_has_marks_too():
    column = found([*range(20, 90)] * 5 + [-999] * 5, told="count")
    assert (column.kind, [value for value, _ in column.atoms]) == ("count", [-999])
    assert "as told; -999 is far" in column.why
    with pytest.raises(ValueError, match="expected at least 0, got -2"):
        found([*range(20, 90)] * 5 + [-2], told="count")


# Whole numbers beyond float64, and names that are numbers


def test_whole_numbers_that_float64_rounds_are_asked_about_and_no_categories():
    ids = pd.DataFrame({"id": np.arange(40, dtype=np.int64) + 2**60})
    assert "beyond 2^53 float64 rounds them: are they names, not numbers?" in found(ids["id"]).why
    for kind in ("categorical", "ordered"):
        with pytest.raises(ValueError, match=r"column 'x': expected categories that float64 tells apart, got whole numbers beyond 2\^53"):
            found(ids["id"], told=kind)
    assert len(found(ids["id"].astype(str), told="categorical").categories) == 40
    assert "2^53" not in found(ids["id"] - 2**60).why


def test_columns_that_are_named_by_numbers_may_be_asked_for_by_them():
    frame = pd.DataFrame({0: np.random.default_rng(0).normal(size=60), 1: [1, 2, 3] * 20})
    schema = Schema.find(frame, {1: "count"}, columns=[1, 0])
    assert (schema.names, schema[1].kind) == (("1", "0"), "count")
    assert Schema.find(frame, exclude=[0]).names == ("1",)
    model = pf.TableFlow(frame, widths=(8,)).measure(frame)
    torch.testing.assert_close(model.log_prob(frame, [1]), model.log_prob(frame, ["1"]))
    assert model.condition({1: 2}).mean(0) == pytest.approx(model.condition({"1": 2}).mean("0"))
    assert list(model.impute(frame[[1, 0]])[0].columns) == [0, 1]
    with pytest.raises(ValueError, match="no column 2; there are '0', '1'"):
        model.log_prob(frame, [2])


def test_months_as_parts_of_years_stay_on_their_grid():
    dates = {"date": np.repeat(2000 + np.arange(187) / 12, 3)}
    model = pf.TableFlow(dates, widths=(8,)).measure(dates)
    assert model.model.grids[0].step == pytest.approx(1 / 12)
    assert bool(torch.isfinite(model.log_prob(model.sample(50, generator=torch.Generator().manual_seed(0)))).all())
