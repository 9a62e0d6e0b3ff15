"""The demo, made small: it runs to its end, compares all models on the same rows, and writes what it says."""

import importlib.util
from pathlib import Path

import numpy as np
import torch

import pushforward as pf
from pushforward.data.reading import open_table

PATH = Path(__file__).parents[1] / "examples" / "demo.py"


def load_demo(name="demo"):
    spec = importlib.util.spec_from_file_location(name, PATH.with_name(f"{name}.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_demo_made_small(tmp_path, capsys):
    out = tmp_path / "out"
    scores = load_demo().main(out, rows=1000, epochs=2, components=(1, 4), bandwidths=(0.2, 0.4))
    assert list(scores)[:2] == ["spline flow", "Gaussian"]
    assert len(scores) == 4
    assert all(values.shape == (100,) and np.isfinite(values).all() for values in scores.values())
    text = capsys.readouterr().out
    assert all(f"{name:36} {values.mean():8.3f}" in text for name, values in scores.items())
    samples = open_table(out / "samples.csv")
    flow = pf.load(out / "weather.safetensors")
    assert flow.columns == samples.columns == ("temp", "dewp", "humid", "wind_dir", "wind_speed", "pressure")
    rows = samples.read()
    assert rows.shape == (10_000, 6)
    with torch.no_grad():
        assert torch.isfinite(flow.log_prob(torch.as_tensor(rows, dtype=torch.float32))).all()
    pictures = {"pairs.png", "learning_curve.png", *(f"{name}.png" for name in flow.columns)}
    assert {path.name for path in out.iterdir()} == pictures | {"weather.safetensors", "samples.csv"}


def test_the_flights_made_small(tmp_path, capsys):
    nats = load_demo("flights").main(tmp_path / "out", rows=1500, seconds=None, epochs=2)
    assert nats["TableFlow"] > nats["independent columns"]
    text = capsys.readouterr().out
    assert all(f"{name:22}{value:9.2f}" in text for name, value in nats.items())
    assert all(words in text for words in ("B6: cancelled", "JFK to LAX:", "are drawn again as they were"))
    model = pf.TableFlow.load(tmp_path / "out" / "flights.safetensors")
    drawn = open_table(tmp_path / "out" / "flights.csv")
    assert model.columns == drawn.columns
    assert len(next(iter(drawn.typed())).values) == 10_000
    assert not model.schema.problems(drawn)
    assert (tmp_path / "out" / "flights.png").stat().st_size > 10_000


def test_the_flights_are_what_their_readme_says():
    table = open_table(PATH.parent / "data" / "flights.csv.gz")
    text = (PATH.parent / "data" / "README.md").read_text()
    assert f"{len(next(iter(table.typed())).values):,} rows, {len(table.columns)} columns" in text
    assert all(f"| `{name}` |" in text for name in table.columns)


def test_the_weather_is_what_its_readme_says():
    table = open_table(PATH.parent / "data" / "weather.csv.gz")
    rows = table.read()
    text = (PATH.parent / "data" / "README.md").read_text()
    assert f"{len(rows):,} complete rows, {len(table.columns)} columns" in text
    assert table.numeric == table.columns
    assert all(f"| `{name}` |" in text for name in table.columns)
    assert np.isfinite(rows).all()
