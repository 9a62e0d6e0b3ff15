"""Another processor, simulated: what torch computes by BLAS, LAPACK, libm or a reduction comes with other roundings than here.

``PUSHFORWARD_TEST_BLAS=other pytest ...`` runs any test so (`conftest.py`), and ``other1``, ``other2``, ... are further processors. What is
true on one processor only fails then on all of them. The results are as good as torch's own; what a library does not promise is broken on
purpose:

- Products sum in an order that depends on how many rows there are, and in the last rows of a batch on where the row stands, as tiles of a
  matrix product and their remainders do.
- Sums over an axis run backwards.
- Functions of a number (exp, log, tanh, ...) are one unit in the last place off, and by where a value stands in its tensor, as vectorised
  code and its remainder differ. Special values stay exact: exp(0), tanh(0), log(1), and what has saturated.
- Factorisations and solutions are off likewise.

The same call on the same shapes gives the same bits. Compiled code of our own, numpy and code that ``torch.compile`` makes are as they are.
"""

from __future__ import annotations

import functools
import os
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

TILE = 4  # rows that a product takes together; those that are left over sum in another order
LANES = 8  # numbers that a function takes together

# fmt: off
FUNCTIONS = [
    "acos", "acosh", "asin", "asinh", "atan", "atan2", "atanh", "cos", "cosh", "digamma", "elu", "erf", "erfc", "erfinv", "exp", "exp2",
    "expm1", "gelu", "hypot", "i0", "lgamma", "log", "log10", "log1p", "log2", "log_sigmoid_forward", "logaddexp", "logaddexp2", "logit",
    "mish", "mvlgamma", "polygamma", "pow.Tensor_Tensor", "rsqrt", "sigmoid", "silu", "sin", "sinc", "sinh", "softplus", "special_erfcx",
    "special_i0e", "special_i1", "special_i1e", "special_log_ndtr", "special_ndtri", "special_zeta", "tan", "tanh", "xlogy.Tensor",
    "_softmax", "_log_softmax",
]
FACTORISATIONS = [
    "cholesky_solve", "linalg_cholesky_ex", "linalg_eig", "linalg_householder_product", "linalg_inv_ex", "linalg_lu_factor_ex",
    "linalg_lu_solve", "linalg_qr", "linalg_solve_triangular", "triangular_solve",
    "_linalg_det", "_linalg_eigh", "_linalg_slogdet", "_linalg_solve_ex", "_linalg_svd",
]
# fmt: on

_CPU = torch._C.DispatchKeySet(torch._C.DispatchKey.CPU)
_variant = 0
_libraries: list[torch.library.Library] = []  # an override lives as long as its library


def as_told() -> None:
    """Install what the environment names; a process that a test starts does so too."""
    if name := os.environ.get("PUSHFORWARD_TEST_BLAS"):
        install(int(name.removeprefix("other") or 0))


def install(variant: int = 0) -> None:
    """Override torch's operators on the CPU, for the rest of the process; each variant rounds in a way of its own."""
    global _variant
    _variant = variant
    library = torch.library.Library("aten", "IMPL")
    _libraries.append(library)
    overrides: dict[str, Callable[[Callable[..., Any]], Callable[..., Any]]] = {
        "mm": lambda own: lambda a, b: _in_rows(lambda a, b: own(*_shuffled(a, b, len(a))), a, b),
        "addmm": _plus_product,
        "addmm_": _plus_product_in_place,
        "bmm": lambda own: lambda a, b: _in_rows(lambda a, b: own(*_shuffled(a, b, a.shape[1])), a, b),
        "baddbmm": lambda own: lambda c, a, b, beta=1, alpha=1: own(c, *_shuffled(a, b, a.shape[1]), beta, alpha),
        "mv": lambda own: lambda a, b: own(*_shuffled(a, b[:, None], len(a), vector=True)),
        "addmv": lambda own: lambda c, a, b, beta=1, alpha=1: own(c, *_shuffled(a, b[:, None], len(a), vector=True), beta, alpha),
        "dot": lambda own: lambda a, b: own(a.flip(0), b.flip(0)),
        "sum.dim_IntList": _backwards,
        "mean.dim": _backwards,
        "linalg_vector_norm": lambda own: lambda x, order=2, dim=None, *rest, **more: own(_flip(x, dim), order, dim, *rest, **more),
        "var.correction": _backwards,
        "std.correction": _backwards,
        **dict.fromkeys(FUNCTIONS, _off(1)),
        **{f"{name}_": _off_in_place for name in FUNCTIONS if name.isalnum() and hasattr(torch.ops.aten, f"{name}_")},
        **dict.fromkeys(FACTORISATIONS, _off(2)),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that an operator is overridden
        for name, make in overrides.items():
            packet, _, overload = name.partition(".")
            operator = getattr(getattr(torch.ops.aten, packet), overload or "default")
            kernel = torch.library.get_kernel(operator, "CPU")

            def own(*args: Any, kernel: Any = kernel, **named: Any) -> Any:
                return kernel.call_boxed(_CPU, *args, **named)

            library.impl(name, make(own), "CPU")


def _order(count: int, rows: int) -> Tensor:
    """Return an order in which ``count`` terms are summed."""
    order = torch.arange(count)
    return order.flip(0) if rows < TILE else order.roll(1 + (rows + _variant) % max(count - 1, 1))


def _shuffled(a: Tensor, b: Tensor, rows: int, vector: bool = False) -> tuple[Tensor, Tensor]:
    """Return the factors of a product, whose terms are in another order."""
    if a.is_floating_point() and a.shape[-1] == b.shape[-2]:  # where they do not fit, torch says so
        order = _order(a.shape[-1], rows)
        a, b = a.index_select(-1, order), b.index_select(-2, order)
    return a, b[:, 0] if vector else b


def _in_rows(product: Callable[[Tensor, Tensor], Tensor], a: Tensor, b: Tensor) -> Tensor:
    """Return the product of the rows that fill tiles, and that of those that are left over."""
    rows = a.shape[-2]
    whole = rows - rows % TILE
    if a.dim() != b.dim() or whole in (0, rows):
        return product(a, b)
    return torch.cat([product(a[..., :whole, :], b), product(a[..., whole:, :], b)], -2)


def _plus_product(own: Callable[..., Any]) -> Callable[..., Any]:
    def run(c: Tensor, a: Tensor, b: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
        if not a.dim() == b.dim() == 2 or a.shape[1] != len(b):
            return own(c, a, b, beta=beta, alpha=alpha)
        wide = c.expand(len(a), b.shape[1])
        ends = sorted({0, len(a) - len(a) % TILE, len(a)})
        parts = [
            own(wide[start:stop], *_shuffled(a[start:stop], b, stop - start), beta=beta, alpha=alpha)
            for start, stop in zip(ends, ends[1:], strict=False)
        ]
        return torch.cat(parts) if len(parts) > 1 else parts[0] if parts else own(wide, a, b, beta=beta, alpha=alpha)

    return run


def _plus_product_in_place(own: Callable[..., Any]) -> Callable[..., Any]:
    def run(c: Tensor, a: Tensor, b: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
        return own(c, *_shuffled(a, b, len(a)), beta=beta, alpha=alpha)

    return run


def _flip(x: Tensor, dim: int | Sequence[int] | None) -> Tensor:
    every = list(range(x.dim()))
    axes = every if dim is None or dim == [] else [dim] if isinstance(dim, int) else list(dim)
    return x.flip(axes) if x.is_floating_point() and x.dim() else x


def _backwards(own: Callable[..., Any]) -> Callable[..., Any]:
    return lambda x, dim=None, *rest, **named: own(_flip(x, dim), dim, *rest, **named)


def _off(places: int) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def make(own: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **named: Any) -> Any:
            result = own(*args, **named)
            return tuple(_moved(r, places) for r in result) if isinstance(result, (tuple, list)) else _moved(result, places)

        return run

    return make


def _off_in_place(own: Callable[..., Any]) -> Callable[..., Any]:
    def run(x: Tensor, *args: Any, **named: Any) -> Tensor:
        own(x, *args, **named)
        return x.copy_(_moved(x, 1))

    return run


def _moved(y: Tensor, places: int) -> Tensor:
    """Return a result whose numbers are up to so many units in the last place off: some up, some down, some not."""
    if y.dtype not in (torch.float32, torch.float64) or not y.numel():
        return y
    exact = ((2 * y).frac() == 0) | ~y.isfinite()
    return torch.where(exact, y, y + y * _steps(y.shape, y.dtype, places))


@functools.lru_cache(128)
def _steps(shape: torch.Size, dtype: torch.dtype, places: int) -> Tensor:
    """Return relative steps, each of which moves a number to the next, or the one after."""
    count = shape.numel()
    way = torch.remainder(torch.arange(count) // LANES + count + _variant, 3) - 1
    return (way * (places - 0.25) * torch.finfo(dtype).eps).to(dtype).reshape(shape)
