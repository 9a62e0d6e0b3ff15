"""The commands with a table whose columns are of all kinds: fitted without an option, sampled, scored, described and drawn."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from matplotlib import cbook

import pushforward as pf
from pushforward.__main__ import main
from pushforward.data import Schema
from pushforward.data.reading import open_table

QUICK = ["--epochs", "1", "-q"]


def people(n=400):
    random = np.random.default_rng(0)
    age = random.integers(18, 91, n)
    return pd.DataFrame(
        {
            "age": age,
            "income": np.where(random.random(n) < 0.2, 0.0, np.exp(random.normal(9 + age / 100, 0.5, n)).round(2)),
            "city": random.choice(["Bonn", "Köln", "Ulm, Donau"], n, p=[0.5, 0.3, 0.2]),
            "smoker": np.where(random.random(n) < 0.3, "yes", "no"),
            "seen": pd.Series(pd.Timestamp("2024-01-01") + pd.to_timedelta(random.integers(0, 400, n), unit="D")).dt.date,
            "humidity": (100 * random.beta(4, 1, n)).round(3),
            "score": np.where(random.random(n) < 0.1, np.nan, random.normal(50, 10, n)),
            "name": [f"p{i}" for i in range(n)],
        }
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("tables")


@pytest.fixture(scope="module")
def table(folder):
    people().to_csv(folder / "people.csv", index=False)
    return folder / "people.csv"


@pytest.fixture(scope="module")
def model(table):
    target = table.with_name("people.safetensors")
    assert main(["fit", str(table), "-o", str(target), *QUICK]) == 0
    return target


COLUMNS = ("age", "income", "city", "smoker", "seen", "humidity", "score")


def test_a_table_that_is_not_of_numbers_alone_gets_a_table_flow(table, folder, capsys):
    target = folder / "again.safetensors"
    assert main(["fit", str(table), "-o", str(target), "--epochs", "1", "--seed", "3"]) == 0
    said = capsys.readouterr().err
    assert (
        "left out: name (text: 400 different texts in 400 rows); a TableFlow, since not all columns are plain numbers (income: values with"
        in said
    )
    assert "city: categorical; smoker: binary; seen: datetime and 1 more); --flow NSF fits numbers alone" in said
    assert "nats a row after epoch" in said
    first = pf.TableFlow.load(target)
    assert first.columns == COLUMNS
    assert main(["fit", str(table), "-o", str(target), "--seed", "3", *QUICK]) == 0
    assert "left out: name" in capsys.readouterr().err
    second = pf.TableFlow.load(target)
    assert all((a == b).all() for a, b in zip(first.parameters(), second.parameters(), strict=True))


@pytest.mark.filterwarnings("ignore:fit")
def test_a_flow_of_numbers_is_taken_where_it_is_asked_for_or_will_do(table, folder):
    target = folder / "numbers"
    assert main(["fit", str(table), "-o", str(target), "--columns", "humidity", *QUICK]) == 0
    assert pf.load(target).columns == ("humidity",)
    for options in (["--flow", "MAF"], ["--bins", "4"], ["--context", "age"], ["--dequantize"]):
        assert main(["fit", str(table), "-o", str(target), *options, "--drop-missing", *QUICK]) == 0
        assert "income" in pf.load(target).columns


def test_kinds_and_columns_may_be_told(table, folder, capsys):
    target = folder / "told"
    told = ["--kind", "score=interval:0:100", "--kind", "city=ordered:Bonn:Köln:Ulm, Donau", "--exclude", "name,seen"]
    assert main(["fit", str(table), "-o", str(target), *told, "--float64", *QUICK]) == 0
    assert capsys.readouterr().err == ""
    found = pf.TableFlow.load(target)
    assert [found.schema[name].kind for name in ("score", "city")] == ["interval", "ordered"]
    assert str(found.dtype) == "torch.float64"
    assert main(["fit", str(table), "-o", str(target), "--columns", "age,name", *QUICK]) == 1
    assert "expected columns of which there is a density or a probability, got 'name' (text: 400 different texts" in capsys.readouterr().err
    assert main(["fit", str(table), "-o", str(target), "--kind", "nobody=count", *QUICK]) == 1
    assert "--kind nobody=count: expected a column that is fitted, 'age', " in capsys.readouterr().err


@pytest.mark.parametrize("ending", [".csv", ".tsv.gz", ".parquet"])
def test_samples_come_as_the_table_came(model, folder, ending, monkeypatch):
    monkeypatch.setattr("pushforward.cli.commands.sample.ROWS", 300)
    target = folder / f"samples{ending}"
    assert main(["sample", str(model), "-n", "1000", "--seed", "1", "-o", str(target)]) == 0
    drawn, schema = open_table(target), pf.TableFlow.load(model).schema
    assert drawn.columns == COLUMNS
    assert schema.problems(drawn) == []
    values = {each.name: each for each in drawn.typed()}
    assert {len(each.values) for each in values.values()} == {1000}
    assert [values[name].storage for name in COLUMNS] == [
        "integer",
        "float",
        "string",
        "string",
        "date",
        "float",
        "float",
    ]
    assert set(values["city"].values) == {"Bonn", "Köln", "Ulm, Donau"}
    assert 0.02 < values["score"].missing.mean() < 0.3
    assert 0.1 < (values["income"].values == 0).mean() < 0.35


def test_any_column_may_be_given(model, folder):
    target = folder / "given.csv"
    given = ["--given", "city=Ulm, Donau", "--given", "age=40", "--given", "seen=2024-02-03", "--given", "score=", "--given", "income=0"]
    assert main(["sample", str(model), "-n", "200", "--seed", "1", *given, "-o", str(target)]) == 0
    frame = pd.read_csv(target)
    assert set(frame["city"]) == {"Ulm, Donau"}
    assert set(frame["age"]) == {40}
    assert set(frame["seen"]) == {"2024-02-03"}
    assert set(frame["income"]) == {0}
    assert frame["score"].isna().all()
    assert set(frame["smoker"]) == {"yes", "no"}


def test_scores_are_those_of_the_model_in_all_and_by_column(table, model, folder, monkeypatch):
    monkeypatch.setattr("pushforward.cli.tables.ROWS", 150)
    assert main(["score", str(model), str(table), "-o", str(folder / "s.npy")]) == 0
    found = pf.TableFlow.load(model)
    expected = found.log_prob(open_table(table)).numpy()
    np.testing.assert_allclose(np.load(folder / "s.npy"), expected, rtol=1e-5)
    assert main(["score", str(model), str(table), "--by", "column", "-o", str(folder / "s.csv")]) == 0
    parts = pd.read_csv(folder / "s.csv")
    assert tuple(parts) == COLUMNS
    np.testing.assert_allclose(parts.sum(axis=1), expected, rtol=1e-5)


def test_rows_are_scored_given_columns_as_they_are_or_by_value(table, model, folder, monkeypatch):
    monkeypatch.setattr("pushforward.cli.tables.ROWS", 150)
    found, source = pf.TableFlow.load(model), open_table(table)
    target, typed = folder / "g.npy", {values.name: values.values for values in source.typed()}
    assert main(["score", str(model), str(table), "--given", "age", "--given", "city", "-o", str(target)]) == 0
    np.testing.assert_allclose(np.load(target), found.log_prob(source, given=["age", "city"]).numpy(), rtol=1e-5, atol=1e-5)
    # A column that is given by its value need not be there.
    pd.read_csv(table).drop(columns="age").to_csv(folder / "without.csv", index=False)
    assert main(["score", str(model), str(folder / "without.csv"), "--given", "age=40", "--by", "column", "-o", str(folder / "g.csv")]) == 0
    parts = pd.read_csv(folder / "g.csv")
    assert tuple(parts) == tuple(name for name in COLUMNS if name != "age")
    wanted = found.log_prob(typed | {"age": np.full(len(parts), 40.0)}, given=["age"]).numpy()
    np.testing.assert_allclose(parts.sum(axis=1), wanted, rtol=1e-5, atol=1e-5)


def test_new_data_is_held_against_the_schema(model, folder, capsys):
    frame = people(30).drop(columns="name")
    frame.loc[4, "city"] = "Rom"
    frame.loc[7, "humidity"] = 101
    frame.to_csv(folder / "new.csv", index=False)
    for argv in (
        ["score", str(model), str(folder / "new.csv")],
        ["plot", str(model), str(folder / "new.csv"), "-o", str(folder / "x.png")],
    ):
        assert main(argv) == 1
        said = capsys.readouterr().err.splitlines()[-1]
        assert "column 'city': expected one of 'Bonn', 'Köln', 'Ulm, Donau', got 'Rom' in row 5" in said
        assert "column 'humidity': expected at most 100, got 101 in row 8" in said
    assert main(["score", str(model), str(folder / "new.csv"), "--outside", "-o", str(folder / "out.npy")]) == 0
    assert np.flatnonzero(np.isneginf(np.load(folder / "out.npy"))).tolist() == [4, 7]


def test_describe_and_plot(table, model, folder, capsys):
    assert main(["describe", str(model)]) == 0
    out = capsys.readouterr().out
    assert out.startswith("TableFlow of 7 columns, ")
    assert "  city      categorical: 'Bonn', 'Köln', 'Ulm, Donau'  probability" in out
    assert main(["describe", str(model), "--json"]) == 0
    assert Schema.from_dict(json.loads(capsys.readouterr().out)["schema"]) == pf.TableFlow.load(model).schema
    target = folder / "pictures"
    assert main(["plot", str(model), str(table), "-o", str(target), "--columns", "city,income,seen", "--rows", "200"]) == 0
    assert {path.name for path in target.iterdir()} == {"pairs.png", "01_city.png", "02_income.png", "03_seen.png"}


def test_a_number_that_is_badly_written_makes_no_categories(folder, capsys):
    random = np.random.default_rng(0)
    lines = [f"{random.choice(['a', 'b'])},{'about 3' if i == 7 else random.integers(0, 5)}" for i in range(90)]
    (folder / "doubt.csv").write_text("city,x\n" + "\n".join(lines) + "\n")
    fit = ["fit", str(folder / "doubt.csv"), "-o", str(folder / "doubt")]
    assert main([*fit, *QUICK]) == 0
    assert "left out: x ('about 3' in row 8 is no number, as 89 other values are" in capsys.readouterr().err
    assert main([*fit, "--columns", "city,x", *QUICK]) == 1
    assert "column 'x': expected numbers, got 'about 3' in row 8 (line 9 of the file)" in capsys.readouterr().err
    assert main([*fit, "--kind", "x=categorical", *QUICK]) == 0
    assert pf.TableFlow.load(folder / "doubt").columns == ("city", "x")


WRONG = [
    (["sample", "M", "-n", "1", "--given", "city=Rom"], 2, "--given city=Rom: expected one of Bonn, Köln, Ulm, Donau, got 'Rom'"),
    (["sample", "M", "-n", "1", "--given", "age=old"], 2, "--given age=old: expected a number, got 'old'"),
    (["sample", "M", "-n", "1", "--given", "age=inf"], 2, "expected a finite number"),
    (["sample", "M", "-n", "1", "--given", "age=-3"], 1, "column 'age': expected at least 0, got -3"),
    (["sample", "M", "-n", "1", "--given", "age="], 1, "column 'age': expected no missing value"),
    (["sample", "M", "-n", "1", "--given", "seen=soon"], 2, "expected a date such as 2024-12-31, got 'soon'"),
    (["sample", "M", "-n", "1", "--given", "height=3"], 2, "expected COLUMN=VALUE, each column once, of age, income"),
    (["sample", "M", "-n", "1", "--given", "age=3", "--given", "age=3"], 2, "each column once"),
    (["sample", "M", "-n", "1", "--context-table", "T"], 2, "only a conditional flow has it"),
    (["sample", "M", "-n", "1", "-o", "s.npy"], 1, "an array has no columns of several kinds; write .csv, .tsv or .parquet"),
    (["score", "M", "T", "--given", "height"], 2, "--given height: expected COLUMN=VALUE, each column once"),
    (["score", "M", "T", "--given", "age", "--given", "age=3"], 2, "--given: expected each column once, got age, age=3"),
    (["score", "M", "T", *[part for name in COLUMNS for part in ("--given", name)]], 2, "expected a column that is not given, got all"),
    (["score", "N", "T", "--given", "humidity"], 2, "--given: only of a TableFlow; a conditional flow takes its context"),
    (["score", "M", "T", "--by", "row"], 2, "--by: expected column, got 'row'"),
    (["score", "N", "T", "--by", "column"], 2, "--by: only a TableFlow has parts by column"),
    (["plot", "M", "T", "-o", "p.png", "--columns", "name"], 2, "the model has no column 'name'"),
]


@pytest.mark.parametrize(("argv", "code", "words"), WRONG)
def test_wrong_use_is_one_line(argv, code, words, table, model, folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    if not (folder / "N").exists():
        assert main(["fit", str(table), "-o", "N", "--columns", "humidity", *QUICK]) == 0
        capsys.readouterr()
    before = set(folder.iterdir())
    assert main([{"M": str(model), "T": str(table)}.get(part, part) for part in argv]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert words in err.splitlines()[-1]
    assert set(folder.iterdir()) == before


@pytest.mark.fits
@pytest.mark.filterwarnings("ignore")
def test_prices_of_stocks_with_dates_and_missing_values(folder, capsys):
    """A real table: monthly prices since 1990, of which some firms have none for years, and remarks before the header."""
    text = cbook.get_sample_data("Stocks.csv", asfileobj=False)
    target = folder / "stocks"
    assert main(["fit", str(text), "-o", str(target), "--epochs", "20", "-q"]) == 0
    found = pf.TableFlow.load(target)
    assert found.columns == tuple(pd.read_csv(text, comment="#").columns)
    assert found.schema["Date"].kind == "datetime"
    assert found.schema["GOOGL"].missing > 0.3
    assert main(["score", str(target), str(text), "-o", str(folder / "s.npy")]) == 0
    assert np.isfinite(np.load(folder / "s.npy")).all()
    assert main(["sample", str(target), "-n", "200", "-o", str(folder / "s.csv")]) == 0
    assert found.schema.problems(open_table(folder / "s.csv")) == []


def test_missing_cells_are_filled_and_others_stay(model, table, folder, capsys):
    target = folder / "whole.csv"
    assert main(["impute", str(model), str(table), "-o", str(target), "--seed", "1"]) == 0
    before, after = people(), pd.read_csv(target)
    missing = int(before["score"].isna().sum())
    said = capsys.readouterr().err
    assert f"filled {missing} missing cells of 400 rows" in said
    assert "left out: name" in said
    assert tuple(after.columns) == COLUMNS
    assert not after.isna().any().any()
    there = before["score"].notna()
    assert np.allclose(after["score"][there], before["score"][there])
    assert list(after["city"]) == list(before["city"])


def test_several_imputations_differ_where_cells_were_missing(model, table, folder):
    target = folder / "several.csv"
    assert main(["impute", str(model), str(table), "-o", str(target), "-n", "3", "--seed", "1"]) == 0
    made = pd.read_csv(target)
    assert made["imputation"].value_counts().to_dict() == {1: 400, 2: 400, 3: 400}
    first, second = (made[made["imputation"] == at].reset_index(drop=True) for at in (1, 2))
    missing = people()["score"].isna()
    assert first["age"].equals(second["age"])
    assert not first["score"][missing].equals(second["score"][missing])
    assert np.allclose(first["score"][~missing], second["score"][~missing])


def test_a_flow_of_whole_rows_does_not_impute(table, folder, capsys):
    numbers = folder / "numbers.safetensors"
    assert main(["fit", str(table), "-o", str(numbers), "--flow", "MAF", "--columns", "age,humidity", "--dequantize", *QUICK]) == 0
    assert main(["impute", str(numbers), str(table)]) == 2
    assert "expected a TableFlow" in capsys.readouterr().err


@pytest.mark.parametrize("given", ["score=50", "city=Bonn", "seen=2024-03-01", "smoker=yes", "income=0", "score="])
def test_any_column_is_given_in_samples(model, folder, given):
    target = folder / "given.csv"
    assert main(["sample", str(model), "-n", "4", "-o", str(target), "--given", given]) == 0
    name, value = given.split("=")
    assert {str(one) for one in pd.read_csv(target, dtype=str)[name]} <= {value or "nan", f"{value}.0"}
