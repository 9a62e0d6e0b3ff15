"""Combinators of torch and Pyro as a law: every plan of the tables, and every transform by a name of Pyro's, inside everything of theirs.

What tests/test_combinators.py asks of plans in plans is asked here of transforms in transforms and in distributions.
"""

from __future__ import annotations

import copy
import functools
import pickle
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyro_face_cases as face
import pytest
import torch
import torch.distributions as td
from alone import DRAWN, MEASURED, alone, close, generator, promised, spoiled
from combinators import ROWS, source

from pushforward import transforms as T
from pushforward.contrib.pyro.face.planned import Planned, PlannedConditional
from pushforward.core.layer import Layer
from pushforward.distributions import ConditionalTransformedDistribution, TransformedDistribution
from pushforward.flow.flow import Flow
from pushforward.testing import randomize


@dataclass(frozen=True)
class Holder:
    """What holds a transform: of it, conditional or not, what it makes, and whether that goes the other way."""

    wrap: Callable[[Any, bool], Any]
    turned: bool = False


def _composed(part, conditional):
    return (T.ConditionalComposeTransformModule if conditional else T.ComposeTransformModule)([part])


def _constant(part, conditional):
    return part if conditional else T.ConstantConditionalTransform(part)


HOLDERS = {
    "alone": Holder(lambda part, conditional: part),
    "inverse": Holder(lambda part, conditional: part.inv, turned=True),
    "inverse of the inverse": Holder(lambda part, conditional: part.inv.inv),
    "composed": Holder(_composed),
    "composed, inverse": Holder(lambda part, conditional: _composed(part, conditional).inv, turned=True),
    "composed of the inverse": Holder(lambda part, conditional: _composed(part.inv, conditional), turned=True),
    "constant": Holder(_constant),
    "constant, inverse": Holder(lambda part, conditional: _constant(part, conditional).inv, turned=True),
}


@dataclass(frozen=True)
class Thing:
    """A transform with what it does by itself: values of both its sides, sets, and its parameters."""

    part: Any
    layer: Any
    conditional: bool
    base: Callable[[bool], Any]
    x: torch.Tensor
    y: torch.Tensor
    context: torch.Tensor | None
    ladj: torch.Tensor
    minus: torch.Tensor
    domain: Any
    codomain: Any
    seen: torch.Tensor
    promised: float = 0.0


@functools.lru_cache(maxsize=4)
def of_row(name):
    """Return a row's plan as the learnable transforms hold theirs."""
    row = ROWS[name]
    one = alone(row, 0)
    rank, conditional = len(row.event_shape), row.context_shape is not None
    part = (PlannedConditional if conditional else Planned).of(copy.deepcopy(one.module), rank)

    def base(turned):
        plan, shape = source(row, turned)
        return Flow(plan, [], shape).double()

    return Thing(part, part.transform.layer if conditional else part.layer, conditional, base, one.x, one.y, one.contexts, one.ladj,
                 one.minus, one.domain, one.codomain, one.rows[1], promised(one.module))  # fmt: skip


@functools.lru_cache(maxsize=4)
def of_face(name):
    """Return a transform by its name of Pyro's, off the identity."""
    arguments, keywords, shape = face.CASES[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        part = randomize(getattr(T, name.split(" ")[0])(*arguments, **keywords), 0.3).double()
    conditional = name in face.CONDITIONAL
    context = torch.randn(DRAWN, 2, generator=generator(4), dtype=torch.float64) if conditional else None
    transform = part.condition(context) if conditional else part
    x = torch.randn(DRAWN, *shape, generator=generator(1), dtype=torch.float64)
    with torch.no_grad():
        y = transform(x)
        ladj = transform.log_abs_det_jacobian(x, y)
    ladj = ladj.flatten(1).sum(1) if ladj.dim() > 1 else ladj
    sets = [td.constraints.independent(s, len(shape) - s.event_dim) for s in (transform.domain, transform.codomain)]

    def base(turned):
        return td.Independent(td.Normal(torch.zeros(shape, dtype=torch.float64), 1.0), len(shape))

    seen = 3 * torch.randn(MEASURED, *shape, generator=generator(2), dtype=torch.float64) + 1
    return Thing(part, part, conditional, base, x, y, context, ladj, -ladj, *sets, seen)


class Pair:
    """A transform in a holder, and the distribution that has both."""

    def __init__(self, thing, holder):
        self.thing, self.turned = thing, holder.turned
        self.inner, self.outer = (thing.y, thing.x) if holder.turned else (thing.x, thing.y)
        self.held = holder.wrap(thing.part, thing.conditional)
        self.base = thing.base(holder.turned)

    def close(self, got, expected, what, within=1e-7):
        close(got, expected, what, within + self.thing.promised)

    def transform(self, context=None):
        if not hasattr(self.held, "condition"):
            return self.held
        context = self.thing.context if context is None else context
        return self.held.condition(torch.zeros(1, dtype=torch.float64) if context is None else context)

    def distribution(self, held=None, validate_args=False):
        held = self.held if held is None else held
        if not hasattr(held, "condition"):
            return TransformedDistribution(self.base, [held], validate_args=validate_args)
        context = torch.zeros(1, dtype=torch.float64) if self.thing.context is None else self.thing.context
        made = ConditionalTransformedDistribution(self.base, [held]).condition(context)
        made._validate_args = validate_args
        return made


def values(pair):
    """It maps the values as the transform in it does, both ways."""
    transform, thing = pair.transform(), pair.thing
    ladj, minus = (thing.minus, thing.ladj) if pair.turned else (thing.ladj, thing.minus)
    with torch.no_grad():
        pair.close(transform(pair.inner), pair.outer, "forward")
        pair.close(transform.inv(pair.outer), pair.inner, "inverse", within=1e-6)
        for got, expected in ((transform.log_abs_det_jacobian(pair.inner, pair.outer), ladj),
                              (transform.inv.log_abs_det_jacobian(pair.outer, pair.inner), minus)):  # fmt: skip
            pair.close(got.flatten(1).sum(1) if got.dim() > 1 else got, expected, "log_abs_det_jacobian", within=1e-6)
    assert transform.forward_shape(pair.inner.shape) == pair.outer.shape
    assert transform.inverse_shape(pair.outer.shape) == pair.inner.shape


def density(pair):
    """A distribution through it has the density, draws by it, and scores what it draws in one pass."""
    made, thing = pair.distribution(), pair.thing
    minus = thing.ladj if pair.turned else thing.minus
    with torch.no_grad():
        expected = pair.base.log_prob(pair.inner).flatten() + minus
        got = made.log_prob(pair.outer)
        pair.close(got.flatten(1).sum(1) if got.dim() > 1 else got, expected, "log_prob")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            drawn, score = made.rsample_and_log_prob((3,) if thing.context is None else ())
        assert tuple(drawn.shape) == ((3,) if thing.context is None else (DRAWN,)) + tuple(pair.outer.shape[1:]), tuple(drawn.shape)
        pair.close(made.log_prob(drawn), score, "rsample_and_log_prob", within=1e-5)
        assert bool(made.support.check(drawn).all()), f"the support {made.support} lacks a sample"


def support(pair):
    """What the transform does not give has no density, or is refused."""
    made = pair.distribution()
    trial = spoiled(pair.outer)
    expected = (pair.thing.domain if pair.turned else pair.thing.codomain).check(trial)
    whole = trial.reshape(-1, DRAWN, *pair.outer.shape[1:])
    got = made.support.check(whole)
    got = got.flatten(2).all(2) if got.dim() > 2 else got
    wrong = (got.flatten() != expected).nonzero().flatten()
    assert not len(wrong), f"the support {made.support} says {bool(got.flatten()[wrong[0]])} of {trial[wrong[0]].tolist()}"
    with torch.no_grad():
        score = made.log_prob(whole)
    score = (score.flatten(2).sum(2) if score.dim() > 2 else score).flatten()
    wrong = (~torch.isneginf(score) & ~expected).nonzero().flatten()
    assert not len(wrong), f"log_prob is {score[wrong[0]]} outside the support, at {trial[wrong[0]].tolist()}"
    if not bool(expected.all()):
        with pytest.raises(ValueError, match="expected value to be in"):
            pair.distribution(validate_args=True).log_prob(whole)


def parameters(pair):
    """Its parameters are those of the transform, which copies and states keep."""
    made, thing = pair.distribution(), pair.thing
    own = {id(p) for p in thing.layer.parameters()}
    assert own == {id(p) for p in pair.held.parameters()}, "it has not the parameters of the transform"
    assert own <= {id(p) for p in made.parameters()}, "the distribution lacks parameters of the transform"
    with torch.no_grad():
        expected = made.log_prob(pair.outer)
        fresh = copy.deepcopy(pair.held)
        for p in fresh.parameters():
            p.zero_()
        fresh.load_state_dict(copy.deepcopy(pair.held.state_dict()))
        for held in (fresh, pickle.loads(pickle.dumps(pair.held))):
            close(pair.distribution(held).log_prob(pair.outer), expected, "log_prob of a copy")


def following(pair):
    """What follows data sees the values of the transform's own side, in whatever it is held."""
    if not any(isinstance(part, Layer) and part.facts.has_statistics for part in pair.thing.layer.modules()):
        return
    held, alone_too = copy.deepcopy(pair.held), copy.deepcopy(pair.thing.layer)
    before = {key: value.clone() for key, value in held.state_dict().items()}
    pair.distribution(held).update(pair.thing.seen)
    state = held.state_dict()
    assert any(not torch.equal(before[key], state[key]) for key in state), "an update of the distribution moves nothing in it"
    if pair.turned:
        return
    alone_too.update(pair.thing.seen)
    for key, value in alone_too.state_dict().items():
        (found,) = [state[name] for name in state if name.endswith(key)]
        close(found.double(), value.double(), key)


LAWS = (values, density, support, parameters, following)


def broken(pair):
    found = []
    for law in LAWS:
        try:
            law(pair)
        except Exception as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            found.append(f"{law.__name__}: {type(error).__name__} ({place.name}:{place.lineno}): {error}")
    return found


# The first row of each plan whose events keep their shape, which is what the learnable transforms here hold; of the others there is
# the map of a flow below.
OF_ROWS = list(
    {type(row.plan): name for name, row in reversed(ROWS.items()) if row.plan.bijective and row.out_shape == row.event_shape}.values()
)


@pytest.mark.parametrize("name", OF_ROWS)
def test_a_plan_keeps_the_laws_in_transforms(name):
    found = {holder: broken(Pair(of_row(name), HOLDERS[holder])) for holder in HOLDERS}
    assert not any(found.values()), f"{ROWS[name].plan!r}:\n" + "\n".join(
        f"  {key}: {line}" for key, lines in found.items() for line in lines
    )


@pytest.mark.parametrize("name", face.CASES)
def test_a_name_of_pyro_keeps_the_laws_in_transforms(name):
    found = {holder: broken(Pair(of_face(name), HOLDERS[holder])) for holder in HOLDERS}
    assert not any(found.values()), f"{name}:\n" + "\n".join(f"  {key}: {line}" for key, lines in found.items() for line in lines)


@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if row.plan.bijective])
def test_the_map_of_a_flow_is_a_transform(name):
    """`ToBase` of every plan: its sides, its values, and a distribution through it."""
    row, one = ROWS[name], alone(ROWS[name], 0)
    plan, shape = source(row, False)
    flow = Flow(plan, row.plan, shape, row.context_shape).double()
    flow.transform.load_state_dict(one.module.state_dict())
    given = one.contexts
    to_base = flow.condition(given).transform
    with torch.no_grad():
        close(to_base(one.y), one.back, "to the base")
        close(to_base.inv(one.x), one.y, "to the data")
        close(to_base.log_abs_det_jacobian(one.y, one.back), one.minus, "log-determinant")
        close(to_base.inv.log_abs_det_jacobian(one.x, one.y), one.ladj, "log-determinant of the inverse")
    assert to_base.forward_shape(one.y.shape) == one.back.shape
    assert to_base.inverse_shape(one.back.shape) == one.y.shape
    trial = spoiled(one.y)
    assert torch.equal(to_base.domain.check(trial), one.codomain.check(trial))
    made = TransformedDistribution(Flow(plan, [], shape).double(), [to_base.inv])
    with torch.no_grad():
        close(made.log_prob(one.y), flow.log_prob(one.y, given), "log_prob", within=1e-7 + promised(one.module))
