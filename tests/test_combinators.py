"""Combinators as a law: every plan of the tables inside everything that holds plans keeps what it is.

A pair is a row of tests/cases or tests/every_plan.py in a combinator of tests/combinators.py, and every `LAW` below runs over it. What
the plan alone does with its own values is what the whole has to do with them where they stand in it.
"""

from __future__ import annotations

import functools
import os
import traceback
from pathlib import Path

import pytest
import torch
from alone import DRAWN, MEASURED, alone, close, contexts, facts_of, generator, spoiled, turned_facts, without_memory
from combinators import COMBINATORS, FURTHER, ROWS, S, flow_arguments, kind, source

import pushforward as pf
from pushforward import bijectors as bij
from pushforward.core.bijector import Inverse
from pushforward.core.compose import Compose
from pushforward.core.estimates import NoClosedFormError
from pushforward.core.spec import PlanError
from pushforward.flow.flow import Flow
from pushforward.testing.case import Case


class Pair:
    """A row in a combinator, built once for all laws."""

    def __init__(self, combinator, row):
        self.name, self.combinator, self.row = combinator, COMBINATORS[combinator], row
        self.turned = self.combinator.turned
        self.parts = [alone(row, index) for index in range(self.combinator.copies)]
        self.context = contexts(row, DRAWN)
        self.inner, self.outer = row.sides(self.turned)
        self.flow = self.made()
        self.load()

    def made(self):
        base, bijector, shape = flow_arguments(self.name, self.row)
        return Flow(base, bijector, shape, self.row.context_shape).double()

    @property
    def whole(self):
        return self.flow.base if self.combinator.is_base else self.flow.transform

    @functools.cached_property
    def places(self):
        """The names in the state of the whole of what is in the state of each of the plans."""
        own, state = self.parts[0].state, self.whole.state_dict()
        if not own:
            return [{}] * len(self.parts)
        shorter = {key: key.split(".", 1)[-1] for key in own}  # the inverse of an inverse has one step less
        for names in ({key: key for key in own}, shorter):
            ending = next(iter(names.values()))
            starts = [key.removesuffix(ending) for key in state if key == ending or key.endswith("." + ending)]
            fits = [start for start in starts if self.fits(state, start, names)]
            if len(fits) > self.combinator.copies:  # parameters of its own may have the same names
                fits = [start for start in fits if start]
            if len(fits) == self.combinator.copies:
                return [{key: start + name for key, name in names.items()} for start in fits]
        raise AssertionError(f"expected the state of {self.combinator.copies} plans with {sorted(own)}, got {sorted(state)}")

    def fits(self, state, start, names):
        own = self.parts[0].state
        return all(start + name in state and state[start + name].shape == own[key].shape for key, name in names.items())

    def load(self):
        """Give the plans in the whole the numbers of those alone."""
        state = {names[key]: value for names, part in zip(self.places, self.parts, strict=True) for key, value in part.state.items()}
        found = self.whole.load_state_dict(state, strict=False)
        assert not found.unexpected_keys, found.unexpected_keys

    def put(self, values, data=True):
        return self.combinator.put(self.row, values, self.outer if data else self.inner)

    def data(self, index):
        """Return values of the data's side of one of the plans, and which they are on its base's side."""
        part = self.parts[index]
        return (part.x, part.y) if self.turned else (part.y, part.x)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)  # thousands of files need not survive a loss of power
        yield tmp_path_factory.mktemp("pairs")


# The laws


def values(pair, folder):
    """Both directions map each plan's own values, in their place, with the sum of the log-determinants."""
    if pair.combinator.is_base:
        return
    parts, whole = pair.parts, pair.flow.transform
    x, y = pair.put([p.y if pair.turned else p.x for p in parts], data=False), pair.put([pair.data(i)[0] for i in range(len(parts))])
    back, ladj = [p.back if pair.turned else p.y for p in parts], sum(p.minus if pair.turned else p.ladj for p in parts)
    got, determinant = whole(x, pair.context)
    close(got, pair.put(back), "forward")
    close(determinant, ladj, "ladj of forward")
    got, determinant = whole.inverse(y, pair.context)
    close(got, pair.put([p.y if pair.turned else p.back for p in parts], data=False), "inverse")
    close(determinant, sum(p.ladj if pair.turned else p.minus for p in parts), "ladj of inverse")


def density(pair, folder):
    """The density is that of the plans together."""
    y = pair.put([pair.data(i)[0] for i in range(len(pair.parts))])
    each = pair.combinator.take(pair.row, y, pair.outer)
    expected = pair.combinator.together(
        [part.log_prob(pair.turned, value, pair.context) for part, value in zip(pair.parts, each, strict=True)]
    )
    with torch.no_grad():
        close(pair.flow.log_prob(y, pair.context), expected, "log_prob")


def support(pair, folder):
    """The support holds its samples, and what each plan gives; what one does not give has no density."""
    flow, row = pair.flow, pair.row
    given = contexts(row, DRAWN)
    drawn = flow.sample((DRAWN,) if given is None else (), given, generator=generator(3))
    assert drawn.shape == (DRAWN, *flow.event_shape), f"samples of shape {tuple(drawn.shape)}"
    assert bool(flow.support.check(drawn).all()), f"the support {flow.support} lacks {drawn[~flow.support.check(drawn)][:1].tolist()}"
    with torch.no_grad():
        assert bool(torch.isfinite(flow.log_prob(drawn, given)).all()), "samples without a density"
    for index in range(len(pair.parts)):
        part, inside = pair.parts[index], [pair.data(i)[0] for i in range(len(pair.parts))]
        trial = spoiled(inside[index])
        kind = part.domain if pair.turned else part.codomain
        expected = kind.check(trial)
        times = len(trial) // DRAWN
        inside = [value.repeat(times, *(1,) * (value.dim() - 1)) for value in inside]
        inside[index] = trial
        whole = pair.put(inside)
        if not torch.equal(pair.combinator.take(row, whole, pair.outer)[index], trial):
            continue  # in a mixture all components see the values of the first
        got = flow.support.check(whole)
        wrong = (got != expected).nonzero().flatten()
        assert not len(wrong), f"part {index}: the support {flow.support} says {bool(got[wrong[0]])} of {whole[wrong[0]].tolist()}"
        c = None if pair.context is None else pair.context.repeat(times, *(1,) * (pair.context.dim() - 1))
        with torch.no_grad():
            score = flow.log_prob(whole, c)
        wrong = (torch.isneginf(score) < ~expected).nonzero().flatten()
        assert not len(wrong), f"part {index}: log_prob is {score[wrong[0]]} outside the support, at {whole[wrong[0]].tolist()}"
        assert bool(torch.isfinite(score[:DRAWN]).all()), "values of the plan's own without a density"


def domain(pair, folder):
    """What the whole takes is what each plan in it takes."""
    if pair.combinator.is_base:
        return
    kind = pair.flow.transform.domain
    for index in range(len(pair.parts)):
        inside = [pair.data(i)[1] for i in range(len(pair.parts))]
        trial = spoiled(inside[index])
        times = len(trial) // DRAWN
        inside = [value.repeat(times, *(1,) * (value.dim() - 1)) for value in inside]
        inside[index] = trial
        whole = pair.put(inside, data=False)
        expected = (pair.parts[index].codomain if pair.turned else pair.parts[index].domain).check(trial)
        got = kind.check(whole)
        got = got.flatten(1).all(1) if got.dim() > 1 else got
        wrong = (got != expected).nonzero().flatten()
        assert not len(wrong), f"part {index}: the domain {kind} says {bool(got[wrong[0]])} of {whole[wrong[0]].tolist()}"


def description(pair, folder):
    """It is printed with what is in it, and counts what the plans alone count."""
    with without_memory():
        told = pair.flow.describe(batch=2)
        beside = [layer for plan in pair.combinator.beside(pair.row) for layer in plan.describe(pair.inner, batch=2).layers]
    text, combinator, plan = str(told), pair.combinator, pair.row.plan
    expected = turned_facts(pair.parts[0].facts) if pair.turned else dict(pair.parts[0].facts)
    count = combinator.copies * expected["parameters"] + combinator.own
    assert told.parameters == count == sum(p.numel() for p in pair.flow.parameters()), f"{told.parameters} parameters instead of {count}"
    for name, value in facts_of(beside).items():
        expected[name] = expected[name] | value if name == "words" else expected[name] + value
    # Below the plan in a base there is what feeds it.
    base, shape = source(pair.row, pair.turned)
    below = len([*base.chain().build(shape).leaves()]) if combinator.is_base and base != S else 0
    for lines in told.components or (told,):
        got = facts_of(lines.layers[below:])
        if not combinator.is_base:
            got["parameters"] //= combinator.copies
        got |= {name: bool(value) for name, value in got.items() if name.startswith("adaptive")}
        assert got == expected, {name: (got[name], expected[name]) for name in got if got[name] != expected[name]}
    inner = plan.bijector if pair.turned and isinstance(plan, Inverse) else plan
    names = [repr(part) for part in (inner.bijectors if isinstance(inner, Compose) else [inner])]
    assert all(name in text for name in names), f"expected {names} in the text:\n{text}"


def closed_forms(pair, folder):
    """Mean, spread and entropy are known where they are of the plan alone, and are then those of the plans together."""
    if source(pair.row, False)[1] != pair.row.event_shape:
        return
    of_plan, of_whole = dict(_moments_alone(pair.row)), _moments(pair.flow, pair.row)
    if pair.name == "Mixture":  # of normals, has no entropy in closed form
        of_plan["entropy"] = None
    assert [k for k, v in of_whole.items() if v is None] == [k for k, v in of_plan.items() if v is None], (of_plan, of_whole)
    if of_whole["mean"] is not None and not pair.combinator.is_base:
        zero = torch.zeros(pair.flow.base.event_shape, dtype=torch.float64)
        close(of_whole["mean"], pair.flow.from_base(zero, _zeros(pair.row))[0], "mean")


def _zeros(row):
    return None if row.context_shape is None else torch.zeros(row.context_shape, dtype=torch.float64)


def _moments(flow, row):
    found, given = {}, flow.condition(_zeros(row))
    for quantity in ("mean", "stddev", "entropy"):
        try:
            found[quantity] = getattr(given, quantity)() if quantity == "entropy" else getattr(given, quantity)
        except (NoClosedFormError, AttributeError):
            found[quantity] = None
    return found


@functools.lru_cache(maxsize=4)
def _moments_alone(row):
    base, shape = source(row, False)
    flow = Flow(base, row.plan, shape, row.context_shape).double()
    flow.transform.load_state_dict(alone(row, 0).module.state_dict())
    return _moments(flow, row)


def files(pair, folder):
    """A file keeps every argument and every number."""
    path = Path(folder) / "flow.safetensors"
    pair.flow.save(path)
    loaded = pf.load(path)
    assert loaded.plan == pair.flow.plan
    assert loaded.base.plan == pair.flow.base.plan
    state, kept = pair.flow.state_dict(), loaded.state_dict()
    assert kept.keys() == state.keys()
    assert all(torch.equal(value, state[key]) for key, value in kept.items())
    y = pair.put([pair.data(i)[0] for i in range(len(pair.parts))])
    with torch.no_grad():
        close(loaded.log_prob(y, pair.context), pair.flow.log_prob(y, pair.context), "log_prob of the file")


def measuring(pair, folder):
    """What is measured is what the plan alone would measure of its own values; the same of what follows data."""
    for action, learns, seen in zip(("calibrate", "update"), pair.parts[0].learns, (slice(0, 1), slice(1, None)), strict=True):
        if pair.turned:
            if learns and action == "calibrate" and not pair.row.plan.measured_turned:
                with pytest.raises(PlanError, match="expected values of the data side to measure, got the layer inverted"):
                    _independent_of_units(pair, action, learns)
                continue
            _independent_of_units(pair, action, learns)
            continue
        pair.load()
        before = {key: value.clone() for key, value in pair.whole.state_dict().items()}
        # Of the second plan in other units, where they may be.
        rows = [
            [(1 + index * learns) * value for value in part.rows[seen][: None if learns else 1]] for index, part in enumerate(pair.parts)
        ]
        for values_of_step in zip(*rows, strict=True):
            getattr(pair.whole, action)(pair.put(values_of_step), contexts(pair.row, MEASURED))
        state = pair.whole.state_dict()
        for index, (names, part) in enumerate(zip(pair.places, pair.parts, strict=True)):
            expected = part.after(action, rows[0 if pair.name == "Mixture" else index]) if learns else {}
            for key, value in expected.items():
                close(state[names[key]].double(), value.double(), f"{action}: {key} of part {index}")
            changed = [key for key, name in names.items() if not learns and not torch.equal(state[name], before[name])]
            assert not changed, f"{action} changed {changed} of a layer that measures nothing"
        if action == "update":
            assert pair.whole.facts.has_statistics == learns


def _independent_of_units(pair, action, learns):
    """What is measured turned round makes of values in other units the same values on the base's side."""
    z = [torch.randn(MEASURED, *pair.outer, generator=generator(i), dtype=torch.float64) for i in range(len(pair.parts))]
    values, found = [Case.into(value, pair.parts[0].module.domain) for value in z], []
    for scale, shift in [(1.0, 0.0), (20.0, 300.0)] if learns else [(1.0, 0.0)]:
        pair.load()
        for part in pair.whole.modules() if learns else ():
            if hasattr(part, "calibrated"):
                part.calibrated.fill_(False)
        y = pair.put([scale * value + shift for value in values])
        getattr(pair.whole, action)(y, contexts(pair.row, MEASURED))
        found.append(pair.whole.inverse(y, contexts(pair.row, MEASURED))[0])
    if action == "update":
        assert pair.whole.facts.has_statistics == learns
    if learns:
        close(found[1], found[0], f"{action}, in other units", within=1e-3)  # to variances some add a little
        return
    state = pair.whole.state_dict()
    for names, part in zip(pair.places, pair.parts, strict=True):
        changed = [key for key, value in part.state.items() if not torch.equal(state[names[key]], value)]
        assert not changed, f"{action} changed {changed} of a layer that measures nothing"


def weights(pair, folder):
    """Rows of hardly any weight do not count in what a fit measures."""
    if not any(pair.parts[0].learns):
        return
    base, bijector, shape = flow_arguments(pair.name, pair.row)
    # Something to learn, which hardly moves.
    layers = [bij.Affine()] if pair.combinator.is_base else [bij.Affine(), bijector]
    flow = Flow(base, layers, shape, pair.row.context_shape).double()
    z = [torch.randn(200, *pair.outer, generator=generator(5, i), dtype=torch.float64) for i in range(len(pair.parts))]
    near = [Case.into(value, pair.parts[0].module.codomain) for value in z]
    rows = pair.put([torch.cat([value, value + 1000]) for value in near])
    light, given = torch.cat([torch.ones(200), torch.full((200,), 1e-9)]), contexts(pair.row, 400)
    options = {"epochs": 1, "batch_size": 400, "learning_rate": 1e-9, "validation": None, "progress": False}
    if pair.turned and pair.parts[0].learns[0] and not pair.row.plan.measured_turned:
        with pytest.raises(PlanError, match="expected values of the data side to measure, got the layer inverted"):
            pf.fit(flow, rows, given, weights=light, **options)
        return
    pf.fit(flow, rows, given, weights=light, **options)
    with torch.no_grad():
        score = flow.log_prob(rows[:200], None if given is None else given[:200]).mean() / rows[0].numel()
    assert score > -2.2, f"a log-density of {score:.2f} a number, where -1.42 is that of the rows that count"


LAWS = (values, density, domain, support, description, closed_forms, files, measuring, weights)


def broken(pair, folder):
    """Return what each law says that does not hold."""
    found = []
    for law in LAWS:
        try:
            law(pair, folder)
        except Exception as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            found.append(f"{law.__name__}: {type(error).__name__} ({Path(place.filename).name}:{place.lineno}): {error}")
    return found


@pytest.mark.parametrize("combinator", COMBINATORS)
@pytest.mark.parametrize("row", [pytest.param(row, marks=[pytest.mark.heavy] * (row in FURTHER)) for row in ROWS])
def test_a_pair_keeps_the_laws(row, combinator, folder):
    holder = COMBINATORS[combinator]
    given = holder.row(ROWS[row])
    words = holder.expected_error(given)
    if words is not None:
        with pytest.raises(PlanError, match=words) as raised:
            Flow(*flow_arguments(combinator, given), given.context_shape)
        assert "expected" in str(raised.value)
        return
    found = broken(Pair(combinator, given), folder)
    assert not found, f"{given.plan!r} {given.event_shape} in {combinator}:\n  " + "\n  ".join(found)


def test_every_plan_is_tried_in_all_that_hold_plans():
    """What is left to the heavy rows has the classes of a row that is not."""
    tried = {kind(row.plan) for name, row in ROWS.items() if name not in FURTHER}
    assert tried == {kind(row.plan) for row in ROWS.values()}
    assert {name for names in tried for name in names} >= {type(row.plan).__name__ for row in ROWS.values()}
