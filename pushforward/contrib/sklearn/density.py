"""FlowDensity: the density of the rows of a table, as a scikit-learn estimator."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import ClassNamePrefixFeaturesOutMixin, DensityMixin, TransformerMixin
from sklearn.utils.validation import check_array, validate_data

from pushforward.contrib.sklearn.estimator import Array, FlowEstimator, in_parts
from pushforward.data.from_frames import is_table
from pushforward.data.schema import Schema

SIZE = 8192
"""Rows that are scored together."""


class FlowDensity(ClassNamePrefixFeaturesOutMixin, TransformerMixin, DensityMixin, FlowEstimator):  # type: ignore[misc]
    r"""The density of rows, :math:`\log p(y) = \log p_{base}(x) - \log|\det dg/dx|` with :math:`y = g(x)`, learned by a flow.

    Its methods are those of `sklearn.mixture.GaussianMixture` wherever a flow has an answer: there are no components, so nothing predicts
    labels and `sample` returns rows alone, as that of `KernelDensity`. As a transformer it maps rows to the base and back: there they are
    distributed as ``flow_.base`` says, if the flow fits well, which with ``mixture=0`` is as independent standard normals. It computes in
    float64, and neither the order of the rows nor how they are batched changes a result. Rows may be in any units; do not scale them, so
    that densities are in theirs.

    Args:
        flow: What to fit: the name of a flow (``"nsf"``, ``"maf"``, ...), a list of plans, or a function from the number of features to a
            `Flow`.
        objective: ``"likelihood"``; or ``"flow_matching"`` or a `FlowMatching`, for a flow with a `Continuous` layer such as ``"cnf"``. The
            losses of ``history_`` are then those of velocities, and its ``nats`` has held-out densities; scores are densities as ever.
        epochs: Passes over the rows, at most.
        batch_size: Rows in a step.
        learning_rate: Learning rate of the optimiser, AdamW.
        weight_decay: Its weight decay.
        validation: Share of the distinct rows that is held out to choose the weights and to stop; None holds out none.
        patience: Epochs without a better held-out loss after which to stop (None: never).
        seconds: Time that a fit may take (None: no limit); how far it comes, no ``random_state`` repeats.
        mixture: Components of a mixture of normals that becomes the base, as in `fit` (None: as held-out rows say; 0: none).
        dequantize: Spread columns that lie on a grid evenly over its steps first.
        random_state: Seed of the weights, the split and the steps, of any kind that scikit-learn takes.
        verbose: Above 0, show the progress on stderr.

    Attributes:
        flow_: The fitted `Flow`, in float64.
        history_: The losses of the fit, a `History`.
        schema_: What the columns are, a `Schema`; of a table ``flow_.schema`` and ``flow_.columns`` tell it, too.
        n_features_in_: Number of columns.
        feature_names_in_: Their names, when the rows were a table.

    ::

        density = FlowDensity(random_state=0).fit(X)
        strange = density.score_samples(X) < -20
        more = density.sample(1000)
    """

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> FlowDensity:
        """Fit to the rows ``(n, features)`` of ``X``; a weight k counts as k copies of its row, and ``y`` is not looked at."""
        rows = validate_data(self, X, dtype=np.float64, ensure_min_samples=2)
        schema = Schema.find(X if is_table(X) else rows)
        self._fit(rows, np.empty((len(rows), 0)), sample_weight, schema)
        if is_table(X):
            self.flow_.columns, self.flow_.schema = schema.names, schema
        return self

    def score_samples(self, X: Any) -> Array:
        """Return the log-density of each row in nats, ``(n,)``; -inf outside the flow's support."""
        return in_parts(self._fitted().log_prob, SIZE, self._rows(X))

    def score(self, X: Any, y: Any = None) -> float:
        """Return the mean log-density of the rows: the higher the better, so a search over options maximises it."""
        return float(self.score_samples(X).mean())

    def aic(self, X: Any) -> float:
        """Return Akaike's criterion, ``2 parameters - 2 log-likelihood``; it counts every weight of the networks."""
        log_probs = self.score_samples(X)
        return float(2 * self._count() - 2 * log_probs.sum())

    def bic(self, X: Any) -> float:
        """Return the Bayesian criterion, ``log(n) parameters - 2 log-likelihood``; it counts every weight of the networks."""
        log_probs = self.score_samples(X)
        return float(np.log(len(log_probs)) * self._count() - 2 * log_probs.sum())

    def sample(self, n_samples: int = 1, random_state: Any = None) -> Array:
        """Draw rows, ``(n_samples, features)``, from the estimator's own ``random_state`` if none is given.

        Where columns were spread (``dequantize``), samples are on their grids again, whole and within bounds: a value stands for its cell.
        """
        flow = self._fitted()
        return self._in_kind(np.asarray(flow.sample((self._whole(n_samples),), generator=self._generator(random_state))))

    def transform(self, X: Any) -> Array:
        """Map rows to the base, ``(n, features)``: independent standard normals as far as the flow fits, if ``mixture`` is 0."""
        inverse = self._fitted().transform.inverse
        return in_parts(lambda y: inverse(y)[0], SIZE, self._rows(X))

    def inverse_transform(self, X: Any) -> Array:
        """Map rows of the base to the data; the inverse of `transform`."""
        forward = self._fitted().transform
        X = check_array(X, dtype=np.float64)
        if X.shape[1] != self.n_features_in_:
            raise ValueError(f"FlowDensity: expected {self.n_features_in_} columns to map back, got {X.shape[1]}")
        return in_parts(lambda x: forward(x)[0], SIZE, X)

    def _count(self) -> int:
        return sum(p.numel() for p in self.flow_.parameters())

    @property
    def _n_features_out(self) -> int:
        return int(self.n_features_in_)
