"""Connections for point reads on the event loop, where a thread would cost five times the read."""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import apsw

from pagefold.engine.stores.sqlite.opened_file import OpenedFile
from pagefold.engine.stores.sqlite.reader_connections import Reader, check_unchanged

Execute: TypeAlias = Callable[..., apsw.Cursor]
"""What runs a statement with its bindings."""


class LoopConnections:
    """A connection for point reads on the event loop, which can be opened anew under those who read."""

    def __init__(self, opened: OpenedFile[Reader]) -> None:
        self._opened = opened
        self._users: list[Callable[[Execute], None]] = []
        self.connection = opened.current()

    def subscribe(self, use: Callable[[Execute], None]) -> None:
        """Calls `use` with what runs statements, now, and again whenever that is another connection."""
        self._users.append(use)
        use(self._execute())

    def check_file(self) -> None:
        """Opens it anew, for all who follow, where another file stands at its path."""
        connection = self._opened.current()
        if connection is not self.connection:
            self.connection = connection
            for use in self._users:
                use(self._execute())

    def reopen(self) -> None:
        """Opens it anew, for all who follow."""
        self._opened.discard()
        self.check_file()

    def close(self) -> None:
        """For good."""
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
