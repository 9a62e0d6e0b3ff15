"""The pages of the reference: every public name of every public module, by the path that users import it from.

Only names come from here. What they are is read from their docstrings, when the site is built.
"""

from __future__ import annotations

import ast
import dataclasses
import importlib
import importlib.util
import inspect
import itertools
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "reference"
MODULES = (
    "pushforward", "pushforward.flows", "pushforward.bijectors", "pushforward.distributions", "pushforward.distributions.constraints",
    "pushforward.transforms", "pushforward.targets", "pushforward.data", "pushforward.train", "pushforward.plots",
    "pushforward.testing", "pushforward.contrib.conversion",
    "pushforward.contrib.flowtorch", "pushforward.contrib.flowtorch.bijectors", "pushforward.contrib.flowtorch.bijectors.utils",
    "pushforward.contrib.flowtorch.distributions", "pushforward.contrib.flowtorch.parameters", "pushforward.contrib.flowtorch.utils",
    "pushforward.contrib.nessai", "pushforward.contrib.nflows", "pushforward.contrib.normflows", "pushforward.contrib.pocomc",
    "pushforward.contrib.pyro", "pushforward.contrib.sbi", "pushforward.contrib.sklearn", "pushforward.contrib.zuko",
)  # fmt: skip
"""The public modules. What several of them export is documented under the first, and the others refer to it."""
SAME = {
    "pushforward.distributions.conditional": "pushforward.distributions",
    "pushforward.distributions.transforms": "pushforward.transforms",
}
"""Modules that export names of another one, and nothing else."""


def names(module: str) -> list[str]:
    """Return what a module exports: its ``__all__``, or the classes and functions that it defines; adapters are read, not imported."""
    if ".contrib." not in module:
        return list(importlib.import_module(module).__all__)
    tree = ast.parse(source(module).read_text())
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return list(ast.literal_eval(node.value))
    defined = [node.name for node in tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef)]
    return [name for name in defined if not name.startswith("_")]


def source(module: str) -> Path:
    """Return the file of a module of the package."""
    path = ROOT.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def homes(modules: Sequence[str] = MODULES) -> dict[str, str]:
    """Return the public path under which each public path is documented: itself, or an earlier one of the same thing."""
    found, first = {}, {}
    for module in modules:
        there = importlib.import_module(module)
        for name in names(module):
            value = getattr(there, name)
            # Equal numbers are one object, and no alias.
            shared = isinstance(value, type) or inspect.isfunction(value)
            found[f"{module}.{name}"] = first.setdefault(id(value), f"{module}.{name}") if shared else f"{module}.{name}"
    return found


def pages(modules: Sequence[str] = MODULES) -> dict[str, str]:
    """Return the text of each page, in reStructuredText, by the name of its module; each module is imported."""
    home = homes(modules)
    return {module: _page(module, home) for module in modules}


def write() -> None:
    """Bring the folder of the pages up to date; a page that has not changed is left alone."""
    FOLDER.mkdir(exist_ok=True)
    texts = {FOLDER / f"{module}.rst": text for module, text in pages().items()}
    for path in set(FOLDER.iterdir()) - set(texts):
        path.unlink()
    for path, text in texts.items():
        if not path.exists() or path.read_text() != text:
            path.write_text(text)


def _page(module: str, home: dict[str, str]) -> str:
    there = importlib.import_module(module)
    lines = [module, "=" * len(module), "", f".. automodule:: {module}", "   :no-members:", "", f".. currentmodule:: {module}", ""]
    below = [one for one in MODULES if one.rpartition(".")[0] == module != "pushforward"]
    if below:
        lines += [".. toctree::", "   :hidden:", "", *(f"   {one.rpartition('.')[2]} <{one}>" for one in below), ""]
    groups = _groups(module, there)
    for title, group in groups:
        lines += [title, "-" * len(title)] if len(groups) > 1 else []
        theirs = [name for name in group if _is_torchs(getattr(there, name))]
        modules = [name for name in group if isinstance(getattr(there, name), ModuleType)]
        ours = [name for name in group if name not in theirs and name not in modules]
        for name in modules:
            page = SAME.get(f"{module}.{name}", f"{module}.{name}")
            lines += [f"- :doc:`{module}.{name} <{page}>`: {_first_line(getattr(there, name))}"]
        lines += ["", "As torch has them: " + ", ".join(f"``{name}``" for name in theirs) + ".", ""] if theirs else [""]
        listed = [name for name in ours if not _is_metaclass(getattr(there, name))]
        if listed:
            lines += [".. autosummary::", "   :nosignatures:", "", *(f"   {name}" for name in listed), ""]
        for name in ours:
            if home[f"{module}.{name}"] == f"{module}.{name}":
                lines += [*_entry(f"{module}.{name}", getattr(there, name)), ""]
    return "\n".join(lines)


def _groups(module: str, there: ModuleType) -> list[tuple[str, list[str]]]:
    """Return the sections of a page: title and names."""
    known = names(module)

    def title(name: str) -> str:
        value = getattr(there, name)
        if isinstance(value, ModuleType):
            return "Modules"
        if _is_torchs(value) or (value.__class__ is type and value.__module__.endswith(".torchs")):
            return "Names of torch"
        if module == "pushforward.bijectors":
            return _kinds().get(name, "What plans have in common")
        if module == "pushforward.distributions":
            return _kinds().get(name, "Base distributions" if name == "wrap" else "Flows, and Pyro's classes")
        return "Classes" if inspect.isclass(value) else "Functions" if callable(value) else "Values"

    order = [*dict.fromkeys(_kinds().values()), "What plans have in common", "Flows, and Pyro's classes", "Functions", "Classes", "Values"]
    found = {one: [name for name in known if title(name) == one] for one in [*order, "Modules", "Names of torch"]}
    return [(one, group) for one, group in found.items() if group]


def _kinds() -> dict[str, str]:
    """Return the kind of each plan, which the catalogue says."""
    kinds, kind = {}, ""
    for line in (ROOT / "docs" / "catalogue.md").read_text().splitlines():
        if line.startswith("## "):
            kind = line.removeprefix("## ")
        elif found := re.match(r"\| `(\w+)` \|", line):
            kinds.setdefault(found[1], kind)
    return kinds


def _is_torchs(value: Any) -> bool:
    return str(getattr(value, "__module__", type(value).__module__)).startswith("torch.")


def _is_metaclass(value: Any) -> bool:
    """Tell whether a value is a class of classes, which has no signature to ask for."""
    return inspect.isclass(value) and issubclass(value, type)


def _entry(path: str, value: Any) -> list[str]:
    if _is_metaclass(value):
        return [f".. py:class:: {path}", "", *(f"   {line}" for line in inspect.getdoc(value).splitlines())]
    if inspect.isclass(value):
        members = _members(value)
        return [f".. autoclass:: {path}", "   :show-inheritance:", *([f"   :members: {', '.join(members)}"] if members else [])]
    if callable(value):
        return [f".. autofunction:: {path}"]
    return [f".. py:data:: {path}", "", f"   {_said_below(path.rpartition('.')[2], value)}"]


def _members(cls: type) -> list[str]:
    """Return the members of a class that its entry documents: those that no public class of ours has introduced, and no fields."""
    public = {_path(module, name) for module in MODULES if ".contrib." not in module for name in names(module)}
    fields = {field.name for field in dataclasses.fields(cls)} if dataclasses.is_dataclass(cls) else set()
    ours = [base for base in cls.__mro__ if base.__module__.startswith("pushforward")]
    inherited = {name for base in ours[1:] if id(base) in public for name in dir(base)}
    # A plan's own methods; of anything else also those of bases that nothing documents.
    bases = ours[:1] if issubclass(cls, importlib.import_module("pushforward").Spec) else ours
    found = dict.fromkeys(name for base in bases for name in vars(base) if not name.startswith("_"))
    return [name for name in found if name not in inherited | fields and _is_documented(cls, name)]


def _path(module: str, name: str) -> int:
    return id(getattr(importlib.import_module(module), name))


def _is_documented(cls: type, name: str) -> bool:
    """Tell whether a method, or a property, has a docstring of its own or of a class of ours; values are left out."""
    for base in cls.__mro__:
        value = vars(base).get(name) if base.__module__.startswith("pushforward") else None
        value = value.__func__ if isinstance(value, classmethod | staticmethod) else value
        if (inspect.isfunction(value) or isinstance(value, property)) and value.__doc__:
            return True
    return False


def _first_line(module: ModuleType) -> str:
    return inspect.getdoc(module).splitlines()[0]


def _said_below(name: str, value: Any) -> str:
    """Return what there is to say of a value: the docstring below its definition, the names in it, or what its class is."""
    for module in [m for key, m in sys.modules.items() if key.startswith("pushforward.") and vars(m).get(name) is value]:
        body = ast.parse(inspect.getsource(module)).body
        for node, after in itertools.pairwise(body):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
            said = after.value if isinstance(after, ast.Expr) else None
            if name in [ast.unparse(target) for target in targets] and isinstance(said, ast.Constant):
                return inspect.cleandoc(said.value).replace("\n", "\n   ")
    if isinstance(value, list | tuple):
        listed = [one[0] if isinstance(one, tuple) else one.name for one in value]
        return f"{len(listed)} in order: " + "; ".join(f"``{one}``" for one in listed) + "."
    return inspect.getdoc(value).splitlines()[0]
