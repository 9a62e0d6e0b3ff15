"""Recipes: what a user hands to a tool that builds flows itself, a named flow, a function or plans."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pushforward.bases import StandardNormal
from pushforward.core import Bijector
from pushforward.flow import Flow

Recipe = Callable[..., Flow] | Bijector | Sequence[Bijector]


def expect_recipe(owner: str, recipe: Any, options: Mapping[str, Any]) -> None:
    """Raise TypeError unless a flow can be made of ``recipe`` and ``options``."""
    if isinstance(recipe, Flow) or not (callable(recipe) or isinstance(recipe, Bijector | list | tuple)):
        raise TypeError(
            f"{owner}: expected a named flow such as NSF, a function (features, context, **options) -> Flow, or plans, "
            f"got {recipe!r}; the flow is built when the number of features is known"
        )
    if options and not callable(recipe):
        raise TypeError(f"{owner}: expected no options beside plans, got {sorted(options)}; set them in the plans")


def make_flow(owner: str, recipe: Recipe, features: int, context: int, options: Mapping[str, Any]) -> Flow:
    """Return the flow of a recipe; raise ValueError when a function gives something else.

    Args:
        owner: The name that errors begin with.
        recipe: A named flow or function, or plans from base to data, over the standard normal.
        features: Number of features.
        context: Number of context features (0: not conditional).
        options: Arguments of the named flow or function.
    """
    if not callable(recipe):
        return Flow(StandardNormal(), recipe, features, context or None)
    flow = recipe(features, context, **options) if context else recipe(features, **options)
    wanted = (features,), (context,) if context else None
    if not isinstance(flow, Flow) or (tuple(flow.event_shape), flow.context_shape) != wanted:
        raise ValueError(f"{owner}: expected a pushforward.Flow of event_shape {wanted[0]} and context_shape {wanted[1]}, got {flow!r}")
    return flow
