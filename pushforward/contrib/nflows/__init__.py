"""nflows: its trained flows as ones of this library."""

from pushforward.contrib.nflows.convert import convert

__all__ = ["convert"]
