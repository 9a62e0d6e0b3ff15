"""The factory: the layer that a row of the table and Pyro's arguments make, and the classes and functions that make it."""

from __future__ import annotations

from collections.abc import Callable
from inspect import Parameter, Signature
from typing import Any

from pushforward.contrib.pyro.face.given import SOME, _Given
from pushforward.contrib.pyro.face.planned import Planned, PlannedConditional
from pushforward.contrib.pyro.face.row import Row
from pushforward.contrib.pyro.face.sizes import perceptron, size
from pushforward.contrib.pyro.face.words import arguments, document, signature
from pushforward.core.layer import Layer

NETWORKS = ("nn", "autoregressive_nn", "hypernet")
KINDS = (("X", "x"), ("ConditionalX", "conditional_x"))


def layer(row: Row, owner: str, given: dict[str, Any], conditional: bool) -> tuple[Layer, int, Callable[..., Any] | None]:
    """Return the layer of a row, how many axes its events have, and the user's network in it, if there is one.

    Args:
        row: The row.
        owner: What errors begin with.
        given: Pyro's arguments by name.
        conditional: Whether it takes a context.
    """
    kernel = row.plan(owner, **{option.name: given.pop(option.name) for option in row.options()})
    network = next((name for name in NETWORKS if name in given), None)

    def net(count: int) -> Any:
        if network:
            rows = [value.numel() for value in kernel.init((1,)).values()] if kernel.event_dim == 0 else []
            free = rows.pop(0) * count if row.free else 0
            return _Given(given[network], row.order, sum(rows), free, row.plain)
        a, b, layers = row.hidden_of(conditional)
        return perceptron(owner, given["hidden_dims"], [a * count + b] * layers) if "hidden_dims" in given else None

    context = (size(owner, "context_dim", given["context_dim"]),) if "context_dim" in given else SOME
    built, rank = row.arrangement.arrange(owner, given, kernel, net, context if conditional else None)
    return built, rank, given[network] if network else None


def named(row: Row, module: str) -> dict[str, Any]:
    """Return the classes and functions of a row, by name.

    Args:
        row: The row.
        module: Where they will be found, by copies and pickles too.
    """
    made: dict[str, Any] = {}
    for conditional, (upper, lower) in enumerate(KINDS):
        if row.words(upper):
            cls = made[row.named(upper)] = _class(row, upper, bool(conditional))
            made[row.named(lower)] = _function(row, lower, bool(conditional), cls)
    for value in made.values():
        value.__module__ = module
    return made


def _class(row: Row, kind: str, conditional: bool) -> Any:
    base: Any = PlannedConditional if conditional else Planned
    name, call, shown = row.named(kind), arguments(row, kind), signature(row, kind)

    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        base.__init__(self, *layer(row, self.label(), _bound(name, call, args, kwargs), conditional))

    own = Parameter("self", Parameter.POSITIONAL_OR_KEYWORD)
    vars(init)["__signature__"] = shown.replace(parameters=[own, *shown.parameters.values()])
    return type(name, (base,), {"__init__": init, "__doc__": document(row, kind), **row.facts})


def _function(row: Row, kind: str, conditional: bool, cls: Any) -> Any:
    name, call, usual = row.named(kind), arguments(row, kind), row.usual.get(kind)

    def function(*args: Any, **kwargs: Any) -> Any:
        given = _bound(name, call, args, kwargs)
        if usual is not None:
            given |= usual(name, given["input_dim"], **{option.name: given.pop(option.name) for option in row.options(kind)})
        return cls.of(*layer(row, name, given, conditional)[:2]) if "hidden_dims" in given else cls(**given)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = document(row, kind)
    vars(function)["__signature__"] = signature(row, kind)
    return function


def _bound(name: str, call: Signature, args: Any, kwargs: Any) -> dict[str, Any]:
    """Return the arguments of a call by name, with the defaults of those that are left out."""
    try:
        bound = call.bind(*args, **kwargs)
    except TypeError as error:
        raise TypeError(f"{name}: {error}; its arguments are {', '.join(call.parameters)}") from None
    bound.apply_defaults()
    return dict(bound.arguments)
