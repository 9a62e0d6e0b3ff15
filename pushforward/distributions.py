"""Flows and base distributions by name; no logic of its own."""

from pushforward.bases import (
    BoxUniform,
    CircleUniform,
    DiagNormal,
    FullNormal,
    GeneralizedNormal,
    Mixture,
    MixtureOfNormals,
    Product,
    Pushforward,
    Resampled,
    StandardNormal,
    StudentT,
    VonMises,
    Wrapped,
    wrap,
)
from pushforward.flow import ConditionedFlow, Flow

__all__ = [
    "BoxUniform", "CircleUniform", "ConditionedFlow", "DiagNormal", "Flow", "FullNormal", "GeneralizedNormal", "Mixture",
    "MixtureOfNormals", "Product", "Pushforward", "Resampled", "StandardNormal", "StudentT", "VonMises", "Wrapped", "wrap",
]  # fmt: skip
