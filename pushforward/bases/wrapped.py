"""Wrapped: any distribution of torch, or of Pyro, as a base."""

from __future__ import annotations

import inspect
import math
import sys
from dataclasses import dataclass, field
from typing import Annotated, Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, MultivariateNormal, Normal, VonMises, constraints, transform_to

from pushforward.bases.moments import apart
from pushforward.bases.tails import Tails, normal_quantile, normal_tails
from pushforward.core import numerics, sets
from pushforward.core.base import Base, BaseModule
from pushforward.core.budget import reserve
from pushforward.core.facts import BaseFacts
from pushforward.core.fields import OneOf, shown
from pushforward.core.layer import Shape
from pushforward.core.roots import root
from pushforward.core.spec import PlanError


@dataclass(frozen=True, repr=False)
class Wrapped(Base):
    """Any distribution of torch or Pyro as a plan: its class by name, its arguments as numbers.

    Args:
        name: The class: ``"Normal"`` is looked up in `torch.distributions`, ``"pyro.SoftLaplace"`` in `pyro.distributions`, which has to be
            imported already.
        arguments: Pairs of argument and value: a number, nested tuples (a tensor), or another `Wrapped`.
        learnable: Make the tensors parameters, each kept inside the constraint that the class declares for it.
        dtype: Precision in which the tensors are made, such as ``"float64"`` (None: torch's default).

    >>> wrap(torch.distributions.Normal(0.0, 1.0)).build(()).log_prob(torch.tensor(0.0))
    tensor(-0.9189)
    """

    name: str
    arguments: tuple[tuple[str, Any], ...] = field(default=())
    learnable: bool = False
    dtype: Annotated[str, OneOf("float16", "bfloat16", "float32", "float64")] | None = None

    def check(self) -> None:
        if _find(self.name) is None:
            hint = "; import pyro first" if self.name.startswith(PYRO) else ""
            raise PlanError(f"Wrapped: expected the name of a class of torch.distributions, got {self.name!r}{hint}")
        known, given = inspect.signature(_find(self.name)).parameters, [name for name, _ in self.arguments]
        if not set(given) <= set(known) or len(set(given)) < len(given):
            raise PlanError(f"Wrapped: expected arguments of {self.name}, each once: {', '.join(known)}, got {', '.join(given)}")

    def __str__(self) -> str:
        inner = [str(value) for _, value in self.arguments if isinstance(value, Wrapped)]
        return f"{self.name}({', '.join(inner)})"

    def build(self, event_shape: Shape | None = None, context_shape: Shape | None = None) -> BaseModule:
        try:
            return WrappedModule(self, context_shape, event_shape)
        except PlanError:
            raise
        except Exception as error:  # whatever a class of torch raises for arguments that it does not take
            given = ", ".join(f"{name}={shown(value)}" for name, value in self.arguments)
            raise PlanError(f"base: expected arguments that {self.name} takes, got {given}: {error!r}") from error


# What a name of a distribution of Pyro starts with. Pyro is never imported here: a user who has one of its distributions has done so.
PYRO = "pyro."


def _find(name: Any) -> Any:
    """Return the distribution class of a name, or None."""
    package: Any = sys.modules.get("pyro.distributions") if str(name).startswith(PYRO) else torch.distributions
    cls = getattr(package, str(name).removeprefix(PYRO), None)
    return cls if inspect.isclass(cls) and issubclass(cls, Distribution) else None


def _named(distribution: Distribution) -> str:
    """Return the name of the class that a distribution behaves as, torch's own where a subclass changes nothing, or raise `PlanError`."""
    made = type(distribution)
    named = [(PYRO + cls.__name__ if cls.__module__.startswith(PYRO) else cls.__name__, cls) for cls in made.__mro__]
    known = [(name, cls) for name, cls in named if cls is not Distribution and _find(name) is cls]
    for name, cls in sorted(known, key=lambda pair: pair[0].startswith(PYRO)):
        same = all(getattr(made, method) == getattr(cls, method, None) for method in ("log_prob", "sample", "rsample"))
        if same and not _changes(made, cls):
            return name
    name, changed = (known[0][0], _changes(made, known[0][1])) if known else ("", [])
    lost = f", whose own {', '.join(changed)} would be lost, since a plan keeps the name {name!r}" if changed else ""
    raise PlanError(
        f"base: expected a distribution of torch.distributions, or a Base plan, got {made.__name__}{lost}; write a Base plan for it"
    )


def _changes(made: type, cls: type) -> list[str]:
    """Return the names that a user's class gives another meaning than the class it derives from, but for making, copying, printing."""
    own = [part for part in made.__mro__[: made.__mro__.index(cls)] if not part.__module__.startswith(("torch.", PYRO))]
    names = sorted({name for part in own for name in vars(part) if hasattr(cls, name) and not name.startswith("__") and name != "expand"})
    return [name for name in names if inspect.getattr_static(made, name) != inspect.getattr_static(cls, name)]


ALTERNATIVES = (("probs", "logits"), ("scale_tril", "covariance_matrix", "precision_matrix"))


def wrap(distribution: Distribution, learnable: bool = False) -> Wrapped:
    """Return the plan of a distribution of torch or Pyro; its tensors become buffers of the flow, or parameters if ``learnable``.

    Raises:
        PlanError: The class is not one of theirs, or derives from one and changes what it does, which the plan could not keep.

    >>> wrap(torch.distributions.Normal(0.0, 2.0)).arguments
    (('loc', 0.0), ('scale', 2.0))
    """
    found = _named(distribution)
    cls = _find(found)
    arguments: list[tuple[str, Any]] = []
    for name in inspect.signature(cls).parameters:
        group = next((group for group in ALTERNATIVES if name in group), (name,))
        # Of alternatives torch keeps what it was given as a plain attribute and derives the others when asked.
        if name == "validate_args" or name != next((n for n in group if n in vars(distribution)), group[0]):
            continue
        try:
            value = getattr(distribution, "base_dist" if name == "base_distribution" else name)
        except AttributeError as error:
            raise PlanError(
                f"base: {cls.__name__} keeps no attribute {name!r}, so it cannot be rebuilt; write a Base plan for it"
            ) from error
        arguments.append((name, _frozen(cls.__name__, name, value, learnable)))
    dtypes = {getattr(distribution, name).dtype for name, _ in arguments if isinstance(getattr(distribution, name, None), Tensor)}
    other = [str(dtype).removeprefix("torch.") for dtype in dtypes if dtype.is_floating_point and dtype != torch.get_default_dtype()]
    return Wrapped(found, tuple(arguments), learnable, other[0] if other else None)


def _frozen(owner: str, name: str, value: Any, learnable: bool) -> Any:
    if isinstance(value, Distribution):
        return wrap(value, learnable)
    if isinstance(value, Tensor):
        return value.detach().tolist()
    if value is None or isinstance(value, bool | int | float | str | torch.Size):
        return tuple(value) if isinstance(value, torch.Size) else value
    raise PlanError(
        f"base: expected {owner}'s {name} to be a tensor, a number or a distribution, got {type(value).__name__}; write a Base plan"
    )


def _constraint(cls: Any, name: str) -> Any:
    """Return the constraint of an argument; a class whose constraints depend on its values (Uniform) leaves it real."""
    declared = cls.arg_constraints
    return declared.get(name) if isinstance(declared, dict) else constraints.real


class _Holder(nn.Module):
    """The tensors of one distribution, and of those inside it."""

    def __init__(self, plan: Wrapped) -> None:
        super().__init__()
        self.cls: Any = _find(plan.name)
        # Some of Pyro's classes have no such argument.
        self.constants: dict[str, Any] = {"validate_args": False} if "validate_args" in inspect.signature(self.cls).parameters else {}
        self.constraints: dict[str, Any] = {}
        for name, value in plan.arguments:
            limit = _constraint(self.cls, name)
            if isinstance(value, Wrapped):
                self.add_module(name, _Holder(value))
            elif isinstance(value, bool | str | int) or value is None or limit is None:
                if name == "dim" and isinstance(value, int):  # the classes on matrices make tables of their size
                    reserve(value)
                self.constants[name] = value
            else:
                tensor = torch.as_tensor(value, dtype=getattr(torch, plan.dtype) if plan.dtype else torch.get_default_dtype())
                if plan.learnable and not constraints.is_dependent(limit):
                    try:
                        self.constraints[name] = transform_to(limit)
                    except NotImplementedError as error:
                        raise PlanError(
                            f"{plan.name}: expected {name} in a set with a known map onto it to learn it, got {limit}"
                        ) from error
                    self.register_parameter(name, nn.Parameter(transform_to(limit).inv(tensor)))
                else:
                    self.register_buffer(name, tensor)

    def distribution(self) -> Distribution:
        arguments = dict(self.constants)
        for name, module in self.named_children():
            assert isinstance(module, _Holder)
            arguments[name] = module.distribution()
        arguments.update({name: numerics.working(buffer) for name, buffer in self.named_buffers(recurse=False)})
        for name, parameter in self.named_parameters(recurse=False):
            arguments[name] = self.constraints[name](numerics.working(parameter))
        made: Distribution = self.cls(**arguments)
        return made


class WrappedModule(BaseModule):
    """A torch distribution, made anew from its tensors whenever it is used."""

    def __init__(self, plan: Wrapped, context_shape: Shape | None, event_shape: Shape | None = None) -> None:
        inner, reinterpreted = plan, 0
        while inner.name == "Independent":  # torch's own sum over the reinterpreted axes fails on an empty batch
            content = dict(inner.arguments)
            inner, reinterpreted = content["base_distribution"], reinterpreted + content["reinterpreted_batch_ndims"]
            if not isinstance(inner, Wrapped):
                raise PlanError(f"Independent: expected base_distribution to be a distribution, got {shown(inner)}")
        holder = _Holder(inner)
        made = holder.distribution()
        # What the flow needs more event axes for comes out of the base's batch axes, as in TransformedDistribution.
        own = len(made.event_shape)
        extra = reinterpreted if event_shape is None else max(len(event_shape) - own, reinterpreted)
        shape = (*made.batch_shape, *made.event_shape)
        split = len(made.batch_shape) - extra
        if split < 0 or (event_shape is not None and shape[split:] != tuple(event_shape)):
            raise PlanError(f"base: expected an event_shape that fits {plan.name} of shape {shape}, got {event_shape}")
        super().__init__(plan, shape[split:], context_shape)
        self.holder, self.extra = holder, extra
        self.facts = BaseFacts(
            made.support,  # type: ignore[arg-type]
            torch.Size(shape[:split]),
            has_rsample=made.has_rsample,
            has_tails=own == 0 and type(made).cdf is not Distribution.cdf,
            gaussian=isinstance(made, Normal | MultivariateNormal),
        )
        self.reparametrised = made.has_rsample
        self.ends = None if made.support is None else sets.bounds(self.support)

    def score(self, value: Tensor, context: Tensor | None = None) -> Tensor:
        # torch checks the support only where validation is on; ours holds always, and no formula meets what is outside.
        values, outside = sets.enter(numerics.working(value), self.ends, closed=True)
        log_density = self.holder.distribution().log_prob(values)
        if self.extra:
            log_density = log_density.sum(tuple(range(-self.extra, 0)))
        # Uniform and some others take a NaN for a value outside.
        log_density = torch.where(sets.any_element(torch.isnan(values), len(self.event_shape)), math.nan, log_density)
        if outside is None:
            return log_density
        return torch.where(sets.any_element(outside, len(self.event_shape)), -math.inf, log_density)

    def draw(self, batch: torch.Size, context: Tensor | None = None, generator: torch.Generator | None = None) -> Tensor:
        if generator is not None:
            raise ValueError(
                f"base {self.plan!r}: expected no generator, since torch.distributions draws from torch's global one only, got one; "
                "leave it out, or use StandardNormal() or DiagNormal() as the base"
            )
        made, shape = self.holder.distribution(), batch + self.event_shape[: self.extra]
        lead = shape[: len(shape) - len(made.batch_shape)]
        # To expand takes torch through checks that no compiler before torch 2.6 sees through; a choice of nothing it cannot draw otherwise.
        if shape != lead + made.batch_shape or 0 in shape:
            made, lead = made.expand(shape), torch.Size()
        drawn: Tensor = made.rsample(lead) if self.reparametrised else made.sample(lead)
        return drawn

    def tails_at(self, value: Tensor, context: Tensor | None = None) -> Tails:
        return _tails(self.holder.distribution(), self._inside(numerics.finer(value)))

    def value_at(self, odds: Tensor, context: Tensor | None = None) -> Tensor:
        made, odds = self.holder.distribution(), numerics.finer(odds)
        if isinstance(made, Normal):
            return made.loc + made.scale * normal_quantile(odds)

        def function(x: Tensor) -> Tails:
            place = self._inside(x)
            lower, upper = _tails(made, place)
            return lower - upper, torch.where(place == x, made.log_prob(place) - lower - upper, -math.inf)

        return root(function, odds)

    def mean_at(self, context: Tensor | None = None) -> Tensor | None:
        return _asked(self.holder.distribution(), "mean")

    def spread_at(self, context: Tensor | None = None) -> Tensor | None:
        made = self.holder.distribution()
        if isinstance(made, MultivariateNormal) and not self.extra:
            return made.scale_tril.movedim(-1, 0)
        deviation = None if made.event_shape else _asked(made, "stddev")
        if deviation is None:
            return None
        rank = len(self.event_shape)
        flat = deviation.reshape(*deviation.shape[: deviation.dim() - rank], -1)
        return apart(flat).reshape(-1, *deviation.shape)

    def entropy_at(self, context: Tensor | None = None) -> Tensor | None:
        try:
            entropy = self.holder.distribution().entropy()
        except NotImplementedError:
            return None
        return entropy.sum(tuple(range(-self.extra, 0))) if self.extra else entropy

    def _inside(self, x: Tensor) -> Tensor:
        return x if self.ends is None else torch.clamp(x, *self.ends)


def _asked(made: Distribution, name: str) -> Tensor | None:
    """Return a moment of a distribution, or None where it has none; what torch calls so of an angle is none of a number."""
    if isinstance(made, VonMises):
        return None
    try:
        found: Tensor = getattr(made, name)
    except (NotImplementedError, AttributeError):
        return None
    return found


def _tails(made: Distribution, x: Tensor) -> Tails:
    if isinstance(made, Normal):
        return normal_tails((x - made.loc) / made.scale)
    probability = made.cdf(x)
    return torch.log(probability), torch.log1p(-probability)
