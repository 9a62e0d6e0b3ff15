"""FlowJAX: its layers in a chain, compiled by XLA; the time of compiling stands apart."""

from __future__ import annotations

import time
from typing import Any

import equinox as eqx
import flowjax.bijections as B
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import paramax
from flowjax.distributions import StandardNormal, Transformed

from ..works import Work, data, job_rows
from .torched import CannotError


def spline(work: Work) -> B.AbstractBijection:
    """Return its spline with the slopes at both ends fixed to 1, as all others have them: 3K - 1 parameters."""
    made = B.RationalQuadraticSpline(knots=work.bins - 1, interval=work.bound)
    inner = paramax.Parameterize(
        lambda free: jnp.pad(jax.nn.softplus(free) + 1e-3, [(0, 0)] * (free.ndim - 1) + [(1, 1)], constant_values=1.0),
        jnp.full(work.bins - 1, jnp.log(jnp.expm1(1 - 1e-3))),
    )
    return eqx.tree_at(lambda s: s.derivatives, made, inner, is_leaf=lambda leaf: isinstance(leaf, paramax.AbstractUnwrappable))


def affine() -> B.AbstractBijection:
    """Return the affine map that its own flows use."""
    scale = paramax.Parameterize(lambda x: jax.nn.softplus(x) + 1e-2, jnp.log(jnp.expm1(1 - 1e-2)))
    return eqx.tree_at(where=lambda a: a.scale, pytree=B.Affine(), replace=scale)


def flow_of(work: Work) -> Transformed:
    if work.kind == "job" and work.name != "FlowTorch's job":
        raise CannotError("has no linear rational spline")
    if len(set(work.widths)) > 1:
        raise CannotError("its networks have hidden layers of one width")
    widths = (256, 256) if work.kind == "job" else work.widths
    layers = 1 if work.kind == "job" else work.layers
    shared: dict[str, Any] = {
        "transformer": affine() if work.kernel == "affine" else spline(work),
        "dim": work.features,
        "cond_dim": work.context or None,
        "nn_width": widths[0],
        "nn_depth": len(widths),
    }

    def layer(key: jax.Array) -> B.AbstractBijection:
        if work.kind == "coupling":
            made = B.Coupling(key, untransformed_dim=work.features // 2, **shared)
        else:
            made = B.MaskedAutoregressive(key, **shared)
        return B.Chain([made, B.Flip((work.features,))]).merge_chains()

    # Its own flows scan over their layers; a chain of them is faster by a sixth, and compiles as fast.
    chain = B.Chain([layer(key) for key in jr.split(jr.key(0), layers)]).merge_chains()
    # As in its own flows, the cheap direction scores. The tutorial's job has it the other way round.
    return Transformed(StandardNormal((work.features,)), chain if work.kind == "job" else B.Invert(chain))


class Actions:
    """The measured actions on one work; each is compiled when it is first asked for."""

    def __init__(self, work: Work) -> None:
        rows, context = data(work)
        self.work, self.note = work, ""
        self.x = jnp.asarray(rows)
        self.c = None if context is None else jnp.asarray(context)
        flow = flow_of(work)
        self.params, self.static = eqx.partition(flow, eqx.is_inexact_array, is_leaf=lambda leaf: isinstance(leaf, paramax.NonTrainable))
        self.count = sum(leaf.size for leaf in jax.tree.leaves(self.params))
        self.optimizer = optax.adam(work.rate)
        self.state = self.optimizer.init(self.params)
        self.key, self.fresh = jr.key(1), np.random.default_rng(1)
        self.compile_seconds: dict[str, float] = {}
        self.compiled: dict[str, Any] = {}

    def _flow(self, params: Any) -> Transformed:
        return paramax.unwrap(eqx.combine(params, self.static))

    def _loss(self, params: Any, x: jax.Array) -> jax.Array:
        return -self._flow(params).log_prob(x, self.c).mean()

    def _step(self, params: Any, state: Any, x: jax.Array) -> tuple[Any, Any, jax.Array]:
        loss, gradient = jax.value_and_grad(self._loss)(params, x)
        updates, state = self.optimizer.update(gradient, state, params)
        return optax.apply_updates(params, updates), state, loss

    def _draw(self, params: Any, key: jax.Array, score: bool) -> jax.Array:
        if score:
            y, log_prob = self._flow(params).sample_and_log_prob(key, (len(self.x),), self.c)
            return (log_prob + 0.5 * jnp.square(y).sum(-1)).mean()
        return 0.5 * jnp.square(self._sample(params, key)).mean()

    def _sample(self, params: Any, key: jax.Array) -> jax.Array:
        return self._flow(params).sample(key, (len(self.x),), self.c)

    def _parts(self, name: str) -> tuple[Any, tuple[Any, ...]]:
        """Return the function of an action, and its arguments now."""
        if name == "train":
            return self._step, (self.params, self.state, self.x)
        if name in ("log_prob", "score_grad"):
            score = jax.grad(self._loss) if name == "score_grad" else lambda p, x: self._flow(p).log_prob(x, self.c)
            return score, (self.params, self.x)
        self.key, key = jr.split(self.key)
        if name == "sample":
            return self._sample, (self.params, key)
        return jax.grad(lambda p, k: self._draw(p, k, name == "draw")), (self.params, key)

    def prepare(self, name: str) -> None:
        """Compile an action, and run nothing."""
        function, arguments = self._parts(name)
        began = time.perf_counter()
        self.compiled[name] = jax.jit(function, donate_argnums=(0, 1) if name == "train" else ()).lower(*arguments).compile()
        self.compile_seconds[name] = time.perf_counter() - began

    def _run(self, name: str) -> Any:
        if name not in self.compiled:
            self.prepare(name)
        return jax.block_until_ready(self.compiled[name](*self._parts(name)[1]))

    def train(self) -> jax.Array:
        self.params, self.state, loss = self._run("train")
        return loss

    def log_prob(self) -> None:
        self._run("log_prob")

    def sample(self) -> None:
        self._run("sample")

    def draw(self) -> None:
        self._run("draw")

    def score_grad(self) -> None:
        self._run("score_grad")

    def sample_grad(self) -> None:
        self._run("sample_grad")

    def new_batch(self) -> None:
        """Draw the next batch of FlowTorch's tutorial."""
        self.x = jnp.asarray(job_rows(self.fresh, self.work.batch))

    def resize(self, rows: int) -> None:
        """Use another number of rows."""
        self.x = self.x[jnp.arange(rows) % len(self.x)]
        self.compiled.clear()
