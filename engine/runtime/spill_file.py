"""A database in a temporary file, for more than fits into memory: it is lost with the process, and needs no safety."""

import apsw

from pagefold.engine.errors import SpillFailed

_PRAGMAS = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
PRAGMA cache_size = -4096;
PRAGMA temp_store = FILE;
"""


def open_spill_file(tables: str) -> apsw.Connection:
    """A new one with these tables. Raises `SpillFailed`."""
    try:
        connection = apsw.Connection("")
        for _ in connection.execute(_PRAGMAS + tables):
            pass
    except apsw.Error as error:
        raise SpillFailed(error) from error
    return connection
