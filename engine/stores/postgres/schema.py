"""Creates the schema of a store, and migrates it."""

from functools import cache

from pagefold.engine.errors import StoreNotFound, StoreTooNew, StoreUnusable
from pagefold.engine.runtime.logs import Logger
from pagefold.engine.stores.postgres.connections import PACKAGE, Connections, Session
from pagefold.engine.stores.sql_files import Migration, migrations

MIN_SERVER_VERSION = 14
"""The first with SQL-body functions, which stay bound to their tables, and with a timeout for idle sessions."""

log = Logger(__name__)


async def prepare(connections: Connections, *, create: bool) -> None:
    """Migrates the schema, under a lock that excludes other processes. Idempotent.

    Changes nothing if nothing is to be done, so that a role without the privilege suffices. Raises `StoreNotFound` if
    there is no store and `create` is false, `StoreTooNew`, `StoreUnusable`, `StoreUnavailable`.
    """
    known = migrations(PACKAGE)
    async with connections.writer.session() as session:
        await _check_server(session)
        version = await current_version(session)
        if version == 0 and not create:
            raise StoreNotFound(connections.name)
        if version > known[-1].number:
            raise StoreTooNew(connections.name, version, known[-1].number)
        if version < known[-1].number:
            await _apply(session, known)


async def check(session: Session) -> None:
    """Raises `StoreTooNew` or `StoreUnusable` if the schema is not this program's, `StoreUnavailable`."""
    known = migrations(PACKAGE)[-1].number
    version = await current_version(session)
    if version > known:
        raise StoreTooNew(session.name, version, known)
    if version < known:
        raise StoreUnusable(session.name, f"it has schema {version}, {known} is needed; was it restored while in use?")


async def current_version(session: Session) -> int:
    """The number of the newest applied migration, 0 if there is no store."""
    if (await session.fetch("has_migrations"))[0][0]:
        return int((await session.fetch("current_version"))[0][0])
    return 0


async def _check_server(session: Session) -> None:
    server = (await session.fetch("server"))[0]
    if server["version"] < MIN_SERVER_VERSION * 10_000:
        raise StoreUnusable(
            session.name, f"this is PostgreSQL {server['name']}; {MIN_SERVER_VERSION} or newer is needed"
        )
    if server["encoding"] != "UTF8":
        raise StoreUnusable(session.name, f"the database is encoded in {server['encoding']}; UTF8 is needed")
    turned_off = [setting for setting in ("fsync", "full_page_writes") if server[setting] == "off"]
    if turned_off:
        _warn(session.name, ", ".join(turned_off))


@cache
def _warn(store: str, turned_off: str) -> None:
    """Warns, once a process: without these settings, acknowledged events are not durable, and no client can help it."""
    log.warning("a crash of the server's machine may lose what was acknowledged", store=store, turned_off=turned_off)


async def _apply(session: Session, known: list[Migration]) -> None:
    async with session.transaction():
        await session.fetch("lock_schema")
        await session.fetch("create_schema")
        await session.fetch("create_migrations")
        version = await current_version(session)
        for migration in known:
            if migration.number > version:
                await session.run(migration.sql)
                await session.execute("migrated", migration.number, migration.name)
