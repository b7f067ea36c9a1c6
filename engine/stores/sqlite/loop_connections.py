"""Connections for point reads on the event loop, where a thread would cost five times the read."""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import apsw

from pagefold.engine.stores.sqlite.opened_file import OpenedFile
from pagefold.engine.stores.sqlite.reader_connections import Reader, check_unchanged

Execute: TypeAlias = Callable[..., apsw.Cursor]
"""Runs a statement with its bindings."""


class LoopConnections:
    """A connection for point reads on the event loop, which can be reopened while in use."""

    def __init__(self, opened: OpenedFile[Reader]) -> None:
        self._opened = opened
        self._users: list[Callable[[Execute], None]] = []
        self.connection = opened.current()

    def subscribe(self, use: Callable[[Execute], None]) -> None:
        """Calls `use` with the function that runs statements, now and whenever the connection changes."""
        self._users.append(use)
        use(self._execute())

    def check_file(self) -> None:
        """Reopens it, for all subscribers, if another file is at its path."""
        connection = self._opened.current()
        if connection is not self.connection:
            self.connection = connection
            for use in self._users:
                use(self._execute())

    def reopen(self) -> None:
        """Reopens it, for all subscribers."""
        self._opened.discard()
        self.check_file()

    def close(self) -> None:
        """Closes it for good."""
        self._opened.discard()

    def _execute(self) -> Execute:
        execute: Execute = self.connection.cursor().execute
        if self.connection.stamp is None:
            return execute
        connection, file = self.connection, self._opened.file

        def execute_unchanged(statement: str, bindings: Sequence[Any] = ()) -> apsw.Cursor:
            check_unchanged(connection, file)
            return execute(statement, bindings)

        return execute_unchanged
