"""Data of which no density is the best, and data that a precision does not carry: what `fit` says, and what it says nothing of."""

from __future__ import annotations

import math
import re
import warnings
from unittest import mock

import numpy as np
import pandas as pd
import pytest
import torch

import pushforward as pf
from pushforward import bijectors as bij
from pushforward.__main__ import main
from pushforward.data import dequantize
from pushforward.data.checks import blurred
from pushforward.data.dependence import dependent
from pushforward.data.grids import repeats
from pushforward.train.trials import PLAIN, SCORES, Tried

QUICK = {"epochs": 1, "progress": False, "mixture": 0}


def drawn(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def told(data, context=None, flow=None):
    """Return the warnings of a fit."""
    width = np.shape(data)[1]
    torch.manual_seed(0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        pf.fit(flow or pf.NSF(width, context=0 if context is None else np.shape(context)[1], transforms=1), data, context, **QUICK)
    return [str(each.message) for each in caught if str(each.message).startswith("fit: ")]


# Grids and atoms: one rule

WHOLE = np.random.default_rng(0).integers
COLUMNS = {
    # name: (values, step, whether a value has a probability)
    "smooth": (drawn(1000), 0.0, False),
    "whole numbers": (WHOLE(0, 9, 1000).astype(float), 1.0, False),
    "more whole numbers than are told apart by eye": (WHOLE(0, 300, 1000).astype(float), 1.0, False),
    "whole numbers in few rows": (WHOLE(60, 90, 31).astype(float), 1.0, False),
    "tenths": (WHOLE(0, 50, 1000) * 0.1, 0.1, False),
    "tenths around a thousand, float32": ((1000 + WHOLE(0, 50, 1000) * 0.1).astype(np.float32), 0.1, False),
    "quarters": (WHOLE(0, 5, 1000) * 25.0, 25.0, False),
    "two values": (np.where(drawn(1000) > 0, 1.0, -1.0), 2.0, False),
    "sizes of clothes": (np.array([34.0, 36.0, 38.0, 42.0, 50.0])[WHOLE(0, 5, 1000)], 2.0, False),
    "powers of ten": (10.0 ** WHOLE(0, 4, 1000), 9.0, False),
    "seven in ten are zero": (np.where(np.arange(1000) % 10 < 7, 0.0, drawn(1000) ** 2), 0.0, True),
    "one in twenty is zero": (np.where(np.arange(1000) % 20 < 1, 0.0, drawn(1000) ** 2), 0.0, True),
    "twelve of ninety are zero": (np.where(np.arange(90) % 15 < 2, 0.0, drawn(90) ** 2), 0.0, True),
    "a limit": (np.clip(drawn(1000), -1.0, None), 0.0, True),
    "some twice": (np.concatenate([drawn(900), drawn(900)[:100]]), 0.0, False),
    "numbers of rows": (np.arange(1000.0), 0.0, False),
    "float32 of an offset": ((2.45e6 + drawn(4000)).astype(np.float32), 0.25, False),
}  # fmt: skip


@pytest.mark.parametrize("name", COLUMNS)
def test_what_is_a_grid_and_what_has_a_probability(name):
    values, step, atom = COLUMNS[name]
    found = repeats(torch.from_numpy(values))
    assert found.step == pytest.approx(step, rel=1e-3)
    assert found.grid == (step > 0)
    assert found.atom == atom


@pytest.mark.parametrize("name", COLUMNS)
def test_what_is_warned_of_is_what_noise_takes_away(name):
    values, step, atom = COLUMNS[name]
    values = values[:, None]
    warned = told(values)
    assert [("columns on a grid" in text, "one value many times" in text) for text in warned] == ([(True, False)] if step else []) + (
        [(False, True)] if atom else []
    )
    assert all("column 0" in text for text in warned)
    spread, steps = dequantize(values, torch.Generator().manual_seed(0))
    assert steps == pytest.approx([step], rel=1e-3)
    # Where float32 carries no more than the grid, noise is rounded away again.
    if name != "float32 of an offset":
        assert told(spread) == [text for text in warned if "many times" in text]


def test_advice_about_a_value_with_a_probability_is_not_to_add_noise():
    (text,) = told(COLUMNS["seven in ten are zero"][0][:, None])
    assert "column 0 (70 % of the rows)" in text
    assert "dequantize" not in text


# Columns that others determine

A, B, C = drawn(3, 2000)
SHARES = np.abs(drawn(2000, 3)) / np.abs(drawn(2000, 3)).sum(1, keepdims=True) * 100
DEPENDENT = {
    # name: (columns, context, what is said)
    "a sum": ({"a": A, "b": B, "sum": A + B}, None, "'sum'|'a'|'b'"),
    "shares of a hundred": (dict(zip("xyz", SHARES.T, strict=True)), None, "'x'|'y'|'z'"),
    "a column twice": ({"a": A, "b": B, "again": A}, None, "'a' by column 'again'|'again' by column 'a'"),
    "in other units": ({"a": A, "b": B, "feet": 3.28 * A + 1e3}, None, "'a' by column 'feet'|'feet' by column 'a'"),
    "a logarithm": ({"a": np.exp(A), "b": B, "log": A}, None, "'log' by column 'a'"),
    "falling": ({"a": np.exp(A), "b": B, "other": -A}, None, "'other' by column 'a'"),
    "the context": ({"a": A, "b": B}, {"c": A - B, "d": B}, "'a' by context column 'c', context column 'd'"),
    "twice, one row far out": ({"a": np.where(np.arange(2000) == 7, 1e6, A), "b": np.where(np.arange(2000) == 7, 1e6, A)}, None, "'a'|'b'"),
}


@pytest.mark.parametrize("name", DEPENDENT)
def test_columns_that_others_determine_are_named(name):
    columns, context, words = DEPENDENT[name]
    (text,) = told(pd.DataFrame(columns), None if context is None else pd.DataFrame(context))
    assert text.startswith("fit: columns that others determine: ")
    assert re.search(words, text)


def test_the_rank_of_a_table_is_the_number_of_columns_that_are_not_named():
    values = torch.from_numpy(drawn(2000, 4) @ drawn(4, 16, seed=1))
    found = dependent(values)
    assert len(found) == 12
    kept = set(range(16)) - {column for column, _ in found}
    assert all(set(parts) <= kept for _, parts in found)


INDEPENDENT = {
    "correlated": np.column_stack([A, A + 0.02 * B]),
    "squares": np.column_stack([A, A**2]),
    "one row far out in both": np.where(np.arange(2000)[:, None] == 7, 1e6, np.column_stack([A, B])),
    "heavy tails": np.column_stack([np.exp(4 * A), np.exp(4 * B), np.exp(4 * C)]),
    "offsets": np.column_stack([1e7 + A, 1e7 + B, -1e7 + C]),
    "scales": np.column_stack([1e-9 * A, 1e9 * B, C]),
    "fewer rows than columns": drawn(10, 12),
    "as many rows as columns": drawn(14, 12),
    "zero together": np.where(np.arange(2000)[:, None] % 50 == 0, np.column_stack([A, B]), 0.01 * drawn(2000, 2, seed=9)),
}


@pytest.mark.parametrize("name", INDEPENDENT)
def test_columns_that_vary_freely_are_not_named(name):
    assert dependent(torch.from_numpy(INDEPENDENT[name])) == []


def test_wide_tables_take_bounded_time():
    """No more rows are looked at than the test needs, and beyond 1,024 columns copies alone are found."""
    values = torch.randn(200, 1500, dtype=torch.float64)
    values[:, 1400] = values[:, 3]
    assert dependent(values) == [(1400, (3,))]


# Digits


@pytest.mark.parametrize(
    ("offset", "spread", "coarse"),
    [(0, 1, False), (1e3, 1, False), (1e5, 1, False), (2.45e6, 1, True), (1e15, 1, True), (1.7e18, 1e15, False), (1.7e18, 1e12, True)],
)
def test_float32_carries_a_column_or_is_refused(offset, spread, coarse):
    values = offset + spread * drawn(4000, 1)
    assert blurred(torch.from_numpy(values), torch.float32) == ([0] if coarse else [])
    assert blurred(torch.from_numpy(values), torch.float64) == []
    if coarse:
        with pytest.raises(ValueError, match=r"expected data that torch.float32 can tell apart.* column 0; .*flow.double\(\)"):
            pf.fit(pf.NSF(1, transforms=1), values, **QUICK)
    else:
        pf.fit(pf.NSF(1, transforms=1), values, **QUICK)


def test_a_column_is_not_refused_for_digits_that_the_rows_do_not_have():
    pf.fit(pf.MAF(2), torch.stack([torch.randn(500), 1e4 + torch.randn(500)], 1), **QUICK)
    assert blurred((2.45e6 + torch.randn(500, 1)), torch.float32) == []


def test_the_command_takes_float64_where_float32_does_not_carry_a_column(tmp_path):
    """Epochs in nanoseconds, and an offset of millions: samples are as distinct as the rows, and densities those of the spread."""
    table = tmp_path / "t.csv"
    pd.DataFrame({"when": 1.7e18 + 1e9 * drawn(2000), "x": 2.45e6 + drawn(2000, seed=1)}).to_csv(table, index=False)
    assert main(["fit", str(table), "-o", str(tmp_path / "m"), "--epochs", "30", "--flow", "MAF", "-q"]) == 0
    flow = pf.load(tmp_path / "m")
    assert flow.dtype == torch.float64
    sample = flow.sample((1000,), generator=torch.Generator().manual_seed(0))
    assert len(sample[:, 1].unique()) == 1000
    entropy = 2 * 0.5 * math.log(2 * math.pi * math.e) + math.log(1e9)
    assert -flow.log_prob(sample).mean().item() == pytest.approx(entropy, abs=0.2)


def test_errors_of_the_command_name_columns(tmp_path, capsys):
    table = tmp_path / "t.csv"
    pd.DataFrame({"height": drawn(50), "rain": np.zeros(50)}).to_csv(table, index=False)
    assert main(["fit", str(table), "-o", str(tmp_path / "m"), "-q"]) == 1
    said = "expected columns that vary, got constant ones: 'rain' (always 0); leave them out with --exclude rain"
    assert said in " ".join(capsys.readouterr().err.split())


def test_columns_of_arrays_are_called_as_in_an_earlier_fit():
    flow = pf.MAF(2)
    pf.fit(flow, pd.DataFrame({"height": A, "rain": B}), **QUICK)
    with pytest.raises(ValueError, match="column 'rain'"):
        pf.fit(flow, np.column_stack([A, np.full(2000, np.nan)]), **QUICK)
    pf.fit(flow, np.column_stack([A, B]), **QUICK)
    assert flow.columns == ("height", "rain")


# What a flow cannot do for its data


@pytest.mark.parametrize("layer", [bij.Autoregressive, bij.InverseAutoregressive, bij.Coupling])
def test_a_flow_that_cannot_bend_its_only_column_says_so(layer):
    humps = (0.3 * A + np.where(B > 0, 2.0, -2.0))[:, None]

    def straight(context=None):
        return pf.Flow(pf.distributions.StandardNormal(), [layer(bij.Affine()), bij.Standardize()], 1, context)

    (text,) = told(humps, flow=straight())
    assert "no layer of this flow bends its values" in text
    assert "it is one normal distribution. " in text
    assert told(humps, C[:, None], straight(1)) == []
    far = np.where(np.arange(2000)[:, None] == 7, 1e6, humps)
    # Where that was tried, nothing is to be said of values far out.
    with mock.patch("pushforward.train.fit.tried", return_value=Tried({SCORES: 2.0, PLAIN: 1.0}, {"scores": False, "mixture": 0}, None)):
        (text,) = told(far, flow=straight())
    assert "no layer of this flow bends its values" in text


@pytest.mark.parametrize(
    "flow",
    [
        lambda: pf.NSF(1, transforms=1),
        lambda: pf.MAF(2, transforms=1),
        lambda: pf.flows.mixture([pf.Flow(pf.distributions.StandardNormal(), bij.Affine(), 1) for _ in range(2)]),
        lambda: pf.Flow(pf.distributions.StandardNormal(), [pf.bijectors.Linear(), pf.bijectors.Affine()], 2),
        lambda: pf.Flow(pf.distributions.MixtureOfNormals(2), pf.bijectors.Affine(), 1),
    ],
    ids=["a spline", "two features", "a mixture of flows", "no network, so on purpose", "a mixture as base"],
)
def test_flows_that_bend_say_nothing(flow):
    made = flow()
    assert told(np.column_stack([A, B])[:, : made.event_shape[0]], flow=made) == []


def test_values_far_out_where_no_layer_minds_them_are_named():
    rows = np.column_stack([np.where(np.arange(2000) == 7, 1e6, A), np.exp(3 * B), 3 * np.tanh(C)])
    flow = pf.NSF(3, support=["real", "positive", "circular"], transforms=1)
    (text,) = told(rows, flow=flow)
    assert "column 0; all others" in text  # logarithms of the other are not far out
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pf.fit(pf.NSF(3, transforms=1), rows, **QUICK)
