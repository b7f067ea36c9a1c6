"""Wanted fetches in stores: one for each source, rule and key, and nothing is forgotten."""

from pagefold.engine.stores.fetch_records import FetchCount, NewFetch
from pagefold.engine.stores.store import Store

NOON, LATER, LATEST = (f"2026-03-01T{hour}:00:00.000000Z" for hour in (12, 13, 14))
FOREVER = "2030-01-01T00:00:00.000000Z"


def wanted(
    key: str = "a", *, source: str = "erp", text: bytes = b"{}", due: str = NOON, sure: bool = False
) -> NewFetch:
    """A fetch that is wanted."""
    return NewFetch(source, "webhook.fetch[0]", key, f"https://erp.example/{key}", text, b"{}", sure, due)


async def due(store: Store, at: str = NOON, beyond: str = FOREVER) -> list[tuple[str, int]]:
    """Key and number of notifications of what is due."""
    return [(each.key, each.asked) for each in await store.fetches.due("erp", at, beyond, 10)]


async def test_what_is_wanted_often_is_one_fetch(store: Store) -> None:
    """It stays due when it was, and has the newest notification; another source has its own."""
    await store.fetches.want([wanted(), wanted("b", due=LATER), wanted(source="pim")], NOON)
    await store.fetches.want([wanted(text=b'{"v":2}', due=LATEST, sure=True)], LATER)
    assert await due(store) == [("a", 2)]
    assert await due(store, LATER) == [("a", 2), ("b", 1)]
    [first, *_] = await store.fetches.oldest(1, "erp")
    assert (first.notification, first.since, first.due, first.confirmed) == (b'{"v":2}', NOON, NOON, True)
    assert await store.fetches.counts() == [FetchCount("erp", 2, 0, NOON), FetchCount("pim", 1, 0, NOON)]


async def test_one_that_is_done_is_gone_unless_it_was_wanted_again(store: Store) -> None:
    """Then it is a new one, which nobody has confirmed."""
    await store.fetches.want([wanted(sure=True)], NOON)
    [fetch] = await store.fetches.oldest(1)
    await store.fetches.failed(fetch, "503", 1, LATER)
    await store.fetches.want([wanted()], LATER)
    await store.fetches.done(fetch, LATEST)
    [again] = await store.fetches.oldest(1)
    assert (again.asked, again.tries, again.error, again.since, again.confirmed) == (2, 0, None, LATEST, False)
    await store.fetches.done(again, LATEST)
    assert await store.fetches.oldest(10) == []
    assert await store.fetches.counts() == []


async def test_one_that_failed_is_due_later(store: Store) -> None:
    """And counted as failing, with why."""
    await store.fetches.want([wanted()], NOON)
    [fetch] = await store.fetches.oldest(1)
    await store.fetches.failed(fetch, "it answers 503", 3, LATER)
    assert await due(store) == []
    assert await due(store, LATER) == [("a", 1)]
    assert await due(store, NOON, beyond=NOON) == [("a", 1)], "its clock was wrong"
    [failed] = await store.fetches.oldest(1)
    assert (failed.tries, failed.error) == (3, "it answers 503")
    assert await store.fetches.counts() == [FetchCount("erp", 1, 1, NOON)]
