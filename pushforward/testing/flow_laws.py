"""The laws of a flow: a distribution whose density, samples, files and errors agree."""

from __future__ import annotations

import copy
import math
import pickle
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

from pushforward.core import sets
from pushforward.files import load
from pushforward.flow.flow import Flow
from pushforward.testing import densities
from pushforward.testing.case import FlowCase, randomize
from pushforward.testing.laws import Law, run_laws
from pushforward.testing.promise import inner, score_tolerated, tolerated
from pushforward.testing.sets import beyond, members


def check_flow(flow: Flow, *, scale: float | None = 0.3, only: Iterable[str] | None = None, seed: int = 0) -> dict[str, float]:
    """Check that a flow keeps the laws of a distribution; the flow itself is not changed.

    Args:
        flow: The flow.
        scale: Standard deviation of the noise put on the parameters of a copy, since a new flow is the identity (None: as it is).
        only: Names of laws to check (None: all of `FLOW_LAWS`).
        seed: Seed of every draw.

    Returns:
        The worst figure of each law.

    Raises:
        LawError: Some law is broken; the message has them all.

    >>> from pushforward.flows import MAF
    >>> check_flow(MAF(2), only=["file and copies"])
    {'file and copies': 0.0}
    """
    own = copy.deepcopy(flow)
    if scale is not None:
        randomize(own, scale, seed)
    return run_laws(FLOW_LAWS, FlowCase(own, seed), repr(flow), only)


def _one_pass(case: FlowCase) -> float:
    """Return the difference of `rsample_and_log_prob` from `log_prob` of the same sample, in float64."""
    flow = case.build()
    context = case.contexts(5)
    if not flow.has_rsample:
        try:
            flow.rsample_and_log_prob((1,), context)
        except NotImplementedError as error:
            return 0.0 if "use sample" in str(error) else math.inf
        return math.inf
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(case.seed)
        sample, log_prob = flow.rsample_and_log_prob((40,), context)
    again = flow.log_prob(sample, context)
    free = doubt(flow, sample, context) + score_tolerated(flow, sample, context)
    off = (again - log_prob).abs() / (1 + log_prob.abs() + free / 1e-9)
    return float(torch.where(torch.isfinite(again) & torch.isfinite(log_prob), off, math.inf).detach().max())


def doubt(flow: Flow, value: Tensor, context: Tensor | None = None) -> Tensor:
    r"""Return how far the log-density ``(*batch)`` may be off because values ``(*batch, *event)`` are rounded.

    To first order this is :math:`\sum_i |\partial \log p / \partial y_i|\, \delta_i`, with 4 roundings :math:`\delta_i` of the largest
    of the value, the ends of the support, and 1. Within 64 roundings of an end the distance to it is not known in the first digit, and
    nothing can be said: inf.

    >>> from pushforward.bijectors import Tanh
    >>> from pushforward.distributions import StandardNormal
    >>> doubt(Flow(StandardNormal(), Tanh(), 1), torch.tensor([[0.0], [0.999999999]])) < 1e-5
    tensor([ True, False])
    """
    y = value.detach().requires_grad_()
    # Beside it stands zero, so that a density which is the same everywhere has a gradient, too.
    slope = torch.autograd.grad(flow.log_prob(y, context).sum() + 0 * y.sum(), y)[0].detach().abs()
    ends = [end for end in sets.bounds(flow.support) or () if math.isfinite(end)]
    size = torch.clamp(y.detach().abs(), min=max([1.0, *map(abs, ends)]))
    eps = torch.finfo(value.dtype).eps
    lost = torch.zeros_like(size, dtype=torch.bool)
    for end in ends:
        # Near zero numbers lie as densely as they are small.
        lost |= (y.detach() - end).abs() <= 64 * max(eps * abs(end), torch.finfo(value.dtype).tiny)
    off = torch.where(lost, math.inf, 4 * eps * size * slope)
    rank = len(flow.event_shape)
    return off.flatten(off.dim() - rank).sum(-1) if rank else off


def _interface(case: FlowCase) -> float:
    """Count what torch.distributions promises and the flow does not keep: shapes, expand, support, sample_shape."""
    flow = case.build(torch.float32)
    context = case.contexts(3, torch.float32)
    batch = torch.Size([*torch.broadcast_shapes((3,) if context is not None else (), flow.batch_shape)])
    bad = int(not isinstance(flow, Distribution)) + int(flow.has_rsample != flow.base.has_rsample)
    given = flow if context is None else flow.condition(context)
    bad += int(given.batch_shape != batch) + int(given.event_shape != flow.event_shape)
    for shape in ((), (2,), (0,), (2, 3)):
        with torch.random.fork_rng(devices=[]):
            sample = given.sample(shape)
        bad += int(sample.shape != (*shape, *batch, *flow.event_shape)) + int(sample.requires_grad)
        bad += int(given.log_prob(sample).shape != (*shape, *batch))
        bad += int(sample.numel() > 0 and not bool(given.support.check(sample).all()))
    wide = given.expand((4, *batch))
    with torch.random.fork_rng(devices=[]):
        bad += int(wide.batch_shape != (4, *batch)) + int(wide.sample((2,)).shape != (2, 4, *batch, *flow.event_shape))
        bad += int(wide.log_prob(wide.sample((0,))).shape != (0, 4, *batch))
    bad += int(flow.condition(context).flow is not flow)
    return float(bad)


def _seeds(case: FlowCase) -> float:
    """Count draws that a seed or a generator does not repeat, and calls that touch the random state without drawing."""
    flow, bad = case.build(torch.float32), 0
    context = case.contexts(3, torch.float32)
    with torch.random.fork_rng(devices=[]):
        draws = []
        for _ in range(2):
            torch.manual_seed(5)
            draws.append(flow.sample((4,), context))
        bad += int(not torch.equal(*draws))
        state = torch.get_rng_state()
        flow.log_prob(draws[0], context)
        try:
            own = [flow.sample((4,), context, generator=torch.Generator().manual_seed(9)) for _ in range(2)]
            bad += int(not torch.equal(*own))
        except ValueError as error:  # a base of torch.distributions says that it takes no generator
            bad += int("generator" not in str(error))
        bad += int(not torch.equal(state, torch.get_rng_state()))
    return float(bad)


def _files(case: FlowCase) -> float:
    """Count copies whose log-densities are not the same bits: saved and loaded, pickled, deep-copied, by state_dict."""
    flow = case.build(torch.float32)
    context = case.contexts(4, torch.float32)
    x = case.samples(flow, 4, None if context is None else context[0])
    expected = flow.log_prob(x, context if not flow.batch_shape else None if context is None else context[0])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "flow.safetensors"
        flow.save(path)
        loaded = load(path)
    state = {name: value.clone() for name, value in flow.state_dict().items()}
    fresh = Flow(flow.base.plan, flow.plan, flow.base.event_shape, flow.context_shape)
    fresh.load_state_dict(state)
    copies = (loaded, pickle.loads(pickle.dumps(flow)), copy.deepcopy(flow), fresh)
    given = context if not flow.batch_shape else None if context is None else context[0]
    return float(sum(not torch.equal(c.log_prob(x, given), expected) for c in copies) + (loaded.plan != flow.plan))


def _support(case: FlowCase) -> float:
    """Count what is wrong about the support, with torch's validation on and off.

    That are values outside that are not -inf or not refused where values are checked; values all over the support that the flow does not
    give, since they do not come back from the base; and NaN rows that are not NaN.
    """
    flow, bad = case.build(torch.float32), _unreached(case)
    context = case.contexts(1, torch.float32)
    given = None if context is None else context[0]
    x = case.samples(flow, 3, given)
    strict = copy.deepcopy(flow)
    strict._validate_args = True
    before = Distribution._validate_args
    every = x.reshape(-1, *flow.event_shape)
    for wrong in beyond(flow.support, every):
        spoiled = x.clone()
        spoiled[1] = wrong.reshape(x.shape)[1]
        bad += int(bool(sets.inside(flow.support, spoiled)[1].any()))
        for mode in (True, False):
            Distribution.set_default_validate_args(mode)
            try:
                result = flow.log_prob(spoiled, given)
            finally:
                Distribution.set_default_validate_args(before)
            bad += int((result[1] != -math.inf).any()) + int((~torch.isfinite(result[[0, 2]])).any())
        try:
            strict.log_prob(spoiled, given)
            bad += 1
        except ValueError as error:
            bad += int("expected values in" not in str(error))
    spoiled = x.clone()
    spoiled[1] = math.nan
    result = flow.log_prob(spoiled, given)
    return float(bad + int((~torch.isnan(result[1])).any()) + int((~torch.isfinite(result[[0, 2]])).any()))


def _unreached(case: FlowCase) -> int:
    """Count values all over the support that come from no value of the base."""
    flow, context = case.build(), case.contexts(8)
    draw = torch.Generator().manual_seed(case.seed + 4)
    z = 1.5 * torch.randn(8, *flow.event_shape, generator=draw, dtype=torch.float64)
    try:
        y = members(flow.support, z)
    except NotImplementedError:  # of a set of the user's own nothing is known but that the flow draws from it
        return 0
    y = y.reshape(8, *(1 for _ in flow.batch_shape), *flow.event_shape).expand(8, *flow.batch_shape, *flow.event_shape)
    given = context if not flow.batch_shape else None if context is None else context[0]
    x, ladj = flow.to_base(y, given)
    back = flow.from_base(x, given)[0]
    flat = y.reshape(-1, *flow.event_shape)
    each = context if context is None or not flow.batch_shape else context[:1].expand(len(flat), *context.shape[1:])
    beside = tolerated(flow.transform, flat, inner(flow, each), inverse=True).reshape(y.shape)
    off = (back - y).abs() > 1e-4 * (1 + y.abs()) + beside
    return int((~torch.isfinite(ladj)).sum()) + int(off.reshape(8, -1).any(1).sum())


def _doors(case: FlowCase) -> float:
    """Count wrong calls that are not refused with a message of what was expected and what came."""
    flow = case.build(torch.float32)
    context = case.contexts(3, torch.float32)
    x = torch.zeros(3, *flow.event_shape) + 0.5
    one = None if context is None else context[0]
    wrong: list[Callable[[], Any]] = [
        lambda: flow.log_prob(
            torch.zeros(3, *flow.event_shape, 7) if not flow.event_shape else torch.zeros(3, *(n + 1 for n in flow.event_shape)), context
        ),
        lambda: flow.log_prob(x.double(), context),
        lambda: flow.log_prob(x.long(), context),
        lambda: flow.log_prob(x.numpy(), context),  # type: ignore[arg-type]
        lambda: flow.sample((-1,), one),
        lambda: flow.sample("two", one),  # type: ignore[arg-type]
        lambda: flow.log_prob(x.to("meta"), context),
    ]
    if not flow.event_shape:
        wrong.pop(0)  # every shape is a batch of numbers
    if context is None:
        wrong.append(lambda: flow.log_prob(x, torch.zeros(3, 2)))
    else:
        wide = torch.zeros(3, *(n + 1 for n in flow.context_shape or ()))
        wrong += [lambda: flow.log_prob(x), lambda: flow.log_prob(x, wide), lambda: flow.sample(), lambda: flow.condition(wide)]
        wrong.append(lambda: flow.log_prob(torch.zeros(2, *flow.event_shape), context))
    bad = 0
    for call in wrong:
        try:
            call()
            bad += 1
        except (TypeError, ValueError) as error:
            bad += int("expected" not in str(error) or "got" not in str(error))
    return float(bad)


def _half(case: FlowCase) -> float:
    """Return the worst difference of bfloat16 log-densities from float32, per unit of size; they come as float32."""
    flow, low = case.build(torch.float32), case.build(torch.bfloat16)
    context = case.contexts(1, torch.bfloat16)
    given = None if context is None else context[0]
    x = case.samples(low, 64, given)
    if x.dtype != torch.bfloat16 or not bool(torch.isfinite(x).all()):
        raise AssertionError(f"expected finite samples of torch.bfloat16, got {x.dtype}")
    result = low.log_prob(x, given)
    if result.dtype != torch.float32:
        raise AssertionError(f"expected log-densities of torch.float32, got {result.dtype}")
    # Numbers that depend on one another no longer do when each of them is rounded.
    point = sets.leave(x.float(), sets.limits(flow.support))
    exact = flow.log_prob(point, None if given is None else given.float())
    # The layers' weights are rounded too, so the typical row counts: a tail multiplies its own rounding.
    return float(((result - exact).abs() / (1 + exact.abs())).detach().median())


def _compiled(case: FlowCase) -> float:
    """Count compiled results of log_prob and of sampling with log_prob that differ, both under ``fullgraph=True``."""
    flow = case.build(torch.float32)
    context = case.contexts(4, torch.float32)
    x = case.samples(flow, 4, None if context is None else context[0])
    given = context if not flow.batch_shape else None if context is None else context[0]
    bad = 0
    torch.compiler.reset()
    compiled = torch.compile(flow.log_prob, fullgraph=True, backend="eager")
    bad += int(not torch.allclose(compiled(x, given), flow.log_prob(x, given), rtol=1e-4, atol=1e-4))
    if not flow.has_rsample:
        torch.compiler.reset()
        return float(bad)
    draw = torch.compile(flow.rsample_and_log_prob, fullgraph=True, backend="eager")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(case.seed)
        y, log_prob = draw((4,), context)
    free = score_tolerated(flow, y, context)
    error = (flow.log_prob(y, context) - log_prob).abs() / (1 + log_prob.abs() + free / 1e-3)
    bad += int(float(error.detach().median()) > 1e-3)
    torch.compiler.reset()
    return float(bad)


FLOW_LAWS: tuple[Law, ...] = (
    Law("sample and score in one pass", 1e-9, _one_pass),
    Law("density against autograd's Jacobian", 1e-9, densities.determinant),
    Law("density integrates to 1", 1e-4, densities.integral),
    Law("samples against density, |z|", densities.SURE, densities.samples),
    Law("torch.distributions interface", 0, _interface),
    Law("seeds and generators", 0, _seeds),
    Law("file and copies", 0, _files),
    Law("outside the support", 0, _support),
    Law("wrong calls refused", 0, _doors),
    Law("bfloat16", 0.05, _half),
    Law("one graph under torch.compile", 0, _compiled),
)
