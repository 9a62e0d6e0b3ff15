"""What FlowTorch's bijectors have in common: a name is lazy until it is given a ``shape``, and what is built goes both ways."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import constraints
from torch.distributions.constraints import Constraint

from pushforward.contrib.flowtorch.numbers import alone, log_det_of_numbers
from pushforward.contrib.flowtorch.tensor import BijectiveTensor
from pushforward.core import sets
from pushforward.core.bijector import Bijector as Plan
from pushforward.core.layer import Layer, Shape, as_shape
from pushforward.core.spec import PlanError
from pushforward.layers.autoregressive import AutoregressiveModule
from pushforward.nets.conditioner import Parameters

Sizes = Sequence[int] | None


class LazyMeta(type):
    """The class of names: a call without a ``shape`` gives a `Lazy`, one with it the built bijector."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        return _called(cls, {}, args, kwargs)

    @property
    def __signature__(cls) -> inspect.Signature:
        """FlowTorch's arguments: those of the plan, and two shapes."""
        own = list(inspect.signature(cls.plan).parameters.values())  # type: ignore[attr-defined]
        first = [parameter for parameter in own if parameter.kind is not parameter.KEYWORD_ONLY]
        shapes = [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None) for name in ("shape", "context_shape")]
        return inspect.Signature([*first, *shapes, *own[len(first) :]])


class Lazy(Plan):
    """A bijector whose shape is left open. Called with the ``shape`` it gives the bijector, with other arguments a `Lazy` that has them.

    It stands for its plan wherever this library takes one, and is equal to it; what is built and saved is the plan itself.

    Args:
        cls: The name.
        plan: What it stands for.
        context_shape: Shape of the context that was stated.
        arguments: What the name was given.

    >>> from pushforward.contrib.flowtorch import bijectors as bij
    >>> lazy = bij.Spline(count_bins=4)
    >>> lazy.plan, lazy(shape=(3,))(torch.zeros(5, 3)).shape
    (Spline(bins=4, bound=3.0, order='linear'), torch.Size([5, 3]))
    """

    def __init__(self, cls: type[Bijector], plan: Plan, context_shape: Shape | None, arguments: dict[str, Any]) -> None:
        self.cls, self.plan, self.context_shape, self.arguments = cls, plan, context_shape, arguments
        self._depth, self._count = plan._depth, plan._count

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return _called(self.cls, self.arguments, args, kwargs)

    def build(self, event_shape: int | Sequence[int], context_shape: int | Sequence[int] | None = None) -> Layer:
        given = None if context_shape is None else as_shape(context_shape, "context_shape")
        if self.context_shape not in (None, given):
            raise PlanError(f"{self.cls.__name__}: expected the context_shape {self.context_shape} that it was given, got {given}")
        return self.plan.build(event_shape, given)

    @property
    def event_dim(self) -> int:  # type: ignore[override]
        return self.plan.event_dim

    @property
    def out_dim(self) -> int:
        return self.plan.out_dim

    @property
    def axis(self) -> int:  # type: ignore[override]
        return self.plan.axis

    @property
    def bijective(self) -> bool:  # type: ignore[override]
        return self.plan.bijective

    def shape_after(self, shape: Shape) -> Shape:
        return self.plan.shape_after(shape)

    def shape_before(self, shape: Shape) -> Shape:
        return self.plan.shape_before(shape)

    def itself(self) -> Plan:
        return self.plan

    def to_dict(self) -> dict[str, Any]:
        return self.plan.to_dict()

    def replace(self, **changes: Any) -> Any:
        return self.plan.replace(**changes)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Lazy):
            return self.plan == other.plan and self.context_shape == other.context_shape
        return self.context_shape is None and self.plan == other

    def __hash__(self) -> int:
        return hash(self.plan)

    def __repr__(self) -> str:
        stated = "" if self.context_shape is None else f", context_shape={self.context_shape}"
        return f"Lazy({self.plan!r}{stated})"

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)


class Bijector(nn.Module, metaclass=LazyMeta):
    """A bijector for events of a shape, called as in FlowTorch; what all names of `bijectors` are, and what `Flow.bijector` is.

    A call gives a value with its log-determinant beside it, ``y.log_detJ``. The log-determinant is one for each number, of the shape of
    ``x``, where every number is mapped alone, and otherwise one for each event, ``(*batch)``: ``domain.event_dim`` is 0 or the number
    of axes of an event, and says so. A call keeps nothing, so nothing goes stale.

    A bijection of your own is a `pushforward.Kernel`, and is taken here as a plan.

    Args:
        module: What a plan built.
    """

    domain: Constraint = constraints.real
    codomain: Constraint = constraints.real

    def __init__(self, module: Layer) -> None:
        super().__init__()
        self.module = module
        self.alone = alone(module)
        self.domain = sets.independent(module.domain, 0 if self.alone else len(module.event_shape))
        self.codomain = sets.independent(module.codomain, 0 if self.alone else len(module.out_shape))

    @classmethod
    def plan(cls, params_fn: Any = None) -> Plan:
        """Return the plan of a name with its arguments; names that others derive from have none."""
        raise TypeError(
            f"{cls.__name__}: expected a name that has a plan, such as Affine; write a pushforward.Kernel for a bijection of your own"
        )

    @classmethod
    def parts(cls, **arguments: Any) -> list[Lazy]:
        """Return the bijectors that it is made of."""
        return []

    @classmethod
    def built(cls, module: Layer) -> Any:
        """Return a built plan as a bijector of this name."""
        return type.__call__(cls, module)

    @property
    def _params_fn(self) -> ParamsFn | None:
        layer = self.module
        held = getattr(layer, "parameters_of", None)
        if not isinstance(held, Parameters) or not held.size:
            return None
        return Ordered(layer, held) if isinstance(layer, AutoregressiveModule) else ParamsFn(layer, held)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the data side ``(*batch, *event)`` of a value of the base side.

        Raises:
            ValueError: Another shape or place; a context that is missing or not expected.
            TypeError: No tensor, or of another precision.
        """
        return BijectiveTensor.of(*self._both(x, context))

    def inverse(self, y: Tensor, x: Tensor | None = None, context: Tensor | None = None) -> Tensor:
        """Return the base side ``(*batch, *event)`` of a value of the data side; ``x`` is not looked at. Raises what `forward` does."""
        value, ladj = self._both(y, context, inverse=True)
        return BijectiveTensor.of(value, -ladj)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the log-determinant of the map from ``x`` to ``y``, from the side where it takes fewer steps."""
        if self.module.facts.depth[0] <= self.module.facts.depth[1]:
            return self._both(x, context)[1]
        return -self._both(y, context, inverse=True)[1]

    def forward_shape(self, shape: Sequence[int]) -> Shape:
        """Return the shape onto which events of a shape are mapped."""
        return self.module.plan.shape_after(as_shape(shape, "shape"))

    def inverse_shape(self, shape: Sequence[int]) -> Shape:
        """Return the shape of the events that are mapped onto a shape."""
        return self.module.plan.shape_before(as_shape(shape, "shape"))

    def _both(self, value: Tensor, context: Tensor | None, inverse: bool = False) -> tuple[Tensor, Tensor]:
        module = self.module
        inner = module.admit("y" if inverse else "x", value, module.out_shape if inverse else module.event_shape, context)
        found, ladj = (module.pull if inverse else module.push)(value, inner)
        return found, log_det_of_numbers(module, value, inner, inverse) if self.alone else ladj


class ParamsFn(nn.Module):
    """Where the parameters of a built bijector come from: free ones, or a network.

    Args:
        layer: The built bijector.
        parameters: Its parameters.
    """

    def __init__(self, layer: Layer, parameters: Parameters) -> None:
        super().__init__()
        self.parameters_of = parameters

    def forward(self, x: Tensor | None = None, context: Tensor | None = None) -> list[Tensor]:
        """Return the parameters at values that they may see, one tensor for each kind."""
        return list(self.parameters_of(x, context).values())


class Ordered(ParamsFn):
    """The parameters of an autoregressive bijector, and the order in which they see the features."""

    permutation: Tensor

    def __init__(self, layer: AutoregressiveModule, parameters: Parameters) -> None:
        super().__init__(layer, parameters)
        order = getattr(layer.plan, "order", None)
        self.register_buffer("permutation", torch.arange(layer.event_shape[0]) if order is None else torch.tensor(order))


def opened(owner: str, given: Any) -> Lazy:
    """Return what a user gives as a `Lazy`: one, a name without brackets, as in FlowTorch, or any plan of this library."""
    if isinstance(given, Lazy):
        return given
    if isinstance(given, Plan):
        return Lazy(Bijector, given, None, {})
    if isinstance(given, Bijector):
        raise PlanError(f"{owner}: expected a plan, got one that is built already, of {given.module.plan!r}; leave out shape")
    if callable(given):
        return opened(owner, given())
    raise PlanError(f"{owner}: expected a bijector, got {given!r}")


def common(owner: str, parts: Sequence[Lazy], context_shape: Sizes) -> Shape | None:
    """Return the one shape of the context that parts state, or raise `PlanError`."""
    stated = {part.context_shape for part in parts if part.context_shape is not None}
    if context_shape is not None:
        stated.add(as_shape(context_shape, "context_shape"))
    if len(stated) > 1:
        raise PlanError(f"{owner}: expected one context_shape, got {sorted(stated)}")
    return next(iter(stated), None)


def _called(name: Any, known: dict[str, Any], args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """Return what a name gives for arguments that it has, and those of a call."""
    owner = name.__name__
    if any(isinstance(value, Tensor) for value in args):
        raise TypeError(f"{owner}: expected a built bijector to be given values, got values for a name; give the shape of an event first")
    again = sorted(set(known) & set(kwargs))
    if again:
        raise TypeError(f"{owner}: expected each argument once, got {', '.join(again)} again")
    every = inspect.signature(name)
    open_ones = every.replace(parameters=[p for p in every.parameters.values() if p.name not in known])
    try:
        arguments = known | open_ones.bind_partial(*args, **kwargs).arguments
    except TypeError as error:
        raise TypeError(f"{owner}: {error}; its arguments are {', '.join(every.parameters)}") from None
    shape, stated = arguments.pop("shape", None), arguments.get("context_shape")
    given = {key: value for key, value in arguments.items() if key != "context_shape"}
    lazy = Lazy(name, name.plan(**given), common(owner, name.parts(**given), stated), arguments)
    return lazy if shape is None else name.built(lazy.build(shape, lazy.context_shape))
