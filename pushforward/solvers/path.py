"""Paths: from one time to another as an operator with gradients, which keeps where the steps began and nothing of what they computed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pushforward.core import mode
from pushforward.core.numerics import Rule, differentiable
from pushforward.solvers.adaptive import Solution, Taken, solve, table
from pushforward.solvers.steps import Rates, replayed, step
from pushforward.solvers.tableau import Tableau


@dataclass
class Path:
    """One way through a field; an object for each call, which keeps the steps that it took.

    Args:
        tableau: The method.
        of: Makes the field of the tensors that it depends on.
        start: The time at which values come in.
        end: The time at which they are wanted.
        tolerance: Of each step.
        steps: Of how many equal steps it is, where steps do not follow the error (None: they do).
        ways: Ways to take the steps, of which the first that takes a call runs it; without any, `BY_TORCH`.
    """

    tableau: Tableau
    of: Callable[[list[Tensor]], Rates]
    start: float
    end: float
    tolerance: float
    steps: int | None = None
    ways: Sequence[Way] = ()
    taken: list[Taken] = field(default_factory=list)
    lost: Tensor | None = None
    evaluations: Tensor | None = None
    keep: bool = True

    def follow(self, z: Tensor, context: Tensor | None, used: Sequence[Tensor]) -> Tensor:
        """Return where ``z (rows, size)`` comes to; it differentiates to all three, any number of times.

        The gradient is that of the steps that were made. Where it is to be differentiated itself, or a function transform looks on, the
        steps are taken once more, and all that they compute is kept.
        """
        if mode.watched() or mode.tracing():
            return replayed(self.tableau, self.of(list(used)), self.start, self._table(z, context, used), z, context)
        # Where no gradient is asked for, nobody asks where the steps began.
        self.keep = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in (z, context, *used))
        made: Tensor = differentiable(FOLLOWED, self, z, context, *used)
        return made

    def _table(self, z: Tensor, context: Tensor | None, used: Sequence[Tensor]) -> Tensor:
        if self.steps is not None or mode.compiling() or mode.tracing():
            return self._equal(z)
        steps: Tensor = _Steps.apply(self, z.detach(), None if context is None else context.detach(), *(t.detach() for t in used))  # type: ignore[no-untyped-call]
        return steps

    def _equal(self, z: Tensor) -> Tensor:
        assert self.steps is not None
        return z.new_full((1, self.steps), (self.end - self.start) / self.steps).expand(z.shape[0], -1)

    def solution(self, z: Tensor, context: Tensor | None, used: Sequence[Tensor], keep: bool = True) -> Solution:
        """Return where ``z`` comes to, by the first way that takes the call."""
        for way in self.ways or BY_TORCH:
            if way.takes(self, z, context, used):
                return way.run(self, z, context, used, keep)
        raise AssertionError("the last way takes all calls")


class Way(NamedTuple):
    """A way to take the steps of a path through ``z``, context and the tensors of its field."""

    takes: Callable[[Path, Tensor, Tensor | None, Sequence[Tensor]], bool]
    """Whether it takes a call."""
    run: Callable[[Path, Tensor, Tensor | None, Sequence[Tensor], bool], Solution]
    """What it makes of one that it takes; the last argument says whether to keep where the steps began."""


def _controlled(path: Path, z: Tensor, context: Tensor | None, used: Sequence[Tensor], keep: bool) -> Solution:
    return solve(path.tableau, path.of(list(used)), z, context, path.start, path.end, path.tolerance, keep)


def _equal(path: Path, z: Tensor, context: Tensor | None, used: Sequence[Tensor], keep: bool) -> Solution:
    assert path.steps is not None
    rates, h = path.of(list(used)), (path.end - path.start) / path.steps
    taken, count = [], path.steps * path.tableau.evaluations
    with torch.no_grad():
        for index in range(path.steps):
            t, wide = (z.new_full((len(z),), value) for value in (path.start + index * h, h))
            if keep:
                taken.append(Taken(None, t, wide, z))
            z = step(path.tableau, rates, t, wide, z, context).z
    return Solution(z, taken, z.new_full((len(z),), count, dtype=torch.int64))


CONTROLLED = Way(lambda path, *_: path.steps is None, _controlled)
EQUAL = Way(lambda *_: True, _equal)
BY_TORCH = (CONTROLLED, EQUAL)
"""Steps that follow the error, and equal ones, by torch's operators."""


def _followed(path: Path, z: Tensor, context: Tensor | None, *used: Tensor) -> Tensor:
    solution = path.solution(z, context, used, path.keep)
    path.taken, path.evaluations = solution.taken, solution.evaluations
    if path.steps is None:
        path.lost = torch.isnan(solution.z).any(-1, keepdim=True)
    return solution.z


def _back(path: Path, given: Sequence[Tensor | None], made: Any, g: Tensor) -> list[Tensor | None]:
    """Return the gradients, one step after the other from the last: no more than one step's values are alive at a time."""
    _, context, *used = given
    if path.lost is not None:
        # What a row that was given up would have depended on, nobody knows.
        g = torch.where(path.lost & (g != 0), torch.nan, g)
    found: list[Tensor | None] = [torch.zeros_like(t) if t is not None and t.requires_grad else None for t in (context, *used)]
    for rows, t, h, start in reversed(path.taken):
        with torch.enable_grad():
            own = [None if each is None else each.detach().requires_grad_(each.requires_grad) for each in (context, *used)]
            begin = start.detach().requires_grad_()
            beside = own[0] if own[0] is None or rows is None else own[0][rows]
            made = step(path.tableau, path.of(own[1:]), t, h, begin, beside).z  # type: ignore[arg-type]
            wanted = [begin, *(each for each in own if each is not None and each.requires_grad)]
            slopes = iter(torch.autograd.grad(made, wanted, g if rows is None else g[rows], allow_unused=True))
        moved = next(slopes)
        assert moved is not None
        g = moved if rows is None else torch.index_copy(g, 0, rows, moved)
        for total in found:
            if total is not None and (slope := next(slopes)) is not None:
                total += slope
    return [g, *found]


def _again(path: Path, z: Tensor, context: Tensor | None, *used: Tensor) -> Tensor:
    steps = path._equal(z) if path.lost is None else table(path.taken, path.lost)
    return replayed(path.tableau, path.of(list(used)), path.start, steps, z, context)


FOLLOWED = Rule(_followed, _back, _again, keep=False)


class _Steps(torch.autograd.Function):
    """The steps of each row ``(rows, count)`` for function transforms, which see a tensor without a gradient."""

    @staticmethod
    def forward(path: Path, z: Tensor, context: Tensor | None, *used: Tensor) -> Tensor:
        solution = path.solution(z, context, used)
        return table(solution.taken, torch.isnan(solution.z).any(-1, keepdim=True))

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Tensor) -> None:
        ctx.mark_non_differentiable(output)

    @staticmethod
    def backward(ctx: Any, *_: Any) -> Any:
        return None

    @staticmethod
    def vmap(info: Any, in_dims: Any, path: Path, z: Tensor, context: Tensor | None, *used: Tensor) -> Any:
        _, of_z, of_context, *of_used = in_dims
        if any(place is not None for place in of_used):
            # Weights side by side: fields of their own, one after the other.
            found = []
            for index in range(info.batch_size):
                one = [t if place is None else t.select(place, index) for t, place in zip((z, context, *used), in_dims[1:], strict=True)]  # type: ignore[union-attr]
                found.append(_Steps.apply(path, *one))  # type: ignore[no-untyped-call]
            longest = max(steps.shape[-1] for steps in found)
            return torch.stack([torch.nn.functional.pad(steps, (0, longest - steps.shape[-1])) for steps in found]), 0

        def flat(t: Tensor | None, place: int | None) -> Tensor | None:
            if t is None:
                return None
            t = t.expand(info.batch_size, *t.shape) if place is None else t.movedim(place, 0)
            return t.reshape(info.batch_size * t.shape[1], *t.shape[2:])

        steps = _Steps.apply(path, flat(z, of_z), flat(context, of_context), *used)  # type: ignore[no-untyped-call]
        return steps.reshape(info.batch_size, len(steps) // info.batch_size, -1), 0
