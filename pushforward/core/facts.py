"""Facts: what a built layer declares of itself, once, and what follows for layers that are made of layers."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch.distributions import constraints
from torch.distributions.constraints import Constraint


@dataclass(frozen=True)
class Facts:
    """What a built layer declares of itself. Pairs are (to sample, to score)."""

    domain: Constraint = constraints.real
    codomain: Constraint = constraints.real
    depends_on: str = "nothing"
    """What the parameters are made from, in words."""
    uses_context: bool = False
    evaluations: tuple[int, int] = (1, 1)
    """How often the network is evaluated over all rows: its work."""
    depth: tuple[int, int] = (1, 1)
    """How many parts of the work have to wait for one another. An autoregressive layer has, one way, as many as its graph is deep."""
    roots: tuple[int, int] = (0, 0)
    """How often each number is sought as a root of an equation, with some ten evaluations of the kernel."""
    adaptive: tuple[bool, bool] = (False, False)
    """Whether it ends as soon as nothing changes, so that evaluations and depth are the most."""
    volume_preserving: bool = False
    """Whether ladj is always zero."""
    is_affine: bool = False
    """Whether its values are an affine function of what comes in."""
    has_statistics: bool = False
    """Whether `update` moves something."""

    def inverted(self) -> Facts:
        """Return the facts of the inverse map."""
        pairs = {name: getattr(self, name)[::-1] for name in PAIRS}
        return dataclasses.replace(self, domain=self.codomain, codomain=self.domain, **pairs)

    def onto(self, domain: Constraint, codomain: Constraint, volume_preserving: bool | None = None) -> Facts:
        """Return the same facts of a map between other sets."""
        kept = self.volume_preserving if volume_preserving is None else volume_preserving
        return dataclasses.replace(self, domain=domain, codomain=codomain, volume_preserving=kept)


PAIRS = ("evaluations", "depth", "roots", "adaptive")


def chained(parts: Sequence[Facts]) -> Facts:
    """Return the facts of layers one after the other; their sets are the caller's to say."""
    return _together(parts, sum)


def abreast(parts: Sequence[Facts]) -> Facts:
    """Return the facts of layers side by side; their sets are the caller's to say."""
    return _together(parts, max)


def _together(parts: Sequence[Facts], count: Callable[[Sequence[int]], int]) -> Facts:
    if not parts:
        return Facts(evaluations=(0, 0), depth=(0, 0), volume_preserving=True, is_affine=True)

    def of_each(name: str, together: Callable[[Sequence[int]], int]) -> tuple[int, int]:
        sample, score = (together([getattr(part, name)[way] for part in parts]) for way in (0, 1))
        return sample, score

    return Facts(
        depends_on="; ".join(dict.fromkeys(part.depends_on for part in parts)),
        uses_context=any(part.uses_context for part in parts),
        evaluations=of_each("evaluations", count),
        depth=of_each("depth", count),
        roots=of_each("roots", count),
        adaptive=(any(part.adaptive[0] for part in parts), any(part.adaptive[1] for part in parts)),
        volume_preserving=all(part.volume_preserving for part in parts),
        is_affine=all(part.is_affine for part in parts),
        has_statistics=any(part.has_statistics for part in parts),
    )
