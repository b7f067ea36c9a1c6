"""The embedded store: SQLite files in one folder, for a laptop or a single machine."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Self

from anyio.to_thread import run_sync

from pagefold.engine.configuration.config import Config
from pagefold.engine.stores.sqlite import store_health
from pagefold.engine.stores.sqlite.alerts import SQLiteAlerts
from pagefold.engine.stores.sqlite.audit import SQLiteAudit
from pagefold.engine.stores.sqlite.connections import Connections
from pagefold.engine.stores.sqlite.dead_letters import SQLiteDeadLetters
from pagefold.engine.stores.sqlite.deliveries import SQLiteDeliveries
from pagefold.engine.stores.sqlite.delivery_letters import SQLiteDeliveryLetters
from pagefold.engine.stores.sqlite.delivery_targets import SQLiteDeliveryTargets
from pagefold.engine.stores.sqlite.driver_errors import translate_errors
from pagefold.engine.stores.sqlite.feed import SQLiteFeed
from pagefold.engine.stores.sqlite.fetches import SQLiteFetches
from pagefold.engine.stores.sqlite.field_ledger import SQLiteFieldLedger
from pagefold.engine.stores.sqlite.kpi_points import SQLiteKpiPoints
from pagefold.engine.stores.sqlite.leases import SQLiteCoordination
from pagefold.engine.stores.sqlite.log import SQLiteLog
from pagefold.engine.stores.sqlite.log_proof import SQLiteProof
from pagefold.engine.stores.sqlite.pages import SQLitePages
from pagefold.engine.stores.sqlite.plans import SQLitePlans
from pagefold.engine.stores.sqlite.recorder_tables import SQLiteRecords
from pagefold.engine.stores.sqlite.references import SQLiteReferences
from pagefold.engine.stores.sqlite.schedule import SQLiteSchedule
from pagefold.engine.stores.sqlite.schema import begin_deliveries, check, prepare
from pagefold.engine.stores.sqlite.sessions import SQLiteSessions
from pagefold.engine.stores.sqlite.tokens import SQLiteTokens
from pagefold.engine.stores.store import Store
from pagefold.engine.stores.store_health import Inspection


class SQLiteStore(Store):
    """A log in `events.db`, pages in `pages.db`; what targets hold in `deliveries.db`, once there are any."""

    def __init__(self, connections: Connections, config: Config, *, killable: bool) -> None:
        self._connections = connections
        self.name = connections.name
        self.proof = self._proof = proof = SQLiteProof(connections)
        self.log = SQLiteLog(connections, proof)
        self.pages = SQLitePages(connections)
        self.coordination = SQLiteCoordination(connections, proof, config.work.lease_seconds, killable=killable)
        self.dead_letters = SQLiteDeadLetters(connections)
        self.references = SQLiteReferences(connections)
        self.records = SQLiteRecords(connections, proof, self.log)
        self.tokens = SQLiteTokens(connections)
        self.sessions = SQLiteSessions(connections)
        self.fields = SQLiteFieldLedger(connections)
        self.schedule = SQLiteSchedule(connections)
        self.fetches = SQLiteFetches(connections)
        self.deliveries = SQLiteDeliveries(connections)
        self.delivery_letters = SQLiteDeliveryLetters(connections, self.deliveries)
        self.delivery_targets = SQLiteDeliveryTargets(connections)
        self.plans = SQLitePlans(connections)
        self.kpis = SQLiteKpiPoints(connections)
        self.alerts = SQLiteAlerts(connections)
        self.audit = SQLiteAudit(connections)
        self.feed = SQLiteFeed(connections)

    @classmethod
    async def open(cls, config: Config, *, create: bool = True, killable: bool = False) -> Self:
        """Opens the folder of `config.store.url`, creating or migrating it as needed.

        `killable` allows a standby to kill this process if it freezes inside a transaction.
        """
        folder = folder_of(config.store.url)
        name = f"sqlite:///{folder}"
        await run_sync(lambda: prepare(folder, create=create))
        with translate_errors(name):
            connections = Connections(
                folder, partial(prepare, folder, create=False), partial(begin_deliveries, folder), partial(check, name)
            )
            return cls(connections, config, killable=killable)

    async def check_reads(self) -> None:
        await store_health.check_reads(self._connections)
        await self.pages.sections("", "")

    async def check_appends(self) -> None:
        await store_health.check_appends(self._connections)

    async def check_damage(self) -> None:
        await run_sync(lambda: store_health.check_damage(self.name, self._connections.folder))

    async def sizes(self) -> Mapping[str, int]:
        return store_health.sizes(self._connections.folder)

    async def inspect(self) -> Inspection:
        return Inspection(await run_sync(lambda: store_health.inspect(self.name, self._connections.folder)), [])

    async def close(self) -> None:
        await self._connections.close()
        self._proof.close()


def folder_of(url: str) -> Path:
    """The folder: `sqlite:///var/shop` is below the working directory, `sqlite:////var/shop` is absolute."""
    return Path(url.removeprefix("sqlite:///")).expanduser().absolute()
