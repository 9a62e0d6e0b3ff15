"""Mixtures of flows that exist: one flow whose density is the weighted sum of theirs."""

from __future__ import annotations

from collections.abc import Sequence

from pushforward.bases.mixture import Mixture, MixtureModule, Pushforward
from pushforward.core.compose import Compose
from pushforward.core.spec import PlanError
from pushforward.flow.flow import Flow
from pushforward.nets.net import NetLike


def mixture(flows: Sequence[Flow], net: NetLike | None = None) -> Flow:
    r"""Return the mixture of flows, :math:`p(y) = \sum_k w_k\, p_k(y)`, itself a flow to fit, sample, save and load.

    The components start as the flows are, trained or new, with copies of their weights, and with equal :math:`w_k`. Flows that are
    alike in every weight get the same gradients and stay alike: start such a mixture from its plan,
    ``Flow(Mixture([...]), [], event_shape)``, which moves them apart.

    Args:
        flows: Flows of the same event and context shapes.
        net: The network from context to the logits of the weights (None: free weights).

    >>> from pushforward.flows import MAF, NSF
    >>> mixture([NSF(2), MAF(2)]).sample((5,)).shape
    torch.Size([5, 2])
    """
    if not flows or not all(isinstance(flow, Flow) for flow in flows):
        raise PlanError(f"mixture: expected a list of flows, got {flows!r}")
    first = flows[0]
    for flow in flows:
        if (flow.base.event_shape, flow.context_shape, flow.dtype) != (first.base.event_shape, first.context_shape, first.dtype):
            raise PlanError(f"mixture: expected flows of one shape, context and precision, got {first!r} and {flow!r}")
    plan = Mixture([Pushforward(flow.base.plan, flow.plan) for flow in flows], net, noise=0.0)
    made = Flow(plan, Compose([]), first.base.event_shape, first.context_shape).to(first.device, first.dtype)
    assert isinstance(made.base, MixtureModule)
    for component, flow in zip(made.base.components, flows, strict=True):
        component.base.load_state_dict(flow.base.state_dict())  # type: ignore[union-attr]
        component.transform.load_state_dict(flow.transform.state_dict())  # type: ignore[union-attr]
        if component.context_units is not None and flow.context_units is not None:
            component.context_units.load_state_dict(flow.context_units.state_dict())  # type: ignore[union-attr]
    # Names that all agree on are those of the mixture's columns.
    if all(flow.columns == first.columns for flow in flows):
        made.columns = first.columns
    if all(flow.context_columns == first.context_columns for flow in flows):
        made.context_columns = first.context_columns
    if all(flow.schema == first.schema for flow in flows):
        made.schema = first.schema
    return made
