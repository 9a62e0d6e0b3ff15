"""How a velocity field is followed: one ordered table of ways, of which the first that takes a call runs it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pushforward.core import mode
from pushforward.layers.field import PerceptronField
from pushforward.native.follow import GOING, LOST, Method, Rows, follow, takes
from pushforward.native.layout import MAX_STEPS
from pushforward.solvers import adaptive
from pushforward.solvers.adaptive import Solution, Taken
from pushforward.solvers.path import BY_TORCH, Path, Way


def _takes_compiled(path: Path, z: Tensor, context: Tensor | None, used: Sequence[Tensor]) -> bool:
    if not isinstance(path.of, PerceptronField) or not path.of.plain or not mode.eager():
        return False
    return takes(path.of.compiled(used), _method(path), z, context, path.start, path.end)


def _method(path: Path) -> Method:
    tableau, steps = path.tableau, path.steps
    # Of equal steps the stage that the next one begins with is computed there.
    count = len(tableau.c) - (tableau.reuses if steps else 0)
    control = (adaptive.SAFETY, adaptive.LEAST, adaptive.GREATEST, adaptive.DAMPING)
    c, a, b = tableau.c[:count], tableau.a[:count], tableau.b[:count]
    return Method(c, a, b, tableau.error if steps is None else (), steps or 0, path.tolerance, 1 / tableau.order, control, adaptive.MOST)


def _compiled(path: Path, z: Tensor, context: Tensor | None, used: Sequence[Tensor], keep: bool) -> Solution:
    assert isinstance(path.of, PerceptronField)
    velocity, method, rows = path.of.compiled(used), _method(path), Rows.at(z)
    rows.t.fill_(path.start)
    taken: list[Taken] = []
    with torch.no_grad():
        if not keep:
            follow(velocity, method, rows, context, path.start, path.end, MAX_STEPS)
        which, going = torch.arange(len(z)), rows
        while keep and len(which):
            # A call for a step of each row, which takes as many tries as it takes: what it begins with is kept, as in PyTorch.
            start, times = going.z.clone(), going.t.clone()
            follow(velocity, method, going, context, path.start, path.end, 1)
            made, left = going.status != LOST, going.status == GOING
            if bool(made.any()):
                whole = bool(made.all()) and len(which) == len(z)
                taken.append(Taken(None if whole else which[made], times[made], going.step[made], start[made]))
            if not bool(left.all()):
                ended = ~left
                if going is not rows:
                    for every, some in zip(rows, going, strict=True):
                        every[which[ended]] = some[ended]
                which, going, context = which[left], going.chosen(left), None if context is None else context[left]
        evaluations = rows.tries * path.tableau.evaluations + (2 if path.steps is None else 0)
    return Solution(rows.z, taken, evaluations)


COMPILED = Way(_takes_compiled, _compiled)
"""A perceptron on the CPU: all that a step computes, or all steps where nothing is differentiated, in one call of compiled code."""
WAYS = (COMPILED, *BY_TORCH)
"""In the order in which they are tried. A new one is a new row."""
