"""What a group places at its targets, in both stores."""

import pytest

from pagefold import Config
from pagefold.engine.stores.dead_letter_records import OPEN
from pagefold.engine.stores.delivery_records import (
    UNKNOWN,
    ClaimedDelivery,
    Deliveries,
    DeliveryKey,
    Placement,
    Settlement,
    StoredDelivery,
    Wanted,
    group_target,
)
from pagefold.engine.stores.store import Store
from tests.support.delivery_clock import DeliveryClock

KEY = DeliveryKey("A", "de")
LEASE = 10.0
GROUP = group_target("listing")


@pytest.fixture
def deliveries(store: Store, config: Config) -> Deliveries:
    """The deliveries of a new store, whose clock stands still."""
    DeliveryClock(store, config)
    return store.deliveries


async def placed(deliveries: Deliveries, tag: str, position: int, document: bytes = b"{}") -> int:
    """Places a document."""
    return await deliveries.place("shop", [Placement(*KEY, tag, position, document)])


async def row_of(deliveries: Deliveries) -> StoredDelivery:
    """The only row."""
    [row] = await deliveries.rows("shop")
    return row


async def sent(deliveries: Deliveries, outcome: str = "delivered") -> ClaimedDelivery:
    """Claims the row, and settles it."""
    claim, [row] = await deliveries.claim("shop", "worker", 10, LEASE)
    settlement = Settlement(*KEY, outcome, row.wanted_tag, position=row.wanted_position)  # type: ignore[arg-type]  # as given
    assert not await deliveries.settle(claim, [settlement])
    return row


async def test_what_is_placed_is_claimed_with_its_document(deliveries: Deliveries) -> None:
    """Once; placing it again changes nothing, before and after it was delivered."""
    assert await placed(deliveries, "v1", 5) == 1
    assert await placed(deliveries, "v1", 5, b"other") == 0
    row = await sent(deliveries)
    assert (row.wanted_tag, row.wanted_position, row.document) == ("v1", 5, b"{}")
    stored = await row_of(deliveries)
    assert (stored.state, stored.acked_tag, stored.is_edited) == ("current", "v1", False)
    assert await placed(deliveries, "v1", 5) == 0


async def test_what_is_held_already_is_current_at_once(deliveries: Deliveries) -> None:
    """Nothing is sent again, at another position."""
    await placed(deliveries, "v1", 5)
    await sent(deliveries)
    assert await placed(deliveries, "v1", 9) == 1
    stored = await row_of(deliveries)
    assert (stored.state, stored.wanted_position, stored.is_edited) == ("current", 9, False)


async def test_a_refused_document_is_placed_again_only_as_another_delivery(deliveries: Deliveries) -> None:
    """The same position changes nothing: it was given up."""
    await placed(deliveries, "v1", 5)
    await sent(deliveries, "dead")
    assert await placed(deliveries, "v1", 5) == 0
    assert await placed(deliveries, "v1", 6) == 1
    assert (await sent(deliveries)).attempts == 0


async def test_a_claim_of_another_document_is_lost(deliveries: Deliveries) -> None:
    """Its bytes may arrive all the same: what is held is unknown, also after it has said so."""
    await placed(deliveries, "v1", 5)
    await sent(deliveries)
    await placed(deliveries, "v2", 6)
    claim, _ = await deliveries.claim("shop", "worker", 10, LEASE)
    await placed(deliveries, "v1", 7)
    assert (await row_of(deliveries)).acked_tag == UNKNOWN
    assert await deliveries.settle(claim, [Settlement(*KEY, "delivered", "v2", position=6)]) == {KEY}
    assert (await sent(deliveries)).wanted_tag == "v1"


async def test_what_is_due_without_a_document_is_held_until_one_is_placed(deliveries: Deliveries) -> None:
    """As after a reset: nothing is claimed any more."""
    await placed(deliveries, "v1", 5)
    await sent(deliveries)
    await deliveries.redeliver("shop", [KEY])
    assert (await sent(deliveries, "held")).document is None
    assert (await row_of(deliveries)).state == "held"
    assert (await deliveries.claim("shop", "worker", 10, LEASE))[1] == []
    assert await placed(deliveries, "v1", 5) == 1
    assert (await sent(deliveries)).document == b"{}"


async def test_a_withdrawal_is_sent_where_no_receipt_is(deliveries: Deliveries) -> None:
    """It may have been lost. After a receipt of a withdrawal, there is nothing to send."""
    await placed(deliveries, "", 5, b"")
    assert (await sent(deliveries)).acked_tag == UNKNOWN
    await placed(deliveries, "", 6, b"")
    assert (await row_of(deliveries)).state == "current"


async def test_receipts_of_before_a_reset_count_no_more(deliveries: Deliveries) -> None:
    """What is placed then is sent, also if the receipt says that it is held."""
    await placed(deliveries, "v1", 5)
    await sent(deliveries)
    await deliveries.reset("shop")
    await placed(deliveries, "v1", 6)
    assert (await sent(deliveries)).acked_tag == UNKNOWN


async def test_a_group_is_no_target(deliveries: Deliveries, store: Store) -> None:
    """Its rows are counted and listed only under its own name, and none is a dead letter."""
    await deliveries.mark(GROUP, "", "1", [Wanted(*KEY, "v1", 1)])
    claim, _ = await deliveries.claim(GROUP, "worker", 10, LEASE)
    await deliveries.settle(claim, [Settlement(*KEY, "discarded", "v1")])
    assert not await store.delivery_targets.targets()
    assert not await deliveries.counts()
    assert not await deliveries.receipts(["A"])
    [count] = await deliveries.counts(GROUP)
    assert (count.state, count.pages) == ("discarded", 1)
    await deliveries.mark(GROUP, "1", "2", [Wanted(*KEY, "v2", 2)])
    assert (await deliveries.receipts(["A"], GROUP))[0].state == "waiting"
    claim, _ = await deliveries.claim(GROUP, "worker", 10, LEASE)
    await deliveries.settle(claim, [Settlement(*KEY, "dead", "v2")])
    assert await store.delivery_letters.count() == 0
    assert not await store.delivery_letters.newest(OPEN)
