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
FOLDERS = (
    "native",
    "kernels",
    "structures",
    "bases",
    "recipes",
    "flows",
    "distributions",
    "train",
    "plots",
    "tables",
    "targets",
    "testing",
    "cli",
    "contrib",
    FACE,
)

# Each module with all that it may import. What is not named here has no place yet: give it one.
CORE = {"spec", "fields", "facts", "state", "budget", "supports", "numerics", "native", "roots", "describe", "core"}
BELOW_FLOW = CORE | {"base", "parameters", "kernel", "io", "bases", "nets", "structures"}
MAY = {
    "fields": set(),
    "spec": {"fields"},
    "supports": set(),
    "numerics": set(),
    "draws": set(),
    "names": set(),
    "startup": set(),
    "extras": set(),
    "doors": set(),
    "native": {"numerics"},
    "roots": {"native"},
    "config": {"native"},
    "describe": {"native"},
    "state": {"spec", "fields"},
    "built": {"doors", "spec", "state"},
    "facts": set(),
    "core": {"budget", "facts", "spec", "fields", "supports", "numerics", "built", "describe"},
    "base": {"budget", "built", "core", "doors", "spec"},
    "parameters": {"core", "describe", "doors", "numerics", "spec", "fields"},
    "moments": {"base", "core"},
    "blocks": {"native"},
    "finite": {"native", "supports"},
    "estimates": {"numerics"},
    "quantiles": {"base", "core", "numerics", "supports"},
    "kernel": {"core", "facts", "parameters", "native", "numerics", "roots", "supports", "spec", "fields"},
    "kernels": {"core", "facts", "parameters", "kernel", "native", "numerics", "roots", "supports", "spec", "fields"},
    "dense": {"native", "parameters"},
    "perceptron": {"dense", "native", "numerics", "parameters"},
    "nets": {"budget", "core", "dense", "parameters", "perceptron", "spec", "fields"},
    "periodic": {"nets", "parameters", "spec", "fields"},
    "structures": CORE | {"parameters", "kernel", "kernels", "dense", "nets", "perceptron"},
    "bases": CORE | {"base", "parameters", "kernels", "nets", "structures", "moments", "blocks"},
    "targets": {"numerics", "doors", "estimates", "names", "supports"},
    "atomic": set(),
    "budget": {"spec"},
    "io": {"atomic", "fields", "spec"},
    "to_base": {"supports"},
    "flow": {
        "to_base",
        "draws",
        "state",
        "budget",
        "base",
        "core",
        "numerics",
        "supports",
        "spec",
        "fields",
        "describe",
        "doors",
        "kernels",
        "structures",
        "bases",
        "blocks",
        "finite",
        "estimates",
        "moments",
        "quantiles",
        "io",
    },
    "kl": {"estimates", "flow", "moments"},
    "bijectors": CORE | {"names", "parameters", "kernel", "kernels", "nets", "periodic", "structures"},
    FACE: CORE | {"parameters", "kernel", "kernels", "dense", "nets", "structures", "doors", "estimates"},
    "transforms": {FACE, "names"},
    "distributions": {FACE, "base", "bases", "flow", "kl", "names", "supports", "transforms"},
    "recipes": CORE | {"base", "draws", "parameters", "kernel", "kernels", "nets", "periodic", "structures", "bases", "flow"},
    "flows": {"names", "bases", "core", "flow", "parameters", "recipes", "spec"},
    "elsewhere": set(),
    "catalogue": {"base", "core", "elsewhere", "kernel", "kernels", "parameters", "recipes", "spec", "supports"},
    "train": BELOW_FLOW | {"bases", "doors", "flow", "extras", "draws", "moments", "structures"},
    "tables": {"extras", "io"},
    "plots": BELOW_FLOW | {"draws", "kernels", "flow", "extras"},
    "testing": BELOW_FLOW | {"flow"},
    "": {
        "startup",
        "names",
        "bijectors",
        "config",
        "distributions",
        "flows",
        "base",
        "core",
        "kernel",
        "parameters",
        "describe",
        "flow",
        "spec",
        "train",
        "transforms",
        "targets",
        "plots",
        "testing",
    },
    "cli": {"", "io", "startup", "flow", "recipes", "train", "tables", "plots", "extras", "spec", "bijectors"},
    "__main__": {"cli", "extras"},
    # Adapters to other packages see all of the library; no part of it sees them.
    "contrib": CORE
    | {"", "base", "parameters", "kernel", "kernels", "dense", "nets", "perceptron", "structures", "bases", "io", "doors", "flow", "extras"}
    | {"estimates"}
    | {"bijectors", "draws", "flows", "recipes", "targets", "to_base", "train"},
}
# Which part of a folder may import which other part of it.
WITHIN = {
    "native": {("sweep", "elementwise"), ("linear", "elementwise"), ("perceptron", "sweep")}
    | {(user, "library") for user in ("elementwise", "linear", "perceptron", "sweep")},
    "train": {
        ("checks", "data"), ("checks", "rows"), ("data", "rows"), ("fit", "checks"), ("fit", "data"), ("fit", "history"),
        ("fit", "likelihood"), ("fit", "loop"), ("fit", "rows"), ("likelihood", "history"), ("likelihood", "loop"),
        ("likelihood", "losses"), ("likelihood", "rows"), ("loop", "history"), ("density", "loop"), ("divergences", "density"),
        ("divergences", "weights"), ("importance", "density"), ("importance", "weights"), ("variational", "density"),
        ("variational", "divergences"), ("variational", "history"), ("variational", "loop"), ("variational", "weights"),
        ("data", "weights"), ("fit", "weights"), ("data", "grids"), ("fit", "oddities"), ("grids", "rows"),
        *(("oddities", part) for part in ("checks", "dependence", "grids", "rows")),
        ("data", "weights"), ("fit", "weights"),
        *((user, "precision") for user in ("fit", "likelihood", "loop", "variational")),
        *((user, "options") for user in ("divergences", "fit", "importance", "loop", "variational")),
        *((user, "randomness") for user in ("density", "divergences", "fit", "likelihood", "loop", "variational")),
    },
    "tables": {("writing", "reading")},
}  # fmt: skip
# The same for folders of many parts: a part may import those of the lines above its own.
LINES = {
    "kernels": (
        {"affine", "bins", "constrained", "fixed", "linear", "planar", "projections", "wavelet"},
        {
            "activations",
            "cholesky",
            "exponential",
            "householder",
            "monotonic",
            "pareto",
            "radial",
            "simplex",
            "spline",
            "sylvester",
            "tails",
            "triangular",
        },
        {"circular", "factored", "neural", "piecewise", "polynomial", "rotation", "squared"},
        {"mixture"},
    ),
    "structures": (
        {"jacobi", "normal_scores", "normalize", "parts", "rearrange", "reshape", "residual", "standardize"},
        {"block_autoregressive", "coupling", "domains", "sequence"},
        {"autoregressive"},
    ),
    "bases": (
        {"clusters", "tails", "product", "flow_mixture"},
        {"sites", "wrapped"},
        {"mixture", "normal", "student", "truncated", "uniform", "von_mises"},
        {"order_statistics", "resampled"},
    ),
    FACE: (
        {"affine", "events", "given", "held", "layout", "sizes", "transform"},
        {"arrangements", "compose", "dense_nets", "order"},
        {"conditional", "distribution", "masked_nets", "row"},
        {"conditional_distribution", "planned", "table", "words"},
        {"factory", "fixed", "permute"},
        {"matrices", "named"},
    ),
    "targets": ({"target"}, {"checkerboard", "energies", "mixtures", "picture", "triangular"}, {"curves"}),
    "recipes": ({"angles", "stack"}, {"layers", "option"}, {"recipe"}, {"table"}, {"choice"}),
}
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


@pytest.mark.parametrize("name", MODULES)
def test_imports_only_go_down(name):
    layer = layer_of(name)
    assert layer in MAY, f"{layer}: give this module its place in the order"
    for target, _, _ in own_imports(name):
        if layer_of(target) == layer and layer in FOLDERS:
            continue
        assert layer_of(target) in MAY[layer], f"{name} imports {target}"


def test_the_order_has_no_cycle():
    left = dict(MAY)
    while left:
        ready = [layer for layer, below in left.items() if not below & set(left)]
        assert ready, f"cycle among {sorted(left)}"
        for layer in ready:
            del left[layer]


@pytest.mark.parametrize("folder", FOLDERS)
def test_folders_have_an_order_too(folder):
    inside = {name for name in MODULES if layer_of(name) == folder}
    edges = {(name, target) for name in inside for target, _, typing in own_imports(name) if target in inside and not typing}
    if folder in WITHIN:
        short = {tuple(part.removeprefix(f"{folder}.") for part in edge) for edge in edges if folder not in edge}
        assert short <= WITHIN[folder]
    if folder in LINES:
        line = {part: number for number, parts in enumerate(LINES[folder]) for part in parts}
        short = {(a.removeprefix(f"{folder}."), b.removeprefix(f"{folder}.")) for a, b in edges if a != folder}
        assert set(line) == {name.removeprefix(f"{folder}.") for name in inside} - {folder}
        assert [edge for edge in short if line[edge[1]] >= line[edge[0]]] == []
    assert not [edge for edge in edges if edge[1] == folder and edge[0] != folder], "a part imports the folder's own names"
    left = {name: {b for a, b in edges if a == name} for name in inside}
    while left:
        ready = [name for name, below in left.items() if not below & set(left)]
        assert ready, f"cycle among {sorted(left)}"
        for name in ready:
            del left[name]


def early(name):
    return name not in LATE and layer_of(name) not in LATE


@pytest.mark.parametrize("name", list(filter(early, MODULES)))
def test_optional_packages_are_imported_where_they_are_used(name):
    bad = [full for full, _, typing in imports(MODULES[name]) if full.split(".")[0] in OPTIONAL and not typing]
    assert not bad, "use pushforward.core.extras.require inside the function"
    late = [target for target, at_import, typing in own_imports(name) if not early(target) and at_import and not typing]
    assert not late, "import this inside the function"


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


@pytest.mark.parametrize("name", MODULES)
def test_no_module_takes_what_is_private_to_another_layer(name):
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
    # A folder that torch's compiler leaves to be removed at the end, up to 2.5, is torch's affair.
    done = subprocess.run(
        [sys.executable, "-W", "error", "-W", "ignore::ResourceWarning:tempfile", "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == "", "an import says something"
    return json.loads(done.stdout)


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
    later = ("pushforward.cli", "pushforward.tables", "pushforward.contrib", "pushforward.distributions", "pushforward.transforms")
    assert not [name for name in brought if name.startswith(later)]


@pytest.mark.parametrize(
    "asked",
    [
        "pushforward.transforms.Planar, pushforward.distributions.transforms.Planar",
        "pushforward.distributions.StandardNormal, pushforward.distributions.constraints.sphere, pushforward.distributions.conditional",
        "__import__('pushforward.transforms').transforms.Spline",
        "__import__('pushforward', fromlist=['distributions']).distributions.kl_divergence",
    ],
)
def test_names_of_pyro_come_when_they_are_asked_for_and_need_no_pyro(asked):
    came = f"""
        import json, sys
        sys.modules["pyro"] = None  # what imports it fails
        import pushforward
        {asked}
        print(json.dumps([name for name in sys.modules if name.startswith("pushforward.contrib")]))
    """
    there = fresh(came)
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


@pytest.mark.parametrize("modules", ["pushforward", "pushforward.plots, pushforward.testing, pushforward.tables, pushforward.cli"])
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
