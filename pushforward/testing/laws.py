"""The laws of a bijection. Each returns its worst figure, which is held against a limit."""

from __future__ import annotations

import copy
import math
import pickle
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pushforward import supports
from pushforward.core import Bijector, ComposeModule, TransformModule
from pushforward.spec import Spec
from pushforward.testing.case import Case, jacobian, rank


class LawError(AssertionError):
    """A layer or a flow breaks a law; the message names each law with its figure and its limit."""


@dataclass(frozen=True)
class Law:
    """A property with the worst figure that is allowed."""

    name: str
    limit: float
    figure: Callable[[Any], float]


def check_bijector(
    bijector: Bijector,
    event_shape: int | Sequence[int],
    context_shape: int | Sequence[int] | None = None,
    *,
    only: Iterable[str] | None = None,
    seed: int = 0,
) -> dict[str, float]:
    """Check that a bijector keeps the laws, at initial, threefold, tenfold, hundredfold and extreme parameters.

    Args:
        bijector: The plan, of the library or of your own.
        event_shape: Shape of an event.
        context_shape: Shape of a context (None: not conditional).
        only: Names of laws to check (None: all of `LAWS`).
        seed: Seed of every draw.

    Returns:
        The worst figure of each law, in the law's own unit.

    Raises:
        LawError: Some law is broken; the message has them all.

    >>> from pushforward.bijectors import Spline
    >>> sorted(check_bijector(Spline(), 2, only=["empty batch", "copies"]))
    ['copies', 'empty batch']
    """
    case = Case(bijector, _shape(event_shape), None if context_shape is None else _shape(context_shape), seed)
    return run_laws(LAWS, case, repr(bijector), only)


def run_laws(laws: Sequence[Law], case: Any, name: str, only: Iterable[str] | None) -> dict[str, float]:
    """Return the figures of the laws, or raise `LawError` with all that are broken."""
    wanted = None if only is None else set(only)
    if wanted and (unknown := wanted - {law.name for law in laws}):
        raise ValueError(f"expected names of laws, got {sorted(unknown)}; there are {[law.name for law in laws]}")
    figures, broken = {}, []
    for law in laws:
        if wanted is not None and law.name not in wanted:
            continue
        try:
            figures[law.name] = float(law.figure(case))
        except Exception as error:
            broken.append(f"{law.name}: {type(error).__name__}: {error}")
            continue
        if not figures[law.name] <= law.limit:
            broken.append(f"{law.name}: expected at most {law.limit:g}, got {figures[law.name]:g}")
    if broken:
        raise LawError(f"{name} breaks {len(broken)} law(s):\n  " + "\n  ".join(broken))
    return figures


def _shape(value: int | Sequence[int]) -> tuple[int, ...]:
    return (value,) if isinstance(value, int) else tuple(value)


def _worst(values: Tensor) -> float:
    """Return the largest absolute value; NaN counts as infinite, nothing as 0."""
    if not values.numel():
        return 0.0
    return float(torch.nan_to_num(values.detach().double().abs(), nan=math.inf).max())


def _rounding(case: Case, module: TransformModule, x: Tensor, context: Tensor | None, eps: float) -> Tensor:
    """Return the error that no implementation avoids: eps (|J⁻¹| |y| + |x|), J⁻¹ the Jacobian of the inverse at y.

    A chain rounds the value after each of its layers, so there the first term is summed over them; an inverse that takes several passes
    rounds each value before the next one sees it, so there |x| is carried on as |J⁻¹| |J| |x|, once for each pass.
    """
    value, context = x.double(), None if context is None else context.double()
    allowed = value.reshape(len(x), -1).abs()
    layers: list[Any] = list(module.layers) if isinstance(module, ComposeModule) else [module]
    for index, layer in enumerate(layers):
        value = layer(value, context)[0].detach()

        def back(y: Tensor, given: Tensor | None, done: int = index + 1) -> tuple[Tensor, Tensor]:
            for earlier in reversed(layers[:done]):
                y = earlier.inverse(y, given)[0]
            return y, y

        inverse = jacobian(back, value, context, rank(case)).abs()
        allowed = allowed + (inverse @ value.reshape(len(x), -1, 1).abs()).squeeze(-1)
        if layer.passes[1] > 1 and len(layers) == 1:
            slope = jacobian(layer.forward, x.double(), context, rank(case)).abs()
            allowed = allowed + (inverse @ slope @ x.double().reshape(len(x), -1, 1).abs()).squeeze(-1)
            allowed = allowed * layer.passes[1]
    return (eps * allowed).detach()


def _representable(module: TransformModule, y: Tensor) -> Tensor:
    """Return the rows whose values are not so close to an end of the range that the format has too few numbers left there."""
    ends = supports.bounds(module.codomain)
    rows = torch.ones(len(y), dtype=torch.bool)
    info = torch.finfo(y.dtype)
    for end in ends or ():
        room = info.max / 10 if math.isinf(end) else max(1e3 * info.eps * abs(end), 1e3 * info.tiny)
        far = y.abs() < room if math.isinf(end) else (y - end).abs() > room
        rows &= far.reshape(len(y), -1).all(1)
    if int(rows.sum()) < 8:
        raise AssertionError(f"expected at least 8 of {len(y)} points inside the representable range, got {int(rows.sum())}")
    return rows


def _round_trip_units(scale: float) -> Callable[[Case], float]:
    def figure(case: Case) -> float:
        module, exact = case.build(torch.float32, scale), case.build(torch.float64, scale)
        x, context = case.points(128, torch.float32, module=module), case.contexts(128, torch.float32)
        y = module(x, context)[0].detach()
        back = module.inverse(y, context)[0].detach()
        allowed = _rounding(case, exact, x, context, torch.finfo(torch.float32).eps)
        # A floor of one smallest step, for values near zero.
        return _worst(((back - x).reshape(len(x), -1).double() / (allowed + 1e-12))[_representable(module, y)])

    return figure


def _round_trip(dtype: torch.dtype, scale: float, limit: float) -> Callable[[Case], float]:
    """Return the round-trip error of N(0, 1) points in units of ``limit``, or of 4 unavoidable roundings where those are more."""

    def figure(case: Case) -> float:
        module, exact = case.build(dtype, scale), case.build(torch.float64, scale)
        x, context = case.points(256, dtype, module=module), case.contexts(256, dtype)
        y = module(x, context)[0].detach()
        error = (module.inverse(y, context)[0].detach() - x).reshape(len(x), -1).double().abs()
        allowed = torch.clamp(4 * _rounding(case, exact, x, context, torch.finfo(dtype).eps), min=limit)
        return _worst((error / allowed)[_representable(module, y)])

    return figure


def _special_points(module: TransformModule) -> Tensor:
    """Return values at which formulas change or rounding bites: zero, denormals, box edges and knots, one ulp beside them."""
    values = [0.0, 1e-40, 1e-30, 0.5, 1.0, 3.0, 4.9999995, 5.0, 5.0000005, 7.0, 10.0]
    for part in module.modules():
        bound = getattr(getattr(part, "kernel", None), "bound", None)
        if isinstance(bound, float):
            values += [bound, bound / 2, bound / 4]
    points = torch.tensor(values, dtype=torch.float32)
    beside = [torch.nextafter(points, torch.full_like(points, end)) for end in (-math.inf, math.inf)]
    points = torch.cat([points, *beside])
    return torch.cat([points, -points])


def _knots(case: Case) -> float:
    """Round trip at special points and up to |x| = 10, in units of 1e-5 or of 16 unavoidable roundings, whichever is larger."""
    module, exact = case.build(torch.float32), case.build(torch.float64)
    special = _special_points(module)
    x = special.reshape(-1, *(1,) * rank(case)).expand(-1, *case.event_shape)
    ends = supports.bounds(module.domain)
    if ends is not None and ends != supports.REAL:
        x = case.into(x.double().clamp(-5, 5), module.domain).float()
    context = case.contexts(len(x), torch.float32)
    y = module(x, context)[0]
    back = module.inverse(y, context)[0]
    allowed = _rounding(case, exact, x, context, torch.finfo(torch.float32).eps)
    error = (back - x).detach().reshape(len(x), -1).double().abs()
    return _worst(error / torch.clamp(16 * allowed, min=1e-5))


def _anywhere(case: Case) -> float:
    """Count values of |x| up to 1e30 that give something not finite, or that come back farther off than rounding allows."""
    module, exact = case.build(torch.float32), case.build(torch.float64)
    magnitude = torch.tensor([1e2, 1e3, 1e6, 1e15, 1e30], dtype=torch.float32)
    x = torch.cat([magnitude, -magnitude]).reshape(-1, *(1,) * rank(case)).expand(-1, *case.event_shape)
    ends = supports.bounds(module.domain)
    if ends is not None and ends != supports.REAL:
        x = case.into(x.double().clamp(-10, 10), module.domain).float()
    context = case.contexts(len(x), torch.float32)
    (y, ladj), (x_again, _) = module(x, context), module.inverse(x, context)
    back = module.inverse(y, context)[0]
    bad = ~torch.isfinite(y) | ~torch.isfinite(back)
    if ends == supports.REAL == supports.bounds(module.codomain):
        bad = bad | ~torch.isfinite(x_again)
        # Where the values reach the end of the format, there is no room left for a round trip.
        room = (y.abs() < 1e35).flatten(1).all(1) if rank(case) else y.abs() < 1e35
        allowed = _rounding(case, exact, x, context, torch.finfo(torch.float32).eps)
        off = (back - x).reshape(len(x), -1).double().abs() > 16 * allowed + 1e-5
        bad = bad | (off.any(1) & room).reshape(-1, *(1,) * rank(case))
    return float(bad.sum() + (~torch.isfinite(ladj)).sum())


def _ladj_exact(scale: float) -> Callable[[Case], float]:
    def figure(case: Case) -> float:
        module = case.build(torch.float64, scale)
        x, context = case.points(128, module=module), case.contexts(128)
        rows = _representable(module, module(x, context)[0].detach())
        x, context = x[rows], None if context is None else context[rows]
        y, ladj = module(x, context)
        back = module.inverse(y, context)[1]
        worst = 0.0
        # The inverse is held at its own point, so that its rounding does not count as an error of its ladj.
        for function, point, claimed in ((module.forward, x, ladj), (module.inverse, y, back)):
            matrix = jacobian(function, point, context, rank(case)).detach()
            found = torch.linalg.slogdet(matrix)[1]
            # What autograd's own determinant loses to rounding is no error of ours.
            lost = torch.linalg.cond(matrix) * torch.finfo(torch.float64).eps / 1e-12
            worst = max(worst, _worst((claimed.detach() - found) / (1 + found.abs() + lost)))
        return worst

    return figure


def _ladj_precision(case: Case) -> float:
    """Return the difference of ladj in float32 and float64 at the same point, in units of 1 + |ladj| and of what 4 ulps of x change."""
    module, exact = case.build(torch.float32), case.build(torch.float64)
    x, context = case.points(256, torch.float32, module=module), case.contexts(256, torch.float32)
    point = x.double().requires_grad_()
    high = exact(point, None if context is None else context.double())[1]
    slope = torch.autograd.grad(high.sum(), point, allow_unused=True)[0] if high.requires_grad else None
    moved = 0 if slope is None else 4 * torch.finfo(torch.float32).eps * (slope * point).detach().abs().reshape(len(x), -1).sum(1) / 1e-5
    return _worst((module(x, context)[1] - high).detach() / (1 + high.detach().abs() + moved))


def _gradients(case: Case) -> float:
    """Compare gradients of value and ladj, both ways, with central differences in float64, in train and in eval mode."""
    worst = 0.0
    for training in (True, False):
        module = case.build(torch.float64).train(training)
        x, context = case.points(3, module=module), case.contexts(3)
        y = module(x, context)[0].detach()
        for function, point in ((module.forward, x), (module.inverse, y)):
            worst = max(worst, _gradient_error(module, function, point, context))
    return worst


def _gradient_error(module: TransformModule, function: Callable[..., tuple[Tensor, Tensor]], point: Tensor, context: Tensor | None) -> float:
    draw = torch.Generator().manual_seed(7)
    point = point.clone().requires_grad_()
    inputs = [point, *(p for p in module.parameters())]
    if context is not None and module.uses_context:
        context = context.clone().requires_grad_()
        inputs.append(context)

    def loss() -> Tensor:
        value, ladj = function(point, context)
        return (torch.sin(value) * weights).sum() + ladj.sum()

    weights = torch.randn(function(point, context)[0].shape, generator=draw, dtype=torch.float64)
    gradients = torch.autograd.grad(loss(), inputs, allow_unused=True)
    worst = 0.0
    for tensor, gradient in zip(inputs, gradients, strict=True):
        # One random direction per tensor, at steps of which the better counts: rounding spoils the small, curvature the large.
        direction = torch.randn(tensor.shape, generator=draw, dtype=torch.float64)
        direction = direction / direction.norm().clamp(min=1e-300)
        claimed = 0.0 if gradient is None else float((gradient * direction).sum())
        errors = []
        for step in (1e-4, 1e-5, 1e-6):
            values = []
            with torch.no_grad():
                for sign in (1, -2, 1):
                    tensor.add_(sign * step * direction)
                    values.append(float(loss()))
            errors.append(abs((values[0] - values[1]) / (2 * step) - claimed))
        worst = max(worst, min(errors) / (1 + abs(claimed)))
    return worst


def _extremes(case: Case) -> float:
    """Count rows and gradients that are not finite with parameters at 0, ±1e4, x100 and a hundred random sets, both ways."""
    bad = 0
    modules = [case.build(torch.float32, scale, seed) for scale, seed in [(100.0, s) for s in range(20)] + [(10.0, s) for s in range(80)]]
    for value in (0.0, 1e4, -1e4):
        module = case.build(torch.float32)
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.fill_(value)
        modules.append(module)
    for module in modules:
        x, context = case.points(16, torch.float32, module=module), case.contexts(16, torch.float32)
        ends = supports.bounds(module.codomain)
        y = supports.leave(case.into(3 * case.points(16, torch.float32).sub(0.1).clamp(-9, 9), module.codomain).float(), ends)
        for function, point in ((module.forward, x), (module.inverse, y)):
            point = point.clone().requires_grad_()
            value, ladj = function(point, context)
            finite = torch.isfinite(value).flatten(1).all(1) & torch.isfinite(ladj) if rank(case) else torch.isfinite(value) & torch.isfinite(ladj)
            bad += int((~finite).sum())
            size = torch.tanh(value).sum() + torch.tanh(ladj).sum()
            tensors = [point, *module.parameters()]
            gradients = torch.autograd.grad(size, tensors, allow_unused=True)
            bad += sum(int((~torch.isfinite(g)).sum()) for g in gradients if g is not None)
    return float(bad)


def _own_row(case: Case) -> float:
    """Count rows beside a NaN and an infinite row that change, in value or gradient, and NaN rows that come out finite."""
    module = case.build(torch.float32)
    x, context = case.points(6, torch.float32, module=module), case.contexts(6, torch.float32)
    spoiled = x.clone()
    spoiled[2], spoiled[4] = math.nan, math.inf
    bad = 0
    for function in (module.forward, module.inverse):
        point = x if function == module.forward else module(x, context)[0].detach()
        dirty = torch.where(torch.isfinite(spoiled), point, spoiled)
        clean, mixed = point.clone().requires_grad_(), dirty.clone().requires_grad_()
        (y, ladj), (z, zladj) = function(clean, context), function(mixed, context)
        rows = [0, 1, 3, 5]
        gradients = [torch.autograd.grad((v[rows].sum() + w[rows].sum()), t)[0][rows] for v, w, t in ((y, ladj, clean), (z, zladj, mixed))]
        bad += int((y[rows] != z[rows]).sum() + (ladj[rows] != zladj[rows]).sum() + (gradients[0] != gradients[1]).sum())
        visible = torch.isnan(z[2]).any() | torch.isnan(zladj[2])
        bad += int(~visible)
    return float(bad)


def _shapes(case: Case) -> float:
    """Count shapes that come out wrong, or values that depend on the layout: batches of any rank, stride 0, broadcast contexts."""
    module = case.build(torch.float64)
    bad = 0
    x, context = case.points(6, module=module), case.contexts(6)
    y, ladj = module(x, context)
    event = tuple(module.out_shape)
    for batch in ((), (6,), (2, 3), (1, 2, 1, 3)):
        rows = max(math.prod(batch), 1)
        part = x[:rows].reshape(batch + case.event_shape)
        given = None if context is None else context[:rows].reshape(batch + (case.context_shape or ()))
        for function in (module.forward, module.inverse):
            point = part if function == module.forward else y[:rows].reshape(batch + event)
            value, determinant = function(point, given)
            bad += int(tuple(value.shape) != (*batch, *event)) + int(tuple(determinant.shape) != batch)
    bad += int(not _close(module(x[:1].expand(6, *case.event_shape), context if context is None else context[:1].expand_as(context))[0], y[:1]))
    strided = torch.stack([x, x], -1)[..., 0]
    bad += int(not _close(module(strided, context)[0], y))
    if context is not None:
        one = module(x, context[0])
        bad += int(not _close(one[0], module(x, context[:1].expand_as(context))[0]))
        if module.uses_context:
            many = module(x[0], context)
            bad += int(tuple(many[0].shape) != (6, *event)) + int(tuple(many[1].shape) != (6,))
            crossed = module(x[:, None], context[None])
            bad += int(tuple(crossed[0].shape) != (6, 6, *event)) + int(not _close(crossed[0][2, 3], module(x[2], context[3])[0]))
            bad += int(_close(module(x, context)[0], module(x, context + 1)[0]))
    return float(bad)


def _close(a: Tensor, b: Tensor) -> bool:
    return bool(torch.allclose(a, b.expand_as(a), rtol=1e-9, atol=1e-9))


def _empty(case: Case) -> float:
    """Count empty batches that do not come back empty, with their gradients."""
    module = case.build(torch.float32)
    bad = 0
    for batch in ((0,), (3, 0)):
        x = torch.zeros(*batch, *case.event_shape, requires_grad=True)
        context = None if case.context_shape is None else torch.zeros(*batch, *case.context_shape)
        for function in (module.forward, module.inverse):
            value, ladj = function(x, context)
            bad += int(tuple(value.shape) != (*batch, *module.out_shape)) + int(tuple(ladj.shape) != batch)
            (value.sum() + ladj.sum()).backward()
    return float(bad)


def _half(case: Case) -> float:
    """Return the worst difference of bfloat16, float16 and autocast from float32, per unit of size; dtypes are kept."""
    worst = 0.0
    reference = case.build(torch.float32, 0.3)
    x, context = case.points(64, torch.bfloat16, 0.5, reference), case.contexts(64, torch.bfloat16)
    wide = None if context is None else context.float()
    y, ladj = reference(x.float(), wide)
    for dtype in (torch.bfloat16, torch.float16):
        module = case.build(dtype, 0.3)
        given = None if context is None else context.to(dtype)
        value, low = module(x.to(dtype), given)
        if value.dtype != dtype or low.dtype != torch.float32:
            raise AssertionError(f"expected a value of {dtype} and a ladj of torch.float32, got {value.dtype} and {low.dtype}")
        back = module.inverse(value, given)[0]
        for error in ((value.float() - y) / (1 + y.abs()), (low - ladj).reshape(-1) / (1 + ladj.abs()).reshape(-1), (back.float() - x.float()) / (1 + x.float().abs())):
            worst = max(worst, _worst(error))
    with torch.autocast("cpu", torch.bfloat16):
        value, low = reference(x.float(), wide)
    if value.dtype != torch.float32 or low.dtype != torch.float32:
        raise AssertionError(f"autocast: expected float32 values, got {value.dtype} and {low.dtype}")
    return max(worst, _worst((value - y) / (1 + y.abs())))


def _dtype(case: Case) -> float:
    """Count dtypes that are not kept in float64 and float32."""
    bad = 0
    for dtype in (torch.float32, torch.float64):
        module = case.build(dtype)
        x, context = case.points(3, dtype, module=module), case.contexts(3, dtype)
        y, ladj = module(x, context)
        x, back = module.inverse(y, context)
        bad += sum(t.dtype != dtype for t in (y, ladj, x, back))
    return float(bad)


def _no_state(case: Case) -> float:
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


def _copies(case: Case) -> float:
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


def _functional(case: Case) -> float:
    """Return the worst difference of vmap and per-sample gradients from plain batches, both ways."""
    module = case.build(torch.float64)
    x, context = case.points(5, module=module), case.contexts(5)
    y = module(x, context)[0].detach()
    worst = 0.0
    weights = {name: p.detach() for name, p in module.named_parameters()}
    for name, point in (("forward", x), ("inverse", y)):
        function = getattr(module, name)
        axes = (0, None if context is None else 0)
        for plain, mapped in zip(function(point, context), torch.func.vmap(function, axes)(point, context), strict=True):
            worst = max(worst, _worst(plain - mapped))
        if not weights:
            continue

        def loss(parameters: dict[str, Tensor], row: Tensor, given: Tensor | None, name: str = name) -> Tensor:
            value, ladj = torch.func.functional_call(_Direction(module, name), {f"module.{k}": v for k, v in parameters.items()}, (row, given))
            return torch.sin(value).sum() + ladj

        each = torch.func.vmap(torch.func.grad(loss), (None, *axes))(weights, point, context)
        value, ladj = function(point, context)
        total = torch.autograd.grad(torch.sin(value).sum() + ladj.sum(), list(module.parameters()), allow_unused=True)
        for gradient, key in zip(total, weights, strict=True):
            if gradient is not None:
                worst = max(worst, _worst((each[key].sum(0) - gradient) / (1 + gradient.abs())))
    return worst


class _Direction(torch.nn.Module):
    """One direction of a module as a call, which is what `functional_call` runs."""

    def __init__(self, module: TransformModule, name: str) -> None:
        super().__init__()
        self.module, self.name = module, name

    def forward(self, x: Tensor, context: Tensor | None) -> Any:
        return getattr(self.module, self.name)(x, context)


def _second_derivatives(case: Case) -> float:
    """Compare the derivative of the gradient of ladj and value, both ways, with differences of the gradient."""
    module = case.build(torch.float64)
    x, context = case.points(3, module=module), case.contexts(3)
    y = module(x, context)[0].detach()
    worst = 0.0
    for function, start in ((module.forward, x), (module.inverse, y)):
        draw = torch.Generator().manual_seed(3)
        direction = torch.randn(start.shape, generator=draw, dtype=torch.float64)

        def slope(point: Tensor, function: Callable[..., tuple[Tensor, Tensor]] = function, graph: bool = False) -> Tensor:
            point = point if graph else point.detach().requires_grad_()
            value, ladj = function(point, context)
            total = torch.sin(value).sum() + ladj.sum()
            return torch.autograd.grad(total, point, create_graph=graph)[0]

        point = start.clone().requires_grad_()
        first = slope(point, graph=True)
        claimed = torch.autograd.grad((first * direction).sum(), point, allow_unused=True)[0] if first.requires_grad else None
        step = 1e-6
        found = (slope(start + step * direction) - slope(start - step * direction)) / (2 * step)
        claimed_along = 0.0 if claimed is None else float((claimed * direction).sum())
        wanted = float((found * direction).sum())
        worst = max(worst, abs(claimed_along - wanted) / (1 + abs(wanted)))
    return worst


def _compiled(case: Case) -> float:
    """Count results that differ and recompilations for new batch sizes under ``torch.compile(fullgraph=True)``, both ways."""
    from torch._dynamo.testing import CompileCounterWithBackend

    module = case.build(torch.float32)
    extra = 0
    for function in (module.forward, module.inverse):
        torch.compiler.reset()
        counter: Any = CompileCounterWithBackend("aot_eager")
        compiled = torch.compile(function, fullgraph=True, dynamic=True, backend=counter)
        graphs = 0
        for rows in (4, 7, 10):
            x, context = case.points(rows, torch.float32, module=module), case.contexts(rows, torch.float32)
            point = x if function == module.forward else module(x, context)[0].detach()
            for plain, graph in zip(function(point, context), compiled(point, context), strict=True):
                extra += int(not torch.allclose(plain, graph, rtol=1e-4, atol=1e-5))
            graphs = graphs or counter.frame_count
        extra += counter.frame_count - graphs
    torch.compiler.reset()
    return float(extra)


def _meta(case: Case) -> float:
    """Count shapes that a build on the meta device gets wrong; a tensor left on the CPU raises."""
    with torch.device("meta"):
        module = case.plan.build(case.event_shape, case.context_shape)
        x = torch.empty(4, *case.event_shape)
        context = None if case.context_shape is None else torch.empty(4, *case.context_shape)
    y, ladj = module(x, context)
    x, back = module.inverse(y, context)
    good = [tuple(y.shape) == (4, *module.out_shape), tuple(x.shape) == (4, *case.event_shape), ladj.shape == back.shape == (4,)]
    return float(sum(not g for g in good) + sum(t.device.type != "meta" for t in (y, ladj, x, back)))


def _row_alone(case: Case) -> float:
    """Return the worst difference of a row alone from the same row in a batch, and of train from eval, in float32 ulps of its size."""
    module = case.build(torch.float32)
    x, context = case.points(64, torch.float32, module=module), case.contexts(64, torch.float32)
    worst = 0.0
    for function in (module.forward, module.inverse):
        point = x if function == module.forward else module(x, context)[0].detach()
        value, ladj = function(point, context)
        alone = [function(point[i], None if context is None else context[i]) for i in range(64)]
        for all_rows, single in ((value, torch.stack([a[0] for a in alone])), (ladj, torch.stack([a[1] for a in alone]))):
            size = torch.finfo(torch.float32).eps * torch.clamp(all_rows.abs().max(), min=1.0)
            worst = max(worst, _worst((all_rows - single) / size))
    training, evaluating = module.train()(x, context), module.eval()(x, context)
    return max(worst, *(math.inf if not torch.equal(a, b) else 0.0 for a, b in zip(training, evaluating, strict=True)))


def _domain(case: Case) -> float:
    """Count values outside domain or codomain whose ladj is not -inf, whose result is not finite, or whose gradient is not."""
    module = case.build(torch.float32)
    bad = 0
    for function, support, other in ((module.forward, module.domain, module.codomain), (module.inverse, module.codomain, module.domain)):
        ends = supports.bounds(support)
        inside = case.into(torch.zeros(4, *case.event_shape), support)
        context = case.contexts(4, torch.float32)
        value, ladj = function(inside, context)
        bad += int((~other.check(value)).sum() + (~torch.isfinite(ladj)).sum())
        for end, beyond in zip(ends or (), (-1.0, 1.0), strict=False):
            if math.isinf(end):
                continue
            point = inside.clone()
            point[1] = end + beyond
            point[2] = end
            point.requires_grad_()
            value, ladj = function(point, context)
            gradient = torch.autograd.grad(value.sum() + ladj[[0, 3]].sum(), point)[0]
            bad += int((ladj[1:3] != -math.inf).sum() + (~torch.isfinite(ladj[[0, 3]])).sum())
            bad += int((~torch.isfinite(value)).sum() + (~torch.isfinite(gradient)).sum())
    return float(bad)


LAWS: tuple[Law, ...] = (
    Law("round trip, float32, in roundings", 4, _round_trip_units(1.0)),
    Law("round trip, float32, parameters x10, in roundings", 16, _round_trip_units(10.0)),
    Law("round trip, float64, in units of 1e-11", 1, _round_trip(torch.float64, 1.0, 1e-11)),
    Law("round trip, float32, in units of 2e-5", 1, _round_trip(torch.float32, 1.0, 2e-5)),
    Law("round trip, float32, parameters x10, in units of 1e-3", 1, _round_trip(torch.float32, 10.0, 1e-3)),
    Law("round trip at knots, edges, denormals, |x| <= 10", 1, _knots),
    Law("any x up to 1e30", 0, _anywhere),
    Law("ladj against autograd, float64", 1e-12, _ladj_exact(1.0)),
    Law("ladj against autograd, float64, parameters x10", 1e-12, _ladj_exact(10.0)),
    Law("ladj, float32 against float64", 1e-5, _ladj_precision),
    Law("gradients against differences", 1e-6, _gradients),
    Law("second derivatives against differences", 1e-5, _second_derivatives),
    Law("extreme parameters", 0, _extremes),
    Law("a NaN or infinite row is alone", 0, _own_row),
    Law("outside the domain", 0, _domain),
    Law("shapes, strides, contexts", 0, _shapes),
    Law("empty batch", 0, _empty),
    Law("float32 and float64 kept", 0, _dtype),
    Law("bfloat16, float16, autocast", 0.05, _half),
    Law("no hidden state", 0, _no_state),
    Law("copies", 0, _copies),
    Law("vmap and per-sample gradients", 1e-9, _functional),
    Law("one graph under torch.compile", 0, _compiled),
    Law("meta device", 0, _meta),
    Law("a row alone, train and eval, in ulps", 2, _row_alone),
)
