"""Description: what a flow is made of, layer by layer, and what training it takes. Reads attributes only."""

from __future__ import annotations

import copy
import functools
import math
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from pushforward.core.mode import AS_ON_CPU
from pushforward.core.promise import NONE, Accuracy, Effort, Tolerance, both_ways


@dataclass(frozen=True)
class LayerDescription:
    """One layer of a `Description`.

    Evaluations count the work of its network, depth the parts of it that have to wait for one another, roots how often each number is
    sought as the root of an equation. Where it is ``adaptive``, evaluations and depth are the most; it ends when it is done.
    ``accuracy`` is what it promises, and what the laws hold it to.
    """

    name: str
    formula: str
    shape_in: tuple[int, ...]
    shape_out: tuple[int, ...]
    depends_on: str
    network: str
    parameters: int
    evaluations_to_sample: int
    evaluations_to_score: int
    depth_to_sample: int
    depth_to_score: int
    roots_to_sample: int
    roots_to_score: int
    adaptive_to_sample: bool
    adaptive_to_score: bool
    accuracy_to_sample: Accuracy
    accuracy_to_score: Accuracy
    training_bytes: int

    def effort(self, to: str) -> str:
        """Return evaluations, depth and roots to ``"sample"`` or to ``"score"`` in words."""
        return _effort(lambda count: getattr(self, count), to)


@dataclass(frozen=True)
class Description:
    """What a plan or a flow is made of; printing it gives the text, the fields are for programs.

    ``training_bytes`` is the peak of one training step (values, gradients, Adam's two moments, activations) at ``batch`` rows.
    ``components`` are the distributions that the base is a mixture or a product of, each with its own layers; they lie below the layers.
    """

    title: str
    layers: tuple[LayerDescription, ...]
    batch: int
    parameters: int
    training_bytes: int
    components: tuple[Description, ...] = ()
    base_accuracy: Tolerance = NONE
    """How far log-densities of the base may be off, beside roundings."""

    def accuracy(self, to: str) -> Accuracy:
        """Return what all layers together promise to ``"sample"`` or to ``"score"``: roundings and tolerances add up along the chain.

        Each is of its own layer's values. What a layer is off, the layers after it stretch as they do values, which is not counted here.
        """
        parts = [part.accuracy(to) for part in self.components]
        whole = functools.reduce(Accuracy.beside, parts) if parts else Accuracy(0)
        for layer in self.layers:
            whole = whole.followed_by(getattr(layer, f"accuracy_to_{to}"))
        return whole

    def __str__(self) -> str:
        lines = [self.title, "", *self._listing()]
        lines += [
            "",
            f"total: {self.parameters:,} parameters; {_effort(self._total, 'sample', ' evaluation')} to sample, "
            f"{_effort(self._total, 'score')} to score; peak of a training step at batch {self.batch:,}: {_bytes(self.training_bytes)}",
            f"accuracy: {self._promise()}",
            f"layers run in this order from the base to the data (sampling) and back (scoring){self._sizes()}.",
            "trained by maximum likelihood: loss = -mean log p(x), log p(x) = log p_base(z) + sum of log|det dz/dx|, z = inverse(x);",
            "gradients are those of automatic differentiation through the formulas above, networks included.",
        ]
        return "\n".join(lines)

    def _listing(self) -> list[str]:
        """Return the lines of the components and, after them, of the layers."""
        lines: list[str] = []
        for component in self.components:
            lines += [""] * bool(lines)
            lines += [f"{component.title}, {component.parameters:,} parameters", *(f"    {line}".rstrip() for line in component._listing())]
        lines += [""] * bool(lines and self.layers)
        for index, layer in enumerate(self.layers):
            lines += [
                f"{index:>2}  {layer.name}",
                f"      formula     {layer.formula}",
                f"      shape       {layer.shape_in} → {layer.shape_out}",
                f"      depends on  {layer.depends_on}",
                f"      network     {layer.network}",
                f"      parameters  {layer.parameters:,}",
                f"      evaluations {layer.effort('sample')} to sample, {layer.effort('score')} to score",
                f"      accuracy    {both_ways(layer.accuracy_to_sample, layer.accuracy_to_score)}",
                f"      memory      {_bytes(layer.training_bytes)} in training at batch {self.batch:,}",
            ]
        return lines

    def _promise(self) -> str:
        """Return the accuracy of all layers, and of a base whose density is not exact, in words."""
        words = both_ways(self.accuracy("sample"), self.accuracy("score"))
        words += "; what a layer is off, those after it stretch as they do values" * (len(self.layers) > 1)
        return words + (f"; density of the base {self.base_accuracy.words('log p')}" if self.base_accuracy else "")

    def _sizes(self) -> str:
        """Return what holds of the sizes of all layers, if something does."""
        alike = all(math.prod(layer.shape_in) == math.prod(layer.shape_out) for layer in self.layers)
        return "; input and output have the same size" if alike else ""

    def _total(self, count: str) -> int:
        """Return a count of all layers; every component of a mixture is drawn and scored."""
        own: int = sum(getattr(layer, count) for layer in self.layers)
        return own + sum(part._total(count) for part in self.components)


def describe(module: nn.Module | None, base: nn.Module | None = None, title: str = "", batch: int = 1000) -> Description:
    """Describe a built bijection, and the base under it, with what that is itself made of.

    Memory is not estimated by a formula: one training step is run on the meta device, which allocates nothing, and every tensor
    that it would allocate is followed from birth to death.

    Args:
        module: What a plan built (None: a base alone).
        base: The built base distribution.
        title: The first line.
        batch: Rows of a training step, at least 1.
    """
    if not isinstance(batch, int) or isinstance(batch, bool) or batch < 1:
        raise ValueError(f"describe: expected batch to be a whole number of at least 1, got {batch!r}")
    root, below = _root(base)
    inner: list[Any] = [] if root is None else [*root.members()]
    components = [
        describe(None, part, f"component {index} of {len(inner)}, from {_root(part)[0].plan}", batch) for index, part in enumerate(inner)
    ]
    layers = []
    for layer in (*below, *(() if module is None else module.leaves())):  # type: ignore[operator]
        parameters, facts = _count(layer), layer.facts
        held = _step_bytes(layer, None, batch).held
        layers.append(
            LayerDescription(
                name=repr(layer.plan),
                formula=layer.plan.words(),
                shape_in=tuple(layer.event_shape),
                shape_out=tuple(layer.out_shape),
                depends_on=facts.depends_on,
                network=_network(layer),
                parameters=parameters,
                evaluations_to_sample=facts.evaluations[0],
                evaluations_to_score=facts.evaluations[1],
                depth_to_sample=facts.depth[0],
                depth_to_score=facts.depth[1],
                roots_to_sample=facts.roots[0],
                roots_to_score=facts.roots[1],
                adaptive_to_sample=facts.adaptive[0],
                adaptive_to_score=facts.adaptive[1],
                accuracy_to_sample=facts.accuracy[0],
                accuracy_to_score=facts.accuracy[1],
                training_bytes=_state_bytes(layer) + held,
            )
        )
    total = sum(_count(part) for part in (module, base) if part is not None)
    # Adam holds two moments; values and gradients are followed by the run itself.
    peak = _step_bytes(module, base, batch).peak
    own = NONE if base is None else root.facts.accuracy
    return Description(title or repr(getattr(module, "plan", module)), tuple(layers), batch, total, peak, tuple(components), own)


def _effort(count: Callable[[str], int], to: str, noun: str = "") -> str:
    """Return evaluations, depth and roots of a direction in words."""
    evaluations, depth, roots, adaptive = (count(f"{what}_to_{to}") for what in ("evaluations", "depth", "roots", "adaptive"))
    return Effort(evaluations, depth, roots, bool(adaptive)).words(noun)


def _root(base: Any) -> tuple[Any, list[Any]]:
    """Return the base under a base that is itself pushed through bijections, and their layers."""
    layers: list[Any] = []
    while base is not None and (made := base.beneath()) is not None:
        base, transform = made
        layers = [*transform.leaves(), *layers]
    return base, layers


class Summarised(nn.Module):
    """A module that tells in a few words which network is in it."""

    summary: str


def _network(layer: nn.Module) -> str:
    return "; ".join(module.summary for module in layer.modules() if isinstance(module, Summarised)) or "none"


def _count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def _state_bytes(module: nn.Module) -> int:
    """Return the bytes of values, gradients and Adam's two moments."""
    return sum(4 * p.numel() * p.element_size() for p in module.parameters()) + sum(b.numel() * b.element_size() for b in module.buffers())


def _bytes(count: int) -> str:
    size = float(count)
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} GB"


class _Allocations(TorchDispatchMode):
    """Follows the storages that operators make: bytes alive now, and the most at any time."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.alive, self.peak = 0, 0
        self.known: weakref.WeakSet[Any] = weakref.WeakSet()

    def follow(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        if storage in self.known:
            return
        size = storage.nbytes()
        self.known.add(storage)
        self.alive += size
        self.peak = max(self.peak, self.alive)
        weakref.finalize(storage, self._release, size)

    def _release(self, size: int) -> None:
        self.alive -= size

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        # The backward pass of gather adds in place, but not where it sees a mode such as this one.
        if func is torch.ops.aten.scatter_add.default and not torch.is_grad_enabled():
            func = torch.ops.aten.scatter_add_.default
        out = func(*args, **(kwargs or {}))
        for item in out if isinstance(out, tuple | list) else (out,):
            if isinstance(item, Tensor):
                self.follow(item)
        return out


@dataclass(frozen=True)
class _Step:
    held: int
    peak: int


def _step_bytes(module: Any, base: Any, batch: int) -> _Step:
    """Return the bytes that the graph of one training step holds, and the step's peak, from a run on the meta device."""
    parts = [part for part in (module, base) if part is not None]
    on_cpu = AS_ON_CPU.set(all(p.is_cpu for part in parts for p in part.parameters()))
    try:
        alone, below = (None if part is None else copy.deepcopy(part).to("meta") for part in (module, base))
        return _traced(alone, below, batch)
    finally:
        AS_ON_CPU.reset(on_cpu)


def _traced(module: Any, base: Any, batch: int) -> _Step:
    parts = [part for part in (module, base) if part is not None]
    parameters = [p for part in parts for p in part.parameters()]
    buffers = [b for part in parts for b in part.buffers()]
    dtype = next((t.dtype for t in (*parameters, *buffers) if t.is_floating_point()), torch.get_default_dtype())
    y = torch.empty(batch, *(base.event_shape if module is None else module.out_shape), device="meta", dtype=dtype)
    needed = (module is not None and module.facts.uses_context) or (base is not None and base.facts.uses_context)
    context = torch.empty(batch, *parts[0].context_shape, device="meta", dtype=dtype) if needed else None
    learnable = [p for p in parameters if p.requires_grad]
    sizes = [p.numel() * p.element_size() for p in learnable]
    tracker = _Allocations()
    with torch.enable_grad(), tracker:
        for tensor in (*parameters, *buffers, y, *(() if context is None else (context,))):
            tracker.follow(tensor)
        tracker.alive += 2 * sum(sizes)  # Adam's two moments
        before = tracker.alive
        x, ladj = (y, y.new_zeros(())) if module is None else module.pull(y, context)
        loss = ladj if base is None else ladj + base.score(x, context)
        total = -(loss.mean() + (0 if base is not None else 0 * x.sum()))
        del x, ladj, loss
        held = tracker.alive - before
        if total.requires_grad:
            torch.autograd.grad(total, learnable, allow_unused=True)
    # With few rows and many parameters the peak is Adam's own step, which makes two more of the parameter it is at.
    update = before + sum(sizes) + 2 * max(sizes, default=0)
    return _Step(held, max(tracker.peak, update))
