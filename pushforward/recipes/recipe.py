"""Recipe: one named flow as a row of data, and the function that the row makes."""

from __future__ import annotations

import inspect
import textwrap
import warnings
from collections.abc import Callable, Mapping, Sequence  # noqa: F401  (options are annotated with it)
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from pushforward.core.spec import PlanError, plain
from pushforward.flow.flow import Flow
from pushforward.nets.net import NetLike  # noqa: F401  (options are annotated with it)
from pushforward.recipes.option import CONTEXT, FEATURES, Option
from pushforward.recipes.stack import Parts, Support, check_support, only_moves, stack  # noqa: F401  (options are annotated with it)

WIDTH = 130
"""Characters of a line of a docstring."""
PASS = "in one pass a layer"
STEPS = "in one step a feature and layer"
ROOT = "by a root a layer"
SOLVER = "by a solver, whose steps follow the error of each row"
ROOTS = "by a root in one step a feature and layer"


@dataclass(frozen=True)
class Recipe:
    """A named flow: what it is called, what it is built of, and what there is to say of it.

    Args:
        name: The name of the function, and of ``--flow`` of the command and ``flow=`` of the other tools, there in any case.
        what: What it is: one sentence of at most a line.
        source: The papers that it is from.
        options: What the function takes beside ``features`` and ``context``, in this order; ``transforms`` is one of them.
        parts: Returns what the flow is stacked from, given an object that has all arguments by their names.
        score: How it is scored, in words such as `PASS`.
        sample: How it is sampled.
        note: What else there is to say.
        example: What follows the name in an example of one line, and what that prints.
        variants: Further names for it with some options set, for the command and the other tools.

    >>> row = Recipe("Plain", "A location and a scale.", "", (Option("transforms", 1, "None."),), lambda o: Parts(lambda i: []))
    >>> row.function(__name__)(2)
    Flow(StandardNormal(), Compose((Standardize(),)), event_shape=(2,))
    """

    name: str
    what: str
    source: str
    options: tuple[Option, ...]
    parts: Callable[[SimpleNamespace], Parts]
    score: str = PASS
    sample: str = PASS
    note: str = ""
    example: str = "(3).log_prob(torch.zeros(2, 3)).shape\ntorch.Size([2])"
    variants: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def make(self, arguments: Mapping[str, Any]) -> Flow:
        """Return the flow of all arguments by their names; raise `PlanError`, which names the flow and the option, for a wrong one."""
        # A row without these options has neither.
        o = SimpleNamespace(**{"mix": None, "support": None, **arguments})
        for count, least in (("features", 1), ("transforms", 1), ("context", 0)):
            value = plain(arguments[count])
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise PlanError(f"{self.name}: expected {count} to be a whole number of at least {least}, got {value!r}")
            setattr(o, count, value)
        for option in self.options:
            option.check(self.name, arguments[option.name])
        check_support(self.name, o.support, o.features)
        made = stack(self.name, self.parts(o), o.features, o.context, o.transforms, o.mix, o.support)
        if o.features == 1 and not o.context and only_moves(made, o.support):
            warnings.warn(
                f"{self.name}: one feature without a context, and no layer that bends it: this flow only moves and scales a normal "
                "distribution. Take splines instead, such as NSF(1)",
                stacklevel=3,  # whoever called the named flow
            )
        return made

    def function(self, module: str) -> Callable[..., Flow]:
        """Return the function that users call, of the module in which it gets the recipe's name."""
        signature = self.signature

        def named(*args: Any, **options: Any) -> Flow:
            try:
                given = signature.bind(*args, **options)
            except TypeError as error:
                words = str(error)
                raise TypeError(f"{self.name}() {'' if words.startswith(('got', 'missing')) else 'got '}{words}") from None
            given.apply_defaults()
            return self.make(given.arguments)

        named.__name__ = named.__qualname__ = self.name
        named.__module__, named.__doc__ = module, self.doc
        named.__annotations__ = {one.name: one.annotation for one in signature.parameters.values()} | {"return": "Flow"}
        named.__signature__ = signature  # type: ignore[attr-defined]
        return named

    @property
    def signature(self) -> inspect.Signature:
        """How the function is called."""
        parameters = [FEATURES.parameter(False), CONTEXT.parameter(False), *(option.parameter(True) for option in self.options)]
        return inspect.Signature(parameters, return_annotation="Flow")

    @property
    def doc(self) -> str:
        """The docstring of the function."""
        costs = f"Scored and sampled {self.score}." if self.score == self.sample else f"Scored {self.score}; sampled {self.sample}."
        lines = [self.what, "", textwrap.fill(f"{costs} {self.note}", WIDTH)]
        lines += [textwrap.fill(f"Source: {self.source}.", WIDTH)] if self.source else []
        lines += ["", "Args:"]
        for option in (FEATURES, CONTEXT, *self.options):
            lines.append(textwrap.fill(f"    {option.name}: {option.help}", WIDTH, subsequent_indent=" " * 8))
        return "\n".join([*lines, "", f">>> {self.name}{self.example}", ""])
