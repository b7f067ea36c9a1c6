"""Several workers in one process: who folds, who stands by, and what remains when one is cancelled."""

import anyio
import pytest

import pagefold
from pagefold import ConfigurationError, Shop
from tests.support.small_shop import SKU, append, assert_every_event_is_counted, catalog, price, section, stock

DOMAINS = ("catalog", "pricing", "inventory", "media")


async def test_catching_up_beside_a_worker(shop: Shop) -> None:
    """While a worker holds the leases, `catch_up` returns when that worker has folded what was in the log."""
    async with anyio.create_task_group() as group:
        group.start_soon(shop.work)
        await anyio.sleep(0.1)
        for version in range(1, 6):
            await append(shop, stock(version, version=version))
            with anyio.fail_after(20):
                await shop.catch_up()
            assert (await section(shop, "inventory"))["available"] == version
        group.cancel_scope.cancel()
    await assert_every_event_is_counted(shop.store)


async def test_catching_up_where_the_worker_never_rests(shop: Shop) -> None:
    """A domain without events in a busy log is caught up too: its checkpoint follows the log."""

    async def keep_busy() -> None:
        for version in range(1, 100_000):
            await append(shop, stock(version, version=version))

    async with anyio.create_task_group() as group:
        group.start_soon(shop.work)
        group.start_soon(keep_busy)
        await anyio.sleep(0.3)
        with anyio.fail_after(10):
            await shop.catch_up(["media"])
        group.cancel_scope.cancel()
    await assert_every_event_is_counted(shop.store)


async def test_many_catch_up_together(shop: Shop) -> None:
    """Several callers, as if in two processes, all return when everything is folded, once."""
    await append(shop, *[stock(number, sku=f"S{number}") for number in range(200)], catalog("shirt"))
    async with pagefold.open(shop.config) as other:
        with anyio.fail_after(20):
            async with anyio.create_task_group() as group:
                for each in (shop, other, shop, other):
                    group.start_soon(each.catch_up)
    assert (await section(shop, "inventory", sku="S199"))["available"] == 199
    await assert_every_event_is_counted(shop.store)


async def test_a_cancelled_worker_gives_its_leases_back(shop: Shop) -> None:
    """Right after a cancellation every lease is free, and what was folded is committed as a whole."""
    await append(shop, *[stock(number, sku=f"S{number}") for number in range(300)])
    for seconds in (0.0, 0.01, 0.05, 0.1):
        with anyio.move_on_after(seconds):
            await shop.work()
        for domain in DOMAINS:
            async with shop.store.coordination.lease(domain, wait=False) as lease:
                assert lease is not None
        await assert_every_event_is_counted(shop.store)
    await shop.catch_up()
    assert sum(domain.applied for domain in (await shop.status()).domains) == 300


async def test_a_worker_sees_what_another_process_appends(shop: Shop) -> None:
    """A change appended through another connection is on its page soon, without a notification."""
    async with pagefold.open(shop.config) as other, anyio.create_task_group() as group:
        group.start_soon(shop.work)
        await anyio.sleep(0.2)
        await append(other, price("1.00"))
        with anyio.fail_after(20):
            while await other.pages.get(SKU, "web-de") is None:  # noqa: ASYNC110  # the reader polls, as readers do
                await anyio.sleep(0.01)
        group.cancel_scope.cancel()


async def test_some_domains_alone(shop: Shop) -> None:
    """Only the named domains are folded; an unknown name is an error."""
    await append(shop, stock(1), price("1.00"))
    await shop.catch_up(["pricing"])
    page = await shop.pages.get(SKU, "web-de")
    assert page is not None
    assert ("inventory" in page, "pricing" in page) == (False, True)
    assert [each.domain for each in await shop.store.coordination.checkpoints()] == ["pricing"]
    with pytest.raises(ConfigurationError, match="unknown domain 'prices'"):
        await shop.catch_up(["prices"])


async def test_appends_share_transactions_and_keep_their_order(shop: Shop) -> None:
    """Each concurrent caller gets its own results, and its events keep their order in the log."""
    results: dict[int, list[int]] = {}

    async def send(number: int) -> None:
        events = [stock(version, version=version, sku=f"S{number}") for version in range(1, 4)]
        results[number] = [result.position or 0 for result in await append(shop, *events)]

    async with anyio.create_task_group() as group:
        for number in range(64):
            group.start_soon(send, number)
    assert all(positions == sorted(positions) for positions in results.values())
    assert len({position for positions in results.values() for position in positions}) == 192
