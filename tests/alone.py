"""A plan by itself: what it does with values of its own, which is what whatever holds it has to do with them."""

from __future__ import annotations

import contextlib
import copy
import functools
import importlib

import pytest
import torch
from combinators import set_of, source

from pushforward.testing.case import Case

DRAWN, MEASURED, UPDATES = 12, 60, 2
"""Rows of values, rows that are measured, and how often layers that follow data see some."""


def generator(*seeds):
    return torch.Generator().manual_seed(hash(seeds) % 2**31)


def contexts(row, rows):
    """Return contexts with mean 0 and variance 1: measuring them changes nothing."""
    if row.context_shape is None:
        return None
    c = torch.randn(rows, *row.context_shape, generator=generator(rows), dtype=torch.float64)
    return (c - c.mean(0)) / c.std(0, correction=0)


class Alone:
    """One of the plans in a pair, by itself: what it is compared with."""

    def __init__(self, row, index):
        self.row = row
        self.module = Case(row.plan, row.event_shape, row.context_shape, index).build(torch.float64, 0.3)
        self.state = {key: value.clone() for key, value in self.module.state_dict().items()}
        self.contexts = contexts(row, DRAWN)
        self.domain, self.codomain = set_of(row, False), set_of(row, True)
        z = torch.randn(DRAWN, *row.event_shape, generator=generator(index, 1), dtype=torch.float64)
        self.x = Case.into(z, self.module.domain)
        with torch.no_grad():
            self.y, self.ladj = self.module(self.x, self.contexts)
            self.back, self.minus = self.module.inverse(self.y, self.contexts)

    @functools.cache  # noqa: B019 (as long as the row is at hand)
    def base(self, turned):
        """Return what feeds the plan, or its inverse."""
        base, shape = source(self.row, turned)
        return base.build(shape).double()

    def log_prob(self, turned, value, context):
        """Return the log-density of values of a flow through the plan or its inverse."""
        with torch.no_grad():
            x, ladj = (self.module if turned else self.module.inverse)(value, context)
            return self.base(turned).log_prob(x) + ladj

    @functools.cached_property
    def rows(self):
        """Values of the data's side with a location and a scale of their own and a few far out, and others for updates."""
        row, found = self.row, []
        for n in range(1 + UPDATES):
            z = torch.randn(MEASURED, *row.out_shape, generator=generator(n, *row.out_shape), dtype=torch.float64)
            found.append(Case.into((n + 1) * torch.sinh(2 * z) / 4 + n, self.module.codomain))
        return found

    def after(self, action, values):
        """Return the state of a copy that has measured or followed values."""
        module = copy.deepcopy(self.module)
        for value in values:
            getattr(module, action)(value, contexts(self.row, MEASURED))
        return module.state_dict()

    @functools.cached_property
    def learns(self):
        """Whether measuring, and whether following, changes anything."""
        state = self.state
        seen = self.after("calibrate", self.rows[:1]), self.after("update", self.rows[1:])
        return tuple(any(not torch.equal(state[key], other[key]) for key in state) for other in seen)

    @functools.cached_property
    def facts(self):
        with without_memory():
            return facts_of(self.row.plan.describe(self.row.event_shape, self.row.context_shape, batch=2).layers)


@functools.lru_cache(maxsize=8)
def alone(row, index):
    return Alone(row, index)


def promised(module):
    """Return how far numbers may lie apart that come by the two ways through a layer: by what its solvers promise, beside roundings."""
    free = [each for accuracy in module.facts.accuracy for each in (accuracy.value, accuracy.ladj)]
    return 2 * max(each.absolute + each.relative for each in free)


def close(got, expected, what, within=1e-7):
    torch.testing.assert_close(got.detach(), expected.detach(), rtol=within, atol=within, msg=lambda text: f"{what}: {text}")


def spoiled(value):
    """Return values of which some numbers are others, inside or outside of whatever set they are in."""
    found = [value]
    for number in (-7.5, -1.0, 0.0, 0.25, 1.0, 2.5, 40.0):
        flat = value.clone().reshape(len(value), -1)
        flat[:, 0 if number < 0.3 else -1] = number
        found.append(flat.reshape(value.shape))
    return torch.cat([*found, -value, value.flip(-1) if value.dim() > 1 else value, value + 3])


@contextlib.contextmanager
def without_memory():
    """Let descriptions count everything but memory, which a training step on the meta device measures in up to seconds."""
    module = importlib.import_module("pushforward.core.describe")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_step_bytes", lambda *arguments: module._Step(1, 1))
        yield


def facts_of(layers):
    """Return what layers add up to, and the words in which they are described."""
    counts = [f"{what}_to_{to}" for what in ("evaluations", "depth", "roots", "adaptive") for to in ("sample", "score")]
    found = {count: sum(getattr(layer, count) for layer in layers) for count in ["parameters", *counts]}
    words = [word for layer in layers for text in (layer.network, layer.depends_on) for word in text.split("; ")]
    assert "" not in words, f"a word that is missing: {[(layer.network, layer.depends_on) for layer in layers]}"
    return {**found, "words": {*words} - {"none", "nothing"}}


def turned_facts(facts):
    swap = {count: count.replace("sample", "?").replace("score", "sample").replace("?", "score") for count in facts}
    return {count: facts[swap[count]] for count in facts}
