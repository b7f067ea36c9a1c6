"""The life of a dead letter, withdrawals, and which events count, on both stores."""

import psycopg
import pytest

import pagefold
from pagefold import Config, DomainEvent, Shop
from pagefold.engine.errors import UnknownDeadLetter
from pagefold.engine.stores.log_records import CorrectionEvent
from tests.support.small_shop import (
    SKU,
    Raw,
    append,
    apply_file,
    assert_every_event_is_counted,
    catalog,
    event,
    everything,
    media,
    price,
    say,
    section,
    stock,
    stream_of,
    undecided,
    with_channel,
    withdrawn,
)

CHANNEL = "web-de"


async def amount(shop: Shop) -> str | None:
    """The price on the page; None if it has none."""
    body = await section(shop, "pricing", CHANNEL)
    return None if body is None else str(body["amount"])


async def versions(shop: Shop, channel: str = CHANNEL) -> dict[str, int]:
    """The versions that a page shows."""
    page = await shop.pages.get(SKU, channel, disabled=True)
    assert page is not None
    return page.source_versions


def own(amount: str, version: int, currency: str = "EUR") -> DomainEvent:
    """A price event for the channel itself."""
    return price(amount, currency=currency, version=version, channel=CHANNEL)


@pytest.fixture
def dollars(config: Config) -> Config:
    """The same shop with a channel whose currency is now dollars."""
    return with_channel(config, CHANNEL, currency="USD")


# --- the life of a dead letter ---------------------------------------------------------------------------


async def test_an_event_that_no_longer_fits_is_a_dead_letter(config: Config, dollars: Config) -> None:
    """When a channel's currency changes, the next fold makes a dead letter of its old price, and shows none."""
    async with pagefold.open(config) as shop:
        await say(shop, own("10.00", 1), catalog("shirt"))
        assert await amount(shop) == "10.00"
    async with pagefold.open(dollars) as shop:
        await say(shop, price("9.00", version=1))
        assert await amount(shop) is None
        [dead_letter] = await shop.dead_letters.newest()
        assert (dead_letter.kind, dead_letter.domain, dead_letter.originator_version) == ("projection", "pricing", 1)
        assert dead_letter.originator_id == stream_of(own("10.00", 1))
        assert dead_letter.error == "the price is in EUR, the channel's currency is USD"
        assert b'"amount":"10.00"' in dead_letter.state
        page = await shop.pages.get(SKU, CHANNEL)
        assert page is not None
        assert not page.readiness["pricing"]
        await assert_every_event_is_counted(shop.store)
        [pricing] = [each for each in (await shop.status()).domains if each.domain == "pricing"]
        assert (pricing.dead_letters, pricing.configuration_changed) == (1, False)


async def test_behind_a_dead_letter_the_event_for_every_channel_counts(config: Config, dollars: Config) -> None:
    """If nothing of the channel's own stream can be folded, the source's event for `*` counts."""
    async with pagefold.open(config) as shop:
        await say(shop, own("10.00", 1), own("11.00", 2))
    async with pagefold.open(dollars) as shop:
        await say(shop, price("9.00", currency="USD", version=7))
        assert await amount(shop) == "9.00"
        assert await versions(shop) == {"pricing/erp": 7}
        assert [dead_letter.originator_version for dead_letter in await shop.dead_letters.newest()] == [2]


async def test_the_newest_event_that_can_be_folded_is_used(config: Config, dollars: Config) -> None:
    """If the head cannot be folded, the newest older event of its stream that can be is used."""
    async with pagefold.open(config) as shop:
        await say(shop, own("10.00", 1), own("11.00", 2))
    async with pagefold.open(dollars) as shop:
        await apply_file(shop)
        await append(shop, own("12.00", 3, "USD"), own("13.00", 4, "USD"))
    async with pagefold.open(config) as shop:
        await shop.catch_up()
        assert await amount(shop) == "11.00"
        assert await versions(shop) == {"pricing/erp": 2}
        [dead_letter] = await shop.dead_letters.newest()
        assert dead_letter.originator_version == 4
        await assert_every_event_is_counted(shop.store)


async def test_other_streams_do_not_clear_a_dead_letter(config: Config, dollars: Config) -> None:
    """Folding the page for another stream leaves the dead letter, its number and the older event's section."""
    async with pagefold.open(dollars) as shop:
        await append(shop, own("12.00", 2, "USD"))
    async with pagefold.open(config) as shop:
        await say(shop, own("10.00", 1))
        [first] = await shop.dead_letters.newest()
        for version in (1, 2):
            await say(shop, price("9.00", version=version), price("8.00", version=version, sku="OTHER"))
        assert [dead_letter.id for dead_letter in await shop.dead_letters.newest()] == [first.id]
        assert await amount(shop) == "10.00"
        await assert_every_event_is_counted(shop.store)


@pytest.mark.parametrize("withdraws", [False, True])
async def test_a_newer_good_event_clears_a_dead_letter(config: Config, dollars: Config, *, withdraws: bool) -> None:
    """The source resolves it with a newer price that fits, or by withdrawing the price."""
    async with pagefold.open(dollars) as shop:
        await append(shop, own("12.00", 1, "USD"))
    async with pagefold.open(config) as shop:
        await shop.catch_up()
        assert len(await shop.dead_letters.newest()) == 1
        newer = withdrawn("pricing", version=2, channel=CHANNEL) if withdraws else own("10.00", 2)
        await say(shop, newer)
        assert await shop.dead_letters.newest() == []
        assert await amount(shop) == (None if withdraws else "10.00")
        await assert_every_event_is_counted(shop.store)


async def test_a_retry_resolves_what_was_repaired(config: Config, dollars: Config) -> None:
    """A retry changes nothing while the cause remains, and resolves the dead letter once it is gone."""
    async with pagefold.open(config) as shop:
        await say(shop, own("10.00", 1), own("11.00", 2))
    async with pagefold.open(dollars) as shop:
        await say(shop, price("9.00", version=1))
        [dead_letter] = await shop.dead_letters.newest()
        assert await shop.dead_letters.retry(dead_letter) == "still dead"
        assert await shop.dead_letters.get(dead_letter.id) == dead_letter
        assert await amount(shop) is None
    async with pagefold.open(config) as shop:
        await apply_file(shop)
        assert await shop.dead_letters.retry(dead_letter, by="ada") == "resolved"
        assert await amount(shop) == "11.00"
        kept = await shop.dead_letters.get(dead_letter.id)
        assert undecided(kept) == dead_letter
        assert (kept.resolution, kept.resolved_by) == ("folded", "ada")
        assert await shop.dead_letters.retry(dead_letter) == "gone"
        await assert_every_event_is_counted(shop.store)


@pytest.mark.parametrize("name", ["", "ingest", "ingest-", "ingest-x", "other-1", "ingest-1", f"projection-{'9' * 30}"])
async def test_an_unknown_dead_letter_is_an_error(shop: Shop, name: str) -> None:
    """An unknown identifier is an error that names it."""
    with pytest.raises(UnknownDeadLetter, match="there is no dead letter"):
        await shop.dead_letters.get(name)


async def test_a_conflict_is_resolved_when_the_log_agrees(shop: Shop) -> None:
    """A conflict that now equals the head, or its withdrawal, is resolved by a retry."""
    await append(shop, stock(1))
    await shop.append([withdrawn("inventory", version=1)])
    [dead_letter] = await shop.dead_letters.newest()
    assert await shop.dead_letters.retry(dead_letter) == "still dead"
    [head] = await everything(shop.store)
    corrected = CorrectionEvent(head.originator_id, 1, 1, head.topic, dead_letter.state)
    [position] = await shop.store.log.correct([corrected])
    assert await shop.dead_letters.retry(dead_letter, by="ada") == "resolved"
    kept = await shop.dead_letters.get(dead_letter.id)
    assert (kept.resolution, kept.resolved_by, kept.position) == ("appended", "ada", position)
    await shop.catch_up()
    assert await section(shop, "inventory") is None
    assert (await everything(shop.store))[0] == head


# --- events that no validator accepted ----------------------------------------------------------------------------

STATES = [
    b"",
    b"no JSON",
    b"\xff\xfe",
    b"[]",
    b"{}",
    b'{"id":"1","occurredAt":"2026-01-01T00:00:00.000000Z","recordedAt":"2026-01-01T00:00:00.000000Z"}',
    b'{"occurredAt":"2026-01-01T00:00:00.000000Z","recordedAt":"2026-01-01T00:00:00.000000Z","payload":{"amount":5}}',
    b'{"occurredAt":"2026-01-01T00:00:00.000000Z","recordedAt":"2026-01-01T00:00:00.000000Z","payload":{"later":1}}',
    b"[" * 5_000,
]


@pytest.mark.parametrize("state", STATES)
async def test_a_state_that_cannot_be_read_is_a_dead_letter(shop: Shop, state: bytes) -> None:
    """Unreadable bytes in the log stop nothing: an older event counts, and the rest of the batch is folded."""
    stream = stream_of(own("1.00", 1))
    await append(shop, own("10.00", 1))
    await shop.store.log.insert([Raw(stream, 2, "pricing", state), Raw("LONE/*/pricing/erp", 1, "pricing", state)])
    await say(shop, price("7.00", sku="OTHER"))
    assert await amount(shop) == "10.00"
    assert await versions(shop) == {"pricing/erp": 1}
    assert (await section(shop, "pricing", CHANNEL, "OTHER"))["amount"] == "7.00"
    assert await section(shop, "pricing", CHANNEL, "LONE") is None
    assert {dead_letter.originator_id for dead_letter in await shop.dead_letters.newest()} == {
        stream,
        "LONE/*/pricing/erp",
    }
    await assert_every_event_is_counted(shop.store)


@pytest.mark.parametrize("stream", ["nonsense", "a/b", "", "A/web-de/pricing", "A/web-de/pricing/erp/more", "A/b/c/d"])
async def test_an_invalid_stream_name_stops_nothing(shop: Shop, stream: str) -> None:
    """An event with another stream name than `sku/channel/domain/source`, under a domain's topic, changes no page."""
    await shop.store.log.insert([Raw(stream, 1, "pricing", b"{}")])
    await say(shop, own("10.00", 1))
    assert await amount(shop) == "10.00"
    await assert_every_event_is_counted(shop.store)


# --- which events count ------------------------------------------------------------------------------


async def test_an_event_for_the_channel_counts_over_one_for_all(shop: Shop) -> None:
    """Whatever the versions, an event for the channel counts over one for `*`, until it is withdrawn."""
    await say(shop, price("10.00", version=9), own("8.00", 1))
    assert (await amount(shop), await versions(shop)) == ("8.00", {"pricing/erp": 1})
    assert (await section(shop, "pricing", "market-at"))["amount"] == "10.00"
    await say(shop, withdrawn("pricing", version=2, channel=CHANNEL))
    assert (await amount(shop), await versions(shop)) == ("10.00", {"pricing/erp": 9})
    await say(shop, withdrawn("pricing", version=10))
    assert (await amount(shop), await versions(shop)) == (None, {"pricing/erp": 2})


async def test_a_price_in_another_currency_does_not_count(shop: Shop) -> None:
    """A price for `*` counts in channels of its currency; the others report its version and show no price."""
    await say(shop, price("10.00", currency="USD"))
    assert (await section(shop, "pricing", "web-us"))["amount"] == "10.00"
    assert await amount(shop) is None
    assert await versions(shop) == {"pricing/erp": 1}
    assert await shop.dead_letters.newest() == []


async def test_a_late_older_update_does_not_bring_the_dead_back(shop: Shop) -> None:
    """A withdrawn stream stays withdrawn when an older event arrives later, in the same batch or another."""
    await say(shop, withdrawn("inventory", version=5), stock(3, version=4))
    await say(shop, stock(7, version=3))
    assert await section(shop, "inventory") is None
    assert await versions(shop) == {"inventory/wms-a": 5}
    await say(shop, stock(1, version=6))
    assert (await section(shop, "inventory"))["available"] == 1


async def test_a_source_that_disables_the_product_disables_the_page(shop: Shop) -> None:
    """`enabled: false` from any source that counts hides the page from storefronts, not from operators."""
    await say(shop, catalog("shirt"), event("catalog", {"enabled": False}, source="pim2"), stock(5))
    assert await shop.pages.get(SKU, CHANNEL) is None
    assert await shop.pages.get_json(SKU, "market-at") is None
    assert await shop.pages.get(SKU, "outlet-de") is not None, "it does not listen to pim2"
    hidden = await shop.pages.get(SKU, CHANNEL, disabled=True)
    assert hidden is not None
    assert (hidden.status, hidden.readiness["catalog"], hidden.sections["catalog"]) == ("disabled", False, None)
    assert "inventory" in hidden
    await say(shop, event("catalog", {"enabled": True}, source="pim2", version=2))
    assert await shop.pages.get(SKU, CHANNEL) is not None


async def test_a_page_exists_before_its_catalog(shop: Shop) -> None:
    """Stock that arrives first makes a page, which is live and not ready."""
    await say(shop, stock(5))
    page = await shop.pages.get(SKU, CHANNEL)
    assert page is not None
    assert (page.status, page.ready, page.sections["catalog"]) == ("live", False, None)
    assert page.readiness == {"catalog": False, "pricing": False, "inventory": True, "media": False}
    assert await shop.pages.get(SKU, "market-at") is None, "it does not listen to wms-a"


async def test_media_without_assets_are_shown_and_not_ready(shop: Shop) -> None:
    """An empty list of assets is a valid payload."""
    await say(shop, media())
    page = await shop.pages.get(SKU, CHANNEL)
    assert page is not None
    assert (page["media"], page.readiness["media"]) == ({"assets": []}, False)


@pytest.mark.parametrize("channel", ["", "*", "nowhere", "web-de\0", "\ud800", "ü"])
async def test_unknown_channels_have_no_pages(shop: Shop, channel: str) -> None:
    """An unknown or malformed channel has no page, and is no error."""
    await say(shop, stock(5))
    assert await shop.pages.get_json(SKU, channel) is None


@pytest.mark.parametrize("sku", ["", "\0", "\ud800", " ", "x" * 5_000, "tshirt-m", f"{SKU}/", "%"])
async def test_unknown_skus_have_no_pages(shop: Shop, sku: str) -> None:
    """An unknown or malformed SKU has no page, and is no error."""
    await say(shop, stock(5))
    assert await shop.pages.get_json(sku, CHANNEL) is None


async def test_sql_gives_the_same_page(postgres_url: str, config: Config) -> None:
    """On PostgreSQL, the function `page` returns the same bytes as `get_json`."""
    if not config.store.url.startswith("postgresql:"):
        return
    skus = [SKU, "Ä/%", "A'B", "🎽"]
    async with pagefold.open(config) as shop:
        for sku in skus:
            await say(shop, catalog("Größe", sku=sku), price("1.00", sku=sku), stock(5, sku=sku, source="wms-b"))
        await say(shop, media("https://m/1", "https://m/2"), withdrawn("catalog", version=2, sku="A'B"), own("2.00", 1))
        await say(shop, stock(7, sku="ONLY"), catalog("second", source="pim2"))
        with psycopg.connect(config.store.url) as connection:
            for sku in [*skus, "ONLY", "NONE", "A\u0308/%"]:
                for channel in [*config.channels, "*", "nowhere"]:
                    row = connection.execute("SELECT pagefold.page(%s, %s)::text", (sku, channel)).fetchone()
                    given = await shop.pages.get_json(sku, channel)
                    assert row == (None if given is None else given.decode(),), (sku, channel)
