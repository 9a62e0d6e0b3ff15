"""Behaviour: shapes, state, copies, and PyTorch's transformations."""

from __future__ import annotations

import copy
import math
import pickle
import threading
from typing import Any

import torch
from torch import Tensor

from pushforward.core.layer import Layer
from pushforward.core.spec import Spec
from pushforward.testing.accuracy import largest
from pushforward.testing.case import Case
from pushforward.testing.promise import promised


def shapes(case: Case) -> float:
    """Count shapes that come out wrong, or values that depend on the layout: batches of any rank, stride 0, broadcast contexts."""
    module = case.build(torch.float64)
    bad = 0
    x, context = case.points(6, module=module), case.contexts(6)
    y = module(x, context)[0]
    event = tuple(module.out_shape)
    for batch in ((), (6,), (2, 3), (1, 2, 1, 3)):
        rows = max(math.prod(batch), 1)
        part = x[:rows].reshape(batch + case.event_shape)
        given = None if context is None else context[:rows].reshape(batch + (case.context_shape or ()))
        for function in (module.forward, module.inverse):
            point = part if function == module.forward else y[:rows].reshape(batch + event)
            value, determinant = function(point, given)
            out = event if function == module.forward else case.event_shape
            bad += int(tuple(value.shape) != (*batch, *out)) + int(tuple(determinant.shape) != batch)
    bad += int(
        not _close(module(x[:1].expand(6, *case.event_shape), context if context is None else context[:1].expand_as(context))[0], y[:1])
    )
    strided = torch.stack([x, x], -1)[..., 0]
    bad += int(not _close(module(strided, context)[0], y))
    if context is not None:
        one = module(x, context[0])
        bad += int(not _close(one[0], module(x, context[:1].expand_as(context))[0]))
        if module.facts.uses_context:
            many = module(x[0], context)
            bad += int(tuple(many[0].shape) != (6, *event)) + int(tuple(many[1].shape) != (6,))
            crossed = module(x[:, None], context[None])
            bad += int(tuple(crossed[0].shape) != (6, 6, *event)) + int(not _close(crossed[0][2, 3], module(x[2], context[3])[0]))
            bad += int(_close(module(x, context)[0], module(x, context + 1)[0]))
    return float(bad)


def _close(a: Tensor, b: Tensor) -> bool:
    return bool(torch.allclose(a, b.expand_as(a), rtol=1e-9, atol=1e-9))


def empty(case: Case) -> float:
    """Count empty batches that do not come back empty, with their gradients."""
    module = case.build(torch.float32)
    bad = 0
    for batch in ((0,), (3, 0)):
        context = None if case.context_shape is None else torch.zeros(*batch, *case.context_shape)
        for function, shape, out in (
            (module.forward, case.event_shape, module.out_shape),
            (module.inverse, module.out_shape, case.event_shape),
        ):
            value, ladj = function(torch.zeros(*batch, *shape, requires_grad=True), context)
            bad += int(tuple(value.shape) != (*batch, *out)) + int(tuple(ladj.shape) != batch)
            (value.sum() + ladj.sum()).backward()
    return float(bad)


def no_state(case: Case) -> float:
    """Count traces that a call leaves: in the module, its inputs, the random state, or other threads' results."""
    module = case.build(torch.float32)
    x, context = case.points(8, torch.float32, module=module), case.contexts(8, torch.float32)
    before = [x.clone(), *(t.clone() for t in (context,) if t is not None), *(t.clone() for t in module.state_dict().values())]
    attributes = [(id(m), sorted(vars(m))) for m in module.modules()]
    random_state = torch.get_rng_state()
    first = [t.detach() for t in (*module(x, context), *module.inverse(module(x, context)[0], context))]
    after = [x, *(t for t in (context,) if t is not None), *module.state_dict().values()]
    bad = sum(not torch.equal(a, b) for a, b in zip(before, after, strict=True))
    bad += int(not torch.equal(random_state, torch.get_rng_state()))
    bad += int(attributes != [(id(m), sorted(vars(m))) for m in module.modules()])
    bad += sum(isinstance(v, Tensor) for m in module.modules() for v in vars(m).values())
    results: list[list[Tensor]] = []

    def work(shift: float) -> None:
        module(x + shift, context)
        results.append([*module(x, context), *module.inverse(first[0], context)])

    threads = [threading.Thread(target=work, args=(0.1 * i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    bad += sum(not torch.equal(a, b) for result in results for a, b in zip(first, result, strict=True)) + 4 - len(results)
    return float(bad)


def copies(case: Case) -> float:
    """Count copies that differ: deepcopy and pickle after a call, state_dict into a new build, the plan through JSON."""
    module = case.build(torch.float32)
    x, context = case.points(4, torch.float32, module=module), case.contexts(4, torch.float32)
    y = module(x, context)[0]
    fresh = case.plan.build(case.event_shape, case.context_shape)
    fresh.load_state_dict(module.state_dict())
    copies = [copy.deepcopy(module), pickle.loads(pickle.dumps(module)), fresh]
    bad = sum(not torch.equal(c(x, context)[0], y) for c in copies)
    if case.plan.replace() != case.plan or hash(case.plan.replace()) != hash(case.plan):
        bad += 1
    return float(bad + (Spec.from_json(case.plan.to_json()) != case.plan))


def functional(case: Case) -> float:
    """Return the worst difference of vmap and per-sample gradients from plain batches, both ways."""
    module = case.build(torch.float64)
    x, context = case.points(5, module=module), case.contexts(5)
    y = module(x, context)[0].detach()
    worst = 0.0
    weights = {name: p.detach() for name, p in module.named_parameters()}
    for name, point in (("forward", x), ("inverse", y)):
        function = getattr(module, name)
        axes = (0, None if context is None else 0)
        # A solver that ends when it is done cannot tell when under vmap: there it may be off otherwise than here.
        free = promised((module, name == "inverse"))
        both = zip(function(point, context), torch.func.vmap(function, axes)(point, context), (free.value, free.ladj), strict=True)
        for plain, mapped, tolerance in both:
            worst = max(worst, largest((plain - mapped) / (1 + 2 * tolerance.of(plain) / 1e-9)))
        if not weights:
            continue

        def loss(parameters: dict[str, Tensor], row: Tensor, given: Tensor | None, name: str = name) -> Tensor:
            value, ladj = torch.func.functional_call(
                _Direction(module, name), {f"module.{k}": v for k, v in parameters.items()}, (row, given)
            )
            total: Tensor = torch.sin(value).sum() + ladj
            return total

        each = torch.func.vmap(torch.func.grad(loss), (None, *axes))(weights, point, context)
        value, ladj = function(point, context)
        total = torch.autograd.grad(torch.sin(value).sum() + ladj.sum(), list(module.parameters()), allow_unused=True)
        for gradient, key in zip(total, weights, strict=True):
            if gradient is not None:
                beside = 2 * free.gradients.of(gradient) / 1e-9
                worst = max(worst, largest((each[key].sum(0) - gradient) / (1 + gradient.abs() + beside)))
    return worst


class _Direction(torch.nn.Module):
    """One direction of a module as a call, which is what `functional_call` runs."""

    def __init__(self, module: Layer, name: str) -> None:
        super().__init__()
        self.module, self.name = module, name

    def forward(self, x: Tensor, context: Tensor | None) -> Any:
        return getattr(self.module, self.name)(x, context)


def compiled(case: Case) -> float:
    """Count results that differ and recompilations for new batch sizes under ``torch.compile(fullgraph=True)``, both ways."""
    from torch._dynamo.testing import CompileCounterWithBackend

    # Before torch 2.6 the compiler knows no logarithm of a size that is open, and a Fourier transform fixes the batch: there it may compile
    # anew for each, and what it computes is compared alone.
    everything = tuple(map(int, torch.__version__.split(".")[:2])) >= (2, 6)
    module = case.build(torch.float32)
    extra = 0
    for function in (module.forward, module.inverse):
        torch.compiler.reset()
        counter: Any = CompileCounterWithBackend("eager")
        compiled = torch.compile(function, fullgraph=True, backend=counter)
        graphs = 0
        # Like no other size, or the compiler takes two for one; and from 16 on, where torch's convolutions become others.
        for rows in (17, 19, 23):
            x, context = case.points(rows, torch.float32, module=module), case.contexts(rows, torch.float32)
            point = x if function == module.forward else module(x, context)[0].detach()
            for rows_of in (point, context) if everything else ():
                if rows_of is not None:  # rows are open, events are not: an event whose size is open as well is traced for nothing
                    torch._dynamo.maybe_mark_dynamic(rows_of, 0)
            free = promised((module, function == module.inverse))
            for plain, graph, tolerance in zip(function(point, context), compiled(point, context), (free.value, free.ladj), strict=True):
                extra += int(not ((plain - graph).abs() <= 1e-5 + 1e-4 * graph.abs() + 2 * tolerance.of(graph)).all())
            graphs = graphs or counter.frame_count
        extra += (counter.frame_count - graphs) * everything
    torch.compiler.reset()
    return float(extra)


def meta(case: Case) -> float:
    """Count shapes that a build on the meta device gets wrong; a tensor left on the CPU raises."""
    with torch.device("meta"):
        module = case.plan.build(case.event_shape, case.context_shape)
        x = torch.empty(4, *case.event_shape)
        context = None if case.context_shape is None else torch.empty(4, *case.context_shape)
    y, ladj = module(x, context)
    x, back = module.inverse(y, context)
    good = [tuple(y.shape) == (4, *module.out_shape), tuple(x.shape) == (4, *case.event_shape), ladj.shape == back.shape == (4,)]
    return float(sum(not g for g in good) + sum(t.device.type != "meta" for t in (y, ladj, x, back)))
