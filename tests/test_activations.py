"""The table of activations: what its rows say is true, and a row without C code works in every way in which a perceptron is evaluated."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import pushforward.bijectors as bij
from pushforward.core.fields import OneOf
from pushforward.core.spec import PlanError
from pushforward.native.activations import ACTIVATIONS, Activation
from pushforward.native.program import Program
from pushforward.nets import strategies
from pushforward.nets.parts import Block
from pushforward.nets.signature import Signature
from pushforward.nets.strategies import CALLED, COMPILED, DIRECT, REMADE, STRATEGIES, Strategy
from pushforward.testing import randomize

KNOWN = Annotated[str, OneOf(*ACTIVATIONS, "mish")]
CHAIN = np.repeat(np.tril(np.ones((5, 5), dtype=bool), -1), 3, 0)


@dataclass(frozen=True, repr=False)
class _MLP(bij.MLP):
    activation: KNOWN = "mish"


@dataclass(frozen=True, repr=False)
class _ResidualMLP(bij.ResidualMLP):
    activation: KNOWN = "mish"


@pytest.fixture
def mish(monkeypatch):
    """Add a row without C code."""
    row = Activation(F.mish, lambda g, z, h: torch.ops.aten.mish_backward(g, z), 1.09)
    monkeypatch.setitem(ACTIVATIONS, "mish", row)
    return row


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_a_row_says_its_gradient_and_its_steepest_slope(name):
    row = ACTIVATIONS[name]
    z = torch.linspace(-30, 30, 60001, dtype=torch.float64, requires_grad=True)
    h, g = row.function(z), torch.linspace(0.5, 2, 60001, dtype=torch.float64)
    (expected,) = torch.autograd.grad(h, z, g)
    torch.testing.assert_close(row.gradient(g, z.detach(), h.detach()), expected)
    assert 0.98 * row.steepest <= float((expected / g).abs().max()) <= row.steepest


def differentiated(function, net, *given):
    given = [None if t is None else t.detach().requires_grad_() for t in given]
    out = function(*given)
    wanted = [t for t in given if t is not None] + list(net.parameters())
    return [out, *torch.autograd.grad(out.sin().sum(), wanted)]


NETS = {
    "small": (_MLP((9, 8)), 5, 2, None),
    "small, masked": (_MLP((9, 8)), 5, 2, CHAIN),
    "small, residual, masked": (_ResidualMLP(9, 2), 5, 0, CHAIN),
    "of a context": (_MLP((9, 8)), 0, 2, None),
    "large": (_MLP((120, 90)), 5, 2, None),
    "large, masked": (_MLP((120, 90)), 5, 0, CHAIN),
    "in blocks": (_MLP((512, 512)), 5, 2, CHAIN),
}


def called_in_turn(net, *given):
    """Return what the modules give, with the activation taken by name from torch."""
    first, *rest = net.layers
    h = first(*given)
    for layer in rest:
        h = h + layer.outer(F.mish(layer.inner(F.mish(h)))) if isinstance(layer, Block) else layer(F.mish(h))
    return h


@pytest.mark.parametrize("name", NETS)
def test_an_activation_without_c_code_works_in_every_net(name, mish, monkeypatch):
    plan, inputs, context, sees = NETS[name]
    net = randomize(plan.build(Signature.of_sizes(inputs, 15, context, sees)), 0.3, 0).double()
    assert not net.traits.small
    x, c = (torch.randn(7, size, dtype=torch.float64) if size else None for size in (inputs, context))
    assert not COMPILED.takes(net.call(x, c))
    expected = differentiated(lambda *given: called_in_turn(net, *given), net, x, c)
    for large in (strategies.LARGE, 1):
        monkeypatch.setattr(strategies, "LARGE", large)
        for got, exact in zip(differentiated(net, net, x, c), expected, strict=True):
            torch.testing.assert_close(got, exact)
    one = [None if t is None else t[:1] for t in (x, c)]
    torch.testing.assert_close(net(*one), expected[0][:1])


@pytest.mark.parametrize("net", [_MLP((9, 8)), _ResidualMLP(9, 2)], ids=["MLP", "ResidualMLP"])
@pytest.mark.parametrize("solve", ["steps", "jacobi"])
@pytest.mark.parametrize("kind", [bij.Autoregressive, bij.InverseAutoregressive])
def test_an_activation_without_c_code_works_step_by_step(kind, solve, net, mish):
    layer = randomize(kind(bij.Affine(), net=net, solve=solve).build(5, 2), 0.5, 0).double()
    assert not layer.incremental.schedule.taken
    x, c = torch.randn(7, 5, dtype=torch.float64, requires_grad=True), torch.randn(7, 2, dtype=torch.float64)
    y, ladj = layer(x, c)
    back, undone = layer.inverse(y, c)
    torch.testing.assert_close(back, x)
    torch.testing.assert_close(undone, -ladj)
    # The sequential way's gradient is the inverse of the other's.
    into, out = (torch.autograd.functional.jacobian(lambda v, f=f: f(v, c)[0].sum(0), t).movedim(1, 0)
                 for f, t in ((layer.forward, x.detach()), (layer.inverse, y.detach())))  # fmt: skip
    torch.testing.assert_close(into @ out, torch.eye(5, dtype=torch.float64).expand(7, 5, 5))


def test_with_c_code_the_very_same_nets_are_compiled():
    net = bij.MLP((9, 8), "silu").build(Signature.of_sizes(5, 15, 2, CHAIN))
    assert net.traits.small
    assert bij.Autoregressive(bij.Affine(), net=bij.MLP((9, 8), "silu")).build(5).incremental.schedule.taken


def test_an_activation_that_there_is_not_is_told():
    with pytest.raises(PlanError, match="activation"):
        bij.MLP(activation="cosine")
    with pytest.raises(ValueError, match=r"activation that is one of relu, .*, got 'cosine'"):
        Program("cosine", (-1,), (-1,), (1.0,), (False,))


# The table of strategies


def test_each_strategy_is_taken_where_it_is_the_best(monkeypatch):
    def first(net, *given):
        call = net.call(*given)
        return next(row for row in STRATEGIES if row.takes(call))

    x = torch.randn(7, 3)
    small, large, blocks = (bij.MLP(widths).build(Signature.of_sizes(3, 6, 0, sees)) for widths, sees in (
        ((9, 8), None), ((128, 128), None), ((512, 512), np.tri(6, 3, dtype=bool))))  # fmt: skip
    assert first(small.double(), x.double(), None) is (COMPILED if COMPILED.takes(small.call(x.double(), None)) else DIRECT)
    assert first(large, x, None) is DIRECT
    assert first(large, x[:1], None) is CALLED
    assert first(blocks, x, None) is CALLED
    handle = large.layers[1].register_forward_hook(lambda *_: None)
    assert first(large, x, None) is CALLED
    handle.remove()
    monkeypatch.setattr(strategies, "LARGE", 1)
    assert first(large, x, None) is REMADE
    with torch.no_grad():
        assert first(large, x, None) is DIRECT
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert first(large, x, None) is DIRECT


def test_a_strategy_is_a_row(monkeypatch):
    seen = []
    mine = Strategy(lambda call: call.x is not None and len(call.x) == 3, lambda call: seen.append(call) or call.x.new_zeros(3, 6))
    monkeypatch.setattr(strategies, "STRATEGIES", (mine, *STRATEGIES))
    net = randomize(bij.MLP((9, 8)).build(Signature.of_sizes(2, 6)), 0.5, 0)
    assert (net(torch.ones(3, 2)) == 0).all()
    assert len(seen) == 1
    assert (net(torch.ones(4, 2)) != 0).any()


def test_the_last_strategy_takes_all_calls():
    net = bij.MLP((9, 8)).build(Signature.of_sizes(2, 6))
    assert STRATEGIES[-1] is CALLED
    assert CALLED.takes(net.call(torch.ones(3, 2), None))


# Programs


def test_a_program_says_what_the_layers_are():
    program = bij.MLP((9, 8), "tanh").build(Signature.of_sizes(5, 15, 2, CHAIN)).program
    assert program == Program("tanh", (-1, 0, 1), (-1, -1, -1), (1.0, 1.0, 1.0), (True, True, True), program.products)
    residual = bij.ResidualMLP(128, 2).build(Signature.of_sizes(5, 4)).program
    assert residual.sources == (-1, 0, 1, 2, 3, 4)
    assert residual.skips == (-1, -1, 0, -1, 2, -1)
    assert residual.gains == (1.0,) * 5 + (0.5**0.5,)
    assert residual.masked == (False,) * 6
    with pytest.raises(dataclasses.FrozenInstanceError):
        residual.sources = ()


def test_a_net_of_a_context_alone_keeps_its_mask(monkeypatch):
    sees = np.tri(4, dtype=bool)
    net = bij.MLP((8, 8)).build(Signature.of_sizes(0, 4, 4, sees)).double()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.1 + 0.1 * torch.rand_like(parameter))
    c = torch.randn(4, dtype=torch.float64)
    for _ in range(2):
        jacobian = torch.autograd.functional.jacobian(lambda c: net(None, c.expand(5, 4))[0], c)
        assert (jacobian[~torch.from_numpy(sees)] == 0).all()
        assert (jacobian != 0).any()
        monkeypatch.setattr("pushforward.native.perceptron.takes", lambda *_: False)
