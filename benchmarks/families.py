"""Count classes and lines of code, family by family, here and in five other libraries: the table in docs/design.md.

Lines are those with code: no docstring, no comment, no blank line. A family is told by a pattern of its files or, where a file has many, of
its classes.
"""

from __future__ import annotations

import argparse
import ast
import importlib.util
import io
import re
import tokenize
from pathlib import Path

FAMILIES = {
    "affine and additive": "affine(?!.*fixed) additive Affine Additive scale AffineConst",
    "splines": "spline rational piecewise bins circular periodic RQS Spline Quadratic Cubic",
    "monotone networks, mixtures, polynomials": (
        "neural_auto monotonic polynomial neural\\b mixture squared gaussianization UMNN SOS Bernstein Monotonic Unconstrained"
        " Gaussianization NAF"
    ),
    "linear maps": (
        "linear lu\\b qr svd orthogonal householder matrix_exp exponential rotation triangular factored conv\\b channel_permute mixing"
        " wavelet haar cosine LU QR Rotation lower_cholesky_affine"
    ),
    "planar, radial, Sylvester": "planar radial sylvester",
    "residual and block autoregressive": "residual block",
    "coupling and autoregressive": "coupling autoregressive made incremental jacobi dense_auto Coupling Autoregressive Masked",
    "fixed maps and sets": (
        "fixed activations tails simplex cholesky constrained domains ordered power softplus basic transforms/normalize exp\\b elu relu"
        " sigmoid tanh nonlinearities standard\\b Softclip Cos Sin Signed Identity"
    ),
    "normalisation": "norm",
    "rearranging, composing": "permut reshape rearrange parts compose invert volume Permutation Composed Dependent Independent Free",
}
ROOTS = {
    "pushforward": ("pushforward", ("kernels", "layers")),
    "Pyro": ("pyro", ("distributions/transforms",)),
    "FlowTorch": ("flowtorch", ("bijectors", "parameters")),
    "Zuko": ("zuko", ("flows", "transforms.py")),
    "nflows": ("nflows", ("transforms",)),
    "normflows": ("normflows", ("flows",)),
}


def code_lines(source: str) -> set[int]:
    """Return the numbers of the lines that have code."""
    texts: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        body = getattr(node, "body", None)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and body and ast.get_docstring(node) is not None:
            texts.update(range(body[0].lineno, (body[0].end_lineno or body[0].lineno) + 1))
    found: set[int] = set()
    skipped = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in skipped:
            found.update(range(token.start[0], token.end[0] + 1))
    return found - texts


def family_of(text: str) -> str:
    """Return the first family whose pattern is in a name."""
    return next((family for family, pattern in FAMILIES.items() if re.search("|".join(pattern.split()), text)), "what they have in common")


def count(package: str, parts: tuple[str, ...]) -> dict[str, tuple[int, int]]:
    """Return classes and lines of each family of a package."""
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.submodule_search_locations
    root = Path(next(iter(spec.submodule_search_locations)))
    files = [f for part in parts for f in ([root / part] if part.endswith(".py") else sorted((root / part).rglob("*.py")))]
    found: dict[str, tuple[int, int]] = {}
    for file in files:
        if file.name.endswith("_test.py"):
            continue
        source = file.read_text()
        lines = code_lines(source)
        many = file.stem in ("transforms", "base", "core", "mixing", "neural")  # told class by class
        for node in ast.parse(source).body:
            own = len(lines & set(range(node.lineno, (node.end_lineno or node.lineno) + 1)))
            name = getattr(node, "name", "")
            family = family_of(name) if many and name and file.stem != "neural" else family_of(file.relative_to(root).as_posix())
            classes, total = found.get(family, (0, 0))
            found[family] = classes + isinstance(node, ast.ClassDef), total + own
    return found


def table() -> str:
    """Return the table in Markdown: classes / lines."""
    each = {name: count(*where) for name, where in ROOTS.items()}
    rows = [*FAMILIES, "what they have in common"]
    out = ["| family | " + " | ".join(each) + " |", "|---|" + "---|" * len(each)]
    for family in rows:
        cells = [f"{c} / {n:,}" if (c, n) != (0, 0) else "" for c, n in (found.get(family, (0, 0)) for found in each.values())]
        out.append(f"| {family} | " + " | ".join(cells) + " |")
    totals = [(sum(c for c, _ in found.values()), sum(n for _, n in found.values())) for found in each.values()]
    out.append("| together | " + " | ".join(f"{c} / {n:,}" for c, n in totals) + " |")
    return "\n".join(out)


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()
    print(table())
