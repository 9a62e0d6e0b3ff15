"""Tables in files (CSV, Parquet, NPY): read and written in chunks of rows, so that they may be larger than memory."""

from pushforward.tables.reading import ROWS, Table, TableError, open_table
from pushforward.tables.writing import check_target, write_table

__all__ = ["ROWS", "Table", "TableError", "check_target", "open_table", "write_table"]
