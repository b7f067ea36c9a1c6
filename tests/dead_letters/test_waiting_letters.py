"""What comes under an unknown reference waits, and is taken when the reference appears: on both stores."""

import json
from collections.abc import Sequence
from itertools import count

import anyio
import pytest
from anyio.to_thread import run_sync
from hypothesis import given
from hypothesis import strategies as st

import pagefold
from pagefold import Config, DomainEvent, Shop
from pagefold.engine.configuration.dead_letter_config import DeadLettersConfig
from pagefold.engine.dead_letters.bulk_decisions import RetryResult
from pagefold.engine.dead_letters.retention import Retention
from pagefold.engine.dead_letters.waiting_letters import CLAIM
from pagefold.engine.dead_letters.webhook_retrier import Outcome, Request
from pagefold.engine.errors import StoreUnavailable
from pagefold.engine.events import AppendResult
from pagefold.engine.intake.formats.request_parts import IgnoredMessage, RejectedPart, Wanted
from pagefold.engine.runtime.clock import now
from pagefold.engine.stores.dead_letter_records import DeadLetter, DeadLetterFilter, DeadLetterHeader, NewDeadLetter
from tests.support.small_shop import Document, as_line, configured, document, event, everything, say

ITEM = "shop:item"
WAITING = DeadLetterFilter("waiting")
numbers = count(1)


def with_references(url: str, **tables: Document) -> Config:
    """The small shop, whose warehouse `wms-a` names SKUs by `shop:item`, and its catalog `pim2` by `gtin`."""
    fields = {"sourceVersion": "version", "occurredAt": "at"}
    sources = document()["sources"]
    hook = {"secret_variables": ["SECRET"]}
    stock = {
        "inventory": {"available": "available", "safetyStock": "safety"},
        "sku": {"from": "item", "via": ITEM},
        **fields,
    }
    products = {
        "catalog": {"attributes": {"code": "code"}, "references": {ITEM: "item"}},
        "sku": {"from": "gtin", "via": "gtin"},
        **fields,
    }
    sources["wms-a"] |= {"webhook": hook, "contract": stock | {"items": "rows"}}
    sources["pim2"] |= {"webhook": hook, "contract": products}
    return configured(url, sources=sources, **tables)


@pytest.fixture
def config(store_url: str) -> Config:
    """With references."""
    return with_references(store_url)


def product(sku: str, item: object, *, version: int = 1, source: str = "pim") -> DomainEvent:
    """A product that the shop knows as an item, or as several."""
    return event("catalog", {"references": {ITEM: item}}, version=version, sku=sku, source=source)


def row(item: object, available: object, version: int = 1) -> dict[str, object]:
    """What a warehouse says of an item."""
    return {"item": item, "available": available, "version": version, "at": f"2026-01-01T00:00:{version:02}Z"}


async def send(shop: Shop, *rows: dict[str, object]) -> list[Outcome]:
    """Sends rows of a warehouse in a webhook of its own."""
    return await deliver(shop, "wms-a", {"rows": rows})


async def deliver(shop: Shop, source: str, message: object) -> list[Outcome]:
    """Sends a webhook."""
    reader = shop.webhooks.reader("webhook", source)
    assert reader is not None
    request = Request("webhook", source, json.dumps(message).encode(), now(), identifier=f"msg_{next(numbers)}")
    parts = await shop.webhooks.take(request, reader, run_sync, shop.append_atomically)
    return [outcome for part in parts for outcome in part]


def told(outcomes: Sequence[Outcome]) -> list[str]:
    """What became of the parts."""
    words: list[str] = []
    for outcome in outcomes:
        match outcome:
            case AppendResult():
                words.append(outcome.outcome)
            case IgnoredMessage():
                words.append("ignored")
            case RejectedPart():
                words.append("kept" if outcome.awaited is None else "waits")
            case Wanted():
                words.append("wanted")
    return words


async def waiting(shop: Shop) -> list[DeadLetterHeader]:
    """The open dead letters that wait, oldest first."""
    return await shop.store.dead_letters.oldest(WAITING)


async def take(shop: Shop) -> int:
    """Folds, takes what has waited, and folds that."""
    await shop.catch_up()
    taken = await shop.waiting.take_all()
    await shop.catch_up()
    return taken


async def available(shop: Shop, sku: str) -> object:
    """The stock that a page shows."""
    page = await shop.pages.get(sku, "web-de", disabled=True)
    stock = None if page is None else page.sections.get("inventory")
    return None if stock is None else stock["available"]


async def test_what_is_known_is_appended(shop: Shop) -> None:
    """Under the SKU that has the reference; an integer and a text are the same id."""
    await say(shop, product("RED", 11))
    assert told(await send(shop, row(11, 4), row("11", 5, version=2))) == ["appended", "appended"]
    await shop.catch_up()
    assert await available(shop, "RED") == 5
    assert await waiting(shop) == []


async def test_what_is_unknown_waits_until_it_is_known(shop: Shop) -> None:
    """It is kept whole, is no page of its own, and is taken by itself; each part waits for its own reference."""
    await say(shop, product("BLUE", 12))
    assert told(await send(shop, row(11, 4), row(12, 5), row(13, 6))) == ["waits", "appended", "waits"]
    assert await take(shop) == 0
    first, second = await waiting(shop)
    assert (first.domain, first.source, first.via) == ("inventory", "wms-a", "webhook")
    assert {first.error, second.error} == {f"waits for {ITEM} {item}: no SKU has it yet" for item in (11, 13)}
    await say(shop, product("RED", 11))
    assert await take(shop) == 1
    assert await available(shop, "RED") == 4
    [left] = await waiting(shop)
    assert left.error.startswith(f"waits for {ITEM} 13")
    [taken] = await shop.store.dead_letters.oldest(DeadLetterFilter("waiting", resolved=True))
    assert (taken.resolution, taken.resolved_by) == ("appended", None)
    assert {head.originator_id for head in await everything(shop.store)} == {
        "BLUE/*/catalog/pim",
        "BLUE/*/inventory/wms-a",
        "RED/*/catalog/pim",
        "RED/*/inventory/wms-a",
    }


async def test_each_of_many_rows_waits_for_its_own_reference(shop: Shop) -> None:
    """One delivery may have many."""
    await send(shop, *[row(item, 4) for item in range(200)])
    assert len(await waiting(shop)) == 100  # as many as are listed
    assert await shop.store.dead_letters.count(WAITING) == 200
    await say(shop, product("RED", 11))
    assert await take(shop) == 1
    assert await available(shop, "RED") == 4


async def test_an_ambiguous_reference_is_never_guessed(shop: Shop) -> None:
    """What comes under it waits until one SKU has it, and `status` says so."""
    await say(shop, product("RED", 11), product("BLUE", 11))
    [outcome] = await send(shop, row(11, 4))
    assert isinstance(outcome, RejectedPart)
    assert str(outcome.rejection) == f"waits until {ITEM} 11 is of one SKU: 2 have it (BLUE, RED)"
    assert await take(shop) == 0
    status = await shop.status()
    assert (status.waiting, [each.ambiguous for each in status.references]) == (1, [1])
    await say(shop, product("BLUE", 12, version=2))
    assert await take(shop) == 1
    assert await available(shop, "RED") == 4


async def test_what_comes_later_waits_behind_what_waits(shop: Shop) -> None:
    """Until it is taken, in the order of versions, also what has become known meanwhile."""
    await send(shop, row(11, 1, version=3))
    await send(shop, row(11, 2, version=1))
    await say(shop, product("RED", 11))
    assert told(await send(shop, row(11, 3, version=2))) == ["waits"]
    assert await take(shop) == 3
    log = [each for each in await everything(shop.store) if each.topic == "inventory"]
    assert [each.originator_version for each in sorted(log)] == [1, 2, 3]
    assert told(await send(shop, row(11, 5, version=4))) == ["appended"]


async def test_a_repeated_delivery_waits_once(shop: Shop) -> None:
    """Taken, it is a duplicate."""
    reader = shop.webhooks.reader("webhook", "wms-a")
    assert reader is not None
    request = Request("webhook", "wms-a", json.dumps({"rows": [row(11, 4)]}).encode(), now())
    for _ in range(2):
        await shop.webhooks.take(request, reader, run_sync, shop.append_atomically)
    assert len(await waiting(shop)) == 1
    await say(shop, product("RED", 11))
    assert await take(shop) == 1
    assert told((await shop.webhooks.take(request, reader, run_sync, shop.append_atomically))[0]) == ["duplicate"]


async def test_a_withdrawn_reference_is_unknown_again(shop: Shop) -> None:
    """It may come to another SKU."""
    await say(shop, product("RED", 11))
    await say(shop, product("RED", [], version=2))
    assert told(await send(shop, row(11, 4))) == ["waits"]
    await say(shop, product("BLUE", 11))
    assert await take(shop) == 1
    assert await available(shop, "BLUE") == 4


async def test_what_breaks_a_rule_becomes_another_dead_letter(shop: Shop) -> None:
    """It would otherwise hold up what waits behind it."""
    await send(shop, row(11, 3) | {"safety": -1})
    await send(shop, row(11, 4, version=2))
    await say(shop, product("RED", 11))
    assert await take(shop) == 2
    [fault] = await shop.store.dead_letters.oldest(DeadLetterFilter("ingest"))
    assert "payload.safetyStock" in fault.error
    assert {each.resolution for each in await resolved(shop)} == {"appended", "moved"}
    assert await available(shop, "RED") == 4


async def resolved(shop: Shop) -> list[DeadLetterHeader]:
    """Those that have waited."""
    return await shop.store.dead_letters.oldest(DeadLetterFilter("waiting", resolved=True))


def known_by(gtin: str, item: object) -> dict[str, object]:
    """What a catalog that knows products by their GTIN says of an item."""
    return {"gtin": gtin, "item": item, "code": "red", "version": 1, "at": "2026-01-01T00:00:00Z"}


async def test_chains_of_references_are_taken_and_cycles_end(shop: Shop) -> None:
    """A product known by its GTIN brings the item of its stock. Two that wait for each other just wait."""
    await send(shop, row(11, 4))
    await deliver(shop, "pim2", known_by("400", 11))
    assert len(await waiting(shop)) == 2
    await say(shop, event("catalog", {"references": {"gtin": "400"}}, sku="RED"))
    assert await take(shop) == 1
    assert await take(shop) == 1
    assert await available(shop, "RED") == 4
    for gtin, item in (("1", "2"), ("2", "1")):
        await deliver(
            shop, "pim2", {"gtin": gtin, "item": item, "code": "x", "version": 1, "at": "2026-01-01T00:00:00Z"}
        )
    assert await take(shop) == 0
    assert len(await waiting(shop)) == 2


async def test_a_worker_takes_what_has_come(shop: Shop) -> None:
    """Soon after the catalog consumer has stored the reference."""
    await send(shop, row(11, 4))
    async with shop.working():
        await shop.append([product("RED", 11)])
        with anyio.fail_after(30):
            while await available(shop, "RED") != 4:  # noqa: ASYNC110  # the store has no notification of it
                await anyio.sleep(0.02)


async def test_a_worker_survives_a_letter_that_it_cannot_read(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others are taken; the letter stays."""
    await send(shop, row(11, 4))
    await send(shop, row(12, 5))
    await say(shop, product("RED", 11), product("BLUE", 12))
    broken, *_ = await waiting(shop)
    retry = shop.waiting._retry

    async def fail_once(letter: DeadLetter) -> RetryResult:
        if letter.number == broken.number:
            raise ZeroDivisionError
        return await retry(letter)

    monkeypatch.setattr(shop.waiting, "_retry", fail_once)
    assert await take(shop) == 1
    assert [each.number for each in await waiting(shop)] == [broken.number]


async def test_one_process_takes_at_a_time(shop: Shop, config: Config) -> None:
    """Another one leaves it to the first."""
    await send(shop, row(11, 4))
    await say(shop, product("RED", 11))
    async with shop.store.coordination.claim(CLAIM) as claimed:
        assert claimed
        async with pagefold.open(config) as other:
            assert await other.waiting.take_all() == 0
    assert await take(shop) == 1


async def test_a_crash_between_append_and_resolution_repeats_it(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """The event is in the log already: a duplicate resolves the letter."""
    await send(shop, row(11, 4))
    await say(shop, product("RED", 11))
    [letter] = await waiting(shop)

    async def crash(*_: object) -> bool:
        raise StoreUnavailable("it", OSError())

    with monkeypatch.context() as patch:
        patch.setattr(shop.store.dead_letters, "resolve", crash)
        with pytest.raises(StoreUnavailable):
            await shop.waiting.take_all()
    assert [each.number for each in await waiting(shop)] == [letter.number]
    assert await take(shop) == 1
    assert len([each for each in await everything(shop.store) if each.topic == "inventory"]) == 1


async def test_a_reference_that_appears_meanwhile_is_not_missed(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is folded, and looked for, after the delivery was read and before it is kept."""
    add = shop.store.dead_letters.add

    async def slow(letters: Sequence[NewDeadLetter]) -> None:
        await say(shop, product("RED", 11))
        assert await shop.waiting.take_all() == 0
        await add(letters)

    monkeypatch.setattr(shop.store.dead_letters, "add", slow)
    assert told(await send(shop, row(11, 4))) == ["waits"]
    assert await take(shop) == 1
    assert await available(shop, "RED") == 4


async def test_an_expired_letter_is_not_taken(shop: Shop) -> None:
    """Its body is gone; it stays open until somebody decides."""
    await send(shop, row(11, 4))
    await Retention(shop.store, DeadLettersConfig(waiting_days=1e-9)).enforce("test")
    await say(shop, product("RED", 11))
    assert await take(shop) == 0
    assert (await shop.status()).purged == 1
    [letter] = await waiting(shop)
    assert letter.purged_by == "test"


async def test_an_operator_may_retry_discard_and_correct(shop: Shop) -> None:
    """As with any dead letter."""
    for item in (11, 12, 13):
        await send(shop, row(item, 4))
    first, second, third = await waiting(shop)
    assert await shop.dead_letters.retry(first, by="ada") == "still dead"
    await shop.dead_letters.discard(second, "a test", "ada")
    full = (
        (await shop.dead_letters.get(third.id)),
        as_line(event("inventory", {"available": 1}, sku="X", source="wms-a")),
    )
    assert (await shop.dead_letters.correct(*full, "ada")).outcome == "appended"
    await say(shop, product("RED", 11), product("BLUE", 12))
    assert await shop.dead_letters.retry(first, by="ada") == "resolved"
    assert await take(shop) == 0
    assert {each.resolution for each in await resolved(shop)} == {"appended", "discarded", "corrected"}


STEPS: Sequence[tuple[str, object]] = [
    *(("stock", row(11, 10 + version, version)) for version in (1, 2, 3)),
    ("stock", row(12, 7)),
    ("stock", row(13, 8, version=2)),
    ("product", product("RED", 11)),
    ("product", product("BLUE", 12)),
    ("product", product("BLUE", [12, 13], version=2)),
    ("take", None),
    ("take", None),
]


@given(steps=st.permutations(STEPS))
async def test_pages_are_the_same_whatever_the_order(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, object]]
) -> None:
    """Of catalog events, deliveries and what is taken between them."""
    url = f"sqlite:///{tmp_path_factory.mktemp('shop')}"
    async with pagefold.open(with_references(url)) as shop:
        for _, step in steps:
            if isinstance(step, DomainEvent):
                await shop.append([step])
            elif isinstance(step, dict):
                await send(shop, step)
            else:
                await take(shop)
        await take(shop)
        assert await available(shop, "RED") == 13
        assert await available(shop, "BLUE") == 8
        assert await waiting(shop) == []
        assert (await shop.verify()).changed == 0
