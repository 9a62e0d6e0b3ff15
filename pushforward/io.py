"""Files: one safetensors file holds the tensors, and a JSON header that says what they belong to. Nothing is unpickled."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from pushforward.core.atomic import replacing as replacing
from pushforward.core.fields import check_field, shown
from pushforward.core.spec import parse_json

FORMAT = 2
"""1: without a checksum. 2: with one."""
HEADER = 2**24
"""Bytes of the longest header that is read, and written: plans of a million numbers."""
_KEY, _CHECKSUM = "pushforward", "pushforward.sha256"


def write(path: str | os.PathLike[str], header: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    """Write the file; an existing one is replaced only once the new one is whole."""
    target = Path(path)
    if not target.parent.is_dir():
        raise FileNotFoundError(f"save: expected an existing folder, got {str(target.parent)!r}")
    if target.is_dir():
        raise IsADirectoryError(f"save: expected a file name, got the folder {str(target)!r}")
    text = json.dumps({"format": FORMAT, **header})
    plain = {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}
    content = _ordered(save(plain, {_KEY: text, _CHECKSUM: checksum(text, plain)}))
    if (length := int.from_bytes(content[:8], "little")) > HEADER:
        raise ValueError(f"save: expected a plan and names of tensors of at most {HEADER} bytes together, got {length}")
    with replacing(target) as part:
        part.write_bytes(content)


def _ordered(content: bytes) -> bytes:
    """Return a safetensors file with its metadata by name: they come in any order, and equal flows are to be equal files."""
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:start])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)  # tensors begin at a multiple of 8, as the format has it
    return len(text).to_bytes(8, "little") + text + content[start:]


def checksum(header: str, tensors: dict[str, Tensor]) -> str:
    """Return the SHA-256 of a header and of the names, dtypes, shapes and bytes of all tensors, in the order of their names.

    >>> checksum("{}", {"a": torch.zeros(2)})[:12]
    '09c597833a67'
    """
    total = hashlib.sha256(header.encode())
    for name, tensor in sorted(tensors.items()):
        total.update(json.dumps([name, dtype_name(tensor.dtype), list(tensor.shape)]).encode())
        content: Any = tensor.reshape(-1).view(torch.uint8).numpy()
        total.update(content)
    return total.hexdigest()


def read(path: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read header and tensors; raise ValueError for a file that is not one of ours, or not as it was written."""
    source = Path(path)
    if not source.is_file():
        raise FileNotFoundError(f"load: no file {str(source)!r}")
    try:
        with source.open("rb") as raw:
            length = int.from_bytes(raw.read(8), "little")
        if HEADER < length <= source.stat().st_size - 8:
            raise ValueError(f"load: expected a header of at most {HEADER} bytes in {str(source)!r}, got {length}")
        with safe_open(str(source), framework="pt", device="cpu") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError) as error:
        raise ValueError(f"load: {str(source)!r} is not a whole safetensors file: {error}") from error
    text, sum_written = metadata.get(_KEY), metadata.get(_CHECKSUM)
    if text is None:
        raise ValueError(f"load: {str(source)!r} is a safetensors file without a pushforward plan; it was not written by Flow.save")
    try:
        content = parse_json(text)
    except ValueError as error:
        raise ValueError(f"load: {str(source)!r} has a header that is not one of ours, expected JSON with a format: {error}") from error
    version = content.get("format") if isinstance(content, dict) else None
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise ValueError(f"load: {str(source)!r} has a header that is not one of ours, expected JSON with a format, got {shown(content)}")
    if version > FORMAT:
        raise ValueError(f"load: {str(source)!r} has format {version}, this version reads up to {FORMAT}; install a newer pushforward")
    if (sum_written is not None or version > 1) and sum_written != checksum(text, tensors):
        raise ValueError(f"load: {str(source)!r} is not as it was written: its checksum is another; take a copy of it, or train anew")
    return content, tensors


def field(path: str | os.PathLike[str], header: dict[str, Any], name: str, hint: Any) -> Any:
    """Return a field of a header, lists as tuples; raise ValueError where it is missing or of another type than its annotation."""
    if name not in header:
        raise ValueError(f"load: the header of {os.fspath(path)!r} lacks {name!r}")
    value = header[name]
    value = tuple(value) if isinstance(value, list) else value
    if wrong := check_field(f"load: {os.fspath(path)!r}", name, hint, value):
        raise ValueError(wrong)
    return value


def check_names(owner: str, what: str, names: Any, count: int) -> tuple[str, ...] | None:
    """Return names of columns as a tuple, or raise ValueError unless they are as many words as there are columns, each once."""
    given = tuple(names) if isinstance(names, list | tuple) else names
    if given is None:
        return None
    words = isinstance(given, tuple) and all(isinstance(name, str) and name for name in given)
    if not words or len(set(given)) < len(given) or len(given) != count:
        raise ValueError(f"{owner}: expected {what} to be None or {count} different names, got {shown(names)}")
    return given


def check_state(path: str | os.PathLike[str], expected: dict[str, Tensor], found: dict[str, Tensor]) -> None:
    """Raise ValueError unless a file holds exactly the tensors that its plan needs."""
    missing, extra = sorted(set(expected) - set(found)), sorted(set(found) - set(expected))
    wrong = [k for k in expected if k in found and (expected[k].shape, expected[k].dtype) != (found[k].shape, found[k].dtype)]
    if missing or extra or wrong:
        raise ValueError(
            f"load: the tensors of {os.fspath(path)!r} do not fit its plan: missing {shown(missing)}, unknown {shown(extra)}, "
            f"of another shape or dtype {shown(wrong)}"
        )


def dtype_name(dtype: torch.dtype) -> str:
    """Return ``"float32"`` for ``torch.float32``."""
    return str(dtype).removeprefix("torch.")
