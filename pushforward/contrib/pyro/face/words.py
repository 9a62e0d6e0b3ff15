"""Words: the arguments that rows name, and the signatures and docstrings that are made of them."""

from __future__ import annotations

from inspect import Parameter, Signature
from typing import Any

from pushforward.contrib.pyro.face.row import Row

NONE = Parameter.empty
KEYWORDS = ("|", "**")
"""After these words arguments are given by name; after the second Pyro declares none of them."""
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


def arguments(row: Row, kind: str) -> Signature:
    """Return the arguments that a class or function of a row takes."""
    found: list[Parameter] = []
    way: Any = Parameter.POSITIONAL_OR_KEYWORD
    options = {option.name: option for option in row.options(kind)}
    for word in row.words(kind):
        if word in KEYWORDS:
            way = Parameter.KEYWORD_ONLY
        elif word == "*":
            found += [option.replace(kind=way) for option in options.values()]
        elif word in options:
            found.append(options.pop(word).replace(kind=way, default=NONE))
        else:
            name, annotation, default, _ = WORDS[word]
            found.append(Parameter(name, way, default=default, annotation=annotation))
    return Signature(found)


def signature(row: Row, kind: str) -> Signature:
    """Return the arguments of a class or function of a row as Pyro declares them: some as any keywords."""
    call, hidden = arguments(row, kind), "**" in row.words(kind)
    found = [p for p in call.parameters.values() if not hidden or p.kind is not p.KEYWORD_ONLY]
    found += [Parameter("kwargs", Parameter.VAR_KEYWORD, annotation="Any")] if hidden else []
    return Signature(found, return_annotation={"x": row.named("X"), "conditional_x": row.named("ConditionalX")}.get(kind, "None"))


def document(row: Row, kind: str) -> str | None:
    """Return the docstring of a class or function of a row."""
    if kind == "X":
        return row.plan.__doc__
    words, usual = row.words(kind), row.usual.get(kind)
    X, made = row.named("X"), row.named("ConditionalX" if kind.startswith("c") else "X")
    if kind == "ConditionalX":
        first = (
            f"`{X}` whose {f'parameters a network of the context gives: {row.gives}' if row.gives else 'network sees a context as well'}."
        )
    elif "hidden_dims" in words:
        a, b, count = row.hidden_of(kind.startswith("c"))
        wide = f"{count} hidden layer{'s' * (count > 1)} of width ``{a} D{f' + {b}' * (b > 0)}``"
        masked = row.arrangement.masked
        first = f"Return `{made}` with a {'masked ' * masked}perceptron, {wide}{', and a random order' * masked}."
    else:
        first = f"Return `{made}`."
    told, rest = {WORDS[word][0]: WORDS[word][3] for word in words if word in WORDS}, "See above." if usual else f"As of `{X}`."
    lines = [first, *(["", usual.__doc__] if usual and usual.__doc__ else []), "", "Args:"]
    return "\n".join([*lines, *(f"    {name}: {told.get(name, rest)}" for name in arguments(row, kind).parameters)])
