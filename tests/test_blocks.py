"""Blocks: of many rows some are taken at a time, which gives the same and takes no more memory than that of a block."""

import math

import pytest
import torch
from memory import peak
from torch import nn

import pushforward as pf
from pushforward import bijectors as bij
from pushforward.bases import DiagNormal, Mixture, Pushforward, StandardNormal
from pushforward.core import blocks
from pushforward.testing.case import randomize

N, NET = StandardNormal(), bij.MLP((8,))


@pytest.fixture
def small(monkeypatch):
    """Blocks of a few rows."""
    monkeypatch.setattr(blocks, "BYTES", 4096)
    monkeypatch.setattr(blocks, "LEAST", 16)


@pytest.fixture
def rows(monkeypatch):
    """The numbers of rows that go through the flow together."""
    seen = []
    layer = bij.Affine().build(2).__class__
    push, pull = layer.push, layer.pull
    monkeypatch.setattr(layer, "push", lambda self, x, context=None: (seen.append(x[..., 0].numel()), push(self, x, context))[1])
    monkeypatch.setattr(layer, "pull", lambda self, x, context=None: (seen.append(x[..., 0].numel()), pull(self, x, context))[1])
    return seen


@pytest.mark.parametrize("kind", ["sample", "score", "map"])
def test_a_further_row_takes_the_memory_of_its_result(kind, monkeypatch):
    monkeypatch.setattr(blocks, "BYTES", 2**23)
    flow = pf.NSF(5, transforms=2).eval()
    x = torch.randn(80_000, 5)
    run = {"sample": lambda n: flow.sample((n,)), "score": lambda n: flow.log_prob(x[:n]), "map": lambda n: flow.to_base(x[:n])}[kind]
    with torch.no_grad():
        few, many = (peak(lambda n=n: run(n)) for n in (40_000, 80_000))
    # A draw is made of one of the base, and the logarithm comes with it: twice 5 numbers and one, of 4 bytes each.
    result = {"sample": 44, "score": 4, "map": 24}[kind]
    assert (many - few) / 40_000 <= 1.1 * result
    # What comes on top is that of a block, of which the figure is a rough one.
    assert few - 40_000 * result <= 2 * 2**23
    # In one go it is many times as much: so there is something to see.
    monkeypatch.setattr(blocks, "BYTES", 2**40)
    with torch.no_grad():
        assert peak(lambda: run(40_000)) > 4 * few


# name -> (flow, shape of values, shape of contexts)
SHAPES = {
    "rows": (lambda: pf.NSF(2, transforms=1, widths=(8,)), (300,), None),
    "two axes": (lambda: pf.NSF(2, transforms=1, widths=(8,)), (3, 100), None),
    "a context for each row": (lambda: pf.MAF(2, 3, transforms=1, widths=(8,)), (300,), (300,)),
    "one context": (lambda: pf.MAF(2, 3, transforms=1, widths=(8,)), (300,), ()),
    "one context with an axis": (lambda: pf.MAF(2, 3, transforms=1, widths=(8,)), (300,), (1,)),
    "a context for each of the last axis": (lambda: pf.MAF(2, 3, transforms=1, widths=(8,)), (30, 10), (10,)),
    "a context for each of the first axis": (lambda: pf.MAF(2, 3, transforms=1, widths=(8,)), (10, 30), (10, 1)),
    "one value, many contexts": (lambda: pf.MAF(2, 3, transforms=1, widths=(8,)), (), (300,)),
    "values and contexts across": (lambda: pf.MAF(2, 3, transforms=1, widths=(8,)), (20, 1), (1, 15)),
    "base alone sees the context": (lambda: pf.Flow(DiagNormal(net=NET), [bij.Affine()], 2, 3), (20, 1), (15,)),
    "batch of the base": (lambda: pf.Flow(torch.distributions.Normal(torch.zeros(5, 2), 1.0), [bij.Linear()]), (80, 5), None),
    "matrices": (lambda: pf.Flow(N, [bij.Coupling(bij.Spline(), net=NET)], (2, 3)), (300,), None),
    "another shape": (lambda: pf.Flow(N, [bij.StickBreaking()], 3), (300,), None),
    "half precision": (lambda: pf.NSF(2, transforms=1, widths=(8,)).bfloat16(), (300,), None),
}


def made(name):
    make, batch, of_context = SHAPES[name]
    torch.manual_seed(0)
    flow = make()
    randomize(flow, 1.0)
    draw = torch.Generator().manual_seed(1)
    c = None if of_context is None else torch.randn(*of_context, *flow.context_shape, generator=draw)
    x = torch.randn(*batch, *flow.base.event_shape, generator=draw).to(flow.dtype)
    return flow, x, c


def everything(flow, x, c):
    """Return all that a flow gives for values of its base and contexts."""
    y, ladj = flow.from_base(x, c)
    torch.manual_seed(2)
    drawn = flow.sample((40,), c)
    given = flow.condition(c)
    torch.manual_seed(2)
    return [
        y,
        ladj,
        flow.log_prob(y, c),
        given.log_prob(y),
        *flow.to_base(y, c),
        drawn,
        given.sample((40,)),
        *given.rsample_and_log_prob((7, 9)),
    ]


@pytest.mark.parametrize("name", SHAPES)
def test_blocks_give_what_all_rows_together_give(name, small, monkeypatch):
    flow, x, c = made(name)
    monkeypatch.setattr(blocks, "rows_of", lambda module, width: 17)
    with torch.no_grad():
        parts = everything(flow, x, c)
        monkeypatch.setattr(blocks, "rows_of", lambda module, width: 2**40)
        whole = everything(flow, x, c)
    for part, one in zip(parts, whole, strict=True):
        assert part.shape == one.shape
        assert part.dtype == one.dtype
        # What torch's products make of a row in another batch is a few roundings off.
        torch.testing.assert_close(part, one, rtol=1e-4 if one.dtype != torch.bfloat16 else 0.05, atol=1e-4)


@pytest.mark.parametrize(
    ("batch", "sizes"), [((300,), [100, 100, 100]), ((250,), [100, 100, 50]), ((3, 100), [99, 99, 99, 3]), ((100,), [100])]
)
def test_rows_go_through_together_up_to_a_block(batch, sizes, rows, small, monkeypatch):
    monkeypatch.setattr(blocks, "rows_of", lambda module, width: 100)
    flow = pf.Flow(N, [bij.Affine()], 2)
    with torch.no_grad():
        flow.log_prob(torch.zeros(*batch, 2))
        assert rows == sizes
        rows.clear()
        flow.sample(batch)
        assert rows == sizes
    rows.clear()
    # Where gradients are asked for, the graph holds all rows anyway.
    flow.log_prob(torch.zeros(*batch, 2))
    assert rows == [math.prod(batch)]
    rows.clear()
    with torch.no_grad():
        torch.func.vmap(flow.log_prob)(torch.zeros(3, *batch, 2))
    assert len(rows) == 1


def test_a_module_of_the_users_sees_its_batch_while_it_is_trained(rows, small, monkeypatch):
    net = nn.Sequential(nn.Linear(1, 8), nn.BatchNorm1d(8), nn.Linear(8, 2))
    flow = pf.Flow(N, [bij.Coupling(bij.Affine(), net=net), bij.Affine()], 2)
    with torch.no_grad():
        flow.train().log_prob(torch.randn(3000, 2))
        assert rows == [3000]
        rows.clear()
        flow.eval().log_prob(torch.randn(3000, 2))
        assert len(rows) > 20


def test_how_many_rows_make_a_block():
    narrow, wide = pf.NSF(5).eval(), pf.NSF(5, widths=(1024, 1024)).eval()
    assert blocks.rows_of(narrow, 5) > 10 * blocks.rows_of(wide, 5)
    assert blocks.rows_of(pf.NSF(5).double().eval(), 5) == pytest.approx(blocks.rows_of(narrow, 5) / 2, abs=1)
    fixed = pf.Flow(N, [bij.Exp()], 2)
    assert blocks.rows_of(fixed, 2) > 10**6
    # Few parameters, but large rows: pictures, of which one alone may be a block.
    assert blocks.rows_of(fixed, 3 * 256 * 256) == 10
    assert blocks.rows_of(fixed, 10**9) == 1


def test_flows_inside_a_base_draw_in_blocks(rows, small, monkeypatch):
    monkeypatch.setattr(blocks, "rows_of", lambda module, width: 100)
    base = Mixture([Pushforward(N, bij.Affine()), Pushforward(N, bij.Affine())])
    flow = pf.Flow(base, [bij.AffineFixed()], 2)
    flow.sample((250,))
    assert rows == 3 * [100, 100, 50]
