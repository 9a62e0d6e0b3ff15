"""The copula of a table: what any known cells say of a number, in any order, against the normal distribution by matrices."""

import numpy as np
import pandas as pd
import pytest
import torch

import pushforward as pf
from pushforward.data import Schema
from tests.table_cases import frame_of, schema_of


def correlated(n=4000, seed=0):
    """Return four numbers with a correlation matrix, as they look after monotone maps, and the matrix."""
    random = np.random.default_rng(seed)
    a = random.normal(size=(4, 4))
    covariance = a @ a.T + 0.5 * np.eye(4)
    z = random.multivariate_normal(np.zeros(4), covariance, n)
    size = np.sqrt(np.diag(covariance))
    frame = pd.DataFrame({"a": np.exp(z[:, 0]), "b": z[:, 1] ** 3, "c": 7 + z[:, 2], "d": np.arctan(z[:, 3])})
    return frame, covariance / np.outer(size, size)


def factors_of(model, events, known):
    copula = model.model.network.copula
    return copula.factors(copula.evidence(events, known))


@pytest.mark.parametrize("seen", [(), (0,), (1, 3), (0, 1, 2)])
def test_what_is_known_places_a_number_as_a_normal_distribution_does(seen):
    frame, _ = correlated()
    model = pf.TableFlow(frame, widths=(8,)).measure(frame)
    copula = model.model.network.copula
    matrix = copula.loadings @ copula.loadings.T + torch.diag(copula.noise)
    events = model.model.events(model.encode(frame.iloc[:50]))
    known = torch.zeros(50, 4, dtype=torch.bool)
    known[:, list(seen)] = True
    mean, spread = copula.places(factors_of(model, events, known), model.model.variables)
    scores = events.features[:, :, 0].double()
    for at in set(range(4)) - set(seen):
        ours = matrix[at, list(seen)]
        theirs = matrix[list(seen)][:, list(seen)]
        weights = torch.linalg.solve(theirs, ours) if seen else ours
        assert torch.allclose(mean[:, at], scores[:, list(seen)] @ weights, atol=1e-4)
        assert torch.allclose(spread[:, at], (1 - weights @ ours).sqrt().expand(50), atol=1e-6)


def test_correlations_of_scores_are_found_whatever_the_marginals_are():
    frame, wanted = correlated()
    copula = pf.TableFlow(frame, widths=(8,)).measure(frame).model.network.copula
    found = copula.loadings @ copula.loadings.T + torch.diag(copula.noise)
    assert np.allclose(found.numpy(), wanted, atol=0.05)


def test_a_new_model_of_numbers_is_the_same_in_every_order():
    """A product of conditionals of one normal distribution, as near as a logistic conditional is a normal one."""
    frame, _ = correlated()
    model = pf.TableFlow(frame, widths=(8,)).measure(frame)
    found = model.disagreement(frame.iloc[:500], 6, generator=torch.Generator().manual_seed(0))
    independent = sum(model.log_prob(frame.iloc[:500], [name]) for name in model.columns)
    assert found.schema - float(independent.mean()) > 0.3
    assert max(abs(one - found.schema) for one in found.orders) < 0.1


def test_rows_of_which_the_same_is_known_have_one_precision_and_the_factors_that_each_has_alone():
    """More coordinates than one number has bits for, and cells that are missing."""
    random = np.random.default_rng(0)
    frame = pd.DataFrame({f"c{at}": random.choice(list("abcdefghij"), 300) for at in range(5)})
    frame["x"] = random.normal(size=300) + (frame["c0"] == "a")
    frame["y"] = np.where(random.random(300) < 0.3, np.nan, frame["x"] + random.normal(size=300))
    model = pf.TableFlow(schema_of(frame), widths=(8,)).measure(frame)
    copula = model.model.network.copula
    assert len(copula.columns) > 32
    rows = 40
    events = model.model.events(model.encode(frame.iloc[:rows]))
    known = torch.tensor(random.random((5, 7)) < 0.5)[torch.tensor(random.integers(0, 5, rows))]
    missing = events.cases[:, 6] != 0
    found = copula.evidence(events, known)
    # Of a number that is missing nothing is said by its score, but that it is missing is.
    patterns = torch.cat([known, missing.unsqueeze(1) & known[:, 6:]], 1).unique(dim=0)
    assert len(found.precision) == len(patterns) < rows
    together = copula.factors(found)
    for row in range(rows):
        alone = copula.factors(copula.evidence(events.take(slice(row, row + 1)), known[row : row + 1]))
        assert torch.allclose(together.means[row], alone.means[0], atol=1e-9)
        assert torch.allclose(together.spread[together.group[row]], alone.spread[0], atol=1e-9)


def test_cells_that_come_one_by_one_tell_what_they_tell_together():
    frame = frame_of("real", "atom", "missing atom", "circular", "categorical", "missing count", "many")
    model = pf.TableFlow(schema_of(frame), widths=(8,)).measure(frame)
    events = model.model.events(model.encode(frame.iloc[:100]))
    network = model.model.network
    known = torch.zeros(100, 7, dtype=torch.bool)
    state = network.state(events, known)
    for variable in reversed(model.model.variables):
        known[:, variable.index] = True
        state = network.added(state, variable, events)
        whole = network.state(events, known)
        assert torch.allclose(state.sums, whole.sums, atol=1e-5)
        ours, theirs = state.evidence, whole.evidence
        assert torch.allclose(ours.linear, theirs.linear, atol=1e-9, rtol=1e-9)
        assert torch.allclose(ours.precision[ours.group], theirs.precision[theirs.group], atol=1e-9, rtol=1e-9)


def test_rows_of_which_the_same_is_known_share_a_precision():
    """Whole rows have one, whatever their values; rows with atoms or missing cells one for each pattern; and each row keeps its own."""
    frame = frame_of("real", "atom", "missing count", "categorical")
    model = pf.TableFlow(schema_of(frame), widths=(8,)).measure(frame)
    events = model.model.events(model.encode(frame.iloc[:100]))
    network, variables = model.model.network, model.model.variables
    state = network.state(events, torch.zeros(100, 4, dtype=torch.bool))
    count = []
    for variable in variables:
        state = network.added(state, variable, events)
        count.append(len(state.evidence.precision))
    assert count == [1, 2, count[2], count[2]]
    assert 3 <= count[2] <= 4
    odd = torch.arange(100) % 2 == 1
    some = torch.zeros(100, 4, dtype=torch.bool)
    some[:, 0] = True
    mixed = state.where(odd, network.state(events, some))
    some = torch.where(odd.unsqueeze(1), some, True)
    apart = network.state(events, some)
    for ours, theirs in ((mixed, apart), (mixed.take(odd), apart.take(odd))):
        found, wanted = (network.copula.factors(one.evidence) for one in (ours, theirs))
        assert torch.allclose(found.means, wanted.means, atol=1e-9)
        assert torch.allclose(found.spread[found.group], wanted.spread[wanted.group], atol=1e-9)


def test_columns_without_relation_stay_so():
    """What chance makes of correlations is not taken for any."""
    random = np.random.default_rng(0)
    frame = pd.DataFrame(random.normal(size=(500, 6)), columns=list("abcdef"))
    model = pf.TableFlow(frame, widths=(8,)).measure(frame)
    copula = model.model.network.copula
    found = copula.loadings @ copula.loadings.T
    away = found - torch.diag(found.diagonal())
    assert int((away.abs() > 0.02).sum()) <= 4
    new = pd.DataFrame(random.normal(size=(2000, 6)), columns=list("abcdef"))
    independent = sum(model.log_prob(new, [name]) for name in model.columns)
    assert float((model.log_prob(new) - independent).mean()) == pytest.approx(0, abs=0.02)


def test_more_coordinates_than_factors_keep_their_correlations():
    random = np.random.default_rng(0)
    common = random.normal(size=(3000, 3))
    load = random.normal(size=(3, 50))
    frame = pd.DataFrame(common @ load + random.normal(size=(3000, 50)), columns=[f"x{i}" for i in range(50)])
    copula = pf.TableFlow(frame, widths=(8,)).measure(frame).model.network.copula
    assert copula.rank == 32
    found = (copula.loadings @ copula.loadings.T + torch.diag(copula.noise)).numpy()
    assert np.allclose(np.diag(found), 1, atol=1e-9)
    assert np.abs(found - frame.corr().to_numpy()).max() < 0.1


def test_a_value_far_from_what_is_expected_is_unlikely_but_not_impossible():
    """Beside what is bent stands the marginal itself, so that one odd cell does not cost hundreds of nats."""
    random = np.random.default_rng(0)
    a = random.normal(size=3000)
    frame = pd.DataFrame({"a": a, "b": a + 1e-3 * random.normal(size=3000)})
    model = pf.TableFlow(Schema.find(frame), widths=(8,)).measure(frame)
    odd = pd.DataFrame({"a": [-1.0], "b": [1.0]})
    usual = pd.DataFrame({"a": [1.0], "b": [1.0]})
    conditional = lambda rows: float(model.log_prob(rows) - model.log_prob(rows, ["a"]))  # noqa: E731
    assert conditional(usual) > 2
    assert -12 < conditional(odd) < -4


def test_a_file_with_a_copula_that_is_none_is_refused(tmp_path):
    frame = frame_of("real", "positive")
    model = pf.TableFlow(frame, widths=(8,)).measure(frame)
    model.model.network.copula.noise.fill_(-1.0)
    model.save(tmp_path / "a.safetensors")
    with pytest.raises(ValueError, match="expected increasing knots"):
        pf.TableFlow.load(tmp_path / "a.safetensors")
