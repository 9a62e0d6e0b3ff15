"""The command line: every command on every kind of table, what goes to which stream, and a line for every error."""

import json
import os
import re
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch

import pushforward as pf
from pushforward.__main__ import main
from pushforward.cli.commands import fit as fitting
from pushforward.cli.commands import sample as sampling
from pushforward.data.reading import open_table
from pushforward.data.writing import write_table
from pushforward.recipes.choice import NAMED
from tests.test_dialects import FOUND

ENDINGS = (".csv", ".csv.gz", ".tsv", ".parquet", ".npy")
QUICK = ["--epochs", "1", "--transforms", "1", "--widths", "8", "--bins", "4", "-q"]


def table(path, values, names=("a", "b", "c")):
    with write_table(path, names[: values.shape[1]], values.dtype) as append:
        append(values)
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Tables, a model of three columns, and a model of two columns given the third."""
    folder = tmp_path_factory.mktemp("cli")
    values = np.random.default_rng(0).normal(size=(200, 3)) * [1, 2, 3] + [0, 10, 100]
    for ending in ENDINGS:
        table(folder / f"t{ending}", values)
    missing = values.copy()
    missing[[3, 5], 1] = np.nan
    table(folder / "missing.csv", missing)
    table(folder / "nothing.csv", missing[[3, 5]])
    table(folder / "two.csv", values[:, :2])
    table(folder / "constant.csv", np.ones((50, 2)))
    (folder / "text.csv").write_text("a,b,c\n1,2,x\n3,4,y\n")
    (folder / "ragged.csv").write_text("a,b,c\n1,2,3\n4,5\n")
    (folder / "header.csv").write_text("a,b,c\n")
    infinite = missing.copy()
    infinite[9, 2] = np.inf
    table(folder / "infinite.csv", infinite)
    (folder / "doubt.csv").write_text("a,b\n1,2\n?,1\n5,about 6\n7,8\n")
    (folder / "t.xls").write_text("")
    (folder / "pictures.png").mkdir()
    torch.manual_seed(0)
    model = pf.NSF(3, transforms=2)
    model.columns = ("a", "b", "c")
    model.calibrate(torch.as_tensor(values, dtype=torch.float32))
    model.save(folder / "m")
    model.columns = None
    model.save(folder / "nameless")
    given = pf.MAF(2, context=1, transforms=2)
    given.columns, given.context_columns = ("a", "b"), ("c",)
    given.save(folder / "given")
    pf.Flow(torch.distributions.Normal(torch.zeros(2, 3), 1.0), pf.bijectors.Affine(), (2, 3)).save(folder / "images")
    return folder


def lines(text):
    return text.splitlines()


# End to end


@pytest.mark.parametrize("ending", ENDINGS)
def test_fit_describe_sample_score_and_plot(files, tmp_path, capsys, ending):
    source, model = str(files / f"t{ending}"), str(tmp_path / "model.safetensors")
    assert main(["fit", source, "-o", model, *QUICK[:-1]]) == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert "held-out log-density -" in lines(err)[-1]
    names = ["0", "1", "2"] if ending == ".npy" else ["a", "b", "c"]
    assert main(["describe", model]) == 0
    assert f"\ncolumns: {', '.join(names)}\n\ncolumn  kind " in capsys.readouterr().out
    drawn = str(tmp_path / f"samples{ending}")
    assert main(["sample", model, "-n", "20", "-o", drawn, "--seed", "1"]) == 0
    assert list(open_table(drawn).columns) == names
    assert main(["score", model, drawn]) == 0
    out, err = capsys.readouterr()
    assert lines(out)[0] == "log_prob"
    with torch.no_grad():
        direct = pf.load(model).log_prob(torch.as_tensor(open_table(drawn).read(), dtype=torch.float32))
    np.testing.assert_allclose([float(x) for x in lines(out)[1:]], direct, rtol=1e-5)
    assert f"mean log-density {direct.mean():.4f} nats a row over 20 rows" in err
    assert main(["plot", model, source, "-o", str(tmp_path / "one.png"), "--columns", names[0], "--rows", "50"]) == 0
    assert (tmp_path / "one.png").read_bytes().startswith(b"\x89PNG")


def test_a_folder_gets_a_picture_of_all_pairs_and_of_each_column(files, tmp_path):
    assert main(["plot", str(files / "m"), str(files / "t.csv"), "-o", str(tmp_path / "new"), "--columns", "a,c"]) == 0
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["01_a.png", "02_c.png", "pairs.png"]


def test_a_conditional_model_finds_its_columns_and_contexts(files, tmp_path, capsys):
    model = str(tmp_path / "m")
    assert (
        main(["fit", str(files / "t.csv"), "-o", model, "--context", "b", "--columns", "c, a", "--flow", "maf", "--epochs", "1", "-q"]) == 0
    )
    flow = pf.load(model)
    assert (flow.columns, flow.context_columns) == (("c", "a"), ("b",))
    assert main(["score", model, str(files / "t.parquet"), "-o", str(tmp_path / "s.npy")]) == 0
    rows = torch.as_tensor(open_table(files / "t.csv").read(["c", "a", "b"]), dtype=torch.float32)
    with torch.no_grad():
        np.testing.assert_allclose(np.load(tmp_path / "s.npy"), flow.log_prob(rows[:, :2], rows[:, 2:]), rtol=1e-5)
    capsys.readouterr()
    assert main(["sample", model, "-n", "3", "--given", "b=-1.5"]) == 0
    out = lines(capsys.readouterr().out)
    assert out[0] == "b,c,a"
    assert [row.split(",")[0] for row in out[1:]] == ["-1.5"] * 3
    assert main(["sample", model, "-n", "2", "--context-table", str(files / "t.csv"), "-o", str(tmp_path / "s.parquet")]) == 0
    drawn = open_table(tmp_path / "s.parquet")
    np.testing.assert_allclose(drawn.read(["b"]).ravel(), rows[:, 2].repeat_interleave(2), rtol=1e-6)
    assert main(["score", model, str(tmp_path / "s.parquet"), "-o", str(tmp_path / "again.csv")]) == 0
    assert main(["plot", model, str(files / "t.csv"), "-o", str(tmp_path / "p.svg"), "--columns", "a"]) == 0
    assert (tmp_path / "p.svg").stat().st_size > 1000
    assert main(["fit", str(files / "t.csv"), "-o", model, "--context", "c,a", "--flow", "maf", "--epochs", "1", "-q"]) == 0
    flow = pf.load(model)
    assert (flow.columns, flow.context_columns) == (("b",), ("c", "a"))


def test_all_numeric_columns_are_the_default_and_the_rest_is_named(tmp_path, capsys):
    values = np.random.default_rng(0).normal(size=(60, 2))
    (tmp_path / "t.csv").write_text("name,x,y\n" + "".join(f"n{i},{x},{y}\n" for i, (x, y) in enumerate(values)))
    assert main(["fit", str(tmp_path / "t.csv"), "-o", str(tmp_path / "m"), *QUICK[:-1]]) == 0
    assert "60 rows of x, y; left out: name (text: 'n0' in row 1)\n" in capsys.readouterr().err
    assert pf.load(tmp_path / "m").columns == ("x", "y")


def test_flow_matching_says_what_density_it_reached(files, tmp_path, capsys):
    model = tmp_path / "m"
    options = ["--flow", "cnf", "--widths", "8", "--objective", "flow_matching", "--context", "c", "--epochs", "2"]
    assert main(["fit", str(files / "t.csv"), "-o", str(model), *options]) == 0
    told = lines(capsys.readouterr().err)[-1]
    found = re.search(r"held-out log-density (-[0-9.]+) nats a row after epoch ([012]) of 2; wrote", told)
    # A normal of these scales has -3.5 nats; the loss, a square of velocities, is something else.
    assert found
    assert -4.5 < float(found[1]) < -3
    assert main(["score", str(model), str(files / "t.csv"), "-o", str(tmp_path / "s.csv")]) == 0
    mean = float(re.search("mean log-density (-[0-9.]+) nats", capsys.readouterr().err)[1])
    assert abs(mean - float(found[1])) < 0.6


@pytest.mark.parametrize("ended", [True, False])
def test_what_a_fit_reached_is_in_nats_where_densities_were_taken(ended):
    history = pf.History(train=[2.0], best_epoch=1, best_loss=1.5, monitored="validation", objective="flow_matching", nats={0: 4.0})
    history.nats |= {} if ended else {1: 3.25}
    assert fitting._reached(history) == ("held-out loss 1.5000 of flow_matching" if ended else "held-out log-density -3.2500 nats a row")


@pytest.mark.parametrize("kind", NAMED)
def test_every_kind_of_flow_fits(tmp_path, kind):
    angles = table(tmp_path / "t.csv", np.random.default_rng(0).uniform(-3, 3, (100, 3)))
    options = ["--flow", kind.lower(), "--transforms", "1", "--epochs", "1", "-q"]
    assert main(["fit", str(angles), "-o", str(tmp_path / "m"), *options]) == 0
    flow = pf.load(tmp_path / "m")
    assert flow.columns == ("a", "b", "c")
    made = NAMED[kind](3, transforms=1).plan.bijectors
    # The fit puts a location and a scale behind a flow that has none, and the covariance where it begins as a mixture.
    measured = {type(part) for part in flow.plan.bijectors} - {type(part) for part in made}
    assert measured <= {pf.bijectors.Standardize, pf.bijectors.Whiten}
    assert tuple(part for part in flow.plan.bijectors if type(part) not in measured) == made
    assert (pf.bijectors.Whiten() in flow.plan.bijectors) == isinstance(flow.base.plan, pf.distributions.MixtureOfNormals)


def test_the_help_has_every_kind_of_flow(capsys):
    assert main(["fit", "--help"]) == 0
    words = " ".join(capsys.readouterr().out.split())
    assert f"The kind of flow: {', '.join(NAMED)}." in words


def test_seeds_make_fits_and_samples_the_same(files, tmp_path, capsys):
    for name in ("one", "two"):
        assert main(["fit", str(files / "t.csv"), "-o", str(tmp_path / name), "--seed", "3", *QUICK]) == 0
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    texts = []
    for seed in (["--seed", "1"], ["--seed", "1"], [], []):
        assert main(["sample", str(files / "m"), "-n", "3", *seed]) == 0
        texts.append(capsys.readouterr().out)
    assert texts[0] == texts[1]
    assert len(set(texts)) == 3


def test_the_state_of_random_numbers_is_left_alone(files, tmp_path):
    before = torch.get_rng_state()
    assert main(["fit", str(files / "t.csv"), "-o", str(tmp_path / "m"), *QUICK]) == 0
    assert torch.equal(before, torch.get_rng_state())


def test_missing_values(files, tmp_path, capsys):
    model = str(tmp_path / "m")
    assert main(["fit", str(files / "missing.csv"), "-o", model, "--drop-missing", *QUICK[:-1]]) == 0
    assert "left out 2 of 200 rows" in capsys.readouterr().err
    assert main(["score", model, str(files / "missing.csv")]) == 0
    out, err = capsys.readouterr()
    assert [i for i, text in enumerate(lines(out)[1:]) if text == "nan"] == [3, 5]
    said = re.search(r"mean log-density (\S+) nats a row over 198 rows; nan for 2 rows with missing values", err)
    assert float(said[1]) == pytest.approx(np.nanmean([float(text) for text in lines(out)[1:]]), abs=2e-4)


def test_a_grid_is_spread_when_told(tmp_path):
    values = np.random.default_rng(0).integers(0, 5, size=(100, 2)).astype(float)
    source = str(table(tmp_path / "t.csv", values))
    assert main(["fit", source, "-o", str(tmp_path / "m"), "--dequantize", *QUICK]) == 0
    assert main(["score", str(tmp_path / "m"), source, "-o", str(tmp_path / "s.csv")]) == 0


def test_scores_in_chunks_are_those_at_once(files, tmp_path, monkeypatch):
    from pushforward.data import reading

    whole, parts = tmp_path / "whole.npy", tmp_path / "parts.npy"
    assert main(["score", str(files / "m"), str(files / "t.csv"), "-o", str(whole)]) == 0
    monkeypatch.setattr(reading.Table.chunks, "__defaults__", (None, 7))
    assert main(["score", str(files / "m"), str(files / "t.csv"), "-o", str(parts)]) == 0
    np.testing.assert_allclose(np.load(whole), np.load(parts), rtol=1e-6)
    assert len(np.load(parts)) == 200


def test_samples_in_chunks_have_the_number_asked_for(files, tmp_path, monkeypatch):
    monkeypatch.setattr(sampling, "ROWS", 7)
    assert main(["sample", str(files / "m"), "-n", "20", "-o", str(tmp_path / "s.npy")]) == 0
    assert np.load(tmp_path / "s.npy").shape == (20, 3)


@pytest.mark.parametrize("chunk", [4, 7, 1000])
@pytest.mark.parametrize("context", [False, True])
def test_samples_in_chunks_have_their_contexts_and_numbers_of_their_own(files, tmp_path, monkeypatch, context, chunk):
    from pushforward.data import reading

    monkeypatch.setattr(sampling, "ROWS", chunk)
    monkeypatch.setattr(reading.Table.chunks, "__defaults__", (None, 3))
    contexts = np.arange(8.0)[:, None]
    argv = ["given", "-n", "5", "--context-table", str(table(tmp_path / "c.csv", contexts, ("c",)))] if context else ["m", "-n", "40"]
    assert main(["sample", str(files / argv[0]), *argv[1:], "-o", str(tmp_path / "s.npy"), "--seed", "1"]) == 0
    drawn = np.load(tmp_path / "s.npy")
    assert drawn.shape == (40, 3)
    if context:
        np.testing.assert_array_equal(drawn[:, 0], contexts.repeat(5))
    for column in drawn[:, context:].T:
        assert len(np.unique(column)) == 40


def test_rows_for_a_picture_are_chosen_with_equal_chance_and_stay_in_order():
    class Stub:
        def chunks(self, columns):
            for start in range(0, 20, 6):
                yield np.arange(start, min(start + 6, 20), dtype=float)[:, None]

    from pushforward.cli.arguments import some_rows

    random, counts = np.random.default_rng(0), np.zeros(20)
    for _ in range(2000):
        chosen = some_rows(Stub(), ("a",), 5, random)[:, 0]
        assert len(chosen) == 5
        assert (np.diff(chosen) > 0).all()
        counts[chosen.astype(int)] += 1
    # Each row is one of the five in a quarter of 2000 draws; six standard deviations.
    assert np.abs(counts - 500).max() < 6 * np.sqrt(2000 * 0.25 * 0.75)
    assert some_rows(Stub(), ("a",), 50, random)[:, 0].tolist() == list(range(20))


def test_a_model_without_names_takes_the_numeric_columns_in_order(files, tmp_path, capsys):
    assert main(["score", str(files / "nameless"), str(files / "t.csv")]) == 0
    nameless = capsys.readouterr().out
    assert main(["score", str(files / "m"), str(files / "t.csv")]) == 0
    assert capsys.readouterr().out == nameless
    assert main(["sample", str(files / "nameless"), "-n", "1"]) == 0
    assert lines(capsys.readouterr().out)[0] == "0,1,2"


def test_describe_as_json(files, capsys):
    assert main(["describe", str(files / "given"), "--json", "--batch", "64"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["columns"] == ["a", "b"]
    assert content["context_columns"] == ["c"]
    assert content["batch"] == 64
    assert content["parameters"] == sum(p.numel() for p in pf.load(files / "given").parameters())


def test_version_and_help(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"pushforward {pf.__version__}\n"
    for command in ([], ["fit"], ["sample"], ["score"], ["describe"], ["schema"], ["plot"]):
        assert main([*command, "--help"]) == 0
        out, err = capsys.readouterr()
        assert "Usage: pushforward" in out
        assert err == ""


# Tables as people have them

PEOPLE = """name;age;income;sex;city;born ;wind dir;smokes;rate;;
{}"""
NUMBERS = np.random.default_rng(0).integers(100, 999, (60, 2)).tolist()
ROWS_OF_PEOPLE = [
    f"n{i};{20 + x % 50};{'?' if i == 3 else f'1.{x:03d},50 €'};{'fm'[i % 2]};{('Köln', 'Ulm')[i % 3 > 0]};0{1 + i % 9}.12.1990;"
    f"{30 * (i % 12)};{('ja', 'nein')[i % 2]};{y // 10},{y % 10} %;;"
    for i, (x, y) in enumerate(NUMBERS)
]


@pytest.fixture
def people(tmp_path):
    path = tmp_path / "people.csv"
    path.write_bytes(PEOPLE.format("\n".join(ROWS_OF_PEOPLE)).encode("cp1252"))
    return path


def test_every_command_reads_a_table_as_people_have_it(people, tmp_path, capsys):
    model = str(tmp_path / "m")
    assert main(["fit", str(people), "-o", model, "--drop-missing", "--exclude", "age", "--dequantize", *QUICK[:-1]]) == 0
    said = lines(capsys.readouterr().err)
    assert said[0].endswith("people.csv: read as cp1252, since it is not UTF-8; values are separated by semicolons; decimal mark ','")
    assert "left out 1 of 60 rows" in said[1]
    assert said[2] == (
        "pushforward: 59 rows of income, wind dir, rate; left out: name (text: 'n0' in row 1), sex (text: 'f' in row 1), "
        "city (text: 'Köln' in row 1), born (dates: '01.12.1990' in row 1), smokes (text: 'ja' in row 1)"
    )
    assert pf.load(model).columns == ("income", "wind dir", "rate")
    assert main(["score", model, str(people), "-o", str(tmp_path / "s.npy")]) == 0
    assert np.isnan(np.load(tmp_path / "s.npy")).nonzero()[0].tolist() == [3]
    assert main(["plot", model, str(people), "-o", str(tmp_path / "p.png"), "--columns", "wind dir"]) == 0
    assert main(["fit", str(people), "-o", model, "--columns", "rate", "--context", "born ,age", *QUICK]) == 1
    assert "column 'born': expected numbers, got '01.12.1990' in row 1 (line 2 of the file)" in capsys.readouterr().err
    assert main(["fit", str(people), "-o", model, "--columns", "rate", "--context", "wind dir", "--dequantize", *QUICK]) == 0
    assert main(["sample", model, "-n", "1", "--context-table", str(people), "-o", str(tmp_path / "d.csv")]) == 0
    assert len(open_table(tmp_path / "d.csv").read()) == 60


def test_a_column_is_never_left_out_without_a_word(people, tmp_path, capsys):
    assert main(["fit", str(people), "-o", str(tmp_path / "m"), "--drop-missing", "--dequantize", *QUICK]) == 0
    assert "left out: name (text: 'n0' in row 1)" in capsys.readouterr().err
    rest = "name,sex,city,born,smokes"
    assert main(["fit", str(people), "-o", str(tmp_path / "m"), "--exclude", f"{rest},income", "--dequantize", *QUICK]) == 0
    assert capsys.readouterr().err == ""


def test_the_schema_of_a_table(people, capsys):
    assert main(["schema", str(people), "--kind", "smokes=categorical", "--exclude", "name", "--missing", "Köln"]) == 0
    out, err = capsys.readouterr()
    kinds = {line[:8].strip(): line[10:].split("  ")[0] for line in lines(out)}
    assert kinds == {
        "column": "kind",
        "age": "count",
        "income": "real",
        "sex": "categorical: 'f', 'm'",
        "city": "categorical: 'Ulm'",
        "born": "datetime, days",
        "wind dir": "circular 0 to 360, step 30",
        "smokes": "categorical: 'ja', 'nein'",
        "rate": "interval 0 to 100",
    }
    assert "decimal mark ','" in err
    assert main(["schema", str(people), "--columns", "wind dir", "--json"]) == 0
    schema = pf.data.Schema.from_dict(json.loads(capsys.readouterr().out))
    assert schema["wind dir"].period == 360


@pytest.mark.parametrize("case", FOUND)
def test_messy_tables_have_a_schema(tmp_path, capsys, case):
    content, names, _, note = FOUND[case]
    (tmp_path / "t.csv").write_text(content, newline="")
    assert main(["schema", str(tmp_path / "t.csv"), "--json"]) == 0
    out, err = capsys.readouterr()
    kinds = {column["name"]: column["kind"] for column in json.loads(out)["columns"]}
    assert set(names) <= set(kinds)
    assert not {kinds[name] for name in names} & {"text", "categorical", "ordered", "empty", "datetime"}
    assert (note or "") in err


def test_how_a_table_is_written_can_be_told(tmp_path, capsys):
    values = np.random.default_rng(0).normal(size=(60, 2)).round(3)
    text = "\n".join(f"{x};{y}".replace(".", ",") for x, y in values) + "\n-999;-999\n"
    (tmp_path / "t.csv").write_bytes(text.encode("utf-16"))
    told = ["--delimiter", "semicolon", "--decimal", ",", "--encoding", "utf-16", "--no-header", "--missing", "-999"]
    assert main(["fit", str(tmp_path / "t.csv"), "-o", str(tmp_path / "m"), "--drop-missing", "--float64", *told, *QUICK]) == 0
    model = pf.load(tmp_path / "m")
    assert (model.columns, model.dtype) == (("0", "1"), torch.float64)
    assert "left out 1 of 61 rows" in capsys.readouterr().err
    assert main(["score", str(tmp_path / "m"), str(tmp_path / "t.csv"), *told]) == 0
    with torch.no_grad():
        direct = model.log_prob(torch.as_tensor(values))
    np.testing.assert_allclose([float(x) for x in lines(capsys.readouterr().out)[1:]], [*direct, np.nan], rtol=1e-9)


def test_numbers_too_large_for_single_precision_are_fitted_in_double(tmp_path):
    values = np.random.default_rng(0).normal(size=(60, 2)) * [1e39, 1]
    assert main(["fit", str(table(tmp_path / "t.csv", values)), "-o", str(tmp_path / "m"), *QUICK]) == 0
    assert pf.load(tmp_path / "m").dtype == torch.float64


def test_advice_is_in_options_and_comes_from_the_library():
    from pathlib import Path

    from pushforward.cli.words import ADVICE, in_options

    source = "".join(path.read_text() for path in (Path(pf.__file__).parent / "data").glob("*.py"))
    source = re.sub(r'"\s*\n\s*f?"', "", source)
    for said, here in ADVICE.items():
        assert said in source
        assert in_options(f"fit: {said}") == f"fit: {here}"


# What goes wrong

F = ["fit", "t.csv", "-o", "new"]
MATCHED = [*F, "--flow", "cnf", "--objective", "flow_matching"]
WRONG = [
    ([], 2, "command"),
    (["bend"], 2, "bend"),
    (["--bogus"], 2, "--bogus"),
    # fit
    (["fit"], 2, "TABLE"),
    (["fit", "t.csv"], 2, "output"),
    (["fit", "none.csv", "-o", "new"], 1, "no file none.csv"),
    (["fit", "t.xls", "-o", "new"], 1, "ends in .csv"),
    (["fit", "text.csv", "-o", "new", "--columns", "a,c", "--flow", "NSF"], 1, "column 'c': expected numbers, got 'x' in row 1"),
    (["fit", "ragged.csv", "-o", "new"], 1, "row 2: expected 3 values, got 2"),
    (["fit", "header.csv", "-o", "new"], 1, "expected rows, got none"),
    (["fit", "constant.csv", "-o", "new"], 1, "got constant ones: 'a' (always 1), 'b' (always 1); leave them out with --exclude a,b"),
    (
        ["fit", "infinite.csv", "-o", "new", "--drop-missing"],
        1,
        "infinite ones in row 10 of 'c'; correct them, or take them as missing",
    ),
    (["fit", "doubt.csv", "-o", "new", "--columns", "a,b"], 1, "column 'b': expected numbers, got 'about 6' in row 3 (line 4 of the file)"),
    ([*F, "--exclude", "x"], 1, "no column 'x'; there are 'a', 'b', 'c'"),
    ([*F, "--exclude", "a,b,c"], 2, "no column is left to fit beside those of --exclude"),
    ([*F, "--exclude", "a", "--columns", "a,b"], 2, "both in --columns and in --exclude: a"),
    ([*F, "--exclude", "a", "--context", "a"], 2, "both in --context and in --exclude: a"),
    ([*F, "--delimiter", "ab"], 2, "expected one character as the delimiter"),
    ([*F, "--decimal", "x"], 2, "expected . or , as the decimal mark"),
    ([*F, "--encoding", "x"], 2, "expected an encoding such as utf-8"),
    ([*F, "--encoding", "utf-16"], 1, "not a table in utf-16"),
    ([*F, "--missing", ""], 2, "--missing: expected names with commas"),
    # schema
    (["schema"], 2, "TABLE"),
    (["schema", "none.csv"], 1, "no file none.csv"),
    (["schema", "t.csv", "--kind", "a"], 2, "--kind a: expected COLUMN=KIND once for a column"),
    (["schema", "t.csv", "--kind", "x=count"], 1, "no column 'x'; there are 'a', 'b', 'c'"),
    (["schema", "t.csv", "--kind", "a=number"], 1, "column 'a': expected a kind among real, positive"),
    (["schema", "t.csv", "--kind", "a=count"], 1, "column 'a': expected at least 0, got"),
    (["schema", "t.csv", "--columns", "x"], 1, "no column 'x'"),
    (
        ["fit", "missing.csv", "-o", "new", "--flow", "NSF"],
        1,
        "2 of 200 rows have missing values; leave them out with --drop-missing; they",
    ),
    (["fit", "nothing.csv", "-o", "new", "--columns", "a,b", "--drop-missing"], 1, "every row has a missing value"),
    (["fit", "t.csv", "-o", "t.csv"], 2, "would replace the file that is read"),
    (["fit", "t.csv", "-o", "no/new"], 1, "no folder no"),
    (["fit", "t.csv", "-o", "pictures.png"], 1, "got the folder"),
    ([*F, "--columns", "a,x"], 1, "no column 'x'; there are 'a', 'b', 'c'"),
    ([*F, "--columns", "a,a"], 2, "'a' twice"),
    ([*F, "--columns", "a,,b"], 2, "expected names with commas"),
    ([*F, "--columns", ""], 2, "expected names with commas"),
    ([*F, "--columns", "a,b", "--context", "b"], 2, "both in --columns and in --context: b"),
    ([*F, "--context", "a,b,c"], 2, "no column is left"),
    ([*F, "--flow", "spline"], 2, "'--flow': expected one of NSF, NSF-AR, "),
    ([*F, "--transforms", "0"], 2, "--transforms"),
    ([*F, "--widths", "64,x"], 2, "whole numbers such as 64,64"),
    ([*F, "--bins", "8", "--flow", "MAF"], 2, "--bins: only NSF, NSF-AR and NCSF have it, got --flow MAF"),
    ([*F, "--widths", "8", "--flow", "bnaf"], 2, "and HouseholderFlow have it, got --flow BNAF"),
    ([*F, "--objective", "matching"], 2, "--objective: expected likelihood or flow_matching, got 'matching'"),
    (
        [*F, "--objective", "flow_matching"],
        2,
        "--objective flow_matching: only CNF and Continuous have the velocity field that it trains, got --flow NSF",
    ),
    (
        [*F, "--flow", "cnf", "--transforms", "2", "--objective", "flow_matching"],
        2,
        "--transforms: expected 1 with --objective flow_matching, which trains one field, got 2",
    ),
    ([*F, "--flow", "cnf", "--path", "linear"], 2, "--path: only --objective flow_matching has it, got likelihood"),
    (
        [*F, "--flow", "cnf", "--objective", "likelihood", "--coupling", "independent"],
        2,
        "--coupling: only --objective flow_matching has it",
    ),
    ([*MATCHED, "--path", "curved"], 2, "--path: expected linear, variance_preserving or schroedinger_bridge, got 'curved'"),
    ([*MATCHED, "--coupling", "best"], 2, "--coupling: expected independent or optimal_transport, got 'best'"),
    ([*MATCHED, "--kinetic", "0.1"], 2, "--kinetic: only --objective likelihood has it, got flow_matching"),
    ([*F, "--flow", "cnf", "--jacobian", "-1"], 2, "--jacobian: expected a finite number of at least 0, got -1.0"),
    ([*F, "--flow", "maf", "--kinetic", "0.1"], 2, "--kinetic: only CNF and Continuous have a velocity field, got --flow MAF"),
    ([*F, "--epochs", "0"], 2, "--epochs"),
    ([*F, "--batch-size", "many"], 2, "--batch-size"),
    ([*F, "--learning-rate", "0"], 2, "--learning-rate: expected a finite number above 0, got 0.0"),
    ([*F, "--validation", "1.5"], 2, "--validation: expected a share between 0 and 1, got 1.5"),
    # sample
    (["sample", "m"], 2, "-n"),
    (["sample", "m", "-n", "0"], 2, "-n"),
    (["sample", "none", "-n", "1"], 1, "no file 'none'"),
    (["sample", "t.csv", "-n", "1"], 1, "not a whole safetensors file"),
    (["sample", "images", "-n", "1"], 1, "expected a model of the rows of a table"),
    (["sample", "m", "-n", "1", "-o", "new.xls"], 1, "ends in .csv"),
    (["sample", "m", "-n", "1", "-o", "no/new.csv"], 1, "no folder no"),
    (["sample", "m", "-n", "1", "--given", "a=1"], 2, "not conditional"),
    (["sample", "given", "-n", "1"], 2, "expected --given or --context-table"),
    (["sample", "given", "-n", "1", "--given", "c"], 2, "COLUMN=VALUE"),
    (["sample", "given", "-n", "1", "--given", "c=x"], 2, "expected a number, got 'x'"),
    (["sample", "given", "-n", "1", "--given", "c=nan"], 2, "finite"),
    (["sample", "given", "-n", "1", "--given", "d=1"], 2, "once for each of c"),
    (["sample", "given", "-n", "1", "--given", "c=1", "--given", "c=2"], 2, "once for each of c"),
    (["sample", "given", "-n", "1", "--given", "c=1", "--context-table", "t.csv"], 2, "got both"),
    (["sample", "given", "-n", "1", "--context-table", "two.csv"], 1, "no column 'c'; there are 'a', 'b'"),
    (["sample", "given", "-n", "1", "--context-table", "none.csv"], 1, "no file none.csv"),
    (["sample", "given", "-n", "1", "--context-table", "t.csv", "-o", "t.csv"], 2, "would replace"),
    # score
    (["score", "m"], 2, "TABLE"),
    (["score", "none", "t.csv"], 1, "no file 'none'"),
    (["score", "m", "none.csv"], 1, "no file none.csv"),
    (["score", "m", "two.csv"], 1, "no column 'c'; there are 'a', 'b'"),
    (["score", "m", "text.csv"], 1, "column 'c': expected numbers, got 'x' in row 1"),
    (["score", "nameless", "two.csv"], 1, "3 numeric columns are expected in two.csv, got a, b"),
    (["score", "m", "t.csv", "-o", "t.csv"], 2, "would replace"),
    # describe
    (["describe"], 2, "MODEL"),
    (["describe", "t.csv"], 1, "not a whole safetensors file"),
    (["describe", "m", "--batch", "0"], 2, "--batch"),
    # plot
    (["plot", "m", "t.csv"], 2, "output"),
    (["plot", "m", "t.csv", "-o", "new.bmp"], 2, ".png"),
    (["plot", "m", "t.csv", "-o", "pictures.png"], 1, "got the folder"),
    (["plot", "m", "t.csv", "-o", "new.png", "--columns", "a,x"], 2, "no column 'x'"),
    (["plot", "m", "nothing.csv", "-o", "new.png"], 1, "every row has a missing value"),
    (["plot", "m", "t.csv", "-o", "m"], 1, "not a folder"),
]


@pytest.mark.parametrize(("argv", "code", "words"), WRONG, ids=lambda value: " ".join(value) if isinstance(value, list) else None)
def test_wrong_use_gets_one_line_and_an_exit_code(files, monkeypatch, capsys, argv, code, words):
    monkeypatch.chdir(files)
    before = {path.name: path.stat().st_mtime_ns for path in files.iterdir()}
    assert main(argv) == code
    out, err = capsys.readouterr()
    assert out == ""
    last = lines(err)[-1]
    assert last.startswith("pushforward: error: ")
    assert words in last
    assert "Traceback" not in err
    assert {path.name: path.stat().st_mtime_ns for path in files.iterdir()} == before


def test_a_fit_that_fails_keeps_the_model_that_is_there(files, tmp_path, monkeypatch, capsys):
    model = tmp_path / "m"
    model.write_bytes((files / "m").read_bytes())

    def fail(*_, **__):
        raise RuntimeError("out of\nluck")

    monkeypatch.setattr(pf, "fit", fail)
    assert main(["fit", str(files / "t.csv"), "-o", str(model), "-q"]) == 1
    assert capsys.readouterr().err == "pushforward: error: out of luck\n"
    assert model.read_bytes() == (files / "m").read_bytes()


def test_ctrl_c_before_the_first_epoch_keeps_the_old_model(files, tmp_path, monkeypatch, capsys):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(pf, "fit", interrupt)
    assert main(["fit", str(files / "t.csv"), "-o", str(tmp_path / "m"), "-q"]) == 130
    assert capsys.readouterr().err == "pushforward: error: interrupted\n"
    assert not (tmp_path / "m").exists()


def test_ctrl_c_later_writes_the_best_weights(files, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(pf, "fit", lambda *_, **__: pf.History(train=[2.0], best_epoch=1, best_loss=2.0, stopped="interrupted"))
    assert main(["fit", str(files / "t.csv"), "-o", str(tmp_path / "m")]) == 130
    assert pf.load(tmp_path / "m").columns == ("a", "b", "c")
    assert "wrote" in capsys.readouterr().err


def test_a_library_warning_is_one_line(files, monkeypatch, capsys):
    import warnings

    def warn(*_, **__):
        warnings.warn("two\nlines", UserWarning, stacklevel=1)
        return torch.Generator()

    monkeypatch.setattr(sampling, "generator_of", warn)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        assert main(["sample", str(files / "m"), "-n", "1"]) == 0
    assert capsys.readouterr().err == "pushforward: warning: two lines\n"


def test_without_the_extra_the_command_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "typer", None)
    assert main(["--help"]) == 1
    assert 'pip install "pushforward[cli]"' in capsys.readouterr().err


def test_a_reader_that_goes_away_is_no_error(files, monkeypatch, capfd):
    reading, writing = os.pipe()
    with os.fdopen(writing, "w") as stream, os.fdopen(reading) as reader:
        monkeypatch.setattr(sys, "stdout", stream)
        threading.Thread(target=lambda: (reader.readline(), reader.close())).start()
        assert main(["sample", str(files / "m"), "-n", "300000"]) == 141
        monkeypatch.undo()
    assert capfd.readouterr().err == ""


def test_an_output_that_cannot_be_written_is_one_line(files, monkeypatch, capfd):
    with open("/dev/full", "w") as stream:  # noqa: PTH123 (a device)
        monkeypatch.setattr(sys, "stdout", stream)
        assert main(["sample", str(files / "m"), "-n", "3"]) == 1
        monkeypatch.undo()
    assert capfd.readouterr().err == "pushforward: error: No space left on device\n"


def test_the_installed_command_in_a_pipe(files):
    """One real process: data on standard output, the summary on standard error, and a table that comes from the command itself."""
    command = [sys.executable, "-m", "pushforward"]
    run = subprocess.run([*command, "score", files / "m", files / "t.csv"], capture_output=True, text=True, check=False)
    assert run.returncode == 0
    assert len(lines(run.stdout)) == 201
    assert len(lines(run.stderr)) == 1
    pipe = subprocess.Popen([*command, "sample", files / "m", "-n", "1000000"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert pipe.stdout.readline() == b"a,b,c\n"
    pipe.stdout.close()
    assert pipe.wait() == 141
    assert pipe.stderr.read() == b""
    pipe.stderr.close()


def test_a_command_that_does_not_fit_loads_neither_a_compiler_nor_pandas(files, tmp_path):
    """They take seconds, as long as torch itself."""
    code = (
        "import sys; from pushforward.__main__ import main; code = main(sys.argv[1:]); "
        "print(code, *sorted({'torch._dynamo', 'sympy', 'pandas', 'matplotlib', 'scipy'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code, "sample", files / "m", "-n", "3", "-o", tmp_path / "few.csv"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "0\n"
    assert len(open_table(tmp_path / "few.csv").read()) == 3


def test_two_commands_at_once_write_one_whole_table(files, tmp_path):
    command = [sys.executable, "-m", "pushforward", "sample", files / "m", "-o", tmp_path / "same.csv"]
    running = [subprocess.Popen([*command, "-n", count, "--seed", count], stderr=subprocess.PIPE) for count in ("30000", "40000")]
    assert [process.communicate()[1] or process.returncode for process in running] == [0, 0]
    assert len(open_table(tmp_path / "same.csv").read()) in (30000, 40000)
    assert [path.name for path in tmp_path.iterdir()] == ["same.csv"]
