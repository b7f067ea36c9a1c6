"""The proof that `events.db` is the log that was folded into `pages.db`, and appended to.

Checkpoints are in one file and the log in the other, so each is checked inside the transactions of the other. The
newest acknowledged event is recorded in a third file, `log.tip`, written after it is durable: it reveals a restored log
whose last events were not folded.
"""

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, Self, TypeAlias

import apsw

from pagefold.engine.errors import LogReplaced
from pagefold.engine.stores.log_proof import EventCounts, Proof, ProvenPosition, mark_of, problem_of
from pagefold.engine.stores.sqlite.connections import SQL, Connections, Result, fetch, in_transaction, with_full_sync

TIP_FILE = "log.tip"
TIP_BYTES = 128

FOLDED = "{} was folded"
ACKNOWLEDGED = "events were acknowledged"

CHANGES = "PRAGMA data_version"

Marked: TypeAlias = tuple[int, bytes]
"""A position, and the mark of the event there."""


class Tip:
    """The newest acknowledged event, for the next process that appends or checks.

    The last writer wins: an older event is in the log as well. So it is neither synced nor locked, and failing to read
    or write it is not an error. The file is created once, and stays: processes keep it open.
    """

    def __init__(self, folder: Path) -> None:
        self._path = str(folder / TIP_FILE)
        self._descriptor: int | None = None

    def read(self) -> Marked | None:
        """Its position and its mark; None if unknown."""
        try:
            descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            position, mark, end = os.pread(descriptor, TIP_BYTES, 0).split(b" ")
            return (int(position), bytes.fromhex(mark.decode())) if end == b"\n" else None
        except (OSError, ValueError):
            return None
        finally:
            os.close(descriptor)

    def write(self, position: int, mark: bytes) -> None:
        """Records this event. The length is fixed, so that concurrent readers see one or the other."""
        try:
            if self._descriptor is None:
                self._descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            os.pwrite(self._descriptor, b"%020d %s \n" % (position, mark.hex().encode()), 0)
        except OSError:
            self.close()

    def clear(self) -> None:
        """Removes the record."""
        with suppress(FileNotFoundError):
            os.truncate(self._path, 0)

    def close(self) -> None:
        """Closes the file; the next write opens the one at the path then."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)


class _State(NamedTuple):
    """Changes with another connection's commit, and with another file at the path."""

    connection: apsw.Connection
    version: int

    @classmethod
    def read(cls, connection: apsw.Connection) -> Self:
        """The state of a file, as a connection sees it. The connection's own commits do not change it."""
        return cls(connection, connection.execute(CHANGES).get)


class _Proved(NamedTuple):
    """The state of `pages.db` in which its furthest checkpoint was proved, and by which file."""

    events: apsw.Connection
    pages: _State


class SQLiteProof(Proof):
    """The proof of a pair of files."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._tip = Tip(connections.folder)
        self._proved: _Proved | None = None
        self._appended_to: _State | None = None

    # --- inside the thread of a writer ----------------------------------------------------------------

    def append(self, connection: apsw.Connection, work: Callable[[apsw.Connection], Result]) -> Result:
        """Runs an append, in one transaction, on a log that is proved. Raises `LogReplaced`.

        It is acknowledged once it is in the file at the path.
        """

        def proved(writer: apsw.Connection) -> Result:
            self._check_tip(writer)
            self._check_furthest(writer)
            return work(writer)

        opened = self._connections.events.opened
        opened.confirm_journal()  # otherwise only this process would see it
        result = in_transaction(proved)(connection)
        opened.confirm()
        for position, *event in fetch(connection, "newest_event"):
            self._tip.write(position, mark_of(*event))
        return result

    def check_checkpoint(self, domain: str, position: int, mark: bytes | None, log_id: str | None) -> None:
        """Raises `LogReplaced` unless the log proves a checkpoint. Inside a transaction of `pages.db`."""
        if position:
            events = self._connections.events_witness.current()
            stored = ProvenPosition(FOLDED.format(domain), position, mark, log_id)
            _check(events, stored)

    def marked(self, domain: str, position: int) -> tuple[bytes | None, str]:
        """The mark at a position, and the identity of the log. Raises `LogReplaced` if there is no event."""
        events = self._connections.events_witness.current()
        mark = mark_at(events, position)
        if position and mark is None:
            _check(events, ProvenPosition(FOLDED.format(domain), position, None, None))
        return mark, _log_id(events)

    def _check_tip(self, events: apsw.Connection) -> None:
        """Checks that the newest acknowledged event is in the log. It is as long as no other process has appended."""
        state = _State.read(events)
        if state == self._appended_to:
            return
        self._tip.close()
        if (tip := self._tip.read()) is not None and mark_at(events, tip[0]) != tip[1]:
            self._proved = None
            self._check_furthest(events)
            _check(events, ProvenPosition(ACKNOWLEDGED, *tip, None))
        self._appended_to = state

    def _check_furthest(self, events: apsw.Connection) -> None:
        """Checks the furthest checkpoint, which proves all others: they were folded from the same log.

        Once, until pages change.
        """
        pages = self._connections.pages_witness.current()
        state = _Proved(events, _State.read(pages))
        if self._proved != state:
            for position, mark, log_id in fetch(pages, "furthest_checkpoint"):
                _check(events, ProvenPosition("pages were folded", position, mark, log_id))
            self._proved = state

    def close(self) -> None:
        """Call after the last append."""
        self._tip.close()

    # --- for all callers --------------------------------------------------------------------------------

    async def log_id(self) -> str:
        return await self._connections.events_browser.run(_log_id)

    async def problem(self) -> str | None:
        tip = self._tip.read()  # read before the log, so that it is never newer
        checkpoints = await self._connections.pages_reader.fetch("kept")
        stored = [ProvenPosition(FOLDED.format(domain), *rest) for domain, *rest in checkpoints]
        if tip is not None:
            stored.append(ProvenPosition(ACKNOWLEDGED, *tip, None))
        try:
            return await self._connections.events_browser.run(lambda events: _problem(events, stored))
        except LogReplaced as error:
            return error.reason

    async def mark(self, position: int) -> bytes | None:
        return await self._connections.events_browser.run(lambda events: mark_at(events, position))

    async def count_events(self, domain: str, upto: int) -> EventCounts:
        [row] = await self._connections.events_browser.fetch("tally", domain, upto)
        return EventCounts._make(row)

    async def begin_recovery(self) -> None:
        def begin(connection: apsw.Connection) -> None:
            for statement in ("reset_checkpoints", "forget_streaks"):
                fetch(connection, statement)
            fetch(connection, "set_recovery", 1)
            fetch(connection, "need_no_more", self._connections.events_witness.current().execute(SQL["log_end"]).get)

        if self._connections.has_deliveries:
            receipts = in_transaction(lambda connection: fetch(connection, "forget_receipts"))
            await self._connections.deliveries.run(with_full_sync(receipts))
        await self._connections.pages.run(with_full_sync(in_transaction(begin)))
        self._tip.clear()

    async def end_recovery(self) -> None:
        await self._connections.pages.run(with_full_sync(lambda connection: fetch(connection, "set_recovery", 0)))

    async def is_recovering(self) -> bool:
        return bool((await self._connections.pages_reader.fetch("recovering"))[0][0])


def mark_at(events: apsw.Connection, position: int) -> bytes | None:
    """The mark of the event at a position; None if there is none."""
    for row in events.execute(SQL["event_at"], (position,)):
        return mark_of(*row)
    return None


def _check(events: apsw.Connection, stored: ProvenPosition) -> None:
    if (problem := _problem(events, [stored])) is not None:
        raise LogReplaced(problem)


def _problem(events: apsw.Connection, stored: Sequence[ProvenPosition]) -> str | None:
    end: int = events.execute(SQL["log_end"]).get
    return problem_of(_log_id(events), end, [(each, mark_at(events, each.position)) for each in stored])


def _log_id(events: apsw.Connection) -> str:
    found: Any = events.execute(SQL["log_id"]).get
    return str(found)
