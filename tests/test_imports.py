"""Imports: they only go down, they bring nothing heavy, and they change nothing outside the package."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import textwrap
import traceback
from pathlib import Path

import pytest

import pushforward

ROOT = Path(pushforward.__file__).parent
FACE = "contrib.pyro.face"  # needs no Pyro, so it is a layer of its own
DESIGN = (ROOT.parent / "docs/design.md").read_text()
# The one place where the order is written: lines of names, each of which may import those of earlier lines.
ORDER = [
    line.removeprefix("<").split(",")
    for line in re.search(r"## The order of the layers.*?```text\n(.*?)```", DESIGN, re.DOTALL)[1].split("\n")
    if line
]
LINE = {part.strip(): number for number, parts in enumerate(ORDER) for part in parts}
# These are themselves imported late: by functions alone.
LATE = {"cli", "contrib", "plots.picture"}
OPTIONAL = {"matplotlib", "pandas", "pyarrow", "narwhals", "sklearn", "typer", "scipy", "IPython"}


def name_of(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return parts[:-1] if parts[-1] == "__init__" else parts


MODULES = {".".join(name_of(path)): path for path in sorted(ROOT.rglob("*.py"))}


def imports(path):
    """Return the modules that a file imports: ``(name, whether at import time, whether for types alone)``."""
    tree = ast.parse(path.read_text())
    found = []

    def visit(node, inside, typing):
        if isinstance(node, ast.Import):
            found.extend((alias.name, not inside, typing) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: expected absolute imports"
            for alias in node.names:
                dotted = f"{node.module}.{alias.name}"
                known = dotted.removeprefix("pushforward.") in MODULES and dotted.startswith("pushforward.")
                found.append((dotted if known else node.module, not inside, typing))
        for child in ast.iter_child_nodes(node):
            function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            guarded = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
            visit(child, inside or function, typing or guarded)

    visit(tree, False, False)
    return found


def layer_of(name):
    """Return the layer of a module: its file, or the folder in which it is."""
    return FACE if name.startswith(FACE) else name.split(".")[0]


def own_imports(name):
    return [
        (full.removeprefix("pushforward").removeprefix("."), at_import, typing)
        for full, at_import, typing in imports(MODULES[name])
        if full.split(".")[0] == "pushforward"
    ]


def test_imports_only_go_down():
    """Between layers as the design's order says, and within a layer in some order."""
    up = []
    for name in MODULES:
        own = LINE.get(layer_of(name) or "pushforward")
        assert own is not None, f"{layer_of(name)}: give this layer its place in the order of docs/design.md"
        others = {target for target, _, _ in own_imports(name) if layer_of(target) != layer_of(name)}
        up += [f"{name} imports {target}" for target in sorted(others) if LINE[layer_of(target) or "pushforward"] >= own]
    assert not up


def test_the_order_names_what_there_is():
    assert set(LINE) == {layer_of(name) or "pushforward" for name in MODULES}


@pytest.mark.parametrize("layer", sorted({layer_of(name) for name in MODULES if "." in name}))
def test_no_layer_has_a_cycle(layer):
    inside = {name for name in MODULES if layer_of(name) == layer}
    edges = {(name, target) for name in inside for target, _, typing in own_imports(name) if target in inside and not typing}
    assert not [edge for edge in edges if edge[1] == layer and edge[0] != layer], "a part imports the folder's own names"
    left = {name: {b for a, b in edges if a == name} for name in inside}
    while left:
        ready = [name for name, below in left.items() if not below & set(left)]
        assert ready, f"cycle among {sorted(left)}"
        for name in ready:
            del left[name]


def early(name):
    return name not in LATE and layer_of(name) not in LATE


def test_optional_packages_are_imported_where_they_are_used():
    for name in filter(early, MODULES):
        bad = [full for full, _, typing in imports(MODULES[name]) if full.split(".")[0] in OPTIONAL and not typing]
        assert not bad, f"{name}: use pushforward.core.extras.require inside the function"
        late = [target for target, at_import, typing in own_imports(name) if not early(target) and at_import and not typing]
        assert not late, f"{name}: import this inside the function"


def required():
    """Return the modules that the library asks for with the extras that it says bring them."""
    calls = (node for path in MODULES.values() for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call))
    return {tuple(part.value for part in call.args) for call in calls if isinstance(call.func, ast.Name) and call.func.id == "require"}


def extras():
    """Return what each extra of pyproject.toml brings, those of other extras included."""
    section = (ROOT.parent / "pyproject.toml").read_text().split("[project.optional-dependencies]")[1].split("\n[")[0]
    own = {name: ast.literal_eval(parts) for name, parts in re.findall(r"^(\w+) = (\[.*?\])$", section, re.MULTILINE | re.DOTALL)}

    def brought(name):
        for part in own[name]:
            inner = re.fullmatch(r"pushforward\[(.*)\]", part)
            yield from (p for other in inner[1].split(",") for p in brought(other)) if inner else [re.match(r"[\w-]+", part)[0]]

    return {name: set(brought(name)) for name in own}


@pytest.mark.parametrize(("module", "extra"), sorted(required()))
def test_an_extra_that_is_named_brings_what_is_asked_for(module, extra):
    package = module.partition(".")[0]
    assert {"sklearn": "scikit-learn", "pyro": "pyro-ppl"}.get(package, package) in extras()[extra]


@pytest.mark.parametrize("layer", sorted({layer_of(name) for name in MODULES}))
def test_no_module_takes_what_is_private_to_another_layer(layer):
    for name in MODULES:
        if layer_of(name) == layer:
            expect_nothing_private(name)


def expect_nothing_private(name):
    tree = ast.parse(MODULES[name].read_text())
    froms = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("pushforward.")]
    others = [node for node in froms if layer_of(node.module.removeprefix("pushforward.")) != layer_of(name)]
    assert not [alias.name for node in others for alias in node.names if alias.name.startswith("_")]
    # What adapters hold as `self.flow` is a flow of this library.
    held = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "self.flow"]
    assert layer_of(name) != "contrib" or not [node.attr for node in held if node.attr.startswith("_")]


def test_third_parties_are_the_declared_ones():
    allowed = {"torch", "numpy", "safetensors", "tqdm", "pushforward"}
    used = {full.split(".")[0] for name in filter(early, MODULES) for full, _, typing in imports(MODULES[name]) if not typing}
    assert used - allowed <= set(sys.stdlib_module_names)


def fresh(code):
    """Return what a fresh interpreter prints as JSON."""
    return json.loads(printed(code))


def printed(code):
    """Return what a fresh interpreter prints."""
    # A folder that torch's compiler leaves to be removed at the end, up to 2.5, is torch's affair.
    done = subprocess.run(
        [sys.executable, "-W", "error", "-W", "ignore::ResourceWarning:tempfile", "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == "", "an import says something"
    return done.stdout


def test_the_import_brings_nothing_heavy():
    brought = fresh("""
        import json, sys
        import torch, numpy, numpy.polynomial, safetensors.torch, tqdm
        before = set(sys.modules)
        import pushforward
        print(json.dumps(sorted(set(sys.modules) - before)))
    """)
    packages = {name.split(".")[0] for name in brought}
    assert packages <= {"pushforward", *sys.stdlib_module_names}
    # Of torch and of what it imports itself, nothing that it would not have imported.
    assert not [name for name in brought if name.split(".")[0] in {"torch", "sympy", "numpy", "safetensors", "tqdm"}]
    assert not packages & (OPTIONAL | {"triton", "networkx", "jinja2"})
    # What only some users use stays out of the first import.
    later = ("pushforward.cli", "pushforward.data.reading", "pushforward.contrib", "pushforward.distributions", "pushforward.transforms")
    assert not [name for name in brought if name.startswith(later)]


ASKED = [
    "pushforward.transforms.Planar, pushforward.distributions.transforms.Planar",
    "pushforward.distributions.StandardNormal, pushforward.distributions.constraints.sphere, pushforward.distributions.conditional",
    "__import__('pushforward.transforms').transforms.Spline",
    "__import__('pushforward', fromlist=['distributions']).distributions.kl_divergence",
]


@pytest.fixture(scope="module")
def brought():
    """Return for each of `ASKED` what comes of Pyro's when it is asked for: each in a fork of an interpreter that has torch alone."""
    lines = printed(f"""
        import json, os, sys
        import torch  # which takes all the time, and is not what is asked about
        sys.modules["pyro"] = None  # what imports it fails
        for asked in {ASKED!r}:
            if not os.fork():
                import pushforward
                eval(asked)
                print(json.dumps([name for name in sys.modules if name.startswith("pushforward.contrib")]), flush=True)
                os._exit(0)
            assert os.wait()[1] == 0
    """).splitlines()
    return dict(zip(ASKED, map(json.loads, lines), strict=True))


@pytest.mark.parametrize("asked", ASKED)
def test_names_of_pyro_come_when_they_are_asked_for_and_need_no_pyro(asked, brought):
    there = brought[asked]
    assert "pushforward.contrib.pyro.face" in there
    assert {name for name in there if not name.startswith(f"pushforward.{FACE}")} == {"pushforward.contrib", "pushforward.contrib.pyro"}


def test_a_name_of_a_part_that_is_not_imported_yet_is_found_there():
    told = fresh("""
        import json, pushforward
        try:
            pushforward.Planar
        except AttributeError as error:
            print(json.dumps(str(error)))
    """)
    assert told.endswith("there is pushforward.bijectors.Planar and pushforward.transforms.Planar")


OUTSIDE = """
    import copy, json, logging, os, random, signal, sys, threading, warnings
    import numpy, torch, matplotlib
    import torch.distributions

    def state():
        transforms = torch.distributions.transforms
        registry = torch.distributions.constraint_registry
        kl = torch.distributions.kl
        return {
            "torch's random state": torch.get_rng_state().tolist(),
            "numpy's random state": repr(numpy.random.get_state()),
            "Python's random state": repr(random.getstate()),
            "default dtype": str(torch.get_default_dtype()),
            "default device": str(torch.get_default_device()),
            "gradients": torch.is_grad_enabled(),
            "anomaly": torch.is_anomaly_enabled(),
            "deterministic": torch.are_deterministic_algorithms_enabled(),
            "matmul": torch.get_float32_matmul_precision(),
            "threads": [torch.get_num_threads(), threading.active_count()],
            "validation": torch.distributions.Distribution._validate_args,
            "constraints": [len(registry.biject_to._registry), len(registry.transform_to._registry)],
            "KL": len(kl._KL_REGISTRY),
            "names": [sorted(dir(m)) for m in (torch, torch.nn, torch.Tensor, torch.distributions, transforms, kl)],
            "warnings": repr(warnings.filters),
            "rcParams": repr(matplotlib.rcParams),
            "environment": dict(os.environ),
            "folder": os.getcwd(),
            "path": sys.path,
            "hooks": [repr(sys.excepthook), repr(sys.displayhook), repr(signal.getsignal(signal.SIGINT)), len(sys.meta_path)],
            "logging": [logging.getLogger().level, len(logging.getLogger().handlers)],
            "recursion": sys.getrecursionlimit(),
        }

    before = json.dumps(state())
    IMPORT
    after = json.loads(json.dumps(state()))
    print(json.dumps([key for key, value in json.loads(before).items() if value != after[key]]))
"""


@pytest.mark.parametrize("modules", ["pushforward", "pushforward.plots, pushforward.testing, pushforward.data.reading, pushforward.cli"])
def test_the_import_changes_nothing_outside(modules):
    # What other packages do when they are imported is theirs.
    others = "safetensors.torch, tqdm" + (", typer, torch._dynamo" if "cli" in modules else "")
    code = OUTSIDE.replace("import torch.distributions\n", f"import torch.distributions, {others}\n", 1)
    assert fresh(code.replace("IMPORT", f"import {modules}")) == []


def test_what_users_do_says_nothing():
    """Not even where warnings are errors, as in the tests of a user's own."""
    assert (
        fresh("""
        import copy, json, pickle, tempfile
        import torch
        import pushforward as pf

        flow, x, c = pf.NSF(2, 3, transforms=1, widths=(8,)), torch.randn(64, 2), torch.randn(64, 3)
        pf.fit(flow, x, c, epochs=2, progress=False)
        target = pf.MAF(2, transforms=1, widths=(8,))
        pf.fit_target(target, lambda z: -z.square().sum(-1), steps=4, progress=False)
        (-flow.log_prob(x, c).mean()).backward()
        flow.rsample((5,), c[0]).sum().backward()
        torch.func.vmap(flow.log_prob)(x, c), torch.func.jacrev(flow.log_prob)(x[:1], c[:1])
        torch.autograd.functional.hessian(lambda v: flow.log_prob(v, c[0]), x[0])
        with tempfile.TemporaryDirectory() as folder:
            flow.save(f"{folder}/flow.safetensors")
            pf.load(f"{folder}/flow.safetensors").sample((3,), c[0])
        copy.deepcopy(flow), pickle.loads(pickle.dumps(flow)), str(flow.describe(batch=64)), flow.double().bfloat16()
        print(json.dumps([]))
    """)
        == []
    )


def test_what_is_public_is_there():
    for module in (pushforward, pushforward.bijectors, pushforward.distributions, pushforward.transforms):
        assert len(set(module.__all__)) == len(module.__all__)
        assert all(hasattr(module, name) for name in module.__all__)


@pytest.mark.parametrize(
    ("module", "name", "there"),
    [
        (pushforward, "NAF", "pushforward.flows.NAF"),
        (pushforward, "realnvp", "pushforward.flows.RealNVP"),
        (pushforward, "StandardNormal", "pushforward.distributions.StandardNormal"),
        (pushforward, "Normal", "pushforward.distributions.Normal"),
        (pushforward, "TwoMoons", "pushforward.targets.TwoMoons"),
        (pushforward.bijectors, "ncsf", "pushforward.flows.NCSF"),
        (pushforward.flows, "Affine", "pushforward.bijectors.Affine"),
        (pushforward.distributions, "Spline", "pushforward.bijectors.Spline"),
        (pushforward.targets, "fit", "pushforward.fit"),
        (pushforward.transforms, "StickBreaking", "pushforward.bijectors.StickBreaking"),
    ],
)
def test_a_name_that_is_elsewhere_is_found_there(module, name, there):
    words = rf"has no attribute '{name}'; there is .*" + re.escape(there)
    with pytest.raises(AttributeError, match=words) as caught:
        getattr(module, name)
    # Nothing else is suggested beside it.
    assert "Did you mean" not in "".join(traceback.format_exception(caught.value))
    assert not hasattr(module, name)


def test_a_name_that_is_nowhere():
    with pytest.raises(AttributeError, match=r"^module 'pushforward' has no attribute 'nothing'$"):
        _ = pushforward.nothing
