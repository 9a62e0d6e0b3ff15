"""Masks of autoregressive networks: which inputs a unit sees, and what may be connected then."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pushforward.core.spec import PlanError
from pushforward.nets.mlp import within
from pushforward.nets.net import Mask, Net


def sets_of(mask: Mask) -> Mask:
    """Return the sets of inputs that outputs may see, each before those that it is part of."""
    return np.asarray(np.unique(mask, axis=0))


def masks_of(plan: Net, mask: Mask | None, shares: Sequence[Sequence[int]] | None, layers: int) -> list[Mask | None]:
    """Return the mask of each layer: a unit sees the units whose sets are part of its own."""
    if (mask is None) != (shares is None) and layers:
        raise PlanError(f"{plan!r}: expected shares for a net whose outputs see only some inputs, and none for others")
    if mask is None:
        return [None] * (layers + 1)
    sets = sets_of(mask)
    if any(len(share) != len(sets) for share in shares or ()):
        raise PlanError(f"{plan!r}: expected {len(sets)} counts a layer, one for each set of inputs that outputs may see")
    levels = [np.repeat(sets, share, axis=0) for share in shares or ()]
    masks = [within(early, late) for early, late in zip(levels, [*levels[1:], mask], strict=True)]
    return [levels[0] if levels else mask, *masks]


def through(mask: Mask, level: Mask) -> Mask:
    """Return which inputs units see through the units that they take."""
    return np.asarray(mask.astype(np.float32) @ level.astype(np.float32) > 0)


def by_set(level: Mask, mask: Mask) -> tuple[list[int], list[int]]:
    """Return the units in the order of the sets that they see, and how many see each."""
    same = (level[:, None] == sets_of(mask)[None]).all(-1)
    if not same.any(1).all():
        raise PlanError("expected hidden units each of which sees what some feature's parameters see, got too narrow a masked network")
    place = same.argmax(1)
    return np.argsort(place, kind="stable").tolist(), np.bincount(place, minlength=same.shape[1]).tolist()
