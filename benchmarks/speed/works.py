"""The table of works: what every library builds, with how many parameters, and on what data it runs."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

ACTIONS = {
    "train": "train step",
    "log_prob": "`log_prob`",
    "sample": "`sample`",
    "draw": "`rsample_and_log_prob` + backward",
    "score_grad": "`log_prob` + backward",
    "sample_grad": "`rsample` + backward",
}
ALL = tuple(ACTIONS)
PLAIN = ("train", "log_prob", "sample")
GRADIENTS = ("score_grad", "sample_grad")


@dataclass(frozen=True)
class Work:
    """One architecture and its data.

    Args:
        name: How it is called.
        kind: ``coupling``, ``autoregressive`` (scored in one pass) or ``job`` (a tutorial's own, which each adapter knows by its name).
        kernel: ``spline`` (rational quadratic) or ``affine``.
        features: D.
        layers: Number of layers, features reversed or halves swapped between them.
        bins: K of the splines.
        widths: Hidden widths of each network, with ReLU.
        batch: Rows of the data, and number of samples.
        context: Context features, one context for all rows (0: none).
        bound: Half the width of the splines' box.
        actions: What is measured.
        own: What is measured on this library alone, since the peers take minutes, or no bar asks for them.
        steps: Steps of a job.
        rate: Learning rate.
    """

    name: str
    kind: str
    kernel: str = "spline"
    features: int = 2
    layers: int = 5
    bins: int = 8
    widths: tuple[int, ...] = (128, 128)
    batch: int = 512
    context: int = 0
    bound: float = 5.0
    actions: tuple[str, ...] = ALL
    own: tuple[str, ...] = ()
    steps: int = 0
    rate: float = 1e-3

    @property
    def per_element(self) -> int:
        """Parameters of the kernel for one feature."""
        return 2 if self.kernel == "affine" else 3 * self.bins - 1

    @property
    def nets(self) -> list[tuple[int, ...]]:
        """Sizes of each network, from inputs to outputs: the bare networks, and all parameters there are."""
        if self.kind == "job":
            return JOB_NETS[self.name]
        still = self.features // 2 if self.kind == "coupling" else 0
        inputs = (still or self.features) + self.context
        return [(inputs, *self.widths, (self.features - still) * self.per_element)] * self.layers

    @property
    def free(self) -> int:
        """Parameters that belong to no network."""
        return JOB_FREE.get(self.name, 0)

    @property
    def parameters(self) -> int:
        """All parameters that the work states."""
        return self.free + sum((a + 1) * b for net in self.nets for a, b in zip(net, net[1:], strict=False))


def coupling(features: int, **more: Any) -> Work:
    return Work(f"spline coupling, D = {features}", "coupling", features=features, **more)


def autoregressive(features: int, kernel: str = "spline", **more: Any) -> Work:
    return Work(f"{kernel} autoregressive, D = {features}", "autoregressive", kernel, features, **more)


MAIN = (
    coupling(16),
    autoregressive(16, actions=(*PLAIN, *GRADIENTS), own=("draw",)),
    autoregressive(64, "affine", actions=(*PLAIN, *GRADIENTS)),
)
# Widths of 1024 at D = 784, as for MNIST in the paper of masked autoregressive flow: narrower nets cannot tell 784 features apart.
LARGE = autoregressive(784, "affine", widths=(1024, 1024), batch=128, actions=PLAIN, own=GRADIENTS)
OTHERS = (
    coupling(2, actions=PLAIN),
    coupling(64, actions=PLAIN),
    autoregressive(2, actions=PLAIN),
    autoregressive(64, actions=PLAIN, own=GRADIENTS),
    LARGE,
    Work("conditional NSF, 1 context, 10,000 samples", "coupling", features=8, context=16, batch=10_000, actions=("log_prob", "sample")),
)
# The jobs as the tutorials have them: data, batch, steps, learning rate, bins, box and networks.
JOBS = (
    Work("Pyro's spline job", "job", features=2, bins=16, bound=3.0, batch=1000, actions=("train",), steps=1001, rate=1e-2),
    Work("Pyro's spline coupling job", "job", features=2, bins=16, bound=3.0, batch=1000, actions=("train",), steps=5002, rate=5e-3),
    Work("Pyro's conditional job", "job", features=2, bound=3.0, batch=1000, actions=("train",), steps=5001, rate=3e-3),
    Work("FlowTorch's job", "job", "affine", batch=1000, actions=("train",), steps=3001, rate=5e-3),
)
JOB_NETS: dict[str, list[tuple[int, ...]]] = {
    "Pyro's spline job": [],
    "Pyro's spline coupling job": [(1, 20, 20, 63)],
    "Pyro's conditional job": [(1, 10, 10, 31)],
    "FlowTorch's job": [(2, 256, 256, 4)],
}
# Linear rational splines have 4K - 1 parameters a feature.
JOB_FREE = {"Pyro's spline job": 2 * 63, "Pyro's spline coupling job": 63, "Pyro's conditional job": 31}
WORKS = {work.name: work for work in (*MAIN, *OTHERS, *JOBS)}
# Measured with two threads, too: what the bars ask for.
TWO_THREADS = (
    replace(MAIN[0], actions=("train",)),
    replace(MAIN[1], actions=PLAIN, own=GRADIENTS),
    replace(MAIN[2], actions=PLAIN, own=GRADIENTS),
    WORKS["spline autoregressive, D = 64"],
    replace(LARGE, actions=("train", "log_prob"), own=("sample", *GRADIENTS)),
    *JOBS,
)

# Growth: the action, the work that grows, the field, and its sizes.
FEW = replace(MAIN[1], batch=128)
GROWTH: dict[str, tuple[str, Work, str, tuple[int, ...]]] = {
    "features": ("train", MAIN[0], "features", (4, 16, 64, 256)),
    "layers": ("train", MAIN[0], "layers", (2, 4, 8, 16)),
    "batch": ("train", MAIN[0], "batch", (128, 512, 2048, 8192)),
    "bins": ("train", MAIN[0], "bins", (4, 8, 16, 32, 64)),
    "features, sampling an autoregressive flow": ("sample", FEW, "features", (4, 16, 64, 128)),
}
# normflows' splines are those of nflows, and FlowTorch has no coupling.
GROWTH_LIBRARIES = ("bare", "ours", "pyro", "zuko", "nflows", "flowjax")
# Rows at which activations outweigh all else, in the measure of memory; and the bins over which it grows.
MEMORY_ROWS = 16_384
MEMORY_BINS = (4, 8, 16, 32)
MEMORY_LIBRARIES = ("bare", "ours", "zuko", "nflows")


def grown(axis: str, size: int) -> Work:
    """Return the work of one point of a growth curve."""
    action, work, field, _ = GROWTH[axis]
    changes: dict[str, Any] = {field: size}
    return replace(work, name=f"{axis} = {size}", actions=(action,), **changes)


def data(work: Work, seed: int = 0) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the rows ``(batch, features)`` and the context ``(context,)``, in float32.

    Each feature depends on the one before it, so that there is something to learn and no gradient dies away.
    """
    draw = np.random.default_rng(seed)
    if work.kind == "job" and work.name != "FlowTorch's job":
        return circles(draw, work.batch), None
    if work.kind == "job":
        return job_rows(draw, work.batch), None
    x = draw.standard_normal((work.batch, work.features))
    for i in range(1, work.features):
        x[:, i] = 0.8 * x[:, i] + 0.6 * np.sin(2 * x[:, i - 1])
    context = draw.standard_normal(work.context).astype(np.float32) if work.context else None
    return x.astype(np.float32), context


def job_rows(draw: np.random.Generator, rows: int) -> np.ndarray:
    """Return rows of FlowTorch's target: normal around 5, standard deviation 0.5."""
    return (5 + 0.5 * draw.standard_normal((rows, 2))).astype(np.float32)


def circles(draw: np.random.Generator, rows: int) -> np.ndarray:
    """Return two noisy circles, standardised, as Pyro's tutorial has them from scikit-learn."""
    angle = np.linspace(0, 2 * math.pi, rows // 2, endpoint=False)
    ring = np.stack([np.cos(angle), np.sin(angle)], 1)
    x = np.concatenate([ring, 0.5 * ring]) + 0.05 * draw.standard_normal((rows, 2))
    return ((x - x.mean(0)) / x.std(0)).astype(np.float32)
