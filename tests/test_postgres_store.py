"""What is PostgreSQL's alone: pages from inside the database, merged reads, the end of frozen sessions, its errors."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, closing, suppress
from typing import Any

import anyio
import asyncpg
import psycopg
import pytest
from structlog.testing import capture_logs

from domains import DOMAINS
from engine import Config, ConfigurationError
from engine.errors import StoreError, StoreUnavailable, StoreUnfit
from engine.stores import open_store
from engine.stores.postgres import PostgresStore, merging
from engine.stores.postgres.connections import PACKAGE, SQL, outdated, translated
from engine.stores.sql import statements
from projections import Section, Splicer
from tests.postgres import PostgresServer
from tests.shops import SKU, Raw, a_section, configured, folded, insert

SKUS = ["TSHIRT-M", 'in"quotes"', "back\\slash\\", "Ünïcödé-ﬀ-🎽", "a'b", "{%b}%s$1", "</script>&amp;", "❤️"]
STATES = {"absent": None, "disabled": (False, False), "unready": (True, False), "ready": (True, True)}
HOLDERS = ("idle", "in a transaction", "not reading")


@pytest.fixture
def config(postgres_url: str) -> Config:
    """The small shop of `tests.shops`, on PostgreSQL."""
    return configured(postgres_url)


@asynccontextmanager
async def opened(config: Config) -> AsyncIterator[PostgresStore]:
    """An open store."""
    store = await PostgresStore.open(config)
    try:
        yield store
    finally:
        await store.close()


@pytest.fixture
async def store(config: Config) -> AsyncIterator[PostgresStore]:
    """A new store."""
    async with opened(config) as store:
        yield store


def query(url: str, statement: str, *bindings: object, search_path: str = "public") -> list[tuple[Any, ...]]:
    """The rows of a statement, by a connection that knows nothing of the store."""
    with psycopg.connect(url, autocommit=True, options=f"-c search_path={search_path}") as connection:
        cursor = connection.execute(statement.encode(), bindings)
        return cursor.fetchall() if cursor.description else []


# --- page(sku, channel) ---------------------------------------------------------------------------


def pages_of_every_kind() -> list[Section]:
    """A page for each combination of what a section can be, named by it, and some with odd names."""
    names = [domain.name for domain in DOMAINS]
    sections = []
    for index, combination in enumerate(itertools.product(STATES, repeat=len(names))):
        sku = SKUS[index] if index < len(SKUS) else "/".join(combination)
        for number, (domain, state) in enumerate(zip(names, combination, strict=True)):
            if (flags := STATES[state]) is None:
                continue
            body = f'{{"of":"ä\\"\\\\\\n","is":{number}.50}}'.encode() if flags[0] else None
            versions = f'{{"{domain}/erp":{number},"{domain}/x-1":9007199254740991}}'.encode()
            moment = f"{2026 - number}-0{number + 1}-01T00:00:00.00000{index % 10}Z"
            sections.append(Section(sku, "web-de", domain, *flags, versions, body, moment, moment))
    return sections


async def published(store: PostgresStore, config: Config) -> Splicer:
    """Tells the database the layout, and gives what splices the same pages outside of it."""
    requires = {channel.name: channel.requires for channel in config.made_for}
    await store.pages.publish_layout([domain.name for domain in DOMAINS], "catalog", requires)
    return Splicer(DOMAINS, config.made_for, store.pages.newest)


async def test_page_is_the_spliced_page(store: PostgresStore, config: Config) -> None:
    """`page(sku, channel)` gives byte for byte what the library splices, and NULL where that shows nothing."""
    splicer = await published(store, config)
    sections = pages_of_every_kind()
    await folded(store, *sections)
    ask = "SELECT sku, pagefold.page(sku, 'web-de')::text FROM unnest(%s::text[]) AS sku"
    pages = dict(query(config.store.url, ask, list({section.sku for section in sections})))
    for sku, page in pages.items():
        rows = await store.pages.sections(sku, "web-de")
        expected = splicer.splice(sku, "web-de", rows, disabled=False)
        assert page == (None if expected is None else expected.decode())
    assert len(pages) == len(STATES) ** len(DOMAINS) - 1
    assert 0 < list(pages.values()).count(None) < len(pages)


@pytest.mark.parametrize(("sku", "channel"), [("nobody's", "web-de"), (SKU, "web-us"), (SKU, "nowhere"), (SKU, None)])
async def test_page_is_null_when_there_is_none(
    store: PostgresStore, config: Config, sku: str, channel: str | None
) -> None:
    """An unknown SKU, one without a page in the channel, an unknown channel and no channel give NULL."""
    await published(store, config)
    await folded(store, a_section(SKU))
    assert query(config.store.url, "SELECT pagefold.page(%s, %s)", sku, channel) == [(None,)]


async def test_page_takes_a_sku_in_any_form(store: PostgresStore, config: Config) -> None:
    """A SKU in decomposed Unicode finds the page, which shows it composed, as the library does."""
    await published(store, config)
    await folded(store, a_section("Ünï"))
    [(page,)] = query(config.store.url, "SELECT pagefold.page(%s, 'web-de') ->> 'sku'", "U\u0308ni\u0308")
    assert page == "Ünï"


async def test_page_reads_its_own_tables(store: PostgresStore, config: Config) -> None:
    """From a session that finds other tables of these names first, it is the same page."""
    await published(store, config)
    await folded(store, a_section(SKU))
    ask = f"SELECT pagefold.page('{SKU}', 'web-de')::text"
    query(config.store.url, "CREATE SCHEMA decoy; CREATE TABLE decoy.sections (); CREATE TABLE decoy.layouts ()")
    assert query(config.store.url, ask, search_path="decoy") == query(config.store.url, ask, search_path="pagefold")


async def test_page_follows_the_layout(store: PostgresStore, config: Config) -> None:
    """Another order, other requirements and fewer channels show at once; the same layout again is not written."""
    await folded(store, a_section(SKU), a_section(SKU, "web-us"))
    layout = ["media", "catalog"], "catalog", {"web-de": ["catalog", "media"]}
    await published(store, config)
    await store.pages.publish_layout(*layout)
    [(page,)] = query(config.store.url, f"SELECT pagefold.page('{SKU}', 'web-de')::text")
    assert page.endswith('"media":null,"catalog":{}}')
    assert '"ready":false,"readiness":{"media":false,"catalog":true}' in page
    assert query(config.store.url, f"SELECT pagefold.page('{SKU}', 'web-us')") == [(None,)]
    written = query(config.store.url, "SELECT xmin, xmax, * FROM pagefold.layouts")
    await store.pages.publish_layout(*layout)
    assert query(config.store.url, "SELECT xmin, xmax, * FROM pagefold.layouts") == written


# --- merged reads ---------------------------------------------------------------------------------


class Counted:
    """How often each of the two queries was asked, and a gate that holds answers back."""

    def __init__(self, store: PostgresStore) -> None:
        self.asked: list[int] = []
        self.gate = asyncio.Event()
        self.gate.set()
        for name, ask in store.pages._queries.items():
            store.pages._queries[name] = self._counted(ask)

    def _counted(self, ask: merging.Query) -> merging.Query:
        async def counted(skus: str | Sequence[str], channels: str | Sequence[str]) -> merging.Rows:
            self.asked.append(1 if isinstance(skus, str) else len(skus))
            await self.gate.wait()
            return await ask(skus, channels)

        return counted


async def counted(store: PostgresStore, *skus: str) -> Counted:
    """Some pages, and the count of the queries that read them."""
    await folded(store, *[a_section(sku, body=f'"{sku}"'.encode()) for sku in skus])
    await store.pages.sections("nobody's", "web-de")
    return Counted(store)


async def bodies(store: PostgresStore, sku: str) -> list[bytes]:
    """What the sections of one page hold."""
    return [row[4] for row in await store.pages.sections(sku, "web-de")]


async def test_reads_at_the_same_time_share_queries(store: PostgresStore) -> None:
    """Of a crowd, the first asks for itself and the others together, each page once; everybody gets their own."""
    skus = [f"S{number}" for number in range(2 * merging.MOST)]
    queries = await counted(store, *skus)
    wanted = [*skus, *skus[1:50], "nobody's"]
    results = await asyncio.gather(*[bodies(store, sku) for sku in wanted])
    assert results == [[f'"{sku}"'.encode()] for sku in wanted[:-1]] + [[]]
    assert queries.asked == [1, merging.MOST, merging.MOST]


async def test_reads_alone_are_not_merged(store: PostgresStore) -> None:
    """One after the other, each is a query of its own."""
    queries = await counted(store, "A", "B")
    assert [await bodies(store, sku) for sku in "ABA"] == [[b'"A"'], [b'"B"'], [b'"A"']]
    assert queries.asked == [1, 1, 1]


async def test_merged_rows_are_as_rows_alone(store: PostgresStore) -> None:
    """A page's rows are the same and in the same order, however they were asked for."""
    domains = [domain.name for domain in DOMAINS]
    await folded(store, *[a_section(sku, domain=domain) for sku in "AB" for domain in domains])
    alone = await store.pages.sections("A", "web-de")
    first, second = await asyncio.gather(*[store.pages.sections(sku, "web-de") for sku in "BA"])
    assert [row[0] for row in alone] == sorted(domains)
    assert list(map(tuple, second)) == list(map(tuple, first)) == list(map(tuple, alone))


@pytest.mark.parametrize("cancelled", [0, 1, 2])
async def test_a_cancelled_read_takes_nobody_along(store: PostgresStore, cancelled: int) -> None:
    """Whoever is cancelled, the one that asks or one that waits, even for the same page: the others get theirs."""
    queries = await counted(store, "A", "B")
    queries.gate.clear()
    tasks = [asyncio.create_task(bodies(store, sku)) for sku in "ABB"]
    await asyncio.sleep(0.01)
    tasks[cancelled].cancel()
    queries.gate.set()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    expected: list[object] = [[b'"A"'], [b'"B"'], [b'"B"']]
    assert isinstance(results.pop(cancelled), asyncio.CancelledError)
    assert results == expected[:cancelled] + expected[cancelled + 1 :]
    assert await bodies(store, "A") == [b'"A"']


async def test_a_cancelled_query_is_no_obstacle(store: PostgresStore) -> None:
    """Reads that are cancelled while the server works on them leave the connection good for the next."""
    await counted(store, "A")
    for _ in range(20):
        task = asyncio.create_task(bodies(store, "A"))
        await asyncio.sleep(0)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        assert await bodies(store, "A") == [b'"A"']


async def test_a_lost_connection_is_made_anew(store: PostgresStore, config: Config) -> None:
    """When the server ends the sessions, reads go on, alone and together; the rest says so, and goes on when asked again."""
    await counted(store, "A", "B")
    for _ in range(3):
        end_sessions(config)
        assert await asyncio.gather(*[bodies(store, sku) for sku in "ABAB"]) == [[b'"A"'], [b'"B"']] * 2
        with suppress(StoreUnavailable):
            await store.log.end()
        assert await store.log.end() == 0


async def test_a_lost_server_is_told_to_everybody() -> None:
    """Without a server, every reader gets `StoreUnavailable`; when it is back, all of it works again."""
    with PostgresServer() as server:
        store = await PostgresStore.open(configured(server.create_database()))
        await counted(store, "A")
        server.stop("immediate")
        results = await asyncio.gather(*[bodies(store, "A") for _ in range(5)], return_exceptions=True)
        assert [type(result) for result in results] == [StoreUnavailable] * 5
        with pytest.raises(StoreUnavailable):
            await store.log.insert([Raw("A")])
        with pytest.raises(StoreUnavailable):
            await store.log.wait(0, 1)
        server.start()
        assert await bodies(store, "A") == [b'"A"']
        assert await store.log.insert([Raw("A")]) == [1]
        await store.log.wait(0, 1)
        await store.close()


async def test_a_read_that_hangs_is_given_up(store: PostgresStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A query that does not come back loses its connection, and the page is read over a new one."""
    monkeypatch.setattr(merging, "READ_SECONDS", 0.1)
    await counted(store, "A")
    assert store.pages._session is not None
    hanging = await store.pages._session.connection.prepare("SELECT pg_sleep(60), $1::text, $2::text")
    store.pages._queries["page_sections"] = hanging.fetch
    with anyio.fail_after(5):
        assert await bodies(store, "A") == [b'"A"']


def end_sessions(config: Config) -> None:
    """Ends every session of the store, as an administrator may."""
    ask = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'pagefold'"
    assert query(config.store.url, ask)[0][0] > 0


# --- leases ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("doing", HOLDERS)
@pytest.mark.parametrize("wait", [True, False])
async def test_a_session_whose_client_is_frozen_is_ended(
    store: PostgresStore, config: Config, doing: str, *, wait: bool
) -> None:
    """Its lease is free after `lease_seconds`, whatever the client was doing when it froze; and it is told."""
    with closing(psycopg.connect(config.store.url, autocommit=True, options="-c search_path=pagefold")) as frozen:
        frozen.execute("SELECT pg_advisory_lock(hashtext(current_schema()), hashtext('catalog'))")
        if doing == "in a transaction":
            frozen.execute("BEGIN; SELECT * FROM checkpoints FOR UPDATE")
        elif doing == "not reading":
            frozen.pgconn.send_query(b"SELECT repeat('x', 1000) FROM generate_series(1, 1000000)")
        with capture_logs() as logs, anyio.fail_after(5):
            started = anyio.current_time()
            while not await holds(store, "catalog", wait=wait):
                await anyio.sleep(0.05)
            took = anyio.current_time() - started
    assert config.work.lease_seconds * 0.8 < took < config.work.lease_seconds + 1.5
    assert [(each["event"], each["domain"]) for each in logs] == [("replacing a frozen worker", "catalog")]


async def holds(store: PostgresStore, domain: str, *, wait: bool) -> bool:
    """Whether the lease of a domain can be had."""
    async with store.consumption.lease(domain, wait=wait) as lease:
        return lease is not None


async def test_a_lease_that_lost_its_session_is_of_no_use(store: PostgresStore, config: Config) -> None:
    """Its transactions raise `StoreUnavailable`, and the next lease can be had at once."""
    async with store.consumption.lease("catalog") as lease:
        assert lease is not None
        end_sessions(config)
        for _ in range(2):
            with pytest.raises(StoreUnavailable):
                async with lease.folding() as folding:
                    await folding.write([a_section(SKU)])
    assert await holds(store, "catalog", wait=False)
    assert await store.pages.sections(SKU, "web-de") == []


async def test_a_session_lost_in_a_transaction_leaves_nothing(store: PostgresStore, config: Config) -> None:
    """When the server ends the session before the commit, nothing of the transaction is there, and it is told."""
    with pytest.raises(StoreUnavailable):
        async with store.consumption.folding("catalog") as folding:
            await folding.write([a_section(SKU)])
            end_sessions(config)
    assert await store.pages.sections(SKU, "web-de") == []


# --- the log --------------------------------------------------------------------------------------


async def test_shops_of_one_database_do_not_wait_for_each_other(store: PostgresStore, config: Config) -> None:
    """An append that hangs in one schema holds up the appends of that schema alone."""
    url = config.store.url
    async with opened(configured(url, store={"url": url, "schema": "another_shop"})) as other:
        with psycopg.connect(url, options="-c search_path=pagefold") as hanging:
            hanging.execute("SELECT append_events('{A}', '{1}', '{inventory}', '{x}')")
            with anyio.fail_after(5):
                assert await insert(other, "A") == [1]
            with anyio.move_on_after(0.2):
                await store.log.insert([Raw("B")])
                pytest.fail("an append overtook one that had not committed")
            hanging.rollback()
        assert await store.log.insert([Raw("B")]) != [1]


async def test_an_append_that_nobody_announced_is_found(store: PostgresStore, config: Config) -> None:
    """A row that comes without a notification ends the wait for it all the same."""
    add = "INSERT INTO pagefold.stored_events (originator_id, originator_version, topic, state) VALUES ('A', 1, 'x', '')"
    waiting = asyncio.create_task(store.log.wait(0, 60))
    await asyncio.sleep(0.1)
    query(config.store.url, add)
    await asyncio.wait_for(waiting, 2)


@pytest.mark.parametrize("what", ["insert", "layout", "records"])
async def test_an_append_after_a_cancelled_one_is_committed(store: PostgresStore, config: Config, what: str) -> None:
    """Whatever was cancelled on the connection, at whatever step, what is acknowledged after it can be seen by others."""
    calls: dict[str, Callable[[int], Coroutine[object, object, object]]] = {
        "insert": lambda step: store.log.insert([Raw(f"A{step}")]),
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


# --- servers that will not do ---------------------------------------------------------------------


async def refusal(config: Config, *, create: bool = True) -> str:
    """What opening the store is refused with, which must not be worth a retry."""
    with pytest.raises(StoreError) as caught:
        await PostgresStore.open(config, create=create)
    assert not isinstance(caught.value, StoreUnavailable)
    return str(caught.value)


async def test_a_missing_database_is_told(config: Config) -> None:
    """A database that does not exist is an error that names it; waiting would not make it."""
    url = config.store.url.replace(f"/{database(config)}", "/nowhere")
    assert 'database "nowhere" does not exist' in await refusal(configured(url))


async def test_another_encoding_is_told(config: Config) -> None:
    """A database that is not in UTF-8 cannot keep every SKU, and is refused before anything is made in it."""
    query(config.store.url, "CREATE DATABASE ascii ENCODING 'SQL_ASCII' TEMPLATE template0")
    url = config.store.url.replace(f"/{database(config)}", "/ascii")
    try:
        assert "SQL_ASCII; UTF8 is needed" in await refusal(configured(url))
        assert query(url, "SELECT to_regnamespace('pagefold')") == [(None,)]
    finally:
        query(config.store.url, "DROP DATABASE ascii")


async def test_a_server_that_is_not_there_may_come() -> None:
    """A server that does not answer is unavailable; the error and the store's name are without the password."""
    config = configured("postgresql://shop:secret@/db?host=/nowhere&password=secret")
    with pytest.raises(StoreUnavailable) as caught:
        await open_store(config)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("url", ["postgresql://host:secret/db", "postgresql://u@host/db?sslmode=secret"])
async def test_a_url_that_makes_no_sense_is_a_configuration_error(url: str) -> None:
    """It names the key and does not repeat the URL."""
    with pytest.raises(ConfigurationError, match=r"store\.url") as caught:
        await open_store(configured(url))
    assert "secret" not in str(caught.value)


async def test_a_role_with_few_rights_can_use_a_store(store: PostgresStore, config: Config) -> None:
    """Where the schema is up to date, a role that may only read and write rows opens it, and serves; else it is told."""
    role = f"role_of_{database(config)}"
    query(
        config.store.url,
        f"CREATE ROLE {role} LOGIN; GRANT USAGE ON SCHEMA pagefold TO {role};"
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA pagefold TO {role}",
    )
    url = config.store.url.replace("postgres@", f"{role}@")
    try:
        limited = await PostgresStore.open(configured(url))
        assert await insert(limited, "A") == [1]
        await folded(limited, a_section(SKU))
        assert await holds(limited, "catalog", wait=False)
        await limited.close()
        schemaless = configured(url, store={"url": url, "schema": "another_shop"})
        assert "permission denied" in await refusal(schemaless)
    finally:
        query(config.store.url, f"DROP OWNED BY {role}; DROP ROLE {role}")


async def test_a_schema_of_an_administrator_will_do(config: Config) -> None:
    """A role that may not make schemas uses one that was made for it."""
    role = f"role_of_{database(config)}"
    query(config.store.url, f"CREATE ROLE {role} LOGIN; CREATE SCHEMA pagefold AUTHORIZATION {role}")
    url = config.store.url.replace("postgres@", f"{role}@")
    try:
        async with opened(configured(url)) as store:
            assert await insert(store, "A") == [1]
    finally:
        query(config.store.url, f"DROP OWNED BY {role} CASCADE; DROP ROLE {role}")


async def test_turned_off_durability_is_told_once(config: Config, postgres_server: PostgresServer) -> None:
    """A server that does not write to its disk is used, with a warning; one is enough."""
    assert postgres_server.settings["fsync"] == "off"
    for expected in (["fsync", "full_page_writes"], []):
        with capture_logs() as logs:
            async with opened(config):
                assert [each["turned_off"] for each in logs] == expected


def database(config: Config) -> str:
    """The name of the test's database."""
    return str(query(config.store.url, "SELECT current_database()")[0][0])


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
        (asyncpg.ReadOnlySQLTransactionError("25006"), StoreUnavailable),
        (ConnectionRefusedError("111"), StoreUnavailable),
        (TimeoutError("slow"), StoreUnavailable),
        (asyncpg.InvalidPasswordError("28P01"), StoreUnfit),
        (asyncpg.InsufficientPrivilegeError("42501"), StoreUnfit),
        (asyncpg.InterfaceError("another operation is in progress"), None),
        (asyncpg.DataError("invalid input for query argument $1: 'closed'"), None),
        (asyncpg.UndefinedTableError("42P01"), None),
        (asyncpg.UniqueViolationError("23505"), None),
        (ValueError("ours"), None),
    ],
)
def test_errors_are_told_apart(error: Exception, expected: type[StoreError] | None) -> None:
    """What may pass is `StoreUnavailable`, what a person must mend is `StoreUnfit`, and a fault of ours stays itself."""
    with pytest.raises(expected or type(error)) as caught, translated("here"):
        raise error
    assert (caught.value is error) == (expected is None)
    assert not (outdated(error) and expected is not StoreUnavailable)


async def test_every_statement_is_one_that_the_server_knows(store: PostgresStore) -> None:
    """All of them can be prepared in a store's schema, those beside the contract too."""
    async with store._connections.readers.session() as session:
        for name, text in SQL.items():
            if not name.startswith("create_") or name == "create_checkpoint":
                assert await session.connection.prepare(text), name


def test_statements_beside_the_contract_have_a_sentence() -> None:
    """What only a server needs stands in files of its own, named and explained like the others."""
    own = statements(PACKAGE, "server")
    assert own
    assert not own.keys() & statements(PACKAGE).keys()
    for text in SQL.values():
        assert text.endswith(";")
