"""The connections of a PostgreSQL store, and who uses them.

Every connection uses the schema of the store only, waits for the disk with every commit, and plans by index whatever
the statistics say. There are few: one writes the log, some read, one listens, one serves point reads, each lease and
claim has one, and where there are targets, two write what was delivered.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import TypeAlias

import anyio
import asyncpg

from pagefold.engine.configuration.config import Config
from pagefold.engine.configuration.toml_tables import redacted
from pagefold.engine.errors import StoreDamaged, StoreReadOnly, StoreUnavailable, StoreUnusable
from pagefold.engine.stores.sql_files import statements

PACKAGE = "pagefold.engine.stores.postgres"

SQL: Mapping[str, str] = {**statements(PACKAGE), **statements(PACKAGE, "server")}

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
Record: TypeAlias = asyncpg.Record

READER_CONNECTIONS = 4
DELIVERY_CONNECTIONS = 2
CONNECT_SECONDS = 10.0
COMMAND_SECONDS = 60.0
CLOSE_SECONDS = 5.0

_SETTINGS = {
    "application_name": "pagefold",
    "timezone": "UTC",
    "synchronous_commit": "on",
    "default_transaction_isolation": "read committed",
    "jit": "off",
    # One plan a statement, by index, made once: independent of statistics and of tables that were still empty; but for
    # deliveries.
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    # The server notices clients whose machine is gone.
    "tcp_keepalives_idle": "30",
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "3",
}

_TRANSIENT_ERRORS = (
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.TransactionRollbackError,
    asyncpg.LockNotAvailableError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.TransactionTimeoutError,
    asyncpg.PostgresSystemError,
    asyncpg.InvalidCachedStatementError,
    asyncpg.InternalClientError,  # asyncpg, if the server ended the session between two statements
    asyncpg.exceptions.TargetServerAttributeNotMatched,
    OSError,
    TimeoutError,
)

_RECONNECT_ERRORS = (
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.IdleSessionTimeoutError,
    asyncpg.InvalidCachedStatementError,
    asyncpg.InternalClientError,
    ConnectionError,
)

_PERMANENT_ERRORS = (
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.InvalidSchemaNameError,
    asyncpg.UndefinedFunctionError,
    asyncpg.UndefinedTableError,  # the schema was dropped, or is being restored while in use
    asyncpg.ReservedNameError,
    asyncpg.InsufficientPrivilegeError,
)


@contextmanager
def translate_errors(name: str) -> Iterator[None]:
    """Turns transient errors into `StoreUnavailable`, and permanent ones into `StoreUnusable` and others."""
    try:
        yield
    except _TRANSIENT_ERRORS as error:
        raise StoreUnavailable(name, error) from error
    except asyncpg.ReadOnlySQLTransactionError as error:
        raise StoreReadOnly(name, str(error)) from error
    except _PERMANENT_ERRORS as error:
        raise StoreUnusable(name, error) from error
    except asyncpg.IndexCorruptedError as error:
        raise StoreDamaged(name, "an index", error) from error
    except asyncpg.DataCorruptedError as error:
        raise StoreDamaged(name, "a table", error) from error
    except asyncpg.InterfaceError as error:
        if needs_reconnect(error):
            raise StoreUnavailable(name, error) from error
        raise


def needs_reconnect(error: Exception) -> bool:
    """Whether the connection is unusable while a new one may work."""
    if type(error) is asyncpg.InterfaceError:  # asyncpg has no class for this
        return "closed" in str(error)
    return isinstance(error, _RECONNECT_ERRORS)


class Session:
    """One connection. If it is shared, users take turns."""

    def __init__(self, name: str, connection: Connection) -> None:
        self.name = name
        self.connection = connection
        self.turn = asyncio.Lock()

    @property
    def closed(self) -> bool:
        """Whether the connection is closed."""
        return self.connection.is_closed()

    async def fetch(self, statement: str, *bindings: object) -> list[Record]:
        """All rows of a named statement."""
        with translate_errors(self.name):
            return await self.connection.fetch(SQL[statement], *bindings)

    async def execute(self, statement: str, *bindings: object) -> int:
        """Runs a named statement that writes, and returns the number of rows."""
        return int((await self.run(SQL[statement], *bindings)).rpartition(" ")[2])

    async def run(self, sql: str, *bindings: object) -> str:
        """Runs SQL, several statements if there are no bindings, and returns the server's status of the last."""
        with translate_errors(self.name):
            return await self.connection.execute(sql, *bindings)

    async def copy(self, table: str, columns: Sequence[str], rows: Sequence[tuple[object, ...]]) -> None:
        """Copies rows into a table, in binary form."""
        with translate_errors(self.name):
            await self.connection.copy_records_to_table(table, columns=columns, records=rows)

    async def listen(self, channel: str, callback: Callable[[], None]) -> None:
        """Calls `callback` with every notification on the channel, while the connection lives."""
        with translate_errors(self.name):
            await self.connection.add_listener(channel, lambda *_: callback())

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        """A transaction, committed at the end and rolled back on any error."""
        try:
            await self.run("BEGIN")
            yield
        except BaseException:
            await self._roll_back()
            raise
        await self._commit()

    async def close(self) -> None:
        """Closes the connection, gracefully if the server responds."""
        with anyio.CancelScope(shield=True):
            try:
                await self.connection.close(timeout=CLOSE_SECONDS)
            except (*_TRANSIENT_ERRORS, asyncpg.InterfaceError):
                self.connection.terminate()

    async def _commit(self) -> None:
        with anyio.CancelScope(shield=True):
            try:
                outcome = await self.run("COMMIT")
            except BaseException:
                self.connection.terminate()
                raise
        if outcome != "COMMIT":
            raise StoreUnusable(self.name, f"a transaction ended with {outcome} in place of COMMIT")

    async def _roll_back(self) -> None:
        """Also if no transaction seems to have begun: a BEGIN that was cancelled may have."""
        with anyio.CancelScope(shield=True):
            try:
                await self.run("ROLLBACK")
            except StoreUnavailable:
                self.connection.terminate()


class Pool:
    """A limited number of connections, made when needed, and replaced when lost."""

    def __init__(self, open_session: Callable[[], Awaitable[Session]], size: int) -> None:
        self._open_session = open_session
        self._size = size
        self._used = 0
        self._turns = asyncio.Semaphore(size)
        self._idle: list[Session] = []
        self._closed = False

    @asynccontextmanager
    async def session(self) -> AsyncIterator[Session]:
        """A connection for exclusive use."""
        async with self._turns:
            while self._idle and self._idle[-1].closed:
                self._idle.pop()
            session = self._idle.pop() if self._idle else await self._open_session()
            self._used += 1
            try:
                yield session
            except StoreReadOnly:  # after a failover, the server may be read-only
                session.connection.terminate()
                raise
            finally:
                self._used -= 1
                await self._give_back(session)

    async def fill(self) -> None:
        """Opens all connections of the pool. Raises `StoreUnavailable` if the server accepts too few."""
        self._idle = [session for session in self._idle if not session.closed]
        while not self._closed and self._used + len(self._idle) < self._size:
            await self._give_back(await self._open_session())

    async def _give_back(self, session: Session) -> None:
        if self._closed or self._used + len(self._idle) >= self._size:  # meanwhile
            await session.close()
        else:
            self._idle.append(session)

    async def fetch(self, statement: str, *bindings: object) -> list[Record]:
        """All rows of a named statement."""
        async with self.session() as session:
            return await session.fetch(statement, *bindings)

    async def execute(self, statement: str, *bindings: object) -> int:
        """Runs a named statement and returns the number of rows."""
        async with self.session() as session:
            return await session.execute(statement, *bindings)

    async def close(self) -> None:
        """Closes the idle connections. One in use closes afterwards."""
        self._closed = True
        while self._idle:
            await self._idle.pop().close()


class Connections:
    """Every connection of one open store."""

    def __init__(self, config: Config) -> None:
        self.name = redacted(config.store.url)
        self.schema = config.store.schema
        self._config = config
        self._lease_milliseconds = round(config.work.lease_seconds * 1000)
        self.writer = Pool(self.session, 1)
        self.readers = Pool(self.session, READER_CONNECTIONS)
        self.delivery_writers = Pool(self._delivery_session, DELIVERY_CONNECTIONS)

    async def session(self, *, command_seconds: float | None = COMMAND_SECONDS) -> Session:
        """A new connection, on which no command may take longer than `command_seconds`."""
        return await self._connect({}, command_seconds)

    async def fold_session(self) -> Session:
        """A new connection for fold transactions. The server ends it if its client is frozen."""
        timeout = f"{2 * self._lease_milliseconds}ms"
        return await self._connect({"idle_session_timeout": timeout, "lock_timeout": "30s"}, COMMAND_SECONDS)

    async def lock_session(self) -> Session:
        """A new connection for an idle lock. The server ends it if its client is gone."""
        return await self._connect({"idle_session_timeout": "0"}, COMMAND_SECONDS)

    async def _delivery_session(self) -> Session:
        """A new connection for deliveries, which plans each statement when it is run.

        They join rows that are given with a table that grows from nothing to millions of rows: a plan that was made
        while it was empty may read all of it.
        """
        return await self._connect({"plan_cache_mode": "force_custom_plan"}, COMMAND_SECONDS)

    async def _connect(self, settings: Mapping[str, str], command_seconds: float | None) -> Session:
        own = {
            "search_path": self.schema,
            "idle_in_transaction_session_timeout": f"{self._lease_milliseconds}ms",  # otherwise it blocks others
        }
        try:
            with translate_errors(self.name):
                connection = await asyncpg.connect(
                    self._config.store.url,
                    timeout=CONNECT_SECONDS,
                    command_timeout=command_seconds,
                    max_cached_statement_lifetime=0,
                    server_settings={**_SETTINGS, **own, **settings},
                )
        except ValueError as error:  # shown only if it is asyncpg's own: it may quote a part of the password
            reason = error if isinstance(error, asyncpg.ClientConfigurationError) else "is not a PostgreSQL URL"
            raise self._config.error("store.url", str(reason)) from None
        return Session(self.name, connection)

    async def close(self) -> None:
        """Closes all but the workers' connections."""
        await self.writer.close()
        await self.readers.close()
        await self.delivery_writers.close()
