"""Transactions on a SQLite connection end, whatever becomes of them."""

import apsw
import pytest

from engine.stores.sqlite.connections import begin, commit

TABLES = """
PRAGMA foreign_keys = ON;
CREATE TABLE parent (name TEXT PRIMARY KEY);
CREATE TABLE child (parent TEXT REFERENCES parent DEFERRABLE INITIALLY DEFERRED);
"""


def test_a_commit_that_fails_leaves_no_transaction_open() -> None:
    """The next who uses the connection begins one of their own, and nothing of the former is in it."""
    connection = apsw.Connection(":memory:")
    for _ in connection.execute(TABLES):
        pass
    begin(connection)
    connection.execute("INSERT INTO child VALUES ('nobody')")  # what is wrong with it, SQLite sees when it commits
    with pytest.raises(apsw.ConstraintError):
        commit(connection)
    assert not connection.in_transaction
    begin(connection)
    commit(connection)
    assert connection.execute("SELECT count(*) FROM child").get == 0
