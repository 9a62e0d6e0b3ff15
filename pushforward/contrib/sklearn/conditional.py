"""FlowRegressor: the density of y given x, as a scikit-learn regressor."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from sklearn.base import RegressorMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_array, check_consistent_length, validate_data
from torch import Tensor

from pushforward.bases import StandardNormal
from pushforward.contrib.sklearn.estimator import Array, FlowEstimator, in_parts
from pushforward.data.schema import Schema
from pushforward.flow.flow import Flow

VALUES = 2**18
"""Values that go through the flow together."""
NODES, DRAWS = 257, 2048
"""Base values over which one target, and several targets, are averaged."""


class FlowRegressor(RegressorMixin, FlowEstimator):  # type: ignore[misc]
    r"""The density of y given x, :math:`p(y | x)`, learned by a conditional flow: means, quantiles, intervals and samples from one fit.

    For one target the flow is monotone in its base value z, so quantiles are exact, :math:`y_q = g(\Phi^{-1}(q); x)`, and never cross;
    means are integrals over z by the trapezoidal rule. For several targets they are taken over 2048 Sobol points of the base, the same for
    each row; quantiles are those of each target by itself. Where y is 1-d the last axis, ``targets``, is left out of every shape.
    `score` is R² of the mean, as that of every regressor; to choose among flows by their densities use `log_prob`.

    Args:
        flow: What to fit: the name of a flow (``"nsf"``, ``"maf"``, ...), a list of plans, or a function from the numbers of targets and of
            x's columns to a `Flow`; from a standard normal base.
        objective: ``"likelihood"``; or ``"flow_matching"`` or a `FlowMatching`, for a flow with a `Continuous` layer such as ``"cnf"``. The
            losses of ``history_`` are then those of velocities, and its ``nats`` has held-out densities; scores are densities as ever.
        epochs: Passes over the rows, at most.
        batch_size: Rows in a step.
        learning_rate: Learning rate of the optimiser, AdamW.
        weight_decay: Its weight decay.
        validation: Share of the distinct rows that is held out to choose the weights and to stop; None holds out none.
        patience: Epochs without a better held-out loss after which to stop (None: never).
        seconds: Time that a fit may take (None: no limit); how far it comes, no ``random_state`` repeats.
        mixture: None or 0: the base stays the standard normal one.
        dequantize: Spread targets that lie on a grid evenly over its steps first.
        random_state: Seed of the weights, the split and the steps, of any kind that scikit-learn takes.
        verbose: Above 0, show the progress on stderr.

    Attributes:
        flow_: The fitted `Flow`, in float64; its context is the columns of x that varied in the fit.
        history_: The losses of the fit, a `History`.
        schema_: What the targets are, a `Schema`.
        n_features_in_: Number of columns of x.
        feature_names_in_: Their names, when x was a table.

    ::

        model = FlowRegressor(random_state=0).fit(X, y)
        low, high = model.predict_interval(X, coverage=0.9).T
    """

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> FlowRegressor:
        """Fit to x ``(n, features)`` and y ``(n,)`` or ``(n, targets)``; a weight k counts as k copies of its row."""
        X, y = validate_data(self, X, y, dtype=np.float64, multi_output=True, y_numeric=True, ensure_min_samples=2)
        self._shape = y.shape[1:]
        targets = np.asarray(y, np.float64).reshape(len(y), -1)
        self._fit(targets, X, sample_weight, Schema.find(targets))
        return self

    def predict(self, X: Any, return_std: bool = False) -> Any:
        """Return the mean of y given each row, ``(n, targets)``; and its standard deviation, too, if ``return_std``."""
        self._fitted()
        z, weights = self._points()
        y = self._push(z, X)
        mean = np.einsum("k,nk...->n...", weights, y)
        return (mean, np.sqrt(np.einsum("k,nk...->n...", weights, (y - mean[:, None]) ** 2))) if return_std else mean

    def predict_quantiles(self, X: Any, quantiles: Sequence[float] = (0.05, 0.5, 0.95)) -> Array:
        """Return quantiles of y given each row, ``(n, quantiles, targets)``."""
        q = np.asarray(quantiles, np.float64)
        if q.ndim != 1 or not q.size or not ((q > 0) & (q < 1)).all():
            raise ValueError(f"FlowRegressor: expected quantiles to be numbers between 0 and 1, got {quantiles!r}")
        self._fitted()
        if math.prod(self._shape) > 1:
            return np.moveaxis(np.quantile(self._push(self._points()[0], X), q, axis=1), 0, 1)
        z = torch.special.ndtri(torch.tensor(q))[:, None]
        # A flow of one number may fall as well as rise, and then it maps the quantile 1 - q to q.
        y = self._push(torch.cat([z, -z, torch.tensor([[-1.0], [1.0]])]), X)
        rising, falling, ends = np.split(y, [len(q), 2 * len(q)], axis=1)
        return np.where(ends[:, :1] < ends[:, 1:], rising, falling)

    def predict_interval(self, X: Any, coverage: float = 0.9) -> Array:
        """Return the ends of the central interval that holds y with a probability, ``(n, 2, targets)``."""
        if not 0 < coverage < 1:
            raise ValueError(f"FlowRegressor: expected coverage to be a number between 0 and 1, got {coverage!r}")
        return self.predict_quantiles(X, [(1 - coverage) / 2, (1 + coverage) / 2])

    def sample(self, X: Any, n_samples: int = 1, random_state: Any = None) -> Array:
        """Draw y given each row, ``(n, n_samples, targets)``, from the estimator's own ``random_state`` if none is given.

        Where targets were spread (``dequantize``), samples are on their grids again.
        """
        flow, size, generator = self._fitted(), self._whole(n_samples), self._generator(random_state)
        c = self._context(X)
        drawn = in_parts(lambda c: flow.sample((size,), c, generator=generator).transpose(0, 1), max(1, VALUES // size), c)
        return self._in_kind(drawn.reshape(len(c), size, -1)).reshape(len(c), size, *self._shape)

    def log_prob(self, X: Any, y: Any) -> Array:
        """Return the log-density of each y given its row of x, ``(n,)``, in nats and the units of y."""
        flow, c, y = self._fitted(), self._context(X), check_array(y, dtype=np.float64, ensure_2d=False)
        check_consistent_length(c, y)
        if y.shape[1:] != self._shape:
            raise ValueError(f"FlowRegressor: expected y of shape {('n', *self._shape)}, as in the fit, got {y.shape}")
        return in_parts(flow.log_prob, VALUES // 32, y.reshape(len(y), -1), c)

    def _made(self, seed: int, features: int, context: int = 0) -> Flow:
        if not context:
            raise ValueError("FlowRegressor: expected a column of X that varies, got none; for the density of y alone use FlowDensity")
        if self.mixture:
            raise ValueError(f"FlowRegressor: expected mixture to be 0 or None, as quantiles are of a normal base, got {self.mixture!r}")
        flow = super()._made(seed, features, context)
        if flow.base.plan != StandardNormal():
            raise ValueError(
                f"FlowRegressor: expected a flow from StandardNormal(), whose quantiles are known, got one from {flow.base.plan!r}"
            )
        return flow

    def _named(self, index: int) -> str:
        return f"column {index} of y" if self._shape else "y"

    def _context(self, X: Any) -> Array:
        return self._rows(X)[:, self._varies]

    def _points(self) -> tuple[Tensor, Array]:
        """Return base values ``(k, targets)`` and their weights ``(k,)``, over which an average is an expectation."""
        if math.prod(self._shape) == 1:
            z = torch.linspace(-8, 8, NODES, dtype=torch.float64)
            return z[:, None], torch.softmax(-0.5 * z * z, 0).numpy()
        u = torch.quasirandom.SobolEngine(math.prod(self._shape), scramble=True, seed=0).draw(DRAWS, dtype=torch.float64)
        return torch.special.ndtri(u.clamp(2.0**-31, 1 - 2.0**-31)), np.full(DRAWS, 1 / DRAWS)

    def _push(self, z: Tensor, X: Any) -> Array:
        """Map base values ``(k, targets)`` to y given each row, ``(n, k, targets)``."""
        flow, c = self.flow_, self._context(X)

        def images(context: Tensor) -> Tensor:
            return flow.from_base(z[:, None].expand(-1, len(context), -1), context)[0].transpose(0, 1)

        return in_parts(images, max(1, VALUES // z.numel()), c).reshape(len(c), len(z), *self._shape)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
