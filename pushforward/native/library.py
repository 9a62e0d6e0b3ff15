"""The shared library of compiled kernels: found and loaded once, or the reason why not; and whose threads it uses."""

from __future__ import annotations

import ctypes
import os
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

SWITCH = "PUSHFORWARD_NATIVE"
"""Environment variable: 0 leaves the compiled kernels out."""


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


def _load() -> Library:
    if os.environ.get(SWITCH) == "0":
        return Library(None, f"off, since {SWITCH} is 0", "torch's")
    files = [file for ending in ("so", "dylib") for file in sorted(Path(__file__).parent.glob(f"_kernels*.{ending}"))]
    if not files:
        return Library(None, "not built: no C compiler was found when pushforward was installed", "torch's")
    try:
        handle = ctypes.CDLL(str(files[0]))
        handle.pushforward_instruction_set.restype = ctypes.c_char_p
        words = handle.pushforward_instruction_set().decode()
    except (OSError, AttributeError) as error:
        return Library(None, f"not loaded: {error}", "torch's")
    runtime = _openmp()
    if runtime is not None:
        handle.pushforward_use_threads(runtime.GOMP_parallel)
    return Library(handle, f"compiled, {words}", "torch's OpenMP" if runtime is not None else "one: torch's OpenMP runtime was not found")


LIBRARY = _load()


AS_ON_CPU: ContextVar[bool] = ContextVar("AS_ON_CPU", default=False)
"""Whether meta tensors stand for tensors on the CPU, so that a step on the meta device is the step that would run there."""


def usable(*tensors: Tensor | None) -> bool:
    """Tell whether the compiled kernels take these tensors: all on the CPU, all float32 or all float64, none with a tangent."""
    given = [t for t in tensors if t is not None]
    dtype = given[0].dtype
    return (
        LIBRARY.handle is not None
        and not _forward_mode()
        # torch.jit.trace records operators alone: what the kernels write it would replay as memory that nobody filled.
        and not torch.jit.is_tracing()  # type: ignore[attr-defined,no-untyped-call]
        and dtype in (torch.float32, torch.float64)
        and all(t.dtype == dtype and (t.is_cpu or (t.is_meta and AS_ON_CPU.get())) for t in given)
    )


def transformed() -> bool:
    """Tell whether a function transform such as vmap is at work, which must see each operator."""
    active = getattr(torch._C, "_are_functorch_transforms_active", None)
    return active is None or bool(active()) or _forward_mode()


def _forward_mode() -> bool:
    """Tell whether tensors may carry tangents, which the compiled kernels would drop without a word."""
    return bool(getattr(torch.autograd.forward_ad, "_current_level", 0) >= 0)


def call(function: str, job: bytes) -> None:
    """Call a function of the library with a packed struct."""
    if getattr(LIBRARY.handle, function)(job):
        raise MemoryError(f"{function}: no memory for the work space")


def threads(work: int, least: int) -> int:
    """Return how many threads to use for an amount of work of which each should have ``least``."""
    return max(1, min(torch.get_num_threads(), work // least))
