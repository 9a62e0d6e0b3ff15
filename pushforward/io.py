"""Files: one safetensors file holds the tensors, and a JSON header that says what they belong to. Nothing is unpickled."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from pushforward.atomic import replacing as replacing

FORMAT = 1
_KEY = "pushforward"


def write(path: str | os.PathLike[str], header: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    """Write the file; an existing one is replaced only once the new one is whole."""
    target = Path(path)
    if not target.parent.is_dir():
        raise FileNotFoundError(f"save: expected an existing folder, got {str(target.parent)!r}")
    if target.is_dir():
        raise IsADirectoryError(f"save: expected a file name, got the folder {str(target)!r}")
    content = save({k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}, {_KEY: json.dumps({"format": FORMAT, **header})})
    with replacing(target) as part:
        part.write_bytes(content)


def read(path: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read header and tensors; raise ValueError for a file that is not one of ours."""
    source = Path(path)
    if not source.is_file():
        raise FileNotFoundError(f"load: no file {str(source)!r}")
    try:
        with safe_open(str(source), framework="pt", device="cpu") as file:
            header = (file.metadata() or {}).get(_KEY)
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError) as error:
        raise ValueError(f"load: {str(source)!r} is not a whole safetensors file: {error}") from error
    if header is None:
        raise ValueError(f"load: {str(source)!r} is a safetensors file without a pushforward plan; it was not written by Flow.save")
    try:
        content: dict[str, Any] = json.loads(header)
        newer = content["format"] > FORMAT
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"load: {str(source)!r} has a header that is not one of ours, expected JSON with a format: {error!r}") from error
    if newer:
        raise ValueError(
            f"load: {str(source)!r} has format {content['format']}, this version reads up to {FORMAT}; install a newer pushforward"
        )
    return content, tensors


def check_state(path: str | os.PathLike[str], expected: dict[str, Tensor], found: dict[str, Tensor]) -> None:
    """Raise ValueError unless a file holds exactly the tensors that its plan needs."""
    missing, extra = sorted(set(expected) - set(found)), sorted(set(found) - set(expected))
    wrong = [k for k in expected if k in found and (expected[k].shape, expected[k].dtype) != (found[k].shape, found[k].dtype)]
    if missing or extra or wrong:
        raise ValueError(
            f"load: the tensors of {str(path)!r} do not fit its plan: missing {missing}, unknown {extra}, of another shape or dtype {wrong}"
        )


def dtype_name(dtype: torch.dtype) -> str:
    """Return ``"float32"`` for ``torch.float32``."""
    return str(dtype).removeprefix("torch.")
