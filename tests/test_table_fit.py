"""Fits of tables: what is learned has the probabilities of the data, weights count, and options mean what they say."""

import copy
import math

import numpy as np
import pandas as pd
import pytest
import torch

import pushforward as pf
from tests.table_cases import frame_of, model_of, schema_of


def related(n=3000, seed=0):
    """Return a table in which everything hangs on everything."""
    random = np.random.default_rng(seed)
    city = random.choice(["Bonn", "Köln", "Ulm"], n, p=[0.5, 0.3, 0.2])
    rich = (city == "Köln") | (random.random(n) < 0.2)
    income = np.where(random.random(n) < np.where(rich, 0.05, 0.5), 0.0, random.lognormal(np.where(rich, 2, 1), 0.5, n))
    age = np.where(random.random(n) < np.where(rich, 0.3, 0.1), np.nan, random.normal(40 + 10 * rich, 5, n))
    return pd.DataFrame({"city": city, "children": random.poisson(1 + 2 * rich), "income": income, "age": age})


@pytest.fixture(scope="module")
def fitted():
    """A model fitted to a table, and the table."""
    frame = related()
    torch.manual_seed(0)
    model = pf.TableFlow(frame, widths=(64, 64), bins=8)
    history = pf.fit(model, frame, epochs=40, patience=10, progress=False)
    return model, frame, history


@pytest.mark.fits
def test_a_fit_is_better_than_independent_columns(fitted):
    model, _, history = fitted
    new = related(2000, 1)
    begun = pf.TableFlow(model.schema, widths=(8,)).measure(related(), classes=False)
    independent = sum(begun.log_prob(new, [name]) for name in begun.columns)
    # A new model has correlations already, a fit more than these.
    assert float((begun.log_prob(new) - independent).mean()) > 0.05
    assert float((model.log_prob(new) - begun.log_prob(new)).mean()) > 0.1
    assert float((model.log_prob(new) - independent).mean()) > 0.3
    assert history.best_loss < history.start
    assert history.monitored == "validation"
    # Latent classes are what these rows are made of, so a fit hardly gains on a model that begins with them.
    classes = pf.TableFlow(model.schema, widths=(8,)).measure(related())
    assert float((model.log_prob(new) - classes.log_prob(new)).mean()) > -0.02
    assert history.start == pytest.approx(-float(classes.log_prob(new).mean()), abs=0.3)


@pytest.mark.fits
def test_patterns_of_missing_cells_and_atoms_have_the_probabilities_of_the_data(fitted):
    model, _, _ = fitted
    frame = related(20_000, 2)
    for city in ("Bonn", "Köln"):
        rows = frame[frame["city"] == city]
        view = model.condition({"city": city})
        assert view.probabilities("age")[None] == pytest.approx(rows["age"].isna().mean(), abs=0.04)
        assert view.probabilities("income")[0.0] == pytest.approx((rows["income"] == 0).mean(), abs=0.05)
        assert view.mean("children") == pytest.approx(rows["children"].mean(), abs=0.25)
        both = ((rows["income"] == 0) & rows["age"].isna()).mean()
        zero = view.probabilities("income")[0.0]
        found = zero * model.condition({"city": city, "income": 0.0}).probabilities("age")[None]
        assert found == pytest.approx(both, abs=0.03)
    # A later column given, an earlier one asked for.
    rows = frame[frame["children"] == 4]
    found = model.condition({"children": 4}).probabilities("city")
    for city, share in rows["city"].value_counts(normalize=True).items():
        assert found[city] == pytest.approx(share, abs=0.08)


@pytest.mark.fits
def test_densities_of_subsets_are_those_of_the_data(fitted):
    """Two columns, of which the chain leaves out what lies between, against the sum over what is left out."""
    model, _, _ = fitted
    some = related(300, 3)[["city", "income"]]
    some = some[some["income"] > 0].iloc[:40]
    alone = model.log_prob(some, ["city", "income"])
    counts = np.arange(25)
    whole = pd.concat([some.assign(children=k) for k in counts])
    summed = torch.logsumexp(model.log_prob(whole, ["city", "children", "income"]).reshape(len(counts), -1), 0)
    # Two ways through one network, which agree as far as it has learned.
    assert float((alone - summed).abs().mean()) < 0.2


@pytest.mark.fits
def test_chains_in_different_orders_nearly_agree(fitted):
    model, frame, _ = fitted
    found = model.disagreement(frame.iloc[:500], 6, generator=torch.Generator().manual_seed(0))
    assert 0 < found.typical < 0.4
    assert max(abs(one - found.schema) for one in found.orders) < 0.1


@pytest.mark.fits
def test_samples_of_a_fit_are_like_the_data(fitted):
    model, _, _ = fitted
    drawn = model.sample(5000, generator=torch.Generator().manual_seed(0))
    new = related(5000, 4)
    for city in ("Bonn", "Köln", "Ulm"):
        mine, theirs = drawn[drawn["city"] == city], new[new["city"] == city]
        assert len(mine) / 5000 == pytest.approx(len(theirs) / 5000, abs=0.04)
        assert (mine["income"] == 0).mean() == pytest.approx((theirs["income"] == 0).mean(), abs=0.06)
        assert mine["age"].mean() == pytest.approx(theirs["age"].mean(), abs=2.5)


def test_the_same_seed_gives_the_same_fit_and_leaves_the_global_state_alone():
    frame = related(300)
    torch.manual_seed(0)
    start = pf.TableFlow(frame, widths=(16,), bins=4)
    state = torch.get_rng_state()
    models = [copy.deepcopy(start) for _ in range(2)]
    histories = [pf.fit(model, frame, epochs=2, progress=False, seed=5) for model in models]
    assert torch.equal(torch.get_rng_state(), state)
    assert histories[0].train == histories[1].train
    assert torch.equal(*(model.log_prob(frame) for model in models))
    again = pf.fit(models[0], frame, epochs=1, progress=False)
    assert again.start < histories[0].start


def test_weights_of_rows_count_as_rows_do():
    random = np.random.default_rng(0)
    frame = pd.DataFrame({"a": random.random(1000) < 0.5, "b": random.random(1000) < 0.5})
    weights = np.where(frame["a"] == frame["b"], 4.0, 1.0)
    torch.manual_seed(0)
    model = pf.TableFlow(frame, widths=(16,))
    pf.fit(model, frame, weights=weights, epochs=30, progress=False)
    assert model.condition({"a": True}).probabilities("b")[True] == pytest.approx(0.8, abs=0.05)
    # Rows without weight are not looked at, whatever is in them.
    odd = pd.concat([frame, frame.assign(a=~frame["b"])])
    zero = copy.deepcopy(pf.TableFlow(frame, widths=(16,)))
    pf.fit(zero, odd, weights=np.append(weights, np.zeros(1000)), epochs=1, progress=False)
    measured = pf.TableFlow(frame, widths=(16,)).measure(frame, weights)
    assert math.exp(float(measured.log_prob({"a": [True], "b": [True]}, ["a"]))) == pytest.approx(
        weights[frame["a"]].sum() / weights.sum(), abs=0.01
    )


def test_validation_may_be_a_table_or_none():
    frame = related(200)
    model = pf.TableFlow(frame, widths=(8,), bins=4)
    held = pf.fit(model, frame, validation=related(50, 1), epochs=2, progress=False)
    assert len(held.validation) == 2
    none = pf.fit(pf.TableFlow(frame, widths=(8,), bins=4), frame, validation=None, epochs=2, progress=False)
    assert none.monitored == "training"
    assert none.validation == []


def test_a_fit_that_fails_leaves_the_model_as_it_was():
    frame = related(200)
    model = pf.TableFlow(frame, widths=(8,), bins=4)
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(TypeError, match=r"torch\.optim\.Optimizer"):
        pf.fit(model, frame, optimizer=lambda parameters: None, progress=False)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not model.measured


WRONG = [
    ({"context": [[1.0]]}, "no context for a TableFlow"),
    ({"objective": "flow_matching"}, "no objective for a TableFlow"),
    ({"whiten": True}, "no whiten for a TableFlow"),
    ({"mixture": 2}, "no mixture for a TableFlow"),
    ({"columns": ["real"]}, "no columns for a TableFlow"),
    ({"compile": True}, "no compile for a TableFlow"),
    ({"precision": "bfloat16"}, "no precision for a TableFlow"),
    ({"validation": 2.0}, "validation to be a share"),
    ({"validation": True}, "validation to be a share"),
    ({"weights": [1.0]}, "one weight a row"),
    ({"weights": [-1.0] * 50}, "weights of at least 0"),
    ({"weights": ["a"] * 50}, "weights to be numbers"),
    ({"standardize": False}, "standardize to be True or None"),
    ({"epochs": 0}, "epochs"),
]


@pytest.mark.parametrize(("options", "message"), WRONG)
def test_wrong_options_are_refused(options, message):
    frame = frame_of("real", "binary", n=50)
    model = pf.TableFlow(schema_of(frame), widths=(8,))
    with pytest.raises(ValueError, match=message):
        pf.fit(model, frame, progress=False, **options)
    assert not model.measured


def test_data_that_the_schema_does_not_allow_is_refused():
    frame = frame_of("real", "binary", n=50)
    model = model_of(frame)
    with pytest.raises(ValueError, match="column 'real': expected in the data"):
        pf.fit(model, frame[["binary"]], progress=False)
    with pytest.raises(ValueError, match="at least 3 rows"):
        pf.fit(model, frame.iloc[:2], progress=False)
    with pytest.raises(ValueError, match="float32 or float64"):
        pf.fit(copy.deepcopy(model).half(), frame, progress=False)
