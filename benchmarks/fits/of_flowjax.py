"""FlowJAX's spline flow of the architecture in `libraries.py`, in the same loop of Adam, compiled by JAX."""

from __future__ import annotations

import os
import time

os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")

import equinox
import jax
import numpy as np
import optax
import paramax
from flowjax.bijections import RationalQuadraticSpline
from flowjax.distributions import Normal
from flowjax.flows import coupling_flow
from flowjax.train.losses import MaximumLikelihoodLoss
from flowjax.train.train_utils import step
from torch import Tensor

BATCH = 256


def fitted(
    rows: Tensor, unseen: Tensor, rate: float, seed: int, steps: int, layers: int, width: int, bins: int, bound: float
) -> tuple[float, float]:
    """Return the mean log-density of rows that were not seen, and the CPU seconds of the steps, without those of compiling."""
    mean, deviation = rows.mean(0).numpy(), rows.std(0).numpy()
    data, numbers = (rows.numpy() - mean) / deviation, np.random.default_rng(seed)
    made = coupling_flow(
        jax.random.key(seed),
        base_dist=Normal(jax.numpy.zeros(rows.shape[1])),
        transformer=RationalQuadraticSpline(knots=bins, interval=bound),
        flow_layers=layers,
        nn_width=width,
        nn_depth=2,
    )
    params, static = equinox.partition(made, equinox.is_inexact_array, is_leaf=lambda leaf: isinstance(leaf, paramax.NonTrainable))
    optimizer, loss = optax.adam(rate), MaximumLikelihoodLoss()
    state = optimizer.init(params)

    def taken(params, state):  # type: ignore[no-untyped-def]
        batch = jax.numpy.asarray(data[numbers.integers(len(data), size=BATCH)])
        return step(params, static, batch, key=None, optimizer=optimizer, opt_state=state, loss_fn=loss)

    jax.block_until_ready(taken(params, state)[2])  # compiles
    began = time.process_time()
    for _ in range(steps):
        params, state, _ = taken(params, state)
    jax.block_until_ready(params)
    took = time.process_time() - began
    score = equinox.filter_jit(paramax.unwrap(equinox.combine(params, static)).log_prob)
    found = np.concatenate([score(part) for part in np.split((unseen.numpy() - mean) / deviation, 2)])
    return float(found.mean() - np.log(deviation).sum()), took
