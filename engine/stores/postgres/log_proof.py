"""The proof that the table of events is the log that was folded.

Log, pages and checkpoints are in one schema, so a dump has all of them consistently. A restored dump is another table
all the same, and proves nothing until a person confirms it.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from pagefold.engine.errors import LogReplaced
from pagefold.engine.stores.log_proof import EventCounts, Proof, ProvenPosition, problem_of
from pagefold.engine.stores.postgres.connections import Connections, Pool, Session

REPLACED_SQLSTATE = "PF001"
"""The error code of `append_events` if the log is not proved."""

UNPROVED = "its checkpoints are not proved by it"
RESTORED = "its tables were restored from a dump"
FOLDED = "{} was folded"


class PostgresProof(Proof):
    """The proof of a schema. Appends and folds check it in their own transaction."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def log_id(self) -> str:
        return str((await self._connections.readers.fetch("log_id"))[0][0])

    async def problem(self) -> str | None:
        return await problem(self._connections.readers)

    async def mark(self, position: int) -> bytes | None:
        rows = await self._connections.readers.fetch("event_at", position)
        return bytes(rows[0][0]) if rows else None

    async def count_events(self, domain: str, upto: int) -> EventCounts:
        return EventCounts._make((await self._connections.readers.fetch("tally", domain, upto))[0])

    async def begin_recovery(self) -> None:
        async with self._connections.writer.session() as session, session.transaction():
            await adopt(session)
            for statement in ("reset_checkpoints", "forget_streaks", "forget_unproved_applications", "forget_receipts"):
                await session.execute(statement)
            await session.execute("set_recovery", True)  # noqa: FBT003  # positional in SQL

    async def end_recovery(self) -> None:
        await self._connections.writer.execute("set_recovery", False)  # noqa: FBT003  # as above

    async def is_recovering(self) -> bool:
        return bool((await self._connections.readers.fetch("recovering"))[0][0])


@asynccontextmanager
async def proving(session: Session) -> AsyncIterator[None]:
    """Raises `LogReplaced`, with its reason, if the server refuses an append inside because of it."""
    try:
        yield
    except asyncpg.PostgresError as error:
        if error.sqlstate != REPLACED_SQLSTATE:
            raise
    else:
        return
    raise LogReplaced(await problem(session) or UNPROVED)


async def adopt(session: Session) -> None:
    """Declares the current table to be the log."""
    await session.execute("adopt_table")


async def problem(reads: Session | Pool) -> str | None:
    """Why the log does not prove the checkpoints; None if it does."""
    stored = [(ProvenPosition(FOLDED.format(row[0]), *row[1:4]), row[4]) for row in await reads.fetch("kept")]
    identity = await reads.fetch("identity")
    if not any(each.position for each, _ in stored):
        return None
    if not identity:
        return "it has no identity"
    log_id, end, is_written_here = identity[0]
    return problem_of(log_id, end, stored) or (None if is_written_here else RESTORED)
