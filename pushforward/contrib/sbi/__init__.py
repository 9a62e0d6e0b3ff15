"""sbi: flows of this library as the densities that NPE and NLE train."""

from pushforward.contrib.sbi.builder import density_estimator
from pushforward.contrib.sbi.fitted import as_estimator

__all__ = ["as_estimator", "density_estimator"]
