"""Tables as people have them: each comes back as it came, or one line says column, what was expected, what came, and what to do."""

import datetime as dt
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import pushforward as pf
from pushforward.__main__ import main
from pushforward.data import Schema
from pushforward.data.reading import open_table
from pushforward.data.schema.column import Column
from pushforward.data.schema.grid import find_grid
from pushforward.data.to_frames import decode
from pushforward.tables.network import Network

N = 400
QUICK = ["--epochs", "1", "-q"]


def random():
    return np.random.default_rng(0)


def measured(frame):
    return pf.TableFlow(frame, widths=(8,), bins=4).measure(frame)


def drawn(frame, n=3000):
    model = measured(frame)
    rows = model.sample(n, generator=torch.Generator().manual_seed(0))
    assert torch.isfinite(model.log_prob(rows)).all()
    return rows


DECIMALS = {
    "cents": (random().lognormal(8, 1, N).round(2), 2),
    "cents of float32": (random().lognormal(3, 1, N).round(2).astype("float32"), 2),
    "thousandths": (random().normal(0, 10, N).round(3), 3),
    "billions in cents": ((1e9 * random().lognormal(size=N)).round(2), 2),
    "small": (1e-9 * random().normal(size=N).round(2), 11),
}


@pytest.mark.parametrize("name", DECIMALS)
def test_numbers_of_few_decimals_are_drawn_with_as_many(name):
    values, places = DECIMALS[name]
    found = drawn(pd.DataFrame({"x": values}))["x"]
    assert len(set(found)) > 300
    written = found.round(places).astype(values.dtype)
    assert (found == written).all()
    assert (found.round(places - 1) != found).any()


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
def test_numbers_of_all_digits_are_not_rounded(dtype):
    values = random().normal(size=N).astype(dtype).astype(float)
    grid = find_grid(Column("x", "real"), values)
    assert grid.step == grid.rounding == 0


@settings(deadline=None, max_examples=40)
@given(st.sampled_from([3600, 86400, 900]), st.integers(0, 899), st.integers(-(10**5), 10**5))
def test_moments_equally_far_past_a_round_one_stay_there(step, past, first):
    """However small that is beside the seconds since 1970."""
    start = dt.datetime(1970, 1, 1) + dt.timedelta(hours=first)
    moments = [start + dt.timedelta(seconds=past + step * place) for place in range(60)]
    found = measured({"t": moments}).sample(300, library="dict", generator=torch.Generator().manual_seed(0))["t"]
    assert {(moment - moments[0]).total_seconds() % step for moment in found} == {0.0}


def test_a_moment_beside_the_grid_is_refused_in_words_of_time():
    model = measured({"t": [dt.datetime(2024, 1, 1) + dt.timedelta(days=day) for day in range(60)]})
    with pytest.raises(ValueError, match=r"column 't': expected values 1 day, 0:00:00 apart, .* got 2024-01-05 00:04:16 in row 0"):
        model.log_prob({"t": [dt.datetime(2024, 1, 5, 0, 4, 16)]})  # which is a number of float32


def test_a_grid_far_from_0_stays_where_it_is():
    found = drawn(pd.DataFrame({"x": 2e6 + 0.2 + random().integers(0, 20, N)}))["x"]
    assert np.allclose(found % 1, 0.2, atol=1e-6)
    ids = measured({"x": 1e9 + 10.0 * random().integers(0, 50, N)})
    with pytest.raises(ValueError, match="expected values 10 apart"):
        ids.log_prob({"x": [1e9 + 12.0]})


ENDS = {
    "int8": random().integers(90, 128, N).astype("int8"),
    "uint8": random().normal(240, 10, N).clip(200, 255).astype("uint8"),
    "Int16": pd.array([None, *(32767 - random().integers(0, 100, N))], "Int16"),
    "int64": 2**63 - 1 - random().integers(0, 10**17, N),
    "uint64": np.uint64(2**64 - 1) - random().integers(0, 10**17, N).astype("uint64"),
    "float16": (65000 * random().random(N)).astype("float16"),
    "float32": (3e38 * random().random(N)).astype("float32"),
    "moments in ns": pd.Timestamp("2262-04-11").as_unit("ns") - pd.to_timedelta(random().pareto(0.5, N).clip(0, 1e4), unit="D"),
    "zone": pd.Timestamp("2262-04-11", tz="Europe/Berlin").as_unit("ns") - pd.to_timedelta(random().integers(0, 900, N), unit="h"),
    "days to 9999": [dt.date(9990, 1, 1) + dt.timedelta(int(day)) for day in random().integers(0, 3650, N)],
    "days from 1": [dt.date(1, 1, 1) + dt.timedelta(int(day)) for day in random().integers(0, 3650, N)],
}


@pytest.mark.parametrize("name", ENDS)
def test_samples_at_the_ends_of_a_type_stay_in_it(name):
    frame = pd.DataFrame({"x": ENDS[name]})
    found = drawn(frame)
    assert found["x"].dtype == frame["x"].dtype
    if frame["x"].dtype.kind == "f":
        assert np.isfinite(found["x"]).all()


@pytest.mark.parametrize("asked", ["int8", "UInt16", "int64[pyarrow]", "datetime64[ns]"])
@pytest.mark.parametrize("number", [-1e300, 1e300])
def test_what_a_type_cannot_hold_becomes_its_end(asked, number):
    column = Column("x", "datetime", "datetime") if asked.startswith("date") else Column("x", "real", "integer")
    assert len(decode(Schema((column,)), [[number]], "pandas", {"x": asked})) == 1


def test_a_zone_that_is_a_distance_goes_to_arrow_and_text(tmp_path):
    moments = pd.date_range("2024-01-01 00:05", periods=N, freq="h", tz="+02:00")
    frame = pd.DataFrame({"t": moments, "x": random().normal(size=N)})
    assert str(measured(frame).sample(3, library="pyarrow").column("t").to_pylist()[0]).endswith(":05:00+02:00")
    frame.to_csv(tmp_path / "t.csv", index=False)
    model, out = tmp_path / "m.safetensors", tmp_path / "s.csv"
    assert main(["fit", str(tmp_path / "t.csv"), "-o", str(model), *QUICK]) == 0
    assert main(["sample", str(model), "-n", "20", "--given", "t=2024-01-03 10:05", "-o", str(out)]) == 0
    assert set(pd.read_csv(out)["t"]) == {"2024-01-03 10:05:00+02:00"}  # a time without a zone is one of the column's


def test_times_with_and_without_a_zone_are_not_mixed(tmp_path):
    bare = pd.date_range("2024-01-01", periods=60, freq="h")
    zoned = measured(pd.DataFrame({"t": bare.tz_localize("Europe/Berlin")}))
    with pytest.raises(ValueError, match=r"column 't': expected times with a zone, as before, got .* give them a zone"):
        zoned.log_prob(pd.DataFrame({"t": bare}))
    with pytest.raises(ValueError, match="expected times without a zone, as before"):
        measured(pd.DataFrame({"t": bare})).log_prob(pd.DataFrame({"t": bare.tz_localize("UTC")}))
    other = zoned.log_prob(pd.DataFrame({"t": bare.tz_localize("Europe/Berlin").tz_convert("UTC")}))
    assert torch.equal(other, zoned.log_prob(pd.DataFrame({"t": bare.tz_localize("Europe/Berlin")})))
    path = tmp_path / "t.csv"
    pd.DataFrame({"t": [f"{one}{'+02:00' * (place % 2)}" for place, one in enumerate(bare)], "x": range(60)}).to_csv(path, index=False)
    table = open_table(path)
    assert "some have a zone and others none" in table.left_out["t"]
    assert Schema.find(table)["t"].kind == "text"


def test_codes_that_begin_with_zeros_are_told_of(tmp_path):
    path = tmp_path / "t.csv"
    pd.DataFrame({"zip": ["01234", "90210"] * 20, "month": ["01", "12"] * 20, "count": range(1000, 1040)}).to_csv(path, index=False)
    (note,) = open_table(path).notes
    assert note.startswith("column 'zip': '01234' is read as the number 1234, without its zeros")


@pytest.mark.parametrize("factor", [1e300, 1e-300, 5e-324])
def test_values_beyond_what_a_density_can_be_computed_of_are_refused(factor):
    with pytest.raises(ValueError, match=r"column 'x': expected values of at most 1e\+140, .*; give them in another unit"):
        measured({"x": factor * np.arange(1.0, 9)})


@pytest.mark.parametrize("factor", [1e12, 1e-9, 1e100, 1e-100])
def test_a_density_does_not_hang_on_the_unit(factor):
    x = random().normal(size=N)
    here, there = measured({"x": x}), measured({"x": factor * x})
    assert torch.allclose(here.log_prob({"x": x}), there.log_prob({"x": factor * x}) + np.log(factor), atol=1e-4)


REFUSED = {
    "twice": (pd.DataFrame(np.zeros((9, 2)), columns=["a", "a"]), "each name of a column once, got 'a' 2 times; rename columns"),
    "once as a text": (pd.DataFrame(np.zeros((9, 2)), columns=[1, "1"]), "got '1' more than once; rename columns"),
    "intervals": (
        pd.DataFrame({"a": pd.cut(np.arange(9.0), 3)}),
        r"column 'a': expected categories that are texts or numbers, got Interval",
    ),
    "days": (pd.DataFrame({"a": pd.Categorical(pd.date_range("2020", periods=9))}), "column 'a': expected categories that are texts or"),
    "time": (pd.DataFrame({"a": [dt.time(8, 30)] * 9}), r"got 'a' \(text: values that are no texts, such as one of type time\)"),
    "span": (pd.DataFrame({"a": pd.to_timedelta(range(9), unit="s")}), "such as one of type Timedelta"),
    "decimal": (pd.DataFrame({"a": [Decimal("1.50")] * 9}), r"of type Decimal\); leave them out .* make numbers"),
    "mixed": (pd.DataFrame({"a": [1, "a"] * 9}), "such as one of type int"),
    "empty": (pd.DataFrame({"a": [np.nan] * 9}), r"got 'a' \(empty: no value in any row\)"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_columns_without_a_density_are_refused_by_what_they_are(name):
    frame, message = REFUSED[name]
    with pytest.raises(ValueError, match=message) as caught:
        measured(frame)
    assert "\n" not in str(caught.value)


def test_objects_that_are_numbers_are_numbers():
    frame = pd.DataFrame({"a": pd.Series([1, None, 3, 4] * 30, dtype=object), "b": pd.Series([0.5, 1.25, 2.0, 7.5] * 30, dtype=object)})
    schema = Schema.find(frame)
    assert (schema["a"].kind, schema["a"].missing, schema["b"].numeric) == ("count", 0.25, True)
    found = drawn(frame, 100)
    assert {type(one) for one in found["a"] if one is not None} == {int}


def people():
    return pd.DataFrame(
        {
            "age": random().integers(18, 90, N),
            "k=v": random().choice(["p=q", "r"], N),
            "day": [dt.date(2020, 1, 1) + dt.timedelta(int(day)) for day in random().integers(0, 300, N)],
            "w": np.where(random().random(N) < 0.2, np.nan, random().normal(size=N)),
        }
    )


@pytest.mark.parametrize("nothing", [None, float("nan"), np.nan, pd.NA, pd.NaT])
def test_each_word_for_nothing_is_a_missing_value(nothing):
    assert measured(people()).condition({"w": nothing}).sample(3)["w"].isna().all()


@pytest.mark.parametrize("value", [np.float32(30), np.int64(30), 30, torch.tensor(30)])
def test_scalars_of_any_library_may_be_given(value):
    assert set(measured(people()).condition({"age": value}).sample(3)["age"]) == {30}


def test_a_condition_is_a_mapping_or_a_row():
    frame = people()
    model = measured(frame)
    with pytest.raises(ValueError, match=r"expected a mapping from names to values, .* got Series; of a row of pandas dict\(row\)"):
        model.condition(frame.iloc[0])
    assert model.condition(dict(frame[["age", "day"]].iloc[0])).columns == ("k=v", "w")
    with pytest.raises(ValueError, match="expected values of some columns, got none"):
        model.condition({})
    numbered = pd.DataFrame(random().normal(size=(N, 2)))
    assert measured(numbered).condition({0: 1.0}).columns == ("1",)
    with pytest.raises(ValueError, match="expected a value of 'w', got a missing one"):
        model.condition({"age": 30}).cdf("w", None)
    with pytest.raises(ValueError, match="expected columns of one length, got 2 values of 'age' and 1 of 'w'"):
        model.log_prob({"age": [30, 31], "w": [0.5]}, ["age", "w"])


def test_cells_are_imputed_that_were_never_missing_before():
    frame = people()
    holes = frame.assign(**{name: frame[name].mask(random().random(N) < 0.5) for name in ("age", "k=v", "day")})
    model = measured(frame)
    (full,) = model.impute(holes, generator=torch.Generator().manual_seed(0))
    assert not full.isna().any().any()
    for name in frame:
        there = holes[name].notna()
        assert (full[name][there] == frame[name][there]).all()
    with pytest.raises(ValueError, match="expected no missing value, as before"):
        model.log_prob(holes)


def test_names_and_categories_may_have_the_sign_of_given_in_them(tmp_path):
    people().to_csv(tmp_path / "t.csv", index=False)
    model, out = tmp_path / "m.safetensors", tmp_path / "s.csv"
    assert main(["fit", str(tmp_path / "t.csv"), "-o", str(model), *QUICK]) == 0
    assert main(["sample", str(model), "-n", "5", "--given", "k=v=p=q", "--given", "w=", "-o", str(out)]) == 0
    assert set(pd.read_csv(out)["k=v"]) == {"p=q"}


def test_a_frame_where_none_belongs_is_not_printed():
    with pytest.raises(ValueError, match="expected no context for a TableFlow, got") as caught:
        pf.fit(measured(people()), people(), people())
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


def test_a_table_takes_no_mixture_and_may_be_told_so():
    assert pf.fit(measured(people()), people(), mixture=0, whiten=False, epochs=1, progress=False).stopped == "epochs"
    with pytest.raises(ValueError, match="expected no mixture for a TableFlow, got 2"):
        pf.fit(measured(people()), people(), mixture=2)


@pytest.mark.parametrize(("share", "words"), [(1.0, "(100 %)"), (0.999, "(100 %)"), (0.25, "(25 %)"), (0.031, "(3.1 %)")])
def test_shares_are_written_out(share, words):
    assert Column("x", "real", atoms=((5.0, share),)).told().endswith(words)


def test_each_column_takes_a_pass_and_no_more(monkeypatch):
    """Of the network, to score rows and to draw them; what is given, or not asked about, takes none."""
    frame = people()
    model, rows = measured(frame), []
    trunk = Network.trunk
    monkeypatch.setattr(Network, "trunk", lambda self, state: rows.append(len(state.sums)) or trunk(self, state))
    calls = [
        (lambda: model.log_prob(frame.iloc[:7]), [7] * 4),
        (lambda: model.log_prob(frame.iloc[:7], ["age", "w"]), [7] * 2),
        (lambda: model.sample(5), [5] * 4),
        (lambda: model.condition({"age": 30}).sample(5), [5] * 3),
        (lambda: model.condition({"age": 30}).mean("w"), [1]),
    ]
    for call, wanted in calls:
        rows.clear()
        call()
        assert rows == wanted
