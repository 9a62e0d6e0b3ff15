"""Data: what users hold, in memory or in files, as checked rows of numbers. Nothing here trains."""

from pushforward.data.between import Between, between
from pushforward.data.frames import dequantize
from pushforward.data.schema import Column, Schema
from pushforward.data.sphere import from_sphere, per_degree, to_sphere

__all__ = ["Between", "Column", "Schema", "between", "dequantize", "from_sphere", "per_degree", "to_sphere"]
