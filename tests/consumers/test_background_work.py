"""Workers inside a program: they fold while the shop is open, and their failure is reported."""

import logging

import anyio
import pytest

import pagefold
from pagefold import Config, LogReplaced, Shop, StoreUnavailable, WorkersStopped
from pagefold.engine.consumers.consumer import Consumer
from pagefold.engine.shop import Shop as OpenShop
from tests.stores.test_log_proof import many, put_back
from tests.support.small_shop import price, stream_of


async def until_folded(shop: Shop, sku: str) -> None:
    """Waits for the price of a page."""
    with anyio.fail_after(30):
        while (page := await shop.pages.get(sku, "web-de")) is None or "pricing" not in page:  # noqa: ASYNC110  # as a program would
            await anyio.sleep(0.02)


async def until_stopped(shop: Shop) -> None:
    """Waits for the end of the workers."""
    with anyio.fail_after(30):
        while (await shop.health()).workers != "stopped":  # noqa: ASYNC110  # as a monitor would
            await anyio.sleep(0.05)


async def test_appended_events_are_folded_while_the_shop_is_open(config: Config) -> None:
    """Without a call of `catch_up`; the shop is healthy, and the end of the block ends the workers."""
    async with pagefold.open(config, work=True) as shop:
        await shop.append([price("9.90", sku="A")])
        await until_folded(shop, "A")
        health = await shop.health()
        assert (health.ok, health.workers, health.problems) == (True, "running", [])
        assert {"pages", "log", "consumers"} <= {check.name for check in health.checks}
    async with pagefold.open(config) as shop:
        assert (await shop.health()).workers == "off"
        assert [each.holder for each in await shop.store.coordination.checkpoints() if each.position] != []
        await shop.append([price("8.00", sku="A", version=2)])
        with anyio.fail_after(20):
            await shop.catch_up()  # no earlier worker holds a lease


async def test_workers_that_a_replaced_log_stops_are_seen(config: Config, caplog: pytest.LogCaptureFixture) -> None:
    """A checkpoint that the log does not confirm: a line is logged at once, and `health` and the next append say so."""
    caplog.set_level(logging.ERROR)
    async with pagefold.open(config, work=True) as shop:
        await shop.append(many(30))
        await shop.catch_up()
        await put_back(shop, 20)
        await until_stopped(shop)
        assert "the workers have stopped" in caplog.text
        health = await shop.health()
        assert not health.ok
        [problem] = [each for each in health.problems if each.startswith("workers:")]
        assert "not the one that was folded" in problem
        with pytest.raises(LogReplaced, match="position 31"):
            await shop.append([price("9.90", sku="NEW")])
        with pytest.raises(LogReplaced, match="position 31"):
            await shop.append_atomically([price("9.90", sku="NEW")])
        assert await shop.pages.get("S000", "web-de") is not None, "pages are read all the same"


async def test_workers_that_an_unexpected_error_stops_are_seen(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error that is not the store's: the next append raises one that names it, and appends nothing."""

    async def fail(_consumer: Consumer, *, enduring: bool = False) -> None:
        raise ZeroDivisionError(enduring)

    monkeypatch.setattr(Consumer, "run", fail)
    async with pagefold.open(config, work=True) as shop:
        await until_stopped(shop)
        with pytest.raises(WorkersStopped, match="ZeroDivisionError") as stopped:
            await shop.append([price("9.90", sku="A")])
        assert isinstance(stopped.value.__cause__, ZeroDivisionError)
        assert await shop.store.log.newest_versions([stream_of(price("9.90", sku="A"))]) == {}
        assert "workers" in {check.name for check in (await shop.health()).checks if not check.ok}


async def test_workers_wait_for_a_store_that_is_away(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that is unavailable at the start stops no worker."""
    publish, failures = OpenShop._publish_layout_once, [1]
    monkeypatch.setattr("pagefold.engine.shop.RETRY_SECONDS", 0.01)

    async def fail_once(shop: Shop) -> None:
        if failures:
            failures.pop()
            raise StoreUnavailable("here", TimeoutError())
        await publish(shop)

    monkeypatch.setattr(OpenShop, "_publish_layout_once", fail_once)
    async with pagefold.open(config, work=True) as shop:
        await shop.append([price("9.90", sku="A")])
        await until_folded(shop, "A")
        assert not failures
        assert (await shop.health()).workers == "running"


async def test_workers_begin_and_end_in_different_tasks(config: Config) -> None:
    """A host may open the shop in one task and close it in another; the batch under way is finished."""
    opened = pagefold.open(config, work=True)
    shops: list[Shop] = []

    async def enter() -> None:
        shops.append(await opened.__aenter__())

    async def leave() -> None:
        await opened.__aexit__(None, None, None)

    async with anyio.create_task_group() as group:
        group.start_soon(enter)
    [shop] = shops
    await shop.append([price("9.90", sku="A")])
    await until_folded(shop, "A")
    async with anyio.create_task_group() as group:
        group.start_soon(leave)
