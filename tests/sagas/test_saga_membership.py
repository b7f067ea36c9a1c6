"""Targets that join a saga, and leave it; a worker beside another one; a verification."""

import shutil
from functools import partial
from pathlib import Path

import msgspec

import pagefold
from pagefold import Config, Shop
from pagefold.engine.sagas.page_saga import PageSaga
from tests.sagas.test_saga_work import ended, hold, refusing, until
from tests.support.command_line import on_sqlite
from tests.support.saga_shop import CHANNEL, record_of, rename, two_targets, version_held, with_saga, working


async def are_current(shop: Shop, number: int) -> bool:
    """Whether there are so many receipts, and each is current."""
    rows = [row for name in ("first", "second") for row in await shop.store.deliveries.rows(name)]
    return len(rows) == number and all(row.state == "current" for row in rows)


async def test_targets_that_agree_join_a_saga(config: Config) -> None:
    """It is recorded that they do, in one event; nothing is sent again."""
    async with two_targets() as sides:
        grouped = with_saga(config, sides)
        async with working(msgspec.structs.replace(grouped, sagas={})) as shop:
            await rename(shop, "MUG", 1)
            await until(partial(are_current, shop, 2))
        async with working(grouped) as shop:
            await ended(shop, "current", "v1")
            saga: PageSaga = await record_of(shop, "MUG")
            assert (saga.version, saga.result) == (2, "completed")
            assert [len(side.arrived[("MUG", CHANNEL)]) for side in sides] == [1, 1]
            sides.second.refuses = refusing("v2")
            await rename(shop, "MUG", 2)
            await ended(shop, "discarded", "v2")
            assert [version_held(side, "MUG") for side in sides] == ["v1", "v1"]


async def test_targets_leave_a_saga(config: Config) -> None:
    """Each gets the newest page, also what was given up or had not begun."""
    async with two_targets() as sides:
        grouped = with_saga(config, sides)
        async with working(grouped) as shop:
            await rename(shop, "MUG", 1)
            await hold(sides, "v1")
            sides.second.refuses = refusing("v2")
            await rename(shop, "MUG", 2)
            await ended(shop, "discarded", "v2")
            await shop.targets.pause("second", by="ada", reason="a test")
            await rename(shop, "CUP", 1)
            await shop.catch_up()
            await shop.targets.resume("second", by="ada", reason="a test")
        sides.second.refuses = lambda _: False
        async with working(msgspec.structs.replace(grouped, sagas={})) as shop:
            await hold(sides, "v2")
            await hold(sides, "v1", "CUP")
            await until(partial(are_current, shop, 4))


async def test_two_workers_share_a_saga(config: Config) -> None:
    """Each page is worked on by one of them: nothing is sent twice."""
    async with two_targets() as sides:
        grouped = with_saga(config, sides)
        async with working(grouped) as shop, working(grouped):
            for number in range(10):
                await rename(shop, f"S{number}", 1)
            for number in range(10):
                await hold(sides, "v1", f"S{number}")
            for side in sides:
                assert all(len(arrivals) == 1 for arrivals in side.arrived.values())


async def test_a_verification_knows_what_was_given_up(config: Config) -> None:
    """It is held otherwise than the page is, and that is no surprise."""
    async with two_targets() as sides, working(with_saga(config, sides)) as shop:
        await rename(shop, "MUG", 1)
        await hold(sides, "v1")
        await ended(shop, "current", "v1")
        sides.second.refuses = refusing("v2")
        await rename(shop, "MUG", 2)
        await ended(shop, "discarded", "v2")
        found = await shop.targets.verify("first", 0)
        assert (found.pages, found.current, found.unmarked) == (1, 0, 0)
        await ended(shop, "discarded", "v2")
        assert len(sides.first.arrived[("MUG", CHANNEL)]) == 3


@on_sqlite
async def test_a_restored_log(config: Config, tmp_path: Path) -> None:
    """Its sagas are those of then: everything is delivered again, and nothing newer stays."""
    folder = tmp_path / "shop"
    async with two_targets() as sides:
        grouped = with_saga(config, sides)
        async with working(grouped) as shop:
            await rename(shop, "MUG", 1)
            await hold(sides, "v1")
            await ended(shop, "current", "v1")
        shutil.copy(folder / "events.db", tmp_path / "copy.db")
        async with working(grouped) as shop:
            await rename(shop, "MUG", 2)
            await rename(shop, "CUP", 1)
            await hold(sides, "v2")
            await hold(sides, "v1", "CUP")
        shutil.copy(tmp_path / "copy.db", folder / "events.db")
        async with pagefold.open(config) as shop:
            await shop.recover(confirmed=True)
        async with working(grouped) as shop:
            await hold(sides, "v1")
            await hold(sides, None, "CUP")
            await ended(shop, "current", "v1")
