"""choose for tables with a schema: what is tried, in which measure it competes, and what comes back; clocks are the tests' own."""

import datetime as dt
import itertools

import numpy as np
import pandas as pd
import pytest
import torch

import pushforward as pf
from pushforward.data import Schema
from pushforward.train import CANDIDATES, TABLES, Candidate, TableCandidate, limit, tables

MEASURED = TABLES[:2]
SMALL = (
    *MEASURED,
    TableCandidate("typed", {"widths": (16,), "bins": 4}),
    Candidate("normal", components=1, whiten=True),
    Candidate("mixture of 2", components=2, whiten=True),
)


@pytest.fixture
def clock(monkeypatch):
    """Each look at the clock is a second."""
    ticks = itertools.count()
    monkeypatch.setattr(limit, "clock", lambda: float(next(ticks)))


def people(n=400, seed=0):
    random = np.random.default_rng(seed)
    rich = random.random(n) < 0.5
    return pd.DataFrame(
        {
            "city": np.where(rich, "Köln", random.choice(["Bonn", "Ulm"], n)),
            "income": np.where(random.random(n) < 0.2, 0.0, random.lognormal(np.where(rich, 2, 0), 0.5)),
            "age": np.where(random.random(n) < 0.1, np.nan, random.normal(40 + 10 * rich, 5)),
            "since": [dt.date(2020, 1, 1) + dt.timedelta(int(d)) for d in random.integers(0, 200, n)],
        }
    )


def numbers(n=400, seed=0):
    random = np.random.default_rng(seed)
    return pd.DataFrame(random.normal(size=(n, 2)) @ np.array([[2.0, 1.5], [0.0, 0.3]]), columns=["a", "b"])


def nats(model, table):
    with torch.no_grad():
        return -float(model.log_prob(table).mean())


@pytest.mark.parametrize("as_came", ["pandas", "dict", "csv"])
def test_a_table_of_all_kinds_gets_a_table_flow_in_the_mixed_measure(clock, tmp_path, as_came):
    frame, held = people(), people(200, 1)
    data = frame
    if as_came == "dict":
        data, held = ({name: list(table[name]) for name in table} for table in (frame, held))
    if as_came == "csv":
        data = tmp_path / "people.csv"
        frame.to_csv(data, index=False)
    model, history = pf.choose(data, validation=held, candidates=SMALL, seconds=40, progress=False)
    assert isinstance(model, pf.TableFlow)
    assert model.columns == ("city", "income", "age", "since")
    assert history.tried == {one.name: one.loss for one in history.candidates}
    # Flows of numbers have no density of such a table.
    assert set(history.tried) == {"independent columns", "normal copula", "typed"}
    assert history.best_loss == history.candidates[0].loss == pytest.approx(nats(model, held), abs=1e-5)
    assert history.tried["normal copula"] < history.tried["independent columns"] - 0.1
    assert history.candidates[0].plan == f"TableFlow(widths={model.widths}, bins={model.bins})"
    if as_came == "pandas":
        assert list(model.sample(5).dtypes) == list(frame.dtypes)


def test_independent_columns_are_just_that(clock):
    frame = people()
    model, history = pf.choose(frame, candidates=MEASURED[:1], seconds=9, progress=False)
    new = people(300, 2)
    alone = sum(model.log_prob(new, [name]) for name in model.columns)
    assert torch.allclose(model.log_prob(new), alone)
    other = pf.TableFlow(model.schema, (8,)).measure(frame)
    assert float((other.log_prob(new) - model.log_prob(new)).mean()) > 0.1
    assert (history.candidates[0].name, history.best_epoch, history.start) == ("independent columns", 0, history.best_loss)


@pytest.mark.fits
def test_numbers_with_a_density_are_scored_alike_by_flows_and_table_flows(clock):
    frame, held = numbers(), numbers(300, 1)
    flow, history = pf.choose(frame, validation=held, candidates=SMALL, seconds=400, progress=False)
    assert isinstance(flow, pf.Flow)
    assert history.candidates[0].name in ("normal", "mixture of 2")
    assert (flow.columns, flow.schema) == (("a", "b"), Schema.find(frame))
    assert history.tried.keys() == {one.name for one in SMALL}
    true = torch.distributions.MultivariateNormal(torch.zeros(2).double(), torch.tensor(np.cov(held.T)))
    exact = -float(true.log_prob(torch.tensor(held.to_numpy())).mean())
    assert history.tried["normal"] == pytest.approx(exact, abs=0.05)
    assert exact - 0.02 < history.tried["normal copula"] < exact + 0.2


@pytest.mark.parametrize("validation", [0.5, "rows"])
def test_all_candidates_are_judged_by_the_same_rows(clock, monkeypatch, validation):
    monkeypatch.setattr(tables, "HELD", 50)
    monkeypatch.setattr("pushforward.train.choose.HELD", 50)
    frame, told = numbers(), {"progress": False, "seconds": 99}
    held = numbers(120, 1) if validation == "rows" else validation
    flow = pf.choose(frame, validation=held, candidates=[SMALL[3], *MEASURED], **told).flow
    # The rows that were not trained on, or the first of those that were given.
    order = torch.randperm(len(frame), generator=torch.Generator().manual_seed(0))
    rows = frame.iloc[order[:50].tolist()] if validation != "rows" else held.iloc[:50]
    history = pf.choose(frame, validation=held, candidates=[SMALL[3], *MEASURED], **told).history
    assert history.tried["normal"] == pytest.approx(nats(flow, torch.tensor(rows.to_numpy()).float()), abs=1e-5)
    table = pf.choose(frame, validation=held, candidates=MEASURED, **told)
    assert history.tried["normal copula"] == pytest.approx(nats(table.flow, rows), abs=1e-5)


@pytest.mark.parametrize(
    "column", [np.round(numbers()["b"], 1), np.maximum(numbers()["b"], 0.0), np.where(numbers()["a"] > 2, np.nan, 0.5)]
)
def test_flows_of_numbers_do_not_compete_where_there_is_a_step_an_atom_or_a_missing_cell(clock, column):
    frame = numbers().assign(b=column)
    model, history = pf.choose(frame, candidates=SMALL, seconds=20, progress=False)
    assert isinstance(model, pf.TableFlow)
    assert "normal" not in history.tried
    with pytest.raises(ValueError, match="only a TableCandidate has a density of such a table"):
        pf.choose(frame, candidates=SMALL[3:], progress=False)
    # Without names they are numbers, as for a flow.
    assert isinstance(pf.choose(frame[["a"]].to_numpy(), candidates=SMALL, seconds=9, progress=False).flow, pf.Flow)


def test_schema_columns_weights_and_precision_are_taken(clock):
    frame = people()
    told = {"candidates": MEASURED[:1], "seconds": 9, "progress": False}
    found = pf.choose(frame.assign(k=np.arange(400) % 3), schema={"k": "categorical"}, columns=["k", "city"], dtype=torch.float64, **told)
    assert [column.kind for column in found.flow.schema] == ["categorical", "categorical"]
    assert found.flow.dtype == torch.float64
    whole = Schema.find(frame)
    assert pf.choose(frame, schema=whole, **told).flow.schema == whole
    heavy = (frame["city"] == "Köln").to_numpy().astype(float)
    model = pf.choose(frame, weights=heavy, **told).flow
    assert model.sample(50, library="dict", generator=torch.Generator().manual_seed(0))["city"].count("Köln") > 45


@pytest.mark.parametrize(
    ("data", "options", "error", "words"),
    [
        (people(), {"schema": 3}, TypeError, "choose: expected schema to be a Schema or kinds by column, got 3"),
        (people(), {"schema": {"zz": "count"}}, ValueError, "no column 'zz'"),
        (people(), {"columns": ["zz"]}, ValueError, "no column 'zz'"),
        (people(), {"columns": "city"}, ValueError, "choose: expected columns to be a list of column names"),
        (people(), {"validation": 2.0}, ValueError, "expected validation to be a share"),
        (people(), {"validation": people()[["city"]]}, ValueError, "column 'income': expected in the data"),
        (people(), {"weights": np.ones(3)}, ValueError, "expected one weight a row, 400, got 3"),
        (numbers(2), {}, ValueError, "expected at least 3 rows"),
        (people().iloc[:0], {}, ValueError, "choose: "),
        ({"note": [f"a text of its own, number {i}" for i in range(300)]}, {}, ValueError, "choose: expected columns with a density"),
        (np.zeros((9, 2)), {"schema": {"0": "count"}}, ValueError, "choose: expected a table with names"),
    ],
)
def test_wrong_input_is_explained(data, options, error, words):
    with pytest.raises(error, match=words):
        pf.choose(data, candidates=MEASURED, **{"seconds": 5, "progress": False, **options})


@pytest.mark.parametrize("data", [people(), {"a": [1.0, 2.0]}, "people.csv", torch.zeros(9, 2), [[1.0, 2.0]]])
def test_a_fit_without_a_flow_says_what_chooses_one(data):
    with pytest.raises(TypeError, match=r"fit: expected a flow and then its data, got a .*; pf.choose\(table, seconds=60\) chooses"):
        pf.fit(data, seconds=120)


@pytest.mark.fits
def test_what_is_chosen_of_itself_is_no_worse_than_what_it_starts_from():
    model, history = pf.choose(people(600), seconds=4, progress=False)
    assert set(history.tried) == {one.name for one in TABLES}
    assert history.best_loss <= history.tried["normal copula"]
    new = people(1000, 3)
    assert nats(model, new) < history.tried["independent columns"]
    chosen = pf.choose(numbers(), seconds=4, progress=False).history
    assert set(chosen.tried) == {one.name for one in (*CANDIDATES, *TABLES)}


def test_a_clock_of_ones_own_ends_a_choice_and_a_fit():
    ticks = itertools.count()
    chosen = pf.choose(people(), seconds=limit.Limit(60, lambda: float(next(ticks))), candidates=SMALL[:3], progress=False)
    assert chosen.history.stopped == "seconds"
    ticks = itertools.count()
    model = pf.TableFlow(people(), (8,))
    assert pf.fit(model, people(), seconds=limit.Limit(6, lambda: float(next(ticks))), progress=False).stopped == "seconds"
