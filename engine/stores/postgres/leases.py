"""Leases: one worker a domain, by an advisory lock, which the server releases when the worker's connection ends.

A frozen worker keeps its connection. The server ends it after a while, and a standby has it ended sooner: a live holder
sends a heartbeat every eighth of a lease. The next holder writes its name into the checkpoint, which every transaction
of a holder checks first, so the frozen one cannot change anything when it wakes.

A claim is such a lock without heartbeats: only the end of the claimant's connection releases it.
"""

import asyncio
import os
import secrets
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress

import anyio

from pagefold.engine.errors import StoreUnavailable
from pagefold.engine.runtime.logs import Logger
from pagefold.engine.stores.postgres.connections import Connections, Session
from pagefold.engine.stores.postgres.fold_transaction import fold_few, open_fold_transaction
from pagefold.engine.stores.store import Checkpoint, Coordination, FewStored, FoldFew, FoldTransaction, Lease, Streak

RETRY_SECONDS = 0.25
HEARTBEATS_PER_LEASE = 8

log = Logger(__name__)


class PostgresLease(Lease):
    """The right to fold a domain, while the connection with its lock lives."""

    def __init__(self, session: Session, domain: str, holder: str) -> None:
        self._session = session
        self._domain = domain
        self.holder = holder

    def fold_transaction(self) -> AbstractAsyncContextManager[FoldTransaction]:
        return open_fold_transaction(self._session, self._domain, self.holder)

    async def fold_few(self, streams: Sequence[str], end: int, fold: FoldFew) -> FewStored | None:
        return await fold_few(self._session, self._domain, self.holder, streams, end, fold)


class PostgresCoordination(Coordination):
    """Checkpoints in a table, leases in advisory locks; each lease and each repair uses its own connection."""

    def __init__(self, connections: Connections, lease_seconds: float) -> None:
        self._connections = connections
        self._lease_seconds = lease_seconds

    async def checkpoints(self) -> list[Checkpoint]:
        rows = await self._connections.readers.fetch("checkpoints")
        return list(map(Checkpoint._make, rows))

    @asynccontextmanager
    async def fold_transaction(self, domain: str) -> AsyncIterator[FoldTransaction]:
        async with self._worker() as session, open_fold_transaction(session, domain, None) as transaction:
            yield transaction

    @asynccontextmanager
    async def lease(self, domain: str, *, wait: bool = True) -> AsyncIterator[Lease | None]:
        async with self._worker() as session:
            if not await self._acquire(session, domain, wait=wait):
                yield None
                return
            holder = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
            await _take_over(session, domain, holder)
            async with self._heartbeats(session):
                yield PostgresLease(session, domain, holder)

    async def streaks(self) -> list[Streak]:
        rows = await self._connections.readers.fetch("streaks")
        return list(map(Streak._make, rows))

    @asynccontextmanager
    async def claim(self, task: str) -> AsyncIterator[bool]:
        session = await self._connections.lock_session()
        try:
            yield bool((await session.fetch("try_claim", task))[0][0])
        finally:
            await session.close()

    @asynccontextmanager
    async def _worker(self) -> AsyncIterator[Session]:
        session = await self._connections.fold_session()
        try:
            yield session
        finally:
            await session.close()

    async def _acquire(self, session: Session, domain: str, *, wait: bool) -> bool:
        """Acquires the lock of the domain, if possible. While waiting, replaces a holder that is frozen."""
        while not (await session.fetch("try_lease", domain))[0][0]:
            for pid, ended in await session.fetch("end_frozen_holder", domain, self._lease_seconds):
                log.warning("replacing a frozen worker", domain=domain, server_process=pid, ended=ended)
            if not wait:
                return False
            await anyio.sleep(RETRY_SECONDS)
        return True

    @asynccontextmanager
    async def _heartbeats(self, session: Session) -> AsyncIterator[None]:
        """Heartbeats in a task of their own, not a task group: errors of the body stay as they are."""
        heart = asyncio.create_task(self._send_heartbeats(session))
        try:
            yield
        finally:
            heart.cancel()
            with anyio.CancelScope(shield=True):
                await asyncio.wait([heart])

    async def _send_heartbeats(self, session: Session) -> None:
        """Ends when the connection is lost; the holder's next transaction then fails."""
        with suppress(StoreUnavailable):
            while True:
                await asyncio.sleep(self._lease_seconds / HEARTBEATS_PER_LEASE)
                async with session.turn:
                    await session.fetch("breathe")


async def _take_over(session: Session, domain: str, holder: str) -> None:
    await session.execute("create_checkpoint", domain)
    await session.execute("take_over", holder, domain)
