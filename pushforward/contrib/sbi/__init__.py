"""sbi: flows of this library as the densities that NPE and NLE train."""

from pushforward.contrib.sbi.builder import density_estimator

__all__ = ["density_estimator"]
