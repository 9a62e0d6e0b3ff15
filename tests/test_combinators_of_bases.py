"""Bases inside what holds bases, and networks inside what holds networks: each of the tables inside each, as a law.

What tests/test_combinators.py asks of bijections is asked here of the other two kinds of plans of tests/every_plan.py.
"""

from __future__ import annotations

import math
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from alone import close, generator, spoiled, without_memory
from every_plan import EVERY

import pushforward as pf
from pushforward import bijectors as bij
from pushforward import distributions as bases
from pushforward.core.base import Base
from pushforward.core.estimates import NoClosedFormError
from pushforward.core.spec import PlanError
from pushforward.flow.flow import Flow
from pushforward.nets.net import Net
from pushforward.testing import randomize

ROWS = 12
LOW, HIGH = -0.5, 0.75


def summed(terms):
    return terms[0] + terms[1]


@dataclass(frozen=True)
class Holder:
    """How a base stands in another.

    Args:
        wrap: Makes the base, of a base and the length of its events' first axis.
        copies: How many of the base are in it.
        together: The log-density of the whole from those of the bases in it; None where it is another distribution.
        own: Parameters of its own.
        gradients: Whether its samples have gradients where those of the base do.
        needs: What the built base has to have, and the words with which it is refused without.
    """

    wrap: Callable[[Base, int], Base]
    copies: int = 1
    together: Callable[[Any], Any] | None = lambda terms: terms[0]
    own: int = 0
    gradients: bool = True
    needs: tuple[str, str] | None = None


HOLDERS = {
    "alone": Holder(lambda base, n: base),
    "Pushforward": Holder(lambda base, n: bases.Pushforward(base, [])),
    "Mixture": Holder(lambda base, n: bases.Mixture([base], noise=0.0), own=1, gradients=False),
    "Product": Holder(lambda base, n: bases.Product([base, base], [n, n]), copies=2, together=summed),
    "Product in a Pushforward": Holder(
        lambda base, n: bases.Pushforward(bases.Product([base, base], [n, n]), []), copies=2, together=summed
    ),
    "Mixture in a Product": Holder(
        lambda base, n: bases.Product([bases.Mixture([base], noise=0.0)] * 2, [n, n]), copies=2, together=summed, own=2, gradients=False
    ),
    "Truncated": Holder(
        lambda base, n: bases.Truncated(base, LOW, HIGH),
        together=None,
        needs=("has_tails", "expected independent elements with a known distribution function .*, got"),
    ),
}
BASES = {name: row for name, row in EVERY.items() if isinstance(row[0], Base)}


def contexts(shape):
    return None if shape is None else torch.randn(ROWS, *shape, generator=generator(ROWS), dtype=torch.float64)


class Pair:
    """A base in a holder, with its own density beside it."""

    def __init__(self, name, holder):
        self.name, self.holder = name, HOLDERS[holder]
        self.plan, event, self.context_shape = BASES[name]
        self.alone = randomize(self.plan.build(event, self.context_shape), 0.3, 1).double()
        self.event = tuple(self.alone.event_shape)
        self.whole = ((2 * self.event[0], *self.event[1:]) if self.holder.copies == 2 else self.event) if self.event else ()
        self.context = contexts(self.context_shape)

    def build(self):
        """Return the flow with the parameters of the base alone in each that is in it."""
        plan = self.holder.wrap(self.plan, self.event[0])
        layers = [] if self.alone.facts.uses_context or self.context_shape is None else [bij.Elementwise(bij.Affine(), net=bij.MLP((4,)))]
        flow = Flow(plan, layers, self.whole, self.context_shape).double()
        state, own = flow.base.state_dict(), self.alone.state_dict()
        for key in state:
            found = [name for name in own if (key == name or key.endswith("." + name)) and own[name].shape == state[key].shape]
            if found and not (key in ("parameters_of.offset",) and self.holder.own):
                state[key] = own[max(found, key=len)]
        flow.base.load_state_dict(state)
        return flow

    def parts(self, value):
        return value.chunk(2, 1) if self.holder.copies == 2 else [value]

    def values(self):
        with torch.random.fork_rng(devices=[]):  # bases of torch take no generator
            torch.manual_seed(3)
            drawn = [self.alone.draw(torch.Size([ROWS]), self.context).detach() for _ in range(self.holder.copies)]
        return torch.cat(drawn, 1) if len(drawn) == 2 else drawn[0]


def density(pair, flow, folder):
    """The density is that of the bases in it; of a part of the space, the same but for a number."""
    y = pair.values()
    with torch.no_grad():
        got = flow.log_prob(y, pair.context)
        each = [pair.alone.log_prob(part, pair.context) for part in pair.parts(y)]
        if pair.holder.together is not None:
            close(got, pair.holder.together(each), "log_prob")
            return
        inside = ((y > LOW) & (y < HIGH)).flatten(1).all(1)
        assert torch.equal(torch.isneginf(got), ~inside)
        # The mass does not depend on where in it a value is.
        points = LOW + (HIGH - LOW) * torch.tensor([0.2, 0.6], dtype=torch.float64)
        points = points.reshape(2, 1, *(1 for _ in pair.event)).expand(2, ROWS, *pair.event)
        mass = pair.alone.log_prob(points, pair.context) - flow.log_prob(points, pair.context)
        close(mass[0], mass[1], "log of the mass that is left")
        assert bool((mass <= 1e-9).all())


def support(pair, flow, folder):
    """It holds what is drawn, and says of other values what the bases in it say."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        drawn = flow.sample((ROWS,) if pair.context is None else (), pair.context)
    assert tuple(drawn.shape) == (ROWS, *pair.whole)
    assert bool(flow.support.check(drawn).all())
    with torch.no_grad():
        assert bool(torch.isfinite(flow.log_prob(drawn, pair.context)).all())
        trial = spoiled(pair.values())
        times = len(trial) // ROWS
        c = None if pair.context is None else pair.context.repeat(times, *(1,) * (pair.context.dim() - 1))
        got, score = flow.support.check(trial), flow.log_prob(trial, c)
        if pair.holder.together is not None:
            each = torch.stack([torch.isfinite(pair.alone.log_prob(part, c)) for part in pair.parts(trial)])
            assert torch.equal(torch.isfinite(score), each.all(0))
        assert not bool((torch.isfinite(score) & ~got).any()), "a density outside the support"


def description(pair, flow, folder):
    """It counts the parameters of what is in it, and names it."""
    with without_memory():
        told = flow.describe(batch=2)
    layers = sum(p.numel() for p in flow.transform.parameters())
    alone = sum(p.numel() for p in pair.alone.parameters())
    assert told.parameters == pair.holder.copies * alone + pair.holder.own + layers
    assert repr(pair.plan) in str(told) or str(pair.plan) in str(told)


def facts(pair, flow, folder):
    """Whether samples carry gradients, follow data and see the context, and the closed forms, are as in the base alone."""
    base, alone = flow.base, pair.alone
    assert base.has_rsample == (alone.has_rsample and pair.holder.gradients) or pair.holder.together is None
    assert (base.facts.uses_context, base.facts.has_statistics) == (alone.facts.uses_context, alone.facts.has_statistics)
    if pair.holder.together is None or len(flow.plan.bijectors):
        return
    own = Flow(pair.plan, [], pair.event, pair.context_shape).double()
    own.base.load_state_dict(alone.state_dict())
    for quantity in ("mean", "stddev"):
        found = []
        for one in (own, flow):
            try:
                found.append(getattr(one.condition(pair.context), quantity))
            except (NoClosedFormError, AttributeError):
                found.append(None)
        assert (found[0] is None) == (found[1] is None), f"{quantity}: {found}"
        if found[0] is not None:
            close(found[1], torch.cat([found[0]] * pair.holder.copies, -len(pair.event)), quantity)


def files(pair, flow, folder):
    """A file keeps every argument and every number."""
    path = Path(folder) / "base.safetensors"
    flow.save(path)
    loaded = pf.load(path)
    assert loaded.base.plan == flow.base.plan
    state = flow.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in loaded.state_dict().items())
    y = pair.values()
    with torch.no_grad():
        close(loaded.log_prob(y, pair.context), flow.log_prob(y, pair.context), "log_prob of the file")


LAWS = (density, support, description, facts, files)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("bases")


@pytest.mark.parametrize("holder", HOLDERS)
@pytest.mark.parametrize("name", BASES)
def test_a_base_keeps_the_laws(name, holder, folder):
    pair = Pair(name, holder)
    needs = pair.holder.needs
    if needs is not None and not getattr(pair.alone.facts, needs[0]):
        with pytest.raises(PlanError, match=needs[1]):
            pair.build()
        return
    flow, found = pair.build(), []
    for law in LAWS:
        try:
            law(pair, flow, folder)
        except Exception as error:
            found.append(f"{law.__name__}: {type(error).__name__} ({traceback.extract_tb(error.__traceback__)[-1].lineno}): {error}")
    assert not found, f"{pair.plan!r} in {holder}:\n  " + "\n  ".join(found)


# Networks: of a net, the plan that holds it, and the length of its events.
NET_HOLDERS = {
    "Elementwise": lambda net: ([bij.Elementwise(bij.Affine(), net=net)], bases.StandardNormal()),
    "Elementwise, vectors": lambda net: ([bij.Elementwise(bij.Linear(), net=net)], bases.StandardNormal()),
    "Coupling": lambda net: ([bij.Coupling(bij.Affine(), net=net)], bases.StandardNormal()),
    "Autoregressive": lambda net: ([bij.Autoregressive(bij.Affine(), net=net)], bases.StandardNormal()),
    "InverseAutoregressive": lambda net: ([bij.InverseAutoregressive(bij.Affine(), net=net)], bases.StandardNormal()),
    "DiagNormal": lambda net: ([], bases.DiagNormal(net)),
    "Mixture": lambda net: ([], bases.Mixture([bases.StandardNormal(), bases.DiagNormal()], net)),
    "MixtureOfNormals": lambda net: ([], bases.MixtureOfNormals(2, net=net)),
    "Continuous": lambda net: ([bij.Continuous(net, method="rk4", steps=2)], bases.StandardNormal()),
}
NETS = {name: row[0] for name, row in EVERY.items() if isinstance(row[0], Net)}


@pytest.mark.parametrize("holder", NET_HOLDERS)
@pytest.mark.parametrize("name", NETS)
def test_a_net_is_kept_by_what_holds_it(name, holder, folder):
    net = NETS[name]
    layers, base = NET_HOLDERS[holder](net)
    if getattr(net, "shares", ()) is None and "Autoregressive" in holder:  # a copy of a network without masks
        with pytest.raises(PlanError, match="expected shares for a net whose outputs see only some inputs"):
            Flow(base, layers, 3, 2)
        return
    if isinstance(net, bij.Potential) and holder != "Continuous":  # whose outputs are as many as its inputs
        with pytest.raises(PlanError, match="expected as many outputs as inputs, without a mask, as a velocity has"):
            Flow(base, layers, 3, 2)
        return
    flow = randomize(Flow(base, layers, 3, 2), 0.3).double()
    y, c = torch.randn(2, 8, 3, generator=generator(1), dtype=torch.float64).unbind(0)[0], torch.randn(8, 2, dtype=torch.float64)
    with torch.no_grad():
        score = flow.log_prob(y, c)
        assert bool(torch.isfinite(score).all())
        assert not torch.allclose(score, flow.log_prob(y, c + 1)), "the network does not see the context"
    with without_memory():
        told = flow.describe(batch=2)
    assert told.parameters == sum(p.numel() for p in flow.parameters())
    assert repr(net) in str(told), f"expected {net!r} in the text:\n{told}"
    path = Path(folder) / "net.safetensors"
    flow.save(path)
    loaded = pf.load(path)
    assert (loaded.plan, loaded.base.plan) == (flow.plan, flow.base.plan)
    with torch.no_grad():
        close(loaded.log_prob(y, c), score, "log_prob of the file")
    gradients = torch.autograd.grad(flow.log_prob(y, c).sum(), list(flow.parameters()), allow_unused=True)
    assert all(g is not None and bool(torch.isfinite(g).all()) for g in gradients), "a parameter without a gradient"
    assert math.isfinite(sum(float(g.abs().sum()) for g in gradients))
