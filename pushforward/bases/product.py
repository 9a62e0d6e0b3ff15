"""Products of bases: independent blocks of features, each with a base of its own."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor, nn

from pushforward.bases import moments
from pushforward.core import sets
from pushforward.core.base import Base, BaseModule
from pushforward.core.facts import parts_of
from pushforward.core.fields import Count, Length
from pushforward.core.layer import Shape
from pushforward.core.spec import PlanError


@dataclass(frozen=True, repr=False)
class Product(Base):
    r"""Independent blocks along the first event axis, :math:`p(x) = \prod_i p_i(x_i)`, each with a base of its own.

    The parameters are those of the bases. Where their supports differ, that of the product has one for each block.

    Args:
        bases: The bases, in the order of the features.
        sizes: With how many features each is built, which it mostly has; where a bijection in it changes the length, it has another.

    >>> from pushforward.distributions import BoxUniform, StandardNormal
    >>> base = Product([StandardNormal(), BoxUniform(0.0, 2.0)], [2, 1]).build((3,))
    >>> base.log_prob(torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, 3.0]]))
    tensor([-2.5310,    -inf])
    """

    bases: Annotated[Sequence[Base], Length(1)]
    sizes: Sequence[Count]

    def check(self) -> None:
        if len(self.sizes) != len(self.bases):
            raise PlanError(f"Product: expected a size of at least 1 for each of the {len(self.bases)} bases, got {self.sizes!r}")

    def build(self, event_shape: Shape, context_shape: Shape | None = None) -> BaseModule:
        return ProductModule(self, event_shape, context_shape)


class ProductModule(BaseModule):
    """Built `Product`."""

    def __init__(self, plan: Product, event_shape: Shape, context_shape: Shape | None) -> None:
        if not event_shape or event_shape[0] != sum(plan.sizes):
            raise PlanError(f"{plan!r}: expected an event of {sum(plan.sizes)} features, got event_shape {event_shape}")
        parts = []
        for base, size in zip(plan.bases, plan.sizes, strict=True):
            part = base.build((size, *event_shape[1:]), context_shape)
            if part.batch_shape:
                raise PlanError(f"{plan!r}: expected bases without a batch, got {base!r} with batch_shape {tuple(part.batch_shape)}")
            if len(part.event_shape) != len(event_shape) or part.event_shape[1:] != event_shape[1:]:
                raise PlanError(
                    f"{plan!r}: expected bases that change no axis but the first, along which they are joined, got {base!r} with events of "
                    f"shape {part.event_shape} for {(size, *event_shape[1:])}"
                )
            parts.append(part)
        sizes = [part.event_shape[0] for part in parts]
        super().__init__(plan, (sum(sizes), *event_shape[1:]), context_shape)
        self.parts, self.sizes, self.in_shape = nn.ModuleList(parts), sizes, event_shape
        rank = len(event_shape)
        support = sets.joined([part.support for part in parts], self.sizes, -rank, rank)
        self.facts = dataclasses.replace(parts_of([part.facts for part in parts]), support=support)

    def members(self) -> Sequence[BaseModule]:
        return [*self.parts]

    def score(self, value: Tensor, context: Tensor | None = None) -> Tensor:
        blocks = value.split(self.sizes, -len(self.event_shape))
        terms = [part.score(block, context) for part, block in zip(self.parts, blocks, strict=True)]  # type: ignore[operator]
        total: Tensor = terms[0]
        for term in terms[1:]:
            total = total + term
        return total

    def draw(self, batch: torch.Size, context: Tensor | None = None, generator: torch.Generator | None = None) -> Tensor:
        blocks = [part.draw(batch, context, generator) for part in self.parts]  # type: ignore[operator]
        return torch.cat(blocks, -len(self.event_shape))

    def mean_at(self, context: Tensor | None = None) -> Tensor | None:
        means = [part.mean_at(context) for part in self.parts]  # type: ignore[operator]
        return None if any(mean is None for mean in means) else self._joined(means)

    def spread_at(self, context: Tensor | None = None) -> Tensor | None:
        each = [part.spread_at(context) for part in self.parts]  # type: ignore[operator]
        if any(vectors is None for vectors in each):
            return None
        # Of each part's vectors the others have none.
        axis, found = -len(self.event_shape), []
        for i, vectors in enumerate(each):
            beside = list(vectors.shape)
            rest = [vectors.new_zeros(*beside[:axis], size, *beside[len(beside) + axis + 1 :]) for size in self.sizes]
            found.append(torch.cat([*rest[:i], vectors, *rest[i + 1 :]], axis))
        return moments.together(found)

    def entropy_at(self, context: Tensor | None = None) -> Tensor | None:
        terms = [part.entropy_at(context) for part in self.parts]  # type: ignore[operator]
        return None if any(term is None for term in terms) else sum(terms[1:], terms[0])

    def _joined(self, parts: list[Tensor]) -> Tensor:
        rank = len(self.event_shape)
        batch = torch.broadcast_shapes(*(part.shape[: part.dim() - rank] for part in parts))
        return torch.cat([part.expand(*batch, *part.shape[part.dim() - rank :]) for part in parts], -rank)

    def measure(self, value: Tensor, context: Tensor | None = None) -> None:
        for part, block in zip(self.parts, value.split(self.sizes, -len(self.event_shape)), strict=True):
            part.measure(block, context)  # type: ignore[operator]

    def follow(self, value: Tensor, context: Tensor | None = None) -> None:
        for part, block in zip(self.parts, value.split(self.sizes, -len(self.event_shape)), strict=True):
            part.follow(block, context)  # type: ignore[operator]
