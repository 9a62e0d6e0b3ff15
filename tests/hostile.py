"""Files of flows that somebody has written by hand, right down to the checksum."""

from __future__ import annotations

import json
from typing import Any

from safetensors.torch import save_file

from pushforward.io import FORMAT, checksum

S, AFFINE = {"type": "StandardNormal"}, {"type": "Affine"}


def net(*widths: int) -> dict[str, Any]:
    """Return the plan of a perceptron."""
    return {"type": "MLP", "widths": list(widths)}


def write(path, base, bijector, event_shape, context_shape=None, tensors=None, **header) -> None:
    """Write a file of these plans with other tensors."""
    content = {"format": FORMAT, "base": base, "bijector": bijector, "event_shape": event_shape, "context_shape": context_shape}
    text = json.dumps({**content, "dtype": "float32", "columns": None, "context_columns": None, **header})
    tensors = tensors or {}
    save_file(tensors, path, {"pushforward": text, "pushforward.sha256": checksum(text, tensors)})


# What small files may ask for: (base, bijector, event_shape, context_shape).
GREEDY: dict[str, tuple[Any, Any, Any, Any]] = {
    "features": (S, AFFINE, [10**9], None),
    "features in two axes": (S, AFFINE, [10**9, 10**9], None),
    "features without a parameter": (S, {"type": "Exp"}, [10**9], None),
    "shuffled features": (S, {"type": "Shuffle"}, [10**8], None),
    "turned features": (S, {"type": "Reverse"}, [10**8], None),
    "many shuffles": (S, {"type": "Compose", "bijectors": [{"type": "Shuffle"}] * 100}, [10**5], None),
    "many layers": (S, {"type": "Compose", "bijectors": [{"type": "Exp"}] * 10**4}, [2], None),
    "parts": (S, {"type": "Stack", "bijectors": [{"type": "Shuffle"}] * 1000}, [1000, 1000], None),
    "points": ({"type": "Resampled", "nodes": 10**8}, AFFINE, [2], None),
    "points in many dimensions": ({"type": "Resampled", "nodes": 10**6}, AFFINE, [1000], None),
    "ends": ({"type": "Truncated", "base": S, "lower": -1.0}, AFFINE, [10**7], None),
    "units": (S, {"type": "DeepSigmoid", "units": 10**9}, [2], None),
    "pairs of units": (S, {"type": "DenseSigmoid", "units": 10**6}, [2], None),
    "layers of units": (S, {"type": "DenseSigmoid", "layers": 10**6}, [2], None),
    "width": (S, {"type": "Coupling", "kernel": AFFINE, "net": net(10**18)}, [2], None),
    "widths": (S, {"type": "Coupling", "kernel": AFFINE, "net": net(10**6, 10**6)}, [2], None),
    "masks": (S, {"type": "Autoregressive", "kernel": AFFINE, "net": net(10**6, 10**6)}, [2], None),
    "pairs of features": (S, {"type": "Autoregressive", "kernel": AFFINE, "net": net(1)}, [10**5], None),
    "blocks": (S, {"type": "Coupling", "kernel": AFFINE, "net": {"type": "ResidualMLP", "blocks": 10**6}}, [2], None),
    "factors": (S, {"type": "BlockAutoregressive", "factors": [10**4, 10**4]}, [100], None),
    "a matrix": (S, {"type": "Linear"}, [10**5], None),
    "reflections": (S, {"type": "Householder", "reflections": 10**6}, [10**4], None),
    "bins": (S, {"type": "Spline", "bins": 10**6}, [10**3], None),
    "components": ({"type": "MixtureOfNormals", "components": 10**6}, AFFINE, [10**3], None),
    "a context": (S, {"type": "Elementwise", "kernel": AFFINE, "net": net(8)}, [2], [10**9]),
    "a table": ({"type": "Wrapped", "name": "LKJCholesky", "arguments": [["dim", 10**9]]}, {"type": "Exp"}, [10**9, 10**9], None),
    "a permutation": (S, {"type": "Permute", "order": list(range(10**5))[::-1]}, [10**9], None),
}  # fmt: skip
