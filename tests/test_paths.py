"""Paths and couplings of flow matching: where paths begin and end, how fast they go, and who is paired with whom."""

import itertools
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from pushforward.train import FlowMatching, Path
from pushforward.train.couplings import share_of_pairs, transported
from pushforward.train.paths import PATHS

OWN = Path(lambda t: t**2, lambda t: 1 - t**3, lambda t: 0.3 * torch.sin(math.pi * t) ** 2)
ALL = {name: make(0.4) for name, make in PATHS.items()} | {"one's own": OWN}


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def ends(n=7, shape=(3,)):
    g = seeded()
    return [torch.randn(n, *shape, generator=g, dtype=torch.float64) for _ in range(3)]


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("shape", [(), (3,), (2, 2)])
def test_a_path_leads_from_the_base_to_the_data(name, shape):
    x0, x1, z = ends(shape=shape)
    for end, expected in ((0.0, x0), (1.0, x1)):
        t = torch.full((7,), end, dtype=torch.float64)
        c = ALL[name].spread(t, x1)[0] if ALL[name].noise is not None else 0.0
        torch.testing.assert_close(ALL[name].mean(t, x0, x1)[0] + c * z, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ALL)
def test_the_velocity_is_the_slope_of_the_path(name):
    """By differences of the places, which no rule of autograd enters."""
    x0, x1, z = ends()
    t, step = torch.linspace(0.05, 0.95, 7, dtype=torch.float64), 1e-6
    before, after = (ALL[name].at(t + side * step, x0, x1, z)[0] for side in (-1, 1))
    torch.testing.assert_close(ALL[name].at(t, x0, x1, z)[1], (after - before) / (2 * step), rtol=1e-7, atol=1e-7)


def test_paths_against_their_formulas():
    x0, x1, z = ends()
    t = torch.linspace(0.05, 0.95, 7, dtype=torch.float64)
    s = t[:, None]
    a, b = torch.sin(math.pi / 2 * s), torch.cos(math.pi / 2 * s)
    noise = 0.4 * torch.sqrt(s * (1 - s))
    expected: dict[str, tuple[Tensor, Tensor]] = {
        "linear": (s * x1 + (1 - s) * x0, x1 - x0),
        "variance_preserving": (a * x1 + b * x0, math.pi / 2 * (b * x1 - a * x0)),
        "schroedinger_bridge": (
            s * x1 + (1 - s) * x0 + noise * z,
            (1 - 2 * s) / (2 * s * (1 - s)) * noise * z + x1 - x0,
        ),
    }
    assert set(expected) == set(PATHS)
    for name, found in expected.items():
        torch.testing.assert_close(ALL[name].at(t, x0, x1, z), found)


def test_the_variance_preserving_path_preserves_variance():
    x0, x1 = (torch.randn(100_000, 1, generator=seeded(seed), dtype=torch.float64) for seed in (1, 2))
    for t in (0.2, 0.5, 0.9):
        spread = ALL["variance_preserving"].at(torch.full((len(x0),), t, dtype=torch.float64), x0, x1)[0].var().item()
        assert spread == pytest.approx(1, abs=0.03)  # 6 standard errors


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((None, lambda t: 1 - t), TypeError, "Path: expected data to be a function of times, got None"),
        ((lambda t: t, 3), TypeError, "Path: expected base to be a function or None, got 3"),
        ((lambda t: t, lambda t: 1 - t, "x"), TypeError, "Path: expected noise to be a function or None, got 'x'"),
        ((lambda t: 0.99 * t, lambda t: 1 - t), ValueError, "data to be 0 at time 0 and 1 at time 1.*got 0 and 0.99"),
        ((lambda t: t, lambda t: 1 - 0.9 * t), ValueError, r"base to be 1 at time 0 and 0 at time 1.*got 1 and 0\.1"),
        ((lambda t: t, lambda t: 1 - t, lambda t: 0.1 + 0 * t), ValueError, "noise to be 0 at time 0 and 0 at time 1"),
        ((lambda t: t[:, None], lambda t: 1 - t), ValueError, r"data to return one number for each time, shape \(1,\), got \(1, 1\)"),
        ((lambda t: t.numpy(), lambda t: 1 - t), TypeError, "data to return a tensor of floating-point numbers, got ndarray"),
        ((lambda t: t, lambda t: 1 - t, lambda t: torch.log(t) * 0 + 0 * t), ValueError, "noise"),
        ((lambda t: t, lambda t: 1 - t, lambda t: torch.sqrt((t - 0.5).clamp(min=0)) * (1 - t)), ValueError, "noise to be finite"),
    ],
)
def test_a_path_that_is_none_is_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        Path(*arguments)


def test_noise_needs_draws():
    x0, x1, _ = ends()
    with pytest.raises(ValueError, match="Path: expected z, since the path has noise, got None"):
        OWN.at(torch.full((7,), 0.5, dtype=torch.float64), x0, x1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"path": "straight"}, "expected path to be 'linear', 'variance_preserving', 'schroedinger_bridge', or a Path, got 'straight'"),
        ({"path": Path}, "or a Path, got Path; write its brackets"),
        ({"path": torch.ones(3)}, "or a Path, got tensor"),
        ({"sigma": 0.1}, "sigma with path='schroedinger_bridge' alone, got 0.1 with 'linear'"),
        ({"sigma": 0.0, "path": "schroedinger_bridge"}, "sigma to be a finite number above 0 or None, got 0.0"),
        ({"coupling": "sinkhorn"}, "coupling to be 'independent', 'optimal_transport', or a Flow, got 'sinkhorn'"),
        ({"times": 3}, "times to be .*got 3"),
        ({"nats_every": 0}, "nats_every to be a whole number of at least 1 or None, got 0"),
    ],
)
def test_an_option_out_of_range_is_named(options, message):
    with pytest.raises(ValueError, match=f"^FlowMatching: .*{message}"):
        FlowMatching(**options)


# Couplings


def pairs(n=6, shape=(2,), seed=0):
    g = seeded(seed)
    return torch.randn(n, *shape, generator=g), 2 * torch.randn(n, *shape, generator=g) + 1


def cost(x0, x1):
    return (x0 - x1).square().sum().item()


def test_transport_is_the_best_of_all_orders():
    for seed in range(5):
        x0, x1 = pairs(seed=seed)
        least = min(cost(x0[list(order)], x1) for order in itertools.permutations(range(6)))
        assert cost(x0[transported(x0, x1)], x1) == pytest.approx(least, rel=1e-6)
        assert least < cost(x0, x1)


@pytest.mark.parametrize("shape", [(), (3,), (2, 2)])
def test_transport_keeps_the_draws(shape):
    x0, x1 = pairs(64, shape)
    index = transported(x0, x1)
    assert sorted(index.tolist()) == list(range(64))
    assert cost(x0[index], x1) < cost(x0, x1)


def test_transport_in_one_dimension_sorts():
    x0, x1 = pairs(40, (1,))
    paired = x0[transported(x0, x1)]
    assert (np.argsort(paired[:, 0].numpy()) == np.argsort(x1[:, 0].numpy())).all()


def test_rows_are_paired_among_equal_contexts():
    x0, x1 = pairs(60)
    c = torch.arange(60)[:, None].remainder(3).float()
    index = transported(x0, x1, c)
    assert torch.equal(c[index], c)
    for k in range(3):
        inside = (c[:, 0] == k).nonzero().squeeze(-1)
        assert cost(x0[index[inside]], x1[inside]) == pytest.approx(cost(x0[inside][transported(x0[inside], x1[inside])], x1[inside]))
    alone = torch.arange(60.0)[:, None]
    assert torch.equal(transported(x0, x1, alone), torch.arange(60))
    assert (share_of_pairs(c), share_of_pairs(alone)) == (1.0, 0.0)


def test_what_is_not_finite_is_left_as_it_is():
    x0, x1 = pairs()
    x1[3, 0] = math.nan
    assert torch.equal(transported(x0, x1), torch.arange(6))
