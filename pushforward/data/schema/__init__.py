"""Schema: what each column of a table is, found from its values, corrected by who knows it, and held against new data."""

from pushforward.data.schema.column import Column
from pushforward.data.schema.schema import Schema

__all__ = ["Column", "Schema"]
