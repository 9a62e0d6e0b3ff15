"""The catalogue: every plan that there is, with its formula, cost and source, and its name in other libraries."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch

from pushforward.core import sets
from pushforward.core.base import Base
from pushforward.core.bijector import Bijector
from pushforward.core.layer import Layer
from pushforward.core.spec import PlanError, Spec, registry
from pushforward.kernels.affine import Affine
from pushforward.kernels.kernel import Kernel
from pushforward.nets.net import Net
from pushforward.recipes.table import FLOWS
from pushforward.report.peer_names import ELSEWHERE, EXAMPLES, SYSTEMS

KINDS = (
    "Learned maps of numbers", "Learned maps of vectors", "Fixed maps", "Structures", "Short names", "Base distributions", "Networks",
    "Named flows",
)  # fmt: skip
LAYERS = KINDS[:4]
SIZES = (6, 10)
"""Elements with which plans are built to see their cost: both are even, and numbers of entries below a diagonal."""


@dataclass(frozen=True)
class Entry:
    """One plan of the `Catalogue`; what does not apply to it is an empty text."""

    name: str
    kind: str
    what: str
    source: str
    formula: str = ""
    domain: str = ""
    codomain: str = ""
    parameters: str = ""
    to_sample: str = ""
    to_score: str = ""
    log_det: str = ""

    @property
    def elsewhere(self) -> dict[str, str]:
        """Return the names of the same thing in other libraries, by library."""
        return dict(ELSEWHERE.get(self.name, {}))


@dataclass(frozen=True)
class Catalogue:
    """All plans, by kind and name; printing it gives a line for each."""

    entries: tuple[Entry, ...]

    def __str__(self) -> str:
        width = max(len(entry.name) for entry in self.entries)
        return "\n".join(f"{entry.name:{width}}  {entry.formula or entry.what}" for entry in self.entries)

    def of(self, kind: str) -> tuple[Entry, ...]:
        """Return the entries of one of `KINDS`."""
        return tuple(entry for entry in self.entries if entry.kind == kind)

    def markdown(self) -> str:
        """Return the catalogue as sections of Markdown, a table for each kind and one of the names elsewhere."""
        parts = []
        head: Sequence[str]
        rows: list[Sequence[str]]
        for kind in KINDS:
            if kind in LAYERS:
                head = ("plan", "what it is", "formula", "from → to", "parameters", "to sample", "to score", "log-determinant", "source")
                rows = [
                    (_code(e.name), e.what, _code(e.formula), f"{e.domain} → {e.codomain}", _code(e.parameters), e.to_sample, e.to_score,
                     e.log_det, e.source) for e in self.of(kind)
                ]  # fmt: skip
            else:
                head = ("plan", "what it is", "source")
                rows = [(_code(e.name), e.what, e.source) for e in self.of(kind)]
            parts.append(f"## {kind}\n\n{_table(head, rows)}")
        names = [(_code(e.name), *(_code(e.elsewhere.get(system, "")) for system in SYSTEMS)) for e in self.entries if e.elsewhere]
        parts.append(f"## Names elsewhere\n\n{_table(('plan', *SYSTEMS.values()), names)}")
        return "\n\n".join(parts) + "\n"


def catalogue() -> Catalogue:
    """Return the catalogue of all plans and named flows of the library.

    >>> [entry.parameters for entry in catalogue().entries if entry.name == "Affine"]
    ['2 * D']
    """
    modules = [
        importlib.import_module(module.name)
        for name in ("pushforward", "pushforward.kernels", "pushforward.layers")
        for module in pkgutil.iter_modules(importlib.import_module(name).__path__, f"{name}.")
        if not module.ispkg and not module.name.endswith("__main__")
    ]
    # Adapters have plans of their own, which are there only when asked for.
    own = (cls for cls in registry().values() if cls.__module__.startswith("pushforward.") and ".contrib." not in cls.__module__)
    found = [_entry(cls) for cls in own]
    entries = [*(entry for entry in found if entry is not None), *(entry for module in modules for entry in _functions(module))]
    entries += [Entry(name, "Named flows", *_words(flow)) for name, flow in FLOWS.items()]
    return Catalogue(tuple(sorted(entries, key=lambda entry: (KINDS.index(entry.kind), entry.name.lower()))))


def example(cls: type[Bijector]) -> Bijector:
    """Return some plan of a class: with the default arguments, or the one that the data file has, or one around an affine map."""
    if cls.__name__ in EXAMPLES:
        made = Spec.from_dict(EXAMPLES[cls.__name__][0])
        assert isinstance(made, Bijector)
        return made
    fill: dict[str, Any] = {"Kernel": Affine(), "Bijector": Affine(), "Sequence[Bijector]": (Affine(),)}
    required = [f for f in dataclasses.fields(cls) if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING]  # type: ignore[arg-type]
    try:
        return cls(**{field.name: fill[str(field.type)] for field in required})
    except KeyError as error:
        raise PlanError(f"{cls.__name__}: expected an example in pushforward.report.peer_names, since {error} has no default") from None


def _entry(cls: type[Spec]) -> Entry | None:
    what, source = _words(cls)
    if issubclass(cls, Bijector):
        plan = example(cls)
        built = [_built(plan, size) for size in SIZES]
        costs = [
            _cost([module.facts.evaluations[way] for module in built], [module.facts.depth[way] for module in built]) for way in (0, 1)
        ]
        sought = isinstance(plan, Kernel) and plan.searches and plan.inverse_method == Kernel.inverse_method
        inverse_method = "a root" if sought else plan.inverse_method
        if not plan.bijective:
            costs[1] = "not at all"
        elif inverse_method != "closed form":
            costs[1] += f", {inverse_method}"
        return Entry(
            cls.__name__, _kind(cls), what, source, plan.formula, sets.name(built[0].domain), sets.name(built[0].codomain),
            _size(cls), costs[0], costs[1], plan.log_det,
        )  # fmt: skip
    for parent, kind in ((Base, "Base distributions"), (Net, "Networks")):
        if issubclass(cls, parent):
            return Entry(cls.__name__, kind, what, source)
    return None


def _kind(cls: type[Bijector]) -> str:
    if not issubclass(cls, Kernel):
        return "Structures"
    if cls.size == "0":
        return "Fixed maps"
    return "Learned maps of numbers" if cls.event_dim == 0 else "Learned maps of vectors"


def _size(cls: type[Bijector]) -> str:
    """Return the formula of the number of parameters, or whose they are."""
    fields = {field.name for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    if cls.size != "0":
        return cls.size
    if "net" in fields:
        return "its net's"
    return "its parts'" if fields & {"bijector", "bijectors"} else "0"


def _built(plan: Bijector, size: int) -> Layer:
    """Build a plan on as many elements as it takes, on the meta device."""
    shapes = EXAMPLES[type(plan).__name__][1] if type(plan).__name__ in EXAMPLES else ((size,), (size, size), (4, size, size))
    errors = []
    for shape in shapes:
        try:
            with torch.device("meta"):
                return plan.build(shape)
        except PlanError as error:
            errors.append(str(error))
    raise PlanError(f"{plan!r}: expected it to build, or an example in pushforward.report.peer_names; {errors}")


def _cost(evaluations: list[int], depth: list[int]) -> str:
    """Return evaluations and depth in words, with D where they grow with the size."""
    words = ["D" if tuple(counts) == SIZES else str(counts[0]) for counts in (evaluations, depth)]
    noun = "evaluation" if words[0] == "1" else "evaluations"
    return f"{words[0]} {noun}" + (f" of depth {words[1]}" if words[1] != words[0] else "")


def _words(thing: Any) -> tuple[str, str]:
    """Return the first sentence of a docstring, up to a formula that repeats the plan's own, and its sources."""
    text = re.sub(r":math:`([^`]*)`", r"$\1$", inspect.getdoc(thing) or "").replace("``", "`")
    sentence = re.split(r"[,:] \$|\.(?: |$)", " ".join(text.split("\n\n")[0].split()))[0].rstrip(" ,:")
    found = re.search(r"(?:^|\. )Source[^:]*:\s+(.*?)(?=\n\s*\n|\Z)", text, re.MULTILINE | re.DOTALL)
    return sentence, "" if found is None else " ".join(found[1].split()).split(". The arguments")[0].split(". Further")[0].rstrip(".")


def _functions(module: ModuleType) -> Iterator[Entry]:
    """Give the functions of a module that are named as plans are: those that return plans."""
    for name, function in inspect.getmembers(module, inspect.isfunction):
        if name[0].isupper() and function.__module__ == module.__name__:
            yield Entry(name, "Short names", *_words(function))


def _code(text: str) -> str:
    return f"`{text}`" if text else ""


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, tuple("---" for _ in head), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
