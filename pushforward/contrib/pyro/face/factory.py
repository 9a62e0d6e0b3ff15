"""The factory: the layer that a row of the table and Pyro's arguments make, and the classes and functions that make it."""

from __future__ import annotations

from collections.abc import Callable
from inspect import Parameter, Signature
from typing import Any

from pushforward.contrib.pyro.face.given import SOME, _Given
from pushforward.contrib.pyro.face.planned import Planned, PlannedConditional
from pushforward.contrib.pyro.face.row import Row
from pushforward.contrib.pyro.face.sizes import perceptron, size
from pushforward.core import TransformModule as Layer

NETWORKS = ("nn", "autoregressive_nn", "hypernet")
KINDS = (("X", "x"), ("ConditionalX", "conditional_x"))
NONE = Parameter.empty
# The words of arrangements: the argument, its type, its default if it has one, and what it is.
WORDS: dict[str, tuple[str, str, Any, str]] = {
    "input_dim": ("input_dim", "int", NONE, "D, how many numbers an event has."),
    "event": ("input_dim", "int | Sequence[int]", NONE, "D, or the shape of an event of ``-dim`` axes, D numbers in all."),
    "channels": ("channels", "int", 3, "D, how many channels an image has."),
    "permutation": ("permutation", "Tensor | Sequence[int] | None", None, "The order of the channels (None: at random)."),
    "context_dim": ("context_dim", "int", NONE, "Length of the context."),
    "hidden_dims": ("hidden_dims", "Sequence[int] | None", None, "Widths of the perceptron (None: see above)."),
    "split_dim": ("split_dim", "int", NONE, "How many entries pass through."),
    "split": ("split_dim", "int | None", None, "How many entries pass through (None: half of them)."),
    "dim": ("dim", "int", -1, "The axis, negative."),
    "identity": ("identity", "bool", False, "Whether what passes through stays as it is."),
    "nn": ("nn", "Callable[..., Any]", NONE, "The network, called as ``nn(context)``."),
    "autoregressive_nn": ("autoregressive_nn", "Callable[..., Any]", NONE, "The network, called as ``autoregressive_nn(x, context=c)``."),
    "hypernet": ("hypernet", "Callable[..., Any]", NONE, "The network, called as ``hypernet(x1, context=c)``."),
}


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
            # A function that makes no network, and has the same arguments, is the class by another name.
            same = row.words(upper) == row.words(lower) and lower not in row.usual
            made[row.named(lower)] = cls if same else _function(row, lower, bool(conditional), cls)
    for value in made.values():
        value.__module__ = module
    return made


def _class(row: Row, kind: str, conditional: bool) -> Any:
    base: Any = PlannedConditional if conditional else Planned
    name, call = row.named(kind), signature(row, kind)

    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        base.__init__(self, *layer(row, self.label(), _bound(name, call, args, kwargs), conditional))

    own = Parameter("self", Parameter.POSITIONAL_OR_KEYWORD)
    vars(init)["__signature__"] = call.replace(parameters=[own, *call.parameters.values()])
    return type(name, (base,), {"__init__": init, "__doc__": document(row, kind), **row.facts})


def _function(row: Row, kind: str, conditional: bool, cls: Any) -> Any:
    name, call, usual = row.named(kind), signature(row, kind), row.usual.get(kind)

    def function(*args: Any, **kwargs: Any) -> Any:
        given = _bound(name, call, args, kwargs)
        if usual is not None:
            given |= usual(name, given["input_dim"], **{option.name: given.pop(option.name) for option in row.options(kind)})
        return cls.of(*layer(row, name, given, conditional)[:2]) if "hidden_dims" in given else cls(**given)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = document(row, kind)
    vars(function)["__signature__"] = call
    return function


def _bound(name: str, call: Signature, args: Any, kwargs: Any) -> dict[str, Any]:
    """Return the arguments of a call by name, with the defaults of those that are left out."""
    try:
        bound = call.bind(*args, **kwargs)
    except TypeError as error:
        raise TypeError(f"{name}: {error}; its arguments are {', '.join(call.parameters)}") from None
    bound.apply_defaults()
    return dict(bound.arguments)


def signature(row: Row, kind: str) -> Signature:
    """Return the arguments of a class or function of a row."""
    found: list[Parameter] = []
    for word in row.words(kind):
        name, annotation, default, _ = WORDS.get(word, ("", "", None, ""))
        own = [Parameter(name, Parameter.POSITIONAL_OR_KEYWORD, default=default, annotation=annotation)] if name else row.options(kind)
        found += own
    return Signature(found)


def document(row: Row, kind: str) -> str | None:
    """Return the docstring of a class or function of a row."""
    if kind == "X":
        return row.plan.__doc__
    words, usual = row.words(kind), row.usual.get(kind)
    X, made = row.named("X"), row.named("ConditionalX" if kind.startswith("c") else "X")
    if kind == "ConditionalX":
        first = f"`{X}` whose parameters a network of the context gives: {row.gives or f'those of `{X}`'}."
    elif "hidden_dims" in words:
        a, b, count = row.hidden_of(kind.startswith("c"))
        wide = f"{count} hidden layer{'s' * (count > 1)} of width ``{a} D{f' + {b}' * (b > 0)}``"
        masked = row.arrangement.masked
        first = f"Return `{made}` with a {'masked ' * masked}perceptron, {wide}{', and a random order' * masked}."
    else:
        first = f"Return `{made}`."
    told = {WORDS[word][0]: WORDS[word][3] for word in words if word != "*"}
    lines = [first, *(["", usual.__doc__] if usual and usual.__doc__ else []), "", "Args:"]
    return "\n".join([*lines, *(f"    {name}: {told.get(name, f'As of `{X}`.')}" for name in signature(row, kind).parameters)])
