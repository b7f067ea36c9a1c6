"""The store for a shop of any size: one schema in a PostgreSQL database, next to anything else in it.

Connect to the server itself, or through a pooler in session mode. Transaction mode, as pgbouncer often runs, breaks
what belongs to a session: the locks of leases, LISTEN, prepared statements, and settings.
"""

from collections.abc import Mapping
from typing import Self

from pagefold.engine.configuration.config import Config
from pagefold.engine.errors import StoreReadOnly
from pagefold.engine.stores.postgres.alerts import PostgresAlerts
from pagefold.engine.stores.postgres.audit import PostgresAudit
from pagefold.engine.stores.postgres.connections import Connections
from pagefold.engine.stores.postgres.dead_letters import PostgresDeadLetters
from pagefold.engine.stores.postgres.deliveries import PostgresDeliveries
from pagefold.engine.stores.postgres.delivery_letters import PostgresDeliveryLetters
from pagefold.engine.stores.postgres.delivery_targets import PostgresDeliveryTargets
from pagefold.engine.stores.postgres.disk_space import DiskSpaceCheck
from pagefold.engine.stores.postgres.feed import PostgresFeed
from pagefold.engine.stores.postgres.fetches import PostgresFetches
from pagefold.engine.stores.postgres.field_ledger import PostgresFieldLedger
from pagefold.engine.stores.postgres.kpi_points import PostgresKpiPoints
from pagefold.engine.stores.postgres.leases import PostgresCoordination
from pagefold.engine.stores.postgres.log import PostgresLog
from pagefold.engine.stores.postgres.log_proof import PostgresProof
from pagefold.engine.stores.postgres.pages import PostgresPages
from pagefold.engine.stores.postgres.plans import PostgresPlans
from pagefold.engine.stores.postgres.recorder_tables import PostgresRecords
from pagefold.engine.stores.postgres.references import PostgresReferences
from pagefold.engine.stores.postgres.schedule import PostgresSchedule
from pagefold.engine.stores.postgres.schema import check, prepare
from pagefold.engine.stores.postgres.sessions import PostgresSessions
from pagefold.engine.stores.postgres.store_health import inspect
from pagefold.engine.stores.postgres.tokens import PostgresTokens
from pagefold.engine.stores.store import Store
from pagefold.engine.stores.store_health import Inspection


class PostgresStore(Store):
    """A log and its pages in one schema."""

    log: PostgresLog
    pages: PostgresPages

    def __init__(self, connections: Connections, config: Config) -> None:
        self._connections = connections
        self._room = DiskSpaceCheck(connections)
        self.name = connections.name
        self.proof = PostgresProof(connections)
        self.log = PostgresLog(connections)
        self.pages = PostgresPages(connections)
        self.coordination = PostgresCoordination(connections, config.work.lease_seconds)
        self.dead_letters = PostgresDeadLetters(connections)
        self.references = PostgresReferences(connections)
        self.records = PostgresRecords(connections, self.proof, self.log)
        self.tokens = PostgresTokens(connections)
        self.sessions = PostgresSessions(connections)
        self.fields = PostgresFieldLedger(connections)
        self.schedule = PostgresSchedule(connections)
        self.fetches = PostgresFetches(connections)
        self.deliveries = PostgresDeliveries(connections)
        self.delivery_letters = PostgresDeliveryLetters(connections)
        self.delivery_targets = PostgresDeliveryTargets(connections)
        self.plans = PostgresPlans(connections)
        self.kpis = PostgresKpiPoints(connections)
        self.alerts = PostgresAlerts(connections)
        self.audit = PostgresAudit(connections)
        self.feed = PostgresFeed(connections)

    @classmethod
    async def open(cls, config: Config, *, create: bool = True, killable: bool = False) -> Self:  # noqa: ARG003  # the server ends the session of a frozen worker
        """Opens the schema `config.store.schema` at `config.store.url`, creating or migrating it as needed."""
        connections = Connections(config)
        try:
            await prepare(connections, create=create)
        except BaseException:
            await connections.close()
            raise
        return cls(connections, config)

    async def check_reads(self) -> None:
        await self._connections.readers.fill()
        async with self._connections.readers.session() as session:
            await check(session)
        await self.pages.sections("", "")

    async def check_appends(self) -> None:
        await self._connections.writer.fill()
        async with self._connections.writer.session() as session:
            [(reason,)] = await session.fetch("why_read_only")
        if reason is not None:
            raise StoreReadOnly(self.name, reason)
        await self._room.check()

    async def check_damage(self) -> None:
        """A no-op: the server checks each page that it reads."""

    async def sizes(self) -> Mapping[str, int]:
        return {row[0]: row[1] for row in await self._connections.readers.fetch("store_sizes")}

    async def inspect(self) -> Inspection:
        return await inspect(self._connections)

    async def close(self) -> None:
        await self.pages.close()
        await self.log.close()
        await self._connections.close()
