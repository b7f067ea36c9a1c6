"""Deliveries that were given up: listed, counted and grouped as other dead letters, without a copy of them."""

import pytest

from pagefold.engine.stores.dead_letter_records import LAST_KEY, OPEN, DeadLetterFilter, DeadLetterKey
from pagefold.engine.stores.delivery_letters import Decided, DeliveryLetters
from pagefold.engine.stores.delivery_records import DeliveryKey, Settlement, Wanted
from pagefold.engine.stores.store import Store

DELIVERIES = DeadLetterFilter("delivery")
RESOLVED = DeadLetterFilter("delivery", resolved=True)
DECIDED = Decided("2026-01-01T12:00:00.000000Z", "ada", "a test")


@pytest.fixture
def letters(store: Store) -> DeliveryLetters:
    """Those of a new store."""
    return store.delivery_letters


async def give_up(
    store: Store, *skus: str, target: str = "shop", answer: str = "422: {} is wrong", tag: str = "1"
) -> None:
    """A target refuses pages for the last time."""
    cursor = await store.deliveries.cursor(target)
    await store.deliveries.mark(target, cursor, f"{cursor}+", [Wanted(sku, "de", tag, 7) for sku in skus])
    claim, rows = await store.deliveries.claim(target, "me", 1_000, 60)
    assert {row.sku for row in rows} == set(skus)
    settled = [Settlement(sku, "de", "dead", tag, answer=answer.format(sku)) for sku in skus]
    assert not await store.deliveries.settle(claim, settled)


async def test_what_was_given_up_is_listed(store: Store, letters: DeliveryLetters) -> None:
    """In both orders, in chunks, with what is known of it."""
    assert await letters.newest() == await letters.oldest() == []
    assert await letters.causes() == []
    await give_up(store, "A")
    await give_up(store, "B", "C")
    oldest = await letters.oldest()
    assert [each.key for each in await letters.newest()] == [each.key for each in reversed(oldest)]
    [first, *rest] = oldest
    assert (first.id, first.source, first.error, first.resolution) == ("delivery-1", "shop", "422: A is wrong", None)
    assert (first.is_request, first.has_stream, first.is_delivery) == (False, True, True)
    assert [each.key for each in await letters.oldest(after=first.key)] == [each.key for each in rest]
    [newest] = await letters.newest(limit=1)
    assert [each.key for each in await letters.newest(after=newest.key)] == [each.key for each in reversed(oldest[:2])]
    assert await letters.count() == await letters.count(DELIVERIES) == 3
    found = await letters.get(first.number)
    assert found is not None
    assert (found.id, found.state, b'"tries":"1"' in found.headers) == ("delivery-1", b"", True)
    assert await letters.get(99) is None


async def test_the_order_of_kinds_at_one_moment(store: Store, letters: DeliveryLetters) -> None:
    """As in `DeadLetterKey`: a cursor after a letter of another kind neither repeats one nor leaves one out."""
    await give_up(store, "A", "B")
    [one, other] = await letters.oldest()
    assert one.recorded_at == other.recorded_at
    for kind, number, is_after in (("", 5, True), ("delivery", one.number, True), ("ingest", 0, False)):
        key = DeadLetterKey(one.recorded_at, kind, number)
        assert (other.key in [each.key for each in await letters.oldest(after=key)]) is is_after
        assert (other.key in [each.key for each in await letters.newest(after=key)]) is not is_after


async def test_filters(store: Store, letters: DeliveryLetters) -> None:
    """By target only with the kind: a source of that name has events."""
    await give_up(store, "A", "B")
    await give_up(store, "A", target="other")
    assert await letters.count() == 3
    for selection, number in (
        (DeadLetterFilter("delivery", source="shop"), 2),
        (DeadLetterFilter("delivery", source="other"), 1),
        (DeadLetterFilter(source="shop"), 0),
        (DeadLetterFilter(domain="pricing"), 0),
        (DeadLetterFilter("ingest"), 0),
        (RESOLVED, 0),
    ):
        assert await letters.count(selection) == len(await letters.newest(selection)) == number, selection
        assert len(await letters.oldest(selection)) == number


async def test_causes_are_errors_without_values(store: Store, letters: DeliveryLetters) -> None:
    """Of each target its own; a letter counts under that of its newest answer."""
    await give_up(store, "A", "B", answer="422 Unprocessable: {} has no price")
    await give_up(store, "C", answer="413 Too large: 5000 bytes")
    await give_up(store, "A", target="other", answer="422 Unprocessable: {} has no price")
    found = {(each.source, each.text): each for each in await letters.causes()}
    assert {key: each.letters for key, each in found.items()} == {
        ("shop", "status 422 Unprocessable: … has no price"): 2,
        ("shop", "status 413 Too large: … bytes"): 1,
        ("other", "status 422 Unprocessable: … has no price"): 1,
    }
    cause = found["shop", "status 422 Unprocessable: … has no price"]
    chosen = DeadLetterFilter(cause=cause.key)
    assert await letters.count(chosen) == len(await letters.newest(chosen)) == len(await letters.oldest(chosen)) == 2
    assert await letters.count(chosen._replace(kind="delivery", source="other")) == 0
    assert cause.newest == (await letters.newest(chosen))[0].id
    [(moment, number)] = await letters.cause_history(cause.key, cause.first)
    assert (moment, number) == (cause.last[:15], 2)
    assert await letters.cause_history(cause.key, LAST_KEY.recorded_at) == []
    assert [each.key for each in await letters.causes(limit=2)] == sorted(each.key for each in found.values())[:2]


async def test_a_retry_lets_it_be_sent_again(store: Store, letters: DeliveryLetters) -> None:
    """One that was decided about meanwhile is left alone; refused again, it has its number, and no decision."""
    await give_up(store, "A", "B")
    [one, other] = await letters.oldest()
    assert await letters.discard([other.number], DECIDED) == {other.number}
    assert await letters.retry([one.number, other.number, 99], DECIDED) == {one.number}
    found = await letters.get(one.number)
    assert found is not None
    assert (found.resolution, found.resolved_by) == ("queued", "ada")
    assert await letters.count() == 0
    claim, [row] = await store.deliveries.claim("shop", "me", 10, 60)
    assert (row.sku, row.attempts) == ("A", 0)
    await store.deliveries.settle(claim, [Settlement("A", "de", "dead", "1", answer="422: no price")])
    [again] = await letters.oldest()
    assert (again.number, again.resolution, again.resolved_by, again.error) == (one.number, None, None, "422: no price")


async def test_a_discarded_one_is_kept_until_its_page_changes(store: Store, letters: DeliveryLetters) -> None:
    """With who decided so, and why."""
    await give_up(store, "A")
    [letter] = await letters.oldest()
    assert await letters.discard([letter.number], DECIDED) == {letter.number}
    assert await letters.discard([letter.number], DECIDED) == set()
    [kept] = await letters.newest(RESOLVED)
    assert (kept.resolution, kept.resolved_at, kept.resolved_by, kept.reason) == ("discarded", *DECIDED)
    assert await letters.count(RESOLVED) == 1
    assert await letters.count(OPEN) == len(await letters.causes()) == 0
    await give_up(store, "A", tag="2")
    assert [each.number for each in await letters.oldest()] == [letter.number]
    assert await letters.newest(RESOLVED) == []


async def test_another_document_is_sent_once(store: Store, letters: DeliveryLetters) -> None:
    """In place of the page's; a withdrawal has none, and what is not open is not edited."""
    await give_up(store, "A")
    [letter] = await letters.oldest()
    assert await letters.edit(letter.number, b'{"sku":"A"}', DECIDED)
    assert not await letters.edit(letter.number, b"{}", DECIDED)
    edited = await letters.get(letter.number)
    assert edited is not None
    assert (edited.state, edited.resolution) == (b'{"sku":"A"}', "queued")
    claim, [row] = await store.deliveries.claim("shop", "me", 10, 60)
    assert row.document == b'{"sku":"A"}'
    await store.deliveries.settle(claim, [Settlement("A", "de", "delivered", "x", page_tag="1", position=7)])
    assert (await store.deliveries.receipts(["A"]))[0].state == "current"
    await store.deliveries.redeliver("shop", [DeliveryKey("A", "de")])
    await give_up(store, "A", tag="")
    assert not await letters.edit(letter.number, b"{}", DECIDED)


@pytest.mark.parametrize(
    ("placed", "content"),
    [(b'{"sku":"A"}', b'{"sku":"A"}'), (b"", b"null"), (b'\0{"method":"DELETE"}', b'{"method":"DELETE"}')],
)
async def test_what_is_sent_in_place_of_a_page_is_shown(
    store: Store, letters: DeliveryLetters, placed: bytes, content: bytes
) -> None:
    """A document, a withdrawal, or a request of a group; not the page."""
    await give_up(store, "A")
    await store.deliveries.edit("shop", DeliveryKey("A", "de"), placed)
    claim, [row] = await store.deliveries.claim("shop", "me", 10, 60)
    assert row.document == placed
    await store.deliveries.settle(claim, [Settlement("A", "de", "dead", "1", answer="422")])
    [letter] = await letters.newest()
    found = await letters.get(letter.number)
    assert found is not None
    assert found.state == content
