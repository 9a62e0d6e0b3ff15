"""Conditional transforms: what becomes a transform once a context is given."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.distributions.transforms import Transform

from pushforward.contrib.pyro.face.compose import ComposeTransformModule

__all__ = ["ConditionalComposeTransformModule", "ConditionalTransform", "ConditionalTransformModule", "ConstantConditionalTransform"]


class ConditionalTransform(ABC):
    """What becomes a transform once a context is given."""

    @abstractmethod
    def condition(self, context: Tensor) -> Transform:
        """Return the transform for a context, ``(*batch, context_dim)``, whose batch broadcasts against that of the values."""


class ConditionalTransformModule(ConditionalTransform, nn.Module):
    """A conditional transform that is an `nn.Module`.

    >>> from pushforward.transforms import conditional_planar
    >>> conditional_planar(2, context_dim=3).inv.condition(torch.zeros(5, 3))(torch.zeros(5, 2)).shape
    torch.Size([5, 2])
    """

    @property
    def inv(self) -> ConditionalTransformModule:
        """The inverse: a module that shares the parameters; its inverse is the transform itself."""
        return InvertedConditional(self)

    def clear_cache(self) -> None:
        """Do nothing: there is no cache."""


class HeldConditional(ConditionalTransformModule):
    """A module that holds a conditional transform: a user's, which may be no module."""

    def __init__(self, transform: ConditionalTransform) -> None:
        super().__init__()
        self.transform = transform

    def condition(self, context: Tensor) -> Transform:
        return self.transform.condition(context)


class InvertedConditional(HeldConditional):
    """The inverse of a conditional transform."""

    inv = property(lambda self: self.transform)

    def condition(self, context: Tensor) -> Transform:
        return self.transform.condition(context).inv


class ConstantConditionalTransform(ConditionalTransformModule):
    """A transform that is the same for every context."""

    def __init__(self, transform: Transform) -> None:
        super().__init__()
        if not isinstance(transform, Transform):
            raise TypeError(f"ConstantConditionalTransform: expected a transform, got {transform!r}")
        self.transform = transform

    def condition(self, context: Tensor) -> Transform:
        return self.transform


class ConditionalComposeTransformModule(ConditionalTransformModule):
    """Transforms one after the other, conditional or not, all given the same context.

    Args:
        transforms: Conditional transforms, and transforms.
        cache_size: As in `TransformModule`.

    >>> from pushforward.transforms import conditional_planar, planar
    >>> stack = ConditionalComposeTransformModule([conditional_planar(2, 3), planar(2)])
    >>> len(stack), stack.condition(torch.zeros(5, 3))(torch.zeros(5, 2)).shape
    (2, torch.Size([5, 2]))
    """

    def __init__(self, transforms: Sequence[Any], cache_size: int = 0) -> None:
        super().__init__()
        self.transforms = nn.ModuleList(conditionally(part) for part in transforms)

    def __len__(self) -> int:
        return len(self.transforms)

    def __bool__(self) -> bool:
        return True

    def __getitem__(self, index: int) -> Any:
        part = self.transforms[index]
        return part.transform if isinstance(part, ConstantConditionalTransform) else part

    def append(self, part: Any) -> ConditionalComposeTransformModule:
        """Add a transform at the end."""
        self.transforms.append(conditionally(part))
        return self

    def condition(self, context: Tensor) -> ComposeTransformModule:
        return ComposeTransformModule([part.condition(context) for part in self.transforms])  # type: ignore[operator]


def conditionally(part: Any) -> nn.Module:
    """Return a conditional transform, made of a transform where it is none, as a module."""
    if not isinstance(part, ConditionalTransform):
        return ConstantConditionalTransform(part)
    return part if isinstance(part, nn.Module) else HeldConditional(part)
