"""Options of named flows, and those that many have."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

from pushforward.core.spec import PlanError
from pushforward.recipes.stack import MIXES


@dataclass(frozen=True)
class Option:
    """An option of a named flow.

    Args:
        name: Its name, in Python and in errors.
        default: Its default; `inspect.Parameter.empty` where there is none.
        help: What it is, for the docstring.
        type: Its annotation (none: the type of the default).
        choices: The values that there are (none: those that the layers take, which check it).
        expected: How an error names the choices.
    """

    name: str
    default: Any
    help: str
    type: str = ""
    choices: tuple[Any, ...] = ()
    expected: str = ""

    def check(self, flow: str, value: Any) -> None:
        """Raise `PlanError` for a value that is none of the choices."""
        if self.choices and value not in self.choices:
            raise PlanError(f"{flow}: expected {self.name} to be {self.expected or f'one of {self.choices}'}, got {value!r}")

    def parameter(self, keyword: bool) -> inspect.Parameter:
        """Return it as a parameter of the function, by its name alone or not."""
        kind = inspect.Parameter.KEYWORD_ONLY if keyword else inspect.Parameter.POSITIONAL_OR_KEYWORD
        return inspect.Parameter(self.name, kind, default=self.default, annotation=self.type or type(self.default).__name__)


FEATURES = Option("features", inspect.Parameter.empty, "Number of features.", "int")
CONTEXT = Option("context", 0, "Number of context features (0: not conditional).")
WIDTHS = Option("widths", (64, 64), "Hidden widths of each network.", "Sequence[int]")
ACTIVATION = Option("activation", "relu", "Activation of each network, as in `MLP`.")
NET = Option("net", None, "A network plan or module instead of ``MLP(widths, activation)``.", "NetLike | None")
PERCEPTRON = (WIDTHS, ACTIVATION, NET)
POSTERIOR_NET = (WIDTHS, Option("net", None, "The network that gives all parameters for a context, instead of ``MLP(widths)``.", NET.type))
BINS = Option("bins", 8, "Bins of each spline.")
STRUCTURE = Option(
    "structure", "coupling", '``"coupling"`` or ``"autoregressive"``.', "", ("coupling", "autoregressive"), "'coupling' or 'autoregressive'"
)
MIXED = 'What mixes the features after each layer: ``"linear"``, ``"reverse"``, ``"shuffle"`` or None.'
SETS = "The set in which the values of each feature lie: names or constraints, as in `Domain` (None: all real values)."
SUPPORT = Option("support", None, SETS, "Support")


def transforms(default: int) -> Option:
    """Return the option ``transforms``, which every named flow has."""
    return Option("transforms", default, "Number of layers.")


def mix(default: str | None) -> Option:
    """Return the option ``mix``."""
    return Option("mix", default, MIXED, "str | None", MIXES)
