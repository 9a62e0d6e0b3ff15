"""Rows that were measured with errors of their own: the density with these errors, against brute force."""

import math

import numpy as np
import pytest
import torch

from tests.table_cases import frame_of, model_of

FRAME = frame_of("real", "positive", "circular", "count", "atom", "missing")
MODEL = model_of(FRAME)


def brute_force(column, y, sigma, low=-math.inf, high=math.inf, period=None):
    x = np.linspace(max(y - 9 * sigma, low + 1e-12), min(y + 9 * sigma, high), 40_001)
    inside = x if period is None else (x + math.pi) % period - math.pi
    density = torch.exp(MODEL.log_prob({column: inside}, [column])).numpy()
    return np.trapezoid(density * np.exp(-0.5 * ((x - y) / sigma) ** 2) / sigma / math.sqrt(2 * math.pi), x)


CASES = [
    ("real", 1010.0, 3.0, {}),
    ("real", 1030.0, 0.1, {}),
    ("positive", 0.5, 1.0, {"low": 0}),  # what was measured may be nearer to 0 than its error
    ("circular", 3.0, 0.8, {"period": 2 * math.pi}),
]


@pytest.mark.parametrize(("column", "y", "sigma", "bounds"), CASES)
def test_the_density_of_a_measured_value_is_that_of_the_model_with_its_error(column, y, sigma, bounds):
    wanted = math.log(brute_force(column, y, sigma, **bounds))
    found, error = MODEL.log_prob_and_error({column: [y]}, [column], noise={column: sigma}, draws=4096)
    assert abs(float(found) - wanted) < 5 * float(error) + 1e-4
    assert 0 < float(error) < 0.03


def test_several_columns_given_others_and_rows_without_errors():
    rows = FRAME.iloc[:40]
    sigma = np.where(np.arange(40) % 2 == 0, 0.0, 1.5)
    options = {"columns": ["real", "positive"], "given": ["count"]}
    found, error = MODEL.log_prob_and_error(rows, **options, noise={"real": sigma, "positive": 0.1 * sigma}, draws=64)
    more, less = MODEL.log_prob_and_error(rows, **options, noise={"real": sigma, "positive": 0.1 * sigma}, draws=2048)
    plain = MODEL.log_prob(rows, **options)
    torch.testing.assert_close(found[::2], plain[::2], rtol=1e-5, atol=1e-5)
    assert bool((error[::2] < 1e-5).all())
    # Errors are told by eight sets of points, and so themselves with an error of about a quarter.
    off = ((found - more) / (error + less))[1::2]
    assert float(off.square().mean().sqrt()) < 4
    assert float(off.abs().max()) < 14
    assert float(less[1::2].median()) < float(error[1::2].median())


def test_a_missing_cell_has_no_error():
    rows = FRAME.iloc[:30]
    found, error = MODEL.log_prob_and_error(rows, ["missing"], noise={"missing": np.where(rows["missing"].isna(), np.nan, 0.2)})
    none = torch.tensor(rows["missing"].isna().tolist())
    torch.testing.assert_close(found[none], MODEL.log_prob(rows, ["missing"])[none])
    assert bool((error[none] < 1e-5).all())
    assert bool((error[~none] > 0).all())


WRONG = [
    ({"noise": {"count": 1}}, "expected noise of columns that are asked about and have a density, .* got 'count'"),
    ({"noise": {"atom": 1}}, "got 'atom'"),
    ({"noise": {"real": 1}, "given": ["real"]}, "got 'real'"),
    ({"noise": {"none": 1}}, "no column 'none'"),
    ({"noise": {"real": -1}}, "expected noise of at least 0, got -1 of 'real' in row 0"),
    ({"noise": {"real": [1, math.nan, 1]}}, "expected noise of at least 0, got nan of 'real' in row 1"),
    ({"noise": {"real": [1, 2]}}, r"expected noise of 'real' as a number or \(3,\), got \(2,\)"),
]


@pytest.mark.parametrize(("options", "words"), WRONG, ids=[words[:40] for _, words in WRONG])
def test_what_is_no_noise_is_said(options, words):
    with pytest.raises(ValueError, match=words):
        MODEL.log_prob_and_error(FRAME.iloc[:3], **options)
