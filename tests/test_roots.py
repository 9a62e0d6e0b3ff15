"""Roots of increasing functions: how many evaluations they take, and that a number's root is its own affair."""

from __future__ import annotations

import math

import pytest
import torch

from pushforward.core.roots import POLISH, STEPS, root

FUNCTIONS = {
    "line": lambda x: (3 * x - 1, torch.full_like(x, math.log(3.0))),
    "bent": lambda x: (x + 0.9 * torch.sin(x), torch.log1p(0.9 * torch.cos(x))),
    "cubic": lambda x: (x**3 + 0.01 * x, torch.log(3 * x**2 + 0.01)),
    "steps": lambda x: (0.01 * x + torch.tanh(50 * (x - 2)), torch.log(0.01 + 50 * (1 - torch.tanh(50 * (x - 2)) ** 2))),
    "asinh": lambda x: (torch.asinh(x), -0.5 * torch.log1p(x * x)),
}


class Counted:
    """A function that counts its evaluations."""

    def __init__(self, function):
        self.function, self.count = function, 0

    def __call__(self, x):
        self.count += 1
        return self.function(x)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_root_is_exact_to_roundings(name, dtype):
    function = FUNCTIONS[name]
    x = torch.cat([torch.linspace(-6, 6, 301, dtype=dtype), torch.tensor([-1e3, 1e3, 1e-20], dtype=dtype)])
    y = function(x)[0].detach()
    found = root(function, y)
    value, log_slope = function(found)
    eps = torch.finfo(dtype).eps
    # A root is off by what rounding makes of the value, over the slope.
    allowed = 16 * eps * (1 + y.abs() + x.abs() * torch.exp(log_slope))
    assert bool(((value - y).abs() <= allowed).all())


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_root_does_not_depend_on_the_others(name):
    y = torch.linspace(-3, 3, 41, dtype=torch.float64)
    # Of numbers that take all steps the others take no notice.
    lost = torch.where(torch.arange(41) % 5 == 0, math.inf, y)
    kept = torch.isfinite(lost)
    torch.testing.assert_close(root(FUNCTIONS[name], lost)[kept], root(FUNCTIONS[name], y)[kept], rtol=1e-15, atol=0)


def test_the_search_ends_when_all_have_settled():
    line = Counted(FUNCTIONS["line"])
    root(line, torch.linspace(-3, 3, 41, dtype=torch.float64))
    assert line.count <= 3 + POLISH
    bent = Counted(FUNCTIONS["bent"])
    root(bent, torch.linspace(-1, 1, 41, dtype=torch.float64))
    assert bent.count <= 12 + POLISH
    lost = Counted(FUNCTIONS["line"])
    assert bool(torch.isnan(root(lost, torch.full((3,), math.nan))).all())
    assert lost.count <= 1 + POLISH


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_search_never_takes_more_than_its_steps(name):
    counted = Counted(FUNCTIONS[name])
    root(counted, torch.tensor([math.inf, -math.inf, 1e30, -1e30, 0.0, math.nan], dtype=torch.float64))
    assert counted.count <= STEPS + POLISH


def test_a_value_that_is_not_reached_ends_at_the_end_of_the_range():
    bounded = lambda x: (torch.tanh(x), torch.log1p(-(torch.tanh(x) ** 2)))  # noqa: E731
    found = root(bounded, torch.tensor([2.0, -2.0], dtype=torch.float64))
    assert bool((found.abs() > torch.finfo(torch.float64).max / 64).all())
    assert found.sign().tolist() == [1.0, -1.0]


@pytest.mark.parametrize("name", ["line", "bent", "cubic"])
def test_transforms_and_the_compiler_make_all_steps_and_find_the_same(name):
    function, y = FUNCTIONS[name], torch.linspace(-3, 3, 7, dtype=torch.float64)
    expected = root(function, y)
    torch.testing.assert_close(torch.func.vmap(lambda v: root(function, v))(y), expected, rtol=1e-12, atol=1e-12)
    slope = torch.func.vmap(torch.func.grad(lambda v: root(function, v)))(y)
    torch.testing.assert_close(slope, torch.exp(-function(expected)[1]), rtol=1e-9, atol=1e-9)
    counted = Counted(function)
    torch.func.vmap(lambda v: root(counted, v))(y)
    assert counted.count == STEPS + POLISH


def test_gradients_reach_what_the_function_closes_over():
    scale = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    y = torch.tensor([0.3, 1.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda s, v: root(lambda x: (s * x + x**3, torch.log(s + 3 * x**2)), v), (scale, y))
    assert torch.autograd.gradgradcheck(lambda s, v: root(lambda x: (s * x + x**3, torch.log(s + 3 * x**2)), v), (scale, y))
