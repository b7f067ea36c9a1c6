"""A shop with a saga of two web services, for tests."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import NamedTuple

import msgspec

import pagefold
from pagefold import Config, Shop
from pagefold.engine.configuration.saga_config import SagaConfig
from pagefold.engine.configuration.target_config import HttpTargetConfig, TargetConfig
from pagefold.engine.sagas.page_saga import PageName, PageSaga
from pagefold.engine.sagas.saga_repository import open_sagas
from pagefold.engine.stores.delivery_records import StoredDelivery, group_target
from tests.support.hostile_target import HostileTarget, hostile_target
from tests.support.small_shop import catalog, say

CHANNEL = "web-de"


class Sides(NamedTuple):
    """The two services, in the order of the saga."""

    first: HostileTarget
    second: HostileTarget


@asynccontextmanager
async def two_targets() -> AsyncIterator[Sides]:
    """Two services that are up."""
    async with AsyncExitStack() as stack:
        yield Sides(
            await stack.enter_async_context(hostile_target()), await stack.enter_async_context(hostile_target())
        )


def with_saga(config: Config, sides: Sides, *, tries: int = 1, **saga: object) -> Config:
    """The configuration with both services, of one channel, in a saga."""
    targets = {
        name: TargetConfig(
            channels=[CHANNEL],
            tries=tries,
            timeout_seconds=1.0,
            http=HttpTargetConfig(url=side.url, networks=["127.0.0.0/8"]),
        )
        for name, side in zip(Sides._fields, sides, strict=True)
    }
    table = SagaConfig(targets=list(Sides._fields), **saga)  # type: ignore[arg-type]  # keys of the table
    return msgspec.structs.replace(config, targets=targets, sagas={"listing": table})


@asynccontextmanager
async def working(config: Config) -> AsyncIterator[Shop]:
    """A shop that folds and delivers."""
    async with pagefold.open(config) as shop, shop.working():
        yield shop


async def rename(shop: Shop, sku: str, version: int) -> None:
    """Another version of a product."""
    await say(shop, catalog(f"v{version}", sku=sku, version=version))


async def record_of(shop: Shop, sku: str) -> PageSaga:
    """What the log has of a page's saga."""
    async with open_sagas(shop.store) as sagas:
        [found] = await sagas.find([PageName("listing", sku, CHANNEL)])
    assert found is not None
    return found


async def group_row(shop: Shop, sku: str) -> StoredDelivery | None:
    """The group's row of a page."""
    rows = await shop.store.deliveries.receipts([sku], group_target("listing"))
    return next(iter(rows), None)


def version_held(side: HostileTarget, sku: str) -> object:
    """The name that a service holds of a product; None if it does not hold it."""
    page = side.held.get((sku, CHANNEL))
    return page["catalog"]["attributes"]["code"] if isinstance(page, dict) else None
