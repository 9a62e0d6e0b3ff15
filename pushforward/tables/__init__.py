"""Tables: one exact density over typed columns, and any column given any others."""

from pushforward.tables.table_flow import TableFlow

__all__ = ["TableFlow"]
