"""The group that a target is in, as its deliverer sees it: who decides what the target gets."""

from collections.abc import Sequence

from pagefold.engine.stores.delivery_records import (
    WITHDRAWN,
    ClaimedDelivery,
    Deliveries,
    DeliveryKey,
    Outcome,
    Settlement,
    Wanted,
)

RETRY_SECONDS = 1.0


class TargetGroup:
    """A group of targets. Its own rows are the pages that it has to look at."""

    def __init__(self, name: str, deliveries: Deliveries) -> None:
        self._name = name
        self._deliveries = deliveries

    async def withhold(self, rows: Sequence[ClaimedDelivery]) -> list[Settlement]:
        """Has the group look at pages of which a delivery is due that it has not placed, such as after a reset.

        They are settled so that nothing is sent until it has. Durable before it returns. Raises `StoreError`.
        """
        if not rows:
            return []
        keys = {DeliveryKey(row.sku, row.channel) for row in rows}
        outcome: Outcome = "held" if await self.demand(keys) else "returned"
        return [Settlement(*key, outcome, delay=RETRY_SECONDS) for key in sorted(keys)]

    async def demand(self, keys: set[DeliveryKey]) -> bool:
        """Makes pages due for the group; False if that has to be tried again. Claims of them are lost."""
        if await self._deliveries.redeliver(self._name, keys) == len(keys):
            return True
        known = await self._deliveries.receipts({key.sku for key in keys}, self._name)
        missing = keys.difference(DeliveryKey(row.sku, row.channel) for row in known)
        wanted = [Wanted(*key, WITHDRAWN, 0) for key in sorted(missing)]
        cursor = await self._deliveries.cursor(self._name)
        marked = await self._deliveries.mark(self._name, cursor, cursor, wanted, unsent_withdrawals=True)
        return marked is not None
