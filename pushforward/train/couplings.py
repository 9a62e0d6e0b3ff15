"""Couplings of flow matching: which point of the base goes with which row of data."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pushforward.bases.mixture_of_normals import MixtureOfNormals
from pushforward.core import sets
from pushforward.core.extras import require
from pushforward.flow.flow import Flow


def transported(x0: Tensor, x1: Tensor, context: Tensor | None = None) -> Tensor:
    r"""Return the order of the draws ``x0`` in which the sum of squared distances to the rows ``x1`` is least.

    Each draw goes with one row, so draws and rows stay the same sets. Rows with contexts are paired with draws that came for an equal
    context alone: across contexts, each would see a part of the base only, and a flow starts from all of it.
    Sources: Improving and Generalizing Flow-Based Generative Models with Minibatch Optimal Transport (Tong et al., 2024); Multisample Flow
    Matching (Pooladian et al., 2023). Solver: On Implementing 2D Rectangular Assignment Algorithms (Crouse, 2016), by scipy.

    Args:
        x0: ``(n, *event)``.
        x1: ``(n, *event)``.
        context: ``(n, *context)``.

    Returns:
        Indices ``(n,)``; as they are, where a distance is not finite.

    Raises:
        ImportError: scipy is not installed.

    >>> transported(torch.tensor([[5.0], [1.0]]), torch.tensor([[0.0], [9.0]]))
    tensor([1, 0])
    """
    solve = require("scipy.optimize", "transport").linear_sum_assignment
    n = len(x0)
    cost = torch.cdist(x1.reshape(n, -1).double(), x0.reshape(n, -1).double()).square()
    if not bool(torch.isfinite(cost).all()):
        return torch.arange(n, device=x0.device)
    if context is not None:
        of_context = torch.unique(context.reshape(n, -1), dim=0, return_inverse=True)[1]
        cost = cost.masked_fill(of_context[:, None] != of_context, torch.inf)
    return torch.as_tensor(solve(cost.cpu().numpy())[1], device=x0.device)


def check_teacher(owner: str, flow: Flow, teacher: Flow) -> None:
    """Raise ValueError unless a teacher maps the base of a flow, for the same contexts, to where the flow's data is."""
    wanted = f"{owner}: expected coupling to be a flow with"
    for name in ("event_shape", "context_shape"):
        shape, got = (None if shape is None else tuple(shape) for shape in (getattr(flow, name), getattr(teacher, name)))
        if shape != got:
            raise ValueError(f"{wanted} {name} {shape}, as the flow that is trained, got {got}")
    if not sets.same(flow.support, teacher.support):
        raise ValueError(f"{wanted} the support of the flow that is trained, {sets.name(flow.support)}, got {sets.name(teacher.support)}")
    if flow.device != teacher.device:
        raise ValueError(f"{wanted} its parameters on {flow.device}, where the flow that is trained is, got {teacher.device}")
    one, other = flow.base, teacher.base
    if one.plan != other.plan or not _equal(one, other):
        but = f"{other.plan!r}" if one.plan != other.plan else "others"
        advice = "; fit it with mixture=0, which leaves its base" if isinstance(other.plan, MixtureOfNormals) else ""
        raise ValueError(f"{wanted} the base of the flow that is trained, {one.plan!r} with the same parameters, got {but}{advice}")


def _equal(one: nn.Module, other: nn.Module) -> bool:
    """Tell whether two modules of one plan have the same numbers."""
    pairs = zip([*one.parameters(), *one.buffers()], [*other.parameters(), *other.buffers()], strict=True)
    return all(a.shape == b.shape and torch.equal(a.double(), b.double()) for a, b in pairs)


def share_of_pairs(context: Tensor) -> float:
    """Return the share of rows ``(n, *context)`` whose context another row has, too."""
    counts = torch.unique(context.reshape(len(context), -1), dim=0, return_counts=True)[1]
    return float(counts[counts > 1].sum()) / max(len(context), 1)
