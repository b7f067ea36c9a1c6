"""Stores that cannot be written: a full disk, a read-only folder, a standby, an unavailable or silent database."""

import asyncio
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest

import pagefold
from pagefold import Config, Shop
from pagefold.engine.configuration.work_config import AppendConfig
from pagefold.engine.errors import StoreReadOnly, StoreUnavailable
from pagefold.engine.http.authorization import BearerAuthenticator
from pagefold.engine.intake import appender
from pagefold.engine.reading.readiness import results_of
from pagefold.engine.stores.grants import Grant
from pagefold.engine.stores.postgres import disk_space
from tests.support.command_line import ROOT, event, lines_file, ndjson, product, run_pagefold, settle
from tests.support.databases import query
from tests.support.http_clients import client_of, problem_in, service_of
from tests.support.postgres import PostgresServer, name_of
from tests.support.servers import Server, serving, within
from tests.support.small_disk import Disk, disk, run_program
from tests.support.small_shop import SKU, append, catalog, configured, everything, price, say, section
from tests.support.standbys import How, gone, standby

SECONDS_TO_ANSWER = 2.0
SLOWNESS = 1.5
"""Seconds that a busy machine may add."""

NDJSON = {"content-type": "application/x-ndjson"}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Disk]:
    """A disk that is soon full."""
    with disk(tmp_path / "disk", 16) as made:
        yield made


@pytest.fixture
def place(tmp_path: Path, small_disk: Disk, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a configuration, and a store with a page on a small disk."""
    found = settle(tmp_path, f"sqlite:///{small_disk.folder}/shop", monkeypatch)
    assert run_pagefold("ingest", lines_file(found / "a.ndjson", product(), event())).code == 0
    assert run_pagefold("work", "--once").code == 0
    return found


def post(server: Server, version: int) -> httpx2.Response:
    """The response to an event."""
    body = ndjson([event(version=version)])
    return httpx2.post(f"{server.url}/v1/events", content=body, headers=NDJSON, timeout=30)


def problems(server: Server, path: str = "/readyz") -> dict[str, str]:
    """The problems, by check."""
    document: Any = server.get(path).json()
    return {each["name"]: each["problem"] for each in document["checks"] if not each["ok"]}


def assert_it_can_be_read(*, ready: bool = False) -> None:
    """By new processes, in every way."""
    assert run_pagefold("get", "A", "web-de").code == 0
    assert "version 1" in run_pagefold("history", "A").out
    status = run_pagefold("status", "--json")
    assert status.code == (0 if ready else 1)
    assert [each["checkpoint"] for each in status.document["domains"]] == [3, 3, 3, 3]


@asynccontextmanager
async def in_time(seconds: float = SECONDS_TO_ANSWER + SLOWNESS) -> AsyncIterator[None]:
    """Checks that the block takes no longer."""
    begun = time.monotonic()
    yield
    assert time.monotonic() - begun < seconds


# --- a full disk ----------------------------------------------------------------------------------


def test_a_full_disk_can_be_read(place: Path, small_disk: Disk) -> None:
    """By processes that start then; writes are refused, with the reason."""
    small_disk.fill()
    assert_it_can_be_read()
    assert "log: the disk is full" in run_pagefold("status").err
    assert sorted(each.name for each in (small_disk.folder / "shop").glob("*.db")) == ["events.db", "pages.db"]
    small_disk.free()
    assert_it_can_be_read(ready=True)
    assert run_pagefold("ingest", lines_file(place / "b.ndjson", event(version=2))).code == 0


@pytest.mark.parametrize("workers", [1, 2])
def test_a_server_on_a_full_disk_reads_and_recovers(place: Path, small_disk: Disk, workers: int) -> None:
    """It starts there, serves reads, refuses writes in time, and accepts them once there is space."""
    assert place.is_dir()
    small_disk.fill()
    with serving("--work", "--workers", str(workers)) as server:
        within(30, "it reads", lambda: server.get("/v1/pages/web-de/A").status_code == 200)
        within(30, "its processes answer", lambda: problems(server, "/readyz/reads") == {})
        assert problems(server, "/readyz/ingest")["log"] == "the disk is full"
        begun = time.monotonic()
        answer = post(server, 2)
        assert time.monotonic() - begun < SECONDS_TO_ANSWER + SLOWNESS
        assert problem_in(answer)["status"] == 503
        small_disk.free()
        within(30, "it is ready", lambda: problems(server) == {})
        assert post(server, 2).json()["results"] == [{"outcome": "appended", "position": 4}]
        within(20, "it is folded", lambda: b'"pricing/erp":2' in server.get("/v1/pages/web-de/A").content)
        assert server.ended() == 0


def test_a_disk_that_fills_under_a_server(place: Path, small_disk: Disk) -> None:
    """Every acknowledged event is in the log, and no refused one."""
    taken: list[int] = []
    with serving("--work") as server:
        small_disk.fill()
        large = "x" * 50_000
        for version in range(2, 60):
            body = ndjson([product("A", version) | {"payload": {"attributes": {"text": large}}}])
            begun = time.monotonic()
            answer = httpx2.post(f"{server.url}/v1/events", content=body, headers=NDJSON, timeout=30)
            assert time.monotonic() - begun < SECONDS_TO_ANSWER + SLOWNESS
            if answer.status_code == 503:
                break
            taken.append(version)
        else:
            pytest.fail("the disk was never full")
        within(30, "its processes answer", lambda: problems(server, "/readyz/reads") == {})
        assert server.get("/v1/pages/web-de/A").status_code == 200
        small_disk.free()
        within(30, "it is ready", lambda: problems(server) == {})
        assert server.ended() == 0
    with closing(sqlite3.connect(small_disk.folder / "shop" / "events.db")) as log:
        stream = "SELECT originator_version FROM stored_events WHERE originator_id LIKE 'A/%/catalog/%' ORDER BY 1"
        assert [version for (version,) in log.execute(stream)] == [1, *taken]
    assert place.is_dir()


@asynccontextmanager
async def shop_on_a_small_disk() -> AsyncIterator[tuple[Shop, Disk]]:
    """A shop in a database whose tables are on a disk that is soon full, with a page."""
    with PostgresServer() as server, disk(server.folder / "disk", 64) as small:
        tables = small.folder / "tables"
        tables.mkdir()
        if server.user is not None:
            shutil.chown(tables, server.user)
        url = server.create_database()
        query(server.url(), f"CREATE TABLESPACE small LOCATION '{tables}'")
        query(server.url(), f'ALTER DATABASE "{name_of(url)}" SET TABLESPACE small')
        async with pagefold.open(configured(url)) as shop:
            await say(shop, catalog("a"))
            yield shop, small


async def problem_with_the_log(shop: Shop) -> str | None:
    """The problem that the check of the log reports."""
    [found] = [each.problem for each in await results_of(shop) if each.name == "log"]
    return found


async def test_the_full_disk_of_a_database_is_noticed_before_an_append(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once the server's next files do not fit; reads continue; with space again, so do appends."""
    monkeypatch.setattr(disk_space, "FRESH_SECONDS", 0.0)
    async with shop_on_a_small_disk() as (shop, small):
        assert await problem_with_the_log(shop) is None
        small.fill()
        for _ in range(2):
            assert await problem_with_the_log(shop) == "the disk is full"
        assert await title(shop) == "a"
        small.free()
        assert await problem_with_the_log(shop) is None
        await append(shop, price("1.00"))


async def test_a_server_that_allows_no_large_files_may_have_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """If space is unknown, appends are allowed."""
    monkeypatch.setattr(disk_space, "FRESH_SECONDS", 0.0)
    with PostgresServer(settings={"temp_file_limit": "64kB"}) as server:
        async with pagefold.open(configured(server.create_database())) as shop:
            for _ in range(2):
                assert await problem_with_the_log(shop) is None


# --- read-only, SQLite ----------------------------------------------------------------------------

CRASH = """
import apsw, os, sys
connections = list(map(apsw.Connection, sys.argv[1:]))
for each in connections:
    each.execute("PRAGMA user_version = 7")
os._exit(0)
"""
"""A process that has changed some files, and closes none."""

REFUSED = "is read-only, and nothing was written: its file system is mounted read-only"


@pytest.fixture(params=["closed", "crashed", "without its index"])
def left(request: pytest.FixtureRequest, place: Path, small_disk: Disk) -> None:
    """The state of the store when its disk became read-only."""
    assert place.is_dir()
    shop = small_disk.folder / "shop"
    if request.param != "closed":
        subprocess.run([sys.executable, "-c", CRASH, *map(str, shop.glob("*.db"))], check=True, timeout=30)
        assert len(list(shop.glob("*-wal"))) == 2
    if request.param == "without its index":
        for file in shop.glob("*-shm"):
            file.unlink()
    small_disk.make_read_only()


@pytest.mark.usefixtures("left")
def test_a_read_only_store_can_be_read(place: Path, small_disk: Disk) -> None:
    """Whatever its state, by commands and by a server; writes are refused immediately, with the reason."""
    assert_it_can_be_read()
    for command in (("ingest", lines_file(place / "b.ndjson", event(version=2))), ("work", "--once"), ("work",)):
        begun = time.monotonic()
        ran = run_pagefold(*command)
        assert (ran.code, REFUSED in ran.err) == (3, True), ran
        assert time.monotonic() - begun < SECONDS_TO_ANSWER + SLOWNESS
    with serving("--work") as server:
        assert server.get("/v1/pages/web-de/A").status_code == 200
        within(30, "its processes answer", lambda: problems(server, "/readyz/reads") == {})
        expected = "the store is read-only: its file system is mounted read-only"
        assert problems(server, "/readyz/ingest")["log"] == expected
        answer = post(server, 2)
        assert problem_in(answer)["detail"] == expected
        small_disk.make_writable()
        within(60, "it is ready", lambda: problems(server) == {})
        assert post(server, 2).status_code == 202
        assert server.ended() == 0


async def test_a_read_only_mount_shows_new_writes(tmp_path: Path, small_disk: Disk) -> None:
    """If another mount of the same disk is writable, reads through the read-only one are never stale."""
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    await write(small_disk.folder, "a")
    with mounted_read_only(small_disk.folder, mirror):
        async with pagefold.open(configured(f"sqlite:///{mirror}/shop"), create=False) as reader:
            for name in ("b", "c"):
                await title(reader)
                await write(small_disk.folder, name)
                assert await title(reader) == name
                assert [each.version async for each in reader.history(SKU)][-1] == ord(name)
            with pytest.raises(StoreReadOnly):
                await reader.append([catalog("d", version=500)])


WRITER = """
import sys, anyio, pagefold
from tests.support.small_shop import catalog, configured, say

async def write(url, name):
    async with pagefold.open(configured(url)) as shop:
        await say(shop, catalog(name, version=ord(name)))

anyio.run(write, *sys.argv[1:])
"""


async def write(folder: Path, name: str) -> None:
    """Appends and folds in another process: in one process, SQLite shares what it maps of a file, read-only or not."""
    await anyio.run_process([sys.executable, "-c", WRITER, f"sqlite:///{folder}/shop", name], cwd=ROOT)


@contextmanager
def mounted_read_only(folder: Path, mirror: Path) -> Iterator[None]:
    """The same files in another folder, which is read-only."""
    for command in (["--bind", str(folder), str(mirror)], ["-o", "remount,ro,bind", str(mirror)]):
        run_program("mount", *command)
    try:
        yield
    finally:
        run_program("umount", "--lazy", str(mirror))


async def title(shop: Shop) -> str:
    """The product's title on the page."""
    found = await section(shop, "catalog")
    return str(found["attributes"]["code"])


# --- read-only, PostgreSQL ------------------------------------------------------------------------


async def test_a_database_that_is_read_only_can_be_read(postgres_url: str) -> None:
    """By setting: reads continue, appends and folds are refused, and everything works when it is changed back."""
    async with pagefold.open(configured(postgres_url)) as shop:
        await say(shop, catalog("a"))
    name = query(postgres_url, "SELECT current_database()")[0][0]
    query(postgres_url, f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
    await assert_read_only(configured(postgres_url), "default_transaction_read_only is on")
    reset = f'BEGIN; SET TRANSACTION READ WRITE; ALTER DATABASE "{name}" RESET default_transaction_read_only; COMMIT'
    query(postgres_url, reset)
    async with pagefold.open(configured(postgres_url)) as shop:
        assert all(each.ok for each in await results_of(shop))
        await append(shop, price("1.00"))


async def test_a_standby_can_be_read() -> None:
    """A hot standby serves what its primary has, and refuses to write."""
    with PostgresServer(settings={"wal_level": "replica", "max_wal_senders": "4"}) as primary:
        url = primary.create_database()
        async with pagefold.open(configured(url)) as shop:
            await say(shop, catalog("a"))
        with standby(primary, url) as there:
            await assert_read_only(configured(there), "this server is a hot standby")


async def assert_read_only(config: Config, reason: str) -> None:
    """Everything can be read, nothing written, and each error says why."""
    async with pagefold.open(config, create=False) as shop:
        assert await title(shop) == "a"
        assert [each.version async for each in shop.history(SKU)] == [1]
        assert len((await shop.status()).domains) == 4
        for write in (lambda: shop.append([price("1.00")]), lambda: shop.work(["pricing"])):
            async with in_time():
                with pytest.raises(StoreReadOnly):
                    await write()
        found = {each.name: each.problem for each in await results_of(shop) if not each.ok}
        assert found["log"] == f"the store is read-only: {reason}"
        async with client_of(service_of(shop, reads_open=True)) as client:
            assert (await client.get(f"/v1/pages/web-de/{SKU}")).status_code == 200
            assert (await client.get("/readyz/reads")).status_code == 200
            answer = await client.post("/v1/events", content=ndjson([event()]), headers=NDJSON)
            assert problem_in(answer)["detail"].startswith("the store is read-only")


# --- failing and silent stores ----------------------------------------------------------


@pytest.fixture
async def client(shop: Shop) -> AsyncIterator[httpx2.AsyncClient]:
    """A client that sends events over HTTP."""
    async with client_of(service_of(shop, reads_open=True)) as opened:
        yield opened


async def fails(*_asked: object) -> list[int | None]:
    """An append fails once, and may succeed the next time."""
    raise FULL


async def test_failed_appends_are_answered_in_time(
    shop: Shop, client: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After some tries the response is 503, and refused events are not retried later."""
    tries: list[float] = []

    async def counted(*_asked: object) -> list[int | None]:
        tries.append(time.monotonic())
        return await fails()

    with monkeypatch.context() as patched:
        patched.setattr(shop.store.log, "insert", counted)
        async with in_time():
            answer = await client.post("/v1/events", content=ndjson([event()]), headers=NDJSON)
    assert problem_in(answer)["status"] == 503
    assert len(tries) > 1
    await append(shop, price("1.00"))
    assert len(await everything(shop.store)) == 1


async def test_appends_do_not_wait_for_a_silent_store(
    shop: Shop, client: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a store that does not respond, requests fail in time, also those in the queue."""
    go_on, insert = asyncio.Event(), shop.store.log.insert

    async def hangs(*asked: Any) -> list[int | None]:  # noqa: ANN401  # as the log takes it
        await go_on.wait()
        return await insert(*asked)

    monkeypatch.setattr(shop.store.log, "insert", hangs)
    async with in_time():
        posts = [client.post("/v1/events", content=ndjson([event(f"S{n}")]), headers=NDJSON) for n in range(3)]
        assert {answer.status_code for answer in await asyncio.gather(*posts)} == {503}
    go_on.set()
    await append(shop, price("1.00"))


class Silent:
    """A token service that never responds."""

    async def verify(self, _secret: str) -> Grant | None:
        """Waits forever."""
        await asyncio.Event().wait()
        raise AssertionError

    def cached_grant(self, _secret: str) -> Grant | None:
        """Every token needs a lookup."""
        return None


async def test_token_lookups_do_not_wait_for_a_silent_store() -> None:
    """Requests whose token cannot be looked up fail in time, each time."""
    access = BearerAuthenticator(None, Silent())
    for _ in range(2):
        async with in_time():
            with pytest.raises(StoreUnavailable, match="no response"):
                await access.grant(b"Bearer secret")


async def test_a_program_may_wait_longer(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a server, an append is retried for the usual time."""
    monkeypatch.setattr(appender, "RETRY_SECONDS", 10.0)
    async with pagefold.open(config) as shop:
        insert = shop.store.log.insert
        monkeypatch.setattr(shop.store.log, "insert", fails)
        waiting = asyncio.create_task(shop.append([price("1.00")]))
        await asyncio.sleep(2.0)
        monkeypatch.setattr(shop.store.log, "insert", insert)
        assert [result.outcome for result in await waiting] == ["appended"]


async def test_a_slow_store_is_not_a_failing_one(
    shop: Shop, client: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While others are answered, those in the queue wait their turn."""
    insert = shop.store.log.insert

    async def slow(*asked: Any) -> list[int | None]:  # noqa: ANN401  # as the log takes it
        await asyncio.sleep(0.4)
        return await insert(*asked)

    monkeypatch.setattr(shop.store.log, "insert", slow)
    monkeypatch.setattr(shop._appender, "_config", AppendConfig(batch=1))
    posts = [client.post("/v1/events", content=ndjson([event(f"S{n}")]), headers=NDJSON) for n in range(6)]
    assert {answer.status_code for answer in await asyncio.gather(*posts)} == {202}


FULL = StoreUnavailable("the store", OSError(28, "No space left on device"))
Ask = Callable[[httpx2.AsyncClient], Awaitable[httpx2.Response]]


@pytest.mark.parametrize("how", ["stopped", "frozen"])
async def test_a_lost_database_is_reported_in_time(how: How) -> None:
    """Stopped or frozen: appends and readiness checks report it in time."""
    with PostgresServer() as server:
        async with pagefold.open(configured(server.create_database())) as shop:
            service = service_of(shop, reads_open=True)
            async with client_of(service) as client:
                assert (await client.get("/readyz")).status_code == 200
                assert (await client.post("/v1/events", content=ndjson([event()]), headers=NDJSON)).status_code == 202
                with gone(server, how):
                    await asyncio.sleep(1.1)  # results older than a second do not count
                    for ask in _requests():
                        async with in_time():
                            answer = await ask(client)
                        assert answer.status_code == 503, (how, answer.text)
                async with in_time(30):
                    while (await client.get("/readyz")).status_code != 200:  # noqa: ASYNC110  # over HTTP
                        await asyncio.sleep(0.2)
                again = ndjson([event(version=2)])
                assert (await client.post("/v1/events", content=again, headers=NDJSON)).status_code == 202
            await service.readiness.close()


def _requests() -> list[Ask]:
    """One request each: an append, readiness, a page, and an operator's."""
    wanted = {"channel": "web-de", "skus": [SKU]}
    return [
        lambda client: client.post("/v1/events", content=ndjson([event(version=2)]), headers=NDJSON),
        lambda client: client.get("/readyz"),
        lambda client: client.get(f"/v1/pages/web-de/{SKU}"),
        lambda client: client.get(f"/v1/pages/web-de/{SKU}"),
        lambda client: client.post("/v1/pages:batchGet", json=wanted),
        lambda client: client.get("/v1/pages/web-de"),
        lambda client: client.get(f"/v1/skus/{SKU}/history"),
        lambda client: client.get("/v1/dead-letters"),
        lambda client: client.get("/v1/dead-letters/ingest-1"),
        lambda client: client.post("/v1/dead-letters/ingest-1:discard", json={"reason": "so"}),
        lambda client: client.post("/v1/dead-letters:retry", json={"all": True}),
        lambda client: client.get("/v1/epochs"),
        lambda client: client.post("/v1/epochs", json={"scope": "erp", "reason": "so"}),
    ]
