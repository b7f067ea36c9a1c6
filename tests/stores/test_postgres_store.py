"""PostgreSQL only: leases as sessions, the lock of the log, unusable servers, and errors."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import closing

import anyio
import asyncpg
import psycopg
import pytest
from structlog.testing import capture_logs

from pagefold import Config, ConfigurationError
from pagefold.engine.errors import StoreError, StoreReadOnly, StoreUnavailable, StoreUnusable
from pagefold.engine.stores import open_store
from pagefold.engine.stores.log_records import CorrectionEvent
from pagefold.engine.stores.postgres import PostgresStore
from pagefold.engine.stores.postgres.bulk_append import MIN_COPIED_EVENTS
from pagefold.engine.stores.postgres.connections import PACKAGE, SQL, needs_reconnect, translate_errors
from pagefold.engine.stores.sql_files import statements
from pagefold.projections.section_fold import shared_sections
from tests.support.databases import database, end_sessions, opened, query
from tests.support.postgres import PostgresServer
from tests.support.processes import eventually
from tests.support.small_shop import SKU, Raw, a_section, configured, folded, insert

HOLDERS = ("idle", "in a transaction", "not reading")


@pytest.fixture
def kind() -> str:
    """PostgreSQL alone."""
    return "postgres"


# --- leases ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("doing", HOLDERS)
@pytest.mark.parametrize("wait", [True, False])
async def test_a_session_whose_client_is_frozen_is_ended(
    store: PostgresStore, config: Config, doing: str, *, wait: bool
) -> None:
    """Its lease is free after `lease_seconds`, whatever the client was doing; and it gets an error."""
    with closing(psycopg.connect(config.store.url, autocommit=True, options="-c search_path=pagefold")) as frozen:
        frozen.execute("SELECT pg_advisory_lock(hashtext(current_schema()), hashtext('catalog'))")
        if doing == "in a transaction":
            frozen.execute("BEGIN; SELECT * FROM checkpoints FOR UPDATE")
        elif doing == "not reading":
            frozen.pgconn.send_query(b"SELECT repeat('x', 1000) FROM generate_series(1, 1000000)")
        with capture_logs() as logs, anyio.fail_after(30):
            started = anyio.current_time()
            while not await holds(store, "catalog", wait=wait):  # noqa: ASYNC110  # only the lease itself shows it
                await anyio.sleep(0.05)
            took = anyio.current_time() - started
    assert took > config.work.lease_seconds * 0.8
    assert [(each["event"], each["domain"]) for each in logs] == [("replacing a frozen worker", "catalog")]


async def holds(store: PostgresStore, domain: str, *, wait: bool) -> bool:
    """Whether the lease of a domain can be taken."""
    async with store.coordination.lease(domain, wait=wait) as lease:
        return lease is not None


async def test_a_lease_without_its_session_is_invalid(store: PostgresStore, config: Config) -> None:
    """Its transactions raise `StoreUnavailable`, and the next lease can be taken immediately."""
    async with store.coordination.lease("catalog") as lease:
        assert lease is not None
        end_sessions(config.store.url)
        for _ in range(2):
            with pytest.raises(StoreUnavailable):
                async with lease.fold_transaction() as folding:
                    await folding.write(shared_sections([a_section(SKU)]))
    assert await holds(store, "catalog", wait=False)
    assert await store.pages.sections(SKU, "web-de") == []


async def test_an_idle_claim_is_held(postgres_url: str) -> None:
    """Its session survives the database's idle timeout, but not its termination."""
    query(postgres_url, f"ALTER DATABASE {database(postgres_url)} SET idle_session_timeout = '100ms'")
    async with opened(configured(postgres_url)) as store, store.coordination.claim("rebuild") as claimed:
        assert claimed
        await anyio.sleep(0.5)
        async with store.coordination.claim("rebuild") as second:
            assert not second
        end_sessions(postgres_url)  # which does not wait until they have ended

        async def is_free() -> bool:
            async with store.coordination.claim("rebuild") as third:
                return third

        await eventually(is_free, "the claim is free")


async def test_a_session_that_is_used_ends_with_its_use(config: Config) -> None:
    """A store that is closed during use leaves no session open: the event loop could not end."""
    store = await PostgresStore.open(config)
    async with store._connections.readers.session() as session:
        await store.close()
        assert not session.closed
    assert session.closed


async def test_a_session_lost_in_a_transaction_leaves_nothing(store: PostgresStore, config: Config) -> None:
    """If the server ends the session before the commit, nothing of the transaction stays, and it fails."""

    async def interrupted() -> None:
        async with store.coordination.fold_transaction("catalog") as folding:
            await folding.write(shared_sections([a_section(SKU)]))
            end_sessions(config.store.url)

    with pytest.raises(StoreUnavailable):
        await interrupted()
    assert await store.pages.sections(SKU, "web-de") == []


# --- the log --------------------------------------------------------------------------------------


async def test_shops_of_one_database_do_not_wait_for_each_other(store: PostgresStore, config: Config) -> None:
    """A hanging append in one schema delays only the appends of that schema."""
    url = config.store.url
    async with opened(configured(url, store={"url": url, "schema": "another_shop"})) as other:
        with psycopg.connect(url, options="-c search_path=pagefold") as hanging:
            hanging.execute("SELECT append_events('{A}', '{1}', '{inventory}', '{x}')")
            with anyio.fail_after(5):
                assert await insert(other, "A") == [1]
            with anyio.move_on_after(0.2):
                await store.log.insert([Raw("B")])
                pytest.fail("an append overtook one that had not committed")
            with anyio.move_on_after(0.2):
                await store.log.correct([CorrectionEvent("B", 1, 1, "inventory", b"{}")])
                pytest.fail("a correction overtook an append that had not committed")
            hanging.rollback()
        assert await store.log.insert([Raw("B")]) != [1]


async def test_an_append_without_a_notification_is_found(store: PostgresStore, config: Config) -> None:
    """A row without a notification ends the wait all the same."""
    add = (
        "INSERT INTO pagefold.stored_events (originator_id, originator_version, topic, state) VALUES ('A', 1, 'x', '')"
    )
    waiting = asyncio.create_task(store.log.wait(0, 60))
    await asyncio.sleep(0.1)
    query(config.store.url, add)
    await asyncio.wait_for(waiting, 2)


@pytest.mark.parametrize("what", ["insert", "correct", "layout", "records"])
async def test_an_append_after_a_cancelled_one_is_committed(store: PostgresStore, config: Config, what: str) -> None:
    """Whichever statement was cancelled on the connection, the next acknowledged append is visible to others."""
    calls: dict[str, Callable[[int], Coroutine[object, object, object]]] = {
        "insert": lambda step: store.log.insert([Raw(f"A{step}")]),
        "correct": lambda step: store.log.correct([CorrectionEvent(f"A{step}", 1, 1, "inventory", b"{}")]),
        "layout": lambda step: store.pages.publish_layout(["catalog"], "catalog", {f"c{step}": []}),
        "records": lambda step: store.records.insert("stored_events", [Raw(f"A{step}")], ("app", step)),
    }
    for step in range(12):
        task = asyncio.create_task(calls[what](step))
        for _ in range(step):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        [position] = await insert(store, f"S{step}")
        ask = "SELECT originator_id FROM pagefold.stored_events WHERE notification_id = %s"
        assert query(config.store.url, ask, position) == [(f"S{step}",)]


# --- unusable servers ---------------------------------------------------------------------


async def refusal(config: Config, *, create: bool = True) -> str:
    """The error on opening the store, which must not be retryable."""
    with pytest.raises(StoreError) as caught:
        await PostgresStore.open(config, create=create)
    assert not isinstance(caught.value, StoreUnavailable)
    return str(caught.value)


async def test_a_missing_database_is_an_error(config: Config) -> None:
    """A missing database is an error that names it; it is not retried."""
    url = config.store.url.replace(f"/{database(config.store.url)}", "/nowhere")
    assert 'database "nowhere" does not exist' in await refusal(configured(url))


async def test_another_encoding_is_an_error(config: Config) -> None:
    """A database that is not in UTF-8 cannot store every SKU, and is refused before anything is created in it."""
    query(config.store.url, "CREATE DATABASE ascii ENCODING 'SQL_ASCII' TEMPLATE template0")
    url = config.store.url.replace(f"/{database(config.store.url)}", "/ascii")
    try:
        assert "SQL_ASCII; UTF8 is needed" in await refusal(configured(url))
        assert query(url, "SELECT to_regnamespace('pagefold')") == [(None,)]
    finally:
        query(config.store.url, "DROP DATABASE ascii")


async def test_an_unreachable_server_is_unavailable() -> None:
    """A server that does not answer is unavailable; the error and the store's name are without the password."""
    config = configured("postgresql://shop:secret@/db?host=/nowhere&password=secret")
    with pytest.raises(StoreUnavailable) as caught:
        await open_store(config)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("url", ["postgresql://host:secret/db", "postgresql://u@host/db?sslmode=secret"])
async def test_an_invalid_url_is_a_configuration_error(url: str) -> None:
    """The error names the key and does not repeat the URL."""
    with pytest.raises(ConfigurationError, match=r"store\.url") as caught:
        await open_store(configured(url))
    assert "secret" not in str(caught.value)


async def test_a_role_with_few_rights_can_use_a_store(store: PostgresStore, config: Config) -> None:
    """With an up-to-date schema, a role that may only read and write rows is enough; otherwise there is an error."""
    role = f"role_of_{database(config.store.url)}"
    query(
        config.store.url,
        f"CREATE ROLE {role} LOGIN; GRANT USAGE ON SCHEMA pagefold TO {role};"
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA pagefold TO {role}",
    )
    url = config.store.url.replace("postgres@", f"{role}@")
    try:
        limited = await PostgresStore.open(configured(url))
        assert await insert(limited, "A") == [1]
        assert len(await insert(limited, *[f"S{number}" for number in range(MIN_COPIED_EVENTS)])) == MIN_COPIED_EVENTS
        await folded(limited, a_section(SKU))
        assert await holds(limited, "catalog", wait=False)
        await limited.close()
        schemaless = configured(url, store={"url": url, "schema": "another_shop"})
        assert "permission denied" in await refusal(schemaless)
    finally:
        query(config.store.url, f"DROP OWNED BY {role}; DROP ROLE {role}")


async def test_an_existing_schema_is_used(postgres_url: str) -> None:
    """A role that may not create schemas uses an existing one."""
    role = f"role_of_{database(postgres_url)}"
    query(postgres_url, f"CREATE ROLE {role} LOGIN; CREATE SCHEMA pagefold AUTHORIZATION {role}")
    url = postgres_url.replace("postgres@", f"{role}@")
    try:
        async with opened(configured(url)) as store:
            assert await insert(store, "A") == [1]
    finally:
        query(postgres_url, f"DROP OWNED BY {role} CASCADE; DROP ROLE {role}")


async def test_turned_off_durability_is_logged_once(config: Config, postgres_server: PostgresServer) -> None:
    """A server without fsync is used, with a warning; one per process."""
    assert postgres_server.settings["fsync"] == "off"
    for expected in (["fsync, full_page_writes"], []):
        with capture_logs() as logs:
            async with opened(config):
                assert [each["turned_off"] for each in logs] == expected


# --- errors, statements ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (asyncpg.ConnectionDoesNotExistError("gone"), StoreUnavailable),
        (asyncpg.InterfaceError("cannot perform operation: connection is closed"), StoreUnavailable),
        (asyncpg.AdminShutdownError("57P01"), StoreUnavailable),
        (asyncpg.CrashShutdownError("57P02"), StoreUnavailable),
        (asyncpg.CannotConnectNowError("57P03"), StoreUnavailable),
        (asyncpg.TooManyConnectionsError("53300"), StoreUnavailable),
        (asyncpg.DiskFullError("53100"), StoreUnavailable),
        (asyncpg.OutOfMemoryError("53200"), StoreUnavailable),
        (asyncpg.DeadlockDetectedError("40P01"), StoreUnavailable),
        (asyncpg.SerializationError("40001"), StoreUnavailable),
        (asyncpg.LockNotAvailableError("55P03"), StoreUnavailable),
        (asyncpg.QueryCanceledError("57014"), StoreUnavailable),
        (asyncpg.IdleInTransactionSessionTimeoutError("25P03"), StoreUnavailable),
        (asyncpg.ReadOnlySQLTransactionError("25006"), StoreReadOnly),
        (ConnectionRefusedError("111"), StoreUnavailable),
        (TimeoutError("slow"), StoreUnavailable),
        (asyncpg.InvalidPasswordError("28P01"), StoreUnusable),
        (asyncpg.InsufficientPrivilegeError("42501"), StoreUnusable),
        (asyncpg.InterfaceError("another operation is in progress"), None),
        (asyncpg.DataError("invalid input for query argument $1: 'closed'"), None),
        (asyncpg.UndefinedTableError("42P01"), StoreUnusable),
        (asyncpg.UndefinedFunctionError("42883"), StoreUnusable),
        (asyncpg.UndefinedColumnError("42703"), None),
        (asyncpg.UniqueViolationError("23505"), None),
        (ValueError("ours"), None),
    ],
)
def test_errors_are_translated(error: Exception, expected: type[StoreError] | None) -> None:
    """Transient errors are `StoreUnavailable`, permanent ones `StoreUnusable`; bugs are not translated."""
    with pytest.raises(expected or type(error)) as caught, translate_errors("here"):
        raise error
    assert (caught.value is error) == (expected is None)
    assert not (needs_reconnect(error) and expected is not StoreUnavailable)


async def test_every_statement_can_be_prepared(store: PostgresStore) -> None:
    """All statements can be prepared in a store's schema, including those outside the contract."""
    async with store._connections.readers.session() as session:
        for name, text in SQL.items():
            if not name.startswith("create_") or name == "create_checkpoint":
                assert (await session.connection.prepare(text)).get_query() == text


def test_statements_beside_the_contract_have_a_sentence() -> None:
    """Statements for one server only are in files of their own, named and explained like the others."""
    own = statements(PACKAGE, "server")
    assert own
    assert not own.keys() & statements(PACKAGE).keys()
    for text in SQL.values():
        assert text.endswith(";")
