"""Flows, base distributions, and torch's distributions by name; no logic of its own.

torch's classes are here with what Pyro adds to them (``to_event``, ``expand_by``, ``shape``, and a call that draws): each is a subclass of
torch's. Of the names that torch has too, ``StudentT`` and ``VonMises`` are here the plans of bases.
``kl_divergence`` takes flows as well.
"""

from typing import TYPE_CHECKING

from torch.distributions import *  # noqa: F403
from torch.distributions import __all__ as _torch_names

from pushforward.bases import (  # type: ignore[assignment]
    BoxUniform,
    CircleUniform,
    DiagNormal,
    FullNormal,
    GeneralizedNormal,
    Mixture,
    MixtureOfNormals,
    OrderStatistics,
    Product,
    Pushforward,
    Resampled,
    StandardNormal,
    StudentT,
    Truncated,
    VonMises,
    Wrapped,
    wrap,
)
from pushforward.distributions import conditional, constraints, transforms
from pushforward.distributions.torchs import *  # noqa: F403
from pushforward.flow import ConditionedFlow, Flow
from pushforward.kl import kl_divergence
from pushforward.names import missing
from pushforward.transforms import (
    ComposeTransformModule,
    ConditionalComposeTransformModule,
    ConditionalTransform,
    ConditionalTransformModule,
    ConstantConditionalTransform,
    TransformModule,
)
from pushforward.transforms.conditional_distribution import (
    ConditionalDistribution,
    ConditionalTransformedDistribution,
    ConstantConditionalDistribution,
)
from pushforward.transforms.distribution import TransformedDistribution
from pushforward.transforms.events import Independent

__all__ = [
    "BoxUniform", "CircleUniform", "ComposeTransformModule", "ConditionalComposeTransformModule", "ConditionalDistribution",
    "ConditionalTransform", "ConditionalTransformModule", "ConditionalTransformedDistribution", "ConditionedFlow",
    "ConstantConditionalDistribution", "ConstantConditionalTransform", "DiagNormal", "Flow", "FullNormal", "GeneralizedNormal",
    "Independent", "Mixture", "MixtureOfNormals", "OrderStatistics", "Product", "Pushforward", "Resampled", "StandardNormal", "StudentT",
    "TransformModule", "TransformedDistribution", "Truncated", "VonMises", "Wrapped", "conditional", "constraints", "kl_divergence",
    "transforms", "wrap",
]  # fmt: skip
__all__ += [name for name in _torch_names if name not in __all__]

if not TYPE_CHECKING:
    __getattr__ = missing(__name__)
