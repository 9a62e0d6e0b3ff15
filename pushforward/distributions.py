"""Flows and base distributions by name; no logic of its own."""

from pushforward.bases import DiagNormal, StandardNormal, Wrapped, wrap
from pushforward.flow import ConditionedFlow, Flow

__all__ = ["ConditionedFlow", "DiagNormal", "Flow", "StandardNormal", "Wrapped", "wrap"]
