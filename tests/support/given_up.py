"""Deliveries that a target has refused to the last try, without a target."""

import msgspec

from pagefold import Config, Shop
from pagefold.engine.configuration.target_config import FilesTargetConfig, TargetConfig
from pagefold.engine.stores.delivery_records import Settlement, Wanted

BROKEN = "422 Unprocessable Content: {} has no price"


def with_target(config: Config, name: str = "shop") -> Config:
    """The configuration with a target, to which nobody delivers."""
    return msgspec.structs.replace(config, targets={name: TargetConfig(files=FilesTargetConfig(folder="out"))})


async def give_up(shop: Shop, *skus: str, target: str = "shop", tag: str = "1", answer: str = BROKEN) -> None:
    """The target refuses the pages of some SKUs in one channel; `answer` may have the SKU."""
    deliveries = shop.store.deliveries
    cursor = await deliveries.cursor(target)
    wanted = [Wanted(sku, "web-de", tag, 7) for sku in skus]
    await deliveries.mark(target, cursor, f"{cursor}+", wanted, unsent_withdrawals=True)
    claim, rows = await deliveries.claim(target, "me", 1_000, 60)
    settled = [
        Settlement(row.sku, "web-de", "dead" if row.sku in skus else "delivered", tag, answer=answer.format(row.sku))
        for row in rows
    ]
    assert not await deliveries.settle(claim, settled)
