"""The shared library of compiled kernels: found and loaded once, or the reason why not; and whose threads it uses."""

from __future__ import annotations

import ctypes
import os
import platform
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from pushforward.core import mode
from pushforward.native.layout import MAX_THREADS, SIGNATURE

SWITCH = "PUSHFORWARD_NATIVE"
"""Environment variable: 0 leaves the compiled kernels out, 1 (as if it were not set) takes the best instruction set, a name that one."""
SETS = ("baseline", "avx2")
"""The instruction sets that the kernels are compiled for; a processor may lack all but the first."""
DOUBLE = {torch.float32: False, torch.float64: True}
"""The dtypes that it takes, and whether it is the wider one."""


@dataclass(frozen=True)
class Library:
    """The loaded library (None when it is not in use), and what is known of it, in words."""

    handle: ctypes.CDLL | None
    state: str
    threads: str


def _openmp() -> ctypes.CDLL | None:
    """Return the OpenMP runtime that torch has loaded: with its threads, ours and torch's never compete for cores."""
    folder = Path(torch.__file__).parent / "lib"
    names = [*sorted(folder.glob("libgomp*")), *sorted(folder.glob("libiomp5*")), *sorted(folder.glob("libomp*")), None]
    for name in names:
        try:
            runtime = ctypes.CDLL(None if name is None else str(name))
            runtime.GOMP_parallel  # noqa: B018 (asks whether the symbol is there)
        except (OSError, AttributeError):
            continue
        return runtime
    return None


def load(folder: Path) -> Library:
    """Load the library that is in a folder, as the environment variable says.

    Raises:
        ValueError: The variable has a value that there is none of, or names an instruction set that cannot be had here.
    """
    asked = os.environ.get(SWITCH) or "1"
    if asked not in ("0", "1", *SETS):
        raise ValueError(f"{SWITCH}: expected 0 (off), 1 (the best instruction set), {' or '.join(SETS)}, got {asked!r}")
    if asked == "0":
        return Library(None, f"off, since {SWITCH} is 0", "torch's")
    files = [file for ending in ("so", "dylib") for file in sorted(folder.glob(f"_kernels*.{ending}"))]
    if not files:
        return _without("not built: no C compiler was found when pushforward was installed", asked)
    try:
        handle = ctypes.CDLL(str(files[0]))
        handle.pushforward_choose.argtypes, handle.pushforward_choose.restype = [ctypes.c_char_p], ctypes.c_char_p
        for entry in ("elementwise", "linear", "sweep", "perceptron", "follow"):
            getattr(handle, f"pushforward_{entry}").argtypes = [ctypes.c_char_p, ctypes.c_int64]
        handle.pushforward_layout.restype = ctypes.c_char_p
        handle.pushforward_explain.argtypes, handle.pushforward_explain.restype = [ctypes.c_int, ctypes.c_char_p, ctypes.c_int64], None
    except (OSError, AttributeError) as error:
        return _without(f"not loaded: {error}", asked)
    if handle.pushforward_layout() != SIGNATURE.encode():
        return _without("not loaded: built from another version of the sources; install pushforward anew", asked)
    there = [name for name in SETS if handle.pushforward_choose(name.encode())]
    if asked not in ("1", *there):
        raise ValueError(f"{SWITCH}: this processor has no {asked}; expected 0 (off), 1 (the best instruction set) or {' or '.join(there)}")
    chosen = handle.pushforward_choose(None if asked == "1" else asked.encode()).decode()
    words = "NEON" if platform.machine() in ("aarch64", "arm64") else chosen.replace("avx", "AVX")
    runtime = _openmp()
    if runtime is not None:
        handle.pushforward_use_threads(runtime.GOMP_parallel)
    return Library(
        handle,
        f"compiled, {words}" + (f", since {SWITCH} is {asked}" if asked in SETS else ""),
        "torch's OpenMP" if runtime is not None else "one: torch's OpenMP runtime was not found",
    )


def _without(why: str, asked: str) -> Library:
    if asked in SETS:
        raise ValueError(f"{SWITCH} is {asked}, but the compiled kernels are {why}")
    return Library(None, why, "torch's")


LIBRARY = load(Path(__file__).parent)


def usable(*tensors: Tensor | None) -> bool:
    """Tell whether the compiled kernels take these tensors: all on the CPU, all float32 or all float64, none with a tangent."""
    compiling, dtype = mode.compiling(), None
    if LIBRARY.handle is None or mode.forward_mode() or mode.tracing() or (compiling and mode.exporting()):
        return False
    # A view of a complex conjugate has the other sign in memory. Operators, which the compiler calls, see to it themselves.
    for t in tensors:
        if t is None:
            continue
        if dtype is None:
            dtype = t.dtype
            if dtype not in DOUBLE:
                return False
        if t.dtype is not dtype or not (t.is_cpu or (t.is_meta and mode.AS_ON_CPU.get())) or (not compiling and t.is_neg()):
            return False
    return True


def call(function: str, job: bytes) -> None:
    """Call a function of the library with a packed struct, of which it checks every size.

    Raises:
        MemoryError: There is no memory for the work space.
        ValueError: A size does not fit what was given; nothing has been read or written.
    """
    refusal = getattr(LIBRARY.handle, function)(job, len(job))
    if refusal == 1:
        raise MemoryError(f"{function}: no memory for the work space")
    if refusal:
        words = ctypes.create_string_buffer(256)
        LIBRARY.handle.pushforward_explain(refusal, words, len(words))  # type: ignore[union-attr]
        raise ValueError(f"{function}: {words.value.decode()}")


def as_rows(tensor: Tensor, width: int) -> Tensor:
    """Return a tensor as rows whose last axis is contiguous."""
    flat = tensor if tensor.dim() == 2 else tensor.reshape(-1, width)
    if flat.is_contiguous() and not flat.is_neg():
        return flat
    if flat.is_neg():  # a view of a complex conjugate, whose memory has the other sign
        flat = flat.resolve_neg()
    # A row stride of zero means parameters that all rows share, and only that.
    return flat if (flat.stride(1) == 1 or width == 1) and (flat.stride(0) or len(flat) < 2) else flat.contiguous()


NOTHING = (0, 0)
"""Address and extent of a tensor that there is not."""


def block(tensor: Tensor | None) -> tuple[int, int]:
    """Return address and extent of a contiguous tensor."""
    return NOTHING if tensor is None else (tensor.data_ptr(), tensor.numel())


def matrix(tensor: Tensor | None, rows: int, width: int) -> tuple[int, int, int]:
    """Return address, extent and stride of ``(rows, width)`` numbers, the last axis contiguous, or of ``(rows,)`` for a width of 1."""
    if tensor is None:
        return 0, 0, 0
    if tensor.is_contiguous():
        return tensor.data_ptr(), rows * width, width
    stride = tensor.stride(0)
    return tensor.data_ptr(), (rows - 1) * stride + width if rows else 0, stride


def threads(work: int, least: int) -> int:
    """Return how many threads to use for an amount of work of which each should have ``least``."""
    return max(1, min(torch.get_num_threads(), work // least, MAX_THREADS))
