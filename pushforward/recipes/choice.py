"""What a user hands to a tool that builds flows itself: a named flow or its name, a function or plans."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any

from pushforward.bases import StandardNormal
from pushforward.core.bijector import Bijector
from pushforward.core.draws import Drawing
from pushforward.flow.flow import Flow
from pushforward.recipes.table import FLOWS, RECIPES

Maker = Callable[..., Flow] | Bijector | Sequence[Bijector]
Choice = str | Maker

NAMED: dict[str, Callable[..., Flow]] = {
    name: partial(FLOWS[recipe.name], **options) if options else FLOWS[recipe.name]
    for recipe in RECIPES
    for name, options in [(recipe.name, None), *recipe.variants.items()]
}
"""The named flows by all their names: those of the functions, and those with some options set."""


def known_name(name: str) -> str | None:
    """Return the name in `NAMED` that a user wrote in whatever case; None where there is none.

    >>> known_name("nsf-ar"), known_name("glow")
    ('NSF-AR', None)
    """
    return next((known for known in NAMED if known.lower() == name.lower()), None)


def look_up(owner: str, flow: Choice, options: Mapping[str, Any] | None = None) -> Maker:
    """Return what a flow can be made of, a name looked up; raise TypeError unless it can, with these options."""
    if isinstance(flow, str):
        name = known_name(flow)
        if name is None:
            raise TypeError(f"{owner}: expected flow to be a name ({', '.join(NAMED)}), a function or plans, got {flow!r}")
        return NAMED[name]
    if isinstance(flow, Flow) or not (callable(flow) or isinstance(flow, Bijector | list | tuple)):
        raise TypeError(
            f"{owner}: expected flow to be a named flow such as NSF or its name, a function (features, context, **options) -> Flow, or "
            f"plans, got {flow!r}; the flow is built when the number of features is known"
        )
    if options and not callable(flow):
        raise TypeError(f"{owner}: expected no options beside plans, got {sorted(options)}; set them in the plans")
    return flow


def make_flow(
    owner: str, flow: Choice, features: int, context: int = 0, options: Mapping[str, Any] | None = None, seed: int | None = None
) -> Flow:
    """Return a new flow of what a user chose; raise ValueError when a function gives something else.

    Args:
        owner: The name that errors begin with.
        flow: A named flow, its name, another function, or plans from base to data over the standard normal.
        features: Number of features.
        context: Number of context features.
        options: Arguments of the named flow or function.
        seed: Seed from which the first weights are drawn, with torch's global state left alone (None: they are drawn from that).

    >>> make_flow("fit", "MAF", 2, options={"transforms": 1}, seed=0).event_shape
    torch.Size([2])
    """
    maker, given = look_up(owner, flow, options), options or {}
    with nullcontext() if seed is None else Drawing(seed):
        if not callable(maker):
            return Flow(StandardNormal(), maker, features, context or None)
        made = maker(features, context, **given) if context else maker(features, **given)
    wanted = (features,), (context,) if context else None
    if not isinstance(made, Flow) or (tuple(made.event_shape), made.context_shape) != wanted:
        raise ValueError(
            f"{owner}: expected a pushforward.Flow of event_shape {wanted[0]} and context_shape {wanted[1]}, got {made!r} from flow"
        )
    return made
