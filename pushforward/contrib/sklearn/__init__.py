"""scikit-learn: flows as estimators of a density and of a conditional density."""

from pushforward.contrib.sklearn.conditional import FlowRegressor
from pushforward.contrib.sklearn.density import FlowDensity

__all__ = ["FlowDensity", "FlowRegressor"]
