"""Makes the schema of a store, and brings it up to date."""

from functools import cache

from pagefold.engine.errors import StoreNotFound, StoreTooNew, StoreUnusable
from pagefold.engine.runtime.logs import Logger
from pagefold.engine.stores.postgres.connections import PACKAGE, Connections, Session
from pagefold.engine.stores.sql_files import Migration, migrations

MIN_SERVER_VERSION = 14
"""The first that has functions with a body that stays bound to its tables, and ends sessions that are idle."""

log = Logger(__name__)


async def prepare(connections: Connections, *, create: bool) -> None:
    """Brings the schema up to date, under a lock, whoever else does the same. Idempotent.

    Changes nothing where nothing is to be done, so that a role without the right to will do. Raises `StoreNotFound`
    when there is no store and none may be made, `StoreTooNew`, `StoreUnusable`, `StoreUnavailable`.
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
    """Raises `StoreTooNew` or `StoreUnusable` for a schema that is not the one of this program, `StoreUnavailable`."""
    known = migrations(PACKAGE)[-1].number
    version = await current_version(session)
    if version > known:
        raise StoreTooNew(session.name, version, known)
    if version < known:
        raise StoreUnusable(session.name, f"it has schema {version}, {known} is needed; was it put back while in use?")


async def current_version(session: Session) -> int:
    """The number of the newest migration that was applied, 0 where there is no store."""
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
    """Once a process: without these, what was acknowledged is not durable, and no client can help it."""
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
