"""If the newest revision of a version cannot be folded, an earlier one is; on both stores."""

from pagefold import Shop
from pagefold.engine.stores.log_records import CorrectionEvent, StoredEvent
from pagefold.engine.stores.store import Store
from pagefold.projections.epochs import versioned
from tests.support.small_shop import MOMENT, SKU, Raw, say, section, stock, stream_of

STREAM = "A/*/inventory/wms-a"


def state(payload: bytes) -> bytes:
    """A state as it is in the log."""
    moment = MOMENT.encode()
    return b'{"id":"x","occurredAt":"%b","recordedAt":"%b","payload":%b}' % (moment, moment, payload)


async def test_older_events_are_older_by_version_and_revision(store: Store) -> None:
    """All of (epoch, version, revision) counts, the newest first: an earlier revision is older, a later one is not."""
    places = [(1, 0), (1, 1), (1, 2), (2, 0), (2, 1), (versioned(1, 1), 0), (versioned(1, 1), 1)]
    for version, revision in places:
        await store.log.correct([CorrectionEvent(STREAM, version, revision, "inventory", b"{}")])
    await store.log.insert([Raw("A/*/inventory/wms-b", 1), Raw("A/*/inventory/wms", 1)])
    for index, (version, revision) in enumerate(places):
        event = StoredEvent(0, STREAM, version, revision, "inventory", b"")
        for limit in (1, 2, 50):
            found = [(each.originator_version, each.revision) for each in await store.log.older_events(event, limit)]
            assert found == places[:index][::-1][:limit]


async def test_a_section_is_folded_from_an_earlier_revision(shop: Shop) -> None:
    """Of a version whose newest revisions cannot be folded, the newest that can be gives the section."""
    await say(shop, stock(1, version=1), stock(2, version=2))
    stream = stream_of(stock(1))
    good = CorrectionEvent(stream, 2, 1, "inventory", state(b'{"available":3}'))
    bad = [CorrectionEvent(stream, 2, revision, "inventory", state(b"7")) for revision in (2, 3)]
    assert None not in await shop.store.log.correct([good, *bad])
    await shop.catch_up()
    assert (await section(shop, "inventory", sku=SKU))["available"] == 3
    [dead_letter] = await shop.dead_letters.newest()
    assert (dead_letter.originator_version, dead_letter.revision) == (2, 3)
