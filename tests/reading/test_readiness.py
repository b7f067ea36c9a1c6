"""Readiness: whether pages can be read and events sent, separately, and what is wrong if not."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, closing
from pathlib import Path
from typing import Any

import httpx2
import psycopg
import pytest

import pagefold
from pagefold import Shop
from pagefold.engine.errors import StoreDamaged, StoreReadOnly, StoreUnavailable
from pagefold.engine.reading.check_results import INGEST, READS
from pagefold.engine.reading.readiness import Check, Checked, Readiness, results_of
from pagefold.engine.runtime.store_timeout import TIMEOUT_SECONDS
from pagefold.engine.stores.sqlite import folder_of
from pagefold.engine.stores.sqlite.connections import PAGES
from tests.support.command_line import on_sqlite
from tests.support.databases import query
from tests.support.http_clients import client_of, service_of
from tests.support.postgres import PostgresServer
from tests.support.small_shop import SKU, append, catalog, configured, price, say

ALL = ["pages", "damage", "log", "log-identity", "consumers", "lag", "configuration"]


@pytest.fixture
async def client(shop: Shop) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of the shop's server."""
    async with client_of(service_of(shop, reads_open=True)) as opened:
        yield opened


async def problems(client: httpx2.AsyncClient, path: str = "/readyz") -> dict[str, str]:
    """The problems, by check; the response's status agrees with them."""
    answer = await client.get(path)
    document: Any = answer.json()
    found = {check["name"]: check["problem"] for check in document["checks"] if not check["ok"]}
    assert (answer.status_code, document["status"]) == ((503, "not ready") if found else (200, "ready"))
    return found


# --- reads and ingest -----------------------------------------------------------------------------


async def test_a_ready_server_names_its_checks(shop: Shop, client: httpx2.AsyncClient) -> None:
    """Every check, and what it applies to; each part lists the checks that apply to it."""
    await say(shop, catalog("a"))
    checks = (await client.get("/readyz")).json()["checks"]
    assert [check["name"] for check in checks] == ALL
    assert all(check.keys() == {"name", "for", "ok"} and check["ok"] for check in checks)
    for path, purpose in (("/readyz/reads", "reads"), ("/readyz/ingest", "ingest")):
        found = (await client.get(path)).json()["checks"]
        assert found == [check for check in checks if purpose in check["for"]]


async def test_lag_does_not_concern_readers(store_url: str) -> None:
    """Events that have waited too long make ingest unready, by domain, and not reads."""
    async with pagefold.open(configured(store_url, http={"lag_seconds": 0.001})) as shop:
        await append(shop, price("1.00"))
        async with client_of(service_of(shop)) as client:
            assert await problems(client, "/readyz/reads") == {}
            [(name, problem)] = (await problems(client, "/readyz/ingest")).items()
            assert (name, problem.startswith("pricing is ")) == ("lag", True)
            assert await problems(client) == {name: problem}


async def test_a_server_without_its_store_lives_and_is_not_ready(
    shop: Shop, client: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The problem is reported, and not where the store is."""

    async def fail() -> None:
        raise StoreUnavailable("postgresql://me@secret-host/db", OSError("secret-host")) from OSError("secret-host")

    for method in ("check_reads", "check_appends"):
        monkeypatch.setattr(shop.store, method, fail)
    expected = "the store cannot be used: unavailable (OSError)"
    assert await problems(client) == {"pages": expected, "log": expected}
    assert (await client.get("/healthz")).status_code == 200


# --- running checks ---------------------------------------------------------------------------


async def test_a_check_that_does_not_answer_is_a_problem(shop: Shop) -> None:
    """The response arrives in time; the check continues, once, and its result counts from then on."""
    begun, go_on = [], asyncio.Event()

    async def hangs(_shop: Checked) -> None:
        begun.append(1)
        await go_on.wait()

    readiness = Readiness(shop, [Check("slow", READS, hangs)])
    started = time.monotonic()
    for _ in range(2):
        [result] = await readiness.results()
        assert (result.problem or "").startswith("there was no answer within")
    assert time.monotonic() - started < 2 * TIMEOUT_SECONDS + 1
    go_on.set()
    await asyncio.sleep(0.01)
    [result] = await readiness.results()
    assert result.ok
    assert begun == [1]


async def test_a_slow_check_counts_when_it_has_ended(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """While it runs, its last result counts."""
    monkeypatch.setattr("pagefold.engine.reading.readiness.TIMEOUT_SECONDS", 0.05)
    monkeypatch.setattr("pagefold.engine.reading.readiness.MIN_PAUSE_SECONDS", 0.0)
    monkeypatch.setattr("pagefold.engine.reading.readiness.PAUSE_FACTOR", 0)
    go_on = asyncio.Event()

    async def slow(_shop: Checked) -> str:
        await go_on.wait()
        return "wrong"

    readiness = Readiness(shop, [Check("slow", READS, slow, slow=True)])
    assert [result.ok for result in await readiness.results()] == [True]
    go_on.set()
    assert [result.problem for result in await readiness.results()] == ["wrong"]
    go_on.clear()
    assert [result.problem for result in await readiness.results()] == ["wrong"]
    await readiness.close()


async def test_checks_are_run_once_a_second(shop: Shop) -> None:
    """However many requests there are, and only the checks that apply."""
    runs: list[str] = []

    def counted(name: str) -> Any:  # noqa: ANN401  # a check
        async def look(_shop: Shop) -> None:
            runs.append(name)

        return look

    readiness = Readiness(shop, [Check("a", READS, counted("a")), Check("b", INGEST, counted("b"))])
    for _ in range(3):
        await asyncio.gather(*(readiness.results(READS) for _ in range(10)))
    assert runs == ["a"]


async def test_an_unexpected_error_is_a_problem_too(shop: Shop) -> None:
    """A check that fails unexpectedly is reported by the class of its error only."""

    async def fails(_shop: Checked) -> None:
        raise ValueError("secret")

    [result] = await Readiness(shop, [Check("odd", READS, fails)]).results()
    assert result.problem == "the store cannot be used: ValueError"


# --- recent failures ---------------------------------------------------------------------------


async def test_a_failed_append_shows_until_one_succeeds(
    shop: Shop, client: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store whose checks pass, and which refuses appends, is unready."""
    monkeypatch.setattr("pagefold.engine.reading.readiness.FRESH_SECONDS", 0.0)

    async def fails(*_: object) -> list[int | None]:
        raise StoreReadOnly("somewhere", "for a test")

    with monkeypatch.context() as patched:
        patched.setattr(shop.store.log, "insert", fails)
        with pytest.raises(StoreReadOnly):
            await shop.append([price("1.00")])
    assert await problems(client) == {"log": "the store is read-only: for a test"}
    await append(shop, price("1.00"))
    assert await problems(client) == {}


async def test_damage_that_a_reader_met_shows(
    shop: Shop, client: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if a check of the whole file found no damage, or has not run yet."""

    async def fails(_sku: str, _channel: str) -> None:
        raise StoreDamaged("somewhere", "pages.db", "for a test")

    with monkeypatch.context() as patched:
        patched.setattr(shop.pages, "_sections", fails)
        assert (await client.get("/v1/pages/web-de/A")).status_code == 503
    assert await problems(client, "/readyz/ingest") == {}
    assert await problems(client, "/readyz/reads") == {"pages": "pages.db is damaged"}


# --- connections ----------------------------------------------------------------------------------


@pytest.mark.parametrize("free", [0, 3, 8])
async def test_too_few_connections_are_reported(free: int) -> None:
    """A PostgreSQL that gives fewer than may be needed is unready, even if one would do now."""
    with PostgresServer(settings={"max_connections": "14", "superuser_reserved_connections": "0"}) as server:
        url = server.create_database()
        async with pagefold.open(configured(url)) as shop, AsyncExitStack() as stack:
            held = [stack.enter_context(closing(psycopg.connect(url))) for _ in range(12 - free)]  # it has two itself
            found = {each.name: each.problem for each in await results_of(shop) if not each.ok}
            expected = {} if free == 8 else {"pages": "the database takes no more connections"}
            assert {name: found[name] for name in found if name == "pages"} == expected
            for connection in held:
                connection.close()
            await asyncio.sleep(0.2)
            assert [each.problem for each in await results_of(shop) if not each.ok] == []


async def test_connections_that_were_lost_are_made_again(postgres_url: str) -> None:
    """After the server has ended all of them, the store is ready again, with as many as before."""
    async with pagefold.open(configured(postgres_url)) as shop:
        assert all(each.ok for each in await results_of(shop))
        mine = (
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pagefold' AND datname = current_database()"
        )
        before = query(postgres_url, mine)
        query(postgres_url, mine.replace("count(*)", "pg_terminate_backend(pid)"))
        await asyncio.sleep(0.1)
        assert all(each.ok for each in await results_of(shop))
        assert query(postgres_url, mine) == before


# --- damage ---------------------------------------------------------------------------------------


@on_sqlite
@pytest.mark.parametrize("where", ["a row", "everything"])
async def test_a_damaged_file_is_reported_to_readers(store_url: str, where: str) -> None:
    """Pages in the middle of `pages.db` were overwritten: reads are unready, and the file is named."""
    config = configured(store_url)
    async with pagefold.open(config) as shop:
        await say(shop, *[catalog("x" * 2_000, sku=f"{SKU}-{number}") for number in range(100)])
    file = folder_of(store_url) / PAGES
    damage(file, 0 if where == "everything" else 0.6)
    if where == "everything":
        with pytest.raises(pagefold.StoreError, match="damaged"):
            await pagefold.open(config).__aenter__()
        return
    async with pagefold.open(config) as shop, client_of(service_of(shop, reads_open=True)) as client:
        assert "pages.db is damaged" in (await problems(client, "/readyz/reads")).values()
        assert "log" not in await problems(client)


def damage(file: Path, begin: float) -> None:
    """Overwrites a file, from a share of its length on."""
    content = bytearray(file.read_bytes())
    start = int(len(content) * begin)
    content[start:] = b"\xa5" * (len(content) - start)
    file.write_bytes(content)
