"""Pages read inside the database, and merged reads."""

import asyncio
import itertools
import time
from collections.abc import Sequence
from contextlib import suppress

import anyio
import pytest

from pagefold import Config
from pagefold.domains import DOMAINS
from pagefold.engine.errors import StoreUnavailable
from pagefold.engine.stores.postgres import PostgresStore, merged_reads
from pagefold.engine.stores.postgres.connections import SQL
from pagefold.projections import Section, Splicer
from tests.conftest import assert_nothing_is_open
from tests.support.databases import end_sessions, opened, query
from tests.support.postgres import PostgresServer
from tests.support.small_shop import SKU, Raw, a_section, configured, folded
from tests.support.standbys import gone

SECONDS_TO_ANSWER = 2.5
"""Two, and half a second for a busy machine."""

SKUS = ["TSHIRT-M", 'in"quotes"', "back\\slash\\", "Ünïcödé-ﬀ-🎽", "a'b", "{%b}%s$1", "</script>&amp;", "❤️"]
STATES = {"absent": None, "disabled": (False, False), "unready": (True, False), "ready": (True, True)}


@pytest.fixture
def kind() -> str:
    """PostgreSQL alone."""
    return "postgres"


# --- page(sku, channel) ---------------------------------------------------------------------------


def pages_of_every_kind() -> list[Section]:
    """A page for each combination of section states, named by it, and some with unusual names."""
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
    """Publishes the layout to the database, and returns a splicer for the same pages."""
    requires = {channel.name: channel.requires for channel in config.resolved_channels}
    await store.pages.publish_layout([domain.name for domain in DOMAINS], "catalog", requires)
    return Splicer(DOMAINS, config.resolved_channels)


async def test_page_is_the_spliced_page(store: PostgresStore, config: Config) -> None:
    """`page(sku, channel)` returns the splicer's bytes, or NULL if there is no page to show."""
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
    """An SKU in decomposed Unicode finds the page, which has the composed one, as in the library."""
    await published(store, config)
    await folded(store, a_section("Ünï"))
    [(page,)] = query(config.store.url, "SELECT pagefold.page(%s, 'web-de') ->> 'sku'", "U\u0308ni\u0308")
    assert page == "Ünï"


async def test_page_reads_its_own_tables(store: PostgresStore, config: Config) -> None:
    """It is the same page in a session whose search path has other tables of these names."""
    await published(store, config)
    await folded(store, a_section(SKU))
    ask = f"SELECT pagefold.page('{SKU}', 'web-de')::text"
    query(config.store.url, "CREATE SCHEMA decoy; CREATE TABLE decoy.sections (); CREATE TABLE decoy.layouts ()")
    assert query(config.store.url, ask, search_path="decoy") == query(config.store.url, ask, search_path="pagefold")


async def test_page_follows_the_layout(store: PostgresStore, config: Config) -> None:
    """Another order, other requirements and fewer channels take effect immediately; an equal layout is not written."""
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
    """Counts the calls of the two queries, with a gate that delays results."""

    def __init__(self, store: PostgresStore) -> None:
        self.asked: list[int] = []
        self.gate = asyncio.Event()
        self.gate.set()
        for name, ask in store.pages._queries.items():
            store.pages._queries[name] = self._counted(ask)

    def _counted(self, ask: merged_reads.Query) -> merged_reads.Query:
        async def counted(skus: str | Sequence[str], *limit: int) -> merged_reads.PageRows:
            self.asked.append(1 if isinstance(skus, str) else len(skus))
            await self.gate.wait()
            return await ask(skus, *limit)

        return counted


async def counted(store: PostgresStore, *skus: str) -> Counted:
    """Some pages, and the count of the queries that read them."""
    await folded(store, *[a_section(sku, body=f'"{sku}"'.encode()) for sku in skus])
    await store.pages.sections("nobody's", "web-de")
    return Counted(store)


async def bodies(store: PostgresStore, sku: str) -> list[bytes]:
    """The bodies of one page's sections."""
    return [row[4] for row in await store.pages.sections(sku, "web-de")]


async def test_concurrent_reads_share_queries(store: PostgresStore) -> None:
    """Of many readers, the first gets its own query and the others share one, each page once; each gets its own."""
    skus = [f"S{number}" for number in range(2 * merged_reads.MAX_KEYS)]
    queries = await counted(store, *skus)
    wanted = [*skus, *skus[1:50], "nobody's"]
    results = await asyncio.gather(*[bodies(store, sku) for sku in wanted])
    assert results == [[f'"{sku}"'.encode()] for sku in wanted[:-1]] + [[]]
    assert queries.asked == [1, merged_reads.MAX_KEYS, merged_reads.MAX_KEYS]


async def test_reads_alone_are_not_merged(store: PostgresStore) -> None:
    """One after the other, each has its own query."""
    queries = await counted(store, "A", "B")
    assert [await bodies(store, sku) for sku in "ABA"] == [[b'"A"'], [b'"B"'], [b'"A"']]
    assert queries.asked == [1, 1, 1]


async def test_merged_rows_are_as_rows_alone(store: PostgresStore) -> None:
    """A page's rows are the same, in the same order, merged or not."""
    domains = [domain.name for domain in DOMAINS]
    await folded(store, *[a_section(sku, domain=domain) for sku in "AB" for domain in domains])
    alone = await store.pages.sections("A", "web-de")
    first, second = await asyncio.gather(*[store.pages.sections(sku, "web-de") for sku in "BA"])
    assert [row[0] for row in alone] == sorted(domains)
    assert list(map(tuple, second)) == list(map(tuple, first)) == list(map(tuple, alone))


@pytest.mark.parametrize("cancelled", [0, 1, 2])
async def test_a_cancelled_read_does_not_affect_others(store: PostgresStore, cancelled: int) -> None:
    """Cancelling a reader, the one that queries or one that waits, does not affect the others."""
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


async def test_an_invalid_key_is_an_error_for_its_reader_only(store: PostgresStore) -> None:
    """A key that the server cannot accept does not fail the query of concurrent readers."""
    await counted(store, "A", "B")
    results = await asyncio.gather(*[bodies(store, sku) for sku in ("A", "B", "\0", "A")], return_exceptions=True)
    assert isinstance(results.pop(2), Exception)
    assert results == [[b'"A"'], [b'"B"'], [b'"A"']]


async def test_a_cancelled_query_is_no_obstacle(store: PostgresStore) -> None:
    """Cancelling reads during the query leaves the connection usable."""
    await counted(store, "A")
    for _ in range(20):
        task = asyncio.create_task(bodies(store, "A"))
        await asyncio.sleep(0)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        assert await bodies(store, "A") == [b'"A"']


@pytest.mark.parametrize("turns", range(6))
async def test_cancelled_readers_leave_no_connection(config: Config, turns: int) -> None:
    """A store that is closed while a merged query of cancelled readers is under way opens no connection again."""
    async with opened(config) as store:
        await store.pages.sections(SKU, "web-de")
        readers = [asyncio.create_task(store.pages.sections(SKU, f"web-{number}")) for number in range(20)]
        for _ in range(turns):
            await asyncio.sleep(0)
        for reader in readers:
            reader.cancel()
        await asyncio.wait(readers)
    assert_nothing_is_open(config)


async def test_a_lost_connection_is_replaced(store: PostgresStore, config: Config) -> None:
    """If the server ends the sessions, page reads continue; other calls fail, and work when repeated."""
    await counted(store, "A", "B")
    for _ in range(3):
        end_sessions(config.store.url)
        assert await asyncio.gather(*[bodies(store, sku) for sku in "ABAB"]) == [[b'"A"'], [b'"B"']] * 2
        with suppress(StoreUnavailable):
            await store.log.end()
        assert await store.log.end() == 0


async def test_a_lost_server_fails_every_reader() -> None:
    """Without a server, every reader gets `StoreUnavailable`; when it is back, all of it works again."""
    with PostgresServer() as server:
        async with opened(configured(server.create_database())) as store:
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


async def test_a_read_that_hangs_times_out(store: PostgresStore) -> None:
    """Readers of a query that hangs get an error in time, and the next page is read over a new connection."""
    await counted(store, "A")
    assert store.pages._session is not None
    hanging = await store.pages._session.connection.prepare("SELECT pg_sleep(4), $1::text")
    store.pages._queries["page_sections"] = hanging.fetch
    with anyio.fail_after(SECONDS_TO_ANSWER):
        results = await asyncio.gather(*[bodies(store, "A") for _ in range(5)], return_exceptions=True)
    assert [type(result) for result in results] == [StoreUnavailable] * 5
    assert await bodies(store, "A") == [b'"A"']


async def test_a_slow_read_does_not_time_out(store: PostgresStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many slow reads in a row succeed, and so does one that waits while this process is blocked."""
    await counted(store, "A")
    assert store.pages._session is not None
    slow = SQL["page_sections"].replace("SELECT ", "SELECT pg_sleep(0.3)::text || ", 1)
    store.pages._queries["page_sections"] = (await store.pages._session.connection.prepare(slow)).fetch
    for _ in range(6):
        assert await bodies(store, "A") == [b'"A"']
    monkeypatch.setattr(merged_reads, "TICK_SECONDS", 0.2)
    reading = asyncio.create_task(bodies(store, "A"))
    for _ in range(2):
        await asyncio.sleep(0.05)
        time.sleep(0.7)  # noqa: ASYNC251  # the process is blocked
    assert await reading == [b'"A"']


async def test_a_frozen_server_fails_every_reader() -> None:
    """Current readers, later ones, and merged ones; afterwards all are answered again."""
    with PostgresServer() as server:
        async with opened(configured(server.create_database())) as store:
            await counted(store, "A")
            with gone(server, "frozen"):
                for number in (1, 1, 7):
                    with anyio.fail_after(SECONDS_TO_ANSWER):
                        reads = [bodies(store, "A") for _ in range(number)]
                        results = await asyncio.gather(*reads, return_exceptions=True)
                    assert [type(result) for result in results] == [StoreUnavailable] * number
                first = asyncio.create_task(bodies(store, "A"))
                await asyncio.sleep(0.5)
                with anyio.fail_after(SECONDS_TO_ANSWER):
                    both = await asyncio.gather(first, bodies(store, "A"), return_exceptions=True)
                assert [type(result) for result in both] == [StoreUnavailable] * 2
            with anyio.fail_after(10):
                found: list[bytes] = []
                while not found:
                    with suppress(StoreUnavailable):
                        found = await bodies(store, "A")


async def test_a_server_that_is_frozen_before_the_first_read() -> None:
    """A store whose server has never responded is closed in time, too."""
    with PostgresServer() as server:
        async with opened(configured(server.create_database())) as store:
            with gone(server, "frozen"):
                for _ in range(2):
                    with anyio.fail_after(SECONDS_TO_ANSWER), pytest.raises(StoreUnavailable, match="no response"):
                        await bodies(store, "A")
                with anyio.fail_after(SECONDS_TO_ANSWER):
                    await store.pages.close()
