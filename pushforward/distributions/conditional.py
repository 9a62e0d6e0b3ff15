"""Pyro's conditional distributions and transforms by name; no logic of its own."""

from pushforward.transforms.conditional import (
    ConditionalComposeTransformModule,
    ConditionalTransform,
    ConditionalTransformModule,
    ConstantConditionalTransform,
)
from pushforward.transforms.conditional_distribution import (
    ConditionalDistribution,
    ConditionalTransformedDistribution,
    ConstantConditionalDistribution,
)

__all__ = [
    "ConditionalComposeTransformModule", "ConditionalDistribution", "ConditionalTransform", "ConditionalTransformModule",
    "ConditionalTransformedDistribution", "ConstantConditionalDistribution", "ConstantConditionalTransform",
]  # fmt: skip
