"""What both estimators are: their options, how a flow is made of them, and how it is fitted and asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data
from torch import Tensor

from pushforward.core.bijector import Bijector
from pushforward.data.frames import dequantize as spread
from pushforward.data.schema import Schema
from pushforward.data.weights import relative
from pushforward.flow.flow import Flow
from pushforward.recipes.choice import look_up, make_flow
from pushforward.train import options as check
from pushforward.train.fit import fit
from pushforward.train.objective import FlowMatching, Likelihood, check_objective, make_objective

Array = np.ndarray[Any, np.dtype[np.float64]]


class FlowEstimator(BaseEstimator):  # type: ignore[misc]
    """The options of `FlowDensity` and `FlowRegressor`, and their fit."""

    def __init__(
        self,
        flow: str | Bijector | Sequence[Bijector] | Callable[..., Flow] = "nsf",
        *,
        objective: str | FlowMatching | Likelihood = "likelihood",
        epochs: int = 100,
        batch_size: int = 512,
        learning_rate: float = 5e-3,
        weight_decay: float = 0.0,
        validation: float | None = 0.1,
        patience: int | None = 10,
        seconds: float | None = None,
        mixture: int | None = None,
        dequantize: bool = False,
        random_state: int | np.random.RandomState | None = None,
        verbose: int = 0,
    ) -> None:
        self.flow = flow
        self.objective = objective
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.validation = validation
        self.patience = patience
        self.seconds = seconds
        self.mixture = mixture
        self.dequantize = dequantize
        self.random_state = random_state
        self.verbose = verbose

    def _fit(self, x: Array, context: Array, sample_weight: Any, schema: Schema) -> None:
        """Set ``flow_``, ``history_`` and ``schema_``. Columns of the context that do not vary tell nothing and are left out.

        Args:
            x: What the density is of.
            context: What it is conditioned on; it may have no columns.
            sample_weight: As scikit-learn's estimators take it.
            schema: What the columns of ``x`` are.
        """
        name = type(self).__name__
        self._check_options(name)
        weights = _check_sample_weight(sample_weight, x, dtype=np.float64, ensure_non_negative=True)
        weights = relative(name, torch.as_tensor(weights)).numpy()
        random = check_random_state(self.random_state)
        seed = random.randint(2**31 - 1)
        if self.dequantize:
            x = spread(x, torch.Generator().manual_seed(seed))[0]
        rows, weights = _distinct(np.column_stack([x, context]), weights)
        if len(rows) < 3:
            raise ValueError(f"{name}: expected at least 3 different rows to fit to, got {len(rows)} among {len(x)}")
        train, held = np.arange(len(rows)), None
        if self.validation is not None:
            train, held = train_test_split(train, test_size=self.validation, random_state=random)
        x, context = np.split(rows, [x.shape[1]], axis=1)
        if len(still := np.flatnonzero(x[train].min(0) == x[train].max(0))):
            named = ", ".join(map(self._named, still[:5]))
            raise ValueError(
                f"{name}: expected values that vary, got {named} constant over the {len(train)} rows to train on, and so without a density"
                + ("; leave it out" if x.shape[1] > 1 else "")
            )
        self._varies = context[train].min(0) < context[train].max(0)
        parts = [x] if not context.shape[1] else [x, context[:, self._varies]]
        made = self._made(seed, *(part.shape[1] for part in parts)).double()
        check_objective(name, made, make_objective(name, self.objective))
        self.history_ = fit(
            made,
            *(part[train] for part in parts),
            objective=self.objective,
            weights=None if np.ptp(weights) == 0 else weights[train],
            validation=None if held is None else tuple(part[_repeated(held, weights)] for part in parts) + (None,) * (2 - len(parts)),
            epochs=self.epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            patience=self.patience,
            seconds=self.seconds,
            mixture=self.mixture,
            seed=seed,
            progress=bool(self.verbose),
        )
        self.flow_, self.schema_ = made.eval(), schema

    def _named(self, index: int) -> str:
        """Return the name of a column of which the density is learned."""
        names = getattr(self, "feature_names_in_", None)
        return f"column {index} of X" if names is None else f"column {names[index]!r}"

    def _check_options(self, name: str) -> None:
        """Raise ValueError for an option that is none, by its name."""
        make_objective(name, self.objective)
        for option in ("epochs", "batch_size", "patience"):
            check.whole(name, option, getattr(self, option), 1, optional=option == "patience")
        for option in ("learning_rate", "weight_decay"):
            check.real(name, option, getattr(self, option), zero=option == "weight_decay")
        check.real(name, "seconds", self.seconds, optional=True)
        check.whole(name, "mixture", self.mixture, 0, optional=True)
        if self.validation is not None and not (check.is_number(self.validation) and 0 < self.validation < 1):
            raise ValueError(f"{name}: expected validation to be a share between 0 and 1 or None, got {self.validation!r}")
        check.choice(name, "dequantize", self.dequantize, (True, False))
        check.whole(name, "verbose", int(self.verbose) if isinstance(self.verbose, bool) else self.verbose, 0)

    def _in_kind(self, drawn: Array) -> Array:
        """Return samples ``(..., columns)`` on their grids again, if these were spread."""
        if not self.dequantize:
            return drawn
        return self.schema_.in_kind(drawn.reshape(-1, drawn.shape[-1])).reshape(drawn.shape)

    def _made(self, seed: int, features: int, context: int = 0) -> Flow:
        """Return a new flow from what the user gave, its first weights drawn from the seed."""
        name = type(self).__name__
        try:
            flow = look_up(name, self.flow)
        except TypeError as error:
            raise ValueError(str(error)) from None  # as scikit-learn's estimators do
        return make_flow(name, flow, features, context, seed=seed)

    def _fitted(self) -> Flow:
        check_is_fitted(self)
        flow: Flow = self.flow_
        return flow

    def _rows(self, X: Any) -> Array:
        rows: Array = validate_data(self, X, dtype=np.float64, reset=False)
        return rows

    def _whole(self, n_samples: Any) -> int:
        if isinstance(n_samples, bool) or not isinstance(n_samples, int | np.integer) or n_samples < 1:
            raise ValueError(f"{type(self).__name__}: expected n_samples to be a whole number of at least 1, got {n_samples!r}")
        return int(n_samples)

    def _generator(self, random_state: Any) -> torch.Generator:
        random = check_random_state(self.random_state if random_state is None else random_state)
        return torch.Generator().manual_seed(random.randint(2**31 - 1))


def _distinct(rows: Array, weights: Array) -> tuple[Array, Array]:
    """Return each row once, with the weights of its copies added up: no row is then both trained on and held out."""
    rows, weights = rows[weights > 0], weights[weights > 0]
    distinct, index = np.unique(rows, axis=0, return_inverse=True)
    total = np.bincount(index.reshape(-1), weights).astype(np.float64)
    return distinct, total


def _repeated(held: Any, weights: Array) -> Any:
    """Return the held-out rows, which have no weights of their own, as often as their weights say, to a tenth of the mean weight."""
    shares = np.cumsum(weights[held]) / weights[held].sum()
    return held if np.ptp(weights) == 0 else np.repeat(held, np.diff(np.rint(10 * len(held) * shares), prepend=0).astype(int))


def in_parts(function: Callable[..., Tensor], size: int, *arrays: Array) -> Array:
    """Return ``function`` of arrays of rows, ``size`` of them at a time."""
    with torch.no_grad():
        parts = [function(*(torch.tensor(a[start : start + size]) for a in arrays)) for start in range(0, len(arrays[0]), size)]
    return torch.cat(parts).numpy()
