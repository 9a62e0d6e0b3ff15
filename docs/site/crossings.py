"""Cross-references of docstrings: names in single backticks, and classes in signatures, lead to where users import them from."""

from __future__ import annotations

import re
from collections.abc import Container
from functools import cache
from typing import get_type_hints

import reference
from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util import logging
from sphinx.util.nodes import make_refnode

log = logging.getLogger(__name__)


@cache
def places() -> dict[str, str]:
    """Return where each name is documented: by its public paths, by the path of its definition, and, where one will do, by itself."""
    homes = reference.homes()
    found: dict[str, str] = {}
    for path, home in homes.items():
        found[path] = home
        module, _, name = path.rpartition(".")
        value = getattr(reference.importlib.import_module(module), name)
        found.setdefault(f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', '')}", home)
        found.setdefault(name, home)
    return found


def _home(target: str, module: str, objects: Container[str]) -> str | None:
    """Return the path under which a name is documented that a docstring of a module writes; the rest of a dotted one is a member."""
    for path in (f"{module}.{target}", target):
        parts = path.split(".")
        for cut in range(len(parts), 0, -1):
            home = places().get(".".join(parts[:cut]))
            found = home and ".".join([home, *parts[cut:]])
            if found in objects:
                return found
    return None


def _point(app: Sphinx, doctree: nodes.document) -> None:
    """Let names that are public lead to where they are documented; otherwise Sphinx takes any of the same ending."""
    for node in doctree.findall(pending_xref):
        if node.get("refdomain") == "py":
            for path in (f"{node.get('py:module')}.{node['reftarget']}", node["reftarget"]):
                if path in places():
                    node["reftarget"] = places()[path]
                    node.attributes.pop("refspecific", None)
                    break


def _resolve(app: Sphinx, env: BuildEnvironment, node: pending_xref, shown: nodes.Element) -> nodes.Element | None:
    if node.get("refdomain") != "py":
        return None
    target = node["reftarget"]
    objects = env.domains.python_domain.objects
    home = _home(target, node.get("py:module") or "pushforward", objects)
    if home:
        return make_refnode(app.builder, node["refdoc"], objects[home].docname, objects[home].node_id, [shown], home)
    if node["reftype"] == "obj" and target.startswith("pushforward.") and target not in {*places(), *reference.MODULES}:
        log.warning("%s is no public path", target, location=node)
    return shown


def _forget_definitions(app: Sphinx, env: BuildEnvironment) -> None:
    """Drop the paths of definitions, which autodoc notes beside the public ones: modules inside the package move."""
    objects = env.domains.python_domain.objects
    for path in [path for path, entry in objects.items() if entry.aliased]:
        del objects[path]


def _plain_types(app: Sphinx, thing: object, bound: bool) -> None:
    """Show types without what `Annotated` adds to them, which the package reads."""
    function = getattr(thing, "__func__", thing)
    try:
        function.__annotations__ = get_type_hints(function)
    except (AttributeError, NameError, TypeError):  # classes, what is compiled, and names that stand for type checkers only
        return


def _public_bases(app: Sphinx, name: str, cls: type, options: object, bases: list[type]) -> None:
    """Show in place of a base that is not public what it is derived from."""
    bases[:] = dict.fromkeys(shown for base in cls.__bases__ for shown in _shown(base)) or [object]


def _shown(base: type) -> list[type]:
    if base is object:
        return []
    if not base.__module__.startswith("pushforward.") or f"{base.__module__}.{base.__qualname__}" in places():
        return [base]
    return [shown for one in base.__bases__ for shown in _shown(one)]


def _no_lists(app: Sphinx, what: str, name: str, thing: object, options: object, lines: list[str]) -> None:
    """Keep an argument that is described by one letter from being read as an item of a list."""
    lines[:] = [re.sub(r"^(:param \w+: )([A-Za-z]\.)(?= |$)", r"\1\\\2", line) for line in lines]


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("doctree-read", _point)
    app.connect("missing-reference", _resolve)
    app.connect("env-updated", _forget_definitions)
    app.connect("autodoc-before-process-signature", _plain_types)
    app.connect("autodoc-process-docstring", _no_lists, priority=600)  # after the arguments have been found
    app.connect("autodoc-process-bases", _public_bases)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
