"""Texts that tell two values between which a cell lies: what each may be, in tables of any kind and at the command."""

import datetime as dt
import re

import numpy as np
import pandas as pd
import pytest
import torch

import pushforward as pf
from pushforward.__main__ import main
from pushforward.data import Between, Schema
from pushforward.data.cells import number
from pushforward.data.ranges import cell_of
from pushforward.data.reading import open_table
from pushforward.data.schema.column import Column

INF = np.inf


def read(text, decimal="."):
    return found[0] if (found := number(text, decimal)) else None


CELLS = {
    "5": 5,
    "-5": -5,
    ">5": Between(5, None, "right"),
    "> 5": Between(5, None, "right"),
    ">=5": Between(5, None),
    "≥5": Between(5, None),
    "<0.1": Between(None, 0.1, "left"),
    "<= 0.1": Between(None, 0.1),
    "≤0.1": Between(None, 0.1),
    "> -3": Between(-3, None, "right"),
    "3..7": Between(3, 7),
    "3 .. 7": Between(3, 7),
    "3..": Between(3, None),
    "..7": Between(None, 7),
    "-7..-3": Between(-7, -3),
    "3-7": Between(3, 7),
    "3 – 7": Between(3, 7),
    "-7--3": Between(-7, -3),
    "1e-3-1e-2": Between(0.001, 0.01),
    "65+": Between(65, None),
    "(3, 7]": Between(3, 7, "right"),
    "[3, 7)": Between(3, 7, "left"),
    "[3,7]": Between(3, 7),
    "(3.0, 7.0)": Between(3, 7, "neither"),
    "[3; 7]": Between(3, 7),
    "[3, inf)": Between(3, INF, "left"),
    "(-inf, 3]": Between(-INF, 3, "right"),
    "1,000-2,500": Between(1000, 2500),
    "$1,000..$2,500": Between(1000, 2500),
    "4..4": 4,
    "5 or more": None,
    ">": None,
    "-": None,
    "a..b": None,
    "3-": None,
}


@pytest.mark.parametrize("text", CELLS)
def test_a_cell_is_what_its_text_says(text):
    assert cell_of(text, read) == CELLS[text]


def test_ends_that_leave_nothing_are_an_error():
    with pytest.raises(ValueError, match="expected a lower end below the upper one, got 7"):
        cell_of("7..3", read)


KINDS = {
    # kind told: (cells, kind found, storage, bounds of the cells that have them)
    "between": (["1.5", ">5", "0.2", "3..7", "", "2.25"], "positive", "float", {1: (5, INF), 3: (3, 7)}),
    "between:real": (["1.5", ">5", "0.2", "-3..7", "NA", "2.25"], "real", "float", {1: (5, INF), 3: (-3, 7)}),
    "between:count": (["1", "65+", "2", "30-39", "unknown", "4"], "count", "integer", {1: (65, INF), 3: (30, 39)}),
    "between:interval:0:100": (["15 %", "<1%", "50%", "3%..7%", "", "99%"], "interval", "integer", {1: (-INF, 1), 3: (3, 7)}),
    "between:datetime": (
        ["2020-01-05", ">=2020-02-01", "2020-01-09", "2020-01-01..2020-01-31", "", "2020-01-07"],
        "datetime",
        "date",
        {1: (18293 * 86400, INF), 3: (18262 * 86400, 18292 * 86400)},
    ),
}
FRAMES = {
    "csv": lambda cells, path: pd.DataFrame({"x": cells}).to_csv(path / "t.csv", index=False) or path / "t.csv",
    "file of Arrow": lambda cells, path: pd.DataFrame({"x": cells}).to_parquet(path / "t.parquet") or path / "t.parquet",
    "frame": lambda cells, path: pd.DataFrame({"x": cells}),
    "mapping": lambda cells, path: {"x": [cell if cell else None for cell in cells]},
}


@pytest.mark.parametrize("told", KINDS)
@pytest.mark.parametrize("source", FRAMES)
def test_every_kind_of_number_may_have_such_cells(told, source, tmp_path):
    cells, kind, storage, wanted = KINDS[told]
    data = FRAMES[source](cells, tmp_path)
    schema = Schema.find(data, {"x": told})
    column = schema["x"]
    assert (column.kind, column.storage, column.between) == (kind, storage, True)
    assert "or between two values" in column.told()
    assert Schema.from_dict(schema.to_dict()) == schema
    (values,) = schema.values(data)
    found = {row: tuple(ends) for row, ends in enumerate(values.bounds.tolist()) if not np.isnan(ends[0])}
    assert found == {row: pytest.approx(ends) for row, ends in wanted.items()}
    assert values.missing.tolist() == [False] * 4 + [True, False]
    # New data is read as that, though nothing is told of it.
    schema.check(FRAMES[source](cells[1:5], tmp_path))


def test_an_open_end_leaves_out_what_is_on_a_grid_or_an_atom():
    model = pf.TableFlow(Schema.find({"x": [1, 2, 3, 4] * 25}, {"x": "between:count"}), widths=(8,)).measure({"x": [1, 2, 3, 4] * 25})
    above, from_there = (float(torch.exp(model.log_prob({"x": [text]}))) for text in (">2", ">=2"))
    both = float(torch.exp(model.log_prob({"x": [2]})))
    assert from_there == pytest.approx(above + both)
    assert above == pytest.approx(0.5, abs=0.02)
    assert float(model.log_prob({"x": ["2..3"]})) == pytest.approx(float(model.log_prob({"x": [Between(2, 3)]})))


def test_nothing_is_guessed():
    table = {"x": ["1", ">5", "2", "3"] * 10}
    column = Schema.find(table)["x"]
    assert column.kind == "categorical"
    assert not column.between
    assert "--kind 'x=between'" in column.why
    assert not Schema.find({"x": [1.5, 2.5, 3.25]})["x"].between
    assert Schema.find({"x": [1.5, Between(2, 3), 3.25]})["x"].between


def test_decimal_commas_and_ends_in_semicolons(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text('x;y\n0,25;1,5\n<0,1;2,5\n0,3..0,7;3,25\n"[0,5; 0,75)";1,0\n', encoding="utf-8")
    (values, _) = Schema.find(path, {"x": "between"}).values(path)
    np.testing.assert_allclose(values.bounds[1:], [[-INF, 0.1], [0.3, 0.7], [0.5, 0.75]])
    assert values.values[0] == 0.25


def test_far_down_a_column_of_numbers(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("x\n" + "\n".join(map(str, range(70_000))) + "\n>70000\n", encoding="utf-8")
    table = open_table(path)
    with pytest.raises(ValueError, match=r"got '>70000' in row 70001 .*--kind 'x=between'"):
        table.read()
    (values,) = Schema.find(path, {"x": "between:count"}).values(path)
    assert (values.open.sum(), values.storage) == (1, "integer")


REFUSED = {
    "a text": (lambda: Schema.find({"x": ["1", "many", "3"]}, {"x": "between"}), "column 'x': expected a value, >5, >=5, <5"),
    "its row": (lambda: Schema.find({"x": ["1", "2", "7..3"]}, {"x": "between"}), "got '7..3' in row 2"),
    "no number": (lambda: Schema.find({"x": [True, False] * 3}, {"x": "between"}), "got what is binary"),
    "a circle": (lambda: Schema.find({"x": ["1", "350", "90"]}, {"x": "between:circular:360"}), "got what is circular"),
    "no kind": (lambda: Schema.find({"x": ["1", "350", "90"]}, {"x": "between:many"}), "or between and one of these, got 'many'"),
    "shares": (lambda: Schema.find({"x": ["1 %", "<2", "3 %"]}, {"x": "between"}), "expected all cells with a percent sign"),
    "beyond the kind": (lambda: Schema.find({"x": ["1", "<-2", "3"]}, {"x": "between:count"}), "expected cells between two values to hold"),
    "a column that may not": (lambda: Column("x", "categorical", categories=("a", "b"), between=True), "since it is categorical"),
    "a flag that is none": (lambda: Column("x", "real", between=1), "between to be True or False, got 1"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_wrong_is_said_with_column_and_row(case):
    run, words = REFUSED[case]
    with pytest.raises(ValueError, match=re.escape(words)):
        run()


@pytest.fixture(scope="module")
def trial(tmp_path_factory):
    """Return a table in a file with censored times, doses under a limit, ages in brackets and dates, and a model of it."""
    random = np.random.default_rng(0)
    n = 200
    time, until, dose, age = random.exponential(10, n), random.exponential(15, n), random.lognormal(-2, 1, n), random.integers(18, 90, n)
    day = [dt.date(2020, 1, 1) + dt.timedelta(int(at)) for at in random.integers(0, 28, n)]
    table = pd.DataFrame(
        {
            "arm": ["a", "b"] * (n // 2),
            "time": [f"{t:.3f}" if t < u else f">{u:.3f}" for t, u in zip(time, until, strict=True)],
            "dose": [f"{d:.4f}" if d > 0.1 else "<0.1" for d in dose],
            "age": [
                str(a) if a < 65 and at % 3 else "65+" if a >= 65 else f"{a // 10 * 10}-{a // 10 * 10 + 9}" for at, a in enumerate(age)
            ],
            "day": [str(d) if at % 5 else ">=2020-01-20" for at, d in enumerate(day)],
        }
    )
    path = tmp_path_factory.mktemp("ranges") / "trial.csv"
    table.to_csv(path, index=False)
    target = path.with_suffix(".safetensors")
    kinds = [part for name in ("time", "dose", "day") for part in ("--kind", f"{name}=between")] + ["--kind", "age=between:count"]
    assert main(["fit", str(path), "-o", str(target), "--epochs", "1", "-q", *kinds]) == 0
    return path, target


def test_the_commands_take_such_tables(trial, capsys, tmp_path):
    path, target = map(str, trial)
    model = pf.TableFlow.load(target)
    assert [column.between for column in model.schema] == [False, True, True, True, True]
    assert (model.schema["dose"].kind, model.schema["dose"].low) == ("positive", 0)
    out = tmp_path / "scores.csv"
    assert main(["score", target, path, "-o", str(out)]) == 0
    np.testing.assert_allclose(pd.read_csv(out)["log_prob"], model.log_prob(path).numpy(), rtol=1e-4)
    assert main(["sample", target, "-n", "20", "--seed", "0", "--given", "time>5", "--given", "age=30-39"]) == 0
    captured = capsys.readouterr()
    drawn = [line.split(",") for line in captured.out.splitlines()[1:]]
    assert len(drawn) == 20
    assert all(float(row[1]) >= 5 and 30 <= int(row[3]) <= 39 for row in drawn)
    assert "of 1024 in effect" in captured.err
    filled = tmp_path / "filled.csv"
    assert main(["impute", target, path, "-o", str(filled), "--seed", "0"]) == 0
    assert "were known between two values, of 200 rows" in capsys.readouterr().err
    before, after = pd.read_csv(path), pd.read_csv(filled)
    assert (after["dose"][before["dose"] == "<0.1"] <= 0.1).all()
    assert (after["age"][before["age"] == "65+"] >= 65).all()
    censored = before["time"].str.startswith(">")
    assert (after["time"][censored] > before["time"][censored].str[1:].astype(float) - 1e-9).all()
    assert main(["plot", target, path, "-o", str(tmp_path / "p.png"), "--columns", "time,dose"]) == 0
    assert main(["schema", path, "--kind", "time=between"]) == 0
    assert "or between two values" in capsys.readouterr().out


def test_a_fit_that_is_not_told_says_what_to_do(trial, capsys):
    path, target = trial
    assert main(["fit", str(path), "-o", str(target.with_name("other.safetensors")), "--epochs", "1", "-q", "--exclude", "day,age"]) == 0
    assert "if it means what lies between two values: --kind 'time=between'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("time=7..3", "--given time=7..3: expected a lower end below the upper one"),
        ("time=a..3", "expected a number, got 'a..3'; a range is told as in 3..7 or >5"),
        ("time>soon", "expected a number, got '>soon'"),
        ("arm>a", "expected one of a, b, got '>a'"),
        ("day>2020", "expected a date such as 2024-12-31, got '>2020'"),
    ],
)
def test_a_range_that_is_none_is_refused(trial, setting, words, capsys):
    assert main(["sample", str(trial[1]), "-n", "1", "--given", setting]) == 2
    assert words in capsys.readouterr().err
