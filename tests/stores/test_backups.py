"""Backups: a store is copied into a folder while it works, and restored if the copy is complete."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio
import apsw
import psycopg
import pytest

import pagefold
from pagefold import Config, LogReplaced, Shop
from pagefold.engine.errors import BackupError
from pagefold.engine.stores import open_store
from pagefold.engine.stores.backup_folder import back_up, restore
from pagefold.engine.stores.backup_manifest import Manifest, digest_of
from pagefold.engine.stores.delivery_records import UNKNOWN, DeliveryKey, Settlement, Wanted
from pagefold.engine.stores.postgres.backup import parameters_of
from pagefold.engine.stores.sqlite import folder_of
from tests.stores.test_log_proof import put_back
from tests.support.command_line import run_pagefold, settle
from tests.support.postgres import PostgresServer
from tests.support.small_shop import (
    append,
    assert_every_event_is_counted,
    catalog,
    configured,
    everything,
    pages_of,
    price,
    say,
    stock,
)


@pytest.fixture
def tools(kind: str, request: pytest.FixtureRequest) -> Path | None:
    """The folder of a PostgreSQL server's programs, which is not on the PATH."""
    server: PostgresServer = request.getfixturevalue("postgres_server")
    return server.binaries if kind == "postgres" else None


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of a backup."""
    return tmp_path / "copies" / "monday"


@pytest.fixture
def umask() -> Iterator[None]:
    """Sets the most permissive umask."""
    before = os.umask(0)
    yield
    os.umask(before)


def widely(*paths: Path) -> list[str]:
    """The files that others may read or write."""
    return [path.name for path in paths if path.stat().st_mode & 0o077]


def a_program(folder: Path, script: str) -> None:
    """A `pg_dump` with this script."""
    (folder / "pg_dump").write_text(script)
    (folder / "pg_dump").chmod(0o755)


@contextmanager
def sqlite_copy(file: Path) -> Iterator[apsw.Connection]:
    """A copy of a SQLite file, opened."""
    connection = apsw.Connection(str(file))
    yield connection
    connection.close()


async def backed_up(shop: Shop, folder: Path, tools: Path | None) -> Manifest:
    """A backup of the current state of a shop."""
    return await back_up(shop.config, folder, tools=tools, advance=lambda _done, _total: None)


async def test_a_store_is_restored_unchanged(shop: Shop, config: Config, folder: Path, tools: Path | None) -> None:
    """Log and pages have the same bytes; later events are gone, and work continues."""
    await say(shop, *[stock(number, sku=f"S{number:03}") for number in range(50)], catalog("shirt"))
    log, pages = await everything(shop.store), await pages_of(shop)
    manifest = await backed_up(shop, folder, tools)
    assert (manifest.position, manifest.log_id) == (52, await shop.store.proof.log_id())
    await say(shop, *[price("9.00", sku=f"S{number:03}") for number in range(50)])
    await shop.close()
    restored = await restore(config, folder, tools=tools)
    assert restored.backup == manifest
    assert restored.kept_aside is not None
    async with pagefold.open(config, create=False) as again:
        assert await everything(again.store) == log
        assert await pages_of(again) == pages
        assert [check.problem for check in (await again.status()).checks] == [None] * 6
        await say(again, price("8.00", sku="S000"))
        await assert_every_event_is_counted(again.store)
        assert (await again.verify()).changed == 0


async def test_a_backup_is_a_snapshot(shop: Shop, config: Config, folder: Path, tools: Path | None) -> None:
    """While sources and workers run, its pages are never ahead of its log, and all acknowledged events are in it."""
    await say(shop, *[stock(number, sku=f"S{number:03}") for number in range(200)])
    async with pagefold.open(config) as busy, anyio.create_task_group() as group:

        async def go_on() -> None:
            for number in range(10_000):
                await append(busy, price("1.00", sku=f"P{number}"))

        group.start_soon(busy.work)
        group.start_soon(go_on)
        await anyio.sleep(0.2)
        acknowledged = await shop.store.log.end()
        manifest = await backed_up(shop, folder, tools)
        group.cancel_scope.cancel()
    assert manifest.position >= acknowledged > 200
    await restore(config, folder, tools=tools)
    async with pagefold.open(config, create=False) as again:
        assert await again.store.log.end() == manifest.position
        await again.catch_up()
        assert (await again.verify()).changed == 0
        await assert_every_event_is_counted(again.store)


async def test_a_running_shop_continues_with_the_restored_store(
    shop: Shop, config: Config, folder: Path, tools: Path | None
) -> None:
    """Processes with an open store see the restored one, and append to it, not to the replaced files."""
    await say(shop, catalog("shirt"), stock(3))
    pages = await pages_of(shop)
    await backed_up(shop, folder, tools)
    await say(shop, catalog("another", version=2), *[stock(9, sku=f"S{number}") for number in range(20)])
    await restore(config, folder, tools=tools)
    await anyio.sleep(0.15)
    assert await pages_of(shop) == pages
    [result] = await append(shop, stock(4, sku="NEW"))
    assert result.position == 4
    await shop.catch_up()
    assert (await shop.verify()).changed == 0


async def test_the_replaced_store_is_kept(shop: Shop, config: Config, folder: Path, tools: Path | None) -> None:
    """A restore removes nothing: the replaced store is next to it."""
    await say(shop, catalog("shirt"))
    await backed_up(shop, folder, tools)
    await say(shop, stock(3))
    await shop.close()
    aside = (await restore(config, folder, tools=tools)).kept_aside
    assert aside is not None
    if config.store.url.startswith("sqlite:"):
        former = config.store.url.replace(str(folder_of(config.store.url)), aside)
        config = Config.parse({"store": {"url": former}, "sources": {}, "channels": {}})
        async with pagefold.open(config, create=False) as kept:
            assert await kept.store.log.end() == 3
    else:
        with psycopg.connect(config.store.url) as session:
            session.execute("SELECT set_config('search_path', %s, false)", (aside.removeprefix("schema "),))
            assert session.execute("SELECT count(*) FROM stored_events").fetchone() == (3,)


async def test_an_incomplete_backup_is_refused(shop: Shop, config: Config, folder: Path, tools: Path | None) -> None:
    """Each file is compared with its digest; if one is damaged or missing, nothing is restored."""
    await say(shop, catalog("shirt"))
    manifest = await backed_up(shop, folder, tools)
    before = await pages_of(shop)
    for name in manifest.files:
        whole = (folder / name).read_bytes()
        (folder / name).write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        with pytest.raises(BackupError, match=f"{name} has changed since"):
            await restore(config, folder, tools=tools)
        (folder / name).unlink()
        with pytest.raises(BackupError, match=f"{name} is missing"):
            await restore(config, folder, tools=tools)
        (folder / name).write_bytes(whole)
    (folder / "manifest.json").write_text("{}")
    with pytest.raises(BackupError, match="not a backup"):
        await restore(config, folder, tools=tools)
    with pytest.raises(BackupError, match="not a backup"):
        await restore(config, folder.parent, tools=tools)
    assert await pages_of(shop) == before
    assert await shop.store.proof.problem() is None


async def test_a_store_with_a_replaced_log_is_not_backed_up(shop: Shop, folder: Path, tools: Path | None) -> None:
    """If the log was replaced, the backup is refused, so that it does not replace a good one."""
    await say(shop, *[stock(number, sku=f"S{number:03}") for number in range(10)])
    await put_back(shop, 5)
    with pytest.raises(LogReplaced):
        await backed_up(shop, folder, tools)
    await shop.recover(confirmed=True)
    assert (await backed_up(shop, folder, tools)).position == 5


async def test_a_folder_in_use_is_left_alone(shop: Shop, folder: Path, tools: Path | None) -> None:
    """A backup needs a new or empty folder, and a failed one leaves nothing behind."""
    await say(shop, catalog("shirt"))
    await backed_up(shop, folder, tools)
    manifest = (folder / "manifest.json").read_bytes()
    with pytest.raises(BackupError, match="not empty"):
        await backed_up(shop, folder, tools)
    assert (folder / "manifest.json").read_bytes() == manifest
    assert [each.name for each in folder.parent.iterdir()] == ["monday"]


@pytest.mark.usefixtures("umask")
async def test_a_backup_is_private(shop: Shop, folder: Path, tools: Path | None) -> None:
    """It has everything of the store, so only its owner may read it."""
    await backed_up(shop, folder, tools)
    assert widely(folder, *folder.iterdir()) == []  # noqa: ASYNC240  # nothing else runs


async def test_a_lost_store_is_restored(config: Config, folder: Path, tools: Path | None) -> None:
    """A backup can be restored where there is no store."""
    async with pagefold.open(config) as shop:
        await say(shop, catalog("shirt"))
        pages = await pages_of(shop)
        await backed_up(shop, folder, tools)
    if config.store.url.startswith("sqlite:"):
        for file in folder_of(config.store.url).iterdir():
            file.unlink()
    else:
        with psycopg.connect(config.store.url) as session:
            session.execute("DROP SCHEMA pagefold CASCADE")
    assert (await restore(config, folder, tools=tools)).kept_aside is None
    async with pagefold.open(config, create=False) as again:
        assert await pages_of(again) == pages


@pytest.mark.parametrize("kind", ["postgres"], indirect=True)
async def test_unusable_programs_are_named(shop: Shop, folder: Path, tmp_path: Path) -> None:
    """Missing or outdated programs are named, with what is needed."""
    with pytest.raises(BackupError, match=r"no pg_dump in .*--pg-bin"):
        await backed_up(shop, folder, tmp_path)
    a_program(tmp_path, "#!/bin/sh\necho 'pg_dump (PostgreSQL) 9.6'\n")
    with pytest.raises(BackupError, match=r"of version 9, and \d+ or newer is needed"):
        await backed_up(shop, folder, tmp_path)
    a_program(tmp_path, "#!/bin/sh\n[ $1 = --version ] && echo 'pg_dump 99.1' || { echo \"no: $*\" >&2; exit 3; }\n")
    with pytest.raises(BackupError, match="pg_dump failed: no: ") as failed:
        await backed_up(shop, folder, tmp_path)
    assert "postgresql://" not in str(failed.value)
    assert not folder.exists()  # noqa: ASYNC240  # nothing else runs


@pytest.mark.parametrize("kind", ["postgres"], indirect=True)
async def test_a_dump_may_take_its_time(shop: Shop, folder: Path, tools: Path, tmp_path: Path) -> None:
    """The snapshot of a dump lasts as long as needed, not only as long as a lease."""
    await say(shop, catalog("shirt"))
    a_program(tmp_path, f'#!/bin/sh\n[ $1 = --version ] || sleep 2.5\nexec {tools / "pg_dump"} "$@"\n')
    assert (await backed_up(shop, folder, tmp_path)).position == 2


@pytest.mark.parametrize("kind", ["postgres"], indirect=True)
async def test_a_restore_that_fails_leaves_everything(shop: Shop, folder: Path, tools: Path) -> None:
    """A restore that the server refuses half way changes nothing."""
    await say(shop, catalog("shirt"))
    await backed_up(shop, folder, tools)
    dump = folder / "store.dump"
    dump.write_bytes(dump.read_bytes()[:-2_000])
    manifest = json.loads((folder / "manifest.json").read_bytes())
    manifest["files"]["store.dump"] = {"bytes": digest_of(dump).bytes, "sha256": digest_of(dump).sha256}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(BackupError, match="pg_restore failed"):
        await restore(shop.config, folder, tools=tools)
    await say(shop, stock(3))
    assert len(await everything(shop.store)) == 2


@pytest.mark.parametrize(
    ("url", "found"),
    [
        (
            "postgresql://u:p%40ss@db.example/shop",
            {"host": "db.example", "user": "u", "password": "p@ss", "dbname": "shop"},
        ),
        (
            "postgres://u@/shop?host=/run/pg&password=x",
            {"user": "u", "dbname": "shop", "host": "/run/pg", "password": "x"},
        ),
        (
            "postgresql://a:1,b/x?sslpassword=s&jit=on",
            {"host": "a,b", "port": "1,5432", "dbname": "x", "sslpassword": "s"},
        ),
        ("postgresql://[::1]:5433/x", {"host": "::1", "port": "5433", "dbname": "x"}),
    ],
)
def test_the_programs_connect_by_the_url(url: str, found: dict[str, str]) -> None:
    """The programs get the connection parameters that the driver reads from the URL, without session settings."""
    assert parameters_of(url) == found


def test_the_commands(tmp_path: Path, store_url: str, monkeypatch: pytest.MonkeyPatch, tools: Path | None) -> None:
    """From a shop to a folder and back, with the output as text and JSON."""
    place = settle(tmp_path, store_url, monkeypatch)
    config = Config.load(place / "pagefold.toml")
    more = [] if tools is None else ["--pg-bin", str(tools)]

    async def append_one() -> None:
        async with pagefold.open(config) as shop:
            await shop.append([catalog("shirt")])
            await shop.catch_up()

    anyio.run(append_one)
    ran = run_pagefold("backup", "copies/monday", *more)
    assert (ran.code, "up to position 2" in ran.out) == (0, True)
    ran = run_pagefold("backup", "copies/tuesday", "--json", *more)
    assert ran.document["position"] == 2
    assert run_pagefold("backup", "copies/monday", *more).code == 3
    ran = run_pagefold("restore", "copies/monday", *more)
    assert (ran.code, "is kept" in ran.err, "pagefold rebuild" in ran.err) == (0, True, True)
    assert run_pagefold("restore", "copies/monday", "--json", *more).document["backup"]["position"] == 2
    assert run_pagefold("status").code == 0
    assert run_pagefold("restore", "copies/friday", *more).code == 3
    listed = [json.loads(line) for line in run_pagefold("audit", "--json").out.splitlines()]
    [copied] = [each for each in listed if each["action"] == "backup"]
    assert (copied["outcome"], copied["details"]["position"]) == ("done", 2), "in the copy, it had not ended"


async def test_a_copy_of_the_files_of_a_running_store_is_no_backup(tmp_path: Path) -> None:
    """Acknowledged events may be in the write-ahead log only, as the documentation says of `cp`."""
    config = configured(f"sqlite:///{tmp_path / 'shop'}")
    async with pagefold.open(config) as shop:
        await append(shop, catalog("shirt"))
        shutil.copyfile(tmp_path / "shop" / "events.db", tmp_path / "copy.db")
        with sqlite_copy(tmp_path / "copy.db") as copy:
            assert copy.execute("SELECT count(*) FROM sqlite_schema WHERE name = 'stored_events'").get == 0 or (
                copy.execute("SELECT count(*) FROM stored_events").get == 0
            )


async def test_after_a_restore_no_receipt_counts(config: Config, folder: Path, tools: Path | None) -> None:
    """A target may hold a newer page than the backup knows: everything is delivered again, and then followed."""
    key = DeliveryKey("A", "web-de")

    async def deliver(tag: str, before: str, after: str) -> None:
        store = await open_store(config)
        await store.deliveries.mark("search", before, after, [Wanted(*key, tag, 1)])
        claim, _ = await store.deliveries.claim("search", "worker", 10, 60)
        await store.deliveries.settle(claim, [Settlement(*key, "delivered", tag)])
        await store.close()

    await deliver("v1", "", "1")
    manifest = await back_up(config, folder, tools=tools, advance=lambda *_: None)
    assert ("deliveries.db" in manifest.files) == (tools is None)
    await deliver("v2", "1", "2")
    await restore(config, folder, tools=tools)
    store = await open_store(config)
    try:
        assert await store.deliveries.cursor("search") == "1"
        [row] = await store.deliveries.rows("search")
        assert (row.wanted_tag, row.acked_tag) == ("v1", UNKNOWN)
        assert (await store.delivery_targets.targets())[0].is_resetting
        assert not await store.deliveries.reset_step("search", 10)
        assert await store.deliveries.next_due("search") == 0
    finally:
        await store.close()


async def test_a_backup_without_targets_sets_receipts_aside(tmp_path: Path, folder: Path) -> None:
    """Those of another time are not those of the restored store."""
    config = configured(f"sqlite:///{tmp_path / 'shop'}")
    await (await open_store(config)).close()
    await back_up(config, folder, advance=lambda *_: None)
    store = await open_store(config)
    await store.deliveries.mark("search", "", "1", [Wanted("A", "web-de", "v1", 1)])
    await store.close()
    done = await restore(config, folder)
    assert done.kept_aside is not None
    assert (Path(done.kept_aside) / "deliveries.db").exists()
    assert not (tmp_path / "shop" / "deliveries.db").exists()
