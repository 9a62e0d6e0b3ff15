"""The function that builds sbi's estimator from training rows."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from pushforward import flows
from pushforward.contrib.sbi.estimator import Conditions, FlowEstimator
from pushforward.contrib.sbi.priors import Support, of_features
from pushforward.contrib.sbi.regression import begin_with_regression, unbounded
from pushforward.core import sets
from pushforward.core.base import propagate
from pushforward.core.layer import Layer
from pushforward.flow.flow import Flow
from pushforward.flow.standardising import begin
from pushforward.layers.domains import Domain
from pushforward.layers.standardize import Standardize, StandardizeModule
from pushforward.recipes.choice import Choice, look_up, make_flow
from pushforward.train import options as check
from pushforward.train.objective import FlowMatching, Likelihood, around, check_objective, make_objective

SCORES = ("independent", "structured", "none")
ROWS = 4096
"""Rows that are embedded together when the flow is built."""


def density_estimator(
    flow: Choice = flows.NSF,
    *,
    of: str = "posterior",
    embedding_net: nn.Module | None = None,
    z_score_theta: str = "independent",
    z_score_x: str = "independent",
    support: Support = None,
    objective: str | FlowMatching = "likelihood",
    averaging: float | None = 0.99,
    regression: bool = True,
    **options: Any,
) -> Callable[[Tensor, Tensor], FlowEstimator]:
    r"""Return the function ``(theta, x) -> estimator`` that sbi takes as ``density_estimator``.

    For NPE it estimates p(theta | x), for NLE p(x | theta). sbi calls it with its training rows, which set shapes and z-scores. With
    ``support`` the flow has no mass outside the prior, so nothing leaks, no sample is rejected, and sbi's correction of the density is 0.
    It pickles if ``flow`` does.

    Args:
        flow: A named flow such as ``NSF`` or its name; or a function ``(features, context, **options) -> Flow``; or plans from base to
            data, over the standard normal, behind which z-scores and ``support`` are put.
        of: ``"posterior"`` for NPE, ``"likelihood"`` for NLE.
        embedding_net: A module from conditions ``(batch, *shape)``, z-scored, to ``(batch, features)``, trained with the flow (None: the
            flow sees the conditions themselves, their axes joined to one). Each estimator gets a copy.
        z_score_theta: ``"independent"`` (each element has its own mean and scale), ``"structured"`` (all share one; for conditions alone,
            such as images or series) or ``"none"``.
        z_score_x: The same for x.
        support: The prior (a distribution, or its support), or a set for each feature as in `Domain`; of theta for NPE, of x for NLE.
        objective: ``"likelihood"``; or ``"flow_matching"`` or a `FlowMatching`, for a flow with a `Continuous` layer such as ``"CNF"``:
            steps then solve no differential equation, and losses are squared errors of a velocity. Later rounds of NPE, whose loss
            compares densities, train by these. The word stands for the path ``"variance_preserving"``, along which what the regression
            leaves hardly has to move; on spheres and circles for the shortest ways.
        averaging: Decay of moving averages of the weights from step to step, which stand in for the weights whenever sbi scores or keeps
            the estimator (None: the weights themselves).
        regression: Whether the flow begins with a linear regression of the values on the conditions, as a shift that training goes on to
            bend, if there are ten rows for each condition and no embedding net.
        options: Arguments of the named flow or function.

    Raises:
        TypeError: ``flow`` is no such thing.
        ValueError: An option is not one of those named; an objective with ``coupling="optimal_transport"``, which pairs rows of equal
            conditions alone; when sbi calls it: rows that cannot be z-scored or lie outside ``support``.

    Example::

        inference = NPE(prior, density_estimator=density_estimator(pf.NSF, support=prior, transforms=3))
        inference.append_simulations(theta, x).train()
        samples = inference.build_posterior().sample((1000,), x=observed)
    """
    look_up("density_estimator", flow, options)
    if of not in ("posterior", "likelihood"):
        raise ValueError(f"density_estimator: expected of to be 'posterior' (for NPE) or 'likelihood' (for NLE), got {of!r}")
    for name, value in (("z_score_theta", z_score_theta), ("z_score_x", z_score_x)):
        if value not in SCORES:
            raise ValueError(f"density_estimator: expected {name} to be one of {SCORES}, got {value!r}")
    scores = (z_score_theta, z_score_x) if of == "posterior" else (z_score_x, z_score_theta)
    if scores[0] == "structured":
        raise ValueError(f"density_estimator: expected 'structured' z-scores for conditions alone, got them for the density of the {of}")
    if averaging is not None and not (check.is_number(averaging) and 0 < averaging < 1):
        raise ValueError(f"density_estimator: expected averaging to be a number between 0 and 1 or None, got {averaging!r}")
    check.choice("density_estimator", "regression", regression, (True, False))
    plan = make_objective("density_estimator", objective)
    if isinstance(plan, Likelihood):
        raise ValueError(
            f"density_estimator: expected an objective without kinetic and jacobian, which sbi's loop does not add, got {plan!r}"
        )
    if plan is not None and isinstance(plan.coupling, Flow):
        raise ValueError(
            "density_estimator: expected an objective with coupling='independent', got a flow, which knows nothing of the units in which "
            "sbi's net takes parameters and conditions"
        )
    if plan is not None and plan.coupling != "independent":
        raise ValueError(
            f"density_estimator: expected an objective with coupling='independent', got {plan.coupling!r}, which pairs draws among rows of "
            "equal conditions alone"
        )
    return partial(_build, flow, of, embedding_net, scores, support, plan, plan is objective, averaging, regression, options)


def _build(
    recipe: Choice,
    of: str,
    embedding: nn.Module | None,
    scores: tuple[str, str],
    support: Support,
    plan: FlowMatching | None,
    written: bool,
    averaging: float | None,
    regression: bool,
    options: dict[str, Any],
    theta: Tensor,
    x: Tensor,
) -> FlowEstimator:
    value, condition = (theta, x) if of == "posterior" else (x, theta)
    if value.dim() != 2:
        raise ValueError(f"density_estimator: expected rows of one axis for the {of}, got values of shape {tuple(value.shape)}")
    net = nn.Identity() if embedding is None else copy.deepcopy(embedding)
    conditions = Conditions(_units(condition, scores[1]), net, condition.shape[1:])
    with torch.no_grad():
        conditions.eval()  # the rows that are embedded here are to move no running statistics
        context = torch.cat([conditions(rows) for rows in condition.split(ROWS)])
        conditions.train()
        features = value.shape[-1]
        kinds = None if support is None else of_features(support, features)
        flow = _flow(recipe, features, context.shape[-1], kinds, scores[0] != "none", options).to(value.dtype)
        outside = int((~flow.support.check(value)).sum())
        if outside:
            raise ValueError(f"density_estimator: expected values in the support, got {outside} of {len(value)} rows outside; see support=")
        if scores[0] != "none":
            inside = sets.leave(value, sets.limits(flow.support))
            if regression and embedding is None:
                begin_with_regression(flow, unbounded(flow, inside), context)
            propagate("measure", inside, context, flow.transform, flow.base)
            begin(flow.transform)
    check_objective("density_estimator", flow, plan)
    return FlowEstimator(flow, conditions, plan if plan is None or written else _with_path(plan, flow), averaging)


def _with_path(plan: FlowMatching, flow: Flow) -> FlowMatching:
    """Return the options with the path that suits values in the units of the base: such normal ones stand still on it."""
    on_lines = around("density_estimator", flow).field.spaces is None
    return replace(plan, path="variance_preserving") if on_lines else plan


def _flow(choice: Choice, features: int, context: int, kinds: Any, z_score: bool, options: dict[str, Any]) -> Flow:
    """Return the flow, with what z-scores its values and what holds them in their sets."""
    recipe: Any = look_up("density_estimator", choice, options)
    if not callable(recipe):
        parts = [*(recipe if isinstance(recipe, list | tuple) else [recipe]), *([Standardize()] if z_score else [])]
        recipe = [*parts, *([Domain(kinds)] if kinds else [])]
    elif kinds:
        options = options | {"support": kinds}
    flow = make_flow("density_estimator", recipe, features, context, options)
    if z_score and not any(isinstance(part, StandardizeModule) for part in flow.transform.modules()):
        raise ValueError(f"density_estimator: expected a Standardize() layer for z-scores, got {flow.plan!r}; add one, or say 'none'")
    return flow


def _units(condition: Tensor, score: str) -> Layer:
    units = Standardize().build(() if score == "structured" else tuple(condition.shape[1:]))
    if score != "none":
        try:
            units.calibrate(condition)
        except ValueError as error:
            raise ValueError(f"density_estimator: z-scores of the conditions: {error}; try 'structured' or 'none'") from error
    return units.to(condition.dtype)
